//! Package `tests`, groups under seeds: takeover, carried out in the daemon's order: everybody is asked, the machine says what
//! follows, claims and promises are durable before they are told.

use std::collections::BTreeMap;
use std::time::Duration;

use rjournal::entry::{SystemId, TermReason};
use rjournal::remote::{
    GroupNews, MemberRole, PartnerReply, PartnerRequest, PromiseAsked, PromiseTold,
};
use rjournal::role::{
    Chore, CopySays, MemberTip, Standing, Stop, Takeover, TakeoverFacts, TakeoverStep, assess,
    tip_of, to_be_heard,
};

use super::goals::{Goal, Step};
use super::member::Side;
use super::proof::claim_is_proven;
use super::task::found;
use super::world::Here;
use super::wrong::Wrong;

/// A member that did not answer when it was looked at has so long to promise.
const SILENT_MAX: Duration = Duration::from_millis(150);

/// An operator's order.
#[derive(Debug, Clone, Copy)]
pub(super) struct TakeoverOrder {
    pub(super) accept_loss: bool,
    pub(super) wait: Duration,
}

impl Here {
    /// Becomes primary.
    pub(super) async fn take_over(&self, order: TakeoverOrder) -> Result<u64, String> {
        let known = order.accept_loss;
        let heard = if known {
            Vec::new()
        } else {
            self.ask_all(order.wait).await
        };
        let doubts = self.doubts(&heard);
        self.require_takeover()?;
        if doubts > 0 && !order.accept_loss {
            self.world.counts.borrow_mut().doubted += 1;
            self.world.reach(Goal::Doubted);
            return Err("it may lose answers".to_owned());
        }
        let turn = self.up(|up| up.turn.clone());
        let _turn = turn.hold().await;
        self.pause().await;
        self.require_takeover()?;
        let heard = (!known).then_some(heard);
        let others = self.others().into_iter();
        let mut steps = others.filter_map(|other| self.world.step_of(other));
        if steps.any(Step::is_takeover) {
            self.world.reach(Goal::BothTakeOver);
        }
        let outcome = self.run_takeover(order, heard.as_deref()).await;
        self.begin_step(None);
        outcome?;
        self.world.counts.borrow_mut().takeovers += 1;
        let closes = |chore: &Chore| matches!(chore, Chore::Close { .. });
        drop(self.do_chores(closes).await);
        self.wake();
        Ok(self.look(|at| at.lineage.term()))
    }

    fn doubts(&self, heard: &[usize]) -> usize {
        let standing = self.standing();
        let system = |other: &usize| self.world.group.members[*other].system;
        let others: Vec<SystemId> = self.others().iter().map(system).collect();
        let heard: Vec<SystemId> = heard.iter().map(system).collect();
        let says = self.copy_says(&standing);
        let assessed = assess(&standing, self.id(), &others, &heard, says);
        assessed.doubts.len()
    }

    /// What the copy of the newest term's journal says of answers.
    fn copy_says(&self, standing: &Standing) -> Option<CopySays> {
        let newest = standing.lineage.newest()?;
        let writer = self.world.writer_of(newest.journal)?;
        let me = self.id();
        self.up(|up| match up.sides.get(writer) {
            Some(Side::Copy(side)) => {
                let copy = side.copy.shared();
                let set = copy.set().map(|(_, set)| set);
                let mut members = set.iter().flat_map(|set| &set.members);
                let written = side.copy.progress().written;
                let term = copy.term().filter(|(entry, _)| *entry <= written);
                Some(CopySays {
                    term: term.map_or(0, |(_, record)| record.term),
                    in_set: members.any(|member| member.system == me),
                    local_answers_possible: copy.local_answers_possible(me),
                })
            }
            _ => None,
        })
    }

    fn require_takeover(&self) -> Result<(), String> {
        let standing = self.standing();
        if standing.role(self.id()) == MemberRole::Primary {
            self.world.reach(Goal::TakeoverAtPrimary);
            return Err("it is the primary already".to_owned());
        }
        if let Some(Stop::Abandoned { text }) = standing.stopped {
            return Err(text);
        }
        let tips = self.seen().tips();
        if tip_of(&standing.lineage, &tips) == MemberTip::default() {
            return Err("there is nothing to take over".to_owned());
        }
        Ok(())
    }

    pub(super) fn own_tip(&self) -> MemberTip {
        let standing = self.standing();
        tip_of(&standing.lineage, &self.seen().tips())
    }

