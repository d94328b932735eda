//! Package `tests`, groups under seeds: the planned switch, carried out in the daemon's order: deposits are drained, the hand-over
//! entry is flushed here and there, the other opens its term; or it is taken back.

use std::sync::Arc;
use std::time::Duration;

use rjournal::entry::{HandOver, Position, Sequence, TermReason};
use rjournal::journal::{Drain, Journal};
use rjournal::remote::{MemberRole, PartnerReply, PartnerRequest, PromiseAsked};
use rjournal::role::{Switch, SwitchFacts, SwitchMarks, SwitchStep, ready};

use super::goals::{Goal, Step};
use super::world::Here;

/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The new primary has so long to open before the command comes back; it goes on by itself.
const TAKE_MAX: Duration = Duration::from_secs(10);
/// What has no event of its own is looked at this often.
const LOOK: Duration = Duration::from_millis(2);

impl Here {
    /// Hands the role over.
    pub(super) async fn hand_over(&self, to: usize) -> Result<(), String> {
        let standing = self.standing();
        let role = standing.role(self.id());
        if role == MemberRole::HandedOver {
            return self.tell_handed_over(to).await.ok_or_else(not_yet);
        }
        if role != MemberRole::Primary {
            self.world.reach(Goal::SwitchAtBackup);
            return Err("it is not the primary".to_owned());
        }
        let facts = self.switch_facts(to).await;
        if !ready(&facts).is_empty() {
            self.world.reach(Goal::SwitchNotReady);
            return Err("it is not ready".to_owned());
        }
        let turn = self.up(|up| up.turn.clone());
        let _turn = turn.hold().await;
        self.pause().await;
        let Some(journal) = self.up(|up| Some(Arc::clone(&up.open(self.me)?.journal))) else {
            return Err("the journal is not open".to_owned());
        };
        self.begin_step(Some(Step::Draining));
        let handed = self.run_switch(&journal, to).await;
        self.begin_step(handed.is_ok().then_some(Step::HandedOver));
        handed?;
        if !self.world.healing.get() && self.world.per_mille(250) {
            // Its operator thinks better of it at once.
            self.begin_step(None);
            self.world.order_abort(self.me);
            return Err("the command was interrupted".to_owned());
        }
        let told = self.tell_handed_over(to).await;
        self.begin_step(None);
        self.wake();
        told.ok_or_else(not_yet)?;
        self.world.counts.borrow_mut().switches += 1;
        Ok(())
    }

    async fn switch_facts(&self, to: usize) -> SwitchFacts {
        let news = self.ask_where(to, ANSWER_MAX).await.ok();
        let standing = self.standing();
        let system = self.world.group.members[to].system;
        let in_sync = self.up(|up| {
            let open = up.open(self.me)?;
            let mut members = open.members().into_iter();
            members.find(|member| member.system == system)
        });
        SwitchFacts {
            open: standing.role(self.id()) == MemberRole::Primary && self.is_group_open(),
            member: to != self.me,
            reachable: news.is_some(),
            follows: news.is_some_and(|news| news.follows == standing.lineage.term()),
            in_sync: in_sync.is_some() || !standing.group.sync,
            behind: None,
            has_store: false,
            way_back: true,
            behind_max: 0,
        }
    }

