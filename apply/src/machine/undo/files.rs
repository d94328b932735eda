//! Room `apply`, the machine, undo: files. One that did not exist at the fork goes as a whole; one that got another format
//! behind it gets the one it had back; one that was there and is gone took its rows with it, and no image of them is kept.
//! Must not know rows.

use std::collections::{BTreeMap, BTreeSet};

use rjournal::entry::record::Format;
use rjournal::entry::{ClientId, EntryView, FileName, Kind, ObjectId, Sequence};

use super::Plan;
use crate::error::ApplyError;
use crate::store::FileChange;

/// Said of a file that took its rows with it.
const GONE: &str =
    "the file was deleted there, or another took its name, and no images of its rows are kept";

/// Whether a file existed at the fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AtFork {
    /// It did, with this format where that is known.
    There(Option<Format>),
    /// It did not.
    NotThere,
    /// What lies behind the fork does not tell.
    Unknown,
}

/// What became of a file behind the fork.
#[derive(Debug)]
struct Facts {
    at_fork: AtFork,
    /// Entries that defined it.
    defined: BTreeSet<Sequence>,
    /// The first entry that changed its format, and does nothing else.
    changed: Option<Sequence>,
    gone: Option<Sequence>,
    name: Option<FileName>,
    /// Versions its changes are written in, with the first entry of each.
    versions: BTreeMap<u32, Sequence>,
}

impl Facts {
    const fn new(at_fork: AtFork) -> Self {
        Self {
            at_fork,
            defined: BTreeSet::new(),
            changed: None,
            gone: None,
            name: None,
            versions: BTreeMap::new(),
        }
    }
}

/// What became of files behind the fork.
#[derive(Debug, Default)]
pub(super) struct Files {
    facts: BTreeMap<ObjectId, Facts>,
    formats: BTreeMap<(ObjectId, u32), Format>,
}

/// What an undo does to files.
#[derive(Debug)]
pub(super) struct Verdict {
    new: BTreeSet<ObjectId>,
    /// For the last step.
    pub(super) changes: Vec<FileChange>,
}

impl Verdict {
    /// Whether a file goes as a whole: its rows are not taken out one by one.
    pub(super) fn is_new(&self, file: ObjectId) -> bool {
        self.new.contains(&file)
    }
}

impl Files {
    /// A change of a row: its file was there before, unless it was defined behind the fork.
    pub(super) fn note_record(&mut self, view: &EntryView<'_>) {
        let new = || Facts::new(AtFork::There(None));
        let facts = self.facts.entry(view.object).or_insert_with(new);
        facts.versions.entry(view.format).or_insert(view.sequence);
    }

    pub(super) fn note_file(&mut self, view: &EntryView<'_>, format: &Format) {
        let changes = view.kind == Kind::FILE_CHANGE;
        let facts = self.facts.entry(view.object).or_insert_with(|| {
            Facts::new(if changes {
                AtFork::There(None)
            } else {
                AtFork::Unknown
            })
        });
        if facts.at_fork == AtFork::Unknown && is_first_start(view) {
            facts.at_fork = AtFork::NotThere;
        }
        if changes {
            facts.changed.get_or_insert(view.sequence);
        }
        facts.defined.insert(view.sequence);
        facts.name.get_or_insert_with(|| format.file().clone());
        let place = (view.object, format.version());
        self.formats.insert(place, format.clone());
    }

    pub(super) fn note_gone(&mut self, view: &EntryView<'_>) {
        let new = || Facts::new(AtFork::There(None));
        let facts = self.facts.entry(view.object).or_insert_with(new);
        facts.gone.get_or_insert(view.sequence);
    }

    /// Files of which it is not known whether they existed at the fork.
    pub(super) fn unknown(&self) -> BTreeSet<ObjectId> {
        let unknown = |facts: &Facts| facts.at_fork == AtFork::Unknown;
        let files = self.facts.iter().filter(|(_, facts)| unknown(facts));
        files.map(|(file, _)| *file).collect()
    }

    /// What was found out of them.
    pub(super) fn learn(&mut self, found: &BTreeMap<ObjectId, AtFork>) {
        for (file, at_fork) in found {
            if let Some(facts) = self.facts.get_mut(file) {
                facts.at_fork = at_fork.clone();
            }
        }
    }

