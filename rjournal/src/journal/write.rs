//! Room `journal`: sealing and writing. The one writer of a local journal takes what depositors have numbered, seals it
//! into a bundle, hands the bundle to the tail (from where *SYNC links ship it at once), writes and flushes it here, and
//! changes receivers. Sealing and writing are two steps, so that what happens between them can be tested.
//! Must not know links or answers' classes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::control::{Attributes, Checkpoint, ControlFile, ManageReceivers};
use super::deposit::{Asks, Intake, RESERVE_BYTES, Taken};
use super::forgotten::ForgottenFile;
use super::local::Journal;
use super::mark::{Mark, MarkFile};
use super::name::next_receiver_name;
use super::tail::Tail;
use crate::entry::codec::{self, BUNDLE_HEADER_BYTES, Seal};
use crate::entry::control_entry::Neighbour;
use crate::entry::{
    Draft, Epoch, GroupId, Kind, Position, QualifiedName, RECEIVER_HEADER_BYTES, ReceiverHeader,
    ReceiverId, SealedBundle, Sequence, Timestamp,
};
use crate::error::JournalError;
use crate::receiver::{Chain, Space, SpareSlot, SpareState, StoredBundle};

/// Where random bytes come from.
pub trait Entropy: std::fmt::Debug + Send + Sync {
    /// 16 random bytes.
    fn id(&self) -> [u8; 16];
}

/// The one writer of a local journal.
#[derive(Debug)]
pub struct Writer {
    journal: Arc<Journal>,
    chain: Chain,
    mark: MarkFile,
    forgotten: ForgottenFile,
    entropy: Arc<dyn Entropy>,
    epoch: Epoch,
    sealed: Position,
    written: Position,
    poisoned: bool,
}

/// What was sealed and is not written yet.
#[derive(Debug)]
pub struct Batch {
    bundles: Vec<SealedBundle>,
    change: Option<Change>,
}

/// What the disk was asked for before sealing, so that sealing waits for no disk.
#[derive(Debug)]
pub struct Ready {
    attributes: Arc<Attributes>,
    /// The receiver that is changed to, and the bytes its file has.
    next: Option<(ReceiverHeader, u64)>,
}

#[derive(Debug)]
struct Change {
    header: Arc<ReceiverHeader>,
    first: SealedBundle,
}

/// A change of receivers an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChangeOrder {
    /// Name of the next receiver, or one made from the last.
    pub(super) name: Option<QualifiedName>,
}

impl Writer {
    pub(super) fn new(
        journal: Arc<Journal>,
        chain: Chain,
        (mark, forgotten): (MarkFile, ForgottenFile),
        entropy: Arc<dyn Entropy>,
        epoch: Epoch,
    ) -> Self {
        let tip = chain.tip();
        Self {
            journal,
            chain,
            mark,
            forgotten,
            entropy,
            epoch,
            sealed: tip,
            written: tip,
            poisoned: false,
        }
    }

    /// The journal this writes.
    pub const fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    fn intake(&self) -> &Intake {
        &self.journal.intake
    }

    fn tail(&self) -> &Tail {
        &self.journal.tail
    }

