//! Room `remote`: the source's end of one session: greeting, coupling, then one stream of bundles from wherever the target
//! is to the end of the journal and along with it.
//!
//! ```text
//!  Greeting --Welcome--> Searching --heads--> Coupling --Coupled--> Streaming --End/loss--> Ended
//!     \                      \----- purpose Open ------> Heard --adopt--> Adopting --TailEnded--> Heard
//!      \----Refuse--------------------------------------------------------------------------> Ended
//! ```
//!
//! It never sees a bundle's bytes: it orders [`SourceOutput::Ship`] and is told what was shipped. Must not know where
//! bundles are kept.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::accept::{Acceptor, Violation};
use super::couple::{Coupling, Extent, Search, Wanted};
use super::message::{
    EndReason, Frame, Hello, Message, PROTOCOL_VERSION, Purpose, Refusal, RefusalCode, Welcome,
};
use crate::entry::control_entry::Level;
use crate::entry::{
    ChainHead, Epoch, GroupId, JournalId, Moment, Place, Position, QualifiedName, ReceiverHeader,
    SealedBundle, Sequence, SystemId, SystemName, Timestamp,
};

/// Bytes that may be on their way to one target.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Bytes asked for in one go.
const SHIP_BYTES: usize = 1024 * 1024;
/// A target this little behind may join the in-sync set.
const JOIN_LAG_BYTES: u64 = 2 * 1024 * 1024;
/// Something is said at least this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Nothing heard for this long ends the session.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// A confirmation waits at most this long for a bundle to ride on.
const CONFIRM_WAIT: Duration = Duration::from_millis(1);

/// Up to which of the source's watermarks entries may be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShipLimit {
    /// As soon as they are sealed, while the local write is under way: *SYNC.
    Sealed,
    /// Once they are flushed at the source: *ASYNC, and *SYNC with the attribute local-first.
    Written,
    /// Once they are confirmed: a copy that feeds a further one.
    Confirmed,
}

/// The source's watermarks as a session sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourceMarks {
    /// The epoch sessions have now. A copy that feeds others gets a later one when its own source was opened again.
    pub epoch: Epoch,
    /// The last entry that may be shipped under the session's limit.
    pub shippable: Sequence,
    /// The last entry that is confirmed once the target has it: written at the source, or confirmed at a feeding copy.
    pub confirmable: Sequence,
    /// The last entry there is, and when it was deposited.
    pub last: Sequence,
    /// When it was deposited.
    pub last_time: Timestamp,
}

/// What a session is about.
#[derive(Debug, Clone)]
pub struct SessionFacts {
    /// Random number of the session.
    pub session: u64,
    /// Why.
    pub purpose: Purpose,
    /// The journal.
    pub journal: JournalId,
    /// Its name here.
    pub source_journal: QualifiedName,
    /// Its name there.
    pub target_journal: QualifiedName,
    /// This system.
    pub system: SystemId,
    /// Its name.
    pub system_name: SystemName,
    /// The system at the other end.
    pub target: SystemId,
    /// Systems the entries have passed before this one.
    pub path: Vec<SystemId>,
    /// Authority: the epoch the journal is open in, or what a feeding copy has promised.
    pub epoch: Epoch,
    /// What is held here.
    pub extent: Extent,
    /// Where a target that holds nothing begins.
    pub begin: Position,
    /// Epoch of the last bundle here.
    pub tip_epoch: Epoch,
    /// The attached receiver and the byte where the next bundle goes: where an adopted tail would continue.
    pub place: Place,
    /// The highest entry the target was ever seen to have flushed.
    pub acknowledged: Sequence,
    /// What the target is to acknowledge.
    pub level: Level,
    /// How far may be shipped.
    pub limit: ShipLimit,
    /// Whether answers wait for this target.
    pub sync: bool,
}

/// What a session wants done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceOutput {
    /// Send this.
    Send(Message),
    /// Look up the own chain head at an entry; answer with [`SourceSession::handle_head`].
    LookUpHead(Sequence),
    /// Ship whole bundles after this entry, about so many bytes; answer with [`SourceSession::handle_shipped`].
    Ship {
        /// The last entry shipped before.
        after: Sequence,
        /// About so many bytes.
        bytes: usize,
    },
    /// The target is coupled: what it has flushed lies on this journal's chain.
    Coupled {
        /// Its last entry.
        tip: Sequence,
        /// How many entries it set aside.
        archived: u64,
        /// It has less than it was seen to have before (failures.md COU-6).
        went_back: bool,
    },
    /// It acknowledged.
    Acknowledged {
        /// In its memory.
        received: Sequence,
        /// On its disk.
        written: Sequence,
        /// Its disk will soon be full.
        low_space: bool,
    },
    /// It is close enough to the end to join the in-sync set.
    CaughtUp,
    /// Purpose Open or Compare: this is what the target holds.
    Heard {
        /// What it said.
        welcome: Box<Welcome>,
        /// What follows from the two histories.
        coupling: Coupling,
    },
    /// Purpose Open: a receiver of the tail.
    AdoptReceiver(ReceiverHeader),
    /// Purpose Open: a bundle of the tail.
    Adopt(SealedBundle),
    /// Purpose Open: the tail was complete.
    TailEnded,
    /// The session is over.
    End(EndReason),
}

