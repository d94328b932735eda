//! Package `tests`: the harness. Pairs and clusters of the production machines on disks in memory, a lossy link, a
//! manual clock, seeds, and the checkers that run after each test. No sleeps, no ports.

#![expect(
    clippy::missing_panics_doc,
    reason = "a harness panics where a test fails; each text says why"
)]

pub mod bench_journal;
pub mod checkers;
pub mod cluster;
pub mod group_simulation;
pub mod groups;
pub mod kept;
pub mod ledger;
pub mod lines;
pub mod mood;
pub mod node;
pub mod pair;
pub mod seed;
pub mod simulation;
pub mod systems;
