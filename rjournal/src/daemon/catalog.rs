//! Room `daemon`: the catalog: what a system knows beside its journals: libraries, partners, files that were defined, jobs
//! that are to run. Small, read whole, replaced whole. Must not know what a journal holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::data_dir::JOURNALS_DIR;
use super::first_copy::{LoadRecord, LoanRecord};
use crate::disk::{Disk, SlotContent, SlotFile};
use crate::entry::record::Format;
use crate::entry::{
    FileName, JournalId, Name, ObjectId, QualifiedName, RdbName, SaveFacts, SegmentId, Sequence,
    SystemId, Timestamp,
};
use crate::error::SystemError;
use crate::link::{Fingerprint, Partners};

const CATALOG: &str = "catalog";

/// A library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// When it was made.
    pub created_at: Timestamp,
    /// Free text.
    pub text: String,
}

/// A receiver that was made and is not attached yet (CRTJRNRCV).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedReceiver {
    /// Its threshold in bytes.
    pub threshold: u64,
    /// Free text.
    pub text: String,
}

/// A partner in the directory (ADDRDBDIRE).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    /// Fingerprint of its key, compared by an operator.
    pub fingerprint: Fingerprint,
    /// Its identity.
    pub system: SystemId,
    /// Where it is reached, as `host:port`; none for one that only connects to us.
    pub address: Option<String>,
    /// Remote journals here it may make and feed: `LIB/NAME`, `LIB/*ALL` or `*ALL/*ALL`; none by default.
    pub allowed_journals: Vec<String>,
    /// Free text.
    pub text: String,
}

impl Partner {
    /// Whether it may feed a remote journal of this name here.
    pub fn may_feed(&self, journal: QualifiedName) -> bool {
        self.allowed_journals.iter().any(|pattern| {
            let Some((library, name)) = pattern.split_once('/') else {
                return false;
            };
            let fits = |pattern: &str, text: &str| pattern == "*ALL" || pattern == text;
            fits(library, journal.library.as_str()) && fits(name, journal.name.as_str())
        })
    }

    /// ALWJRN with which it may feed a journal, too, as a shell takes it: what is given takes the place of what was there.
    pub fn allowing(&self, journal: QualifiedName) -> String {
        let kept = self.allowed_journals.iter().cloned();
        let all: Vec<String> = kept.chain([journal.to_string()]).collect();
        let all = all.join(",");
        if all.contains('*') {
            format!("'{all}'")
        } else {
            all
        }
    }
}

/// Reads a pattern of journals a partner may feed.
///
/// # Errors
/// The text that is no pattern.
pub(super) fn parse_pattern(text: &str) -> Result<String, String> {
    let upper = text.to_uppercase();
    let is_name = |part: &str| Name::new(part).is_ok();
    match upper.split_once('/') {
        Some(("*ALL", "*ALL")) => Ok(upper),
        Some((library, name)) if is_name(library) && (name == "*ALL" || is_name(name)) => Ok(upper),
        _ => Err(format!(
            "{text:?} names no journals: LIB/NAME, LIB/*ALL or *ALL/*ALL is needed"
        )),
    }
}

/// A file that was defined here (CRTPF).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its identity, the same on all systems.
    pub id: ObjectId,
    /// Its format.
    pub format: Format,
    /// The journal its changes go to, once STRJRNPF was done.
    pub journal: Option<QualifiedName>,
    /// How often journaling was started: part of the deposit key that makes STRJRNPF land once.
    pub starts: u64,
    /// Free text.
    pub text: String,
}

