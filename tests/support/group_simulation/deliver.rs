//! Package `tests`, groups under seeds: one request, answer or frame arrives at a time, one flush is made at a time; and what a
//! journal at rest is told by its member. Must not choose which is next.

use std::rc::Rc;

use rjournal::daemon::crank::{TargetCrank, greet};
use rjournal::entry::{Position, Sequence};
use rjournal::journal::JournalKind;
use rjournal::remote::{EndReason, Frame, Message, PartnerReply, Refusal, RefusalCode};

use super::goals::Goal;
use super::line::{Body, Mail, Owner};
use super::member::{CopySide, Side, Up};
use super::world::{Here, World};

impl World {
    /// A request or an answer arrives, or finds nobody.
    pub(super) fn deliver_mail(self: &Rc<Self>, index: usize) {
        let mail = self.line.borrow_mut().mails.remove(index);
        let Mail {
            call,
            from,
            to,
            life,
            body,
        } = mail;
        match body {
            Body::Reply(reply) => self.answer_call(call, Ok(*reply)),
            Body::Request(request) => {
                let same = self.members[to].borrow().life == life;
                let reached = same && self.is_up(to) && !self.line.borrow().is_cut(from, to);
                if !reached {
                    return self.answer_call(call, Err("it is not reached".to_owned()));
                }
                let here = Here {
                    world: Rc::clone(self),
                    me: to,
                };
                here.spawn("answer", here.clone().answer(from, call, *request));
            }
        }
    }

    fn answer_call(&self, call: u64, answer: Result<PartnerReply, String>) {
        let mut line = self.line.borrow_mut();
        match line.calls.get_mut(&call) {
            Some(waiting) => {
                waiting.get_or_insert(answer);
            }
            None => line.handle_unheard(call),
        }
    }

    /// Whether a request or an answer can arrive now.
    pub(super) fn can_arrive(&self, index: usize) -> bool {
        let line = self.line.borrow();
        let mail = &line.mails[index];
        !line.dark.contains(&(mail.from, mail.to))
    }

    /// Delivers the next frame to the target of a connection, or its end. Says whether there was one.
    pub(super) fn deliver_forth(self: &Rc<Self>, index: usize) -> bool {
        let (id, to, journal, mut frame, greeted) = {
            let mut line = self.line.borrow_mut();
            let at = &line.connections[index];
            let dark = line.dark.contains(&(at.from, at.to));
            // What a member asked for follows the answer.
            let awaited = at.owner != Owner::Feed || line.fetches.contains(&at.id);
            let connection = &mut line.connections[index];
            if dark || !(awaited || connection.closed) {
                return false;
            }
            let frame = connection.forth.pop_front();
            if frame.is_none() && (!connection.closed || connection.told) {
                return false;
            }
            connection.told = frame.is_none();
            let greeted = std::mem::replace(&mut connection.greeted, true);
            let (id, to) = (connection.id, connection.to);
            (id, to, connection.journal, frame, greeted)
        };
        if !greeted && let Some(first) = frame.take() {
            self.greet(index, first);
            return true;
        }
        if greeted || frame.is_some() {
            let now = self.now.get();
            self.with_copy(to, journal, |world, side| {
                world.with_session(side, id, |crank, _| match frame {
                    Some(frame) => crank.session.handle_frame(frame, now),
                    None => crank.session.handle_lost(),
                });
            });
        }
        let mut line = self.line.borrow_mut();
        if let Some(at) = line.connections.iter().position(|c| c.id == id) {
            let over = line.connections[at].owner == Owner::Gone
                && line.connections[at].closed
                && line.connections[at].forth.is_empty();
            if over {
                line.connections.remove(at);
            }
        }
        true
    }

    /// The first frame of a connection arrives. A newcomer that is let in takes the place of an older session; whoever is
    /// refused hears why, and nothing else happens.
    fn greet(self: &Rc<Self>, index: usize, first: Frame) {
        let now = self.now.get();
        let (id, from, to, journal, asked) = {
            let line = self.line.borrow();
            let c = &line.connections[index];
            (c.id, c.from, c.to, c.journal, line.fetches.contains(&c.id))
        };
        let (peer, system) = (
            self.group.members[from].system,
            self.group.members[to].system,
        );
        let disk = self.members[to].borrow().shared_disk();
        let mut out = Vec::new();
        let mut refused = true;
        let found = self.with_copy(to, journal, |world, side| {
            if side.failed.is_some() {
                return;
            }
            match greet(&mut side.copy, (system, peer, asked), &*disk, first, now) {
                Ok(crank) if crank.session.is_let_in() => {
                    world.close_session(side, EndReason::Superseded);
                    side.session = Some((id, Box::new(crank)));
                    refused = false;
                    world.with_session(side, id, |_, _| {});
                }
                Ok(mut crank) => crank.turn(&mut side.copy, world.wall(), &mut out),
                Err(error) => side.failed = Some(error.to_string()),
            }
        });
        if !found {
            let code = RefusalCode::Damaged;
            let text = "it is not a copy now".to_owned();
            let refusal = Refusal {
                code,
                source: Sequence::NONE,
                target: Sequence::NONE,
                fork: None,
                text,
            };
            out.push(Frame::Message(Message::Refuse(refusal)));
        }
        if let Some(connection) = self.line.borrow_mut().connection(id) {
            connection.back.extend(out);
            connection.closed |= refused;
        }
    }

