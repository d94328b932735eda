//! Package `rjournal-model`: whose history counts. Term records spread and fence; closed segments are completed from any member
//! that holds them; a primary couples with a member; what is not of the lineage is cut at the fork, archived and taken out
//! of the store.

use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{Closed, Journal, MemberId, PerMember, Sequence};
use crate::lineage::{Lineage, Told};
use crate::rules::Broken;
use crate::state::{Event, Extent, Orphan, Promise, Role, State, TermRecord};

/// From whom a tail may be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// From whoever is further, cutting one's own at the fork (ruling 29).
    FromTheFurthest,
    /// Only what continues one's own chain (ruling 14).
    OnlyOnOwnChain,
}

impl Group {
    /// A member takes over another's term records, durably, and is fenced by them: it accepts nothing of a lower term any
    /// more. Nothing is confirmed by that. A record of the promised term by somebody else is not taken, unless the promise is
    /// one's own and futile; a primary stops, as one term is open in two journals.
    pub fn learn(&self, state: &mut State, id: MemberId, from: MemberId) -> Option<()> {
        let promise = state.members[id].promise;
        let conflict = state
            .known_to(from)
            .any(|record| record.term == promise.term && record.primary != promise.to);
        let records = state.known_to(from).copied();
        let replaced = records
            .filter(|record| record.term == promise.term)
            .any(|record| self.replaces_promise(state, id, &record));
        if conflict && state.members[id].role != Role::Primary && !replaced {
            return None;
        }
        if conflict && !replaced {
            self.demote(state, id);
            state.members[id].role = Role::Stopped;
            self.reach(Goal::Refused);
            return Some(());
        }
        state.members[id].known |= state.members[from].known;
        if replaced {
            state.members[id].promise.to = self.told(state, id)?.primary;
        }
        let told = self.told(state, id)?;
        if told.term > promise.term || replaced {
            if matches!(state.members[id].role, Role::Primary | Role::HandedOver) {
                self.reach(Goal::FencedByRecord);
                self.demote(state, id);
            }
            let member = &mut state.members[id];
            member.promise = Promise {
                term: told.term,
                to: told.primary,
            };
            member.takeover = None;
        }
        Some(())
    }

    /// Does the record of a term take the place of a promise of the same term to another? Who opened the term was heard by all
    /// but one, so whoever this promise was given to has given up, or has yet to find out that it cannot open. Not where
    /// loss was accepted: then the term may be opened twice.
    pub fn replaces_promise(&self, state: &State, id: MemberId, record: &TermRecord) -> bool {
        let member = &state.members[id];
        let mut own = member.copies[id].journal.entries().iter();
        member.role == Role::Backup
            && member.promise.term == record.term
            && member.promise.to != record.primary
            && !record.closes.loss_accepted
            && !own.any(|entry| entry.epoch.term == record.term)
            && !self.breaks(Broken::FutilePromiseKept)
    }

    /// The lineage as the records tell it that a member knows.
    pub fn told(&self, state: &State, id: MemberId) -> Option<Told> {
        let member = &state.members[id];
        if member.known == 0 {
            return None;
        }
        Told::by(&state.known_to(id), member.promise.to)
    }

    /// Are a member's copies of all closed segments, on disk, what their close records say?
    pub fn whole(&self, state: &State, id: MemberId) -> bool {
        match self.told(state, id) {
            Some(told) => self.incomplete(state, id, &told).is_none(),
            None => state.members[id].known == 0,
        }
    }

    fn incomplete(&self, state: &State, id: MemberId, told: &Told) -> Option<Closed> {
        let member = &state.members[id];
        let equal = |closed: &&Closed| {
            let held = member.copies[closed.journal].flushed_journal();
            if self.breaks(Broken::SegmentTakenWithoutItsHead) {
                held.last() >= closed.last()
            } else {
                held.up_to(closed.last()) == closed.content
            }
        };
        told.closed.iter().find(|closed| !equal(closed)).copied()
    }

    /// A member makes its copy of the oldest closed segment that is not whole equal to the record, from any member that holds
    /// it whole: the head proves it. What lies beyond the fork is archived first.
    pub fn complete(&self, state: &mut State, id: MemberId, from: MemberId) -> Option<()> {
        let told = self.told(state, id)?;
        let member = &state.members[id];
        let follows = Promise {
            term: told.term,
            to: told.primary,
        };
        if member.promise != follows {
            return None;
        }
        let closed = self.incomplete(state, id, &told)?;
        let served = state.members[from].copies[closed.journal]
            .flushed_journal()
            .up_to(closed.last());
        let proven = served == closed.content;
        let guessed = self.breaks(Broken::SegmentTakenWithoutItsHead)
            && served.last() > member.copies[closed.journal].flushed;
        if !proven && !guessed {
            return None;
        }
        let mut wanted = self.kept(state, id, &told);
        wanted[closed.journal] = served;
        if self.follow(state, id, &wanted).is_err() {
            self.stop(state, id);
            return Some(());
        }
        let copy = &mut state.members[id].copies[closed.journal];
        copy.journal = served;
        copy.flushed = served.last();
        self.reach(Goal::Completed);
        if from != told.primary {
            self.reach(Goal::CompletedFromAnother);
        }
        Some(())
    }

