//! Room `receiver`: all receivers of a journal are read from the medium, and every stretch that is not what it was is
//! found: damaged or unreadable bundles, headers, files that are cut short or gone. Reads only. Must not know where other
//! bytes come from.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::damage::{End, Ending, Gap, KnownHeader, Seen, Walk};
use super::file::{self, Found, Window, file_name};
use super::reader::ChainReader;
use super::record::ReceiverRecord;
use crate::disk::{Disk, DiskFile};
use crate::entry::codec::{self, BUNDLE_HEADER_BYTES};
use crate::entry::control_entry::Neighbour;
use crate::entry::{
    CodecError, JournalId, Kind, RECEIVER_HEADER_BYTES, ReceiverHeader, ReceiverId, SealedBundle,
    SystemId,
};
use crate::error::ReceiverError;

/// Bundles begin at multiples of this.
const STEP_BYTES: usize = 8;
/// The first bytes of a bundle.
const MAGIC: &[u8] = b"RJB1";
/// How much is looked through at once for the next bundle.
const SEARCH_BYTES: usize = 64 * 1024;
/// What a medium that cannot be read is tried in.
const BLOCK_BYTES: usize = 4096;

/// A receiver that should be there, and what is known about it from elsewhere.
#[derive(Debug, Clone)]
pub struct Expected {
    /// What is kept about it.
    pub record: ReceiverRecord,
    /// How it ends.
    pub ending: Ending,
}

/// A receiver that is not what it was.
#[derive(Debug, Clone)]
pub struct Damaged {
    /// What it should be.
    pub expected: Expected,
    /// What its header must be.
    pub known: KnownHeader,
    /// What is wrong with its file as a whole.
    pub file: FileDamage,
    /// The stretches of bundles that are missing.
    pub gaps: Vec<Gap>,
}

impl Damaged {
    /// Its file in the directory of the receivers.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.expected.record.file))
    }
}

/// What is wrong with a receiver's file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileDamage {
    /// Nothing.
    None,
    /// Its header.
    Header(CodecError),
    /// It is not there.
    Missing,
}

/// What a survey found.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// Receivers that should be there.
    pub receivers: u64,
    /// Good bundles read.
    pub bundles: u64,
    /// Good entries read.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The receivers that are not what they were, oldest first.
    pub damaged: Vec<Damaged>,
}

impl ChainReader {
    /// What should be there of a journal in use, up to what is written now.
    pub fn expected(&self) -> Vec<Expected> {
        let receivers = self.shared.receivers();
        let expected = receivers.iter().map(|receiver| {
            let (at, offset) = {
                let state = receiver.lock();
                (state.last, state.end)
            };
            Expected {
                record: receiver.record(),
                ending: Ending::At(End {
                    offset: Some(offset),
                    ..End::head(at)
                }),
            }
        });
        expected.collect()
    }
}

/// What should be there of a journal that is not in use: the receivers recorded, and those that were attached after the
/// last record was written.
///
/// # Errors
/// [`ReceiverError::Io`] when the medium cannot be read at all.
pub fn expected_on_disk(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    journal: JournalId,
    records: &[ReceiverRecord],
    last: Ending,
) -> Result<Vec<Expected>, ReceiverError> {
    let mut expected: Vec<Expected> = Vec::new();
    for record in records {
        let ending = record.last.map_or(last, |at| {
            Ending::At(End {
                offset: Some(record.bytes),
                ..End::head(at)
            })
        });
        expected.push(Expected {
            record: record.clone(),
            ending,
        });
    }
    let mut unknown = unknown_receivers(disk, dir, journal, records)?;
    while let Some(before) = expected.last_mut() {
        let follows = |(record, previous): &(ReceiverRecord, ReceiverId)| {
            *previous == before.record.receiver && record.first() >= before.record.first()
        };
        let Some(index) = unknown.iter().position(follows) else {
            break;
        };
        let (record, _) = unknown.swap_remove(index);
        before.ending = Ending::At(End::head(record.before));
        expected.push(Expected {
            record,
            ending: last,
        });
    }
    Ok(expected)
}

