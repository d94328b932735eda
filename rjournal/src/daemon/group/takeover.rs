//! Room `daemon`, recovery groups: takeover, carried out: everybody is asked, the machine says what follows, claims and promises
//! are durable before they are told. Must not judge.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::collect::Patience;
use super::runtime::GroupRuntime;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::entry::control_entry::SetChange;
use crate::entry::{Proof, Sequence, SystemId, TermClaim, TermReason, Timestamp};
use crate::remote::{GroupNews, MemberRole};
use crate::role::{
    Assessment, Chore, CopySays, MemberTip, Standing, Takeover, TakeoverFacts, TakeoverStep,
    assess, tip_of, to_be_heard,
};

/// An operator's order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TakeoverOrder {
    /// What cannot be heard of may be lost.
    pub(crate) accept_loss: bool,
    /// Only say what is known.
    pub(crate) plan: bool,
    /// How long members are waited for.
    pub(crate) patience: Patience,
}

/// What is known before a takeover.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeoverView {
    /// What may be lost.
    pub assessment: Assessment,
    /// Name of the last known primary.
    pub primary: Option<String>,
    /// When it was heard last; zero for never.
    pub last_contact: Timestamp,
    /// The last entry of its journal that is flushed here.
    pub flushed: Sequence,
    /// How far that is confirmed.
    pub confirmed: Sequence,
    /// The in-sync set as its journal says here, by name.
    pub in_sync: Vec<String>,
    /// Members that answer now, by name.
    pub heard: Vec<String>,
    /// Members that do not, by name.
    pub silent: Vec<String>,
}

/// What a takeover did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TakeoverReport {
    /// What was known when it began.
    pub view: TakeoverView,
    /// The term this system opened; nothing when only the view was wanted.
    pub term: Option<u64>,
    /// From the order to the first deposit that would be taken, in milliseconds.
    pub takeover_ms: u64,
    /// Entries fetched from other members.
    pub fetched: u64,
    /// Whether the old primary answered, and was fenced.
    pub fenced_primary: bool,
    /// The last entry taken over.
    pub last: Sequence,
}

impl Shared {
    /// What is known of a group's primary.
    pub(crate) fn takeover_view(&self, group: &GroupRuntime, heard: &[SystemId]) -> TakeoverView {
        let standing = group.standing();
        let others: Vec<SystemId> = standing
            .group
            .others(self.id)
            .map(|member| member.system)
            .collect();
        let newest = standing.lineage.newest().copied();
        let copy = newest.and_then(|newest| self.group_copy(&standing, newest.journal));
        let set: Option<SetChange> = copy.as_ref().and_then(|copy| Some(copy.copy.set()?.1));
        let says = self.copy_says(&standing);
        let assessment = assess(&standing, self.id, &others, heard, says);
        let name = |system: &SystemId| {
            let member = standing.group.member(*system);
            member.map_or_else(|| system.to_string(), |member| member.name.to_string())
        };
        let last_contact = newest
            .and_then(|newest| group.heard().get(&newest.primary).map(|heard| heard.at))
            .into_iter()
            .chain(copy.as_ref().map(|copy| copy.status().heard_at))
            .max()
            .unwrap_or(Timestamp::ZERO);
        let marks = copy.map(|copy| copy.copy.tail().marks());
        TakeoverView {
            primary: assessment.primary.as_ref().map(name),
            assessment,
            last_contact,
            flushed: marks.map_or(Sequence::NONE, |marks| marks.written),
            confirmed: marks.map_or(Sequence::NONE, |marks| marks.settled),
            in_sync: set
                .iter()
                .flat_map(|set| &set.members)
                .map(|member| name(&member.system))
                .collect(),
            heard: heard.iter().map(name).collect(),
            silent: others
                .iter()
                .filter(|other| !heard.contains(other))
                .map(name)
                .collect(),
        }
    }

