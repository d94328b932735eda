//! Package `cli`, the demonstration: the bank: accounts, tellers, branches and a history, as in TPC-B and pgbench. Each
//! transaction changes three balances and adds a row to the history, under a deposit key. Must not know how systems are
//! killed.

mod answers;
mod client;
mod closing;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::SystemEntropy;
use rjournal::entry::record::{Format, Value, encode_row};
use rjournal::entry::{ClientId, DepositKey, FileName};
use rjournal::journal::Entropy;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{DatabaseClient, EncodedWrite, SteadyClient, WriteKind};
use tokio::task::{JoinSet, LocalSet};

use super::Ledger;
use super::chapters::{self, Absence, PARTS};
use super::screen::Screen;
use crate::error::CliError;
use crate::pair::{PATIENCE, Pair, store};
use crate::text;

pub(super) use answers::{Answered, Answers, Place};
use client::BankClient;

/// Tellers of a branch.
const TELLERS: i32 = 10;
/// Rows loaded in one transaction.
const LOAD_ROWS: usize = 1000;
/// The history among the files.
const HISTORY: usize = 3;

/// Its files: name, fields, key.
const FILES: [(&str, &[&str], &str); 4] = [
    (
        "BRANCHES",
        &[
            "BID INTEGER",
            "BALANCE BIGINT NOT NULL",
            "FILLER VARCHAR(88)",
        ],
        "BID",
    ),
    (
        "TELLERS",
        &[
            "TID INTEGER",
            "BID INTEGER",
            "BALANCE BIGINT NOT NULL",
            "FILLER VARCHAR(84)",
        ],
        "TID",
    ),
    (
        "ACCOUNTS",
        &[
            "AID INTEGER",
            "BID INTEGER",
            "BALANCE BIGINT NOT NULL",
            "FILLER VARCHAR(84)",
        ],
        "AID",
    ),
    (
        "HISTORY",
        &[
            "CLIENT INTEGER",
            "NUMBER BIGINT",
            "TID INTEGER",
            "BID INTEGER",
            "AID INTEGER",
            "DELTA BIGINT NOT NULL",
            "AT TIMESTAMP",
            "FILLER VARCHAR(22)",
        ],
        "CLIENT,NUMBER",
    ),
];

/// How large the bank is, and how long it works.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct BankArgs {
    /// Clients of the bank; each has a branch of its own size
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = clap::value_parser!(i32).range(1..=256))]
    clients: i32,

    /// Accounts of each branch
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    accounts: i32,

    /// How long the bank works
    #[arg(long, value_name = "SECONDS", default_value = "16", value_parser = clap::value_parser!(u64).range(4..=86_400))]
    seconds: u64,
}

/// The files' names and formats.
#[derive(Debug)]
struct Books {
    files: Vec<(FileName, Format)>,
}

impl Books {
    async fn read(database: &mut DatabaseClient) -> Result<Self, CliError> {
        let mut files = Vec::new();
        for (name, _, _) in FILES {
            let file = file_name(name)?;
            let handle = database.file(&file).await?;
            files.push((file, handle.format().clone()));
        }
        Ok(Self { files })
    }

    fn file(&self, index: usize) -> Result<&(FileName, Format), DatabaseError> {
        self.files.get(index).ok_or(DatabaseError::Over)
    }

    fn write(
        &self,
        kind: WriteKind,
        index: usize,
        row: &[Value],
    ) -> Result<EncodedWrite, DatabaseError> {
        let (file, format) = self.file(index)?;
        let bytes = encode_row(format, row).map_err(|error| DatabaseError::Row {
            reason: text::causes(&error),
        })?;
        Ok(EncodedWrite {
            kind,
            file: file.clone(),
            bytes,
        })
    }
}

fn file_name(name: &str) -> Result<FileName, CliError> {
    format!("PRDLIB/{name}")
        .parse()
        .map_err(|error| CliError::internal(&error))
}

/// The bank.
#[derive(Debug)]
pub(super) struct Bank {
    args: BankArgs,
    books: Arc<Books>,
    answers: Arc<Answers>,
    data: PathBuf,
}

impl Bank {
    /// Makes the files and opens the accounts.
    pub(super) async fn open(args: BankArgs, pair: &Pair) -> Result<Self, CliError> {
        let source = &pair.source;
        for (name, fields, key) in FILES {
            let file = file_name(name)?.to_string();
            let mut command = vec!["crtpf", "--file", &file];
            for field in fields {
                command.extend(["--field", field]);
            }
            command.extend(["--key", key]);
            source.run(&command).await?;
            source
                .run(&["strjrnpf", "--file", &file, "--jrn", "PRDLIB/JRN"])
                .await?;
        }
        let mut database = source.database().await?;
        let books = Arc::new(Books::read(&mut database).await?);
        let bank = Self {
            args,
            books,
            answers: Arc::default(),
            data: source.data.clone(),
        };
        bank.load().await?;
        Ok(bank)
    }

    async fn load(&self) -> Result<(), CliError> {
        let filler = |length| Value::Text(" ".repeat(length));
        let mut writes = Vec::new();
        for branch in 1..=self.args.clients {
            let bid = Value::Integer(branch);
            let row = [bid.clone(), Value::BigInt(0), filler(88)];
            writes.push(self.books.write(WriteKind::Insert, 0, &row)?);
            let parts = [(1, TELLERS), (2, self.args.accounts)];
            for (file, count) in parts {
                for number in 1..=count {
                    let id = Value::Integer((branch - 1) * count + number);
                    let row = [id, bid.clone(), Value::BigInt(0), filler(84)];
                    writes.push(self.books.write(WriteKind::Insert, file, &row)?);
                }
            }
        }
        let mut client = SteadyClient::new(&self.data, store(), PATIENCE);
        let id = ClientId::from_bytes(SystemEntropy.id());
        for (key, part) in (1..).zip(writes.chunks(LOAD_ROWS)) {
            let key = DepositKey { client: id, key };
            client
                .transact(key, async |transaction| {
                    transaction.write_all(part.to_vec()).await
                })
                .await?;
        }
        Ok(())
    }

    /// Works, while the chapters are played.
    pub(super) async fn work(
        &self,
        pair: &mut Pair,
        screen: Screen,
    ) -> Result<(Ledger, Vec<Absence>), CliError> {
        // Not all that is borrowed while a transaction is tried may go to another thread.
        let here = LocalSet::new();
        let mut clients = JoinSet::new();
        let places = [
            (Place::Prd, pair.source.data.clone()),
            (Place::Bkp, pair.target.data.clone()),
        ];
        for client in 1..=self.args.clients {
            let client = BankClient::new(client, self, places.clone());
            clients.spawn_local_on(client.work(), &here);
        }
        let shown = tokio::spawn(answers::show(Arc::clone(&self.answers), screen));
        let part = Duration::from_secs(self.args.seconds) / PARTS;
        let played = here
            .run_until(async {
                let played = chapters::play(pair, &self.answers, part).await;
                self.answers.stop();
                while let Some(done) = clients.join_next().await {
                    done.map_err(|error| CliError::internal(&error))??;
                }
                Ok::<_, CliError>(played)
            })
            .await;
        shown.abort();
        let played = played??;
        let ledger = Ledger {
            rate: played.rate,
            ..self.answers.ledger()
        };
        Ok((ledger, played.takeovers))
    }
}
