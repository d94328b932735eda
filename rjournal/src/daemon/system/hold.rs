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
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        for (store, job) in &jobs {
            // Receivers are kept until a save covers them (ruling 8), and behind the save a store is loaded from. A store
            // that is made by loading it needs nothing before that.
            let is_new = job.load.is_some() && !job.active && job.applied == Sequence::NONE;
            let needed = self.store_needs(job, journal);
            let saved = needed.filter(|_| !job.needs_reinit && !is_new);
            let loaded = job.load.as_ref().and_then(|load| load.save);
            let loaded = loaded
                .filter(|_| job.journal == journal)
                .map(|save| save.restart);
            if let Some(after) = saved.into_iter().chain(loaded).min() {
                holds.push(Hold {
                    who: format!("store {store}"),
                    after,
                    expendable: true,
                });
            }
        }
        self.catalog(|catalog| {
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
        holds.extend(self.group_holds(&runtime));
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

    /// What members of the journal's group have not got yet, as they said last: it is fetched from whoever has it.
    fn group_holds(&self, runtime: &JournalRuntime) -> Vec<Hold> {
        let Some(journal) = runtime.id() else {
            return Vec::new();
        };
        let Some(group) = self.groups.of_journal(journal) else {
            return Vec::new();
        };
        let definition = group.look(|at| at.group.clone());
        let heard = group.heard();
        let others = definition.others(self.id).map(|member| {
            let news = heard
                .get(&member.system)
                .and_then(|heard| heard.news.as_ref());
            let tip = news.and_then(|news| news.tips.iter().find(|tip| tip.journal == journal));
            Hold {
                who: format!("member {} of group {}", member.name, definition.name),
                // One that was not heard since the start may lack anything.
                after: tip.map_or(Sequence::NONE, |tip| tip.tip.sequence),
                expendable: true,
            }
        });
        others.collect()
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
                    job.needs_reinit |= *needs_reinit;
                    if let Some(load) = &mut job.load {
                        load.save = None;
                    }
                }
            }
            Ok(given.into_iter().map(|(store, _)| store))
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
