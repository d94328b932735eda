//! Room `apply`, the machine: undo. A store stands behind a fork: the journal was cut there, and what lay behind it is in an
//! archive. What was decided behind the fork is taken out again, in the reverse order of the decisions, every commit cycle
//! with all its images, also those at or below the fork (ruling 7). Bundles go in as they are asked for, steps come out. It is
//! looked whether all of it can be taken out before anything is. Without IO; must not know archives, journals or stores.
//!
//! ```text
//!  Survey --------> Search ------> Below -------> Walk --------> Over
//!  what was         what was open  images of      back, piece
//!  decided behind   and there at   cycles begun   by piece
//!  the fork         the fork       below it
//! ```

mod below;
mod files;
mod images;
mod open;
mod search;
mod steps;
mod survey;
mod trail;
mod walk;

use std::collections::{HashMap, VecDeque};

use rjournal::entry::record::Format;
use rjournal::entry::{FileName, ObjectId, Position, SealedBundle, Sequence};

use self::below::Below;
use self::files::{Files, Verdict};
use self::search::Search;
use self::steps::Steps;
use self::survey::{Survey, Surveyed};
use self::walk::{Walk, Walked};
use super::older::OlderFormats;
use super::output::{Bounds, Step};
use super::skip::Skips;
use crate::error::{ApplyError, file_text};
use crate::store::StorePosition;

/// What is to be taken out of which store.
#[derive(Debug)]
pub struct UndoOrder {
    /// The last entry that stays, with the chain head there.
    pub fork: Position,
    /// Where the store stands: behind the fork, or within an undo.
    pub store: StorePosition,
    /// The formats of its files.
    pub formats: HashMap<ObjectId, Format>,
    /// Those they had before.
    pub older: OlderFormats,
    /// Entries that were passed over.
    pub skips: Skips,
    /// The entry before the oldest that can be read.
    pub oldest: Sequence,
    /// Bounds of its memory and steps.
    pub bounds: Bounds,
}

/// What the machine wants.
#[derive(Debug)]
pub enum UndoOutput {
    /// Hand in the bundles that hold the entries in `(after, upto]`, in order, of the history the store stands in; then say
    /// so with [`UndoMachine::handle_read`].
    Read {
        /// The last entry that is not wanted.
        after: Sequence,
        /// The last entry that is.
        upto: Sequence,
    },
    /// Everything can be taken out, and nothing was yet: reading will begin again at this place afterwards, and what stands
    /// behind it must stay.
    Planned {
        /// The entry before the first of the oldest cycle open at the fork.
        restart: Sequence,
        /// What will be taken out, of what went out already too.
        undone: Undone,
    },
    /// Apply this.
    Step(Box<Step>),
    /// The store stands at the fork.
    Done(Undone),
}

/// What was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Undone {
    /// Transactions; a change outside a commit cycle is one.
    pub transactions: u64,
    /// Changes of rows.
    pub rows: u64,
}

/// What the parts of the machine share.
#[derive(Debug)]
struct Plan {
    fork: Position,
    store: StorePosition,
    /// The last decision that is in the store, and the last entry of it that is.
    limit: Limit,
    formats: HashMap<ObjectId, Format>,
    older: OlderFormats,
    skips: Skips,
    oldest: Sequence,
    bounds: Bounds,
    undone: Undone,
}

/// How far the store goes: everything decided up to `decision`, of that itself the entries up to `done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    decision: Sequence,
    done: Sequence,
}

impl Limit {
    fn of(store: &StorePosition) -> Self {
        match store.in_progress {
            Some(mark) => Self {
                decision: mark.decision,
                done: mark.done,
            },
            None => Self {
                decision: store.applied,
                done: Sequence::new(u64::MAX),
            },
        }
    }

    /// Whether the store has a change of an entry that counts since a decision.
    fn has(self, entry: Sequence, decision: Sequence) -> bool {
        decision < self.decision || (decision == self.decision && entry <= self.done)
    }
}

#[derive(Debug)]
enum Phase {
    Survey(Survey),
    Search(Search, Surveyed),
    Below(Below, Decided),
    Walk(Box<Walk>),
    Over,
}

/// What is known once the survey and the search are over.
#[derive(Debug)]
struct Decided {
    surveyed: Surveyed,
    files: Files,
    verdict: Verdict,
    restart: Sequence,
}

/// The undo machine of one store.
#[derive(Debug)]
pub struct UndoMachine {
    plan: Plan,
    phase: Phase,
    /// What is being read, and how far that is.
    reading: (Sequence, Sequence),
    at: Sequence,
    outputs: VecDeque<UndoOutput>,
}

