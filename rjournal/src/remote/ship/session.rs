//! Room `remote`, shipping: the session as a machine: its states, what a frame does in each, and how it ends. What happens
//! before the first bundle is in `offer`, what happens along with bundles in `stream`. Must not know where bundles are kept.

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::{SessionFacts, SourceMarks, SourceOutput};
use crate::entry::{GroupId, Moment, Position, Sequence};
use crate::remote::accept::{Acceptor, Violation};
use crate::remote::couple::{Coupling, Search};
use crate::remote::message::{
    EndReason, Frame, Hello, Message, PROTOCOL_VERSION, Welcome, message_name,
};

/// Something is said at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Nothing heard for this long ends the session.
const SILENCE_MAX: Duration = Duration::from_secs(8);

#[derive(Debug)]
pub(super) enum State {
    Greeting,
    Searching {
        search: Box<Search>,
        asked: Option<Sequence>,
        welcome: Box<Welcome>,
    },
    Coupling {
        fork: Position,
        welcome: Box<Welcome>,
    },
    Heard {
        coupling: Coupling,
        /// No bundle the target holds is of a later one.
        rank: (u64, u64),
        /// The last entry the target has.
        tip: Sequence,
    },
    Adopting {
        acceptor: Box<Acceptor>,
        rank: (u64, u64),
        tip: Sequence,
        /// The piece that is under way begins behind this entry.
        asked: Sequence,
    },
    Streaming(Streaming),
    Ended,
}

#[derive(Debug)]
pub(super) struct Streaming {
    /// The last entry shipped.
    pub(super) shipped: Sequence,
    /// What was shipped and not yet acknowledged: last entry and bytes.
    pub(super) in_flight: VecDeque<(Sequence, u64)>,
    pub(super) in_flight_bytes: u64,
    /// The last entry the target knows to be confirmed.
    pub(super) told: Sequence,
    /// Since when a confirmation waits for a bundle to ride on.
    pub(super) confirm_due: Option<Moment>,
    /// An order to ship is out.
    pub(super) shipping: bool,
    pub(super) caught_up: bool,
    /// It has not caught up before it has flushed this one: what was shipped when it left the in-sync set.
    pub(super) caught_up_from: Sequence,
    pub(super) received: Sequence,
    pub(super) written: Sequence,
}

/// The source's end of one session.
#[derive(Debug)]
pub struct SourceSession {
    pub(super) facts: SessionFacts,
    pub(super) state: State,
    pub(super) marks: SourceMarks,
    pub(super) outputs: VecDeque<SourceOutput>,
    pub(super) last_sent: Moment,
    pub(super) last_heard: Moment,
}

