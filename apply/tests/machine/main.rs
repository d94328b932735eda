//! The apply machine against histories made with the journal's own codec: what comes out, in which steps, where the store
//! stands after each of them, and what makes it stop. Must not know jobs, sockets or clocks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bench;
mod files;
mod history;
mod large;
mod memory;
mod random;
mod refusals;
mod restart;
mod segments;
mod skips;
mod stores;
mod transactions;
mod undo;
mod undo_files;
mod undo_random;
