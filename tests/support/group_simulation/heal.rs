//! Package `tests`, groups under seeds: no more faults, no more wrong orders: within bounded time everybody follows the newest
//! term, and deposits are answered SYNC again.

use std::rc::Rc;
use std::time::Duration;

use rjournal::entry::Moment;
use rjournal::journal::AckClass;
use rjournal::remote::MemberRole;
use rjournal::role::{Chore, MemberTip};

use super::member::Side;
use super::world::World;

/// Everything must be level within this time.
const LEVEL_MAX: Duration = Duration::from_mins(8);
/// An operator looks this often whether anybody is primary.
const OPERATOR_EVERY: Duration = Duration::from_secs(25);

impl World {
    /// No more faults: everything starts, reaches everything, and must come level within bounded time.
    pub(super) fn heal(self: &Rc<Self>) {
        self.say(9, || "heals".to_owned());
        self.healing.set(true);
        {
            let mut line = self.line.borrow_mut();
            line.cut.clear();
            line.dark.clear();
        }
        for me in 0..self.members.len() {
            {
                let mut member = self.members[me].borrow_mut();
                member.disk.fail_sync(0);
                member.disk.die_at_sync(0);
                member.hurt = false;
            }
            self.start_again(me);
        }
        let until = self.now.get() + LEVEL_MAX;
        let mut looked = self.now.get();
        loop {
            self.settle_all();
            if self.is_level() {
                break;
            }
            assert!(
                self.now.get() < until,
                "the group does not come level:\n{}",
                self.describe()
            );
            if until.since(self.now.get()) < LEVEL_MAX / 2 {
                self.note_forked();
            }
            if self.now.get().since(looked) >= OPERATOR_EVERY {
                looked = self.now.get();
                self.repair();
            }
            self.go_to_next_due();
        }
        self.deposits_are_answered_sync();
    }

    /// After a disk was set back, or both of two members took over, a closed segment may be refused for good.
    fn note_forked(self: &Rc<Self>) {
        for me in 0..self.members.len() {
            let mut truth = self.truth.borrow_mut();
            if self.is_up(me) && (truth.restored || truth.split) {
                let chores = self.here(me).seen().chores();
                if chores
                    .iter()
                    .any(|chore| matches!(chore, Chore::Fetch { .. }))
                {
                    truth.forked.insert(me);
                }
            }
        }
    }

    fn deposits_are_answered_sync(self: &Rc<Self>) {
        let primary = self.primary().expect("it is level");
        let before = self.ledger.borrow().answered(AckClass::Sync);
        let until = self.now.get() + Duration::from_mins(1);
        let mut taken = false;
        loop {
            if !taken {
                // What has no room yet is tried again, as a client does.
                taken = self.deposit(primary, 10, true) && self.ledger.borrow().waiting() > 0;
            }
            self.settle_all();
            if taken && self.ledger.borrow().waiting() == 0 && self.is_level() {
                break;
            }
            assert!(
                self.now.get() < until,
                "a deposit is not answered:\n{}",
                self.describe()
            );
            self.go_to_next_due();
        }
        let alone = (0..self.members.len()).all(|me| me == primary || self.is_stopped(me));
        let sync = self.group.sync && !alone;
        let after = self.ledger.borrow().answered(AckClass::Sync);
        assert!(after > before || !sync, "it is answered, but not SYNC");
    }

    /// An operator looks: where a disk's failure stopped something it is started again; where nobody is primary somebody takes
    /// over.
    fn repair(self: &Rc<Self>) {
        for me in 0..self.members.len() {
            if self.has_failed(me) {
                self.start_again(me);
            }
        }
        let mut adopts = false;
        for me in 0..self.members.len() {
            adopts |= self.allow_adopt(me);
        }
        if adopts {
            return;
        }
        if self
            .primary()
            .is_some_and(|me| self.here(me).is_group_open())
        {
            return;
        }
        // What was handed over is taken by itself.
        let handed =
            (0..self.members.len()).filter(|me| self.here(*me).role() == MemberRole::HandedOver);
        let handed: Vec<usize> = handed.collect();
        let newest = self
            .truth
            .borrow()
            .newest()
            .newest()
            .map(|newest| newest.primary);
        let stands = handed
            .iter()
            .any(|me| Some(self.group.members[*me].system) == newest);
        assert!(
            !stands,
            "what was handed over is not taken:\n{}",
            self.describe()
        );
        // Whoever promised most of those that can.
        let able = (0..self.members.len()).filter(|me| {
            let here = self.here(*me);
            let abandoned = matches!(
                here.standing().stopped,
                Some(rjournal::role::Stop::Abandoned { .. })
            );
            // One that is primary, and cannot open, is taken over from elsewhere.
            let holds = here.own_tip() != MemberTip::default();
            !abandoned && holds && here.role() != MemberRole::Primary
        });
        let most = able.max_by_key(|me| {
            let standing = self.here(*me).standing();
            (
                standing.lineage.term(),
                standing.role(self.group.members[*me].system) == MemberRole::Claiming,
            )
        });
        if let Some(me) = most {
            self.counts.borrow_mut().repaired += 1;
            self.order_takeover(me, true);
        }
    }