    /// Each copy as far as it is of the lineage told.
    fn kept(&self, state: &State, id: MemberId, told: &Told) -> PerMember<Journal> {
        let mut wanted = state.members[id].held(Extent::Received);
        for journal in self.ids() {
            let content = wanted[journal];
            wanted[journal] = content.up_to(told.kept(journal, content));
        }
        wanted
    }

    /// A primary, or who has handed over and still ships, reaches a member.
    pub fn couple(&self, state: &mut State, primary: MemberId, id: MemberId) -> Option<()> {
        let (source, member) = (&state.members[primary], &state.members[id]);
        let (theirs, own) = (source.promise, member.promise);
        let (boot, known) = (source.boot, source.known);
        let record = state
            .known_to(primary)
            .find(|record| record.term == theirs.term && record.primary == primary);
        let signed = theirs.term == 1 || record.is_some();
        let replaces = record.is_some_and(|record| self.replaces_promise(state, id, record));
        if own.term > theirs.term {
            if self.handed_elsewhere(state, primary, own) {
                return None;
            }
            // fenced: it learns why
            self.demote(state, primary);
            state.members[primary].promise = own;
            state.members[primary].known |= state.members[id].known;
            return Some(());
        }
        if !signed {
            return None;
        }
        if own.term == theirs.term && own.to != primary && !replaces {
            if member.role != Role::Primary {
                return None;
            }
            for both in [primary, id] {
                self.demote(state, both);
                state.members[both].role = Role::Stopped;
            }
            self.reach(Goal::Refused);
            return Some(());
        }
        if own.term == theirs.term && member.session_boot[primary] > boot {
            self.demote(state, primary);
            state.members[primary].role = Role::Stopped;
            self.reach(Goal::Refused);
            return Some(());
        }
        self.demote(state, id);
        let member = &mut state.members[id];
        member.promise = theirs;
        member.session_boot[primary] = boot;
        member.known |= known;
        member.takeover = None;
        member.acknowledging = None;
        member.session = None;
        let may_follow = self.breaks(Broken::FollowsOverTheHole) || self.whole(state, id);
        if may_follow {
            self.begin_session(state, primary, id);
        }
        Some(())
    }

    fn begin_session(&self, state: &mut State, primary: MemberId, id: MemberId) {
        let mut wanted = match self.told(state, id) {
            Some(told) => self.kept(state, id, &told),
            None => state.members[id].held(Extent::Received),
        };
        wanted[primary] = state.members[primary].copies[primary].journal;
        if self.follow(state, id, &wanted).is_err() {
            self.stop(state, id);
            return;
        }
        let member = &mut state.members[id];
        member.session = Some(primary);
        let flushed = member.copies[primary].flushed;
        state.members[primary].acknowledged[id] = flushed;
    }

    /// An operator must look. Whoever was itself the primary of a term that is left out has confirmed by its own close record
    /// what it closed, and stops as abandoned (ruling 32); nobody else should have to.
    fn stop(&self, state: &mut State, id: MemberId) {
        let lineage = state.members[id].lineage(Extent::Flushed);
        let own_term = lineage.newest().is_some_and(|newest| newest.journal == id);
        state.members[id].role = Role::Stopped;
        if !own_term {
            state.seen.note(Event::ForkBelowConfirmed);
        }
        self.reach(Goal::Refused);
    }

    /// Takes over the flushed tail of another, if that is further. Whether it was; nothing when the fork lies below what is
    /// confirmed here.
    pub fn take_tail(
        &self,
        state: &mut State,
        id: MemberId,
        from: MemberId,
        taken: Taken,
    ) -> Option<bool> {
        let here = state.members[id].lineage(Extent::Flushed);
        let there = state.members[from].lineage(Extent::Flushed);
        let longest = self.breaks(Broken::FurthestIsLongest) && taken == Taken::FromTheFurthest;
        let further = if longest {
            there.count() > here.count()
        } else {
            there.tip() > here.tip()
        };
        if !further {
            return Some(false);
        }
        let wanted = there.journals();
        let forked = |journal: MemberId| {
            let held = state.members[id].copies[journal].journal;
            held.common(wanted[journal]) < held.last()
        };
        if taken == Taken::OnlyOnOwnChain && self.ids().any(forked) {
            return Some(false);
        }
        self.follow(state, id, &wanted).ok()?;
        let known = state.members[from].known;
        let member = &mut state.members[id];
        for (copy, wanted) in member.copies.0.iter_mut().zip(wanted.0) {
            copy.journal = wanted;
            copy.flushed = wanted.last();
        }
        member.known |= known;
        Some(true)
    }

