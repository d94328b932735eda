//! Room `remote`: coupling: whose history is it? Both sides say what they have; the last common point is found by chain
//! heads alone, and one table decides (DESIGN section 6, failures.md 4.3). Equal heads at an entry mean equal history up
//! to it, so the search is a binary one and needs no trust in numbers or names.
//! Must not know messages: it asks for heads and is told them.

use crate::entry::{ChainHead, Position, Sequence};

/// What a side holds: the position before its oldest entry, and its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Position before the oldest entry.
    pub oldest: Position,
    /// The last entry.
    pub tip: Position,
}

/// What follows from two histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coupling {
    /// The target's tip lies on the source's chain: go on after it.
    Continue {
        /// The target's tip.
        at: Position,
    },
    /// The target holds nothing: it begins where the source's oldest receiver does.
    Begin {
        /// The position before it.
        at: Position,
    },
    /// The target is ahead on the same chain: a source that is not open yet takes that tail over.
    Ahead {
        /// The source's tip.
        at: Position,
    },
    /// Both went on after `at`.
    Forked {
        /// The last common position.
        at: Position,
    },
    /// Nothing in common is held by both.
    Strangers,
    /// The source does not hold what the target needs next.
    Gap,
}

/// A search for the last common position.
#[derive(Debug, Clone)]
pub(super) struct Search {
    source: Extent,
    target: Extent,
    /// Known to be common, if anything is.
    low: Option<Position>,
    /// Known not to be common; the search is over when it is right behind `low`.
    high: Sequence,
    /// The entry both heads are wanted at.
    asked: Sequence,
    ours: Option<ChainHead>,
    theirs: Option<ChainHead>,
    /// How far the next step goes back while nothing common is known.
    step: u64,
}

/// What the search wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Our own head at an entry.
    Ours(Sequence),
    /// The other side's head at an entry.
    Theirs(Sequence),
    /// Nothing: this is the answer.
    Decided(Coupling),
}

impl Search {
    /// Begins where both histories could agree at best: at the end of the shorter one.
    pub(super) fn new(source: Extent, target: Extent) -> Self {
        let asked = source.tip.sequence.min(target.tip.sequence);
        Self {
            source,
            target,
            low: None,
            high: asked.next(),
            asked,
            ours: None,
            theirs: None,
            step: 1,
        }
    }

    fn floor(&self) -> Sequence {
        self.source.oldest.sequence.max(self.target.oldest.sequence)
    }

    /// A side's own ends are known without asking.
    fn known(extent: &Extent, sequence: Sequence) -> Option<ChainHead> {
        [extent.tip, extent.oldest]
            .into_iter()
            .find(|position| position.sequence == sequence)
            .map(|position| position.head)
    }

    pub(super) fn wanted(&mut self) -> Wanted {
        loop {
            if self.target.tip.sequence < self.source.oldest.sequence {
                return Wanted::Decided(Coupling::Gap);
            }
            if self.source.tip.sequence < self.target.oldest.sequence {
                return Wanted::Decided(Coupling::Strangers);
            }
            if let Some(low) = self.low.filter(|low| low.sequence.next() == self.high) {
                return Wanted::Decided(self.decide(low));
            }
            let asked = self.asked;
            let Some(ours) = self.ours.or_else(|| Self::known(&self.source, asked)) else {
                return Wanted::Ours(asked);
            };
            let Some(theirs) = self.theirs.or_else(|| Self::known(&self.target, asked)) else {
                return Wanted::Theirs(asked);
            };
            if !self.compare(ours == theirs, ours) {
                return Wanted::Decided(Coupling::Strangers);
            }
        }
    }

    /// Takes one comparison in and chooses the next place. Says whether there is one.
    fn compare(&mut self, equal: bool, head: ChainHead) -> bool {
        let floor = self.floor();
        if equal {
            self.low = Some(Position {
                sequence: self.asked,
                head,
            });
        } else if self.asked == floor {
            return false;
        } else {
            self.high = self.asked;
        }
        self.ours = None;
        self.theirs = None;
        self.asked = if let Some(low) = self.low {
            Sequence::new(low.sequence.get().midpoint(self.high.get())).max(low.sequence.next())
        } else {
            // Forks lie near the end: step back 1, 2, 4 ... before halving.
            let back = Sequence::new(self.asked.get().saturating_sub(self.step)).max(floor);
            self.step = self.step.saturating_mul(2);
            back
        };
        true
    }

