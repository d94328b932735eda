//! Room `serve`: a program's end of a store's socket: the same reads and changes as embedded, with values.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::BytesMut;
use rjournal::entry::record::{
    Format, Value, decode_row, encode_key_values, encode_row, record_number_key,
};
use rjournal::entry::{DepositKey, FileName, Name, Sequence};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::protocol::{
    EncodedWrite, FileSummary, HashedFile, MESSAGE_BYTES_MAX, PROTOCOL, SavedStore, SnapshotFile,
    StoreReply, StoreRequest, WriteKind, put, take,
};
use super::server::socket_path;
use crate::database::Outcome;
use crate::error::DatabaseError;
use crate::job::JobStatus;
use crate::store::KeyedRow;

/// A file as a client knows it.
#[derive(Debug, Clone)]
pub struct FileHandle {
    /// What the store says of it.
    pub summary: FileSummary,
}

impl FileHandle {
    /// Its format.
    pub const fn format(&self) -> &Format {
        &self.summary.format
    }

    /// The encoded key of key values, or of a record number.
    ///
    /// # Errors
    /// [`DatabaseError::Row`] when the values are not the file's key.
    pub fn key_of(&self, values: &[Value]) -> Result<Vec<u8>, DatabaseError> {
        match values {
            [Value::BigInt(number)] if self.format().key().is_empty() && *number > 0 => {
                Ok(record_number_key(number.unsigned_abs()).to_vec())
            }
            _ => encode_key_values(self.format(), values).map_err(|error| DatabaseError::Row {
                reason: error.to_string(),
            }),
        }
    }
}

/// Rows of a file, in key order.
#[derive(Debug, Clone, Default)]
pub struct RowPage {
    /// The rows.
    pub rows: Vec<KeyedRow>,
}

/// A connection to a store's job. One request at a time; at most one transaction.
#[derive(Debug)]
pub struct DatabaseClient {
    path: PathBuf,
    stream: UnixStream,
    input: BytesMut,
    output: BytesMut,
    /// Whether a request was sent whose answer was not waited for to its end: what comes next cannot be told apart.
    torn: bool,
    /// Answers on their way that nobody waits for.
    unheard: usize,
    files: HashMap<FileName, FileHandle>,
}

fn unexpected() -> DatabaseError {
    DatabaseError::Store {
        reason: "the job gave another answer than was asked for".to_owned(),
    }
}

impl DatabaseClient {
    /// Connects to the job of a store in a data directory.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`DatabaseError::NoJob`] when the job does not run, `Protocol` when it is of another version.
    pub async fn connect(data: &Path, store: Name) -> Result<Self, DatabaseError> {
        let path = socket_path(data, store);
        let stream = UnixStream::connect(&path)
            .await
            .map_err(|error| DatabaseError::NoJob {
                store,
                reason: error.to_string(),
            })?;
        let mut client = Self {
            path,
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            torn: false,
            unheard: 0,
            files: HashMap::new(),
        };
        let protocol = PROTOCOL;
        match client.ask(&StoreRequest::Hello { protocol }).await? {
            StoreReply::Hello { protocol } if protocol == PROTOCOL => Ok(client),
            StoreReply::Hello { protocol } => Err(DatabaseError::Protocol {
                job: protocol,
                client: Some(PROTOCOL),
            }),
            _ => Err(unexpected()),
        }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn ask(&mut self, request: &StoreRequest) -> Result<StoreReply, DatabaseError> {
        let broken = |error: std::io::Error| DatabaseError::Gone {
            reason: error.to_string(),
        };
        if self.torn {
            return Err(DatabaseError::Store {
                reason: "an earlier request on this connection was given up: connect anew"
                    .to_owned(),
            });
        }
        self.output.clear();
        put(&mut self.output, request)?;
        self.torn = true;
        self.stream.write_all(&self.output).await.map_err(broken)?;
        loop {
            if let Some(reply) = take::<StoreReply>(&mut self.input, MESSAGE_BYTES_MAX)? {
                if self.unheard > 0 {
                    self.unheard -= 1;
                    continue;
                }
                self.torn = false;
                return match reply {
                    StoreReply::Failed(error) => Err(error),
                    reply => Ok(reply),
                };
            }
            if self
                .stream
                .read_buf(&mut self.input)
                .await
                .map_err(broken)?
                == 0
            {
                return Err(DatabaseError::Gone {
                    reason: "it was closed there".to_owned(),
                });
            }
        }
    }

    /// Rolls the open transaction back without waiting for the answer.
    fn roll_back_unheard(&mut self) {
        self.output.clear();
        let sent = !self.torn
            && put(&mut self.output, &StoreRequest::Rollback).is_ok()
            && matches!(self.stream.try_write(&self.output), Ok(sent) if sent == self.output.len());
        if sent {
            self.unheard += 1;
        } else {
            // Closing the connection rolls it back.
            self.torn = true;
        }
    }

    /// All files of the store.
    ///
    /// Cancel safe: no; drop the connection then. So are all calls of this type.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn files(&mut self) -> Result<Vec<FileSummary>, DatabaseError> {
        match self.ask(&StoreRequest::Files).await? {
            StoreReply::Files(files) => Ok(files),
            _ => Err(unexpected()),
        }
    }