#[derive(Debug)]
enum State {
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
    },
    Adopting {
        acceptor: Box<Acceptor>,
    },
    Streaming(Streaming),
    Ended,
}

#[derive(Debug)]
struct Streaming {
    /// The last entry shipped.
    shipped: Sequence,
    /// What was shipped and not yet acknowledged: last entry and bytes.
    in_flight: VecDeque<(Sequence, u64)>,
    in_flight_bytes: u64,
    /// The last entry the target knows to be confirmed.
    told: Sequence,
    /// Since when a confirmation waits for a bundle to ride on.
    confirm_due: Option<Moment>,
    /// An order to ship is out.
    shipping: bool,
    caught_up: bool,
    /// It has not caught up before it has flushed this one: what was shipped when it left the in-sync set.
    caught_up_from: Sequence,
    received: Sequence,
    written: Sequence,
}

/// The source's end of one session.
#[derive(Debug)]
pub struct SourceSession {
    facts: SessionFacts,
    state: State,
    marks: SourceMarks,
    outputs: VecDeque<SourceOutput>,
    last_sent: Moment,
    last_heard: Moment,
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

    fn send(&mut self, message: Message, now: Moment) {
        self.last_sent = now;
        self.outputs.push_back(SourceOutput::Send(message));
    }

    fn end(&mut self, reason: EndReason) {
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
            (State::Greeting, Message::Welcome(welcome)) => self.handle_welcome(welcome, now),
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
            (State::Adopting { acceptor }, Message::TailEnded { tip }) => {
                let ends = acceptor.tip();
                if tip != ends {
                    return Err(Violation::Claim {
                        what: "the end of the tail at",
                        found: tip.sequence,
                        limit: ends.sequence,
                    });
                }
                self.outputs.push_back(SourceOutput::TailEnded);
                self.state = State::Heard {
                    coupling: Coupling::Continue { at: ends },
                };
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
            State::Greeting => "greeting",
            State::Searching { .. } => "comparing histories",
            State::Coupling { .. } => "coupling",
            State::Heard { .. } => "deciding what to open with",
            State::Adopting { .. } => "adopting",
            State::Streaming(_) => "streaming",
            State::Ended => "ended",
        }
    }

    fn handle_welcome(&mut self, welcome: Box<Welcome>, now: Moment) {
        if welcome.session != self.facts.session || welcome.system != self.facts.target {
            let text = "another system answered than the one this remote journal was added on; \
                        compare WRKRDBDIRE here with DSPSYSID there";
            return self.refuse(
                RefusalCode::DuplicateIdentity,
                Sequence::NONE,
                None,
                text.into(),
                now,
            );
        }
        let target = Extent {
            oldest: welcome.oldest,
            tip: welcome.tip,
        };
        if welcome.empty {
            return self.decided(
                Coupling::Begin {
                    at: self.facts.begin,
                },
                welcome,
                now,
            );
        }
        let search = Box::new(Search::new(self.facts.extent, target));
        self.state = State::Searching {
            search,
            asked: None,
            welcome,
        };
        self.search(now);
    }

    /// The target left the in-sync set while the session goes on: it is to say again when it has caught up.
    pub fn handle_left(&mut self, now: Moment) {
        if let State::Streaming(streaming) = &mut self.state {
            streaming.caught_up = false;
            // One that was too slow shows first that it is there again (failures.md SYN-9).
            streaming.caught_up_from = streaming.shipped;
            self.go_on(now);
        }
    }

    /// Our own chain head at an entry.
    pub fn handle_head(&mut self, sequence: Sequence, head: Option<ChainHead>, now: Moment) {
        if let State::Searching { search, .. } = &mut self.state {
            search.tell_ours(sequence, head);
            self.search(now);
        }
    }

