//! Room `journal`: where an entry is born, and where a copy of it comes to rest.
//!
//! In come deposits (local journal) or bundles another system sealed (copy); out go sealed bundles, watermarks and
//! answers. Everything here is blocking code on plain files, driven by one thread per journal. It must not know links,
//! sessions or partners: who is in the in-sync set and what that means for an answer is decided in `remote`, and
//! carried here by the daemon.

mod answer;
mod archive;
mod control;
mod copy;
mod deposit;
mod earlier;
mod forgotten;
mod keys;
mod local;
mod mark;
mod name;
mod numbering;
mod orphan;
mod rebuild;
mod repair;
mod retire;
mod sets;
mod tail;
mod trail;
mod write;

pub use answer::{AckClass, Again, Answer, Answers, Release, Ticket, UnknownReason};
pub use archive::{Archive, ArchiveReader};
pub use control::{
    Attributes, Control, ControlFile, DeliveryMode, JournalKind, LinkRecord, ManageReceivers,
    SourceRecord, THRESHOLD_DEFAULT,
};
pub use copy::{Authority, Copy, CopyShared};
pub use deposit::{Drain, Gate, Intake, Work};
pub use earlier::{EarlierKeys, TermBegins};
pub use keys::KeyFound;
pub use local::{Journal, NewJournal, Owner, RecordTerm, Recovered};
pub use name::{ReceiverNames, next_receiver_name};
pub use orphan::{Orphan, is_archived, orphans_in};
pub use rebuild::{
    History, Order, Rebuilt, Remains, Role, Traced, decide, remains, sealed_by, stored_entries,
    traced,
};
pub use repair::{Outline, outline};
pub use retire::{Hold, Retirement, retire};
pub use tail::{Behind, Limit, Tail, TailMarks};
pub use write::{Batch, Entropy, Ready, Writer};
