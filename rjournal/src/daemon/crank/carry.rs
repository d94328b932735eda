//! Room `daemon`: carrying between `journal` and `remote`, which never meet: what a session or the confirmation wants is
//! done on the journal, what the journal did is told to them. Plain calls without tasks or sockets, so that tokio tasks
//! and the simulator turn the same cranks. Must not decide anything.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::source::{Source, member, member_key};
use crate::entry::control_entry::Member;
use crate::entry::{Moment, Sequence, Timestamp};
use crate::error::JournalError;
use crate::journal::{
    AckClass, Attributes, Batch, Control, DeliveryMode, Gate, Journal, LinkRecord, Release, Writer,
};
use crate::receiver::StoredBundle;
use crate::remote::{
    Activation, Class, ConfirmOutput, Confirmation, Frame, Link, LinkEvent, LinkOutput, Loss,
    MemberKey, Message,
};

/// Seals what is due, and tells the confirmation since when targets are waited for.
///
/// # Errors
/// As [`Writer::ready`].
pub fn seal_and_tell(
    writer: &mut Writer,
    confirmation: &Mutex<Confirmation>,
    wall: Timestamp,
    now: Moment,
) -> Result<Option<Batch>, JournalError> {
    // Links and time-outs wait for the lock: the disk is asked for what it takes before (failures.md DEP-6).
    let ready = writer.ready()?;
    // Under one lock with the sealing: a change of the set and the bundle that carries it are seen in that order.
    let mut confirmation = lock(confirmation);
    let batch = writer.seal_ready(ready, wall);
    // Under local-first nothing is shipped yet: no target can be late with it (failures.md DEP-6).
    if batch.is_some() && !writer.journal().attributes().local_first {
        confirmation.handle_sealed(writer.journal().tail().marks().sealed, now);
    }
    Ok(batch)
}

/// Writes a batch, and releases what that decides.
///
/// # Errors
/// As [`Writer::write`].
pub fn write_and_tell(
    writer: &mut Writer,
    batch: Batch,
    confirmation: &Mutex<Confirmation>,
    wall: Timestamp,
    now: Moment,
) -> Result<Vec<MemberKey>, JournalError> {
    let written = writer.write(batch, wall)?;
    let journal = writer.journal().clone();
    let mut confirmation = lock(confirmation);
    if journal.attributes().local_first {
        confirmation.handle_sealed(written.sequence, now);
    }
    confirmation.handle_written(written.sequence, now);
    Ok(carry_confirmation(&journal, &mut confirmation, wall, now))
}

/// The confirmation of a journal that was just opened, whose members were `heard` to have so much: what they have is
/// answered, and what one of them lacks is not, whatever boot it was deposited in.
pub fn begin_confirmation(
    journal: &Journal,
    heard: &[(MemberKey, Sequence)],
    wall: Timestamp,
    now: Moment,
) -> Confirmation {
    let attributes = journal.attributes();
    let mut confirmation = Confirmation::new(
        attributes.policy,
        Duration::from_millis(attributes.sync_timeout_ms),
        attributes.waiting_entries_max,
        journal.set(),
    );
    let control = journal.control();
    // A member whose link an operator ended, and whose leaving the crash undid, leaves when its link begins.
    let ended = |member: &Member| {
        let key = MemberKey::from(member);
        let mut links = control.links.iter();
        links.any(|link| member_key(link) == key && !link.active) && confirmation.is_member(key)
    };
    let (_, untold) = control.untold.iter().cloned().partition(ended);
    confirmation.handle_resumed(control.policy_ordered, untold);
    for (key, has) in heard {
        confirmation.handle_heard(*key, *has, now);
    }
    let marks = journal.tail().marks();
    confirmation.handle_sealed(marks.sealed, now);
    confirmation.handle_written(marks.written, now);
    // No link runs yet that could have left.
    drop(carry_confirmation(journal, &mut confirmation, wall, now));
    confirmation
}