    fn search(&mut self, now: Moment) {
        let State::Searching {
            search,
            asked,
            welcome,
        } = &mut self.state
        else {
            return;
        };
        match search.wanted() {
            Wanted::Ours(sequence) => self.outputs.push_back(SourceOutput::LookUpHead(sequence)),
            Wanted::Theirs(sequence) => {
                *asked = Some(sequence);
                self.send(Message::HeadAsked { sequence }, now);
            }
            Wanted::Decided(coupling) => {
                let welcome = welcome.clone();
                self.decided(coupling, welcome, now);
            }
        }
    }

    /// The table of DESIGN section 6, for a source that is open; one that is not open yet is told and decides itself.
    fn decided(&mut self, coupling: Coupling, welcome: Box<Welcome>, now: Moment) {
        if self.facts.purpose != Purpose::Replicate {
            self.state = State::Heard { coupling };
            self.outputs
                .push_back(SourceOutput::Heard { welcome, coupling });
            return;
        }
        let target = welcome.tip.sequence;
        let fork = match coupling {
            Coupling::Continue { at } | Coupling::Begin { at } => at,
            Coupling::Ahead { at } | Coupling::Forked { at }
                if at.sequence >= welcome.confirmed =>
            {
                at
            }
            Coupling::Ahead { at } | Coupling::Forked { at } => {
                let text = format!(
                    "the histories fork after entry {}, but entry {} is confirmed at the target: one of the two was restored \
                     or opened alone; nothing was changed. VERIFY shows the fork; keep one side and load the other anew",
                    at.sequence, welcome.confirmed
                );
                return self.refuse(RefusalCode::Diverged, target, Some(at.sequence), text, now);
            }
            Coupling::Strangers => {
                let text = "the two copies have no entry in common: one of them is not this journal's; \
                            delete the remote journal with DLTJRN there and add it again";
                return self.refuse(RefusalCode::Diverged, target, None, text.into(), now);
            }
            Coupling::Gap => {
                let oldest = self.facts.extent.oldest.sequence.next();
                let text = format!(
                    "the target needs entry {} next, the oldest here is {oldest}: its receiver was deleted; \
                     delete the remote journal with DLTJRN there, add it again and load its replica from a store save",
                    target.next()
                );
                return self.refuse(RefusalCode::ReceiverMissing, target, None, text, now);
            }
        };
        if fork.sequence < self.facts.extent.oldest.sequence {
            let text = format!(
                "the entries after {} are no longer here: their receiver was deleted",
                fork.sequence
            );
            return self.refuse(
                RefusalCode::ReceiverMissing,
                target,
                Some(fork.sequence),
                text,
                now,
            );
        }
        self.state = State::Coupling { fork, welcome };
        self.send(Message::Couple { fork }, now);
    }

    fn refuse(
        &mut self,
        code: RefusalCode,
        target: Sequence,
        fork: Option<Sequence>,
        text: String,
        now: Moment,
    ) {
        let source = self.facts.extent.tip.sequence;
        let refusal = Refusal {
            code,
            source,
            target,
            fork,
            text,
        };
        self.send(Message::Refuse(refusal.clone()), now);
        self.end(EndReason::Refused(refusal));
    }

    fn handle_coupled(
        &mut self,
        tip: Sequence,
        archived: u64,
        now: Moment,
    ) -> Result<(), Violation> {
        let State::Coupling { fork, welcome } = &self.state else {
            return Ok(());
        };
        if tip != fork.sequence {
            return Err(Violation::Claim {
                what: "a tip after coupling of",
                found: tip,
                limit: fork.sequence,
            });
        }
        let went_back = !welcome.empty && welcome.tip.sequence < self.facts.acknowledged;
        let told = welcome.confirmed.min(tip);
        self.state = State::Streaming(Streaming {
            shipped: tip,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            told,
            confirm_due: None,
            shipping: false,
            caught_up: false,
            caught_up_from: tip,
            received: tip,
            written: tip,
        });
        self.outputs.push_back(SourceOutput::Coupled {
            tip,
            archived,
            went_back,
        });
        self.go_on(now);
        Ok(())
    }

    fn handle_acknowledge(
        &mut self,
        received: Sequence,
        written: Sequence,
        low_space: bool,
        now: Moment,
    ) -> Result<(), Violation> {
        let State::Streaming(streaming) = &mut self.state else {
            return Ok(());
        };
        // A target cannot have what it was never sent (failures.md SYN-14), and never forgets within a session.
        let limit = streaming.shipped;
        if received > limit || written > received {
            return Err(Violation::Claim {
                what: "an acknowledgement of",
                found: received.max(written),
                limit,
            });
        }
        if written < streaming.written || received < streaming.received {
            return Err(Violation::Claim {
                what: "an acknowledgement falling back to",
                found: written,
                limit: streaming.written,
            });
        }
        streaming.received = received;
        streaming.written = written;
        while let Some((_, bytes)) = streaming
            .in_flight
            .front()
            .copied()
            .filter(|(last, _)| *last <= written)
        {
            streaming.in_flight.pop_front();
            streaming.in_flight_bytes -= bytes;
        }
        self.outputs.push_back(SourceOutput::Acknowledged {
            received,
            written,
            low_space,
        });
        self.go_on(now);
        Ok(())
    }

