//! Room `remote`: what systems ask each other outside a session: to make a remote journal, to tell what they hold, to send
//! bytes that another disk has lost.
//! Must not know who may ask what: the daemon looks that up in its directory.

use serde::{Deserialize, Serialize};

use super::first_copy::{SaveAnswer, SaveRequest};
use super::group::{Group, GroupNews, PromiseAsked, PromiseTold};
use super::message::Refusal;
use crate::entry::{
    ChainHead, Epoch, GroupId, JournalId, Position, QualifiedName, ReceiverId, Sequence, SystemId,
    SystemName, TermRecord,
};

/// Bytes of bundles in one answer to [`PartnerRequest::Stored`]; the first one is sent however long it is.
pub const STORED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A request. The version of the protocol stands beside it on the wire, so that a request this program cannot read is still
/// refused for its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerRequest {
    /// ADDRMTJRN: make (or tie again) a remote journal fed from the asking system.
    AddRemoteJournal {
        /// The asking system.
        system: SystemId,
        /// Its name.
        system_name: SystemName,
        /// The journal.
        journal: JournalId,
        /// Its name at the asking system.
        source_journal: QualifiedName,
        /// The name it is to have here.
        target_journal: QualifiedName,
        /// Threshold of its receivers.
        threshold: u64,
        /// Systems the entries will have passed.
        path: Vec<SystemId>,
    },
    /// VERIFY: what do you hold of this journal, and what are your chain heads at these entries?
    Heads {
        /// The journal.
        journal: JournalId,
        /// The entries.
        at: Vec<Sequence>,
    },
    /// RPRJRN: send me bundles of this receiver, as they stand on your disk.
    Stored {
        /// The journal.
        journal: JournalId,
        /// The receiver.
        receiver: ReceiverId,
        /// Whether its header is wanted rather than bundles.
        header: bool,
        /// Bundles behind this entry...
        after: Sequence,
        /// ... up to this one.
        upto: Sequence,
    },
    /// CRTCRG: make what the group needs there: the journal you will write, and copies of the others'.
    JoinGroup(Box<JoinGroup>),
    /// Where do you stand in this group? With what the asking member knows.
    Group(Box<GroupNews>),
    /// Promise this claim of a term.
    Promise(Box<PromiseAsked>),
    /// DLTCRG: the group is no more.
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// Feed me this journal of the group, up to what you have flushed: the session follows on this connection, with you as its
    /// source.
    Feed {
        /// The group.
        group: GroupId,
        /// The journal.
        journal: JournalId,
        /// The asking member's authority.
        epoch: Epoch,
        /// No further than here, where only a segment that was closed is wanted: what lies behind it is in no term.
        #[serde(default)]
        upto: Option<Sequence>,
    },
    /// Would you let me feed your copy of this journal, were I primary? Nothing is changed.
    CheckPath {
        /// The group.
        group: GroupId,
        /// The asking member's journal.
        journal: JournalId,
    },
    /// RSTSTO: something about a store save to be loaded here.
    Save(SaveRequest),
    /// Are you there, and who are you?
    Ping,
}

/// What a member is asked to make for a new group, as far as it is known before all have answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGroup {
    /// The group: its members' journals are [`JournalId::NONE`] where they are still to be made.
    pub group: Group,
    /// Threshold of the receivers of journals made for it.
    pub threshold: u64,
    /// The first term; nothing while members are still asked for their journals.
    pub lineage: Vec<TermRecord>,
}

/// What a system holds of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The entry before the oldest.
    pub oldest: Sequence,
    /// The last one flushed.
    pub written: Sequence,
    /// The last one confirmed.
    pub confirmed: Sequence,
    /// The session epoch promised, or the epoch the journal is open in.
    pub epoch: Epoch,
    /// Chain heads at the entries asked for, nothing where one is not here.
    pub heads: Vec<(Sequence, Option<ChainHead>)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerReply {
    /// The remote journal is there.
    Added {
        /// The answering system.
        system: SystemId,
        /// Its name.
        system_name: SystemName,
        /// Whether it was there already and is tied again.
        again: bool,
    },
    /// What is held.
    Held(Held),
    /// What was asked for follows: so many frames, each a receiver header or a bundle.
    Stored {
        /// How many.
        frames: u32,
    },
    /// What the group needs is there.
    Joined {
        /// The journal the answering system will write.
        journal: JournalId,
        /// Fingerprint of its key.
        #[serde(with = "serde_bytes")]
        fingerprint: [u8; 32],
        /// Its name.
        system_name: SystemName,
    },
    /// Where it stands.
    Group(Box<GroupNews>),
    /// What it says to a claim.
    Promise(Box<PromiseTold>),
    /// It feeds: its session begins behind this, and is over when the asking member has this position.
    Feeding {
        /// The last entry it has flushed.
        upto: Position,
    },
    /// Done.
    Done,
    /// About a store save.
    Save(SaveAnswer),
    /// Here.
    Pong {
        /// The answering system.
        system: SystemId,
        /// Its name.
        system_name: SystemName,
    },
    /// No.
    Refused(Refusal),
}