/// Does what the confirmation wants done; gives the targets whose sessions go on outside the set.
pub fn carry_confirmation(
    journal: &Journal,
    confirmation: &mut Confirmation,
    wall: Timestamp,
    now: Moment,
) -> Vec<MemberKey> {
    let mut left = Vec::new();
    while let Some(output) = confirmation.poll_output() {
        match output {
            ConfirmOutput::Release { upto, class, set } => {
                let class = match class {
                    Class::Sync => AckClass::Sync,
                    Class::Received => AckClass::Received,
                    Class::Local => AckClass::Local,
                };
                journal.release(Release { upto, class, set });
            }
            ConfirmOutput::ChangeSet(change) => {
                if let Some(sequence) = journal.deposit_set_change(&change, wall) {
                    confirmation.handle_set_changed(sequence, now);
                }
            }
            ConfirmOutput::Hold { upto } => journal.set_gate(Gate::Held { upto }),
            ConfirmOutput::Resume => journal.set_gate(Gate::Open),
            ConfirmOutput::GiveUp { upto } => journal.give_up(upto),
            ConfirmOutput::Left(key) => left.push(key),
            ConfirmOutput::InForce(policy) => keep(journal, |control| {
                control.attributes.policy = policy;
                control.policy_ordered = None;
            }),
            ConfirmOutput::Told(key) => keep(journal, |control| {
                control
                    .untold
                    .retain(|member| MemberKey::from(member) != key);
            }),
        }
    }
    left
}

/// Keeps what has come to its end. Where the disk refuses, the next opening finds it under way still, and brings it to the
/// same end.
fn keep(journal: &Journal, change: impl FnOnce(&mut Control)) {
    if let Err(error) = journal.update(change) {
        tracing::error!(journal = %journal.name(), %error, "cannot be kept");
    }
}

/// Gives a journal these attributes. A policy that members are to know of first is ordered, and the one in force stays; who is
/// given up is not waited for. Gives the targets that left the in-sync set.
///
/// # Errors
/// [`JournalError::Io`] when the disk refuses; nothing changed then.
pub fn change_attributes(
    journal: &Journal,
    confirmation: &mut Confirmation,
    wanted: Attributes,
    given_up: &[MemberKey],
    wall: Timestamp,
    now: Moment,
) -> Result<Vec<MemberKey>, JournalError> {
    let policy = wanted.policy;
    let timeout = Duration::from_millis(wanted.sync_timeout_ms);
    let waiting_entries_max = wanted.waiting_entries_max;
    let in_force = confirmation.policy();
    let later = confirmation.must_be_told(policy);
    journal.update(|control| {
        control.attributes = wanted;
        control.policy_ordered = later.then_some(policy);
        if later {
            control.attributes.policy = in_force;
        }
    })?;
    confirmation.handle_policy(policy, given_up, timeout, waiting_entries_max, now);
    Ok(carry_confirmation(journal, confirmation, wall, now))
}

/// How an operator ends a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What is there still goes out, where it runs *ASYNC.
    Controlled,
    /// At once.
    Immediate,
    /// At once, and although the target cannot know that it is left out of the in-sync set.
    Forced,
}

/// What a link wants of its connection, in this order.
#[derive(Debug, Clone)]
pub enum Wire {
    /// Make it.
    Dial,
    /// Send these.
    Frames(Vec<Frame>),
    /// Close it.
    Disconnect,
}

/// One link of one journal with everything it touches.
#[derive(Debug)]
pub struct LinkCrank {
    /// The machine.
    pub link: Link,
    /// What the link is.
    pub record: LinkRecord,
    /// Where it ships from.
    pub source: Source,
    /// Events for whoever keeps them: messages, status, the link's record.
    pub events: Vec<LinkEvent>,
}

impl LinkCrank {
    /// A link of `source`, inactive.
    pub const fn new(record: LinkRecord, source: Source, jitter: u64) -> Self {
        Self {
            link: Link::new(jitter),
            record,
            source,
            events: Vec::new(),
        }
    }

