//! A store whose job is held: it is read, and not changed; what landed before it was seen is told as landed. Must not know
//! sockets.

use rjournal::entry::{ClientId, DepositKey};
use rjournal_apply::database::{Database, Outcome, UnappliedReason};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::{ApplyJob, Order};
use tokio::sync::oneshot;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, key, row, update};

async fn hold(job: &ApplyJob) {
    let (done, heard) = oneshot::channel();
    assert!(job.shared().order(Order::Hold(done)).await);
    heard.await.unwrap();
}

async fn release(job: &ApplyJob) {
    let (done, heard) = oneshot::channel();
    assert!(job.shared().order(Order::Release(done)).await);
    heard.await.unwrap();
}

async fn held_with_a_row() -> (Place, ApplyJob, Database) {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "first", 1), None).await.unwrap();
    (place, job, database)
}

/// Writes waited for the release once, without a word and without an end.
#[tokio::test]
async fn a_store_that_is_held_is_read_and_refuses_changes_before_they_are_deposited() {
    let (place, job, database) = held_with_a_row().await;
    let mut open = database.begin(None).await.unwrap();
    open.write(insert(2, "second", 2)).await.unwrap();
    hold(&job).await;
    let deposited = place.journal().facts(job.shared().applied()).unwrap();
    let held = Err(DatabaseError::Held { store: None });
    let alone = in_time(database.write(insert(3, "third", 3), None)).await;
    assert_eq!(alone, held.clone().map(|()| Outcome::Nothing));
    let deposit_key = DepositKey {
        client: ClientId::from_bytes([7; 16]),
        key: 1,
    };
    let keyed = in_time(database.write(insert(3, "third", 3), Some(deposit_key))).await;
    assert_eq!(keyed, held.clone().map(|()| Outcome::Nothing));
    let begun = in_time(database.begin(None)).await.map(drop);
    assert_eq!(begun, held.clone());
    assert_eq!(in_time(open.write(insert(4, "fourth", 4))).await, held);
    assert_eq!(
        database.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "first", 1))
    );
    let now = place.journal().facts(job.shared().applied()).unwrap();
    assert_eq!(now.deposited, deposited.deposited);
    let committed = in_time(open.commit()).await;
    assert_eq!(committed, held.map(|()| Outcome::Nothing));
    release(&job).await;
    // The transaction that met the hold was rolled back, and its lock is free.
    let outcome = in_time(database.write(insert(2, "again", 2), None)).await;
    assert!(matches!(outcome, Ok(Outcome::Landed { .. })), "{outcome:?}");
    assert_eq!(all_rows(&database, &account()).await.len(), 2);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_change_that_landed_while_the_hold_came_is_told_as_landed_and_keeps_its_row_locked() {
    let (_place, job, database) = held_with_a_row().await;
    let mut first = database.begin(None).await.unwrap();
    first.write(update(1, "locked", 0)).await.unwrap();
    let mut waiting = Box::pin(database.write(update(1, "late", 2), None));
    // It comes as far as the lock, and the hold comes while it waits there.
    for _ in 0..100 {
        tokio::select! {
            biased;
            outcome = &mut waiting => panic!("{outcome:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    hold(&job).await;
    first.rollback().await.unwrap();
    let outcome = in_time(waiting).await.unwrap();
    let Outcome::Unapplied { sequence, why, .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(why, UnappliedReason::Held);
    assert!(job.shared().applied() < sequence);
    assert_eq!(
        database.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "first", 1))
    );
    release(&job).await;
    // The next change waits for the lock, so its before-image is that of the late one.
    in_time(database.write(update(1, "next", 3), None))
        .await
        .unwrap();
    assert_eq!(
        database.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "next", 3))
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_whose_job_ended_refuses_changes_before_they_are_deposited() {
    let (place, job, database) = held_with_a_row().await;
    let applied = job.shared().applied();
    job.stop().await.unwrap();
    let after = in_time(database.write(update(1, "after", 3), None)).await;
    assert_eq!(after, Err(DatabaseError::Stopping));
    assert_eq!(place.journal().facts(applied).unwrap().deposited, applied);
}
