//! Room `daemon`, recovery groups: the planned switch, carried out: deposits are drained, the hand-over entry is flushed here and
//! there, the other opens its term. Must not judge: the switch machine does.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::runtime::GroupRuntime;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared, lock};
use crate::daemon::task::local::LocalRuntime;
use crate::entry::{HandOver, Moment, Position, Sequence, SystemId, TermReason};
use crate::journal::{Drain, Limit};
use crate::remote::{MemberRole, PartnerReply, PartnerRequest, PromiseAsked};
use crate::role::{NotReady, Switch, SwitchFacts, SwitchMarks, SwitchStep, ready};

/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The new primary has so long to open before this command comes back; it goes on by itself.
const TAKE_MAX: Duration = Duration::from_secs(10);

/// The same, of one that did not acknowledge the hand-over entry either.
const TAKE_LATE: Duration = Duration::from_secs(1);

/// What has no event of its own is looked at this often.
const LOOK: Duration = Duration::from_millis(2);

/// An operator's order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwitchOrder {
    /// Who is to be primary; the first backup that can be when not given.
    pub(crate) to: Option<SystemId>,
    /// Only say whether it could be done.
    pub(crate) plan: bool,
    /// How long open commit cycles may take to decide.
    pub(crate) drain: Duration,
    /// How many entries a store may be behind when it begins.
    pub(crate) behind_max: u64,
}

/// What a switch did, or found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SwitchReport {
    /// Who is to be primary.
    pub to: String,
    /// What stands against it.
    pub against: Vec<NotReady>,
    /// The term it opened; nothing when only asked, or when it has not opened yet.
    pub term: Option<u64>,
    /// How long no deposit was taken anywhere, in milliseconds.
    pub switch_pause_ms: u64,
    /// The last entry of the term before.
    pub last: Sequence,
}

/// A hand-over entry that is flushed.
#[derive(Debug, Clone, Copy)]
struct Handed {
    /// When deposits were no longer taken.
    began: Moment,
    /// The entry.
    entry: Sequence,
    /// Whether the other has it too.
    acknowledged: bool,
}

impl Shared {
    /// Whether the role can be handed to a member now.
    async fn switch_facts(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        to: SystemId,
        order: &SwitchOrder,
    ) -> SwitchFacts {
        let news = self.ask_where(group, to, ANSWER_MAX).await.ok();
        let standing = group.standing();
        let local = self.own_local(group);
        let key = local.as_ref().and_then(|local| {
            let links = local.links.all();
            let record = links.iter().map(|link| lock(&link.record).clone());
            let mut to_it = record.filter(|record| record.system == to);
            to_it.next().map(|record| crate::remote::MemberKey {
                system: record.system,
                journal: record.target,
            })
        });
        let in_sync = match (&local, key) {
            (Some(local), Some(key)) => local.is_member(key),
            _ => false,
        };
        let applied = news.as_ref().and_then(|news| news.applied);
        let released = local
            .as_ref()
            .map_or(Sequence::NONE, |local| local.journal.released());
        let own = standing.group.member(self.id).map(|member| member.journal);
        let behind = applied.map(|(journal, applied)| {
            if Some(journal) == own {
                released.entries_since(applied)
            } else {
                u64::MAX
            }
        });
        let has_store = self.applied_of(&standing).is_some();
        let tried = news
            .as_ref()
            .and_then(|news| news.paths.iter().find(|path| path.to == self.id));
        let way_back = tried.is_some_and(|path| path.error.is_none());
        SwitchFacts {
            open: standing.role(self.id) == MemberRole::Primary && self.is_group_open(group),
            member: to != self.id && standing.group.member(to).is_some(),
            reachable: news.is_some(),
            follows: news.is_some_and(|news| news.follows == standing.lineage.term()),
            in_sync: in_sync || !standing.group.sync,
            behind,
            has_store,
            way_back,
            behind_max: order.behind_max,
        }
    }

