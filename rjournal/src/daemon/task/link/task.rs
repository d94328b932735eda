//! Room `daemon`: the task of one link: it dials, carries frames, watches the journal's watermarks and the time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::places::Place;
use super::session::{Dial, Dialed, Session, dialed, next_frame, start_session};
use super::{LinkCommand, LinkHandle, LinkStatus};
use crate::daemon::clock::random_number;
use crate::daemon::crank::{Ending, LinkCrank, Source, Wire};
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::local::{LocalRuntime, lock};
use crate::entry::{Position, Timestamp};
use crate::error::JournalError;
use crate::journal::LinkRecord;
use crate::link::Wired;
use crate::remote::{Frame, LinkState, ShipLimit};

/// Commands that may wait.
const COMMANDS_WAITING: usize = 32;
/// How long a connection that takes nothing more is listened to.
const HEAR_OUT_MAX: Duration = Duration::from_secs(1);

/// A link being carried out.
pub(super) struct LinkTask {
    pub(super) shared: Arc<Shared>,
    pub(super) crank: LinkCrank,
    commands: mpsc::Receiver<LinkCommand>,
    queued: VecDeque<LinkCommand>,
    left: Arc<Notify>,
    pub(super) status: Arc<Mutex<LinkStatus>>,
    session: Option<Session>,
    dial: Option<Dial>,
    /// Until it has caught up.
    place: Option<Place>,
    begin: Option<Position>,
    inactivated: Vec<oneshot::Sender<Result<(), JournalError>>>,
    stopping: bool,
}

impl LinkTask {
    pub(super) fn start(
        shared: &Arc<Shared>,
        source: Source,
        record: LinkRecord,
    ) -> Arc<LinkHandle> {
        let crank = LinkCrank::new(record.clone(), source, random_number(&*shared.entropy));
        let status = LinkStatus {
            shown: crank.link.shown(),
            acknowledged: record.acknowledged,
            heard_at: Timestamp::ZERO,
            low_space: false,
            dial_error: None,
        };
        let status = Arc::new(Mutex::new(status));
        let (send, commands) = mpsc::channel(COMMANDS_WAITING);
        let left = Arc::new(Notify::new());
        let task = Self {
            shared: Arc::clone(shared),
            crank,
            commands,
            queued: VecDeque::new(),
            left: Arc::clone(&left),
            status: Arc::clone(&status),
            session: None,
            dial: None,
            place: None,
            begin: None,
            inactivated: Vec::new(),
            stopping: false,
        };
        let handle = LinkHandle {
            record: Mutex::new(record),
            status,
            commands: send,
            left,
            task: Mutex::new(None),
        };
        *lock(&handle.task) = Some(shared.runtime.spawn(task.run()));
        Arc::new(handle)
    }

    /// Looks up once what the target lacks first, where that is no longer in memory: since when it is behind is told from
    /// memory afterwards.
    pub(super) fn look_back(&self) {
        let acknowledged = lock(&self.status).acknowledged;
        let limit = self.crank.source.limit(self.crank.record.delivery);
        if let Err(error) = self.crank.source.bundles_after(acknowledged, limit, 0) {
            tracing::debug!(journal = %self.crank.source.name(), %error, "since when a target is behind is not known");
        }
    }

    async fn run(mut self) {
        self.look_back();
        self.begin();
        loop {
            while let Some(command) = self.queued.pop_front() {
                self.take_command(command);
            }
            self.turn().await;
            if self.stopping {
                self.end().await;
                return;
            }
            self.wait().await;
        }
    }

    /// The journal, where it is a local one.
    fn local(&self) -> Option<Arc<LocalRuntime>> {
        match self.shared.runtime_of(self.crank.source.name()) {
            Some(JournalRuntime::Local(local)) => Some(local),
            _ => None,
        }
    }

