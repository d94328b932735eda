//! Room `entry`: what flows through the house, as pure values.
//!
//! In comes nothing, out go the words everything else is said in: identities and names, sequence numbers and
//! epochs, the entry itself, formats and typed rows, the sealed bundle and the one encoding of both.
//! This room must not know files, sockets, threads or clocks; it imports no other room.

mod chain;
pub mod codec;
pub mod control_entry;
mod cursor;
mod draft;
mod identity;
mod kind;
mod name;
mod position;
pub mod progress;
mod receiver_header;
pub mod record;
mod sealed_bundle;
mod store_save;
mod term;
mod time;
mod view;

pub use chain::{ChainHead, payload_hash};
pub use codec::{BundleHeader, CodecError};
pub use cursor::Cursor;
pub use draft::{Actor, DepositKey, Draft};
pub use identity::{ClientId, GroupId, IdError, JournalId, ObjectId, ReceiverId, SystemId};
pub use kind::{EntryFlags, Kind};
pub use name::{FileName, LongName, Name, NameError, QualifiedName, RdbName, SystemName};
pub use position::{Epoch, Place, Position, Sequence};
pub use receiver_header::{
    Alignment, RECEIVER_HEADER_BYTES, ReceiverHeader, THRESHOLD_MAX, THRESHOLD_MIN,
};
pub use sealed_bundle::SealedBundle;
pub use store_save::{SaveFacts, SaveId};
pub use term::{
    Closed, HandOver, Proof, SegmentId, TERM_STEP_MAX, TermClaim, TermReason, TermRecord,
};
pub use time::{Moment, Timestamp};
pub use view::{EntryView, Extension, Payload};
