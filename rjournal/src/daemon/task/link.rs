//! Room `daemon`: the task of one link: it dials, carries frames, watches the journal's watermarks and the time.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::local::lock;
use crate::daemon::clock::random_number;
use crate::daemon::crank::{LinkCrank, Source, Wire};
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{Position, QualifiedName, RdbName, Sequence, Timestamp};
use crate::error::LinkError;
use crate::journal::LinkRecord;
use crate::link::{LinkReceiver, LinkSender, LinkStream, Wired};
use crate::remote::{
    Activation, EndReason, Frame, LinkEvent, LinkState, MemberKey, RefusalCode, ShipLimit, Shown,
};

/// Frames that may wait to be handled.
const FRAMES_WAITING: usize = 64;
/// Commands that may wait.
const COMMANDS_WAITING: usize = 32;

/// What a link is told.
#[derive(Debug)]
pub(crate) enum LinkCommand {
    /// An operator activates it; its record may have changed; where an empty target begins.
    Activate {
        record: LinkRecord,
        begin: Option<Position>,
        done: oneshot::Sender<()>,
    },
    /// An operator inactivates it.
    Inactivate {
        controlled: bool,
        done: oneshot::Sender<()>,
    },
    /// Its target left the in-sync set.
    Left,
    /// The system stops.
    Shutdown,
}

/// A link for people and for retention.
#[derive(Debug, Clone)]
pub(crate) struct LinkStatus {
    /// The machine's own view.
    pub(crate) shown: Shown,
    /// The highest entry the target is known to have flushed.
    pub(crate) acknowledged: Sequence,
    /// When it last acknowledged.
    pub(crate) heard_at: Timestamp,
    /// Its disk will soon be full.
    pub(crate) low_space: bool,
    /// Why the last dial did not succeed.
    pub(crate) dial_error: Option<String>,
}

/// A link's task, from outside.
#[derive(Debug)]
pub(crate) struct LinkHandle {
    pub(crate) record: Mutex<LinkRecord>,
    pub(crate) status: Arc<Mutex<LinkStatus>>,
    commands: mpsc::Sender<LinkCommand>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// Name of a link within its journal.
pub(crate) type LinkName = (RdbName, QualifiedName);

/// All links of one journal.
#[derive(Debug, Default)]
pub(crate) struct LinkSet(Mutex<BTreeMap<LinkName, Arc<LinkHandle>>>);

impl LinkSet {
    /// The links.
    pub(crate) fn all(&self) -> Vec<Arc<LinkHandle>> {
        lock(&self.0).values().cloned().collect()
    }

    /// One link.
    pub(crate) fn find(&self, name: LinkName) -> Option<Arc<LinkHandle>> {
        lock(&self.0).get(&name).cloned()
    }

    /// Starts the task of a link, unless it runs; one that is to be active is activated.
    pub(crate) fn start(&self, shared: &Arc<Shared>, source: Source, record: LinkRecord) {
        let name = (record.rdb, record.target);
        // Under one lock: two that start the same link would leave one of its tasks running with nobody to stop it.
        lock(&self.0)
            .entry(name)
            .or_insert_with(|| LinkTask::start(shared, source, record));
    }

    /// Takes a link out; its task ends.
    pub(crate) async fn remove(&self, name: LinkName) {
        let removed = lock(&self.0).remove(&name);
        if let Some(handle) = removed {
            handle.stop().await;
        }
    }

    /// Tells links that their targets left the in-sync set.
    pub(crate) fn tell_left(&self, left: &[MemberKey]) {
        if left.is_empty() {
            return;
        }
        for handle in self.all() {
            let record = lock(&handle.record).clone();
            if left
                .iter()
                .any(|key| key.system == record.system && key.journal == record.target)
            {
                // A link too busy to take this says by itself when it has caught up again.
                drop(handle.commands.try_send(LinkCommand::Left));
            }
        }
    }

    /// Ends all tasks.
    pub(crate) async fn stop(&self) {
        for handle in self.all() {
            handle.stop().await;
        }
    }
}

impl LinkHandle {
    /// Sends a command; one that cannot be taken any more is dropped with its answer.
    pub(crate) async fn command(&self, command: LinkCommand) {
        drop(self.commands.send(command).await);
    }

    async fn stop(&self) {
        self.command(LinkCommand::Shutdown).await;
        let task = lock(&self.task).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }

