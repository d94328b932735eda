//! Room `daemon`, the control socket: the daemon's end: one task for each connection.

mod archive;

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::cycles::{Cycles, rollback};
use super::frame::{
    BODY_BYTES_MAX, ClientMessage, ControlFrame, Heard, ServerMessage, Want, put_answer,
    put_bundle, put_server, read_deposit, take_frame,
};
use super::hello::{put_server_hello, take_client_hello};
use super::unit::Unit;
use crate::daemon::command::{CommandError, ErrorKind, Request};
use crate::daemon::data_dir::{SOCKET, require_place_of_socket};
use crate::daemon::reading::{JournalFacts, Read, Reading, facts};
use crate::daemon::system::{JournalRuntime, Shared, System};
use crate::daemon::task::local::Turn;
use crate::daemon::user::user_name;
use crate::entry::{Actor, Draft, QualifiedName, Sequence};
use crate::error::{DepositError, LinkError, SystemError};
use crate::journal::{Journal, Ticket};

pub(in crate::daemon) use archive::archive_facts;

/// Connections served at once.
const CONNECTIONS_MAX: usize = 1024;
/// Deposits of one connection that may wait for their answers.
const TICKETS_MAX: usize = 65_536;
/// A client that does not read for this long is let go (failures.md CTL-3).
const WRITE_MAX: Duration = Duration::from_secs(30);
/// Bundles are sent to a follower in pieces of about this many bytes.
const FOLLOW_BYTES: usize = 1024 * 1024;

/// The control socket of a system, listening until it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Where the control socket of a data directory stands.
    pub fn path_in(data: &Path, configured: Option<&Path>) -> PathBuf {
        configured.map_or_else(|| data.join(SOCKET), Path::to_path_buf)
    }

    /// Listens. A socket left behind by a dead daemon is replaced: the directory's lock is held.
    ///
    /// # Errors
    /// [`SystemError`] when the socket cannot be made; a path too long for one says so.
    pub fn listen(system: &System) -> Result<Self, SystemError> {
        let path = Self::path_in(system.data(), system.config().socket.as_deref());
        require_place_of_socket(system.data(), &path)?;
        let io = |source| SystemError::io("could not be made", &path, source);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&path).map_err(io)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        let shared = Arc::clone(system.shared());
        let task = tokio::spawn(accept(listener, shared));
        Ok(Self { path, task })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.task.abort();
        drop(std::fs::remove_file(&self.path));
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let own = rustix::process::geteuid().as_raw();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those in use will be given back.
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let user = stream.peer_cred().map(|credentials| credentials.uid());
        let Some(user) = user.ok().filter(|user| *user == own || *user == 0) else {
            tracing::warn!("another user tried the control socket");
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut connection = Connection::new(shared, stream, user);
            if let Err(error) = connection.serve().await {
                tracing::debug!(%error, "a control connection ended");
            }
            connection.roll_back_open_cycles();
            drop(place);
        });
    }
}

struct Waiting {
    id: u64,
    ticket: Ticket,
}

struct Attached {
    journal: Arc<Journal>,
    actor: Option<Actor>,
    /// The only depositor that keeps locks, as long as nobody took over.
    exclusive: Option<Turn>,
}

struct Connection {
    shared: Arc<Shared>,
    stream: UnixStream,
    /// The user at the other end.
    user: u32,
    input: BytesMut,
    output: BytesMut,
    attached: Option<Attached>,
    /// A unit that is not whole yet.
    unit: Unit,
    waiting: VecDeque<Waiting>,
    /// Commit cycles this connection started.
    cycles: Cycles,
}

impl Connection {
    fn new(shared: Arc<Shared>, stream: UnixStream, user: u32) -> Self {
        Self {
            shared,
            stream,
            user,
            input: BytesMut::new(),
            output: BytesMut::new(),
            attached: None,
            unit: Unit::default(),
            waiting: VecDeque::new(),
            cycles: Cycles::default(),
        }
    }

    async fn serve(&mut self) -> Result<(), LinkError> {
        if !self.greet().await? {
            return Ok(());
        }
        loop {
            while self.waiting.len() < TICKETS_MAX {
                let Some(frame) = take_frame(&mut self.input, BODY_BYTES_MAX)? else {
                    break;
                };
                match frame {
                    ControlFrame::Deposit(body) => self.take_deposit(body).await?,
                    ControlFrame::Client(ClientMessage::Follow {
                        id,
                        journal,
                        along,
                        after,
                        upto,
                    }) => {
                        let begun = Reading::begin(&self.shared, journal, along, after, upto);
                        return self.follow(id, begun).await;
                    }
                    ControlFrame::Client(ClientMessage::FollowArchive { id, wanted }) => {
                        return self.follow_archive(id, wanted).await;
                    }
                    ControlFrame::Client(message) => self.take_message(message).await?,
                    ControlFrame::Server(_)
                    | ControlFrame::Answer(_)
                    | ControlFrame::Bundle(..) => {
                        return Err(LinkError::Malformed {
                            reason: "a client sent what only the daemon says".to_owned(),
                        });
                    }
                }
            }
            collect_answers(&mut self.waiting, &mut self.output)?;
            self.write_out().await?;
            if !self.wait().await? {
                return Ok(());
            }
        }
    }

