//! Room `daemon`, a system: who still needs entries of a journal, and who is given up so that receivers may go. Must not
//! delete anything.

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};
use crate::daemon::command::CommandError;
use crate::daemon::messages::Severity;
use crate::entry::QualifiedName;
use crate::journal::Hold;

impl Shared {
    /// Who needs entries of a journal, and from where.
    pub(crate) fn holds_of(&self, journal: QualifiedName) -> Vec<Hold> {
        let Some(runtime) = self.runtime_of(journal) else {
            return Vec::new();
        };
        let mut holds = Vec::new();
        for link in runtime.links() {
            let record = lock(&link.record).clone();
            if !record.needs_reinit {
                let who = format!("remote journal {} at {}", record.target, record.rdb);
                holds.push(Hold {
                    who,
                    after: link.status().acknowledged,
                    expendable: true,
                });
            }
        }
        if !runtime.is_open() {
            let records = runtime.link_records().into_iter();
            for record in records.filter(|record| !record.needs_reinit) {
                let who = format!("remote journal {} at {}", record.target, record.rdb);
                holds.push(Hold {
                    who,
                    after: record.acknowledged,
                    expendable: true,
                });
            }
        }
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        for (store, job) in jobs.iter().filter(|(_, job)| !job.needs_reinit) {
            // Receivers are kept until a save covers them (ruling 8).
            if let Some(after) = self.store_needs(job, journal) {
                holds.push(Hold {
                    who: format!("store {store}"),
                    after,
                    expendable: true,
                });
            }
        }
        if let JournalRuntime::Local(local) = &runtime
            && let Some(after) = local.journal.keys_needed_after()
        {
            holds.push(Hold {
                who: "remembered deposit keys".to_owned(),
                after,
                expendable: false,
            });
        }
        holds.extend(self.key_hold(&runtime));
        holds
    }

    /// Gives consumers up: durably, before anything they need is deleted (failures.md DEL-1, BRD-4).
    pub(crate) fn give_up(
        &self,
        journal: QualifiedName,
        who: &[String],
    ) -> Result<(), CommandError> {
        let Some(runtime) = self.runtime_of(journal) else {
            return Ok(());
        };
        for link in runtime.links() {
            let record = lock(&link.record).clone();
            let name = format!("remote journal {} at {}", record.target, record.rdb);
            if !who.contains(&name) {
                continue;
            }
            if let Some(source) = runtime.source() {
                source.update(|control| {
                    for kept in control
                        .links
                        .iter_mut()
                        .filter(|kept| kept.rdb == record.rdb && kept.target == record.target)
                    {
                        kept.needs_reinit = true;
                    }
                })?;
            }
            lock(&link.record).needs_reinit = true;
            self.post(
                "RJN3003",
                Severity::Critical,
                journal,
                format!("{name} fell too far behind: it must be added and loaded anew"),
            );
        }
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        let given = jobs.iter().filter(|(store, job)| {
            who.contains(&format!("store {store}")) && self.store_needs(job, journal).is_some()
        });
        // A store that stands beyond what goes only loses the way back to its save.
        let given: Vec<_> = given
            .map(|(store, job)| (*store, self.is_before_save(job)))
            .collect();
        let stores = self.update_catalog(|catalog| {
            for (store, needs_reinit) in &given {
                if let Some(job) = catalog.jobs.get_mut(store) {
                    job.needs_reinit = *needs_reinit;
                }
            }
            Ok(given.into_iter().map(|(store, _)| store))
        })?;
        for store in stores {
            let text =
                "receivers it would need to be rebuilt were deleted; make a store save now: SAVSTO";
            self.post_about(
                "RJN5003",
                Severity::Alarm,
                &format!("store {store}"),
                text.to_owned(),
            );
        }
        Ok(())
    }
}
