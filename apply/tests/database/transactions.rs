//! Transactions: all or nothing, own writes first, nothing to others before the commit, and at most once under a key.

use rjournal::daemon::command::journal::{AttributePatch, CreateJournal};
use rjournal::entry::record::{Images, Value};
use rjournal::entry::{ClientId, DepositKey};
use rjournal_apply::database::{Outcome, Write};
use rjournal_apply::error::DatabaseError;

use crate::place::{
    Place, account, all_rows, create_file, delete, file_name, in_time, insert, key, qualified, row,
    start_journaling, update,
};

#[tokio::test]
async fn a_transaction_shows_its_own_writes_and_others_nothing_until_it_commits() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    transaction.write(update(1, "uno", 1)).await.unwrap();
    transaction.write(update(2, "due", 2)).await.unwrap();
    transaction.write(insert(3, "three", 3)).await.unwrap();
    transaction.write(delete(3)).await.unwrap();
    assert_eq!(
        transaction.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "uno", 1))
    );
    assert_eq!(transaction.get(&account(), &key(3)).await.unwrap(), None);
    // Its entries are in the journal and were read by the job; nobody sees them.
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    assert_eq!(database.get(&account(), &key(2)).await.unwrap(), None);
    let outcome = transaction.commit().await.unwrap();
    assert!(matches!(outcome, Outcome::Landed { .. }), "{outcome:?}");
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(1, "uno", 1), row(2, "due", 2)]
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_commit_that_was_answered_is_read_at_once() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "row", 0), None).await.unwrap();
    for amount in 1..40 {
        let mut transaction = database.begin(None).await.unwrap();
        transaction.write(update(1, "row", amount)).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(
            database.get(&account(), &key(1)).await.unwrap(),
            Some(row(1, "row", amount))
        );
    }
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_rolled_back_transaction_leaves_nothing_and_no_locks() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(update(1, "uno", 1)).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    database.write(update(1, "ein", 1), None).await.unwrap();
    database.write(insert(2, "zwei", 2), None).await.unwrap();
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, crate::place::LONG).await;
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(insert(1, "lost", 1)).await.unwrap();
    drop(transaction);
    // The lock comes back with the rollback.
    database.write(insert(1, "kept", 1), None).await.unwrap();
    assert_eq!(all_rows(&database, &account()).await, [row(1, "kept", 1)]);
    let position = job.shared().status().position.unwrap();
    assert_eq!(
        position.restart, position.applied,
        "no cycle is left open in the journal"
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_refused_write_leaves_its_transaction_as_it_was() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    assert!(matches!(
        transaction.write(insert(1, "again", 1)).await,
        Err(DatabaseError::Duplicate { .. })
    ));
    assert!(matches!(
        transaction.write(insert(2, "again", 1)).await,
        Err(DatabaseError::Duplicate { .. })
    ));
    assert!(matches!(
        transaction.write(update(3, "none", 1)).await,
        Err(DatabaseError::NoRow { .. })
    ));
    assert!(matches!(
        transaction.write(insert(4, &"x".repeat(21), 1)).await,
        Err(DatabaseError::Row { .. })
    ));
    transaction.commit().await.unwrap();
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(1, "one", 1), row(2, "two", 2)]
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_changed_nothing_deposits_nothing() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let before = place.journal().facts(place.journal().readable()).unwrap();
    let transaction = database.begin(None).await.unwrap();
    assert_eq!(transaction.commit().await.unwrap(), Outcome::Nothing);
    let mut transaction = database.begin(None).await.unwrap();
    transaction
        .get_for_update(&account(), &key(1))
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    drop(database.begin(None).await.unwrap());
    let after = place.journal().facts(place.journal().readable()).unwrap();
    assert_eq!(before.deposited, after.deposited);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn files_of_one_journal_may_be_changed_together_and_others_not_at_all() {
    let place = Place::new().await;
    let other = file_name("PRDLIB/OTHER");
    let foreign = file_name("PRDLIB/FOREIGN");
    for file in [&other, &foreign] {
        create_file(&place.system, file, &["K BIGINT"], &["K"])
            .await
            .unwrap();
    }
    start_journaling(&place.system, &other).await.unwrap();
    place
        .system
        .run(CreateJournal {
            journal: qualified("PRDLIB/JRN2"),
            receiver: None,
            attributes: AttributePatch::default(),
        })
        .await
        .unwrap();
    place
        .system
        .run(rjournal::daemon::command::file::StartJournaling {
            file: foreign.clone(),
            journal: qualified("PRDLIB/JRN2"),
            images: Images::Both,
        })
        .await
        .unwrap();
    let job = place.job().await;
    let database = place.database(&job).await;
    let put = |file: &rjournal::entry::FileName| Write::Put {
        file: file.clone(),
        row: vec![Value::BigInt(1)],
    };
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(insert(1, "one", 1)).await.unwrap();
    transaction.write(put(&other)).await.unwrap();
    assert!(matches!(
        transaction.write(put(&foreign)).await,
        Err(DatabaseError::NoFile { .. })
    ));
    transaction.commit().await.unwrap();
    assert_eq!(all_rows(&database, &other).await.len(), 1);
    assert_eq!(all_rows(&database, &account()).await.len(), 1);
    job.stop().await.unwrap();
}

fn deposit_key(key: u64) -> DepositKey {
    DepositKey {
        client: ClientId::from_bytes([5; 16]),
        key,
    }
}

#[tokio::test]
async fn a_transaction_retried_under_its_key_lands_once() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let mut transaction = database.begin(Some(deposit_key(1))).await.unwrap();
    transaction.write(insert(1, "one", 1)).await.unwrap();
    let Outcome::Landed { sequence, .. } = transaction.commit().await.unwrap() else {
        panic!("it did not land");
    };
    let again = database.begin(Some(deposit_key(1))).await.map(drop);
    assert_eq!(
        again,
        Err(DatabaseError::LandedBefore {
            sequence,
            journal: None
        })
    );
    // One that was rolled back did not land.
    let mut transaction = database.begin(Some(deposit_key(2))).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    transaction.rollback().await.unwrap();
    let mut transaction = database.begin(Some(deposit_key(2))).await.unwrap();
    transaction.write(insert(2, "two", 2)).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(all_rows(&database, &account()).await.len(), 2);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_single_change_retried_under_its_key_lands_once() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let put = Write::Put {
        file: account(),
        row: row(1, "put", 1),
    };
    // The row is another one by the time of the retry, so constraints must not be looked at first.
    for (number, change) in [(1, put), (2, insert(2, "two", 2)), (3, delete(2))] {
        let first = database
            .write(change.clone(), Some(deposit_key(number)))
            .await;
        let Ok(Outcome::Landed { sequence, .. }) = first else {
            panic!("{first:?}");
        };
        let again = database.write(change, Some(deposit_key(number))).await;
        assert_eq!(
            again,
            Err(DatabaseError::LandedBefore {
                sequence,
                journal: None
            })
        );
    }
    // What was refused did not land.
    let refused = database
        .write(insert(1, "again", 1), Some(deposit_key(4)))
        .await;
    assert!(matches!(refused, Err(DatabaseError::Duplicate { .. })));
    let landed = database
        .write(update(1, "again", 1), Some(deposit_key(4)))
        .await;
    assert!(matches!(landed, Ok(Outcome::Landed { .. })), "{landed:?}");
    assert_eq!(all_rows(&database, &account()).await, [row(1, "again", 1)]);
    job.stop().await.unwrap();
}
