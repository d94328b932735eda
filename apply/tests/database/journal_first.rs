//! Deposited first, then applied: a change is in the journal before it is in the store, and the store never stands beyond
//! what its journal has answered.

use rjournal::entry::{Kind, Sequence, codec};
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::Order;
use tokio::sync::oneshot;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, row, update};

async fn order(job: &rjournal_apply::job::ApplyJob, order: fn(oneshot::Sender<()>) -> Order) {
    let (done, told) = oneshot::channel();
    assert!(job.shared().order(order(done)).await);
    in_time(told).await.unwrap();
}

/// Waits until the journal has an entry above `after` that may be read.
async fn deposited(place: &Place, after: Sequence) {
    let bundles = in_time(place.journal().bundles_after(after, 1)).await;
    assert!(!bundles.unwrap().is_empty());
}

#[tokio::test]
async fn a_change_is_in_the_journal_before_it_is_in_the_store() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    order(&job, Order::Hold).await;
    let before = place.journal().readable();
    let writing = tokio::spawn({
        let database = database.clone();
        async move { database.write(update(1, "uno", 1), None).await }
    });
    deposited(&place, before).await;
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    assert!(!writing.is_finished(), "it is answered when it is applied");
    order(&job, Order::Release).await;
    let outcome = in_time(writing).await.unwrap().unwrap();
    assert!(matches!(outcome, Outcome::Landed { sequence, .. } if sequence > before));
    assert_eq!(all_rows(&database, &account()).await, [row(1, "uno", 1)]);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn locks_are_held_until_the_commit_is_applied() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(update(1, "uno", 1)).await.unwrap();
    order(&job, Order::Hold).await;
    let before = place.journal().readable();
    let committing = tokio::spawn(transaction.commit());
    deposited(&place, before).await;
    // Let in now, it would take a before-image that is no longer the last one deposited.
    let early = database.write(update(1, "early", 1), None).await;
    assert!(
        matches!(early, Err(DatabaseError::Locked { .. })),
        "{early:?}"
    );
    order(&job, Order::Release).await;
    in_time(committing).await.unwrap().unwrap();
    database.write(update(1, "late", 1), None).await.unwrap();
    assert_eq!(all_rows(&database, &account()).await, [row(1, "late", 1)]);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_deposited_keeps_its_locks_though_nobody_waits_for_it_any_more() {
    for alone in [false, true] {
        let place = Place::new().await;
        let mut job = place.job().await;
        let database = place.patient_database(&job, LONG).await;
        database.write(insert(1, "one", 1), None).await.unwrap();
        order(&job, Order::Hold).await;
        let before = place.journal().readable();
        let given_up = tokio::spawn({
            let database = database.clone();
            async move {
                if alone {
                    return database.write(update(1, "uno", 1), None).await.map(drop);
                }
                let mut transaction = database.begin(None).await?;
                transaction.write(update(1, "uno", 1)).await?;
                transaction.commit().await.map(drop)
            }
        });
        let decides = if alone {
            Kind::RECORD_UPDATE
        } else {
            Kind::CYCLE_COMMIT
        };
        wait_for(&place, before, decides).await;
        given_up.abort();
        assert!(in_time(given_up).await.is_err(), "it was given up");
        let next = tokio::spawn({
            let database = database.clone();
            async move { database.write(update(1, "due", 1), None).await }
        });
        tokio::task::yield_now().await;
        order(&job, Order::Release).await;
        tokio::select! {
            ended = job.ended() => panic!("the job stopped: {ended:?}"),
            written = in_time(next) => drop(written.unwrap().unwrap()),
        }
        assert_eq!(all_rows(&database, &account()).await, [row(1, "due", 1)]);
        job.stop().await.unwrap();
    }
}

/// Waits until an entry of a kind stands behind `at` and may be read.
async fn wait_for(place: &Place, mut at: Sequence, kind: Kind) {
    loop {
        let bundles = in_time(place.journal().bundles_after(at, 1 << 20)).await;
        for stored in bundles.unwrap() {
            at = stored.header.last();
            let bundle = codec::open(stored.bytes.clone(), stored.receiver.receiver).unwrap();
            if bundle.entries().any(|view| view.unwrap().kind == kind) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_the_journal_refuses_is_not_in_the_store() {
    let place = Place::new().await;
    let mut job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    place.system.stop().await;
    let refused = database.write(insert(3, "three", 3), None).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(transaction.write(insert(4, "four", 4)).await.is_err());
    assert!(transaction.commit().await.is_err());
    let ended = in_time(job.ended()).await.unwrap_err();
    assert!(
        ended.is_transient(),
        "the journal may be opened again: {ended}"
    );
    drop((database, job));
    let place = place.restart().await;
    let job = place.job().await;
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    let database = place.database(&job).await;
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    job.stop().await.unwrap();
}
