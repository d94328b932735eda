//! Room `remote`, delivery: the machine of one link: its states, and what leads from one to another. Must not know sockets or
//! tasks.

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::{Activation, LinkEvent, LinkOutput, LinkState, Shown};
use crate::entry::{ChainHead, Moment, Sequence};
use crate::remote::confirm::Loss;
use crate::remote::message::{EndReason, Frame, Refusal};
use crate::remote::pace::Pace;
use crate::remote::ship::{SessionFacts, SourceMarks, SourceOutput, SourceSession};

/// First wait after a loss.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait after a loss.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Shortest wait after a refusal that time or an operator may cure.
const WAIT_REFUSED: Duration = Duration::from_secs(5);
/// How long dialing may take before it counts as failed; the driver's own limit is shorter.
const DIAL_MAX: Duration = Duration::from_secs(20);

#[derive(Debug)]
enum State {
    Inactive,
    Dialing {
        since: Moment,
    },
    Session {
        session: Box<SourceSession>,
        caught_up: bool,
        pace: Pace,
    },
    Draining {
        session: Box<SourceSession>,
        upto: Sequence,
    },
    Waiting {
        until: Moment,
    },
    Failed,
}

/// One remote journal, as its source sees it.
#[derive(Debug)]
pub struct Link {
    activation: Activation,
    state: State,
    attempts: u32,
    last_end: Option<EndReason>,
    outputs: VecDeque<LinkOutput>,
    jitter: u64,
    /// An operator inactivated it, and the target is to have this entry first.
    leaving: Option<Sequence>,
    /// This system stops: that says nothing about the target.
    stopping: bool,
}

impl Link {
    /// An inactive link. `jitter` is any random number: it spreads the waits of many links.
    pub const fn new(jitter: u64) -> Self {
        Self {
            activation: Activation { sync: false },
            state: State::Inactive,
            attempts: 0,
            last_end: None,
            outputs: VecDeque::new(),
            jitter,
            leaving: None,
            stopping: false,
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<LinkOutput> {
        self.outputs.pop_front()
    }

    /// Whether [`Self::poll_output`] has something to give.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        match &self.state {
            State::Inactive | State::Failed => None,
            State::Dialing { since } => Some(*since + DIAL_MAX),
            State::Waiting { until } => Some(*until),
            State::Session { session, .. } | State::Draining { session, .. } => {
                session.poll_timeout()
            }
        }
    }

    /// What an operator asked for.
    pub const fn activation(&self) -> Activation {
        self.activation
    }

    /// The link for people.
    pub fn shown(&self) -> Shown {
        let outrun = match &self.state {
            State::Session { pace, .. } => pace.outrun(),
            _ => None,
        };
        let (state, session, caught_up) = match &self.state {
            State::Inactive => (LinkState::Inactive, None, false),
            State::Dialing { .. } | State::Waiting { .. } => (LinkState::Active, None, false),
            State::Session {
                session, caught_up, ..
            } => (LinkState::Active, Some(session), *caught_up),
            State::Draining { session, .. } => (LinkState::ControlledEnd, Some(session), true),
            State::Failed => (LinkState::Failed, None, false),
        };
        let state = match state {
            LinkState::Active if self.leaving.is_some() => LinkState::ControlledEnd,
            state => state,
        };
        Shown {
            state,
            streaming: session.is_some_and(|session| session.is_streaming()),
            caught_up,
            outrun,
            shipped: session.map_or(Sequence::NONE, |session| session.shipped()),
            written: session.map_or(Sequence::NONE, |session| session.written()),
            attempts: self.attempts,
            last_end: self.last_end.clone(),
        }
    }

    /// An operator activates it. Nothing changes on one that is active already; one whose controlled end is under way goes
    /// on as if that had not been ordered.
    pub fn activate(&mut self, activation: Activation, now: Moment) {
        self.activation = activation;
        match std::mem::replace(&mut self.state, State::Inactive) {
            State::Inactive | State::Failed => {
                self.attempts = 0;
                self.dial(now);
            }
            State::Draining { session, .. } => {
                self.state = State::Session {
                    session,
                    caught_up: true,
                    pace: Pace::default(),
                };
            }
            active => self.state = active,
        }
        if self.leaving.take().is_some() {
            // It may have caught up meanwhile, and nobody was told.
            self.handle_left(now);
        }
    }

    /// The target is known to be ready: one that waits, or failed, is dialed at once.
    pub fn nudge(&mut self, activation: Activation, now: Moment) {
        if matches!(
            self.state,
            State::Inactive | State::Failed | State::Waiting { .. }
        ) {
            self.state = State::Inactive;
            self.activate(activation, now);
        }
    }

    fn dial(&mut self, now: Moment) {
        self.state = State::Dialing { since: now };
        self.outputs.push_back(LinkOutput::Dial);
    }

