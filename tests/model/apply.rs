//! Package `rjournal-model`: entries become rows; what was decided beyond a fork is taken out again (ruling 7); confirmed
//! entries go on downstream.

use crate::actions::FEEDER;
use crate::few::Few;
use crate::goals::Goal;
use crate::group::Group;
use crate::journal::{DepositId, Kind, MemberId, PerMember};
use crate::lineage::{Lineage, Placed, decisions};
use crate::rules::Broken;
use crate::state::{Answer, Extent, Role, State};

impl Group {
    /// A member applies what it may: a primary what is released, others what is confirmed.
    pub fn apply(&self, state: &mut State, id: MemberId) -> Option<()> {
        let member = &state.members[id];
        let lineage = member.lineage(Extent::Flushed);
        let may = if member.role != Role::Primary {
            self.confirmed_entries(state, id, &lineage)
        } else if member.live(id) {
            released(state, id, &lineage)
        } else {
            return None;
        };
        let applied = usize::from(member.store.applied);
        if may <= applied {
            return None;
        }
        // restart: what is read begins before the oldest cycle then open (ruling 9)
        let from = if self.breaks(Broken::ReadsOnFromApplied) {
            applied
        } else {
            0
        };
        let read = lineage.entries().take(may).skip(from);
        let known = decisions(lineage.entries().take(applied).skip(from)).len();
        let decided = decisions(read);
        let store = &mut state.members[id].store;
        for decision in &decided[known..] {
            store.decisions.push(*decision);
        }
        store.applied = may as u8;
        self.rely_on(state, id, &lineage, may);
        Some(())
    }

    /// What a backup uses as confirmed, and of a primary's the segments before its own.
    fn rely_on(&self, state: &mut State, id: MemberId, lineage: &Lineage, entries: usize) {
        let member = &mut state.members[id];
        let own = lineage.newest().copied().unwrap_or_default();
        for placed in lineage.entries().take(entries) {
            let of_own_term = placed.journal == own.journal && placed.sequence >= own.first;
            if member.role != Role::Primary || !of_own_term {
                let copy = &mut member.copies[placed.journal];
                copy.relied_on = copy.relied_on.max(placed.sequence);
            }
        }
    }

    /// Takes out of a store what was decided beyond the fork, in reverse order of decisions: single entries, and cycles with
    /// all their images, also those at or below the fork. `before` is the lineage that was applied, `fork` how much of it
    /// stays.
    pub fn undo(&self, state: &mut State, id: MemberId, before: &Lineage, fork: usize) {
        let store = state.members[id].store;
        let applied = usize::from(store.applied);
        if applied <= fork {
            return;
        }
        let beyond = || before.entries().take(applied).skip(fork);
        let began_beyond =
            |cycle: DepositId| beyond().any(|placed| placed.entry.kind == Kind::Begin(cycle));
        let mut taken_out = Few::<DepositId, 4>::none();
        if !self.breaks(Broken::NothingUndone) {
            for placed in beyond() {
                match placed.entry.kind {
                    Kind::Deposit(deposit) => taken_out.push(deposit),
                    Kind::Commit(cycle) if began_beyond(cycle) => taken_out.push(cycle),
                    Kind::Commit(cycle) if !self.breaks(Broken::UndoneByRange) => {
                        if store.decisions.contains(&cycle) {
                            self.reach(Goal::SpanningCycleUndone);
                        }
                        taken_out.push(cycle);
                    }
                    _ => {}
                }
            }
        }
        let store = &mut state.members[id].store;
        store
            .decisions
            .retain(|decision| !taken_out.contains(decision));
        store.applied = fork as u8;
    }

    /// The feeder forwards what is confirmed; as a primary what is on its disk, once its close record is there, too
    /// (ruling 31).
    pub fn forward(&self, state: &mut State) -> Option<()> {
        let member = &state.members[FEEDER];
        let early = self.breaks(Broken::TailForwardedBeforeCloseRecord);
        if member.role == Role::Primary && !early && !member.live(FEEDER) {
            return None;
        }
        let lineage = member.lineage(Extent::Flushed);
        let may = if member.role == Role::Primary {
            lineage.count()
        } else {
            self.confirmed_entries(state, FEEDER, &lineage)
        };
        let there = Lineage::of(&state.downstream);
        if may <= there.count() || lineage.common(&there) < there.count() {
            return None;
        }
        let mut forwarded = PerMember::default();
        for Placed {
            journal, sequence, ..
        } in lineage.entries().take(may)
        {
            forwarded[journal] = member.copies[journal].journal.up_to(sequence);
        }
        if there.segments().len() == 1 && Lineage::of(&forwarded).segments().len() > 1 {
            self.reach(Goal::DownstreamGotTheNewTerm);
        }
        state.downstream = forwarded;
        self.rely_on(state, FEEDER, &lineage, may);
        Some(())
    }
}

/// How many leading entries a primary may apply: up to the first of its own whose answer is not decided.
fn released(state: &State, id: MemberId, lineage: &Lineage) -> usize {
    let epoch = state.members[id].own_epoch();
    let undecided = |placed: &Placed| {
        placed.entry.epoch == epoch
            && placed.entry.decides().is_some_and(|deposit| {
                matches!(
                    state.answers[usize::from(deposit)],
                    Answer::Waiting(_) | Answer::Unknown
                )
            })
    };
    lineage
        .entries()
        .take_while(|placed| !undecided(placed))
        .count()
}
