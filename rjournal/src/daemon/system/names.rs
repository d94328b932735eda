//! Room `daemon`, a system: a receiver's name belongs to one of its journals. Must not know when receivers are changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, Weak};

use super::shared::{Shared, lock};
use crate::entry::QualifiedName;
use crate::journal::ReceiverNames;

/// The last name each journal claimed: it may not have a receiver of it yet.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<BTreeMap<QualifiedName, QualifiedName>>);

/// The names of a system, as its journals see them.
#[derive(Debug)]
pub(super) struct Names(pub(super) Weak<Shared>);

impl ReceiverNames for Names {
    fn claim(&self, journal: QualifiedName, name: QualifiedName, named: bool) -> bool {
        self.0
            .upgrade()
            .is_none_or(|shared| shared.claim_receiver(journal, name, named))
    }
}

impl Shared {
    /// Claims a name for the next receiver of a journal, as [`ReceiverNames::claim`].
    pub(crate) fn claim_receiver(
        &self,
        journal: QualifiedName,
        name: QualifiedName,
        named: bool,
    ) -> bool {
        // Two journals that ask at the same time are told one after the other.
        let mut claims = lock(&self.claims.0);
        let claimed = claims
            .iter()
            .any(|(other, claimed)| *other != journal && *claimed == name);
        let planned = !named && self.catalog(|catalog| catalog.receivers.contains_key(&name));
        let used = self.runtimes_by_name().into_iter().any(|(other, runtime)| {
            other != journal && runtime.records().iter().any(|record| record.name == name)
        });
        let free = !(claimed || planned || used);
        if free {
            claims.insert(journal, name);
        }
        free
    }

    /// Forgets what a journal that is gone, or could not be made, had claimed.
    pub(in crate::daemon) fn forget_claim(&self, journal: QualifiedName) {
        lock(&self.claims.0).remove(&journal);
    }
}
