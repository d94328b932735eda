//! Room `journal`: a local journal, from recovery over adoption to open. [`Recovered`] is what is on the disk, closed for
//! deposits; opening it gives the shared [`Journal`] and its one [`Writer`]. Must not know who decides that it may open,
//! nor where an adopted tail comes from.

mod boot;
mod facts;
mod open;
mod recovered;

pub use boot::RecordTerm;
pub(super) use facts::Facts;
pub use open::Journal;
pub use recovered::{NewJournal, Owner, Recovered};
pub(super) use recovered::{RECEIVERS_DIR, create_dirs};