    pub(super) fn own_local(&self, group: &GroupRuntime) -> Option<Arc<LocalRuntime>> {
        let own = group.look(|at| at.group.member(self.id).map(|member| member.own))?;
        match self.runtime_of(own)? {
            JournalRuntime::Local(local) => Some(local),
            _ => None,
        }
    }

    /// Hands the role over.
    ///
    /// Cancel safe: no; what was begun goes on by itself.
    pub(crate) async fn hand_over(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        order: SwitchOrder,
    ) -> Result<SwitchReport, CommandError> {
        let standing = group.standing();
        let role = standing.role(self.id);
        if role == MemberRole::HandedOver {
            return self.go_on_handing(group).await;
        }
        if role != MemberRole::Primary {
            let primary = standing
                .promised_to()
                .and_then(|system| standing.group.member(system));
            let name = primary.map_or_else(
                || "another member".to_owned(),
                |member| member.name.to_string(),
            );
            let text = format!(
                "{} is not the primary of group {}; {name} is",
                self.name, group.name
            );
            return Err(CommandError::refused("RJN7110", text).help("give the command there"));
        }
        let candidates: Vec<SystemId> = match order.to {
            Some(to) => vec![to],
            None => standing
                .group
                .others(self.id)
                .map(|member| member.system)
                .collect(),
        };
        let mut found = None;
        for to in candidates {
            let against = ready(&self.switch_facts(group, to, &order).await);
            let better = found
                .as_ref()
                .is_none_or(|(_, worse): &(SystemId, Vec<NotReady>)| {
                    !worse.is_empty() && against.is_empty()
                });
            if better {
                found = Some((to, against));
            }
        }
        let Some((to, against)) = found else {
            return Err(CommandError::refused(
                "RJN7111",
                "the group has no other member",
            ));
        };
        let name = standing
            .group
            .member(to)
            .map_or_else(|| to.to_string(), |member| member.name.to_string());
        let mut report = SwitchReport {
            to: name,
            against,
            term: None,
            switch_pause_ms: 0,
            last: Sequence::NONE,
        };
        if order.plan {
            return Ok(report);
        }
        if !report.against.is_empty() {
            return Err(not_ready(&report));
        }
        let _turn = group.turn.lock().await;
        group.set_doing(Some(format!("switch to {}", report.to)));
        group.set_giving_up(false);
        let outcome = match self.before_switch(group, to).await {
            Ok(()) => self.run_switch(group, to, &order).await,
            Err(refused) => Err(refused),
        };
        self.after_switch(group, to, &outcome);
        group.set_doing(None);
        let handed = outcome?;
        let Handed { began, entry, .. } = handed;
        report.last = entry;
        let patience = if handed.acknowledged {
            TAKE_MAX
        } else {
            TAKE_LATE
        };
        let opened = self.tell_handed_over(group, to, patience).await;
        report.switch_pause_ms = self.clock.now().since(began).as_millis() as u64;
        report.term = opened;
        group.wake();
        if opened.is_none() {
            let text = format!(
                "the role is handed over to {}, which has not opened yet; it does so by itself when it is reached",
                report.to
            );
            return Err(CommandError::new(ErrorKind::Unreachable, "RJN7112", text)
                .help("give the command again to look, or switch --abort to take it back while it can be reached"));
        }
        let text = format!(
            "the role was handed over to {} after entry {}; no deposit was taken for {} ms",
            report.to, report.last, report.switch_pause_ms
        );
        self.post_about("RJN7001", Severity::Info, group.name.as_str(), text);
        Ok(report)
    }

