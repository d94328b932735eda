//! Package `cli`, orphans: entries behind a fork become transactions, in the order of their decisions. Must not know where
//! entries are read.

use std::collections::BTreeMap;

use rjournal::daemon::command::entries::DisplayedEntry;
use rjournal::daemon::{CommandError, ErrorKind};
use rjournal::entry::{DepositKey, EntryView, Epoch, Kind, ObjectId, Sequence, Timestamp};

use crate::error::CliError;

/// Bytes of images of transactions that are not decided yet, all together: more is read with DSPJRN only.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// An entry, from an archive or from the journal below it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    sequence: Sequence,
    time: Timestamp,
    kind: Kind,
    object: ObjectId,
    count: u64,
    cycle: Sequence,
    format: u32,
    indicator: u8,
    /// Job, user, program, system.
    actor: [Option<String>; 4],
    key: Option<DepositKey>,
    payload: Vec<u8>,
    /// Epoch it was sealed in; not known of entries at or below the fork.
    epoch: Epoch,
}

impl Entry {
    pub(crate) fn of_view(view: &EntryView<'_>, epoch: Epoch) -> Self {
        let extension = view.extension().unwrap_or_default();
        let text = |field: Option<&str>| field.map(str::to_owned);
        Self {
            sequence: view.sequence,
            time: view.time,
            kind: view.kind,
            object: view.object,
            count: view.count,
            cycle: view.cycle,
            format: view.format,
            indicator: view.indicator,
            actor: [
                text(extension.job),
                text(extension.user),
                text(extension.program),
                text(extension.system),
            ],
            key: extension.key.map(|(key, _)| key),
            payload: view.payload.bytes().to_vec(),
            epoch,
        }
    }

    pub(crate) fn of_displayed(entry: DisplayedEntry) -> Self {
        Self {
            sequence: entry.sequence,
            time: entry.time,
            kind: entry.kind,
            object: entry.object.unwrap_or(ObjectId::NONE),
            count: entry.count,
            cycle: entry.cycle,
            format: entry.format,
            indicator: entry.indicator,
            actor: entry.actor,
            key: entry.key,
            payload: entry.payload,
            epoch: Epoch::NONE,
        }
    }
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Put,
    Update,
    Delete,
}

impl ChangeKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A change of a row, with its images as they are encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) sequence: Sequence,
    pub(crate) kind: ChangeKind,
    pub(crate) object: ObjectId,
    pub(crate) format: u32,
    /// Its record number, in a file without key fields.
    pub(crate) record: u64,
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) after: Option<Vec<u8>>,
    /// The key of a delete that has no image (images *AFTER).
    pub(crate) key: Option<Vec<u8>>,
}

/// An entry that is no change of a row: a user's own, or one about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) sequence: Sequence,
    pub(crate) kind: Kind,
    pub(crate) object: ObjectId,
    pub(crate) data: Vec<u8>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was committed.
    Committed,
    /// One entry, outside a commit cycle.
    Alone,
    /// Nothing was decided about it.
    NeverCommitted,
}

impl Outcome {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Committed => "COMMITTED",
            Self::Alone => "ALONE",
            Self::NeverCommitted => "NEVER_COMMITTED",
        }
    }
}

/// A transaction that was not taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// What it is called by: its commit, the one entry, or, where nothing was decided, its beginning.
    pub(crate) sequence: Sequence,
    pub(crate) outcome: Outcome,
    /// When it was decided, or its last entry deposited.
    pub(crate) time: Timestamp,
    pub(crate) actor: [Option<String>; 4],
    pub(crate) key: Option<DepositKey>,
    pub(crate) epoch: Epoch,
    pub(crate) changes: Vec<Change>,
    pub(crate) notes: Vec<Note>,
    /// Its first entries were deleted with their receivers.
    pub(crate) incomplete: bool,
}

#[derive(Debug, Default)]
struct Open {
    before: Option<Vec<u8>>,
    changes: Vec<Change>,
    notes: Vec<Note>,
    time: Timestamp,
    actor: [Option<String>; 4],
    epoch: Epoch,
    bytes: usize,
    begun: bool,
}

/// Collects transactions from entries in order.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    open: BTreeMap<Sequence, Open>,
    before: Option<Vec<u8>>,
    bytes: usize,
    /// Transactions about which nothing was decided.
    undecided: Vec<Transaction>,
}

