//! Command `orphans redeposit`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rjournal::Client;
use rjournal::daemon::command::apply::ListJobs;
use rjournal::daemon::command::entries::{DepositState, FindDeposit};
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::{
    ClientId, DepositKey, FileName, JournalId, Name, QualifiedName, Sequence, payload_hash,
};
use rjournal_apply::error::DatabaseError;
use rjournal_apply::serve::{ClientTransaction, DatabaseClient, SteadyClient, WriteKind};

use super::landed::{Conflict, Done, DoneTransaction, conflict, in_words};
use super::target::{Target, not_as_found};
use crate::commands::Context;
use crate::error::CliError;
use crate::orphan::{Change, Exported, Outcome, Reading};
use crate::output::Unit;
use crate::rows;
use crate::text;

/// How long a transaction is tried while its job or daemon does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Deposit exported transactions again, as new ones, through a store of the system that is primary now
///
/// Each is deposited under its own deposit key, or one made from its journal and entry: given again it lands once. Where a row
/// is not as the transaction found it, nothing at all is deposited, and the conflicts are listed; FORCE deposits without
/// comparing. Before anything is deposited the file is read to its end.
///
/// Example: rjournal orphans redeposit --from lost.jsonl --store DB --pick 1201,1207
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file ORPHANS EXPORT wrote
    #[arg(long, value_name = "PATH")]
    from: PathBuf,

    /// The store
    #[arg(long, value_name = "NAME")]
    store: Name,

    /// Only these transactions, by their entries
    #[arg(
        long,
        value_name = "SEQUENCE",
        value_delimiter = ',',
        conflicts_with = "all"
    )]
    pick: Vec<u64>,

    /// All that were committed
    #[arg(long)]
    all: bool,

    /// Deposit them although rows are not as they found them
    #[arg(long)]
    force: bool,
}

/// What is to be done, and where.
struct Work<'a> {
    from: &'a Path,
    store: Name,
    journal: QualifiedName,
    force: bool,
    chosen: BTreeSet<Sequence>,
}

pub(super) async fn run(args: Args, context: &Context<'_>) -> Result<ExitCode, CliError> {
    if args.pick.is_empty() && !args.all {
        return Err(CliError::invalid(
            "say which transactions: PICK with their entries, or ALL",
        ));
    }
    let (chosen, notes) = choose(&args)?;
    let client = context.client().await?;
    let mut database = rows::connect(context, args.store).await?;
    // A store that cannot be changed says so before anything is looked at.
    database.begin(None).await?.rollback().await?;
    let work = Work {
        from: &args.from,
        store: args.store,
        journal: journal_of(&client, args.store).await?,
        force: args.force,
        chosen,
    };
    let mut done = Done {
        notes,
        ..Done::default()
    };
    if !args.force {
        done.conflicts = work.compare(&client, &mut database).await?;
    }
    drop(database);
    if done.conflicts.is_empty() {
        work.deposit(context, &mut done).await?;
    }
    context
        .output
        .result(&done, |done| in_words(done, args.store));
    Ok(if done.conflicts.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(5)
    })
}

/// Reads the file to its end, and gives the transactions that are meant, and how many entries of theirs change no row.
fn choose(args: &Args) -> Result<(BTreeSet<Sequence>, u64), CliError> {
    let mut picked: BTreeSet<Sequence> = args.pick.iter().copied().map(Sequence::new).collect();
    let (mut chosen, mut notes) = (BTreeSet::new(), 0);
    let mut reading = Reading::open(&args.from)?;
    while let Some(transaction) = reading.next_transaction()? {
        let named = picked.remove(&transaction.sequence);
        let committed = transaction.outcome != Outcome::NeverCommitted;
        if !(named || args.all && committed) {
            continue;
        }
        let refused = |why: &str| {
            let text = format!("transaction {} {why}", transaction.sequence);
            Err(CliError(CommandError::refused("RJN4043", text)))
        };
        if !committed {
            return refused("was never committed: nobody was told that it was done");
        }
        if transaction.incomplete {
            return refused("is not whole: its first entries were deleted with their receivers");
        }
        chosen.insert(transaction.sequence);
        notes += transaction.notes as u64;
    }
    if let Some(missing) = picked.first() {
        let what = format!("in {}", args.from.display());
        let error = CommandError::not_found(&format!("transaction {missing}"), what);
        return Err(CliError(error.help("ORPHANS SHOW lists them")));
    }
    Ok((chosen, notes))
}

