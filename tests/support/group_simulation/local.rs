//! Package `tests`, groups under seeds: the own journal of a member while it is open: sealed, written, stopped, and closed when
//! another member knows of a higher term. Must not know why.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use rjournal::daemon::crank::{
    LinkCrank, Source, begin_confirmation, carry_confirmation, seal_and_tell, write_and_tell,
};
use rjournal::entry::{Moment, Sequence, Timestamp};
use rjournal::journal::{Batch, Gate, Journal, Writer};
use rjournal::receiver::Space;
use rjournal::remote::{Activation, Confirmation, MemberKey, Refusal, RefusalCode};

use super::line::Owner;
use super::member::{Side, Up};
use super::world::World;

/// A journal open for deposits.
pub(super) struct OpenSide {
    pub(super) journal: Arc<Journal>,
    pub(super) writer: Writer,
    pub(super) confirmation: Mutex<Confirmation>,
    /// Sealed and not written.
    pub(super) batch: Option<Batch>,
    /// What went wrong, or why it gives no answer any more.
    pub(super) failure: Option<String>,
    /// It was stopped: it is on its way to rest.
    pub(super) stopped: bool,
}

impl OpenSide {
    /// Starts everything that runs for an open journal.
    pub(super) fn begin(
        journal: Arc<Journal>,
        writer: Writer,
        heard: &[(MemberKey, Sequence)],
        takes_deposits: bool,
        (wall, now): (Timestamp, Moment),
    ) -> Self {
        let confirmation = begin_confirmation(&journal, heard, wall, now);
        if takes_deposits {
            journal.set_gate(Gate::Open);
        }
        Self {
            journal,
            writer,
            confirmation: Mutex::new(confirmation),
            batch: None,
            failure: None,
            stopped: false,
        }
    }

    /// Whether deposits are taken now.
    pub(super) fn is_taking_deposits(&self) -> bool {
        self.journal.gate() == Gate::Open
            && !self.journal.intake().is_draining()
            && self.failure.is_none()
    }

    /// The members of the in-sync set.
    pub(super) fn members(&self) -> Vec<MemberKey> {
        let confirmation = self.confirmation.lock().expect("nobody panics with it");
        let members = confirmation.members().0;
        members.iter().map(MemberKey::from).collect()
    }