impl SourceSession {
    /// Begins a session over a connection that is up: the greeting is the first output.
    pub fn new(facts: SessionFacts, marks: SourceMarks, now: Moment) -> Self {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            receiver_version: 1,
            session: facts.session,
            purpose: facts.purpose,
            journal: facts.journal,
            group: GroupId::from(facts.journal),
            source_journal: facts.source_journal,
            target_journal: facts.target_journal,
            system: facts.system,
            system_name: facts.system_name,
            path: facts.path.iter().copied().chain([facts.system]).collect(),
            epoch: facts.epoch,
            oldest: facts.extent.oldest,
            tip: facts.extent.tip,
            acknowledged: facts.acknowledged,
            level: facts.level,
            sync: facts.sync,
        };
        let outputs = VecDeque::from([SourceOutput::Send(Message::Hello(Box::new(hello)))]);
        Self {
            facts,
            state: State::Greeting,
            marks,
            outputs,
            last_sent: now,
            last_heard: now,
        }
    }

    /// Authority of this session.
    pub const fn epoch(&self) -> crate::entry::Epoch {
        self.facts.epoch
    }

    /// What is held here, as it was told.
    pub const fn extent(&self) -> crate::remote::Extent {
        self.facts.extent
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<SourceOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        if matches!(self.state, State::Ended) {
            return None;
        }
        let silent = self.last_heard + SILENCE_MAX;
        let State::Streaming(streaming) = &self.state else {
            return Some(silent);
        };
        let heartbeat = self.last_sent + HEARTBEAT;
        let confirm = streaming
            .confirm_due
            .map_or(heartbeat, |due| due.min(heartbeat));
        Some(silent.min(confirm))
    }

    /// Whether the session streams entries.
    pub const fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    /// The last entry shipped in this session.
    pub fn shipped(&self) -> Sequence {
        if let State::Streaming(streaming) = &self.state {
            streaming.shipped
        } else {
            Sequence::NONE
        }
    }

    /// The last entry the target acknowledged as flushed in this session.
    pub fn written(&self) -> Sequence {
        if let State::Streaming(streaming) = &self.state {
            streaming.written
        } else {
            Sequence::NONE
        }
    }

    /// How many entries of the journal the target has not acknowledged as flushed.
    pub fn behind(&self) -> u64 {
        self.marks.last.entries_since(self.written())
    }

    pub(super) fn send(&mut self, message: Message, now: Moment) {
        self.last_sent = now;
        self.outputs.push_back(SourceOutput::Send(message));
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        if !matches!(self.state, State::Ended) {
            self.state = State::Ended;
            self.outputs.push_back(SourceOutput::End(reason));
        }
    }

    fn violated(&mut self, violation: &Violation, now: Moment) {
        let reason = EndReason::Violation(violation.to_string());
        self.send(
            Message::End {
                reason: reason.clone(),
            },
            now,
        );
        self.end(reason);
    }

    /// Ends the session from this side.
    pub fn handle_close(&mut self, reason: EndReason, now: Moment) {
        if !matches!(self.state, State::Ended) {
            self.send(
                Message::End {
                    reason: reason.clone(),
                },
                now,
            );
            self.end(reason);
        }
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self) {
        self.end(EndReason::Lost);
    }

    /// The journal went on.
    pub fn handle_marks(&mut self, marks: SourceMarks, now: Moment) {
        self.marks = marks;
        if marks.epoch == self.facts.epoch {
            self.go_on(now);
        } else {
            // The target has promised the old epoch; it must hear of the new one before anything sealed in it.
            self.handle_close(EndReason::Superseded, now);
        }
    }

    /// A frame came.
    pub fn handle_frame(&mut self, frame: Frame, now: Moment) {
        self.last_heard = now;
        if matches!(self.state, State::Ended) {
            return;
        }
        let outcome = match frame {
            Frame::Message(message) => self.handle_message(message, now),
            Frame::Header(bytes) => self.handle_tail_header(&bytes),
            Frame::Bundle(bytes) => self.handle_tail_bundle(bytes),
        };
        if let Err(violation) = outcome {
            self.violated(&violation, now);
        }
    }

    fn handle_message(&mut self, message: Message, now: Moment) -> Result<(), Violation> {
        let state = self.state_name();
        match (&mut self.state, message) {
            (_, Message::Refuse(refusal)) => self.end(EndReason::Refused(refusal)),
            (_, Message::End { reason }) => self.end(reason),
            (State::Greeting, Message::Welcome(welcome)) => {
                return self.handle_welcome(welcome, now);
            }
            (State::Searching { search, asked, .. }, Message::HeadTold { sequence, head })
                if *asked == Some(sequence) =>
            {
                search.tell_theirs(sequence, head);
                *asked = None;
                self.search(now);
            }
            (State::Coupling { .. }, Message::Coupled { tip, archived }) => {
                return self.handle_coupled(tip, archived, now);
            }
            (
                State::Streaming(_),
                Message::Acknowledge {
                    received,
                    written,
                    low_space,
                    ..
                },
            ) => {
                return self.handle_acknowledge(received, written, low_space, now);
            }
            (State::Adopting { .. }, Message::TailEnded { tip }) => {
                return self.handle_tail_ended(tip, now);
            }
            (_, message) => {
                return Err(Violation::Order {
                    message: message_name(&message),
                    state,
                });
            }
        }
        Ok(())
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Moment) {
        if matches!(self.state, State::Ended) {
            return;
        }
        if now >= self.last_heard + SILENCE_MAX {
            return self.end(EndReason::Silent);
        }
        let marks = self.marks;
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let confirmable = marks.confirmable.min(streaming.shipped);
        if streaming.confirm_due.is_some_and(|due| now >= due) {
            streaming.confirm_due = None;
            // While more is being shipped its bundles carry the confirmation.
            if confirmable > streaming.told && !streaming.shipping {
                streaming.told = confirmable;
                self.send(Message::Confirm { upto: confirmable }, now);
            }
        }
        if now >= self.last_sent + HEARTBEAT {
            self.send(
                Message::Heartbeat {
                    sealed: marks.last,
                    time: marks.last_time,
                },
                now,
            );
        }
        self.go_on(now);
    }

    pub(super) const fn state_name(&self) -> &'static str {
        match self.state {
            State::Greeting => "greeting",
            State::Searching { .. } => "comparing histories",
            State::Coupling { .. } => "coupling",
            State::Heard { .. } => "deciding what to open with",
            State::Adopting { .. } => "adopting",
            State::Streaming(_) => "streaming",
            State::Ended => "ended",
        }
    }
}
