//! Package `rjournal-model`: what may happen next, and in which words a trace tells it. A step between two members that is
//! not taken is a line that is down. Knows nothing of what a step does.

use std::fmt;

use crate::group::Group;
use crate::journal::{Kind, MemberId, Members, Policy, Sequence};
use crate::rules::Bounds;
use crate::state::{Answer, Role, State};

/// One step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A deposit at this primary.
    Deposit(MemberId),
    /// A commit cycle begins at this primary.
    Begin(MemberId),
    /// It is committed.
    Commit(MemberId),
    /// A member puts on disk what it holds, and acknowledges.
    Flush(MemberId),
    /// A primary ships its next entry, before or after its own flush.
    Ship {
        /// The primary.
        from: MemberId,
        /// The member.
        to: MemberId,
    },
    /// A member learns what is confirmed.
    Confirm(MemberId),
    /// A member's acknowledgement arrives.
    AcknowledgementArrives(MemberId),
    /// A primary answers its oldest waiting deposit.
    Answer(MemberId),
    /// A primary takes a member into the in-sync set.
    Join {
        /// The primary.
        primary: MemberId,
        /// The member.
        member: MemberId,
    },
    /// A primary drops a member from the in-sync set.
    Drop {
        /// The primary.
        primary: MemberId,
        /// The member.
        member: MemberId,
    },
    /// An operator changes the policy at a primary.
    ChangePolicy(MemberId),
    /// A member loses power.
    Crash(MemberId),
    /// It is started.
    Start(MemberId),
    /// A primary asks these before it opens its journal.
    OpenAsking {
        /// The primary.
        primary: MemberId,
        /// Whom it reaches.
        asked: Members,
    },
    /// A primary opens its journal by an operator's word.
    OpenAlone(MemberId),
    /// An older journal is restored at a primary that is down.
    Restore {
        /// The primary.
        primary: MemberId,
        /// Up to where.
        last: Sequence,
    },
    /// A member takes over another's term records.
    Learn {
        /// Who learns.
        member: MemberId,
        /// From whom.
        from: MemberId,
    },
    /// A member makes the copy of a closed segment equal to its record.
    Complete {
        /// The member.
        member: MemberId,
        /// Who serves it.
        from: MemberId,
    },
    /// A primary couples with a member.
    Couple {
        /// The primary.
        primary: MemberId,
        /// The member.
        member: MemberId,
    },
    /// A member promises itself the next term.
    BeginTakeover(MemberId),
    /// It collects another's promise and tip.
    Collect {
        /// Who takes over.
        member: MemberId,
        /// Who promises.
        from: MemberId,
    },
    /// It opens its term.
    OpenTerm {
        /// Who takes over.
        member: MemberId,
        /// With `--accept-loss`.
        accept_loss: bool,
    },
    /// A primary puts in the hand-over entry.
    HandOver {
        /// The primary.
        primary: MemberId,
        /// Who gets the term.
        to: MemberId,
    },
    /// The target of a hand-over opens its term.
    TakeHandOver(MemberId),
    /// Who handed over takes it back, in contact.
    AbortHandOver {
        /// Who handed over.
        primary: MemberId,
        /// To whom.
        to: MemberId,
    },
    /// A member applies what it may to its store.
    Apply(MemberId),
    /// Member 1 forwards what it may to its downstream copy.
    Forward,
}

/// Who feeds the downstream copy.
pub(crate) const FEEDER: MemberId = MemberId(1);