    /// Does something on a journal at rest, and looks what follows. Says whether it is at rest.
    pub(super) fn with_copy(
        self: &Rc<Self>,
        me: usize,
        journal: usize,
        act: impl FnOnce(&Self, &mut CopySide),
    ) -> bool {
        let found = {
            let mut member = self.members[me].borrow_mut();
            match member.up.as_mut() {
                Some(Up {
                    sides,
                    standing,
                    woken,
                    ..
                }) => match sides.get_mut(journal) {
                    Some(Side::Copy(side)) if !side.stopped => {
                        act(self, side);
                        let written = side.copy.progress().written;
                        let term = side.copy.shared().term();
                        let began = term.filter(|(entry, _)| *entry <= written);
                        let at = standing.get();
                        *woken |= began.is_some_and(|(_, of)| {
                            at.flushed < of.term && at.promised() <= of.term
                        });
                        true
                    }
                    _ => false,
                },
                None => false,
            }
        };
        self.look_at_copy(me, journal);
        found
    }

    /// Turns the session of a copy after something was done to it.
    fn with_session(
        &self,
        side: &mut CopySide,
        id: u64,
        act: impl FnOnce(&mut TargetCrank, &mut rjournal::journal::Copy),
    ) {
        let wall = self.wall();
        let CopySide {
            copy,
            session,
            failed,
            ..
        } = side;
        let Some((current, crank)) = session else {
            return;
        };
        if *current != id {
            return;
        }
        let mut out = Vec::new();
        act(crank, copy);
        crank.turn(copy, wall, &mut out);
        if let Some(orphan) = crank.archived.take() {
            let (name, fork, last) = (orphan.name, orphan.fork.sequence, orphan.last.sequence);
            self.say(8, || {
                format!("a copy of {name} sets aside ({fork}, {last}]")
            });
            self.counts.borrow_mut().archived += 1;
            if copy.shared().control().kind == JournalKind::Local {
                self.reach(Goal::RejoinedWithOrphans);
            }
        }
        if let Some(error) = crank.take_failure().filter(|error| !error.is_disk_full()) {
            *failed = Some(error.to_string());
        }
        let ended = crank.ended.is_some();
        if let Some(reason @ (EndReason::Refused(_) | EndReason::Violation(_))) = &crank.ended {
            self.say(8, || format!("a session ends: {reason:?}"));
        }
        if ended || failed.is_some() {
            *session = None;
        }
        if let Some(connection) = self.line.borrow_mut().connection(id) {
            connection.back.extend(out);
            connection.closed |= ended;
        }
    }

    fn close_session(&self, side: &mut CopySide, reason: EndReason) {
        if let Some((id, _)) = side.session {
            self.with_session(side, id, |crank, _| crank.session.handle_close(reason));
            side.session = None;
        }
    }

    /// A journal at rest flushes what its session asked for. Says whether it had to.
    pub(super) fn flush(self: &Rc<Self>, me: usize, journal: usize) -> bool {
        let (disk, wall) = (self.members[me].borrow().shared_disk(), self.wall());
        let mut did = false;
        self.with_copy(me, journal, |world, side| {
            let Some((id, _)) = side.session else {
                return;
            };
            let mut out = Vec::new();
            world.with_session(side, id, |crank, copy| {
                crank.flush(copy, &*disk, wall, &mut out);
            });
            did = !out.is_empty();
            if let Some(connection) = world.line.borrow_mut().connection(id) {
                connection.back.extend(out);
            }
        });
        did
    }

