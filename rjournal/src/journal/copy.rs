//! Room `journal`: a copy: a remote journal as it rests here. It takes receiver headers and bundles exactly as another
//! system sealed them, flushes, and knows how far its source has confirmed. Must not know the session that brings them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::control::{Attributes, Control, ControlFile, JournalKind, SourceRecord};
use super::local::{RECEIVERS_DIR, create_dirs};
use super::mark::{Mark, MarkFile};
use super::orphan::{self, Orphan};
use super::tail::{Limit, Tail};
use super::write::{lock, stored};
use crate::disk::Disk;
use crate::entry::control_entry::SetChange;
use crate::entry::progress::CopyProgress;
use crate::entry::{
    Epoch, JournalId, Kind, Place, Position, QualifiedName, ReceiverHeader, ReceiverId,
    SealedBundle, Sequence, SystemId, Timestamp,
};
use crate::error::{JournalError, ReceiverError};
use crate::receiver::{
    Chain, ChainReader, Evidence, Leftover, Opened, Space, SpareSlot, StoredBundle,
};

/// What readers and the status of a copy share with the one thread that writes it.
#[derive(Debug)]
pub struct CopyShared {
    id: JournalId,
    name: QualifiedName,
    tail: Arc<Tail>,
    reader: ChainReader,
    control: Mutex<ControlFile>,
    /// As durable in the control file.
    promised: Mutex<Epoch>,
    set: Mutex<Option<(Sequence, SetChange)>>,
    pub(super) disk: Arc<dyn Disk>,
    dir: PathBuf,
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

    /// The session epoch it accepts.
    pub fn promised(&self) -> Epoch {
        *lock(&self.promised)
    }

