//! Package `rjournal-model`: a planned switch. The hand-over entry on both disks closes the term, and is the old primary's
//! promise of the next one to the member it names (ruling 28); it can be taken back in contact, under the next but one.

use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{Closed, Entry, InSync, Kind, MemberId, Members};
use crate::rules::Broken;
use crate::state::{Answer, Promise, Role, State};

impl Group {
    /// A primary that has answered everything, and whose target has everything, puts in the hand-over entry.
    pub fn hand_over(&self, state: &mut State, id: MemberId, to: MemberId) -> Option<()> {
        let member = &state.members[id];
        let own = member.copies[id];
        let last = own.journal.last();
        let drained = !state.answers.contains(&Answer::Waiting(id))
            && self.open_cycle(state, id).is_none()
            && own.flushed == last
            && member.acknowledged[to] == last;
        if !drained || !self.set_of(state, id).members.contains(to) {
            return None;
        }
        state.used.hand_overs += 1;
        let member = &mut state.members[id];
        let epoch = member.own_epoch();
        member.copies[id].journal = own.journal.with(Entry {
            epoch,
            kind: Kind::HandOver(to),
        });
        member.role = Role::HandedOver;
        member.open = false;
        Some(())
    }

    /// The target, with the entry on both disks, opens its term.
    pub fn take_hand_over(&self, state: &mut State, id: MemberId) -> Option<()> {
        let from = self.session_of(state, id)?;
        let copy = state.members[id].copies[from];
        let last = copy.journal.entries().last()?;
        let on_both = copy.flushed == copy.journal.last() && copy.confirmed == copy.flushed;
        let handed = state.members[from].role == Role::HandedOver;
        if last.kind != Kind::HandOver(id) || !handed || !on_both {
            return None;
        }
        state.members[id].promise = Promise {
            term: last.epoch.term + 1,
            to: id,
        };
        self.reach(Goal::HandedOver);
        self.open_after(state, id, from)
    }

    /// Who handed over goes on under term + 2, which the target promises in the same exchange.
    pub fn abort_hand_over(&self, state: &mut State, id: MemberId, to: MemberId) -> Option<()> {
        let own = state.members[id].copies[id];
        let promise = state.members[id].promise;
        let entry_flushed = own.flushed == own.journal.last();
        let untouched = state.members[to].promise == promise && promise.to == id;
        if !entry_flushed || !untouched {
            return None;
        }
        let promise = Promise {
            term: promise.term + 2,
            to: id,
        };
        let target = &mut state.members[to];
        target.promise = promise;
        target.session = None;
        target.acknowledging = None;
        state.members[id].promise = promise;
        self.reach(Goal::Aborted);
        self.open_after(state, id, id)
    }

    /// Is this promise one that a member which has handed over must not follow, as its own flushed hand-over entry is a
    /// promise of that term to another?
    pub fn handed_elsewhere(&self, state: &State, id: MemberId, promise: Promise) -> bool {
        let member = &state.members[id];
        let last = member.copies[id].flushed_journal().entries().last();
        member.role == Role::HandedOver
            && !self.breaks(Broken::HandOverPromisesNothing)
            && !self.breaks(Broken::HandOverForgottenOnContact)
            && promise.term == member.promise.term + 1
            && matches!(last.map(|last| last.kind), Some(Kind::HandOver(to)) if to != promise.to)
    }

    /// Opens a term that closes all that is on this disk of another's, or one's own, journal.
    fn open_after(&self, state: &mut State, id: MemberId, journal: MemberId) -> Option<()> {
        let content = state.members[id].copies[journal].flushed_journal();
        let term = content.entries().last()?.epoch.term;
        let policy = content.entries().iter().rev().find_map(Entry::set)?.policy;
        let closes = Some(Closed {
            term,
            journal,
            content,
            loss_accepted: false,
        });
        let set = InSync {
            members: Members::NOBODY,
            policy,
        };
        self.open(state, id, Kind::Open { closes, set });
        Some(())
    }
}
