//! Room `journal`, a copy: what its readers, its status and whoever decides who may feed it share with the one thread that
//! writes it. Must not know how it is written.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::disk::Disk;
use crate::entry::control_entry::SetChange;
use crate::entry::{Epoch, JournalId, QualifiedName, Sequence, SystemId, TermRecord};
use crate::error::{JournalError, ReceiverError};
use crate::journal::control::{Control, ControlFile};
use crate::journal::orphan::{self, Orphan};
use crate::journal::sets::Sets;
use crate::journal::tail::{Limit, Tail};
use crate::journal::write::lock;
use crate::receiver::{ChainReader, StoredBundle};

/// Who may feed a copy that belongs to a recovery group, as the group's standing says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority {
    /// The term promised: every lower one is refused.
    pub term: u64,
    /// The only system that may feed it.
    pub source: SystemId,
    /// Whether everything that must be here before is: the closed segments of earlier terms (ruling 6).
    pub ready: bool,
}

/// What readers and the status of a copy share with the one thread that writes it.
#[derive(Debug)]
pub struct CopyShared {
    pub(super) id: JournalId,
    pub(super) name: QualifiedName,
    pub(super) tail: Arc<Tail>,
    pub(super) reader: ChainReader,
    pub(super) control: Mutex<ControlFile>,
    /// As durable in the control file.
    pub(super) promised: Mutex<Epoch>,
    pub(super) sets: Mutex<Sets>,
    /// Nothing for a copy outside any group.
    pub(super) authority: Mutex<Option<Authority>>,
    /// The record of the last term that came in it, and its entry.
    pub(super) term: Mutex<Option<(Sequence, TermRecord)>>,
    pub(super) epoch: Mutex<Epoch>,
    pub(in crate::journal) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
}

impl CopyShared {
    /// Identity of the journal.
    pub const fn id(&self) -> JournalId {
        self.id
    }

    /// Name here.
    pub const fn name(&self) -> QualifiedName {
        self.name
    }

    /// The end of the copy.
    pub const fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Its receivers.
    pub const fn reader(&self) -> &ChainReader {
        &self.reader
    }

    /// A copy of what is kept about it.
    pub fn control(&self) -> Control {
        lock(&self.control).get().clone()
    }

    /// Changes what is kept about it, durably.
    ///
    /// # Errors
    /// As [`ControlFile::update`].
    pub fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        lock(&self.control).update(change)
    }

    /// The session epoch it accepts: its own promise, or the group's where that is of a higher term (ruling 2).
    pub fn promised(&self) -> Epoch {
        let own = *lock(&self.promised);
        match self.authority() {
            Some(authority) if authority.term > own.term => Epoch {
                term: authority.term,
                ..Epoch::NONE
            },
            _ => own,
        }
    }

    /// Who may feed it, where it belongs to a group.
    pub fn authority(&self) -> Option<Authority> {
        *lock(&self.authority)
    }

    /// Says who may feed it. What is durable of that, is so before. A term is never lowered: who looked at the standing earlier
    /// may say so later.
    pub fn set_authority(&self, authority: Option<Authority>) {
        let mut kept = lock(&self.authority);
        let lower = kept
            .zip(authority)
            .is_some_and(|(kept, new)| new.term < kept.term);
        if !lower {
            *kept = authority;
        }
    }

    /// Epoch of its last bundle.
    pub fn tip_epoch(&self) -> Epoch {
        *lock(&self.epoch)
    }

    /// The record of the last term that began in it, and its entry, flushed or not.
    pub fn term(&self) -> Option<(Sequence, TermRecord)> {
        *lock(&self.term)
    }

    /// The in-sync set its source recorded last, as far as it came here.
    pub fn set(&self) -> Option<(Sequence, SetChange)> {
        lock(&self.sets).last().cloned()
    }

    /// Whether the source may have answered entries that are not here. Not so where the changes of the in-sync set that came
    /// here say that nothing is answered without this copy: under policy block or reject the source lets a member know, on its
    /// disk, before it goes on without it. `me` is this system. For the dialogue of a takeover (ruling 13); what an operator
    /// forced at the source, or opened alone there, is not known here.
    pub fn local_answers_possible(&self, me: SystemId) -> bool {
        let confirmed = self.tail.marks().settled;
        let began_behind = lock(&self.control).get().began_behind;
        let began_behind = began_behind.unwrap_or(Sequence::NONE);
        lock(&self.sets).local_answers_possible(me, self.name, confirmed, began_behind)
    }

    /// Bundles after `after`, as [`Tail::bundles_after`].
    ///
    /// # Errors
    /// As [`Tail::bundles_after`].
    pub fn bundles_after(
        &self,
        after: Sequence,
        limit: Limit,
        bytes_max: usize,
    ) -> Result<Vec<StoredBundle>, ReceiverError> {
        self.tail
            .bundles_after(&self.reader, after, limit, bytes_max)
    }

    /// Orphan archives of this copy.
    ///
    /// # Errors
    /// [`JournalError::Orphan`] when one cannot be read, `Version` when a newer program wrote it.
    pub fn orphans(&self) -> Result<Vec<Orphan>, JournalError> {
        orphan::list(&*self.disk, &self.dir)
    }
}