    /// Whether something of a member can only go on after a start.
    pub(super) fn has_failed(&self, me: usize) -> bool {
        let member = self.members[me].borrow();
        let Some(up) = &member.up else {
            return true;
        };
        up.sides.iter().any(|side| match side {
            Side::Open(open) => open.failure.is_some() && !open.stopped,
            Side::Copy(side) => side.failed.is_some(),
            Side::Broken(_) => true,
            Side::Opening(_) => false,
        })
    }

    /// Everything that can happen without a fault happens, until nothing more does.
    fn settle_all(self: &Rc<Self>) {
        for round in 0..20_000 {
            let before = self.moves();
            let mut moved = false;
            while self.go_on_with_a_task() {
                moved = true;
                assert!(
                    self.moves() < before + 200_000,
                    "tasks never rest:\n{}",
                    self.describe()
                );
            }
            while !self.line.borrow().mails.is_empty() {
                self.deliver_mail(0);
                moved = true;
            }
            while !self.line.borrow().dials.is_empty() {
                self.answer_dial(0);
                moved = true;
            }
            for me in 0..self.members.len() {
                moved |= self.seal(me);
                moved |= self.write(me);
            }
            moved |= self.deliver_all();
            if !moved {
                return;
            }
            assert!(
                round < 19_999,
                "the group does not rest:\n{}",
                self.describe()
            );
        }
    }

    fn deliver_all(self: &Rc<Self>) -> bool {
        let mut moved = false;
        let mut index = 0;
        loop {
            let (count, at) = {
                let line = self.line.borrow();
                let at = line.connections.get(index).map(|c| (c.to, c.journal));
                (line.connections.len(), at)
            };
            let Some((to, journal)) = at else {
                return moved;
            };
            while self.line.borrow().connections.len() == count && self.deliver_forth(index) {
                moved = true;
            }
            moved |= self.flush(to, journal);
            while self.line.borrow().connections.len() == count && self.deliver_back(index) {
                moved = true;
            }
            if self.line.borrow().connections.len() >= count {
                index += 1;
            }
        }
    }

