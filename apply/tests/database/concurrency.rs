//! Many at once: locks with a time-out, no lost update, no deadlock that stays, and readers that only see whole
//! transactions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rjournal::entry::record::Value;
use rjournal_apply::database::Database;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::store::StoreKind;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, key, row, tiny_steps, update};

/// Ends what runs beside a case, also when the case fails.
struct Over(Arc<AtomicBool>);

impl Over {
    fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    fn watched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn amount(row: &[Value]) -> i32 {
    match row {
        [_, _, Value::Integer(amount)] => *amount,
        other => panic!("{other:?}"),
    }
}

async fn accounts(database: &Database, count: i64, each: i32) {
    // Patience is for rows another transaction has, not for a store that was just made on a busy machine.
    let mut transaction = loop {
        match database.begin(None).await {
            Err(DatabaseError::Busy { .. }) => {}
            begun => break begun.unwrap(),
        }
    };
    for id in 0..count {
        transaction
            .write(insert(id, "account", each))
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn a_row_another_transaction_has_is_waited_for_and_then_given_up() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    accounts(&database, 2, 0).await;
    let mut first = database.begin(None).await.unwrap();
    first.write(update(0, "first", 1)).await.unwrap();
    let mut second = database.begin(None).await.unwrap();
    let locked = second.write(update(0, "second", 2)).await;
    assert!(
        matches!(&locked, Err(DatabaseError::Locked { key, .. }) if key == "0"),
        "{locked:?}"
    );
    assert!(matches!(
        second.get_for_update(&account(), &key(0)).await,
        Err(DatabaseError::Locked { .. })
    ));
    let alone = database.write(update(0, "alone", 3), None).await;
    assert!(matches!(alone, Err(DatabaseError::Locked { .. })));
    // Who only reads does not wait, and sees what is committed.
    let seen = second.get(&account(), &key(0)).await.unwrap();
    assert_eq!(seen, Some(row(0, "account", 0)));
    // The transaction that was refused goes on with other rows, and later with this one.
    second.write(update(1, "second", 2)).await.unwrap();
    first.commit().await.unwrap();
    second.write(update(0, "second", 2)).await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(0, "second", 2), row(1, "second", 2)]
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_there_yet_is_locked_too() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    let mut first = database.begin(None).await.unwrap();
    first.write(insert(1, "first", 1)).await.unwrap();
    let second = tokio::spawn({
        let database = database.clone();
        async move { database.write(insert(1, "second", 2), None).await }
    });
    tokio::task::yield_now().await;
    first.commit().await.unwrap();
    let second = in_time(second).await.unwrap();
    assert!(
        matches!(second, Err(DatabaseError::Duplicate { .. })),
        "{second:?}"
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn two_that_wait_for_each_other_do_not_wait_for_ever() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    accounts(&database, 2, 0).await;
    let mut first = database.begin(None).await.unwrap();
    let mut second = database.begin(None).await.unwrap();
    first.write(update(0, "first", 1)).await.unwrap();
    second.write(update(1, "second", 1)).await.unwrap();
    let crossed = in_time(Box::pin(async {
        tokio::join!(
            first.write(update(1, "first", 1)),
            second.write(update(0, "second", 1))
        )
    }))
    .await;
    let refused =
        |result: &Result<(), DatabaseError>| matches!(result, Err(DatabaseError::Locked { .. }));
    assert!(refused(&crossed.0) || refused(&crossed.1), "{crossed:?}");
    drop(first);
    drop(second);
    // Nothing of it is left behind.
    let database = place.patient_database(&job, LONG).await;
    let mut third = database.begin(None).await.unwrap();
    third.write(update(0, "third", 1)).await.unwrap();
    third.write(update(1, "third", 1)).await.unwrap();
    third.commit().await.unwrap();
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(0, "third", 1), row(1, "third", 1)]
    );
    job.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_update_is_lost_among_many_writers() {
    const WRITERS: i32 = 6;
    const EACH: i32 = 25;
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    accounts(&database, 1, 0).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let database = database.clone();
        writers.spawn(async move {
            for round in 0..EACH {
                let mut transaction = database.begin(None).await.unwrap();
                let row = transaction
                    .get_for_update(&account(), &key(0))
                    .await
                    .unwrap()
                    .unwrap();
                let next = update(0, "counter", amount(&row) + 1);
                transaction.write(next).await.unwrap();
                // Every third gives up and tries once more.
                if (writer + round) % 3 == 0 {
                    transaction.rollback().await.unwrap();
                    let mut transaction = database.begin(None).await.unwrap();
                    let row = transaction.get_for_update(&account(), &key(0)).await;
                    let next = amount(&row.unwrap().unwrap()) + 1;
                    transaction.write(update(0, "counter", next)).await.unwrap();
                    transaction.commit().await.unwrap();
                } else {
                    transaction.commit().await.unwrap();
                }
            }
        });
    }
    in_time(writers.join_all()).await;
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(0, "counter", WRITERS * EACH)]
    );
    job.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_transactions_only() {
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        let place = Place::new().await;
        let job = place
            .job_with(kind, rjournal_apply::job::JobOptions::default())
            .await;
        let database = place.patient_database(&job, LONG).await;
        accounts(&database, 10, 100).await;
        let over = Over::new();
        let reader = tokio::task::spawn_blocking({
            let (database, over) = (database.clone(), over.watched());
            let runtime = tokio::runtime::Handle::current();
            move || {
                let mut scans = 0;
                while !over.load(Ordering::Relaxed) {
                    let rows = runtime.block_on(all_rows(&database, &account()));
                    let sum: i32 = rows.iter().map(|row| amount(row)).sum();
                    assert_eq!((rows.len(), sum), (10, 1000));
                    scans += 1;
                }
                scans
            }
        });
        for round in 0..60 {
            let (from, to) = (round % 10, (round * 7 + 3) % 10);
            if from == to {
                continue;
            }
            let mut transaction = database.begin(None).await.unwrap();
            for (id, more) in [(from, -10), (to, 10)] {
                let row = transaction.get_for_update(&account(), &key(id)).await;
                let next = amount(&row.unwrap().unwrap()) + more;
                transaction
                    .write(update(id, "account", next))
                    .await
                    .unwrap();
            }
            transaction.commit().await.unwrap();
        }
        drop(over);
        assert!(reader.await.unwrap() > 0);
        job.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_to_wait_while_a_large_transaction_is_applied() {
    let place = Place::new().await;
    let job = place.job_with(StoreKind::Sled, tiny_steps()).await;
    let database = place.patient_database(&job, LONG).await;
    let over = Over::new();
    let reader = tokio::task::spawn_blocking({
        let (database, over) = (database.clone(), over.watched());
        let runtime = tokio::runtime::Handle::current();
        move || {
            let file = runtime.block_on(database.file(&account())).unwrap();
            while !over.load(Ordering::Relaxed) {
                match database.scan(&file, None, usize::MAX, usize::MAX) {
                    Ok(rows) => assert!(rows.len() % 300 == 0, "{} rows", rows.len()),
                    Err(DatabaseError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    });
    for round in 0..4 {
        let mut transaction = database.begin(None).await.unwrap();
        for id in 0..300 {
            transaction
                .write(insert(round * 300 + id, "row", 0))
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
    }
    drop(over);
    reader.await.unwrap();
    assert_eq!(all_rows(&database, &account()).await.len(), 1200);
    job.stop().await.unwrap();
}
