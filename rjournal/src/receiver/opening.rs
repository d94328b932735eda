//! Room `receiver`: a chain is found again on its disk: recorded receivers are checked, the last ones read from the medium to
//! their end, and what never became a receiver is removed. Must not write to a receiver, except to cut its torn tail.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::{self, Window};
use super::mend::KEPT_MARK;
use super::reader::Receiver;
use super::record::ReceiverRecord;
use super::recovery::{self, Evidence, Leftover};
use crate::disk::{Disk, DiskFile, fill_with_zeros};
use crate::entry::{
    CodecError, JournalId, Position, QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader,
    ReceiverId, SealedBundle, Timestamp,
};
use crate::error::ReceiverError;

/// Opening, step by step.
pub(super) struct Opening<'a> {
    disk: &'a Arc<dyn Disk>,
    dir: PathBuf,
    journal: JournalId,
    /// Files that are not in the records, in order of their numbers.
    unknown: Vec<u64>,
    /// Other things in the directory that an interrupted operation may have left.
    strays: Vec<String>,
    pub(super) next_number: u64,
    pub(super) receivers: Vec<Arc<Receiver>>,
    pub(super) leftovers: Vec<Leftover>,
}

impl<'a> Opening<'a> {
    pub(super) fn new(
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
                // What was set aside for people stays: a torn tail, a receiver that was repaired.
                None if name.contains(".torn") || name.contains(KEPT_MARK) => {}
                None => strays.push(name),
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
    pub(super) fn read_unknown_afresh(&self) -> Result<(), ReceiverError> {
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
    pub(super) fn check_records(
        &mut self,
        records: &[ReceiverRecord],
    ) -> Result<(), ReceiverError> {
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
    pub(super) fn read_last(
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

    /// Reads the receiver before the last one. It was flushed to its end before the last one was begun, so all of it is there.
    pub(super) fn read_one_before(
        &self,
        visit: &mut dyn FnMut(&SealedBundle),
    ) -> Result<(), ReceiverError> {
        let Some(receiver) = self.receivers.iter().rev().nth(1) else {
            return Ok(());
        };
        let path = self.path(receiver.number);
        let file = self.open_file(receiver.number)?;
        let length = file
            .length()
            .map_err(|source| ReceiverError::io("could not be measured", &path, source))?;
        let mut window = Window::new(file, path, receiver.header.receiver);
        let evidence = Evidence {
            known: receiver.lock().last.sequence,
            ..Evidence::default()
        };
        recovery::read_to_end(&mut window, &receiver.header, length, evidence, visit)?;
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
    pub(super) fn join_next(
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
    pub(super) fn remove_leftovers(&mut self) -> Result<(), ReceiverError> {
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
