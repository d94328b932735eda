//! Package `tests`, the cluster: connections: dialled, accepted, used by links and openings, broken. Must not look into frames.

use std::collections::VecDeque;
use std::time::Duration;

use rjournal::daemon::crank::{Wire, greet};
use rjournal::entry::Moment;
use rjournal::remote::{EndReason, Frame, LinkEvent, MemberKey};

use super::systems::Cluster;
use crate::node::{Running, Side};

/// How long an opening waits before it asks a member again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Who holds the source's end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Link(usize),
    Opening(MemberKey),
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) owner: Owner,
    pub(crate) forth: VecDeque<Frame>,
    pub(crate) back: VecDeque<Frame>,
    /// Its first frame arrived.
    pub(crate) greeted: bool,
    /// Closed by one end; the other learns it when it has read what is under way.
    pub(crate) closed: bool,
}

/// A dial that has not been answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) from: usize,
    pub(crate) owner: Owner,
}

impl Cluster {
    /// Does what links and opening of a node want.
    pub(crate) fn pump(&mut self, node: usize) {
        let (wall, now) = (self.wall(), self.now);
        let mut wires: Vec<(Owner, Wire)> = Vec::new();
        let mut left_set = Vec::new();
        let mut to_dial = Vec::new();
        let mut events = Vec::new();
        let Some(Running { side, links }) = &mut self.nodes[node].running else {
            return;
        };
        let confirmation = match side {
            Side::Open(open) => Some(&open.confirmation),
            _ => None,
        };
        for (index, link) in links.iter_mut().enumerate() {
            let (ordered, left) = link.turn(confirmation, wall, now);
            left_set.extend(left);
            events.append(&mut link.events);
            wires.extend(ordered.into_iter().map(|wire| (Owner::Link(index), wire)));
        }
        let mut failed = false;
        if let Side::Opening(crank) = side {
            match crank.turn(wall, now) {
                Ok(ordered) => wires.extend(
                    ordered
                        .into_iter()
                        .map(|(key, wire)| (Owner::Opening(key), wire)),
                ),
                Err(_) => failed = true,
            }
            let links = crank.to_dial();
            to_dial.extend(links.iter().map(|link| MemberKey {
                system: link.system,
                journal: link.target,
            }));
        }
        if failed {
            *side = Side::Refused("the disk failed while opening".to_owned());
        }
        for event in events {
            self.close_when_refused(node, &event);
            self.events.push((node, event));
        }
        for (owner, wire) in wires {
            self.wire(node, owner, wire);
        }
        for key in to_dial {
            let owner = Owner::Opening(key);
            // As the daemon does: a member that cannot be reached is asked again after a while.
            let again = |last: &Moment| now.since(*last) >= ASK_AGAIN;
            if self.asked.get(&(node, key)).is_none_or(again) {
                self.asked.insert((node, key), now);
                self.dials.push_back(Dial { from: node, owner });
            }
        }
        self.ledger.look();
        if !left_set.is_empty() {
            self.tell_left(&left_set);
        }
    }

    pub(crate) fn wire(&mut self, node: usize, owner: Owner, wire: Wire) {
        match wire {
            Wire::Dial => self.dials.push_back(Dial { from: node, owner }),
            Wire::Frames(frames) => {
                let open = |c: &&mut Connection| c.from == node && c.owner == owner && !c.closed;
                if let Some(connection) = self.connections.iter_mut().rev().find(open) {
                    connection.forth.extend(frames);
                }
            }
            Wire::Disconnect => {
                self.dials
                    .retain(|dial| dial.from != node || dial.owner != owner);
                for connection in self
                    .connections
                    .iter_mut()
                    .filter(|c| c.from == node && c.owner == owner)
                {
                    connection.closed = true;
                }
            }
        }
    }

