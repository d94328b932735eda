//! Room `disk`: a disk in memory that behaves like the worst real one. What was not synced may be lost at a crash, in
//! pieces and in any order, names included; a failed sync loses the pages while reads still show them and the next sync
//! succeeds (measured on ext4 and XFS, failures.md section 1 point 7). Must not know what the files hold.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile};

/// Unsynced writes survive or vanish in pieces of this many bytes.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct Inode {
    /// What the medium holds.
    durable: Vec<u8>,
    /// What reads show.
    cached: Vec<u8>,
    pending: Vec<Pending>,
}

impl Inode {
    fn apply(content: &mut Vec<u8>, change: &Pending) {
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
enum NameChange {
    Add(PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: BTreeMap<PathBuf, Vec<NameChange>>,
    dirs: BTreeSet<PathBuf>,
    syncs: u64,
    dies_at_sync: Option<u64>,
    dead: bool,
    fails_at_sync: Option<u64>,
    writes: u64,
    fails_at_write: Option<u64>,
    bytes_max: Option<u64>,
}

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.dead {
            Err(io::Error::other("the machine has lost power"))
        } else {
            Ok(())
        }
    }

    /// Counts a sync; says whether it takes effect.
    fn count_sync(&mut self) -> io::Result<()> {
        self.alive()?;
        self.syncs += 1;
        if self.dies_at_sync == Some(self.syncs) {
            self.dead = true;
        }
        self.alive()
    }

    fn used_bytes(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(*inode))
            .map(|inode| inode.cached.len() as u64)
            .sum()
    }

    fn change_name(&mut self, dir: &Path, change: NameChange) {
        match &change {
            NameChange::Add(path, inode) => self.names.insert(path.clone(), *inode),
            NameChange::Remove(path) => self.names.remove(path),
        };
        self.pending_names
            .entry(dir.to_path_buf())
            .or_default()
            .push(change);
    }

    fn inode(&mut self, number: usize) -> &mut Inode {
        self.inodes
            .get_mut(number)
            .expect("inode numbers are only handed out by create")
    }
}

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

/// A disk in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
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
        self.lock().fails_at_sync = Some(nth);
    }

    /// How many writes were asked for so far.
    pub fn writes(&self) -> u64 {
        self.lock().writes
    }

    /// The `nth` write from the start fails once, after half of its bytes.
    pub fn fail_write(&self, nth: u64) {
        self.lock().fails_at_write = Some(nth);
    }

    /// The disk holds this many bytes; writes beyond fail after filling it up.
    pub fn limit_bytes(&self, bytes_max: Option<u64>) {
        self.lock().bytes_max = bytes_max;
    }

    /// Bytes all files hold together.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// What is on the medium when power is lost now and nothing survives that was not synced.
    pub fn crash_to_synced(&self) -> CrashedDisk {
        let state = self.lock();
        let content = |number: &usize| state.inodes.get(*number).map(|inode| inode.durable.clone());
        let files = state
            .durable_names
            .iter()
            .filter_map(|(path, number)| Some((path.clone(), content(number)?)))
            .collect();
        CrashedDisk {
            files,
            dirs: state.dirs.clone(),
        }
    }

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

    /// A copy of the medium as it is now, everything written included: a clean stop, or a snapshot taken of a machine.
    pub fn image(&self) -> CrashedDisk {
        let state = self.lock();
        let content = |number: &usize| state.inodes.get(*number).map(|inode| inode.cached.clone());
        let files = state
            .names
            .iter()
            .filter_map(|(path, number)| Some((path.clone(), content(number)?)))
            .collect();
        CrashedDisk {
            files,
            dirs: state.dirs.clone(),
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
        let mut state = self.disk.lock();
        state.alive()?;
        let offset = offset as usize;
        let have = state.inode(self.number).cached.len();
        let grows = (offset + bytes.len()).saturating_sub(have) as u64;
        let free = state.bytes_max.map_or(u64::MAX, |bytes_max| {
            bytes_max.saturating_sub(state.used_bytes())
        });
        state.writes += 1;
        let fails = state.fails_at_write == Some(state.writes);
        let short = if fails {
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
        if fails {
            Err(io::Error::other("input/output error"))
        } else if short > 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.alive()?;
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
        let mut state = self.disk.lock();
        state.count_sync()?;
        let fails = state.fails_at_sync == Some(state.syncs);
        let inode = state.inode(self.number);
        let pending = std::mem::take(&mut inode.pending);
        if fails {
            return Err(io::Error::other("input/output error"));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_may_vanish() {
        let disk = MemoryDisk::new();
        let file = disk.create(&path("a")).unwrap();
        file.write_at(b"kept", 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_at(&[7; 4096], 4).unwrap();
        let mut lengths = BTreeSet::new();
        for seed in 0..40 {
            let after = disk.crash(seed);
            let content = after.content(&path("a")).unwrap();
            assert_eq!(&content[..4], b"kept");
            let written = content.iter().map(|byte| usize::from(*byte == 7));
            lengths.insert(written.sum::<usize>());
        }
        assert!(
            lengths.contains(&0) && lengths.contains(&4096) && lengths.len() > 4,
            "{lengths:?}"
        );
    }

    #[test]
    fn a_name_that_was_not_synced_may_vanish() {
        let disk = MemoryDisk::new();
        disk.create(&path("a")).unwrap().sync().unwrap();
        let kept = (0..20)
            .filter(|seed| disk.crash(*seed).content(&path("a")).is_some())
            .count();
        assert!((1..20).contains(&kept), "{kept}");
    }

    #[test]
    fn a_failed_sync_loses_the_pages_though_reads_show_them_and_the_next_sync_succeeds() {
        let disk = MemoryDisk::new();
        let file = disk.create(&path("a")).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        file.write_at(b"lost", 0).unwrap();
        disk.fail_sync(2);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        let mut bytes = [0; 4];
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 4);
        assert_eq!(&bytes, b"lost");
        file.drop_cache().unwrap();
        assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 0);
    }

    #[test]
    fn a_full_disk_takes_a_part_and_says_so() {
        let disk = MemoryDisk::new();
        disk.limit_bytes(Some(6));
        let file = disk.create(&path("a")).unwrap();
        let error = file.write_at(b"12345678", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.length().unwrap(), 6);
    }

    #[test]
    fn after_power_is_lost_nothing_works_until_it_is_back() {
        let disk = MemoryDisk::new();
        let file = disk.create(&path("a")).unwrap();
        disk.die_at_sync(1);
        assert!(file.sync().is_err());
        assert!(file.write_at(b"x", 0).is_err() && disk.open(&path("a")).is_err());
        assert!(disk.crash(1).power_on().list(Path::new("")).is_ok());
    }
}
