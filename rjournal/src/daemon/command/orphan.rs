//! Room `daemon`: orphan archives: which ones journals have. What an archive holds is read by following it. Must not change
//! anything: only an operator removes an archive, by hand.

use serde::{Deserialize, Serialize};

use super::CommandError;
use crate::daemon::system::Shared;
use crate::entry::QualifiedName;
use crate::journal::Orphan;

/// ORPHANS LIST.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListOrphans {
    /// The journal; all when not given.
    pub journal: Option<QualifiedName>,
}

/// Archives of one journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalOrphans {
    /// Name of the journal here.
    pub journal: QualifiedName,
    /// Its archives, by number.
    pub orphans: Vec<Orphan>,
    /// Why further ones cannot be read.
    pub unreadable: Vec<String>,
}

/// What ORPHANS LIST shows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orphans {
    /// Journals that have archives, by name.
    pub journals: Vec<JournalOrphans>,
}

impl Shared {
    pub(super) fn list_orphans(&self, request: &ListOrphans) -> Result<Orphans, CommandError> {
        let names = match request.journal {
            Some(name) => vec![name],
            None => self.journal_names(),
        };
        let mut journals = Vec::new();
        for journal in names {
            let (orphans, unreadable) = self.orphans_of(journal)?;
            let unreadable: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
            if !orphans.is_empty() || !unreadable.is_empty() {
                journals.push(JournalOrphans {
                    journal,
                    orphans,
                    unreadable,
                });
            }
        }
        Ok(Orphans { journals })
    }
}
