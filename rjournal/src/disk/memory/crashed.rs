//! Room `disk`, in memory: what a loss of power leaves on the medium, torn as a seed says, and the disk that starts from it.
//! Must not change the running disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::medium::{Inode, NameChange, Pending, State};
use super::running::MemoryDisk;

/// Unsynced writes survive or vanish in pieces of this many bytes.
const SECTOR_BYTES: usize = 512;

/// What is on a medium after power was lost: reopen it with [`CrashedDisk::power_on`].
#[derive(Debug, Clone)]
pub struct CrashedDisk {
    files: BTreeMap<PathBuf, Vec<u8>>,
    dirs: BTreeSet<PathBuf>,
}

impl CrashedDisk {
    /// A running disk with this content, all of it durable.
    pub fn power_on(&self) -> MemoryDisk {
        let mut state = State {
            dirs: self.dirs.clone(),
            ..State::default()
        };
        for (path, content) in &self.files {
            let number = state.inodes.len();
            state.inodes.push(Inode {
                durable: content.clone(),
                cached: content.clone(),
                pending: Vec::new(),
            });
            state.names.insert(path.clone(), number);
            state.durable_names.insert(path.clone(), number);
        }
        MemoryDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Flips bits of one byte: rot on the medium. Does nothing outside a file.
    pub fn flip(&mut self, path: &Path, offset: u64, bits: u8) {
        let byte = self
            .files
            .get_mut(path)
            .and_then(|file| file.get_mut(offset as usize));
        if let Some(byte) = byte {
            *byte ^= bits;
        }
    }

    /// Puts bytes down at an offset of a file: a write that went to the wrong place. Does nothing outside a file.
    pub fn overwrite(&mut self, path: &Path, offset: usize, bytes: &[u8]) {
        let place = self
            .files
            .get_mut(path)
            .and_then(|file| file.get_mut(offset..offset + bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    /// Replaces a file, or makes one, as a hand would.
    pub fn put(&mut self, path: &Path, content: Vec<u8>) {
        self.files.insert(path.to_path_buf(), content);
    }

    /// Takes a file away, as a hand would.
    pub fn remove(&mut self, path: &Path) {
        self.files.remove(path);
    }

    /// Cuts a file to a length, as a hand would.
    pub fn cut(&mut self, path: &Path, length: usize) {
        if let Some(file) = self.files.get_mut(path) {
            file.truncate(length);
        }
    }

    /// Paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Content of a file.
    pub fn content(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }
}

impl MemoryDisk {
    /// What is on the medium when power is lost now. Of what was not synced, a subset drawn from `seed`: writes in pieces
    /// of 512 bytes, in any order, and for each directory a prefix of its changes. The running disk is not touched.
    pub fn crash(&self, seed: u64) -> CrashedDisk {
        let state = self.lock();
        let mut draw = Draw(seed);
        let mut names = state.durable_names.clone();
        for changes in state.pending_names.values() {
            let kept = draw.below(changes.len() as u64 + 1) as usize;
            for change in changes.iter().take(kept) {
                match change {
                    NameChange::Add(path, inode) => names.insert(path.clone(), *inode),
                    NameChange::Remove(path) => names.remove(path),
                };
            }
        }
        let files = names
            .iter()
            .filter_map(|(path, number)| {
                Some((path.clone(), torn(state.inodes.get(*number)?, &mut draw)))
            })
            .collect();
        CrashedDisk {
            files,
            dirs: state.dirs.clone(),
        }
    }

    /// What is on the medium when power is lost now and nothing survives that was not synced.
    pub fn crash_to_synced(&self) -> CrashedDisk {
        let state = self.lock();
        state.medium(&state.durable_names, |inode| &inode.durable)
    }

    /// A copy of the medium as it is now, everything written included: a clean stop, or a snapshot taken of a machine.
    pub fn image(&self) -> CrashedDisk {
        let state = self.lock();
        state.medium(&state.names, |inode| &inode.cached)
    }
}

impl State {
    /// A medium with these names, and of each file this content.
    fn medium(
        &self,
        names: &BTreeMap<PathBuf, usize>,
        content: fn(&Inode) -> &Vec<u8>,
    ) -> CrashedDisk {
        let file = |(path, number): (&PathBuf, &usize)| {
            let inode = self.inodes.get(*number)?;
            Some((path.clone(), content(inode).clone()))
        };
        CrashedDisk {
            files: names.iter().filter_map(file).collect(),
            dirs: self.dirs.clone(),
        }
    }
}

/// What is on the medium of one file after a crash.
fn torn(inode: &Inode, draw: &mut Draw) -> Vec<u8> {
    let mut content = inode.durable.clone();
    let all_or_some = draw.below(4);
    for change in &inode.pending {
        match change {
            Pending::Length(_) if draw.below(2) == 0 => Inode::apply(&mut content, change),
            Pending::Length(_) => {}
            Pending::Write { offset, bytes } => {
                for (index, piece) in sectors(*offset, bytes) {
                    let keep = match all_or_some {
                        0 => true,
                        1 => false,
                        _ => draw.below(2) == 0,
                    };
                    if keep {
                        Inode::apply(
                            &mut content,
                            &Pending::Write {
                                offset: index,
                                bytes: piece.to_vec(),
                            },
                        );
                    }
                }
            }
        }
    }
    content
}

/// Cuts a write at the sector boundaries of the medium.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = offset;
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let count = (SECTOR_BYTES - at % SECTOR_BYTES).min(rest.len());
        let (piece, left) = rest.split_at(count);
        let start = at;
        at += count;
        rest = left;
        (!piece.is_empty()).then_some((start, piece))
    })
}

/// A small generator of repeatable numbers (splitmix64); not for anything secret.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
