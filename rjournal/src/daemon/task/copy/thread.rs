//! Room `daemon`: the thread that writes a copy: it takes frames of the session that feeds it, writes, flushes once for
//! everything that waits, and answers.

use std::sync::Weak;

use tokio::sync::mpsc;

use super::{CopyEvent, CopyRuntime};
use crate::daemon::crank::{TargetCrank, greet};
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::daemon::task::link::describe_end_here;
use crate::daemon::task::local::{PREPARE_AGAIN, lock, prepare_copy_spare};
use crate::entry::{Moment, Position, QualifiedName, SystemId};
use crate::journal::{Copy, Orphan};
use crate::link::Wired;
use crate::remote::{EndReason, Frame, Hello, Message};

/// Events handled before what they wrote is flushed.
const EVENTS_PER_FLUSH: usize = 256;

pub(super) struct CopySession {
    id: u64,
    peer: SystemId,
    crank: TargetCrank,
    out: mpsc::Sender<Vec<Wired>>,
}

/// Hands over what a session has to say, waiting for room; says whether there is still somebody to hear it. Before a piece of
/// the tail everything else goes out: a source that asks for the next piece without taking in the last would have them all
/// in memory here.
fn say(shared: &Shared, to: &mpsc::Sender<Vec<Wired>>, frames: Vec<Frame>) -> bool {
    let holds_bundles = frames.iter().any(|frame| matches!(frame, Frame::Bundle(_)));
    let wired: Vec<Wired> = frames.into_iter().map(Wired::Session).collect();
    if !holds_bundles {
        return to.blocking_send(wired).is_ok();
    }
    let all = to.reserve_many(to.max_capacity());
    let place = shared.runtime.block_on(all).map(|mut places| places.next());
    match place {
        Ok(Some(place)) => {
            place.send(wired);
            true
        }
        Ok(None) | Err(_) => false,
    }
}

pub(super) struct CopyThread {
    pub(super) shared: Weak<Shared>,
    pub(super) runtime: Weak<CopyRuntime>,
    pub(super) copy: Copy,
    pub(super) events: mpsc::Receiver<CopyEvent>,
    pub(super) session: Option<CopySession>,
    pub(super) prepared_at: Moment,
}

impl CopyThread {
    pub(super) fn run(mut self) {
        self.prepare_spare();
        while let Some(event) = self.events.blocking_recv() {
            let mut stop = self.take(event);
            let mut taken = 1;
            // What is received must be taken: whether there is room comes first.
            while !stop && taken < EVENTS_PER_FLUSH {
                let Ok(event) = self.events.try_recv() else {
                    break;
                };
                stop = self.take(event);
                taken += 1;
            }
            self.flush();
            self.publish();
            if stop {
                return;
            }
        }
    }

    fn name(&self) -> QualifiedName {
        self.copy.shared().name()
    }