    /// Drains, and flushes the hand-over entry on both sides, or, where the other is lost behind it, on this one.
    async fn run_switch(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        to: SystemId,
        order: &SwitchOrder,
    ) -> Result<Handed, CommandError> {
        let Some(local) = self.own_local(group) else {
            return Err(CommandError::refused("RJN7110", "the journal is not open"));
        };
        let journal = &local.journal;
        let patience = Duration::from_millis(journal.attributes().sync_timeout_ms);
        let began = self.clock.now();
        let mut switch = Switch::new(to, order.drain, patience, began);
        let intake = journal.intake();
        intake.set_drain(Some(Drain::OpenCycles));
        let mut handed = Sequence::NONE;
        let mut given_up = false;
        loop {
            let news = journal.tail().listen(Limit::Settled);
            let marks = Self::switch_marks(&local, to);
            let now = self.clock.now();
            if group.is_giving_up() && !given_up {
                given_up = true;
                switch.abort();
            }
            match switch.step(marks, now) {
                SwitchStep::Drain | SwitchStep::Wait => {
                    drop(tokio::time::timeout(LOOK, news).await);
                }
                SwitchStep::Close => intake.set_drain(Some(Drain::Nothing)),
                SwitchStep::HandOver => {
                    let entry = HandOver {
                        group: group.id,
                        term: journal.epoch().term,
                        to,
                    };
                    handed = journal.deposit_hand_over(&entry, self.clock.wall());
                    switch.handle_handing(handed);
                }
                SwitchStep::Resume => {
                    intake.set_drain(None);
                    let why = if given_up {
                        "it was given up"
                    } else {
                        "it did not acknowledge everything in time"
                    };
                    let text = format!("{why}; deposits go on, nothing was changed");
                    return Err(CommandError::refused("RJN7113", text));
                }
                SwitchStep::Tell => {
                    let head = journal.reader().head_at(handed).ok().flatten();
                    let Some(head) = head else {
                        let text = "the hand-over entry cannot be read back".to_owned();
                        return Err(CommandError::new(ErrorKind::Damaged, "RJN1002", text));
                    };
                    let entry = HandOver {
                        group: group.id,
                        term: journal.epoch().term,
                        to,
                    };
                    let at = Position {
                        sequence: handed,
                        head,
                    };
                    // Persist, then say.
                    group.update(|standing| standing.handed_over = Some((entry, at)))?;
                    return Ok(Handed {
                        began,
                        entry: handed,
                        acknowledged: marks.acknowledged >= handed,
                    });
                }
                SwitchStep::Done => {
                    let text = "another member opened a later term meanwhile";
                    return Err(CommandError::refused("RJN7104", text));
                }
            }
            if group.look(|at| at.role(self.id)) == MemberRole::Backup {
                switch.handle_opened();
            }
        }
    }

    fn switch_marks(local: &LocalRuntime, to: SystemId) -> SwitchMarks {
        let journal = &local.journal;
        let links = local.links.all();
        let acknowledged = links
            .iter()
            .filter(|link| lock(&link.record).system == to)
            .map(|link| link.status().acknowledged)
            .max();
        SwitchMarks {
            deposited: journal.intake().last(),
            written: journal.tail().marks().written,
            released: journal.released(),
            acknowledged: acknowledged.unwrap_or(Sequence::NONE),
            cycles_open: journal.intake().has_open_cycles(),
        }
    }

