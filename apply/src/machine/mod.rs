//! Room `apply`: the apply machine. Entries go in, in journal order; whole transactions come out, in commit order, with the
//! position they lead to. Without IO: it is told what was read and asked for the next step.
//!
//! Reading begins at `restart`, what is decided at or below `applied` is passed over (ruling 9). Cycles are kept in memory
//! until they are decided; above a bound the largest are let go and read again when they commit. A transaction too large
//! for one step of the store comes in several, each with a mark (ruling 18). Must not know stores or files.

mod meaning;
mod skip;
mod step;

use std::collections::{BTreeMap, HashMap, VecDeque};

use rjournal::entry::record::Format;
use rjournal::entry::{
    ChainHead, EntryView, GroupId, JournalId, Kind, ObjectId, Position, SealedBundle, Sequence,
};

use crate::error::ApplyError;
pub use meaning::{Change, Expect};
pub use skip::{Skip, Skips};
pub use step::{key_text, resolve};

use crate::store::{FileChange, InProgress, StorePosition};
use meaning::{Meaning, meaning, row_key};

/// Bounds of a machine.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of undecided changes kept in memory, all cycles together.
    pub buffered_bytes_max: usize,
    /// Bytes of changes in one step.
    pub step_bytes_max: usize,
    /// A step is given out at this size although more could join it.
    pub step_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            buffered_bytes_max: 32 * 1024 * 1024,
            step_bytes_max: 16 * 1024 * 1024,
            step_bytes: 1024 * 1024,
        }
    }
}

/// One step of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where the store must stand.
    pub expected: Option<StorePosition>,
    /// Where it stands afterwards.
    pub next: StorePosition,
    /// Files.
    pub files: Vec<FileChange>,
    /// Rows, in order.
    pub changes: Vec<Change>,
}

/// What the machine wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Apply this.
    Step(Box<Step>),
    /// Read the entries in `(after, upto]` again and hand their bundles to [`ApplyMachine::handle_again`]: a cycle that was
    /// too large to keep is committed. Nothing else may be handed in before that.
    ReadAgain {
        /// The last entry before the cycle.
        after: Sequence,
        /// Its commit.
        upto: Sequence,
    },
    /// Journaling of a file began or ended: for those who change it.
    Journaled {
        /// The file.
        file: ObjectId,
        /// Whether it is journaled now.
        journaled: bool,
    },
}

#[derive(Debug, Default)]
struct Cycle {
    changes: Vec<Change>,
    bytes: usize,
    /// Too large to keep: it is read again when it commits.
    let_go: bool,
    before: Option<BeforeImage>,
}

#[derive(Debug, Clone)]
struct BeforeImage {
    sequence: Sequence,
    file: ObjectId,
    count: u64,
    image: Vec<u8>,
}

/// A committed cycle that is being read again.
#[derive(Debug)]
struct Again {
    cycle: Sequence,
    decision: Position,
    /// The position right before the decision.
    before: Position,
    /// Entries up to this one are applied already.
    done: Sequence,
    image: Option<BeforeImage>,
    changes: Vec<Change>,
    bytes: usize,
    /// The rest of the bundle in which the decision stands.
    rest: SealedBundle,
}

/// The apply machine of one store.
#[derive(Debug)]
pub struct ApplyMachine {
    bounds: Bounds,
    journal: JournalId,
    group: GroupId,
    term: u64,
    /// Where the store stands or will stand after the steps given out.
    store: Option<StorePosition>,
    /// Everything decided at or below this is in the store or in a step given out.
    applied: Position,
    formats: HashMap<ObjectId, Format>,
    skips: Skips,
    cycles: BTreeMap<Sequence, Cycle>,
    buffered: usize,
    outside: Option<BeforeImage>,
    files: Vec<FileChange>,
    changes: Vec<Change>,
    bytes: usize,
    /// The last entry handed in.
    at: Sequence,
    again: Option<Box<Again>>,
    outputs: VecDeque<Output>,
}

