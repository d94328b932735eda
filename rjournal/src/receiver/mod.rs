//! Room `receiver`: where bundles rest.
//!
//! In come sealed bundles and receiver headers, out come the same bytes. [`Chain`] is the receivers of one journal on
//! one disk, joined one behind the other; [`ChainReader`] reads them while they grow; recovery decides what a crash
//! left behind; a survey finds what is damaged, and a [`Patch`] puts proven bytes in its
//! place. Must not know why entries are written or where they go: no journal, no link.

mod chain;
mod check;
mod damage;
mod file;
mod index;
mod mend;
mod opening;
mod reader;
mod record;
mod recovery;
mod spare;
mod survey;
mod trace;
mod trim;
mod writer;

pub use chain::{Chain, Opened};
pub use check::{CheckError, Checked};
pub use damage::{End, Ending, Fill, Gap, KnownHeader, Point, Unproven};
pub use mend::Patch;
pub use reader::{ChainReader, StoredBundle};
pub use record::ReceiverRecord;
pub use recovery::{Evidence, Leftover};
pub use spare::{Space, SpareSlot, SpareState};
pub use survey::{
    Damaged, Expected, FileDamage, Survey, expected_by_headers, expected_on_disk, survey,
};
pub use trace::{Met, headers, trace};
