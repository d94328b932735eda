//! A file read as it was at one entry, over the socket, while it is changed; what holds the store for too long is given up.

use std::time::Duration;

use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::{ApplyJob, JobOptions};
use rjournal_apply::serve::{DatabaseClient, SnapshotLimits, StoreSocket, WriteKind, socket_path};
use rjournal_apply::store::{KeyedRow, StoreKind};

use crate::place::{LONG, Place, account, insert, key, main_store, row};

/// A job that serves a store with fifty rows.
struct Served {
    place: Place,
    job: ApplyJob,
    _socket: StoreSocket,
}

impl Served {
    async fn new(kind: StoreKind, limits: SnapshotLimits) -> Self {
        let place = Place::new().await;
        let job = place.job_with(kind, JobOptions::default()).await;
        let database = place.patient_database(&job, LONG).await;
        let mut transaction = database.begin(None).await.unwrap();
        for id in 0..50 {
            transaction.write(insert(id, "first", 0)).await.unwrap();
        }
        transaction.commit().await.unwrap();
        main_store(&place.data());
        let store = rjournal::entry::Name::new("MAIN").unwrap();
        let path = socket_path(&place.data(), store);
        let socket = StoreSocket::listen_with(path, database, limits).unwrap();
        Self {
            place,
            job,
            _socket: socket,
        }
    }

    async fn client(&self) -> DatabaseClient {
        let store = rjournal::entry::Name::new("MAIN").unwrap();
        let client = DatabaseClient::connect(&self.place.data(), store).await;
        client.unwrap()
    }
}

async fn change(client: &mut DatabaseClient, kind: WriteKind, id: i64) {
    let values = match kind {
        WriteKind::Delete => key(id),
        _ => row(id, "later", 1),
    };
    let write = client.encode(kind, &account(), &values).await.unwrap();
    client.write(vec![write], None).await.unwrap();
}

async fn exported_while_it_is_changed(kind: StoreKind) {
    let served = Served::new(kind, SnapshotLimits::default()).await;
    let (mut reader, mut writer) = (served.client().await, served.client().await);
    let before = reader.scan(&account(), None, 1000).await.unwrap().rows;
    let exported = reader.snapshot(&account()).await.unwrap();
    assert_eq!(exported.applied, served.job.shared().applied());
    assert_eq!(exported.file.rows, 50);
    let mut rows: Vec<KeyedRow> = Vec::new();
    // Changes before, at and behind the place that is read.
    for round in 0.. {
        let after = rows.last().map(|row| row.key.clone());
        let page = reader.scan_snapshot(after.as_deref(), 7).await.unwrap();
        if page.rows.is_empty() {
            break;
        }
        rows.extend(page.rows);
        change(&mut writer, WriteKind::Put, round).await;
        change(&mut writer, WriteKind::Delete, 49 - round).await;
        change(&mut writer, WriteKind::Insert, 100 + round).await;
    }
    assert_eq!(rows, before);
    reader.end_snapshot().await.unwrap();
    let next = reader.snapshot(&account()).await.unwrap();
    assert!(next.applied > exported.applied);
    let page = reader.scan_snapshot(None, 1000).await.unwrap();
    assert_ne!(page.rows, before);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn an_export_from_sled_is_the_file_at_one_entry() {
    exported_while_it_is_changed(StoreKind::Sled).await;
}

#[tokio::test]
async fn an_export_from_redb_is_the_file_at_one_entry() {
    exported_while_it_is_changed(StoreKind::Redb).await;
}

#[tokio::test]
async fn a_snapshot_that_is_held_for_too_long_is_given_up_and_the_connection_goes_on() {
    for limits in [
        SnapshotLimits {
            idle: Duration::ZERO,
            ..SnapshotLimits::default()
        },
        SnapshotLimits {
            whole: Duration::ZERO,
            ..SnapshotLimits::default()
        },
    ] {
        let served = Served::new(StoreKind::Redb, limits).await;
        let mut client = served.client().await;
        let none = client.scan_snapshot(None, 10).await.map(drop);
        assert!(matches!(none, Err(DatabaseError::Snapshot { .. })));
        client.snapshot(&account()).await.unwrap();
        let lost = client.scan_snapshot(None, 10).await.map(drop);
        assert!(
            matches!(lost, Err(DatabaseError::Snapshot { .. })),
            "{lost:?}"
        );
        assert!(client.get(&account(), &key(1)).await.unwrap().is_some());
        served.job.stop().await.unwrap();
    }
}

#[tokio::test]
async fn only_so_many_connections_hold_a_snapshot_at_once() {
    let served = Served::new(StoreKind::Sled, SnapshotLimits::default()).await;
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut client = served.client().await;
        client.snapshot(&account()).await.unwrap();
        // The place of the one before is its own again.
        client.snapshot(&account()).await.unwrap();
        holding.push(client);
    }
    let mut third = served.client().await;
    let refused = third.snapshot(&account()).await.map(drop);
    assert!(matches!(refused, Err(DatabaseError::Snapshot { .. })));
    let first = &mut holding[0];
    first.end_snapshot().await.unwrap();
    third.snapshot(&account()).await.unwrap();
    served.job.stop().await.unwrap();
}
