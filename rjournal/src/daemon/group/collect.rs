//! Room `daemon`, recovery groups: all other members are asked at once, for where they stand or for their promise, and each is
//! waited for as long as its answer may matter. Must not judge what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::news::claim_is_proven;
use super::runtime::GroupRuntime;
use crate::daemon::system::Shared;
use crate::entry::SystemId;
use crate::remote::{GroupNews, PartnerReply, PartnerRequest, PromiseAsked};
use crate::role::{Takeover, tip_of};

/// Members may take so long where no operator says otherwise.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The last one that is missing is to be reached within this; what it takes to answer then is another matter.
const REACH_MAX: Duration = Duration::from_millis(500);
/// The same for one that was not reached when it was asked before.
const SILENT_MAX: Duration = Duration::from_millis(150);

/// How long members are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    answer: Duration,
    reach: Duration,
    /// As `reach`, for one that was not reached when it was asked before.
    silent: Duration,
}

impl Patience {
    /// As an operator says, or as usual.
    pub(crate) fn new(wait: Option<Duration>) -> Self {
        Self {
            answer: wait.unwrap_or(ANSWER_MAX),
            reach: wait.unwrap_or(REACH_MAX),
            silent: wait.unwrap_or(SILENT_MAX),
        }
    }

    /// Members are asked again: one that was silent a moment ago is not waited for as long a second time.
    pub(super) fn again(self) -> Self {
        Self {
            silent: self.silent.min(SILENT_MAX),
            ..self
        }
    }
}

/// A member that has not answered yet.
#[derive(Debug)]
struct Asked {
    /// Whether there is a connection to it.
    reached: Arc<AtomicBool>,
    /// Whether it could not be asked the last time.
    was_silent: bool,
}

/// Members that were asked.
#[derive(Debug)]
struct Asking {
    tasks: JoinSet<(SystemId, Result<PartnerReply, String>)>,
    open: BTreeMap<SystemId, Asked>,
    /// Members that answered nothing, or nothing that counts.
    lost: usize,
    began: Instant,
    patience: Patience,
}

impl Asked {
    fn is_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }
}

