//! Package `cli`, the demonstration: a client of the bank: one transfer after the other, each under a deposit key, each tried
//! until it is known to have landed, at whichever system is primary. Must not know how systems are lost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::group::WhoIsPrimary;
use rjournal::daemon::{Clock, CommandError, ErrorKind, SystemClock, SystemEntropy};
use rjournal::entry::record::Value;
use rjournal::entry::{ClientId, DepositKey};
use rjournal::journal::Entropy;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{ClientTransaction, Landed, SteadyClient, WriteKind};
use tokio::time::Instant;

use super::answers::{Answered, Answers, Place};
use super::{Bank, BankArgs, Books, HISTORY, TELLERS};
use crate::error::CliError;
use crate::pair::{PATIENCE, store};

/// First wait before a transfer is tried again.
const AGAIN_MIN: Duration = Duration::from_millis(10);
/// Longest wait.
const AGAIN_MAX: Duration = Duration::from_millis(100);

/// A client.
pub(super) struct BankClient {
    client: i32,
    args: BankArgs,
    books: Arc<Books>,
    answers: Arc<Answers>,
    /// Where a primary may be.
    places: [(Place, PathBuf); 2],
    /// A connection to the primary's store.
    database: Option<(Place, SteadyClient)>,
    id: ClientId,
}

/// A transfer: who to whom, how much, and the row of history.
struct Transfer {
    account: i32,
    teller: i32,
    branch: i32,
    delta: i64,
    history: [Value; 8],
}

impl BankClient {
    pub(super) fn new(client: i32, bank: &Bank, places: [(Place, PathBuf); 2]) -> Self {
        Self {
            client,
            args: bank.args,
            books: Arc::clone(&bank.books),
            answers: Arc::clone(&bank.answers),
            places,
            database: None,
            id: ClientId::from_bytes(SystemEntropy.id()),
        }
    }

    /// Works until the bank closes.
    pub(super) async fn work(mut self) -> Result<(), CliError> {
        let clock = SystemClock::start();
        let mut dice = Dice(u64::from(self.client.unsigned_abs()));
        for number in 1.. {
            if self.answers.is_over() {
                break;
            }
            let at = i64::try_from(clock.wall().as_micros()).unwrap_or(0);
            let transfer = self.transfer(number, at, &mut dice);
            let key = DepositKey {
                client: self.id,
                key: number.unsigned_abs(),
            };
            let (by, landed) = self.land(key, &transfer).await?;
            self.answers.note(Answered {
                client: self.client,
                number,
                delta: transfer.delta,
                class: landed.class,
                by,
                at: Instant::now(),
            });
        }
        Ok(())
    }

    fn transfer(&self, number: i64, at: i64, dice: &mut Dice) -> Transfer {
        let teller = dice.roll(self.args.clients * TELLERS);
        let branch = (teller - 1) / TELLERS + 1;
        let account = dice.roll(self.args.clients * self.args.accounts);
        let delta = i64::from(dice.roll(10_000)) - 5_000;
        Transfer {
            account,
            teller,
            branch,
            delta,
            history: [
                Value::Integer(self.client),
                Value::BigInt(number),
                Value::Integer(teller),
                Value::Integer(branch),
                Value::Integer(account),
                Value::BigInt(delta),
                Value::Timestamp(at),
                Value::Text(String::new()),
            ],
        }
    }

    /// Tries a transfer until it landed: under the same key wherever the primary is by then.
    async fn land(
        &mut self,
        key: DepositKey,
        transfer: &Transfer,
    ) -> Result<(Place, Landed), CliError> {
        let deadline = Instant::now() + PATIENCE;
        let mut wait = AGAIN_MIN;
        loop {
            let books = &self.books;
            let database = match self.database.take() {
                Some(database) => Some(database),
                None => self.primary().await,
            };
            let late = Instant::now() >= deadline;
            if let Some((place, mut database)) = database {
                let work = async |transaction: &mut ClientTransaction<'_>| {
                    make(transaction, books, transfer).await
                };
                match database.transact(key, work).await {
                    Ok(landed) => {
                        self.database = Some((place, database));
                        return Ok((place, landed));
                    }
                    Err(error) if is_wrong(&error) || late => return Err(error.into()),
                    Err(error) => {
                        tracing::debug!(%error, client = self.client, "the transfer is tried again");
                    }
                }
            } else if late {
                let text = format!("no system was primary for {} s", PATIENCE.as_secs());
                let error = CommandError::new(ErrorKind::TimedOut, "RJN8001", text);
                return Err(CliError(error));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    }

    /// The store of the system that says it is primary and takes deposits; for one try, as it may be another one then.
    async fn primary(&self) -> Option<(Place, SteadyClient)> {
        for (place, data) in &self.places {
            let Ok(client) = Client::connect(data).await else {
                continue;
            };
            let told = client.run(WhoIsPrimary { group: None }).await;
            if told.is_ok_and(|told| told.here && told.open) {
                return Some((*place, SteadyClient::new(data, store(), Duration::ZERO)));
            }
        }
        None
    }
}

/// Whether trying again would hide that the data are not as they should be.
const fn is_wrong(error: &DatabaseError) -> bool {
    matches!(
        error,
        DatabaseError::NoRow { .. } | DatabaseError::Duplicate { .. } | DatabaseError::Row { .. }
    )
}

/// Three balances changed, one row of history; always in this order, so that clients never wait for each other in a ring.
async fn make(
    transaction: &mut ClientTransaction<'_>,
    books: &Books,
    transfer: &Transfer,
) -> Result<(), DatabaseError> {
    let mut writes = Vec::with_capacity(4);
    for (index, id, balance) in [
        (2, transfer.account, 2),
        (1, transfer.teller, 2),
        (0, transfer.branch, 1),
    ] {
        let (file, _) = books.file(index)?;
        let found = transaction
            .get_for_update(file, &[Value::Integer(id)])
            .await?;
        let mut row = found.ok_or_else(|| DatabaseError::NoRow {
            file: file.clone(),
            key: id.to_string(),
        })?;
        if let Some(Value::BigInt(amount)) = row.get_mut(balance) {
            *amount += transfer.delta;
        }
        writes.push(books.write(WriteKind::Update, index, &row)?);
    }
    writes.push(books.write(WriteKind::Insert, HISTORY, &transfer.history)?);
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
