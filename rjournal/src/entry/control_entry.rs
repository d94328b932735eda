//! Room `entry`: the payloads of the entries a journal deposits about itself (code J): opened for deposits, in-sync set
//! changed, previous and next receiver. They are part of the history, so every copy reads the same story.
//! Must not know when such an entry is due. Layout: docs/FORMAT.md. Rulings 10, 12, 17.

use serde::{Deserialize, Serialize};

use super::receiver_header::{decode_name, decode_threshold, encode_name};
use super::{
    Alignment, ChainHead, CodecError, Cursor, Epoch, Position, QualifiedName, RdbName,
    ReceiverHeader, ReceiverId, Sequence, SystemId, TermRecord,
};

/// Most members an in-sync set can have (IBM i: 255 remote journals on one journal).
pub const MEMBERS_MAX: usize = 255;

/// Why a journal was opened for deposits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenReason {
    /// The journal is new.
    Created,
    /// The system started again after a clean stop or a crash.
    Restarted,
    /// As `Restarted`, after a tail was adopted from a member of the in-sync set.
    Adopted,
    /// An operator opened it without hearing the in-sync set.
    Alone,
    /// A term of a recovery group begins: the system became primary.
    Term,
}

/// `J OE`: first entry of every boot and every term. By rule, every commit cycle still open before it is rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenEntry {
    /// The epoch that begins here.
    pub epoch: Epoch,
    /// The epoch before it, [`Epoch::NONE`] for the first.
    pub epoch_before: Epoch,
    /// Position right before this entry.
    pub before: Position,
    /// Why.
    pub reason: OpenReason,
    /// The record of the term that begins here, which closes the one before; nothing when only a boot begins.
    pub term: Option<TermRecord>,
}

impl OpenEntry {
    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, open_reason_byte(self.reason), 0, 0];
        for epoch in [self.epoch, self.epoch_before] {
            out.extend_from_slice(&epoch.term.to_le_bytes());
            out.extend_from_slice(&epoch.boot.to_le_bytes());
            out.extend_from_slice(&epoch.nonce.to_le_bytes());
        }
        out.extend_from_slice(&self.before.sequence.get().to_le_bytes());
        out.extend_from_slice(self.before.head.as_bytes());
        let record = self.term.map_or_else(Vec::new, |term| term.encode());
        out.extend_from_slice(&(record.len() as u32).to_le_bytes());
        out.extend_from_slice(&record);
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`CodecError`] naming what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let what = "open entry";
        let short = || CodecError::Short { what };
        let mut cursor = Cursor::new(payload);
        version(&mut cursor, what)?;
        let reason =
            open_reason(cursor.u8().ok_or_else(short)?).ok_or(CodecError::Reserved { what })?;
        cursor.u16().ok_or_else(short)?;
        let mut epoch = || {
            Some(Epoch {
                term: cursor.u64()?,
                boot: cursor.u64()?,
                nonce: cursor.u64()?,
            })
        };
        let (epoch, epoch_before) = (epoch().ok_or_else(short)?, epoch().ok_or_else(short)?);
        let sequence = Sequence::new(cursor.u64().ok_or_else(short)?);
        let head = ChainHead::from_bytes(cursor.array().ok_or_else(short)?);
        let term = match cursor.u32().ok_or_else(short)? as usize {
            0 => None,
            length => Some(TermRecord::decode(cursor.bytes(length).ok_or_else(short)?)?),
        };
        if term.is_some() != (reason == OpenReason::Term) {
            return Err(CodecError::Reserved { what });
        }
        Ok(Self {
            epoch,
            epoch_before,
            before: Position { sequence, head },
            reason,
            term,
        })
    }
}

const fn open_reason_byte(reason: OpenReason) -> u8 {
    match reason {
        OpenReason::Created => 1,
        OpenReason::Restarted => 2,
        OpenReason::Adopted => 3,
        OpenReason::Alone => 4,
        OpenReason::Term => 5,
    }
}

const fn open_reason(byte: u8) -> Option<OpenReason> {
    match byte {
        1 => Some(OpenReason::Created),
        2 => Some(OpenReason::Restarted),
        3 => Some(OpenReason::Adopted),
        4 => Some(OpenReason::Alone),
        5 => Some(OpenReason::Term),
        _ => None,
    }
}

fn version(cursor: &mut Cursor<'_>, what: &'static str) -> Result<(), CodecError> {
    match cursor.u8() {
        Some(1) => Ok(()),
        Some(found) => Err(CodecError::Version {
            what,
            found: u16::from(found),
            known: 1,
        }),
        None => Err(CodecError::Short { what }),
    }
}

