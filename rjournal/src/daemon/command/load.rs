//! Room `daemon`: RSTSTO from a partner, the part that the daemon does: a store save is fetched, and kept beside the store until
//! the command has restored it. How it is carried is in `first_copy`.

use serde::{Deserialize, Serialize};

use crate::daemon::first_copy::LoadStanding;
use crate::entry::{Name, QualifiedName, RdbName};

/// RSTSTO with RDB: begins to fetch, or goes on; what is under way already is joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadStore {
    /// The store.
    pub store: Name,
    /// The partner whose store of the same journal is saved and sent.
    pub rdb: RdbName,
    /// The journal it is made from here; needed when there is no such store yet.
    pub journal: Option<QualifiedName>,
    /// Kind of the store, when there is none yet.
    pub kind: Option<String>,
    /// Whether its job is to run afterwards, where it does not run now.
    pub start: bool,
}

/// How far the load of a store is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DescribeLoad {
    /// The store.
    pub store: Name,
}

/// The load of a store, where there is or was one since the daemon was started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadDescription {
    /// How far it is.
    pub load: Option<Box<LoadStanding>>,
}
