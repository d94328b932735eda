//! Room `daemon`: carrying between the opening machine, its sessions with the members of the in-sync set, and the
//! recovered journal. Plain calls without tasks or sockets. Must not decide anything.

use std::collections::{BTreeMap, BTreeSet};

use super::carry::{Wire, message};
use super::source::member_key;
use crate::entry::control_entry::{Member, OpenReason};
use crate::entry::{Moment, Position, Sequence, SystemId, SystemName, Timestamp};
use crate::error::JournalError;
use crate::journal::{Control, DeliveryMode, LinkRecord, Recovered};
use crate::remote::{
    EndReason, Extent, Frame, Heard, MemberKey, Opening, OpeningStep, Purpose, RefusalCode,
    SessionFacts, ShipLimit, SourceMarks, SourceOutput, SourceSession,
};

/// Where an opening is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpeningState {
    /// These members have not answered.
    Waiting(Vec<MemberKey>),
    /// A tail is being taken over.
    Adopting,
    /// It may be opened for deposits.
    Ready {
        /// Why.
        reason: OpenReason,
        /// Above this `(term, boot)`.
        rank_above: (u64, u64),
        /// What members of the set have.
        heard: Vec<(MemberKey, Sequence)>,
    },
    /// It stays closed.
    Refused {
        /// Why.
        code: RefusalCode,
        /// What an operator reads.
        text: String,
    },
}

/// A journal on its way to being opened.
#[derive(Debug)]
pub struct OpeningCrank {
    recovered: Recovered,
    opening: Opening,
    sessions: BTreeMap<MemberKey, SourceSession>,
    adopting: Option<MemberKey>,
    /// Entries taken over so far.
    pub adopted: u64,
}

impl OpeningCrank {
    /// Begins the opening of a recovered journal: the members of its recorded in-sync set that are still defined here are
    /// to be asked, and whoever was taken out of it and is not known to have heard of that.
    pub fn new(recovered: Recovered) -> Self {
        let keys: BTreeSet<MemberKey> = waited_for(&recovered).map(MemberKey::from).collect();
        let opening = Opening::new(
            recovered.tip(),
            recovered.last_epoch().rank(),
            recovered.epoch().rank(),
            keys,
        );
        Self {
            recovered,
            opening,
            sessions: BTreeMap::new(),
            adopting: None,
            adopted: 0,
        }
    }

    /// It belongs to a recovery group: another member is to be heard, too, before it opens (ruling 14).
    #[must_use]
    pub const fn in_group(mut self) -> Self {
        self.opening.require_contact();
        self
    }

    /// Another member of its group was heard, and knows of no higher term.
    pub const fn handle_contact(&mut self) {
        self.opening.handle_contact();
    }

    /// What is kept about the journal.
    pub const fn control(&self) -> &Control {
        self.recovered.control()
    }

    /// The journal, still closed.
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The links whose targets have not answered and have no session.
    pub fn to_dial(&self) -> Vec<LinkRecord> {
        let missing: Vec<MemberKey> = self
            .opening
            .missing()
            .filter(|key| !self.sessions.contains_key(key))
            .collect();
        let links = self.control().links.iter();
        links
            .filter(|link| missing.contains(&member_key(link)))
            .cloned()
            .collect()
    }

    /// Where it is.
    pub fn state(&self) -> OpeningState {
        if let Some(text) = &self.control().stopped {
            return OpeningState::Refused {
                code: RefusalCode::Stopped,
                text: text.clone(),
            };
        }
        match self.opening.step() {
            OpeningStep::Wait => OpeningState::Waiting(self.opening.missing().collect()),
            OpeningStep::Adopt(_) => OpeningState::Adopting,
            OpeningStep::Open {
                reason,
                rank_above,
                heard,
            } => OpeningState::Ready {
                reason,
                rank_above,
                heard,
            },
            OpeningStep::Refuse { code, text } => OpeningState::Refused { code, text },
        }
    }

