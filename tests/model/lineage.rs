//! Package `rjournal-model`: whose entries count, in which order. The lineage is derived twice: from the close records in the
//! entries a copy holds (what is applied, what a tip is), and from the term records a member knows (what its copies must
//! become). Knows nothing of what members do with it.

use crate::few::Few;
use crate::journal::{
    Closed, DepositId, Entry, Epoch, InSync, Journal, Kind, MEMBERS_MAX, MemberId, PerMember,
    Sequence, Term,
};
use crate::state::TermRecord;

/// The part of one journal that one term wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The journal.
    pub journal: MemberId,
    /// Its first entry.
    pub first: Sequence,
    /// Its last entry, as far as held.
    pub last: Sequence,
}

/// An entry and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The journal.
    pub journal: MemberId,
    /// The number in it.
    pub sequence: Sequence,
    /// The entry.
    pub entry: Entry,
}

/// The segments of all terms that count, oldest first, as far as they are held.
#[derive(Clone, Debug)]
pub struct Lineage {
    segments: Few<Segment, 8>,
    held: PerMember<Journal>,
}

impl Lineage {
    /// Walks back over the close records, from the highest term that anything is held of.
    pub fn of(held: &PerMember<Journal>) -> Self {
        let mut backwards = Few::<Segment, 8>::none();
        let newest = (0..MEMBERS_MAX as u8)
            .map(MemberId)
            .rev()
            .filter(|journal| held[*journal].last() > 0)
            .max_by_key(|journal| held[*journal].entries().last().map(|last| last.epoch.term));
        let mut next = newest.map(|journal| (journal, held[journal].last()));
        while let Some((journal, last)) = next.take()
            && last > 0
        {
            let entries = &held[journal].entries()[..usize::from(last)];
            let term = entries[entries.len() - 1].epoch.term;
            if backwards
                .last()
                .is_some_and(|later| held[later.journal].entry(later.last).epoch.term <= term)
            {
                // only where segments have holes: what stands here is not what was closed
                break;
            }
            let before = entries
                .iter()
                .rposition(|entry| entry.epoch.term != term)
                .map_or(0, |at| at + 1);
            backwards.push(Segment {
                journal,
                first: before as Sequence + 1,
                last,
            });
            if let Kind::Open {
                closes: Some(closed),
                ..
            } = entries[before].kind
            {
                let last = closed.last().min(held[closed.journal].last());
                next = Some((closed.journal, last));
            }
        }
        backwards.reverse();
        Self {
            segments: backwards,
            held: *held,
        }
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment of the newest term.
    pub fn newest(&self) -> Option<&Segment> {
        self.segments.last()
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = Placed> {
        self.segments.iter().flat_map(|segment| {
            (segment.first..=segment.last).map(|sequence| Placed {
                journal: segment.journal,
                sequence,
                entry: self.held[segment.journal].entry(sequence),
            })
        })
    }

    /// How many entries.
    pub fn count(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| usize::from(segment.last - segment.first) + 1)
            .sum()
    }

    /// Each journal as far as it is part of the lineage.
    pub fn journals(&self) -> PerMember<Journal> {
        let mut journals = PerMember::default();
        for segment in self.segments.iter() {
            journals[segment.journal] = self.held[segment.journal].up_to(segment.last);
        }
        journals
    }

    /// The last entry.
    pub fn last(&self) -> Option<Placed> {
        self.entries().next_back()
    }

    /// The in-sync set its last set entry tells.
    pub fn in_sync(&self) -> InSync {
        self.entries()
            .rev()
            .find_map(|placed| placed.entry.set())
            .unwrap_or_default()
    }

    /// How many leading entries two lineages share.
    pub fn common(&self, other: &Self) -> usize {
        self.entries()
            .zip(other.entries())
            .take_while(|(here, there)| here == there)
            .count()
    }

    /// How far it goes, to be compared (ruling 29): by the epoch of its last bundle, then by sequence.
    pub fn tip(&self) -> Tip {
        self.last().map_or(Tip::default(), |placed| Tip {
            epoch: placed.entry.epoch,
            entries: self.count(),
        })
    }

    /// Is the deposit or cycle decided in it?
    pub fn holds(&self, id: DepositId) -> bool {
        self.entries()
            .any(|placed| placed.entry.decides() == Some(id))
    }
}

/// How far a lineage goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Tip {
    /// Of the last bundle.
    pub epoch: Epoch,
    /// Entries of the lineage. Under one epoch this compares as the sequence does, as the segments before are whole.
    pub entries: usize,
}

/// The decisions that some entries come to, in order: what a store holds after them.
pub(crate) fn decisions(entries: impl Iterator<Item = Placed>) -> Few<u8, 4> {
    let mut decided = Few::none();
    let mut open = None;
    for placed in entries {
        match placed.entry.kind {
            Kind::Deposit(id) => decided.push(id),
            Kind::Begin(id) => open = Some(id),
            Kind::Commit(id) if open == Some(id) => {
                decided.push(id);
                open = None;
            }
            Kind::Open { .. } => open = None,
            Kind::Commit(_) | Kind::SetChange(_) | Kind::HandOver(_) => {}
        }
    }
    decided
}

/// The lineage as term records tell it: the way back from the highest. It is not all records in the order of their terms:
/// a term may be left out, when a later takeover did not know of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The newest term.
    pub term: Term,
    /// Its primary.
    pub primary: MemberId,
    /// The segments it and the terms before have closed, oldest first.
    pub closed: Few<Closed, 8>,
}

impl Told {
    /// Of these records. Nothing without any, and nothing when the way back does not reach the first term: on a lineage with
    /// a gap nobody may act.
    pub fn by<'a>(
        records: &(impl Iterator<Item = &'a TermRecord> + Clone),
        promised_to: MemberId,
    ) -> Option<Self> {
        // where loss was accepted one term may have two records: the promise says which
        let newest = records
            .clone()
            .max_by_key(|record| (record.term, record.primary == promised_to))?;
        let mut closed = Few::<Closed, 8>::none();
        let mut next = Some(newest);
        while let Some(record) = next {
            closed.push(record.closes);
            next = records.clone().find(|earlier| {
                earlier.term == record.closes.term && earlier.primary == record.closes.journal
            });
        }
        if closed.last()?.term > 1 {
            return None;
        }
        closed.reverse();
        Some(Self {
            term: newest.term,
            primary: newest.primary,
            closed,
        })
    }

    /// How much of a copy is part of this lineage, taking for granted what stands up to the last closed segment: what lies
    /// beyond is an orphan. The newest term's own entries are not known here, and kept.
    pub fn kept(&self, journal: MemberId, content: Journal) -> Sequence {
        let closed = self
            .closed
            .iter()
            .filter(|closed| closed.journal == journal)
            .map(Closed::last)
            .max()
            .unwrap_or(0)
            .min(content.last());
        if journal != self.primary {
            return closed;
        }
        let own = content.entries()[usize::from(closed)..]
            .iter()
            .take_while(|entry| entry.epoch.term == self.term)
            .count();
        closed + own as Sequence
    }
}
