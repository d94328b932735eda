//! Package `tests`, groups under seeds: the journals of a member are made to be what its standing says, in the daemon's order:
//! what is to be done is looked up in room `role`, here it is done.

use rjournal::entry::{HandOver, JournalId, Position, Sequence, SystemId, TermReason};
use rjournal::journal::Authority;
use rjournal::remote::{GroupNews, JournalTip, LinkState, MemberRole};
use rjournal::role::{Chore, Held, OwnJournal, Standing, Stop, View};

use super::deliver::SetAside;
use super::goals::{Goal, Step};
use super::local::activation;
use super::member::{Side, Up};
use super::world::Here;
use super::wrong::Wrong;

/// Chores lead to further ones.
const TURNS_MAX: usize = 8;

/// What a member looks at when it looks for chores.
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

    pub(super) fn chores(&self) -> Vec<Chore> {
        self.look(|view| view.chores())
    }

    pub(super) fn follows(&self) -> u64 {
        self.look(|view| view.follows())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.look(|view| view.lacking().is_empty())
    }

    pub(super) fn handed_to_me(&self) -> Option<Chore> {
        self.look(|view| view.handed_to_me())
    }

    pub(super) fn tips(&self) -> Vec<JournalTip> {
        self.held.iter().map(|held| held.tip).collect()
    }
}

