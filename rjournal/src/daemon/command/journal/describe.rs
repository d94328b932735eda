//! Room `daemon`: WRKJRNA: a journal is asked for everything it shows. Must not change anything.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::description::{
    DescribeJournals, JournalDescription, JournalDescriptions, JournalState, LinkDescription,
    Watermarks,
};
use crate::daemon::command::CommandError;
use crate::daemon::command::member::GroupPlace;
use crate::daemon::crank::member_key;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::link::LinkStatus;
use crate::daemon::task::{describe_ordered, describe_outrun};
use crate::entry::{Epoch, QualifiedName, Sequence, Timestamp};
use crate::journal::{Behind, DeliveryMode, JournalKind, Limit, LinkRecord};
use crate::remote::{LinkState, Shown};

impl Shared {
    pub(in crate::daemon::command) fn describe_journals(
        &self,
        request: &DescribeJournals,
    ) -> Result<JournalDescriptions, CommandError> {
        let names = match request.journal {
            Some(name) => {
                self.require_journal(name)?;
                vec![name]
            }
            None => self.journal_names(),
        };
        let journals = names
            .into_iter()
            .filter_map(|name| Some(self.describe(name, &self.runtime_of(name)?)))
            .collect();
        Ok(JournalDescriptions { journals })
    }

    /// Everything there is to say about a journal, from memory (failures.md CTL-4).
    pub(in crate::daemon) fn describe(
        &self,
        name: QualifiedName,
        runtime: &JournalRuntime,
    ) -> JournalDescription {
        let mut description = JournalDescription {
            journal: name,
            journal_id: None,
            kind: "*LOCAL".to_owned(),
            state: JournalState::Damaged,
            note: None,
            source: None,
            group: self.place_in_group(name),
            epoch: Epoch::NONE,
            in_sync_set: Vec::new(),
            watermarks: Watermarks::default(),
            open_cycles: 0,
            attributes: runtime.attributes(),
            policy_ordered: None,
            receivers: runtime.records(),
            links: Vec::new(),
            orphans: 0,
        };
        match runtime {
            JournalRuntime::Local(local) => self.describe_local(local, &mut description),
            JournalRuntime::Copy(copy) => self.describe_copy(copy, &mut description),
            JournalRuntime::Opening(opening) => {
                description.journal_id = Some(opening.id);
                description.state = JournalState::Opening;
                description.note = Some(
                    opening
                        .waits_for
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .clone(),
                );
                description.epoch = opening.control.epoch;
                description.policy_ordered = opening.control.policy_ordered;
                let members = &opening.members;
                description.in_sync_set = members.iter().map(|member| member.rdb).collect();
                let at = opening.tip.sequence;
                let head = Some(opening.tip.head);
                description.watermarks = Watermarks {
                    deposited: at,
                    sealed: at,
                    written: at,
                    settled: at,
                    head,
                    last_time: Timestamp::ZERO,
                };
                description.links = self.describe_waiting_links(&opening.control.links, |link| {
                    let state = if link.active {
                        LinkState::Active
                    } else {
                        LinkState::Inactive
                    };
                    let in_sync = members.iter().any(|member| {
                        member.system == link.system && member.journal == link.target
                    });
                    (state, in_sync, at)
                });
            }
            JournalRuntime::Broken(broken) => {
                description.note = Some(broken.reason.clone());
                let Some(control) = &broken.control else {
                    return description;
                };
                description.journal_id = Some(control.journal);
                description.epoch = control.epoch;
                description.orphans = control.orphans;
                if let JournalKind::Remote(source) = &control.kind {
                    "*REMOTE".clone_into(&mut description.kind);
                    description.source = Some((source.name, source.journal));
                }
                description.links = self.describe_waiting_links(&control.links, |link| {
                    (LinkState::Inactive, false, link.acknowledged)
                });
            }
        }
        description
    }

