//! Package `tests`, groups under seeds: what links, openings and feeding sessions of a member want is done: connections are made,
//! frames are put on them. Must not deliver anything.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::crank::{OpeningState, Source, Wire};
use rjournal::entry::{Moment, Sequence};
use rjournal::journal::Entropy;
use rjournal::receiver::StoredBundle;
use rjournal::remote::{
    EndReason, Frame, LinkEvent, MemberKey, Refusal, ShipLimit, SourceMarks, SourceOutput,
};

use super::keys::remember_earlier;
use super::line::{Dial, Owner};
use super::local::{OpenSide, activation, links_of};
use super::member::{FeedSide, Side, Up};
use super::world::World;

/// How long an opening waits before it asks a member again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl World {
    /// Does what links, opening and feeding sessions of a member want.
    pub(super) fn pump(self: &Rc<Self>, me: usize) {
        let mut left = Vec::new();
        let mut closed = None;
        {
            let mut member = self.members[me].borrow_mut();
            let Some(up) = &mut member.up else {
                return;
            };
            let events = self.pump_links(me, up, &mut left);
            self.pump_opening(me, up);
            self.pump_feeds(up);
            for event in events {
                closed = closing(event).or(closed);
            }
        }
        if let Some(refusal) = closed {
            self.say(me, || format!("is closed by a target: {}", refusal.code));
            self.counts.borrow_mut().fenced_by_target += 1;
            self.close_journal(me, &refusal);
        }
        self.ledger.borrow_mut().look(self);
        self.tell_left(me, &left);
    }

    fn pump_links(&self, me: usize, up: &mut Up, left: &mut Vec<MemberKey>) -> Vec<LinkEvent> {
        let (wall, now) = (self.wall(), self.now.get());
        let Up { sides, links, .. } = up;
        let confirmation = match &sides[me] {
            Side::Open(open) => Some(&open.confirmation),
            _ => None,
        };
        let mut events = Vec::new();
        for (index, link) in links.iter_mut().enumerate() {
            let (wires, gone) = link.turn(confirmation, wall, now);
            left.extend(gone);
            events.append(&mut link.events);
            for wire in wires {
                self.wire(me, Owner::Link(index), me, wire);
            }
        }
        events
    }

    fn pump_opening(&self, me: usize, up: &mut Up) {
        let (wall, now) = (self.wall(), self.now.get());
        let Side::Opening(crank) = &mut up.sides[me] else {
            return;
        };
        match crank.turn(wall, now) {
            Ok(wires) => {
                for (key, wire) in wires {
                    self.wire(me, Owner::Opening(key), me, wire);
                }
            }
            Err(error) => {
                up.sides[me] = Side::Broken(error.to_string());
                return;
            }
        }
        for link in crank.to_dial() {
            let key = MemberKey {
                system: link.system,
                journal: link.target,
            };
            let again = |last: &Moment| now.since(*last) >= ASK_AGAIN;
            if up.asked.get(&key).is_none_or(again) {
                up.asked.insert(key, now);
                let owner = Owner::Opening(key);
                self.line.borrow_mut().dials.push(Dial { from: me, owner });
            }
        }
    }

    fn pump_feeds(&self, up: &mut Up) {
        let now = self.now.get();
        let mut over = Vec::new();
        for (id, feed) in &mut up.feeds {
            while let Some(output) = feed.session.poll_output() {
                let ended = matches!(output, SourceOutput::End(_));
                let frames = feed.output(output, now);
                let mut line = self.line.borrow_mut();
                if let Some(connection) = line.connection(*id) {
                    connection.forth.extend(frames);
                    connection.closed |= ended;
                }
                if ended {
                    over.push(*id);
                }
            }
        }
        for id in over {
            up.feeds.remove(&id);
        }
    }

    fn wire(&self, from: usize, owner: Owner, _journal: usize, wire: Wire) {
        let mut line = self.line.borrow_mut();
        match wire {
            Wire::Dial => line.dials.push(Dial { from, owner }),
            Wire::Frames(frames) => {
                if let Some(connection) = line.of(from, owner) {
                    connection.forth.extend(frames);
                }
            }
            Wire::Disconnect => line.let_go(from, owner),
        }
    }

    /// What an opening wants of its connection to a member.
    pub(super) fn opening_wire(&self, me: usize, key: MemberKey, wire: Wire) {
        self.wire(me, Owner::Opening(key), me, wire);
    }

    /// Answers a dial.
    pub(super) fn answer_dial(self: &Rc<Self>, index: usize) {
        let dial = self.line.borrow_mut().dials.remove(index);
        let from = dial.from;
        let now = self.now.get();
        {
            let mut member = self.members[from].borrow_mut();
            let me = (member.system, member.name);
            let Some(up) = &mut member.up else {
                return;
            };
            let system = match dial.owner {
                Owner::Link(index) => up.links.get(index).map(|link| link.record.system),
                Owner::Opening(key) => Some(key.system),
                Owner::Feed | Owner::Gone => None,
            };
            let Some(to) = system.and_then(|system| self.number_of(system)) else {
                return;
            };
            let there = self.is_up(to);
            let mut line = self.line.borrow_mut();
            let reached = there && !line.is_apart(from, to);
            let session = line.number();
            match (dial.owner, &mut up.sides[from]) {
                (Owner::Link(index), _) => {
                    let link = &mut up.links[index];
                    let facts = link.source.session_facts(&link.record, me, None, session);
                    match facts {
                        Ok(facts) if reached => {
                            line.connect(from, to, dial.owner, from);
                            let marks = link.source.marks(facts.limit);
                            link.link.handle_connected(facts, marks, now);
                        }
                        _ => link.link.handle_connect_failed(now),
                    }
                }
                (Owner::Opening(key), Side::Opening(crank)) if reached => {
                    let mut links = crank.control().links.iter();
                    let record = links.find(|link| link.system == key.system).cloned();
                    if let Some(record) = record {
                        line.connect(from, to, dial.owner, from);
                        crank.handle_connected(&record, me, session, now);
                    }
                }
                _ => {}
            }
        }
        self.pump(from);
    }

    /// Opens the own journal of a member if its opening says that it may.
    pub(super) fn try_open(self: &Rc<Self>, me: usize) {
        let (wall, now) = (self.wall(), self.now.get());
        let mut opened = None;
        {
            let mut member = self.members[me].borrow_mut();
            let Some(up) = &mut member.up else {
                return;
            };
            let Side::Opening(crank) = &up.sides[me] else {
                return;
            };
            let OpeningState::Ready {
                reason,
                rank_above,
                heard,
            } = crank.state()
            else {
                return;
            };
            let adopted = crank.adopted;
            let taken = std::mem::replace(&mut up.sides[me], Side::Broken("opening".to_owned()));
            let Side::Opening(crank) = taken else {
                return;
            };
            let (mut recovered, wires) = crank.finish(now);
            for (key, wire) in wires {
                self.wire(me, Owner::Opening(key), me, wire);
            }
            let lineage = up.standing.get().lineage.clone();
            let journals = self.journals();
            let remembered = remember_earlier(&up.sides, &journals, &mut recovered, &lineage, None);
            if let Err(error) = remembered {
                up.sides[me] = Side::Broken(error);
                return;
            }
            let entropy: Arc<dyn Entropy> = Arc::clone(&up.entropy) as Arc<dyn Entropy>;
            match recovered.open_for_deposits(reason, rank_above, entropy, wall) {
                Ok((journal, writer)) => {
                    opened = Some((reason, journal.epoch(), journal.id(), journal.tail().tip()));
                    let open = OpenSide::begin(journal, writer, &heard, true, (wall, now));
                    let source = Source::Local(Arc::clone(&open.journal));
                    up.links = links_of(&source, self.draw());
                    for link in up.links.iter_mut().filter(|link| link.record.active) {
                        let activation = activation(link);
                        link.link.activate(activation, now);
                    }
                    up.sides[me] = Side::Open(Box::new(open));
                }
                Err(error) => up.sides[me] = Side::Broken(error.to_string()),
            }
            if adopted > 0 {
                self.counts.borrow_mut().adopted += 1;
            }
            up.woken = true;
        }
        if let Some((reason, epoch, journal, tip)) = opened {
            self.say(me, || {
                format!("opens again in {epoch} at {}: {reason:?}", tip.sequence)
            });
            self.sealed(me, journal, epoch, tip);
            self.opened_again(me, reason, epoch);
        }
        self.look_links(me);
    }
}

