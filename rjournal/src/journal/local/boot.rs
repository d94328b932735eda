//! Room `journal`, a local journal: a boot begins: a new epoch, the window of deposit keys, and the first entries, flushed
//! before anybody deposits. Must not open the gate.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use super::open::Journal;
use super::recovered::Recovered;
use crate::entry::control_entry::{Neighbour, OpenEntry, OpenReason, SetReason};
use crate::entry::{
    Draft, Epoch, GroupId, Kind, Position, QualifiedName, ReceiverHeader, ReceiverId, Sequence,
    TermRecord, Timestamp,
};
use crate::error::JournalError;
use crate::journal::answer::Answers;
use crate::journal::deposit::Intake;
use crate::journal::forgotten::ForgottenFile;
use crate::journal::keys::KeyWindow;
use crate::journal::mark::MarkFile;
use crate::journal::name::next_receiver_name;
use crate::journal::tail::Tail;
use crate::journal::write::{Entropy, Writer, lock};
use crate::receiver::Chain;

/// Makes the record of a term that begins: from its epoch, and the position before its first bundle.
pub type RecordTerm<'a> = dyn Fn(Epoch, Position) -> Result<TermRecord, JournalError> + 'a;

impl Recovered {
    /// Opens it for the first deposits of a term of its recovery group, above `(term, boot)`; the close record of the term
    /// before is in its first entry. As [`Self::open_for_deposits`] otherwise.
    ///
    /// # Errors
    /// As [`Self::open_for_deposits`], and what `record` says.
    pub fn open_term(
        self,
        rank_above: (u64, u64),
        record: &RecordTerm<'_>,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<(Arc<Journal>, Writer), JournalError> {
        self.boot(OpenReason::Term, rank_above, Some(record), entropy, now)
    }

