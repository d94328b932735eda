//! Room `serve`: a job's store over a socket of its own: reads, transactions, saves, orders. One socket beside the store's
//! directory, owner-only. Must not know how changes are made.

mod client;
mod protocol;
mod server;
mod snapshot;
mod steady;

pub use client::{ClientTransaction, DatabaseClient, FileHandle, RowPage};
pub use protocol::{
    EncodedWrite, FileSummary, HashedFile, PROTOCOL, SavedStore, SnapshotFile, WriteKind,
};
pub use server::{StoreSocket, socket_path};
pub use snapshot::SnapshotLimits;
pub use steady::{Landed, SteadyClient};
