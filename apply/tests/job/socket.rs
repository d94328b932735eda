//! The store's socket: everything a client can ask, transactions that end with their connection, and bad bytes, which get
//! an error and harm nobody else.

use std::time::Duration;

use rjournal::entry::record::Value;
use rjournal::entry::{ClientId, DepositKey, Name, Sequence};
use rjournal_apply::database::{Database, Outcome};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::ApplyJob;
use rjournal_apply::serve::{DatabaseClient, StoreSocket, WriteKind, socket_path};
use rjournal_apply::store::{StoreKind, check};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::place::{
    LONG, Place, account, all_rows, file_name, in_time, insert, key, main_store, row, tiny_steps,
};

fn main_name() -> Name {
    Name::new("MAIN").unwrap()
}

/// A place with a job that serves its store.
struct Served {
    place: Place,
    job: ApplyJob,
    database: Database,
    _socket: StoreSocket,
}

impl Served {
    async fn new() -> Self {
        Self::with(rjournal_apply::job::JobOptions::default()).await
    }

    async fn with(options: rjournal_apply::job::JobOptions) -> Self {
        let place = Place::new().await;
        let job = place.job_with(StoreKind::Sled, options).await;
        let database = place.patient_database(&job, LONG).await;
        main_store(&place.data());
        let path = socket_path(&place.data(), main_name());
        let socket = StoreSocket::listen(path, database.clone()).unwrap();
        Self {
            place,
            job,
            database,
            _socket: socket,
        }
    }

    async fn client(&self) -> DatabaseClient {
        DatabaseClient::connect(&self.place.data(), main_name())
            .await
            .unwrap()
    }

    async fn stream(&self) -> UnixStream {
        UnixStream::connect(socket_path(&self.place.data(), main_name()))
            .await
            .unwrap()
    }
}

async fn put(client: &mut DatabaseClient, id: i64, amount: i32) -> Outcome {
    let write = client
        .encode(WriteKind::Put, &account(), &row(id, "row", amount))
        .await
        .unwrap();
    client.write(vec![write], None).await.unwrap()
}