    /// A file by its name, remembered.
    ///
    /// # Errors
    /// [`DatabaseError::NoFile`].
    pub async fn file(&mut self, file: &FileName) -> Result<FileHandle, DatabaseError> {
        if let Some(handle) = self.files.get(file) {
            return Ok(handle.clone());
        }
        match self
            .ask(&StoreRequest::Describe { file: file.clone() })
            .await?
        {
            StoreReply::File(summary) => {
                let handle = FileHandle { summary: *summary };
                self.files.insert(file.clone(), handle.clone());
                Ok(handle)
            }
            _ => Err(unexpected()),
        }
    }

    async fn get_row(
        &mut self,
        file: &FileName,
        key: &[Value],
        for_update: bool,
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        let handle = self.file(file).await?;
        let key = handle.key_of(key)?;
        match self
            .ask(&StoreRequest::Get {
                file: file.clone(),
                key,
                for_update,
            })
            .await?
        {
            StoreReply::Row(row) => row
                .map(|row| {
                    decode_row(handle.format(), &row).map_err(|error| DatabaseError::Row {
                        reason: error.to_string(),
                    })
                })
                .transpose(),
            _ => Err(unexpected()),
        }
    }

    /// Reads one row by its key.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn get(
        &mut self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        self.get_row(file, key, false).await
    }

    /// Rows in key order after an encoded key, or from the first.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn scan(
        &mut self,
        file: &FileName,
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<RowPage, DatabaseError> {
        let after = after.map(|after| serde_bytes::ByteBuf::from(after.to_vec()));
        let request = StoreRequest::Scan {
            file: file.clone(),
            after,
            count,
            bytes_max: 1024 * 1024,
        };
        self.ask_for_rows(&request).await
    }

    async fn ask_for_rows(&mut self, request: &StoreRequest) -> Result<RowPage, DatabaseError> {
        match self.ask(request).await? {
            StoreReply::Rows(rows) => {
                let rows = rows
                    .into_iter()
                    .map(|(key, row)| KeyedRow {
                        key: key.into_vec(),
                        row: row.into_vec(),
                    })
                    .collect();
                Ok(RowPage { rows })
            }
            _ => Err(unexpected()),
        }
    }

    /// Holds the store as it is now, for reading a file with [`Self::scan_snapshot`]; what this connection held before is
    /// let go. It is held for a bounded time.
    ///
    /// # Errors
    /// [`DatabaseError::Snapshot`] when others hold enough of them.
    pub async fn snapshot(&mut self, file: &FileName) -> Result<SnapshotFile, DatabaseError> {
        match self
            .ask(&StoreRequest::Snapshot { file: file.clone() })
            .await?
        {
            StoreReply::Snapshot(file) => Ok(*file),
            _ => Err(unexpected()),
        }
    }

    /// As [`Self::scan`], of the file as the snapshot has it.
    ///
    /// # Errors
    /// [`DatabaseError::Snapshot`] when it was given up: it was held for too long, or too much was changed under it.
    pub async fn scan_snapshot(
        &mut self,
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<RowPage, DatabaseError> {
        let after = after.map(|after| serde_bytes::ByteBuf::from(after.to_vec()));
        self.ask_for_rows(&StoreRequest::ScanSnapshot {
            after,
            count,
            bytes_max: 1024 * 1024,
        })
        .await
    }

    /// Lets the snapshot go.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn end_snapshot(&mut self) -> Result<(), DatabaseError> {
        match self.ask(&StoreRequest::EndSnapshot).await? {
            StoreReply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Encodes a change.
    ///
    /// # Errors
    /// [`DatabaseError::Row`] when the values do not fit the file.
    pub async fn encode(
        &mut self,
        kind: WriteKind,
        file: &FileName,
        values: &[Value],
    ) -> Result<EncodedWrite, DatabaseError> {
        let handle = self.file(file).await?;
        let bytes = if kind == WriteKind::Delete {
            handle.key_of(values)?
        } else {
            encode_row(handle.format(), values).map_err(|error| DatabaseError::Row {
                reason: error.to_string(),
            })?
        };
        Ok(EncodedWrite {
            kind,
            file: file.clone(),
            bytes,
        })
    }

    /// Makes changes: in the open transaction, or each on its own (then the outcome is that of the last). With a deposit key
    /// they are a transaction of their own, which lands at most once.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn write(
        &mut self,
        writes: Vec<EncodedWrite>,
        key: Option<DepositKey>,
    ) -> Result<Outcome, DatabaseError> {
        match self.ask(&StoreRequest::Write { writes, key }).await? {
            StoreReply::Outcome(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// Begins a transaction; dropped without a decision it is rolled back.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn begin(
        &mut self,
        key: Option<DepositKey>,
    ) -> Result<ClientTransaction<'_>, DatabaseError> {
        match self.ask(&StoreRequest::Begin { key }).await? {
            StoreReply::Done => Ok(ClientTransaction {
                client: self,
                over: false,
            }),
            _ => Err(unexpected()),
        }
    }

    /// What a file holds: number of rows, and a hash over them in key order.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn hash(&mut self, file: &FileName) -> Result<HashedFile, DatabaseError> {
        match self.ask(&StoreRequest::Hash { file: file.clone() }).await? {
            StoreReply::Hashed(hashed) => Ok(hashed),
            _ => Err(unexpected()),
        }
    }

    /// Makes a store save on the job's machine: in a file, or the one the job keeps to make its store anew from; only that
    /// one lets receivers go.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn save(&mut self, path: Option<&Path>) -> Result<SavedStore, DatabaseError> {
        match self
            .ask(&StoreRequest::Save {
                path: path.map(|path| path.to_string_lossy().into_owned()),
            })
            .await?
        {
            StoreReply::Saved(saved) => Ok(saved),
            _ => Err(unexpected()),
        }
    }

    /// Applies nothing until released, or goes on.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn hold(&mut self, hold: bool) -> Result<(), DatabaseError> {
        let request = if hold {
            StoreRequest::Hold
        } else {
            StoreRequest::Release
        };
        match self.ask(&request).await? {
            StoreReply::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// What the job does.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn status(&mut self) -> Result<JobStatus, DatabaseError> {
        match self.ask(&StoreRequest::Status).await? {
            StoreReply::Status(status) => Ok(status),
            _ => Err(unexpected()),
        }
    }

    /// Waits until everything decided up to an entry is applied. Says whether it is.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn wait(&mut self, upto: Sequence, at_most: Duration) -> Result<bool, DatabaseError> {
        let millis = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&StoreRequest::Wait { upto, millis }).await? {
            StoreReply::Waited { reached } => Ok(reached),
            _ => Err(unexpected()),
        }
    }
}

