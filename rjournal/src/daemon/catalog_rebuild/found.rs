//! Room `daemon`, a catalog made again: what journals say that the catalog said, too, and what of it nobody can say. Pure:
//! must not know directories, nor who reads the journals.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::daemon::catalog::{Catalog, FileRecord, Library};
use crate::entry::record::Format;
use crate::entry::{
    EntryView, FileName, Kind, Name, ObjectId, QualifiedName, SystemId, SystemName, Timestamp,
};
use crate::journal::{Control, JournalKind};

/// The bit that tells the deposit key of an end of journaling from that of a start.
const ENDED: u64 = 1 << 63;

/// The files of one journal, as its entries tell them.
#[derive(Debug, Default)]
pub(super) struct FileTrail {
    files: BTreeMap<ObjectId, (FileRecord, Timestamp)>,
    /// The journal's name.
    journal: Option<QualifiedName>,
}

impl FileTrail {
    /// Of this journal.
    pub(super) fn new(journal: QualifiedName) -> Self {
        Self {
            files: BTreeMap::new(),
            journal: Some(journal),
        }
    }

    /// The next entry.
    pub(super) fn handle_entry(&mut self, view: &EntryView<'_>) {
        let key = view.extension().ok().and_then(|extension| extension.key);
        let count = key.map_or(0, |(key, _)| key.key);
        match view.kind {
            Kind::JOURNALING_START => {
                let Ok(format) = Format::decode(view.payload.bytes()) else {
                    return;
                };
                let record = FileRecord {
                    id: view.object,
                    format,
                    journal: self.journal,
                    starts: count,
                    text: String::new(),
                };
                self.files.insert(view.object, (record, view.time));
            }
            Kind::JOURNALING_END => {
                if let Some((record, at)) = self.files.get_mut(&view.object) {
                    record.journal = None;
                    record.starts = record.starts.max(count & !ENDED);
                    *at = view.time;
                }
            }
            _ => {}
        }
    }
}

/// What one journal's directory says.
#[derive(Debug)]
pub(super) struct Told {
    /// Its directory, for people.
    pub(super) dir: String,
    /// Its control file, or why it cannot be read.
    pub(super) control: Result<Control, String>,
    /// The journal's name in its receivers, where they were sealed here: that of one whose control file is lost.
    pub(super) sealed_here: Option<QualifiedName>,
    /// Files, or why the journal could not be read for them; nothing of a remote one.
    pub(super) files: Result<FileTrail, String>,
    /// Whether it kept its receivers from now on: nobody knows what its stores need.
    pub(super) keeps_receivers: bool,
}

/// A catalog made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RebuiltCatalog {
    /// Name of the system.
    pub name: SystemName,
    /// Journals whose control files could be read.
    pub journals: Vec<QualifiedName>,
    /// Libraries, from their names.
    pub libraries: Vec<Name>,
    /// Files, from their entries.
    pub files: Vec<FileName>,
    /// What was lost and must be given again, or looked at.
    pub look_again: Vec<String>,
    /// What was left of the old catalog, relative to the data directory.
    pub kept: Vec<String>,
}

