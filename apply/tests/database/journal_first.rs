//! Deposited first, then applied: a change is in the journal before it is in the store, and the store never stands beyond
//! what its journal has answered.

use rjournal::entry::{Kind, Sequence, codec};
use rjournal_apply::database::{Database, Outcome};
use rjournal_apply::job::{ApplyJob, Order};
use tokio::sync::oneshot;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, row, update};

async fn order(job: &ApplyJob, order: fn(oneshot::Sender<()>) -> Order) {
    let (done, told) = oneshot::channel();
    assert!(job.shared().order(order(done)).await);
    in_time(told).await.unwrap();
}

/// Carries a change on until it is deposited, and no further: its answer comes behind a flush.
async fn deposit<T>(place: &Place, change: &mut (impl Future<Output = T> + Unpin)) {
    let deposited = || place.journal().facts(Sequence::NONE).unwrap().deposited;
    let before = deposited();
    while deposited() == before {
        tokio::select! {
            biased;
            _ = &mut *change => panic!("it was answered at once"),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// A commit that landed and is not in the store: the hold came while it was flushed. One that was applied before is made
/// again.
async fn unapplied(place: &Place, job: &ApplyJob, database: &Database, name: &str) -> Sequence {
    let attempts = async {
        loop {
            let mut transaction = database.begin(None).await.unwrap();
            transaction.write(update(1, name, 1)).await.unwrap();
            let mut committing = Box::pin(transaction.commit());
            deposit(place, &mut committing).await;
            order(job, Order::Hold).await;
            if let Outcome::Unapplied { sequence, .. } = committing.await.unwrap() {
                return sequence;
            }
            order(job, Order::Release).await;
        }
    };
    in_time(attempts).await
}

#[tokio::test]
async fn a_change_is_in_the_journal_before_it_is_in_the_store() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let sequence = unapplied(&place, &job, &database, "uno").await;
    let before = Sequence::new(sequence.get() - 1);
    let bundles = in_time(place.journal().bundles_after(before, 1)).await;
    assert!(!bundles.unwrap().is_empty(), "it can be read");
    assert!(job.shared().applied() < sequence);
    order(&job, Order::Release).await;
    assert!(in_time(job.shared().wait_applied(sequence)).await);
    assert_eq!(all_rows(&database, &account()).await, [row(1, "uno", 1)]);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn locks_are_held_until_the_commit_is_applied() {
    let place = Place::new().await;
    let mut job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    unapplied(&place, &job, &database, "uno").await;
    order(&job, Order::Release).await;
    // Let in before that is applied, it would take a before-image that is no longer the last one deposited.
    let late = database.write(update(1, "late", 1), None);
    tokio::select! {
        ended = job.ended() => panic!("the job stopped: {ended:?}"),
        written = in_time(late) => drop(written.unwrap()),
    }
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
        let before = place.journal().readable();
        let decides = if alone {
            let mut writing = Box::pin(database.write(update(1, "uno", 1), None));
            deposit(&place, &mut writing).await;
            Kind::RECORD_UPDATE
        } else {
            let mut transaction = database.begin(None).await.unwrap();
            transaction.write(update(1, "uno", 1)).await.unwrap();
            let mut committing = Box::pin(transaction.commit());
            deposit(&place, &mut committing).await;
            Kind::CYCLE_COMMIT
        };
        // It was given up; what it deposited lands all the same.
        let next = database.write(update(1, "due", 1), None);
        tokio::select! {
            ended = job.ended() => panic!("the job stopped: {ended:?}"),
            written = in_time(next) => drop(written.unwrap()),
        }
        wait_for(&place, before, decides).await;
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
