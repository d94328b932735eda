//! Room `role`: where the position of a store is in a group's history: in which segment, beyond all of it, or in another history.
//! Must not know stores, nor heads: that the entry there is the same is compared by whoever reads it.

use super::lineage::{Lineage, Segment};
use crate::entry::{SegmentId, Sequence};
use crate::remote::Group;

/// Where a position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// In this segment, or beyond its end.
    In(Segment),
    /// In a term that the history does not have; this is the segment before it.
    Abandoned(Segment),
    /// In a journal that is none of the group's.
    Elsewhere,
}

impl Lineage {
    /// Places a position: the term and journal it is in, and its entry. A store without position begins with the first segment.
    ///
    /// A position made before the journal belonged to the group may name another term: one that lies in a segment of its journal
    /// is there, whatever the term.
    pub fn place(&self, group: &Group, at: Option<SegmentId>, sequence: Sequence) -> Placed {
        let first = self.segments().next();
        let Some(at) = at else {
            return first.map_or(Placed::Elsewhere, Placed::In);
        };
        if group.writer_of(at.journal).is_none() {
            return Placed::Elsewhere;
        }
        let of = || {
            let segments = self.segments();
            segments.filter(|segment| segment.journal == at.journal)
        };
        let exact = of().find(|segment| segment.term == at.term);
        let around = of().find(|segment| {
            let upto = segment
                .last
                .map_or(Sequence::LAST_USABLE, |last| last.sequence);
            segment.begins.sequence <= sequence && sequence <= upto
        });
        if let Some(segment) = exact.or(around) {
            return Placed::In(segment);
        }
        let mut earlier = self.segments().rev();
        let before = earlier.find(|segment| segment.term <= at.term).or(first);
        before.map_or(Placed::Elsewhere, |segment| {
            if segment.journal == at.journal {
                Placed::In(segment)
            } else {
                Placed::Abandoned(segment)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::{group, journal, lineage, record};
    use super::*;

    fn there_and_back() -> Lineage {
        lineage(&[
            record(1, 1, 0, None),
            record(2, 2, 0, Some((1, 1, 105))),
            record(4, 1, 105, Some((2, 2, 40))),
        ])
    }

    fn placed(at: Option<(u64, u8)>, sequence: u64) -> Result<u64, Option<u64>> {
        let at = at.map(|(term, n)| SegmentId {
            term,
            journal: journal(n),
        });
        match there_and_back().place(&group(3), at, Sequence::new(sequence)) {
            Placed::In(segment) => Ok(segment.term),
            Placed::Abandoned(segment) => Err(Some(segment.term)),
            Placed::Elsewhere => Err(None),
        }
    }

    #[test]
    fn a_position_is_in_the_segment_it_names_also_at_its_ends() {
        assert_eq!(placed(None, 0), Ok(1));
        for (at, sequence) in [((1, 1), 0), ((1, 1), 105), ((2, 2), 0), ((4, 1), 105)] {
            assert_eq!(placed(Some(at), sequence), Ok(at.0), "{at:?}");
        }
        // Beyond the end: whoever asked compares.
        assert_eq!(placed(Some((1, 1)), 110), Ok(1));
        assert_eq!(placed(Some((2, 2)), 41), Ok(2));
    }

    #[test]
    fn a_position_made_before_the_group_is_found_by_its_entry() {
        assert_eq!(placed(Some((7, 1)), 50), Ok(1));
        assert_eq!(placed(Some((0, 1)), 300), Ok(4));
    }

    #[test]
    fn a_position_in_a_term_that_does_not_count_is_abandoned_and_a_foreign_one_elsewhere() {
        assert_eq!(placed(Some((3, 3)), 7), Err(Some(2)));
        assert_eq!(placed(Some((3, 2)), 50), Ok(2), "beyond term 2");
        assert_eq!(placed(Some((1, 9)), 7), Err(None));
    }
}
