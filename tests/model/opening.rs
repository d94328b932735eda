//! Package `rjournal-model`: losing power, starting, and opening one's journal again: by asking (rulings 14 and 27), by an
//! operator's word, from an older journal.

use crate::goals::Goal;
use crate::group::{Group, unknown};
use crate::journal::{Kind, MemberId, Members, PerMember, Sequence};
use crate::lineage::decisions;
use crate::rejoin::Taken;
use crate::rules::Broken;
use crate::state::{Event, Extent, Promise, Role, State};

impl Group {
    /// What is not on disk is gone. Keeping a part of it is the same as an earlier flush.
    pub fn crash(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.crashes += 1;
        unknown(state, id);
        let member = &mut state.members[id];
        member.up = false;
        member.open = false;
        member.session = None;
        member.acknowledged = PerMember::default();
        member.takeover = None;
        member.acknowledging = None;
        for copy in &mut member.copies.0 {
            copy.journal = copy.flushed_journal();
            copy.confirmed = copy.confirmed_flushed;
        }
        let term = member.promise.term;
        let own = member.copies[id].journal.entries();
        let wrote = |kind: fn(&Kind) -> bool| {
            own.iter()
                .any(|entry| entry.epoch.term == term && kind(&entry.kind))
        };
        if member.role == Role::Primary && !wrote(|_| true) {
            member.role = Role::Backup;
        }
        if member.role == Role::HandedOver && !wrote(|kind| matches!(kind, Kind::HandOver(_))) {
            member.role = Role::Primary;
        }
        Some(())
    }

    /// A primary opens its journal after a start: it asks every member of its recorded set, and at least one; adopts the
    /// furthest tip on its own chain; and is demoted by whoever knows a higher promise.
    pub fn open_asking(&self, state: &mut State, id: MemberId, asked: Members) -> Option<()> {
        let recorded = state.members[id].lineage(Extent::Flushed).in_sync().members;
        let enough = !asked.is_empty() && recorded.minus(asked).is_empty();
        if asked.contains(id) || !enough && !self.breaks(Broken::OpensWithoutContact) {
            return None;
        }
        let promise = state.members[id].promise;
        let highest = asked
            .each()
            .map(|other| state.members[other].promise)
            .max_by_key(|other| other.term);
        let equal_demotes = |theirs: Promise| {
            self.breaks(Broken::DemotedByAnEqualTerm)
                && theirs.term == promise.term
                && theirs.to != id
        };
        if let Some(highest) = highest
            && (highest.term > promise.term || equal_demotes(highest))
        {
            self.demote(state, id);
            state.members[id].promise = highest;
            for other in asked.each() {
                state.members[id].known |= state.members[other].known;
            }
            return Some(());
        }
        let to_another = |other: MemberId| {
            let theirs = state.members[other].promise;
            theirs.term == promise.term && theirs.to != id
        };
        let record = state
            .known_to(id)
            .find(|record| record.term == promise.term && record.primary == id);
        let gives_up = |other: MemberId| {
            record.is_some_and(|record| self.replaces_promise(state, other, record))
        };
        if asked
            .each()
            .any(|other| to_another(other) && !gives_up(other))
        {
            return None;
        }
        for other in asked.each() {
            if self.take_tail(state, id, other, Taken::OnlyOnOwnChain)? {
                self.reach(Goal::Adopted);
            }
        }
        state.members[id].boot += 1;
        let (boot, known) = (state.members[id].boot, state.members[id].known);
        for other in asked.each() {
            self.demote(state, other);
            let member = &mut state.members[other];
            member.promise = promise;
            member.session_boot[id] = boot;
            member.known |= known;
            member.session = None;
            member.acknowledging = None;
            member.takeover = None;
        }
        let second = self.ids().any(|other| {
            let member = &state.members[other];
            other != id && member.live(other) && member.promise.term > promise.term
        });
        if second {
            state.seen.note(Event::SecondOpened);
        }
        self.open_boot(state, id)
    }

    /// A primary opens its journal without having asked anybody: an operator's audited act.
    pub fn open_alone(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.openings_alone += 1;
        state.seen.note(Event::OpenedAlone);
        state.members[id].boot += 1;
        self.open_boot(state, id)
    }

    fn open_boot(&self, state: &mut State, id: MemberId) -> Option<()> {
        let set = state.members[id].lineage(Extent::Flushed).in_sync();
        self.open(state, id, Kind::Open { closes: None, set });
        Some(())
    }

    /// The journal of a primary that is down becomes an older one, and its store with it.
    pub fn restore(&self, state: &mut State, id: MemberId, last: Sequence) -> Option<()> {
        state.used.restores += 1;
        state.seen.note(Event::Restored);
        let member = &mut state.members[id];
        member.copies[id].cut(last);
        member.copies[id].relied_on = member.copies[id].relied_on.min(last);
        let lineage = member.lineage(Extent::Flushed);
        member.store.applied = member.store.applied.min(lineage.count() as u8);
        member.store.decisions =
            decisions(lineage.entries().take(usize::from(member.store.applied)));
        Some(())
    }
}
