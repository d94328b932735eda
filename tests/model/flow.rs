//! Package `rjournal-model`: the way of an entry within a term. Deposited, flushed, shipped, acknowledged, confirmed, answered;
//! and the set and the policy that answers rest on.

use crate::few::Few;
use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{DepositId, Entry, InSync, Kind, MemberId, Members, Policy, Sequence};
use crate::rules::Broken;
use crate::state::{Acknowledgement, Answer, State, TermRecord};

impl Group {
    /// A single change, decided by itself.
    pub fn deposit(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.deposits += 1;
        let deposit = state.answers.len() as DepositId;
        state.answers.push(Answer::Waiting(id));
        put_in(state, id, Kind::Deposit(deposit))
    }

    /// A commit cycle begins; nobody waits yet.
    pub fn begin(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.cycles += 1;
        state.used.deposits += 1;
        let cycle = state.answers.len() as DepositId;
        state.answers.push(Answer::Undecided);
        put_in(state, id, Kind::Begin(cycle))
    }

    /// The open cycle is decided.
    pub fn commit(&self, state: &mut State, id: MemberId) -> Option<()> {
        let cycle = self.open_cycle(state, id)?;
        state.answers[usize::from(cycle)] = Answer::Waiting(id);
        put_in(state, id, Kind::Commit(cycle))
    }

    /// The cycle that is open at a primary.
    pub fn open_cycle(&self, state: &State, id: MemberId) -> Option<DepositId> {
        let member = &state.members[id];
        let own = member.copies[id].journal.entries().iter().rev();
        own.take_while(|entry| entry.epoch == member.own_epoch())
            .find_map(|entry| match entry.kind {
                Kind::Begin(cycle) => Some(Some(cycle)),
                Kind::Commit(_) | Kind::Open { .. } => Some(None),
                _ => None,
            })
            .flatten()
    }

    /// Everything held goes to disk, and is acknowledged if the session still stands: its epoch is compared with the promise
    /// once more (ruling 2).
    pub fn flush(&self, state: &mut State, id: MemberId) -> Option<()> {
        let session = self.session_of(state, id);
        let late = state.members[id].session;
        let member = &mut state.members[id];
        for copy in &mut member.copies.0 {
            copy.flushed = copy.journal.last();
            if self.breaks(Broken::ConfirmationUsedBeforeDurable) {
                copy.confirmed_flushed = copy.confirmed;
            }
        }
        let answers_to = match session {
            None if self.breaks(Broken::LateFlushAcknowledged) => late,
            session => session,
        };
        if let Some(source) = answers_to {
            let epoch = state.members[source].own_epoch();
            let member = &mut state.members[id];
            member.acknowledging = Some(Acknowledgement {
                source,
                epoch,
                flushed: member.copies[source].flushed,
            });
        }
        self.sign(state, id);
        self.confirm_closed(state, id);
        Some(())
    }

    /// The first entry of a term on its writer's disk is the signed record of the term, whatever its writer is by then:
    /// whoever holds the entry holds the record.
    pub fn sign(&self, state: &mut State, id: MemberId) {
        let own = &state.members[id].copies[id];
        let held = if self.breaks(Broken::FirstEntryShippedBeforeItsFlush) {
            own.journal
        } else {
            own.flushed_journal()
        };
        for entry in held.entries() {
            let Kind::Open {
                closes: Some(closes),
                ..
            } = entry.kind
            else {
                continue;
            };
            let term = entry.epoch.term;
            let known = |record: &TermRecord| record.term == term && record.primary == id;
            if !state.known_to(id).any(known) {
                state.members[id].known |= 1 << state.records.len();
                state.records.push(TermRecord {
                    term,
                    primary: id,
                    closes,
                });
            }
        }
    }

    /// The next entry of a primary goes to a member it is coupled with.
    pub fn ship(&self, state: &mut State, from: MemberId, to: MemberId) -> Option<()> {
        let source = state.members[from].copies[from].journal;
        let copy = &mut state.members[to].copies[from];
        copy.journal = copy.journal.with(source.entry(copy.journal.last() + 1));
        Some(())
    }

    /// A member hears what is on the source's disk. It counts once it is durable here (ruling 15).
    pub fn confirm(&self, state: &mut State, id: MemberId) -> Option<()> {
        let source = self.session_of(state, id)?;
        let written = state.members[source].copies[source].flushed;
        let copy = &mut state.members[id].copies[source];
        let confirmed = written.min(copy.flushed);
        if confirmed <= copy.confirmed {
            return None;
        }
        copy.confirmed = confirmed;
        if !self.breaks(Broken::ConfirmationUsedBeforeDurable) {
            copy.confirmed_flushed = confirmed;
            copy.relied_on = copy.relied_on.max(confirmed);
        }
        Some(())
    }

    /// A source learns what is on a member's disk.
    pub fn acknowledgement_arrives(&self, state: &mut State, id: MemberId) -> Option<()> {
        let arrived = state.members[id].acknowledging.take()?;
        if self.reads(state, arrived.source, arrived.epoch) {
            let known = &mut state.members[arrived.source].acknowledged[id];
            *known = (*known).max(arrived.flushed);
        }
        Some(())
    }

