//! Package `tests`: the simulator: one seed decides what happens next - deposits, bundles, frames, flushes, time, changes
//! of receivers, losses of connections and of power, killed processes, full disks, failed flushes, rot - then everything
//! is healed and must come level again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::crank::{Ending, LinkCrank};
use rjournal::disk::{CrashedDisk, MemoryDisk};
use rjournal::entry::Sequence;
use rjournal::entry::control_entry::Policy;
use rjournal::journal::{AckClass, Copy, Recovered};
use rjournal::remote::LinkState;

use crate::bench_journal::DIR;
use crate::checkers;
use crate::cluster::{Cluster, Plan, asynchronous, quick, sync};
use crate::mood::{Faults, Mood};
use crate::node::{Running, Side};
use crate::seed::Seed;

/// What a change of the policy is in the trace of a run.
const POLICY_STEP: u64 = 13;

/// How a run went, equal for equal seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over everything that happened, in order.
    pub trace: u64,
    /// Deposits answered SYNC and LOCAL.
    pub answered: (usize, usize),
    /// Faults of the run.
    pub faults: Faults,
    /// The last entry.
    pub last: u64,
}

/// A run on its way.
struct Run {
    cluster: Cluster,
    seed: Seed,
    mood: Mood,
    faults: Faults,
    /// Nodes whose disk may refuse right now.
    hurt: Vec<bool>,
}

fn plans(seed: &mut Seed) -> (usize, Vec<Plan>) {
    match seed.below(5) {
        0 | 1 => (2, vec![sync(1)]),
        2 => (2, vec![asynchronous(0, 1)]),
        3 => (
            3,
            vec![
                sync(1),
                if seed.below(2) == 0 {
                    sync(2)
                } else {
                    asynchronous(0, 2)
                },
            ],
        ),
        _ => (3, vec![sync(1), asynchronous(1, 2)]),
    }
}

/// Runs one seed. Panics, with the seed in the text of the caller, when a checker finds something.
pub fn run(seed_number: u64) -> Outcome {
    let mut seed = Seed::new(seed_number);
    let (nodes, plans) = plans(&mut seed);
    let policy = match seed.below(6) {
        0 | 1 => Policy::Block,
        2 => Policy::Reject,
        _ => Policy::Degrade,
    };
    let mut attributes = quick(policy);
    attributes.local_first = seed.below(6) == 0;
    let mood = Mood::draw(&mut seed);
    let mut run = Run {
        cluster: Cluster::new(nodes, &plans, &attributes, seed.draw()),
        seed,
        mood,
        faults: Faults::default(),
        hurt: vec![false; nodes],
    };
    let mut trace = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..400 + run.seed.below(600) {
        let did = run.step();
        if did == POLICY_STEP || run.seed.below(40) == 0 {
            checkers::what_copies_rule_out_is_true(&mut run.cluster);
        }
        let last = run.cluster.last().get();
        trace = (trace ^ did ^ last << 8).wrapping_mul(0x0100_0000_01b3);
    }
    checkers::sync_answers_are_on_every_member(&run.cluster, run.seed.draw());
    checkers::what_copies_rule_out_is_true(&mut run.cluster);
    run.heal();
    checkers::what_copies_rule_out_is_true(&mut run.cluster);
    checkers::answers_are_true(&run.cluster);
    checkers::only_degrade_makes_the_set_smaller(&run.cluster);
    checkers::receivers_are_identical(&run.cluster);
    let landed = run.cluster.ledger.landed();
    let of = |class| {
        landed
            .values()
            .filter(|(_, found, _)| *found == class)
            .count()
    };
    let answered = (of(AckClass::Sync), of(AckClass::Local));
    let last = run.cluster.last().get();
    Outcome {
        trace: trace ^ last ^ (answered.0 as u64) << 32,
        answered,
        faults: run.faults,
        last,
    }
}

impl Run {
    fn any_target(&mut self) -> usize {
        1 + self.seed.below(self.cluster.nodes.len() as u64 - 1) as usize
    }

    fn any_node(&mut self) -> usize {
        self.seed.below(self.cluster.nodes.len() as u64) as usize
    }

    /// One thing happens; gives a number for the trace.
    fn step(&mut self) -> u64 {
        let mood = self.mood;
        let odds = [
            mood.crash_source,
            mood.crash_target,
            mood.kill,
            mood.full,
            mood.fail_sync,
            mood.rot,
            mood.break_connection,
            mood.cut,
            mood.dark,
            mood.tick,
            mood.change,
            mood.operate,
            mood.policy,
        ];
        let mut drawn = self.seed.below(1000);
        let chosen = odds.iter().position(|odd| {
            let hit = drawn < *odd;
            drawn = drawn.saturating_sub(*odd);
            hit
        });
        match chosen {
            Some(0) => self.crash(0),
            Some(1) => {
                let node = self.any_target();
                self.crash(node);
            }
            Some(2) => {
                let node = self.any_node();
                self.kill(node);
            }
            Some(3) => self.fill_up(),
            Some(4) => self.fail_sync(),
            Some(5) => self.rot(),
            Some(6) => {
                let index = self.seed.below(self.cluster.connections() as u64) as usize;
                self.cluster.break_connection(index);
            }
            Some(7) => self.cut_or_mend(),
            Some(8) => self.darken_or_lighten(),
            Some(9) => self.tick(),
            Some(10) => self.cluster.order_change(),
            Some(11) => self.operate(),
            Some(12) => self.change_policy(),
            _ => return 20 + u64::from(self.work()),
        }
        chosen.map_or(0, |index| index as u64 + 1)
    }