    /// Tells the system that was handed the role, until it has opened. Gives the term it opened.
    async fn tell_handed_over(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        to: SystemId,
        patience: Duration,
    ) -> Option<u64> {
        let until = self.clock.now() + patience;
        let mine = group.look(|at| at.lineage.term());
        loop {
            if let Ok(news) = self.ask_where(group, to, patience.min(ANSWER_MAX)).await {
                let term = news.lineage.last().map_or(0, |record| record.term);
                if term > mine && news.open {
                    return Some(term);
                }
            }
            if self.clock.now() >= until || group.is_giving_up() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn go_on_handing(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<SwitchReport, CommandError> {
        let standing = group.standing();
        let Some((handed, at)) = standing.handed_over else {
            return Err(CommandError::refused("RJN7110", "nothing is handed over"));
        };
        let name = standing
            .group
            .member(handed.to)
            .map_or_else(|| handed.to.to_string(), |member| member.name.to_string());
        let opened = self.tell_handed_over(group, handed.to, TAKE_MAX).await;
        group.wake();
        let Some(term) = opened else {
            let text = format!("the role is handed over to {name}, which is not reached");
            return Err(CommandError::new(ErrorKind::Unreachable, "RJN7112", text).help(
                "it takes the role by itself when it is; switch --abort takes it back while it can be reached; takeover, if it is lost",
            ));
        };
        Ok(SwitchReport {
            to: name,
            against: Vec::new(),
            term: Some(term),
            switch_pause_ms: 0,
            last: at.sequence,
        })
    }

    /// Takes a hand-over back, in contact with the system that was to open.
    ///
    /// Cancel safe: no.
    pub(crate) async fn abort_switch(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<u64, CommandError> {
        // One that is under way waits no longer: before its hand-over entry it ends, behind it the other is asked.
        let under_way =
            group.doing().is_some() && group.look(|at| at.role(self.id)) == MemberRole::Primary;
        group.set_giving_up(true);
        let _turn = group.turn.lock().await;
        group.set_giving_up(false);
        let standing = group.standing();
        if under_way && standing.role(self.id) == MemberRole::Primary {
            return Ok(standing.lineage.term());
        }
        let Some((handed, _)) = standing
            .handed_over
            .filter(|_| standing.role(self.id) == MemberRole::HandedOver)
        else {
            let text = format!(
                "nothing is handed over by {} in group {}",
                self.name, group.name
            );
            return Err(CommandError::refused("RJN7114", text));
        };
        let term = standing.next_term(self.id, None);
        let mut claim = crate::entry::TermClaim {
            group: group.id,
            term,
            system: self.id,
            proof: crate::entry::Proof::NONE,
        };
        self.identity().sign(&mut claim)?;
        let asked = PromiseAsked { claim, abort: true };
        let request = PartnerRequest::Promise(Box::new(asked));
        let told = match self.ask_member(handed.to, request, ANSWER_MAX).await {
            Ok(PartnerReply::Promise(told)) => told,
            Ok(_) => return Err(CommandError::refused("RJN7115", "it said something else")),
            Err(error) => {
                let text = format!("the system that was to open is not reached: {error}");
                return Err(
                    CommandError::new(ErrorKind::Unreachable, "RJN7115", text).help(
                        "it may have opened: only in contact with it a hand-over is taken back",
                    ),
                );
            }
        };
        self.take_news(group, handed.to, &told.news)?;
        if !told.promised {
            let text = "the other system opened its term already: it is primary";
            return Err(CommandError::refused("RJN7116", text));
        }
        self.claim(group, term).await?;
        let opened = self.open_term(group, TermReason::TakenBack).await;
        let record = opened.map_err(|text| CommandError::refused("RJN7104", text))?;
        let text = format!(
            "the hand-over was taken back; this system goes on as primary in term {}",
            record.term
        );
        self.post_about("RJN7001", Severity::Alarm, group.name.as_str(), text);
        group.wake();
        Ok(record.term)
    }
}

fn not_ready(report: &SwitchReport) -> CommandError {
    let reasons: Vec<String> = report
        .against
        .iter()
        .map(|against| match against {
            NotReady::NoMember => "it is no other member of the group".to_owned(),
            NotReady::Unreachable => "it does not answer".to_owned(),
            NotReady::DoesNotFollow => "it does not follow this term yet".to_owned(),
            NotReady::NotInSync => "it is not in the in-sync set".to_owned(),
            NotReady::ApplyBehind(behind) if *behind == u64::MAX => {
                "its store is still in an earlier term".to_owned()
            }
            NotReady::ApplyBehind(behind) => format!("its store is {behind} entries behind"),
            NotReady::NoApply => "no apply job there says where its store is".to_owned(),
            NotReady::NoWayBack => "it could not feed this system afterwards".to_owned(),
            NotReady::NotPrimary => "this system's journal takes no deposits".to_owned(),
        })
        .collect();
    let text = format!("{} is not ready: {}", report.to, reasons.join("; "));
    CommandError::refused("RJN7111", text).help("DSPCRG shows all members; nothing was changed")
}