impl Asking {
    /// The next answer; nothing when all have answered, or those left are waited for no longer.
    async fn next(&mut self) -> Option<(SystemId, Result<PartnerReply, String>)> {
        loop {
            // Where one member alone is missing nothing that was answered SYNC is (ruling 26). It is waited for if it lives: then
            // it is fenced at once, and what only it has is kept.
            let alone = self.open.len() + self.lost <= 1;
            let unreached = self.open.values().find(|asked| !asked.is_reached());
            let (patience, last) = match unreached.filter(|_| alone) {
                Some(asked) if asked.was_silent => (self.patience.silent, true),
                Some(_) => (self.patience.reach, true),
                None => (self.patience.answer, false),
            };
            let until = self.began + patience;
            match tokio::time::timeout_at(until, self.tasks.join_next()).await {
                Ok(Some(Ok((from, answer)))) => {
                    self.open.remove(&from);
                    self.lost += usize::from(answer.is_err());
                    return Some((from, answer));
                }
                // One that ended without an answer stays among those that have given none.
                Ok(Some(Err(error))) => tracing::warn!(%error, "a member was not asked"),
                Err(_) if last && self.open.values().any(Asked::is_reached) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Shared {
    fn ask_at_once(
        self: &Arc<Self>,
        group: &GroupRuntime,
        members: Vec<SystemId>,
        request: impl Fn() -> PartnerRequest,
        patience: Patience,
    ) -> Asking {
        let heard = group.heard();
        let (mut tasks, mut open) = (JoinSet::new(), BTreeMap::new());
        for to in members {
            let reached = Arc::new(AtomicBool::new(false));
            let before = heard.get(&to);
            let asked = Asked {
                reached: Arc::clone(&reached),
                was_silent: before.is_some_and(|heard| heard.error.is_some()),
            };
            open.insert(to, asked);
            let (shared, request) = (Arc::clone(self), request());
            let asked = async move {
                let note = || reached.store(true, Ordering::Relaxed);
                let answer = shared.ask_member_noting(to, request, patience.answer, note);
                (to, answer.await)
            };
            tasks.spawn_on(asked, &self.runtime);
        }
        Asking {
            tasks,
            open,
            lost: 0,
            began: Instant::now(),
            patience,
        }
    }

    /// Asks all other members where they stand; gives those that answered.
    ///
    /// Cancel safe: no.
    pub(super) async fn ask_all(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        patience: Patience,
    ) -> Vec<SystemId> {
        let others = group.look(|at| {
            let others = at.group.others(self.id).map(|member| member.system);
            others.collect()
        });
        let request = || PartnerRequest::Group(Box::new(self.group_news(group)));
        let mut asking = self.ask_at_once(group, others, request, patience);
        let mut heard = Vec::new();
        while let Some((from, answer)) = asking.next().await {
            let told = self.take_where(group, from, answer);
            if told.is_ok() {
                heard.push(from);
            }
        }
        for from in asking.open.into_keys() {
            let text = "it did not answer in time".to_owned();
            let (wall, now) = (self.clock.wall(), self.clock.now());
            group.note_heard(from, Err(text), wall, now);
        }
        heard
    }

    /// Asks members for their promise of this member's claim; tells the takeover what they say, and keeps it in `told`. Who does
    /// not answer is told to it as unreachable.
    ///
    /// Cancel safe: no.
    pub(super) async fn ask_promises(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        takeover: &mut Takeover,
        members: Vec<SystemId>,
        patience: Patience,
        told: &mut BTreeMap<SystemId, GroupNews>,
    ) {
        let Some(claim) = group.look(|at| at.claim) else {
            return;
        };
        let request = || {
            let abort = false;
            PartnerRequest::Promise(Box::new(PromiseAsked { claim, abort }))
        };
        let primary = group.look(|at| at.lineage.newest().map(|newest| newest.primary));
        let mut asking = self.ask_at_once(group, members, request, patience);
        while let Some((from, answer)) = asking.next().await {
            let Ok(PartnerReply::Promise(said)) = answer else {
                takeover.handle_unreachable(from);
                continue;
            };
            if let Err(error) = self.take_news(group, from, &said.news) {
                tracing::warn!(group = %group.name, %error, "what a member said cannot be kept");
                takeover.handle_unreachable(from);
                continue;
            }
            // What was said is of this claim: a promise counts with the tip behind it (ruling 30).
            let is_own = group.look(|at| at.has_promised(&claim)) && takeover.is_of(&claim);
            if !said.promised || !is_own {
                let claimed = said.news.claim.map_or(0, |claim| claim.term);
                let opened = said.news.lineage.last().map_or(0, |record| record.term);
                takeover.handle_refused(from, claimed.max(opened));
                continue;
            }
            // Who passed whom is known to those who were asked.
            let definition = group.look(|at| at.group.clone());
            let proven = said.passed.iter().copied();
            let proven = proven.filter(|claim| claim_is_proven(&definition, claim));
            if let Err(error) = group.update(|at| at.handle_passed(proven)) {
                tracing::warn!(group = %group.name, %error, "what a member said cannot be kept");
                takeover.handle_unreachable(from);
                continue;
            }
            if said.was_open && primary == Some(from) {
                takeover.fenced_primary = true;
            }
            let lineage = group.look(|at| at.lineage.clone());
            let tip = tip_of(&lineage, &said.news.tips);
            let handed = said.news.handed_over.map(|(handed, _)| handed);
            takeover.handle_promised(from, tip, handed);
            told.insert(from, said.news);
        }
        for from in asking.open.into_keys() {
            takeover.handle_unreachable(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: [u8; 16] = [7; 16];

    fn member(number: u8) -> SystemId {
        let mut id = ID;
        id[0] = number;
        SystemId::from_bytes(id)
    }

    /// A member: whether it is reached, was silent before, and after how many milliseconds it answers, if it does.
    type Member = (bool, bool, Option<u64>);

    /// Asks members; gives who answered, and how many milliseconds that took.
    async fn asked(members: &[Member], patience: Patience) -> (Vec<SystemId>, u128) {
        let began = Instant::now();
        let (mut tasks, mut open) = (JoinSet::new(), BTreeMap::new());
        for (number, (reached, was_silent, answers)) in (1..).zip(members.iter().copied()) {
            let asked = Asked {
                reached: Arc::new(AtomicBool::new(reached)),
                was_silent,
            };
            open.insert(member(number), asked);
            tasks.spawn(async move {
                let Some(millis) = answers else {
                    return std::future::pending().await;
                };
                tokio::time::sleep(Duration::from_millis(millis)).await;
                (member(number), Ok(PartnerReply::Done))
            });
        }
        let mut asking = Asking {
            tasks,
            open,
            lost: 0,
            began,
            patience,
        };
        let mut answered = Vec::new();
        while let Some((from, answer)) = asking.next().await {
            assert!(answer.is_ok());
            answered.push(from);
        }
        (answered, began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_member_that_is_missing_is_waited_for_while_it_may_live() {
        let usual = Patience::new(None);
        let dead = (false, false, None);
        assert_eq!(asked(&[dead], usual).await, (Vec::new(), 500));
        let silent_before = (false, true, None);
        assert_eq!(asked(&[silent_before], usual).await, (Vec::new(), 150));
        let slow = (true, false, Some(2900));
        assert_eq!(asked(&[slow], usual).await, (vec![member(1)], 2900));
        let stuck = (true, false, None);
        assert_eq!(asked(&[stuck], usual).await, (Vec::new(), 3000));
        let (near, far) = ((true, false, Some(1)), (false, false, Some(400)));
        let both = vec![member(1), member(2)];
        assert_eq!(asked(&[near, far], usual).await, (both, 400));
    }

    #[tokio::test(start_paused = true)]
    async fn while_two_are_missing_an_answer_may_rest_on_them_alone() {
        let usual = Patience::new(None);
        let dead = (false, true, None);
        let late = (false, false, Some(2500));
        // The one that is left then has been waited for long enough.
        assert_eq!(asked(&[dead, late], usual).await, (vec![member(2)], 2500));
        assert_eq!(asked(&[dead, dead], usual).await, (Vec::new(), 3000));
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_says_how_long_anybody_is_waited_for() {
        let ordered = Patience::new(Some(Duration::from_secs(7)));
        let dead = (false, true, None);
        assert_eq!(asked(&[dead], ordered).await, (Vec::new(), 7000));
        assert_eq!(asked(&[dead], ordered.again()).await, (Vec::new(), 150));
    }
}
