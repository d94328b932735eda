//! Room `apply`, the machine, undo: what lies behind the fork is read once, in order: which transactions were decided there,
//! which of them began at or below the fork, what became of files, and which images are lacking. Nothing is kept but that.

use std::collections::BTreeMap;

use rjournal::entry::{EntryView, Sequence};

use super::files::Files;
use super::images::{Waiting, lack};
use super::open::{Lack, Lacking, OpenCycles, note_lack};
use super::trail::Trail;
use super::{Limit, Plan};
use crate::error::ApplyError;
use crate::machine::meaning::{Meaning, meaning};

/// A survey in the making.
#[derive(Debug)]
pub(super) struct Survey {
    top: Sequence,
    limit: Limit,
    open: OpenCycles,
    waiting: Waiting,
    trail: Trail,
    found: Surveyed,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    /// Cycles committed behind the fork that began at or below it, with their commits.
    pub(super) spanning: BTreeMap<Sequence, Sequence>,
    /// The oldest cycle open at the fork, as far as its end behind the fork tells.
    pub(super) oldest_open: Option<Sequence>,
    /// The journal was opened behind the fork, which ended cycles without naming them.
    pub(super) opened: bool,
    pub(super) files: Files,
    pub(super) lacking: Lacking,
    pub(super) transactions: u64,
    pub(super) rows: u64,
    /// Ends of the pieces to read it in from behind.
    pub(super) trail: Vec<Sequence>,
}

/// Bytes of the pieces in which a history is read from behind.
pub(super) const fn piece_bytes(plan: &Plan) -> usize {
    plan.bounds.buffered_bytes_max / 4
}

impl Survey {
    pub(super) fn new(plan: &Plan, top: Sequence) -> Self {
        Self {
            top,
            limit: plan.limit,
            open: OpenCycles::new(),
            waiting: Waiting::default(),
            trail: Trail::new(piece_bytes(plan)),
            found: Surveyed::default(),
        }
    }

    pub(super) fn pass(&mut self, end: Sequence, bytes: usize) {
        self.trail.pass(end, bytes, !self.waiting.is_any());
    }

    pub(super) fn end(self) -> Surveyed {
        Surveyed {
            trail: self.trail.end(self.top),
            ..self.found
        }
    }

    pub(super) fn take(&mut self, plan: &Plan, view: &EntryView<'_>) -> Result<(), ApplyError> {
        let fork = plan.fork.sequence;
        if self.waiting.is_passed_over(view, &plan.skips) {
            // A decision that was passed over is none, and ends its cycle all the same.
            if view.kind.is_commitment() {
                self.end_cycle(view.cycle, fork);
            }
            return Ok(());
        }
        let meaning = meaning(view)?;
        match &meaning {
            Meaning::Opened => {
                self.open.clear();
                self.waiting.clear();
                self.found.opened = true;
            }
            Meaning::Commit => self.commit(view, fork),
            Meaning::Rollback => {
                self.open.remove(&view.cycle);
                self.end_cycle(view.cycle, fork);
            }
            Meaning::File(format) => self.found.files.note_file(view, format),
            Meaning::FileGone => self.found.files.note_gone(view),
            Meaning::Before => self.waiting.put(view),
            Meaning::Put | Meaning::Update | Meaning::Delete => self.change(view, &meaning),
            Meaning::Nothing | Meaning::CycleStart | Meaning::JournalingEnded => {}
        }
        Ok(())
    }

    /// A cycle ended: one that began at or below the fork was open there.
    fn end_cycle(&mut self, cycle: Sequence, fork: Sequence) {
        if cycle != Sequence::NONE && cycle <= fork {
            let oldest = self
                .found
                .oldest_open
                .map_or(cycle, |oldest| oldest.min(cycle));
            self.found.oldest_open = Some(oldest);
        }
    }

    fn commit(&mut self, view: &EntryView<'_>, fork: Sequence) {
        self.end_cycle(view.cycle, fork);
        let cycle = self.open.remove(&view.cycle).unwrap_or_default();
        self.found.transactions += 1;
        self.found.rows += cycle.rows;
        for (file, lack) in cycle.lacking {
            if self.limit.has(lack.sequence, view.sequence) {
                note_lack(&mut self.found.lacking, file, lack);
            }
        }
        if view.cycle <= fork {
            self.found.spanning.insert(view.cycle, view.sequence);
        }
    }

    fn change(&mut self, view: &EntryView<'_>, meaning: &Meaning) {
        self.found.files.note_record(view);
        let before = self.waiting.take(view).is_some();
        let lack = lack(meaning, view.indicator, before).map(|reason| Lack {
            sequence: view.sequence,
            reason,
        });
        if view.cycle == Sequence::NONE {
            self.found.transactions += 1;
            self.found.rows += 1;
            if let Some(lack) = lack {
                note_lack(&mut self.found.lacking, view.object, lack);
            }
            return;
        }
        let cycle = self.open.entry(view.cycle).or_default();
        cycle.rows += 1;
        if let Some(lack) = lack {
            note_lack(&mut cycle.lacking, view.object, lack);
        }
    }
}
