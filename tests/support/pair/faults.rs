//! Package `tests`, the pair: lines that are cut, systems that go down and come up again.

use std::collections::VecDeque;

use rjournal::disk::{CrashedDisk, MemoryDisk};
use rjournal::remote::{Frame, Hello, MemberKey, Message};

use super::{Pair, SOURCE, TARGET};
use crate::bench_journal::name;
use crate::cluster::Owner;
use crate::node::{Running, Side};

impl Pair {
    /// The line between source and target breaks, both ends notice.
    pub fn cut(&mut self) -> &mut Self {
        self.cut_between(SOURCE, TARGET)
    }

    /// The line between two systems breaks, both ends notice.
    pub fn cut_between(&mut self, a: usize, b: usize) -> &mut Self {
        self.cluster.cut.insert((a.min(b), a.max(b)));
        self.break_between(a, b)
    }

    /// The connection between two systems breaks; the line is good.
    pub fn break_between(&mut self, a: usize, b: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            let connection = &self.cluster.connections[index];
            if [(a, b), (b, a)].contains(&(connection.from, connection.to)) {
                self.cluster.break_connection(index);
            }
        }
        self
    }

    /// All lines are good again.
    pub fn mend(&mut self) -> &mut Self {
        self.cluster.cut.clear();
        self.cluster.dark.clear();
        self
    }

    /// What one system sends to another does not arrive, and nobody is told.
    pub fn darken(&mut self, from: usize, to: usize) -> &mut Self {
        self.cluster.dark.insert((from, to));
        self
    }

    /// The newest connection to a system: frames under way to it.
    ///
    /// # Panics
    /// When there is none.
    pub fn frames_to(&mut self, node: usize) -> &mut VecDeque<Frame> {
        let connections = self.cluster.connections.iter_mut().rev();
        &mut connections
            .into_iter()
            .find(|c| c.to == node)
            .expect("a connection")
            .forth
    }

    /// The newest connection to a system: frames under way back from it.
    ///
    /// # Panics
    /// When there is none.
    pub fn frames_from(&mut self, node: usize) -> &mut VecDeque<Frame> {
        let connections = self.cluster.connections.iter_mut().rev();
        &mut connections
            .into_iter()
            .find(|c| c.to == node)
            .expect("a connection")
            .back
    }

    /// Somebody greets a system over a connection of his own, in the name of another. Gives what he is told at once.
    ///
    /// # Panics
    /// When the target's end of the connection cannot be found.
    pub fn knock(&mut self, from: usize, to: usize, hello: Box<Hello>) -> Vec<Frame> {
        let cluster = &mut self.cluster;
        let nobody = MemberKey {
            system: cluster.nodes[to].system,
            journal: name("BKPLIB/JRN"),
        };
        let index = cluster.connect(from, to, Owner::Opening(nobody));
        cluster.connections[index]
            .forth
            .push_back(Frame::Message(Message::Hello(hello)));
        assert!(cluster.deliver_forth(index));
        cluster.connections[index].back.drain(..).collect()
    }

    fn take_down(&mut self, node: usize, disk: MemoryDisk) {
        self.cluster.crash(node, 0);
        self.cluster.nodes[node].disk = disk;
    }

    /// A system loses power: what was not synced is gone.
    pub fn lose_power(&mut self, node: usize) -> &mut Self {
        let left = self.cluster.nodes[node].disk.crash_to_synced();
        self.take_down(node, left.power_on());
        self
    }

    /// A system loses power: of what was not synced, what the seed says survives in pieces.
    pub fn tear(&mut self, node: usize, seed: u64) -> &mut Self {
        self.cluster.crash(node, seed);
        self
    }

    /// The process of a system is killed: the machine and its page cache live on.
    pub fn kill(&mut self, node: usize) -> &mut Self {
        self.cluster.kill(node);
        self
    }

    /// A system goes down and its medium becomes this one.
    pub fn restore(&mut self, node: usize, medium: &CrashedDisk) -> &mut Self {
        self.take_down(node, medium.power_on());
        self
    }

    /// The medium of a system as it is now, everything flushed.
    pub fn snapshot(&self, node: usize) -> CrashedDisk {
        self.cluster.nodes[node].disk.image()
    }

    /// A system starts.
    ///
    /// # Panics
    /// When recovery refuses.
    #[track_caller]
    pub fn start(&mut self, node: usize) -> &mut Self {
        if let Err(text) = self.cluster.start(node) {
            panic!("system {node} does not start: {text}");
        }
        self
    }

    /// A system does not start; gives what recovery says.
    ///
    /// # Panics
    /// When it starts.
    #[track_caller]
    pub fn refuses_to_start(&mut self, node: usize) -> String {
        match self.cluster.start(node) {
            Ok(()) => panic!("system {node} starts:\n{}", self.cluster.describe()),
            Err(text) => text,
        }
    }

    /// An operator opens the source without hearing its set.
    ///
    /// # Panics
    /// When it is not on its way.
    pub fn open_alone(&mut self) -> &mut Self {
        let Some(Running {
            side: Side::Opening(crank),
            ..
        }) = &mut self.cluster.nodes[SOURCE].running
        else {
            panic!("the journal is not on its way");
        };
        crank.open_alone().expect("a live disk");
        self.cluster.try_open(SOURCE);
        self
    }

    /// An operator allows the source to adopt a tail of any length.
    ///
    /// # Panics
    /// When it is not on its way.
    pub fn allow_adopt(&mut self) -> &mut Self {
        let now = self.cluster.now;
        let Some(Running {
            side: Side::Opening(crank),
            ..
        }) = &mut self.cluster.nodes[SOURCE].running
        else {
            panic!("the journal is not on its way");
        };
        let wires = crank.allow_adopt(now).expect("a live disk");
        for (key, wire) in wires {
            self.cluster.wire(SOURCE, Owner::Opening(key), wire);
        }
        self.cluster.pump(SOURCE);
        self
    }
}
