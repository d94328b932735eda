//! Package `tests`: several systems and the connections between them, one thread, one clock, every step by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use rjournal::daemon::crank::{
    TargetCrank, Wire, carry_confirmation, seal_and_tell, target_facts, write_and_tell,
};
use rjournal::entry::control_entry::{Level, Policy};
use rjournal::entry::{Draft, Kind, Moment, RdbName, Sequence, Timestamp};
use rjournal::journal::{
    Attributes, Copy, DeliveryMode, LinkRecord, NewJournal, Recovered, SourceRecord,
};
use rjournal::remote::{EndReason, Frame, LinkEvent, MemberKey, RefusalCode, TargetSession};

use crate::bench_journal::{DIR, name};
use crate::ledger::Ledger;
use crate::node::{Node, OpenSide, Running, Side, activate};
use crate::seed::SeededEntropy;

/// How long an opening waits before it asks a member again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A link of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of the feeding node.
    pub from: usize,
    /// Number of the fed node.
    pub to: usize,
    /// How.
    pub delivery: DeliveryMode,
}

/// Who holds the source's end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Link(usize),
    Opening(MemberKey),
}

#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    pub(crate) from: usize,
    pub(crate) to: usize,
    owner: Owner,
    pub(crate) forth: VecDeque<Frame>,
    pub(crate) back: VecDeque<Frame>,
    /// Closed by one end; the other learns it when it has read what is under way.
    pub(crate) closed: bool,
}

/// A dial that has not been answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) from: usize,
    owner: Owner,
}

/// The cluster. Node 0 holds the local journal.
#[derive(Debug)]
pub struct Cluster {
    /// The systems.
    pub nodes: Vec<Node>,
    /// What clients know.
    pub ledger: Ledger,
    /// Pairs of nodes that cannot reach each other.
    pub cut: BTreeSet<(usize, usize)>,
    /// Directions, from and to, in which nothing arrives and nobody is told.
    pub dark: BTreeSet<(usize, usize)>,
    /// What happened on links, with the node that feeds, oldest first.
    pub events: Vec<(usize, LinkEvent)>,
    /// Monotonic time.
    pub now: Moment,
    pub(crate) connections: Vec<Connection>,
    pub(crate) dials: VecDeque<Dial>,
    /// When an opening last asked a member.
    asked: BTreeMap<(usize, MemberKey), Moment>,
    next_connection: u64,
    pub(crate) deposits: u64,
    seed: u64,
}

impl Cluster {
    /// Makes the journal at node 0, its copies along the plan, and starts everything.
    pub fn new(nodes: usize, plans: &[Plan], attributes: &Attributes, seed: u64) -> Self {
        let mut cluster = Self {
            nodes: (0..nodes).map(|n| Node::new(n as u8)).collect(),
            ledger: Ledger::default(),
            cut: BTreeSet::new(),
            dark: BTreeSet::new(),
            events: Vec::new(),
            now: Moment::from_start(Duration::from_secs(1)),
            connections: Vec::new(),
            dials: VecDeque::new(),
            asked: BTreeMap::new(),
            next_connection: 1,
            deposits: 0,
            seed,
        };
        cluster.create(plans, attributes);
        for node in 0..nodes {
            cluster.start(node).expect("a fresh node starts");
        }
        cluster
    }

    fn create(&mut self, plans: &[Plan], attributes: &Attributes) {
        let entropy = SeededEntropy::new(self.seed);
        let wall = self.wall();
        let links = |from: usize, nodes: &[Node]| -> Vec<LinkRecord> {
            plans
                .iter()
                .filter(|plan| plan.from == from)
                .map(|plan| link_record(plan, &nodes[plan.to]))
                .collect()
        };
        let first = &self.nodes[0];
        let mut recovered = Recovered::create(
            first.shared_disk(),
            Path::new(DIR),
            first.owner(),
            NewJournal {
                name: name("PRDLIB/JRN"),
                first_receiver: name("PRDLIB/RCV0001"),
                attributes: attributes.clone(),
            },
            &entropy,
            wall,
        )
        .expect("a live disk");
        let here = links(0, &self.nodes);
        recovered
            .update(|control| control.links = here)
            .expect("a live disk");
        let journal = recovered.control().journal;
        for plan in plans {
            let feeder = &self.nodes[plan.from];
            let source = SourceRecord {
                system: feeder.system,
                name: feeder.name,
                journal: name("PRDLIB/JRN"),
                path: Vec::new(),
            };
            let target = &self.nodes[plan.to];
            let made = Copy::create(
                target.shared_disk(),
                Path::new(DIR),
                journal,
                name("BKPLIB/JRN"),
                source,
                attributes.clone(),
                wall,
            );
            let further = links(plan.to, &self.nodes);
            made.expect("a live disk")
                .shared()
                .update(|control| control.links = further)
                .expect("a live disk");
        }
    }