/// What a *SYNC target must have done before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Level {
    /// In the target's memory (IBM i's meaning of *SYNC).
    Received,
    /// On the target's disk.
    #[default]
    Written,
}

/// What happens to deposits when a *SYNC target does not answer within SYNCTIMO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Policy {
    /// The target leaves the in-sync set; deposits go on and are answered LOCAL (IBM i's behaviour).
    #[default]
    Degrade,
    /// Deposits wait until it is back or an operator decides.
    Block,
    /// Waiting deposits are answered UNKNOWN, new ones REFUSED.
    Reject,
}

impl Policy {
    /// Whether nothing is answered without a member of the set until an operator says so (ruling 13).
    pub const fn guards(self) -> bool {
        matches!(self, Self::Block | Self::Reject)
    }
}

/// Why the in-sync set changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetReason {
    /// A target caught up and joined.
    Joined,
    /// A target did not answer within SYNCTIMO.
    TimedOut,
    /// A target reported that it cannot go on.
    TargetFailed,
    /// An operator inactivated it, or changed the policy: then nobody joined or left.
    Operator,
    /// The journal was opened without hearing the set.
    OpenedAlone,
    /// A term of a recovery group begins: whoever follows it joins anew.
    NewTerm,
}

/// One target of the in-sync set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The target system.
    pub system: SystemId,
    /// Its name in the source's directory.
    pub rdb: RdbName,
    /// The remote journal there.
    pub journal: QualifiedName,
    /// What it must have done before it counts.
    pub level: Level,
    /// What the source knew it to have on disk when the change was made.
    pub acknowledged: Sequence,
}

/// `J IS`: the in-sync set from this entry on. The class of every answer follows from these entries: up to a leaving
/// member's acknowledged position SYNC, above it and before the change LOCAL, unless others remained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetChange {
    /// How many members must answer: all of them in this version.
    pub required: u32,
    /// Policy in force.
    pub policy: Policy,
    /// Why it changed.
    pub reason: SetReason,
    /// The set from here on.
    pub members: Vec<Member>,
    /// Who left with this change.
    pub left: Vec<Member>,
}

impl SetChange {
    /// Whether the copy named `copy` on system `me` must reckon with answers given without it, had it nothing but this entry
    /// to go by: it is no member, or the policy lets the source go on without its members. Under block and reject a member
    /// hears first: a looser policy, and that it is taken out, count only once the entry that says so is on its disk; where an
    /// operator did not wait for that (`--force`, OPEN(*ALONE)), he was told that it voids this. Ruling 13, takeover.
    ///
    /// What a copy as a whole can tell is [`crate::journal::CopyShared::local_answers_possible`]: an entry it got before its
    /// source had it on disk, or that it caught up with long after, proves nothing.
    pub fn local_answers_possible(&self, me: SystemId, copy: QualifiedName) -> bool {
        let mut members = self.members.iter();
        let member = members.any(|member| (member.system, member.journal) == (me, copy));
        !(member && self.policy.guards())
    }

    /// The payload.
    ///
    /// # Panics
    /// With more than 255 members; ADDRMTJRN refuses the 256th.
    pub fn encode(&self) -> Vec<u8> {
        assert!(
            self.members.len() <= MEMBERS_MAX && self.left.len() <= MEMBERS_MAX,
            "a set has at most 255 members"
        );
        let mut out = vec![1, policy_byte(self.policy), reason_byte(self.reason), 0];
        out.extend_from_slice(&self.required.to_le_bytes());
        for members in [&self.members, &self.left] {
            out.extend_from_slice(&(members.len() as u16).to_le_bytes());
            for member in members {
                out.extend_from_slice(member.system.as_bytes());
                out.extend_from_slice(&member.rdb.padded());
                out.extend_from_slice(&encode_name(member.journal));
                out.push(match member.level {
                    Level::Received => 1,
                    Level::Written => 2,
                });
                out.push(0);
                out.extend_from_slice(&member.acknowledged.get().to_le_bytes());
            }
        }
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`CodecError`] naming what is wrong; a quorum (`required` below the number of members) is refused.
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let what = "in-sync set entry";
        let short = || CodecError::Short { what };
        let reserved = || CodecError::Reserved { what };
        let mut cursor = Cursor::new(payload);
        version(&mut cursor, what)?;
        let policy = policy(cursor.u8().ok_or_else(short)?).ok_or_else(reserved)?;
        let reason = reason(cursor.u8().ok_or_else(short)?).ok_or_else(reserved)?;
        cursor.u8().ok_or_else(short)?;
        let required = cursor.u32().ok_or_else(short)?;
        let members = read_members(&mut cursor)?;
        let left = read_members(&mut cursor)?;
        if required as usize != members.len() {
            return Err(reserved());
        }
        Ok(Self {
            required,
            policy,
            reason,
            members,
            left,
        })
    }
}

