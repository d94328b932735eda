//! Room `journal`, a copy: in the hands of the one thread that writes it: it takes receiver headers and bundles, flushes, and
//! hears confirmations. Must not know the session that brings them.

use std::sync::Arc;

use super::shared::CopyShared;
use crate::entry::control_entry::OpenEntry;
use crate::entry::progress::CopyProgress;
use crate::entry::{
    Epoch, Kind, Place, Position, ReceiverHeader, ReceiverId, SealedBundle, Sequence, SystemId,
    TermRecord, Timestamp,
};
use crate::error::{JournalError, ReceiverError};
use crate::journal::control::JournalKind;
use crate::journal::mark::{Mark, MarkFile};
use crate::journal::write::{lock, stored};
use crate::receiver::{Chain, Leftover, Space, SpareSlot};

/// A copy, in the hands of the one thread that writes it.
#[derive(Debug)]
pub struct Copy {
    pub(super) shared: Arc<CopyShared>,
    pub(super) chain: Chain,
    pub(super) mark: MarkFile,
    pub(super) progress: CopyProgress,
    /// The highest confirmation received; it counts once it is durable (ruling 15).
    pub(super) heard: Sequence,
    /// Epoch of the last bundle.
    pub(super) epoch: Epoch,
    pub(super) receivers_recorded: usize,
    pub(super) leftovers: Vec<Leftover>,
    /// A cut was begun here and not finished: only opening finishes it, and until then nothing is taken or said.
    pub(super) cutting: Option<(Sequence, String)>,
}
impl Copy {
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

    pub(super) fn require_whole(&self) -> Result<(), JournalError> {
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

    /// An empty copy is to be fed by a source that ends at `tip`: what is said of this copy up to there was said of one
    /// before it. Durable when this returns; nothing changes on a copy that holds something.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn begin_behind(&mut self, tip: Sequence) -> Result<(), JournalError> {
        if self.chain.attached().is_some() {
            return Ok(());
        }
        self.shared
            .update(|control| control.began_behind = Some(tip))
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
        self.set_epoch(bundle.header().epoch);
        lock(&self.shared.sets).read(bundle, self.progress.confirmed);
        if let Some(term) = term_record(bundle) {
            *lock(&self.shared.term) = Some(term);
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

    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        *lock(&self.shared.epoch) = epoch;
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
        let set = lock(&self.shared.sets).last_upto(begins).cloned();
        self.shared.update(|control| {
            control.receivers = receivers;
            if set.is_some() {
                control.checkpoint.set = set;
            }
            if control.kind == JournalKind::Local {
                // Keys in what was fetched are looked for when it is opened.
                control.checkpoint.last_keyed = begins;
            }
        })?;
        self.receivers_recorded = count;
        Ok(())
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

/// The last record of a term in a bundle.
pub(super) fn term_record(bundle: &SealedBundle) -> Option<(Sequence, TermRecord)> {
    let opened = bundle
        .entries()
        .flatten()
        .filter(|view| view.kind == Kind::OPENED);
    opened
        .filter_map(|view| {
            let entry = OpenEntry::decode(view.payload.bytes()).ok()?;
            Some((view.sequence, entry.term?))
        })
        .last()
}
