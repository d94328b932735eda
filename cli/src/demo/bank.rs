//! Package `cli`, the demonstration: the bank: accounts, tellers, branches and a history, as in TPC-B and pgbench. Each
//! transaction changes three balances and adds a row to the history, under a deposit key. Must not know how systems are
//! killed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rjournal::daemon::{Clock, SystemClock, SystemEntropy};
use rjournal::entry::record::{Format, Value, decode_row, encode_row};
use rjournal::entry::{ClientId, DepositKey, FileName};
use rjournal::journal::{AckClass, Entropy};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{
    ClientTransaction, DatabaseClient, EncodedWrite, SteadyClient, WriteKind,
};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use super::proof::Proofs;
use super::screen::Screen;
use super::{Ledger, rate};
use crate::error::CliError;
use crate::pair::{PATIENCE, Pair, store};
use crate::text;

/// Tellers of a branch.
const TELLERS: i32 = 10;
/// Rows loaded in one transaction.
const LOAD_ROWS: usize = 1000;
/// Rows read at once.
const PAGE_ROWS: usize = 4096;

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
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = clap::value_parser!(u64).range(4..=86_400))]
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

/// Answers so far: which transaction of which client, with what change.
#[derive(Debug, Default)]
struct Answers {
    all: Mutex<Vec<Answered>>,
    count: AtomicU64,
    last: AtomicU64,
    stop: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    client: i32,
    number: i64,
    delta: i64,
    class: Option<AckClass>,
}