    /// The key of the target in the in-sync set.
    pub const fn key(&self) -> MemberKey {
        member_key(&self.record)
    }

    /// Tells the link how far its journal is.
    pub fn look(&mut self, now: Moment) {
        let limit = self.source.limit(self.record.delivery);
        self.link.handle_marks(self.source.marks(limit), now);
    }

    /// The link goes on as its record says. One that an operator ended, and whose target is to know that, ends once it does.
    /// Gives the targets that left the in-sync set.
    ///
    /// # Errors
    /// As [`Self::inactivate`].
    pub fn begin(
        &mut self,
        confirmation: Option<&Mutex<Confirmation>>,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Vec<MemberKey>, JournalError> {
        if self.record.active {
            self.activate(now);
        } else if self.is_to_be_told() {
            return self.inactivate(Ending::Controlled, confirmation, wall, now);
        }
        Ok(Vec::new())
    }

    /// Activates the link with the delivery of its record.
    pub fn activate(&mut self, now: Moment) {
        let sync = self.record.delivery == DeliveryMode::Sync;
        self.link.activate(Activation { sync }, now);
    }

    /// The target is known to be ready: one that waits is dialed at once.
    pub fn nudge(&mut self, now: Moment) {
        let sync = self.record.delivery == DeliveryMode::Sync;
        self.link.nudge(Activation { sync }, now);
    }

    fn is_to_be_told(&self) -> bool {
        let untold = self.source.control().untold;
        untold
            .iter()
            .any(|member| MemberKey::from(member) == self.key())
    }

    /// An operator ends the link. A member of the in-sync set under policy block or reject hears first that it is left out of
    /// it (ruling 13): then the link goes on until it has. Gives the targets that left the set.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses to keep that it is to be told; nothing changed then.
    pub fn inactivate(
        &mut self,
        how: Ending,
        confirmation: Option<&Mutex<Confirmation>>,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Vec<MemberKey>, JournalError> {
        let mut left = Vec::new();
        let key = self.key();
        if let (Source::Local(journal), Some(confirmation)) = (&self.source, confirmation)
            && how != Ending::Forced
        {
            let mut confirmation = lock(confirmation);
            if let Some(member) = confirmation.guarded(key) {
                // A crash behind this leaves it to be told.
                journal.update(|control| {
                    control
                        .untold
                        .retain(|untold| MemberKey::from(untold) != key);
                    control.untold.push(member.clone());
                })?;
            }
            confirmation.handle_leave(key, now);
            left = carry_confirmation(journal, &mut confirmation, wall, now);
            if let Some(since) = confirmation.untold_since(key) {
                drop(confirmation);
                self.link.leave(since, now);
                return Ok(left);
            }
        }
        if self.is_to_be_told() {
            // Nobody waits for it any more.
            self.source.update(|control| {
                control
                    .untold
                    .retain(|member| MemberKey::from(member) != key);
            })?;
        }
        let limit = self.source.limit(self.record.delivery);
        let upto = (how == Ending::Controlled).then(|| self.source.marks(limit).shippable);
        self.link.inactivate(upto, now);
        Ok(left)
    }

    /// Does what the link wants, until it wants nothing more. The confirmation is the journal's, absent for a copy.
    /// Gives what is to be done on the connection, and the targets that left the in-sync set.
    pub fn turn(
        &mut self,
        confirmation: Option<&Mutex<Confirmation>>,
        wall: Timestamp,
        now: Moment,
    ) -> (Vec<Wire>, Vec<MemberKey>) {
        let mut wires = Vec::new();
        let mut left = Vec::new();
        while let Some(output) = self.link.poll_output() {
            match output {
                LinkOutput::Dial => wires.push(Wire::Dial),
                LinkOutput::Disconnect => wires.push(Wire::Disconnect),
                LinkOutput::Send(message) => {
                    wires.push(Wire::Frames(vec![Frame::Message(message)]));
                }
                LinkOutput::LookUpHead(sequence) => match self.source.head_at(sequence) {
                    Ok(head) => self.link.handle_head(sequence, head, now),
                    Err(_) => self.link.handle_unreadable(now),
                },
                LinkOutput::Ship { after, bytes } => self.ship(after, bytes, &mut wires, now),
                LinkOutput::Event(event) => {
                    if let Some(confirmation) = confirmation {
                        left.extend(self.tell(&event, confirmation, wall, now));
                    }
                    self.remember(&event);
                    self.events.push(event);
                }
            }
        }
        (wires, left)
    }

    /// How far the target was seen to be: what makes one that went back show at the next coupling (failures.md COU-6).
    fn remember(&mut self, event: &LinkEvent) {
        let acknowledged = &mut self.record.acknowledged;
        match event {
            // What it has set aside it has no more.
            LinkEvent::Coupled { tip, .. } => *acknowledged = *tip,
            LinkEvent::Acknowledged { written, .. } => {
                *acknowledged = (*acknowledged).max(*written);
            }
            LinkEvent::CaughtUp
            | LinkEvent::Outrun(_)
            | LinkEvent::Ended { .. }
            | LinkEvent::Inactivated => {}
        }
    }

    fn ship(&mut self, after: Sequence, bytes: usize, wires: &mut Vec<Wire>, now: Moment) {
        let limit = self.source.limit(self.record.delivery);
        match self.source.bundles_after(after, limit, bytes) {
            Ok(bundles) => {
                let shipped = bundles.last().map(|last| {
                    let total = bundles.iter().map(|bundle| bundle.bytes.len() as u64).sum();
                    (last.header.last(), total, last.header.durable_upto)
                });
                if shipped.is_some() {
                    wires.push(Wire::Frames(frames(bundles)));
                } else {
                    // The limit may have been changed since the order: without a look it would be given again for ever.
                    self.look(now);
                }
                self.link.handle_shipped(shipped, now);
            }
            Err(error) => {
                tracing::error!(journal = %self.source.name(), target = %self.record.target, %error, "cannot ship");
                self.link.handle_unreadable(now);
            }
        }
    }

    /// Tells the confirmation what happened on the link.
    fn tell(
        &self,
        event: &LinkEvent,
        confirmation: &Mutex<Confirmation>,
        wall: Timestamp,
        now: Moment,
    ) -> Vec<MemberKey> {
        let Source::Local(journal) = &self.source else {
            return Vec::new();
        };
        let mut confirmation = lock(confirmation);
        let key = self.key();
        match event {
            // It lost what it had acknowledged: it does not count again before it has caught up (failures.md COU-6).
            LinkEvent::Coupled {
                went_back: true,
                tip,
                ..
            } => confirmation.handle_went_back(key, *tip, now),
            LinkEvent::Coupled { tip, .. } => {
                confirmation.handle_acknowledged(key, *tip, *tip, now);
            }
            LinkEvent::Acknowledged {
                received, written, ..
            } => confirmation.handle_acknowledged(key, *received, *written, now),
            LinkEvent::CaughtUp if self.record.delivery == DeliveryMode::Sync => {
                confirmation.handle_caught_up(member(&self.record, self.record.level), now);
            }
            LinkEvent::CaughtUp | LinkEvent::Outrun(_) => {}
            LinkEvent::Ended { loss, .. } => confirmation.handle_loss(key, *loss, now),
            LinkEvent::Inactivated => confirmation.handle_loss(key, Loss::Operator, now),
        }
        carry_confirmation(journal, &mut confirmation, wall, now)
    }
}

/// Bundles as they travel: the header of a receiver goes before its first bundle.
pub(in crate::daemon) fn frames(bundles: Vec<StoredBundle>) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(bundles.len() + 1);
    for bundle in bundles {
        if bundle.begins_receiver() {
            frames.push(Frame::Header(bundle.receiver.encode().into()));
        }
        frames.push(Frame::Bundle(bundle.bytes));
    }
    frames
}

/// A message as a frame.
pub(super) const fn message(message: Message) -> Frame {
    Frame::Message(message)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
