//! Package `cli`, the benchmark: two systems as a recovery group, each a process with a store of its own, made by the commands an
//! operator gives; rows in it; when they are level. Must not measure.

use std::net::SocketAddr;
use std::path::Path;

use rjournal::daemon::command::group::{DescribeGroups, GroupDescription};
use rjournal::daemon::command::journal::{DescribeJournals, JournalDescription};
use rjournal::daemon::{CommandError, SystemEntropy};
use rjournal::entry::record::{Format, Value, encode_row};
use rjournal::entry::{ClientId, DepositKey, FileName, QualifiedName, Sequence};
use rjournal::journal::Entropy;
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{DatabaseClient, EncodedWrite, WriteKind};
use tokio::task::JoinSet;

use super::relay::Relay;
use crate::error::CliError;
use crate::pair::{Pair, SystemProcess, Voice, identity, store, until};
use crate::text;

/// The group.
const GROUP: &str = "BENCH";
/// The file rows are in.
const FILE: &str = "PRDLIB/ROWS";
/// Rows of one transaction while the store is filled.
const LOAD_ROWS: u64 = 64;
/// Transactions at once while it is filled.
const LOADERS: u64 = 4;
/// A target that does not answer for so long is done without.
const SYNC_TIMEOUT: &str = "2";
/// Rows the cases change, in front of those that only fill the store.
pub(super) const ROWS: i64 = 4096;

/// Which system is primary. PRD is when the group is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Prd,
    Bkp,
}

impl Side {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Prd => Self::Bkp,
            Self::Bkp => Self::Prd,
        }
    }

    /// The journal a system writes when it is primary.
    pub(super) fn own_journal(self) -> QualifiedName {
        let text = match self {
            Self::Prd => "PRDLIB/JRN",
            Self::Bkp => "BKPLIB/BKP",
        };
        text.parse().expect("the name is well formed")
    }

    /// The name, at one system, of the journal the other writes.
    pub(super) fn copy(self) -> QualifiedName {
        let text = match self {
            Self::Prd => "PRDLIB/BKP",
            Self::Bkp => "BKPLIB/JRN",
        };
        text.parse().expect("the name is well formed")
    }
}

/// The group.
#[derive(Debug)]
pub(super) struct GroupPair {
    pair: Pair,
    /// What lies between the systems, where it is counted.
    relays: Vec<Relay>,
    pub(super) primary: Side,
    term: u64,
    row_bytes: usize,
}

impl GroupPair {
    /// Makes and starts both systems, the group and the stores.
    pub(super) async fn make(
        dir: &Path,
        counted: bool,
        row_bytes: usize,
    ) -> Result<Self, CliError> {
        let pair = Pair::make(dir, Voice(None)).await?;
        let mut made = Self {
            pair,
            relays: Vec::new(),
            primary: Side::Prd,
            term: 1,
            row_bytes,
        };
        for (side, rdb, library) in [(Side::Prd, "BKP", "PRDLIB"), (Side::Bkp, "PRD", "BKPLIB")] {
            let (key, mut address) = identity(made.system(side.other())).await?;
            if counted {
                let to: SocketAddr = address
                    .parse()
                    .map_err(|error| CliError::internal(&error))?;
                let relay = Relay::lay(to).await?;
                address = relay.address().to_string();
                made.relays.push(relay);
            }
            let feeds = format!("{library}/*ALL");
            let entry = ["addrdbdire", "--rdb", rdb, "--fingerprint", &key];
            let entry = entry
                .into_iter()
                .chain(["--addr", &address, "--alwjrn", &feeds]);
            let system = made.system(side);
            system.run(&entry.collect::<Vec<_>>()).await?;
            system.run(&["crtlib", "--lib", library]).await?;
        }
        made.found().await?;
        Ok(made)
    }

