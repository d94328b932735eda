//! Room `role`: the lineage of a group: its terms, each written in the journal of the system that was primary then. The newest
//! record counts; what it closes, what that closes, and so on, is the group's history, and nothing else is. Must not know
//! signatures: whoever calls has checked them.

use serde::{Deserialize, Serialize};

use crate::entry::{JournalId, Position, Sequence, SystemId, TERM_STEP_MAX, TermRecord};
use crate::remote::{Group, LINEAGE_MAX};

/// A list of terms that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineageError {
    /// More terms than any group has.
    #[error("{0} terms, at most {LINEAGE_MAX} are possible")]
    TooLong(usize),
    /// A record of another group.
    #[error("term {0} is of another group")]
    OtherGroup(u64),
    /// A record by a system that is no member, or of a journal it does not write.
    #[error("term {0} was opened by a system that may not")]
    NotEntitled(u64),
    /// A record that its primary did not sign.
    #[error("term {0} is not signed by its primary")]
    NotSigned(u64),
    /// A term that does not follow the one before.
    #[error("term {term} does not follow term {before}: {why}")]
    Order {
        /// The term.
        term: u64,
        /// The one before.
        before: u64,
        /// What does not fit.
        why: &'static str,
    },
}

/// One term in the journal it was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The term.
    pub term: u64,
    /// Who was primary.
    pub primary: SystemId,
    /// The journal.
    pub journal: JournalId,
    /// The position before its first bundle.
    pub begins: Position,
    /// Its last entry; nothing for the term that goes on.
    pub last: Option<Position>,
}

/// The terms of a group, oldest first. Every record closes the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage {
    records: Vec<TermRecord>,
}

impl Lineage {
    /// Reads a list of records that somebody told. `is_signed` says whether a record is its primary's own word.
    ///
    /// # Errors
    /// [`LineageError`] naming the term that does not fit.
    pub fn read(
        group: &Group,
        records: Vec<TermRecord>,
        is_signed: impl Fn(&TermRecord) -> bool,
    ) -> Result<Self, LineageError> {
        if records.len() > LINEAGE_MAX {
            return Err(LineageError::TooLong(records.len()));
        }
        let mut lineage = Self::default();
        for record in records {
            if record.group != group.id {
                return Err(LineageError::OtherGroup(record.term));
            }
            let writer = group.writer_of(record.journal);
            if writer.is_none_or(|writer| writer.system != record.primary) {
                return Err(LineageError::NotEntitled(record.term));
            }
            if !is_signed(&record) {
                return Err(LineageError::NotSigned(record.term));
            }
            lineage.push(record)?;
        }
        Ok(lineage)
    }

    /// Adds the next term.
    ///
    /// # Errors
    /// [`LineageError::Order`] unless it closes the newest one, and begins where its own journal's history ends.
    pub fn push(&mut self, record: TermRecord) -> Result<(), LineageError> {
        let before = self.term();
        let order = |why| LineageError::Order {
            term: record.term,
            before,
            why,
        };
        if record.term <= before || record.epoch.term != record.term {
            return Err(order("terms rise"));
        }
        if record.term - before > TERM_STEP_MAX {
            return Err(order("terms do not rise by so much"));
        }
        match (self.records.last(), record.closed) {
            (None, None) => {}
            (Some(newest), Some(closed)) => {
                if (closed.term, closed.journal) != (newest.term, newest.journal) {
                    return Err(order("it closes another term"));
                }
                // The term's own first entries are in it.
                if closed.last.sequence <= newest.begins.sequence {
                    return Err(order("it closes the term before it begins"));
                }
            }
            (None, Some(_)) | (Some(_), None) => {
                return Err(order("only the first term closes none"));
            }
        }
        let mut with = self.clone();
        with.records.push(record);
        if with
            .end_of(record.journal)
            .is_some_and(|end| end != record.begins)
        {
            return Err(order("it does not begin where its journal ended"));
        }
        *self = with;
        Ok(())
    }

    /// All records, oldest first.
    pub fn records(&self) -> &[TermRecord] {
        &self.records
    }

    /// The newest.
    pub fn newest(&self) -> Option<&TermRecord> {
        self.records.last()
    }