impl Group {
    /// Everything that may happen now, and some that turns out to do nothing.
    pub fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for id in self.ids() {
            if state.members[id].up {
                self.possible_running(state, id, actions);
            } else {
                self.possible_down(state, id, actions);
            }
        }
        if self.configuration.downstream && state.members[FEEDER].up {
            actions.push(Action::Forward);
        }
    }

    fn possible_down(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let member = &state.members[id];
        actions.push(Action::Start(id));
        if self.may(state, |bounds| bounds.restores) && member.role == Role::Primary {
            let lasts = 1..member.copies[id].flushed;
            actions.extend(lasts.map(|last| Action::Restore { primary: id, last }));
        }
    }

    fn possible_running(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let member = &state.members[id];
        let unflushed =
            |from: MemberId| member.copies[from].flushed < member.copies[from].journal.last();
        if self.ids().any(unflushed) {
            actions.push(Action::Flush(id));
        }
        if self.may(state, |bounds| bounds.crashes) {
            actions.push(Action::Crash(id));
        }
        if self.configuration.stores && member.role != Role::Stopped {
            actions.push(Action::Apply(id));
        }
        if member.acknowledging.is_some() {
            actions.push(Action::AcknowledgementArrives(id));
        }
        if self.configuration.confirmations && self.session_of(state, id).is_some() {
            actions.push(Action::Confirm(id));
        }
        if member.role != Role::Stopped {
            for from in self.others(state, id) {
                if state.members[from].known & !member.known != 0 {
                    actions.push(Action::Learn { member: id, from });
                }
            }
        }
        match member.role {
            Role::Primary if member.open => self.possible_open(state, id, actions),
            Role::Primary => {
                let up = self.others(state, id).fold(Members::NOBODY, Members::with);
                actions.extend(
                    Members::all_sets(self.configuration.members)
                        .filter(|asked| asked.minus(up).is_empty())
                        .map(|asked| Action::OpenAsking { primary: id, asked }),
                );
                if self.may(state, |bounds| bounds.openings_alone) {
                    actions.push(Action::OpenAlone(id));
                }
            }
            Role::Backup | Role::HandedOver => self.possible_following(state, id, actions),
            Role::Stopped => {}
        }
    }

    fn possible_open(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let own = state.members[id].copies[id].journal;
        let live = state.members[id].live(id);
        let set = self.set_of(state, id);
        if live {
            self.possible_for_clients(state, id, actions);
        }
        for other in self.others(state, id) {
            if self.session_of(state, other) == Some(id) {
                if state.members[other].copies[id].journal.last() < own.last() {
                    actions.push(Action::Ship {
                        from: id,
                        to: other,
                    });
                }
                if live
                    && self.may(state, |bounds| bounds.set_changes)
                    && !set.members.contains(other)
                {
                    actions.push(Action::Join {
                        primary: id,
                        member: other,
                    });
                }
                if live && self.may(state, |bounds| bounds.hand_overs) {
                    actions.push(Action::HandOver {
                        primary: id,
                        to: other,
                    });
                }
            } else if state.members[other].role != Role::Stopped {
                actions.push(Action::Couple {
                    primary: id,
                    member: other,
                });
            }
        }
    }

    fn possible_for_clients(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let set = self.set_of(state, id);
        let cycle = self.open_cycle(state, id);
        if self.may(state, |bounds| bounds.deposits) {
            actions.push(Action::Deposit(id));
            if self.may(state, |bounds| bounds.cycles) && cycle.is_none() {
                actions.push(Action::Begin(id));
            }
        }
        if cycle.is_some() {
            actions.push(Action::Commit(id));
        }
        if state.answers.contains(&Answer::Waiting(id)) {
            actions.push(Action::Answer(id));
        }
        if self.may(state, |bounds| bounds.set_changes)
            && self.policy_in_force(state, id) == Policy::Degrade
        {
            actions.extend(set.members.each().map(|member| Action::Drop {
                primary: id,
                member,
            }));
        }
        if self.may(state, |bounds| bounds.policy_changes) {
            actions.push(Action::ChangePolicy(id));
        }
    }

    fn possible_following(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let member = &state.members[id];
        if self.may(state, |bounds| bounds.takeovers) {
            actions.push(Action::BeginTakeover(id));
        }
        if let Some(takeover) = member.takeover {
            for from in self.others(state, id) {
                if !takeover.heard.contains(from) {
                    actions.push(Action::Collect { member: id, from });
                }
            }
            for accept_loss in [false, true] {
                if !accept_loss || self.may(state, |bounds| bounds.losses) {
                    actions.push(Action::OpenTerm {
                        member: id,
                        accept_loss,
                    });
                }
            }
        }
        if member.role == Role::Backup {
            if self.session_of(state, id).is_some() {
                actions.push(Action::TakeHandOver(id));
            }
            if member.takeover.is_none() && !self.whole(state, id) {
                for from in self.others(state, id) {
                    actions.push(Action::Complete { member: id, from });
                }
            }
        }
        if member.role == Role::HandedOver {
            self.possible_handed_over(state, id, actions);
        }
    }

    fn possible_handed_over(&self, state: &State, id: MemberId, actions: &mut Vec<Action>) {
        let own = state.members[id].copies[id].journal;
        for other in self.others(state, id) {
            if own.entries().last().map(|last| last.kind) == Some(Kind::HandOver(other)) {
                actions.push(Action::AbortHandOver {
                    primary: id,
                    to: other,
                });
            }
            if self.session_of(state, other) != Some(id) {
                if state.members[other].role != Role::Stopped {
                    actions.push(Action::Couple {
                        primary: id,
                        member: other,
                    });
                }
            } else if state.members[other].copies[id].journal.last() < own.last() {
                actions.push(Action::Ship {
                    from: id,
                    to: other,
                });
            }
        }
    }

    /// Has this not happened as often as it may?
    pub fn may(&self, state: &State, bound: impl Fn(&Bounds) -> u8) -> bool {
        bound(&state.used) < bound(&self.configuration.bounds)
    }

    /// The other members that are up.
    fn others<'a>(
        &self,
        state: &'a State,
        id: MemberId,
    ) -> impl Iterator<Item = MemberId> + use<'a> {
        self.ids()
            .filter(move |other| *other != id && state.members[*other].up)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deposit(id) => write!(formatter, "a deposit at {id}"),
            Self::Begin(id) => write!(formatter, "a commit cycle begins at {id}"),
            Self::Commit(id) => write!(formatter, "the cycle is committed at {id}"),
            Self::Flush(id) => write!(formatter, "{id} flushes"),
            Self::Ship { from, to } => write!(formatter, "{from} ships an entry to {to}"),
            Self::Confirm(id) => write!(formatter, "{id} hears what is confirmed"),
            Self::AcknowledgementArrives(id) => {
                write!(formatter, "the acknowledgement of {id} arrives")
            }
            Self::Answer(id) => write!(formatter, "{id} answers"),
            Self::Join { primary, member } => {
                write!(formatter, "{primary} takes {member} into the set")
            }
            Self::Drop { primary, member } => {
                write!(formatter, "{primary} drops {member} from the set")
            }
            Self::ChangePolicy(id) => write!(formatter, "the policy is changed at {id}"),
            Self::Crash(id) => write!(formatter, "{id} loses power"),
            Self::Start(id) => write!(formatter, "{id} starts"),
            Self::OpenAsking { primary, asked } => {
                write!(formatter, "{primary} opens, asking")?;
                asked.each().try_for_each(|id| write!(formatter, " {id}"))
            }
            Self::OpenAlone(id) => write!(formatter, "{id} opens alone"),
            Self::Restore { primary, last } => {
                write!(
                    formatter,
                    "{primary} gets a journal from before: up to {last}"
                )
            }
            Self::Learn { member, from } => {
                write!(formatter, "{member} learns the terms of {from}")
            }
            Self::Complete { member, from } => {
                write!(formatter, "{member} completes a closed segment from {from}")
            }
            Self::Couple { primary, member } => {
                write!(formatter, "{primary} couples with {member}")
            }
            Self::BeginTakeover(id) => write!(formatter, "{id} begins to take over"),
            Self::Collect { member, from } => {
                write!(formatter, "{member} collects promise and tip of {from}")
            }
            Self::OpenTerm {
                member,
                accept_loss,
            } => {
                let loss = if *accept_loss { ", accepting loss" } else { "" };
                write!(formatter, "{member} opens its term{loss}")
            }
            Self::HandOver { primary, to } => write!(formatter, "{primary} hands over to {to}"),
            Self::TakeHandOver(id) => write!(formatter, "{id} takes what was handed over"),
            Self::AbortHandOver { primary, to } => {
                write!(formatter, "{primary} takes the hand-over to {to} back")
            }
            Self::Apply(id) => write!(formatter, "{id} applies"),
            Self::Forward => write!(formatter, "{FEEDER} forwards downstream"),
        }
    }
}