impl UndoMachine {
    /// A machine for a store that stands behind a fork.
    pub fn new(order: UndoOrder) -> Self {
        let limit = Limit::of(&order.store);
        let top = order.store.applied.max(limit.decision);
        let fork = order.fork.sequence;
        let plan = Plan {
            fork: order.fork,
            store: order.store,
            limit,
            formats: order.formats,
            older: order.older,
            skips: order.skips,
            oldest: order.oldest,
            bounds: order.bounds,
            undone: Undone::default(),
        };
        let mut machine = Self {
            phase: Phase::Survey(Survey::new(&plan, top)),
            plan,
            reading: (fork, top),
            at: fork,
            outputs: VecDeque::new(),
        };
        machine.read(fork, top);
        machine
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<UndoOutput> {
        self.outputs.pop_front()
    }

    fn read(&mut self, after: Sequence, upto: Sequence) {
        self.reading = (after, upto);
        self.at = after;
        self.outputs.push_back(UndoOutput::Read { after, upto });
    }

    /// The next bundle of what was asked for; its first and last entries may lie outside.
    ///
    /// # Errors
    /// [`ApplyError::UndoNotPossible`] naming file and entry, before anything was taken out; `Missing` or `Ahead` when the
    /// bundle is not of the history the store stands in.
    pub fn handle_bundle(&mut self, bundle: &SealedBundle) -> Result<(), ApplyError> {
        let before = bundle.before();
        let plan = &mut self.plan;
        if before.sequence > self.at {
            return Err(ApplyError::Missing {
                needed: self.at,
                oldest: before.sequence,
            });
        }
        plan.require_history(before)?;
        let (after, upto) = self.reading;
        let mut at = before;
        for view in bundle.entries() {
            let view =
                view.map_err(|error| ApplyError::unreadable(bundle.header().first, &error))?;
            at = Position {
                sequence: view.sequence,
                head: at.head.extend(&view.leaf()),
            };
            plan.require_history(at)?;
            if view.sequence <= after || view.sequence > upto || view.sequence <= self.at {
                continue;
            }
            self.at = view.sequence;
            match &mut self.phase {
                Phase::Survey(survey) => survey.take(plan, &view)?,
                Phase::Search(search, _) => search.take(plan, &view)?,
                Phase::Below(below, decided) => below.take(plan, decided, &view)?,
                Phase::Walk(walk) => walk.take(plan, &view)?,
                Phase::Over => {}
            }
        }
        let (end, bytes) = (bundle.header().last().min(upto), bundle.bytes().len());
        match &mut self.phase {
            Phase::Survey(survey) => survey.pass(end, bytes),
            Phase::Below(below, _) => below.pass(end, bytes),
            Phase::Search(..) | Phase::Walk(_) | Phase::Over => {}
        }
        Ok(())
    }

    /// Everything that was asked for was handed in.
    ///
    /// # Errors
    /// As [`Self::handle_bundle`].
    pub fn handle_read(&mut self) -> Result<(), ApplyError> {
        let (_, upto) = self.reading;
        if self.at < upto {
            return Err(ApplyError::Missing {
                needed: self.at,
                oldest: upto,
            });
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Survey(survey) => {
                let surveyed = survey.end();
                let search = Search::new(&self.plan, &surveyed);
                self.go_on_searching(search, surveyed)
            }
            Phase::Search(mut search, surveyed) => {
                search.end_of_window();
                self.go_on_searching(search, surveyed)
            }
            Phase::Below(below, decided) => {
                let trail = below.end();
                decided.require_images(&self.plan)?;
                self.begin_walking(decided, trail);
                Ok(())
            }
            Phase::Walk(mut walk) => {
                walk.end_of_window(&self.plan);
                self.phase = Phase::Walk(walk);
                self.go_on_walking();
                Ok(())
            }
            Phase::Over => Ok(()),
        }
    }

    fn go_on_searching(
        &mut self,
        mut search: Search,
        surveyed: Surveyed,
    ) -> Result<(), ApplyError> {
        if let Some((after, upto)) = search.next_window() {
            self.phase = Phase::Search(search, surveyed);
            self.read(after, upto);
            return Ok(());
        }
        let decided = Decided::of(&self.plan, surveyed, search)?;
        if let Some(first) = decided.surveyed.spanning.keys().next() {
            let (after, fork) = (first.before(), self.plan.fork.sequence);
            self.phase = Phase::Below(Below::new(&self.plan, after), decided);
            self.read(after, fork);
            return Ok(());
        }
        decided.require_images(&self.plan)?;
        self.begin_walking(decided, Vec::new());
        Ok(())
    }

    fn begin_walking(&mut self, decided: Decided, below: Vec<Sequence>) {
        let Decided {
            surveyed,
            files,
            verdict,
            restart,
        } = decided;
        self.plan.undone = Undone {
            transactions: surveyed.transactions,
            rows: surveyed.rows,
        };
        let undone = self.plan.undone;
        self.outputs
            .push_back(UndoOutput::Planned { restart, undone });
        let next = StorePosition {
            applied: self.plan.fork.sequence,
            restart,
            head: self.plan.fork.head,
            in_progress: None,
            ..self.plan.store
        };
        let steps = Steps::new(&self.plan, next);
        let walk = Walk::new(&self.plan, below, surveyed.trail, files, verdict, steps);
        self.phase = Phase::Walk(Box::new(walk));
        self.go_on_walking();
    }

    fn go_on_walking(&mut self) {
        let Phase::Walk(walk) = &mut self.phase else {
            return;
        };
        let walked = walk.go_on(&self.plan);
        let steps = walk.steps.given_out();
        self.outputs
            .extend(steps.map(|step| UndoOutput::Step(Box::new(step))));
        match walked {
            Walked::Read(after, upto) => self.read(after, upto),
            Walked::Over => {
                self.phase = Phase::Over;
                self.outputs.push_back(UndoOutput::Done(self.plan.undone));
            }
        }
    }
}

impl Plan {
    /// The fork and the store's own entry are in the history that is read, or it is another one.
    fn require_history(&self, at: Position) -> Result<(), ApplyError> {
        let known = [
            self.fork,
            Position {
                sequence: self.store.applied,
                head: self.store.head,
            },
        ];
        match known.iter().find(|known| known.sequence == at.sequence) {
            Some(known) if known.head != at.head => Err(ApplyError::Ahead {
                store: self.store.to_string(),
                journal: at.sequence,
            }),
            _ => Ok(()),
        }
    }