    /// Becomes primary.
    ///
    /// Cancel safe: no; what was claimed stays claimed.
    pub(crate) async fn take_over(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        order: TakeoverOrder,
    ) -> Result<TakeoverReport, CommandError> {
        let began = self.clock.now();
        // With an operator's word nothing depends on who answers now: it is found out while promises are asked for.
        let known = order.accept_loss && !order.plan;
        let heard = if known {
            Vec::new()
        } else {
            self.ask_all(group, order.patience).await
        };
        let view = self.takeover_view(group, &heard);
        self.require_takeover(group)?;
        if order.plan {
            return Ok(report(view, None));
        }
        if !view.assessment.doubts.is_empty() && !order.accept_loss {
            return Err(in_doubt(&view, self.clock.wall()));
        }
        let _turn = group.turn.lock().await;
        self.require_takeover(group)?;
        group.set_doing(Some("takeover".to_owned()));
        let allowed = self.before_takeover(group).await;
        let outcome = match allowed.and_then(|()| self.require_takeover(group)) {
            Ok(()) => {
                let patience = if known {
                    order.patience
                } else {
                    order.patience.again()
                };
                let order = TakeoverOrder { patience, ..order };
                self.run_takeover(group, order).await
            }
            Err(refused) => Err(refused),
        };
        self.after_takeover(group, &outcome);
        group.set_doing(None);
        let (takeover, fetched) = outcome?;
        let silent = takeover.missing();
        let view = if known {
            let answered: Vec<SystemId> = group.look(|at| {
                let others = at.group.others(self.id).map(|member| member.system);
                others.filter(|other| !silent.contains(other)).collect()
            });
            TakeoverView {
                heard: names(group, &answered),
                silent: names(group, &silent),
                ..view
            }
        } else {
            view
        };
        let standing = group.standing();
        let term = standing.lineage.term();
        let closes = |chore: &Chore| matches!(chore, Chore::Close { .. });
        if let Err(error) = self.do_chores(group, closes).await {
            tracing::warn!(group = %group.name, %error, "what the close record says is confirmed later");
        }
        let mut done = report(view, Some(term));
        done.takeover_ms = self.clock.now().since(began).as_millis() as u64;
        done.fetched = fetched;
        done.fenced_primary = takeover.fenced_primary;
        let closed = standing.lineage.newest().and_then(|newest| newest.closed);
        done.last = closed.map_or(Sequence::NONE, |closed| closed.last.sequence);
        let text = format!(
            "this system took over and is primary in term {term}, after {} ms; the term before ended with entry {}",
            done.takeover_ms, done.last
        );
        self.post_about("RJN7002", Severity::Alarm, group.name.as_str(), text);
        group.wake();
        Ok(done)
    }

    /// What the copy of the newest term's journal says of answers.
    fn copy_says(&self, standing: &Standing) -> Option<CopySays> {
        let newest = standing.lineage.newest()?;
        let copy = self.group_copy(standing, newest.journal)?;
        let set = copy.copy.set().map(|(_, set)| set);
        let mut members = set.iter().flat_map(|set| &set.members);
        let written = copy.copy.tail().marks().written;
        let term = copy.copy.term().filter(|(entry, _)| *entry <= written);
        Some(CopySays {
            term: term.map_or(0, |(_, record)| record.term),
            in_set: members.any(|member| member.system == self.id),
            local_answers_possible: copy.copy.local_answers_possible(self.id),
        })
    }