    fn control(&self) -> MutexGuard<'_, ControlFile> {
        lock(&self.journal.control)
    }

    pub(super) fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Writes what is open, and comes back when it is on disk: both steps in one.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn step(&mut self, now: Timestamp) -> Result<Position, JournalError> {
        if let Some(batch) = self.seal(now)? {
            self.write(batch, now)?;
        }
        Ok(self.written)
    }

    /// Makes ready and seals: both steps in one.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn seal(&mut self, now: Timestamp) -> Result<Option<Batch>, JournalError> {
        let ready = self.ready()?;
        Ok(self.seal_ready(ready, now))
    }

    /// Asks the disk for what sealing may need: the next receiver an operator ordered, room a depositor waits for. Decides
    /// whether the receiver is changed.
    ///
    /// # Errors
    /// [`JournalError`] when a receiver an operator asked for cannot be made ready, or when the attached one failed while
    /// room was made in it: then the journal is poisoned, as by [`Self::write`].
    pub fn ready(&mut self) -> Result<Ready, JournalError> {
        let attributes = self.journal.attributes();
        let asks = self.intake().asks();
        let next = self.next_receiver(&attributes, asks.open_bytes)?;
        if next.is_none() && asks.room_wanted > 0 {
            self.make_room(asks, &attributes)?;
        }
        Ok(Ready { attributes, next })
    }

    /// Seals what depositors have numbered, if anything, and hands it to the tail. Nothing here waits for a disk.
    pub fn seal_ready(&mut self, ready: Ready, now: Timestamp) -> Option<Batch> {
        let Ready { attributes, next } = ready;
        let room_after = |taken: u64| match &next {
            Some((_, bytes)) => {
                bytes.saturating_sub(RECEIVER_HEADER_BYTES as u64 + 2 * RESERVE_BYTES)
            }
            None => self.chain.room().saturating_sub(taken + RESERVE_BYTES),
        };
        let own = if next.is_some() { 2 } else { 0 };
        let taken = self.intake().take(own, now, room_after);
        let mut batch = Batch {
            bundles: Vec::new(),
            change: None,
        };
        let time = taken.time;
        if let Some(bundle) = self.seal_taken(taken, &attributes) {
            self.hand_over(&bundle);
            batch.bundles.push(bundle);
        }
        if let Some((header, _)) = next {
            self.seal_change(&mut batch, header, time, &attributes);
        }
        (!batch.bundles.is_empty()).then_some(batch)
    }

    /// Whether the receiver is changed now, and to which one; `before` in its header is filled in when it is sealed.
    fn next_receiver(
        &mut self,
        attributes: &Attributes,
        open_bytes: u64,
    ) -> Result<Option<(ReceiverHeader, u64)>, JournalError> {
        let order = self.journal.take_change_order();
        let capacity = Chain::capacity(attributes.threshold);
        if order.is_some() {
            // An operator waits for it; otherwise a change waits until the next receiver is ready.
            self.chain.spare().prepare(capacity, Space::Zeroed)?;
        }
        let due = self.chain.end() + open_bytes >= attributes.threshold;
        let by_itself = due && attributes.manage_receivers == ManageReceivers::System;
        let SpareState::Ready(bytes) = self.chain.spare().state() else {
            // Another thread fills it, and wakes the writer when it is done: the order waits for that.
            if let Some(order) = order {
                self.journal.keep_change_order(order);
            }
            return Ok(None);
        };
        if order.is_none() && !by_itself {
            return Ok(None);
        }
        let records = self.chain.reader().records();
        let taken = |name: QualifiedName| records.iter().any(|record| record.name == name);
        let last = records
            .last()
            .map_or(self.journal.name(), |record| record.name);
        let named = order
            .and_then(|order| order.name)
            .or_else(|| self.control().get().next_name);
        let free = |name, named| !taken(name) && self.journal.claim_name(name, named);
        let name = match named.filter(|name| free(*name, true)) {
            Some(name) => name,
            None => next_receiver_name(last, |name| !free(name, false))
                .ok_or(JournalError::NoFreeName { name: last })?,
        };
        let previous = self
            .chain
            .attached()
            .map_or(ReceiverId::NONE, |attached| attached.receiver);
        let header = ReceiverHeader {
            receiver: ReceiverId::from_bytes(self.entropy.id()),
            journal: self.journal.id(),
            group: GroupId::from(self.journal.id()),
            name,
            journal_name: self.journal.name(),
            origin_name: self.journal.origin_name(),
            origin: self.journal.origin(),
            previous,
            before: self.sealed,
            threshold: attributes.threshold,
            alignment: attributes.alignment,
        };
        Ok(Some((header, bytes)))
    }

    fn seal_taken(&mut self, taken: Taken, attributes: &Attributes) -> Option<SealedBundle> {
        let bundle = taken.bundle?;
        assert_eq!(
            taken.first,
            self.sealed.sequence.next(),
            "a bundle does not follow the last one sealed"
        );
        Some(self.seal_buffer(
            bundle.buffer,
            bundle.entries,
            self.chain.attached()?.receiver,
            self.chain.end(),
            attributes,
        ))
    }

    fn seal_buffer(
        &mut self,
        buffer: Vec<u8>,
        entries: u32,
        receiver: ReceiverId,
        offset: u64,
        attributes: &Attributes,
    ) -> SealedBundle {
        let attached = self
            .chain
            .attached()
            .filter(|attached| attached.receiver == receiver);
        let alignment = attached.map_or(attributes.alignment, |attached| attached.alignment);
        let seal = Seal {
            receiver,
            offset,
            align: alignment.bytes(),
            epoch: self.epoch,
            before: self.sealed,
            durable_upto: self.written.sequence,
        };
        let bundle = codec::seal(buffer, entries, &seal);
        self.sealed = bundle.last();
        bundle
    }

    /// Seals an entry of the journal's own in a bundle of its own (ruling 17).
    fn seal_own(
        &mut self,
        draft: &Draft<'_>,
        time: Timestamp,
        receiver: ReceiverId,
        offset: u64,
        attributes: &Attributes,
    ) -> SealedBundle {
        let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
        codec::encode_entry(
            &mut buffer,
            draft,
            self.sealed.sequence.next(),
            time,
            None,
            None,
        );
        self.seal_buffer(buffer, 1, receiver, offset, attributes)
    }

    /// Seals the entries that end the attached receiver and begin the next.
    fn seal_change(
        &mut self,
        batch: &mut Batch,
        mut header: ReceiverHeader,
        time: Timestamp,
        attributes: &Attributes,
    ) {
        let end = batch
            .bundles
            .last()
            .map_or(self.chain.end(), |bundle| bundle.header().end());
        let last = self.chain.attached();
        if let Some(last) = &last {
            let next = Neighbour::of(header.receiver, header.name, &header).encode();
            let bundle = self.seal_own(
                &Draft::new(Kind::RECEIVER_NEXT, &next),
                time,
                last.receiver,
                end,
                attributes,
            );
            self.hand_over(&bundle);
            batch.bundles.push(bundle);
        }
        header.before = self.sealed;
        let name = last.map_or(header.name, |last| last.name);
        let previous = Neighbour::of(header.previous, name, &header).encode();
        let begin = RECEIVER_HEADER_BYTES as u64;
        let first = self.seal_own(
            &Draft::new(Kind::RECEIVER_PREVIOUS, &previous),
            time,
            header.receiver,
            begin,
            attributes,
        );
        batch.change = Some(Change {
            header: Arc::new(header),
            first,
        });
    }

    /// A depositor waits for more room than the attached receiver has, and there is no next one yet. A full disk is asked
    /// again later; whatever else goes wrong is final (failures.md DEP-5).
    fn make_room(&mut self, asks: Asks, attributes: &Attributes) -> Result<(), JournalError> {
        let wanted = asks.room_wanted;
        let kept = asks.open_bytes + RESERVE_BYTES;
        let refused = match self.chain.secure(kept + wanted) {
            Ok(()) => None,
            Err(error) if error.is_disk_full() => {
                tracing::warn!(journal = %self.journal.name(), %error, "no room for deposits");
                Some(wanted)
            }
            Err(error) => {
                self.poison();
                return Err(error.into());
            }
        };
        let room = self.chain.room().saturating_sub(RESERVE_BYTES);
        self.intake()
            .set_room(room, u64::from(attributes.alignment.bytes()), refused);
        Ok(())
    }

    fn hand_over(&self, bundle: &SealedBundle) {
        let attached = self
            .chain
            .attached()
            .expect("nothing is sealed without an attached receiver");
        self.tail().add(stored(bundle, attached), bundle);
    }

    /// Writes a batch and flushes it. On an error the journal is poisoned: sealed entries are UNKNOWN, later ones REFUSED.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says.
    pub fn write(&mut self, batch: Batch, now: Timestamp) -> Result<Position, JournalError> {
        let written = self.write_batch(batch, now);
        if written.is_err() {
            self.poison();
        }
        written
    }

    fn write_batch(&mut self, batch: Batch, now: Timestamp) -> Result<Position, JournalError> {
        for bundle in &batch.bundles {
            self.chain.write(bundle)?;
        }
        let changed = batch.change.is_some();
        if let Some(change) = batch.change {
            self.chain.attach(&change.header, now)?;
            self.tail()
                .add(stored(&change.first, change.header), &change.first);
            self.chain.write(&change.first)?;
        }
        self.chain.sync()?;
        // Persist, then say: only behind this line is anything written.
        self.written = self.chain.tip();
        self.mark.write(Mark {
            written: self.written,
            confirmed: self.written.sequence,
        })?;
        self.tail().set_written(self.written.sequence);
        if changed {
            self.record_receivers()?;
        }
        Ok(self.written)
    }

    /// Puts the receiver directory down, with what was true where the attached receiver begins.
    fn record_receivers(&mut self) -> Result<(), JournalError> {
        let receivers = self.chain.reader().records();
        let begins = receivers
            .last()
            .map_or(Sequence::NONE, |record| record.before.sequence);
        let checkpoint = Checkpoint {
            set: self.journal.set_at(begins),
            last_keyed: self.intake().last_keyed(),
            opened: self.journal.opened(),
        };
        if let Err(error) = self.keep_keys() {
            // The next opening reads further back; before a receiver goes it is tried again.
            tracing::warn!(journal = %self.journal.name(), %error, "forgotten deposit keys are not kept yet");
        }
        self.control().update(|control| {
            control.next_name = control
                .next_name
                .filter(|name| receivers.iter().all(|record| record.name != *name));
            control.receivers = receivers;
            control.checkpoint = checkpoint;
        })
    }

    /// Puts down what is forgotten of deposit keys, those of receivers that go included. The next opening reads on behind them.
    fn keep_keys(&mut self) -> Result<(), JournalError> {
        if self.intake().last_keyed() <= self.forgotten.upto() {
            return Ok(());
        }
        let gone = self.chain.reader().oldest().sequence;
        let (upto, forgotten) = self.intake().forgotten_upto(gone);
        if upto > self.forgotten.upto() {
            self.forgotten.save(upto, &forgotten)?;
        }
        Ok(())
    }

    /// Begins a receiver without ending one: the first of a journal, the one that J NR announced right before a crash, or
    /// (nothing given) the attached one whose first entry a crash took.
    pub(super) fn begin_receiver(
        &mut self,
        header: Option<ReceiverHeader>,
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let attributes = self.journal.attributes();
        let records = self.chain.reader().records();
        let header = match header {
            Some(header) => {
                self.chain.attach(&header, now)?;
                Arc::new(header)
            }
            None => self
                .chain
                .attached()
                .expect("only called so with an attached receiver"),
        };
        let before = records
            .iter()
            .find(|record| record.receiver == header.previous);
        let previous = Neighbour::of(
            header.previous,
            before.map_or(header.name, |record| record.name),
            &header,
        )
        .encode();
        let taken = self.intake().take(1, now, |_| 0);
        let begin = RECEIVER_HEADER_BYTES as u64;
        let draft = Draft::new(Kind::RECEIVER_PREVIOUS, &previous);
        let first = self.seal_own(&draft, taken.time, header.receiver, begin, &attributes);
        self.tail().add(stored(&first, header), &first);
        self.chain.write(&first)?;
        self.chain.sync()?;
        self.written = self.chain.tip();
        self.tail().set_written(self.written.sequence);
        self.record_receivers()
    }

    /// Tells the intake how much room the attached receiver has.
    pub(super) fn announce_room(&self) {
        let alignment = self
            .chain
            .attached()
            .map_or(8, |attached| attached.alignment.bytes());
        self.intake().set_room(
            self.chain.room().saturating_sub(RESERVE_BYTES),
            u64::from(alignment),
            None,
        );
    }

    fn poison(&mut self) {
        self.poisoned = true;
        self.intake().poison(self.sealed.sequence);
        self.tail().close();
    }

    /// Where the next receiver is made ready, and with how many bytes: a job for another thread.
    pub fn spare(&self) -> (SpareSlot, u64) {
        (
            self.chain.spare(),
            Chain::capacity(self.journal.attributes().threshold),
        )
    }

    /// The attached receiver, where it reached its threshold and only an operator changes it (MNGRCV *USER).
    pub fn awaits_change(&self) -> Option<Arc<ReceiverHeader>> {
        let attributes = self.journal.attributes();
        let due = attributes.manage_receivers == ManageReceivers::User
            && self.chain.end() >= attributes.threshold;
        if due { self.chain.attached() } else { None }
    }

    /// Whether a write or flush went wrong.
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Removes the oldest receivers up to and with `receiver`: first from the directory, then the files (failures.md
    /// DEL-2). The attached one stays.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses; files that stay behind are removed at the next start.
    pub fn forget_upto(&mut self, receiver: ReceiverId) -> Result<u64, JournalError> {
        let paths = self.chain.forget_upto(receiver);
        self.keep_keys()?;
        let receivers = self.chain.reader().records();
        self.control()
            .update(|control| control.receivers = receivers)?;
        remove_files(&self.journal, &paths)
    }
}

pub(super) fn remove_files(
    journal: &Journal,
    paths: &[std::path::PathBuf],
) -> Result<u64, JournalError> {
    for path in paths {
        journal
            .disk
            .remove(path)
            .map_err(|source| JournalError::io("could not be removed", path, source))?;
    }
    Ok(paths.len() as u64)
}

pub(super) fn stored(bundle: &SealedBundle, receiver: Arc<ReceiverHeader>) -> StoredBundle {
    StoredBundle {
        receiver,
        header: *bundle.header(),
        bytes: bundle.bytes().clone(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
