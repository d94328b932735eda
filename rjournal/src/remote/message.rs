//! Room `remote`: what the two ends of a link say to each other. docs/PROTOCOL.md opens with these as a table.
//! Must not know how frames are carried.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::control_entry::Level;
use crate::entry::{
    ChainHead, Epoch, GroupId, JournalId, Position, QualifiedName, Sequence, SystemId, SystemName,
    Timestamp,
};

/// Version of the protocol, also in the ALPN name.
pub const PROTOCOL_VERSION: u16 = 1;
/// Longest path of a cascade, in systems.
pub(super) const PATH_MAX: usize = 32;

/// One thing on the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// The first 4096 bytes of a receiver, as they stand on every disk.
    Header(Bytes),
    /// A sealed bundle, as it stands on every disk.
    Bundle(Bytes),
}

/// Why a session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To ship entries.
    Replicate,
    /// The source is not open for deposits yet and asks what the target holds.
    Open {
        /// An operator allows a tail of any length, and a source older than the target's promise.
        forced: bool,
    },
    /// To compare heads; nothing is changed.
    Compare,
}

/// Source to target, first message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the protocol.
    pub protocol: u16,
    /// Highest receiver format version the source reads.
    pub receiver_version: u16,
    /// Random; messages of another session are never taken for this one's.
    pub session: u64,
    /// Why.
    pub purpose: Purpose,
    /// The journal.
    pub journal: JournalId,
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// Its name at the source.
    pub source_journal: QualifiedName,
    /// Its name at the target.
    pub target_journal: QualifiedName,
    /// The source.
    pub system: SystemId,
    /// Its name.
    pub system_name: SystemName,
    /// Systems the entries have passed, the journal's own first and the source last.
    pub path: Vec<SystemId>,
    /// Authority of this session.
    pub epoch: Epoch,
    /// Position before the oldest entry the source holds.
    pub oldest: Position,
    /// Last entry the source has sealed.
    pub tip: Position,
    /// The highest entry the source ever saw this target to have flushed.
    pub acknowledged: Sequence,
    /// What the target is asked to acknowledge.
    pub level: Level,
    /// Whether answers wait for this target.
    pub sync: bool,
}

/// Target to source: what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The session greeted.
    pub session: u64,
    /// The target.
    pub system: SystemId,
    /// The session epoch it has promised so far.
    pub promised: Epoch,
    /// Position before the oldest entry it holds.
    pub oldest: Position,
    /// Last entry it has flushed.
    pub tip: Position,
    /// Epoch of that entry's bundle.
    pub tip_epoch: Epoch,
    /// How far it knows its copy to be confirmed.
    pub confirmed: Sequence,
    /// Whether it has no receiver at all.
    pub empty: bool,
    /// Free bytes on its disk.
    pub free_bytes: u64,
}

/// Why one side will not have the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RefusalCode {
    /// The protocol or a format is too new or too old.
    Version,
    /// There is no such remote journal at the target.
    NoSuchJournal,
    /// The directory entry does not allow it.
    NotAuthorised,
    /// Same name, other journal.
    WrongJournal,
    /// The target has promised a higher term: another system is primary now.
    Fenced,
    /// The target knows a later boot: the source is an older copy of itself.
    StaleSource,
    /// Two processes claim one identity.
    DuplicateIdentity,
    /// Another system answered than the one the remote journal was added on.
    WrongSystem,
    /// The remote journal is fed by another system.
    Busy,
    /// The histories fork below what is confirmed.
    Diverged,
    /// The source does not hold the entries the target needs next.
    ReceiverMissing,
    /// The source is older than the target by more than a crash explains.
    SourceBehind,
    /// The entries would go round in a circle.
    Cycle,
    /// The remote journal is stopped, held or being deleted.
    Stopped,
    /// The copy is damaged, or its disk does not work.
    Damaged,
    /// There is no store save to be had.
    NoSave,
    /// A message did not fit the state of the session.
    Protocol,
}

