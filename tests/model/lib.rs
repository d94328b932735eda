//! Package `tests`: the model of a recovery group.

mod actions;
mod apply;
pub mod check;
mod few;
mod flow;
pub mod goals;
mod group;
mod hand_over;
pub mod journal;
mod lineage;
mod opening;
pub mod properties;
mod rejoin;
pub mod rules;
mod state;
mod takeover;
