//! Package `rjournal-model`: a recovery group for a model checker (Stateright). Two or three members, every message a step that
//! may be taken late or never, every crash at every place; each rule of taking over and coming back can be left out, and
//! then the checker finds what goes wrong. What is modelled, and what is not, stands in docs/ARCHITECTURE.md.
//!
//! Nothing here is used by the product, and nothing of the product here: it says what the code must do, in the fewest words
//! that can be run. `tests/tests/model` has the runs. A package of its own, so that it alone is optimised in test builds.

#![expect(
    clippy::unnecessary_wraps,
    clippy::unused_self,
    reason = "every step has one form: it is taken, or it may not be taken now"
)]

mod actions;
mod apply;
pub mod check;
mod few;
mod flow;
pub mod goals;
mod group;
mod hand_over;
mod heal;
mod journal;
mod lineage;
mod opening;
pub mod properties;
mod rejoin;
pub mod rules;
mod state;
mod takeover;

pub use journal::{Members, Policy};
