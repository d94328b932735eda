//! Room `daemon`, a system: how far back commit cycles reach that were open where a target is. Should that target be taken
//! over, histories fork there at the earliest, and a store here is taken back by the images of all cycles that were decided
//! behind that, from their first entries on (ruling 7): so their receivers are kept. Must not delete anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};
use crate::daemon::task::link::LinkHandle;
use crate::entry::{QualifiedName, Sequence};
use crate::journal::Hold;

/// Looks that are remembered for one journal; beyond that every second one is forgotten, which keeps rather more.
const LOOKS_MAX: usize = 1024;

/// What was open when a journal was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    /// The last entry deposited then.
    at: Sequence,
    /// The entry before the first of the oldest cycle that was open.
    before: Sequence,
}

/// Looks at one journal, the oldest first.
#[derive(Debug, Default)]
struct Looks(VecDeque<Look>);

impl Looks {
    fn note(&mut self, look: Look) {
        // A journal that begins anew under its name.
        self.0.retain(|known| known.at <= look.at);
        if self.0.back().is_some_and(|last| last.at == look.at) {
            return;
        }
        if self.0.len() >= LOOKS_MAX {
            let mut number = 0_u32;
            self.0.retain(|_| {
                number += 1;
                number % 2 == 1
            });
        }
        self.0.push_back(look);
    }

    /// Forgets what no position from `least` on needs.
    fn forget_before(&mut self, least: Sequence) {
        while self.0.get(1).is_some_and(|second| second.at <= least) {
            self.0.pop_front();
        }
    }

    /// The entry before the first of the oldest cycle that may have been open at a position, where that is known and not the
    /// position itself.
    fn before(&self, position: Sequence) -> Option<Sequence> {
        // Cycles that were begun since the look began behind it.
        let look = self.0.iter().rev().find(|look| look.at <= position)?;
        Some(look.before.min(look.at)).filter(|before| *before < position)
    }
}

/// Looks at all local journals.
#[derive(Debug, Default)]
pub(crate) struct OpenCycles(Mutex<BTreeMap<QualifiedName, Looks>>);

impl Shared {
    /// Remembers what is open in a local journal now.
    pub(super) fn note_open_cycles(&self, name: QualifiedName, runtime: &JournalRuntime) {
        let JournalRuntime::Local(local) = runtime else {
            return;
        };
        let (at, oldest) = local.journal.intake().oldest_open();
        let acknowledged = runtime.links().into_iter();
        let least = acknowledged.map(|link| link.status().acknowledged).min();
        let mut journals = lock(&self.open_cycles.0);
        let looks = journals.entry(name).or_default();
        looks.note(Look {
            at,
            before: oldest.map_or(at, Sequence::before),
        });
        looks.forget_before(least.unwrap_or(at));
    }

    /// What is kept for cycles that may have been open where targets are, beside what the targets need themselves. Above the
    /// cap it is given up before a target is.
    pub(in crate::daemon) fn cycle_holds_of(
        &self,
        name: QualifiedName,
        runtime: &JournalRuntime,
    ) -> Vec<Hold> {
        let journals = lock(&self.open_cycles.0);
        let Some(looks) = journals.get(&name) else {
            return Vec::new();
        };
        let hold = |link: &Arc<LinkHandle>| {
            let record = lock(&link.record).clone();
            let after = looks.before(link.status().acknowledged)?;
            let who = format!(
                "commit cycles open where remote journal {} at {} is",
                record.target, record.rdb
            );
            (!record.needs_reinit).then_some(Hold {
                who,
                after,
                expendable: true,
            })
        };
        runtime.links().iter().filter_map(hold).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: u64, before: u64) -> Look {
        Look {
            at: Sequence::new(at),
            before: Sequence::new(before),
        }
    }

    fn before(looks: &Looks, position: u64) -> Option<u64> {
        looks.before(Sequence::new(position)).map(Sequence::get)
    }

    #[test]
    fn what_was_open_at_a_position_is_told_by_the_look_before_it() {
        let mut looks = Looks::default();
        for one in [look(10, 10), look(20, 15), look(30, 15), look(40, 40)] {
            looks.note(one);
        }
        assert_eq!(before(&looks, 9), None, "nobody looked then");
        assert_eq!(before(&looks, 10), None, "nothing was open");
        assert_eq!(before(&looks, 19), Some(10), "it may have been begun since");
        assert_eq!(before(&looks, 20), Some(15));
        assert_eq!(before(&looks, 39), Some(15));
        assert_eq!(before(&looks, 40), None);
        looks.forget_before(Sequence::new(35));
        assert_eq!(before(&looks, 20), None);
        assert_eq!(before(&looks, 39), Some(15));
    }

    #[test]
    fn looks_are_bounded_and_what_is_left_keeps_rather_more() {
        let mut looks = Looks::default();
        for at in 0..5_000_u64 {
            looks.note(look(at * 2, (at * 2).saturating_sub(at % 2)));
        }
        assert!(looks.0.len() <= LOOKS_MAX);
        let kept = before(&looks, 9_001).unwrap_or(9_001);
        assert!(kept <= 9_000, "{kept}");
        // Another journal under the name.
        looks.note(look(5, 5));
        assert_eq!(looks.0.len(), 2);
    }
}
