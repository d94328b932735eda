//! Room `receiver`: a repaired receiver is written beside the damaged one and takes its place. The damaged file is kept
//! aside, the repaired one is flushed and read back whole before one rename puts it in place: a crash at any step leaves
//! the old file or the repaired one under the receiver's name. What an interrupted repair leaves beside them, opening
//! removes. Must not know where the bytes come from; `damage` proves them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::damage::KnownHeader;
use super::file::file_name;
use super::survey::{Damaged, Expected, FileDamage, Forgiving, gaps_in, open_if_there};
use crate::disk::{Disk, DiskFile, fill_with_zeros};
use crate::entry::{QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader, SealedBundle};
use crate::error::ReceiverError;

/// Bytes are copied in pieces of this many.
const PIECE_BYTES: usize = 1024 * 1024;
/// What marks a damaged file that is kept.
pub(super) const KEPT_MARK: &str = ".damaged-";

/// A repaired receiver in the making.
#[derive(Debug)]
pub struct Patch {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    expected: Expected,
    known: KnownHeader,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    placed: AtomicBool,
}

impl Patch {
    /// Begins the repair of a receiver, in a file of its own.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses.
    pub fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        damaged: &Damaged,
    ) -> Result<Self, ReceiverError> {
        let path = dir
            .join(file_name(damaged.expected.record.file))
            .with_extension("repair");
        let file = fresh(&**disk, &path)?;
        Ok(Self {
            disk: Arc::clone(disk),
            dir: dir.to_path_buf(),
            expected: damaged.expected.clone(),
            known: damaged.known.clone(),
            file,
            path,
            placed: AtomicBool::new(false),
        })
    }

    /// The receiver.
    pub const fn name(&self) -> QualifiedName {
        self.expected.record.name
    }

    fn io(&self, action: &'static str) -> impl Fn(io::Error) -> ReceiverError + use<> {
        let path = self.path.clone();
        move |source| ReceiverError::io(action, &path, source)
    }

    /// Puts down a header that was proven.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses.
    pub fn put_header(&self, header: &ReceiverHeader) -> Result<(), ReceiverError> {
        self.file
            .write_at(&header.encode(), 0)
            .map_err(self.io("could not be written"))
    }

    /// Puts down a bundle at its own place.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses.
    pub fn put(&self, bundle: &SealedBundle) -> Result<(), ReceiverError> {
        self.file
            .write_at(bundle.bytes(), bundle.header().offset)
            .map_err(self.io("could not be written"))
    }

    /// Takes over everything else from the damaged file, flushes, and reads the whole file back from the medium.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses; [`ReceiverError::NotMended`] when it still does not hold.
    pub fn complete(&self, damaged: &Damaged, filled: &[(u64, u64)]) -> Result<(), ReceiverError> {
        let old_path = self.dir.join(file_name(self.expected.record.file));
        let old = open_if_there(&*self.disk, &old_path)?;
        let old_length = match &old {
            Some(old) => old
                .length()
                .map_err(|source| ReceiverError::io("could not be measured", &old_path, source))?,
            None => 0,
        };
        let header_bytes = RECEIVER_HEADER_BYTES as u64;
        let mut kept: Vec<(u64, u64)> = Vec::new();
        let mut at = match damaged.file {
            FileDamage::None => 0,
            FileDamage::Header(_) | FileDamage::Missing => header_bytes,
        };
        for (from, to) in filled {
            kept.push((at, *from));
            at = *to;
        }
        let reached = at.max(header_bytes).max(self.expected.record.bytes);
        kept.push((at, old_length));
        if let Some(old) = old {
            let old = Forgiving(old);
            for (from, to) in kept {
                self.copy(&old, from, to.min(old_length))?;
            }
        }
        let length = self
            .file
            .length()
            .map_err(self.io("could not be measured"))?;
        // A file that was gone is made as long as its last bundle needs; the attached one grows by itself.
        fill_with_zeros(&*self.file, length, reached).map_err(self.io("could not be written"))?;
        self.disk
            .sync_dir(&self.dir)
            .and_then(|()| self.file.drop_cache())
            .map_err(self.io("could not be flushed"))?;
        self.prove()
    }

    /// The file as it would be put in place must hold, header and all.
    fn prove(&self) -> Result<(), ReceiverError> {
        let not_mended = || ReceiverError::NotMended {
            receiver: self.name(),
        };
        let page = self
            .file
            .read(RECEIVER_HEADER_BYTES, 0)
            .map_err(self.io("could not be read"))?;
        if self.known.prove(&page).is_err() {
            return Err(not_mended());
        }
        let gaps = gaps_in(Arc::clone(&self.file), &self.path, &self.expected)?;
        if gaps.is_empty() {
            Ok(())
        } else {
            Err(not_mended())
        }
    }

    fn copy(&self, old: &dyn DiskFile, from: u64, to: u64) -> Result<(), ReceiverError> {
        copy(old, &*self.file, from, to).map_err(self.io("could not be written"))
    }

    /// Keeps the damaged file aside and puts the repaired one in its place. Gives the path of what is kept.
    ///
    /// # Errors
    /// [`ReceiverError::Io`] when the disk refuses; the old file or the repaired one stands in its place then.
    pub fn put_in_place(&self) -> Result<Option<PathBuf>, ReceiverError> {
        let path = self.dir.join(file_name(self.expected.record.file));
        let kept = match open_if_there(&*self.disk, &path)? {
            Some(old) => Some(self.keep_aside(&path, old)?),
            None => None,
        };
        self.disk
            .durable_rename(&self.path, &path)
            .map_err(self.io("could not be put in place"))?;
        self.placed.store(true, Ordering::Relaxed);
        Ok(kept)
    }

    fn keep_aside(&self, path: &Path, old: Arc<dyn DiskFile>) -> Result<PathBuf, ReceiverError> {
        let io = |source| ReceiverError::io("could not be kept aside", path, source);
        let names = self.disk.list(&self.dir).map_err(io)?;
        let free = (1_u32..).find_map(|number| {
            let name = path.with_extension(format!("{}{number}", &KEPT_MARK[1..]));
            let taken = names
                .iter()
                .any(|taken| name.file_name().is_some_and(|name| name == &**taken));
            (!taken).then_some(name)
        });
        let aside = free.unwrap_or_else(|| path.with_extension("damaged-0"));
        let keeping = path.with_extension("keeping");
        let copied = fresh(&*self.disk, &keeping)?;
        let length = old.length().map_err(io)?;
        copy(&Forgiving(old), &*copied, 0, length)
            .and_then(|()| copied.sync())
            .and_then(|()| self.disk.durable_rename(&keeping, &aside))
            .map_err(io)?;
        Ok(aside)
    }
}

