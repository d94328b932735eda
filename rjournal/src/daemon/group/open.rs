//! Room `daemon`, recovery groups: the own journal of a member: it rests like a copy while another system is primary, and opens
//! with the record of a new term. Whoever changes what it is holds the group's seat. Must not decide who may.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::runtime::GroupRuntime;
use crate::daemon::crank::begin_confirmation;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared, dir_of, lock};
use crate::daemon::task::copy::CopyRuntime;
use crate::entry::control_entry::Policy;
use crate::entry::{Closed, Epoch, Position, Proof, QualifiedName, TermReason, TermRecord};
use crate::error::JournalError;
use crate::journal::{Copy, Gate, Limit, Recovered};
use crate::remote::MemberRole;
use crate::role::{Lineage, Standing};

/// The system that handed over has so long to join before deposits are taken without it.
const JOIN_MAX: Duration = Duration::from_millis(400);
/// What has no event of its own is looked at this often.
const LOOK: Duration = Duration::from_millis(2);

impl Shared {
    /// The own journal of a member that is not primary rests.
    ///
    /// Cancel safe: no.
    pub(super) async fn rest_if_not_primary(self: &Arc<Self>, group: &Arc<GroupRuntime>) {
        let _seat = group.seat.lock().await;
        let standing = group.standing();
        let writes = matches!(
            standing.role(self.id),
            MemberRole::Primary | MemberRole::HandedOver
        );
        let Some(member) = standing.group.member(self.id) else {
            return;
        };
        let runtime = self.runtime_of(member.own);
        if writes
            || !matches!(
                runtime,
                Some(JournalRuntime::Local(_) | JournalRuntime::Opening(_))
            )
        {
            return;
        }
        self.end_answers(group);
        if let Err(error) = self.rest(&standing, member.own).await {
            tracing::error!(group = %group.name, %error, "the journal cannot be put to rest");
        }
        self.fence(group);
    }

    /// Where this member is primary no longer its own journal takes nothing from now on, and answers nothing but UNKNOWN: whatever
    /// it takes until its links and threads have ended would be answered LOCAL by a system that knows better (ruling 27).
    pub(super) fn end_answers(&self, group: &GroupRuntime) {
        let standing = group.standing();
        let writes = matches!(
            standing.role(self.id),
            MemberRole::Primary | MemberRole::HandedOver
        );
        let own = standing.group.member(self.id).map(|member| member.own);
        if let Some(JournalRuntime::Local(local)) = own.and_then(|own| self.runtime_of(own))
            && !writes
        {
            local.journal.close();
        }
    }

    /// Ends what runs for the own journal, and holds it like a copy from now on.
    async fn rest(
        self: &Arc<Self>,
        standing: &Standing,
        own: QualifiedName,
    ) -> Result<(), JournalError> {
        let Some(runtime) = self.runtime_of(own) else {
            return Ok(());
        };
        let (dir, control) = match &runtime {
            JournalRuntime::Local(local) => {
                (dir_of(local.journal.reader()), local.journal.control())
            }
            JournalRuntime::Opening(opening) => (dir_of(&opening.reader), opening.control.clone()),
            JournalRuntime::Copy(_) | JournalRuntime::Broken(_) => return Ok(()),
        };
        self.stop_journal(&runtime).await;
        let rested = self.open_resting(&dir, standing, &control.journal);
        match rested {
            Ok(copy) => {
                let copy = CopyRuntime::start(self, copy);
                self.insert(own, JournalRuntime::Copy(copy));
                Ok(())
            }
            Err(error) => {
                self.journal_broken(own, control, error.to_string(), dir);
                Err(error)
            }
        }
    }

    /// Opens the own journal of a member as it rests.
    pub(in crate::daemon) fn open_resting(
        &self,
        dir: &Path,
        standing: &Standing,
        journal: &crate::entry::JournalId,
    ) -> Result<Copy, JournalError> {
        let closed = standing.confirmed_end(*journal);
        Copy::open_own(Arc::clone(&self.disk), dir, closed)
    }

