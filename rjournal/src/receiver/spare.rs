//! Room `receiver`: the next receiver's file, made ready one ahead in the background: filled with zeros, or only reserved.
//! Until its header is written it is nobody's. Must not know when it will be used.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::file::file_name;
use crate::disk::{Disk, DiskFile, fill_with_zeros};
use crate::error::ReceiverError;

/// How space in a receiver's file is made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// Zeros are written: a flush into it changes no metadata, which halves its time (performance.md section 2).
    Zeroed,
    /// It is only reserved, which is done at once: for a copy that catches up and flushes much at a time, where writing
    /// everything twice costs more than metadata.
    Reserved,
}

/// Whether the next file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpareState {
    /// Nobody has begun.
    Missing,
    /// Someone is filling it.
    Filling,
    /// It is ready, with this many bytes.
    Ready(u64),
    /// The last attempt went wrong.
    Refused,
}

#[derive(Debug)]
pub(super) struct Spare {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    pub(super) space: Space,
}

#[derive(Debug)]
struct Slot {
    state: SpareState,
    next_number: u64,
    ready: Option<Spare>,
}

/// Where the next file is made ready; clones share it, so that another thread can fill it.
#[derive(Debug, Clone)]
pub struct SpareSlot {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    slot: Arc<Mutex<Slot>>,
    /// Rings when nobody fills it any more.
    done: Arc<Condvar>,
}

impl SpareSlot {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path, next_number: u64) -> Self {
        let slot = Slot {
            state: SpareState::Missing,
            next_number,
            ready: None,
        };
        Self {
            disk,
            dir: dir.into(),
            slot: Arc::new(Mutex::new(slot)),
            done: Arc::new(Condvar::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the next file is ready.
    pub fn state(&self) -> SpareState {
        self.lock().state
    }

    /// Makes a file of `bytes` bytes that read as zeros ready, unless one is ready or on its way. Takes as long as the disk
    /// takes.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses; nothing is left behind then, and it may be tried again.
    pub fn prepare(&self, bytes: u64, space: Space) -> Result<(), ReceiverError> {
        let number = {
            let mut slot = self.lock();
            if matches!(slot.state, SpareState::Filling | SpareState::Ready(_)) {
                return Ok(());
            }
            slot.state = SpareState::Filling;
            slot.next_number += 1;
            slot.next_number - 1
        };
        let path = self.dir.join(file_name(number));
        let filled = self.fill(&path, bytes, space);
        let mut slot = self.lock();
        self.done.notify_all();
        match filled {
            Ok(file) => {
                slot.ready = Some(Spare {
                    number,
                    path,
                    file,
                    bytes,
                    space,
                });
                slot.state = SpareState::Ready(bytes);
                Ok(())
            }
            Err(source) => {
                slot.state = SpareState::Refused;
                drop(slot);
                // What is left of it is no receiver; opening removes it if this cannot.
                drop(self.disk.remove(&path));
                Err(ReceiverError::io("could not be made ready", path, source))
            }
        }
    }

    fn fill(&self, path: &Path, bytes: u64, space: Space) -> std::io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(path)?;
        match space {
            Space::Zeroed => fill_with_zeros(&*file, 0, bytes)?,
            Space::Reserved => {
                file.reserve(bytes)?;
                file.sync()?;
            }
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Takes the ready file. One that somebody fills is waited for; where there is none it is made now.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub(super) fn take(&self, bytes: u64, space: Space) -> Result<Spare, ReceiverError> {
        loop {
            {
                let mut slot = self
                    .done
                    .wait_while(self.lock(), |slot| slot.state == SpareState::Filling)
                    .unwrap_or_else(PoisonError::into_inner);
                if let Some(spare) = slot.ready.take() {
                    slot.state = SpareState::Missing;
                    return Ok(spare);
                }
            }
            self.prepare(bytes, space)?;
        }
    }
}
