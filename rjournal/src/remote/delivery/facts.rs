//! Room `remote`, delivery: what a link is told and what it wants done, and how it is shown. Must not know in which order.

use serde::{Deserialize, Serialize};

use crate::entry::Sequence;
use crate::remote::confirm::Loss;
use crate::remote::message::{EndReason, Message};
use crate::remote::pace::Outrun;

/// What an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// *SYNC rather than *ASYNC.
    pub sync: bool,
}

/// Where a link is, as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// Not replicating.
    #[serde(rename = "*INACTIVE")]
    Inactive,
    /// Replicating, or trying to.
    #[serde(rename = "*ACTIVE")]
    Active,
    /// A controlled end: what is there still goes out.
    #[serde(rename = "*CTLINACT")]
    ControlledEnd,
    /// Ended by something time does not cure.
    #[serde(rename = "*FAILED")]
    Failed,
}

impl LinkState {
    /// Whether entries may still go out: active, or ending in order.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Active | Self::ControlledEnd)
    }

    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "*INACTIVE",
            Self::Active => "*ACTIVE",
            Self::ControlledEnd => "*CTLINACT",
            Self::Failed => "*FAILED",
        }
    }
}

/// A link for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// State.
    pub state: LinkState,
    /// Whether a session streams entries.
    pub streaming: bool,
    /// Whether it has caught up since the session began.
    pub caught_up: bool,
    /// Deposits come faster than it catches up.
    pub outrun: Option<Outrun>,
    /// The last entry shipped in this session.
    pub shipped: Sequence,
    /// The last entry acknowledged as flushed in this session.
    pub written: Sequence,
    /// Failed attempts since the last session.
    pub attempts: u32,
    /// Why the last session or attempt ended.
    pub last_end: Option<EndReason>,
}

/// What happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The target is coupled.
    Coupled {
        /// Its last entry.
        tip: Sequence,
        /// Entries it set aside.
        archived: u64,
        /// It has less than it had.
        went_back: bool,
    },
    /// It acknowledged.
    Acknowledged {
        /// In memory.
        received: Sequence,
        /// On disk.
        written: Sequence,
        /// Its disk will soon be full.
        low_space: bool,
    },
    /// It has caught up.
    CaughtUp,
    /// Deposits come faster than it catches up: told once a session.
    Outrun(Outrun),
    /// The session ended; the link goes on by itself unless it failed.
    Ended {
        /// Why.
        reason: EndReason,
        /// What it means for the in-sync set.
        loss: Loss,
        /// Whether an operator must do something.
        failed: bool,
    },
    /// It was inactivated, and nothing is under way any more.
    Inactivated,
}

/// What a link wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkOutput {
    /// Connect; answer with [`Link::handle_connected`] or [`Link::handle_connect_failed`].
    Dial,
    /// Send this over the connection.
    Send(Message),
    /// Look up the own chain head; answer with [`Link::handle_head`].
    LookUpHead(Sequence),
    /// Ship bundles; answer with [`Link::handle_shipped`].
    Ship {
        /// The last entry shipped before.
        after: Sequence,
        /// About so many bytes.
        bytes: usize,
    },
    /// Close the connection after what was ordered before.
    Disconnect,
    /// Something happened.
    Event(LinkEvent),
}
