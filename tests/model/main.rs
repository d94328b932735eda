//! Package `tests`: the model of a recovery group.

mod actions;
mod apply;
mod check;
mod few;
mod flow;
mod goals;
mod group;
mod hand_over;
mod holds;
mod journal;
mod lineage;
mod mutations;
mod opening;
mod properties;
mod rejoin;
mod rules;
mod state;
mod takeover;