    /// The newest term; 0 before there is one.
    pub fn term(&self) -> u64 {
        self.newest().map_or(0, |record| record.term)
    }

    /// The segments, oldest first; the last one goes on.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = Segment> {
        self.records
            .iter()
            .enumerate()
            .map(|(index, record)| Segment {
                term: record.term,
                primary: record.primary,
                journal: record.journal,
                begins: record.begins,
                last: self
                    .records
                    .get(index + 1)
                    .and_then(|next| next.closed)
                    .map(|closed| closed.last),
            })
    }

    /// The lineage up to a term.
    #[must_use]
    pub fn upto(&self, term: u64) -> Self {
        let records = self.records.iter().filter(|record| record.term <= term);
        Self {
            records: records.copied().collect(),
        }
    }

    /// The lineage without the terms at its end of which a member holds no entry: whoever opened them answered nobody with it,
    /// and a new term closes the last one that left anything here. `tip` is the last entry held of a journal.
    #[must_use]
    pub fn held(&self, tip: impl Fn(JournalId) -> Option<Sequence>) -> Self {
        let mut records = self.records.clone();
        while let Some(last) = records.last()
            && records.len() > 1
            && tip(last.journal).is_none_or(|tip| tip <= last.begins.sequence)
        {
            records.pop();
        }
        Self { records }
    }

    /// The segment of a term.
    pub fn segment(&self, term: u64) -> Option<Segment> {
        self.segments().find(|segment| segment.term == term)
    }

    /// The segment that follows a term.
    pub fn after(&self, term: u64) -> Option<Segment> {
        self.segments().find(|segment| segment.term > term)
    }

    /// Where the last closed segment of a journal ends: up to there every copy of it must be equal (ruling 6). Nothing when no
    /// segment of it is closed.
    pub fn end_of(&self, journal: JournalId) -> Option<Position> {
        let mut closed = self.records.iter().filter_map(|record| record.closed);
        closed
            .rfind(|closed| closed.journal == journal)
            .map(|closed| closed.last)
    }

    /// Whether a journal is the one the newest term is written in.
    pub fn is_current(&self, journal: JournalId) -> bool {
        self.newest()
            .is_some_and(|record| record.journal == journal)
    }

    /// The newest term was opened by two systems: the term (failures.md BRD-3). A later one that somebody opened since says who
    /// goes on.
    pub fn conflict(&self, other: &Self) -> Option<u64> {
        let (ours, theirs) = (self.newest()?, other.newest()?);
        let same = (theirs.primary, theirs.journal) == (ours.primary, ours.journal);
        (theirs.term == ours.term && !same).then_some(ours.term)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::entry::{ChainHead, Closed, Epoch, GroupId, Proof, Sequence, TermReason, Timestamp};
    use crate::remote::GroupMember;

    pub(in crate::role) fn system(n: u8) -> SystemId {
        SystemId::from_bytes([n; 16])
    }

    pub(in crate::role) fn journal(n: u8) -> JournalId {
        JournalId::from_bytes([n + 100; 16])
    }

    pub(in crate::role) fn at(journal: u8, sequence: u64) -> Position {
        let mut head = [journal; 32];
        head[..8].copy_from_slice(&sequence.to_le_bytes());
        Position {
            sequence: Sequence::new(sequence),
            head: ChainHead::from_bytes(head),
        }
    }

    pub(in crate::role) fn group(members: u8) -> Group {
        Group {
            id: GroupId::from_bytes([9; 16]),
            name: "ORDERS".parse().unwrap(),
            version: 1,
            members: (1..=members)
                .map(|n| GroupMember {
                    system: system(n),
                    name: format!("SYS{n}").parse().unwrap(),
                    fingerprint: [n; 32],
                    journal: journal(n),
                    own: format!("LIB{n}/JRN{n}").parse().unwrap(),
                    library: format!("LIB{n}").parse().unwrap(),
                })
                .collect(),
            sync: true,
            text: String::new(),
        }
    }

    /// Term `term` of system `n`, which begins behind `begins` of its journal and closes `closed`: term, whose journal, last.
    pub(in crate::role) fn record(
        term: u64,
        n: u8,
        begins: u64,
        closed: Option<(u64, u8, u64)>,
    ) -> TermRecord {
        TermRecord {
            group: GroupId::from_bytes([9; 16]),
            term,
            primary: system(n),
            journal: journal(n),
            begins: at(n, begins),
            epoch: Epoch {
                term,
                boot: 1,
                nonce: 7,
            },
            closed: closed.map(|(term, writer, last)| Closed {
                term,
                journal: journal(writer),
                last: at(writer, last),
            }),
            reason: TermReason::TakenOver,
            opened_at: Timestamp::ZERO,
            proof: Proof::NONE,
        }
    }

    pub(in crate::role) fn lineage(records: &[TermRecord]) -> Lineage {
        Lineage::read(&group(3), records.to_vec(), |_| true).unwrap()
    }

    #[test]
    fn there_and_back_and_there_again_is_a_lineage_with_the_ends_of_each_journal() {
        let lineage = lineage(&[
            record(1, 1, 0, None),
            record(2, 2, 0, Some((1, 1, 105))),
            record(3, 1, 105, Some((2, 2, 40))),
        ]);
        assert_eq!(lineage.term(), 3);
        assert_eq!(lineage.end_of(journal(1)), Some(at(1, 105)));
        assert_eq!(lineage.end_of(journal(2)), Some(at(2, 40)));
        assert_eq!(lineage.end_of(journal(3)), None);
        assert_eq!(
            lineage.after(1).map(|segment| segment.journal),
            Some(journal(2))
        );
        assert_eq!(lineage.segment(3).unwrap().last, None);
    }

    #[test]
    fn records_that_do_not_follow_each_other_are_refused_and_name_the_term() {
        let first = record(1, 1, 0, None);
        let refused = |records: &[TermRecord]| {
            Lineage::read(&group(2), records.to_vec(), |record| record.term != 7).unwrap_err()
        };
        let order = |records: &[TermRecord]| {
            assert!(
                matches!(refused(records), LineageError::Order { .. }),
                "{records:?}"
            );
        };
        order(&[first, record(1, 2, 0, Some((1, 1, 5)))]);
        order(&[first, record(2, 2, 0, None)]);
        order(&[record(2, 2, 0, Some((1, 1, 5)))]);
        order(&[first, record(3, 2, 0, Some((2, 1, 5)))]);
        order(&[first, record(2, 2, 0, Some((1, 2, 5)))]);
        order(&[record(1, 1, 9, None), record(2, 2, 0, Some((1, 1, 9)))]);
        order(&[first, record(2 + TERM_STEP_MAX, 2, 0, Some((1, 1, 5)))]);
        // A later term in the same journal begins at the end of the earlier one.
        let there = record(2, 2, 0, Some((1, 1, 105)));
        order(&[first, there, record(3, 1, 104, Some((2, 2, 40)))]);
        assert_eq!(
            refused(&[first, record(7, 2, 0, Some((1, 1, 5)))]),
            LineageError::NotSigned(7)
        );
        assert_eq!(
            refused(&[first, record(2, 3, 0, Some((1, 1, 5)))]),
            LineageError::NotEntitled(2)
        );
        let mut foreign = first;
        foreign.group = GroupId::from_bytes([1; 16]);
        assert_eq!(refused(&[foreign]), LineageError::OtherGroup(1));
    }

    #[test]
    fn one_term_opened_by_two_systems_is_a_conflict() {
        let first = record(1, 1, 0, None);
        let one = lineage(&[first, record(2, 2, 0, Some((1, 1, 5)))]);
        let other = lineage(&[first, record(2, 3, 0, Some((1, 1, 4)))]);
        assert_eq!(one.conflict(&other), Some(2));
        assert_eq!(one.conflict(&one), None);
        assert_eq!(one.conflict(&lineage(&[first])), None);
        // Somebody took over since: whoever is below follows.
        let further = lineage(&[
            first,
            record(2, 3, 0, Some((1, 1, 4))),
            record(4, 1, 4, Some((2, 3, 9))),
        ]);
        assert_eq!(one.conflict(&further), None);
    }
}
