//! Room `receiver`: where bundles rest.
//!
//! In come sealed bundles and receiver headers, out come the same bytes. [`Chain`] is the receivers of one journal on
//! one disk, joined one behind the other; [`ChainReader`] reads them while they grow; recovery decides what a crash
//! left behind. Must not know why entries are written or where they go: no journal, no link.

mod chain;
mod file;
mod index;
mod opening;
mod reader;
mod record;
mod recovery;
mod spare;
mod trim;
mod writer;

pub use chain::{Chain, Opened};
pub use reader::{ChainReader, StoredBundle};
pub use record::ReceiverRecord;
pub use recovery::{Evidence, Leftover};
pub use spare::{Space, SpareSlot, SpareState};
