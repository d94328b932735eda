//! Room `daemon`: a command finds its journal, or says why there is none to work on.

use crate::daemon::command::CommandError;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::QualifiedName;

impl Shared {
    pub(in crate::daemon) fn require_journal(
        &self,
        name: QualifiedName,
    ) -> Result<JournalRuntime, CommandError> {
        self.runtime_of(name).ok_or_else(|| {
            CommandError::not_found("journal", name)
                .help("WRKJRNA lists the journals of this system")
        })
    }
}

pub(super) fn not_open(journal: QualifiedName) -> CommandError {
    CommandError::refused("RJN4010", format!("journal {journal} is not open"))
        .help("WRKJRNA says why")
}
