//! Room `apply`, the machine: entries go in, in journal order, and what each of them does. Must not know what becomes of a
//! cycle once it is committed.

use std::collections::{BTreeMap, HashMap, VecDeque};

use rjournal::entry::record::Format;
use rjournal::entry::{
    ChainHead, EntryView, GroupId, JournalId, Kind, ObjectId, Position, SealedBundle, SegmentId,
    Sequence,
};

use super::change::BeforeImage;
use super::cycle::Cycle;
use super::ended::EndedFiles;
use super::give_out::position_in;
use super::large::Again;
use super::meaning::Change;
use super::meaning::{Meaning, meaning};
use super::older::OlderFormats;
use super::output::{Bounds, Output};
use super::skip::Skips;
use crate::error::ApplyError;
use crate::store::{FileChange, StorePosition};

/// The apply machine of one store.
#[derive(Debug)]
pub struct ApplyMachine {
    pub(super) bounds: Bounds,
    pub(super) journal: JournalId,
    pub(super) group: GroupId,
    pub(super) term: u64,
    /// The term is that of a group's segment, not of the bundles' epochs.
    pub(super) in_group: bool,
    /// Where the store stands or will stand after the steps given out.
    pub(super) store: Option<StorePosition>,
    /// Everything decided at or below this is in the store or in a step given out.
    pub(super) applied: Position,
    pub(super) formats: HashMap<ObjectId, Format>,
    pub(super) older: OlderFormats,
    pub(super) skips: Skips,
    pub(super) ended: EndedFiles,
    pub(super) cycles: BTreeMap<Sequence, Cycle>,
    pub(super) buffered: usize,
    pub(super) outside: Option<BeforeImage>,
    pub(super) files: Vec<FileChange>,
    pub(super) changes: Vec<Change>,
    pub(super) bytes: usize,
    /// The last entry handed in.
    pub(super) at: Sequence,
    pub(super) again: Option<Box<Again>>,
    pub(super) outputs: VecDeque<Output>,
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
            in_group: false,
            store,
            applied,
            formats,
            older: OlderFormats::default(),
            skips: Skips::default(),
            ended: EndedFiles::default(),
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

    /// The same machine, knowing formats its files had before.
    #[must_use]
    pub fn with_older_formats(self, older: OlderFormats) -> Self {
        Self { older, ..self }
    }

    /// The same machine, knowing which of its files are no longer journaled.
    #[must_use]
    pub fn with_ended_files(self, ended: EndedFiles) -> Self {
        Self { ended, ..self }
    }

    /// What is applied of which history.
    pub const fn segment(&self) -> SegmentId {
        SegmentId {
            term: self.term,
            journal: self.journal,
        }
    }

    /// The last entry handed in, or the one reading begins after.
    pub const fn at(&self) -> Sequence {
        self.at
    }

    /// Everything decided up to here is in the store or in a step given out.
    pub const fn applied(&self) -> Sequence {
        self.applied.sequence
    }

    /// The chain head at [`Self::applied`], for comparing with the journal's.
    pub const fn head(&self) -> ChainHead {
        self.applied.head
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
        if !self.in_group {
            self.term = bundle.header().epoch.term;
        }
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
                if view.kind == Kind::JOURNALING_START && !decided_before {
                    self.changes.extend(self.ended.take(file, view.sequence));
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
                    if !decided_before {
                        self.keep_older(file, &format, view.sequence);
                    }
                    self.formats.insert(file, (*format).clone());
                    if !decided_before {
                        self.files.push(FileChange::Put { id: file, format });
                    }
                }
            }
            Meaning::JournalingEnded => {
                let file = view.object;
                self.outputs.push_back(Output::Journaled {
                    file,
                    journaled: false,
                });
                if !decided_before && let Some((list, row)) = self.ended.end(file, view.sequence) {
                    self.files.push(list);
                    self.changes.push(row);
                }
            }
            Meaning::FileGone => self.drop_file(view.object, view, bundle)?,
            Meaning::Before | Meaning::Put | Meaning::Update | Meaning::Delete => {
                let cycle = view.cycle;
                if cycle == Sequence::NONE {
                    if !decided_before {
                        self.change_outside(view, &meaning, bundle)?;
                    }
                } else {
                    self.change_inside(view, &meaning, cycle)?;
                }
            }
        }
        Ok(())
    }

    /// A file gets a format: the one before is kept, for rows of it that are read again, and for a fork before this entry.
    fn keep_older(&mut self, file: ObjectId, next: &Format, sequence: Sequence) {
        let before = self
            .formats
            .get(&file)
            .filter(|known| known.version() < next.version());
        if let Some(before) = before.cloned() {
            self.keep_format(file, before, sequence);
        }
    }

    /// Keeps the format a file has up to an entry.
    fn keep_format(&mut self, file: ObjectId, format: Format, until: Sequence) {
        let restart = self.cycles.keys().next().map_or(until, |first| *first);
        self.older.keep(file, format, until);
        let forgotten = self.older.forget(restart, until);
        if let Some((kept, changes)) = self.older.record(file, until) {
            self.files.push(kept);
            self.changes.extend(forgotten);
            self.changes.extend(changes);
        }
    }

    /// The format of an entry's row, as far as it is known.
    pub(super) fn format_of(&self, view: &EntryView<'_>) -> Option<&Format> {
        let newest = self.formats.get(&view.object)?;
        if newest.version() == view.format {
            return Some(newest);
        }
        Some(self.older.of_entry(view).unwrap_or(newest))
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
            self.changes.extend(self.ended.take(file, view.sequence));
            if let Some(format) = self.formats.get(&file).cloned() {
                self.keep_format(file, format, view.sequence);
            }
        }
        self.formats.remove(&file);
        Ok(())
    }

    /// A change outside commitment control counts at once.
    fn change_outside(
        &mut self,
        view: &EntryView<'_>,
        meaning: &Meaning,
        bundle: &SealedBundle,
    ) -> Result<(), ApplyError> {
        let mut image = self.outside.take();
        let begins = image.as_ref().map_or(view.sequence, |image| image.sequence);
        let change = self.change(view, meaning, &mut image)?;
        self.outside = image;
        if let Some(change) = change {
            // A bundle may hold more of them than a step.
            if self.bytes > 0 && self.bytes + change.bytes() > self.bounds.step_bytes_max {
                self.give_out(position_in(bundle, begins.before())?);
            }
            self.bytes += change.bytes();
            self.changes.push(change);
        }
        Ok(())
    }
}