    /// The status now.
    pub(crate) fn status(&self) -> LinkStatus {
        lock(&self.status).clone()
    }
}

/// A connection that is up.
#[derive(Debug)]
struct Session {
    sender: LinkSender,
    frames: mpsc::Receiver<Option<Frame>>,
    reader: JoinHandle<()>,
}

type Dial = Pin<Box<dyn Future<Output = Result<LinkStream, LinkError>> + Send>>;

struct LinkTask {
    shared: Arc<Shared>,
    crank: LinkCrank,
    commands: mpsc::Receiver<LinkCommand>,
    queued: VecDeque<LinkCommand>,
    status: Arc<Mutex<LinkStatus>>,
    session: Option<Session>,
    dial: Option<Dial>,
    begin: Option<Position>,
    inactivated: Vec<oneshot::Sender<()>>,
    stopping: bool,
}

impl LinkTask {
    fn start(shared: &Arc<Shared>, source: Source, record: LinkRecord) -> Arc<LinkHandle> {
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
        let mut task = Self {
            shared: Arc::clone(shared),
            crank,
            commands,
            queued: VecDeque::new(),
            status: Arc::clone(&status),
            session: None,
            dial: None,
            begin: None,
            inactivated: Vec::new(),
            stopping: false,
        };
        if record.active {
            task.activate();
        }
        let handle = LinkHandle {
            record: Mutex::new(record),
            status,
            commands: send,
            task: Mutex::new(None),
        };
        *lock(&handle.task) = Some(shared.runtime.spawn(task.run()));
        Arc::new(handle)
    }

    fn activate(&mut self) {
        let sync = self.crank.record.delivery == crate::journal::DeliveryMode::Sync;
        self.crank
            .link
            .activate(Activation { sync }, self.shared.clock.now());
    }