impl Answers {
    fn note(&self, answered: Answered) {
        let class = match answered.class {
            Some(AckClass::Sync) => 2,
            Some(_) => 1,
            None => 0,
        };
        self.last.store(class, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(answered);
    }
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

    /// Works, while the target and then the source are killed and come back.
    pub(super) async fn run(
        &mut self,
        pair: &mut Pair,
        screen: &Screen,
    ) -> Result<Ledger, CliError> {
        pair.voice.title(&format!(
            "{} clients work for {} s; both systems are killed meanwhile",
            self.args.clients, self.args.seconds
        ));
        // Not all that is borrowed while a transaction is tried may go to another thread.
        let here = LocalSet::new();
        let mut clients = JoinSet::new();
        for client in 1..=self.args.clients {
            let worker = Worker {
                client,
                args: self.args,
                books: Arc::clone(&self.books),
                answers: Arc::clone(&self.answers),
                database: SteadyClient::new(&self.data, store(), PATIENCE),
                id: ClientId::from_bytes(SystemEntropy.id()),
            };
            clients.spawn_local_on(worker.work(), &here);
        }
        let shown = tokio::spawn(show(Arc::clone(&self.answers), *screen));
        let struck = here
            .run_until(async {
                let struck = self.strike(pair).await;
                self.answers.stop.store(true, Ordering::Relaxed);
                while let Some(done) = clients.join_next().await {
                    done.map_err(|error| CliError::internal(&error))??;
                }
                Ok::<_, CliError>(struck)
            })
            .await?;
        shown.abort();
        let rate = struck?;
        let mut ledger = Ledger {
            rate,
            ..Ledger::default()
        };
        for answered in self.taken().iter() {
            match answered.class {
                Some(AckClass::Sync) => ledger.sync += 1,
                Some(_) => ledger.local += 1,
                None => ledger.found += 1,
            }
        }
        Ok(ledger)
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Answered>> {
        self.answers
            .all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A quarter of the time undisturbed, then without the target, then without the source. Gives transactions a second of
    /// the first part.
    async fn strike(&self, pair: &mut Pair) -> Result<f64, CliError> {
        let part = Duration::from_secs(self.args.seconds) / 4;
        let (began, before) = (Instant::now(), self.answers.count.load(Ordering::Relaxed));
        tokio::time::sleep(part).await;
        let done = self.answers.count.load(Ordering::Relaxed) - before;
        let rate = rate(done, began.elapsed());
        pair.strike_target().await?;
        pair.in_sync().await?;
        tokio::time::sleep(part).await;
        pair.strike_source().await?;
        pair.in_sync().await?;
        tokio::time::sleep(part).await;
        Ok(rate)
    }

    /// Every answered transaction is in the history of the replica, and the balances are its sums.
    pub(super) async fn prove(&mut self, pair: &Pair, proofs: &mut Proofs) -> Result<(), CliError> {
        let mut replica = pair.target.database().await?;
        let mut history = HashMap::new();
        let mut sum = 0;
        for row in read_all(&mut replica, &self.books, 3).await? {
            if let (
                Some(Value::Integer(client)),
                Some(Value::BigInt(number)),
                Some(Value::BigInt(delta)),
            ) = (row.first(), row.get(1), row.get(5))
            {
                history.insert((*client, *number), *delta);
                sum += delta;
            }
        }
        let answers = self.taken().clone();
        for answered in &answers {
            let found = history.get(&(answered.client, answered.number));
            if found == Some(&answered.delta) {
                continue;
            }
            proofs.tell(format!(
                "transaction {} of client {} is not in the replica",
                answered.number, answered.client
            ));
            if answered.class == Some(AckClass::Sync) {
                proofs.lost_sync_answers += 1;
            }
        }
        proofs.content_text = "every transaction landed exactly once, and the balances of all branches, tellers and accounts add up to them";
        proofs.content_right = history.len() == answers.len();
        if !proofs.content_right {
            proofs.tell(format!(
                "{} transactions were answered, the history has {}",
                answers.len(),
                history.len()
            ));
        }
        for (index, balance) in [(0, 1), (1, 2), (2, 2)] {
            let rows = read_all(&mut replica, &self.books, index).await?;
            let total: i64 = rows
                .iter()
                .filter_map(|row| match row.get(balance) {
                    Some(Value::BigInt(amount)) => Some(*amount),
                    _ => None,
                })
                .sum();
            if total != sum {
                proofs.content_right = false;
                let (file, _) = self.books.file(index)?;
                proofs.tell(format!("{file} adds up to {total}, the history to {sum}"));
            }
        }
        Ok(())
    }
}

/// All rows of a file.
async fn read_all(
    database: &mut DatabaseClient,
    books: &Books,
    index: usize,
) -> Result<Vec<Vec<Value>>, CliError> {
    let (file, format) = books.file(index)?;
    let (mut after, mut rows) = (None::<Vec<u8>>, Vec::new());
    loop {
        let page = database.scan(file, after.as_deref(), PAGE_ROWS).await?;
        let Some(last) = page.rows.last() else {
            return Ok(rows);
        };
        after = Some(last.key.clone());
        for found in &page.rows {
            let row = decode_row(format, &found.row);
            rows.push(row.map_err(|error| CliError::internal(&text::causes(&error)))?);
        }
    }
}

/// Says how it goes on, until it is aborted.
async fn show(answers: Arc<Answers>, screen: Screen) {
    let progress = screen.progress();
    let mut before = 0;
    let every = Duration::from_millis(500);
    let mut tick = tokio::time::interval(every);
    loop {
        tick.tick().await;
        let count = answers.count.load(Ordering::Relaxed);
        let rate = (count - before) * 2;
        before = count;
        let class = match answers.last.load(Ordering::Relaxed) {
            2 => "SYNC",
            1 => "LOCAL",
            _ => "-",
        };
        let answered = if rate == 0 { "nothing" } else { class };
        progress.show(&format!(
            "{} transactions, {} a second, answered {answered} now",
            text::count(count),
            text::count(rate)
        ));
    }
}

/// One client.
struct Worker {
    client: i32,
    args: BankArgs,
    books: Arc<Books>,
    answers: Arc<Answers>,
    database: SteadyClient,
    id: ClientId,
}

impl Worker {
    async fn work(mut self) -> Result<(), CliError> {
        let clock = SystemClock::start();
        let mut dice = Dice(u64::from(self.client.unsigned_abs()));
        for number in 1.. {
            if self.answers.stop.load(Ordering::Relaxed) {
                break;
            }
            let teller = dice.roll(self.args.clients * TELLERS);
            let branch = (teller - 1) / TELLERS + 1;
            let account = dice.roll(self.args.clients * self.args.accounts);
            let delta = i64::from(dice.roll(10_000)) - 5_000;
            let at = i64::try_from(clock.wall().as_micros()).unwrap_or(0);
            let row = [
                Value::Integer(self.client),
                Value::BigInt(number),
                Value::Integer(teller),
                Value::Integer(branch),
                Value::Integer(account),
                Value::BigInt(delta),
                Value::Timestamp(at),
                Value::Text(String::new()),
            ];
            let key = DepositKey {
                client: self.id,
                key: number.unsigned_abs(),
            };
            let books = &self.books;
            let landed = self
                .database
                .transact(key, async |transaction| {
                    transfer(transaction, books, [account, teller, branch], delta, &row).await
                })
                .await?;
            self.answers.note(Answered {
                client: self.client,
                number,
                delta,
                class: landed.class,
            });
        }
        Ok(())
    }
}

/// Three balances changed, one row of history; always in this order, so that clients never wait for each other in a ring.
async fn transfer(
    transaction: &mut ClientTransaction<'_>,
    books: &Books,
    [account, teller, branch]: [i32; 3],
    delta: i64,
    history: &[Value],
) -> Result<(), DatabaseError> {
    let mut writes = Vec::with_capacity(4);
    for (index, id, balance) in [(2, account, 2), (1, teller, 2), (0, branch, 1)] {
        let (file, _) = books.file(index)?;
        let found = transaction
            .get_for_update(file, &[Value::Integer(id)])
            .await?;
        let mut row = found.ok_or_else(|| DatabaseError::NoRow {
            file: file.clone(),
            key: id.to_string(),
        })?;
        if let Some(Value::BigInt(amount)) = row.get_mut(balance) {
            *amount += delta;
        }
        writes.push(books.write(WriteKind::Update, index, &row)?);
    }
    writes.push(books.write(WriteKind::Insert, 3, history)?);
    transaction.write_all(writes).await
}

/// Numbers that look random (splitmix64).
struct Dice(u64);

impl Dice {
    /// A number from 1 to `sides`.
    fn roll(&mut self, sides: i32) -> i32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let below = mixed % u64::from(sides.max(1).unsigned_abs());
        i32::try_from(below).unwrap_or(0) + 1
    }
}
