//! The database on an embedded system: files, typed rows, transactions, locks and crashes, through the public surface only.
//! Must not know how entries become rows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod concurrency;
mod crash;
mod journal_first;
mod names;
mod place;
mod rows;
mod transactions;