    async fn run(mut self) {
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

    /// Does what the link wants.
    async fn turn(&mut self) {
        let runtime = self.shared.runtime_of(self.crank.source.name());
        let local = match &runtime {
            Some(JournalRuntime::Local(local)) => Some(Arc::clone(local)),
            _ => None,
        };
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
                let _told = done.send(());
            });
        }
        lock(&self.status).shown = shown;
    }

    async fn wire(&mut self, wire: Wire) {
        match wire {
            Wire::Dial => {
                let (shared, record) = (Arc::clone(&self.shared), self.crank.record.clone());
                self.dial = Some(Box::pin(async move { shared.dial(record.rdb).await }));
            }
            Wire::Frames(frames) => self.send(frames).await,
            Wire::Disconnect => {
                self.dial = None;
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
        let lost = loop {
            tokio::select! {
                biased;
                sent = &mut send => break sent.is_err(),
                command = self.commands.recv(), if self.queued.len() < COMMANDS_WAITING => match command {
                    Some(command @ (LinkCommand::Shutdown | LinkCommand::Inactivate { controlled: false, .. })) => {
                        self.queued.push_back(command);
                        break true;
                    }
                    Some(command) => self.queued.push_back(command),
                    None => break true,
                },
            }
        };
        drop(send);
        if lost {
            self.lose();
        }
    }

    /// The connection is gone, or is given up.
    fn lose(&mut self) {
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

    fn take_dialed(&mut self, dialed: Result<LinkStream, LinkError>) {
        self.dial = None;
        let now = self.shared.clock.now();
        let stream = match dialed {
            Ok(stream) => stream,
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
                self.activate();
                let _told = done.send(());
            }
            LinkCommand::Inactivate { controlled, done } => {
                let limit = self.crank.source.limit(self.crank.record.delivery);
                let upto = controlled.then(|| self.crank.source.marks(limit).shippable);
                self.inactivated.push(done);
                self.crank.link.inactivate(upto, now);
            }
            LinkCommand::Left => self.crank.link.handle_left(now),
            LinkCommand::Shutdown => {
                self.stopping = true;
                self.crank.link.handle_shutdown(now);
            }
        }
    }

    fn take_events(&mut self) {
        let about = format!(
            "{} -> {}:{}",
            self.crank.source.name(),
            self.crank.record.rdb,
            self.crank.record.target
        );
        for event in std::mem::take(&mut self.crank.events) {
            match event {
                LinkEvent::Acknowledged {
                    written, low_space, ..
                } => self.acknowledged(written, low_space, &about),
                LinkEvent::Coupled {
                    tip,
                    archived,
                    went_back,
                } => self.coupled(tip, archived, went_back, &about),
                LinkEvent::CaughtUp => tracing::info!(link = about, "caught up"),
                LinkEvent::Inactivated => {
                    self.shared.post_about(
                        "CPF70D3",
                        Severity::Info,
                        &about,
                        "the remote journal is inactive".to_owned(),
                    );
                }
                LinkEvent::Ended { reason, failed, .. } => self.ended(&reason, failed, &about),
            }
        }
    }

    fn acknowledged(&self, written: Sequence, low_space: bool, about: &str) {
        let mut status = lock(&self.status);
        status.acknowledged = status.acknowledged.max(written);
        status.heard_at = self.shared.clock.wall();
        let fresh = low_space && !status.low_space;
        status.low_space = low_space;
        drop(status);
        if fresh {
            let text = "the target's disk will soon be full; free space there before it leaves the in-sync set".to_owned();
            self.shared
                .post_about("RJN3004", Severity::Alarm, about, text);
        }
    }

    fn coupled(&self, tip: Sequence, archived: u64, went_back: bool, about: &str) {
        {
            let mut status = lock(&self.status);
            // What it has set aside, or lost, it has no more.
            status.acknowledged = tip;
            status.heard_at = self.shared.clock.wall();
        }
        tracing::info!(link = about, %tip, "coupled");
        if archived > 0 {
            let text = format!(
                "the target set {archived} entries aside that this journal does not have (see its orphan archives)"
            );
            self.shared
                .post_about("RJN3001", Severity::Alarm, about, text);
        }
        if went_back {
            let text = format!(
                "the target ends at entry {tip}, it had more before: it lost entries or was restored (TARGET_WENT_BACK)"
            );
            self.shared
                .post_about("RJN3002", Severity::Critical, about, text);
        }
    }

    fn ended(&self, reason: &EndReason, failed: bool, about: &str) {
        let text = describe_end(reason);
        let first = self.crank.link.shown().attempts <= 1;
        if let EndReason::Refused(refusal) = reason {
            let closes = matches!(
                refusal.code,
                RefusalCode::Fenced | RefusalCode::StaleSource | RefusalCode::DuplicateIdentity
            );
            if closes {
                self.shared.close_journal(self.crank.source.name(), refusal);
            }
        }
        if failed {
            let text = format!("{text}. It stays ended until CHGRMTJRN JRNSTATE(*ACTIVE)");
            self.shared
                .post_about("CPF70D5", Severity::Critical, about, text);
        } else if first {
            let full = matches!(reason, EndReason::Full);
            let id = if full { "CPF70D6" } else { "CPF70D5" };
            self.shared.post_about(
                id,
                Severity::Warning,
                about,
                format!("{text}. It is tried again by itself"),
            );
        } else {
            tracing::debug!(link = about, "{text}");
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

/// Why a session ended, for people.
pub(in crate::daemon) fn describe_end(reason: &EndReason) -> String {
    match reason {
        EndReason::Inactivated => "the other side inactivated the remote journal".to_owned(),
        EndReason::ShuttingDown => "the other system is stopping".to_owned(),
        EndReason::Full => "the target's disk is full".to_owned(),
        EndReason::TargetFailed => "a write or flush went wrong at the target".to_owned(),
        EndReason::SourceFailed => "what is to be shipped cannot be read at the source".to_owned(),
        EndReason::Superseded => "a newer session took over".to_owned(),
        EndReason::Heard => "the source asked what is held here, and opens".to_owned(),
        EndReason::Violation(text) => format!("the other side broke the protocol: {text}"),
        EndReason::Silent => "the other side was silent for too long".to_owned(),
        EndReason::Lost => "the connection was lost or could not be made".to_owned(),
        EndReason::Refused(refusal) => {
            format!(
                "refused ({:?}): {} (source at {}, target at {})",
                refusal.code, refusal.text, refusal.source, refusal.target
            )
        }
    }
}

/// Reads frames from a connection on a task of its own: reading is not cancel safe.
fn start_session(shared: &Shared, stream: LinkStream) -> Session {
    let (sender, receiver) = stream.split();
    let (send, frames) = mpsc::channel(FRAMES_WAITING);
    let reader = shared.runtime.spawn(read_frames(receiver, send));
    Session {
        sender,
        frames,
        reader,
    }
}

async fn read_frames(mut receiver: LinkReceiver, frames: mpsc::Sender<Option<Frame>>) {
    loop {
        let frame = match receiver.receive().await {
            Ok(Some(Wired::Session(frame))) => Some(frame),
            _ => None,
        };
        let last = frame.is_none();
        if frames.send(frame).await.is_err() || last {
            return;
        }
    }
}

/// The next frame; nothing when the connection is gone; never, when there is none.
async fn next_frame(session: &mut Option<Session>) -> Option<Frame> {
    match session {
        Some(session) => session.frames.recv().await.flatten(),
        None => std::future::pending().await,
    }
}

async fn dialed(dial: &mut Option<Dial>) -> Result<LinkStream, LinkError> {
    match dial {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}
