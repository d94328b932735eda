//! Room `serve`: the job's end of the socket: one task for each connection, at most one transaction in each.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rjournal::entry::record::{decode_key, decode_row};
use rjournal::entry::{FileName, Name};
use rjournal::link::{HELLO_BYTES_MAX, OtherVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::protocol::{
    EncodedWrite, FileSummary, HashedFile, MESSAGE_BYTES_MAX, PROTOCOL, SavedStore, StoreReply,
    StoreRequest, WriteKind, put, take,
};
use super::snapshot::{HELD_MAX, HeldSnapshot, SnapshotLimits};
use crate::database::{Database, DatabaseFile, Outcome, Transaction, Write};
use crate::error::DatabaseError;
use crate::job::Order;
use crate::store::{KeyedRow, hash_file};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 512;
/// Rows and bytes given in one page.
const PAGE_ROWS_MAX: usize = 65_536;
const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where the socket of a store stands in a data directory.
pub fn socket_path(data: &Path, store: Name) -> PathBuf {
    data.join("stores").join(format!("{store}.sock"))
}

/// A store's socket, listening until it is dropped.
#[derive(Debug)]
pub struct StoreSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl StoreSocket {
    /// Listens. A socket left behind by a dead job is replaced: the store's lock is held.
    ///
    /// # Errors
    /// Whatever the machine says.
    pub fn listen(path: PathBuf, database: Database) -> std::io::Result<Self> {
        Self::listen_with(path, database, SnapshotLimits::default())
    }

    /// As [`Self::listen`], with limits for snapshots.
    ///
    /// # Errors
    /// As [`Self::listen`].
    pub fn listen_with(
        path: PathBuf,
        database: Database,
        limits: SnapshotLimits,
    ) -> std::io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(accept(listener, database, limits));
        Ok(Self { path, task })
    }
}

impl Drop for StoreSocket {
    fn drop(&mut self) {
        self.task.abort();
        drop(std::fs::remove_file(&self.path));
    }
}

async fn accept(listener: UnixListener, database: Database, limits: SnapshotLimits) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let snapshots = Arc::new(Semaphore::new(HELD_MAX));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // As at the control socket: the file's mode is not the only thing that keeps others out.
        let user = stream.peer_cred().map(|credentials| credentials.uid());
        if !user.is_ok_and(|user| user == own || user == 0) {
            tracing::warn!("another user tried the store's socket");
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let session = Session {
            database: database.clone(),
            greeted: false,
            transaction: None,
            snapshot: None,
            snapshots: Arc::clone(&snapshots),
            limits,
        };
        tokio::spawn(async move {
            if let Err(error) = session.serve(stream).await {
                tracing::debug!(%error, "a store connection ended");
            }
            drop(place);
        });
    }
}

struct Session {
    database: Database,
    /// The client said its version, and it is this one.
    greeted: bool,
    transaction: Option<Transaction>,
    /// What is read at one position, or why it is not any more.
    snapshot: Option<Result<HeldSnapshot, DatabaseError>>,
    /// Places for those.
    snapshots: Arc<Semaphore>,
    limits: SnapshotLimits,
}

impl Session {
    async fn serve(mut self, mut stream: UnixStream) -> Result<(), DatabaseError> {
        let broken = |error: std::io::Error| DatabaseError::Store {
            reason: error.to_string(),
        };
        let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
        loop {
            loop {
                let request = match self.next_request(&mut input) {
                    Ok(Some(request)) => request,
                    Ok(None) => break,
                    Err(error) => {
                        // What follows cannot be told apart any more: the client is told, and let go.
                        put(&mut output, &StoreReply::Failed(error.clone()))?;
                        stream.write_all(&output).await.map_err(broken)?;
                        return Err(error);
                    }
                };
                let reply = self.reply(request).await.unwrap_or_else(StoreReply::Failed);
                put(&mut output, &reply)?;
            }
            tokio::select! {
                biased;
                written = stream.write_all(&output) => written.map_err(broken)?,
                // A client that does not take its rows must not keep a snapshot for it.
                () = passed(self.snapshot_deadline()) => return Ok(()),
            }
            output.clear();
            tokio::select! {
                read = stream.read_buf(&mut input) => {
                    if read.map_err(broken)? == 0 {
                        return Ok(());
                    }
                }
                () = passed(self.snapshot_deadline()) => self.give_snapshot_up(),
            }
        }
    }

    fn snapshot_deadline(&self) -> Option<tokio::time::Instant> {
        let held = self.snapshot.as_ref()?.as_ref().ok()?;
        Some(held.deadline())
    }

    fn give_snapshot_up(&mut self) {
        if let Some(Ok(held)) = &self.snapshot {
            self.snapshot = Some(Err(held.given_up()));
        }
    }