impl Collector {
    /// The next entry; gives the transaction that is decided with it.
    ///
    /// # Errors
    /// [`CliError`] when more is undecided than can be kept.
    pub(crate) fn take(&mut self, entry: &Entry) -> Result<Option<Transaction>, CliError> {
        match entry.kind {
            Kind::OPENED => {
                for (cycle, open) in std::mem::take(&mut self.open) {
                    self.leave(cycle, open);
                }
                self.before = None;
            }
            Kind::CYCLE_START => {
                let open = self.open.entry(entry.sequence).or_default();
                open.begun = true;
                open.note_entry(entry);
            }
            Kind::CYCLE_ROLLBACK => self.bytes -= self.end(entry.cycle).bytes,
            Kind::CYCLE_COMMIT => {
                let open = self.end(entry.cycle);
                self.bytes -= open.bytes;
                return Ok(Some(open.decided(entry)));
            }
            kind if kind.code() == 'J' || kind.is_commitment() => {}
            _ if entry.cycle == Sequence::NONE => return Ok(self.alone(entry)),
            _ => self.inside(entry)?,
        }
        Ok(None)
    }

    fn end(&mut self, cycle: Sequence) -> Open {
        self.open.remove(&cycle).unwrap_or_default()
    }

    fn alone(&mut self, entry: &Entry) -> Option<Transaction> {
        let mut open = Open {
            before: self.before.take(),
            begun: true,
            ..Open::default()
        };
        open.note_entry(entry);
        open.push(entry);
        if open.changes.is_empty() && open.notes.is_empty() {
            self.before = open.before;
            return None;
        }
        Some(Transaction {
            outcome: Outcome::Alone,
            ..open.decided(entry)
        })
    }

    fn inside(&mut self, entry: &Entry) -> Result<(), CliError> {
        let open = self.open.entry(entry.cycle).or_default();
        open.note_entry(entry);
        open.push(entry);
        open.bytes += entry.payload.len();
        self.bytes += entry.payload.len();
        if self.bytes > BYTES_MAX {
            let text = format!(
                "at entry {} transactions of more than {} MiB are open: they are too large to be shown as transactions",
                entry.sequence,
                BYTES_MAX >> 20
            );
            return Err(CliError(
                CommandError::new(ErrorKind::Refused, "RJN4041", text)
                    .help("restore the store they are in from its save elsewhere, and take the rows from there"),
            ));
        }
        Ok(())
    }

    fn leave(&mut self, cycle: Sequence, open: Open) {
        self.bytes -= open.bytes;
        self.undecided.push(Transaction {
            sequence: cycle,
            outcome: Outcome::NeverCommitted,
            time: open.time,
            actor: open.actor,
            key: None,
            epoch: open.epoch,
            changes: open.changes,
            notes: open.notes,
            incomplete: !open.begun,
        });
    }

    /// Transactions about which nothing was decided, by their beginnings.
    pub(crate) fn finish(mut self) -> Vec<Transaction> {
        for (cycle, open) in std::mem::take(&mut self.open) {
            self.leave(cycle, open);
        }
        self.undecided
            .sort_by_key(|transaction| transaction.sequence);
        self.undecided
    }
}

impl Open {
    fn note_entry(&mut self, entry: &Entry) {
        self.time = entry.time;
        self.epoch = entry.epoch;
        if entry.actor.iter().any(Option::is_some) {
            self.actor.clone_from(&entry.actor);
        }
    }

    /// Takes an entry that is a change, a part of one, or a note.
    fn push(&mut self, entry: &Entry) {
        let image = Some(entry.payload.clone());
        let (kind, before, after, key) = match entry.kind {
            Kind::RECORD_BEFORE | Kind::ROLLBACK_BEFORE => {
                self.before = image;
                return;
            }
            Kind::RECORD_PUT | Kind::RECORD_PUT_AT => (ChangeKind::Put, None, image, None),
            Kind::RECORD_UPDATE | Kind::ROLLBACK_UPDATE => {
                (ChangeKind::Update, self.before.take(), image, None)
            }
            Kind::RECORD_DELETE | Kind::ROLLBACK_DELETE if entry.indicator == 1 => {
                (ChangeKind::Delete, image, None, None)
            }
            Kind::RECORD_DELETE | Kind::ROLLBACK_DELETE => (ChangeKind::Delete, None, None, image),
            kind => {
                self.notes.push(Note {
                    sequence: entry.sequence,
                    kind,
                    object: entry.object,
                    data: entry.payload.clone(),
                });
                return;
            }
        };
        self.changes.push(Change {
            sequence: entry.sequence,
            kind,
            object: entry.object,
            format: entry.format,
            record: entry.count,
            before,
            after,
            key,
        });
    }

