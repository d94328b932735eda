//! Package `rjournal-model`: a member takes over from a primary that is lost. Promise, collect, open (rulings 3, 26 to 31).

use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{Closed, InSync, Kind, MemberId, Members, Policy, Term};
use crate::lineage::Lineage;
use crate::rejoin::Taken;
use crate::rules::Broken;
use crate::state::{Event, Extent, Promise, Role, State, Takeover};

impl Group {
    /// A member promises itself the next term; one that handed over itself, the next but one (ruling 28). What it holds in
    /// memory goes to disk.
    pub fn begin_takeover(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.takeovers += 1;
        let handed = state.members[id].role == Role::HandedOver
            && !self.breaks(Broken::HandOverPromisesNothing);
        let member = &mut state.members[id];
        let promised_before = member.promise.term + u8::from(handed);
        member.promise = Promise {
            term: promised_before + 1,
            to: id,
        };
        member.role = Role::Backup;
        member.session = None;
        member.takeover = Some(Takeover {
            heard: Members::NOBODY,
            promised_before: self.followed(promised_before),
        });
        for copy in &mut member.copies.0 {
            copy.flushed = copy.journal.last();
        }
        self.sign(state, id);
        Some(())
    }

    fn followed(&self, term: Term) -> Term {
        if self.follows_policy() { term } else { 0 }
    }

    /// Another promises, durably, and answers with its tip; what is further is taken over at once.
    pub fn collect(&self, state: &mut State, id: MemberId, from: MemberId) -> Option<()> {
        if let Some(handed) = self.handed_to_another(state, id, from) {
            // a higher term, and everybody has to promise again
            let takeover = state.members[id].takeover.as_mut()?;
            takeover.heard = Members::NOBODY;
            takeover.promised_before = takeover.promised_before.max(self.followed(handed));
            state.members[id].promise.term = handed + 1;
            self.reach(Goal::RaisedBeyondHandOver);
            return Some(());
        }
        let asked = state.members[id].promise;
        let theirs = state.members[from].promise;
        if theirs == asked {
            // it had promised this before; it counts with its tip only (ruling 30)
            if !self.breaks(Broken::PromiseCountsWithoutTip) {
                self.take_tail(state, id, from, Taken::FromTheFurthest)?;
            }
        } else if theirs.term >= asked.term {
            // given up; the higher promise is kept
            let member = &mut state.members[id];
            member.promise = theirs;
            member.takeover = None;
            return Some(());
        } else {
            let role = state.members[from].role;
            let member = &mut state.members[from];
            member.promise = asked;
            member.takeover = None;
            if !self.breaks(Broken::LateFlushAcknowledged) {
                member.session = None;
            }
            if matches!(role, Role::Primary | Role::HandedOver) {
                self.demote(state, from);
            }
            if self.take_tail(state, id, from, Taken::FromTheFurthest)? {
                self.reach(Goal::TailCollected);
            }
        }
        let known = state.members[from].known;
        let member = &mut state.members[id];
        member.known |= known;
        let takeover = member.takeover.as_mut()?;
        takeover.heard = takeover.heard.with(from);
        if theirs != asked {
            takeover.promised_before = takeover.promised_before.max(self.followed(theirs.term));
        }
        Some(())
    }

    /// The term that a member has promised to somebody else by its flushed hand-over entry, if this takeover is not above it.
    fn handed_to_another(&self, state: &State, id: MemberId, from: MemberId) -> Option<Term> {
        let member = &state.members[from];
        let last = member.copies[from].journal.entries().last()?;
        let handed = member.promise.term + 1;
        let met = member.role == Role::HandedOver
            && matches!(last.kind, Kind::HandOver(to) if to != id)
            && state.members[id].promise.term <= handed
            && !self.breaks(Broken::HandOverPromisesNothing);
        met.then_some(handed)
    }

    /// The first entry of the term: the close record. Everybody but at most one has promised and was heard (ruling 26), or
    /// loss is accepted.
    pub fn open_term(&self, state: &mut State, id: MemberId, accept_loss: bool) -> Option<()> {
        let member = &state.members[id];
        let takeover = member.takeover?;
        let heard = takeover.heard.with(id);
        let lineage = member.lineage(Extent::Flushed);
        let last = lineage.last()?;
        let missing = Members::first(self.configuration.members).minus(heard);
        let too_few = if self.breaks(Broken::AsksNobody) {
            false
        } else if self.breaks(Broken::AsksOnlyTheNamed) {
            let named = lineage.in_sync().members;
            !named.and(missing).without(last.journal).is_empty()
        } else {
            missing.count() > 1
        };
        if too_few != accept_loss {
            return None;
        }
        let set = InSync {
            members: Members::NOBODY,
            policy: lineage.in_sync().policy,
        };
        let closes = Closed {
            term: last.entry.epoch.term,
            journal: last.journal,
            content: member.copies[last.journal]
                .flushed_journal()
                .up_to(last.sequence),
            loss_accepted: accept_loss,
        };
        let term = member.promise.term;
        if accept_loss {
            state.used.losses += 1;
            state.seen.note(Event::LossAccepted);
        } else if self.follows_policy() && self.keeps_local(takeover, heard, &lineage) {
            state.seen.local_kept |= 1 << term;
        }
        if term > closes.term + 1
            && self
                .told(state, id)
                .is_some_and(|told| told.term > closes.term)
        {
            self.reach(Goal::TermLeftOut);
        }
        let closes = Some(closes);
        self.open(state, id, Kind::Open { closes, set });
        if self.breaks(Broken::FirstEntryShippedBeforeItsFlush) {
            self.sign(state, id);
        }
        Some(())
    }

    /// May this takeover say that no LOCAL answer is lost (ruling 13)? The primary of the last term held was heard, and with
    /// it fenced, or that term's last set entry has a policy under which there are none. And nobody heard had promised a
    /// later term, whose primary may have given them.
    fn keeps_local(&self, takeover: Takeover, heard: Members, lineage: &Lineage) -> bool {
        let Some(last) = lineage.last() else {
            return false;
        };
        let source_heard = heard.contains(last.journal);
        let none_given = lineage.in_sync().policy == Policy::Block;
        let newest = takeover.promised_before <= last.entry.epoch.term
            || self.breaks(Broken::KeptByTheLastSetEntryHeld);
        if none_given && newest && !source_heard {
            self.reach(Goal::KeptByPolicy);
        }
        newest && (source_heard || none_given)
    }
}