/// A transaction on a connection. Dropped without a decision it is rolled back.
#[derive(Debug)]
pub struct ClientTransaction<'a> {
    client: &'a mut DatabaseClient,
    /// A decision was asked for.
    over: bool,
}

impl Drop for ClientTransaction<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.client.roll_back_unheard();
        }
    }
}

impl ClientTransaction<'_> {
    /// A file by its name, remembered.
    ///
    /// # Errors
    /// [`DatabaseError::NoFile`].
    pub async fn file(&mut self, file: &FileName) -> Result<FileHandle, DatabaseError> {
        self.client.file(file).await
    }

    /// Reads one row as this transaction sees it, and locks it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn get_for_update(
        &mut self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        self.client.get_row(file, key, true).await
    }

    /// Reads one row as this transaction sees it.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn get(
        &mut self,
        file: &FileName,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, DatabaseError> {
        self.client.get_row(file, key, false).await
    }

    /// Makes a change.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn write(
        &mut self,
        kind: WriteKind,
        file: &FileName,
        values: &[Value],
    ) -> Result<(), DatabaseError> {
        let write = self.client.encode(kind, file, values).await?;
        self.client.write(vec![write], None).await.map(drop)
    }

    /// Makes many changes at once.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn write_all(&mut self, writes: Vec<EncodedWrite>) -> Result<(), DatabaseError> {
        self.client.write(writes, None).await.map(drop)
    }

    /// Commits.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn commit(mut self) -> Result<Outcome, DatabaseError> {
        self.over = true;
        match self.client.ask(&StoreRequest::Commit).await? {
            StoreReply::Outcome(outcome) => Ok(outcome),
            _ => Err(unexpected()),
        }
    }

    /// Rolls back.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub async fn rollback(mut self) -> Result<(), DatabaseError> {
        self.over = true;
        self.client.ask(&StoreRequest::Rollback).await.map(drop)
    }
}