    fn describe_local(
        &self,
        local: &crate::daemon::task::local::LocalRuntime,
        description: &mut JournalDescription,
    ) {
        use crate::journal::Gate;
        let journal = &local.journal;
        let marks = journal.tail().marks();
        let failure = lock(&local.failure).clone();
        description.journal_id = Some(journal.id());
        let missing = journal.intake().room_missing();
        description.state = match (journal.gate(), &failure) {
            (Gate::Poisoned, _) | (_, Some(_)) => JournalState::Failed,
            (Gate::Held { .. }, None) => JournalState::Held,
            (Gate::Open, None) if missing.is_some() => JournalState::Full,
            (Gate::Open, None) => JournalState::Active,
            (Gate::Closed, None) => JournalState::Inactive,
        };
        let links = local.links.all();
        let records: Vec<LinkRecord> = links
            .iter()
            .map(|link| lock(&link.record).clone())
            .collect();
        let (members, ordered, untold) = {
            let confirmation = lock(&local.confirmation);
            let since = |record: &LinkRecord| confirmation.untold_since(member_key(record));
            let untold: Vec<Option<Sequence>> = records.iter().map(since).collect();
            let ordered = confirmation.policy_ordered();
            description.policy_ordered = ordered;
            let ordered = ordered.map(|policy| {
                describe_ordered(confirmation.policy(), policy, &confirmation.ignorant())
            });
            (confirmation.members().0.to_vec(), ordered, untold)
        };
        description.note = failure
            .or_else(|| journal.control().stopped)
            .or_else(|| missing.map(no_room))
            .or_else(|| local.slow_write(self.clock.now()).map(slow_write))
            .or(ordered);
        description.epoch = journal.epoch();
        description.in_sync_set = members.iter().map(|member| member.rdb).collect();
        description.watermarks = Watermarks {
            deposited: journal.intake().last(),
            sealed: marks.sealed,
            written: marks.written,
            settled: marks.settled,
            head: Some(journal.tail().tip().head),
            last_time: marks.sealed_time,
        };
        description.open_cycles = journal.intake().open_cycles().len();
        description.links = links
            .iter()
            .zip(records)
            .zip(untold)
            .map(|((link, record), untold)| {
                let in_sync = members.iter().any(|member| {
                    member.system == record.system && member.journal == record.target
                });
                let status = link.status();
                let behind =
                    journal
                        .tail()
                        .behind(journal.reader(), status.acknowledged, Limit::Sealed);
                let mut shown = self.describe_link(&record, &status, in_sync, marks.sealed, behind);
                shown.note = match (untold.map(untold_note), shown.note) {
                    (Some(untold), Some(note)) => Some(format!("{untold}; {note}")),
                    (untold, note) => untold.or(note),
                };
                shown
            })
            .collect();
    }

    fn describe_copy(
        &self,
        copy: &crate::daemon::task::copy::CopyRuntime,
        description: &mut JournalDescription,
    ) {
        let status = copy.status();
        let control = copy.copy.control();
        let marks = copy.copy.tail().marks();
        description.journal_id = Some(control.journal);
        // One of this system's own that rests is held like a copy.
        let rests = control.kind == JournalKind::Local;
        let place = description.group.as_ref();
        let not_written = rests || place.is_some_and(|place| !place.is_current);
        description.state = match (&status.failure, status.fed) {
            (Some(_), _) => JournalState::Failed,
            (None, _) if rests => JournalState::Standby,
            (None, true) => JournalState::Active,
            (None, false) if not_written && control.stopped.is_none() => JournalState::Standby,
            (None, false) => JournalState::Inactive,
        };
        let waits = description.state == JournalState::Standby;
        let ended = status.last_end.as_ref().filter(|_| !status.fed && !waits);
        let why = place.filter(|_| rests).map(GroupPlace::who_is_primary);
        description.note = status
            .failure
            .clone()
            .or(control.stopped)
            .or_else(|| ended.cloned())
            .or_else(|| why.map(|who| format!("rests: {who}")));
        if let JournalKind::Remote(source) = &control.kind {
            "*REMOTE".clone_into(&mut description.kind);
            description.source = Some((source.name, source.journal));
        }
        description.epoch = copy.copy.promised();
        description.in_sync_set = copy.copy.set().map_or_else(Vec::new, |(_, set)| {
            set.members.iter().map(|member| member.rdb).collect()
        });
        description.watermarks = Watermarks {
            // What came from the source is there, whatever it has said of itself so far.
            deposited: status
                .source_at
                .map_or(marks.sealed, |(sealed, _)| sealed.max(marks.sealed)),
            sealed: marks.sealed,
            written: marks.written,
            settled: marks.settled,
            head: Some(copy.copy.tail().tip().head),
            last_time: marks.sealed_time,
        };
        description.orphans = control.orphans;
        description.links = copy
            .links
            .all()
            .iter()
            .map(|link| {
                let record = link
                    .record
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .clone();
                let status = link.status();
                let shared = &copy.copy;
                let behind =
                    shared
                        .tail()
                        .behind(shared.reader(), status.acknowledged, Limit::Settled);
                self.describe_link(&record, &status, false, marks.settled, behind)
            })
            .collect();
        if rests {
            // Its links begin when it opens.
            description.links = self.describe_waiting_links(&control.links, |link| {
                (LinkState::Inactive, false, link.acknowledged)
            });
        }
    }