    fn go_to_next_due(self: &Rc<Self>) {
        let now = self.now.get();
        let mut due = self.next_pause();
        let mut earlier = |at: Option<Moment>| {
            if let Some(at) = at {
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        };
        for member in &self.members {
            let member = member.borrow();
            let Some(up) = &member.up else {
                continue;
            };
            for link in &up.links {
                earlier(link.link.poll_timeout());
            }
            for feed in up.feeds.values() {
                earlier(feed.session.poll_timeout());
            }
            for side in &up.sides {
                match side {
                    Side::Open(open) if !open.stopped => {
                        let confirmation = open.confirmation.lock().expect("nobody panics with it");
                        earlier(confirmation.poll_timeout());
                    }
                    Side::Opening(crank) => {
                        earlier(crank.poll_timeout());
                        earlier(Some(now + Duration::from_secs(1)));
                    }
                    Side::Copy(side) => {
                        let session = side.session.as_ref();
                        earlier(session.and_then(|(_, crank)| crank.session.poll_timeout()));
                    }
                    _ => {}
                }
            }
        }
        let step = due.map_or(Duration::from_secs(1), |due| due.since(now));
        self.tick(step.clamp(Duration::from_millis(1), Duration::from_secs(1)));
        self.bury_the_dead();
    }

    /// The member that opened the newest term and may write in it.
    pub(super) fn primary(self: &Rc<Self>) -> Option<usize> {
        let newest = self.truth.borrow().newest().newest().copied()?;
        let me = self.number_of(newest.primary)?;
        let is = self.is_up(me) && self.here(me).role() == MemberRole::Primary;
        is.then_some(me)
    }

    /// Whether everybody that takes part follows the newest term, with equal copies and closed segments confirmed.
    fn is_level(self: &Rc<Self>) -> bool {
        let Some(primary) = self.primary() else {
            return false;
        };
        let lead = self.here(primary);
        if !lead.is_group_open() {
            return false;
        }
        let newest = lead.standing();
        let Some(marks) = lead.up(|up| {
            let open = up.open(primary)?;
            let marks = open.journal.tail().marks();
            let level = open.batch.is_none()
                && marks.sealed == marks.written
                && marks.settled == marks.written
                && open.journal.intake().last() == marks.sealed;
            let set = open.members();
            level.then_some((marks.written, set))
        }) else {
            return false;
        };
        let (written, set) = marks;
        (0..self.members.len()).all(|me| {
            if me == primary || self.is_stopped(me) {
                return true;
            }
            let here = self.here(me);
            let standing = here.standing();
            let seen = here.seen();
            let system = self.group.members[me].system;
            let in_set = !self.group.sync || set.iter().any(|member| member.system == system);
            let tips = seen.tips();
            let level = self.group.members.iter().all(|of| {
                let Some(tip) = tips.iter().find(|tip| tip.journal == of.journal) else {
                    return false;
                };
                let end = standing.end_of(of.journal);
                let closed = end.is_none_or(|end| tip.confirmed >= end.sequence);
                let current = newest.lineage.is_current(of.journal);
                let equal = tip.tip.sequence == written && tip.confirmed == written;
                closed && (!current || equal)
            });
            in_set
                && level
                && standing.lineage == newest.lineage
                && standing.claim.is_none()
                && seen.follows() == newest.lineage.term()
        })
    }

    /// How everything stands, for messages.
    pub(super) fn describe(self: &Rc<Self>) -> String {
        let mut lines = Vec::new();
        for me in 0..self.members.len() {
            if !self.is_up(me) {
                lines.push(format!("member {me} is down"));
                continue;
            }
            let here = self.here(me);
            let standing = here.standing();
            let seen = here.seen();
            lines.push(format!(
                "member {me}: {:?} term {} promised {} to {:?} flushed {} follows {} stopped {:?} handed {:?}",
                here.role(),
                standing.lineage.term(),
                standing.promised(),
                standing.promised_to().and_then(|to| self.number_of(to)),
                standing.flushed,
                seen.follows(),
                standing.stopped,
                standing.handed_over.map(|(handed, at)| (handed.term, at.sequence)),
            ));
            for tip in seen.tips() {
                lines.push(format!(
                    "  journal {:?}: {} confirmed {} epoch {} end {:?}",
                    self.writer_of(tip.journal),
                    tip.tip.sequence,
                    tip.confirmed,
                    tip.epoch,
                    standing.end_of(tip.journal).map(|end| end.sequence),
                ));
            }
            lines.push(format!("  chores {:?}", seen.chores()));
            here.up(|up| {
                for (writer, side) in up.sides.iter_mut().enumerate() {
                    lines.push(match side {
                        Side::Open(open) => format!(
                            "  {writer}: open {:?} set {:?} failure {:?} stopped {} gate {:?}",
                            open.journal.tail().marks(),
                            open.members(),
                            open.failure,
                            open.stopped,
                            open.journal.gate(),
                        ),
                        Side::Opening(crank) => format!("  {writer}: opening {:?}", crank.state()),
                        Side::Copy(side) => format!(
                            "  {writer}: copy {:?} session {:?} failed {:?} stopped {} authority {:?} own promise {}",
                            side.copy.progress(),
                            side.session.as_ref().map(|(id, _)| id),
                            side.failed,
                            side.stopped,
                            side.copy.shared().authority(),
                            side.copy.shared().promised(),
                        ),
                        Side::Broken(why) => format!("  {writer}: broken {why}"),
                    });
                }
                for link in &up.links {
                    lines.push(format!("  link {:?}", link.link.shown()));
                }
            });
        }
        let line = self.line.borrow();
        for c in &line.connections {
            lines.push(format!(
                "{} {}->{} {:?} journal {} forth {} back {} closed {} greeted {}",
                c.id,
                c.from,
                c.to,
                c.owner,
                c.journal,
                c.forth.len(),
                c.back.len(),
                c.closed,
                c.greeted
            ));
        }
        lines.push(format!("tasks {:?}", self.tasks.describe()));
        lines.push(format!(
            "lineage {:#?}",
            self.truth.borrow().newest().segments().collect::<Vec<_>>()
        ));
        lines.join("\n")
    }
}