    /// Goes on as an operator said last.
    fn begin(&mut self) {
        let local = self.local();
        let confirmation = local.as_ref().map(|local| &local.confirmation);
        let (wall, now) = (self.shared.clock.wall(), self.shared.clock.now());
        match self.crank.begin(confirmation, wall, now) {
            Ok(left) => {
                if let Some(local) = &local {
                    local.links.tell_left(&left);
                }
            }
            Err(error) => {
                tracing::error!(journal = %self.crank.source.name(), %error, "cannot be ended");
            }
        }
    }

    fn inactivate(&mut self, how: Ending) -> Result<(), JournalError> {
        let local = self.local();
        let confirmation = local.as_ref().map(|local| &local.confirmation);
        let (wall, now) = (self.shared.clock.wall(), self.shared.clock.now());
        let left = self.crank.inactivate(how, confirmation, wall, now)?;
        if let Some(local) = &local {
            local.links.tell_left(&left);
        }
        Ok(())
    }

    /// Does what the link wants.
    async fn turn(&mut self) {
        let local = self.local();
        let confirmation = local.as_ref().map(|local| &local.confirmation);
        loop {
            let (wires, left) = self.crank.turn(
                confirmation,
                self.shared.clock.wall(),
                self.shared.clock.now(),
            );
            if let Some(local) = &local {
                local.links.tell_left(&left);
            }
            self.take_events();
            if wires.is_empty() {
                break;
            }
            for wire in wires {
                self.wire(wire).await;
            }
        }
        let shown = self.crank.link.shown();
        if shown.state == LinkState::Inactive {
            self.inactivated.drain(..).for_each(|done| {
                let _told = done.send(Ok(()));
            });
        }
        if shown.caught_up {
            self.place = None;
        }
        lock(&self.status).shown = shown;
    }

    async fn wire(&mut self, wire: Wire) {
        match wire {
            Wire::Dial => {
                let (shared, record) = (Arc::clone(&self.shared), self.crank.record.clone());
                self.dial = Some(Box::pin(async move {
                    let stream = shared.dial(record.rdb).await?;
                    let place = shared.catch_ups.take(record.delivery).await?;
                    Ok((stream, place))
                }));
            }
            Wire::Frames(frames) => self.send(frames).await,
            Wire::Disconnect => {
                self.dial = None;
                self.place = None;
                if let Some(session) = self.session.take() {
                    session.reader.abort();
                    self.shared.runtime.spawn(session.sender.finish());
                }
            }
        }
    }

    /// Sends frames; commands that come meanwhile are queued, and a shutdown does not wait for a target that does not read.
    async fn send(&mut self, frames: Vec<Frame>) {
        let Some(session) = &mut self.session else {
            return;
        };
        let wired: Vec<Wired> = frames.into_iter().map(Wired::Session).collect();
        let mut send = Box::pin(session.sender.send(&wired));
        let given_up = loop {
            tokio::select! {
                biased;
                sent = &mut send => match sent {
                    Ok(()) => return,
                    Err(_) => break false,
                },
                command = self.commands.recv(), if self.queued.len() < COMMANDS_WAITING => match command {
                    Some(command @ (LinkCommand::Shutdown | LinkCommand::Inactivate { how: Ending::Immediate | Ending::Forced, .. })) => {
                        self.queued.push_back(command);
                        break true;
                    }
                    Some(command) => self.queued.push_back(command),
                    None => break true,
                },
            }
        };
        drop(send);
        if !given_up {
            self.hear_out().await;
        }
        self.lose();
    }

    /// Takes in what the target said before the connection went: that it stops, or why.
    async fn hear_out(&mut self) {
        let until = tokio::time::Instant::now() + HEAR_OUT_MAX;
        while let Ok(Some(frame)) =
            tokio::time::timeout_at(until, next_frame(&mut self.session)).await
        {
            self.crank.link.handle_frame(frame, self.shared.clock.now());
        }
    }

    /// The connection is gone, or is given up.
    fn lose(&mut self) {
        self.place = None;
        if let Some(session) = self.session.take() {
            session.reader.abort();
            session.sender.close();
        }
        self.crank.link.handle_lost(self.shared.clock.now());
    }

