//! Room `apply`, the machine, undo: the way back. Pieces of the history are read from the last to the first, each forwards;
//! what was decided in a piece is given out in the reverse order of the decisions. Of a cycle that began before the piece the
//! rest is read from the pieces before; one too large to keep is read for itself, piece by piece, when its turn comes. Must
//! not know how changes become steps.

use std::collections::{BTreeMap, BTreeSet};

use rjournal::entry::record::Format;
use rjournal::entry::{EntryView, Sequence};

use super::Plan;
use super::files::{Files, Verdict};
use super::images::{Waiting, back, lack};
use super::steps::Steps;
use crate::error::ApplyError;
use crate::machine::meaning::{Change, Meaning, meaning};

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walked {
    /// Read the entries in `(after, upto]`.
    Read(Sequence, Sequence),
    /// The fork is reached.
    Over,
}

/// Changes of one cycle, in the order of its entries.
#[derive(Debug, Default)]
struct Part {
    changes: Vec<Change>,
    bytes: usize,
}

impl Part {
    fn push(&mut self, change: Change) {
        self.bytes += change.bytes();
        self.changes.push(change);
    }

    /// The same, behind what stands before.
    fn behind(self, mut before: Self) -> Self {
        before.bytes += self.bytes;
        before.changes.extend(self.changes);
        before
    }
}

/// Something decided in the piece in hand.
#[derive(Debug)]
struct Item {
    decision: Sequence,
    what: What,
}

#[derive(Debug)]
enum What {
    Whole(Part),
    /// A cycle that began before the piece; nothing of it is kept where it is too large.
    Begun {
        cycle: Sequence,
        kept: Option<Part>,
    },
}

/// What is being read.
#[derive(Debug)]
enum Stage {
    /// Nothing: what was decided is given out.
    GiveOut,
    /// A piece, for what was decided in it.
    Piece,
    /// A piece before it, for cycles that began there.
    Before(usize),
    /// A piece, for one large cycle that is decided at an entry.
    Large(usize, Sequence, Sequence),
}

/// The way back.
#[derive(Debug)]
pub(super) struct Walk {
    /// Borders of the pieces, rising.
    borders: Vec<Sequence>,
    /// The first piece behind the fork.
    first: usize,
    /// The piece whose decisions are given out.
    at: usize,
    stage: Stage,
    items: Vec<Item>,
    /// Cycles of these of which more is read.
    begun: BTreeSet<Sequence>,
    /// Of the piece that is read: cycles that are not decided in what was read of it.
    parts: BTreeMap<Sequence, Part>,
    waiting: Waiting,
    files: Files,
    verdict: Verdict,
    pub(super) steps: Steps,
}

impl Walk {
    /// The way back over the pieces with these ends; `below` are the borders of pieces below the fork.
    pub(super) fn new(
        plan: &Plan,
        below: Vec<Sequence>,
        trail: Vec<Sequence>,
        files: Files,
        verdict: Verdict,
        steps: Steps,
    ) -> Self {
        let first = below.len();
        let mut borders = below;
        borders.push(plan.fork.sequence);
        borders.extend(trail);
        // Everything decided behind the limit is taken out already.
        let decision = plan.limit.decision;
        let at = borders.partition_point(|border| *border < decision);
        Self {
            first,
            at: at.max(first),
            borders,
            stage: Stage::GiveOut,
            items: Vec::new(),
            begun: BTreeSet::new(),
            parts: BTreeMap::new(),
            waiting: Waiting::default(),
            files,
            verdict,
            steps,
        }
    }

    /// Where a piece begins and ends.
    fn piece(&self, number: usize) -> (Sequence, Sequence) {
        let border = |number: usize| self.borders.get(number).copied().unwrap_or_default();
        (border(number), border(number + 1))
    }