    /// A step without a fault. Says whether there was something to do.
    fn work(&mut self) -> bool {
        let index = self.seed.below(self.cluster.connections() as u64) as usize;
        match self.seed.below(8) {
            0 | 1 => {
                let filling = self.seed.below(3000) as usize;
                self.cluster.deposit(filling)
            }
            2 => self.cluster.seal(),
            3 => self.cluster.write(),
            4 => self.cluster.deliver_forth(index),
            5 => self.cluster.deliver_back(index),
            6 => {
                let node = self.any_target();
                self.cluster.flush(node)
            }
            _ => {
                if self.seed.below(4) == 0 {
                    self.cluster.prepare_spare();
                }
                self.cluster.answer_dial()
            }
        }
    }

    /// An operator chooses another policy, and sometimes gives up who cannot be told.
    fn change_policy(&mut self) {
        let policy = [Policy::Degrade, Policy::Block, Policy::Reject][self.seed.below(3) as usize];
        if self.seed.below(4) == 0 {
            self.cluster.force_policy(policy);
        } else {
            self.cluster.change_policy(policy);
        }
    }

    fn crash(&mut self, node: usize) {
        self.faults.crashes += 1;
        checkers::what_copies_rule_out_is_true(&mut self.cluster);
        let draw = self.seed.draw();
        self.cluster.crash(node, draw);
        // The disk that comes back is whole.
        self.hurt[node] = false;
        if self.seed.below(2) == 0 {
            self.start(node);
        }
    }

    fn kill(&mut self, node: usize) {
        self.faults.kills += 1;
        self.cluster.kill(node);
        if self.seed.below(2) == 0 {
            self.start(node);
        }
    }

    /// Starts a node; only a disk that refuses right now is a reason not to.
    fn start(&mut self, node: usize) {
        if let Err(text) = self.cluster.start(node) {
            assert!(self.hurt[node], "node {node} does not start: {text}");
            self.cluster.kill(node);
        }
    }

    fn fill_up(&mut self) {
        let node = self.any_node();
        let disk = &self.cluster.nodes[node].disk;
        if self.hurt[node] {
            disk.limit_bytes(None);
        } else {
            self.faults.full += 1;
            disk.limit_bytes(Some(disk.used_bytes() + self.seed.below(300_000)));
            self.hurt[node] = true;
        }
    }

    fn fail_sync(&mut self) {
        self.faults.failed_syncs += 1;
        let node = self.any_node();
        let disk = &self.cluster.nodes[node].disk;
        disk.fail_sync(disk.syncs() + 1 + self.seed.below(3));
        self.hurt[node] = true;
    }

