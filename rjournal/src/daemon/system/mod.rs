//! Room `daemon`, a system: everything that lives in one data directory, opened, running, stopped. Commands are in
//! `command`, tasks in `task`; here is what they share. Must not decide anything.

mod archives;
mod fetch;
mod hold;
mod journals;
mod names;
mod open_cycles;
mod partner;
mod rebuild;
mod recovery;
mod repair;
mod running;
mod runtime;
mod shared;
mod start;
mod stores;
mod upkeep;

pub use running::{System, SystemOptions};
pub(crate) use runtime::JournalRuntime;
pub(crate) use shared::{Shared, lock};
pub(crate) use start::dir_of;