    fn decided(mut self, decision: &Entry) -> Transaction {
        self.note_entry(decision);
        Transaction {
            sequence: decision.sequence,
            outcome: Outcome::Committed,
            time: self.time,
            actor: self.actor,
            key: decision.key,
            epoch: decision.epoch,
            changes: self.changes,
            notes: self.notes,
            incomplete: !self.begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, kind: Kind, cycle: u64) -> Entry {
        Entry {
            sequence: Sequence::new(sequence),
            time: Timestamp::from_micros(sequence),
            kind,
            object: ObjectId::from_bytes([1; 16]),
            count: 0,
            cycle: Sequence::new(cycle),
            format: 1,
            indicator: 1,
            actor: [None, Some(format!("user {cycle}")), None, None],
            key: None,
            payload: vec![sequence as u8],
            epoch: Epoch::NONE,
        }
    }

    fn collected(entries: &[(u64, Kind, u64)]) -> (Vec<Transaction>, Vec<Transaction>) {
        let mut collector = Collector::default();
        let decided = entries
            .iter()
            .filter_map(|&(sequence, kind, cycle)| {
                collector.take(&entry(sequence, kind, cycle)).unwrap()
            })
            .collect();
        (decided, collector.finish())
    }

    #[test]
    fn transactions_come_in_the_order_of_their_decisions_with_all_their_changes() {
        let (decided, undecided) = collected(&[
            (10, Kind::CYCLE_START, 10),
            (11, Kind::RECORD_PUT, 10),
            (12, Kind::CYCLE_START, 12),
            (13, Kind::RECORD_BEFORE, 12),
            (14, Kind::RECORD_UPDATE, 12),
            (15, Kind::RECORD_DELETE, 0),
            (16, Kind::CYCLE_COMMIT, 12),
            (17, Kind::RECORD_DELETE, 10),
            (18, Kind::CYCLE_COMMIT, 10),
            (19, Kind::USER, 0),
        ]);
        let named: Vec<_> = decided
            .iter()
            .map(|one| (one.sequence.get(), one.outcome, one.changes.len()))
            .collect();
        assert_eq!(
            named,
            [
                (15, Outcome::Alone, 1),
                (16, Outcome::Committed, 1),
                (18, Outcome::Committed, 2),
                (19, Outcome::Alone, 0)
            ]
        );
        let update = &decided[1].changes[0];
        assert_eq!(
            (update.kind, update.sequence.get()),
            (ChangeKind::Update, 14)
        );
        assert_eq!(
            (&update.before, &update.after),
            (&Some(vec![13]), &Some(vec![14]))
        );
        assert_eq!(decided[3].notes.len(), 1);
        assert!(decided.iter().all(|one| !one.incomplete));
        assert_eq!(undecided, []);
    }

    #[test]
    fn what_was_rolled_back_is_no_loss_and_what_was_not_decided_is_listed() {
        let (decided, undecided) = collected(&[
            (10, Kind::CYCLE_START, 10),
            (11, Kind::RECORD_PUT, 10),
            (12, Kind::CYCLE_START, 12),
            (13, Kind::RECORD_PUT, 12),
            (14, Kind::CYCLE_ROLLBACK, 10),
            (15, Kind::OPENED, 0),
            (16, Kind::CYCLE_START, 16),
        ]);
        assert_eq!(decided, []);
        let named: Vec<_> = undecided.iter().map(|one| one.sequence.get()).collect();
        assert_eq!(named, [12, 16]);
        assert!(
            undecided
                .iter()
                .all(|one| one.outcome == Outcome::NeverCommitted)
        );
    }

    #[test]
    fn a_transaction_whose_beginning_is_gone_says_so() {
        let (decided, _) = collected(&[(11, Kind::RECORD_PUT, 10), (12, Kind::CYCLE_COMMIT, 10)]);
        assert!(decided[0].incomplete);
    }
}