    /// Handles one event. Says whether the thread is to end.
    fn take(&mut self, event: CopyEvent) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return true;
        };
        let now = shared.clock.now();
        match event {
            CopyEvent::Session {
                id,
                peer,
                hello,
                out,
                asked,
            } => self.begin(&shared, (id, peer, asked), hello, out),
            CopyEvent::Quiesce { done } => {
                self.close(&shared, EndReason::Superseded);
                if let Err(error) = self.copy.flush() {
                    self.fail(&shared, &error.to_string());
                }
                self.publish();
                let _told = done.send(());
            }
            CopyEvent::SetAside { at, done } => {
                let set_aside = self.set_aside(&shared, at);
                self.publish();
                drop(done.send(set_aside));
            }
            CopyEvent::Close { upto, done } => {
                if let Err(error) = self.copy.confirm(upto) {
                    self.fail(&shared, &error.to_string());
                }
                self.publish();
                let _told = done.send(());
            }
            CopyEvent::Frame { id, frame, permit } => {
                if let Some(session) = self.session.as_mut().filter(|session| session.id == id) {
                    session.crank.session.handle_frame(frame, now);
                    self.turn(&shared);
                }
                drop(permit);
            }
            CopyEvent::Bundle { id, bundle, permit } => {
                if let Some(session) = self.session.as_mut().filter(|session| session.id == id) {
                    session.crank.session.handle_opened(bundle, now);
                    self.turn(&shared);
                }
                drop(permit);
            }
            CopyEvent::Lost { id } => {
                if let Some(session) = self.session.as_mut().filter(|session| session.id == id) {
                    session.crank.session.handle_lost();
                    self.turn(&shared);
                }
            }
            CopyEvent::Tick => {
                // What the disk refused is tried again.
                if now.since(self.prepared_at) >= PREPARE_AGAIN {
                    self.prepared_at = now;
                    self.prepare_spare();
                }
                if let Some(session) = &mut self.session {
                    session.crank.session.handle_timeout(now);
                    self.turn(&shared);
                }
            }
            CopyEvent::Forget { receiver, done } => {
                drop(
                    done.send(
                        self.copy
                            .forget_upto(receiver)
                            .map_err(|error| error.to_string()),
                    ),
                );
            }
            CopyEvent::Stop(reason) => {
                let stopped = reason.is_some();
                if let Err(error) = self
                    .copy
                    .shared()
                    .update(|control| control.stopped = reason)
                {
                    tracing::error!(journal = %self.name(), %error, "cannot be kept");
                }
                if stopped && self.session.is_some() {
                    self.close(&shared, EndReason::Inactivated);
                    self.tell_end("an operator made the remote journal inactive here".to_owned());
                }
            }
            CopyEvent::Dismiss { system, told, here } => {
                let session = self.session.as_mut();
                if let Some(session) = session.filter(|session| session.peer == system) {
                    session.crank.session.handle_dismissed(told);
                    self.turn(&shared);
                    self.tell_end(here);
                }
            }
            CopyEvent::Shutdown => {
                self.close(&shared, EndReason::ShuttingDown);
                return true;
            }
        }
        false
    }

    fn begin(
        &mut self,
        shared: &Shared,
        (id, peer, asked): (u64, SystemId, bool),
        hello: Box<Hello>,
        out: mpsc::Sender<Vec<Wired>>,
    ) {
        let failed = self
            .runtime
            .upgrade()
            .and_then(|runtime| lock(&runtime.status).failure.clone());
        if failed.is_some() {
            return;
        }
        let first = Frame::Message(Message::Hello(hello));
        let (copy, now) = (&mut self.copy, shared.clock.now());
        match greet(copy, (shared.id, peer, asked), &*shared.disk, first, now) {
            Ok(crank) if crank.session.is_let_in() => {
                self.close(shared, EndReason::Superseded);
                self.session = Some(CopySession {
                    id,
                    peer,
                    crank,
                    out,
                });
                self.turn(shared);
            }
            Ok(mut refused) => {
                let mut words = Vec::new();
                refused.turn(&mut self.copy, shared.clock.wall(), &mut words);
                if let Some(reason) = &refused.ended {
                    let text = describe_end_here(reason, true);
                    tracing::info!(journal = %self.name(), "a source was turned away: {text}");
                    if self.session.is_none() {
                        self.tell_end(text);
                    }
                }
                // Nobody else writes to a newcomer: there is room for it.
                say(shared, &out, words);
            }
            Err(error) => self.fail(shared, &error.to_string()),
        }
    }

    /// Moves what lies behind a position into an archive; says why not where it is confirmed.
    fn set_aside(&mut self, shared: &Shared, at: Position) -> Result<(), String> {
        self.close(shared, EndReason::Superseded);
        let confirmed = self.copy.progress().confirmed;
        if confirmed > at.sequence {
            return Err(format!(
                "{} is confirmed up to entry {confirmed} here, and the group's history goes on otherwise after entry {}",
                self.name(),
                at.sequence
            ));
        }
        let reason = "they are not in the group's history: their term was closed before them";
        match self.copy.archive_behind(at, reason, shared.clock.wall()) {
            Ok(archived) => {
                if let Some(orphan) = archived {
                    self.tell_archived(shared, &orphan);
                }
                Ok(())
            }
            Err(error) => {
                self.fail(shared, &error.to_string());
                Err(error.to_string())
            }
        }
    }

    fn tell_archived(&self, shared: &Shared, orphan: &Orphan) {
        let text = format!(
            "{} entries ({} to {}) were not in the source's history any more and were set aside in {}; nothing was lost from \
             what is confirmed",
            orphan.entries,
            orphan.fork.sequence.next(),
            orphan.last.sequence,
            orphan.file.display()
        );
        shared.post("RJN3001", Severity::Alarm, self.name(), text);
    }

    fn close(&mut self, shared: &Shared, reason: EndReason) {
        if let Some(session) = &mut self.session {
            session.crank.session.handle_close(reason);
            self.turn(shared);
        }
    }

    /// Does what the session wants, and sends what it has to say.
    fn turn(&mut self, shared: &Shared) {
        let Some(session) = &mut self.session else {
            return;
        };
        let mut out = Vec::new();
        let attached = self.copy.place().receiver;
        session
            .crank
            .turn(&mut self.copy, shared.clock.wall(), &mut out);
        self.answer(shared, out);
        if self.copy.place().receiver != attached {
            self.prepare_spare();
        }
    }

    fn flush(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let Some(session) = &mut self.session else {
            return;
        };
        let mut out = Vec::new();
        session
            .crank
            .flush(&mut self.copy, &*shared.disk, shared.clock.wall(), &mut out);
        self.answer(&shared, out);
    }

    fn answer(&mut self, shared: &Shared, out: Vec<Frame>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let lost = !out.is_empty() && !say(shared, &session.out, out);
        if lost {
            session.crank.session.handle_lost();
            session
                .crank
                .turn(&mut self.copy, shared.clock.wall(), &mut Vec::new());
        }
        let failure = session.crank.take_failure();
        let archived = session.crank.archived.take();
        let ended = session.crank.ended.clone();
        let refused_here = session.crank.refused;
        if let Some(orphan) = archived {
            self.tell_archived(shared, &orphan);
        }
        if let Some(reason) = ended {
            self.session = None;
            let text = describe_end_here(&reason, refused_here);
            tracing::info!(journal = %self.name(), "the session ended: {text}");
            self.tell_end(text);
        }
        match failure {
            Some(error) if error.is_disk_full() => {
                shared.post(
                    "CPF70D6",
                    Severity::Alarm,
                    self.name(),
                    format!("no room for what the source sends: {error}"),
                );
            }
            Some(error) => self.fail(shared, &error.to_string()),
            None => {}
        }
    }

    /// How the last session ended, for people.
    fn tell_end(&self, text: String) {
        if let Some(runtime) = self.runtime.upgrade() {
            lock(&runtime.status).last_end = Some(text);
        }
    }

    fn fail(&mut self, shared: &Shared, reason: &str) {
        self.session = None;
        if let Some(runtime) = self.runtime.upgrade() {
            lock(&runtime.status).failure = Some(reason.to_owned());
        }
        let text = format!(
            "the copy stopped: {reason}. Start the system again: it is then verified from the medium"
        );
        shared.post("RJN9002", Severity::Critical, self.name(), text);
    }

    fn prepare_spare(&self) {
        if let Some((spare, bytes, space)) = self.copy.spare() {
            let runtime = Weak::clone(&self.runtime);
            prepare_copy_spare(&self.shared, runtime, spare, bytes, space);
        }
    }

    fn publish(&self) {
        let (Some(runtime), Some(shared)) = (self.runtime.upgrade(), self.shared.upgrade()) else {
            return;
        };
        let progress = self.copy.progress();
        let term = self.copy.shared().term();
        let began = term.filter(|(entry, _)| *entry <= progress.written);
        if let Some((_, record)) = began
            && let Some(group) = shared.groups.find(record.group)
            && group.look(|at| at.flushed < record.term && at.promised() <= record.term)
        {
            group.wake();
        }
        let mut status = lock(&runtime.status);
        status.progress = progress;
        status.fed = self
            .session
            .as_ref()
            .is_some_and(|session| session.crank.session.is_streaming());
        if let Some(session) = &self.session {
            status.source_at = session.crank.source_at.or(status.source_at);
            status.heard_at = shared.clock.wall();
        }
    }
}
