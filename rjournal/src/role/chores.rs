//! Room `role`: what a member has to do so that its journals are what its standing says: its own open or at rest, closed segments
//! complete before anything later is followed (ruling 6), confirmed once their close record is flushed here (ruling 31), the
//! others fed by a primary, a role taken that was handed over. One list, looked up again after each turn. Must not know how a
//! chore is done.

use crate::entry::{ChainHead, HandOver, JournalId, Position, Sequence, SystemId};
use crate::remote::{GroupNews, JournalTip, MemberRole};

use super::standing::Standing;

/// What the own journal of a member is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnJournal {
    /// Open for deposits, or being handed over.
    Open,
    /// It asks before it opens.
    Opening,
    /// It rests like a copy.
    Resting,
    /// It cannot be used.
    Broken,
}

/// What a member holds of one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// How far.
    pub tip: JournalTip,
    /// Its chain head where the last closed segment of the journal ends, as [`Standing::end_of`] says; nothing where that is not
    /// here.
    pub head_at_end: Option<ChainHead>,
    /// The last term whose first entry is flushed in it.
    pub term: u64,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// This member.
    pub me: SystemId,
    /// Its standing.
    pub standing: &'a Standing,
    /// What it holds, its own journal too.
    pub held: &'a [Held],
    /// Its own journal.
    pub own: OwnJournal,
    /// What others said last; who could not be asked the last time is left out.
    pub heard: &'a [&'a GroupNews],
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chore {
    /// The own journal goes to rest.
    Rest,
    /// What this member holds of a journal behind this position is in no segment: it is archived.
    SetAside {
        /// The journal.
        journal: JournalId,
        /// The last entry that stays.
        end: Position,
    },
    /// A closed segment is not whole here: it is fetched from one of these.
    Fetch {
        /// The journal.
        journal: JournalId,
        /// Where it ends: what lies behind is in no term, and may be confirmed with whoever wrote it.
        upto: Sequence,
        /// Who may have it, in the order in which they are to be asked.
        from: Vec<SystemId>,
    },
    /// The first entry of this term is flushed here: that is to be kept.
    NoteFlushed(u64),
    /// Everything up to here is confirmed by a close record that is flushed here.
    Close {
        /// The journal.
        journal: JournalId,
        /// The entry.
        upto: Sequence,
    },
    /// As primary: these follow and are to be fed.
    Feed(Vec<SystemId>),
    /// As primary that was started again: another member was heard and knows of no higher term.
    LetOpen,
    /// The role was handed to this member: once its copy ends with this entry it opens the next term.
    TakeOverHanded {
        /// Who handed over.
        from: SystemId,
        /// The entry.
        handed: HandOver,
        /// Where it is.
        at: Position,
    },
}

