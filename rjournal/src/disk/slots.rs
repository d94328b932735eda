//! Room `disk`: a small file in two slots, each with a generation and a checksum, written in turn: a crash leaves the old or
//! the new content, and one rotten slot leaves the one before it (failures.md MET-1). Must not know what the content is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, read_whole_afresh};

const MAGIC: [u8; 8] = *b"RJRNSLT\n";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
/// A slot is never longer.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a slot file held when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotContent {
    /// There is no such file yet.
    Missing,
    /// Neither slot can be read, and why.
    Damaged(String),
    /// A newer program wrote it, in this version.
    Newer(u16),
    /// This, and what is wrong with the other slot, which may have been the newer one.
    Found {
        /// The content.
        bytes: Vec<u8>,
        /// Which slot cannot be read and why: the content may be one generation old.
        stale: Option<String>,
    },
}

/// A file in two slots.
#[derive(Debug)]
pub struct SlotFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    name: &'static str,
    generation: u64,
}

impl SlotFile {
    /// Opens the slots `name.a` and `name.b` in `dir`, and gives the newer content. A slot whose bytes the medium cannot
    /// give back is damaged like one whose bytes are others than were written.
    ///
    /// # Errors
    /// Whatever keeps a slot from being read and says nothing of its bytes (no permission, no file handle): with its name.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: &'static str,
    ) -> io::Result<(Self, SlotContent)> {
        let mut file = Self {
            disk,
            dir: dir.to_path_buf(),
            name,
            generation: 0,
        };
        let mut content = SlotContent::Missing;
        let (mut bad, mut missing) = (Vec::new(), None);
        for slot in [0, 1] {
            let slot_name = slot_name(name, slot);
            let read = read_slot(&*file.disk, &file.path(slot))
                .map_err(|error| io::Error::new(error.kind(), format!("{slot_name}: {error}")))?;
            match read {
                Slot::Damaged(why) => bad.push(format!("{slot_name}: {why}")),
                Slot::Empty => missing = Some(format!("{slot_name}: it is gone")),
                Slot::Newer(version) => return Ok((file, SlotContent::Newer(version))),
                Slot::Written(generation, bytes) if generation > file.generation => {
                    file.generation = generation;
                    content = SlotContent::Found { bytes, stale: None };
                }
                Slot::Written(..) => {}
            }
        }
        // Behind the first content both slots were written.
        if file.generation > 1 || !bad.is_empty() {
            bad.extend(missing);
        }
        if !bad.is_empty() {
            let why = bad.join("; ");
            match &mut content {
                SlotContent::Found { stale, .. } => *stale = Some(why),
                other => *other = SlotContent::Damaged(why),
            }
        }
        Ok((file, content))
    }

    fn path(&self, slot: u64) -> PathBuf {
        self.dir.join(slot_name(self.name, slot))
    }

    /// Gives both slots other names, so that the content can begin anew; what they hold is kept, whether it can be read
    /// or not. Gives the new names. A crash in between leaves the slots damaged or missing, as they were.
    ///
    /// # Errors
    /// Whatever the medium says.
    pub fn set_aside(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<Vec<PathBuf>> {
        let names = disk.list(dir)?;
        let mut kept = Vec::new();
        for slot in ["a", "b"] {
            let slot = format!("{name}.{slot}");
            if !names.contains(&slot) {
                continue;
            }
            let free = (1..=names.len() + 1)
                .map(|number| format!("{slot}.damaged-{number}"))
                .find(|aside| !names.contains(aside));
            let aside = dir.join(free.unwrap_or_else(|| format!("{slot}.damaged-0")));
            disk.durable_rename(&dir.join(&slot), &aside)?;
            kept.push(aside);
        }
        Ok(kept)
    }

    /// Replaces the content, durably.
    ///
    /// # Errors
    /// Whatever the medium says; the content before stays then.
    pub fn save(&mut self, content: &[u8]) -> io::Result<()> {
        let generation = self.generation + 1;
        let path = self.path(generation % 2);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&checksum(generation, content).to_le_bytes());
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        bytes.extend_from_slice(content);
        let file = match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = self.disk.create(&path)?;
                self.disk.sync_dir(&self.dir)?;
                file
            }
            other => other?,
        };
        file.write_at(&bytes, 0)?;
        file.sync()?;
        self.generation = generation;
        Ok(())
    }
}

