//! rjournal-apply: entries become rows.
//!
//! Confirmed entries of a journal go in, in order; rows of files come out, in a store that is a function of its journal.
//! This package sees `rjournal` only through its public surface and must not know links, receivers or the daemon.

pub mod store;