    fn seal(&mut self, wall: Timestamp, now: Moment) {
        if self.batch.is_some() || self.writer.is_poisoned() {
            return;
        }
        match seal_and_tell(&mut self.writer, &self.confirmation, wall, now) {
            Ok(batch) => self.batch = batch,
            // An order that could not be carried out; the next one may be.
            Err(_) if !self.writer.is_poisoned() => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn write(&mut self, wall: Timestamp, now: Moment) -> Vec<MemberKey> {
        let Some(batch) = self.batch.take() else {
            return Vec::new();
        };
        match write_and_tell(&mut self.writer, batch, &self.confirmation, wall, now) {
            Ok(left) => left,
            Err(error) => {
                self.fail(&error.to_string());
                Vec::new()
            }
        }
    }

    fn fail(&mut self, why: &str) {
        self.journal.set_gate(Gate::Poisoned);
        self.failure = Some(why.to_owned());
    }

    /// Stops it once everything is on disk.
    fn stop(&mut self, wall: Timestamp, now: Moment) {
        self.journal.intake().stop();
        loop {
            self.write(wall, now);
            self.seal(wall, now);
            if self.batch.is_none() {
                break;
            }
        }
        self.journal.close();
        self.stopped = true;
    }
}

impl Up {
    /// The own journal, if it is open.
    pub(super) fn open(&mut self, me: usize) -> Option<&mut OpenSide> {
        match self.sides.get_mut(me) {
            Some(Side::Open(open)) => Some(open),
            _ => None,
        }
    }
}

/// The links of the own journal, as they are defined.
pub(super) fn links_of(source: &Source, jitter: u64) -> Vec<LinkCrank> {
    let links = source.control().links.into_iter().enumerate();
    let spread = |index: usize| jitter ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    links
        .map(|(index, record)| LinkCrank::new(record, source.clone(), spread(index)))
        .collect()
}

impl World {
    fn with_open<T>(&self, me: usize, act: impl FnOnce(&mut OpenSide) -> T) -> Option<T> {
        let mut member = self.members[me].borrow_mut();
        let open = member.up.as_mut()?.open(me)?;
        Some(act(open))
    }

    /// The writer of a member's journal seals what is deposited. Says whether there was something.
    pub(super) fn seal(self: &Rc<Self>, me: usize) -> bool {
        let (wall, now) = (self.wall(), self.now.get());
        let sealed = self.with_open(me, |open| {
            if open.stopped || open.failure.is_some() && open.writer.is_poisoned() {
                return None;
            }
            let had = open.batch.is_some();
            open.seal(wall, now);
            let fresh = !had && open.batch.is_some();
            fresh.then(|| {
                (
                    open.journal.id(),
                    open.journal.epoch(),
                    open.journal.tail().tip(),
                )
            })
        });
        let Some(Some((journal, epoch, tip))) = sealed else {
            return false;
        };
        self.sealed(me, journal, epoch, tip);
        self.look_links(me);
        true
    }

    /// It writes and flushes what it sealed.
    pub(super) fn write(self: &Rc<Self>, me: usize) -> bool {
        let (wall, now) = (self.wall(), self.now.get());
        let left = self.with_open(me, |open| {
            (!open.stopped && open.batch.is_some()).then(|| open.write(wall, now))
        });
        let Some(Some(left)) = left else {
            return false;
        };
        self.tell_left(me, &left);
        self.look_links(me);
        true
    }

    /// The next receivers of a member's journals are made ready.
    pub(super) fn prepare_spares(&self, me: usize) {
        let mut member = self.members[me].borrow_mut();
        let Some(up) = &mut member.up else {
            return;
        };
        for side in &up.sides {
            match side {
                Side::Open(open) => {
                    let (spare, bytes) = open.writer.spare();
                    drop(spare.prepare(bytes, Space::Zeroed));
                }
                Side::Copy(side) => {
                    if let Some((spare, bytes, space)) = side.copy.spare() {
                        drop(spare.prepare(bytes, space));
                    }
                }
                Side::Opening(_) | Side::Broken(_) => {}
            }
        }
    }

    /// An operator changes the receiver.
    pub(super) fn order_change(&self, me: usize) {
        self.with_open(me, |open| open.journal.order_change(None));
    }

    /// Another member refused the journal as one that another takes the place of: it gives no further answer.
    pub(super) fn close_journal(&self, me: usize, refusal: &Refusal) {
        let fenced = refusal.code == RefusalCode::Fenced;
        self.with_open(me, |open| {
            open.journal.close();
            open.failure.get_or_insert_with(|| refusal.text.clone());
            if !fenced {
                // An operator is to look, after the next start, too.
                let stopped = Some(refusal.text.clone());
                drop(open.journal.update(|control| control.stopped = stopped));
            }
        });
        // Whose term it is now, other members say, and prove.
        if fenced && let Some(up) = &mut self.members[me].borrow_mut().up {
            up.woken = true;
        }
    }

    /// Time-outs of targets.
    pub(super) fn tick_open(self: &Rc<Self>, me: usize) {
        let (wall, now) = (self.wall(), self.now.get());
        let left = self.with_open(me, |open| {
            let mut confirmation = open.confirmation.lock().expect("nobody panics with it");
            if open.stopped || confirmation.poll_timeout().is_none_or(|due| due > now) {
                return Vec::new();
            }
            confirmation.handle_timeout(now);
            carry_confirmation(&open.journal, &mut confirmation, wall, now)
        });
        self.tell_left(me, &left.unwrap_or_default());
    }

    /// Links hear that their targets left the in-sync set.
    pub(super) fn tell_left(self: &Rc<Self>, me: usize, left: &[MemberKey]) {
        if left.is_empty() {
            return;
        }
        let now = self.now.get();
        if let Some(up) = &mut self.members[me].borrow_mut().up {
            for link in up
                .links
                .iter_mut()
                .filter(|link| left.contains(&link.key()))
            {
                link.link.handle_left(now);
            }
        }
        self.pump(me);
    }

    /// Links look how far their journal is.
    pub(super) fn look_links(self: &Rc<Self>, me: usize) {
        let now = self.now.get();
        if let Some(up) = &mut self.members[me].borrow_mut().up {
            for link in &mut up.links {
                link.look(now);
            }
        }
        self.pump(me);
    }

    /// The links of the own journal end: they say so, and let go of their connections.
    pub(super) fn stop_links(self: &Rc<Self>, me: usize) {
        let now = self.now.get();
        if let Some(up) = &mut self.members[me].borrow_mut().up {
            for link in &mut up.links {
                link.link.handle_shutdown(now);
            }
        }
        self.pump(me);
        let links = match &mut self.members[me].borrow_mut().up {
            Some(up) => std::mem::take(&mut up.links).len(),
            None => 0,
        };
        self.forget_links(me, links);
    }

    /// Nobody holds the connections of links that are gone.
    fn forget_links(&self, me: usize, links: usize) {
        let mut line = self.line.borrow_mut();
        for index in 0..links {
            line.let_go(me, Owner::Link(index));
        }
        for connection in &mut line.connections {
            if connection.from == me && matches!(connection.owner, Owner::Link(_)) {
                connection.owner = Owner::Gone;
            }
        }
    }

    /// The own journal is stopped, whatever it was.
    pub(super) fn stop_own(self: &Rc<Self>, me: usize) {
        let (wall, now) = (self.wall(), self.now.get());
        self.with_open(me, |open| {
            if !open.stopped {
                open.stop(wall, now);
            }
        });
        let mut line = self.line.borrow_mut();
        let opening = |owner: &Owner| matches!(owner, Owner::Opening(_));
        line.dials
            .retain(|dial| dial.from != me || !opening(&dial.owner));
        for connection in &mut line.connections {
            if connection.from == me && opening(&connection.owner) {
                connection.closed = true;
                connection.owner = Owner::Gone;
            }
        }
    }
}

/// Activates a link, as its delivery says.
pub(super) fn activation(link: &LinkCrank) -> Activation {
    Activation {
        sync: link.record.delivery == rjournal::journal::DeliveryMode::Sync,
    }
}
