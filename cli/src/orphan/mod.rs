//! Package `cli`: what orphan archives hold, as an operator asks for it: transactions with their rows, how they were answered,
//! and the file they are exported to. Must not print, and must not know commands.

mod class;
mod file;
mod read;
mod transaction;
mod values;

pub(crate) use class::Class;
pub(crate) use file::{Exported, Header, Reading, Writing};
pub(crate) use read::Archive;
pub(crate) use transaction::{Change, ChangeKind, Outcome, Transaction};
pub(crate) use values::{Present, Row, key_of, row_of};