    /// Delivers the next frame to the source of a connection, or its end. Says whether there was one.
    pub(super) fn deliver_back(self: &Rc<Self>, index: usize) -> bool {
        let now = self.now.get();
        let (id, from, owner, frame) = {
            let mut line = self.line.borrow_mut();
            let at = &line.connections[index];
            let dark = line.dark.contains(&(at.to, at.from));
            let connection = &mut line.connections[index];
            let (id, from, owner) = (connection.id, connection.from, connection.owner);
            if dark {
                if !connection.closed {
                    return false;
                }
                connection.back.clear();
            }
            let frame = connection.back.pop_front();
            if frame.is_none() && (!connection.closed || !connection.forth.is_empty()) {
                return false;
            }
            if frame.is_none() {
                line.connections.remove(index);
            }
            // What an older connection still brings is dropped with it.
            let newer =
                |c: &super::line::Connection| c.from == from && c.owner == owner && c.id > id;
            let shared = !matches!(owner, Owner::Feed | Owner::Gone);
            if shared && line.connections.iter().any(newer) {
                return true;
            }
            (id, from, owner, frame)
        };
        if let Some(up) = &mut self.members[from].borrow_mut().up {
            let Up {
                sides,
                links,
                feeds,
                ..
            } = up;
            match (owner, &mut sides[from], frame) {
                (Owner::Link(link), _, frame) => {
                    if let Some(link) = links.get_mut(link) {
                        match frame {
                            Some(frame) => link.link.handle_frame(frame, now),
                            None => link.link.handle_lost(now),
                        }
                    }
                }
                (Owner::Opening(key), Side::Opening(crank), Some(frame)) => {
                    crank.handle_frame(key, frame, now);
                }
                (Owner::Opening(key), Side::Opening(crank), None) => crank.handle_lost(key),
                (Owner::Feed, _, frame) => {
                    if let Some(feed) = feeds.get_mut(&id) {
                        match frame {
                            Some(frame) => feed.session.handle_frame(frame, now),
                            None => feed.session.handle_lost(),
                        }
                    }
                }
                _ => {}
            }
        }
        self.pump(from);
        self.try_open(from);
        true
    }

    /// Time-outs of what a member's sessions wait for.
    pub(super) fn tick_sessions(self: &Rc<Self>, me: usize) {
        let now = self.now.get();
        let due = |at: Option<rjournal::entry::Moment>| at.is_some_and(|due| due <= now);
        if let Some(up) = &mut self.members[me].borrow_mut().up {
            for link in up
                .links
                .iter_mut()
                .filter(|link| due(link.link.poll_timeout()))
            {
                link.link.handle_timeout(now);
            }
            for feed in up.feeds.values_mut() {
                if due(feed.session.poll_timeout()) {
                    feed.session.handle_timeout(now);
                }
            }
            if let Side::Opening(crank) = &mut up.sides[me] {
                crank.handle_timeout(now);
            }
        }
        for journal in 0..self.members.len() {
            self.with_copy(me, journal, |world, side| {
                if let Some((id, _)) = side.session {
                    world.with_session(side, id, |crank, _| crank.session.handle_timeout(now));
                }
            });
        }
    }

    /// The session that feeds a journal at rest ends, and what came is made durable.
    pub(super) fn quiesce(self: &Rc<Self>, me: usize, journal: usize) {
        self.with_copy(me, journal, |world, side| {
            world.close_session(side, EndReason::Superseded);
            if let Err(error) = side.copy.flush() {
                side.failed = Some(error.to_string());
            }
        });
    }

    /// A journal at rest stops, to be opened: its session ends, and nothing is done with it any more.
    pub(super) fn stop_copy(self: &Rc<Self>, me: usize) {
        self.with_copy(me, me, |world, side| {
            world.close_session(side, EndReason::ShuttingDown);
            side.stopped = true;
        });
    }

    /// A close record says that everything up to an entry is confirmed.
    pub(super) fn confirm(self: &Rc<Self>, me: usize, journal: usize, upto: Sequence) {
        self.with_copy(me, journal, |_, side| {
            if let Err(error) = side.copy.confirm(upto) {
                side.failed = Some(error.to_string());
            }
        });
    }

    /// Moves what lies behind a position into an archive; says why not where it is confirmed.
    pub(super) fn set_aside(
        self: &Rc<Self>,
        me: usize,
        journal: usize,
        at: Position,
    ) -> Result<(), SetAside> {
        let mut outcome = Ok(());
        self.with_copy(me, journal, |world, side| {
            world.close_session(side, EndReason::Superseded);
            if side.copy.progress().confirmed > at.sequence {
                outcome = Err(SetAside::Confirmed);
                return;
            }
            match side.copy.archive_behind(at, "in no term", world.wall()) {
                Ok(archived) => {
                    world.say(me, || {
                        format!(
                            "set aside of journal {journal} behind {}: {}",
                            at.sequence,
                            archived.is_some()
                        )
                    });
                    world.counts.borrow_mut().archived += u64::from(archived.is_some());
                    if me == journal && archived.is_some() {
                        world.reach(Goal::RejoinedWithOrphans);
                    }
                }
                Err(error) => {
                    side.failed = Some(error.to_string());
                    outcome = Err(SetAside::Failed(error.to_string()));
                }
            }
        });
        outcome
    }
}

/// Why nothing was set aside.
pub(super) enum SetAside {
    /// It is confirmed.
    Confirmed,
    /// The disk refused.
    Failed(String),
}