/// What a member holds of one journal.
fn held_of(side: &Side, standing: &Standing, journal: JournalId) -> Option<Held> {
    let end = standing.end_of(journal);
    let recovered_reader;
    let (reader, tip, epoch, confirmed, term) = match side {
        Side::Copy(side) => {
            let shared = side.copy.shared();
            let marks = shared.tail().marks();
            let term = shared.term().filter(|(entry, _)| *entry <= marks.written);
            let term = term.map_or(0, |(_, record)| record.term);
            let epoch = shared.tip_epoch();
            (shared.reader(), marks.written, epoch, marks.settled, term)
        }
        Side::Open(open) => {
            let written = open.journal.tail().marks().written;
            let epoch = open.journal.epoch();
            (open.journal.reader(), written, epoch, written, epoch.term)
        }
        Side::Opening(crank) => {
            let recovered = crank.recovered();
            recovered_reader = recovered.reader();
            let tip = recovered.tip().sequence;
            let epoch = crank.control().epoch;
            (&recovered_reader, tip, epoch, tip, 0)
        }
        Side::Broken(_) => return None,
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

impl Here {
    /// How things stand for this member now.
    pub(super) fn seen(&self) -> Seen {
        self.up(|up| {
            let standing = up.standing.get().clone();
            let sides = standing.group.members.iter().zip(&up.sides);
            let held = sides.filter_map(|(member, side)| held_of(side, &standing, member.journal));
            let held = held.collect();
            let own = match &up.sides[self.me] {
                Side::Open(_) => OwnJournal::Open,
                Side::Opening(_) => OwnJournal::Opening,
                Side::Copy(_) => OwnJournal::Resting,
                Side::Broken(_) => OwnJournal::Broken,
            };
            let heard = up.heard.values();
            let heard = heard.filter(|heard| !heard.failed && heard.since.is_some());
            Seen {
                me: self.id(),
                held,
                own,
                heard: heard.filter_map(|heard| heard.news.clone()).collect(),
                standing,
            }
        })
    }

    /// Every copy of the group refuses whoever may not feed it, from now on.
    pub(super) fn fence(&self) {
        if self.world.wrong == Some(Wrong::NeverFenced) {
            return;
        }
        let whole = self.seen().is_whole() || self.world.wrong == Some(Wrong::FollowsIncomplete);
        self.up(|up| {
            let standing = up.standing.get();
            let authority = Authority {
                term: standing.promised(),
                source: standing.promised_to().unwrap_or(SystemId::NONE),
                ready: whole,
            };
            for side in &up.sides {
                if let Side::Copy(side) = side {
                    side.copy.shared().set_authority(Some(authority));
                }
            }
        });
    }

    /// Brings everything to where the standing wants it.
    pub(super) async fn settle(&self) -> Result<(), String> {
        let turn = self.up(|up| up.turn.clone());
        let _turn = turn.hold().await;
        self.pause().await;
        self.do_chores(|_| true).await
    }

    /// Does what is to be done, and what that leads to.
    pub(super) async fn do_chores(&self, wanted: impl Fn(&Chore) -> bool) -> Result<(), String> {
        let mut done: Vec<Chore> = Vec::new();
        for _ in 0..TURNS_MAX {
            let chores = self.seen().chores();
            self.pause().await;
            self.fence();
            let fresh: Vec<Chore> = chores
                .into_iter()
                .filter(|chore| wanted(chore) && !done.contains(chore))
                .collect();
            if fresh.is_empty() {
                break;
            }
            for chore in fresh {
                self.pause().await;
                Box::pin(self.do_chore(&chore)).await?;
                done.push(chore);
            }
        }
        self.fence();
        Ok(())
    }

    async fn do_chore(&self, chore: &Chore) -> Result<(), String> {
        match chore {
            Chore::Rest => self.rest_if_not_primary().await,
            Chore::SetAside { journal, end } => {
                if let Some(writer) = self.world.writer_of(*journal) {
                    match self.world.set_aside(self.me, writer, *end) {
                        Ok(()) => {}
                        // What is confirmed is never cut by itself (I8, ruling 32).
                        Err(SetAside::Confirmed) => self.abandon()?,
                        Err(SetAside::Failed(text)) => return Err(text),
                    }
                }
            }
            Chore::Fetch {
                journal,
                upto,
                from,
            } => {
                for from in from {
                    let Some(from) = self.world.number_of(*from) else {
                        continue;
                    };
                    let fetched = self.fetch_from(from, *journal, Some(*upto)).await;
                    self.world.say(self.me, || {
                        format!("fetches {journal} from {from}: {fetched:?}")
                    });
                    if fetched.is_ok() {
                        self.world.counts.borrow_mut().completed += 1;
                        self.world.reach(Goal::SegmentCompleted);
                        break;
                    }
                }
            }
            Chore::NoteFlushed(term) => self.update(|at| at.flushed = *term)?,
            Chore::Close { journal, upto } => {
                if let Some(writer) = self.world.writer_of(*journal) {
                    self.world.confirm(self.me, writer, *upto);
                }
            }
            Chore::Feed(members) => self.feed(members),
            Chore::LetOpen => {
                self.up(|up| {
                    if let Side::Opening(crank) = &mut up.sides[self.me] {
                        crank.handle_contact();
                    }
                });
                self.world.pump(self.me);
                self.pause().await;
                self.world.try_open(self.me);
            }
            Chore::TakeOverHanded { from, handed, at } => {
                if let Some(from) = self.world.number_of(*from) {
                    let taken = self.take_handed(from, *handed, *at).await;
                    self.world
                        .say(self.me, || format!("takes what {from} handed: {taken:?}"));
                }
            }
        }
        Ok(())
    }

    fn abandon(&self) -> Result<(), String> {
        self.world.abandoned(self.me);
        let text = "what is confirmed here is in no term".to_owned();
        self.update(|at| at.stopped = Some(Stop::Abandoned { text }))
    }

    /// Whoever follows is fed.
    fn feed(&self, members: &[SystemId]) {
        let now = self.now();
        self.up(|up| {
            let Up { sides, links, .. } = up;
            let Side::Open(open) = &sides[self.me] else {
                return;
            };
            if open.journal.tail().is_closed() {
                return;
            }
            for link in links {
                let shown = link.link.shown();
                if !members.contains(&link.record.system) || shown.streaming {
                    continue;
                }
                // One that an operator made inactive stays so; one that never was active becomes it.
                if !link.record.active && shown.state != LinkState::Inactive {
                    continue;
                }
                link.record.active = true;
                let activation = activation(link);
                link.link.nudge(activation, now);
            }
        });
        self.world.look_links(self.me);
    }

    /// Takes the role that was handed to this member, once everything up to the hand-over entry is here. The turn is held.
    pub(super) async fn take_handed(
        &self,
        from: usize,
        handed: HandOver,
        at: Position,
    ) -> Result<(), String> {
        self.begin_step(Some(Step::Taking));
        let taken = self.take_role(from, handed, at).await;
        self.begin_step(None);
        taken
    }

    async fn take_role(&self, from: usize, handed: HandOver, at: Position) -> Result<(), String> {
        let standing = self.standing();
        let Some(newest) = standing.lineage.newest().copied() else {
            return Ok(());
        };
        // Behind the entry may stand what the journal says of itself.
        let has_all = || {
            let writer = self.world.writer_of(newest.journal);
            self.up(|up| match up.sides.get(writer?) {
                Some(Side::Copy(side)) if side.copy.progress().written >= at.sequence => {
                    side.copy.head_at(at.sequence).ok()?
                }
                _ => None,
            }) == Some(at.head)
        };
        // What is missing is fetched under the own claim: under the old term only the primary's open journal feeds.
        if standing.promised() <= handed.term {
            self.claim(handed.term + 1).await?;
        }
        if !has_all() {
            self.fetch_from(from, newest.journal, None).await?;
        }
        if !has_all() {
            return Err("the copy does not end with the hand-over entry".to_owned());
        }
        self.pause().await;
        self.open_term(TermReason::HandedOver).await?;
        self.world.reach(Goal::HandedOver);
        self.spawn("join", self.clone().open_when_joined());
        self.wake();
        Ok(())
    }

    /// Every journal here can be read.
    pub(super) fn require_readable(&self) -> Result<(), String> {
        let broken = |side: &Side| matches!(side, Side::Broken(_));
        if self.up(|up| up.sides.iter().any(broken)) {
            return Err("a journal cannot be used: what it holds is not known".to_owned());
        }
        Ok(())
    }

    /// Whether this member's journal takes deposits now.
    pub(super) fn is_group_open(&self) -> bool {
        self.up(|up| {
            up.open(self.me)
                .is_some_and(|open| open.is_taking_deposits())
        })
    }

    /// How it stands, for the story.
    pub(super) fn stands(&self) -> String {
        let standing = self.standing();
        let tips = self.seen().tips();
        let tips = tips.iter().map(|tip| {
            let (term, boot) = tip.epoch.rank();
            format!(
                "{}@{term}.{boot} confirmed {}",
                tip.tip.sequence, tip.confirmed
            )
        });
        format!(
            "{:?} term {} promised {} to {:?}: {}",
            standing.role(self.id()),
            standing.lineage.term(),
            standing.promised(),
            standing
                .promised_to()
                .and_then(|to| self.world.number_of(to)),
            tips.collect::<Vec<_>>().join(", ")
        )
    }

    /// Role of this member.
    pub(super) fn role(&self) -> MemberRole {
        self.look(|at| at.role(self.id()))
    }
}
