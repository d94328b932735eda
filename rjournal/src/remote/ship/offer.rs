//! Room `remote`, shipping: before the first bundle: the histories are compared, and the target is offered a place to go on
//! from, refused, or asked for a tail the source lost. Must not know entries, only positions and heads.

use std::collections::VecDeque;

use bytes::Bytes;

use super::facts::SourceOutput;
use super::session::{SourceSession, State, Streaming};
use crate::entry::{ChainHead, Epoch, Moment, Position, Sequence};
use crate::remote::accept::{Acceptor, Side, Violation, check_greeting};
use crate::remote::couple::{Coupling, Extent, Search, Wanted};
use crate::remote::message::{EndReason, Message, Purpose, Refusal, RefusalCode, Welcome};

impl SourceSession {
    pub(super) fn handle_welcome(
        &mut self,
        welcome: Box<Welcome>,
        now: Moment,
    ) -> Result<(), Violation> {
        if welcome.system != self.facts.target {
            let text = "another system answered than the one this remote journal was added on; compare WRKRDBDIRE here \
                        with DSPSYSID there. CHGRDBDIRE puts the directory entry right; on another system the remote \
                        journal is added anew: RMVRMTJRN, ADDRMTJRN";
            self.refuse(
                RefusalCode::WrongSystem,
                Sequence::NONE,
                None,
                text.into(),
                now,
            );
            return Ok(());
        }
        if welcome.session != self.facts.session {
            return Err(Violation::Order {
                message: "a welcome of another session",
                state: self.state_name(),
            });
        }
        let epochs = [welcome.promised, welcome.tip_epoch];
        let known = self.facts.epoch;
        check_greeting(Side::Target, &epochs, known, welcome.oldest, welcome.tip)?;
        let target = Extent {
            oldest: welcome.oldest,
            tip: welcome.tip,
        };
        if welcome.empty {
            let at = self.facts.begin;
            self.decided(Coupling::Begin { at }, welcome, now);
            return Ok(());
        }
        let search = Box::new(Search::new(self.facts.extent, target));
        self.state = State::Searching {
            search,
            asked: None,
            welcome,
        };
        self.search(now);
        Ok(())
    }

    /// Our own chain head at an entry.
    pub fn handle_head(&mut self, sequence: Sequence, head: Option<ChainHead>, now: Moment) {
        if let State::Searching { search, .. } = &mut self.state {
            search.tell_ours(sequence, head);
            self.search(now);
        }
    }

    pub(super) fn search(&mut self, now: Moment) {
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
            let rank = welcome.promised.rank().max(welcome.tip_epoch.rank());
            let tip = welcome.tip.sequence;
            self.state = State::Heard {
                coupling,
                rank,
                tip,
            };
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

    pub(super) fn handle_coupled(
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

    /// Purpose Open: asks for everything the target has after the own tip, piece by piece.
    pub fn adopt(&mut self, now: Moment) {
        if let State::Heard {
            coupling: Coupling::Ahead { at },
            rank,
            tip,
        } = &self.state
        {
            let (at, place, rank, tip) = (*at, self.facts.place, *rank, *tip);
            // What is adopted was sealed in an epoch this source gave out itself; it may be later than it remembers, but not
            // than the target said.
            let session = Epoch {
                term: rank.0,
                boot: rank.1.saturating_add(1),
                nonce: 0,
            };
            let acceptor =
                Acceptor::new(self.facts.journal, at, place, self.facts.tip_epoch, session);
            self.state = State::Adopting {
                acceptor: Box::new(acceptor),
                rank,
                tip,
                asked: at.sequence,
            };
            self.send(Message::TailAsked { after: at }, now);
        }
    }

    /// A piece of the tail is here; one that ends before the target's last entry is followed by the next.
    pub(super) fn handle_tail_ended(
        &mut self,
        found: Position,
        now: Moment,
    ) -> Result<(), Violation> {
        let State::Adopting {
            acceptor,
            rank,
            tip,
            asked,
        } = &mut self.state
        else {
            return Ok(());
        };
        let (ends, rank, tip) = (acceptor.tip(), *rank, *tip);
        let more = ends.sequence < tip;
        if found != ends || (more && ends.sequence <= *asked) {
            return Err(Violation::Claim {
                what: "the end of the tail at",
                found: found.sequence,
                limit: ends.sequence,
            });
        }
        if more {
            *asked = ends.sequence;
            self.send(Message::TailAsked { after: ends }, now);
            return Ok(());
        }
        self.outputs.push_back(SourceOutput::TailEnded);
        self.state = State::Heard {
            coupling: Coupling::Continue { at: ends },
            rank,
            tip,
        };
        Ok(())
    }

    pub(super) fn handle_tail_header(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Adopting { acceptor, .. } = &mut self.state else {
            return Err(Violation::Order {
                message: "a receiver header",
                state,
            });
        };
        let header = acceptor.header(bytes)?;
        self.outputs.extend(header.map(SourceOutput::AdoptReceiver));
        Ok(())
    }

    pub(super) fn handle_tail_bundle(&mut self, bytes: Bytes) -> Result<(), Violation> {
        let state = self.state_name();
        let State::Adopting { acceptor, .. } = &mut self.state else {
            return Err(Violation::Order {
                message: "a bundle",
                state,
            });
        };
        let bundle = acceptor.bundle(bytes)?;
        self.outputs.extend(bundle.map(SourceOutput::Adopt));
        Ok(())
    }
}
