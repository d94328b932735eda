//! Package `tests`, groups under seeds: what a member tells the others, what it takes in from them, and what it promises; in the
//! daemon's order. Must not judge: the standing does.

use rjournal::entry::Timestamp;
use rjournal::remote::{GroupNews, MemberRole, PromiseAsked, PromiseTold};
use rjournal::role::{Heard, Lineage};

use super::goals::{Goal, Step};
use super::member::HeardFrom;
use super::proof::{claim_is_proven, record_is_proven};
use super::world::Here;
use super::wrong::Wrong;

impl Here {
    /// What this member tells the others.
    pub(super) fn group_news(&self) -> GroupNews {
        let standing = self.standing();
        let seen = self.seen();
        GroupNews {
            system: self.id(),
            role: standing.role(self.id()),
            claim: standing.claim,
            handed_over: standing.handed_over,
            follows: seen.follows(),
            open: self.is_group_open(),
            lineage: standing.lineage.records().to_vec(),
            group: standing.group,
            tips: seen.tips(),
            applied: None,
            paths: Vec::new(),
            health: None,
            at: Timestamp::ZERO,
        }
    }

    /// Notes what came of asking a member.
    pub(super) fn note_heard(&self, from: usize, told: Option<&GroupNews>) {
        let now = self.now();
        let system = self.world.group.members[from].system;
        self.up(|up| {
            let entry = up.heard.entry(system).or_insert_with(HeardFrom::default);
            match told {
                Some(news) => {
                    entry.news = Some(news.clone());
                    (entry.since, entry.failed) = (Some(now), false);
                }
                None => entry.failed = true,
            }
        });
    }

    /// Takes in what a member says of itself; of another group, or of somebody else, it is nothing.
    pub(super) async fn take_news(&self, from: usize, news: &GroupNews) -> Result<(), String> {
        let known = self.standing();
        let system = self.world.group.members[from].system;
        if news.group.id != known.group.id || news.system != system {
            return Ok(());
        }
        self.note_heard(from, Some(news));
        let definition = known.group;
        let told = Lineage::read(&definition, news.lineage.clone(), |record| {
            record_is_proven(&definition, record)
        });
        match told {
            Ok(told) => {
                let heard = self.update(|at| at.handle_lineage(self.id(), &told))?;
                self.pause().await;
                self.tell_heard(heard);
            }
            Err(_) => self.world.counts.borrow_mut().lies_refused += 1,
        }
        let claim = news.claim;
        if let Some(claim) = claim.filter(|claim| claim_is_proven(&definition, claim)) {
            let heard = self.update_claim(|at| at.handle_claim(self.id(), claim))?;
            self.pause().await;
            self.tell_heard(heard);
        }
        Ok(())
    }

    fn tell_heard(&self, heard: Heard) {
        match heard {
            Heard::Nothing => return,
            Heard::Follows { demoted } => {
                self.world.counts.borrow_mut().demoted += u64::from(demoted);
            }
            Heard::Conflict { .. } => self.world.conflicted(self.me),
        }
        self.world
            .say(self.me, || format!("heard {heard:?}: {}", self.stands()));
        self.fence();
        self.wake();
    }

    /// A member asks for a promise.
    pub(super) async fn promise(
        &self,
        from: usize,
        asked: &PromiseAsked,
    ) -> Result<PromiseTold, String> {
        let claim = asked.claim;
        let definition = self.look(|at| at.group.clone());
        let was_open = self.is_group_open();
        let from = self.world.group.members[from].system;
        let proven = claim.system == from && claim_is_proven(&definition, &claim);
        let early = (self.world.wrong == Some(Wrong::TipBeforePromise)).then(|| self.group_news());
        // Whoever was named by a hand-over, and has opened or is about to, does not let it be taken back.
        let promised = {
            let seat = self.up(|up| up.seat.clone());
            let _seat = seat.hold().await;
            self.pause().await;
            let taken = asked.abort && self.role() != MemberRole::Backup;
            if proven && !taken {
                let mine = self.world.step_of(self.me);
                if !asked.abort && mine.is_some_and(Step::is_handing) {
                    self.world.reach(Goal::TakenOverInSwitch);
                }
                let heard = self.update_claim(|at| at.handle_claim(self.id(), claim))?;
                self.pause().await;
                self.tell_heard(heard);
            }
            proven && !taken && self.look(|at| at.has_promised(&claim))
        };
        if promised {
            // Persist, then say: what is told as held was flushed under the promise (ruling 30).
            self.pause().await;
            self.rest_if_not_primary().await;
            self.fence();
            self.quiesce_all().await;
            // A promise counts with what is held behind it, and what cannot be read cannot be told.
            self.require_readable()?;
        }
        self.pause().await;
        self.world.say(self.me, || {
            format!(
                "promises term {} to {from}: {promised}, {}",
                claim.term,
                self.stands()
            )
        });
        let mut news = self.group_news();
        if let Some(early) = early {
            news.tips = early.tips;
        }
        if promised {
            news.open = false;
        }
        Ok(PromiseTold {
            promised,
            news,
            was_open,
            passed: self.look(|at| at.passed.clone()),
        })
    }
}
