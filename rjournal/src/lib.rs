//! rjournal: remote journals for ordinary machines.
//!
//! One entry walks one way through this house, and every step has one verb:
//!
//! ```text
//! deposit -> seal (into a bundle) -> write => ship -> receive -> confirm -> apply
//! ```
//!
//! | room | what happens there |
//! | --- | --- |
//! | [`entry`] | what flows: pure values and the one encoding |
//! | [`disk`] | the ground: the only room that touches files |
//! | [`receiver`] | where bundles rest |
//! | [`journal`] | where an entry is born, and where a copy comes to rest |
//! | [`remote`] | how entries travel: machines without IO |
//! | [`role`] | where roles switch: machines without IO |
//! | [`link`] | the wire: QUIC, TLS, frames |
//! | [`daemon`] | the corridor: tasks that turn the cranks and decide nothing |
//!
//! A program uses a system in one of two ways, with the same commands: embedded ([`System`]), or as a client of a daemon
//! on the same machine ([`Client`]; [`GroupClient`] finds the primary of a recovery group). `apply` (package `rjournal-apply`) makes rows of entries.

pub mod daemon;
pub mod disk;
pub mod entry;
pub mod error;
pub mod journal;
pub mod link;
pub mod receiver;
pub mod remote;
pub mod role;

pub use daemon::{Client, Command, CommandError, Config, GroupClient, System, SystemOptions};
