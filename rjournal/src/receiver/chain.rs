//! Room `receiver`: the receivers of one journal on one disk, joined one behind the other: opening them after whatever
//! happened, writing to the attached one, attaching the next, cutting a tail, forgetting the oldest.
//! Must not know who decides these things, or why.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Window};
use super::reader::{ChainReader, Receiver, Shared};
use super::record::ReceiverRecord;
use super::recovery::{self, Evidence, Leftover};
use super::spare::SpareSlot;
use super::writer::ReceiverWriter;
use crate::disk::{Disk, DiskFile, fill_with_zeros};
use crate::entry::{
    ChainHead, CodecError, JournalId, Place, Position, QualifiedName, RECEIVER_HEADER_BYTES,
    ReceiverHeader, ReceiverId, SealedBundle, Timestamp,
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
    /// `visit` sees every bundle of the receivers that were read (those from the last recorded attached one on).
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
        opening.read_last(evidence, visit)?;
        while evidence.cut_at.is_none() && opening.join_next(evidence, visit)? {}
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
    /// [`ReceiverError::Io`], with `StorageFull` inside when the disk is full; what was there stays usable.
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
        let spare = loop {
            match self.spare.take() {
                Some(spare) => break spare,
                None => self.spare.prepare(bytes)?,
            }
        };
        let writer = ReceiverWriter::begin(spare.file, spare.path, spare.bytes, header)?;
        let receiver = Receiver::new(
            header.clone(),
            spare.number,
            now,
            writer.end(),
            header.before,
        );
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
    /// [`ReceiverError::NotContinued`] unless it continues this chain at this byte of the attached receiver; `Io` and
    /// `Poisoned` as the medium says.
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
    /// `Io` and `Poisoned` as the medium says; never tried again after an error.
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
        let path = self.shared.path(receiver.number);
        let zeroed = self.shared.disk.open(&path).and_then(|file| {
            let length = file.length()?;
            fill_with_zeros(&*file, end, length)
        });
        zeroed.map_err(|source| ReceiverError::io("could not be cut", path, source))?;
        let mut state = receiver.lock();
        state.end = end;
        state.last = at;
        state.detached_at = None;
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

/// Opening, step by step.
struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: PathBuf,
    journal: JournalId,
    /// Files that are not in the records, in order of their numbers.
    unknown: Vec<u64>,
    /// Other things in the directory that an interrupted operation may have left.
    strays: Vec<String>,
    next_number: u64,
    receivers: Vec<Arc<Receiver>>,
    leftovers: Vec<Leftover>,
}

impl<'a> Opening<'a> {
    fn new(
        disk: &'a Arc<dyn Disk>,
        dir: &Path,
        journal: JournalId,
        records: &[ReceiverRecord],
    ) -> Result<Self, ReceiverError> {
        disk.sync_dir(dir)
            .map_err(|source| ReceiverError::io("could not be flushed", dir, source))?;
        let names = disk
            .list(dir)
            .map_err(|source| ReceiverError::io("could not be listed", dir, source))?;
        let mut unknown = Vec::new();
        let mut strays = Vec::new();
        let mut next_number = records
            .iter()
            .map(|record| record.file + 1)
            .max()
            .unwrap_or(1);
        for name in names {
            match file::file_number(&name) {
                Some(number) => {
                    next_number = next_number.max(number + 1);
                    if records.iter().all(|record| record.file != number) {
                        unknown.push(number);
                    }
                }
                None if !name.contains(".torn") => strays.push(name),
                None => {}
            }
        }
        unknown.sort_unstable();
        let dir = dir.to_path_buf();
        Ok(Self {
            disk,
            dir,
            journal,
            unknown,
            strays,
            next_number,
            receivers: Vec::new(),
            leftovers: Vec::new(),
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file::file_name(number))
    }

    fn open_file(&self, number: u64) -> Result<Arc<dyn DiskFile>, ReceiverError> {
        let path = self.path(number);
        self.disk
            .open(&path)
            .map_err(|source| ReceiverError::io("could not be opened", path, source))
    }

    /// The header of a receiver that was being begun when a flush failed may stand in memory alone (DESIGN rule 6).
    fn read_unknown_afresh(&self) -> Result<(), ReceiverError> {
        for number in &self.unknown {
            let file = self.open_file(*number)?;
            file.sync()
                .and_then(|()| file.drop_cache())
                .map_err(|source| {
                    ReceiverError::io("could not be read afresh", self.path(*number), source)
                })?;
        }
        Ok(())
    }

    /// Each recorded receiver must be there, be what the record says, and join the one before it.
    fn check_records(&mut self, records: &[ReceiverRecord]) -> Result<(), ReceiverError> {
        let mut ends: Option<Position> = None;
        for record in records {
            let path = self.path(record.file);
            let file = match self.disk.open(&path) {
                Ok(file) => file,
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                    return Err(ReceiverError::Missing {
                        receiver: record.name,
                        first: record.first(),
                        path,
                    });
                }
                Err(source) => return Err(ReceiverError::io("could not be opened", path, source)),
            };
            let header = self.header_of(&*file, &path, record.name)?;
            if header.receiver != record.receiver || header.before != record.before {
                let found = CodecError::Reserved {
                    what: "identity of a receiver",
                };
                return Err(ReceiverError::Foreign {
                    receiver: record.name,
                    path,
                    found,
                });
            }
            if ends.is_some_and(|ends| ends != header.before) {
                let ends = ends.map_or(header.before.sequence, |ends| ends.sequence);
                return Err(ReceiverError::NotJoined {
                    receiver: record.name,
                    begins: header.before.sequence,
                    ends,
                });
            }
            let length = file
                .length()
                .map_err(|source| ReceiverError::io("could not be measured", &path, source))?;
            if length < record.bytes {
                let known = record
                    .last
                    .map_or(record.before.sequence, |last| last.sequence);
                return Err(ReceiverError::CutShort {
                    receiver: record.name,
                    last: record.before.sequence,
                    known,
                });
            }
            ends = record.last;
            let last = record.last.unwrap_or(header.before);
            let receiver =
                Receiver::new(header, record.file, record.attached_at, record.bytes, last);
            {
                let mut state = receiver.lock();
                state.detached_at = record.detached_at;
                state.saved = record.saved;
            }
            self.receivers.push(Arc::new(receiver));
        }
        Ok(())
    }

