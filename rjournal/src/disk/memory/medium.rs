//! Room `disk`, in memory: what the medium holds and what only the cache shows: files, names, and changes of both that are
//! not synced. Must not know who asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    /// What the medium holds.
    pub(super) durable: Vec<u8>,
    /// What reads show.
    pub(super) cached: Vec<u8>,
    pub(super) pending: Vec<Pending>,
}

impl Inode {
    pub(super) fn apply(content: &mut Vec<u8>, change: &Pending) {
        match change {
            Pending::Write { offset, bytes } => {
                if content.len() < *offset {
                    content.resize(*offset, 0);
                }
                let inside = bytes.len().min(content.len() - offset);
                let (over, behind) = bytes.split_at(inside);
                content[*offset..*offset + inside].copy_from_slice(over);
                content.extend_from_slice(behind);
            }
            Pending::Length(length) => content.resize(*length, 0),
        }
    }
}

#[derive(Debug, Clone)]
pub(super) enum NameChange {
    Add(PathBuf, usize),
    Remove(PathBuf),
}

/// Called before what changes the medium.
#[derive(Clone)]
pub(super) struct Witness(pub(super) Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) inodes: Vec<Inode>,
    pub(super) names: BTreeMap<PathBuf, usize>,
    pub(super) durable_names: BTreeMap<PathBuf, usize>,
    pub(super) pending_names: BTreeMap<PathBuf, Vec<NameChange>>,
    pub(super) dirs: BTreeSet<PathBuf>,
    pub(super) syncs: u64,
    pub(super) dies_at_sync: Option<u64>,
    pub(super) dead: bool,
    pub(super) fails_at_sync: Option<(u64, io::ErrorKind)>,
    pub(super) writes: u64,
    pub(super) fails_at_write: Option<(u64, io::ErrorKind)>,
    pub(super) unreadable: BTreeSet<usize>,
    pub(super) bytes_max: Option<u64>,
    pub(super) witness: Option<Witness>,
}

impl State {
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.dead {
            Err(io::Error::other("the machine has lost power"))
        } else {
            Ok(())
        }
    }

    /// The fault that was asked for, if this is the call it was asked for.
    pub(super) fn fault(asked: Option<(u64, io::ErrorKind)>, count: u64) -> Option<io::Error> {
        let (_, kind) = asked.filter(|(nth, _)| *nth == count)?;
        Some(match kind {
            io::ErrorKind::Other => io::Error::other("input/output error"),
            kind => kind.into(),
        })
    }

    /// Counts a sync; says whether it takes effect.
    pub(super) fn count_sync(&mut self) -> io::Result<()> {
        self.alive()?;
        self.syncs += 1;
        if self.dies_at_sync == Some(self.syncs) {
            self.dead = true;
        }
        self.alive()
    }

    pub(super) fn used_bytes(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(*inode))
            .map(|inode| inode.cached.len() as u64)
            .sum()
    }

    pub(super) fn change_name(&mut self, dir: &Path, change: NameChange) {
        match &change {
            NameChange::Add(path, inode) => self.names.insert(path.clone(), *inode),
            NameChange::Remove(path) => self.names.remove(path),
        };
        self.pending_names
            .entry(dir.to_path_buf())
            .or_default()
            .push(change);
    }

    pub(super) fn inode(&mut self, number: usize) -> &mut Inode {
        self.inodes
            .get_mut(number)
            .expect("inode numbers are only handed out by create")
    }
}
