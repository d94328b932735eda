//! Room `job`: the apply job: it turns the machine's crank - reads a journal, resolves steps, applies them, makes them
//! durable, reports - in a process of its own (`process`) or in the program that
//! embeds the system. It decides nothing.

mod beginning;
mod own_save;
mod port;
mod restoring;
mod saving;
mod shared;
mod store;
mod task;
mod undoing;
mod way_back;

pub use port::{Depositor, Feed, Port, Report};
pub use restoring::{RestoreOrder, RestoredStore, restore_store};
pub use shared::{JobShared, JobStatus, Lap, Order, Waited};
pub(crate) use store::open_store;
pub use store::{save_path, store_path};
pub use task::{ApplyJob, JobOptions};
