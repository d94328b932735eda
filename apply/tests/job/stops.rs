//! What stops a job, or keeps it from starting: poison, conflicts, a second job, a store that stands where its journal
//! has never been, entries that were deleted.

use rjournal::daemon::command::journal::{AttributePatch, CreateJournal, DescribeJournals};
use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::entry::{ChainHead, Draft, Kind, ObjectId, Sequence, Timestamp};
use rjournal_apply::error::{ApplyError, DatabaseError};
use rjournal_apply::job::{ApplyJob, JobOptions, Port};
use rjournal_apply::machine::Skip;
use rjournal_apply::store::{
    Batch, ReplicaStore, RowChange, StoreError, StoreKind, StoreOptions, StorePosition, open,
};

use crate::place::{
    LONG, Place, account, all_rows, in_time, insert, main_store, qualified, row, update,
};
use crate::tail::note;

/// Deposits an entry that is no row of the file.
async fn poison(place: &Place, file: ObjectId) -> Sequence {
    let draft = Draft {
        object: file,
        format: 1,
        ..Draft::new(Kind::RECORD_PUT, b"no row")
    };
    let ticket = place.journal().deposit(&draft).await.unwrap();
    ticket.sequence()
}

fn open_main(place: &Place) -> Box<dyn ReplicaStore> {
    open(
        StoreKind::Sled,
        &main_store(&place.data()),
        &StoreOptions::default(),
    )
    .unwrap()
}

fn skipping(entry: Sequence) -> JobOptions {
    let skip = Skip {
        reason: "it cannot be".to_owned(),
        at: Timestamp::from_micros(1),
    };
    JobOptions {
        skip: Some((entry, skip)),
        ..JobOptions::default()
    }
}

#[tokio::test]
async fn a_poison_entry_stops_the_job_right_before_it_until_it_is_skipped() {
    let place = Place::new().await;
    let mut job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let id = database.file(&account()).await.unwrap().id;
    let entry = poison(&place, id).await;
    let behind = note(&place).await;
    let stopped = in_time(job.ended()).await.unwrap_err();
    assert!(matches!(stopped, ApplyError::Poison { .. }), "{stopped}");
    assert_eq!(stopped.entry(), Some(entry));
    assert!(!stopped.is_transient());
    let status = job.shared().status();
    assert_eq!(status.note, Some(stopped.to_string()));
    assert_eq!(status.position.unwrap().applied, entry.before());
    assert!(!in_time(job.shared().wait_applied(behind)).await);
    let refused = in_time(database.write(insert(2, "two", 2), None)).await;
    assert!(
        matches!(
            refused,
            Err(DatabaseError::Stopping | DatabaseError::Store { .. })
        ),
        "{refused:?}"
    );
    drop((job, database));
    // Again, and with the order to pass over another entry.
    for options in [JobOptions::default(), skipping(behind)] {
        let mut job = place.job_with(StoreKind::Sled, options).await;
        let stopped = in_time(job.ended()).await.unwrap_err();
        assert_eq!(stopped.entry(), Some(entry));
        assert_eq!(job.shared().applied(), entry.before());
    }
    let job = place.job_with(StoreKind::Sled, skipping(entry)).await;
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    let database = place.database(&job).await;
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    let files = database.files().unwrap();
    assert_eq!(files.len(), 2, "what was passed over is listed");
    job.stop().await.unwrap();
    // The order needs not be given again.
    let job = place.job().await;
    job.stop().await.unwrap();
}

#[tokio::test]
async fn what_was_decided_before_a_poison_entry_in_one_bundle_is_applied() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    let id = database.file(&account()).await.unwrap().id;
    database.write(insert(1, "one", 1), None).await.unwrap();
    job.stop().await.unwrap();
    let format = database.file(&account()).await.unwrap().format.clone();
    let new = rjournal::entry::record::encode_row(&format, &row(2, "two", 2)).unwrap();
    let draft = |image| Draft {
        object: id,
        format: 1,
        ..Draft::new(Kind::RECORD_PUT, image)
    };
    let unit = [draft(&new), draft(b"no row")];
    let ticket = place.journal().deposit_unit(&unit).await.unwrap();
    let entry = ticket.sequence();
    in_time(ticket).await;
    let mut job = place.job().await;
    let stopped = in_time(job.ended()).await.unwrap_err();
    assert_eq!(stopped.entry(), Some(entry));
    let store = open_main(&place);
    let position = store.reader().position().unwrap().unwrap();
    assert_eq!(position.applied, entry.before());
    assert_eq!(store.reader().files().unwrap()[0].rows, 2);
}

