//! Package `tests`, groups under seeds: what a seed chooses before a run: how often what goes wrong, and how often operators act.

use rjournal::entry::control_entry::Policy;

use crate::seed::Seed;

/// How often in a thousand steps, and how the group is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mood {
    pub(super) members: usize,
    pub(super) policy: Policy,
    pub(super) local_first: bool,
    pub(super) sync: bool,
    pub(super) crash: u64,
    pub(super) crash_at_sync: u64,
    pub(super) kill: u64,
    pub(super) fail_sync: u64,
    pub(super) start: u64,
    pub(super) cut: u64,
    pub(super) dark: u64,
    pub(super) break_connection: u64,
    pub(super) lose_mail: u64,
    pub(super) tick: u64,
    pub(super) long_tick: u64,
    pub(super) change: u64,
    pub(super) take_over: u64,
    pub(super) switch: u64,
    pub(super) abort: u64,
    pub(super) alone: u64,
    pub(super) lie: u64,
    /// A disk is kept, or set back to how it was kept.
    pub(super) restore: u64,
    /// Of a thousand takeovers so many accept loss.
    pub(super) accept_loss: u64,
    /// What can go on is looked for so often in a step.
    pub(super) eager: u64,
    pub(super) steps: u64,
}

impl Mood {
    pub(super) fn draw(seed: &mut Seed, members: usize) -> Self {
        let rarely = seed.below(12) == 0;
        let restored = seed.below(12) == 0;
        let mut one_of = |choices: [u64; 4]| choices[seed.below(4) as usize];
        Self {
            members,
            policy: match one_of([0, 0, 0, 1]) {
                0 => Policy::Degrade,
                _ => Policy::Block,
            },
            local_first: one_of([0, 0, 0, 1]) == 1,
            sync: one_of([1, 1, 1, 1]) == 1,
            crash: one_of([0, 2, 4, 8]),
            crash_at_sync: one_of([0, 2, 4, 8]),
            kill: one_of([0, 0, 2, 4]),
            fail_sync: one_of([0, 0, 0, 2]),
            start: one_of([10, 20, 40, 80]),
            cut: one_of([0, 2, 6, 12]),
            dark: one_of([0, 0, 2, 6]),
            break_connection: one_of([0, 4, 10, 20]),
            lose_mail: one_of([0, 2, 5, 10]),
            tick: one_of([40, 60, 100, 150]),
            long_tick: one_of([1, 2, 4, 8]),
            change: one_of([0, 3, 3, 6]),
            take_over: one_of([3, 5, 8, 12]),
            switch: one_of([2, 4, 8, 12]),
            abort: one_of([0, 2, 4, 6]),
            alone: if rarely { 3 } else { 0 },
            lie: one_of([0, 0, 2, 5]),
            restore: if restored { 4 } else { 0 },
            accept_loss: one_of([100, 300, 500, 900]),
            eager: one_of([1, 3, 6, 12]),
            steps: 800 + one_of([0, 400, 800, 1600]),
        }
    }
}
