//! Room `receiver`: reading the receivers of one journal while they grow. A reader is told how far it may read and never
//! repairs anything. Must not know who writes, or what the entries mean.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::file::{Found, Window, file_name};
use super::index::Index;
use super::record::ReceiverRecord;
use crate::disk::{Disk, DiskFile};
use crate::entry::codec::Entries;
use crate::entry::{
    BundleHeader, ChainHead, CodecError, Position, RECEIVER_HEADER_BYTES, ReceiverHeader,
    ReceiverId, Sequence, Timestamp,
};
use crate::error::ReceiverError;

/// A bundle as it was read back: header and checksum are checked, its entries are not.
#[derive(Debug, Clone)]
pub struct StoredBundle {
    /// Header of the receiver it stands in.
    pub receiver: Arc<ReceiverHeader>,
    /// Its own header.
    pub header: BundleHeader,
    /// All its bytes.
    pub bytes: Bytes,
}

impl StoredBundle {
    /// Whether it is the first of its receiver: the receiver's header travels before it.
    pub const fn begins_receiver(&self) -> bool {
        self.header.offset == RECEIVER_HEADER_BYTES as u64
    }

    /// Its entries in order.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.bytes, &self.header)
    }

    /// The chain head at one of its entries; nothing when it is not in here.
    ///
    /// # Errors
    /// [`ReceiverError::Corrupt`] when an entry cannot be read.
    pub fn head_at(&self, sequence: Sequence) -> Result<Option<ChainHead>, ReceiverError> {
        let mut head = self.header.head_before;
        for view in self.entries() {
            let view = view.map_err(|found| ReceiverError::Corrupt {
                receiver: self.receiver.name,
                offset: self.header.offset,
                expected: self.header.first,
                found,
                known: self.header.last(),
            })?;
            head = head.extend(&view.leaf());
            if view.sequence == sequence {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }
}

/// One receiver as writer and readers share it.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) header: Arc<ReceiverHeader>,
    pub(super) number: u64,
    pub(super) attached_at: Timestamp,
    state: Mutex<ReceiverState>,
}

#[derive(Debug)]
pub(super) struct ReceiverState {
    /// Byte behind the last bundle written.
    pub(super) end: u64,
    /// Last entry written.
    pub(super) last: Position,
    pub(super) detached_at: Option<Timestamp>,
    pub(super) saved: bool,
    /// Its file was looked at since it was detached: it is no longer than what is in it.
    pub(super) trimmed: bool,
    pub(super) index: Index,
    /// Kept open while it is attached.
    pub(super) file: Option<Arc<dyn DiskFile>>,
}

impl Receiver {
    pub(super) fn new(
        header: ReceiverHeader,
        number: u64,
        attached_at: Timestamp,
        end: u64,
        last: Position,
    ) -> Self {
        let state = ReceiverState {
            end,
            last,
            detached_at: None,
            saved: false,
            trimmed: false,
            index: Index::default(),
            file: None,
        };
        Self {
            header: Arc::new(header),
            number,
            attached_at,
            state: Mutex::new(state),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ReceiverState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self) -> ReceiverRecord {
        let state = self.lock();
        ReceiverRecord {
            receiver: self.header.receiver,
            name: self.header.name,
            file: self.number,
            before: self.header.before,
            last: state.detached_at.map(|_| state.last),
            bytes: state.end,
            attached_at: self.attached_at,
            detached_at: state.detached_at,
            saved: state.saved,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) genesis: ChainHead,
    receivers: RwLock<Vec<Arc<Receiver>>>,
}

impl Shared {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        genesis: ChainHead,
        receivers: Vec<Arc<Receiver>>,
    ) -> Self {
        Self {
            disk,
            dir,
            genesis,
            receivers: RwLock::new(receivers),
        }
    }

    pub(super) fn receivers(&self) -> RwLockReadGuard<'_, Vec<Arc<Receiver>>> {
        self.receivers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn receivers_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Receiver>>> {
        self.receivers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.dir.join(file_name(number))
    }

    fn window(&self, receiver: &Receiver) -> Result<Window, ReceiverError> {
        let path = self.path(receiver.number);
        let kept = receiver.lock().file.clone();
        let file = match kept {
            Some(file) => file,
            None => self
                .disk
                .open(&path)
                .map_err(|source| ReceiverError::io("could not be opened", &path, source))?,
        };
        Ok(Window::new(file, path, receiver.header.receiver))
    }
}

/// Reads bundles, positions and headers of one journal's receivers; clones are cheap.
#[derive(Debug, Clone)]
pub struct ChainReader {
    pub(super) shared: Arc<Shared>,
}

impl ChainReader {
    /// The position before the oldest entry that is here.
    pub fn oldest(&self) -> Position {
        let receivers = self.shared.receivers();
        let genesis = Position {
            sequence: Sequence::NONE,
            head: self.shared.genesis,
        };
        receivers
            .first()
            .map_or(genesis, |receiver| receiver.header.before)
    }

    /// The last entry written.
    pub fn tip(&self) -> Position {
        let last = self.shared.receivers().last().cloned();
        last.map_or_else(|| self.oldest(), |receiver| receiver.lock().last)
    }

    /// The receiver directory, oldest first.
    pub fn records(&self) -> Vec<ReceiverRecord> {
        self.shared
            .receivers()
            .iter()
            .map(|receiver| receiver.record())
            .collect()
    }

