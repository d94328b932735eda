//! Random histories of transactions, files and openings, under random bounds, with crashes anywhere: the store is the fold
//! of its position after every step, and ends where the history does.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rjournal::entry::Sequence;
use rjournal_apply::machine::Bounds;

use crate::bench::{End, Job, assert_ended};
use crate::history::{ALONE, History};
use crate::memory::Memory;

const FILES: u8 = 2;
const KEYS: i64 = 6;

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Begin,
    /// Which cycle (or none), file, key, length of the value; length 0 takes the row away.
    Write(usize, u8, i64, usize),
    Commit(usize),
    RollBack(usize),
    Seal,
    Open,
    Note(usize),
}

pub(crate) fn any_act() -> impl Strategy<Value = Act> {
    let length = prop_oneof![2 => Just(0_usize), 6 => 1..40_usize, 1 => 300..700_usize];
    prop_oneof![
        3 => Just(Act::Begin),
        12 => (0..6_usize, 1..=FILES, 0..KEYS, length).prop_map(|(c, f, k, l)| Act::Write(c, f, k, l)),
        3 => (0..4_usize).prop_map(Act::Commit),
        1 => (0..4_usize).prop_map(Act::RollBack),
        3 => Just(Act::Seal),
        1 => Just(Act::Open),
        1 => (0..6_usize).prop_map(Act::Note),
    ]
}

type Key = (u8, i64);
/// What a cycle wrote; nothing where a row goes.
type Written = BTreeMap<Key, Option<Vec<u8>>>;

/// Puts acts down as a database would: a row has one writer at a time, and images are what was there.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) history: History,
    rows: BTreeMap<Key, Vec<u8>>,
    open: Vec<(Sequence, Written)>,
    made: u8,
}

impl Writer {
    /// One with nothing but files.
    pub(crate) fn new() -> Self {
        Self {
            history: History::with_files(FILES),
            rows: BTreeMap::new(),
            open: Vec::new(),
            made: 0,
        }
    }

    pub(crate) fn act(&mut self, act: &Act) {
        match *act {
            Act::Begin if self.open.len() < 4 => {
                let cycle = self.history.begin();
                self.open.push((cycle, BTreeMap::new()));
            }
            Act::Write(cycle, file, k, length) => self.write(cycle, (file, k), length),
            Act::Commit(which) if which < self.open.len() => {
                let (cycle, rows) = self.open.remove(which);
                self.history.commit(cycle);
                for (key, row) in rows {
                    match row {
                        Some(row) => self.rows.insert(key, row),
                        None => self.rows.remove(&key),
                    };
                }
            }
            Act::RollBack(which) if which < self.open.len() => {
                let (cycle, _) = self.open.remove(which);
                self.history.roll_back(cycle);
            }
            Act::Begin | Act::Commit(_) | Act::RollBack(_) => {}
            Act::Seal => self.history.seal(),
            Act::Open => {
                self.open.clear();
                self.history.opened();
            }
            Act::Note(cycle) => {
                let cycle = self.open.get(cycle).map_or(ALONE, |(cycle, _)| *cycle);
                self.history.user(cycle, "a note");
            }
        }
    }

    fn write(&mut self, which: usize, key: Key, length: usize) {
        let locked: BTreeSet<Key> = self
            .open
            .iter()
            .enumerate()
            .filter(|(number, _)| *number != which)
            .flat_map(|(_, (_, rows))| rows.keys().copied())
            .collect();
        if locked.contains(&key) {
            return;
        }
        let (cycle, own) = match self.open.get(which) {
            Some((cycle, rows)) => (*cycle, rows.get(&key).cloned()),
            None => (ALONE, None),
        };
        let before = own.unwrap_or_else(|| self.rows.get(&key).cloned());
        self.made = self.made.wrapping_add(1);
        let after = (length > 0).then(|| vec![self.made; length]);
        let (file, k) = key;
        match (&before, &after) {
            (None, Some(after)) => self.history.put(cycle, file, k, after),
            (Some(before), Some(after)) => self.history.update(cycle, file, k, before, after),
            (Some(before), None) => self.history.delete(cycle, file, k, before),
            (None, None) => return,
        };
        match self.open.get_mut(which) {
            Some((_, rows)) => drop(rows.insert(key, after)),
            None => match after {
                Some(after) => drop(self.rows.insert(key, after)),
                None => drop(self.rows.remove(&key)),
            },
        }
    }
}

pub(crate) fn any_bounds() -> impl Strategy<Value = Bounds> {
    let buffered = prop_oneof![Just(300_usize), Just(1_500), Just(1 << 20)];
    // Two changes of the largest row fit into a step.
    let step_max = prop_oneof![Just(4_000_usize), Just(1 << 20)];
    let step = prop_oneof![Just(1_usize), Just(600), Just(1 << 20)];
    (buffered, step_max, step).prop_map(|(buffered_bytes_max, step_bytes_max, step_bytes)| Bounds {
        buffered_bytes_max,
        step_bytes_max,
        step_bytes,
    })
}

#[test]
fn a_random_history_ends_as_its_model_whatever_is_cut() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let crashes = vec(0..6_usize, 0..8);
    let run = TestRunner::new(config).run(
        &(vec(any_act(), 1..120), any_bounds(), crashes, 1..5_usize),
        |(acts, bounds, crashes, level_every)| {
            run(&acts, bounds, &crashes, level_every);
            Ok(())
        },
    );
    run.unwrap();
}

fn run(acts: &[Act], bounds: Bounds, crashes: &[usize], level_every: usize) {
    let mut writer = Writer::new();
    for act in acts {
        writer.act(act);
    }
    let mut history = writer.history;
    history.seal();
    let mut store = Memory::default();
    for steps in crashes {
        let mut job = Job::start(&history, store.copy(), bounds);
        job.crash_after(*steps);
        let end = job.run(&history, level_every);
        assert!(matches!(end, Ok(()) | Err(End::Crashed)), "{end:?}");
        store = job.store.copy();
    }
    let mut job = Job::start(&history, store, bounds);
    let end = job.run(&history, level_every);
    assert!(end.is_ok(), "{end:?}");
    assert_ended(&job.store, &history);
    let seen = &job.seen;
    assert!(seen.buffered_max <= bounds.buffered_bytes_max + 2_000);
    assert!(seen.step_max <= bounds.step_bytes_max);
    // What the model of the journal says, and what the writer meant, are the same.
    let fold = history.fold(history.end().sequence);
    let rows: usize = fold.values().map(|(_, rows)| rows.len()).sum();
    assert_eq!(rows, writer.rows.len());
}

/// Found by the histories above: of such changes a step once took all of a bundle.
#[test]
fn a_bundle_of_changes_outside_cycles_makes_several_steps() {
    let acts: Vec<Act> = (0..40).map(|n| Act::Write(0, 1, n % KEYS, 600)).collect();
    let bounds = Bounds {
        buffered_bytes_max: 300,
        step_bytes_max: 4_000,
        step_bytes: 1 << 20,
    };
    run(&acts, bounds, &[], 1);
}