impl RefusalCode {
    /// The word of the protocol for it (docs/PROTOCOL.md), as it is also sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Version => "VERSION",
            Self::NoSuchJournal => "NO_SUCH_JOURNAL",
            Self::NotAuthorised => "NOT_AUTHORISED",
            Self::WrongJournal => "WRONG_JOURNAL",
            Self::Fenced => "FENCED",
            Self::StaleSource => "STALE_SOURCE",
            Self::DuplicateIdentity => "DUPLICATE_IDENTITY",
            Self::WrongSystem => "WRONG_SYSTEM",
            Self::Busy => "BUSY",
            Self::Diverged => "DIVERGED",
            Self::ReceiverMissing => "RECEIVER_MISSING",
            Self::SourceBehind => "SOURCE_BEHIND",
            Self::Cycle => "CYCLE",
            Self::Stopped => "STOPPED",
            Self::Damaged => "DAMAGED",
            Self::NoSave => "NO_SAVE",
            Self::Protocol => "PROTOCOL",
        }
    }

    /// Whether trying again by itself can help: an operator, or time, may have changed the other side, or the directory.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::NoSuchJournal
                | Self::NotAuthorised
                | Self::WrongSystem
                | Self::Busy
                | Self::Stopped
                | Self::Damaged
                | Self::Protocol
        )
    }

    /// Whether the target says with it that another source, or another opening of this one, is the one to go on: the source
    /// gives no further answer (failures.md COU-5, COU-7, COU-8). A source never refuses with one of these: whoever
    /// answers in a target's place says nothing about the source's history.
    pub const fn closes_source(self) -> bool {
        matches!(
            self,
            Self::Fenced | Self::StaleSource | Self::DuplicateIdentity
        )
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal, with both positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// The source's position that does not fit.
    pub source: Sequence,
    /// The target's position that does not fit.
    pub target: Sequence,
    /// The last position both share, where it is known.
    pub fork: Option<Sequence>,
    /// What an operator reads: what is wrong, and the command that resolves it.
    pub text: String,
}

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// An operator inactivated it.
    Inactivated,
    /// The system is stopping.
    ShuttingDown,
    /// The target's disk is full.
    Full,
    /// A write or flush went wrong at the target.
    TargetFailed,
    /// The source cannot read what is to be shipped.
    SourceFailed,
    /// A newer session took over.
    Superseded,
    /// The source asked before it opened, and has heard what it wanted to know.
    Heard,
    /// The other side broke the protocol.
    Violation(String),
    /// Nothing was heard for too long.
    Silent,
    /// The connection broke.
    Lost,
    /// Refused.
    Refused(Refusal),
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// Source: who it is and what it has.
    Hello(Box<Hello>),
    /// Target: what it has.
    Welcome(Box<Welcome>),
    /// Either: no.
    Refuse(Refusal),
    /// Source: what is your chain head at this entry?
    HeadAsked {
        /// The entry.
        sequence: Sequence,
    },
    /// Target: this.
    HeadTold {
        /// The entry.
        sequence: Sequence,
        /// The head, if the entry is there.
        head: Option<ChainHead>,
    },
    /// Source: our histories agree up to here; promise my epoch, set aside what you have beyond, I go on from there.
    Couple {
        /// The last common position; for an empty target the position before the first entry it gets.
        fork: Position,
    },
    /// Target: promised, ready for the entry after the fork.
    Coupled {
        /// The last entry it has now.
        tip: Sequence,
        /// How many entries it set aside.
        archived: u64,
    },
    /// Source, not open yet: send me what you have after this.
    TailAsked {
        /// The last entry the source has.
        after: Position,
    },
    /// Target: that was all of it, or the piece that may be sent at once.
    TailEnded {
        /// The last entry sent.
        tip: Position,
    },
    /// Target: how far it has got. Absolute numbers: no meaning depends on the order of streams.
    Acknowledge {
        /// In memory.
        received: Sequence,
        /// Flushed.
        written: Sequence,
        /// Confirmed, durably.
        confirmed: Sequence,
        /// The disk will soon be full.
        low_space: bool,
    },
    /// Source: everything up to here is on my disk, and nothing more is to be sealed right now.
    Confirm {
        /// The entry.
        upto: Sequence,
    },
    /// Source: still here. The target answers with an acknowledgement.
    Heartbeat {
        /// The last entry the source has sealed.
        sealed: Sequence,
        /// When it was deposited.
        time: Timestamp,
    },
    /// Either: this session is over.
    End {
        /// Why.
        reason: EndReason,
    },
}

/// A message as a violation calls it.
pub(super) const fn message_name(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "a hello",
        Message::Welcome(_) => "a welcome",
        Message::Refuse(_) => "a refusal",
        Message::HeadAsked { .. } => "a question for a head",
        Message::HeadTold { .. } => "a head",
        Message::Couple { .. } => "a couple",
        Message::Coupled { .. } => "a coupled",
        Message::TailAsked { .. } => "a question for the tail",
        Message::TailEnded { .. } => "an end of the tail",
        Message::Acknowledge { .. } => "an acknowledgement",
        Message::Confirm { .. } => "a confirmation",
        Message::Heartbeat { .. } => "a heartbeat",
        Message::End { .. } => "an end",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_code_is_shown_by_the_word_that_is_sent() {
        let codes = [
            RefusalCode::Version,
            RefusalCode::NoSuchJournal,
            RefusalCode::NotAuthorised,
            RefusalCode::WrongJournal,
            RefusalCode::Fenced,
            RefusalCode::StaleSource,
            RefusalCode::DuplicateIdentity,
            RefusalCode::WrongSystem,
            RefusalCode::Busy,
            RefusalCode::Diverged,
            RefusalCode::ReceiverMissing,
            RefusalCode::SourceBehind,
            RefusalCode::Cycle,
            RefusalCode::Stopped,
            RefusalCode::Damaged,
            RefusalCode::Protocol,
        ];
        for code in codes {
            let sent = serde_json::to_value(code).unwrap();
            assert_eq!(sent, code.to_string());
        }
    }
}
