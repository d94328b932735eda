//! Room `journal`, a local journal: as it is on the disk, closed for deposits, and what it takes over before it opens. Must not
//! know who decides that it may open, nor where an adopted tail comes from.

use std::path::Path;
use std::sync::Arc;

use super::facts::Facts;
use crate::disk::Disk;
use crate::entry::control_entry::SetChange;
use crate::entry::{
    Epoch, HandOver, JournalId, Place, Position, QualifiedName, ReceiverHeader, SealedBundle,
    Sequence, SystemId, SystemName, TermRecord, Timestamp,
};
use crate::error::{JournalError, ReceiverError};
use crate::journal::control::{Attributes, Control, ControlFile, JournalKind};
use crate::journal::earlier::{EarlierKeys, TermBegins};
use crate::journal::forgotten::{Forgotten, ForgottenFile};
use crate::journal::mark::{Mark, MarkFile};
use crate::journal::write::Entropy;
use crate::receiver::{Chain, ChainReader, Evidence, Leftover, Opened};

/// Directory of the receivers inside a journal's directory.
pub(in crate::journal) const RECEIVERS_DIR: &str = "receivers";

/// Who owns a local journal.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Identity of this system.
    pub system: SystemId,
    /// Its name.
    pub name: SystemName,
}

/// What a new local journal is made from.
#[derive(Debug, Clone)]
pub struct NewJournal {
    /// Its name.
    pub name: QualifiedName,
    /// Name of its first receiver.
    pub first_receiver: QualifiedName,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A local journal as it is on the disk, not open for deposits.
#[derive(Debug)]
pub struct Recovered {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) control: ControlFile,
    pub(super) chain: Chain,
    pub(super) mark: MarkFile,
    /// What was forgotten of deposit keys, and its file.
    pub(super) forgotten: (ForgottenFile, Forgotten),
    pub(super) facts: Facts,
    /// Deposit keys of the other journals of its group's history.
    pub(super) earlier: Option<(EarlierKeys, TermBegins)>,
    pub(super) owner: Owner,
    leftovers: Vec<Leftover>,
    /// An older control file had to do.
    control_damaged: bool,
    adopted: u64,
}

impl Recovered {
    /// Makes a new local journal in `dir`, which does not exist yet. Its first receiver is attached when it is opened.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: &Path,
        owner: Owner,
        new: NewJournal,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<Self, JournalError> {
        let NewJournal {
            name,
            first_receiver,
            attributes,
        } = new;
        let journal = JournalId::from_bytes(entropy.id());
        let control = Control {
            journal,
            name,
            kind: JournalKind::Local,
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
            next_name: Some(first_receiver),
            policy_ordered: None,
            untold: Vec::new(),
            began_behind: None,
        };
        create_dirs(&*disk, dir)?;
        ControlFile::create(Arc::clone(&disk), dir, control)?;
        Self::open(disk, dir, owner)
    }