    /// Wall clock: a fixed day plus the monotonic time.
    pub fn wall(&self) -> Timestamp {
        let micros = u64::try_from(self.now.elapsed().as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros(1_700_000_000_000_000 + micros)
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// What recovery says.
    pub fn start(&mut self, node: usize) -> Result<(), String> {
        let now = self.now;
        let seed = self.seed ^ (node as u64) << 32 ^ self.nodes[node].starts;
        self.nodes[node].start(seed)?;
        if let Some(Running { links, .. }) = &mut self.nodes[node].running {
            for link in links {
                activate(link, now);
            }
        }
        self.pump(node);
        Ok(())
    }

    /// The open local journal, if it is open.
    pub fn open(&self) -> Option<&OpenSide> {
        match &self.nodes[0].running {
            Some(Running {
                side: Side::Open(open),
                ..
            }) if !open.failed => Some(open),
            _ => None,
        }
    }

    pub(crate) fn open_mut(&mut self) -> Option<&mut OpenSide> {
        match &mut self.nodes[0].running {
            Some(Running {
                side: Side::Open(open),
                ..
            }) if !open.failed => Some(open),
            _ => None,
        }
    }

    /// The copy at a node, if it runs.
    pub fn copy(&self, node: usize) -> Option<&Copy> {
        match &self.nodes[node].running {
            Some(Running {
                side: Side::Copy {
                    copy, failed: None, ..
                },
                ..
            }) => Some(copy),
            _ => None,
        }
    }

    /// Deposits one entry whose payload is its number, followed by filling.
    pub fn deposit(&mut self, filling: usize) -> bool {
        let wall = self.wall();
        let id = self.deposits;
        let mut payload = id.to_le_bytes().to_vec();
        payload.resize(8 + filling, id as u8);
        let Some(open) = self.open_mut() else {
            return false;
        };
        let taken = open
            .journal
            .deposit(&Draft::new(Kind::USER, &payload), wall);
        self.deposits += 1;
        match taken {
            Ok(ticket) => self.ledger.taken(id, ticket),
            Err(_) => self.ledger.refused(id),
        }
        true
    }

    /// The writer seals what is open.
    pub fn seal(&mut self) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(open) = self.open_mut().filter(|open| open.batch.is_none()) else {
            return false;
        };
        match seal_and_tell(&mut open.writer, &open.confirmation, wall, now) {
            Ok(batch) => open.batch = batch,
            Err(_) => open.failed = true,
        }
        let sealed = open.batch.is_some();
        self.look_links(0);
        sealed
    }

    /// The writer writes and flushes what it sealed.
    pub fn write(&mut self) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(open) = self.open_mut() else {
            return false;
        };
        let Some(batch) = open.batch.take() else {
            return false;
        };
        match write_and_tell(&mut open.writer, batch, &open.confirmation, wall, now) {
            Ok(left) => self.tell_left(&left),
            Err(_) => open.failed = true,
        }
        self.ledger.look();
        self.look_links(0);
        true
    }

    /// Prepares the next receiver at the source.
    pub fn prepare_spare(&mut self) {
        if let Some(open) = self.open_mut() {
            let (spare, bytes) = open.writer.spare();
            drop(spare.prepare(bytes));
        }
    }

    /// An operator changes the receiver.
    pub fn order_change(&mut self) {
        if let Some(open) = self.open_mut() {
            open.journal.order_change(None);
        }
    }

    pub(crate) fn tell_left(&mut self, left: &[MemberKey]) {
        let now = self.now;
        if let Some(Running { links, .. }) = &mut self.nodes[0].running {
            for link in links.iter_mut().filter(|link| left.contains(&link.key())) {
                link.link.handle_left(now);
            }
        }
        self.pump(0);
    }

    pub(crate) fn look_links(&mut self, node: usize) {
        let now = self.now;
        if let Some(Running { links, .. }) = &mut self.nodes[node].running {
            for link in links {
                link.look(now);
            }
        }
        self.pump(node);
    }

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

