//! Package `tests`: the first simulator: one seed decides what happens next - deposits, bundles, frames, flushes, time,
//! losses of connections and of power - then everything is healed and must come level again.

use std::time::Duration;

use rjournal::entry::control_entry::Policy;

use crate::checkers;
use crate::cluster::{Cluster, Plan, asynchronous, quick, sync};
use crate::node::{Running, Side};
use crate::seed::Seed;

/// How a run went, equal for equal seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over everything that happened, in order.
    pub trace: u64,
    /// Deposits answered SYNC and LOCAL.
    pub answered: (usize, usize),
    /// Times power was lost.
    pub crashes: u32,
    /// The last entry.
    pub last: u64,
}

/// What a seed chooses before the run.
#[derive(Debug, Clone, Copy)]
struct Mood {
    crash_source: u64,
    crash_target: u64,
    break_connection: u64,
    cut: u64,
    tick: u64,
    change: u64,
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
    let policy = if seed.below(3) == 0 {
        Policy::Block
    } else {
        Policy::Degrade
    };
    let mut attributes = quick(policy);
    attributes.local_first = seed.below(6) == 0;
    let mood = Mood {
        crash_source: [0, 4, 12][seed.below(3) as usize],
        crash_target: [0, 4, 12][seed.below(3) as usize],
        break_connection: [0, 10, 30][seed.below(3) as usize],
        cut: [0, 5, 20][seed.below(3) as usize],
        tick: [20, 60, 150][seed.below(3) as usize],
        change: [0, 10][seed.below(2) as usize],
    };
    let mut cluster = Cluster::new(nodes, &plans, &attributes, seed.draw());
    let mut trace = 0xcbf2_9ce4_8422_2325_u64;
    let mut crashes = 0;
    for _ in 0..400 + seed.below(600) {
        let did = step(&mut cluster, &mut seed, mood, &mut crashes);
        let last = cluster.last().get();
        trace = (trace ^ did ^ last << 8).wrapping_mul(0x0100_0000_01b3);
    }
    checkers::sync_answers_are_on_every_member(&cluster, seed.draw());
    heal(&mut cluster);
    checkers::answers_are_true(&cluster);
    checkers::receivers_are_identical(&cluster);
    let landed = cluster.ledger.landed();
    let of = |class| {
        landed
            .values()
            .filter(|(_, found, _)| *found == class)
            .count()
    };
    let answered = (
        of(rjournal::journal::AckClass::Sync),
        of(rjournal::journal::AckClass::Local),
    );
    let last = cluster.last().get();
    Outcome {
        trace: trace ^ last ^ (answered.0 as u64) << 32,
        answered,
        crashes,
        last,
    }
}

/// One thing happens; gives a number for the trace.
fn step(cluster: &mut Cluster, seed: &mut Seed, mood: Mood, crashes: &mut u32) -> u64 {
    let nodes = cluster.nodes.len();
    if seed.per_mille(mood.crash_source) {
        *crashes += 1;
        crash_or_start(cluster, 0, seed);
        return 1;
    }
    if seed.per_mille(mood.crash_target) {
        *crashes += 1;
        let node = 1 + seed.below(nodes as u64 - 1) as usize;
        crash_or_start(cluster, node, seed);
        return 2;
    }
    if seed.per_mille(mood.break_connection) {
        let index = seed.below(cluster.connections() as u64) as usize;
        cluster.break_connection(index);
        return 3;
    }
    if seed.per_mille(mood.cut) {
        let node = 1 + seed.below(nodes as u64 - 1) as usize;
        if !cluster.cut.remove(&(0, node)) {
            cluster.cut.insert((0, node));
            (0..cluster.connections()).for_each(|index| cluster.break_connection(index));
        }
        return 4;
    }
    if seed.per_mille(mood.tick) {
        let millis = if seed.below(20) == 0 {
            3_000
        } else {
            1 + seed.below(40)
        };
        cluster.tick(Duration::from_millis(millis));
        start_what_is_down(cluster, seed);
        return 5;
    }
    if seed.per_mille(mood.change) {
        cluster.order_change();
        return 6;
    }
    let index = seed.below(cluster.connections() as u64) as usize;
    let done = match seed.below(8) {
        0 | 1 => cluster.deposit(seed.below(3000) as usize),
        2 => cluster.seal(),
        3 => cluster.write(),
        4 => cluster.deliver_forth(index),
        5 => cluster.deliver_back(index),
        6 => cluster.flush(1 + seed.below(nodes as u64 - 1) as usize),
        _ => {
            if seed.below(4) == 0 {
                cluster.prepare_spare();
            }
            cluster.answer_dial()
        }
    };
    10 + u64::from(done)
}

fn crash_or_start(cluster: &mut Cluster, node: usize, seed: &mut Seed) {
    cluster.crash(node, seed.draw());
    if seed.below(2) == 0 {
        cluster
            .start(node)
            .unwrap_or_else(|text| panic!("node {node} does not start: {text}"));
    }
}

fn start_what_is_down(cluster: &mut Cluster, seed: &mut Seed) {
    for node in 0..cluster.nodes.len() {
        if cluster.nodes[node].running.is_none() && seed.below(2) == 0 {
            cluster
                .start(node)
                .unwrap_or_else(|text| panic!("node {node} does not start: {text}"));
        }
    }
}

/// No more faults: everything starts, reaches everything, and must come level within bounded time.
fn heal(cluster: &mut Cluster) {
    cluster.cut.clear();
    for node in 0..cluster.nodes.len() {
        let running = &cluster.nodes[node].running;
        let stuck = match running {
            None => true,
            Some(Running {
                side: Side::Open(open),
                ..
            }) => open.failed,
            Some(Running {
                side: Side::Copy { failed, .. },
                ..
            }) => failed.is_some(),
            Some(Running {
                side: Side::Opening(_) | Side::Refused(_),
                ..
            }) => false,
        };
        if stuck {
            cluster.nodes[node].running = None;
            cluster
                .start(node)
                .unwrap_or_else(|text| panic!("node {node} does not start: {text}"));
        }
    }
    cluster.prepare_spare();
    let level = cluster.settle_until(Duration::from_mins(2), |cluster| {
        cluster.is_level() && cluster.is_in_sync()
    });
    assert!(
        level,
        "the cluster does not come level:\n{}",
        cluster.describe()
    );
    cluster.deposit(10);
    let level = cluster.settle_until(Duration::from_mins(1), |cluster| {
        cluster.is_level() && cluster.ledger.waiting() == 0
    });
    assert!(
        level,
        "a deposit after healing is not answered:\n{}",
        cluster.describe()
    );
}