    /// The oldest waiting deposit of a primary is answered, if it may be.
    pub fn answer(&self, state: &mut State, id: MemberId) -> Option<()> {
        let member = &state.members[id];
        let own = member.copies[id].journal;
        let waits = |entry: &Entry| {
            entry.epoch == member.own_epoch()
                && entry.decides().is_some_and(|deposit| {
                    state.answers[usize::from(deposit)] == Answer::Waiting(id)
                })
        };
        let at = own.entries().iter().position(waits)?;
        let (sequence, deposit) = (at as Sequence + 1, own.entries()[at].decides()?);
        if member.copies[id].flushed < sequence {
            return None;
        }
        let set = self.answering_set(state, id, sequence)?;
        let behind = |other: MemberId| member.acknowledged[other] < sequence;
        if set.each().any(behind) {
            return None;
        }
        let term = member.promise.term;
        let answer = if !set.is_empty() {
            Answer::Sync { by: id, term, set }
        } else if self.policy_in_force(state, id) == Policy::Degrade {
            Answer::Local { term }
        } else {
            return None;
        };
        state.answers[usize::from(deposit)] = answer;
        Some(())
    }

    /// Whom an entry's answer rests on. Nothing while it rests on a smaller set than it was deposited under, and that is not
    /// on disk here and at every remaining member (ruling 12).
    fn answering_set(&self, state: &State, id: MemberId, sequence: Sequence) -> Option<Members> {
        let member = &state.members[id];
        let own = member.copies[id].journal;
        let set_at = own.up_to(sequence).entries().iter().rev();
        let full = set_at.clone().find_map(Entry::set)?.members;
        let mut later = Few::<(Sequence, Members), 8>::none();
        for (sequence, entry) in (1..).zip(own.entries()).skip(usize::from(sequence)) {
            if let Kind::SetChange(set) = entry.kind {
                later.push((sequence, set.members));
            }
        }
        let smaller = later
            .iter()
            .fold(full, |set, (_, members)| set.and(*members));
        let behind = |other: MemberId| member.acknowledged[other] < sequence;
        if smaller == full || !full.each().any(behind) {
            return Some(full);
        }
        let remaining = self.set_of(state, id).members;
        let known = |change: Sequence| {
            member.copies[id].flushed >= change
                && (self.breaks(Broken::SetChangeFlushedOnlyHere)
                    || remaining
                        .each()
                        .all(|other| member.acknowledged[other] >= change))
        };
        later
            .iter()
            .all(|(change, _)| known(*change))
            .then_some(smaller)
    }

    /// A member joins or leaves the in-sync set.
    pub fn change_members(&self, state: &mut State, id: MemberId, members: Members) -> Option<()> {
        state.used.set_changes += 1;
        let policy = self.set_of(state, id).policy;
        put_in(state, id, Kind::SetChange(InSync { members, policy }))
    }

    /// An operator makes the policy another.
    pub fn change_policy(&self, state: &mut State, id: MemberId) -> Option<()> {
        state.used.policy_changes += 1;
        let set = self.set_of(state, id);
        let policy = match set.policy {
            Policy::Degrade => Policy::Block,
            Policy::Block => Policy::Degrade,
        };
        put_in(state, id, Kind::SetChange(InSync { policy, ..set }))
    }

    /// The policy a primary may act by. One loosened in this term counts when the entry that loosens it is on disk here and at
    /// every other member: a member that cannot be reached makes `--force` necessary, which voids what a takeover promises
    /// (ruling 13), and is not modelled.
    pub fn policy_in_force(&self, state: &State, id: MemberId) -> Policy {
        let member = &state.members[id];
        if self.set_of(state, id).policy == Policy::Block {
            return Policy::Block;
        }
        if !self.follows_policy() {
            return Policy::Degrade;
        }
        let mut loosened = None;
        for (sequence, entry) in (1..).zip(member.copies[id].journal.entries()) {
            match entry.set() {
                Some(set) if entry.epoch.term == member.promise.term => {
                    loosened = match (set.policy, loosened) {
                        (Policy::Block, _) => Some(0),
                        (Policy::Degrade, Some(0)) => Some(sequence),
                        (Policy::Degrade, loosened) => loosened,
                    }
                }
                _ => {}
            }
        }
        let known = loosened.is_none_or(|entry| {
            member.copies[id].flushed >= entry
                && (self.breaks(Broken::PolicyLoosenedOnlyHere)
                    || self
                        .ids()
                        .all(|other| other == id || member.acknowledged[other] >= entry))
        });
        if known {
            if loosened.is_some() {
                self.reach(Goal::PolicyLoosened);
            }
            Policy::Degrade
        } else {
            Policy::Block
        }
    }
}

/// An entry of a primary's own.
fn put_in(state: &mut State, id: MemberId, kind: Kind) -> Option<()> {
    let epoch = state.members[id].own_epoch();
    let own = &mut state.members[id].copies[id];
    own.journal = own.journal.with(Entry { epoch, kind });
    Some(())
}
