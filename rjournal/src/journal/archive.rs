//! Room `journal`: reading an orphan archive: its bundles in order, in bounded pieces, each held against the chain from the
//! manifest's fork on. A reader never repairs; an archive that does not hold is named. Must not know who reads.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::orphan::{self, Orphan};
use crate::disk::{Disk, DiskFile};
use crate::entry::codec::{self, BUNDLE_HEADER_BYTES};
use crate::entry::{
    BundleHeader, ChainHead, Position, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle,
    Sequence,
};
use crate::error::JournalError;
use crate::receiver::StoredBundle;

/// A place is remembered every so many bytes: whoever reads from there on does not read what stands before it again.
const PLACE_BYTES: u64 = 4 * 1024 * 1024;

/// An archive as its readers share it: what it is, and the places in it up to which the chain was seen to hold.
#[derive(Debug)]
pub struct Archive {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    orphan: Orphan,
    places: Mutex<Vec<Place>>,
}

/// A place between two bundles.
#[derive(Debug, Clone)]
struct Place {
    /// Byte of the file.
    offset: u64,
    /// The position of the chain; not known at the beginning, where the first bundle may begin before the fork.
    at: Option<Position>,
    /// The receiver whose bundles stand here.
    receiver: Option<Arc<ReceiverHeader>>,
}

const BEGINNING: Place = Place {
    offset: 0,
    at: None,
    receiver: None,
};

impl Archive {
    /// The archive of this number in a journal's directory; nothing where there is none.
    ///
    /// # Errors
    /// [`JournalError::Orphan`] when its manifest cannot be read, `Version` when a newer program wrote it.
    pub fn find(
        disk: Arc<dyn Disk>,
        dir: &Path,
        number: u64,
    ) -> Result<Option<Arc<Self>>, JournalError> {
        let Some(orphan) = orphan::one(&*disk, dir, number)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Self {
            disk,
            // By its number: what a manifest says of paths is not followed.
            path: dir.join(orphan::entries_file(number)),
            orphan,
            places: Mutex::new(vec![BEGINNING]),
        })))
    }

    /// What it holds.
    pub const fn orphan(&self) -> &Orphan {
        &self.orphan
    }

    /// Reads it after an entry.
    ///
    /// # Errors
    /// [`JournalError::Io`] when its file cannot be opened.
    pub fn reader(self: &Arc<Self>, after: Sequence) -> Result<ArchiveReader, JournalError> {
        let file = self
            .disk
            .open(&self.path)
            .map_err(|source| JournalError::io("could not be opened", &self.path, source))?;
        let before = |place: &&Place| place.at.map_or(Sequence::NONE, |at| at.sequence) <= after;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.iter().rev().find(before).cloned();
        drop(places);
        Ok(ArchiveReader {
            archive: Arc::clone(self),
            file,
            place: place.unwrap_or(BEGINNING),
            after,
        })
    }

    /// The chain head at an entry from the fork on; nothing where the entry is not in here.
    ///
    /// # Errors
    /// [`JournalError::Orphan`] when the archive is damaged.
    pub fn head_at(
        self: &Arc<Self>,
        sequence: Sequence,
    ) -> Result<Option<ChainHead>, JournalError> {
        let Orphan { fork, last, .. } = self.orphan;
        if let Some(known) = [fork, last].iter().find(|known| known.sequence == sequence) {
            return Ok(Some(known.head));
        }
        if sequence < fork.sequence || sequence > last.sequence {
            return Ok(None);
        }
        let bundles = self.reader(sequence.before())?.next_bundles(0)?;
        match bundles.first() {
            Some(bundle) => Ok(bundle.head_at(sequence)?),
            None => Ok(None),
        }
    }

    fn damaged(&self, offset: u64, reason: impl std::fmt::Display) -> JournalError {
        JournalError::Orphan {
            path: self.path.clone(),
            reason: format!("at byte {offset}, {reason}"),
        }
    }

    fn remember(&self, place: &Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let last = places.last().map_or(0, |last| last.offset);
        if place.offset >= last + PLACE_BYTES {
            places.push(place.clone());
        }
    }
}