    /// One byte of a receiver rots while a node is down. It is found on opening or reading, or taken for a torn tail where
    /// nothing proves that it was flushed; what is shown is never wrong. Then the medium is replaced by a good one.
    fn rot(&mut self) {
        let node = self.any_node();
        let draw = self.seed.draw();
        let good = self.cluster.nodes[node].disk.crash(draw);
        let Ok(truth) = open_and_read(&self.cluster, node, &good) else {
            return;
        };
        let paths: Vec<PathBuf> = good.paths().map(Path::to_path_buf).collect();
        let used = |path: &PathBuf| {
            let content = good.content(path).unwrap_or_default();
            content.iter().rposition(|byte| *byte != 0).unwrap_or(0)
        };
        let receivers: Vec<(PathBuf, usize)> = paths
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "rcv"))
            .map(|path| (path.clone(), used(&path)))
            .filter(|(_, used)| *used > 4096)
            .collect();
        if receivers.is_empty() {
            return;
        }
        let (path, used) = &receivers[self.seed.below(receivers.len() as u64) as usize];
        let mut rotten = good.clone();
        rotten.flip(path, self.seed.below(*used as u64), 1 << self.seed.below(8));
        match open_and_read(&self.cluster, node, &rotten) {
            Err(_) => self.faults.rot_found += 1,
            Ok(found) => {
                assert!(
                    truth.starts_with(&found),
                    "rot in {} of node {node} is served",
                    path.display()
                );
                self.faults.rot_torn += 1;
            }
        }
        self.cluster.crash(node, draw);
        self.cluster.nodes[node].disk = good.power_on();
        self.hurt[node] = false;
        self.start(node);
    }

    fn cut_or_mend(&mut self) {
        let node = self.any_target();
        let from = self.feeder(node);
        if !self.cluster.cut.remove(&(from, node)) {
            self.cluster.cut.insert((from, node));
            for index in 0..self.cluster.connections() {
                self.cluster.break_connection(index);
            }
        }
    }

    fn darken_or_lighten(&mut self) {
        let node = self.any_target();
        let from = self.feeder(node);
        let way = if self.seed.below(2) == 0 {
            (from, node)
        } else {
            (node, from)
        };
        if !self.cluster.dark.remove(&way) {
            self.cluster.dark.insert(way);
        }
    }

    /// Who feeds a node.
    fn feeder(&self, node: usize) -> usize {
        match &self.cluster.nodes[1].running {
            Some(running) if node == 2 && !running.links.is_empty() => 1,
            _ => 0,
        }
    }

    /// An operator inactivates a link, at once, when it is drained, or whatever its target knows; or activates it again.
    fn operate(&mut self) {
        let target = self.any_target();
        let (node, now) = (self.feeder(target), self.cluster.now);
        let draw = self.seed.draw();
        let Some(Running { links, .. }) = &mut self.cluster.nodes[node].running else {
            return;
        };
        if links.is_empty() {
            return;
        }
        let index = draw as usize % links.len();
        let link = &mut links[index];
        let state = link.link.shown().state;
        let again = state == LinkState::ControlledEnd && draw.is_multiple_of(5);
        if state == LinkState::Inactive || again {
            link.activate(now);
            self.cluster.pump(node);
            return;
        }
        let how = match draw % 7 {
            0 | 1 => Ending::Controlled,
            2 => Ending::Forced,
            _ => Ending::Immediate,
        };
        self.cluster.inactivate(node, index, how);
    }

    fn tick(&mut self) {
        let millis = if self.seed.below(20) == 0 {
            3_000
        } else {
            1 + self.seed.below(40)
        };
        self.cluster.tick(Duration::from_millis(millis));
        for node in 0..self.cluster.nodes.len() {
            if self.has_failed(node) && self.seed.below(3) == 0 {
                self.cluster.kill(node);
            }
            if self.cluster.nodes[node].running.is_none() && self.seed.below(2) == 0 {
                self.start(node);
            }
        }
    }

    /// Whether a disk's failure has stopped what runs on a node.
    fn has_failed(&self, node: usize) -> bool {
        match &self.cluster.nodes[node].running {
            Some(Running { side, .. }) => match side {
                Side::Open(open) => open.failed,
                Side::Copy { failed, .. } => failed.is_some(),
                Side::Refused(_) => true,
                Side::Opening(_) => false,
            },
            None => false,
        }
    }

    /// No more faults: everything starts, reaches everything, and must come level within bounded time.
    fn heal(&mut self) {
        self.cluster.cut.clear();
        self.cluster.dark.clear();
        for node in 0..self.cluster.nodes.len() {
            let disk = &self.cluster.nodes[node].disk;
            disk.limit_bytes(None);
            disk.fail_sync(0);
            self.hurt[node] = false;
            if self.has_failed(node) {
                self.cluster.kill(node);
            }
            if self.cluster.nodes[node].running.is_none() {
                self.start(node);
            }
        }
        let now = self.cluster.now;
        for node in 0..self.cluster.nodes.len() {
            if let Some(Running { links, .. }) = &mut self.cluster.nodes[node].running {
                let off = |link: &&mut LinkCrank| link.link.shown().state != LinkState::Active;
                for link in links.iter_mut().filter(off) {
                    let state = link.link.shown().state;
                    assert_ne!(state, LinkState::Failed, "{:?}", link.link.shown());
                    link.activate(now);
                }
            }
            self.cluster.pump(node);
        }
        self.cluster.prepare_spare();
        let level = self
            .cluster
            .settle_until(Duration::from_mins(2), |cluster| {
                cluster.is_level() && cluster.is_in_sync()
            });
        assert!(
            level,
            "the cluster does not come level:\n{}",
            self.cluster.describe()
        );
        self.cluster.deposit(10);
        let level = self
            .cluster
            .settle_until(Duration::from_mins(1), |cluster| {
                cluster.is_level() && cluster.ledger.waiting() == 0
            });
        assert!(
            level,
            "a deposit after healing is not answered:\n{}",
            self.cluster.describe()
        );
    }
}

/// Opens a medium as a node would, beside the cluster, and reads all of it.
fn open_and_read(
    cluster: &Cluster,
    node: usize,
    medium: &CrashedDisk,
) -> Result<Vec<(u64, u64)>, String> {
    let disk: Arc<MemoryDisk> = Arc::new(medium.power_on());
    let reader = if node == 0 {
        let owner = cluster.nodes[0].owner();
        let recovered = Recovered::open(disk, Path::new(DIR), owner);
        recovered.map_err(|error| error.to_string())?.reader()
    } else {
        let copy = Copy::open(disk, Path::new(DIR), Sequence::NONE);
        let copy = copy.map_err(|error| error.to_string())?;
        copy.shared().reader().clone()
    };
    checkers::read_all(&reader)
}