    fn header_of(
        &self,
        file: &dyn DiskFile,
        path: &Path,
        name: QualifiedName,
    ) -> Result<ReceiverHeader, ReceiverError> {
        let foreign = |found| ReceiverError::Foreign {
            receiver: name,
            path: path.to_path_buf(),
            found,
        };
        let header = file::read_header(file, path)?.map_err(foreign)?;
        if header.journal == self.journal {
            Ok(header)
        } else {
            Err(foreign(CodecError::Reserved {
                what: "journal of a receiver",
            }))
        }
    }

    /// Reads the last receiver to its end, from the medium.
    fn read_last(
        &mut self,
        evidence: Evidence,
        visit: &mut dyn FnMut(&SealedBundle),
    ) -> Result<(), ReceiverError> {
        let Some(receiver) = self.receivers.last().cloned() else {
            return Ok(());
        };
        let path = self.path(receiver.number);
        let file = self.open_file(receiver.number)?;
        let io = |action, source| ReceiverError::io(action, &path, source);
        // A flush may have failed before this start: what memory shows is not what the disk holds (DESIGN rule 6).
        file.sync()
            .map_err(|source| io("could not be flushed", source))?;
        file.drop_cache()
            .map_err(|source| io("could not be read afresh", source))?;
        let length = file
            .length()
            .map_err(|source| io("could not be measured", source))?;
        let mut window = Window::new(Arc::clone(&file), path.clone(), receiver.header.receiver);
        // An entry known to be beyond this receiver is looked for in the next one.
        let beyond = evidence.cut_at.is_none() && self.next_candidate()?.is_some();
        let known = if beyond {
            evidence.known.min(receiver.header.before.sequence)
        } else {
            evidence.known
        };
        let evidence = Evidence { known, ..evidence };
        let readable =
            recovery::read_to_end(&mut window, &receiver.header, length, evidence, visit)?;
        if readable.torn && evidence.cut_at.is_some() {
            fill_with_zeros(&*file, readable.end, length)
                .map_err(|source| io("could not be cut", source))?;
        } else if readable.torn {
            self.leftovers.extend(recovery::clean(
                &**self.disk,
                &*file,
                &mut window,
                &path,
                readable.end,
                length,
            )?);
        }
        let mut state = receiver.lock();
        state.end = readable.end;
        state.last = readable.last;
        Ok(())
    }

    /// The unknown file that names the last receiver as its previous one, or the first of all.
    fn next_candidate(&self) -> Result<Option<(u64, ReceiverHeader)>, ReceiverError> {
        let previous = self
            .receivers
            .last()
            .map_or(ReceiverId::NONE, |last| last.header.receiver);
        for number in &self.unknown {
            let path = self.path(*number);
            let file = self.open_file(*number)?;
            if let Ok(header) = file::read_header(&*file, &path)? {
                let first_here = self.receivers.is_empty();
                if header.journal == self.journal && (header.previous == previous || first_here) {
                    return Ok(Some((*number, header)));
                }
            }
        }
        Ok(None)
    }

    /// Joins a receiver that was attached after the records were written. Says whether there was one.
    fn join_next(
        &mut self,
        evidence: Evidence,
        visit: &mut dyn FnMut(&SealedBundle),
    ) -> Result<bool, ReceiverError> {
        let Some((number, header)) = self.next_candidate()? else {
            return Ok(false);
        };
        let ends = self.receivers.last().map(|last| last.lock().last);
        if ends.is_some_and(|ends| ends != header.before) {
            let ends = ends.map_or(header.before.sequence, |ends| ends.sequence);
            return Err(ReceiverError::NotJoined {
                receiver: header.name,
                begins: header.before.sequence,
                ends,
            });
        }
        if let Some(last) = self.receivers.last() {
            // The date of the change was not recorded; the entry that made it carries one.
            last.lock().detached_at.get_or_insert(Timestamp::ZERO);
        }
        self.unknown.retain(|unknown| *unknown != number);
        let end = RECEIVER_HEADER_BYTES as u64;
        let before = header.before;
        self.receivers.push(Arc::new(Receiver::new(
            header,
            number,
            Timestamp::ZERO,
            end,
            before,
        )));
        self.read_last(evidence, visit)?;
        Ok(true)
    }

    /// Files that never became receivers: spares, and what an interrupted preparation or replacement left.
    fn remove_leftovers(&mut self) -> Result<(), ReceiverError> {
        let files = self
            .unknown
            .iter()
            .map(|number| self.path(*number))
            .collect::<Vec<_>>();
        let strays = self
            .strays
            .iter()
            .map(|name| self.dir.join(name))
            .collect::<Vec<_>>();
        for path in files.into_iter().chain(strays) {
            self.disk
                .remove(&path)
                .map_err(|source| ReceiverError::io("could not be removed", &path, source))?;
            self.leftovers.push(Leftover::File { path });
        }
        let dir = &self.dir;
        self.disk
            .sync_dir(dir)
            .map_err(|source| ReceiverError::io("could not be flushed", dir, source))
    }
}