    /// A format a file had behind the fork.
    pub(super) fn format_of(&self, file: ObjectId, version: u32) -> Option<&Format> {
        self.formats.get(&(file, version))
    }

    /// What is done to files, where everything can be taken out.
    ///
    /// # Errors
    /// [`ApplyError::UndoNotPossible`].
    pub(super) fn verdict(&self, plan: &Plan) -> Result<Verdict, ApplyError> {
        let is_new = |facts: &Facts| facts.at_fork == AtFork::NotThere;
        let new: BTreeSet<ObjectId> = self
            .facts
            .iter()
            .filter(|(_, facts)| is_new(facts))
            .map(|(file, _)| *file)
            .collect();
        let before = self.before(plan, &new)?;
        let mut changes = Vec::new();
        for (file, facts) in &self.facts {
            if is_new(facts) {
                if plan.formats.contains_key(file) {
                    changes.push(FileChange::Drop { id: *file });
                }
                continue;
            }
            let refused = |sequence, reason: &str| {
                Err(plan.not_possible(sequence, *file, facts.name.as_ref(), reason))
            };
            if let Some(gone) = facts.gone {
                return refused(gone, GONE);
            }
            let lost = before.get(file).map(|(_, format)| (*format).clone());
            if let (None, Some(changed)) = (&lost, facts.changed) {
                return refused(changed, "the format the file had before is not kept");
            }
            let found = match &facts.at_fork {
                AtFork::There(format) => format.clone(),
                AtFork::NotThere | AtFork::Unknown => None,
            };
            if let Some(format) = lost.or(found).filter(|_| !facts.defined.is_empty())
                && plan.formats.get(file) != Some(&format)
            {
                changes.push(FileChange::Put {
                    id: *file,
                    format: Box::new(format),
                });
            }
        }
        Ok(Verdict { new, changes })
    }

    /// The formats of all rows that are to be taken out are known.
    ///
    /// # Errors
    /// [`ApplyError::UndoNotPossible`].
    pub(super) fn require_formats(&self, plan: &Plan) -> Result<(), ApplyError> {
        for (file, facts) in &self.facts {
            let unknown = facts
                .versions
                .iter()
                .find(|(version, _)| plan.format_of(self, *file, **version).is_none());
            if let Some((_, sequence)) = unknown.filter(|_| facts.at_fork != AtFork::NotThere) {
                let (name, reason) = (facts.name.as_ref(), "the format of its row is not known");
                return Err(plan.not_possible(*sequence, *file, name, reason));
            }
        }
        Ok(())
    }

    /// The formats files had before the first entry behind the fork that gave them another one.
    fn before<'a>(
        &self,
        plan: &'a Plan,
        new: &BTreeSet<ObjectId>,
    ) -> Result<BTreeMap<ObjectId, (Sequence, &'a Format)>, ApplyError> {
        let fork = plan.fork.sequence;
        let mut before: BTreeMap<ObjectId, (Sequence, &Format)> = BTreeMap::new();
        for (file, format, until) in plan.older.lost_behind(fork) {
            if new.contains(&file) {
                continue;
            }
            let name = Some(format.file());
            if plan.older.may_lack_behind(fork) {
                let reason = "more files changed their formats, or were deleted, than are kept";
                return Err(plan.not_possible(until, file, name, reason));
            }
            let own = self.facts.get(&file);
            if !own.is_some_and(|facts| facts.defined.contains(&until)) {
                return Err(plan.not_possible(until, file, name, GONE));
            }
            let known = before.entry(file).or_insert((until, format));
            if until < known.0 {
                *known = (until, format);
            }
        }
        Ok(before)
    }
}

/// Whether journaling of a file starts for the first time ever: its deposit key counts the starts.
fn is_first_start(view: &EntryView<'_>) -> bool {
    let key = view.extension().ok().and_then(|extension| extension.key);
    view.kind == Kind::JOURNALING_START
        && key.is_some_and(|(key, _)| {
            key.client == ClientId::from_bytes(*view.object.as_bytes()) && key.key == 1
        })
}
