//! Room `remote`, shipping: what a session is told and what it wants done. Must not know in which order.

use crate::entry::control_entry::Level;
use crate::entry::{
    Epoch, JournalId, Place, Position, QualifiedName, ReceiverHeader, SealedBundle, Sequence,
    SystemId, SystemName, Timestamp,
};
use crate::remote::couple::{Coupling, Extent};
use crate::remote::message::{EndReason, Message, Purpose, Welcome};

/// Up to which of the source's watermarks entries may be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShipLimit {
    /// As soon as they are sealed, while the local write is under way: *SYNC.
    Sealed,
    /// Once they are flushed at the source: *ASYNC, and *SYNC with the attribute local-first.
    Written,
    /// Once they are confirmed: a copy that feeds a further one.
    Confirmed,
}

/// The source's watermarks as a session sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceMarks {
    /// The epoch sessions have now. A copy that feeds others gets a later one when its own source was opened again.
    pub epoch: Epoch,
    /// The last entry that may be shipped under the session's limit.
    pub shippable: Sequence,
    /// The last entry that is confirmed once the target has it: written at the source, or confirmed at a feeding copy.
    pub confirmable: Sequence,
    /// The last entry there is, and when it was deposited.
    pub last: Sequence,
    /// When it was deposited.
    pub last_time: Timestamp,
}

/// What a session is about.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Random number of the session.
    pub session: u64,
    /// Why.
    pub purpose: Purpose,
    /// The journal.
    pub journal: JournalId,
    /// Its name here.
    pub source_journal: QualifiedName,
    /// Its name there.
    pub target_journal: QualifiedName,
    /// This system.
    pub system: SystemId,
    /// Its name.
    pub system_name: SystemName,
    /// The system at the other end.
    pub target: SystemId,
    /// Systems the entries have passed before this one.
    pub path: Vec<SystemId>,
    /// Authority: the epoch the journal is open in, or what a feeding copy has promised.
    pub epoch: Epoch,
    /// What is held here.
    pub extent: Extent,
    /// Where a target that holds nothing begins.
    pub begin: Position,
    /// Epoch of the last bundle here.
    pub tip_epoch: Epoch,
    /// The attached receiver and the byte where the next bundle goes: where an adopted tail would continue.
    pub place: Place,
    /// The highest entry the target was ever seen to have flushed.
    pub acknowledged: Sequence,
    /// What the target is to acknowledge.
    pub level: Level,
    /// How far may be shipped.
    pub limit: ShipLimit,
    /// Whether answers wait for this target.
    pub sync: bool,
}

/// What a session wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceOutput {
    /// Send this.
    Send(Message),
    /// Look up the own chain head at an entry; answer with [`SourceSession::handle_head`].
    LookUpHead(Sequence),
    /// Ship whole bundles after this entry, about so many bytes; answer with [`SourceSession::handle_shipped`].
    Ship {
        /// The last entry shipped before.
        after: Sequence,
        /// About so many bytes.
        bytes: usize,
    },
    /// The target is coupled: what it has flushed lies on this journal's chain.
    Coupled {
        /// Its last entry.
        tip: Sequence,
        /// How many entries it set aside.
        archived: u64,
        /// It has less than it was seen to have before (failures.md COU-6).
        went_back: bool,
    },
    /// It acknowledged.
    Acknowledged {
        /// In its memory.
        received: Sequence,
        /// On its disk.
        written: Sequence,
        /// Its disk will soon be full.
        low_space: bool,
    },
    /// It is close enough to the end to join the in-sync set.
    CaughtUp,
    /// Purpose Open or Compare: this is what the target holds.
    Heard {
        /// What it said.
        welcome: Box<Welcome>,
        /// What follows from the two histories.
        coupling: Coupling,
    },
    /// Purpose Open: a receiver of the tail.
    AdoptReceiver(ReceiverHeader),
    /// Purpose Open: a bundle of the tail.
    Adopt(SealedBundle),
    /// Purpose Open: the tail was complete.
    TailEnded,
    /// The session is over.
    End(EndReason),
}