impl Drop for Patch {
    /// Takes away what was begun and not put in place: the receiver stays as it was.
    fn drop(&mut self) {
        if !self.placed.load(Ordering::Relaxed) {
            // What this cannot remove, opening does.
            drop(self.disk.remove(&self.path));
        }
    }
}

/// Makes a file, in place of what an interrupted repair may have left.
fn fresh(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, ReceiverError> {
    match disk.remove(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(ReceiverError::io("could not be removed", path, source));
        }
        _ => {}
    }
    disk.create(path)
        .map_err(|source| ReceiverError::io("could not be made", path, source))
}

fn copy(from: &dyn DiskFile, to: &dyn DiskFile, begin: u64, end: u64) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = begin;
    while at < end {
        let count = usize::try_from(end - at)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let piece = piece.get_mut(..count).unwrap_or_default();
        let read = from.read_at(piece, at)?;
        if read == 0 {
            break;
        }
        to.write_at(piece.get(..read).unwrap_or_default(), at)?;
        at += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{CrashedDisk, MemoryDisk};
    use crate::entry::{Position, Sequence, Timestamp};
    use crate::receiver::damage::tests::{JOURNAL, header, history};
    use crate::receiver::file::file_number;
    use crate::receiver::{
        Chain, Ending, Evidence, Fill, Leftover, ReceiverRecord, expected_on_disk, survey,
    };

    const DIR: &str = "receivers";

    struct Stand {
        rotten: CrashedDisk,
        records: Vec<ReceiverRecord>,
        tip: Position,
        used: usize,
        truth: Vec<SealedBundle>,
    }

    fn file() -> PathBuf {
        Path::new(DIR).join(file_name(1))
    }

    fn stand() -> Stand {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new(DIR)).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let none = Evidence::default();
        let opened = Chain::open(shared, Path::new(DIR), JOURNAL, &[], none, &mut |_| {});
        let mut chain = opened.unwrap().chain;
        chain.attach(&header(), Timestamp::ZERO).unwrap();
        let truth = history(&["a", "b", "c", "d"]);
        for bundle in &truth {
            chain.write(bundle).unwrap();
        }
        chain.sync().unwrap();
        let (records, tip, used) = (chain.reader().records(), chain.tip(), chain.end() as usize);
        let mut rotten = disk.image();
        rotten.flip(&file(), 200, 4);
        rotten.flip(&file(), truth[1].header().offset + 150, 1);
        rotten.flip(&file(), truth[3].header().offset + 3, 1);
        Stand {
            rotten,
            records,
            tip,
            used,
            truth,
        }
    }

    fn repair(stand: &Stand, disk: &MemoryDisk) -> Result<Option<PathBuf>, ReceiverError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let dir = Path::new(DIR);
        let last = Ending::Open {
            known: stand.tip.sequence,
            mark: Some(stand.tip),
            sealed_here: false,
        };
        let expected = expected_on_disk(&disk, dir, JOURNAL, &stand.records, last)?;
        let damaged = survey(&disk, dir, JOURNAL, &expected, &|_| {})?.damaged;
        let Some(damaged) = damaged.first() else {
            return Ok(None);
        };
        let patch = Patch::begin(&disk, dir, damaged)?;
        patch.put_header(&header())?;
        let mut fill = Fill::new(damaged.expected.record.receiver, &damaged.gaps);
        while let Some((after, _)) = fill.wanted().unwrap() {
            let next = stand.truth.iter().find(|next| next.last().sequence > after);
            let (bundle, _) = fill.handle_bundle(next.unwrap().bytes().clone()).unwrap();
            patch.put(&bundle)?;
        }
        patch.complete(damaged, fill.filled().unwrap())?;
        patch.put_in_place()
    }

    fn open(stand: &Stand, disk: &MemoryDisk) -> Result<Vec<Leftover>, ReceiverError> {
        let evidence = Evidence {
            known: stand.tip.sequence,
            ..Evidence::default()
        };
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let dir = Path::new(DIR);
        Chain::open(disk, dir, JOURNAL, &stand.records, evidence, &mut |_| {})
            .map(|opened| opened.leftovers)
    }

    fn content(disk: &MemoryDisk, used: usize) -> Vec<u8> {
        let mut bytes = disk.image().content(&file()).unwrap().to_vec();
        bytes.truncate(used);
        bytes
    }

    #[test]
    fn a_crash_at_any_step_of_a_repair_leaves_the_old_file_or_the_repaired_one() {
        let stand = stand();
        let mut truth = header().encode();
        for bundle in &stand.truth {
            truth.extend_from_slice(bundle.bytes());
        }
        let old = content(&stand.rotten.clone().power_on(), stand.used);
        assert_ne!(old, truth);
        let mut finished = false;
        for cut in 1.. {
            let disk = stand.rotten.clone().power_on();
            disk.die_at_sync(cut);
            let repaired = repair(&stand, &disk);
            for seed in 0..6 {
                let after = disk.crash(seed).power_on();
                let found = content(&after, stand.used);
                assert!(found == old || found == truth, "cut {cut} seed {seed}");
                assert!(found == truth || repaired.is_err(), "cut {cut} seed {seed}");
                assert_eq!(open(&stand, &after).is_ok(), found == truth);
                repair(&stand, &after).unwrap();
                assert_eq!(content(&after, stand.used), truth);
                // What the interrupted one left is cleared away, what it kept stays.
                open(&stand, &after).unwrap();
                let names = after.list(Path::new(DIR)).unwrap();
                let ours = |name: &String| file_number(name).is_some() || name.contains(KEPT_MARK);
                assert!(names.iter().all(ours), "{names:?}");
                assert!(names.iter().any(|name| name.contains(KEPT_MARK)));
            }
            if repaired.is_ok() {
                finished = true;
                break;
            }
        }
        assert!(finished);
    }

    #[test]
    fn a_repaired_receiver_needs_no_further_repair_and_the_damaged_one_is_kept() {
        let stand = stand();
        let disk = stand.rotten.clone().power_on();
        assert!(matches!(
            open(&stand, &disk),
            Err(ReceiverError::Foreign { .. })
        ));
        let kept = repair(&stand, &disk).unwrap().unwrap();
        assert_eq!(kept, file().with_extension("damaged-1"));
        let again = repair(&stand, &disk).unwrap();
        assert_eq!(again, None);
    }

    /// Reading damage in the attached receiver once waited for its own lock, and the writer behind it.
    #[test]
    fn damage_in_the_attached_receiver_is_told_and_waits_for_nobody() {
        let stand = stand();
        let disk = stand.rotten.clone().power_on();
        repair(&stand, &disk).unwrap();
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (dir, evidence) = (Path::new(DIR), Evidence::default());
        let opened = Chain::open(shared, dir, JOURNAL, &stand.records, evidence, &mut |_| {});
        let reader = opened.unwrap().chain.reader();
        let at = stand.truth[1].header().offset;
        disk.open(&file()).unwrap().write_at(&[9; 8], at).unwrap();
        let found = reader.bundles_after(Sequence::new(2), stand.tip.sequence, 0);
        assert!(matches!(found, Err(ReceiverError::Corrupt { .. })));
    }
}