#[tokio::test]
async fn a_client_sees_the_files_and_reads_and_writes_rows() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let outcome = put(&mut client, 1, 10).await;
    assert!(matches!(outcome, Outcome::Landed { .. }), "{outcome:?}");
    put(&mut client, 2, 20).await;
    let files = client.files().await.unwrap();
    assert_eq!((files.len(), files[0].rows), (1, 2));
    assert_eq!(files[0].file, account());
    let handle = client.file(&account()).await.unwrap();
    assert_eq!(handle.format().fields().len(), 3);
    assert_eq!(
        client.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "row", 10))
    );
    assert_eq!(client.get(&account(), &key(3)).await.unwrap(), None);
    let page = client.scan(&account(), None, 1).await.unwrap();
    assert_eq!(page.rows.len(), 1);
    let rest = client
        .scan(&account(), Some(&page.rows[0].key), 10)
        .await
        .unwrap();
    assert_eq!(rest.rows.len(), 1);
    let missing = client.get(&file_name("PRDLIB/NONE"), &key(1)).await;
    assert!(matches!(missing, Err(DatabaseError::NoFile { .. })));
    let long = row(1, &"x".repeat(21), 1);
    let misfit = client.encode(WriteKind::Put, &account(), &long).await;
    assert!(matches!(misfit, Err(DatabaseError::Row { .. })));
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn inserts_updates_and_deletes_keep_their_constraints_over_the_socket() {
    let served = Served::new().await;
    let mut client = served.client().await;
    put(&mut client, 1, 1).await;
    let insert = client
        .encode(WriteKind::Insert, &account(), &row(1, "again", 1))
        .await
        .unwrap();
    let duplicate = client.write(vec![insert], None).await;
    assert!(matches!(duplicate, Err(DatabaseError::Duplicate { .. })));
    let update = client
        .encode(WriteKind::Update, &account(), &row(2, "none", 1))
        .await
        .unwrap();
    let absent = client.write(vec![update], None).await;
    assert!(matches!(absent, Err(DatabaseError::NoRow { .. })));
    let delete = client
        .encode(WriteKind::Delete, &account(), &key(1))
        .await
        .unwrap();
    client.write(vec![delete.clone()], None).await.unwrap();
    let absent = client.write(vec![delete], None).await;
    assert!(matches!(absent, Err(DatabaseError::NoRow { .. })));
    assert_eq!(client.get(&account(), &key(1)).await.unwrap(), None);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_over_the_socket_is_all_or_nothing() {
    let served = Served::new().await;
    let (mut client, mut other) = (served.client().await, served.client().await);
    let mut transaction = client.begin(None).await.unwrap();
    for id in 0..3 {
        transaction
            .write(WriteKind::Insert, &account(), &row(id, "row", 0))
            .await
            .unwrap();
    }
    assert_eq!(
        transaction.get(&account(), &key(2)).await.unwrap(),
        Some(row(2, "row", 0))
    );
    assert_eq!(other.get(&account(), &key(2)).await.unwrap(), None);
    let outcome = transaction.commit().await.unwrap();
    assert!(matches!(outcome, Outcome::Landed { .. }));
    assert_eq!(
        other.get(&account(), &key(2)).await.unwrap(),
        Some(row(2, "row", 0))
    );
    let mut transaction = client.begin(None).await.unwrap();
    transaction
        .write(WriteKind::Delete, &account(), &key(0))
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(all_rows(&served.database, &account()).await.len(), 3);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_transaction_that_is_dropped_is_rolled_back_and_the_connection_goes_on() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let mut transaction = client.begin(None).await.unwrap();
    transaction
        .write(WriteKind::Insert, &account(), &row(1, "lost", 0))
        .await
        .unwrap();
    drop(transaction);
    // Its lock comes back although the connection stays.
    served
        .database
        .write(insert(1, "kept", 1), None)
        .await
        .unwrap();
    assert_eq!(
        client.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "kept", 1))
    );
    let mut transaction = client.begin(None).await.unwrap();
    transaction
        .write(WriteKind::Update, &account(), &row(1, "changed", 2))
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(
        client.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "changed", 2))
    );
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_transaction_whose_connection_is_gone_is_rolled_back() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let mut transaction = client.begin(None).await.unwrap();
    transaction
        .write(WriteKind::Insert, &account(), &row(1, "lost", 0))
        .await
        .unwrap();
    // As when its process dies: nothing is said any more.
    std::mem::forget(transaction);
    drop(client);
    served
        .database
        .write(insert(1, "kept", 1), None)
        .await
        .unwrap();
    assert_eq!(
        all_rows(&served.database, &account()).await,
        [row(1, "kept", 1)]
    );
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn writes_under_a_key_land_together_and_once() {
    let served = Served::new().await;
    let mut client = served.client().await;
    let deposit_key = Some(DepositKey {
        client: ClientId::from_bytes([3; 16]),
        key: 1,
    });
    let mut writes = Vec::new();
    for id in 0..3 {
        let insert = client
            .encode(WriteKind::Insert, &account(), &row(id, "row", 0))
            .await;
        writes.push(insert.unwrap());
    }
    let landed = client.write(writes.clone(), deposit_key).await.unwrap();
    let Outcome::Landed { sequence, .. } = landed else {
        panic!("{landed:?}");
    };
    let again = client.write(writes, deposit_key).await;
    assert_eq!(
        again,
        Err(DatabaseError::LandedBefore {
            sequence,
            journal: None
        })
    );
    assert_eq!(all_rows(&served.database, &account()).await.len(), 3);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_hash_tells_equal_files_from_others() {
    let served = Served::new().await;
    let mut client = served.client().await;
    put(&mut client, 1, 1).await;
    let first = client.hash(&account()).await.unwrap();
    assert_eq!(first.rows, 1);
    put(&mut client, 1, 2).await;
    let changed = client.hash(&account()).await.unwrap();
    assert_ne!(changed.hash, first.hash);
    assert!(changed.applied > first.applied);
    put(&mut client, 1, 1).await;
    assert_eq!(client.hash(&account()).await.unwrap().hash, first.hash);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_hash_is_never_that_of_half_a_transaction() {
    let served = Served::with(tiny_steps()).await;
    let mut client = served.client().await;
    let mut other = served.client().await;
    let writing = tokio::spawn(async move {
        for round in 0..5 {
            let mut transaction = other.begin(None).await.unwrap();
            for id in 0..200 {
                let row = row(round * 200 + id, "row", 0);
                transaction
                    .write(WriteKind::Insert, &account(), &row)
                    .await
                    .unwrap();
            }
            transaction.commit().await.unwrap();
        }
    });
    while !writing.is_finished() {
        match client.hash(&account()).await {
            Ok(hashed) => assert!(hashed.rows % 200 == 0, "{} rows", hashed.rows),
            Err(DatabaseError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    writing.await.unwrap();
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_saves_holds_releases_waits_and_asks_how_it_is() {
    let served = Served::new().await;
    let (mut client, mut other) = (served.client().await, served.client().await);
    put(&mut client, 1, 1).await;
    let path = served.place.dir.path().join("a.save");
    let saved = client.save(Some(&path)).await.unwrap();
    assert_eq!((saved.files, saved.rows), (1, 1));
    check(&path, &mut |_| ()).unwrap();
    let refused = client.save(None).await;
    assert!(matches!(refused, Err(DatabaseError::Store { .. })));
    let applied = client.status().await.unwrap().position.unwrap().applied;
    assert!(client.wait(applied, Duration::ZERO).await.unwrap());
    client.hold(true).await.unwrap();
    assert!(client.status().await.unwrap().held);
    assert!(!client.wait(applied.next(), Duration::ZERO).await.unwrap());
    client.hold(false).await.unwrap();
    put(&mut other, 2, 2).await;
    assert!(client.wait(applied.next(), LONG).await.unwrap());
    served.job.stop().await.unwrap();
    let stopped = client.hold(true).await;
    assert_eq!(stopped, Err(DatabaseError::Stopping));
    assert!(!client.wait(Sequence::new(1 << 40), LONG).await.unwrap());
}

#[tokio::test]
async fn a_second_transaction_on_a_connection_is_refused() {
    let served = Served::new().await;
    let mut client = served.client().await;
    std::mem::forget(client.begin(None).await.unwrap());
    let second = client.begin(None).await.map(|_| ());
    assert!(
        matches!(&second, Err(DatabaseError::Row { reason }) if reason.contains("open")),
        "{second:?}"
    );
    served.job.stop().await.unwrap();
}

/// What a client of a version begins with.
fn hello(protocol: u8) -> Vec<u8> {
    framed(&[b"\x81\xa5hello\x81\xa8protocol", &[protocol][..]].concat())
}

/// Says hello, sends bytes and gives everything that comes back until the job closes the connection.
async fn answer_to(served: &Served, bytes: &[u8]) -> Vec<u8> {
    answer_without_hello(served, &[&hello(1), bytes].concat()).await
}

async fn answer_without_hello(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = served.stream().await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn bad_bytes_get_an_error_and_harm_nobody_else() {
    let served = Served::new().await;
    let mut client = served.client().await;
    put(&mut client, 1, 1).await;
    // Garbage, an empty message, a request of another version, one that lacks its fields, one with bytes behind it.
    let unknown = [&[0xab_u8][..], b"from_later!"].concat();
    let bare = [&[0x83_u8][..], &[0xa3][..], b"get"].concat();
    let behind = [&[0xa6_u8][..], b"status", &[0xc0]].concat();
    let garbage: Vec<u8> = (0..200).map(|n: u8| n.wrapping_mul(97)).collect();
    let bodies = [&garbage[..], &[], &unknown, &bare, &behind];
    for body in bodies {
        let answer = answer_to(&served, &framed(body)).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("failed"), "{body:?}: {text:?}");
    }
    // A message longer than any may be: refused before it is waited for.
    let giant = answer_to(&served, &u32::MAX.to_le_bytes()).await;
    assert!(String::from_utf8_lossy(&giant).contains("at most"));
    // Half a message, and a connection that says nothing.
    let mut half = served.stream().await;
    half.write_all(&framed(b"half")[..5]).await.unwrap();
    let silent = served.stream().await;
    drop(half);
    assert_eq!(
        client.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "row", 1))
    );
    put(&mut client, 2, 2).await;
    assert_eq!(all_rows(&served.database, &account()).await.len(), 2);
    drop(silent);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_of_another_version_or_of_none_is_refused_before_anything_else() {
    let served = Served::new().await;
    let other = answer_without_hello(&served, &hello(2)).await;
    let text = String::from_utf8_lossy(&other);
    assert!(
        text.contains("failed") && text.contains("protocol"),
        "{text:?}"
    );
    let status = [&[0xa6_u8][..], b"status"].concat();
    let none = answer_without_hello(&served, &framed(&status)).await;
    let text = String::from_utf8_lossy(&none);
    assert!(
        text.contains("failed") && text.contains("protocol"),
        "{text:?}"
    );
    // A client without a hello is not given room for a large message.
    let large = answer_without_hello(&served, &2000_u32.to_le_bytes()).await;
    assert!(String::from_utf8_lossy(&large).contains("at most 1024"));
    let mut client = served.client().await;
    put(&mut client, 1, 1).await;
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_refuses_a_job_of_another_version() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path(), main_name());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let job = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; hello(1).len()];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(asked, hello(1));
        stream.write_all(&hello(7)).await.unwrap();
        stream
    };
    let (refused, _stream) =
        in_time(async { tokio::join!(DatabaseClient::connect(dir.path(), main_name()), job) })
            .await;
    let refused = refused.map(drop).unwrap_err();
    let due = DatabaseError::Protocol {
        job: 7,
        client: Some(1),
    };
    assert_eq!(refused, due);
    let error = rjournal::CommandError::from(refused);
    assert_eq!(error.id, "RJN6016");
    assert!(error.text.contains('7'), "{error}");
}

#[tokio::test]
async fn an_encoded_write_that_is_no_row_is_refused_and_deposits_nothing() {
    let served = Served::new().await;
    let mut client = served.client().await;
    put(&mut client, 1, 1).await;
    let deposited = served.place.journal().readable();
    for kind in [
        WriteKind::Insert,
        WriteKind::Update,
        WriteKind::Put,
        WriteKind::Delete,
    ] {
        let write = rjournal_apply::serve::EncodedWrite {
            kind,
            file: account(),
            bytes: b"no row, no key".to_vec(),
        };
        let refused = client.write(vec![write], None).await;
        assert!(
            matches!(refused, Err(DatabaseError::Row { .. })),
            "{refused:?}"
        );
    }
    let facts = served.place.journal().facts(deposited).unwrap();
    assert_eq!(facts.deposited, deposited);
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_its_connection_only() {
    let served = Served::new().await;
    let (mut client, mut other) = (served.client().await, served.client().await);
    put(&mut client, 1, 1).await;
    let far = Sequence::new(1 << 40);
    let given_up = tokio::time::timeout(Duration::from_millis(20), client.wait(far, LONG)).await;
    assert!(given_up.is_err());
    // The answer that is still to come must not be taken for that of another request.
    let read = client.get(&account(), &key(1)).await;
    assert!(
        matches!(&read, Err(DatabaseError::Store { reason }) if reason.contains("connect anew")),
        "{read:?}"
    );
    assert_eq!(
        other.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, "row", 1))
    );
    served.job.stop().await.unwrap();
}

#[tokio::test]
async fn a_store_without_a_job_says_so() {
    let place = Place::new().await;
    let refused = DatabaseClient::connect(&place.data(), main_name())
        .await
        .map(drop);
    assert!(
        matches!(&refused, Err(error @ DatabaseError::NoJob { .. }) if error.to_string().contains("STRAPY")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn rows_of_a_file_without_a_key_are_known_by_their_number_over_the_socket() {
    let served = Served::new().await;
    let log = file_name("PRDLIB/LOG");
    crate::place::create_file(&served.place.system, &log, &["LINE VARCHAR(50)"], &[])
        .await
        .unwrap();
    crate::place::start_journaling(&served.place.system, &log)
        .await
        .unwrap();
    let mut client = served.client().await;
    let line = [Value::Text("line".to_owned())];
    for _ in 0..3 {
        let write = client.encode(WriteKind::Insert, &log, &line).await.unwrap();
        client.write(vec![write], None).await.unwrap();
    }
    let second = [Value::BigInt(2)];
    let delete = client.encode(WriteKind::Delete, &log, &second).await;
    client.write(vec![delete.unwrap()], None).await.unwrap();
    assert_eq!(client.get(&log, &second).await.unwrap(), None);
    assert_eq!(
        client.get(&log, &[Value::BigInt(3)]).await.unwrap(),
        Some(line.to_vec())
    );
    served.job.stop().await.unwrap();
}