    /// An operator inactivates it: `upto` is where a controlled end of running *ASYNC delivery may stop; nothing for an
    /// immediate end. *SYNC and catch-up always end at once (IBM i: INACTOPT).
    pub fn inactivate(&mut self, upto: Option<Sequence>, now: Moment) {
        self.leaving = None;
        let state = std::mem::replace(&mut self.state, State::Inactive);
        match (state, upto) {
            (
                State::Session {
                    session,
                    caught_up: true,
                    ..
                },
                Some(upto),
            ) if !self.activation.sync && session.written() < upto => {
                self.state = State::Draining { session, upto };
            }
            (State::Draining { session, .. }, Some(upto)) => {
                self.state = State::Draining { session, upto }
            }
            (State::Session { mut session, .. } | State::Draining { mut session, .. }, _) => {
                session.handle_close(EndReason::Inactivated, now);
                self.drain_last(session);
            }
            (State::Dialing { .. }, _) => {
                self.outputs.push_back(LinkOutput::Disconnect);
                self.inactivated();
            }
            (State::Inactive | State::Waiting { .. } | State::Failed, _) => self.inactivated(),
        }
    }

    /// An operator inactivates it, and its target is to have the entry `upto` on its disk first: it goes on, over as many
    /// sessions as that takes. Whether it catches up meanwhile is told nobody.
    pub fn leave(&mut self, upto: Sequence, now: Moment) {
        self.leaving = Some(upto);
        match &self.state {
            State::Inactive | State::Failed => {
                self.attempts = 0;
                self.dial(now);
            }
            State::Session { session, .. } | State::Draining { session, .. } => {
                let written = session.written();
                self.drained(written, now);
            }
            State::Dialing { .. } | State::Waiting { .. } => {}
        }
    }

    fn drain_last(&mut self, mut session: Box<SourceSession>) {
        while let Some(output) = session.poll_output() {
            if let SourceOutput::Send(message) = output {
                self.outputs.push_back(LinkOutput::Send(message));
            }
        }
        self.outputs.push_back(LinkOutput::Disconnect);
        self.inactivated();
    }

    fn inactivated(&mut self) {
        self.state = State::Inactive;
        self.outputs
            .push_back(LinkOutput::Event(LinkEvent::Inactivated));
    }

    /// The connection is up: a session begins.
    pub fn handle_connected(&mut self, facts: SessionFacts, marks: SourceMarks, now: Moment) {
        if matches!(self.state, State::Dialing { .. }) {
            self.state = State::Session {
                session: Box::new(SourceSession::new(facts, marks, now)),
                caught_up: false,
                pace: Pace::default(),
            };
            self.pump(now);
        } else {
            self.outputs.push_back(LinkOutput::Disconnect);
        }
    }

    /// The connection could not be made.
    pub fn handle_connect_failed(&mut self, now: Moment) {
        if matches!(self.state, State::Dialing { .. }) {
            self.ended(EndReason::Lost, now);
        }
    }

    /// Calls something on the session, if there is one, and passes on what it wants.
    fn with_session(&mut self, now: Moment, act: impl FnOnce(&mut SourceSession)) {
        match &mut self.state {
            State::Session { session, .. } | State::Draining { session, .. } => act(session),
            _ => return,
        }
        self.pump(now);
        self.watch_pace(now);
    }

    /// A target that catches up is to come nearer to the end.
    fn watch_pace(&mut self, now: Moment) {
        if let State::Session {
            session,
            caught_up: false,
            pace,
        } = &mut self.state
            && session.is_streaming()
            && let Some(outrun) = pace.handle_behind(session.behind(), now)
        {
            self.event(LinkEvent::Outrun(outrun));
        }
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self, now: Moment) {
        self.with_session(now, SourceSession::handle_lost);
    }

    /// A frame came.
    pub fn handle_frame(&mut self, frame: Frame, now: Moment) {
        self.with_session(now, |session| session.handle_frame(frame, now));
    }

    /// The journal went on.
    pub fn handle_marks(&mut self, marks: SourceMarks, now: Moment) {
        self.with_session(now, |session| session.handle_marks(marks, now));
    }

    /// The own chain head at an entry.
    pub fn handle_head(&mut self, sequence: Sequence, head: Option<ChainHead>, now: Moment) {
        self.with_session(now, |session| session.handle_head(sequence, head, now));
    }

    /// Bundles were handed to the connection, as [`SourceSession::handle_shipped`].
    pub fn handle_shipped(&mut self, shipped: Option<(Sequence, u64, Sequence)>, now: Moment) {
        self.with_session(now, |session| session.handle_shipped(shipped, now));
    }

    /// What was to be shipped cannot be read.
    pub fn handle_unreadable(&mut self, now: Moment) {
        self.with_session(now, |session| {
            session.handle_close(EndReason::SourceFailed, now);
        });
    }

    /// The target left the in-sync set, the session goes on.
    pub fn handle_left(&mut self, now: Moment) {
        if let State::Session { caught_up, .. } = &mut self.state {
            *caught_up = false;
        }
        self.with_session(now, |session| session.handle_left(now));
    }

