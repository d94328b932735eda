//! Room `daemon`, the first copy: how far a load is, for people. Must not know how it goes on.

use serde::{Deserialize, Serialize};

use crate::daemon::command::CommandError;
use crate::entry::{Name, RdbName, SaveFacts};

/// What a load is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadPhase {
    /// The partner is asked, or makes a save.
    Asking,
    /// What was fetched before is proven again.
    Checking,
    /// Pieces are fetched.
    Fetching,
    /// The journal here must come as far as the save is.
    Waiting,
    /// Everything is here: the store can be restored.
    Fetched,
    /// It ended; give the command again.
    Failed,
}

/// How far a load is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadStanding {
    /// The store.
    pub store: Name,
    /// Where the save comes from.
    pub rdb: RdbName,
    /// What is done now.
    pub phase: LoadPhase,
    /// How far that is, in bytes (in entries while it waits).
    pub done: u64,
    /// Of so many; 0 where that is not known.
    pub total: u64,
    /// Bytes that were here from an earlier time and proven again.
    pub kept: u64,
    /// What it waits for.
    pub note: Option<String>,
    /// The save, once it is promised.
    pub save: Option<SaveFacts>,
    /// What was fetched, at the end.
    pub fetched: Option<FetchedSave>,
    /// Why it ended without.
    pub failed: Option<CommandError>,
}

/// A save that is here, as it was promised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedSave {
    /// Its file, from the data directory.
    pub file: String,
    /// The save.
    pub save: SaveFacts,
    /// Bytes of it that were here from an earlier time.
    pub kept: u64,
    /// Kind of the store.
    pub kind: String,
    /// Whether the job is to run afterwards.
    pub start: bool,
}

impl LoadStanding {
    pub(super) const fn new(store: Name, rdb: RdbName) -> Self {
        Self {
            store,
            rdb,
            phase: LoadPhase::Asking,
            done: 0,
            total: 0,
            kept: 0,
            note: None,
            save: None,
            fetched: None,
            failed: None,
        }
    }

    /// Whether it goes on.
    pub const fn is_running(&self) -> bool {
        !matches!(self.phase, LoadPhase::Fetched | LoadPhase::Failed)
    }

    /// One line of it, for a list of stores.
    pub fn describe(&self) -> String {
        let from = format!("being loaded from {}", self.rdb);
        let part = match self.phase {
            LoadPhase::Asking | LoadPhase::Waiting => self.note.clone(),
            LoadPhase::Checking => Some("what was fetched before is checked".to_owned()),
            LoadPhase::Fetching => {
                let percent = (u128::from(self.done) * 100).checked_div(u128::from(self.total));
                Some(match &self.note {
                    Some(note) => format!("{} %, {note}", percent.unwrap_or_default()),
                    None => format!("{} %", percent.unwrap_or_default()),
                })
            }
            LoadPhase::Fetched => Some("everything is here: RSTSTO restores it".to_owned()),
            LoadPhase::Failed => Some("it ended: RSTSTO goes on".to_owned()),
        };
        part.map_or_else(|| from.clone(), |part| format!("{from}: {part}"))
    }
}
