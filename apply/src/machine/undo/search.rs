//! Room `apply`, the machine, undo: what lies behind the fork does not always tell what was open and what was there at it: an
//! opening of the journal ends cycles without naming them, and a definition of a file may be its first. Then the history is
//! looked through from the fork back, in pieces that grow, until it is known. Must not keep images.

use std::collections::{BTreeMap, BTreeSet};

use rjournal::entry::record::Format;
use rjournal::entry::{EntryView, Kind, ObjectId, Sequence};

use super::Plan;
use super::files::AtFork;
use super::survey::Surveyed;
use crate::error::ApplyError;

/// Entries of the first piece; each further one has twice as many.
const ENTRIES: u64 = 4096;

/// A search in the making.
#[derive(Debug)]
pub(super) struct Search {
    /// Whether cycles open at the fork are looked for.
    cycles: bool,
    /// Files looked for.
    files: BTreeSet<ObjectId>,
    oldest: Sequence,
    /// Everything behind this was looked through.
    reached: Sequence,
    entries: u64,
    /// Cycles that were decided behind the piece in hand.
    decided: BTreeSet<Sequence>,
    piece: Piece,
    found: Found,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) oldest_open: Option<Sequence>,
    pub(super) files: BTreeMap<ObjectId, AtFork>,
}

/// What is seen in a piece.
#[derive(Debug, Default)]
struct Piece {
    open: BTreeSet<Sequence>,
    opened: bool,
    files: BTreeMap<ObjectId, AtFork>,
}

impl Search {
    pub(super) fn new(plan: &Plan, surveyed: &Surveyed) -> Self {
        Self {
            cycles: surveyed.opened,
            files: surveyed.files.unknown(),
            oldest: plan.oldest,
            reached: plan.fork.sequence,
            entries: ENTRIES,
            decided: BTreeSet::new(),
            piece: Piece::default(),
            found: Found::default(),
        }
    }

    /// The next piece to look through; nothing when everything is known, or cannot be.
    pub(super) fn next_window(&mut self) -> Option<(Sequence, Sequence)> {
        if !self.cycles && self.files.is_empty() {
            return None;
        }
        if self.reached <= self.oldest {
            // Where the journal does not begin here, a file that is not named stays: an empty one at worst.
            let never = self.oldest == Sequence::NONE;
            for file in std::mem::take(&mut self.files) {
                let at_fork = if never {
                    AtFork::NotThere
                } else {
                    AtFork::There(None)
                };
                self.found.files.insert(file, at_fork);
            }
            return None;
        }
        let upto = self.reached;
        let after = Sequence::new(upto.get().saturating_sub(self.entries)).max(self.oldest);
        self.entries = self.entries.saturating_mul(2);
        self.reached = after;
        self.piece = Piece::default();
        Some((after, upto))
    }

    pub(super) fn take(&mut self, plan: &Plan, view: &EntryView<'_>) -> Result<(), ApplyError> {
        let piece = &mut self.piece;
        let passed_over = plan.skips.contains(view.sequence);
        match view.kind {
            Kind::CYCLE_START => drop(piece.open.insert(view.sequence)),
            Kind::CYCLE_COMMIT | Kind::CYCLE_ROLLBACK if piece.open.remove(&view.cycle) => {}
            Kind::CYCLE_COMMIT | Kind::CYCLE_ROLLBACK => drop(self.decided.insert(view.cycle)),
            _ if passed_over => {}
            Kind::OPENED => {
                piece.open.clear();
                piece.opened = true;
            }
            _ if !self.files.contains(&view.object) => {}
            Kind::FILE_DELETE => drop(piece.files.insert(view.object, AtFork::NotThere)),
            kind if kind.is_record() => {
                let there = || AtFork::There(None);
                piece.files.entry(view.object).or_insert_with(there);
            }
            Kind::FILE_CREATE | Kind::FILE_CHANGE | Kind::JOURNALING_START => {
                let format =
                    Format::decode(view.payload.bytes()).map_err(|error| ApplyError::Poison {
                        sequence: view.sequence,
                        reason: error.to_string(),
                    })?;
                let there = AtFork::There(Some(format));
                piece.files.insert(view.object, there);
            }
            _ => {}
        }
        Ok(())
    }

    /// The piece was looked through.
    pub(super) fn end_of_window(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if self.cycles {
            let open = piece.open.iter().copied();
            let oldest = open.filter(|cycle| !self.decided.contains(cycle)).min();
            self.found.oldest_open = oldest.or(self.found.oldest_open);
            // Whatever was open before is closed.
            self.cycles = !piece.opened;
        }
        for cycle in &piece.open {
            self.decided.remove(cycle);
        }
        for (file, at_fork) in piece.files {
            self.files.remove(&file);
            self.found.files.insert(file, at_fork);
        }
    }

    pub(super) fn found(self) -> Found {
        self.found
    }
}
