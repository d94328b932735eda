//! Room `daemon`, recovery groups: the journals of a group are made to be what the standing of this member says. What is to be
//! done is looked up in room `role`; here it is done. Must not judge.

use std::sync::Arc;

use super::open::open_when_joined;
use super::runtime::GroupRuntime;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared, lock};
use crate::daemon::task::copy::{CopyEvent, CopyRuntime};
use crate::daemon::task::link::LinkCommand;
use crate::daemon::task::opening::{OpenOrder, OpeningRuntime};
use crate::entry::{HandOver, JournalId, Position, QualifiedName, Sequence, SystemId, TermReason};
use crate::error::SystemError;
use crate::remote::{GroupNews, JournalTip, LinkState};
use crate::role::{Chore, Held, OwnJournal, Standing, Stop, View};

/// Chores lead to further ones: a segment that was fetched is closed, what is closed is followed.
const TURNS_MAX: usize = 8;

/// What a member looks at when it looks for chores.
#[derive(Debug)]
pub(super) struct Seen {
    me: SystemId,
    standing: Standing,
    held: Vec<Held>,
    own: OwnJournal,
    heard: Vec<GroupNews>,
}

impl Seen {
    fn look<T>(&self, look: impl FnOnce(View<'_>) -> T) -> T {
        let heard: Vec<&GroupNews> = self.heard.iter().collect();
        look(View {
            me: self.me,
            standing: &self.standing,
            held: &self.held,
            own: self.own,
            heard: &heard,
        })
    }

    /// As [`View::chores`].
    pub(super) fn chores(&self) -> Vec<Chore> {
        self.look(|view| view.chores())
    }

    /// As [`View::follows`].
    pub(super) fn follows(&self) -> u64 {
        self.look(|view| view.follows())
    }

    /// Whether nothing of the closed segments is missing or too much.
    pub(super) fn is_whole(&self) -> bool {
        self.look(|view| view.lacking().is_empty())
    }

    /// Journals of which something is held behind the end of their last segment, and that end.
    pub(super) fn too_much(&self) -> Vec<(JournalId, Position)> {
        let lacking = self.look(|view| view.lacking()).into_iter();
        let too_much = lacking.filter(|(_, _, has_end)| *has_end);
        too_much.map(|(journal, end, _)| (journal, end)).collect()
    }

    /// As [`View::handed_to_me`].
    pub(super) fn handed_to_me(&self) -> Option<Chore> {
        self.look(|view| view.handed_to_me())
    }

    /// What is held.
    pub(super) fn tips(&self) -> Vec<JournalTip> {
        self.held.iter().map(|held| held.tip).collect()
    }
}

impl Shared {
    /// How things stand for this member now.
    pub(super) fn seen(&self, group: &GroupRuntime) -> Seen {
        let standing = group.standing();
        let journals = standing.group.members.iter().map(|member| member.journal);
        let held = journals
            .filter_map(|journal| self.held_of(&standing, journal))
            .collect();
        let own = standing.group.member(self.id).map(|member| member.own);
        let own = match own.and_then(|own| self.runtime_of(own)) {
            Some(JournalRuntime::Local(_)) => OwnJournal::Open,
            Some(JournalRuntime::Opening(_)) => OwnJournal::Opening,
            Some(JournalRuntime::Copy(_)) => OwnJournal::Resting,
            Some(JournalRuntime::Broken(_)) | None => OwnJournal::Broken,
        };
        let heard = group.heard().into_values();
        let heard = heard.filter(|heard| heard.error.is_none() && heard.since.is_some());
        Seen {
            me: self.id,
            held,
            own,
            heard: heard.filter_map(|heard| heard.news).collect(),
            standing,
        }
    }

    fn held_of(&self, standing: &Standing, journal: JournalId) -> Option<Held> {
        let name = standing.group.name_at(self.id, journal)?;
        let end = standing.end_of(journal);
        let runtime = self.runtime_of(name)?;
        let (reader, tip, epoch, confirmed, term) = match &runtime {
            JournalRuntime::Copy(copy) => {
                let marks = copy.copy.tail().marks();
                let term = copy
                    .copy
                    .term()
                    .filter(|(entry, _)| *entry <= marks.written);
                let term = term.map_or(0, |(_, record)| record.term);
                let epoch = copy.copy.tip_epoch();
                (
                    copy.copy.reader(),
                    marks.written,
                    epoch,
                    marks.settled,
                    term,
                )
            }
            JournalRuntime::Local(local) => {
                let (written, epoch) =
                    (local.journal.tail().marks().written, local.journal.epoch());
                (local.journal.reader(), written, epoch, written, epoch.term)
            }
            JournalRuntime::Opening(opening) => {
                let (tip, epoch) = (opening.tip.sequence, opening.control.epoch);
                (&opening.reader, tip, epoch, tip, 0)
            }
            JournalRuntime::Broken(_) => return None,
        };
        let oldest = reader.oldest();
        let at = |sequence: Sequence| reader.head_at(sequence).ok().flatten();
        let tip = at(tip).map_or(oldest, |head| Position {
            sequence: tip,
            head,
        });
        let tip = JournalTip {
            journal,
            oldest,
            tip,
            epoch,
            confirmed,
        };
        Some(Held {
            tip,
            head_at_end: end.and_then(|end| at(end.sequence)),
            term,
        })
    }

