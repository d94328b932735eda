//! Room `apply`, the machine, undo: changes become steps, no larger than the store takes. Between two of them a mark stands that
//! says how far the way back is gone (ruling 18); the last one leads to the fork. Must not know which changes there are.

use rjournal::entry::Sequence;

use super::Plan;
use crate::machine::meaning::Change;
use crate::machine::output::Step;
use crate::store::{FileChange, InProgress, StorePosition};

/// Steps in the making.
#[derive(Debug)]
pub(super) struct Steps {
    fork: Sequence,
    store: StorePosition,
    next: StorePosition,
    bytes_max: usize,
    changes: Vec<Change>,
    bytes: usize,
    given_out: Vec<Step>,
}

impl Steps {
    /// Steps of a store, which stands at `next` after the last of them.
    pub(super) const fn new(plan: &Plan, next: StorePosition) -> Self {
        Self {
            fork: plan.fork.sequence,
            store: plan.store,
            next,
            bytes_max: plan.bounds.step_bytes_max,
            changes: Vec::new(),
            bytes: 0,
            given_out: Vec::new(),
        }
    }

    /// The next change on the way back, of what was decided at an entry.
    pub(super) fn push(&mut self, change: Change, decision: Sequence) {
        if !self.changes.is_empty() && self.bytes + change.bytes() > self.bytes_max {
            let mark = InProgress::undo(self.fork, decision, change.sequence);
            let next = StorePosition {
                in_progress: Some(mark),
                ..self.store
            };
            self.give_out(next, Vec::new());
        }
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    /// Everything is taken out: what is done to files comes with the last step, and the rows the machine keeps for itself.
    pub(super) fn finish(&mut self, files: Vec<FileChange>, own: Vec<Change>) {
        self.changes.extend(own);
        self.give_out(self.next, files);
    }

    fn give_out(&mut self, next: StorePosition, files: Vec<FileChange>) {
        self.bytes = 0;
        self.given_out.push(Step {
            expected: Some(self.store),
            next,
            files,
            changes: std::mem::take(&mut self.changes),
        });
        self.store = next;
    }

    /// Steps to be applied now.
    pub(super) fn given_out(&mut self) -> impl Iterator<Item = Step> + use<> {
        std::mem::take(&mut self.given_out).into_iter()
    }
}
