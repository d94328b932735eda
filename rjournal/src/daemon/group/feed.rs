//! Room `daemon`, recovery groups: one member fetches from another what it lacks of a journal: the asked one is the source of a
//! session on the connection that asked. Everything it has flushed is sent, confirmed or not: what of it counts is decided by
//! close records. Must not decide who may: the group's definition says so.

use std::sync::Arc;
use std::time::Duration;

use super::runtime::GroupRuntime;
use crate::daemon::clock::random_number;
use crate::daemon::crank::{Source, frames};
use crate::daemon::system::Shared;
use crate::daemon::task::accept::{carry_feed, refused};
use crate::daemon::task::link::{next_frame, start_session};
use crate::entry::control_entry::Level;
use crate::entry::{Epoch, GroupId, JournalId, Place, Position, Sequence, SystemId};
use crate::link::{LinkStream, Wired};
use crate::remote::{
    EndReason, Extent, Frame, Message, PartnerReply, PartnerRequest, Purpose, SessionFacts,
    ShipLimit, SourceMarks, SourceOutput, SourceSession,
};
use crate::role::Standing;

/// How long a member may take to say that it feeds.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A fetch that brings nothing for so long is given up.
const STALL_MAX: Duration = Duration::from_secs(10);

impl Shared {
    /// Fetches what another member has flushed of a journal, as far as it goes, or up to an entry.
    ///
    /// Cancel safe: yes, what came whole stays.
    pub(super) async fn fetch_from(
        self: &Arc<Self>,
        group: &GroupRuntime,
        from: SystemId,
        journal: JournalId,
        upto: Option<Sequence>,
    ) -> Result<Position, String> {
        let standing = group.standing();
        let copy = self
            .group_copy(&standing, journal)
            .ok_or_else(|| "the journal is not at rest here".to_owned())?;
        let rdb = self
            .rdb_of(from)
            .ok_or_else(|| format!("{from} is not in the directory"))?;
        let epoch = feeding_epoch(group, copy.copy.promised());
        let ask = async {
            let mut stream = self.dial(rdb).await.map_err(|error| error.to_string())?;
            let request = PartnerRequest::Feed {
                group: group.id,
                journal,
                epoch,
                upto,
            };
            let asked = stream.send(&[Wired::Request(Box::new(request))]).await;
            asked.map_err(|error| error.to_string())?;
            match stream.receive().await {
                Ok(Some(Wired::Reply(reply))) => match *reply {
                    PartnerReply::Feeding { upto } => Ok((stream, upto)),
                    PartnerReply::Refused(refusal) => Err(refusal.text),
                    _ => Err("it said something else".to_owned()),
                },
                Ok(_) => Err("it said nothing".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let (mut stream, upto) = tokio::time::timeout(ANSWER_MAX, ask)
            .await
            .map_err(|_| "it did not answer in time".to_owned())??;
        let first = tokio::time::timeout(ANSWER_MAX, stream.receive()).await;
        let Ok(Ok(Some(Wired::Session(Frame::Message(Message::Hello(hello)))))) = first else {
            return Err("it did not begin to feed".to_owned());
        };
        if hello.journal != journal || hello.epoch != epoch {
            return Err("it feeds something else".to_owned());
        }
        let here = Arc::clone(&copy);
        let fed = carry_feed(self, &copy, from, hello, stream, true);
        let arrived = async {
            let tail = here.copy.tail();
            let mut at = (tail.marks().written, tokio::time::Instant::now());
            loop {
                let more = tail.listen(crate::journal::Limit::Written);
                let written = tail.marks().written;
                let head = here.copy.reader().head_at(upto.sequence).ok().flatten();
                if written >= upto.sequence && head == Some(upto.head) {
                    return Ok(upto);
                }
                if written != at.0 {
                    at = (written, tokio::time::Instant::now());
                }
                if tokio::time::timeout_at(at.1 + STALL_MAX, more)
                    .await
                    .is_err()
                {
                    return Err(format!(
                        "it stalled at entry {written} of {}",
                        upto.sequence
                    ));
                }
            }
        };
        tokio::select! {
            arrived = arrived => arrived,
            () = fed => {
                let head = here.copy.reader().head_at(upto.sequence).ok().flatten();
                if head == Some(upto.head) {
                    return Ok(upto);
                }
                Err(here.status().last_end.unwrap_or_else(|| "the connection was lost".to_owned()))
            }
        }
    }

    /// A member asks to be fed: the reply first, then the session, on its connection.
    ///
    /// Cancel safe: no.
    pub(crate) async fn serve_feed(
        self: &Arc<Self>,
        peer: SystemId,
        (group, journal, epoch): (GroupId, JournalId, Epoch),
        upto: Option<Sequence>,
        mut stream: LinkStream,
    ) {
        let prepared = self.feed_source(peer, (group, journal, epoch), upto);
        let (source, facts) = match prepared {
            Ok(prepared) => prepared,
            Err(text) => {
                let code = crate::remote::RefusalCode::NotAuthorised;
                let reply = refused(code, text);
                drop(stream.send(&[Wired::Reply(Box::new(reply))]).await);
                return stream.finish().await;
            }
        };
        let upto = facts.extent.tip;
        let reply = Wired::Reply(Box::new(PartnerReply::Feeding { upto }));
        if stream.send(&[reply]).await.is_err() {
            return;
        }
        let marks = feed_marks(&source, epoch, upto.sequence);
        let session = SourceSession::new(facts, marks, self.clock.now());
        self.run_feed(source, session, stream).await;
    }

    fn feed_source(
        &self,
        peer: SystemId,
        (group, journal, epoch): (GroupId, JournalId, Epoch),
        upto: Option<Sequence>,
    ) -> Result<(Source, SessionFacts), String> {
        let group = self
            .groups
            .find(group)
            .ok_or_else(|| format!("{} is in no such group", self.name))?;
        let standing = group.standing();
        if standing.group.member(peer).is_none() {
            return Err(format!("not a member of group {}", group.name));
        }
        let names = (
            standing.group.name_at(self.id, journal),
            standing.group.name_at(peer, journal),
        );
        let (Some(here), Some(there)) = names else {
            return Err(format!("no journal of group {}", group.name));
        };
        let source = self.runtime_of(here).and_then(|runtime| runtime.source());
        let source = source.ok_or_else(|| format!("{here} on {} is not open", self.name))?;
        let reader = source.reader();
        let (oldest, written) = (reader.oldest(), Self::flushed_of(&source));
        let written = upto.map_or(written, |upto| written.min(upto));
        let head = reader.head_at(written).map_err(|error| error.to_string())?;
        let tip = head.map_or(oldest, |head| Position {
            sequence: written,
            head,
        });
        let facts = SessionFacts {
            session: random_number(&*self.entropy),
            purpose: Purpose::Replicate,
            journal,
            source_journal: here,
            target_journal: there,
            system: self.id,
            system_name: self.name,
            target: peer,
            path: Vec::new(),
            epoch,
            extent: Extent { oldest, tip },
            begin: oldest,
            tip_epoch: Epoch::NONE,
            place: Place::default(),
            acknowledged: Sequence::NONE,
            level: Level::Written,
            limit: ShipLimit::Written,
            sync: false,
        };
        Ok((source, facts))
    }

    async fn run_feed(&self, source: Source, mut session: SourceSession, stream: LinkStream) {
        let mut wire = Some(start_session(self, stream));
        let (epoch, upto) = (session.epoch(), session.extent().tip.sequence);
        loop {
            while let Some(output) = session.poll_output() {
                let frames = match output {
                    SourceOutput::End(_) => {
                        if let Some(wire) = wire.take() {
                            wire.reader.abort();
                            wire.sender.finish().await;
                        }
                        return;
                    }
                    other => self.feed_output(&source, &mut session, upto, other),
                };
                let wired: Vec<Wired> = frames.into_iter().map(Wired::Session).collect();
                if let Some(wire) = wire.as_mut().filter(|_| !wired.is_empty())
                    && wire.sender.send(&wired).await.is_err()
                {
                    session.handle_lost();
                }
            }
            let now = self.clock.now();
            let wait = session
                .poll_timeout()
                .map_or(STALL_MAX, |due| due.since(now));
            tokio::select! {
                biased;
                frame = next_frame(&mut wire) => match frame {
                    Some(frame) => session.handle_frame(frame, self.clock.now()),
                    None => session.handle_lost(),
                },
                () = tokio::time::sleep(wait) => session.handle_timeout(self.clock.now()),
            }
            session.handle_marks(feed_marks(&source, epoch, upto), self.clock.now());
        }
    }

    /// Does what a feeding session wants on the journal; gives what is to be sent.
    fn feed_output(
        &self,
        source: &Source,
        session: &mut SourceSession,
        upto: Sequence,
        output: SourceOutput,
    ) -> Vec<Frame> {
        let now = self.clock.now();
        match output {
            SourceOutput::Send(text) => return vec![Frame::Message(text)],
            SourceOutput::LookUpHead(sequence) => match source.reader().head_at(sequence) {
                Ok(head) => session.handle_head(sequence, head, now),
                Err(_) => session.handle_close(EndReason::SourceFailed, now),
            },
            SourceOutput::Ship { after, bytes } => {
                let Ok(bundles) = source.reader().bundles_after(after, upto, bytes) else {
                    session.handle_close(EndReason::SourceFailed, now);
                    return Vec::new();
                };
                let shipped = bundles.last().map(|last| {
                    let total = bundles.iter().map(|bundle| bundle.bytes.len() as u64).sum();
                    (last.header.last(), total, Sequence::NONE)
                });
                session.handle_shipped(shipped, now);
                return frames(bundles);
            }
            SourceOutput::End(_)
            | SourceOutput::Coupled { .. }
            | SourceOutput::Acknowledged { .. }
            | SourceOutput::CaughtUp
            | SourceOutput::Heard { .. }
            | SourceOutput::AdoptReceiver(_)
            | SourceOutput::Adopt(_)
            | SourceOutput::TailEnded => {}
        }
        Vec::new()
    }
}

/// The session epoch under which this member is fed by one it asked: its group's promise, or what the copy promised its source in
/// that term: a primary that handed over and was started again is asked for the end of its own term.
fn feeding_epoch(group: &GroupRuntime, promised: Epoch) -> Epoch {
    let of_group = Epoch {
        term: group.look(Standing::promised),
        ..Epoch::NONE
    };
    if promised.rank() > of_group.rank() {
        promised
    } else {
        of_group
    }
}

/// What is flushed may be sent, and nothing is confirmed with it: a close record does that, where it is flushed, under its own
/// promise (ruling 31). What this member knows to be confirmed may be so by one of a term that history leaves out.
fn feed_marks(source: &Source, epoch: Epoch, upto: Sequence) -> SourceMarks {
    let marks = source.marks(ShipLimit::Written);
    SourceMarks {
        epoch,
        shippable: upto,
        confirmable: Sequence::NONE,
        last: upto,
        last_time: marks.last_time,
    }
}
