//! Room `daemon`, a system: where the stores made here stand in the history of their journals, and which entries they need of it.
//! A store is started on one journal; of a recovery group's journals that stands for the group's history, and its entries are in
//! any of them. Must not know how they are applied.

use super::shared::Shared;
use crate::daemon::catalog::JobRecord;
use crate::entry::{JournalId, QualifiedName, SegmentId, Sequence};
use crate::role::{Placed, Standing};

/// Where a store stands in its history, ordered by term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoreAt {
    /// The term and journal.
    pub(crate) segment: SegmentId,
    /// The entry.
    pub(crate) sequence: Sequence,
}

impl Shared {
    fn standing_of(&self, journal: QualifiedName) -> Option<Standing> {
        let id = self.runtime_of(journal)?.id()?;
        Some(self.groups.of_journal(id)?.standing())
    }

    fn id_of(&self, journal: QualifiedName) -> JournalId {
        let runtime = self.runtime_of(journal);
        runtime
            .and_then(|runtime| runtime.id())
            .unwrap_or(JournalId::NONE)
    }

    /// Names here of the journals that entries of a store's history may stand in: of a recovery group's journal all of the
    /// group's.
    pub(in crate::daemon) fn journals_of_history(
        &self,
        journal: QualifiedName,
    ) -> Vec<QualifiedName> {
        let Some(standing) = self.standing_of(journal) else {
            return vec![journal];
        };
        let members = standing.group.members.iter();
        members
            .filter_map(|member| standing.group.name_at(self.id, member.journal))
            .collect()
    }

    /// An entry a job told of, in its history. One told before its journal belonged to a group is in the journal it was started on.
    fn at(
        &self,
        standing: Option<&Standing>,
        job: &JobRecord,
        told: Option<SegmentId>,
        sequence: Sequence,
    ) -> StoreAt {
        let segment = told.unwrap_or_else(|| SegmentId {
            term: 0,
            journal: self.id_of(job.journal),
        });
        let placed = standing.map(|at| at.lineage.place(&at.group, Some(segment), sequence));
        let segment = match placed {
            Some(Placed::In(found)) if found.journal == segment.journal => SegmentId {
                term: found.term,
                journal: found.journal,
            },
            _ => segment,
        };
        StoreAt { segment, sequence }
    }

    /// Where the store of a job stood when it last reported.
    pub(in crate::daemon) fn store_at(&self, job: &JobRecord) -> StoreAt {
        let standing = self.standing_of(job.journal);
        self.at(standing.as_ref(), job, job.at, job.applied)
    }

    /// Name here of the journal the store of a job is in.
    pub(in crate::daemon) fn journal_of_store(&self, job: &JobRecord) -> QualifiedName {
        let known = job.at.and_then(|at| {
            let standing = self.standing_of(job.journal)?;
            standing.group.name_at(self.id, at.journal)
        });
        known.unwrap_or(job.journal)
    }

    /// Entries a store may apply and has not, in all journals of its history.
    pub(in crate::daemon) fn store_lag(&self, job: &JobRecord) -> u64 {
        let readable = |journal: QualifiedName| {
            let runtime = self.runtime_of(journal);
            runtime.map_or(Sequence::NONE, |runtime| Self::readable_upto(&runtime))
        };
        let Some(standing) = self.standing_of(job.journal) else {
            return readable(job.journal).entries_since(job.applied);
        };
        let at = self.at(Some(&standing), job, job.at, job.applied);
        let segments = standing.lineage.segments();
        let behind = segments.filter(|segment| segment.term >= at.segment.term);
        behind
            .map(|segment| {
                let here = standing.group.name_at(self.id, segment.journal);
                let upto = here.map_or(Sequence::NONE, readable);
                let upto = segment.last.map_or(upto, |last| upto.min(last.sequence));
                let from = if segment.term == at.segment.term {
                    at.sequence
                } else {
                    segment.begins.sequence
                };
                upto.entries_since(from)
            })
            .sum()
    }

    /// The entry of a journal here after which a store needs it, so that it can be made anew from its last save; nothing where it
    /// needs none of it.
    pub(in crate::daemon) fn store_needs(
        &self,
        job: &JobRecord,
        journal: QualifiedName,
    ) -> Option<Sequence> {
        let Some(standing) = self.standing_of(job.journal) else {
            return (job.journal == journal).then_some(job.saved);
        };
        let id = self.id_of(journal);
        let has_save = job.saved_at.is_some() || job.saved > Sequence::NONE;
        let saved = has_save.then(|| self.at(Some(&standing), job, job.saved_at, job.saved));
        // What is not in the history any more is needed to take it out of the store.
        let own = saved.filter(|saved| saved.segment.journal == id);
        let first = standing.lineage.segments().find(|segment| {
            let later = saved.is_none_or(|saved| segment.term > saved.segment.term);
            later && segment.journal == id
        });
        let begins = first.map(|segment| segment.begins.sequence);
        let own = own.map(|own| own.sequence);
        own.into_iter().chain(begins).min()
    }

    /// Whether a store stands before what its last save covers: it cannot go on then without what lies between.
    pub(in crate::daemon) fn is_before_save(&self, job: &JobRecord) -> bool {
        let standing = self.standing_of(job.journal);
        let at = self.at(standing.as_ref(), job, job.at, job.restart);
        at < self.at(standing.as_ref(), job, job.saved_at, job.saved)
    }

    /// How far stores made here prove entries of a journal to have been confirmed in it; `id` where it can be read.
    pub(super) fn proven(&self, name: QualifiedName, id: Option<JournalId>) -> Sequence {
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        let of_it = jobs.values().filter(|job| match (job.at, id) {
            (Some(at), Some(id)) => at.journal == id,
            (Some(at), None) => {
                let group = self.groups.of_journal(at.journal);
                let here = group.and_then(|group| {
                    group.look(|standing| standing.group.name_at(self.id, at.journal))
                });
                here.unwrap_or(job.journal) == name
            }
            (None, _) => job.journal == name,
        });
        of_it.map(|job| job.applied).max().unwrap_or(Sequence::NONE)
    }

    /// Where the store that is furthest behind of those made from a group's history stands: its journal, and the entry.
    pub(in crate::daemon) fn applied_of(
        &self,
        standing: &Standing,
    ) -> Option<(JournalId, Sequence)> {
        let jobs = self.catalog(|catalog| catalog.jobs.clone());
        let of_group = jobs.values().filter(|job| {
            let id = self.id_of(job.journal);
            standing.group.writer_of(id).is_some()
        });
        let furthest = of_group
            .map(|job| self.at(Some(standing), job, job.at, job.applied))
            .min()?;
        Some((furthest.segment.journal, furthest.sequence))
    }
}
