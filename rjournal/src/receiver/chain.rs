//! Room `receiver`: the receivers of one journal on one disk, joined one behind the other: opening them after whatever
//! happened, writing to the attached one, attaching the next, cutting a tail, forgetting the oldest.
//! Must not know who decides these things, or why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::opening::Opening;
use super::reader::{ChainReader, Receiver, Shared};
use super::record::ReceiverRecord;
use super::recovery::{Evidence, Leftover};
use super::spare::{Space, SpareSlot, SpareState};
use super::writer::ReceiverWriter;
use crate::disk::{Disk, fill_with_zeros};
use crate::entry::{
    ChainHead, JournalId, Place, Position, RECEIVER_HEADER_BYTES, ReceiverHeader, ReceiverId,
    SealedBundle, Timestamp,
};
use crate::error::ReceiverError;

/// Space beyond the threshold, so that deposits go on while the next receiver is being made ready.
const SLACK_BYTES_MIN: u64 = 1280 * 1024;

const SLACK_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The receivers of one journal, open for writing.
#[derive(Debug)]
pub struct Chain {
    shared: Arc<Shared>,
    writer: Option<ReceiverWriter>,
    spare: SpareSlot,
    journal: JournalId,
    /// Entries are born here; in a copy they come from elsewhere.
    sealed_here: bool,
}

/// A chain that was opened, and what opening found.
#[derive(Debug)]
pub struct Opened {
    /// The chain.
    pub chain: Chain,
    /// What was cleaned up.
    pub leftovers: Vec<Leftover>,
}

