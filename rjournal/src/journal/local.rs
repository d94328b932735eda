//! Room `journal`: a local journal, from recovery over adoption to open. [`Recovered`] is what is on the disk, closed for
//! deposits; opening it gives the shared [`Journal`] and its one [`Writer`]. Must not know who decides that it may open,
//! nor where an adopted tail comes from.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use event_listener::EventListener;

use super::answer::{Answers, Release, Ticket, UnknownReason};
use super::control::{Attributes, Control, ControlFile, JournalKind};
use super::deposit::{Gate, Intake};
use super::keys::{KeyFound, KeyWindow};
use super::mark::{Mark, MarkFile};
use super::name::next_receiver_name;
use super::tail::{Limit, Tail};
use super::write::{ChangeOrder, Entropy, Writer, lock};
use crate::disk::Disk;
use crate::entry::control_entry::{Neighbour, OpenEntry, OpenReason, SetChange, SetReason};
use crate::entry::{
    ChainHead, DepositKey, Draft, Epoch, GroupId, JournalId, Kind, Place, Position, QualifiedName,
    ReceiverHeader, ReceiverId, SealedBundle, Sequence, SystemId, SystemName, Timestamp,
};
use crate::error::{DepositError, JournalError, ReceiverError};
use crate::receiver::{Chain, ChainReader, Evidence, Leftover, Opened, StoredBundle};

/// Directory of the receivers inside a journal's directory.
pub(super) const RECEIVERS_DIR: &str = "receivers";
/// How many changes of the set are remembered while they wait for the next receiver.
const SETS_KEPT: usize = 1024;

/// Who owns a local journal.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Identity of this system.
    pub system: SystemId,
    /// Its name.
    pub name: SystemName,
}

/// What was read while a journal was recovered.
#[derive(Debug, Default)]
struct Facts {
    set: Option<(Sequence, SetChange)>,
    opened: Sequence,
    last_keyed: Sequence,
    last_time: Timestamp,
    epoch: Epoch,
    /// The last entry, if it ended a receiver.
    next: Option<Neighbour>,
    damage: Option<JournalError>,
}

impl Facts {
    fn read(&mut self, bundle: &SealedBundle) {
        self.epoch = bundle.header().epoch;
        self.last_time = self.last_time.max(bundle.last_time());
        for view in bundle.entries().flatten() {
            self.next = None;
            let read = match view.kind {
                Kind::OPENED => {
                    self.opened = view.sequence;
                    Ok(())
                }
                Kind::IN_SYNC_SET => SetChange::decode(view.payload.bytes())
                    .map(|set| self.set = Some((view.sequence, set))),
                Kind::RECEIVER_NEXT => {
                    Neighbour::decode(view.payload.bytes()).map(|next| self.next = Some(next))
                }
                _ => Ok(()),
            };
            let keyed = view.extension().map(|extension| extension.key.is_some());
            if keyed == Ok(true) {
                self.last_keyed = view.sequence;
            }
            if let Err(source) = read.and(keyed.map(|_| ())) {
                self.damage.get_or_insert(JournalError::Entry {
                    sequence: view.sequence,
                    source,
                });
            }
        }
    }
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
    disk: Arc<dyn Disk>,
    control: ControlFile,
    chain: Chain,
    mark: MarkFile,
    facts: Facts,
    owner: Owner,
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
            checkpoint: super::control::Checkpoint::default(),
            links: Vec::new(),
            cut: None,
            orphans: 0,
            stopped: None,
            next_name: Some(first_receiver),
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
            facts,
            owner,
            leftovers,
            control_damaged,
            adopted: 0,
        })
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

    /// Opens it for deposits in a new epoch: `rank_above` is the highest `(term, boot)` anybody was heard to know, so that
    /// the new one is above it. The first entry of the boot is flushed before this returns; the gate is still closed.
    ///
    /// # Errors
    /// [`JournalError`] as the medium says.
    pub fn open_for_deposits(
        mut self,
        reason: OpenReason,
        rank_above: (u64, u64),
        entropy: Arc<dyn Entropy>,
        now: Timestamp,
    ) -> Result<(Arc<Journal>, Writer), JournalError> {
        let before = self.epoch();
        let (term, boot) = before.rank().max(rank_above);
        let [n0, n1, n2, n3, n4, n5, n6, n7, ..] = entropy.id();
        let nonce = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let epoch = Epoch {
            term: term.max(1),
            boot: boot + 1,
            nonce,
        };
        // Persist, then say: no entry may carry an epoch that a crash could make this system use again.
        self.control.update(|control| control.epoch = epoch)?;
        let keys = self.key_window()?;
        let tip = self.chain.tip();
        let next = self.facts.next;
        let (journal, chain, mark) = self.into_parts(keys, tip);
        let mut writer = Writer::new(Arc::clone(&journal), chain, mark, entropy, epoch);
        writer.begin_boot(next, before, reason, now)?;
        Ok((journal, writer))
    }

    fn into_parts(self, keys: KeyWindow, tip: Position) -> (Arc<Journal>, Chain, MarkFile) {
        let control = self.control.get();
        let answers = Answers::new(tip.sequence);
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
            tail: Tail::new(tip, tip.sequence),
            answers,
            reader: self.chain.reader(),
            attributes: Mutex::new(Arc::new(control.attributes.clone())),
            sets: Mutex::new(self.facts.set.into_iter().collect()),
            opened: Mutex::new(self.facts.opened),
            order: Mutex::new(None),
            disk: self.disk,
            control: Mutex::new(self.control),
        };
        (Arc::new(journal), self.chain, self.mark)
    }

    /// Makes the window of deposit keys again, reading as far back as it reaches, if there is any key in it.
    fn key_window(&self) -> Result<KeyWindow, JournalError> {
        let window = self.control.get().attributes.key_window;
        let mut keys = KeyWindow::new(window);
        let tip = self.chain.tip().sequence;
        let reader = self.chain.reader();
        let begins = Sequence::new(tip.get().saturating_sub(window)).max(reader.oldest().sequence);
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

    /// Changes what is kept about it.
    ///
    /// # Errors
    /// As [`ControlFile::update`].
    pub fn update(&mut self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        self.control.update(change)
    }
}

