//! Room `daemon`, the first copy: what the catalog keeps of saves that are promised and of saves that are being loaded. Both hold
//! receivers, over a restart, too. Must not know what is done with them.

use serde::{Deserialize, Serialize};

use crate::entry::{Name, QualifiedName, RdbName, SaveFacts, SystemId};

/// A store save that was promised to a partner: the receivers behind it are kept until the partner's job has gone on from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoanRecord {
    /// The partner.
    pub system: SystemId,
    /// Its name here.
    pub rdb: RdbName,
    /// The store there that is loaded.
    pub for_store: Name,
    /// The journal here.
    pub journal: QualifiedName,
    /// The store here whose save it is.
    pub store: Name,
    /// The save.
    pub save: SaveFacts,
}

impl LoanRecord {
    /// Who it is for, as holds and messages name it.
    pub fn who(&self) -> String {
        format!("first copy of store {} at {}", self.for_store, self.rdb)
    }

    /// Whether it is what a partner was promised for a store of its own from a journal.
    pub(super) fn is_for(&self, system: SystemId, for_store: Name, journal: QualifiedName) -> bool {
        self.system == system && self.for_store == for_store && self.journal == journal
    }
}

/// A store that is being loaded from a partner's save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// The partner.
    pub rdb: RdbName,
    /// Whether its job is to run when it is loaded.
    pub start: bool,
    /// The save, once the partner promised one.
    pub save: Option<SaveFacts>,
}