/// What a target said, where that closes the source.
fn closing(event: LinkEvent) -> Option<Refusal> {
    match event {
        LinkEvent::Ended {
            reason: EndReason::Refused(refusal),
            ..
        } => Some(refusal).filter(|refusal| refusal.code.closes_source()),
        _ => None,
    }
}

impl FeedSide {
    /// How far the session may feed: what was flushed when it began. Nothing is confirmed with it.
    pub(super) fn marks(
        source: &Source,
        epoch: rjournal::entry::Epoch,
        upto: Sequence,
    ) -> SourceMarks {
        let marks = source.marks(ShipLimit::Written);
        SourceMarks {
            epoch,
            shippable: upto,
            confirmable: Sequence::NONE,
            last: upto,
            last_time: marks.last_time,
        }
    }

    /// Does what a feeding session wants; gives what is to be sent.
    fn output(&mut self, output: SourceOutput, now: Moment) -> Vec<Frame> {
        match output {
            SourceOutput::Send(text) => return vec![Frame::Message(text)],
            SourceOutput::LookUpHead(sequence) => match self.source.reader().head_at(sequence) {
                Ok(head) => self.session.handle_head(sequence, head, now),
                Err(_) => self.session.handle_close(EndReason::SourceFailed, now),
            },
            SourceOutput::Ship { after, bytes } => {
                let read = self.source.reader().bundles_after(after, self.upto, bytes);
                let Ok(bundles) = read else {
                    self.session.handle_close(EndReason::SourceFailed, now);
                    return Vec::new();
                };
                let shipped = bundles.last().map(|last| {
                    let total = bundles.iter().map(|bundle| bundle.bytes.len() as u64).sum();
                    (last.header.last(), total, Sequence::NONE)
                });
                self.session.handle_shipped(shipped, now);
                return frames(bundles);
            }
            _ => {}
        }
        Vec::new()
    }
}

/// Bundles as they travel: the header of a receiver goes before its first bundle.
fn frames(bundles: Vec<StoredBundle>) -> Vec<Frame> {
    let mut frames = Vec::with_capacity(bundles.len() + 1);
    for bundle in bundles {
        if bundle.begins_receiver() {
            frames.push(Frame::Header(bundle.receiver.encode().into()));
        }
        frames.push(Frame::Bundle(bundle.bytes));
    }
    frames
}
