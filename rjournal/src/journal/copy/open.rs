//! Room `journal`, a copy: made, and opened from the medium: as a copy of another system's journal, or as the own journal of a
//! member of a recovery group that rests. Must not know sessions.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::held::{Copy, term_record};
use super::shared::CopyShared;
use crate::disk::Disk;
use crate::entry::progress::CopyProgress;
use crate::entry::{Epoch, JournalId, QualifiedName, Sequence, Timestamp};
use crate::error::JournalError;
use crate::journal::control::{Attributes, Control, ControlFile, JournalKind, SourceRecord};
use crate::journal::local::{RECEIVERS_DIR, create_dirs};
use crate::journal::mark::{Mark, MarkFile};
use crate::journal::orphan;
use crate::journal::sets::Sets;
use crate::journal::tail::Tail;
use crate::receiver::{Chain, Evidence, Opened};

impl Copy {
    /// Makes an empty copy in `dir`, which does not exist yet.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        journal: JournalId,
        name: QualifiedName,
        source: SourceRecord,
        attributes: Attributes,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let control = Control {
            journal,
            name,
            kind: JournalKind::Remote(source),
            created_at: now,
            attributes,
            epoch: Epoch::NONE,
            promised: Epoch::NONE,
            receivers: Vec::new(),
            checkpoint: crate::journal::control::Checkpoint::default(),
            links: Vec::new(),
            cut: None,
            group: None,
            orphans: 0,
            stopped: None,
            set_unknown: false,
            next_name: None,
            policy_ordered: None,
            untold: Vec::new(),
            began_behind: None,
        };
        create_dirs(&*disk, dir)?;
        ControlFile::create(Arc::clone(&disk), dir, control)?;
        Self::open(disk, dir, Sequence::NONE)
    }

    /// Opens the copy in `dir` from the medium. `known` is an entry that something else here proves to have been flushed
    /// and confirmed: the position of an apply store. Copies fed from this one prove it too, as their links remember.
    ///
    /// # Errors
    /// [`JournalError`] when it is damaged; nothing is changed then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, known: Sequence) -> Result<Self, JournalError> {
        Self::open_as(disk, dir, known, None)
    }

    /// Opens a local journal of a recovery group while another system is primary: it is held like a copy. What it wrote itself
    /// is confirmed by nobody but the close record of its last term, which ended at `closed`: the rest may be set aside
    /// (ruling 6).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_own(
        disk: Arc<dyn Disk>,
        dir: &Path,
        closed: Sequence,
    ) -> Result<Self, JournalError> {
        Self::open_as(disk, dir, Sequence::NONE, Some(closed))
    }

    fn open_as(
        disk: Arc<dyn Disk>,
        dir: &Path,
        known: Sequence,
        closed: Option<Sequence>,
    ) -> Result<Self, JournalError> {
        let (mut control, _) = ControlFile::open(Arc::clone(&disk), dir)?;
        let (mut mark_file, mark) = MarkFile::open(&*disk, dir)?;
        let kept = control.get();
        let cut = kept.cut;
        let marked = mark.map_or(Sequence::NONE, |mark| mark.written.sequence);
        let known = orphan::proven(&*disk, dir, kept.orphans, known);
        // What targets of its own terms had says nothing about what is confirmed of it.
        let fed = kept.links.iter().filter(|_| closed.is_none());
        let known = fed.map(|link| link.acknowledged).fold(known, Sequence::max);
        let evidence = match cut {
            // A cut that was begun is finished before anything else; what it takes away is archived.
            Some(cut) => Evidence {
                known: Sequence::NONE,
                sealed_here: false,
                cut_at: Some(cut.at),
            },
            None => Evidence {
                known: marked.max(known),
                sealed_here: false,
                cut_at: None,
            },
        };
        let mut sets = Sets::default();
        let confirmed_before = mark.map_or(Sequence::NONE, |mark| mark.confirmed);
        if let Some((at, set)) = kept.checkpoint.set.clone() {
            sets.note(at, set, confirmed_before);
        }
        let mut epoch = Epoch::NONE;
        let mut durable_upto = Sequence::NONE;
        let mut term = None;
        let journal = kept.journal;
        let name = kept.name;
        let Opened { chain, leftovers } = Chain::open(
            Arc::clone(&disk),
            &dir.join(RECEIVERS_DIR),
            journal,
            &kept.receivers,
            evidence,
            &mut |bundle| {
                epoch = bundle.header().epoch;
                durable_upto = durable_upto.max(bundle.header().durable_upto);
                sets.read(bundle, confirmed_before);
                term = term_record(bundle).or(term);
            },
        )?;
        let tip = chain.tip();
        let receivers = chain.reader().records();
        let base = receivers
            .first()
            .map_or(Sequence::NONE, |record| record.before.sequence);
        let marked = mark.map_or(Sequence::NONE, |mark| mark.confirmed);
        let evidence = closed.map_or([marked, durable_upto, known, base], |closed| {
            [closed, Sequence::NONE, Sequence::NONE, base]
        });
        let confirmed = evidence
            .into_iter()
            .fold(Sequence::NONE, Sequence::max)
            .min(tip.sequence);
        if cut.is_some() {
            mark_file.write_durably(Mark {
                written: tip,
                confirmed,
            })?;
            control.update(|control| control.cut = None)?;
        }
        let progress = CopyProgress {
            received: tip.sequence,
            written: tip.sequence,
            confirmed,
        };
        let receivers_recorded = control.get().receivers.len();
        // A control file put back from an older time forgot a promise; the bundles received under it did not
        // (failures.md MET-3, MET-4).
        let kept = control.get().promised;
        let promised = if epoch.rank() > kept.rank() {
            epoch
        } else {
            kept
        };
        let shared = CopyShared {
            id: journal,
            name,
            tail: Tail::new(tip, confirmed),
            reader: chain.reader(),
            promised: Mutex::new(promised),
            control: Mutex::new(control),
            sets: Mutex::new(sets),
            authority: Mutex::new(None),
            term: Mutex::new(term),
            epoch: Mutex::new(epoch),
            disk,
            dir: dir.to_path_buf(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            chain,
            mark: mark_file,
            progress,
            heard: confirmed,
            epoch,
            receivers_recorded,
            leftovers,
            cutting: None,
        })
    }
}