    async fn run_takeover(
        &self,
        order: TakeoverOrder,
        heard: Option<&[usize]>,
    ) -> Result<(), String> {
        let facts = {
            let standing = self.standing();
            let others = standing.group.others(self.id()).map(|member| member.system);
            TakeoverFacts {
                me: self.id(),
                others: others.collect(),
                term: standing.next_term(self.id(), None),
                accept_loss: order.accept_loss,
            }
        };
        let mut takeover = Takeover::new(facts);
        let mut told: BTreeMap<SystemId, GroupNews> = BTreeMap::new();
        let mut claims = 0;
        loop {
            self.pause().await;
            let standing = self.standing();
            takeover.handle_doubted(to_be_heard(&standing, self.id(), self.copy_says(&standing)));
            let step = takeover.step();
            self.world.say(self.me, || {
                format!("takeover {}: {step:?}", takeover.term())
            });
            match step {
                TakeoverStep::Claim(term) => {
                    claims += 1;
                    if claims > 1 {
                        self.world.reach(Goal::RaisedAboveHandOver);
                    }
                    self.begin_step(Some(Step::Claiming));
                    self.claim(term).await?;
                    takeover.handle_claimed(self.own_tip());
                }
                TakeoverStep::Ask(members) => {
                    self.begin_step(Some(Step::Asking));
                    takeover.handle_asked();
                    if self.world.wrong == Some(Wrong::AsksNobody) {
                        self.open_term(TermReason::TakenOver).await?;
                        return Ok(());
                    }
                    let patience = (order.wait, heard);
                    self.ask_promises(&mut takeover, members, patience, &mut told)
                        .await;
                }
                TakeoverStep::Fetch(from) => {
                    self.begin_step(Some(Step::Fetching));
                    if let Some(number) = self.world.number_of(from) {
                        self.fetch_tail(number, told.get(&from)).await;
                    }
                    let own = self.own_tip();
                    takeover.handle_fetched(from, own);
                    self.world.counts.borrow_mut().tails_fetched += 1;
                    self.world.reach(Goal::TailFetched);
                }
                TakeoverStep::Wait => {
                    for system in takeover.missing() {
                        takeover.handle_unreachable(system);
                    }
                }
                TakeoverStep::Open => {
                    let missing = takeover.missing();
                    if missing.len() > 1 {
                        self.world.lose(self.me);
                        self.world.reach(Goal::LossAccepted);
                    }
                    let primary = self.look(|at| at.lineage.newest().map(|newest| newest.primary));
                    let silent = primary.is_some_and(|primary| missing.contains(&primary));
                    if self.world.members.len() == 2 && !takeover.missing().is_empty() {
                        self.world.truth.borrow_mut().split = true;
                    }
                    self.open_term(TermReason::TakenOver).await?;
                    if !order.accept_loss {
                        self.world.require_local_kept();
                    }
                    if silent && order.accept_loss {
                        self.world.reach(Goal::TakenOverFromSilent);
                    }
                    if self.world.members.len() == 3 {
                        self.world.reach(Goal::TakenOverOfThree);
                    }
                    if takeover.fenced_primary {
                        self.world.reach(Goal::TakenOverFromFenced);
                        self.world.counts.borrow_mut().fenced_primaries += 1;
                    }
                    return Ok(());
                }
                TakeoverStep::NeedsWord(_) => {
                    self.world.counts.borrow_mut().needed_word += 1;
                    self.world.reach(Goal::NeededWord);
                    return Err("answers may rest on members that do not answer".to_owned());
                }
                TakeoverStep::GivenUp { .. } => {
                    self.world.counts.borrow_mut().given_up += 1;
                    self.world.reach(Goal::GivenUp);
                    return Err("another has promised more".to_owned());
                }
            }
        }
    }

    async fn ask_promises(
        &self,
        takeover: &mut Takeover,
        members: Vec<SystemId>,
        patience: (Duration, Option<&[usize]>),
        told: &mut BTreeMap<SystemId, GroupNews>,
    ) {
        let Some(claim) = self.look(|at| at.claim) else {
            return;
        };
        let mut asking = Vec::new();
        for system in members {
            let Some(to) = self.world.number_of(system) else {
                continue;
            };
            // Whoever was silent a moment ago is asked all the same, and not waited for as long again.
            let wait = if patience.1.is_none_or(|heard| heard.contains(&to)) {
                patience.0
            } else {
                patience.0.min(SILENT_MAX)
            };
            let asked = PromiseAsked {
                claim,
                abort: false,
            };
            let answer = std::rc::Rc::new(std::cell::RefCell::new(None));
            let (here, kept) = (self.clone(), std::rc::Rc::clone(&answer));
            self.spawn("promise", async move {
                let request = PartnerRequest::Promise(Box::new(asked));
                let said = here.ask_member(to, request, wait).await;
                *kept.borrow_mut() = Some(said);
            });
            asking.push((to, system, answer));
        }
        let primary = self.look(|at| at.lineage.newest().map(|newest| newest.primary));
        for (to, system, answer) in asking {
            let said = found(|| answer.borrow_mut().take()).await;
            self.pause().await;
            let Ok(PartnerReply::Promise(said)) = said else {
                takeover.handle_unreachable(system);
                continue;
            };
            let PromiseTold {
                promised,
                news,
                was_open,
                passed,
            } = *said;
            if self.take_news(to, &news).await.is_err() {
                takeover.handle_unreachable(system);
                continue;
            }
            // What was said is of this claim: a promise counts with the tip behind it (ruling 30).
            let is_own = self.look(|at| at.has_promised(&claim)) && takeover.is_of(&claim);
            if !promised || !is_own {
                let claimed = news.claim.map_or(0, |claim| claim.term);
                let opened = news.lineage.last().map_or(0, |record| record.term);
                takeover.handle_refused(system, claimed.max(opened));
                continue;
            }
            // Who passed whom is known to those who were asked.
            let definition = &self.world.group;
            let proven = passed.into_iter();
            let proven = proven.filter(|claim| claim_is_proven(definition, claim));
            if self.update(|at| at.handle_passed(proven)).is_err() {
                takeover.handle_unreachable(system);
                continue;
            }
            if was_open && primary == Some(system) {
                takeover.fenced_primary = true;
            }
            let lineage = self.look(|at| at.lineage.clone());
            let tip = tip_of(&lineage, &news.tips);
            let handed = news.handed_over.map(|(handed, _)| handed);
            takeover.handle_promised(system, tip, handed);
            told.insert(system, news);
        }
    }
}