/// Somebody who reads an archive.
#[derive(Debug)]
pub struct ArchiveReader {
    archive: Arc<Archive>,
    file: Arc<dyn DiskFile>,
    place: Place,
    /// The last entry that is not wanted.
    after: Sequence,
}

impl ArchiveReader {
    /// The archive.
    pub const fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// The next whole bundles, of about so many bytes, at least one; nothing at the end.
    ///
    /// # Errors
    /// [`JournalError::Orphan`] when what stands there is not what the archive was made of, or it ends too early;
    /// [`JournalError::Io`] when the disk refuses.
    pub fn next_bundles(&mut self, bytes_max: usize) -> Result<Vec<StoredBundle>, JournalError> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.is_empty() || bytes < bytes_max {
            let Some(bundle) = self.next_bundle()? else {
                break;
            };
            if bundle.header.last() <= self.after {
                continue;
            }
            bytes += bundle.bytes.len();
            found.push(bundle);
        }
        Ok(found)
    }

    fn read(&self, count: usize, offset: u64) -> Result<Vec<u8>, JournalError> {
        let path = &self.archive.path;
        self.file
            .read(count, offset)
            .map_err(|source| JournalError::io("could not be read", path, source))
    }

    fn next_bundle(&mut self) -> Result<Option<StoredBundle>, JournalError> {
        let last = self.archive.orphan.last;
        if self.place.at.is_some_and(|at| at.sequence >= last.sequence) {
            return Ok(None);
        }
        let mut head = self.read(BUNDLE_HEADER_BYTES, self.place.offset)?;
        if ReceiverHeader::begins(&head) {
            self.take_header()?;
            head = self.read(BUNDLE_HEADER_BYTES, self.place.offset)?;
        }
        let offset = self.place.offset;
        let damaged = |reason: &dyn std::fmt::Display| self.archive.damaged(offset, reason);
        let receiver = self
            .place
            .receiver
            .clone()
            .ok_or_else(|| damaged(&"no receiver begins"))?;
        let header = BundleHeader::read(&head, receiver.receiver).map_err(|e| damaged(&e))?;
        let bytes = Bytes::from(self.read(header.length as usize, offset)?);
        let bundle = codec::open(bytes.clone(), receiver.receiver).map_err(|e| damaged(&e))?;
        self.require_follows(&bundle)?;
        self.place = Place {
            offset: offset + u64::from(header.length),
            at: Some(bundle.last()),
            receiver: Some(Arc::clone(&receiver)),
        };
        self.archive.remember(&self.place);
        Ok(Some(StoredBundle {
            receiver,
            header,
            bytes,
        }))
    }

    /// A receiver begins here: it must be of this journal, and join what stands before.
    fn take_header(&mut self) -> Result<(), JournalError> {
        let offset = self.place.offset;
        let bytes = self.read(RECEIVER_HEADER_BYTES, offset)?;
        let header =
            ReceiverHeader::decode(&bytes).map_err(|error| self.archive.damaged(offset, error))?;
        let joins = self.place.at.is_none_or(|at| at == header.before);
        if header.journal != self.archive.orphan.journal || !joins {
            let reason = format!("receiver {} does not belong there", header.name);
            return Err(self.archive.damaged(offset, reason));
        }
        self.place = Place {
            offset: offset + RECEIVER_HEADER_BYTES as u64,
            receiver: Some(Arc::new(header)),
            ..self.place
        };
        Ok(())
    }

    /// A bundle must go on from the one before it; the first must hold or follow the fork, and the last end where the
    /// manifest says.
    fn require_follows(&self, bundle: &SealedBundle) -> Result<(), JournalError> {
        let Orphan { fork, last, .. } = self.archive.orphan;
        let before = bundle.before();
        let joins = match self.place.at {
            Some(at) => before == at,
            None if before.sequence >= fork.sequence => before == fork,
            None => head_in(bundle, fork.sequence) == Some(fork.head),
        };
        if !joins {
            let reason = format!(
                "entry {} does not follow on what stands before it",
                bundle.header().first
            );
            return Err(self.archive.damaged(self.place.offset, reason));
        }
        let end = bundle.last();
        if end.sequence >= last.sequence && end != last {
            let reason = format!(
                "it ends with entry {} and another history than its manifest says, which ends with entry {}",
                end.sequence, last.sequence
            );
            return Err(self.archive.damaged(self.place.offset, reason));
        }
        Ok(())
    }
}

