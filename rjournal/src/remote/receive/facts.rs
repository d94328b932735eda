//! Room `remote`: what a target's session is told and what it wants done. Must not know in which order.

use crate::entry::{
    Epoch, JournalId, Place, Position, ReceiverHeader, SealedBundle, Sequence, SystemId, Timestamp,
};
use crate::remote::message::{EndReason, Message};

/// What this side is when a session begins.
#[derive(Debug, Clone)]
pub struct TargetFacts {
    /// This system.
    pub system: SystemId,
    /// The journal this is a copy of.
    pub journal: JournalId,
    /// The only system that may feed it.
    pub bound_to: SystemId,
    /// The system at the other end, as its key says.
    pub peer: SystemId,
    /// The session epoch promised so far.
    pub promised: Epoch,
    /// Position before the oldest entry here.
    pub oldest: Position,
    /// The last entry here, flushed.
    pub tip: Position,
    /// Epoch of its bundle.
    pub tip_epoch: Epoch,
    /// How far this copy is confirmed.
    pub confirmed: Sequence,
    /// The attached receiver and the byte where the next bundle goes.
    pub place: Place,
    /// Free bytes on the disk.
    pub free_bytes: u64,
    /// Why it may not be fed now, if so.
    pub stopped: Option<String>,
}

/// What a session wants done, in this order.
#[derive(Debug, Clone)]
pub enum TargetOutput {
    /// Send this.
    Send(Message),
    /// Look up the own chain head at an entry; answer with [`super::TargetSession::handle_head`].
    LookUpHead(Sequence),
    /// Make this promise durable; answer with [`super::TargetSession::handle_promised`].
    Promise(Epoch),
    /// Move everything behind this position into an archive; answer with [`super::TargetSession::handle_archived`].
    Archive(Position),
    /// Begin this receiver.
    Attach(ReceiverHeader),
    /// Write this bundle.
    Write(SealedBundle),
    /// Flush when nothing more is waiting to be handled; answer with [`super::TargetSession::handle_flushed`].
    Flush,
    /// Make this confirmation durable; answer with [`super::TargetSession::handle_flushed`].
    Confirm(Sequence),
    /// Send receiver headers and bundles after this position, a bounded piece of them, then [`Message::TailEnded`] with where
    /// the piece ends; [`super::TargetSession::handle_not_held`] where they are not here.
    ServeTail(Position),
    /// The source said where it is.
    SourceAt {
        /// Its last entry.
        sealed: Sequence,
        /// When it was deposited.
        time: Timestamp,
    },
    /// The session is over.
    End(EndReason),
}