    /// The system stops.
    pub fn handle_shutdown(&mut self, now: Moment) {
        self.stopping = true;
        self.with_session(now, |session| {
            session.handle_close(EndReason::ShuttingDown, now);
        });
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Moment) {
        match &self.state {
            State::Waiting { until } if *until <= now => self.dial(now),
            State::Dialing { since } if *since + DIAL_MAX <= now => {
                self.outputs.push_back(LinkOutput::Disconnect);
                self.ended(EndReason::Lost, now);
            }
            _ => self.with_session(now, |session| session.handle_timeout(now)),
        }
    }

    fn pump(&mut self, now: Moment) {
        loop {
            let (State::Session { session, .. } | State::Draining { session, .. }) =
                &mut self.state
            else {
                return;
            };
            let Some(output) = session.poll_output() else {
                return;
            };
            match output {
                SourceOutput::Send(message) => self.outputs.push_back(LinkOutput::Send(message)),
                SourceOutput::LookUpHead(sequence) => {
                    self.outputs.push_back(LinkOutput::LookUpHead(sequence));
                }
                SourceOutput::Ship { after, bytes } => {
                    self.outputs.push_back(LinkOutput::Ship { after, bytes });
                }
                SourceOutput::Coupled {
                    tip,
                    archived,
                    went_back,
                } => {
                    self.attempts = 0;
                    self.event(LinkEvent::Coupled {
                        tip,
                        archived,
                        went_back,
                    });
                    self.drained(tip, now);
                }
                SourceOutput::Acknowledged {
                    received,
                    written,
                    low_space,
                } => {
                    self.event(LinkEvent::Acknowledged {
                        received,
                        written,
                        low_space,
                    });
                    self.drained(written, now);
                }
                SourceOutput::CaughtUp if self.leaving.is_some() => {}
                SourceOutput::CaughtUp => {
                    if let State::Session {
                        caught_up, pace, ..
                    } = &mut self.state
                    {
                        *caught_up = true;
                        pace.handle_caught_up();
                    }
                    self.event(LinkEvent::CaughtUp);
                }
                SourceOutput::End(reason) => {
                    self.outputs.push_back(LinkOutput::Disconnect);
                    self.ended(reason, now);
                }
                // A session that replicates never hears without coupling, and never adopts.
                SourceOutput::Heard { .. }
                | SourceOutput::AdoptReceiver(_)
                | SourceOutput::Adopt(_)
                | SourceOutput::TailEnded => {}
            }
        }
    }

    fn event(&mut self, event: LinkEvent) {
        self.outputs.push_back(LinkOutput::Event(event));
    }

    fn drained(&mut self, written: Sequence, now: Moment) {
        let drained = matches!(&self.state, State::Draining { upto, .. } if written >= *upto);
        if drained || self.leaving.is_some_and(|upto| written >= upto) {
            self.inactivate(None, now);
        }
    }

    /// A session or an attempt is over: what that means, and what comes next.
    fn ended(&mut self, reason: EndReason, now: Moment) {
        if matches!(self.state, State::Draining { .. }) {
            self.last_end = Some(reason);
            return self.inactivated();
        }
        let (loss, failed, wait) = match &reason {
            EndReason::Refused(Refusal { code, .. }) => {
                let loss = if code.closes_source() {
                    Loss::Fenced
                } else {
                    Loss::Failed
                };
                (loss, !code.may_pass(), WAIT_REFUSED)
            }
            EndReason::Violation(_) | EndReason::SourceFailed => (Loss::Failed, true, WAIT_REFUSED),
            EndReason::Full | EndReason::TargetFailed | EndReason::Inactivated => {
                (Loss::Failed, false, WAIT_REFUSED)
            }
            // It says itself that it goes: nobody waits for it, and it may be back at once.
            EndReason::ShuttingDown if !self.stopping => (Loss::Failed, false, WAIT_MIN),
            EndReason::ShuttingDown
            | EndReason::Superseded
            | EndReason::Heard
            | EndReason::Silent
            | EndReason::Lost => (Loss::Connection, false, WAIT_MIN),
        };
        self.attempts = self.attempts.saturating_add(1);
        self.state = if failed {
            State::Failed
        } else {
            State::Waiting {
                until: now + self.wait(wait),
            }
        };
        self.last_end = Some(reason.clone());
        self.event(LinkEvent::Ended {
            reason,
            loss,
            failed,
        });
    }

    /// Doubles with every attempt; between half and all of it is waited, so that many links do not dial at once.
    fn wait(&mut self, least: Duration) -> Duration {
        let doubled = WAIT_MIN.saturating_mul(1 << self.attempts.saturating_sub(1).min(10));
        let full = doubled.clamp(least, WAIT_MAX);
        self.jitter = self
            .jitter
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let half = u64::try_from(full.as_micros() / 2).unwrap_or(u64::MAX);
        Duration::from_micros(half + (self.jitter >> 33) % half.max(1))
    }
}
