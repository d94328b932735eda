//! Room `daemon`: commands on remote journals, and what partners ask for: one file for each side. Must not know sessions.

mod source;
mod supply;
mod target;

pub(super) use source::refused_by;
pub use source::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, RemoteJournalAdded, RemoteJournalChanged,
    RemoveRemoteJournal, WantedState,
};
