//! Room `remote`: delivery: one link kept going over many sessions. It is activated and inactivated by an operator, dials,
//! holds a session while there is a connection, and after a loss tries again by itself with growing, jittered waits.
//!
//! ```text
//!             activate                 connected               caught up
//!  *INACTIVE ---------> Dialing ------------------> Session -------------> (in the in-sync set, or *ASYNC)
//!     ^  ^                | ^                          |
//!     |  |         failed | | wait over                | lost, full, silent
//!     |  |                v |                          v
//!     |  |              Waiting <----------------------+
//!     |  +--- drained --- Draining <--- inactivate *CNTRLD (running *ASYNC only; activate leads back)
//!     +------------------ inactivate *IMMED, from anywhere
//!  *FAILED <--- a refusal or violation that time does not cure; activate begins anew
//! ```
//!
//! States as an operator sees them: IBM i "Journal state and delivery mode". Must not know sockets or tasks.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::confirm::Loss;
use super::message::{EndReason, Frame, Message, Refusal};
use super::pace::{Outrun, Pace};
use super::ship::{SessionFacts, SourceMarks, SourceOutput, SourceSession};
use crate::entry::{ChainHead, Moment, Sequence};

/// First wait after a loss.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longest wait after a loss.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Shortest wait after a refusal that time or an operator may cure.
const WAIT_REFUSED: Duration = Duration::from_secs(5);
/// How long dialing may take before it counts as failed; the driver's own limit is shorter.
const DIAL_MAX: Duration = Duration::from_secs(20);

/// What an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// *SYNC rather than *ASYNC.
    pub sync: bool,
}

/// Where a link is, as an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    /// Not replicating.
    #[serde(rename = "*INACTIVE")]
    Inactive,
    /// Replicating, or trying to.
    #[serde(rename = "*ACTIVE")]
    Active,
    /// A controlled end: what is there still goes out.
    #[serde(rename = "*CTLINACT")]
    ControlledEnd,
    /// Ended by something time does not cure.
    #[serde(rename = "*FAILED")]
    Failed,
}

impl LinkState {
    /// Whether entries may still go out: active, or ending in order.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Active | Self::ControlledEnd)
    }

    /// As printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "*INACTIVE",
            Self::Active => "*ACTIVE",
            Self::ControlledEnd => "*CTLINACT",
            Self::Failed => "*FAILED",
        }
    }
}

/// A link for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// State.
    pub state: LinkState,
    /// Whether a session streams entries.
    pub streaming: bool,
    /// Whether it has caught up since the session began.
    pub caught_up: bool,
    /// Deposits come faster than it catches up.
    pub outrun: Option<Outrun>,
    /// The last entry shipped in this session.
    pub shipped: Sequence,
    /// The last entry acknowledged as flushed in this session.
    pub written: Sequence,
    /// Failed attempts since the last session.
    pub attempts: u32,
    /// Why the last session or attempt ended.
    pub last_end: Option<EndReason>,
}

/// What happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The target is coupled.
    Coupled {
        /// Its last entry.
        tip: Sequence,
        /// Entries it set aside.
        archived: u64,
        /// It has less than it had.
        went_back: bool,
    },
    /// It acknowledged.
    Acknowledged {
        /// In memory.
        received: Sequence,
        /// On disk.
        written: Sequence,
        /// Its disk will soon be full.
        low_space: bool,
    },
    /// It has caught up.
    CaughtUp,
    /// Deposits come faster than it catches up: told once a session.
    Outrun(Outrun),
    /// The session ended; the link goes on by itself unless it failed.
    Ended {
        /// Why.
        reason: EndReason,
        /// What it means for the in-sync set.
        loss: Loss,
        /// Whether an operator must do something.
        failed: bool,
    },
    /// It was inactivated, and nothing is under way any more.
    Inactivated,
}

/// What a link wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkOutput {
    /// Connect; answer with [`Link::handle_connected`] or [`Link::handle_connect_failed`].
    Dial,
    /// Send this over the connection.
    Send(Message),
    /// Look up the own chain head; answer with [`Link::handle_head`].
    LookUpHead(Sequence),
    /// Ship bundles; answer with [`Link::handle_shipped`].
    Ship {
        /// The last entry shipped before.
        after: Sequence,
        /// About so many bytes.
        bytes: usize,
    },
    /// Close the connection after what was ordered before.
    Disconnect,
    /// Something happened.
    Event(LinkEvent),
}

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
        if matches!(&self.state, State::Draining { upto, .. } if written >= *upto) {
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
