//! Room `remote`: how entries travel, as machines without IO.
//!
//! In come messages, watermarks and time as arguments (`handle_*`); out come messages, orders and events (`poll_*`).
//! [`SourceSession`] and [`TargetSession`] are the two ends of one link, [`Link`] keeps a link going over many sessions,
//! [`Confirmation`] decides which answers an acknowledgement releases, [`Opening`] what a source may do before it takes
//! deposits again. The same machines run under tokio in production and under a seed in the simulator.
//!
//! This room must not know files, sockets, clocks, threads or randomness, and it never meets `journal`: the daemon
//! carries a sealed bundle one way and a position back.

mod accept;
mod confirm;
mod couple;
mod delivery;
mod first_copy;
mod group;
mod message;
mod opening;
mod pace;
mod partner;
mod receive;
mod ship;

pub use accept::{Acceptor, Violation};
pub use confirm::{Class, ConfirmOutput, Confirmation, Loss, MemberKey};
pub use couple::{Coupling, Extent};
pub use delivery::{Activation, Link, LinkEvent, LinkOutput, LinkState, Shown};
pub use first_copy::{
    FetchWants, HASHES_MAX, PIECE_BYTES, PIECES_MAX, PieceHash, PieceHasher, SAVE_BYTES_MAX,
    SaveAnswer, SaveAsk, SaveFetch, SaveLie, SaveRequest, piece_bytes, piece_count,
};
pub use group::{
    GROUP_MEMBERS_MAX, Group, GroupMember, GroupNews, JournalTip, LINEAGE_MAX, MemberRole,
    PathTried, PromiseAsked, PromiseTold,
};
pub use message::{
    EndReason, Frame, Hello, Message, PROTOCOL_VERSION, Purpose, Refusal, RefusalCode, Welcome,
};
pub use opening::{ADOPT_WINDOW, Heard, Opening, OpeningStep};
pub use pace::Outrun;
pub use partner::{Held, JoinGroup, PartnerReply, PartnerRequest, STORED_BYTES_MAX};
pub use receive::{TargetFacts, TargetOutput, TargetSession};
pub use ship::{SessionFacts, ShipLimit, SourceMarks, SourceOutput, SourceSession};
