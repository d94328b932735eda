//! rjournal-apply: entries become rows.
//!
//! Confirmed entries of a journal go in, in order; rows of files come out, in a store that is a function of its journal.
//! On a backup that is a replica; where the journal is local the same job is the database: every change is deposited
//! first, then applied.
//!
//! This package sees `rjournal` only through its public surface and must not know links, receivers or the daemon's tasks.

pub mod database;
pub mod error;
pub mod job;
pub mod machine;
pub mod process;
pub mod serve;
pub mod store;