    /// Opens it for deposits in a new epoch: `rank_above` is the highest `(term, boot)` anybody was heard to know, so that
    /// the new one is above it. The first entry of the boot is flushed before this returns; the gate is still closed.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says.
    pub fn open_for_deposits(
        self,
        reason: OpenReason,
        rank_above: (u64, u64),
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<(Arc<Journal>, Writer), JournalError> {
        self.boot(reason, rank_above, None, entropy, now)
    }

    fn boot(
        mut self,
        reason: OpenReason,
        rank_above: (u64, u64),
        record: Option<&RecordTerm<'_>>,
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<(Arc<Journal>, Writer), JournalError> {
        let before = self.epoch();
        let (term, boot) = before.rank().max(rank_above);
        let [n0, n1, n2, n3, n4, n5, n6, n7, ..] = entropy.id();
        let nonce = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let epoch = Epoch {
            term: term.max(1),
            boot: boot.checked_add(1).ok_or(JournalError::NoFreeEpoch)?,
            nonce,
        };
        // Persist, then say: no entry may carry an epoch that a crash could make this system use again.
        self.control.update(|control| control.epoch = epoch)?;
        let keys = self.key_window()?;
        let tip = self.chain.tip();
        let term = record.map(|record| record(epoch, tip)).transpose()?;
        let next = self.facts.next;
        let (journal, chain, files) = self.into_parts(keys, tip);
        let mut writer = Writer::new(Arc::clone(&journal), chain, files, entropy, epoch);
        writer.begin_boot(next, before, (reason, term), now)?;
        Ok((journal, writer))
    }

    fn into_parts(
        self,
        keys: KeyWindow,
        tip: Position,
    ) -> (Arc<Journal>, Chain, (MarkFile, ForgottenFile)) {
        let control = self.control.get();
        let answers = Answers::new();
        let intake = Intake::new(
            tip.sequence,
            self.facts.last_time,
            keys,
            self.facts.last_keyed,
            Arc::clone(&answers),
        );
        let journal = Journal {
            id: control.journal,
            name: control.name,
            owner: self.owner,
            epoch: control.epoch,
            intake,
            // Which of what is here was acknowledged by the set is not known in this room: nothing is settled before it is told.
            tail: Tail::new(tip, Sequence::NONE),
            answers,
            reader: self.chain.reader(),
            attributes: Mutex::new(Arc::new(control.attributes.clone())),
            sets: Mutex::new(self.facts.set.into_iter().collect()),
            handed_over: AtomicBool::new(false),
            opened: Mutex::new(self.facts.opened),
            order: Mutex::new(None),
            names: std::sync::OnceLock::new(),
            disk: self.disk,
            control: Mutex::new(self.control),
        };
        (Arc::new(journal), self.chain, (self.mark, self.forgotten.0))
    }

    /// Makes the window of deposit keys again: from the receivers, and from what was read of the other journals of a group's
    /// history.
    fn key_window(&mut self) -> Result<KeyWindow, JournalError> {
        let mut keys = self.own_key_window()?;
        if let Some((earlier, begins)) = self.earlier.take() {
            keys.remember(&earlier, begins, self.chain.tip().sequence);
        }
        Ok(keys)
    }

    /// From what was kept of those forgotten and the receivers behind that, if there is any key in them.
    fn own_key_window(&mut self) -> Result<KeyWindow, JournalError> {
        let window = self.control.get().attributes.key_window;
        let (file, forgotten) = &mut self.forgotten;
        let mut keys = KeyWindow::new(window, std::mem::take(forgotten));
        let tip = self.chain.tip().sequence;
        let reader = self.chain.reader();
        let begins = file.upto().max(reader.oldest().sequence);
        if self.facts.last_keyed <= begins {
            return Ok(keys);
        }
        let mut after = begins;
        while after < tip {
            let bundles = reader.bundles_after(after, tip, 1024 * 1024)?;
            let Some(last) = bundles.last() else { break };
            after = last.header.last();
            for bundle in &bundles {
                for view in bundle.entries() {
                    let view = view.map_err(|source| JournalError::Entry {
                        sequence: bundle.header.first,
                        source,
                    })?;
                    let extension = view.extension().map_err(|source| JournalError::Entry {
                        sequence: view.sequence,
                        source,
                    })?;
                    if let Some((key, content)) = extension.key {
                        keys.note(key, content, view.sequence);
                    }
                }
            }
        }
        Ok(keys)
    }
}

impl Writer {
    /// The first entries of a boot: where a receiver must be attached first its J PR, then J OE, which by rule rolls back
    /// every commit cycle still open.
    fn begin_boot(
        &mut self,
        next: Option<Neighbour>,
        epoch_before: Epoch,
        (reason, term): (OpenReason, Option<TermRecord>),
        now: Timestamp,
    ) -> Result<(), JournalError> {
        let journal = Arc::clone(self.journal());
        let attached = journal.reader.attached();
        match attached.filter(|attached| attached.before != journal.reader.tip()) {
            // A receiver was begun, and its first entry is missing.
            None if journal.reader.attached().is_some() => self.begin_receiver(None, now)?,
            None => {
                let header = journal.first_header(next, None, self.entropy())?;
                self.begin_receiver(Some(header), now)?;
            }
            Some(attached) if next.is_some() => {
                let header = journal.first_header(next, Some(attached.name), self.entropy())?;
                self.begin_receiver(Some(header), now)?;
            }
            Some(_) => {}
        }
        self.announce_room();
        let before = journal.reader.tip();
        let epoch = journal.epoch;
        let payload = OpenEntry {
            epoch,
            epoch_before,
            before,
            reason,
            term,
        }
        .encode();
        let sequence = journal
            .intake
            .deposit_own(&Draft::new(Kind::OPENED, &payload), now);
        *lock(&journal.opened) = sequence;
        match reason {
            OpenReason::Alone => journal.deposit_empty_set(SetReason::OpenedAlone, now),
            // Who was in the set of this journal's last term says nothing about this one.
            OpenReason::Term => journal.deposit_empty_set(SetReason::NewTerm, now),
            OpenReason::Created | OpenReason::Restarted | OpenReason::Adopted => {}
        }
        self.step(now)?;
        Ok(())
    }
}

impl Journal {
    /// Header of the first receiver, or of the one that J NR announced right before a crash.
    fn first_header(
        &self,
        next: Option<Neighbour>,
        last: Option<QualifiedName>,
        entropy: &dyn Entropy,
    ) -> Result<ReceiverHeader, JournalError> {
        let attributes = self.attributes();
        let previous = self
            .reader
            .attached()
            .map_or(ReceiverId::NONE, |attached| attached.receiver);
        let planned = lock(&self.control).get().next_name;
        let made = || {
            next_receiver_name(last.unwrap_or(self.name), |_| false)
                .ok_or(JournalError::NoFreeName { name: self.name })
        };
        let (receiver, name) = match next {
            Some(next) => (next.receiver, next.name),
            None => (
                ReceiverId::from_bytes(entropy.id()),
                planned.map_or_else(made, Ok)?,
            ),
        };
        let (threshold, alignment) = next
            .map_or((attributes.threshold, attributes.alignment), |next| {
                (next.threshold, next.alignment)
            });
        Ok(ReceiverHeader {
            receiver,
            journal: self.id,
            group: GroupId::from(self.id),
            name,
            journal_name: self.name,
            origin_name: self.owner.name,
            origin: self.owner.system,
            previous,
            before: self.reader.tip(),
            threshold,
            alignment,
        })
    }
}
