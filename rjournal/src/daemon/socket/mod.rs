//! Room `daemon`, the control socket: how programs on the same machine talk to a system that runs as a daemon: commands,
//! deposits at full speed, and following a journal. Owner-only, the peer's user is checked. Must not decide anything.

mod client;
mod cycles;
mod follow;
mod frame;
mod group;
mod hello;
mod members;
mod server;
mod unit;

pub use client::{Client, ClientTicket, JournalClient};
pub(super) use follow::open;
pub use follow::{ArchiveFollowed, Followed, Follower};
pub use frame::Want;
pub use group::{GroupClient, GroupDeposit};
pub use members::{BackOff, FoundPrimary, GroupMembers};
pub use server::ControlSocket;
pub(super) use server::archive_facts;