async fn journal_of(client: &Client, store: Name) -> Result<QualifiedName, CliError> {
    let jobs = client.run(ListJobs {}).await?.jobs;
    let job = jobs.into_iter().find(|job| job.store == store);
    let job = job.ok_or_else(|| CommandError::not_found("store", store))?;
    Ok(job.journal)
}

/// The key it is deposited under: its own, or one made from where it stood. An epoch and an entry never name two entries.
fn deposit_key(journal: JournalId, transaction: &Exported) -> DepositKey {
    if let Some(key) = transaction.key {
        return key;
    }
    let mut named = b"rjournal redeposit 1".to_vec();
    named.extend_from_slice(journal.as_bytes());
    let epoch = transaction.epoch;
    for number in [epoch.term, epoch.boot, epoch.nonce] {
        named.extend_from_slice(&number.to_le_bytes());
    }
    let hash = payload_hash(&named);
    let mut client = [0; 16];
    client.copy_from_slice(&hash[..16]);
    DepositKey {
        client: ClientId::from_bytes(client),
        key: transaction.sequence.get(),
    }
}

impl Work<'_> {
    /// Hands over the transactions that are meant, and the file's formats.
    async fn each<W>(&self, mut work: W) -> Result<(), CliError>
    where
        W: AsyncFnMut(&Reading, &Exported) -> Result<(), CliError>,
    {
        let mut reading = Reading::open(self.from)?;
        while let Some(transaction) = reading.next_transaction()? {
            if self.chosen.contains(&transaction.sequence) && !transaction.changes.is_empty() {
                work(&reading, &transaction).await?;
            }
        }
        Ok(())
    }

    /// Rows that are not as the transactions found them, each transaction seeing those before it.
    async fn compare(
        &self,
        client: &Client,
        database: &mut DatabaseClient,
    ) -> Result<Vec<Conflict>, CliError> {
        let mut rows: HashMap<(FileName, String), Option<[u8; 32]>> = HashMap::new();
        let mut conflicts = Vec::new();
        self.each(async |reading, transaction| {
            let key = deposit_key(reading.header.journal, transaction);
            let request = FindDeposit {
                journal: self.journal,
                key,
            };
            let found = client.run(request).await?;
            if found.state == DepositState::Landed {
                return Ok(());
            }
            for change in &transaction.changes {
                let target = match Target::find(reading, change, database).await? {
                    Ok(target) => target,
                    Err(reason) => {
                        conflicts.push(conflict(transaction, change, reading, reason));
                        continue;
                    }
                };
                if target.is_new_record(change) {
                    continue;
                }
                let place = (target.file().clone(), format!("{:?}", target.key));
                let now = if let Some(now) = rows.get(&place) {
                    *now
                } else {
                    let row = database.get(target.file(), &target.key).await?;
                    target.hash(row.as_deref())?
                };
                if now != change.before.as_deref().map(payload_hash) {
                    let reason = not_as_found(change, now.is_some());
                    conflicts.push(conflict(transaction, change, reading, reason));
                }
                rows.insert(place, change.after.as_deref().map(payload_hash));
            }
            Ok(())
        })
        .await?;
        Ok(conflicts)
    }

    /// Deposits them, one after the other; ends with the first that does not fit.
    async fn deposit(&self, context: &Context<'_>, done: &mut Done) -> Result<(), CliError> {
        let meter = context.output.meter(Unit::Rows);
        meter.name("transactions deposited");
        let total = self.chosen.len() as u64;
        let mut steady = SteadyClient::new(&context.data, self.store, PATIENCE);
        self.each(async |reading, transaction| {
            if !done.conflicts.is_empty() {
                return Ok(());
            }
            let key = deposit_key(reading.header.journal, transaction);
            let mut met = None;
            let landed = steady
                .transact(key, async |open| {
                    met = None;
                    for change in &transaction.changes {
                        if let Err(reason) = self.write(reading, change, open).await? {
                            met = Some(conflict(transaction, change, reading, reason));
                            return Err(DatabaseError::Row {
                                reason: "a row is not as it was found".to_owned(),
                            });
                        }
                    }
                    Ok(())
                })
                .await;
            let landed = match (landed, met) {
                (Ok(landed), _) => landed,
                (Err(_), Some(conflict)) => {
                    done.conflicts.push(conflict);
                    return Ok(());
                }
                (Err(error), None) => return Err(interrupted(error, transaction, done)),
            };
            match landed.class {
                Some(_) => done.deposited += 1,
                None => done.landed_before += 1,
            }
            done.transactions.push(DoneTransaction {
                sequence: transaction.sequence,
                entry: landed.sequence,
                class: landed.class.map(text::class),
            });
            meter.show(done.deposited + done.landed_before, total);
            Ok(())
        })
        .await?;
        if done.conflicts.is_empty() {
            done.passed_over = total - done.deposited - done.landed_before;
        }
        Ok(())
    }

    /// Makes a change, or says why not.
    async fn write(
        &self,
        reading: &Reading,
        change: &Change,
        open: &mut ClientTransaction<'_>,
    ) -> Result<Result<(), String>, DatabaseError> {
        let target = match Target::within(reading, change, open).await? {
            Ok(target) => target,
            Err(reason) => return Ok(Err(reason)),
        };
        if target.is_new_record(change) {
            let row = target.row.unwrap_or_default();
            open.write(WriteKind::Insert, target.format.file(), &row)
                .await?;
            return Ok(Ok(()));
        }
        let file = target.format.file();
        let now = open.get_for_update(file, &target.key).await?;
        let as_found = target.before.as_ref() == now.as_ref() && target.comparable;
        if !as_found && !self.force {
            return Ok(Err(not_as_found(change, now.is_some())));
        }
        match target.row {
            Some(row) => open.write(WriteKind::Put, file, &row).await?,
            None if now.is_some() => open.write(WriteKind::Delete, file, &target.key).await?,
            None => {}
        }
        Ok(Ok(()))
    }
}