    /// Takes the client's hello; the answer goes out with the first reply. Says whether there is a client that is understood.
    async fn greet(&mut self) -> Result<bool, LinkError> {
        loop {
            match take_client_hello(&mut self.input) {
                Ok(Some(())) => {
                    put_server_hello(&mut self.output, None)?;
                    return Ok(true);
                }
                Ok(None) => {}
                Err(versions) => {
                    tracing::warn!(?versions, "a client of another version was turned away");
                    put_server_hello(&mut self.output, Some(versions))?;
                    self.write_out().await?;
                    return Ok(false);
                }
            }
            if !self.wait().await? {
                return Ok(false);
            }
        }
    }

    /// Waits for more input or for the next answer. Says whether the client is still there.
    async fn wait(&mut self) -> Result<bool, LinkError> {
        let full = self.waiting.len() >= TICKETS_MAX;
        let next = async {
            match self.waiting.front() {
                Some(waiting) => waiting.ticket.clone().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            read = self.stream.read_buf(&mut self.input), if !full => {
                let read = read.map_err(|error| LinkError::Broken { reason: error.to_string() })?;
                Ok(read > 0)
            }
            answer = next => {
                if let Some(waiting) = self.waiting.pop_front() {
                    put_answer(&mut self.output, waiting.id, &Heard::Answered(answer, waiting.ticket.again()))?;
                }
                Ok(true)
            }
        }
    }

    async fn write_out(&mut self) -> Result<(), LinkError> {
        if self.output.is_empty() {
            return Ok(());
        }
        let written = tokio::time::timeout(WRITE_MAX, self.stream.write_all(&self.output)).await;
        self.output.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LinkError::Broken {
                reason: error.to_string(),
            }),
            Err(_) => Err(LinkError::Broken {
                reason: "the client does not read".to_owned(),
            }),
        }
    }

    async fn take_message(&mut self, message: ClientMessage) -> Result<(), LinkError> {
        let reply = match message {
            ClientMessage::Request { id, mut request } => {
                if let Request::SendEntry(send) = &mut *request {
                    send.user = Some(user_name(self.user));
                }
                let result = self.shared.execute(*request).await;
                ServerMessage::Reply { id, result }
            }
            ClientMessage::Attach {
                id,
                journal,
                actor,
                exclusive,
            } => ServerMessage::Attached {
                id,
                result: self.attach(journal, &actor, exclusive),
            },
            // Taken by the caller.
            ClientMessage::Follow { .. } | ClientMessage::FollowArchive { .. } => return Ok(()),
            ClientMessage::Hello { .. } => {
                return Err(LinkError::Malformed {
                    reason: "a second hello".to_owned(),
                });
            }
        };
        put_server(&mut self.output, &reply)
    }

    fn attach(
        &mut self,
        name: QualifiedName,
        [job, user, program]: &[String; 3],
        exclusive: bool,
    ) -> Result<JournalFacts, CommandError> {
        let runtime = self.shared.require_journal(name)?;
        let JournalRuntime::Local(local) = &runtime else {
            let closed = || {
                let text = format!("journal {name} takes no deposits here");
                CommandError::refused("CPF7003", text).help("WRKJRNA says what it is and why")
            };
            return Err(self.shared.closed_by_group(name).unwrap_or_else(closed));
        };
        let journal = Arc::clone(&local.journal);
        let actor = journal
            .attributes()
            .actor
            .then(|| Actor::new(job, user, program, self.shared.name.as_str()));
        let turn = exclusive.then(|| local.exclusive.take_over());
        self.attached = Some(Attached {
            journal,
            actor,
            exclusive: turn,
        });
        facts(&self.shared, &runtime, None)
    }

    async fn take_deposit(&mut self, body: bytes::Bytes) -> Result<(), LinkError> {
        let (id, want) = {
            let frame = read_deposit(&body)?;
            (frame.id, frame.want)
        };
        if self.unit.take(body)? {
            return Ok(());
        }
        let unit = std::mem::take(&mut self.unit);
        match self.deposit(&unit).await? {
            Ok(ticket) => match want {
                Want::Nothing => Ok(()),
                Want::Number => put_answer(
                    &mut self.output,
                    id,
                    &Heard::Numbered(ticket.sequence(), ticket.again()),
                ),
                Want::Answer => {
                    // Answers come in order of number: one found by its key is not kept behind later ones that wait, and one
                    // that is in another journal behind none.
                    let number = |ticket: &Ticket| match ticket.again().journal() {
                        Some(_) => Sequence::NONE,
                        None => ticket.sequence(),
                    };
                    let before = |other: &Waiting| number(&other.ticket) <= number(&ticket);
                    let at = self.waiting.partition_point(before);
                    self.waiting.insert(at, Waiting { id, ticket });
                    Ok(())
                }
            },
            Err(error) => put_answer(&mut self.output, id, &Heard::Refused(error)),
        }
    }

    async fn deposit(&mut self, unit: &Unit) -> Result<Result<Ticket, CommandError>, LinkError> {
        let Some(attached) = &self.attached else {
            let text = "no journal is attached to this connection";
            return Ok(Err(CommandError::new(ErrorKind::Invalid, "RJN1007", text)));
        };
        let mut drafts: Vec<Draft<'_>> = Vec::with_capacity(unit.frames().len());
        for body in unit.frames() {
            drafts.push(Draft {
                actor: attached.actor.as_ref(),
                ..read_deposit(body)?.draft
            });
        }
        // A client that does not wait for its writes learns here that one of them is missing.
        let torn = self.cycles.torn_by(&drafts);
        if let Some((cycle, _)) = &torn {
            drafts = vec![rollback(*cycle)];
        }
        let journal = Arc::clone(&attached.journal);
        let attempt = || {
            Turn::within(attached.exclusive.as_ref(), || {
                journal.deposit_unit(&drafts, self.shared.clock.wall())
            })
        };
        let mut deposited = match unit.refused() {
            Some(refused) if torn.is_none() => Some(Err(refused)),
            _ => attempt(),
        };
        while let Some(Err(DepositError::Busy)) = deposited {
            let room = journal.room();
            deposited = attempt();
            if let Some(Err(DepositError::Busy)) = deposited {
                // What was answered meanwhile need not wait for room.
                collect_answers(&mut self.waiting, &mut self.output)?;
                room.await;
                deposited = attempt();
            }
        }
        let deposited = deposited.map_or_else(
            || {
                let text = "another database took over this journal's files; this one may change nothing any more";
                Err(CommandError::refused("RJN4022", text).help(
                    "WRKAPY lists the stores of the journal: ENDAPY ends each that is not to be its database, then ENDAPY and \
                     STRAPY start the one that is",
                ))
            },
            |deposited| deposited.map_err(CommandError::from),
        );
        match &deposited {
            Ok(ticket) if !ticket.again().is_again() => {
                self.cycles.note_deposited(&drafts, ticket.sequence());
            }
            Ok(_) => {}
            Err(error) => self.cycles.note_refused(&drafts, error),
        }
        Ok(torn.map_or(deposited, |(_, why)| Err(why)))
    }

    /// The client is gone: what it left undecided is rolled back by the system (IBM i: C RB, JOFLAG 2).
    fn roll_back_open_cycles(&mut self) {
        let Some(attached) = &self.attached else {
            return;
        };
        for cycle in self.cycles.take_open() {
            if let Err(error) = attached
                .journal
                .deposit(&rollback(cycle), self.shared.clock.wall())
            {
                tracing::debug!(%cycle, %error, "a cycle of a lost client stays open until the journal is opened again");
            }
        }
    }

    /// Sends a journal's bundles as they may be read, until the client goes away, has what it asked for, or goes on elsewhere.
    async fn follow(
        &mut self,
        id: u64,
        begun: Result<(Reading, JournalFacts), CommandError>,
    ) -> Result<(), LinkError> {
        let (begun, result) = match begun {
            Ok((reading, facts)) => (Some(reading), Ok(facts)),
            Err(error) => (None, Err(error)),
        };
        put_server(&mut self.output, &ServerMessage::Attached { id, result })?;
        let Some(mut reading) = begun else {
            return self.write_out().await;
        };
        loop {
            self.write_out().await?;
            let read = tokio::select! {
                biased;
                read = reading.next(FOLLOW_BYTES) => read,
                // A follower says nothing more: either it is gone, or it is none.
                heard = self.stream.read_buf(&mut self.input) => {
                    return heard.map(drop).map_err(|error| LinkError::Broken {
                        reason: error.to_string(),
                    });
                }
            };
            let over = match read {
                Ok(Read::Bundles(bundles)) => {
                    for bundle in &bundles {
                        put_bundle(&mut self.output, bundle.receiver.receiver, &bundle.bytes);
                    }
                    None
                }
                Ok(Read::Level(upto)) => {
                    put_server(&mut self.output, &ServerMessage::Level { upto })?;
                    reading.is_done().then_some(None)
                }
                Ok(Read::Changed(facts)) => {
                    put_server(&mut self.output, &ServerMessage::Changed { facts })?;
                    None
                }
                Ok(Read::Ended(ended)) => Some(Some(ServerMessage::SegmentEnded { ended })),
                Err(error) => Some(Some(ServerMessage::Ended { error })),
            };
            if let Some(last) = over {
                if let Some(last) = last {
                    put_server(&mut self.output, &last)?;
                }
                return self.write_out().await;
            }
        }
    }
}

/// Writes the answers that are there, in order.
fn collect_answers(
    waiting: &mut VecDeque<Waiting>,
    output: &mut BytesMut,
) -> Result<(), LinkError> {
    while let Some(answer) = waiting.front().and_then(|waiting| waiting.ticket.now()) {
        if let Some(waiting) = waiting.pop_front() {
            put_answer(
                output,
                waiting.id,
                &Heard::Answered(answer, waiting.ticket.again()),
            )?;
        }
    }
    Ok(())
}