    /// The journal, the group, the stores and the file.
    async fn found(&self) -> Result<(), CliError> {
        let (prd, bkp) = (self.system(Side::Prd), self.system(Side::Bkp));
        let limit = ["--synctimo", SYNC_TIMEOUT];
        let journal = ["crtjrn", "--jrn", "PRDLIB/JRN"].into_iter().chain(limit);
        prd.run(&journal.collect::<Vec<_>>()).await?;
        let group = ["crtcrg", "--crg", GROUP, "--jrn", "PRDLIB/JRN"];
        let group = group
            .into_iter()
            .chain(["--backup", "BKP/BKPLIB", "--wait", "60"]);
        prd.run(&group.collect::<Vec<_>>()).await?;
        let journal = ["chgjrn", "--jrn", "BKPLIB/BKP"].into_iter().chain(limit);
        bkp.run(&journal.collect::<Vec<_>>()).await?;
        for (system, journal) in [(prd, "PRDLIB/JRN"), (bkp, "BKPLIB/JRN")] {
            let store = store().to_string();
            system
                .run(&["strapy", "--store", &store, "--jrn", journal])
                .await?;
        }
        let file = ["crtpf", "--file", FILE, "--key", "ID"];
        let file = file.into_iter().chain([
            "--field",
            "ID BIGINT",
            "--field",
            "COUNT BIGINT",
            "--field",
            "FILLER VARCHAR(30000)",
        ]);
        prd.run(&file.collect::<Vec<_>>()).await?;
        prd.run(&["strjrnpf", "--file", FILE, "--jrn", "PRDLIB/JRN"])
            .await?;
        Ok(())
    }

    pub(super) const fn system(&self, side: Side) -> &SystemProcess {
        match side {
            Side::Prd => &self.pair.source,
            Side::Bkp => &self.pair.target,
        }
    }

    pub(super) const fn system_mut(&mut self, side: Side) -> &mut SystemProcess {
        match side {
            Side::Prd => &mut self.pair.source,
            Side::Bkp => &mut self.pair.target,
        }
    }

    /// Another system is primary now, in the next term.
    pub(super) const fn note_primary(&mut self, side: Side) {
        self.primary = side;
        self.term += 1;
    }