    /// Cuts each copy at its fork with what is wanted, into the archive, and takes out of the store what was decided beyond.
    /// Refused, with nothing changed, when a fork lies below what is confirmed.
    fn follow(
        &self,
        state: &mut State,
        id: MemberId,
        wanted: &PerMember<Journal>,
    ) -> Result<(), ForkBelowConfirmed> {
        let member = &state.members[id];
        let before = member.lineage(Extent::Received);
        let mut forks = PerMember::default();
        for journal in self.ids() {
            let held = member.copies[journal].journal;
            forks[journal] = held.common(wanted[journal]);
            let cut = forks[journal] < held.last();
            if cut && forks[journal] < self.confirmed(state, id, journal) {
                return Err(ForkBelowConfirmed);
            }
        }
        let mut cut = false;
        for journal in self.ids() {
            let (copy, fork) = (state.members[id].copies[journal], forks[journal]);
            if fork == copy.journal.last() {
                continue;
            }
            cut = true;
            self.reach(Goal::Orphaned);
            if copy.relied_on > fork {
                state.seen.note(Event::ConfirmedCut);
            }
            if !self.breaks(Broken::CutWithoutArchive) {
                state.archive(Orphan {
                    journal,
                    content: copy.journal,
                    fork,
                });
            }
            state.members[id].copies[journal].cut(fork);
        }
        if cut {
            let after = state.members[id].lineage(Extent::Received);
            self.undo(state, id, &before, before.common(&after));
        }
        Ok(())
    }

    /// A close record confirms every segment before it once it is on this disk (rulings 6 and 31): while the promise is still
    /// that of its term. A write that was late, behind a higher promise, confirms nothing, as its term may be left out.
    pub fn confirm_closed(&self, state: &mut State, id: MemberId) {
        let member = &state.members[id];
        let lineage = member.lineage(Extent::Flushed);
        let Some(newest) = lineage.last() else {
            return;
        };
        let of_promise =
            newest.entry.epoch.term == member.promise.term && newest.journal == member.promise.to;
        let counts = of_promise || self.breaks(Broken::LateCloseRecordConfirms);
        if !counts || self.breaks(Broken::ClosedSegmentNotConfirmed) {
            return;
        }
        for segment in lineage.segments().iter().rev().skip(1) {
            let copy = &mut state.members[id].copies[segment.journal];
            copy.confirmed = copy.confirmed.max(segment.last);
            copy.confirmed_flushed = copy.confirmed_flushed.max(segment.last);
        }
    }

    /// How much of a journal counts as confirmed at a member, for the rule of the fork.
    fn confirmed(&self, state: &State, id: MemberId, journal: MemberId) -> Sequence {
        let by_record = if self.breaks(Broken::RecordAloneConfirms) {
            self.confirmed_by_record(state, id, journal)
        } else {
            0
        };
        by_record.max(state.members[id].copies[journal].confirmed)
    }

    /// How much of a copy the term records close, as far as it is held: no ground to count it as confirmed.
    fn confirmed_by_record(&self, state: &State, id: MemberId, journal: MemberId) -> Sequence {
        let held = state.members[id].copies[journal].flushed_journal();
        let told = self.told(state, id);
        let closed = told.iter().flat_map(|told| told.closed.iter());
        closed
            .filter(|closed| closed.journal == journal)
            .map(|closed| held.common(closed.content))
            .max()
            .unwrap_or(0)
    }

    /// How many leading entries of a lineage are confirmed at a member that holds it.
    pub fn confirmed_entries(&self, state: &State, id: MemberId, lineage: &Lineage) -> usize {
        let member = &state.members[id];
        let mut recorded = PerMember::default();
        if self.breaks(Broken::RecordAloneConfirms) {
            for journal in self.ids() {
                recorded[journal] = self.confirmed_by_record(state, id, journal);
            }
        }
        lineage
            .entries()
            .take_while(|placed| {
                let confirmed = member.copies[placed.journal].confirmed;
                placed.sequence <= confirmed.max(recorded[placed.journal])
            })
            .count()
    }
}

/// The fork lies below what is confirmed: an operator must look.
struct ForkBelowConfirmed;
