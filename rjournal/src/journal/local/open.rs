//! Room `journal`, a local journal: open, and shared by depositors, links and readers. Must not know what an answer of a target
//! is worth.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use event_listener::EventListener;

use super::recovered::Owner;
use crate::disk::Disk;
use crate::entry::control_entry::{SetChange, SetReason};
use crate::entry::{
    ChainHead, DepositKey, Draft, Epoch, HandOver, JournalId, Kind, QualifiedName, Sequence,
    SystemId, SystemName, Timestamp,
};
use crate::error::{DepositError, JournalError, ReceiverError};
use crate::journal::answer::{Answers, Release, Ticket, UnknownReason};
use crate::journal::control::{Attributes, Control, ControlFile};
use crate::journal::deposit::{Gate, Intake};
use crate::journal::keys::KeyFound;
use crate::journal::name::ReceiverNames;
use crate::journal::tail::{Limit, Tail};
use crate::journal::write::{ChangeOrder, lock};
use crate::receiver::{ChainReader, StoredBundle};

/// How many changes of the set are remembered while they wait for the next receiver.
const SETS_KEPT: usize = 1024;

/// A local journal, shared by depositors, links and readers.
#[derive(Debug)]
pub struct Journal {
    pub(super) id: JournalId,
    pub(super) name: QualifiedName,
    pub(super) owner: Owner,
    pub(super) epoch: Epoch,
    pub(in crate::journal) intake: Arc<Intake>,
    pub(in crate::journal) tail: Arc<Tail>,
    pub(super) answers: Arc<Answers>,
    pub(super) reader: ChainReader,
    pub(in crate::journal) control: Mutex<ControlFile>,
    pub(super) attributes: Mutex<Arc<Attributes>>,
    /// Changes of the in-sync set, oldest first: the one in force at the last recorded receiver, and those after it.
    pub(super) sets: Mutex<VecDeque<(Sequence, SetChange)>>,
    /// The role was handed over: the hand-over entry is the last of this term.
    pub(super) handed_over: AtomicBool,
    pub(super) opened: Mutex<Sequence>,
    pub(super) order: Mutex<Option<ChangeOrder>>,
    pub(super) names: OnceLock<Arc<dyn ReceiverNames>>,
    pub(in crate::journal) disk: Arc<dyn Disk>,
}

impl Journal {
    /// Identity.
    pub const fn id(&self) -> JournalId {
        self.id
    }

    /// Name here.
    pub const fn name(&self) -> QualifiedName {
        self.name
    }

    pub(in crate::journal) const fn origin(&self) -> SystemId {
        self.owner.system
    }

    pub(in crate::journal) const fn origin_name(&self) -> SystemName {
        self.owner.name
    }

    /// What an operator set.
    pub fn attributes(&self) -> Arc<Attributes> {
        Arc::clone(&lock(&self.attributes))
    }

    /// A copy of what is kept about it.
    pub fn control(&self) -> Control {
        lock(&self.control).get().clone()
    }