    /// As the daemon does: a source that learns of a later history than its own gives no further answer.
    fn close_when_refused(&mut self, node: usize, event: &LinkEvent) {
        let LinkEvent::Ended {
            reason: EndReason::Refused(refusal),
            ..
        } = event
        else {
            return;
        };
        let closes = matches!(
            refusal.code,
            RefusalCode::Fenced | RefusalCode::StaleSource | RefusalCode::DuplicateIdentity
        );
        if let (true, 0, Some(open)) = (closes, node, self.open_mut()) {
            open.journal.close();
            let text = refusal.text.clone();
            let kept = open.journal.update(|control| control.stopped = Some(text));
            kept.expect("a live disk");
        }
    }

    fn wire(&mut self, node: usize, owner: Owner, wire: Wire) {
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
            let id = self.next_connection;
            self.next_connection += 1;
            let (from, owner) = (dial.from, dial.owner);
            self.connections.push(Connection {
                id,
                from,
                to,
                owner,
                forth: VecDeque::new(),
                back: VecDeque::new(),
                closed: false,
            });
            self.accept(to, id, from);
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

    /// A connection arrives: a new session replaces an older one.
    fn accept(&mut self, node: usize, id: u64, from: usize) {
        let now = self.now;
        let peer = self.nodes[from].system;
        let (system, disk) = (self.nodes[node].system, self.nodes[node].shared_disk());
        let mut old = None;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed,
                },
            ..
        }) = &mut self.nodes[node].running
        {
            old = session.take().map(|(id, _)| id);
            if failed.is_none() {
                match target_facts(copy, system, peer, &*disk) {
                    Ok(facts) => {
                        let crank = TargetCrank::new(TargetSession::new(facts, now));
                        *session = Some((id, Box::new(crank)));
                    }
                    Err(error) => *failed = Some(error.to_string()),
                }
            }
        }
        for connection in self.connections.iter_mut().filter(|c| Some(c.id) == old) {
            connection.closed = true;
        }
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        let dark = self.dark.contains(&(a, b)) || self.dark.contains(&(b, a));
        dark || self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Delivers the next frame to the target of a connection, or its end.
    pub fn deliver_forth(&mut self, index: usize) -> bool {
        let (wall, now) = (self.wall(), self.now);
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let (id, to) = (connection.id, connection.to);
        if self.dark.contains(&(connection.from, to)) {
            return false;
        }
        let frame = connection.forth.pop_front();
        if frame.is_none() && !connection.closed {
            return false;
        }
        let mut out = Vec::new();
        let mut ended = false;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed,
                },
            ..
        }) = &mut self.nodes[to].running
            && let Some((current, crank)) = session
            && *current == id
        {
            match frame {
                Some(frame) => crank.session.handle_frame(frame, now),
                None => crank.session.handle_lost(),
            }
            crank.turn(copy, wall, &mut out);
            ended = crank.ended.is_some();
            if let Some(error) = crank.take_failure().filter(|error| !error.is_disk_full()) {
                *failed = Some(error.to_string());
            }
            if ended {
                *session = None;
            }
        }
        if let Some(connection) = self.connections.get_mut(index) {
            connection.back.extend(out);
            connection.closed |= ended;
        }
        self.look_links(to);
        true
    }

    /// The target of a connection flushes what it was asked to.
    pub fn flush(&mut self, node: usize) -> bool {
        let wall = self.wall();
        let disk = self.nodes[node].shared_disk();
        let mut out = Vec::new();
        let mut of = None;
        let mut ended = false;
        if let Some(Running {
            side:
                Side::Copy {
                    copy,
                    session,
                    failed,
                },
            ..
        }) = &mut self.nodes[node].running
            && let Some((id, crank)) = session
        {
            crank.flush(copy, &*disk, wall, &mut out);
            of = Some(*id);
            ended = crank.ended.is_some();
            if let Some(error) = crank.take_failure().filter(|error| !error.is_disk_full()) {
                *failed = Some(error.to_string());
            }
            if ended {
                *session = None;
            }
        }
        let did = !out.is_empty();
        if let Some(connection) = self.connections.iter_mut().find(|c| Some(c.id) == of) {
            connection.back.extend(out);
            connection.closed |= ended;
        }
        self.look_links(node);
        did
    }

    /// Delivers the next frame to the source of a connection, or its end.
    pub fn deliver_back(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index) else {
            return false;
        };
        let (id, from, owner) = (connection.id, connection.from, connection.owner);
        if self.dark.contains(&(connection.to, from)) {
            if !connection.closed {
                return false;
            }
            connection.back.clear();
        }
        let frame = connection.back.pop_front();
        if frame.is_none() && !connection.closed {
            return false;
        }
        if frame.is_none() && connection.forth.is_empty() {
            self.connections.remove(index);
        } else if frame.is_none() {
            return false;
        }
        // What an older connection still brings is dropped with it.
        let newer = |c: &Connection| c.from == from && c.owner == owner && c.id > id;
        if self.connections.iter().any(newer) {
            return true;
        }
        if let Some(Running { side, links }) = &mut self.nodes[from].running {
            match (owner, side, frame) {
                (Owner::Link(link), _, Some(frame)) => links[link].link.handle_frame(frame, now),
                (Owner::Link(link), _, None) => links[link].link.handle_lost(now),
                (Owner::Opening(key), Side::Opening(crank), Some(frame)) => {
                    crank.handle_frame(key, frame, now);
                }
                (Owner::Opening(key), Side::Opening(crank), None) => crank.handle_lost(key),
                _ => {}
            }
        }
        self.pump(from);
        self.try_open(from);
        true
    }

    /// Opens node 0's journal if the opening allows it.
    pub fn try_open(&mut self, node: usize) {
        let (wall, now) = (self.wall(), self.now);
        let seed = self.seed ^ 0x5555 ^ self.nodes[node].starts << 8;
        let opened = self.nodes[node].try_open(seed, wall, now);
        match opened {
            Ok(true) => {
                self.connections
                    .retain(|c| c.from != node || matches!(c.owner, Owner::Link(_)));
                self.dials
                    .retain(|dial| dial.from != node || matches!(dial.owner, Owner::Link(_)));
                self.look_links(node);
            }
            Ok(false) => {}
            Err(text) => {
                if let Some(running) = &mut self.nodes[node].running {
                    running.side = Side::Refused(text);
                }
            }
        }
    }

    /// A connection breaks: what is under way is lost.
    pub fn break_connection(&mut self, index: usize) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.forth.clear();
            connection.back.clear();
            connection.closed = true;
        }
    }

    /// A node loses power: what it did not sync may be gone, and its connections break.
    pub fn crash(&mut self, node: usize, seed: u64) {
        if node == 0 {
            self.ledger.source_died();
        }
        let crashed = self.nodes[node].disk.crash(seed);
        self.nodes[node].running = None;
        self.nodes[node].disk = crashed.power_on();
        self.dials.retain(|dial| dial.from != node);
        self.asked.retain(|(from, _), _| *from != node);
        self.connections.retain(|c| c.from != node);
        for connection in self.connections.iter_mut().filter(|c| c.to == node) {
            connection.forth.clear();
            connection.back.clear();
            connection.closed = true;
        }
    }

    /// The process of a node is killed: the machine, its disk and its page cache live on.
    pub fn kill(&mut self, node: usize) {
        let disk = self.nodes[node].disk.clone();
        self.crash(node, 0);
        self.nodes[node].disk = disk;
    }

    /// Time goes on; whoever waits for it is told.
    pub fn tick(&mut self, step: Duration) {
        self.now = self.now + step;
        let (wall, now) = (self.wall(), self.now);
        for node in 0..self.nodes.len() {
            let mut left = Vec::new();
            if let Some(Running { side, links }) = &mut self.nodes[node].running {
                for link in links
                    .iter_mut()
                    .filter(|link| link.link.poll_timeout().is_some_and(|due| due <= now))
                {
                    link.link.handle_timeout(now);
                }
                match side {
                    Side::Open(open) => {
                        let mut confirmation = open
                            .confirmation
                            .lock()
                            .expect("no panic while it was held");
                        if confirmation.poll_timeout().is_some_and(|due| due <= now) {
                            confirmation.handle_timeout(now);
                            left = carry_confirmation(&open.journal, &mut confirmation, wall, now);
                        }
                    }
                    Side::Opening(crank) => crank.handle_timeout(now),
                    Side::Copy {
                        session: Some((_, crank)),
                        ..
                    } => crank.session.handle_timeout(now),
                    Side::Copy { .. } | Side::Refused(_) => {}
                }
            }
            self.end_silent(node);
            self.tell_left(&left);
            self.pump(node);
            self.try_open(node);
        }
    }

    /// Lets a target's session that timed out end.
    fn end_silent(&mut self, node: usize) {
        let wall = self.wall();
        let Some(Running {
            side: Side::Copy { copy, session, .. },
            ..
        }) = &mut self.nodes[node].running
        else {
            return;
        };
        let Some((id, crank)) = session else {
            return;
        };
        crank.turn(copy, wall, &mut Vec::new());
        if crank.ended.is_some() {
            let id = *id;
            *session = None;
            for connection in self.connections.iter_mut().filter(|c| c.id == id) {
                connection.closed = true;
            }
        }
    }

    /// Everything that can happen without a fault happens, until nothing more does.
    pub fn settle(&mut self) {
        for _ in 0..20_000 {
            let mut moved = self.answer_dial();
            moved |= self.seal();
            moved |= self.write();
            let mut index = 0;
            while index < self.connections.len() {
                while self.deliver_forth(index)
                    && !self
                        .connections
                        .get(index)
                        .is_none_or(|c| c.forth.is_empty())
                {
                    moved = true;
                }
                let to = self.connections.get(index).map_or(0, |c| c.to);
                moved |= self.flush(to);
                let before = self.connections.len();
                while self.connections.len() == before && self.deliver_back(index) {
                    moved = true;
                }
                if self.connections.len() == before {
                    index += 1;
                } else {
                    moved = true;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Settles, and lets time go on, until `done` or for `limit` of virtual time. Says whether it is done.
    pub fn settle_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.tick(Duration::from_millis(20));
        }
    }

    /// Whether the journal is open and every copy has everything, confirmed.
    pub fn is_level(&self) -> bool {
        let Some(open) = self.open() else {
            return false;
        };
        let marks = open.journal.tail().marks();
        let level =
            marks.sealed == marks.written && marks.settled == marks.written && open.batch.is_none();
        let copies = (1..self.nodes.len()).all(|node| {
            self.copy(node).is_some_and(|copy| {
                copy.progress().written == marks.written
                    && copy.progress().confirmed == marks.written
            })
        });
        level && copies && open.journal.intake().last() == marks.sealed
    }

    /// Whether every *SYNC target is in the in-sync set.
    pub fn is_in_sync(&self) -> bool {
        let Some(open) = self.open() else {
            return false;
        };
        let wanted = open
            .journal
            .control()
            .links
            .iter()
            .filter(|link| link.delivery == DeliveryMode::Sync)
            .count();
        let confirmation = open
            .confirmation
            .lock()
            .expect("no panic while it was held");
        confirmation.members().0.len() == wanted
    }

    /// How node 0's journal stands, for messages of tests.
    pub fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|node| match &node.running {
            None => "down".to_owned(),
            Some(Running {
                side: Side::Open(open),
                links,
            }) => {
                let shown: Vec<_> = links.iter().map(|link| link.link.shown()).collect();
                format!(
                    "open {:?} failed {} links {shown:?}",
                    open.journal.tail().marks(),
                    open.failed
                )
            }
            Some(Running {
                side: Side::Opening(crank),
                ..
            }) => format!("opening {:?}", crank.state()),
            Some(Running {
                side:
                    Side::Copy {
                        copy,
                        failed,
                        session,
                    },
                links,
            }) => {
                let shown: Vec<_> = links.iter().map(|link| link.link.shown()).collect();
                let session = session
                    .as_ref()
                    .map(|(id, crank)| (*id, crank.session.is_streaming()));
                format!(
                    "copy {:?} session {session:?} failed {failed:?} links {shown:?}",
                    copy.progress()
                )
            }
            Some(Running {
                side: Side::Refused(text),
                ..
            }) => format!("refused: {text}"),
        });
        let wires = self.connections.iter().map(|c| {
            format!(
                "{} {}->{} {:?} forth {} back {} closed {}",
                c.id,
                c.from,
                c.to,
                c.owner,
                c.forth.len(),
                c.back.len(),
                c.closed
            )
        });
        nodes.chain(wires).collect::<Vec<_>>().join("\n")
    }

    /// The last entry anybody can have: for tests.
    pub fn last(&self) -> Sequence {
        self.open()
            .map_or(Sequence::NONE, |open| open.journal.intake().last())
    }
}

fn link_record(plan: &Plan, target: &Node) -> LinkRecord {
    LinkRecord {
        rdb: RdbName::new(target.name.as_str()).expect("a name"),
        system: target.system,
        target: name("BKPLIB/JRN"),
        delivery: plan.delivery,
        level: Level::Written,
        active: true,
        acknowledged: Sequence::NONE,
        needs_reinit: false,
        text: String::new(),
    }
}

/// Attributes with a small receiver and a short time-out.
pub fn quick(policy: Policy) -> Attributes {
    Attributes {
        threshold: 64 * 1024,
        policy,
        sync_timeout_ms: 2_000,
        ..Attributes::default()
    }
}

/// A *SYNC link from node 0.
pub const fn sync(to: usize) -> Plan {
    Plan {
        from: 0,
        to,
        delivery: DeliveryMode::Sync,
    }
}

/// An *ASYNC link.
pub const fn asynchronous(from: usize, to: usize) -> Plan {
    Plan {
        from,
        to,
        delivery: DeliveryMode::Async,
    }
}