    /// Recovers the journal in `dir` from the medium.
    ///
    /// # Errors
    /// [`JournalError`] when it is damaged; nothing is changed then.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, owner: Owner) -> Result<Self, JournalError> {
        let (control, control_damaged) = ControlFile::open(Arc::clone(&disk), dir)?;
        let (mark, marked) = MarkFile::open(&*disk, dir)?;
        let forgotten = ForgottenFile::open(Arc::clone(&disk), dir)?;
        let kept = control.get();
        let known = marked.map_or(Sequence::NONE, |mark| mark.written.sequence);
        let evidence = Evidence {
            known,
            sealed_here: true,
            cut_at: None,
        };
        let checkpoint = kept.checkpoint.clone();
        let mut facts = Facts {
            set: checkpoint.set,
            opened: checkpoint.opened,
            last_keyed: checkpoint.last_keyed,
            ..Facts::default()
        };
        let receivers_dir = dir.join(RECEIVERS_DIR);
        let Opened { chain, leftovers } = Chain::open(
            Arc::clone(&disk),
            &receivers_dir,
            kept.journal,
            &kept.receivers,
            evidence,
            &mut |bundle| facts.read(bundle),
        )?;
        if let Some(error) = facts.damage.take() {
            return Err(error);
        }
        Ok(Self {
            disk,
            control,
            chain,
            mark,
            forgotten,
            facts,
            earlier: None,
            owner,
            leftovers,
            control_damaged: control_damaged.is_some(),
            adopted: 0,
        })
    }

    /// Deposit keys that landed in the other journals of its recovery group's history, where its own term begins there: the window
    /// of its deposit keys will know them.
    pub fn remember(&mut self, earlier: EarlierKeys, begins: TermBegins) {
        self.earlier = Some((earlier, begins));
    }

    /// What is kept about it.
    pub const fn control(&self) -> &Control {
        self.control.get()
    }

    /// What recovery cleaned up.
    pub fn leftovers(&self) -> &[Leftover] {
        &self.leftovers
    }

    /// Whether the newest control file was damaged and an older one had to do.
    pub const fn control_was_damaged(&self) -> bool {
        self.control_damaged
    }

    /// The last entry flushed here.
    pub fn tip(&self) -> Position {
        self.chain.tip()
    }

    /// Where the next bundle goes.
    pub fn place(&self) -> Place {
        self.chain.place()
    }

    /// The epoch of the last bundle here, or of the last opening if that is higher.
    pub fn epoch(&self) -> Epoch {
        let opened = self.control.get().epoch;
        if self.facts.epoch.rank() > opened.rank() {
            self.facts.epoch
        } else {
            opened
        }
    }

    /// The epoch of the last bundle here.
    pub const fn last_epoch(&self) -> Epoch {
        self.facts.epoch
    }

    /// The record of the last term that was opened in it, where its entry lies behind the last recorded receiver's begin.
    pub const fn term(&self) -> Option<&TermRecord> {
        self.facts.term.as_ref()
    }

    /// The hand-over it ends with, and its entry.
    pub const fn handed_over(&self) -> Option<(Sequence, HandOver)> {
        self.facts.handed_over
    }

    /// The in-sync set in force at the tip.
    pub fn set(&self) -> Option<&(Sequence, SetChange)> {
        self.facts.set.as_ref()
    }

    /// Reads its receivers.
    pub fn reader(&self) -> ChainReader {
        self.chain.reader()
    }

    /// Takes over a receiver that a member of the in-sync set has and this disk lost.
    ///
    /// # Errors
    /// As [`Chain::attach`].
    pub fn adopt_receiver(
        &mut self,
        header: &ReceiverHeader,
        now: Timestamp,
    ) -> Result<(), ReceiverError> {
        self.chain.attach(header, now)
    }

    /// Takes over a bundle that a member of the in-sync set has and this disk lost. Durable after [`Self::adopted`].
    ///
    /// # Errors
    /// As [`Chain::write`].
    pub fn adopt(&mut self, bundle: &SealedBundle) -> Result<(), ReceiverError> {
        self.chain.write(bundle)?;
        self.facts.read(bundle);
        self.adopted += u64::from(bundle.header().entries);
        Ok(())
    }

    /// Flushes what was adopted.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says, or when an adopted entry of the journal's own cannot be read.
    pub fn adopted(&mut self) -> Result<u64, JournalError> {
        self.chain.sync()?;
        if let Some(error) = self.facts.damage.take() {
            return Err(error);
        }
        let written = self.chain.tip();
        self.mark.write(Mark {
            written,
            confirmed: written.sequence,
        })?;
        let receivers = self.chain.reader().records();
        if receivers.len() != self.control.get().receivers.len() {
            self.control
                .update(|control| control.receivers = receivers)?;
        }
        Ok(std::mem::take(&mut self.adopted))
    }

    /// Changes what is kept about it.
    ///
    /// # Errors
    /// As [`ControlFile::update`].
    pub fn update(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        self.control.update(change)
    }
}

/// Makes the directories of a journal, durably.
pub(in crate::journal) fn create_dirs(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let receivers = dir.join(RECEIVERS_DIR);
    let made = disk
        .create_dir(&receivers)
        .and_then(|()| disk.sync_dir(dir))
        .and_then(|()| disk.sync_dir(dir.parent().unwrap_or(Path::new(""))));
    made.map_err(|source| JournalError::io("could not be made", dir, source))
}
