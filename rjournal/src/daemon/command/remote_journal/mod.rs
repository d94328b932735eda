//! Room `daemon`: commands on remote journals, and what partners ask for: one file for each side. Must not know sessions.

mod source;
pub(in crate::daemon) mod supply;
mod target;

pub(in crate::daemon) use source::refused_by;
pub use source::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, RemoteJournalAdded, RemoteJournalChanged,
    RemoveRemoteJournal, WantedState,
};