    /// An operator opens it without hearing everybody. Who has answered is left out of the set too, and where the policy is
    /// block or reject it is to know that before anything is answered without it (ruling 13).
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub fn open_alone(&mut self) -> Result<(), JournalError> {
        let followers: BTreeSet<MemberKey> = self.opening.followers().collect();
        let set = self.recovered.set();
        let said = set.is_some_and(|(_, set)| set.policy.guards());
        let guards = said || self.control().attributes.policy.guards();
        let mut untold: Vec<Member> = Vec::new();
        for member in waited_for(&self.recovered).filter(|_| guards) {
            let key = MemberKey::from(member);
            let fresh = untold.iter().all(|other| MemberKey::from(other) != key);
            if fresh && followers.contains(&key) {
                untold.push(member.clone());
            }
        }
        self.recovered.update(|control| {
            control.stopped = None;
            control.set_unknown = false;
            control.untold = untold;
        })?;
        self.opening.open_alone();
        Ok(())
    }

    /// An operator allows any tail to be adopted. Gives what is to be done on connections: everybody is asked anew.
    ///
    /// # Errors
    /// [`JournalError`] when the disk refuses.
    pub fn allow_adopt(&mut self, now: Moment) -> Result<Vec<(MemberKey, Wire)>, JournalError> {
        self.recovered.update(|control| control.stopped = None)?;
        let mut wires = Vec::new();
        if self.adopting.is_some() {
            // What came whole is kept.
            self.settle_adopted(&mut wires, now)?;
        }
        self.opening.allow_adopt();
        let keys: Vec<MemberKey> = self.sessions.keys().copied().collect();
        for key in keys {
            self.close(key, &mut wires, now);
        }
        Ok(wires)
    }

    /// Ends a session; what it says last goes out.
    fn close(&mut self, key: MemberKey, wires: &mut Vec<(MemberKey, Wire)>, now: Moment) {
        let Some(mut session) = self.sessions.remove(&key) else {
            return;
        };
        session.handle_close(EndReason::Heard, now);
        while let Some(output) = session.poll_output() {
            if let SourceOutput::Send(text) = output {
                wires.push((key, Wire::Frames(vec![message(text)])));
            }
        }
        wires.push((key, Wire::Disconnect));
    }

    /// The connection to a member is up.
    pub fn handle_connected(
        &mut self,
        link: &LinkRecord,
        system: (SystemId, SystemName),
        session: u64,
        now: Moment,
    ) {
        let reader = self.recovered.reader();
        let tip = self.recovered.tip();
        let facts = SessionFacts {
            session,
            purpose: Purpose::Open {
                forced: self.opening.is_adopt_allowed(),
            },
            journal: self.control().journal,
            source_journal: self.control().name,
            target_journal: link.target,
            system: system.0,
            system_name: system.1,
            target: link.system,
            path: Vec::new(),
            epoch: self.recovered.epoch(),
            extent: Extent {
                oldest: reader.oldest(),
                tip,
            },
            begin: reader.oldest(),
            tip_epoch: self.recovered.last_epoch(),
            place: self.recovered.place(),
            acknowledged: link.acknowledged,
            level: link.level,
            limit: ShipLimit::Written,
            sync: link.delivery == DeliveryMode::Sync,
        };
        self.sessions.insert(
            member_key(link),
            SourceSession::new(facts, SourceMarks::default(), now),
        );
    }