    fn require_takeover(&self, group: &GroupRuntime) -> Result<(), CommandError> {
        let standing = group.standing();
        let refuse = |id: &str, text: String| Err(CommandError::refused(id, text));
        match standing.role(self.id) {
            MemberRole::Primary if self.is_group_open(group) => {
                return refuse(
                    "RJN7101",
                    format!(
                        "{} is the primary of group {} already",
                        self.name, group.name
                    ),
                );
            }
            MemberRole::Primary => {
                return refuse(
                    "RJN7102",
                    format!(
                        "{} is the primary of group {}; its journal is not open: WRKJRNA says what it waits for",
                        self.name, group.name
                    ),
                );
            }
            _ => {}
        }
        if let Some(crate::role::Stop::Abandoned { .. }) = standing.stopped {
            return refuse(
                "RJN7006",
                standing
                    .stopped
                    .map(|stop| stop.to_string())
                    .unwrap_or_default(),
            );
        }
        // What it holds is not what it has flushed and said to have (failures.md PRO-3): nothing is claimed for less.
        if let Some((name, why)) = self.unusable(&standing) {
            let text = format!(
                "journal {name} of group {} cannot be used here: {why}. Nothing was changed",
                group.name
            );
            let help = format!(
                "RPRJRN --jrn {name} gets from another system what is damaged; or take over on a member whose journals are whole"
            );
            return Err(CommandError::refused("RJN7103", text).help(help));
        }
        let tips = self.seen(group).tips();
        if tip_of(&standing.lineage, &tips) == MemberTip::default() {
            let text = format!(
                "{} holds nothing of the group's history: there is nothing to take over",
                self.name
            );
            return refuse("RJN7103", text);
        }
        Ok(())
    }

    async fn run_takeover(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        order: TakeoverOrder,
    ) -> Result<(Takeover, u64), CommandError> {
        let facts = {
            let standing = group.standing();
            let others = standing.group.others(self.id).map(|member| member.system);
            TakeoverFacts {
                me: self.id,
                others: others.collect(),
                term: standing.next_term(self.id, None),
                accept_loss: order.accept_loss,
            }
        };
        let mut takeover = Takeover::new(facts);
        let mut fetched = 0;
        let mut told: std::collections::BTreeMap<SystemId, GroupNews> =
            std::collections::BTreeMap::new();
        loop {
            let standing = group.standing();
            let says = self.copy_says(&standing);
            takeover.handle_doubted(to_be_heard(&standing, self.id, says));
            match takeover.step() {
                TakeoverStep::Claim(term) => {
                    self.claim(group, term).await?;
                    takeover.handle_claimed(self.own_tip(group));
                }
                TakeoverStep::Ask(members) => {
                    takeover.handle_asked();
                    let patience = order.patience;
                    self.ask_promises(group, &mut takeover, members, patience, &mut told)
                        .await;
                }
                TakeoverStep::Fetch(from) => {
                    let before = self.own_tip(group).sequence;
                    let news = told.get(&from);
                    self.fetch_tail(group, from, news).await;
                    let own = self.own_tip(group);
                    fetched += own.sequence.entries_since(before);
                    takeover.handle_fetched(from, own);
                }
                TakeoverStep::Wait => {
                    // Everybody who was asked has answered or was given up.
                    for system in takeover.missing() {
                        takeover.handle_unreachable(system);
                    }
                }
                TakeoverStep::Open => {
                    let opened = self.open_term(group, TermReason::TakenOver).await;
                    opened.map_err(|text| CommandError::refused("RJN7104", text))?;
                    return Ok((takeover, fetched));
                }
                TakeoverStep::NeedsWord(missing) => {
                    return Err(Self::needs_word(group, &missing, takeover.term()));
                }
                TakeoverStep::GivenUp { by, term } => {
                    let text = format!(
                        "given up: {by} has promised term {term} already. What was claimed here stands; if that system is not \
                         to be primary, take over again"
                    );
                    return Err(CommandError::refused("RJN7104", text));
                }
            }
        }
    }

    fn needs_word(group: &GroupRuntime, missing: &[SystemId], term: u64) -> CommandError {
        let names = names(group, missing);
        let text = format!(
            "{} did not answer: answers may rest on them alone. Nothing is open; every term below {term} is fenced here",
            names.join(" and ")
        );
        CommandError::refused("RJN7105", text)
            .help("bring one of them back and take over again, or give --accept-loss")
    }

    /// How far this member is.
    pub(super) fn own_tip(&self, group: &GroupRuntime) -> MemberTip {
        let standing = group.standing();
        tip_of(&standing.lineage, &self.seen(group).tips())
    }

