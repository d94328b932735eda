//! Room `disk`, in memory: the running disk: names, files, syncs, and the faults a test asks for. Must not know what a loss of
//! power leaves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::medium::{Inode, NameChange, Pending, State, Witness};
use crate::disk::{Disk, DiskFile};

/// A disk in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    pub(super) state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many syncs of files and directories were asked for so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Power is lost right before the `nth` sync from the start takes effect; every call fails from then on.
    pub fn die_at_sync(&self, nth: u64) {
        self.lock().dies_at_sync = Some(nth);
    }

    /// Whether power was lost.
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// The `nth` sync from the start fails once, losing the pages it should have written.
    pub fn fail_sync(&self, nth: u64) {
        self.fail_sync_with(nth, io::ErrorKind::Other);
    }

    /// As [`Self::fail_sync`], with this error: a thin pool or a disk in the network is found full only when it is flushed.
    pub fn fail_sync_with(&self, nth: u64, kind: io::ErrorKind) {
        self.lock().fails_at_sync = Some((nth, kind));
    }

    /// How many writes were asked for so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The `nth` write from the start fails once, after half of its bytes.
    pub fn fail_write(&self, nth: u64) {
        self.fail_write_with(nth, io::ErrorKind::Other);
    }

    /// As [`Self::fail_write`], with this error.
    pub fn fail_write_with(&self, nth: u64, kind: io::ErrorKind) {
        self.lock().fails_at_write = Some((nth, kind));
    }

    /// Whenever something is written or synced from now on, this is called first, to look who holds what meanwhile.
    pub fn watch(&self, look: impl Fn() + Send + Sync + 'static) {
        self.lock().witness = Some(Witness(Arc::new(look)));
    }

    fn look(&self) {
        let witness = self.lock().witness.clone();
        if let Some(Witness(look)) = witness {
            look();
        }
    }

    /// Reading this file fails from now on, as where its blocks cannot be read any more.
    pub fn fail_reads(&self, path: &Path) {
        let mut state = self.lock();
        let number = state.names.get(path).copied();
        state.unreadable.extend(number);
    }

    /// The disk holds this many bytes; writes beyond fail after filling it up.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.lock().bytes_max = bytes_max;
    }

    /// Bytes all files hold together.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        for dir in path.ancestors() {
            state.dirs.insert(dir.to_path_buf());
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.alive()?;
        if !state.dirs.contains(dir) && dir != Path::new("") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(dir) && path.as_path() != dir;
        let mut names: Vec<String> = state
            .names
            .keys()
            .filter(inside)
            .chain(state.dirs.iter().filter(inside))
            .filter_map(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.alive()?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if !state.dirs.contains(&parent(path)) && parent(path) != Path::new("") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let number = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_name(&parent(path), NameChange::Add(path.to_path_buf(), number));
        Ok(Arc::new(MemoryFile {
            disk: self.clone(),
            number,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.lock();
        state.alive()?;
        match state.names.get(path) {
            Some(number) => Ok(Arc::new(MemoryFile {
                disk: self.clone(),
                number: *number,
            })),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(&parent(path), NameChange::Remove(path.to_path_buf()));
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        let inside: Vec<PathBuf> = state
            .names
            .keys()
            .filter(|name| name.starts_with(path))
            .cloned()
            .collect();
        for name in inside {
            state.change_name(&parent(&name), NameChange::Remove(name.clone()));
        }
        state.dirs.retain(|dir| !dir.starts_with(path));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.count_sync()?;
        if let Some(error) = State::fault(state.fails_at_sync, state.syncs) {
            return Err(error);
        }
        for change in state.pending_names.remove(dir).unwrap_or_default() {
            match change {
                NameChange::Add(path, inode) => state.durable_names.insert(path, inode),
                NameChange::Remove(path) => state.durable_names.remove(&path),
            };
        }
        Ok(())
    }

    fn durable_rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        {
            let mut state = self.lock();
            state.alive()?;
            let number = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
            // One change of the directory: a crash shows the name before or after, as a journaling file system does.
            state.names.remove(from);
            state.names.insert(to.to_path_buf(), number);
            let dir = parent(to);
            state
                .pending_names
                .entry(dir)
                .or_default()
                .push(NameChange::Add(to.to_path_buf(), number));
            state
                .pending_names
                .entry(parent(from))
                .or_default()
                .push(NameChange::Remove(from.to_path_buf()));
        }
        self.sync_dir(&parent(to))?;
        if parent(from) != parent(to) {
            self.sync_dir(&parent(from))?;
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.lock();
        Ok(state.bytes_max.map_or(u64::MAX, |bytes_max| {
            bytes_max.saturating_sub(state.used_bytes())
        }))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    number: usize,
}

impl DiskFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.disk.look();
        let mut state = self.disk.lock();
        state.alive()?;
        let offset = offset as usize;
        let have = state.inode(self.number).cached.len();
        let grows = (offset + bytes.len()).saturating_sub(have) as u64;
        let free = state.bytes_max.map_or(u64::MAX, |bytes_max| {
            bytes_max.saturating_sub(state.used_bytes())
        });
        state.writes += 1;
        let fails = State::fault(state.fails_at_write, state.writes);
        let short = if fails.is_some() {
            bytes.len() / 2
        } else {
            grows.saturating_sub(free) as usize
        };
        let written = bytes
            .get(..bytes.len().saturating_sub(short))
            .unwrap_or_default();
        let inode = state.inode(self.number);
        let change = Pending::Write {
            offset,
            bytes: written.to_vec(),
        };
        Inode::apply(&mut inode.cached, &change);
        inode.pending.push(change);
        if let Some(error) = fails {
            Err(error)
        } else if short > 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.alive()?;
        if state.unreadable.contains(&self.number) {
            return Err(rustix::io::Errno::IO.into());
        }
        let from = state
            .inode(self.number)
            .cached
            .get(offset as usize..)
            .unwrap_or_default();
        let count = from.len().min(bytes.len());
        bytes[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.look();
        let mut state = self.disk.lock();
        state.count_sync()?;
        let fails = State::fault(state.fails_at_sync, state.syncs);
        let inode = state.inode(self.number);
        let pending = std::mem::take(&mut inode.pending);
        if let Some(error) = fails {
            return Err(error);
        }
        for change in &pending {
            Inode::apply(&mut inode.durable, change);
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.alive()?;
        Ok(state.inode(self.number).cached.len() as u64)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.alive()?;
        let change = Pending::Length(length as usize);
        let inode = state.inode(self.number);
        Inode::apply(&mut inode.cached, &change);
        inode.pending.push(change);
        Ok(())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.alive()?;
        let grows = length.saturating_sub(state.inode(self.number).cached.len() as u64);
        let full = state
            .bytes_max
            .is_some_and(|bytes_max| state.used_bytes() + grows > bytes_max);
        if full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        drop(state);
        self.set_length(length)
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.alive()?;
        let inode = state.inode(self.number);
        if inode.pending.is_empty() {
            inode.cached = inode.durable.clone();
        }
        Ok(())
    }
}