/// Receivers whose headers can be read and which no record names, with the ones before them.
fn unknown_receivers(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    journal: JournalId,
    records: &[ReceiverRecord],
) -> Result<Vec<(ReceiverRecord, ReceiverId)>, ReceiverError> {
    let names = disk
        .list(dir)
        .map_err(|source| ReceiverError::io("could not be listed", dir, source))?;
    let mut found = Vec::new();
    for number in names.iter().filter_map(|name| file::file_number(name)) {
        if records.iter().any(|record| record.file == number) {
            continue;
        }
        let path = dir.join(file_name(number));
        let Some(file) = open_if_there(&**disk, &path)? else {
            continue;
        };
        if let Ok(header) = file::read_header(&Forgiving(file), &path)?
            && header.journal == journal
        {
            found.push((record_of(number, &header), header.previous));
        }
    }
    Ok(found)
}

/// What the header of a receiver says of it.
fn record_of(number: u64, header: &ReceiverHeader) -> ReceiverRecord {
    ReceiverRecord {
        receiver: header.receiver,
        name: header.name,
        file: number,
        before: header.before,
        last: None,
        bytes: RECEIVER_HEADER_BYTES as u64,
        attached_at: crate::entry::Timestamp::ZERO,
        detached_at: None,
        saved: false,
    }
}

/// What should be there of a journal of which only the headers of its receivers are known, in the order of the chain: each
/// ends where the next one begins, at the head that one names; the last one as `last` says.
pub fn expected_by_headers(chain: &[(u64, ReceiverHeader)], last: Ending) -> Vec<Expected> {
    let expected = chain.iter().enumerate().map(|(index, (number, header))| {
        let next = chain.get(index + 1).map(|(_, next)| next.before);
        Expected {
            record: ReceiverRecord {
                last: next,
                ..record_of(*number, header)
            },
            ending: next.map_or(last, |at| Ending::At(End::head(at))),
        }
    });
    expected.collect()
}

/// Reads all receivers and finds what is not what it was. `read` is told bytes as they are read, and says whether to go on.
///
/// # Errors
/// [`ReceiverError::Io`] when a file cannot be opened although it is there, or reading was given up.
pub fn survey(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    journal: JournalId,
    expected: &[Expected],
    read: &dyn Fn(u64),
) -> Result<Survey, ReceiverError> {
    let mut survey = Survey::default();
    let mut previous: Option<ReceiverId> = None;
    let mut announced = None;
    let origin = origin_of(disk, dir, journal, expected)?;
    for expected in expected {
        let record = &expected.record;
        let known = KnownHeader {
            receiver: record.receiver,
            journal,
            name: Some(record.name),
            before: record.before,
            previous,
            origin,
            announced: announced.take(),
        };
        previous = Some(record.receiver);
        survey.receivers += 1;
        let path = dir.join(file_name(record.file));
        let Some(file) = open_if_there(&**disk, &path)? else {
            survey.damaged.push(Damaged {
                gaps: Walk::new(record.before).finish(expected.ending),
                expected: expected.clone(),
                known,
                file: FileDamage::Missing,
            });
            continue;
        };
        read_afresh(&*file, expected.ending);
        let file: Arc<dyn DiskFile> = Arc::new(Forgiving(file));
        let header = file::read_header(&*file, &path)?;
        let header = header.and_then(|header| {
            let page = header.encode();
            match known.prove(&page) {
                Ok(_) => Ok(()),
                Err(_) => Err(CodecError::Reserved {
                    what: "header of another receiver",
                }),
            }
        });
        let mut reading = Reading::new(file, &path, expected)?;
        let gaps = reading.walk(read)?;
        survey.bundles += reading.bundles;
        survey.entries += reading.entries;
        survey.bytes += reading.bytes;
        announced = reading.announced();
        let file = header.map_or_else(FileDamage::Header, |()| FileDamage::None);
        if file != FileDamage::None || !gaps.is_empty() {
            survey.damaged.push(Damaged {
                expected: expected.clone(),
                known,
                file,
                gaps,
            });
        }
    }
    Ok(survey)
}

/// The system that sealed the journal, as the first header that can be read says.
fn origin_of(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    journal: JournalId,
    expected: &[Expected],
) -> Result<Option<SystemId>, ReceiverError> {
    for expected in expected {
        let path = dir.join(file_name(expected.record.file));
        if let Some(file) = open_if_there(&**disk, &path)?
            && let Ok(header) = file::read_header(&Forgiving(file), &path)?
            && header.journal == journal
            && header.receiver == expected.record.receiver
        {
            return Ok(Some(header.origin));
        }
    }
    Ok(None)
}

/// The gaps one file still has: what a repaired one is held against before it takes the place of the old one.
pub(super) fn gaps_in(
    file: Arc<dyn DiskFile>,
    path: &Path,
    expected: &Expected,
) -> Result<Vec<Gap>, ReceiverError> {
    Reading::new(file, path, expected)?.walk(&|_| {})
}