impl Chain {
    /// Opens the receivers in `dir`: checks that each recorded one is there and joins its neighbour, finds those that were
    /// attached after the last record was written, reads the last ones from the medium to their end, and cleans up.
    ///
    /// `visit` sees every bundle of the receivers that were read (those from the last recorded attached one on). Of a copy it
    /// sees at least the last bundle: where a receiver was just begun, those of the one before it.
    ///
    /// # Errors
    /// [`ReceiverError`]: a receiver missing, foreign, not joined, cut short or damaged. Nothing is changed then.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        journal: JournalId,
        records: &[ReceiverRecord],
        evidence: Evidence,
        visit: &mut dyn FnMut(&SealedBundle),
    ) -> Result<Opened, ReceiverError> {
        let mut opening = Opening::new(&disk, dir, journal, records)?;
        opening.read_unknown_afresh()?;
        opening.check_records(records)?;
        let mut seen = false;
        let mut see = |bundle: &SealedBundle| {
            seen = true;
            visit(bundle);
        };
        opening.read_last(evidence, &mut see)?;
        while evidence.cut_at.is_none() && opening.join_next(evidence, &mut see)? {}
        if !seen && !evidence.sealed_here {
            opening.read_one_before(visit)?;
        }
        opening.remove_leftovers()?;
        let Opening {
            receivers,
            leftovers,
            next_number,
            ..
        } = opening;
        let spare = SpareSlot::new(Arc::clone(&disk), dir, next_number);
        let genesis = ChainHead::genesis(journal);
        let shared = Arc::new(Shared::new(disk, dir.to_path_buf(), genesis, receivers));
        let writer = Self::resume_writer(&shared)?;
        Ok(Opened {
            chain: Self {
                shared,
                writer,
                spare,
                journal,
                sealed_here: evidence.sealed_here,
            },
            leftovers,
        })
    }

    fn resume_writer(shared: &Shared) -> Result<Option<ReceiverWriter>, ReceiverError> {
        let receivers = shared.receivers();
        let Some(last) = receivers.last() else {
            return Ok(None);
        };
        let path = shared.path(last.number);
        let opened = shared
            .disk
            .open(&path)
            .map_err(|source| ReceiverError::io("could not be opened", &path, source))?;
        let mut state = last.lock();
        state.file = Some(Arc::clone(&opened));
        state.detached_at = None;
        Ok(Some(ReceiverWriter::resume(
            opened,
            path,
            last.header.name,
            state.end,
        )?))
    }

    /// Bytes a receiver's file is prepared with for a threshold.
    pub fn capacity(threshold: u64) -> u64 {
        threshold
            + RECEIVER_HEADER_BYTES as u64
            + (threshold / 16).clamp(SLACK_BYTES_MIN, SLACK_BYTES_MAX)
    }

    /// Reads what is written here.
    pub fn reader(&self) -> ChainReader {
        ChainReader {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Where the next receiver's file is made ready.
    pub fn spare(&self) -> SpareSlot {
        self.spare.clone()
    }

    /// How its space is best made ready: a copy that catches up, or has nothing yet, only reserves it.
    pub fn next_space(&self) -> Space {
        let in_bulk = || self.writer.as_ref().is_none_or(ReceiverWriter::is_bulk);
        if !self.sealed_here && in_bulk() {
            Space::Reserved
        } else {
            Space::Zeroed
        }
    }

    /// The last entry written.
    pub fn tip(&self) -> Position {
        self.reader().tip()
    }

    /// Header of the attached receiver.
    pub fn attached(&self) -> Option<Arc<ReceiverHeader>> {
        self.reader().attached()
    }

    /// Where the next bundle goes.
    pub fn place(&self) -> Place {
        let attached = self.attached();
        let (receiver, previous) = attached.map_or_else(Default::default, |header| {
            (header.receiver, header.previous)
        });
        Place {
            receiver,
            previous,
            offset: self.end(),
        }
    }

    /// Byte of the attached receiver where the next bundle goes.
    pub fn end(&self) -> u64 {
        self.writer.as_ref().map_or(0, ReceiverWriter::end)
    }

    /// Bytes that can be written to the attached receiver without asking the disk for space.
    pub fn room(&self) -> u64 {
        self.writer.as_ref().map_or(0, ReceiverWriter::room)
    }

    /// Makes sure that `bytes` more can be written to the attached receiver.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk has no room: what was there stays usable, and it may be tried again. `Failed` and
    /// `Poisoned` as the medium says.
    pub fn secure(&mut self, bytes: u64) -> Result<(), ReceiverError> {
        self.writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.secure(bytes))
    }

    /// Attaches a receiver: what is in the one before it is flushed first. The header is durable after [`Self::sync`]. An
    /// attached one that holds no bundle yet gives way to another that begins in its place: a crash left it behind.
    ///
    /// # Errors
    /// [`ReceiverError::NotJoined`] unless it continues the chain (an empty chain may begin anywhere); `Io` when the disk
    /// refuses.
    pub fn attach(&mut self, header: &ReceiverHeader, now: Timestamp) -> Result<(), ReceiverError> {
        let place = self.place();
        let follows = place.is_nowhere() || place.receiver == header.previous;
        let replaces = place.is_unused() && place.previous == header.previous;
        let at_tip = place.is_nowhere() || self.tip() == header.before;
        if header.journal != self.journal || !at_tip || !(follows || replaces) {
            let (begins, ends) = (header.before.sequence, self.tip().sequence);
            return Err(ReceiverError::NotJoined {
                receiver: header.name,
                begins,
                ends,
            });
        }
        self.sync()?;
        if replaces {
            self.remove_unused()?;
        }
        let bytes = Self::capacity(header.threshold);
        let space = self.next_space();
        // One that is not ready yet is needed faster than it can be filled.
        let bulk = space == Space::Reserved
            || (!self.sealed_here && self.spare.state() == SpareState::Filling);
        let spare = self.spare.take(bytes, space)?;
        let number = spare.number;
        let writer = ReceiverWriter::begin(spare, bulk, header)?;
        let receiver = Receiver::new(header.clone(), number, now, writer.end(), header.before);
        receiver.lock().file = Some(writer.file());
        self.writer = Some(writer);
        let mut receivers = self.shared.receivers_mut();
        if let Some(last) = receivers.last() {
            let mut state = last.lock();
            state.detached_at = Some(now);
            state.file = None;
        }
        receivers.push(Arc::new(receiver));
        Ok(())
    }

    /// Takes the attached receiver, which holds no bundle, away again.
    fn remove_unused(&mut self) -> Result<(), ReceiverError> {
        self.writer = None;
        let unused = self.shared.receivers_mut().pop();
        if let Some(receiver) = unused {
            let path = self.shared.path(receiver.number);
            let removed = self
                .shared
                .disk
                .remove(&path)
                .and_then(|()| self.shared.disk.sync_dir(&self.shared.dir));
            removed.map_err(|source| ReceiverError::io("could not be removed", path, source))?;
        }
        Ok(())
    }

    /// Writes a bundle at the end. Durable after [`Self::sync`].
    ///
    /// # Errors
    /// [`ReceiverError::NotContinued`] unless it continues this chain at this byte of the attached receiver; `Io` when the
    /// disk has no room for it; `Failed` and `Poisoned` as the medium says.
    pub fn write(&mut self, bundle: &SealedBundle) -> Result<(), ReceiverError> {
        let last = self.shared.receivers().last().cloned();
        let ends = last.as_ref().map_or(self.tip().sequence, |receiver| {
            receiver.lock().last.sequence
        });
        let not_continued = || ReceiverError::NotContinued {
            first: bundle.header().first,
            ends,
        };
        let (Some(receiver), Some(writer)) = (last, self.writer.as_mut()) else {
            return Err(not_continued());
        };
        let continues = receiver.header.receiver == bundle.receiver()
            && receiver.lock().last == bundle.before()
            && writer.end() == bundle.header().offset;
        if !continues {
            return Err(not_continued());
        }
        writer.secure(u64::from(bundle.header().length))?;
        writer.write(bundle)?;
        let mut state = receiver.lock();
        state
            .index
            .note(bundle.header().first, bundle.header().offset);
        state.end = bundle.header().end();
        state.last = bundle.last();
        Ok(())
    }

    /// Flushes what was written.
    ///
    /// # Errors
    /// `Failed` and `Poisoned` as the medium says; never tried again after an error.
    pub fn sync(&mut self) -> Result<(), ReceiverError> {
        self.writer.as_mut().map_or(Ok(()), ReceiverWriter::sync)
    }

    /// Zeroes everything behind `at` and removes the receivers that begin there or later. What is removed must have been
    /// archived before. Doing it again after a crash in the middle leads to the same end.
    ///
    /// # Errors
    /// [`ReceiverError::NotABoundary`] unless a bundle ends at `at`; `Io` when the disk refuses.
    pub fn cut(&mut self, at: Position) -> Result<(), ReceiverError> {
        let boundary = self.boundary(at)?;
        self.writer = None;
        let removed: Vec<Arc<Receiver>> = {
            let mut receivers = self.shared.receivers_mut();
            let keep = boundary.map_or(0, |(index, _)| index + 1);
            receivers.drain(keep..).collect()
        };
        for receiver in &removed {
            let path = self.shared.path(receiver.number);
            self.shared
                .disk
                .remove(&path)
                .map_err(|source| ReceiverError::io("could not be removed", path, source))?;
        }
        let sync_dir = || self.shared.disk.sync_dir(&self.shared.dir);
        sync_dir().map_err(|source| {
            ReceiverError::io("could not be flushed", &self.shared.dir, source)
        })?;
        if let Some((index, end)) = boundary {
            let receiver = self.shared.receivers().get(index).cloned();
            if let Some(receiver) = receiver {
                self.zero_behind(&receiver, at, end)?;
            }
        }
        self.writer = Self::resume_writer(&self.shared)?;
        Ok(())
    }

    fn zero_behind(
        &self,
        receiver: &Receiver,
        at: Position,
        end: u64,
    ) -> Result<(), ReceiverError> {
        {
            // It is attached again: from here on nobody shortens it.
            let mut state = receiver.lock();
            state.detached_at = None;
            state.trimmed = false;
        }
        let path = self.shared.path(receiver.number);
        let zeroed = self.shared.disk.open(&path).and_then(|file| {
            let length = file.length()?;
            fill_with_zeros(&*file, end, length)
        });
        zeroed.map_err(|source| ReceiverError::io("could not be cut", path, source))?;
        let mut state = receiver.lock();
        state.end = end;
        state.last = at;
        state.index.cut(end);
        Ok(())
    }

    /// The receiver in which `at` is the end of a bundle, and the byte behind it; nothing when `at` is before all
    /// receivers.
    fn boundary(&self, at: Position) -> Result<Option<(usize, u64)>, ReceiverError> {
        let reader = self.reader();
        let receivers: Vec<Arc<Receiver>> = self.shared.receivers().clone();
        for (index, receiver) in receivers.iter().enumerate().rev() {
            let last = receiver.lock().last;
            if last == at && last.sequence > receiver.header.before.sequence {
                return Ok(Some((index, receiver.lock().end)));
            }
            if receiver.header.before.sequence < at.sequence {
                let next = reader.bundles_after(at.sequence, last.sequence, 0)?;
                let found = next.first().filter(|bundle| {
                    bundle.header.first == at.sequence.next()
                        && bundle.header.head_before == at.head
                });
                return found.map_or(Err(ReceiverError::NotABoundary { at }), |next| {
                    Ok(Some((index, next.header.offset)))
                });
            }
        }
        let before_all = receivers
            .first()
            .is_none_or(|first| first.header.before == at);
        if before_all {
            Ok(None)
        } else {
            Err(ReceiverError::NotABoundary { at })
        }
    }

    /// Takes the oldest receivers out of the chain, up to and with the one named, and gives the paths of their files, to be
    /// removed once that is durable in the directory. The attached one stays.
    pub fn forget_upto(&mut self, receiver: ReceiverId) -> Vec<PathBuf> {
        let mut receivers = self.shared.receivers_mut();
        let position = receivers.iter().position(|r| r.header.receiver == receiver);
        let count = position
            .map_or(0, |index| index + 1)
            .min(receivers.len().saturating_sub(1));
        receivers
            .drain(..count)
            .map(|r| self.shared.path(r.number))
            .collect()
    }

    /// Records that a save of a receiver was made.
    pub fn mark_saved(&self, receiver: ReceiverId) {
        if let Some(found) = self
            .shared
            .receivers()
            .iter()
            .find(|r| r.header.receiver == receiver)
        {
            found.lock().saved = true;
        }
    }
}
