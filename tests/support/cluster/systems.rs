//! Package `tests`, the cluster: its systems are made, started, opened, and lose power. Must not carry frames.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::time::Duration;

use rjournal::entry::{Moment, Sequence, Timestamp};
use rjournal::journal::{Attributes, Copy, LinkRecord, NewJournal, Recovered, SourceRecord};
use rjournal::remote::{LinkEvent, MemberKey};

use super::connection::{Connection, Dial, Owner};
use super::plan::{Plan, link_record};
use crate::bench_journal::{DIR, name};
use crate::ledger::Ledger;
use crate::node::{Node, OpenSide, Running, Side};
use crate::seed::SeededEntropy;

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
    /// Targets an operator gave up, with the last entry there was then: nothing is promised to them on what they have up to it.
    pub voided: BTreeMap<usize, Sequence>,
    /// Monotonic time.
    pub now: Moment,
    pub(crate) connections: Vec<Connection>,
    pub(crate) dials: VecDeque<Dial>,
    /// When an opening last asked a member.
    pub(crate) asked: BTreeMap<(usize, MemberKey), Moment>,
    pub(crate) next_connection: u64,
    pub(crate) deposits: u64,
    pub(crate) seed: u64,
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
            voided: BTreeMap::new(),
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

    /// An operator deletes the copy at a node that is down and makes an empty one in its place, tied to node 0.
    ///
    /// # Panics
    /// When nothing runs at node 0.
    pub fn replace_copy(&mut self, node: usize) {
        let running = self.nodes[0].running.as_ref().expect("node 0 runs");
        let control = match &running.side {
            Side::Open(open) => open.journal.control(),
            Side::Opening(crank) => crank.control().clone(),
            Side::Copy { .. } | Side::Refused(_) => panic!("no local journal runs"),
        };
        let source = SourceRecord {
            system: self.nodes[0].system,
            name: self.nodes[0].name,
            journal: control.name,
            path: Vec::new(),
        };
        let empty = Node::new(node as u8).disk;
        let (disk, dir) = (std::sync::Arc::new(empty.clone()), Path::new(DIR));
        let (journal, wall) = (control.journal, self.wall());
        let copy = name("BKPLIB/JRN");
        let made = Copy::create(disk, dir, journal, copy, source, control.attributes, wall);
        made.expect("a live disk");
        self.nodes[node].disk = empty;
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
                link.activate(now);
            }
        }
        self.pump(node);
        Ok(())
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
}