    /// The numbered table of coupling, once the last common position is known.
    fn decide(&self, common: Position) -> Coupling {
        let (source, target) = (self.source.tip.sequence, self.target.tip.sequence);
        if common.sequence == target {
            Coupling::Continue { at: common }
        } else if common.sequence == source {
            Coupling::Ahead { at: common }
        } else {
            Coupling::Forked { at: common }
        }
    }

    /// Our own head at the entry asked for; nothing when it is not here.
    pub(super) fn tell_ours(&mut self, sequence: Sequence, head: Option<ChainHead>) {
        if sequence == self.asked {
            self.ours = Some(head.unwrap_or_else(|| ChainHead::from_bytes([0; 32])));
        }
    }

    /// The other side's head at the entry asked for; nothing when it is not there.
    pub(super) fn tell_theirs(&mut self, sequence: Sequence, head: Option<ChainHead>) {
        if sequence == self.asked {
            self.theirs = Some(head.unwrap_or_else(|| ChainHead::from_bytes([0xff; 32])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::JournalId;

    /// A history as the list of its leaves; equal prefixes have equal heads.
    fn heads(leaves: &[u8]) -> Vec<ChainHead> {
        let mut all = vec![ChainHead::genesis(JournalId::from_bytes([1; 16]))];
        for leaf in leaves {
            let next = all.last().unwrap().extend(&[*leaf; 32]);
            all.push(next);
        }
        all
    }

    fn extent(heads: &[ChainHead], oldest: usize) -> Extent {
        let at = |n: usize| Position {
            sequence: Sequence::new(n as u64),
            head: heads[n],
        };
        Extent {
            oldest: at(oldest),
            tip: at(heads.len() - 1),
        }
    }

    /// Runs a search to its end; gives the outcome and how many questions it took.
    fn search(
        source: &[ChainHead],
        target: &[ChainHead],
        oldest: (usize, usize),
    ) -> (Coupling, usize) {
        let mut search = Search::new(extent(source, oldest.0), extent(target, oldest.1));
        for questions in 0..100 {
            match search.wanted() {
                Wanted::Ours(at) => search.tell_ours(at, source.get(at.get() as usize).copied()),
                Wanted::Theirs(at) => {
                    search.tell_theirs(at, target.get(at.get() as usize).copied());
                }
                Wanted::Decided(coupling) => return (coupling, questions),
            }
        }
        panic!("the search does not end");
    }

    /// What two histories have in common, by looking.
    fn expected(source: &[u8], target: &[u8], all: &[ChainHead]) -> Coupling {
        let common = source
            .iter()
            .zip(target)
            .take_while(|(a, b)| a == b)
            .count();
        let at = Position {
            sequence: Sequence::new(common as u64),
            head: all[common],
        };
        if common == target.len() {
            Coupling::Continue { at }
        } else if common == source.len() {
            Coupling::Ahead { at }
        } else {
            Coupling::Forked { at }
        }
    }

    #[test]
    fn every_pair_of_short_histories_is_decided_rightly() {
        let mut histories: Vec<Vec<u8>> = vec![vec![]];
        for length in 1..=5_u32 {
            histories.extend(
                (0..3_u32.pow(length))
                    .map(|n| (0..length).map(|k| (n / 3_u32.pow(k) % 3) as u8).collect()),
            );
        }
        for source in &histories {
            let ours = heads(source);
            for target in &histories {
                let (found, _) = search(&ours, &heads(target), (0, 0));
                assert_eq!(
                    found,
                    expected(source, target, &ours),
                    "{source:?} {target:?}"
                );
            }
        }
    }

    #[test]
    fn a_fork_near_the_end_of_a_long_history_takes_few_questions() {
        let long: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let mut other = long.clone();
        let fork = long.len() - 37;
        other.truncate(fork);
        other.extend([255; 90]);
        let ours = heads(&long);
        let (found, questions) = search(&ours, &heads(&other), (0, 0));
        assert_eq!(
            found,
            Coupling::Forked {
                at: Position {
                    sequence: Sequence::new(fork as u64),
                    head: ours[fork]
                }
            }
        );
        assert!(questions < 40, "{questions}");
    }

    #[test]
    fn histories_that_hold_nothing_in_common_are_strangers_or_leave_a_gap() {
        let (ours, theirs) = (heads(&[1; 20]), heads(&[2; 20]));
        assert_eq!(search(&ours, &theirs, (5, 5)).0, Coupling::Strangers);
        assert_eq!(search(&ours, &heads(&[1; 4]), (5, 0)).0, Coupling::Gap);
        assert_eq!(
            search(&heads(&[1; 4]), &ours, (0, 5)).0,
            Coupling::Strangers
        );
    }
}