    /// Waits for whatever comes first, and takes it in.
    async fn wait(&mut self) {
        let limit = self.crank.source.limit(self.crank.record.delivery);
        let streams = self.crank.link.shown().streaming;
        let shippable = self.crank.source.listen(limit);
        let confirmable = self.crank.source.listen_confirmable();
        let now = self.shared.clock.now();
        if streams {
            // Whatever moved before the listeners were there is seen here.
            self.crank.look(now);
            if self.crank.link.has_output() {
                return;
            }
        }
        let due = self.crank.link.poll_timeout();
        let sleep = due.map_or(Duration::from_hours(1), |due| due.since(now));
        tokio::select! {
            biased;
            command = self.commands.recv() => self.queued.push_back(command.unwrap_or(LinkCommand::Shutdown)),
            () = self.left.notified() => self.crank.link.handle_left(self.shared.clock.now()),
            frame = next_frame(&mut self.session) => self.take_frame(frame),
            dialed = dialed(&mut self.dial) => self.take_dialed(dialed),
            () = shippable, if streams => self.crank.look(self.shared.clock.now()),
            () = confirmable, if streams && limit == ShipLimit::Sealed => self.crank.look(self.shared.clock.now()),
            () = tokio::time::sleep(sleep) => self.crank.link.handle_timeout(self.shared.clock.now()),
        }
    }

    fn take_frame(&mut self, frame: Option<Frame>) {
        let now = self.shared.clock.now();
        match frame {
            Some(frame) => {
                self.crank.link.handle_frame(frame, now);
                // What came with it needs no turn of its own.
                while let Some(Ok(Some(frame))) = self
                    .session
                    .as_mut()
                    .map(|session| session.frames.try_recv())
                {
                    self.crank.link.handle_frame(frame, now);
                }
            }
            None => self.lose(),
        }
    }

    fn take_dialed(&mut self, dialed: Dialed) {
        self.dial = None;
        let now = self.shared.clock.now();
        let stream = match dialed {
            Ok((stream, place)) => {
                self.place = Some(place);
                stream
            }
            Err(error) => {
                lock(&self.status).dial_error = Some(error.to_string());
                tracing::debug!(journal = %self.crank.source.name(), rdb = %self.crank.record.rdb, %error, "cannot connect");
                return self.crank.link.handle_connect_failed(now);
            }
        };
        lock(&self.status).dial_error = None;
        let me = (self.shared.id, self.shared.name);
        let session = random_number(&*self.shared.entropy);
        match self
            .crank
            .source
            .session_facts(&self.crank.record, me, self.begin, session)
        {
            Ok(facts) => {
                self.session = Some(start_session(&self.shared, stream));
                let marks = self.crank.source.marks(facts.limit);
                self.crank.link.handle_connected(facts, marks, now);
            }
            Err(error) => {
                tracing::error!(journal = %self.crank.source.name(), %error, "cannot be read");
                self.crank.link.handle_connect_failed(now);
            }
        }
    }

    fn take_command(&mut self, command: LinkCommand) {
        let now = self.shared.clock.now();
        match command {
            LinkCommand::Activate {
                record,
                begin,
                done,
            } => {
                self.crank.record = record;
                self.begin = begin;
                // Whoever waits for a controlled end waits no longer.
                self.inactivated.clear();
                self.crank.activate(now);
                let _told = done.send(());
            }
            LinkCommand::Nudge { record, done } => {
                self.crank.record = record;
                self.crank.nudge(now);
                let _told = done.send(());
            }
            LinkCommand::Inactivate { how, done } => match self.inactivate(how) {
                Ok(()) => self.inactivated.push(done),
                Err(error) => {
                    let _told = done.send(Err(error));
                }
            },
            LinkCommand::Shutdown => {
                self.stopping = true;
                self.crank.link.handle_shutdown(now);
            }
        }
    }

    async fn end(&mut self) {
        self.dial = None;
        if let Some(session) = self.session.take() {
            session.reader.abort();
            session.sender.finish().await;
        }
    }
}