    async fn take_snapshot(&mut self, file: &FileName) -> Result<StoreReply, DatabaseError> {
        // The place of the one before is free first.
        self.snapshot = None;
        let places = Arc::clone(&self.snapshots);
        let (held, file) = HeldSnapshot::take(&self.database, file, self.limits, places).await?;
        self.snapshot = Some(Ok(held));
        Ok(StoreReply::Snapshot(Box::new(file)))
    }

    async fn scan_snapshot(
        &mut self,
        after: Option<Vec<u8>>,
        count: usize,
        bytes_max: usize,
    ) -> Result<StoreReply, DatabaseError> {
        let none = || DatabaseError::Snapshot {
            reason: "none was taken on this connection".to_owned(),
        };
        let held = self.snapshot.take().ok_or_else(none)?;
        let scanned = match held {
            Ok(held) => held.scan(after, count, bytes_max).await,
            Err(error) => Err(error),
        };
        match scanned {
            Ok((held, rows)) => {
                self.snapshot = Some(Ok(held));
                Ok(rows_reply(rows))
            }
            Err(error) => {
                self.snapshot = Some(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// The next request; the first is a hello of this version.
    fn next_request(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<StoreRequest>, DatabaseError> {
        if self.greeted {
            return take(input, MESSAGE_BYTES_MAX);
        }
        let Some(first) = take(input, HELLO_BYTES_MAX)? else {
            return Ok(None);
        };
        let client = match &first {
            StoreRequest::Hello { protocol } => Some(*protocol),
            _ => None,
        };
        OtherVersion::check(PROTOCOL, client).map_err(|other| DatabaseError::Protocol {
            job: other.server,
            client: other.client,
        })?;
        self.greeted = true;
        Ok(Some(first))
    }

    async fn reply(&mut self, request: StoreRequest) -> Result<StoreReply, DatabaseError> {
        let database = self.database.clone();
        Ok(match request {
            StoreRequest::Hello { .. } => StoreReply::Hello { protocol: PROTOCOL },
            StoreRequest::Files => {
                let files = database.files()?;
                StoreReply::Files(files.into_iter().map(FileSummary::of).collect())
            }
            StoreRequest::Describe { file } => {
                StoreReply::File(Box::new(describe(&database, &file).await?))
            }
            StoreRequest::Get {
                file,
                key,
                for_update,
            } => {
                let file = database.file(&file).await?;
                let row = match &mut self.transaction {
                    Some(transaction) => transaction.get_encoded(&file, &key, for_update).await?,
                    None => database.get_encoded(&file, &key)?,
                };
                StoreReply::Row(row.map(serde_bytes::ByteBuf::from))
            }
            StoreRequest::Scan {
                file,
                after,
                count,
                bytes_max,
            } => {
                let file = database.file(&file).await?;
                let after = after.as_ref().map(|after| after.as_slice());
                let rows = database.scan(
                    &file,
                    after,
                    count.min(PAGE_ROWS_MAX),
                    bytes_max.min(PAGE_BYTES_MAX),
                )?;
                rows_reply(rows)
            }
            StoreRequest::Snapshot { file } => self.take_snapshot(&file).await?,
            StoreRequest::ScanSnapshot {
                after,
                count,
                bytes_max,
            } => {
                let after = after.map(serde_bytes::ByteBuf::into_vec);
                let (count, bytes_max) = (count.min(PAGE_ROWS_MAX), bytes_max.min(PAGE_BYTES_MAX));
                self.scan_snapshot(after, count, bytes_max).await?
            }
            StoreRequest::EndSnapshot => {
                self.snapshot = None;
                StoreReply::Done
            }
            StoreRequest::Write { writes, key } => self.write(writes, key).await?,
            StoreRequest::Begin { key } => {
                if self.transaction.is_some() {
                    return Err(DatabaseError::Row {
                        reason: "a transaction is open on this connection already".to_owned(),
                    });
                }
                self.transaction = Some(database.begin(key).await?);
                StoreReply::Done
            }
            StoreRequest::Commit => {
                let transaction = self.transaction.take().ok_or(DatabaseError::Over)?;
                StoreReply::Outcome(transaction.commit().await?)
            }
            StoreRequest::Rollback => {
                self.transaction
                    .take()
                    .ok_or(DatabaseError::Over)?
                    .rollback()
                    .await?;
                StoreReply::Done
            }
            StoreRequest::Hash { file } => StoreReply::Hashed(hash(&database, &file).await?),
            StoreRequest::Save { path } => StoreReply::Saved(save(&database, path).await?),
            StoreRequest::Hold => Self::order(&database, Order::Hold).await?,
            StoreRequest::Release => Self::order(&database, Order::Release).await?,
            StoreRequest::Status => StoreReply::Status(database.job().status()),
            StoreRequest::Wait { upto, millis } => {
                let waited = tokio::time::timeout(
                    Duration::from_millis(millis),
                    database.job().wait_applied(upto),
                )
                .await;
                StoreReply::Waited {
                    reached: waited.unwrap_or(false),
                }
            }
        })
    }

    async fn order(
        database: &Database,
        order: fn(oneshot::Sender<()>) -> Order,
    ) -> Result<StoreReply, DatabaseError> {
        let (done, told) = oneshot::channel();
        database.job().order(order(done)).await;
        told.await
            .map(|()| StoreReply::Done)
            .map_err(|_| DatabaseError::Stopping)
    }

    async fn write(
        &mut self,
        writes: Vec<EncodedWrite>,
        key: Option<rjournal::entry::DepositKey>,
    ) -> Result<StoreReply, DatabaseError> {
        let mut outcome = Outcome::Nothing;
        let mut keyed = match (key, &self.transaction) {
            (None, _) => None,
            (Some(_), None) => Some(self.database.begin(key).await?),
            (Some(_), Some(_)) => {
                let reason = "a deposit key is given when the transaction begins".to_owned();
                return Err(DatabaseError::Row { reason });
            }
        };
        for write in writes {
            let file = self.database.file(&write.file).await?;
            let write = decode_write(&file, write)?;
            match keyed.as_mut().or(self.transaction.as_mut()) {
                Some(transaction) => transaction.write(write).await?,
                None => outcome = self.database.write(write, None).await?,
            }
        }
        if let Some(keyed) = keyed {
            outcome = keyed.commit().await?;
        }
        Ok(StoreReply::Outcome(outcome))
    }
}

fn rows_reply(rows: Vec<KeyedRow>) -> StoreReply {
    let rows = rows.into_iter();
    StoreReply::Rows(rows.map(|row| (row.key.into(), row.row.into())).collect())
}

/// Comes back when a time has passed; never where there is none.
async fn passed(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn describe(database: &Database, file: &FileName) -> Result<FileSummary, DatabaseError> {
    let file = database.file(file).await?;
    let rows = database
        .files()?
        .iter()
        .find(|stored| stored.id == file.id)
        .map_or(0, |stored| stored.rows);
    Ok(FileSummary {
        file: file.name.clone(),
        id: file.id,
        format: file.format.clone(),
        rows,
    })
}

/// Hashes a file on a blocking thread, as it is at one position.
async fn hash(database: &Database, file: &FileName) -> Result<HashedFile, DatabaseError> {
    let file = database.file(file).await?;
    let reader = Arc::clone(&database.job().reader);
    let hash = move || {
        let mut snapshot = reader.snapshot()?;
        let position = *snapshot.position();
        if let Some(mark) = position.in_progress {
            // Half of a transaction is no state of the file.
            return Err(DatabaseError::busy(mark));
        }
        let hash = hash_file(&mut snapshot, file.id)?;
        Ok((hash, position.applied))
    };
    let hashed = tokio::task::spawn_blocking(hash).await;
    let (hash, applied) = hashed.map_err(|error| DatabaseError::Store {
        reason: error.to_string(),
    })??;
    Ok(HashedFile {
        rows: hash.rows,
        hash: blake3::Hash::from(hash.hash).to_hex().to_string(),
        applied,
    })
}

async fn save(database: &Database, path: Option<String>) -> Result<SavedStore, DatabaseError> {
    database.require_open()?;
    let (done, saved) = oneshot::channel();
    database
        .job()
        .order(Order::Save {
            path: path.map(PathBuf::from),
            done,
        })
        .await;
    match saved.await {
        Ok(Ok(info)) => Ok(SavedStore {
            position: info.position,
            files: info.files.len() as u64,
            rows: info.files.iter().map(|file| file.rows).sum(),
            bytes: info.bytes,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(DatabaseError::Stopping),
    }
}

fn decode_write(file: &DatabaseFile, write: EncodedWrite) -> Result<Write, DatabaseError> {
    let bad = |error: rjournal::entry::record::RowError| DatabaseError::Row {
        reason: error.to_string(),
    };
    let EncodedWrite {
        kind,
        file: name,
        bytes,
    } = write;
    if kind == WriteKind::Delete {
        let key = match rjournal::entry::record::record_number(&bytes)
            .filter(|_| file.format.key().is_empty())
        {
            Some(number) => vec![rjournal::entry::record::Value::BigInt(number.cast_signed())],
            None => decode_key(&file.format, &bytes).map_err(bad)?,
        };
        return Ok(Write::Delete { file: name, key });
    }
    let row = decode_row(&file.format, &bytes).map_err(bad)?;
    Ok(match kind {
        WriteKind::Insert => Write::Insert { file: name, row },
        WriteKind::Update => Write::Update { file: name, row },
        WriteKind::Put | WriteKind::Delete => Write::Put { file: name, row },
    })
}
