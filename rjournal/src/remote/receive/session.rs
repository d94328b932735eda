//! Room `remote`: the target's end of one session: who may feed this copy, whose history it is, and what has to be durable
//! before anything is said.
//!
//! ```text
//!  Awaiting --Hello--> Greeted --Couple--> Promising --promised--> Archiving --archived--> Streaming --> Ended
//!      \--Refuse--> Ended  \--TailAsked--> Serving --> Greeted
//! ```
//!
//! Two epochs are kept apart (ruling 2): the *session* epoch is authority, compared with this system's promise at coupling
//! and again before each acknowledgement; the *bundle* epoch is history. Must not know the copy's files: it orders
//! ([`TargetOutput`]) and is told.

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::{TargetFacts, TargetOutput};
use super::greeting::refusal;
use crate::entry::control_entry::Level;
use crate::entry::progress::CopyProgress;
use crate::entry::{ChainHead, Epoch, Moment, Place, Position, SealedBundle, Sequence};
use crate::remote::accept::{Acceptor, Side, Violation, check_greeting};
use crate::remote::message::{
    EndReason, Frame, Hello, Message, Purpose, Refusal, RefusalCode, Welcome, message_name,
};

/// Nothing heard for this long ends the session.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// Of what the source had when the session began, so much is written before it is flushed,
const HISTORY_BYTES_PER_FLUSH: u64 = 1024 * 1024;
/// or what came within this time: a source that hears nothing takes its target for dead.
const HISTORY_TIME_PER_FLUSH: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum State {
    Awaiting,
    Greeted {
        hello: Box<Hello>,
    },
    Promising {
        hello: Box<Hello>,
        fork: Position,
    },
    Archiving {
        hello: Box<Hello>,
        fork: Position,
    },
    Streaming {
        acceptor: Box<Acceptor>,
        epoch: Epoch,
        level: Level,
        /// Where the source was when the session began: no depositor waits for what lies before.
        history: Sequence,
        /// Bytes written and not flushed.
        unflushed: u64,
        /// When a flush was ordered last.
        flushed_at: Moment,
    },
    Ended,
}

/// The target's end of one session.
#[derive(Debug)]
pub struct TargetSession {
    facts: TargetFacts,
    state: State,
    outputs: VecDeque<TargetOutput>,
    last_heard: Moment,
    flush_ordered: bool,
    low_space: bool,
}