    /// Fills the store until so many bytes of data are in rows.
    pub(super) async fn fill(&self, bytes: u64) -> Result<(), CliError> {
        let rows = bytes
            .div_ceil(self.row_bytes as u64)
            .max(ROWS.unsigned_abs());
        let mut tasks = JoinSet::new();
        for loader in 0..LOADERS {
            let mut database = Rows::of(self.system(self.primary), self.row_bytes).await?;
            tasks.spawn(async move {
                let mut first = loader * LOAD_ROWS;
                while first < rows {
                    let ids = first..(first + LOAD_ROWS).min(rows);
                    let ids = ids.map(|id| (id.cast_signed(), 0)).collect::<Vec<_>>();
                    database.put(&ids, None).await?;
                    first += LOADERS * LOAD_ROWS;
                }
                Ok::<_, CliError>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(|error| CliError::internal(&error))??;
        }
        Ok(())
    }

    /// A journal at a system.
    pub(super) async fn journal(
        &self,
        side: Side,
        journal: QualifiedName,
    ) -> Result<JournalDescription, CliError> {
        let asked = DescribeJournals {
            journal: Some(journal),
        };
        let found = self.system(side).client().await?.run(asked).await?;
        let gone = || CliError(CommandError::not_found("journal", journal));
        found.journals.into_iter().next().ok_or_else(gone)
    }

    /// What a system says of the group.
    async fn described(&self, side: Side) -> Result<GroupDescription, CliError> {
        let asked = DescribeGroups { name: None };
        let found = self.system(side).client().await?.run(asked).await?;
        let gone = || CliError(CommandError::not_found("recovery group", GROUP));
        found.groups.into_iter().next().ok_or_else(gone)
    }

    /// Waits until the other system follows the primary and is in its in-sync set.
    pub(super) async fn following(&self) -> Result<(), CliError> {
        let backup = self.primary.other();
        until("the backup follows", async || {
            let Ok(group) = self.described(backup).await else {
                return Ok(false);
            };
            let follows = group.members.iter().find(|member| member.is_here);
            if follows.is_none_or(|here| here.follows != self.term) {
                return Ok(false);
            }
            let own = self.journal(self.primary, self.primary.own_journal());
            let own = own.await?;
            Ok(!own.links.is_empty() && own.links.iter().all(|link| link.in_sync))
        })
        .await
    }

    /// Waits until both stores have applied everything the primary's journal holds. Gives the last entry.
    pub(super) async fn level(&self) -> Result<Sequence, CliError> {
        let mut last = Sequence::NONE;
        until("both stores are level", async || {
            let journal = self.journal(self.primary, self.primary.own_journal());
            last = journal.await?.watermarks.deposited;
            for side in [self.primary, self.primary.other()] {
                let Ok(group) = self.described(side).await else {
                    return Ok(false);
                };
                let here = group.members.iter().find(|member| member.is_here);
                if here.and_then(|here| here.applied) < Some(last) {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
        Ok(last)
    }

    /// What came over the wires so far, in bytes.
    pub(super) fn moved(&self) -> u64 {
        self.relays.iter().map(Relay::bytes).sum()
    }

    /// Pulls the wires, or puts them back.
    pub(super) fn pull(&self, pulled: bool) {
        for relay in &self.relays {
            relay.pull(pulled);
        }
    }

    /// What is in the receivers of a journal at a system, in bytes.
    pub(super) async fn journal_bytes(
        &self,
        side: Side,
        journal: QualifiedName,
    ) -> Result<u64, CliError> {
        let journal = self.journal(side, journal).await?;
        Ok(journal
            .receivers
            .iter()
            .map(|receiver| receiver.bytes)
            .sum())
    }

    /// What a system's store takes on its disk, in bytes.
    pub(super) fn store_bytes(&self, side: Side) -> u64 {
        let stores = self.system(side).data.join("stores");
        bytes_below(&stores.join(store().to_string()))
    }

    /// Ends both in order.
    pub(super) async fn stop(mut self) -> Result<(), CliError> {
        self.pair.stop().await
    }
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return std::fs::metadata(path).map_or(0, |found| found.len());
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.map(|path| bytes_below(&path)).sum()
}

/// The rows, at one system.
#[derive(Debug)]
pub(super) struct Rows {
    database: DatabaseClient,
    file: FileName,
    format: Format,
    filler: String,
    client: ClientId,
    key: u64,
}

impl Rows {
    /// Connects to the store of a system.
    pub(super) async fn of(system: &SystemProcess, row_bytes: usize) -> Result<Self, CliError> {
        let found = Self::at(
            &system.data,
            row_bytes,
            ClientId::from_bytes(SystemEntropy.id()),
        );
        Ok(found.await?)
    }

    /// The same, for a program with an id of its own.
    pub(super) async fn at(
        data: &Path,
        row_bytes: usize,
        client: ClientId,
    ) -> Result<Self, DatabaseError> {
        let mut database = DatabaseClient::connect(data, store()).await?;
        let file: FileName = FILE.parse().expect("the name is well formed");
        let format = database.file(&file).await?.format().clone();
        Ok(Self {
            database,
            file,
            format,
            filler: "r".repeat(row_bytes),
            client,
            key: 0,
        })
    }

    /// Writes rows, an id and a count each, as one transaction; under a key of its own where none is given.
    pub(super) async fn put(
        &mut self,
        rows: &[(i64, i64)],
        key: Option<u64>,
    ) -> Result<Outcome, DatabaseError> {
        let mut writes = Vec::new();
        for (id, count) in rows {
            let row = [
                Value::BigInt(*id),
                Value::BigInt(*count),
                Value::Text(self.filler.clone()),
            ];
            let bytes = encode_row(&self.format, &row).map_err(|error| DatabaseError::Row {
                reason: text::causes(&error),
            })?;
            writes.push(EncodedWrite {
                kind: WriteKind::Put,
                file: self.file.clone(),
                bytes,
            });
        }
        self.key += 1;
        let key = DepositKey {
            client: self.client,
            key: key.unwrap_or(self.key),
        };
        self.database.write(writes, Some(key)).await
    }

    /// The count in a row; nothing where it is not there.
    pub(super) async fn count(&mut self, id: i64) -> Result<Option<i64>, DatabaseError> {
        let row = self.database.get(&self.file, &[Value::BigInt(id)]).await?;
        Ok(match row.as_deref() {
            Some([_, Value::BigInt(count), ..]) => Some(*count),
            _ => None,
        })
    }
}
