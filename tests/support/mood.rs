//! Package `tests`: what a seed of the simulator chooses before a run, and what then went wrong in it.

use crate::seed::Seed;

/// How often what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Power was lost.
    pub crashes: u32,
    /// A process was killed.
    pub kills: u32,
    /// A disk was full for a while.
    pub full: u32,
    /// A flush was made to fail.
    pub failed_syncs: u32,
    /// A byte on a medium rotted and was found.
    pub rot_found: u32,
    /// A byte rotted where a torn tail explains it.
    pub rot_torn: u32,
}

impl Faults {
    /// Adds those of another run.
    pub const fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.full += other.full;
        self.failed_syncs += other.failed_syncs;
        self.rot_found += other.rot_found;
        self.rot_torn += other.rot_torn;
    }
}

/// What a seed chooses before the run: how often in a thousand steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mood {
    pub(crate) crash_source: u64,
    pub(crate) crash_target: u64,
    pub(crate) kill: u64,
    pub(crate) full: u64,
    pub(crate) fail_sync: u64,
    pub(crate) rot: u64,
    pub(crate) break_connection: u64,
    pub(crate) cut: u64,
    pub(crate) dark: u64,
    pub(crate) tick: u64,
    pub(crate) change: u64,
    pub(crate) operate: u64,
    pub(crate) policy: u64,
}

impl Mood {
    pub(crate) fn draw(seed: &mut Seed) -> Self {
        let mut one_of = |choices: [u64; 3]| choices[seed.below(3) as usize];
        Self {
            crash_source: one_of([0, 4, 12]),
            crash_target: one_of([0, 4, 12]),
            kill: one_of([0, 0, 6]),
            full: one_of([0, 0, 5]),
            fail_sync: one_of([0, 0, 5]),
            rot: one_of([0, 0, 3]),
            break_connection: one_of([0, 10, 30]),
            cut: one_of([0, 5, 20]),
            dark: one_of([0, 0, 5]),
            tick: one_of([20, 60, 150]),
            change: one_of([0, 10, 10]),
            operate: one_of([0, 0, 8]),
            policy: one_of([0, 0, 10]),
        }
    }
}
