//! Room `daemon`, the control socket: commit cycles one connection has started: which it must end, and which may not be
//! committed because an entry of theirs was refused. Must not deposit.

use std::collections::{BTreeMap, BTreeSet};

use crate::daemon::command::CommandError;
use crate::entry::{Draft, Kind, Sequence};

/// Commit cycles of one connection.
#[derive(Debug, Default)]
pub(super) struct Cycles {
    /// Started and not ended.
    open: BTreeSet<Sequence>,
    /// Those of them that miss an entry, and why it was refused: they can only be rolled back.
    torn: BTreeMap<Sequence, CommandError>,
}

impl Cycles {
    /// Takes a unit that was deposited, `last` the number of its last entry.
    pub(super) fn note_deposited(&mut self, drafts: &[Draft<'_>], last: Sequence) {
        let first = last.get() + 1 - drafts.len() as u64;
        for (index, draft) in drafts.iter().enumerate() {
            match draft.kind {
                Kind::CYCLE_START => {
                    self.open.insert(Sequence::new(first + index as u64));
                }
                Kind::CYCLE_COMMIT | Kind::CYCLE_ROLLBACK => {
                    self.open.remove(&draft.cycle);
                    self.torn.remove(&draft.cycle);
                }
                _ => {}
            }
        }
    }

    /// Takes a unit that was refused: the commit of its cycle must not land. A unit that holds the decision itself was
    /// refused as a whole.
    pub(super) fn note_refused(&mut self, drafts: &[Draft<'_>], error: &CommandError) {
        if drafts.iter().any(|draft| draft.kind.is_commitment()) {
            return;
        }
        for draft in drafts {
            if self.open.contains(&draft.cycle) {
                let why = || error.clone();
                self.torn.entry(draft.cycle).or_insert_with(why);
            }
        }
    }

    /// The cycle a unit would commit although it misses an entry, and why that was refused.
    pub(super) fn torn_by(&self, drafts: &[Draft<'_>]) -> Option<(Sequence, CommandError)> {
        drafts.iter().find_map(|draft| {
            let commits = draft.kind == Kind::CYCLE_COMMIT;
            let why = self.torn.get(&draft.cycle).filter(|_| commits)?;
            Some((draft.cycle, why.clone()))
        })
    }

    /// Those that are not ended; they are forgotten here.
    pub(super) fn take_open(&mut self) -> BTreeSet<Sequence> {
        self.torn.clear();
        std::mem::take(&mut self.open)
    }
}

/// The end of a cycle by the system (IBM i: C RB, JOFLAG 2).
pub(super) fn rollback(cycle: Sequence) -> Draft<'static> {
    Draft {
        cycle,
        indicator: 2,
        ..Draft::new(Kind::CYCLE_ROLLBACK, &[])
    }
}