    /// Opens the term this member has claimed, in its own journal, which rests. What the term before ended with is what is
    /// flushed here of it.
    ///
    /// Cancel safe: no.
    pub(super) async fn open_term(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        reason: TermReason,
    ) -> Result<TermRecord, String> {
        let _seat = group.seat.lock().await;
        // What a fetch that was given up still brings would come to the disk behind the end that is written down now.
        self.quiesce(group).await;
        self.require_readable(group)?;
        let standing = group.standing();
        if standing.role(self.id) != MemberRole::Claiming {
            return Err("another member has claimed a higher term since".to_owned());
        }
        let own = standing.group.member(self.id).map(|member| member.own);
        let own = own.ok_or_else(|| "this system is no member".to_owned())?;
        let tips = self.seen(group).tips();
        let lineage = standing.lineage.held(|journal| {
            let tip = tips.iter().find(|tip| tip.journal == journal);
            tip.map(|tip| tip.tip.sequence)
        });
        let newest = lineage.newest().copied();
        let closed = newest.and_then(|newest| {
            let tip = tips.iter().find(|tip| tip.journal == newest.journal)?;
            Some(Closed {
                term: newest.term,
                journal: newest.journal,
                last: tip.tip,
            })
        });
        let runtime = self.runtime_of(own);
        let Some(JournalRuntime::Copy(resting)) = runtime else {
            return Err(format!(
                "journal {own} does not rest; WRKJRNA says what it is"
            ));
        };
        let dir = dir_of(resting.copy.reader());
        resting.stop().await;
        let term = standing.promised();
        let shared = Arc::clone(self);
        let for_group = Arc::clone(group);
        let opening = move || {
            let opened = shared.open_recovered(&for_group, &dir, term, &lineage, closed, reason);
            opened.map_err(|error| (error, dir))
        };
        match tokio::task::spawn_blocking(opening).await {
            Ok(Ok(record)) => {
                if reason != TermReason::HandedOver {
                    self.after_opening(group, reason);
                }
                Ok(record)
            }
            Ok(Err((error, dir))) => {
                Self::keys_again(group);
                let control = resting.copy.control();
                let text = error.to_string();
                self.journal_broken(own, control, text.clone(), dir);
                Err(text)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn open_recovered(
        self: &Arc<Self>,
        group: &GroupRuntime,
        dir: &Path,
        term: u64,
        lineage: &Lineage,
        closed: Option<Closed>,
        reason: TermReason,
    ) -> Result<TermRecord, JournalError> {
        let mut recovered = Recovered::open(Arc::clone(&self.disk), dir, self.owner())?;
        self.remember_earlier(group, &mut recovered, lineage, closed)?;
        let name = recovered.control().name;
        let journal_id = recovered.control().journal;
        let kept = std::cell::Cell::new(None);
        let record = |epoch: Epoch, begins: Position| {
            let mut record = TermRecord {
                group: group.id,
                term,
                primary: self.id,
                journal: journal_id,
                begins,
                epoch,
                closed,
                reason,
                opened_at: self.clock.wall(),
                proof: Proof::NONE,
            };
            self.identity()
                .sign(&mut record)
                .map_err(|error| JournalError::Term {
                    reason: error.to_string(),
                })?;
            // What is no lineage is not written down.
            let mut with = lineage.clone();
            with.push(record).map_err(|error| JournalError::Term {
                reason: error.to_string(),
            })?;
            kept.set(Some((record, with)));
            Ok(record)
        };
        let (journal, writer) = recovered.open_term(
            (term, 0),
            &record,
            Arc::clone(&self.entropy),
            self.clock.wall(),
        )?;
        let Some((record, with)) = kept.take() else {
            return Err(JournalError::Term {
                reason: "no record was made".to_owned(),
            });
        };
        // The close record is flushed: the term is this system's.
        let stood = group.update(|at| at.handle_own_term(with));
        stood.map_err(|error| JournalError::Term {
            reason: error.to_string(),
        })?;
        journal.update(|control| {
            for link in &mut control.links {
                // Whoever follows is activated when it says so.
                link.active = false;
            }
        })?;
        let confirmation = begin_confirmation(&journal, &[], self.clock.wall(), self.clock.now());
        // Whoever handed over joins in a moment: until then an answer would be LOCAL for nothing.
        let waits = reason == TermReason::HandedOver && group.look(|at| at.group.sync);
        self.run_local(journal, writer, confirmation, !waits);
        tracing::info!(journal = %name, term, "a term begins");
        Ok(record)
    }

    /// A term of the journal's own may have been opened, or the role handed over, right before a crash: the entry is flushed, and
    /// the standing does not know it yet.
    pub(in crate::daemon) fn catch_up_standing(&self, group: &GroupRuntime, recovered: &Recovered) {
        let record = recovered.term().copied();
        let handed = recovered.handed_over();
        let updated = group.update(|at| {
            if let Some(record) = record {
                at.handle_found_term(self.id, record);
            }
            if let Some((entry, handed)) = handed
                && at.handed_over.is_none()
                && handed.term == at.lineage.term()
                && at.role(self.id) == MemberRole::Primary
            {
                let head = recovered.reader().head_at(entry).ok().flatten();
                at.handed_over = head.map(|head| {
                    (
                        handed,
                        Position {
                            sequence: entry,
                            head,
                        },
                    )
                });
            }
        });
        if let Err(error) = updated {
            self.post_about(
                "RJN7007",
                Severity::Alarm,
                group.name.as_str(),
                error.to_string(),
            );
        }
    }
}

/// Lets deposits in once somebody is in the in-sync set, so that the first answer is as good as the last before the switch was.
/// Where answers may be LOCAL, nobody is waited for longer than a moment.
pub(super) async fn open_when_joined(shared: Arc<Shared>, group: Arc<GroupRuntime>) {
    let Some(local) = shared.own_local(&group) else {
        return;
    };
    let until = shared.clock.now() + JOIN_MAX;
    let journal = &local.journal;
    group.wake();
    while lock(&local.confirmation).members().0.is_empty() {
        let degrades = journal.attributes().policy == Policy::Degrade;
        if shared.is_stopping() || (degrades && shared.clock.now() >= until) {
            break;
        }
        let news = journal.tail().listen(Limit::Written);
        drop(tokio::time::timeout(LOOK, news).await);
    }
    journal.set_gate(Gate::Open);
    shared.after_opening(&group, TermReason::HandedOver);
    group.wake();
}