    /// Bundles were handed to the connection: the last entry in them, their bytes, and the highest `durable_upto` they
    /// carry. Nothing (`None`) when there was nothing to ship after all.
    ///
    /// # Panics
    /// When something was shipped again that is on its way: the driver did not do what it was told.
    pub fn handle_shipped(&mut self, shipped: Option<(Sequence, u64, Sequence)>, now: Moment) {
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        streaming.shipping = false;
        if let Some((last, bytes, durable_upto)) = shipped {
            assert!(
                last > streaming.shipped,
                "shipped {last} after {}",
                streaming.shipped
            );
            streaming.shipped = last;
            streaming.in_flight.push_back((last, bytes));
            streaming.in_flight_bytes += bytes;
            streaming.told = streaming.told.max(durable_upto);
            self.last_sent = now;
        }
        self.go_on(now);
    }

    /// Whatever is due now: ship, tell the confirmation, say that the target has caught up.
    fn go_on(&mut self, now: Moment) {
        let marks = self.marks;
        let State::Streaming(streaming) = &mut self.state else {
            return;
        };
        let more = marks.shippable > streaming.shipped;
        if more && !streaming.shipping && streaming.in_flight_bytes < WINDOW_BYTES_MAX {
            streaming.shipping = true;
            self.outputs.push_back(SourceOutput::Ship {
                after: streaming.shipped,
                bytes: SHIP_BYTES,
            });
        }
        let confirmable = marks.confirmable.min(streaming.shipped);
        if confirmable <= streaming.told {
            streaming.confirm_due = None;
        } else if streaming.confirm_due.is_none() {
            streaming.confirm_due = Some(now + CONFIRM_WAIT);
        }
        let close = !more && streaming.in_flight_bytes <= JOIN_LAG_BYTES;
        if !streaming.caught_up && close && streaming.written >= streaming.caught_up_from {
            streaming.caught_up = true;
            self.outputs.push_back(SourceOutput::CaughtUp);
        }
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

    /// Purpose Open: asks for everything the target has after the own tip.
    pub fn adopt(&mut self, now: Moment) {
        if let State::Heard {
            coupling: Coupling::Ahead { at },
        } = &self.state
        {
            let (at, place) = (*at, self.facts.place);
            // What is adopted was sealed in an epoch this source gave out itself; it may be later than it remembers.
            let session = Epoch {
                term: u64::MAX,
                boot: u64::MAX,
                nonce: 0,
            };
            let acceptor =
                Acceptor::new(self.facts.journal, at, place, self.facts.tip_epoch, session);
            self.state = State::Adopting {
                acceptor: Box::new(acceptor),
            };
            self.send(Message::TailAsked { after: at }, now);
        }
    }

    fn handle_tail_header(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Adopting { acceptor } = &mut self.state else {
            return Err(Violation::Order {
                message: "a receiver header",
                state,
            });
        };
        let header = acceptor.header(bytes)?;
        self.outputs.extend(header.map(SourceOutput::AdoptReceiver));
        Ok(())
    }

    fn handle_tail_bundle(&mut self, bytes: Bytes) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Adopting { acceptor } = &mut self.state else {
            return Err(Violation::Order {
                message: "a bundle",
                state,
            });
        };
        let bundle = acceptor.bundle(bytes)?;
        self.outputs.push_back(SourceOutput::Adopt(bundle));
        Ok(())
    }
}

pub(super) const fn message_name(message: &Message) -> &'static str {
    match message {
        Message::Hello(_) => "a hello",
        Message::Welcome(_) => "a welcome",
        Message::Refuse(_) => "a refusal",
        Message::HeadAsked { .. } => "a question for a head",
        Message::HeadTold { .. } => "a head",
        Message::Couple { .. } => "a couple",
        Message::Coupled { .. } => "a coupled",
        Message::TailAsked { .. } => "a question for the tail",
        Message::TailEnded { .. } => "an end of the tail",
        Message::Acknowledge { .. } => "an acknowledgement",
        Message::Confirm { .. } => "a confirmation",
        Message::Heartbeat { .. } => "a heartbeat",
        Message::End { .. } => "an end",
    }
}