/// An apply job (STRAPY).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The journal it applies; one of a recovery group stands for the group's history.
    pub journal: QualifiedName,
    /// Kind of its store, as the job's program knows it.
    pub store: String,
    /// Whether it is to run.
    pub active: bool,
    /// What its last store save covers: receivers are kept from there on (ruling 8).
    pub saved: Sequence,
    /// Where its store stood when it last reported: proof that entries up to there were confirmed here.
    pub applied: Sequence,
    /// Where reading would begin again.
    pub restart: Sequence,
    /// The term and journal `applied` and `restart` are in; nothing where that was never told: the journal named above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<SegmentId>,
    /// The same of `saved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saved_at: Option<SegmentId>,
    /// It needs entries that were deleted above the cap: its store must be restored from a save.
    pub needs_reinit: bool,
    /// Why it stopped for good, until an operator starts it again.
    pub stopped: Option<Stopped>,
    /// The entry an operator ordered to pass over last.
    pub skip: Option<SkipOrder>,
    /// Its last store save, as the job told of it.
    #[serde(default)]
    pub save: Option<SaveFacts>,
    /// The save of a partner it is being loaded from, until its job has gone on from there.
    #[serde(default)]
    pub load: Option<LoadRecord>,
}

/// Why a job stopped for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Why.
    pub reason: String,
    /// The entry it stopped at, where it was one.
    pub entry: Option<Sequence>,
}

/// An operator's order to pass over one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkipOrder {
    /// The entry.
    pub sequence: Sequence,
    /// The journal it is in; nothing for the one the job was started on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalId>,
    /// Why.
    pub reason: String,
    /// When it was ordered.
    pub at: Timestamp,
}

/// Everything in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Catalog {
    /// Libraries.
    pub libraries: BTreeMap<Name, Library>,
    /// Receivers not attached yet.
    pub receivers: BTreeMap<QualifiedName, PlannedReceiver>,
    /// Partners.
    pub partners: BTreeMap<RdbName, Partner>,
    /// Files.
    pub files: BTreeMap<FileName, FileRecord>,
    /// Apply jobs by the name of their store.
    pub jobs: BTreeMap<Name, JobRecord>,
    /// Store saves promised to partners.
    pub loans: Vec<LoanRecord>,
}

impl Catalog {
    /// The partner with this key.
    pub fn partner_by_key(&self, fingerprint: &Fingerprint) -> Option<(RdbName, &Partner)> {
        self.partners
            .iter()
            .find(|(_, partner)| partner.fingerprint == *fingerprint)
            .map(|(name, partner)| (*name, partner))
    }
}