impl ApplyMachine {
    /// A machine for a store at `store`, or for an empty one that begins after `begin`.
    pub fn new(
        journal: JournalId,
        begin: Position,
        store: Option<StorePosition>,
        formats: HashMap<ObjectId, Format>,
        bounds: Bounds,
    ) -> Self {
        let applied = store.map_or(begin, |store| Position {
            sequence: store.applied,
            head: store.head,
        });
        let from = store.map_or(begin.sequence, |store| store.restart);
        Self {
            bounds,
            journal,
            group: store.map_or_else(|| GroupId::from(journal), |store| store.group),
            term: store.map_or(1, |store| store.term),
            store,
            applied,
            formats,
            skips: Skips::default(),
            cycles: BTreeMap::new(),
            buffered: 0,
            outside: None,
            files: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
            at: from,
            again: None,
            outputs: VecDeque::new(),
        }
    }

    /// The same machine, passing over entries as ordered.
    #[must_use]
    pub fn with_skips(self, skips: Skips) -> Self {
        Self { skips, ..self }
    }

    /// The last entry handed in, or the one reading begins after.
    pub const fn at(&self) -> Sequence {
        self.at
    }

    /// Everything decided up to here is in the store or in a step given out.
    pub const fn applied(&self) -> Sequence {
        self.applied.sequence
    }