fn head_in(bundle: &SealedBundle, sequence: Sequence) -> Option<ChainHead> {
    let mut head = bundle.before().head;
    for view in bundle.entries() {
        let view = view.ok()?;
        head = head.extend(&view.leaf());
        if view.sequence == sequence {
            return Some(head);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;
    use crate::entry::codec::{Seal, encode_entry, seal};
    use crate::entry::{
        Alignment, Draft, Epoch, GroupId, JournalId, Kind, ReceiverId, SystemId, THRESHOLD_MIN,
        Timestamp,
    };

    const DIR: &str = "journals/one";
    const JOURNAL: JournalId = JournalId::from_bytes([7; 16]);

    fn header(number: u8, before: Position) -> ReceiverHeader {
        ReceiverHeader {
            alignment: Alignment::Packed,
            threshold: THRESHOLD_MIN,
            receiver: ReceiverId::from_bytes([number; 16]),
            journal: JOURNAL,
            group: GroupId::from(JOURNAL),
            previous: ReceiverId::NONE,
            origin: SystemId::from_bytes([3; 16]),
            before,
            name: "LIB/RCV".parse().unwrap(),
            journal_name: "LIB/JRN".parse().unwrap(),
            origin_name: "PRD".parse().unwrap(),
        }
    }

    fn bundle(receiver: &ReceiverHeader, before: Position, text: &str) -> SealedBundle {
        let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
        let mut sequence = before.sequence;
        for half in [text, "and more"] {
            sequence = sequence.next();
            let draft = Draft::new(Kind::USER, half.as_bytes());
            encode_entry(&mut buffer, &draft, sequence, Timestamp::ZERO, None, None);
        }
        let seal_as = Seal {
            receiver: receiver.receiver,
            offset: 0,
            align: 8,
            epoch: Epoch::NONE,
            before,
            durable_upto: before.sequence,
        };
        seal(buffer, 2, &seal_as)
    }

    /// An archive of four bundles in two receivers, the first of which begins before the fork; gives its bytes, where each
    /// of its bundles begins, and the positions after them.
    fn made() -> (Orphan, Vec<u8>, Vec<usize>, Vec<Position>) {
        let genesis = Position {
            sequence: Sequence::new(10),
            head: ChainHead::genesis(JOURNAL),
        };
        let (mut bytes, mut begins, mut ends) = (Vec::new(), Vec::new(), vec![genesis]);
        let mut receiver = header(1, genesis);
        for number in 0..4 {
            let before = *ends.last().unwrap();
            if number % 2 == 0 {
                receiver = header(number + 1, before);
                bytes.extend(receiver.encode());
            }
            let sealed = bundle(&receiver, before, &format!("bundle {number}"));
            begins.push(bytes.len());
            bytes.extend_from_slice(sealed.bytes());
            ends.push(sealed.last());
        }
        let first = bundle(&header(1, genesis), genesis, "bundle 0");
        let fork = Position {
            sequence: Sequence::new(11),
            head: head_in(&first, Sequence::new(11)).unwrap(),
        };
        let orphan = Orphan {
            number: 1,
            journal: JOURNAL,
            name: "LIB/JRN".parse().unwrap(),
            fork,
            last: ends[4],
            epochs: (Epoch::NONE, Epoch::NONE),
            entries: 7,
            transactions: Some(0),
            bytes: 1,
            archived_at: Timestamp::ZERO,
            reason: "a test".to_owned(),
            file: "../elsewhere".into(),
        };
        (orphan, bytes, begins, ends)
    }

    fn found(orphan: &Orphan, bytes: &[u8]) -> Arc<Archive> {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let path = Path::new(DIR).join(orphan::entries_file(1));
        disk.create_dir(path.parent().unwrap()).unwrap();
        disk.create(&path).unwrap().write_at(bytes, 0).unwrap();
        Arc::new(Archive {
            disk,
            path,
            orphan: orphan.clone(),
            places: Mutex::new(vec![BEGINNING]),
        })
    }

    fn read(archive: &Arc<Archive>, after: u64) -> Result<Vec<Sequence>, JournalError> {
        let mut reader = archive.reader(Sequence::new(after))?;
        let mut lasts = Vec::new();
        loop {
            let bundles = reader.next_bundles(1)?;
            if bundles.is_empty() {
                return Ok(lasts);
            }
            lasts.extend(bundles.iter().map(|bundle| bundle.header.last()));
        }
    }

    #[test]
    fn an_archive_is_read_in_order_from_anywhere() {
        let (orphan, bytes, _, ends) = made();
        let archive = found(&orphan, &bytes);
        let all: Vec<Sequence> = ends[1..].iter().map(|end| end.sequence).collect();
        assert_eq!(read(&archive, 11).unwrap(), all);
        assert_eq!(read(&archive, 14).unwrap(), all[2..]);
        assert_eq!(read(&archive, 18).unwrap(), []);
        for end in &ends[1..] {
            assert_eq!(archive.head_at(end.sequence).unwrap(), Some(end.head));
        }
        assert_eq!(
            archive.head_at(orphan.fork.sequence).unwrap(),
            Some(orphan.fork.head)
        );
        assert_eq!(archive.head_at(Sequence::new(10)).unwrap(), None);
        assert_eq!(archive.head_at(Sequence::new(19)).unwrap(), None);
    }

    #[test]
    fn a_reader_that_comes_later_does_not_read_what_stands_before_its_place() {
        let (orphan, bytes, begins, ends) = made();
        let archive = found(&orphan, &bytes);
        let third = Place {
            offset: begins[3] as u64,
            at: Some(ends[3]),
            receiver: Some(Arc::new(header(3, ends[2]))),
        };
        archive.places.lock().unwrap().push(third);
        let reader = archive.reader(ends[3].sequence).unwrap();
        assert_eq!(reader.place.offset, begins[3] as u64);
        assert_eq!(read(&archive, ends[3].sequence.get()).unwrap().len(), 1);
    }

    /// Every byte that is read counts, and the file is named.
    #[test]
    fn a_damaged_archive_is_named_and_gives_nothing_behind_the_damage() {
        let (orphan, bytes, begins, _) = made();
        for at in [
            4,
            begins[0] + 200,
            begins[1] + 20,
            begins[2] - 8,
            begins[3] + 60,
        ] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let error = read(&found(&orphan, &damaged), 11).unwrap_err().to_string();
            assert!(error.contains("orphan000001.entries"), "{at}: {error}");
            assert!(error.contains("at byte "), "{at}: {error}");
        }
        let error = read(&found(&orphan, &bytes[..begins[3] + 40]), 11).unwrap_err();
        assert!(matches!(error, JournalError::Orphan { .. }), "{error}");
    }

    #[test]
    fn an_archive_of_another_history_than_its_manifest_says_is_refused() {
        let (orphan, bytes, begins, _) = made();
        let wrong = ChainHead::from_bytes([9; 32]);
        let fork = Position {
            head: wrong,
            ..orphan.fork
        };
        let last = Position {
            head: wrong,
            ..orphan.last
        };
        let others = [
            Orphan {
                fork,
                ..orphan.clone()
            },
            Orphan {
                last,
                ..orphan.clone()
            },
            Orphan {
                journal: JournalId::from_bytes([8; 16]),
                ..orphan.clone()
            },
        ];
        for other in others {
            assert!(read(&found(&other, &bytes), 11).is_err(), "{other:?}");
        }
        assert!(read(&found(&orphan, &bytes), 11).is_ok());
        // A bundle in the middle is missing.
        let without = [
            &bytes[..begins[1]],
            &bytes[begins[2] - RECEIVER_HEADER_BYTES..],
        ]
        .concat();
        assert!(read(&found(&orphan, &without), 11).is_err());
    }
}