/// Makes the directories of a journal, durably.
pub(super) fn create_dirs(disk: &dyn Disk, dir: &Path) -> Result<(), JournalError> {
    let receivers = dir.join(RECEIVERS_DIR);
    let made = disk
        .create_dir(&receivers)
        .and_then(|()| disk.sync_dir(dir))
        .and_then(|()| disk.sync_dir(dir.parent().unwrap_or(Path::new(""))));
    made.map_err(|source| JournalError::io("could not be made", dir, source))
}

impl Writer {
    /// The first entries of a boot: where a receiver must be attached first its J PR, then J OE, which by rule rolls back
    /// every commit cycle still open.
    fn begin_boot(
        &mut self,
        next: Option<Neighbour>,
        epoch_before: Epoch,
        reason: OpenReason,
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
        }
        .encode();
        let sequence = journal
            .intake
            .deposit_own(&Draft::new(Kind::OPENED, &payload), now);
        *lock(&journal.opened) = sequence;
        if reason == OpenReason::Alone {
            journal.deposit_set_change_alone(now);
        }
        self.step(now)?;
        Ok(())
    }
}

/// A local journal, shared by depositors, links and readers.
#[derive(Debug)]
pub struct Journal {
    id: JournalId,
    name: QualifiedName,
    owner: Owner,
    epoch: Epoch,
    pub(super) intake: Arc<Intake>,
    pub(super) tail: Arc<Tail>,
    answers: Arc<Answers>,
    reader: ChainReader,
    pub(super) control: Mutex<ControlFile>,
    attributes: Mutex<Arc<Attributes>>,
    /// Changes of the in-sync set, oldest first: the one in force at the last recorded receiver, and those after it.
    sets: Mutex<VecDeque<(Sequence, SetChange)>>,
    opened: Mutex<Sequence>,
    order: Mutex<Option<ChangeOrder>>,
    pub(super) disk: Arc<dyn Disk>,
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

    pub(super) const fn origin(&self) -> SystemId {
        self.owner.system
    }

    pub(super) const fn origin_name(&self) -> SystemName {
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

    /// Deposits a change of the in-sync set, whatever the gate says; the caller's answers wait for it by its number.
    pub fn deposit_set_change(&self, change: &SetChange, now: Timestamp) -> Sequence {
        let mut sets = lock(&self.sets);
        let sequence = self
            .intake
            .deposit_own(&Draft::new(Kind::IN_SYNC_SET, &change.encode()), now);
        sets.push_back((sequence, change.clone()));
        if sets.len() > SETS_KEPT {
            sets.pop_front();
        }
        sequence
    }

    fn deposit_set_change_alone(&self, now: Timestamp) {
        let policy = self.attributes().policy;
        let left = lock(&self.sets)
            .back()
            .map_or_else(Vec::new, |(_, set)| set.members.clone());
        let change = SetChange {
            required: 0,
            policy,
            reason: SetReason::OpenedAlone,
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
    pub(super) fn set_at(&self, at: Sequence) -> Option<(Sequence, SetChange)> {
        let mut sets = lock(&self.sets);
        let behind = sets.partition_point(|(sequence, _)| *sequence <= at);
        sets.drain(..behind.saturating_sub(1));
        sets.front()
            .filter(|(sequence, _)| *sequence <= at)
            .cloned()
    }

    pub(super) fn opened(&self) -> Sequence {
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
        self.answers.release(release);
        self.tail.set_settled(release.upto);
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

    pub(super) fn take_change_order(&self) -> Option<ChangeOrder> {
        lock(&self.order).take()
    }

    /// Closes the journal: what is not released is UNKNOWN.
    pub fn close(&self) {
        self.intake.stop();
        self.answers
            .end(UnknownReason::Closed, self.tail.marks().sealed);
        self.tail.close();
    }

    /// Paths of the receivers' files.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.reader.paths()
    }

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