impl View<'_> {
    fn held(&self, journal: JournalId) -> Option<&Held> {
        self.held.iter().find(|held| held.tip.journal == journal)
    }

    /// The journals of which something is missing, or something is too much: their ends, and whether it is only too much.
    pub fn lacking(&self) -> Vec<(JournalId, Position, bool)> {
        let journals = self
            .standing
            .group
            .members
            .iter()
            .map(|member| member.journal);
        let lacking = journals.filter_map(|journal| {
            let current = self.standing.lineage.is_current(journal);
            let newest = self.standing.lineage.newest();
            // A journal that a later term goes on in begins where that does; the first term begins it.
            let begins = newest.filter(|newest| current && newest.closed.is_some());
            let begins = begins.map(|newest| newest.begins);
            let end = self.standing.end_of(journal).or(begins)?;
            let held = self.held(journal);
            let has_end = end.sequence == Sequence::NONE
                || held.is_some_and(|held| {
                    // A copy that was loaded later begins behind what it needs no more.
                    held.tip.oldest.sequence > end.sequence
                        || held.tip.tip == end
                        || held.head_at_end == Some(end.head)
                });
            let beyond = held.is_some_and(|held| held.tip.tip.sequence > end.sequence);
            // Of the term that goes on is what came of it; what an earlier one left behind, which is in no history, is not.
            let mine = newest.is_some_and(|newest| newest.primary == self.me);
            let earlier = 1..self.standing.lineage.term();
            let left = held.is_some_and(|held| earlier.contains(&held.tip.epoch.term));
            let left = left && !mine;
            let too_much = beyond && (!current || begins.is_some() && left);
            (!has_end || too_much).then_some((journal, end, has_end))
        });
        lacking.collect()
    }

    /// The term this member follows: 0 while something keeps it from it.
    pub fn follows(&self) -> u64 {
        let standing = self.standing;
        let claimed = standing.promised() > standing.lineage.term();
        if claimed || standing.stopped.is_some() || !self.lacking().is_empty() {
            0
        } else {
            standing.lineage.term()
        }
    }

    /// What is to be done now, in this order.
    pub fn chores(&self) -> Vec<Chore> {
        let standing = self.standing;
        let role = standing.role(self.me);
        let writes = matches!(role, MemberRole::Primary | MemberRole::HandedOver);
        let mut chores = Vec::new();
        if !writes && matches!(self.own, OwnJournal::Open | OwnJournal::Opening) {
            chores.push(Chore::Rest);
            return chores;
        }
        if role == MemberRole::Stopped {
            return chores;
        }
        for (journal, end, has_end) in self.lacking() {
            let held = self.held(journal);
            // What is confirmed beyond the end is nowhere to be fetched to: it is told, and its member stops (ruling 32).
            let ahead = held.is_some_and(|held| held.tip.confirmed > end.sequence);
            chores.push(if has_end || ahead {
                Chore::SetAside { journal, end }
            } else {
                let from = self.who_may_have(journal, end);
                Chore::Fetch {
                    journal,
                    upto: end.sequence,
                    from,
                }
            });
        }
        self.closing(&mut chores);
        if role == MemberRole::Primary && self.own == OwnJournal::Opening && self.is_heard() {
            chores.push(Chore::LetOpen);
        }
        if role == MemberRole::Primary && self.own == OwnJournal::Open {
            let term = standing.lineage.term();
            let follow = self.heard.iter().filter(|news| news.follows == term);
            chores.push(Chore::Feed(follow.map(|news| news.system).collect()));
        }
        chores.extend(self.handed_to_me());
        chores
    }

    /// Members that have a closed segment whole, the primary first.
    fn who_may_have(&self, journal: JournalId, end: Position) -> Vec<SystemId> {
        let primary = self.standing.lineage.newest().map(|newest| newest.primary);
        let has = |news: &&&GroupNews| {
            let tip = news.tips.iter().find(|tip| tip.journal == journal);
            tip.is_some_and(|tip| tip.tip.sequence >= end.sequence)
        };
        let mut who: Vec<SystemId> = self
            .heard
            .iter()
            .filter(has)
            .map(|news| news.system)
            .collect();
        who.sort_by_key(|system| Some(*system) != primary);
        who
    }

    /// What a flushed close record says: while the promise is that of its term. One that came to the disk behind a higher promise
    /// confirms nothing, as its term may be left out of the history.
    fn closing(&self, chores: &mut Vec<Chore>) {
        let standing = self.standing;
        let Some(newest) = standing.lineage.newest() else {
            return;
        };
        if standing.promised() > newest.term {
            return;
        }
        let mut flushed = standing.flushed;
        let here = self.held(newest.journal).map_or(0, |held| held.term);
        if flushed < newest.term && here == newest.term {
            chores.push(Chore::NoteFlushed(newest.term));
            flushed = newest.term;
        }
        if flushed < newest.term {
            return;
        }
        for member in &standing.group.members {
            let Some(end) = standing.lineage.end_of(member.journal) else {
                continue;
            };
            let held = self.held(member.journal);
            let open = member.system == self.me && self.own != OwnJournal::Resting;
            if !open
                && held.is_some_and(|held| {
                    held.tip.confirmed < end.sequence && held.tip.tip.sequence >= end.sequence
                })
            {
                chores.push(Chore::Close {
                    journal: member.journal,
                    upto: end.sequence,
                });
            }
        }
    }

    /// A member that has more of this member's own journal confirmed than is here, and that the opening does not ask: this system
    /// was restored from a backup, and what it lacks may have been answered (failures.md RST-1, COU-4). Gives it, and up to which
    /// entry. A crash alone never leaves less here than is confirmed elsewhere.
    pub fn restored_behind(&self, asked: &[SystemId]) -> Option<(SystemId, Sequence)> {
        let own = self.standing.group.member(self.me)?.journal;
        let here = self.held(own)?.tip.tip.sequence;
        let others = self.heard.iter();
        let confirmed = others
            .filter(|news| !asked.contains(&news.system))
            .filter_map(|news| {
                let tip = news.tips.iter().find(|tip| tip.journal == own)?;
                Some((news.system, tip.confirmed))
            });
        confirmed
            .filter(|(_, confirmed)| *confirmed > here)
            .max_by_key(|(_, confirmed)| *confirmed)
    }

    /// Whether another member was heard that knows of no higher term (ruling 14).
    fn is_heard(&self) -> bool {
        let promised = self.standing.promised();
        self.heard.iter().any(|news| {
            let claimed = news.claim.map_or(0, |claim| claim.term);
            let opened = news.lineage.last().map_or(0, |record| record.term);
            claimed.max(opened) <= promised
        })
    }

    /// A hand-over to this member that the primary of the newest term says is flushed there, and that is not taken yet.
    pub fn handed_to_me(&self) -> Option<Chore> {
        let standing = self.standing;
        let newest = standing.lineage.newest()?;
        let news = self
            .heard
            .iter()
            .find(|news| news.system == newest.primary)?;
        let (handed, at) = news.handed_over?;
        let to_me =
            handed.to == self.me && handed.term == newest.term && handed.group == standing.group.id;
        let role = standing.role(self.me);
        // One that crashed behind its claim goes on.
        let claimed = standing
            .claim
            .is_some_and(|claim| claim.term == handed.term + 1);
        let may = role == MemberRole::Backup || (role == MemberRole::Claiming && claimed);
        (to_me && may).then_some(Chore::TakeOverHanded {
            from: newest.primary,
            handed,
            at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::{at, group, journal, lineage, record, system};
    use super::*;
    use crate::entry::{Epoch, Timestamp};

    fn held(writer: u8, tip: u64, confirmed: u64) -> Held {
        Held {
            tip: JournalTip {
                journal: journal(writer),
                oldest: at(writer, 0),
                tip: at(writer, tip),
                epoch: Epoch::NONE,
                confirmed: Sequence::new(confirmed),
            },
            head_at_end: None,
            term: 0,
        }
    }

    fn news(of: u8, follows: u64, tips: &[Held]) -> GroupNews {
        GroupNews {
            system: system(of),
            group: group(3),
            lineage: Vec::new(),
            claim: None,
            role: MemberRole::Backup,
            tips: tips.iter().map(|held| held.tip).collect(),
            follows,
            open: false,
            handed_over: None,
            applied: None,
            paths: Vec::new(),
            health: None,
            at: Timestamp::ZERO,
        }
    }

    /// Term 1 of system 1 ended with entry 105, term 2 is system 2's.
    fn taken_over() -> Standing {
        let records = [record(1, 1, 0, None), record(2, 2, 0, Some((1, 1, 105)))];
        Standing::new(group(3), lineage(&records))
    }

    fn view<'a>(
        me: u8,
        standing: &'a Standing,
        held: &'a [Held],
        own: OwnJournal,
        heard: &'a [&'a GroupNews],
    ) -> View<'a> {
        View {
            me: system(me),
            standing,
            held,
            own,
            heard,
        }
    }

    #[test]
    fn a_closed_segment_is_fetched_from_whoever_has_it_before_the_next_term_is_followed() {
        let standing = taken_over();
        let (short, whole) = (held(1, 100, 100), held(1, 105, 104));
        let (two, three) = (news(2, 2, &[whole]), news(3, 0, &[short]));
        let heard = [&three, &two];
        let mine = [short];
        let seen = view(1, &standing, &mine, OwnJournal::Resting, &heard);
        assert_eq!(seen.follows(), 0);
        assert_eq!(
            seen.chores(),
            [Chore::Fetch {
                journal: journal(1),
                upto: Sequence::new(105),
                from: vec![system(2)]
            }]
        );
    }

    #[test]
    fn what_lies_beyond_a_closed_segment_is_set_aside_and_what_is_in_no_term_at_all_too() {
        let standing = taken_over();
        let mut long = held(1, 120, 0);
        long.head_at_end = Some(at(1, 105).head);
        let mine = [long, held(2, 7, 0), held(3, 4, 0)];
        let seen = view(1, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(
            seen.chores(),
            [
                Chore::SetAside {
                    journal: journal(1),
                    end: at(1, 105)
                },
                Chore::SetAside {
                    journal: journal(3),
                    end: Position {
                        sequence: Sequence::NONE,
                        head: ChainHead::genesis(journal(3))
                    }
                }
            ]
        );
    }

    /// A copy with entries of a term that history left out, in the journal in which a later term went on, was refused as one that
    /// had another history, for ever, and said nothing.
    #[test]
    fn what_a_left_out_term_put_into_the_journal_of_the_newest_is_set_aside() {
        let mut standing = taken_over();
        standing.flushed = 2;
        let term = |term| Epoch {
            term,
            boot: 1,
            nonce: 7,
        };
        let mut left = held(2, 100, 100);
        left.tip.epoch = term(1);
        let mine = [held(1, 105, 105), left];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        let end = standing.lineage.newest().expect("two terms").begins;
        let aside = Chore::SetAside {
            journal: journal(2),
            end,
        };
        assert_eq!(seen.chores(), [aside]);
        assert_eq!(seen.follows(), 0);
        left.tip.epoch = term(2);
        let mine = [held(1, 105, 105), left];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!((seen.chores(), seen.follows()), (Vec::new(), 2));
    }

    /// It was asked for again and again, and refused every time.
    #[test]
    fn a_copy_that_forks_and_is_confirmed_beyond_the_end_is_not_fetched() {
        let standing = taken_over();
        let mine = [held(1, 120, 110)];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(
            seen.chores(),
            [Chore::SetAside {
                journal: journal(1),
                end: at(1, 105)
            }]
        );
        let mine = [held(1, 120, 104)];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert!(matches!(seen.chores()[..], [Chore::Fetch { .. }]));
    }

    #[test]
    fn a_close_record_confirms_once_its_entry_is_flushed_here() {
        let mut standing = taken_over();
        let whole = held(1, 105, 100);
        let mut next = held(2, 3, 0);
        let mine = [whole, next];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.follows(), 2);
        assert_eq!(seen.chores(), [], "the record alone confirms nothing");
        next.term = 2;
        let close = Chore::Close {
            journal: journal(1),
            upto: Sequence::new(105),
        };
        let mine = [whole, next];
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.chores(), [Chore::NoteFlushed(2), close.clone()]);
        standing.flushed = 2;
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.chores(), [close]);
    }

    #[test]
    fn a_close_record_confirms_nothing_behind_a_higher_promise() {
        let mut standing = taken_over();
        let mut next = held(2, 3, 0);
        next.term = 2;
        let mine = [held(1, 105, 100), next];
        let claim = crate::entry::TermClaim {
            group: standing.group.id,
            term: 3,
            system: system(1),
            proof: crate::entry::Proof::NONE,
        };
        standing.handle_claim(system(3), claim);
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.chores(), []);
        standing.claim = None;
        let seen = view(3, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.chores().len(), 2);
    }

    #[test]
    fn a_demoted_primary_rests_before_anything_else_and_a_stopped_member_does_nothing() {
        let mut standing = taken_over();
        let mine = [held(1, 120, 0)];
        let seen = view(1, &standing, &mine, OwnJournal::Open, &[]);
        assert_eq!(seen.chores(), [Chore::Rest]);
        standing.stopped = Some(super::super::Stop::Conflict { term: 2 });
        let seen = view(1, &standing, &mine, OwnJournal::Resting, &[]);
        assert_eq!(seen.chores(), []);
    }

    #[test]
    fn a_primary_feeds_who_follows_and_opens_again_only_when_it_heard_somebody() {
        let mut standing = taken_over();
        standing.flushed = 2;
        let mine = [held(1, 105, 105), held(2, 3, 3)];
        let (one, three) = (news(1, 0, &[]), news(3, 2, &[]));
        let heard = [&one, &three];
        let seen = view(2, &standing, &mine, OwnJournal::Open, &heard);
        assert_eq!(seen.chores(), [Chore::Feed(vec![system(3)])]);
        let seen = view(2, &standing, &mine, OwnJournal::Opening, &[]);
        assert_eq!(seen.chores(), []);
        let seen = view(2, &standing, &mine, OwnJournal::Opening, &heard);
        assert_eq!(seen.chores(), [Chore::LetOpen]);
    }

    #[test]
    fn a_primary_that_lacks_what_is_confirmed_elsewhere_was_restored_and_a_crashed_one_was_not() {
        let standing = Standing::new(group(3), lineage(&[record(1, 1, 0, None)]));
        let mine = [held(1, 50, 50)];
        let behind = |tip, confirmed, asked: &[u8]| {
            let two = news(2, 1, &[held(1, tip, confirmed)]);
            let three = news(3, 1, &[held(1, 51, 50)]);
            let heard = [&two, &three];
            let seen = view(1, &standing, &mine, OwnJournal::Opening, &heard);
            let asked: Vec<SystemId> = asked.iter().copied().map(system).collect();
            seen.restored_behind(&asked)
        };
        assert_eq!(behind(60, 50, &[]), None, "a tail nobody flushed here");
        assert_eq!(behind(60, 58, &[]), Some((system(2), Sequence::new(58))));
        assert_eq!(behind(60, 58, &[2]), None, "the opening adopts it");
    }

    #[test]
    fn a_hand_over_is_taken_by_whom_it_names() {
        let standing = Standing::new(group(3), lineage(&[record(1, 1, 0, None)]));
        let handed = HandOver {
            group: standing.group.id,
            term: 1,
            to: system(2),
        };
        let mut told = news(1, 1, &[]);
        told.handed_over = Some((handed, at(1, 50)));
        let heard = [&told];
        let mine = [held(1, 50, 50)];
        let taken = |me| {
            let seen = view(me, &standing, &mine, OwnJournal::Resting, &heard);
            seen.chores()
                .iter()
                .any(|chore| matches!(chore, Chore::TakeOverHanded { .. }))
        };
        assert!(taken(2));
        assert!(!taken(3));
    }
}
