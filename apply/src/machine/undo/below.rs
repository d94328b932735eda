//! Room `apply`, the machine, undo: cycles that were committed behind the fork and began at or below it: their entries there
//! are read once, in order, for images that are lacking. Must not look at other cycles.

use rjournal::entry::{EntryView, Sequence};

use super::images::{Waiting, lack};
use super::open::{Lack, note_lack};
use super::survey::piece_bytes;
use super::trail::Trail;
use super::{Decided, Plan};
use crate::error::ApplyError;
use crate::machine::meaning::{Meaning, meaning};

/// A reading in the making.
#[derive(Debug)]
pub(super) struct Below {
    fork: Sequence,
    after: Sequence,
    waiting: Waiting,
    trail: Trail,
}

impl Below {
    pub(super) fn new(plan: &Plan, after: Sequence) -> Self {
        Self {
            fork: plan.fork.sequence,
            after,
            waiting: Waiting::default(),
            trail: Trail::new(piece_bytes(plan)),
        }
    }

    pub(super) fn pass(&mut self, end: Sequence, bytes: usize) {
        self.trail.pass(end, bytes, !self.waiting.is_any());
    }

    /// The borders of the pieces, the first included.
    pub(super) fn end(self) -> Vec<Sequence> {
        let mut borders = vec![self.after];
        borders.extend(self.trail.end(self.fork));
        // The fork is the first border of what lies behind it.
        borders.pop();
        borders
    }

    pub(super) fn take(
        &mut self,
        plan: &Plan,
        decided: &mut Decided,
        view: &EntryView<'_>,
    ) -> Result<(), ApplyError> {
        let surveyed = &mut decided.surveyed;
        if !view.kind.is_record() || self.waiting.is_passed_over(view, &plan.skips) {
            return Ok(());
        }
        let Some(decision) = surveyed.spanning.get(&view.cycle).copied() else {
            return Ok(());
        };
        let meaning = meaning(view)?;
        if matches!(meaning, Meaning::Before) {
            self.waiting.put(view);
            return Ok(());
        }
        surveyed.rows += 1;
        decided.files.note_record(view);
        let before = self.waiting.take(view).is_some();
        if let Some(reason) = lack(&meaning, view.indicator, before)
            && plan.limit.has(view.sequence, decision)
        {
            let lack = Lack {
                sequence: view.sequence,
                reason,
            };
            note_lack(&mut surveyed.lacking, view.object, lack);
        }
        Ok(())
    }
}
