//! Package `tests`: several systems and the connections between them, one thread, one clock, every step by hand. Must not know what a test is about.

mod connection;
mod delivery;
mod operator;
mod plan;
mod source;
mod standing;
mod systems;
mod time;

pub(crate) use connection::Owner;
pub use plan::{Plan, asynchronous, quick, sync};
pub use systems::Cluster;