    /// The copy of a journal of the group, or the own one at rest.
    pub(super) fn group_copy(
        &self,
        standing: &Standing,
        journal: JournalId,
    ) -> Option<Arc<CopyRuntime>> {
        let name = standing.group.name_at(self.id, journal)?;
        match self.runtime_of(name)? {
            JournalRuntime::Copy(copy) => Some(copy),
            _ => None,
        }
    }

    /// A journal that a takeover here would need, and that cannot be used: its name, and why.
    pub(super) fn unusable(&self, standing: &Standing) -> Option<(QualifiedName, String)> {
        let own = standing.group.member(self.id).map(|member| member.journal);
        let terms = standing.lineage.records().iter();
        let needed = terms.map(|record| record.journal).chain(own);
        needed
            .filter_map(|journal| standing.group.name_at(self.id, journal))
            .find_map(|name| match self.runtime_of(name)? {
                JournalRuntime::Broken(broken) => Some((name, broken.reason.clone())),
                _ => None,
            })
    }

    /// Brings everything of a group to where its standing wants it.
    ///
    /// Cancel safe: no.
    pub(super) async fn settle(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<(), SystemError> {
        let _turn = group.turn.lock().await;
        let furnished = self.furnish(group).await;
        let trouble = furnished
            .err()
            .map(|error| format!("what the group needs here cannot be made: {error}"));
        if group.set_trouble(trouble.clone())
            && let Some(text) = trouble
        {
            self.post_about("RJN7009", Severity::Alarm, group.name.as_str(), text);
        }
        self.do_chores(group, |_| true).await
    }

    /// Does what is to be done, and what that leads to.
    ///
    /// Cancel safe: no.
    pub(super) async fn do_chores(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        wanted: impl Fn(&Chore) -> bool,
    ) -> Result<(), SystemError> {
        let mut done: Vec<Chore> = Vec::new();
        for _ in 0..TURNS_MAX {
            let chores = self.seen(group).chores();
            self.fence(group);
            // What did not help the last time does not help now.
            let fresh: Vec<Chore> = chores
                .into_iter()
                .filter(|chore| wanted(chore) && !done.contains(chore))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for chore in fresh {
                self.do_chore(group, &chore).await?;
                done.push(chore);
            }
        }
        self.fence(group);
        Ok(())
    }

    async fn do_chore(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        chore: &Chore,
    ) -> Result<(), SystemError> {
        let standing = group.standing();
        match chore {
            Chore::Rest => self.rest_if_not_primary(group).await,
            Chore::SetAside { journal, end } => {
                if let Some(copy) = self.group_copy(&standing, *journal) {
                    self.set_aside_behind(group, &copy, *end).await?;
                }
            }
            Chore::Fetch {
                journal,
                upto,
                from,
            } => {
                for from in from {
                    match self.fetch_from(group, *from, *journal, Some(*upto)).await {
                        Ok(_) => break,
                        Err(error) => {
                            tracing::info!(group = %group.name, %journal, error, "a segment is not complete yet");
                        }
                    }
                }
            }
            Chore::NoteFlushed(term) => group.update(|at| at.flushed = *term)?,
            Chore::Close { journal, upto } => {
                if let Some(copy) = self.group_copy(&standing, *journal) {
                    let (done, answer) = tokio::sync::oneshot::channel();
                    let upto = *upto;
                    copy.tell(CopyEvent::Close { upto, done }).await;
                    drop(answer.await);
                }
            }
            Chore::Feed(members) => self.feed(&standing, members).await,
            Chore::LetOpen => {
                let own = standing.group.member(self.id).map(|member| member.own);
                let runtime = own.and_then(|own| self.runtime_of(own));
                if let Some(JournalRuntime::Opening(opening)) = runtime
                    && !self.is_restored_behind(group, &opening)
                {
                    opening.order(OpenOrder::Contact).await;
                }
            }
            Chore::TakeOverHanded { from, handed, at } => {
                if let Err(error) = self.take_handed(group, *from, *handed, *at).await {
                    tracing::info!(group = %group.name, error, "what was handed over is not taken yet");
                }
            }
        }
        Ok(())
    }

    /// Whether a journal that opens lacks what a member has; an operator is told once.
    fn is_restored_behind(&self, group: &GroupRuntime, opening: &OpeningRuntime) -> bool {
        let asked: Vec<SystemId> = opening.members.iter().map(|member| member.system).collect();
        let seen = self.seen(group);
        let behind = seen.look(|view| view.restored_behind(&asked));
        let text = behind.map(|(who, upto)| {
            let member = seen.standing.group.member(who);
            let name = member.map_or_else(|| who.to_string(), |member| member.name.to_string());
            format!(
                "{} ends here with entry {}, and {name} has it confirmed up to entry {upto}: it was restored from a backup, and \
                 stays closed. takeover, on {name}, goes on with what was answered, and this system follows",
                opening.name, opening.tip.sequence
            )
        });
        if let Some(text) = &text {
            lock(&opening.waits_for).clone_from(text);
        }
        let is_behind = text.is_some();
        if group.set_behind(text.clone())
            && let Some(text) = text
        {
            self.post_about("RJN7011", Severity::Critical, group.name.as_str(), text);
        }
        is_behind
    }

    /// Moves what lies behind the end of a closed segment into an archive.
    async fn set_aside_behind(
        &self,
        group: &GroupRuntime,
        copy: &CopyRuntime,
        end: Position,
    ) -> Result<(), SystemError> {
        let (done, answer) = tokio::sync::oneshot::channel();
        copy.tell(CopyEvent::SetAside { at: end, done }).await;
        match answer.await {
            Ok(Ok(())) | Err(_) => Ok(()),
            // What is confirmed is never cut by itself (I8, ruling 32).
            Ok(Err(text)) => {
                let name = copy.copy.name();
                let text = format!(
                    "{text}. CHGJRN --jrn {name} --open '*ADOPT' sets aside what is too much and follows"
                );
                self.abandon(group, text)
            }
        }
    }

    fn abandon(&self, group: &GroupRuntime, text: String) -> Result<(), SystemError> {
        let stop = Stop::Abandoned { text };
        let told = stop.to_string();
        let fresh = group.update(|at| {
            let fresh = at.stopped.as_ref() != Some(&stop);
            at.stopped = Some(stop);
            fresh
        })?;
        if fresh {
            self.post_about("RJN7006", Severity::Critical, group.name.as_str(), told);
        }
        Ok(())
    }

    /// Whoever follows is fed.
    async fn feed(&self, standing: &Standing, members: &[SystemId]) {
        let own = standing.group.member(self.id).map(|member| member.own);
        let Some(runtime @ JournalRuntime::Local(_)) = own.and_then(|own| self.runtime_of(own))
        else {
            return;
        };
        // Who is to go on in the place of one that a target closed, an operator says: dialing again changes nothing.
        if let JournalRuntime::Local(local) = &runtime
            && local.journal.tail().is_closed()
        {
            return;
        }
        for handle in runtime.links() {
            let mut record = lock(&handle.record).clone();
            let state = handle.status().shown;
            if !members.contains(&record.system) || state.streaming {
                continue;
            }
            // One that an operator made inactive stays so; one that never was active becomes it.
            if !record.active && state.state != LinkState::Inactive {
                continue;
            }
            record.active = true;
            *lock(&handle.record) = record.clone();
            let (done, answer) = tokio::sync::oneshot::channel();
            handle.command(LinkCommand::Nudge { record, done }).await;
            drop(answer.await);
        }
    }

    /// Takes the role that was handed to this member, once everything up to the hand-over entry is here. The turn is held.
    ///
    /// Cancel safe: no.
    pub(super) async fn take_handed(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        from: SystemId,
        handed: HandOver,
        at: Position,
    ) -> Result<(), String> {
        let standing = group.standing();
        let Some(newest) = standing.lineage.newest().copied() else {
            return Ok(());
        };
        // Behind the entry may stand what the journal says of itself.
        let has_all = || {
            let copy = self.group_copy(&standing, newest.journal);
            let copy = copy.filter(|copy| copy.copy.tail().marks().written >= at.sequence);
            let head = copy.and_then(|copy| copy.copy.reader().head_at(at.sequence).ok().flatten());
            head == Some(at.head)
        };
        // What is missing is fetched under the own claim: under the old term only the primary's open journal feeds.
        if standing.promised() <= handed.term {
            let claimed = self.claim(group, handed.term + 1).await;
            claimed.map_err(|error| error.to_string())?;
        }
        if !has_all() {
            self.fetch_from(group, from, newest.journal, None).await?;
        }
        if !has_all() {
            return Err("the copy does not end with the hand-over entry".to_owned());
        }
        let record = self.open_term(group, TermReason::HandedOver).await?;
        let text = format!(
            "this system was handed the role and is primary in term {}; the term before ended with entry {}",
            record.term, at.sequence
        );
        self.post_about("RJN7002", Severity::Info, group.name.as_str(), text);
        self.runtime
            .spawn(open_when_joined(Arc::clone(self), Arc::clone(group)));
        group.wake();
        Ok(())
    }
}