    /// The in-sync set its source recorded last, as far as it came here.
    pub fn set(&self) -> Option<(Sequence, SetChange)> {
        lock(&self.set).clone()
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

/// A copy, in the hands of the one thread that writes it.
#[derive(Debug)]
pub struct Copy {
    shared: Arc<CopyShared>,
    chain: Chain,
    mark: MarkFile,
    progress: CopyProgress,
    /// The highest confirmation received; it counts once it is durable (ruling 15).
    heard: Sequence,
    /// Epoch of the last bundle.
    epoch: Epoch,
    receivers_recorded: usize,
    leftovers: Vec<Leftover>,
    /// A cut was begun here and not finished: only opening finishes it, and until then nothing is taken or said.
    cutting: Option<(Sequence, String)>,
}

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
            checkpoint: super::control::Checkpoint::default(),
            links: Vec::new(),
            cut: None,
            orphans: 0,
            stopped: None,
            set_unknown: false,
            next_name: None,
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
        let (mut control, _) = ControlFile::open(Arc::clone(&disk), dir)?;
        let (mut mark_file, mark) = MarkFile::open(&*disk, dir)?;
        let kept = control.get();
        let cut = kept.cut;
        let marked = mark.map_or(Sequence::NONE, |mark| mark.written.sequence);
        let fed = kept.links.iter().map(|link| link.acknowledged);
        let known = orphan::proven(&*disk, dir, kept.orphans, known);
        let known = fed.fold(known, Sequence::max);
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
        let mut set = kept.checkpoint.set.clone();
        let mut epoch = Epoch::NONE;
        let mut durable_upto = Sequence::NONE;
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
                set = set_change(bundle).or(set.take());
            },
        )?;
        let tip = chain.tip();
        let receivers = chain.reader().records();
        let base = receivers
            .first()
            .map_or(Sequence::NONE, |record| record.before.sequence);
        let confirmed = [
            mark.map_or(Sequence::NONE, |mark| mark.confirmed),
            durable_upto,
            known,
            base,
        ]
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
            set: Mutex::new(set),
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

    /// What readers share.
    pub const fn shared(&self) -> &Arc<CopyShared> {
        &self.shared
    }

    /// What opening cleaned up.
    pub fn leftovers(&self) -> &[Leftover] {
        &self.leftovers
    }

    /// The watermarks.
    pub const fn progress(&self) -> CopyProgress {
        self.progress
    }

    /// The last entry written, flushed or not.
    pub fn tip(&self) -> Position {
        self.chain.tip()
    }

    /// Epoch of the last bundle.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where the next bundle goes.
    pub fn place(&self) -> Place {
        self.chain.place()
    }

    fn require_whole(&self) -> Result<(), JournalError> {
        match &self.cutting {
            None => Ok(()),
            Some((at, reason)) => Err(JournalError::CutUnfinished {
                at: *at,
                reason: reason.clone(),
            }),
        }
    }

    /// Promises a session epoch: from then on lower ones are refused. Durable when this returns; so is the path the
    /// entries take to here, which keeps cascades from becoming circles.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    ///
    /// # Panics
    /// When the promise would go back: callers compare first.
    pub fn promise(&mut self, epoch: Epoch, path: Vec<SystemId>) -> Result<(), JournalError> {
        self.require_whole()?;
        let promised = self.shared.promised();
        assert!(
            epoch.rank() >= promised.rank(),
            "a promise went back from {promised} to {epoch}"
        );
        self.shared.update(|control| {
            control.promised = epoch;
            if let JournalKind::Remote(source) = &mut control.kind {
                source.path = path;
            }
        })?;
        // Persist, then say.
        *lock(&self.shared.promised) = epoch;
        Ok(())
    }

    /// Begins a receiver.
    ///
    /// # Errors
    /// [`JournalError`] as [`Chain::attach`].
    pub fn receive_header(
        &mut self,
        header: &ReceiverHeader,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        self.require_whole()?;
        let first = self.chain.attached().is_none();
        self.chain.attach(header, now)?;
        if first && header.before.sequence > Sequence::NONE {
            // An empty copy that begins in the middle: what lies before is elsewhere.
            let base = header.before.sequence;
            self.progress = CopyProgress {
                received: base,
                written: base,
                confirmed: base,
            };
            self.heard = base;
            self.shared.tail.begin_at(header.before);
        }
        Ok(())
    }

    /// Writes a bundle, without flushing it.
    ///
    /// # Errors
    /// [`JournalError`] as [`Chain::write`].
    ///
    /// # Panics
    /// Never: a bundle that was written has a receiver it is in.
    pub fn receive(&mut self, bundle: &SealedBundle) -> Result<(), JournalError> {
        self.require_whole()?;
        self.chain.write(bundle)?;
        let attached = self
            .chain
            .attached()
            .expect("a bundle was written, so a receiver is attached");
        self.shared.tail.add(stored(bundle, attached), bundle);
        self.progress.advance(CopyProgress {
            received: bundle.last().sequence,
            ..self.progress
        });
        self.heard = self.heard.max(bundle.header().durable_upto);
        self.epoch = bundle.header().epoch;
        if let Some(set) = set_change(bundle) {
            *lock(&self.shared.set) = Some(set);
        }
        Ok(())
    }

    /// Flushes what was received; confirmations that came with it count from then on.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says; final for this copy until it is opened again.
    pub fn flush(&mut self) -> Result<CopyProgress, JournalError> {
        self.require_whole()?;
        self.chain.sync()?;
        let written = self.chain.tip();
        let confirmed = self
            .heard
            .min(written.sequence)
            .max(self.progress.confirmed);
        self.mark.write(Mark { written, confirmed })?;
        self.progress.advance(CopyProgress {
            received: written.sequence,
            written: written.sequence,
            confirmed,
        });
        self.shared.tail.set_written(written.sequence);
        self.shared.tail.set_settled(confirmed);
        self.record_receivers()?;
        Ok(self.progress)
    }

    /// Hears a confirmation that no bundle follows: durable in the mark when this returns (ruling 15).
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn confirm(&mut self, upto: Sequence) -> Result<CopyProgress, JournalError> {
        self.require_whole()?;
        if self.progress.received > self.progress.written {
            self.flush()?;
        }
        let written = self.chain.tip();
        let confirmed = upto.min(written.sequence);
        if confirmed > self.progress.confirmed {
            self.mark.write_durably(Mark { written, confirmed })?;
            self.heard = self.heard.max(confirmed);
            self.progress.advance(CopyProgress {
                confirmed,
                ..self.progress
            });
            self.shared.tail.set_settled(confirmed);
        }
        Ok(self.progress)
    }

    fn record_receivers(&mut self) -> Result<(), JournalError> {
        let receivers = self.chain.reader().records();
        if receivers.len() == self.receivers_recorded {
            return Ok(());
        }
        let count = receivers.len();
        let begins = receivers
            .last()
            .map_or(Sequence::NONE, |record| record.before.sequence);
        let set = self
            .shared
            .set()
            .filter(|(sequence, _)| *sequence <= begins);
        self.shared.update(|control| {
            control.receivers = receivers;
            if set.is_some() {
                control.checkpoint.set = set;
            }
        })?;
        self.receivers_recorded = count;
        Ok(())
    }

    /// Moves everything behind `at` into an orphan archive: first the archive is durable, then the cut is recorded, then it
    /// is made (failures.md I9). Nothing is archived when nothing lies behind.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says while it is archived, and nothing was changed then. [`JournalError::CutUnfinished`]
    /// from where the cut is recorded on: as after a crash in the middle the next opening finishes it. This copy takes
    /// nothing until then: what it received would stand behind the cut, and go with it.
    ///
    /// # Panics
    /// When `at` lies below the confirmed position: what is confirmed is never cut (I8).
    pub fn archive_behind(
        &mut self,
        at: Position,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Orphan>, JournalError> {
        assert!(
            at.sequence >= self.progress.confirmed,
            "a cut at {at:?} below confirmed {:?}",
            self.progress.confirmed
        );
        self.require_whole()?;
        if self.chain.tip() == at {
            return Ok(None);
        }
        self.chain.sync()?;
        let number = self.shared.control().orphans + 1;
        let archived = orphan::archive(
            &self.shared.disk,
            &self.shared.dir,
            &self.shared.reader,
            number,
            at,
            reason,
            now,
        )?;
        if let Err(error) = self.cut(at, number) {
            self.cutting = Some((at.sequence, error.to_string()));
        }
        self.require_whole()?;
        Ok(Some(archived))
    }

    /// Records the cut, makes it, and takes the record back.
    fn cut(&mut self, at: Position, orphan: u64) -> Result<(), JournalError> {
        let kept: Vec<_> = self
            .chain
            .reader()
            .records()
            .into_iter()
            .filter(|record| record.before.sequence < at.sequence)
            .collect();
        self.shared.update(|control| {
            control.orphans = orphan;
            control.cut = Some(super::control::PendingCut { at });
            control.receivers = kept;
            if let Some(last) = control.receivers.last_mut() {
                last.last = None;
                last.detached_at = None;
                last.bytes = 0;
            }
        })?;
        self.chain.cut(at)?;
        let confirmed = self.progress.confirmed;
        self.mark.write_durably(Mark {
            written: at,
            confirmed,
        })?;
        self.progress = CopyProgress {
            received: at.sequence,
            written: at.sequence,
            confirmed,
        };
        self.heard = self.heard.min(at.sequence);
        self.shared.tail.cut(at);
        let receivers = self.chain.reader().records();
        self.receivers_recorded = receivers.len();
        self.shared.update(|control| {
            control.receivers = receivers;
            control.cut = None;
        })
    }

    /// Removes the oldest receivers up to and with `receiver`; the attached one stays.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn forget_upto(&mut self, receiver: ReceiverId) -> Result<u64, JournalError> {
        self.require_whole()?;
        let paths = self.chain.forget_upto(receiver);
        let receivers = self.chain.reader().records();
        self.receivers_recorded = receivers.len();
        self.shared
            .update(|control| control.receivers = receivers)?;
        for path in &paths {
            self.shared
                .disk
                .remove(path)
                .map_err(|source| JournalError::io("could not be removed", path, source))?;
        }
        Ok(paths.len() as u64)
    }

    /// The chain head at an entry, if it is here.
    ///
    /// # Errors
    /// As [`ChainReader::head_at`].
    pub fn head_at(
        &self,
        sequence: Sequence,
    ) -> Result<Option<crate::entry::ChainHead>, ReceiverError> {
        self.shared.reader.head_at(sequence)
    }

    /// Where the next receiver's file is made ready, how large, and how: for [`SpareSlot::prepare`].
    pub fn spare(&self) -> Option<(SpareSlot, u64, Space)> {
        let bytes = Chain::capacity(self.chain.attached()?.threshold);
        Some((self.chain.spare(), bytes, self.chain.next_space()))
    }
}

/// The last change of the in-sync set in a bundle.
fn set_change(bundle: &SealedBundle) -> Option<(Sequence, SetChange)> {
    let changes = bundle
        .entries()
        .flatten()
        .filter(|view| view.kind == Kind::IN_SYNC_SET);
    changes
        .filter_map(|view| Some((view.sequence, SetChange::decode(view.payload.bytes()).ok()?)))
        .last()
}
