//! Room `role`: the planned switch, on the side of the primary that hands over (DESIGN section 7, failures.md SWB).
//!
//! ```text
//!  Draining --nothing waits--> Handing --the entry is flushed here and there--> HandedOver --a later term--> Done
//!      |  \--too long, refused--> Resumed |    \--here, and too long there--^          |
//!      +------------------- a later term was opened by somebody else ---------------+--> Done
//! ```
//!
//! The entry is the promise once it is flushed here: a target that is lost at that moment is told when it is back, and fetches
//! it. Until the hand-over entry is deposited everything can be taken back by going on. From then on only the system it names opens
//! the next term, or this one takes it back in contact with that system (ruling 28). Must not know journals or connections.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::{Moment, Sequence, SystemId};

/// Why a switch is not begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotReady {
    /// The system is no other member of the group.
    NoMember,
    /// It does not answer.
    Unreachable,
    /// It does not follow this term.
    DoesNotFollow,
    /// It is not in the in-sync set.
    NotInSync,
    /// Its store is this many entries behind.
    ApplyBehind(u64),
    /// No apply job of it says where its store is.
    NoApply,
    /// It cannot reach this system's copy of its journal: there would be no way back.
    NoWayBack,
    /// This system is not the primary, or does not take deposits.
    NotPrimary,
}

/// What readiness is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts, each asked for by itself"
)]
pub struct SwitchFacts {
    /// Whether this system is primary and open.
    pub open: bool,
    /// Whether the other is a member.
    pub member: bool,
    /// Whether it answers.
    pub reachable: bool,
    /// Whether it follows this term.
    pub follows: bool,
    /// Whether it is in the in-sync set.
    pub in_sync: bool,
    /// How far its store is behind; nothing where no apply job of it says so.
    pub behind: Option<u64>,
    /// Whether a store is kept there at all: a group of journals alone needs none.
    pub has_store: bool,
    /// Whether it reaches this system's copy of its journal.
    pub way_back: bool,
    /// A store may be so far behind when the switch begins.
    pub behind_max: u64,
}

/// Everything that stands against a switch now.
pub fn ready(facts: &SwitchFacts) -> Vec<NotReady> {
    let mut against = Vec::new();
    if !facts.open {
        against.push(NotReady::NotPrimary);
    }
    if !facts.member {
        against.push(NotReady::NoMember);
        return against;
    }
    if !facts.reachable {
        against.push(NotReady::Unreachable);
        return against;
    }
    if !facts.follows {
        against.push(NotReady::DoesNotFollow);
    }
    if !facts.in_sync {
        against.push(NotReady::NotInSync);
    }
    match facts.behind {
        Some(behind) if behind > facts.behind_max => against.push(NotReady::ApplyBehind(behind)),
        None if facts.has_store => against.push(NotReady::NoApply),
        _ => {}
    }
    if !facts.way_back {
        against.push(NotReady::NoWayBack);
    }
    against
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchStep {
    /// New transactions are refused; what is open may still decide.
    Drain,
    /// Nothing at all is deposited any more: what is undecided is rolled back by the next term.
    Close,
    /// Deposit the hand-over entry.
    HandOver,
    /// Nothing but waiting.
    Wait,
    /// It is flushed here and there: make it durable that this system handed over, and say so to the other.
    Tell,
    /// It did not come about: deposits go on, nothing was changed.
    Resume,
    /// The other opened.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until this moment open cycles may decide.
    Draining(Moment),
    /// Until this moment what was deposited may be acknowledged.
    Closing(Moment),
    /// The hand-over entry is this one; until this moment, once it is flushed here, it may be acknowledged.
    Handing(Sequence, Option<Moment>),
    HandedOver,
    Resumed,
    Done,
}

/// How far the journal and the other system are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SwitchMarks {
    /// The last entry deposited.
    pub deposited: Sequence,
    /// The last one flushed here.
    pub written: Sequence,
    /// Every answer up to here is decided.
    pub released: Sequence,
    /// The last one flushed there.
    pub acknowledged: Sequence,
    /// Whether a commit cycle is open.
    pub cycles_open: bool,
}

/// A switch under way, on the side that hands over.
#[derive(Debug)]
pub struct Switch {
    to: SystemId,
    state: State,
    patience: Duration,
}

impl Switch {
    /// Begins: open cycles have `drain` to decide, and then what was deposited has `patience` to be acknowledged.
    pub fn new(to: SystemId, drain: Duration, patience: Duration, now: Moment) -> Self {
        Self {
            to,
            state: State::Draining(now + drain),
            patience,
        }
    }

    /// Goes on with one whose hand-over entry is durable: the system was started again.
    pub const fn handed_over(to: SystemId) -> Self {
        Self {
            to,
            state: State::HandedOver,
            patience: Duration::ZERO,
        }
    }

    /// Who is to be primary.
    pub const fn to(&self) -> SystemId {
        self.to
    }

