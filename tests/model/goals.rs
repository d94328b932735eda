//! Package `rjournal-model`: what runs must come past. A model in which nothing happens breaks no property; so every goal is
//! reached in at least one run.

use stateright::Property;

use crate::actions::FEEDER;
use crate::group::Group;
use crate::journal::MemberId;
use crate::lineage::Lineage;
use crate::state::{Answer, Extent, State};

/// Something that must be possible.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Goal {
    /// R1: an answer SYNC.
    Sync,
    /// R2: an answer LOCAL.
    Local,
    /// R3: an answer UNKNOWN.
    Unknown,
    /// R4: at opening, what a crash had lost is adopted.
    Adopted,
    /// R5: something is cut into an archive.
    Orphaned,
    /// R6: a closed segment is completed.
    Completed,
    /// R7: a takeover takes over a tail from whom it asks.
    TailCollected,
    /// R8: a cycle decided beyond a fork, and begun below it, is taken out.
    SpanningCycleUndone,
    /// R9: a hand-over.
    HandedOver,
    /// Ra: a hand-over is taken back.
    Aborted,
    /// Rb: a later term in the first journal, after one in another.
    SwitchedBack,
    /// Rc: an answer SYNC in term 2.
    SyncInTermTwo,
    /// Rd: an answer LOCAL that the lineage does not keep.
    LocalAbandoned,
    /// Re: a downstream copy goes on into the new term.
    DownstreamGotTheNewTerm,
    /// Rf: a refusal: a fork below what is confirmed, an older copy, one term twice.
    Refused,
    /// Rg: a downstream copy is left ahead of the lineage (ruling 32).
    DownstreamAhead,
    /// Rh: a closed segment is completed from a member that is not the primary.
    CompletedFromAnother,
    /// Ri: a primary that is fenced by a term record alone.
    FencedByRecord,
    /// Rj: a takeover closes an older term than the highest it knows: a term is left out of the lineage.
    TermLeftOut,
    /// Rk: a takeover that met a hand-over to another goes on under a higher term.
    RaisedBeyondHandOver,
    /// Rl: LOCAL answers under a policy that was loosened.
    PolicyLoosened,
    /// Rm: a takeover says that no LOCAL answer is lost, by the policy alone.
    KeptByPolicy,
}

impl Goal {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Sync,
        Self::Local,
        Self::Unknown,
        Self::Adopted,
        Self::Orphaned,
        Self::Completed,
        Self::TailCollected,
        Self::SpanningCycleUndone,
        Self::HandedOver,
        Self::Aborted,
        Self::SwitchedBack,
        Self::SyncInTermTwo,
        Self::LocalAbandoned,
        Self::DownstreamGotTheNewTerm,
        Self::Refused,
        Self::DownstreamAhead,
        Self::CompletedFromAnother,
        Self::FencedByRecord,
        Self::TermLeftOut,
        Self::RaisedBeyondHandOver,
        Self::PolicyLoosened,
        Self::KeptByPolicy,
    ];

    /// Its bit in `Group::reached`.
    pub fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Those of some bits.
    pub fn of(bits: u32) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|goal| bits & goal.bit() != 0)
            .collect()
    }
}

/// Looks at a state for the goals that a state shows; the others are noted where they happen. Never true: a goal reached is
/// kept in `Group::reached`, and this goes on for as long as the run does.
pub fn look() -> Property<Group> {
    Property::sometimes("goals", |group: &Group, state: &State| {
        let given = |wanted: fn(&Answer) -> bool| state.answers.iter().any(wanted);
        let note = |goal: Goal, found: bool| {
            if found {
                group.reach(goal);
            }
        };
        let first = state.members[MemberId(0)].copies[MemberId(0)].journal;
        let second = state.members[MemberId(0)].copies[MemberId(1)].journal;
        note(Goal::Sync, given(|a| matches!(a, Answer::Sync { .. })));
        note(Goal::Local, given(|a| matches!(a, Answer::Local { .. })));
        note(Goal::Unknown, given(|a| *a == Answer::Unknown));
        note(
            Goal::SyncInTermTwo,
            given(|a| matches!(a, Answer::Sync { term: 2, .. })),
        );
        note(
            Goal::SwitchedBack,
            first.entries().iter().any(|entry| entry.epoch.term >= 3)
                && second.entries().iter().any(|entry| entry.epoch.term == 2),
        );
        if given(|a| matches!(a, Answer::Local { .. })) {
            note(Goal::LocalAbandoned, local_abandoned(group, state));
        }
        if group.configuration.downstream {
            let feeder = state.members[FEEDER].lineage(Extent::Received);
            let there = Lineage::of(&state.downstream);
            note(Goal::DownstreamAhead, feeder.common(&there) < there.count());
        }
        false
    })
}

fn local_abandoned(group: &Group, state: &State) -> bool {
    let Some(primary) = state.newest_primary(group.configuration.members) else {
        return false;
    };
    let lineage = state.members[primary].lineage(Extent::Received);
    (0..)
        .zip(state.answers.iter())
        .any(|(id, answer)| matches!(answer, Answer::Local { .. }) && !lineage.holds(id))
}