    pub(super) fn take(&mut self, plan: &Plan, view: &EntryView<'_>) -> Result<(), ApplyError> {
        if self.waiting.is_passed_over(view, &plan.skips) {
            return Ok(());
        }
        let whole_piece = matches!(self.stage, Stage::Piece);
        if view.kind.is_record() {
            if self.is_wanted(view.cycle) {
                let meaning = meaning(view)?;
                return self.take_record(plan, view, &meaning);
            }
        } else if whole_piece {
            match meaning(view)? {
                Meaning::Opened => {
                    self.parts.clear();
                    self.waiting.clear();
                }
                Meaning::Rollback => drop(self.parts.remove(&view.cycle)),
                Meaning::Commit => self.commit(view),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether changes of a cycle, or of none, are wanted of what is read.
    fn is_wanted(&self, cycle: Sequence) -> bool {
        match self.stage {
            Stage::GiveOut => false,
            Stage::Piece => true,
            Stage::Large(_, large, _) => cycle == large,
            Stage::Before(_) => self.begun.contains(&cycle),
        }
    }

    fn take_record(
        &mut self,
        plan: &Plan,
        view: &EntryView<'_>,
        meaning: &Meaning,
    ) -> Result<(), ApplyError> {
        if matches!(meaning, Meaning::Before) {
            self.waiting.put(view);
            return Ok(());
        }
        let before = self.waiting.take(view);
        let file = view.object;
        if self.verdict.is_new(file) {
            return Ok(());
        }
        let name = plan.formats.get(&file).map(Format::file);
        let refused = |reason| plan.not_possible(view.sequence, file, name, reason);
        let format = plan
            .format_of(&self.files, file, view.format)
            .ok_or_else(|| refused("the format of its row is not known"))?;
        let lacking = lack(meaning, view.indicator, before.is_some());
        let change = back(view, meaning, before, format)?;
        let change = change.ok_or_else(|| refused(lacking.unwrap_or("it has no image")))?;
        if view.cycle == Sequence::NONE {
            let mut part = Part::default();
            part.push(change);
            self.items.push(Item {
                decision: view.sequence,
                what: What::Whole(part),
            });
        } else {
            self.parts.entry(view.cycle).or_default().push(change);
        }
        Ok(())
    }

    fn commit(&mut self, view: &EntryView<'_>) {
        let cycle = view.cycle;
        let part = self.parts.remove(&cycle).unwrap_or_default();
        let (after, _) = self.piece(self.at);
        let what = if cycle > after {
            What::Whole(part)
        } else {
            What::Begun {
                cycle,
                kept: Some(part),
            }
        };
        self.items.push(Item {
            decision: view.sequence,
            what,
        });
    }

    /// What was asked for is read to its end.
    pub(super) fn end_of_window(&mut self, plan: &Plan) {
        self.waiting.clear();
        let mut parts = std::mem::take(&mut self.parts);
        match self.stage {
            Stage::GiveOut => {}
            Stage::Piece => {
                let decision = plan.limit.decision;
                self.items.retain(|item| item.decision <= decision);
                self.go_before(plan, self.at);
            }
            Stage::Before(number) => {
                for item in &mut self.items {
                    if let What::Begun {
                        cycle,
                        kept: Some(kept),
                    } = &mut item.what
                        && let Some(before) = parts.remove(cycle)
                    {
                        *kept = std::mem::take(kept).behind(before);
                    }
                }
                self.go_before(plan, number);
            }
            Stage::Large(number, cycle, decision) => {
                let part = parts.remove(&cycle).unwrap_or_default();
                self.push(plan, part, decision);
                let (after, _) = self.piece(number);
                self.stage = match number.checked_sub(1).filter(|_| cycle <= after) {
                    Some(before) => Stage::Large(before, cycle, decision),
                    None => Stage::GiveOut,
                };
            }
        }
    }

    /// The piece before this one is read next, where a cycle that is kept began before it.
    fn go_before(&mut self, plan: &Plan, number: usize) {
        self.let_large_go(plan);
        let (after, _) = self.piece(number);
        let begun = self.items.iter().filter_map(|item| match item.what {
            What::Begun {
                cycle,
                kept: Some(_),
            } => Some(cycle).filter(|cycle| *cycle <= after),
            _ => None,
        });
        self.begun = begun.collect();
        self.stage = match number.checked_sub(1).filter(|_| !self.begun.is_empty()) {
            Some(before) => Stage::Before(before),
            None => Stage::GiveOut,
        };
    }

    /// No more is kept than may be; the largest of what can be read again goes first.
    fn let_large_go(&mut self, plan: &Plan) {
        let bytes = |item: &Item| match &item.what {
            What::Whole(part)
            | What::Begun {
                kept: Some(part), ..
            } => part.bytes,
            What::Begun { kept: None, .. } => 0,
        };
        let mut total: usize = self.items.iter().map(bytes).sum();
        while total > plan.bounds.buffered_bytes_max {
            let begun = |item: &&mut Item| matches!(item.what, What::Begun { kept: Some(_), .. });
            let largest = self
                .items
                .iter_mut()
                .filter(begun)
                .max_by_key(|item| bytes(item));
            let Some(largest) = largest else { break };
            total -= bytes(largest);
            if let What::Begun { kept, .. } = &mut largest.what {
                *kept = None;
            }
        }
    }

    /// Gives out what is known, and says what to read next.
    pub(super) fn go_on(&mut self, plan: &Plan) -> Walked {
        loop {
            match self.stage {
                Stage::Piece => return self.read(self.at),
                Stage::Before(number) | Stage::Large(number, ..) => return self.read(number),
                Stage::GiveOut => {}
            }
            match self.items.pop() {
                Some(Item {
                    decision,
                    what:
                        What::Whole(part)
                        | What::Begun {
                            kept: Some(part), ..
                        },
                }) => self.push(plan, part, decision),
                Some(Item {
                    decision,
                    what: What::Begun { cycle, kept: None },
                }) => self.stage = Stage::Large(self.at, cycle, decision),
                None if self.at == self.first => {
                    let (mut files, mut own) = (self.verdict.changes.clone(), Vec::new());
                    let fork = plan.fork.sequence;
                    for (dropped, changes) in [plan.older.take_out(fork), plan.skips.take_out(fork)]
                    {
                        files.extend(dropped);
                        own.extend(changes);
                    }
                    self.steps.finish(files, own);
                    return Walked::Over;
                }
                None => {
                    self.at -= 1;
                    self.stage = Stage::Piece;
                }
            }
        }
    }

    fn read(&self, number: usize) -> Walked {
        let (after, upto) = self.piece(number);
        Walked::Read(after, upto)
    }

    /// Takes out changes of what was decided at an entry, the last first, as far as the store has them.
    fn push(&mut self, plan: &Plan, part: Part, decision: Sequence) {
        let changes = part.changes.into_iter().rev();
        for change in changes.filter(|change| plan.limit.has(change.sequence, decision)) {
            self.steps.push(change, decision);
        }
    }
}