impl TargetSession {
    /// Waits for the greeting.
    pub fn new(facts: TargetFacts, now: Moment) -> Self {
        Self {
            facts,
            state: State::Awaiting,
            outputs: VecDeque::new(),
            last_heard: now,
            flush_ordered: false,
            low_space: false,
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<TargetOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        (!matches!(self.state, State::Ended)).then(|| self.last_heard + SILENCE_MAX)
    }

    /// Whether entries are being received.
    pub const fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming { .. })
    }

    /// Whether the greeting was welcome: it is refused before anything of the copy changes.
    pub const fn is_let_in(&self) -> bool {
        matches!(self.state, State::Greeted { .. })
    }

    /// The greeting, once it came.
    pub fn hello(&self) -> Option<&Hello> {
        match &self.state {
            State::Greeted { hello }
            | State::Promising { hello, .. }
            | State::Archiving { hello, .. } => Some(hello),
            _ => None,
        }
    }

    fn send(&mut self, message: Message) {
        self.outputs.push_back(TargetOutput::Send(message));
    }

    fn end(&mut self, reason: EndReason) {
        if !matches!(self.state, State::Ended) {
            self.state = State::Ended;
            self.outputs.push_back(TargetOutput::End(reason));
        }
    }

    fn refuse(&mut self, code: RefusalCode, source: Sequence, text: String) {
        let refusal = Refusal {
            code,
            source,
            target: self.facts.tip.sequence,
            fork: None,
            text,
        };
        self.send(Message::Refuse(refusal.clone()));
        self.end(EndReason::Refused(refusal));
    }

    /// The source may not feed this copy any more: it is told so, as it would be were it to come anew.
    pub fn handle_dismissed(&mut self, text: String) {
        if !matches!(self.state, State::Ended) {
            self.refuse(RefusalCode::NotAuthorised, Sequence::NONE, text);
        }
    }

    /// A higher epoch was promised here since the greeting: nothing of this session counts.
    pub fn handle_fenced(&mut self, promised: Epoch) {
        if !matches!(self.state, State::Ended) {
            let text = format!("epoch {promised} was promised here meanwhile");
            self.refuse(RefusalCode::Fenced, Sequence::NONE, text);
        }
    }

    /// More is confirmed here since the greeting than the fork leaves: nothing is cut.
    pub fn handle_confirmed(&mut self, confirmed: Sequence) {
        if !matches!(self.state, State::Ended) {
            let text =
                format!("entry {confirmed} was confirmed here meanwhile: nothing was changed");
            self.refuse(RefusalCode::Diverged, Sequence::NONE, text);
        }
    }

    /// Ends the session from this side.
    pub fn handle_close(&mut self, reason: EndReason) {
        if !matches!(self.state, State::Ended) {
            self.send(Message::End {
                reason: reason.clone(),
            });
            self.end(reason);
        }
    }

    /// The connection is gone.
    pub fn handle_lost(&mut self) {
        self.end(EndReason::Lost);
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Moment) {
        if now >= self.last_heard + SILENCE_MAX {
            self.end(EndReason::Silent);
        }
    }

    /// A frame came.
    pub fn handle_frame(&mut self, frame: Frame, now: Moment) {
        self.last_heard = now;
        if matches!(self.state, State::Ended) {
            return;
        }
        let outcome = match frame {
            Frame::Message(message) => self.handle_message(message),
            Frame::Header(bytes) => self.handle_header(&bytes),
            Frame::Bundle(bytes) => self.handle_bundle(|acceptor| acceptor.bundle(bytes)),
        };
        self.judge(outcome);
    }

    /// A bundle came, and was read on its way.
    pub fn handle_opened(&mut self, bundle: SealedBundle, now: Moment) {
        self.last_heard = now;
        if !matches!(self.state, State::Ended) {
            let outcome = self.handle_bundle(|acceptor| acceptor.opened(bundle));
            self.judge(outcome);
        }
    }

    fn judge(&mut self, outcome: Result<(), Violation>) {
        if let Err(violation) = outcome {
            self.handle_close(EndReason::Violation(violation.to_string()));
        }
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Violation> {
        let state = self.state_name();
        match (&self.state, message) {
            (_, Message::Refuse(refusal)) => self.end(EndReason::Refused(refusal)),
            (_, Message::End { reason }) => self.end(reason),
            (State::Awaiting, Message::Hello(hello)) => {
                let known = self.facts.promised;
                check_greeting(Side::Source, &[hello.epoch], known, hello.oldest, hello.tip)?;
                self.handle_hello(hello);
            }
            (State::Greeted { .. }, Message::HeadAsked { sequence }) => {
                self.outputs.push_back(TargetOutput::LookUpHead(sequence));
            }
            (State::Greeted { .. }, Message::Couple { fork }) => return self.handle_couple(fork),
            (State::Greeted { hello }, Message::TailAsked { after })
                if matches!(hello.purpose, Purpose::Open { .. }) =>
            {
                self.outputs.push_back(TargetOutput::ServeTail(after));
            }
            (State::Streaming { .. }, Message::Confirm { upto }) => {
                self.outputs.push_back(TargetOutput::Confirm(upto));
            }
            (State::Streaming { .. }, Message::Heartbeat { sealed, time }) => {
                self.outputs
                    .push_back(TargetOutput::SourceAt { sealed, time });
                self.order_flush();
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

    const fn state_name(&self) -> &'static str {
        match self.state {
            State::Awaiting => "waiting for a hello",
            State::Greeted { .. } => "greeted",
            State::Promising { .. } => "promising",
            State::Archiving { .. } => "setting entries aside",
            State::Streaming { .. } => "streaming",
            State::Ended => "ended",
        }
    }

    fn handle_hello(&mut self, hello: Box<Hello>) {
        let facts = &self.facts;
        if let Some((code, text)) = refusal(facts, &hello) {
            return self.refuse(code, hello.tip.sequence, text);
        }
        let welcome = Welcome {
            session: hello.session,
            system: facts.system,
            promised: facts.promised,
            oldest: facts.oldest,
            tip: facts.tip,
            tip_epoch: facts.tip_epoch,
            confirmed: facts.confirmed,
            empty: facts.place.is_nowhere(),
            free_bytes: facts.free_bytes,
        };
        self.state = State::Greeted { hello };
        self.send(Message::Welcome(Box::new(welcome)));
    }

    /// The own chain head at an entry.
    pub fn handle_head(&mut self, sequence: Sequence, head: Option<ChainHead>) {
        match &self.state {
            State::Greeted { .. } => self.send(Message::HeadTold { sequence, head }),
            State::Promising { fork, .. } if fork.sequence == sequence => {
                // The source's word is not enough: the fork must be a place in this copy's own history.
                if head == Some(fork.head) {
                    let hello_epoch = self.hello().map(|hello| hello.epoch).unwrap_or_default();
                    self.outputs.push_back(TargetOutput::Promise(hello_epoch));
                } else {
                    let claim = fork.sequence;
                    self.refuse(
                        RefusalCode::Diverged,
                        claim,
                        format!("entry {claim} is not the same entry here"),
                    );
                }
            }
            _ => {}
        }
    }

    /// The tail that was asked for is not all here: whoever asks counts on what was deleted. That ends the session, and says
    /// nothing against the copy.
    pub fn handle_not_held(&mut self, after: Sequence) {
        let text = format!(
            "the entries after {after} are no longer held here, the oldest is {}: their receiver was deleted",
            self.facts.oldest.sequence.next()
        );
        self.refuse(RefusalCode::ReceiverMissing, after, text);
    }

    fn handle_couple(&mut self, fork: Position) -> Result<(), Violation> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Greeted { hello } = state else {
            return Ok(());
        };
        let empty = self.facts.place.is_nowhere();
        let tip = self.facts.tip.sequence;
        if hello.purpose != Purpose::Replicate {
            self.state = State::Greeted { hello };
            return Err(Violation::Order {
                message: "a couple",
                state: "only comparing",
            });
        }
        if !empty && fork.sequence > tip {
            self.state = State::Greeted { hello };
            return Err(Violation::Claim {
                what: "a common position of",
                found: fork.sequence,
                limit: tip,
            });
        }
        self.state = State::Promising { hello, fork };
        if !empty && fork.sequence < self.facts.confirmed {
            let text = format!(
                "entry {} is confirmed here, the source's history forks after entry {}: nothing was changed",
                self.facts.confirmed, fork.sequence
            );
            self.refuse(RefusalCode::Diverged, fork.sequence, text);
        } else if empty || fork == self.facts.tip {
            self.handle_head(fork.sequence, Some(fork.head));
        } else {
            self.outputs
                .push_back(TargetOutput::LookUpHead(fork.sequence));
        }
        Ok(())
    }

    /// The promise is durable.
    pub fn handle_promised(&mut self) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        if let State::Promising { hello, fork } = state {
            self.facts.promised = hello.epoch;
            let empty = self.facts.place.is_nowhere();
            self.state = State::Archiving { hello, fork };
            if empty || fork == self.facts.tip {
                self.coupled(0);
            } else {
                self.outputs.push_back(TargetOutput::Archive(fork));
            }
        } else {
            self.state = state;
        }
    }

    /// What lay behind the fork is archived, durably, and cut; the copy now ends at `place`.
    pub fn handle_archived(&mut self, entries: u64, place: Place, tip_epoch: Epoch) {
        self.facts.place = place;
        self.facts.tip_epoch = tip_epoch;
        self.coupled(entries);
    }

    fn coupled(&mut self, archived: u64) {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let State::Archiving { hello, fork } = state else {
            self.state = state;
            return;
        };
        let acceptor = Acceptor::new(
            self.facts.journal,
            fork,
            self.facts.place,
            self.facts.tip_epoch,
            hello.epoch,
        );
        self.facts.tip = fork;
        self.state = State::Streaming {
            acceptor: Box::new(acceptor),
            epoch: hello.epoch,
            level: hello.level,
            history: hello.tip.sequence,
            unflushed: 0,
            flushed_at: self.last_heard,
        };
        self.send(Message::Coupled {
            tip: fork.sequence,
            archived,
        });
    }

    fn handle_header(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Streaming { acceptor, .. } = &mut self.state else {
            return Err(Violation::Order {
                message: "a receiver header",
                state,
            });
        };
        let header = acceptor.header(bytes)?;
        self.outputs.extend(header.map(TargetOutput::Attach));
        Ok(())
    }

    fn handle_bundle(
        &mut self,
        accept: impl FnOnce(&mut Acceptor) -> Result<Option<SealedBundle>, Violation>,
    ) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Streaming {
            acceptor,
            history,
            unflushed,
            flushed_at,
            ..
        } = &mut self.state
        else {
            return Err(Violation::Order {
                message: "a bundle",
                state,
            });
        };
        let bundle = accept(acceptor)?;
        *unflushed += bundle
            .as_ref()
            .map_or(0, |bundle| bundle.bytes().len() as u64);
        let due = acceptor.tip().sequence >= *history
            || *unflushed >= HISTORY_BYTES_PER_FLUSH
            || self.last_heard >= *flushed_at + HISTORY_TIME_PER_FLUSH;
        self.outputs.extend(bundle.map(TargetOutput::Write));
        if due {
            *flushed_at = self.last_heard;
            self.order_flush();
        }
        Ok(())
    }

    fn order_flush(&mut self) {
        if !self.flush_ordered {
            self.flush_ordered = true;
            self.outputs.push_back(TargetOutput::Flush);
        }
    }

    /// Bundles are in memory, not flushed: acknowledged at once where level RECEIVED was asked for.
    pub fn handle_received(&mut self, progress: CopyProgress) {
        if matches!(
            self.state,
            State::Streaming {
                level: Level::Received,
                ..
            }
        ) {
            self.acknowledge(progress);
        }
    }

    /// A flush or a durable confirmation is done. `promised` is this system's promise now: an acknowledgement is only given
    /// while the session's epoch still is the one promised (failures.md I5).
    pub fn handle_flushed(&mut self, progress: CopyProgress, promised: Epoch) {
        self.flush_ordered = false;
        let State::Streaming {
            epoch, unflushed, ..
        } = &mut self.state
        else {
            return;
        };
        *unflushed = 0;
        if *epoch == promised {
            self.acknowledge(progress);
        } else {
            let text = format!("epoch {promised} was promised here meanwhile");
            self.refuse(RefusalCode::Fenced, progress.written, text);
        }
    }

    fn acknowledge(&mut self, progress: CopyProgress) {
        let CopyProgress {
            received,
            written,
            confirmed,
        } = progress;
        let low_space = self.low_space;
        self.send(Message::Acknowledge {
            received,
            written,
            confirmed,
            low_space,
        });
    }

    /// Whether the disk will soon be full; said with every acknowledgement from now on.
    pub const fn handle_space(&mut self, low: bool) {
        self.low_space = low;
    }

    /// What was asked of the disk could not be done.
    pub fn handle_failed(&mut self, disk_full: bool) {
        self.handle_close(if disk_full {
            EndReason::Full
        } else {
            EndReason::TargetFailed
        });
    }

    /// The last bundle handed out for writing ends here.
    pub fn accepted(&self) -> Sequence {
        match &self.state {
            State::Streaming { acceptor, .. } => acceptor.tip().sequence,
            _ => self.facts.tip.sequence,
        }
    }
}