    /// Answers the oldest dial. Says whether there was one.
    pub fn answer_dial(&mut self) -> bool {
        let Some(dial) = self.dials.pop_front() else {
            return false;
        };
        let now = self.now;
        let Some(to) = self.target_of(dial) else {
            return true;
        };
        let reachable = self.nodes[to].running.is_some() && !self.is_cut(dial.from, to);
        if reachable {
            self.connect(dial.from, to, dial.owner);
        }
        let me = (self.nodes[dial.from].system, self.nodes[dial.from].name);
        let session = self.next_connection;
        if let Some(Running { side, links }) = &mut self.nodes[dial.from].running {
            match (dial.owner, side) {
                (Owner::Link(index), _) => {
                    let link = &mut links[index];
                    let facts = link.source.session_facts(&link.record, me, None, session);
                    match facts {
                        Ok(facts) if reachable => {
                            let limit = facts.limit;
                            link.link
                                .handle_connected(facts, link.source.marks(limit), now);
                        }
                        _ => link.link.handle_connect_failed(now),
                    }
                }
                (Owner::Opening(key), Side::Opening(crank)) if reachable => {
                    let record = crank
                        .control()
                        .links
                        .iter()
                        .find(|link| link.system == key.system)
                        .cloned();
                    if let Some(record) = record {
                        crank.handle_connected(&record, me, session, now);
                    }
                }
                _ => {}
            }
        }
        self.pump(dial.from);
        true
    }

    /// A connection is up; gives its place.
    pub(crate) fn connect(&mut self, from: usize, to: usize, owner: Owner) -> usize {
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.push(Connection {
            id,
            from,
            to,
            owner,
            forth: VecDeque::new(),
            back: VecDeque::new(),
            greeted: false,
            closed: false,
        });
        self.connections.len() - 1
    }

    fn target_of(&self, dial: Dial) -> Option<usize> {
        let system = match dial.owner {
            Owner::Link(index) => {
                self.nodes[dial.from]
                    .running
                    .as_ref()?
                    .links
                    .get(index)?
                    .record
                    .system
            }
            Owner::Opening(key) => key.system,
        };
        self.nodes.iter().position(|node| node.system == system)
    }

    /// The first frame of a connection arrives. A newcomer that is let in takes the place of an older session; whoever is
    /// refused hears why, and nothing else happens.
    pub(crate) fn greet(&mut self, index: usize, first: Frame) {
        let (wall, now) = (self.wall(), self.now);
        let connection = &mut self.connections[index];
        connection.greeted = true;
        let (id, node, from) = (connection.id, connection.to, connection.from);
        let peer = self.nodes[from].system;
        let (system, disk) = (self.nodes[node].system, self.nodes[node].shared_disk());
        let mut old = None;
        let mut out = Vec::new();
        let mut refused = false;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed: failed @ None,
                },
            ..
        }) = &mut self.nodes[node].running
        {
            match greet(copy, (system, peer, false), &*disk, first, now) {
                Ok(mut crank) => {
                    refused = !crank.session.is_let_in();
                    crank.turn(copy, wall, &mut out);
                    if !refused {
                        old = session.replace((id, Box::new(crank))).map(|(id, _)| id);
                    }
                }
                Err(error) => *failed = Some(error.to_string()),
            }
        }
        for connection in self.connections.iter_mut().filter(|c| Some(c.id) == old) {
            connection.closed = true;
        }
        let connection = &mut self.connections[index];
        connection.back.extend(out);
        connection.closed |= refused;
        self.look_links(node);
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        let dark = self.dark.contains(&(a, b)) || self.dark.contains(&(b, a));
        dark || self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// A connection breaks: what is under way is lost.
    pub fn break_connection(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.forth.clear();
            connection.back.clear();
            connection.closed = true;
        }
    }

    /// As the daemon does: a source that learns of a later history than its own gives no further answer.
    fn close_when_refused(&mut self, node: usize, event: &LinkEvent) {
        let LinkEvent::Ended {
            reason: EndReason::Refused(refusal),
            ..
        } = event
        else {
            return;
        };
        if let (true, 0, Some(open)) = (refusal.code.closes_source(), node, self.open_mut()) {
            open.journal.close();
            let text = refusal.text.clone();
            let kept = open.journal.update(|control| control.stopped = Some(text));
            kept.expect("a live disk");
        }
    }
}