fn read_members(cursor: &mut Cursor<'_>) -> Result<Vec<Member>, CodecError> {
    let what = "in-sync set entry";
    let short = || CodecError::Short { what };
    let reserved = || CodecError::Reserved { what };
    let count = cursor.u16().ok_or_else(short)?;
    if usize::from(count) > MEMBERS_MAX {
        return Err(CodecError::TooLong {
            what,
            length: u64::from(count),
        });
    }
    let mut members = Vec::new();
    for _ in 0..count {
        let system = SystemId::from_bytes(cursor.array().ok_or_else(short)?);
        let rdb =
            RdbName::from_padded(cursor.bytes(18).ok_or_else(short)?).map_err(|_| reserved())?;
        let journal = decode_name(cursor).ok_or_else(reserved)?;
        let level = match cursor.u8().ok_or_else(short)? {
            1 => Level::Received,
            2 => Level::Written,
            _ => return Err(reserved()),
        };
        cursor.u8().ok_or_else(short)?;
        let acknowledged = Sequence::new(cursor.u64().ok_or_else(short)?);
        members.push(Member {
            system,
            rdb,
            journal,
            level,
            acknowledged,
        });
    }
    Ok(members)
}

const fn policy_byte(policy: Policy) -> u8 {
    match policy {
        Policy::Degrade => 1,
        Policy::Block => 2,
        Policy::Reject => 3,
    }
}

const fn policy(byte: u8) -> Option<Policy> {
    match byte {
        1 => Some(Policy::Degrade),
        2 => Some(Policy::Block),
        3 => Some(Policy::Reject),
        _ => None,
    }
}

const fn reason_byte(reason: SetReason) -> u8 {
    match reason {
        SetReason::Joined => 1,
        SetReason::TimedOut => 2,
        SetReason::TargetFailed => 3,
        SetReason::Operator => 4,
        SetReason::OpenedAlone => 5,
        SetReason::NewTerm => 6,
    }
}

const fn reason(byte: u8) -> Option<SetReason> {
    match byte {
        1 => Some(SetReason::Joined),
        2 => Some(SetReason::TimedOut),
        3 => Some(SetReason::TargetFailed),
        4 => Some(SetReason::Operator),
        5 => Some(SetReason::OpenedAlone),
        6 => Some(SetReason::NewTerm),
        _ => None,
    }
}

/// `J PR` and `J NR`: the neighbour of a receiver. With it the next receiver's header can be made again after a crash
/// that lost it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The neighbour's identity, [`ReceiverId::NONE`] for the `J PR` of a journal's first receiver.
    pub receiver: ReceiverId,
    /// Its name; the receiver's own name where there is no neighbour.
    pub name: QualifiedName,
    /// Threshold of the younger of the two receivers.
    pub threshold: u64,
    /// Alignment of the younger of the two receivers.
    pub alignment: Alignment,
}

impl Neighbour {
    /// A neighbour of a receiver, `younger` being the younger of the two.
    pub const fn of(receiver: ReceiverId, name: QualifiedName, younger: &ReceiverHeader) -> Self {
        Self {
            receiver,
            name,
            threshold: younger.threshold,
            alignment: younger.alignment,
        }
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1, 0, 0, 0];
        out.extend_from_slice(self.receiver.as_bytes());
        out.extend_from_slice(&encode_name(self.name));
        out.extend_from_slice(&self.threshold.to_le_bytes());
        out.extend_from_slice(&self.alignment.bytes().to_le_bytes());
        out
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`CodecError`] naming what is wrong.
    pub fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        let what = "receiver change entry";
        let mut cursor = Cursor::new(payload);
        version(&mut cursor, what)?;
        cursor.bytes(3).ok_or(CodecError::Short { what })?;
        let receiver = ReceiverId::from_bytes(cursor.array().ok_or(CodecError::Short { what })?);
        let name = decode_name(&mut cursor).ok_or(CodecError::Reserved { what })?;
        let threshold = decode_threshold(&mut cursor, what)?;
        let step = cursor.u32().ok_or(CodecError::Short { what })?;
        let alignment = Alignment::from_bytes(step).ok_or(CodecError::Reserved { what })?;
        Ok(Self {
            receiver,
            name,
            threshold,
            alignment,
        })
    }
}