    /// Claims a term: durable, and everything lower fenced here, when this comes back.
    pub(super) async fn claim(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        term: u64,
    ) -> Result<TermClaim, CommandError> {
        let mut claim = TermClaim {
            group: group.id,
            term,
            system: self.id,
            proof: Proof::NONE,
        };
        self.identity().sign(&mut claim)?;
        {
            let _seat = group.seat.lock().await;
            group.update(|at| {
                at.stopped = None;
                at.handle_claim(self.id, claim)
            })?;
            if !group.look(|at| at.has_promised(&claim)) {
                let text = "another member has claimed a higher term meanwhile".to_owned();
                return Err(CommandError::refused("RJN7104", text));
            }
        }
        self.rest_if_not_primary(group).await;
        self.fence(group);
        self.quiesce(group).await;
        Ok(claim)
    }

    /// Fetches what a member has more: first what its lineage closed, then what the last term left.
    async fn fetch_tail(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        from: SystemId,
        news: Option<&GroupNews>,
    ) {
        let closed = |chore: &Chore| matches!(chore, Chore::Fetch { .. } | Chore::SetAside { .. });
        if let Err(error) = self.do_chores(group, closed).await {
            tracing::warn!(group = %group.name, %error, "earlier terms are not complete");
        }
        let lineage = group.look(|at| at.lineage.clone());
        let tips = news.map(|news| news.tips.clone()).unwrap_or_default();
        let held = lineage.held(|journal| {
            let tip = tips.iter().find(|tip| tip.journal == journal);
            tip.map(|tip| tip.tip.sequence)
        });
        if let Some(newest) = held.newest()
            && let Err(error) = self.fetch_from(group, from, newest.journal, None).await
        {
            tracing::warn!(group = %group.name, %error, "a tail was not fetched");
        }
    }
}

fn names(group: &GroupRuntime, systems: &[SystemId]) -> Vec<String> {
    group.look(|at| {
        let found = systems.iter().filter_map(|system| at.group.member(*system));
        found.map(|member| member.name.to_string()).collect()
    })
}

fn report(view: TakeoverView, term: Option<u64>) -> TakeoverReport {
    TakeoverReport {
        view,
        term,
        takeover_ms: 0,
        fetched: 0,
        fenced_primary: false,
        last: Sequence::NONE,
    }
}

/// The refusal of a takeover that may lose answers, before anything is done.
fn in_doubt(view: &TakeoverView, now: Timestamp) -> CommandError {
    let contact = if view.last_contact == Timestamp::ZERO {
        "it was never heard".to_owned()
    } else {
        format!(
            "it was heard last, {} s ago",
            now.since(view.last_contact).as_secs()
        )
    };
    let primary = view.primary.clone().unwrap_or_default();
    let silent = view.silent.join(" and ");
    let unheard = view
        .assessment
        .doubts
        .iter()
        .any(|doubt| matches!(doubt, crate::role::Doubt::Unheard(_)));
    let first = if unheard {
        format!("{silent} do not answer: SYNC answers may rest on them alone")
    } else {
        "SYNC answers: kept".to_owned()
    };
    let others =
        view.assessment.doubts.iter().filter_map(|doubt| {
            match doubt {
        crate::role::Doubt::Unheard(_) => None,
        crate::role::Doubt::LocalAnswers => Some(format!(
            "LOCAL answers of {primary} since {contact}: cannot be known here"
        )),
        crate::role::Doubt::Claimed(_) => Some(
            "a later term was claimed elsewhere and may have been opened: LOCAL answers in it cannot be known here"
                .to_owned(),
        ),
        crate::role::Doubt::NotInSync => Some(
            "this system was not in the in-sync set: what others acknowledged may be missing here"
                .to_owned(),
        ),
    }
        });
    let said: Vec<String> = std::iter::once(first).chain(others).collect();
    let text = format!(
        "a takeover may lose answers. {}. Nothing was changed",
        said.join(". ")
    );
    CommandError::new(ErrorKind::Refused, "RJN7105", text)
        .help("while the primary lives: switch. If it is lost: takeover --accept-loss")
}