    /// The header of a receiver that is here.
    pub fn header(&self, receiver: ReceiverId) -> Option<Arc<ReceiverHeader>> {
        let receivers = self.shared.receivers();
        receivers
            .iter()
            .find(|r| r.header.receiver == receiver)
            .map(|r| Arc::clone(&r.header))
    }

    /// Header of the attached receiver.
    pub fn attached(&self) -> Option<Arc<ReceiverHeader>> {
        self.shared
            .receivers()
            .last()
            .map(|receiver| Arc::clone(&receiver.header))
    }

    /// Paths of the receivers' files, relative to the disk's root, oldest first.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.shared
            .receivers()
            .iter()
            .map(|receiver| self.shared.path(receiver.number))
            .collect()
    }

    /// The receiver that holds the entry after `after`.
    pub(super) fn receiver_after(&self, after: Sequence) -> Option<Arc<Receiver>> {
        let receivers = self.shared.receivers();
        let behind = receivers.partition_point(|receiver| receiver.header.before.sequence <= after);
        receivers.get(behind.checked_sub(1)?).cloned()
    }

    /// How many bytes of bundles are written after an entry, from memory: at most the distance of two marks of the index
    /// too many. `place`, a receiver and a byte of it at or before the entry, makes it more exact.
    pub fn bytes_after(&self, after: Sequence, place: Option<(ReceiverId, u64)>) -> u64 {
        const HEADER: u64 = RECEIVER_HEADER_BYTES as u64;
        let receivers = self.shared.receivers();
        let behind = receivers.partition_point(|receiver| receiver.header.before.sequence <= after);
        let mut holding = receivers.iter().skip(behind.saturating_sub(1));
        let first = holding.next().map_or(0, |receiver| {
            let state = receiver.lock();
            let known = place
                .filter(|(found, _)| *found == receiver.header.receiver)
                .map(|(_, offset)| offset);
            let from = state.index.start_for(after.next()).max(known);
            state.end.saturating_sub(from.unwrap_or(HEADER))
        });
        let later: u64 = holding
            .map(|receiver| receiver.lock().end.saturating_sub(HEADER))
            .sum();
        first + later
    }

    /// Whole bundles holding the entries after `after` up to `upto`, all from one receiver, as many as fit into
    /// `bytes_max` but at least one. The first may begin at or before `after`. Nothing when there is nothing after it.
    ///
    /// # Errors
    /// [`ReceiverError::NotHere`] when the entry was deleted; [`ReceiverError::Corrupt`] when a bundle in the range is
    /// damaged; `Io` when the medium cannot be read.
    pub fn bundles_after(
        &self,
        after: Sequence,
        upto: Sequence,
        bytes_max: usize,
    ) -> Result<Vec<StoredBundle>, ReceiverError> {
        if after >= upto {
            return Ok(Vec::new());
        }
        let Some(receiver) = self.receiver_after(after) else {
            let (oldest, last) = (self.oldest().sequence.next(), self.tip().sequence);
            return Err(ReceiverError::NotHere {
                wanted: after.next(),
                oldest,
                last,
            });
        };
        let (mut at, end) = {
            let state = receiver.lock();
            (
                state
                    .index
                    .start_for(after.next())
                    .unwrap_or(RECEIVER_HEADER_BYTES as u64),
                state.end,
            )
        };
        let mut window = self.shared.window(&receiver)?;
        let mut found: Vec<StoredBundle> = Vec::new();
        let mut room = bytes_max;
        while at < end {
            let header = match window.header_at(at)? {
                Ok(header) => header,
                Err(error) => return Err(self.damage(&receiver, at, error)),
            };
            receiver.lock().index.note(header.first, at);
            if header.last() > after {
                if header.last() > upto || (!found.is_empty() && header.length as usize > room) {
                    break;
                }
                match window.bundle_at(at)? {
                    Found::Bundle(header, bytes) => {
                        found.push(StoredBundle {
                            receiver: Arc::clone(&receiver.header),
                            header,
                            bytes,
                        });
                    }
                    Found::Nothing(error) => return Err(self.damage(&receiver, at, error)),
                }
                room = room.saturating_sub(header.length as usize);
            }
            at = header.end();
        }
        Ok(found)
    }

    fn damage(&self, receiver: &Receiver, offset: u64, found: CodecError) -> ReceiverError {
        // Before the lock is taken: the tip may be this receiver's.
        let tip = self.tip().sequence;
        let known = receiver.lock().last.sequence;
        ReceiverError::Corrupt {
            receiver: receiver.header.name,
            offset,
            expected: known.min(tip),
            found,
            known,
        }
    }

    /// The chain head at an entry, computed from the bundle that holds it; nothing when the entry is not here.
    ///
    /// # Errors
    /// As [`Self::bundles_after`].
    pub fn head_at(&self, sequence: Sequence) -> Result<Option<ChainHead>, ReceiverError> {
        let (oldest, tip) = (self.oldest(), self.tip());
        if sequence == oldest.sequence {
            return Ok(Some(oldest.head));
        }
        if sequence == tip.sequence {
            return Ok(Some(tip.head));
        }
        if sequence < oldest.sequence || sequence > tip.sequence {
            return Ok(None);
        }
        let bundles = self.bundles_after(sequence.before(), tip.sequence, 0)?;
        bundles
            .first()
            .map_or(Ok(None), |bundle| bundle.head_at(sequence))
    }

    /// The directory the receivers' files are in, relative to the disk's root.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }
}