fn checksum(generation: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn slot_name(name: &str, slot: u64) -> String {
    format!("{name}.{}", if slot == 0 { "a" } else { "b" })
}

enum Slot {
    Empty,
    Damaged(String),
    Newer(u16),
    Written(u64, Vec<u8>),
}

fn read_slot(disk: &dyn Disk, path: &Path) -> io::Result<Slot> {
    let bytes = match read_whole_afresh(disk, path, BYTES_MAX) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Slot::Empty),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || is_lost(&error) => {
            return Ok(Slot::Damaged(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    Ok(parse(&bytes).unwrap_or_else(|| Slot::Damaged("it is not what was written".to_owned())))
}

/// Whether the medium cannot give the bytes back.
fn is_lost(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const LOST: [Errno; 5] = [
        Errno::IO,
        Errno::NODATA,
        Errno::BADMSG,
        Errno::ILSEQ,
        Errno::UCLEAN,
    ];
    Errno::from_io_error(error).is_some_and(|errno| LOST.contains(&errno))
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn parse(bytes: &[u8]) -> Option<Slot> {
    if field(bytes, 0)? != MAGIC {
        return None;
    }
    // What stands behind its version may be laid out otherwise.
    let version = u16::from_le_bytes(field(bytes, 8)?);
    if version > VERSION {
        return Some(Slot::Newer(version));
    }
    let crc = u32::from_le_bytes(field(bytes, 12)?);
    let generation = u64::from_le_bytes(field(bytes, 16)?);
    let length = usize::try_from(u64::from_le_bytes(field(bytes, 24)?)).ok()?;
    let content = bytes.get(HEADER_BYTES..)?.get(..length)?;
    (crc == checksum(generation, content)).then(|| Slot::Written(generation, content.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn open(disk: &MemoryDisk) -> (SlotFile, SlotContent) {
        SlotFile::open(Arc::new(disk.clone()), Path::new(""), "c").unwrap()
    }

    /// The content, and the slot that cannot be read.
    fn found(content: SlotContent) -> (String, Option<String>) {
        match content {
            SlotContent::Found { bytes, stale } => (String::from_utf8(bytes).unwrap(), stale),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_content_is_found_and_a_crash_leaves_old_or_new() {
        for cut in 1..8 {
            let disk = MemoryDisk::new();
            let (mut file, content) = open(&disk);
            assert_eq!(content, SlotContent::Missing);
            disk.die_at_sync(cut);
            let saved = (1..=3)
                .take_while(|n| file.save(format!("content {n}").as_bytes()).is_ok())
                .count();
            for seed in 0..10 {
                let after = disk.crash(seed).power_on();
                let (_, content) = open(&after);
                let possible = [saved, saved + 1].map(|n| format!("content {n}").into_bytes());
                match content {
                    SlotContent::Missing | SlotContent::Damaged(_) => {
                        assert_eq!(saved, 0, "cut {cut} seed {seed}");
                    }
                    SlotContent::Found { bytes, .. } => {
                        assert!(possible.contains(&bytes), "cut {cut} seed {seed}");
                    }
                    SlotContent::Newer(_) => panic!("no newer version was written"),
                }
            }
        }
    }

    #[test]
    fn a_slot_of_a_newer_version_is_told_and_no_older_content_takes_its_place() {
        let disk = MemoryDisk::new();
        let (mut file, _) = open(&disk);
        file.save(b"one").unwrap();
        let newer = disk.create(Path::new("c.a")).unwrap();
        newer.write_at(b"RJRNSLT\n\x02\x00", 0).unwrap();
        assert_eq!(open(&disk).1, SlotContent::Newer(2));
    }

    #[test]
    fn one_rotten_slot_leaves_the_one_before_and_says_so_two_are_damage() {
        let disk = MemoryDisk::new();
        let (mut file, _) = open(&disk);
        file.save(b"one").unwrap();
        file.save(b"two").unwrap();
        let mut image = disk.image();
        image.flip(Path::new("c.a"), 41, 1);
        let (content, stale) = found(open(&image.power_on()).1);
        assert_eq!(content, "one");
        assert!(stale.is_some_and(|why| why.starts_with("c.a: ")));
        image.flip(Path::new("c.b"), 41, 1);
        assert!(matches!(open(&image.power_on()).1, SlotContent::Damaged(_)));
    }

    /// A medium that gives an error instead of bytes was once taken for the end of everything, with no way on from there.
    #[test]
    fn a_slot_the_medium_cannot_read_is_damage_that_is_told_and_never_an_empty_slot() {
        let disk = MemoryDisk::new();
        let (mut file, _) = open(&disk);
        file.save(b"one").unwrap();
        file.save(b"two").unwrap();
        for (rotten, left) in [("c.a", "one"), ("c.b", "two")] {
            let disk = disk.image().power_on();
            disk.fail_reads(Path::new(rotten));
            let (mut file, content) = open(&disk);
            let (content, stale) = found(content);
            assert_eq!(content, left);
            assert!(stale.is_some_and(|why| why.starts_with(rotten)));
            file.save(b"three").unwrap();
            let other = if rotten == "c.a" { "c.b" } else { "c.a" };
            disk.fail_reads(Path::new(other));
            match open(&disk).1 {
                SlotContent::Damaged(why) => {
                    assert!(why.contains("c.a: ") && why.contains("c.b: "), "{why}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_slot_that_is_gone_was_there_once_there_were_two() {
        let disk = MemoryDisk::new();
        let (mut file, _) = open(&disk);
        file.save(b"one").unwrap();
        assert_eq!(found(open(&disk).1), ("one".to_owned(), None));
        file.save(b"two").unwrap();
        disk.remove(Path::new("c.a")).unwrap();
        let (content, stale) = found(open(&disk).1);
        assert_eq!(content, "one");
        assert_eq!(stale, None, "the first content, as far as anybody can tell");
        file.save(b"three").unwrap();
        let (content, stale) = found(open(&disk).1);
        assert_eq!((content.as_str(), stale.is_some()), ("three", true));
    }
}