    /// Bytes of undecided changes in memory.
    pub const fn buffered(&self) -> usize {
        self.buffered
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next bundle of the journal. Its first entries may lie at or before [`Self::at`].
    ///
    /// # Errors
    /// [`ApplyError::Poison`]: what was decided before the entry is still given out, after that the machine must not be
    /// used any more. `Missing` or `Ahead` when the bundle does not follow on what was handed in before.
    pub fn handle_bundle(&mut self, bundle: &SealedBundle) -> Result<(), ApplyError> {
        self.check_follows(bundle)?;
        self.term = bundle.header().epoch.term;
        for view in bundle.entries() {
            let view = view.map_err(|error| ApplyError::unreadable(self.at.next(), &error))?;
            if view.sequence <= self.at {
                continue;
            }
            self.at = view.sequence;
            // A before-image is read again with its update.
            let image = self.outside.as_ref().map(|image| image.sequence);
            if let Err(error) = self.handle_entry(&view, bundle) {
                // The store is left right before it.
                if view.sequence > self.applied.sequence {
                    let before = image.unwrap_or(view.sequence).before();
                    self.give_out(position_in(bundle, before)?);
                }
                return Err(error);
            }
            if self.again.is_some() {
                return Ok(());
            }
        }
        self.reach(bundle.last());
        if self.bytes >= self.bounds.step_bytes {
            self.give_out(self.applied);
        }
        Ok(())
    }

    /// Everything that can be read now was handed in: what waits for company is given out.
    pub fn handle_level(&mut self) {
        let waits = !self.changes.is_empty() || !self.files.is_empty();
        let behind = self
            .store
            .is_none_or(|store| store.applied < self.applied.sequence);
        if self.again.is_none() && (waits || behind) {
            self.give_out(self.applied);
        }
    }

    /// A bundle must follow on the last one without a gap, and be of the same history.
    fn check_follows(&self, bundle: &SealedBundle) -> Result<(), ApplyError> {
        let before = bundle.before();
        if before.sequence > self.at {
            return Err(ApplyError::Missing {
                needed: self.at,
                oldest: before.sequence,
            });
        }
        if before.sequence == self.applied.sequence && before.head != self.applied.head {
            return Err(ApplyError::Ahead {
                store: self.position_at(self.applied).to_string(),
                journal: before.sequence,
            });
        }
        Ok(())
    }

    fn reach(&mut self, position: Position) {
        if position.sequence > self.applied.sequence {
            self.applied = position;
        }
    }

    fn handle_entry(
        &mut self,
        view: &EntryView<'_>,
        bundle: &SealedBundle,
    ) -> Result<(), ApplyError> {
        // Below `applied` only the cycles matter that may still be open there.
        let decided_before = view.sequence <= self.applied.sequence;
        if self.skips.contains(view.sequence) {
            self.pass_over(view);
            return Ok(());
        }
        let meaning = meaning(view)?;
        match meaning {
            Meaning::Nothing => {}
            Meaning::Opened => {
                self.cycles.clear();
                self.buffered = 0;
                self.outside = None;
            }
            Meaning::CycleStart => {
                self.cycles.insert(view.sequence, Cycle::default());
            }
            Meaning::Rollback => self.forget(view.cycle),
            Meaning::Commit if decided_before => self.forget(view.cycle),
            Meaning::Commit => return self.commit(view.cycle, view.sequence, bundle),
            Meaning::File(format) => {
                let file = view.object;
                if view.kind != Kind::FILE_CHANGE {
                    self.outputs.push_back(Output::Journaled {
                        file,
                        journaled: view.kind == Kind::JOURNALING_START,
                    });
                }
                // A file that is not journaled goes without an entry; the one that takes its name tells.
                let displaced = self.formats.iter().find_map(|(id, known)| {
                    (*id != file && known.file() == format.file()).then_some(*id)
                });
                if let Some(displaced) = displaced {
                    self.drop_file(displaced, view, bundle)?;
                }
                if self
                    .formats
                    .get(&file)
                    .is_none_or(|known| known.version() <= format.version())
                {
                    self.formats.insert(file, (*format).clone());
                    if !decided_before {
                        self.files.push(FileChange::Put { id: file, format });
                    }
                }
            }
            Meaning::JournalingEnded => self.outputs.push_back(Output::Journaled {
                file: view.object,
                journaled: false,
            }),
            Meaning::FileGone => self.drop_file(view.object, view, bundle)?,
            Meaning::Before | Meaning::Put | Meaning::Update | Meaning::Delete => {
                let cycle = view.cycle;
                if cycle == Sequence::NONE {
                    if !decided_before {
                        self.change_outside(view, &meaning)?;
                    }
                } else {
                    self.change_inside(view, &meaning, cycle)?;
                }
            }
        }
        Ok(())
    }

    /// A file is gone with an entry.
    fn drop_file(
        &mut self,
        file: ObjectId,
        view: &EntryView<'_>,
        bundle: &SealedBundle,
    ) -> Result<(), ApplyError> {
        self.outputs.push_back(Output::Journaled {
            file,
            journaled: false,
        });
        if view.sequence > self.applied.sequence {
            // Rows changed before it must not be applied after it is gone.
            self.give_out(position_in(bundle, view.sequence.before())?);
            self.files.push(FileChange::Drop { id: file });
        }
        self.formats.remove(&file);
        Ok(())
    }

    /// Passes over an entry, as ordered.
    fn pass_over(&mut self, view: &EntryView<'_>) {
        if let Some((file, change)) = self.skips.record(view.sequence) {
            self.files.push(file);
            self.changes.push(change);
        }
        // Its before-image goes with it; a commit that is passed over is none.
        self.outside = None;
        if view.kind.is_commitment() {
            self.forget(view.cycle);
        } else if let Some(cycle) = self.cycles.get_mut(&view.cycle) {
            cycle.before = None;
        }
    }

    /// A change outside commitment control counts at once.
    fn change_outside(
        &mut self,
        view: &EntryView<'_>,
        meaning: &Meaning,
    ) -> Result<(), ApplyError> {
        let mut image = self.outside.take();
        let change = self.change(view, meaning, &mut image)?;
        self.outside = image;
        if let Some(change) = change {
            self.bytes += change.bytes();
            self.changes.push(change);
        }
        Ok(())
    }

    fn change_inside(
        &mut self,
        view: &EntryView<'_>,
        meaning: &Meaning,
        id: Sequence,
    ) -> Result<(), ApplyError> {
        if view.sequence <= self.applied.sequence && !self.formats.contains_key(&view.object) {
            // Its file was there when this was read first, and is gone since.
            return Ok(());
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

    /// The change an entry means; nothing for a before-image, which waits for its update.
    fn change(
        &self,
        view: &EntryView<'_>,
        meaning: &Meaning,
        before: &mut Option<BeforeImage>,
    ) -> Result<Option<Change>, ApplyError> {
        let poison = |reason: String| ApplyError::Poison {
            sequence: view.sequence,
            reason,
        };
        let file = view.object;
        let image = view.payload.bytes();
        if matches!(meaning, Meaning::Before) {
            *before = Some(BeforeImage {
                sequence: view.sequence,
                file,
                count: view.count,
                image: image.to_vec(),
            });
            return Ok(None);
        }
        let format = self
            .formats
            .get(&file)
            .ok_or_else(|| poison(format!("file {file} was never defined in this journal")))?;
        let fitting = before.take();
        if let Some(fitting) = &fitting
            && (fitting.file != file
                || fitting.count != view.count
                || !matches!(meaning, Meaning::Update))
        {
            return Err(poison(
                "a before-image stands before something else than its update".to_owned(),
            ));
        }
        let sequence = view.sequence;
        let change = |key, row, expect| {
            Some(Change {
                sequence,
                file,
                key,
                row,
                expect,
            })
        };
        Ok(match meaning {
            Meaning::Put => change(
                row_key(view, format, image)?,
                Some(image.to_vec()),
                Expect::Absent,
            ),
            Meaning::Update => {
                let key = row_key(view, format, image)?;
                let expect = match fitting {
                    Some(fitting) => {
                        if row_key(view, format, &fitting.image)? != key {
                            return Err(poison("an update changes the key of its row".to_owned()));
                        }
                        Expect::Row(fitting.image)
                    }
                    None => Expect::Present,
                };
                change(key, Some(image.to_vec()), expect)
            }
            // JOFLAG 1: the image is the row; 0: it is only the key.
            Meaning::Delete if view.indicator == 1 => change(
                row_key(view, format, image)?,
                None,
                Expect::Row(image.to_vec()),
            ),
            Meaning::Delete => change(image.to_vec(), None, Expect::Present),
            _ => None,
        })
    }

    fn forget(&mut self, id: Sequence) {
        if let Some(cycle) = self.cycles.remove(&id) {
            self.buffered -= cycle.bytes;
        }
    }

    /// A cycle is committed: its changes join the step, or make steps of their own.
    fn commit(
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
    fn give_out_part(&mut self, again: &mut Again) {
        let Some(done) = again.changes.last().map(|change| change.sequence) else {
            return;
        };
        let mark = InProgress {
            cycle: again.cycle,
            decision: again.decision.sequence,
            done,
        };
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

    fn finish_large(&mut self, again: Again) {
        self.forget(again.cycle);
        self.changes.extend(again.changes);
        self.applied = again.decision;
        self.at = self.at.max(again.decision.sequence);
        let next = self.position_at(again.decision);
        self.push_step(next);
    }

    /// The store's position when everything decided up to `at` is applied.
    fn position_at(&self, at: Position) -> StorePosition {
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

    fn give_out(&mut self, at: Position) {
        let next = self.position_at(at);
        let moved = self.store.is_none_or(|store| store.applied < next.applied);
        if moved || !self.changes.is_empty() || !self.files.is_empty() {
            self.push_step(next);
        }
    }

    fn push_step(&mut self, next: StorePosition) {
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

    /// The chain head at [`Self::applied`], for comparing with the journal's.
    pub const fn head(&self) -> ChainHead {
        self.applied.head
    }
}

/// The position of an entry of a bundle, or of the one right before its first.
fn position_in(bundle: &SealedBundle, sequence: Sequence) -> Result<Position, ApplyError> {
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
