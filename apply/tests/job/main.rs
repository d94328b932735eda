//! The job on an embedded system: following the tail, stopping and starting, what stops it for good, saves, its socket, and
//! the job as a process under a daemon. Must not know how entries become rows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod anew;
mod exports;
mod fork;
mod group;
mod holds;
#[path = "../database/place.rs"]
mod place;
mod process;
mod saves;
mod socket;
mod stops;
mod tail;
mod undo;
