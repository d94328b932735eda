//! Package `tests`, model: runs.
use crate::check::{Reach, holds};
use crate::rules::{Bounds, Configuration};

const NONE: Bounds = Bounds { deposits: 0, cycles: 0, crashes: 0, takeovers: 0, set_changes: 0, policy_changes: 0, hand_overs: 0, openings_alone: 0, restores: 0, losses: 0 };

#[test]
fn base() {
    holds(Configuration::two(Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, ..NONE }), Reach::All(0), &[]);
}