    /// What is to be done, given how far everybody is.
    pub fn step(&mut self, marks: SwitchMarks, now: Moment) -> SwitchStep {
        match self.state {
            State::Draining(until) if marks.cycles_open && now < until => SwitchStep::Drain,
            State::Draining(_) => {
                self.state = State::Closing(now + self.patience);
                SwitchStep::Close
            }
            State::Closing(until) => {
                let all = marks.deposited;
                let settled = [marks.written, marks.released, marks.acknowledged];
                if settled.into_iter().all(|mark| mark >= all) {
                    SwitchStep::HandOver
                } else if now >= until {
                    self.state = State::Resumed;
                    SwitchStep::Resume
                } else {
                    SwitchStep::Wait
                }
            }
            State::Handing(entry, until) => {
                if marks.written < entry {
                    return SwitchStep::Wait;
                }
                let until = until.unwrap_or(now + self.patience);
                if marks.acknowledged >= entry || now >= until {
                    self.state = State::HandedOver;
                    SwitchStep::Tell
                } else {
                    self.state = State::Handing(entry, Some(until));
                    SwitchStep::Wait
                }
            }
            State::HandedOver => SwitchStep::Tell,
            State::Resumed => SwitchStep::Resume,
            State::Done => SwitchStep::Done,
        }
    }

    /// The hand-over entry was deposited.
    pub const fn handle_handing(&mut self, entry: Sequence) {
        self.state = State::Handing(entry, None);
    }

    /// A later term was opened.
    pub const fn handle_opened(&mut self) {
        self.state = State::Done;
    }

    /// An operator gives it up. Says whether that is still possible without the other system; where it is not, nothing is waited for
    /// any longer.
    pub fn abort(&mut self) -> bool {
        let possible = matches!(
            self.state,
            State::Draining(_) | State::Closing(_) | State::Resumed
        );
        if possible {
            self.state = State::Resumed;
        } else if let State::Handing(entry, _) = self.state {
            self.state = State::Handing(entry, Some(Moment::ZERO));
        }
        possible
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::system;
    use super::*;

    fn marks(deposited: u64, written: u64, acknowledged: u64) -> SwitchMarks {
        SwitchMarks {
            deposited: Sequence::new(deposited),
            written: Sequence::new(written),
            released: Sequence::new(written.min(acknowledged)),
            acknowledged: Sequence::new(acknowledged),
            cycles_open: false,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn begun() -> Switch {
        Switch::new(system(2), SECOND, SECOND, Moment::ZERO)
    }

    #[test]
    fn open_cycles_have_their_time_and_are_not_waited_for_beyond_it() {
        let mut switch = begun();
        let busy = SwitchMarks {
            cycles_open: true,
            ..marks(9, 9, 9)
        };
        assert_eq!(switch.step(busy, Moment::ZERO), SwitchStep::Drain);
        assert_eq!(switch.step(busy, Moment::ZERO + SECOND), SwitchStep::Close);
    }

    #[test]
    fn the_entry_is_deposited_when_all_is_flushed_on_both_sides_and_told_when_it_is_itself() {
        let mut switch = begun();
        let now = Moment::ZERO;
        assert_eq!(switch.step(marks(9, 8, 7), now), SwitchStep::Close);
        assert_eq!(switch.step(marks(9, 9, 7), now), SwitchStep::Wait);
        assert_eq!(switch.step(marks(9, 9, 9), now), SwitchStep::HandOver);
        switch.handle_handing(Sequence::new(10));
        assert_eq!(switch.step(marks(10, 10, 9), now), SwitchStep::Wait);
        assert_eq!(switch.step(marks(10, 10, 10), now), SwitchStep::Tell);
        switch.handle_opened();
        assert_eq!(switch.step(marks(10, 10, 10), now), SwitchStep::Done);
    }

    #[test]
    fn a_target_that_does_not_acknowledge_lets_deposits_go_on() {
        let mut switch = begun();
        let now = Moment::ZERO;
        assert_eq!(switch.step(marks(9, 9, 7), now), SwitchStep::Close);
        assert_eq!(
            switch.step(marks(9, 9, 7), now + SECOND),
            SwitchStep::Resume
        );
        assert!(switch.abort());
    }

    #[test]
    fn a_target_that_is_lost_behind_the_hand_over_is_told_later_and_nothing_is_resumed() {
        let mut switch = begun();
        let now = Moment::ZERO + SECOND;
        assert_eq!(switch.step(marks(9, 9, 9), now), SwitchStep::Close);
        assert_eq!(switch.step(marks(9, 9, 9), now), SwitchStep::HandOver);
        switch.handle_handing(Sequence::new(10));
        let late = now + SECOND + SECOND;
        assert_eq!(
            switch.step(marks(10, 9, 9), late),
            SwitchStep::Wait,
            "not flushed here"
        );
        assert_eq!(switch.step(marks(10, 10, 9), late), SwitchStep::Wait);
        assert_eq!(
            switch.step(marks(10, 10, 9), late + SECOND),
            SwitchStep::Tell
        );
        let mut given_up = begun();
        given_up.handle_handing(Sequence::new(10));
        assert!(!given_up.abort());
        assert_eq!(given_up.step(marks(10, 9, 9), now), SwitchStep::Wait);
        assert_eq!(given_up.step(marks(10, 10, 9), now), SwitchStep::Tell);
    }

    #[test]
    fn everything_that_stands_against_a_switch_is_named() {
        let fine = SwitchFacts {
            open: true,
            member: true,
            reachable: true,
            follows: true,
            in_sync: true,
            behind: Some(3),
            has_store: true,
            way_back: true,
            behind_max: 100,
        };
        assert_eq!(ready(&fine), []);
        let bad = SwitchFacts {
            in_sync: false,
            behind: Some(101),
            way_back: false,
            ..fine
        };
        assert_eq!(
            ready(&bad),
            [
                NotReady::NotInSync,
                NotReady::ApplyBehind(101),
                NotReady::NoWayBack
            ]
        );
        let gone = SwitchFacts {
            reachable: false,
            ..bad
        };
        assert_eq!(ready(&gone), [NotReady::Unreachable]);
    }
}