    /// Links of a journal that is not open: none runs. `how` tells state, whether it is in sync, and the last entry here.
    fn describe_waiting_links(
        &self,
        records: &[LinkRecord],
        how: impl Fn(&LinkRecord) -> (LinkState, bool, Sequence),
    ) -> Vec<LinkDescription> {
        let describe = |record: &LinkRecord| {
            let (state, in_sync, last) = how(record);
            let status = LinkStatus {
                shown: Shown {
                    state,
                    streaming: false,
                    caught_up: false,
                    outrun: None,
                    shipped: Sequence::NONE,
                    written: Sequence::NONE,
                    attempts: 0,
                    last_end: None,
                },
                acknowledged: record.acknowledged,
                heard_at: Timestamp::ZERO,
                low_space: false,
                dial_error: None,
            };
            self.describe_link(record, &status, in_sync, last, Behind::default())
        };
        records.iter().map(describe).collect()
    }

    fn describe_link(
        &self,
        record: &LinkRecord,
        status: &LinkStatus,
        in_sync: bool,
        last: Sequence,
        behind: Behind,
    ) -> LinkDescription {
        let lag_entries = last.entries_since(status.acknowledged);
        let level = status.shown.caught_up && (in_sync || record.delivery == DeliveryMode::Async);
        let delivery = match (record.delivery, level) {
            (DeliveryMode::Sync, true) => "*SYNC",
            (DeliveryMode::Sync, false) => "*SYNCPEND",
            (DeliveryMode::Async, true) => "*ASYNC",
            (DeliveryMode::Async, false) => "*ASYNCPEND",
        };
        let outrun = status.shown.outrun.map(describe_outrun);
        let note = status.dial_error.clone().or(outrun).or_else(|| {
            status
                .shown
                .last_end
                .as_ref()
                .filter(|_| !status.shown.streaming)
                .map(crate::daemon::task::describe_end)
        });
        LinkDescription {
            rdb: record.rdb,
            target: record.target,
            state: status.shown.state,
            delivery: delivery.to_owned(),
            level: record.level,
            in_sync,
            acknowledged: status.acknowledged,
            lag_entries,
            lag_bytes: behind.bytes,
            lag_ms: if lag_entries == 0 {
                Some(0)
            } else {
                let waiting = behind.since.map(|since| self.clock.wall().since(since));
                waiting.map(|waiting| u64::try_from(waiting.as_millis()).unwrap_or(u64::MAX))
            },
            heard_at: status.heard_at,
            note,
            needs_reinit: record.needs_reinit,
        }
    }
}

/// What is waited for before anything is answered without a target.
fn untold_note(since: Sequence) -> String {
    format!(
        "nothing is answered without it before it has entry {since} on disk, which leaves it out of the in-sync set"
    )
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be done where the disk is full.
fn slow_write(taken: std::time::Duration) -> String {
    format!(
        "slow flush: the disk has taken {:.1} s for a write so far; deposits wait for it",
        taken.as_secs_f64()
    )
}

fn no_room(bytes: u64) -> String {
    format!(
        "deposits are refused (CPF7003): the disk that holds the receivers is full and has no room for {bytes} more bytes; free \
         space or delete receivers with DLTJRNRCV, and they are taken again by themselves"
    )
}
