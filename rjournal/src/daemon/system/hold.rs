//! Room `daemon`, a system: who still needs entries of a journal, and who is given up so that receivers may go. Must not
//! delete anything.

use super::runtime::JournalRuntime;
use super::shared::{Shared, lock};
use crate::daemon::command::CommandError;
use crate::daemon::messages::Severity;
use crate::entry::{QualifiedName, Sequence};
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
        self.catalog(|catalog| {
            let jobs = catalog.jobs.iter();
            for (store, job) in jobs.filter(|(_, job)| job.journal == journal) {
                // Receivers are kept until a save covers them (ruling 8), and behind the save a store is loaded from. A
                // store that is made by loading it needs nothing before that.
                let is_new = job.load.is_some() && !job.active && job.applied == Sequence::NONE;
                let saved = Some(job.saved).filter(|_| !job.needs_reinit && !is_new);
                let loaded = job.load.as_ref().and_then(|load| load.save);
                let after = saved.into_iter().chain(loaded.map(|save| save.restart));
                if let Some(after) = after.min() {
                    holds.push(Hold {
                        who: format!("store {store}"),
                        after,
                        expendable: true,
                    });
                }
            }
            let loans = catalog.loans.iter();
            holds.extend(
                loans
                    .filter(|loan| loan.journal == journal)
                    .map(|loan| Hold {
                        who: loan.who(),
                        after: loan.save.restart,
                        expendable: true,
                    }),
            );
        });
        if let JournalRuntime::Local(local) = &runtime
            && let Some(after) = local.journal.keys_needed_after()
        {
            holds.push(Hold {
                who: "remembered deposit keys".to_owned(),
                after,
                expendable: false,
            });
        }
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
        let stores = self.update_catalog(|catalog| {
            let mut given = Vec::new();
            for (store, job) in catalog
                .jobs
                .iter_mut()
                .filter(|(_, job)| job.journal == journal)
            {
                if who.contains(&format!("store {store}")) {
                    // A store that stands beyond what goes only loses the way back to its save.
                    job.needs_reinit |= job.restart < job.saved;
                    if let Some(load) = &mut job.load {
                        load.save = None;
                    }
                    given.push(*store);
                }
            }
            Ok(given)
        })?;
        for loan in self.end_loans(|loan| loan.journal == journal && who.contains(&loan.who()))? {
            self.post_given_up(&loan, "the receivers are above their cap");
        }
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
