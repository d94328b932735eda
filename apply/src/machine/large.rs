//! Room `apply`, the machine: a committed cycle too large for one step of the store comes in parts, each with a mark; one that
//! was let go is read again. Must not look at other cycles.

use rjournal::entry::{Position, SealedBundle, Sequence};

use super::change::BeforeImage;
use super::entries::ApplyMachine;
use super::meaning::Change;
use super::meaning::meaning;
use crate::error::ApplyError;
use crate::store::{InProgress, StorePosition};

/// A committed cycle that is being read again.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) cycle: Sequence,
    pub(super) decision: Position,
    /// The position right before the decision.
    pub(super) before: Position,
    /// Entries up to this one are applied already.
    pub(super) done: Sequence,
    pub(super) image: Option<BeforeImage>,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    /// The rest of the bundle in which the decision stands.
    pub(super) rest: SealedBundle,
}

impl ApplyMachine {
    /// A bundle that was asked for again.
    ///
    /// # Errors
    /// As [`Self::handle_bundle`].
    pub fn handle_again(&mut self, bundle: &SealedBundle) -> Result<(), ApplyError> {
        let Some(mut again) = self.again.take() else {
            return Ok(());
        };
        for view in bundle.entries() {
            let view =
                view.map_err(|error| ApplyError::unreadable(bundle.header().first, &error))?;
            if view.sequence >= again.decision.sequence {
                break;
            }
            if view.cycle != again.cycle || view.sequence <= again.done || !view.kind.is_record() {
                continue;
            }
            // Passed over as ordered, or its file is gone since.
            if self.skips.contains(view.sequence) || !self.formats.contains_key(&view.object) {
                again.image = None;
                continue;
            }
            let meaning = meaning(&view)?;
            if let Some(change) = self.change(&view, &meaning, &mut again.image)? {
                again.bytes += change.bytes();
                again.changes.push(change);
            }
            if again.bytes > self.bounds.step_bytes_max / 2 && again.image.is_none() {
                self.give_out_part(&mut again);
            }
        }
        if bundle.header().last() >= again.decision.sequence {
            let rest = again.rest.clone();
            self.finish_large(*again);
            // What stands behind the decision in its own bundle was not looked at yet.
            return self.handle_bundle(&rest);
        }
        self.again = Some(again);
        Ok(())
    }

    /// A part of a large transaction, with a mark that says so.
    pub(super) fn give_out_part(&mut self, again: &mut Again) {
        let Some(done) = again.changes.last().map(|change| change.sequence) else {
            return;
        };
        let mark = InProgress::transaction(again.cycle, again.decision.sequence, done);
        let next = StorePosition {
            in_progress: Some(mark),
            ..self.position_at(again.before)
        };
        // Behind the rows that list what was passed over.
        self.changes.append(&mut again.changes);
        again.bytes = 0;
        again.done = done;
        self.push_step(next);
    }

    pub(super) fn finish_large(&mut self, again: Again) {
        self.forget(again.cycle);
        self.changes.extend(again.changes);
        self.applied = again.decision;
        self.at = self.at.max(again.decision.sequence);
        let next = self.position_at(again.decision);
        self.push_step(next);
    }
}