    /// The format of a row of this version, as far as it is known.
    fn format_of<'a>(
        &'a self,
        files: &'a Files,
        file: ObjectId,
        version: u32,
    ) -> Option<&'a Format> {
        let newest = self.formats.get(&file);
        newest
            .filter(|format| format.version() == version)
            .or_else(|| files.format_of(file, version))
            .or_else(|| self.older.of_version(file, version))
    }

    /// That something cannot be taken out.
    fn not_possible(
        &self,
        sequence: Sequence,
        file: ObjectId,
        name: Option<&FileName>,
        reason: &str,
    ) -> ApplyError {
        let name = name.or_else(|| self.formats.get(&file).map(Format::file));
        ApplyError::UndoNotPossible {
            sequence,
            file: file_text(name, file),
            fork: self.fork.sequence,
            reason: reason.to_owned(),
        }
    }
}

impl Decided {
    fn of(plan: &Plan, surveyed: Surveyed, search: Search) -> Result<Self, ApplyError> {
        let mut surveyed = surveyed;
        let mut files = std::mem::take(&mut surveyed.files);
        let found = search.found();
        files.learn(&found.files);
        let verdict = files.verdict(plan)?;
        let fork = plan.fork.sequence;
        let begun = [surveyed.oldest_open, found.oldest_open]
            .into_iter()
            .flatten()
            .map(Sequence::before);
        let own = (plan.store.restart < fork).then_some(plan.store.restart);
        let restart = begun.chain(own).fold(fork, Sequence::min);
        if restart < plan.oldest {
            return Err(ApplyError::Missing {
                needed: restart,
                oldest: plan.oldest,
            });
        }
        Ok(Self {
            surveyed,
            files,
            verdict,
            restart,
        })
    }

    /// Every change that counts has the image it needs to be taken out, unless its whole file goes.
    fn require_images(&self, plan: &Plan) -> Result<(), ApplyError> {
        self.files.require_formats(plan)?;
        let lacking = self.surveyed.lacking.iter();
        let lacking = lacking.filter(|(file, _)| !self.verdict.is_new(**file));
        match lacking.min_by_key(|(_, lack)| lack.sequence) {
            Some((file, lack)) => Err(plan.not_possible(lack.sequence, *file, None, lack.reason)),
            None => Ok(()),
        }
    }
}