/// What is in memory may not be what the medium holds (DESIGN rule 6). A failure shows when the bytes are read.
fn read_afresh(file: &dyn DiskFile, ending: Ending) {
    if matches!(ending, Ending::Open { .. }) {
        drop(file.sync());
    }
    drop(file.drop_cache());
}

pub(super) fn open_if_there(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<Arc<dyn DiskFile>>, ReceiverError> {
    match disk.open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ReceiverError::io("could not be opened", path, source)),
    }
}

struct Reading<'a> {
    window: Window,
    expected: &'a Expected,
    limit: u64,
    last: Option<SealedBundle>,
    bundles: u64,
    entries: u64,
    bytes: u64,
}

impl<'a> Reading<'a> {
    fn new(
        file: Arc<dyn DiskFile>,
        path: &Path,
        expected: &'a Expected,
    ) -> Result<Self, ReceiverError> {
        let length = file
            .length()
            .map_err(|source| ReceiverError::io("could not be measured", path, source))?;
        let limit = match expected.ending {
            Ending::At(End {
                offset: Some(offset),
                ..
            }) => length.min(offset),
            _ => length,
        };
        Ok(Self {
            window: Window::new(file, path.to_path_buf(), expected.record.receiver),
            expected,
            limit,
            last: None,
            bundles: 0,
            entries: 0,
            bytes: 0,
        })
    }

    fn walk(&mut self, read: &dyn Fn(u64)) -> Result<Vec<Gap>, ReceiverError> {
        let record = &self.expected.record;
        let mut walk = Walk::new(record.before);
        let mut at = RECEIVER_HEADER_BYTES as u64;
        while at + BUNDLE_HEADER_BYTES as u64 <= self.limit {
            let bundle = match self.window.bundle_at(at)? {
                Found::Bundle(_, bytes) => codec::open(bytes, record.receiver).ok(),
                Found::Nothing(_) => None,
            };
            let Some(bundle) = bundle else {
                at = self.search(at + STEP_BYTES as u64)?;
                continue;
            };
            walk.handle_bundle(Seen::from(&bundle));
            let length = u64::from(bundle.header().length);
            at += length;
            self.bundles += 1;
            self.entries += u64::from(bundle.header().entries);
            self.bytes += length;
            read(length);
            self.last = Some(bundle);
        }
        Ok(walk.finish(self.expected.ending))
    }

    /// The next place at or behind `from` where a bundle may begin.
    fn search(&mut self, from: u64) -> Result<u64, ReceiverError> {
        let mut at = from;
        while at < self.limit {
            let chunk = self.window.slice(at, SEARCH_BYTES)?;
            let mut places = chunk.chunks(STEP_BYTES);
            if let Some(index) = places.position(|place| place.starts_with(MAGIC)) {
                return Ok(at + (index * STEP_BYTES) as u64);
            }
            if chunk.len() < SEARCH_BYTES {
                break;
            }
            at += SEARCH_BYTES as u64;
        }
        Ok(self.limit)
    }

    /// What the last entry read says of the next receiver.
    fn announced(&self) -> Option<Neighbour> {
        let last = self.last.as_ref()?.entries().flatten().last()?;
        let is_next = last.kind == Kind::RECEIVER_NEXT;
        is_next.then(|| Neighbour::decode(last.payload.bytes()).ok())?
    }
}

/// A file whose unreadable blocks are zeros: damage like any other, which another copy can repair.
#[derive(Debug)]
pub(super) struct Forgiving(pub(super) Arc<dyn DiskFile>);

impl DiskFile for Forgiving {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        if let Ok(count) = self.0.read_at(bytes, offset) {
            return Ok(count);
        }
        let length = self.0.length()?;
        let mut done = 0;
        while done < bytes.len() && offset + (done as u64) < length {
            let at = offset + done as u64;
            let to_boundary = BLOCK_BYTES - (at % BLOCK_BYTES as u64) as usize;
            let to_end = usize::try_from(length - at).unwrap_or(usize::MAX);
            let count = to_boundary.min(to_end).min(bytes.len() - done);
            let block = bytes.get_mut(done..done + count).unwrap_or_default();
            match self.0.read_at(block, at) {
                Ok(read) if read == count => {}
                _ => block.fill(0),
            }
            done += count;
        }
        Ok(done)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn set_length(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
}