#[tokio::test]
async fn a_row_somebody_else_changed_stops_the_job() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let file = database.file(&account()).await.unwrap();
    job.stop().await.unwrap();
    let encode = |row: &[_]| rjournal::entry::record::encode_row(&file.format, row).unwrap();
    let key = file.key_of(&crate::place::key(1)).unwrap();
    let mut store = open_main(&place);
    let position = store.reader().position().unwrap();
    let tampered = Batch {
        expected: position,
        next: position.unwrap(),
        files: vec![],
        rows: vec![RowChange {
            file: file.id,
            key,
            row: Some(encode(&row(1, "tampered", 9))),
        }],
    };
    store.apply(&tampered).unwrap();
    store.close().unwrap();
    let (before, after) = (encode(&row(1, "one", 1)), encode(&row(1, "uno", 1)));
    let draft = |kind, image| Draft {
        object: file.id,
        format: 1,
        indicator: 1,
        ..Draft::new(kind, image)
    };
    let unit = [
        draft(Kind::RECORD_BEFORE, &before),
        draft(Kind::RECORD_UPDATE, &after),
    ];
    let ticket = place.journal().deposit_unit(&unit).await.unwrap();
    let mut job = place.job().await;
    let stopped = in_time(job.ended()).await.unwrap_err();
    assert!(matches!(stopped, ApplyError::Conflict { .. }), "{stopped}");
    assert_eq!(stopped.entry(), Some(ticket.sequence()));
    let text = stopped.to_string();
    assert!(text.contains("tampered") && text.contains("one"), "{text}");
    let store = open_main(&place);
    let rows = store.reader().scan(file.id, None, 9, usize::MAX).unwrap();
    assert_eq!(rows[0].row, encode(&row(1, "tampered", 9)), "it is left");
}

#[tokio::test]
async fn a_second_job_on_one_store_is_refused() {
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        let place = Place::new().await;
        let job = place.job_with(kind, JobOptions::default()).await;
        let second = open(kind, &main_store(&place.data()), &StoreOptions::default());
        match second {
            Err(error @ StoreError::Backend { .. }) => assert!(error.is_transient(), "{error}"),
            other => panic!("{other:?}"),
        }
        let sequence = note(&place).await;
        assert!(
            in_time(job.shared().wait_applied(sequence)).await,
            "the first goes on"
        );
        job.stop().await.unwrap();
        open(kind, &main_store(&place.data()), &StoreOptions::default()).unwrap();
    }
}

/// Puts the store somewhere else and starts its job.
async fn started_at(place: &Place, at: impl Fn(StorePosition) -> StorePosition) -> ApplyError {
    let mut store = open_main(place);
    let position = store.reader().position().unwrap().unwrap();
    let moved = |next| Batch {
        expected: store.reader().position().unwrap(),
        next,
        files: vec![],
        rows: vec![],
    };
    let there = moved(at(position));
    store.apply(&there).unwrap();
    store.close().unwrap();
    let refused = ApplyJob::start(place.port().await, open_main(place), JobOptions::default())
        .await
        .map(drop)
        .unwrap_err();
    let mut store = open_main(place);
    let back = Batch {
        expected: store.reader().position().unwrap(),
        next: position,
        files: vec![],
        rows: vec![],
    };
    store.apply(&back).unwrap();
    store.close().unwrap();
    refused
}

