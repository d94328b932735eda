//! Room `apply`, the machine: commit cycles that are open: kept in memory, let go above a bound, forgotten or committed. Must not
//! know stores.

use rjournal::entry::{EntryView, SealedBundle, Sequence};

use super::change::BeforeImage;
use super::entries::ApplyMachine;
use super::give_out::position_in;
use super::large::Again;
use super::meaning::Change;
use super::meaning::Meaning;
use super::output::Output;
use crate::error::ApplyError;

#[derive(Debug, Default)]
pub(super) struct Cycle {
    pub(super) changes: Vec<Change>,
    bytes: usize,
    /// Too large to keep: it is read again when it commits.
    let_go: bool,
    pub(super) before: Option<BeforeImage>,
}

impl ApplyMachine {
    pub(super) fn change_inside(
        &mut self,
        view: &EntryView<'_>,
        meaning: &Meaning,
        id: Sequence,
    ) -> Result<(), ApplyError> {
        if view.sequence <= self.applied.sequence {
            // Its file was there when this was read first, and is gone since; or has another format since, and the one it
            // had was not kept, for no cycle was open that needs it: this one was decided before.
            match self.format_of(view) {
                Some(format) if format.version() <= view.format => {}
                _ => return Ok(()),
            }
        }
        let Some(mut cycle) = self.cycles.remove(&id) else {
            // Its start lies before `restart`, so it was decided at or below `applied`.
            if view.sequence <= self.applied.sequence {
                return Ok(());
            }
            let reason = format!("it belongs to commit cycle {id}, which is not open");
            return Err(ApplyError::Poison {
                sequence: view.sequence,
                reason,
            });
        };
        let change = self.change(view, meaning, &mut cycle.before);
        if let (Ok(Some(change)), false) = (&change, cycle.let_go) {
            cycle.bytes += change.bytes();
            self.buffered += change.bytes();
            cycle.changes.push(change.clone());
        }
        self.cycles.insert(id, cycle);
        change?;
        while self.buffered > self.bounds.buffered_bytes_max {
            self.let_largest_go();
        }
        Ok(())
    }

    fn let_largest_go(&mut self) {
        let largest = self.cycles.values_mut().max_by_key(|cycle| cycle.bytes);
        if let Some(cycle) = largest {
            self.buffered -= cycle.bytes;
            *cycle = Cycle {
                let_go: true,
                before: cycle.before.take(),
                ..Cycle::default()
            };
        }
    }

    pub(super) fn forget(&mut self, id: Sequence) {
        if let Some(cycle) = self.cycles.remove(&id) {
            self.buffered -= cycle.bytes;
        }
    }

    /// A cycle is committed: its changes join the step, or make steps of their own.
    pub(super) fn commit(
        &mut self,
        id: Sequence,
        decision: Sequence,
        bundle: &SealedBundle,
    ) -> Result<(), ApplyError> {
        let Some(open) = self.cycles.get(&id) else {
            let reason = format!("it commits cycle {id}, which is not open");
            return Err(ApplyError::Poison {
                sequence: decision,
                reason,
            });
        };
        let (bytes, let_go) = (open.bytes, open.let_go);
        let mark = self
            .store
            .and_then(|store| store.in_progress)
            .filter(|mark| mark.cycle == id);
        let large = let_go || bytes > self.bounds.step_bytes_max || mark.is_some();
        if !large {
            if self.bytes + bytes > self.bounds.step_bytes_max {
                self.give_out(position_in(bundle, decision.before())?);
            }
            let cycle = self.cycles.remove(&id).unwrap_or_default();
            self.buffered -= cycle.bytes;
            self.bytes += cycle.bytes;
            // A file that went before the decision took its rows with it.
            let formats = &self.formats;
            let there = |change: &Change| formats.contains_key(&change.file);
            self.changes.extend(cycle.changes.into_iter().filter(there));
            return Ok(());
        }
        let before = position_in(bundle, decision.before())?;
        let decision = position_in(bundle, decision)?;
        if mark.is_none() {
            self.give_out(before);
        }
        let done = mark.map_or(Sequence::NONE, |mark| mark.done);
        let again = Again {
            cycle: id,
            decision,
            before,
            done,
            image: None,
            changes: Vec::new(),
            bytes: 0,
            rest: bundle.clone(),
        };
        if let_go {
            self.again = Some(Box::new(again));
            self.outputs.push_back(Output::ReadAgain {
                after: id.before(),
                upto: decision.sequence,
            });
            return Ok(());
        }
        let changes = self
            .cycles
            .get_mut(&id)
            .map(|cycle| std::mem::take(&mut cycle.changes))
            .unwrap_or_default();
        let mut again = again;
        for change in changes {
            if change.sequence <= done || !self.formats.contains_key(&change.file) {
                continue;
            }
            again.bytes += change.bytes();
            again.changes.push(change);
            if again.bytes > self.bounds.step_bytes_max / 2 {
                self.give_out_part(&mut again);
            }
        }
        self.finish_large(again);
        Ok(())
    }
}