    async fn run_switch(&self, journal: &Arc<Journal>, to: usize) -> Result<(), String> {
        let patience = Duration::from_millis(journal.attributes().sync_timeout_ms);
        let system = self.world.group.members[to].system;
        let drain = Duration::from_millis(200);
        let mut switch = Switch::new(system, drain, patience, self.now());
        let intake = journal.intake();
        intake.set_drain(Some(Drain::OpenCycles));
        let mut handed = Sequence::NONE;
        let entry = HandOver {
            group: self.world.group.id,
            term: journal.epoch().term,
            to: system,
        };
        loop {
            let marks = self.switch_marks(journal, to);
            let now = self.now();
            match switch.step(marks, now) {
                SwitchStep::Drain | SwitchStep::Wait => self.rest_for(LOOK).await,
                SwitchStep::Close => intake.set_drain(Some(Drain::Nothing)),
                SwitchStep::HandOver => {
                    handed = journal.deposit_hand_over(&entry, self.world.wall());
                    switch.handle_handing(handed);
                    self.begin_step(Some(Step::Handing));
                }
                SwitchStep::Resume => {
                    intake.set_drain(None);
                    self.world.counts.borrow_mut().resumed += 1;
                    self.world.reach(Goal::Resumed);
                    return Err("it did not acknowledge everything in time".to_owned());
                }
                SwitchStep::Tell => {
                    let head = journal.reader().head_at(handed).ok().flatten();
                    let Some(head) = head else {
                        return Err("the hand-over entry cannot be read back".to_owned());
                    };
                    let at = Position {
                        sequence: handed,
                        head,
                    };
                    // Persist, then say.
                    let me = self.id();
                    if self.update(|standing| standing.handle_handed_over(me, entry, at))? {
                        return Ok(());
                    }
                    self.world.reach(Goal::HandedOverTooLate);
                    switch.handle_opened();
                }
                SwitchStep::Done => {
                    return Err("another member opened a later term meanwhile".to_owned());
                }
            }
            self.pause().await;
            if self.role() == MemberRole::Backup {
                switch.handle_opened();
            }
        }
    }

    fn switch_marks(&self, journal: &Journal, to: usize) -> SwitchMarks {
        let system = self.world.group.members[to].system;
        let acknowledged = self.up(|up| {
            let links = up.links.iter().filter(|link| link.record.system == system);
            links.map(|link| link.record.acknowledged).max()
        });
        SwitchMarks {
            deposited: journal.intake().last(),
            written: journal.tail().marks().written,
            released: journal.released(),
            acknowledged: acknowledged.unwrap_or(Sequence::NONE),
            cycles_open: journal.intake().has_open_cycles(),
        }
    }

    /// Tells the system that was handed the role, until it has opened.
    async fn tell_handed_over(&self, to: usize) -> Option<()> {
        let until = self.now() + TAKE_MAX;
        let mine = self.look(|at| at.lineage.term());
        loop {
            if let Ok(news) = self.ask_where(to, ANSWER_MAX).await {
                let term = news.lineage.last().map_or(0, |record| record.term);
                if term > mine && news.open {
                    return Some(());
                }
            }
            if self.now() >= until {
                return None;
            }
            self.rest_for(Duration::from_millis(20)).await;
        }
    }

    /// Takes a hand-over back, in contact with the system that was to open.
    pub(super) async fn abort_switch(&self) -> Result<(), String> {
        let turn = self.up(|up| up.turn.clone());
        let _turn = turn.hold().await;
        self.pause().await;
        let standing = self.standing();
        let handed = standing.handed_over;
        let handed = handed.filter(|_| standing.role(self.id()) == MemberRole::HandedOver);
        let Some((handed, _)) = handed else {
            return Err("nothing is handed over".to_owned());
        };
        let term = standing.next_term(self.id(), None);
        let claim = self.signed_claim(term);
        self.world.claimed(claim);
        let asked = PromiseAsked { claim, abort: true };
        let request = PartnerRequest::Promise(Box::new(asked));
        let to = self.world.number_of(handed.to).ok_or("no member")?;
        let PartnerReply::Promise(told) = self.ask_member(to, request, ANSWER_MAX).await? else {
            return Err("it said something else".to_owned());
        };
        self.take_news(to, &told.news).await?;
        if !told.promised {
            return Err("the other system opened its term already".to_owned());
        }
        self.begin_step(Some(Step::TakingBack));
        let taken = self.take_back(term).await;
        self.begin_step(None);
        taken?;
        self.world.counts.borrow_mut().taken_back += 1;
        self.world.reach(Goal::TakenBack);
        self.wake();
        Ok(())
    }
}

impl Here {
    async fn take_back(&self, term: u64) -> Result<(), String> {
        self.claim(term).await?;
        self.pause().await;
        self.open_term(TermReason::TakenBack).await?;
        Ok(())
    }
}

fn not_yet() -> String {
    "the other has not opened yet".to_owned()
}