    /// The epoch it was opened in.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Changes what is kept about it, durably.
    ///
    /// # Errors
    /// As [`ControlFile::update`].
    pub fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        let mut control = lock(&self.control);
        control.update(change)?;
        *lock(&self.attributes) = Arc::new(control.get().attributes.clone());
        Ok(())
    }

    /// Takes a deposit without blocking.
    ///
    /// # Errors
    /// As [`Intake::deposit`].
    pub fn deposit(&self, draft: &Draft<'_>, now: Timestamp) -> Result<Ticket, DepositError> {
        self.intake.deposit(draft, now)
    }

    /// Takes several deposits that are never torn, without blocking.
    ///
    /// # Errors
    /// As [`Intake::deposit_unit`].
    pub fn deposit_unit(
        &self,
        drafts: &[Draft<'_>],
        now: Timestamp,
    ) -> Result<Ticket, DepositError> {
        self.intake.deposit_unit(drafts, now)
    }

    /// A listener for room after [`DepositError::Busy`].
    pub fn room(&self) -> EventListener {
        self.intake.room()
    }

    /// Whether deposits are taken.
    pub fn gate(&self) -> Gate {
        self.intake.gate()
    }

    /// Opens, closes or holds the gate.
    pub fn set_gate(&self, gate: Gate) {
        self.intake.set_gate(gate);
    }

    /// The place deposits come in.
    pub const fn intake(&self) -> &Arc<Intake> {
        &self.intake
    }

    /// The end of the journal.
    pub const fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Its receivers.
    pub const fn reader(&self) -> &ChainReader {
        &self.reader
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

    /// The chain head at an entry that was sealed, written or not.
    ///
    /// # Errors
    /// As [`ChainReader::head_at`].
    pub fn head_at(&self, sequence: Sequence) -> Result<Option<ChainHead>, ReceiverError> {
        self.tail.head_at(&self.reader, sequence)
    }

    /// Deposits the hand-over of the role, whatever the gate says; nothing of this term may be deposited behind it.
    pub fn deposit_hand_over(&self, entry: &HandOver, now: Timestamp) -> Sequence {
        let _sets = lock(&self.sets);
        self.handed_over.store(true, Ordering::Release);
        self.intake
            .deposit_own(&Draft::new(Kind::HAND_OVER, &entry.encode()), now)
    }

    /// Deposits a change of the in-sync set, whatever the gate says; the caller's answers wait for it by its number. Nothing behind a
    /// hand-over, which ends the term: no answer rests on a set any more.
    pub fn deposit_set_change(&self, change: &SetChange, now: Timestamp) -> Option<Sequence> {
        let mut sets = lock(&self.sets);
        if self.handed_over.load(Ordering::Acquire) {
            return None;
        }
        let sequence = self
            .intake
            .deposit_own(&Draft::new(Kind::IN_SYNC_SET, &change.encode()), now);
        sets.push_back((sequence, change.clone()));
        if sets.len() > SETS_KEPT {
            sets.pop_front();
        }
        Some(sequence)
    }

    /// The in-sync set is empty from here on, whoever was in it.
    pub(super) fn deposit_empty_set(&self, reason: SetReason, now: Timestamp) {
        let policy = self.attributes().policy;
        let left = lock(&self.sets)
            .back()
            .map_or_else(Vec::new, |(_, set)| set.members.clone());
        let change = SetChange {
            required: 0,
            policy,
            reason,
            members: Vec::new(),
            left,
        };
        self.deposit_set_change(&change, now);
    }

    /// The in-sync set in force at the end of what was deposited.
    pub fn set(&self) -> Option<(Sequence, SetChange)> {
        lock(&self.sets).back().cloned()
    }

    /// The in-sync set in force at an entry; older ones are forgotten.
    pub(in crate::journal) fn set_at(&self, at: Sequence) -> Option<(Sequence, SetChange)> {
        let mut sets = lock(&self.sets);
        let behind = sets.partition_point(|(sequence, _)| *sequence <= at);
        sets.drain(..behind.saturating_sub(1));
        sets.front()
            .filter(|(sequence, _)| *sequence <= at)
            .cloned()
    }

    pub(in crate::journal) fn opened(&self) -> Sequence {
        *lock(&self.opened)
    }

    /// The entry that opened it last: classes of answers before it are not remembered.
    pub fn opened_at(&self) -> Sequence {
        self.opened()
    }

    /// Entries after this one are needed to make the window of deposit keys again at the next opening; nothing when no key
    /// was used within it.
    pub fn keys_needed_after(&self) -> Option<Sequence> {
        let begins = Sequence::new(
            self.intake
                .last()
                .get()
                .saturating_sub(self.attributes().key_window),
        );
        (self.intake.last_keyed() > begins).then_some(begins)
    }

    /// Every answer up to here has its class.
    pub fn release(&self, release: Release) {
        // Whoever is answered can read what was answered.
        self.tail.set_settled(release.upto);
        self.answers.release(release);
    }

    /// Everything up to here has its class.
    pub fn released(&self) -> Sequence {
        self.answers.released()
    }

    /// Policy reject: what waits, up to `upto`, is answered UNKNOWN.
    pub fn give_up(&self, upto: Sequence) {
        self.answers.give_up(upto);
    }

    /// The ticket of an entry deposited earlier.
    pub fn ticket(&self, sequence: Sequence) -> Ticket {
        self.answers.ticket(sequence, true)
    }

    /// What became of a deposit under a key.
    pub fn find_key(&self, key: DepositKey) -> KeyFound {
        self.intake.find_key(key)
    }

    /// Asks for a change of receivers at the next bundle (CHGJRN JRNRCV).
    pub fn order_change(&self, name: Option<QualifiedName>) {
        *lock(&self.order) = Some(ChangeOrder { name });
        self.intake.nudge();
    }

    pub(in crate::journal) fn take_change_order(&self) -> Option<ChangeOrder> {
        lock(&self.order).take()
    }

    /// Keeps an order that cannot be carried out yet, unless a newer one came.
    pub(in crate::journal) fn keep_change_order(&self, order: ChangeOrder) {
        lock(&self.order).get_or_insert(order);
    }

    /// Tells who knows the receivers of other journals, once; without, only its own names are passed over.
    pub fn set_names(&self, names: Arc<dyn ReceiverNames>) {
        let _first = self.names.set(names);
    }

    /// Whether the next receiver may have this name.
    pub(in crate::journal) fn claim_name(&self, name: QualifiedName, named: bool) -> bool {
        self.names
            .get()
            .is_none_or(|names| names.claim(self.name, name, named))
    }

    /// Closes the journal: what is not released is UNKNOWN, also what is not sealed yet: a writer that still runs seals it.
    pub fn close(&self) {
        self.intake.stop();
        self.answers.end(UnknownReason::Closed, self.intake.last());
        self.tail.close();
    }

    /// Paths of the receivers' files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.reader.paths()
    }
}