    /// A frame came from a member.
    pub fn handle_frame(&mut self, key: MemberKey, frame: Frame, now: Moment) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.handle_frame(frame, now);
        }
    }

    /// The connection to a member is gone.
    pub fn handle_lost(&mut self, key: MemberKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.handle_lost();
        }
    }

    /// Time went on.
    pub fn handle_timeout(&mut self, now: Moment) {
        for session in self.sessions.values_mut() {
            if session.poll_timeout().is_some_and(|due| due <= now) {
                session.handle_timeout(now);
            }
        }
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.sessions
            .values()
            .filter_map(SourceSession::poll_timeout)
            .min()
    }

    /// Does what the sessions and the opening want; gives what is to be done on each connection.
    ///
    /// # Errors
    /// [`JournalError`] when an adopted tail cannot be written, or the own receivers cannot be read.
    pub fn turn(
        &mut self,
        wall: Timestamp,
        now: Moment,
    ) -> Result<Vec<(MemberKey, Wire)>, JournalError> {
        let mut wires = Vec::new();
        loop {
            let keys: Vec<MemberKey> = self.sessions.keys().copied().collect();
            let mut moved = false;
            for key in keys {
                while let Some(output) = self
                    .sessions
                    .get_mut(&key)
                    .and_then(SourceSession::poll_output)
                {
                    moved = true;
                    self.perform(key, output, &mut wires, wall, now)?;
                }
            }
            if let (OpeningStep::Adopt(key), None) = (self.opening.step(), self.adopting)
                && let Some(session) = self.sessions.get_mut(&key)
            {
                self.adopting = Some(key);
                session.adopt(now);
                moved = true;
            }
            if !moved {
                return Ok(wires);
            }
        }
    }

    fn perform(
        &mut self,
        key: MemberKey,
        output: SourceOutput,
        wires: &mut Vec<(MemberKey, Wire)>,
        wall: Timestamp,
        now: Moment,
    ) -> Result<(), JournalError> {
        match output {
            SourceOutput::Send(text) => wires.push((key, Wire::Frames(vec![message(text)]))),
            SourceOutput::LookUpHead(sequence) => {
                let head = self.recovered.reader().head_at(sequence)?;
                if let Some(session) = self.sessions.get_mut(&key) {
                    session.handle_head(sequence, head, now);
                }
            }
            SourceOutput::Heard { welcome, coupling } => self
                .opening
                .handle_heard(key, Heard::Welcome(welcome, coupling)),
            SourceOutput::AdoptReceiver(header) => self.recovered.adopt_receiver(&header, wall)?,
            SourceOutput::Adopt(bundle) => self.recovered.adopt(&bundle)?,
            SourceOutput::TailEnded => self.settle_adopted(wires, now)?,
            SourceOutput::End(reason) => {
                wires.push((key, Wire::Disconnect));
                self.sessions.remove(&key);
                if self.adopting == Some(key) {
                    // What came whole is kept: it continues this journal's own chain. Everybody is asked again.
                    self.settle_adopted(wires, now)?;
                    self.opening.ask_again();
                    let others: Vec<MemberKey> = self.sessions.keys().copied().collect();
                    for other in others {
                        self.close(other, wires, now);
                    }
                    return Ok(());
                }
                let heard = match reason {
                    EndReason::Refused(refusal) => Heard::Refused(refusal),
                    _ => Heard::Lost,
                };
                self.opening.handle_heard(key, heard);
            }
            SourceOutput::Ship { .. }
            | SourceOutput::Coupled { .. }
            | SourceOutput::Acknowledged { .. }
            | SourceOutput::CaughtUp => {}
        }
        Ok(())
    }

    /// What was adopted is made durable. Who is to be compared with the new end is asked in a new session.
    fn settle_adopted(
        &mut self,
        wires: &mut Vec<(MemberKey, Wire)>,
        now: Moment,
    ) -> Result<(), JournalError> {
        self.adopting = None;
        self.adopted += self.recovered.adopted()?;
        let tip: Position = self.recovered.tip();
        let rank = self.recovered.last_epoch().rank();
        self.opening.handle_adopted(tip, rank);
        let missing: Vec<MemberKey> = self.opening.missing().collect();
        for key in missing {
            self.close(key, wires, now);
        }
        Ok(())
    }

    /// Ends all sessions and gives the journal, to be opened or closed.
    pub fn finish(mut self, now: Moment) -> (Recovered, Vec<(MemberKey, Wire)>) {
        let mut wires = Vec::new();
        let keys: Vec<MemberKey> = self.sessions.keys().copied().collect();
        for key in keys {
            self.close(key, &mut wires, now);
        }
        (self.recovered, wires)
    }
}

/// Without whom nothing is answered: the members of the recorded set, and who was taken out and may not know it.
fn waited_for(recovered: &Recovered) -> impl Iterator<Item = &Member> {
    let set = recovered.set().map(|(_, set)| set.members.as_slice());
    let members = set.unwrap_or_default().iter();
    members.chain(&recovered.control().untold)
}