/// The catalog that follows from what the journals say. `stores` are the replica stores on disk.
pub(super) fn decide(
    name: SystemName,
    found: Vec<Told>,
    stores: &[String],
    now: Timestamp,
) -> (Catalog, RebuiltCatalog) {
    let mut catalog = Catalog::default();
    let mut files: BTreeMap<FileName, (FileRecord, Timestamp)> = BTreeMap::new();
    let mut partners: BTreeMap<(String, SystemId), BTreeSet<String>> = BTreeMap::new();
    let (mut journals, mut look_again) = (Vec::new(), Vec::new());
    let mut library = |library: Name, created_at: Timestamp| {
        let text = String::new();
        let made = catalog
            .libraries
            .entry(library)
            .or_insert(Library { created_at, text });
        made.created_at = made.created_at.min(created_at);
    };
    for told in found {
        let control = match told.control {
            Ok(control) => control,
            Err(reason) => {
                let known = told.sealed_here.inspect(|name| library(name.library, now));
                let named = known.map_or_else(|| told.dir.clone(), |name| name.to_string());
                look_again.push(format!(
                    "journal {named}: its control file is lost, too ({reason}): RPRJRN with ROLE once the daemon runs"
                ));
                continue;
            }
        };
        journals.push(control.name);
        library(control.name.library, control.created_at);
        for link in &control.links {
            let told = partners.entry((link.rdb.to_string(), link.system));
            told.or_default()
                .insert(format!("remote journal {} there", link.target));
        }
        match &control.kind {
            JournalKind::Local => {
                for record in &control.receivers {
                    library(
                        record.name.library,
                        record.attached_at.max(control.created_at),
                    );
                }
            }
            JournalKind::Remote(source) => {
                let told = partners.entry((source.name.to_string(), source.system));
                told.or_default()
                    .insert(format!("feeds {} here: ALWJRN", control.name));
            }
        }
        match told.files {
            Ok(trail) => {
                for (record, at) in trail.files.into_values() {
                    let file = record.format.file().clone();
                    let later = files.get(&file).is_none_or(|(_, known)| *known <= at);
                    library(file.library, control.created_at);
                    if later {
                        files.insert(file, (record, at));
                    }
                }
            }
            Err(reason) => look_again.push(format!(
                "files journaled to {}: it cannot be read ({reason}). RPRJRN, then make the catalog again",
                control.name
            )),
        }
        if told.keeps_receivers {
            look_again.push(format!(
                "journal {} keeps its receivers: CHGJRN DLTRCV(*YES) when its stores are there again",
                control.name
            ));
        }
    }
    for ((rdb, system), uses) in partners {
        let uses: Vec<String> = uses.into_iter().collect();
        look_again.push(format!(
            "partner {rdb}, system {system} ({}): ADDRDBDIRE with its fingerprint, which begins with the system's identity",
            uses.join(", ")
        ));
    }
    for store in stores {
        look_again.push(format!(
            "store {store}: STRAPY with its journal and its kind (TYPE) goes on where it stands"
        ));
    }
    look_again.push(
        "other partners, libraries without journals, files that were not journaled, receivers made with CRTJRNRCV, texts: \
         not known. Files that were deleted (DLTF) may be back"
            .to_owned(),
    );
    catalog.files = files
        .into_iter()
        .map(|(file, (record, _))| (file, record))
        .collect();
    journals.sort_unstable();
    let rebuilt = RebuiltCatalog {
        name,
        journals,
        libraries: catalog.libraries.keys().copied().collect(),
        files: catalog.files.keys().cloned().collect(),
        look_again,
        kept: Vec::new(),
    };
    (catalog, rebuilt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::JournalId;
    use crate::journal::{Attributes, SourceRecord};

    const NOW: Timestamp = Timestamp::from_micros(9_000);

    fn name(text: &str) -> QualifiedName {
        text.parse().unwrap()
    }

    fn control(name: QualifiedName, kind: &JournalKind) -> Control {
        let text = serde_json::json!({
            "journal": JournalId::from_bytes([1; 16]), "name": name, "kind": kind,
            "created_at": Timestamp::from_micros(5_000), "attributes": Attributes::default(),
            "epoch": crate::entry::Epoch::NONE, "promised": crate::entry::Epoch::NONE, "receivers": [],
        });
        serde_json::from_value(text).unwrap()
    }

    fn told(control: Result<Control, String>) -> Told {
        Told {
            dir: "journals/0123".to_owned(),
            control,
            sealed_here: None,
            files: Ok(FileTrail::default()),
            keeps_receivers: false,
        }
    }

    fn decided(found: Vec<Told>, stores: &[String]) -> (Catalog, RebuiltCatalog) {
        decide(SystemName::new("PRD").unwrap(), found, stores, NOW)
    }

    fn says(rebuilt: &RebuiltCatalog, part: &str) -> bool {
        rebuilt.look_again.iter().any(|look| look.contains(part))
    }

    fn file(id: u8, file: &str, starts: u64, at: u64) -> (ObjectId, (FileRecord, Timestamp)) {
        let record = FileRecord {
            id: ObjectId::from_bytes([id; 16]),
            format: Format::key_value(file.parse().unwrap()),
            journal: Some(name("PRDLIB/JRN")),
            starts,
            text: String::new(),
        };
        (record.id, (record, Timestamp::from_micros(at)))
    }

    #[test]
    fn libraries_and_files_come_back_as_the_journals_say_the_later_file_of_a_name_wins() {
        let mut local = told(Ok(control(name("PRDLIB/JRN"), &JournalKind::Local)));
        let files = [
            file(1, "PRDLIB/ACCOUNT", 2, 50),
            file(2, "PRDLIB/ACCOUNT", 1, 70),
        ];
        local.files = Ok(FileTrail {
            files: files.into_iter().collect(),
            journal: None,
        });
        local.keeps_receivers = true;
        let (catalog, rebuilt) = decided(vec![local], &["REPLICA".to_owned()]);
        let account = &catalog.files[&"PRDLIB/ACCOUNT".parse().unwrap()];
        assert_eq!(account.id, ObjectId::from_bytes([2; 16]));
        assert_eq!(account.journal, Some(name("PRDLIB/JRN")));
        let library = &catalog.libraries[&name("PRDLIB/X").library];
        assert_eq!(library.created_at, Timestamp::from_micros(5_000));
        assert!(says(&rebuilt, "store REPLICA"));
        assert!(says(&rebuilt, "DLTRCV(*YES)"));
        // Nobody can know a key, nor what a job had applied.
        assert!(catalog.partners.is_empty() && catalog.jobs.is_empty());
    }

    #[test]
    fn partners_and_journals_that_cannot_be_known_are_named() {
        let source = SourceRecord {
            system: SystemId::from_bytes([7; 16]),
            name: SystemName::new("SRC").unwrap(),
            journal: name("SRCLIB/JRN"),
            path: Vec::new(),
        };
        let copy = told(Ok(control(
            name("BKPLIB/JRN"),
            &JournalKind::Remote(source),
        )));
        let mut lost = told(Err("both slots are damaged".to_owned()));
        lost.sealed_here = Some(name("PRDLIB/JRN"));
        let (catalog, rebuilt) = decided(vec![copy, lost], &[]);
        assert!(catalog.partners.is_empty());
        assert!(says(&rebuilt, "partner SRC, system 07070707"));
        assert!(says(&rebuilt, "feeds BKPLIB/JRN here"));
        assert!(says(
            &rebuilt,
            "journal PRDLIB/JRN: its control file is lost, too"
        ));
        assert_eq!(rebuilt.journals, [name("BKPLIB/JRN")]);
        // RPRJRN needs the library.
        let libraries: Vec<String> = rebuilt.libraries.iter().map(ToString::to_string).collect();
        assert_eq!(libraries, ["BKPLIB", "PRDLIB"]);
    }
}