/// Whether no journal was ever made here.
fn is_new(disk: &dyn Disk) -> Result<bool, SystemError> {
    match disk.list(Path::new(JOURNALS_DIR)) {
        Ok(names) => Ok(names.is_empty()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(SystemError::io("could not be listed", JOURNALS_DIR, source)),
    }
}

/// The catalog on disk.
#[derive(Debug)]
pub(super) struct CatalogFile {
    slots: SlotFile,
    path: PathBuf,
    catalog: Catalog,
}

impl CatalogFile {
    /// Reads the catalog of a data directory, empty when there is none. Says which slot cannot be read, so that an older
    /// one may have had to do.
    ///
    /// # Errors
    /// [`SystemError`] when it cannot be read.
    pub(super) fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
    ) -> Result<(Self, Option<String>), SystemError> {
        let path = dir.join(CATALOG);
        let (slots, content) = SlotFile::open(Arc::clone(disk), Path::new(""), CATALOG)
            .map_err(|source| SystemError::io("could not be read", &path, source))?;
        let damaged = |reason: String| SystemError::Damaged {
            path: path.clone(),
            reason,
        };
        let lost = |reason: String| SystemError::CatalogLost {
            path: path.clone(),
            reason,
            data: dir.to_path_buf(),
        };
        let (catalog, stale) = match content {
            // A system without a catalog has never had a library, so it has no journal.
            SlotContent::Missing if !is_new(&**disk)? => {
                let reason = "both copies are gone, and there are journals here";
                return Err(lost(reason.to_owned()));
            }
            SlotContent::Missing => (Catalog::default(), None),
            SlotContent::Found { bytes, stale } => (
                serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?,
                stale,
            ),
            SlotContent::Damaged(why) => return Err(lost(why)),
            SlotContent::Newer(found) => return Err(SystemError::Version { path, found }),
        };
        Ok((
            Self {
                slots,
                path,
                catalog,
            },
            stale,
        ))
    }

    /// That no catalog can be read in a data directory.
    ///
    /// # Errors
    /// [`SystemError::NotLost`] when one can; whatever else keeps one from being read.
    pub(super) fn require_lost(disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), SystemError> {
        match Self::open(disk, dir) {
            Ok(_) => Err(SystemError::NotLost {
                path: dir.join(CATALOG),
            }),
            Err(SystemError::CatalogLost { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts a catalog made again in place of one that cannot be read; what is left of that one is kept beside it, and its
    /// paths are given.
    ///
    /// # Errors
    /// As [`Self::require_lost`], and when the disk refuses.
    pub(super) fn replace_lost(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        catalog: &Catalog,
    ) -> Result<Vec<PathBuf>, SystemError> {
        Self::require_lost(disk, dir)?;
        let path = dir.join(CATALOG);
        let io = |source| SystemError::io("could not be written", &path, source);
        let bytes =
            serde_json::to_vec(catalog).map_err(|error| io(std::io::Error::other(error)))?;
        let kept = SlotFile::set_aside(&**disk, Path::new(""), CATALOG).map_err(io)?;
        let (mut slots, _) =
            SlotFile::open(Arc::clone(disk), Path::new(""), CATALOG).map_err(io)?;
        slots.save(&bytes).map_err(io)?;
        Ok(kept)
    }

    /// The catalog.
    pub(super) const fn get(&self) -> &Catalog {
        &self.catalog
    }

    /// Changes it durably.
    ///
    /// # Errors
    /// [`SystemError::Io`] when the disk refuses; the change is not in force then.
    pub(super) fn update<T>(
        &mut self,
        change: impl FnOnce(&mut Catalog) -> T,
    ) -> Result<T, SystemError> {
        let before = self.catalog.clone();
        let given = change(&mut self.catalog);
        if self.catalog != before {
            let saved = serde_json::to_vec(&self.catalog)
                .map_err(std::io::Error::other)
                .and_then(|bytes| self.slots.save(&bytes));
            if let Err(source) = saved {
                self.catalog = before;
                return Err(SystemError::io("could not be written", &self.path, source));
            }
        }
        Ok(given)
    }
}

/// The keys of the partners, for the handshake: kept apart so that it needs no lock on the catalog.
#[derive(Debug, Default)]
pub(super) struct KnownKeys(std::sync::RwLock<Vec<Fingerprint>>);

impl KnownKeys {
    /// Takes over the partners of a catalog.
    pub(super) fn set(&self, catalog: &Catalog) {
        let keys = catalog
            .partners
            .values()
            .map(|partner| partner.fingerprint)
            .collect();
        *self
            .0
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = keys;
    }
}

impl Partners for KnownKeys {
    fn admits(&self, fingerprint: &Fingerprint) -> bool {
        self.0
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .contains(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    fn open(disk: &MemoryDisk) -> Result<(CatalogFile, Option<String>), SystemError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        CatalogFile::open(&disk, Path::new("data"))
    }

    #[test]
    fn journals_are_allowed_by_name_by_library_or_all_of_them() {
        for (given, read) in [
            ("bkplib/jrn", "BKPLIB/JRN"),
            ("BKPLIB/*all", "BKPLIB/*ALL"),
            ("*ALL/*ALL", "*ALL/*ALL"),
        ] {
            assert_eq!(parse_pattern(given).as_deref(), Ok(read));
        }
        for wrong in ["*ALL/JRN", "*ALL", "BKPLIB", "BKPLIB/J*", "A/B/C", "/"] {
            assert!(parse_pattern(wrong).is_err(), "{wrong}");
        }
    }

    /// A system that lost its catalog must not begin anew beside its own journals.
    #[test]
    fn a_catalog_that_is_gone_while_there_are_journals_is_damage() {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new(JOURNALS_DIR)).unwrap();
        open(&disk).expect("a new system");
        disk.create_dir(&Path::new(JOURNALS_DIR).join("0123456789abcdef"))
            .unwrap();
        let refused = open(&disk).expect_err("its catalog is gone");
        assert!(refused.to_string().contains("catalog"), "{refused}");
    }

    /// One copy on blocks that cannot be read leaves the other one and says so; two are a catalog to be made again, and
    /// nothing is begun anew over them.
    #[test]
    fn a_catalog_on_unreadable_blocks_is_told_or_made_again() {
        let disk = MemoryDisk::new();
        let (mut file, _) = open(&disk).expect("a new system");
        for text in ["one", "two"] {
            let library = Library {
                created_at: Timestamp::ZERO,
                text: text.to_owned(),
            };
            let name = Name::new("LIB").unwrap();
            file.update(|catalog| catalog.libraries.insert(name, library))
                .unwrap();
        }
        disk.fail_reads(Path::new("catalog.a"));
        let (found, stale) = open(&disk).expect("the one before");
        assert_eq!(found.get().libraries.len(), 1);
        assert!(stale.is_some_and(|why| why.starts_with("catalog.a: ")));
        disk.fail_reads(Path::new("catalog.b"));
        let refused = open(&disk).expect_err("none can be read").to_string();
        for told in ["catalog.a: ", "catalog.b: ", "--rebuild-catalog"] {
            assert!(refused.contains(told), "{told}: {refused}");
        }
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let kept = CatalogFile::replace_lost(&shared, Path::new("data"), &Catalog::default());
        assert_eq!(kept.expect("it is lost").len(), 2);
        assert_eq!(open(&disk).expect("the new one").1, None);
    }

    #[test]
    fn a_crash_while_it_is_made_again_leaves_none_or_the_new_one() {
        let disk = MemoryDisk::new();
        disk.create_dir(&Path::new(JOURNALS_DIR).join("0123456789abcdef"))
            .unwrap();
        disk.sync_dir(Path::new(JOURNALS_DIR)).unwrap();
        disk.sync_dir(Path::new("")).unwrap();
        let catalog = |name: &str| {
            let mut catalog = Catalog::default();
            let library = Library {
                created_at: Timestamp::ZERO,
                text: String::new(),
            };
            catalog.libraries.insert(Name::new(name).unwrap(), library);
            catalog
        };
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let (mut slots, _) = SlotFile::open(shared, Path::new(""), CATALOG).unwrap();
        for name in ["A", "B"] {
            let bytes = serde_json::to_vec(&catalog(name)).unwrap();
            slots.save(&bytes).unwrap();
        }
        let whole: Arc<dyn Disk> = Arc::new(disk.image().power_on());
        let data = Path::new("data");
        let refused = CatalogFile::replace_lost(&whole, data, &catalog("C"));
        assert!(matches!(refused, Err(SystemError::NotLost { .. })));
        let mut lost = disk.image();
        lost.flip(Path::new("catalog.a"), 45, 1);
        lost.flip(Path::new("catalog.b"), 45, 1);
        let mut finished = false;
        for cut in 1..20 {
            let disk = lost.clone().power_on();
            disk.die_at_sync(cut);
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let replaced = CatalogFile::replace_lost(&shared, data, &catalog("C")).is_ok();
            for seed in 0..6 {
                let after = disk.crash(seed).power_on();
                match open(&after) {
                    Ok((found, stale)) => {
                        assert_eq!((found.get(), stale), (&catalog("C"), None));
                    }
                    Err(SystemError::CatalogLost { .. }) => assert!(!replaced, "cut {cut}"),
                    Err(error) => panic!("cut {cut} seed {seed}: {error}"),
                }
            }
            finished |= replaced;
        }
        assert!(finished);
    }
}
