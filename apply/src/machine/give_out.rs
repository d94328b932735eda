//! Room `apply`, the machine: what was decided becomes a step, with the position it leads to. Must not know why it is given out
//! now.

use rjournal::entry::{Position, SealedBundle, Sequence};

use super::entries::ApplyMachine;
use super::output::{Output, Step};
use crate::error::ApplyError;
use crate::store::StorePosition;

impl ApplyMachine {
    /// The store's position when everything decided up to `at` is applied.
    pub(super) fn position_at(&self, at: Position) -> StorePosition {
        let oldest_open = self.cycles.keys().next().map(|first| first.before());
        StorePosition {
            group: self.group,
            term: self.term,
            journal: self.journal,
            applied: at.sequence,
            restart: oldest_open.map_or(at.sequence, |first| first.min(at.sequence)),
            head: at.head,
            in_progress: None,
        }
    }

    pub(super) fn give_out(&mut self, at: Position) {
        let next = self.position_at(at);
        let moved = self.store.is_none_or(|store| store.applied < next.applied);
        if moved || !self.changes.is_empty() || !self.files.is_empty() {
            self.push_step(next);
        }
    }

    pub(super) fn push_step(&mut self, next: StorePosition) {
        let step = Step {
            expected: self.store,
            next,
            files: std::mem::take(&mut self.files),
            changes: std::mem::take(&mut self.changes),
        };
        self.bytes = 0;
        self.store = Some(next);
        self.outputs.push_back(Output::Step(Box::new(step)));
    }
}

/// The position of an entry of a bundle, or of the one right before its first.
pub(super) fn position_in(
    bundle: &SealedBundle,
    sequence: Sequence,
) -> Result<Position, ApplyError> {
    let mut position = bundle.before();
    for view in bundle.entries() {
        if position.sequence >= sequence {
            break;
        }
        let view =
            view.map_err(|error| ApplyError::unreadable(position.sequence.next(), &error))?;
        position = Position {
            sequence: view.sequence,
            head: position.head.extend(&view.leaf()),
        };
    }
    Ok(position)
}