/// The way to the store ended in the middle: what was deposited stays, and lands once when the command is given again.
fn interrupted(error: DatabaseError, transaction: &Exported, done: &Done) -> CliError {
    let CommandError { kind, id, text, .. } = CommandError::from(error);
    let kind = match id.as_str() {
        "RJN6018" => ErrorKind::TimedOut,
        _ => kind,
    };
    let text = format!("transaction {}: {text}", transaction.sequence);
    let help = format!(
        "{} before it landed; give the command again, each lands once",
        text::counted(
            done.deposited + done.landed_before,
            "transaction",
            "transactions"
        )
    );
    CliError(CommandError::new(kind, &id, text).help(help))
}

#[cfg(test)]
mod tests {
    use rjournal::entry::Epoch;

    use super::*;

    fn exported(sequence: u64, boot: u64, key: Option<DepositKey>) -> Exported {
        Exported {
            sequence: Sequence::new(sequence),
            outcome: Outcome::Committed,
            key,
            epoch: Epoch {
                term: 1,
                boot,
                nonce: 9,
            },
            incomplete: false,
            changes: Vec::new(),
            notes: 0,
        }
    }

    #[test]
    fn a_transaction_has_the_same_key_whenever_it_is_deposited_and_no_other_one_has_it() {
        let journal = JournalId::from_bytes([1; 16]);
        let key = |sequence, boot| deposit_key(journal, &exported(sequence, boot, None));
        assert_eq!(key(5, 2), key(5, 2));
        assert_eq!(key(5, 2).client, key(6, 2).client);
        assert!(key(5, 2).key < key(6, 2).key);
        assert_ne!(key(5, 2).client, key(5, 3).client);
        let other = JournalId::from_bytes([2; 16]);
        assert_ne!(key(5, 2), deposit_key(other, &exported(5, 2, None)));
        let own = DepositKey {
            client: ClientId::from_bytes([7; 16]),
            key: 3,
        };
        assert_eq!(deposit_key(journal, &exported(5, 2, Some(own))), own);
    }
}