#[tokio::test]
async fn a_store_that_stands_where_its_journal_has_never_been_is_refused() {
    let place = Place::new().await;
    let job = place.job().await;
    note(&place).await;
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    job.stop().await.unwrap();
    let beyond = started_at(&place, |position| StorePosition {
        applied: Sequence::new(position.applied.get() + 1_000),
        ..position
    })
    .await;
    assert!(matches!(beyond, ApplyError::Ahead { .. }), "{beyond}");
    let other_history = started_at(&place, |position| StorePosition {
        head: ChainHead::from_bytes([7; 32]),
        ..position
    })
    .await;
    assert!(
        matches!(other_history, ApplyError::Ahead { .. }),
        "{other_history}"
    );
    assert!(!other_history.is_transient());
    let job = place.job().await;
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_of_another_journal_is_refused() {
    let place = Place::new().await;
    let job = place.job().await;
    let sequence = note(&place).await;
    assert!(in_time(job.shared().wait_applied(sequence)).await);
    job.stop().await.unwrap();
    place
        .system
        .run(CreateJournal {
            journal: qualified("PRDLIB/OTHER"),
            receiver: None,
            attributes: AttributePatch::default(),
        })
        .await
        .unwrap();
    let other = place.system.journal(qualified("PRDLIB/OTHER")).unwrap();
    let port = Port::Embedded {
        system: place.system.clone(),
        journal: other,
    };
    let refused = ApplyJob::start(port, open_main(&place), JobOptions::default())
        .await
        .map(drop);
    assert!(
        matches!(refused, Err(ApplyError::OtherJournal { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_store_whose_next_entries_were_deleted_says_so() {
    let place = Place::new().await;
    let journal = qualified("PRDLIB/SMALL");
    place
        .system
        .run(CreateJournal {
            journal,
            receiver: None,
            attributes: AttributePatch {
                threshold_kb: Some(64),
                ..AttributePatch::default()
            },
        })
        .await
        .unwrap();
    let small = place.system.journal(journal).unwrap();
    let receivers = loop {
        let draft = Draft::new(Kind::USER, &[7; 10_000]);
        in_time(small.deposit(&draft).await.unwrap()).await;
        let describe = DescribeJournals {
            journal: Some(journal),
        };
        let described = place.system.run(describe).await.unwrap();
        if described.journals[0].receivers.len() > 1 {
            break described.journals[0].receivers.clone();
        }
    };
    let gone = DeleteReceiver {
        receiver: receivers[0].name,
        journal: None,
        force: true,
    };
    place.system.run(gone).await.unwrap();
    let port = Port::Embedded {
        system: place.system.clone(),
        journal: small,
    };
    let refused = ApplyJob::start(port, open_main(&place), JobOptions::default())
        .await
        .map(drop);
    assert!(
        matches!(&refused, Err(ApplyError::Missing { needed, oldest }) if needed < oldest),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_job_that_stopped_lets_its_store_go() {
    let place = Place::new().await;
    let mut job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let id = database.file(&account()).await.unwrap().id;
    let entry = poison(&place, id).await;
    let stopped = in_time(job.ended()).await.unwrap_err();
    assert_eq!(stopped.entry(), Some(entry));
    // Those who read it may still be there.
    open_main(&place).close().unwrap();
    assert!(database.write(update(1, "uno", 1), None).await.is_err());
}

/// Nobody can stop a job whose handle is gone: its store once stayed locked until the process ended.
#[tokio::test]
async fn a_job_that_is_dropped_ends_and_gives_its_store_back() {
    let place = Place::new().await;
    let job = place.job().await;
    let shared = std::sync::Arc::clone(job.shared());
    drop(job);
    in_time(shared.wait_applied(Sequence::LAST_USABLE)).await;
    drop(shared);
    open_main(&place).close().unwrap();
}

/// The thread of a job once panicked, and with it a release build ended, when its caller's runtime was dropped first.
#[test]
fn a_job_ends_in_order_when_its_runtime_was_dropped_first() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let first = runtime();
    let (place, job) = first.block_on(async {
        let place = Place::new().await;
        let job = place.job().await;
        (place, job)
    });
    first.shutdown_background();
    let shared = std::sync::Arc::clone(job.shared());
    runtime().block_on(async {
        in_time(job.stop()).await.unwrap();
        in_time(shared.wait_applied(Sequence::LAST_USABLE)).await;
    });
    drop(shared);
    open_main(&place).close().unwrap();
}
