//! Room `daemon`, the control socket: a program's end: commands, deposits, following. The same commands as embedded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::follow::{ArchiveFollowed, Follower, broken};
use super::frame::{
    BODY_BYTES_MAX, ClientMessage, ControlFrame, Heard, ServerMessage, Want, put_client,
    put_deposit, read_answer, take_frame,
};
use super::hello::{put_client_hello, take_server_hello, without_a_word};
use super::server::ControlSocket;
use crate::daemon::command::{Command, CommandError, ErrorKind, Reply};
use crate::daemon::data_dir::read_config;
use crate::daemon::reading::{Along, JournalFacts};
use crate::entry::{Draft, QualifiedName, Sequence};
use crate::journal::{Again, Answer, UnknownReason};

/// A daemon that closed the connection has said why within this time, if it says so at all.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// A connection to the daemon of a data directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    path: PathBuf,
    shared: Arc<ClientShared>,
}

#[derive(Debug)]
struct ClientShared {
    writer: tokio::sync::Mutex<Sending>,
    waiting: Mutex<Option<Waiting>>,
    /// Why the connection came to nothing, where more is known than that it is gone.
    refused: OnceLock<CommandError>,
    next: AtomicU64,
    /// Set once it runs.
    reader: OnceLock<tokio::task::JoinHandle<()>>,
}

#[derive(Debug)]
struct Sending {
    half: OwnedWriteHalf,
    /// A message was given up half way: what came behind it would be read as part of it.
    torn: bool,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: HashMap<u64, oneshot::Sender<Result<Reply, CommandError>>>,
    attached: HashMap<u64, oneshot::Sender<Result<JournalFacts, CommandError>>>,
    deposits: HashMap<u64, oneshot::Sender<Heard>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gone() -> CommandError {
    CommandError::new(
        ErrorKind::Unreachable,
        "RJN1006",
        "the connection to the daemon is gone",
    )
}

impl Drop for ClientShared {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get() {
            reader.abort();
        }
    }
}

impl ClientShared {
    fn why_gone(&self) -> CommandError {
        self.refused.get().cloned().unwrap_or_else(gone)
    }
}

impl Client {
    /// Connects to the daemon of a data directory.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when there is no system, or its daemon does not run.
    pub async fn connect(data: &Path) -> Result<Self, CommandError> {
        let config = read_config(data)?;
        let path = ControlSocket::path_in(data, config.socket.as_deref());
        let stream = UnixStream::connect(&path).await.map_err(|error| {
            let text = format!("the daemon of {} does not answer ({error})", data.display());
            let help = format!("start it with: rjournal daemon --data {}", data.display());
            CommandError::new(ErrorKind::Unreachable, "RJN1006", text).help(help)
        })?;
        Self::greet(path, stream).await
    }

    /// Connects to a control socket, wherever it stands: also one that leads to another machine.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when nobody answers there.
    pub async fn connect_at(socket: &Path) -> Result<Self, CommandError> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            let text = format!("no daemon answers at {} ({error})", socket.display());
            CommandError::new(ErrorKind::Unreachable, "RJN1006", text)
        })?;
        Self::greet(socket.to_path_buf(), stream).await
    }

    async fn greet(path: PathBuf, stream: UnixStream) -> Result<Self, CommandError> {
        let (read, mut write) = stream.into_split();
        // The answer comes with the first reply: nobody waits a round trip for it.
        let mut hello = BytesMut::new();
        put_client_hello(&mut hello)?;
        write
            .write_all(&hello)
            .await
            .map_err(|_| without_a_word())?;
        let shared = Arc::new(ClientShared {
            writer: tokio::sync::Mutex::new(Sending {
                half: write,
                torn: false,
            }),
            waiting: Mutex::new(Some(Waiting::default())),
            refused: OnceLock::new(),
            next: AtomicU64::new(1),
            reader: OnceLock::new(),
        });
        // Not before there is somebody it can tell: the daemon may have spoken, or left, already.
        let reader = tokio::spawn(read_replies(read, Arc::downgrade(&shared)));
        drop(shared.reader.set(reader));
        Ok(Self { path, shared })
    }

    fn next_id(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    async fn send(&self, bytes: &[u8]) -> Result<(), CommandError> {
        let mut writer = self.shared.writer.lock().await;
        if writer.torn {
            return Err(gone());
        }
        writer.torn = true;
        writer
            .half
            .write_all(bytes)
            .await
            .map_err(|error| broken(&error))?;
        writer.torn = false;
        Ok(())
    }

    /// What is heard for what was sent.
    async fn heard<T>(
        &self,
        sent: Result<(), CommandError>,
        receive: oneshot::Receiver<T>,
    ) -> Result<T, CommandError> {
        let Err(broken) = sent else {
            return receive.await.map_err(|_| self.shared.why_gone());
        };
        // The daemon closed the connection, and what it said last may still be on its way through the reader.
        match tokio::time::timeout(LAST_WORDS_MAX, receive).await {
            Ok(Ok(heard)) => Ok(heard),
            Ok(Err(_)) | Err(_) => Err(self.shared.refused.get().cloned().unwrap_or(broken)),
        }
    }

    /// Has a command carried out.
    ///
    /// Cancel safe: no; a command given up half way may have been carried out.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn run<C: Command>(&self, command: C) -> Result<C::Reply, CommandError> {
        let id = self.next_id();
        let (send, receive) = oneshot::channel();
        match lock(&self.shared.waiting).as_mut() {
            Some(waiting) => waiting.replies.insert(id, send),
            None => return Err(self.shared.why_gone()),
        };
        let mut out = BytesMut::new();
        put_client(
            &mut out,
            &ClientMessage::Request {
                id,
                request: Box::new(command.into_request()),
            },
        )?;
        let sent = self.send(&out).await;
        let reply = self.heard(sent, receive).await??;
        C::from_reply(reply).ok_or_else(|| {
            CommandError::new(
                ErrorKind::Internal,
                "RJN1003",
                "another reply than was asked for",
            )
        })
    }

    /// Attaches a journal for deposits, on a connection of its own. `actor` is job, user and program of the depositor.
    /// `exclusive` is for one that keeps locks on what it changes: an earlier such one is refused from then on.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the journal takes no deposits here.
    pub async fn attach(
        data: &Path,
        journal: QualifiedName,
        actor: [String; 3],
        exclusive: bool,
    ) -> Result<JournalClient, CommandError> {
        let client = Self::connect(data).await?;
        client.attach_here(journal, actor, exclusive).await
    }

    /// As [`Self::attach`], on this connection.
    ///
    /// Cancel safe: yes.
    pub(super) async fn attach_here(
        self,
        journal: QualifiedName,
        actor: [String; 3],
        exclusive: bool,
    ) -> Result<JournalClient, CommandError> {
        let client = self;
        let id = client.next_id();
        let (send, receive) = oneshot::channel();
        match lock(&client.shared.waiting).as_mut() {
            Some(waiting) => waiting.attached.insert(id, send),
            None => return Err(client.shared.why_gone()),
        };
        let mut out = BytesMut::new();
        put_client(
            &mut out,
            &ClientMessage::Attach {
                id,
                journal,
                actor,
                exclusive,
            },
        )?;
        let sent = client.send(&out).await;
        let facts = client.heard(sent, receive).await??;
        Ok(JournalClient { client, facts })
    }

    /// Follows a journal after an entry, on a connection of its own: to its end and along with it, or up to an entry; it alone,
    /// or the history of its recovery group.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when the journal cannot be read.
    pub async fn follow(
        data: &Path,
        journal: QualifiedName,
        along: Along,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<Follower, CommandError> {
        Self::follow_as(
            data,
            ClientMessage::Follow {
                id: 1,
                journal,
                along,
                after,
                upto,
            },
        )
        .await
    }

    /// Follows an orphan archive, on a connection of its own; its facts are told like a journal's: it begins at the fork.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when there is none of that number, or it cannot be read.
    pub async fn follow_archive(
        data: &Path,
        wanted: ArchiveFollowed,
    ) -> Result<Follower, CommandError> {
        Self::follow_as(data, ClientMessage::FollowArchive { id: 1, wanted }).await
    }

    async fn follow_as(data: &Path, wanted: ClientMessage) -> Result<Follower, CommandError> {
        let config = read_config(data)?;
        let path = ControlSocket::path_in(data, config.socket.as_deref());
        let mut stream = UnixStream::connect(&path).await.map_err(|error| {
            CommandError::new(
                ErrorKind::Unreachable,
                "RJN1006",
                format!("the daemon of {} does not answer ({error})", data.display()),
            )
        })?;
        let mut out = BytesMut::new();
        put_client_hello(&mut out)?;
        put_client(&mut out, &wanted)?;
        stream.write_all(&out).await.map_err(|_| without_a_word())?;
        let mut buffer = BytesMut::new();
        while take_server_hello(&mut buffer)?.is_none() {
            let read = stream.read_buf(&mut buffer).await;
            if !read.is_ok_and(|count| count > 0) {
                return Err(without_a_word());
            }
        }
        loop {
            match take_frame(&mut buffer, BODY_BYTES_MAX)? {
                Some(ControlFrame::Server(ServerMessage::Attached { result, .. })) => {
                    return Ok(Follower::new(stream, buffer, result?));
                }
                Some(_) => {
                    return Err(CommandError::new(
                        ErrorKind::Internal,
                        "RJN1003",
                        "another reply than was asked for",
                    ));
                }
                None => {}
            }
            if stream
                .read_buf(&mut buffer)
                .await
                .map_err(|error| broken(&error))?
                == 0
            {
                return Err(gone());
            }
        }
    }

    /// Where the daemon's socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Tells whoever waits, by the drop of its sender, that nothing comes any more.
struct Gone(std::sync::Weak<ClientShared>);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            drop(lock(&shared.waiting).take());
        }
    }
}

/// Reads whatever the daemon says and gives it to who waits for it.
async fn read_replies(mut read: OwnedReadHalf, client: std::sync::Weak<ClientShared>) {
    // However this ends, also with its runtime: nobody may wait for what nobody reads.
    let _gone = Gone(std::sync::Weak::clone(&client));
    let mut buffer = BytesMut::new();
    let mut greeted = false;
    loop {
        let read = read.read_buf(&mut buffer).await;
        let Some(shared) = client.upgrade() else {
            return;
        };
        let more = read.is_ok_and(|count| count > 0);
        if !greeted {
            let hello = match take_server_hello(&mut buffer) {
                Ok(None) if !more => Err(without_a_word()),
                hello => hello,
            };
            match hello {
                Ok(Some(())) => greeted = true,
                Ok(None) => continue,
                Err(refused) => {
                    drop(shared.refused.set(refused));
                    return;
                }
            }
        }
        if !more || hand_out(&mut buffer, &shared).is_none() {
            return;
        }
    }
}

fn hand_out(buffer: &mut BytesMut, shared: &ClientShared) -> Option<()> {
    let mut waiting = lock(&shared.waiting);
    let waiting = waiting.as_mut()?;
    while let Some(frame) = take_frame(buffer, BODY_BYTES_MAX).ok()? {
        match frame {
            ControlFrame::Server(ServerMessage::Reply { id, result }) => {
                if let Some(sender) = waiting.replies.remove(&id) {
                    drop(sender.send(result));
                }
            }
            ControlFrame::Server(ServerMessage::Attached { id, result }) => {
                if let Some(sender) = waiting.attached.remove(&id) {
                    drop(sender.send(result));
                }
            }
            ControlFrame::Answer(body) => {
                let (id, heard) = read_answer(&body).ok()?;
                // Nobody waits for one that wanted nothing: if it was refused, the daemon refuses its commit.
                if let Some(sender) = waiting.deposits.remove(&id) {
                    drop(sender.send(heard));
                }
            }
            _ => return None,
        }
    }
    Some(())
}

/// A journal attached for deposits. Clones share the connection; deposits of one connection keep their order.
#[derive(Debug, Clone)]
pub struct JournalClient {
    client: Client,
    facts: JournalFacts,
}

impl JournalClient {
    /// What the journal is.
    pub const fn facts(&self) -> &JournalFacts {
        &self.facts
    }

    /// Deposits entries that are never torn. The ticket speaks of the last one. When an entry of a commit cycle is refused,
    /// the daemon refuses the commit of that cycle too, with the same error, and rolls it back.
    ///
    /// Cancel safe: no; the deposit may have been made.
    ///
    /// # Errors
    /// [`CommandError`] when the daemon is gone; a refusal comes by the ticket.
    pub async fn deposit_unit(
        &self,
        drafts: &[Draft<'_>],
        want: Want,
    ) -> Result<ClientTicket, CommandError> {
        let id = self.client.next_id();
        let (send, receive) = oneshot::channel();
        match lock(&self.client.shared.waiting).as_mut() {
            Some(waiting) if want != Want::Nothing => {
                waiting.deposits.insert(id, send);
            }
            Some(_) => {}
            None => return Err(gone()),
        }
        let mut out = BytesMut::new();
        let last = drafts.len().saturating_sub(1);
        for (index, draft) in drafts.iter().enumerate() {
            put_deposit(&mut out, id, want, index < last, draft);
        }
        self.client.send(&out).await?;
        Ok(ClientTicket { heard: receive })
    }

    /// Deposits one entry.
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// As [`Self::deposit_unit`].
    pub async fn deposit(
        &self,
        draft: &Draft<'_>,
        want: Want,
    ) -> Result<ClientTicket, CommandError> {
        self.deposit_unit(std::slice::from_ref(draft), want).await
    }

    /// Whether the daemon is still there.
    pub fn is_connected(&self) -> bool {
        lock(&self.client.shared.waiting).is_some()
    }
}

/// The promise of an answer from the daemon.
#[derive(Debug)]
pub struct ClientTicket {
    heard: oneshot::Receiver<Heard>,
}

impl ClientTicket {
    /// The number the deposit got (asked for with [`Want::Number`]), and whether it had landed before under its key.
    ///
    /// Cancel safe: yes, but the number is lost.
    ///
    /// # Errors
    /// [`CommandError`]: refused, or the daemon is gone.
    pub async fn number(self) -> Result<(Sequence, Again), CommandError> {
        match self.heard.await.map_err(|_| gone())? {
            Heard::Numbered(sequence, again)
            | Heard::Answered(Answer::Landed { sequence, .. }, again) => Ok((sequence, again)),
            Heard::Answered(..) => Err(CommandError::new(
                ErrorKind::Poisoned,
                "CPF7003",
                "the entry was not journaled",
            )),
            Heard::Refused(error) => Err(error),
        }
    }

    /// The answer (asked for with [`Want::Answer`]), and whether it had landed before under its key. A daemon that is gone
    /// answers UNKNOWN.
    ///
    /// Cancel safe: yes, but the answer is lost.
    ///
    /// # Errors
    /// [`CommandError`]: refused.
    pub async fn answer(self) -> Result<(Answer, Again), CommandError> {
        match self.heard.await {
            Ok(Heard::Answered(answer, again)) => Ok((answer, again)),
            Ok(Heard::Numbered(sequence, again)) => Ok((
                Answer::Unknown {
                    sequence,
                    why: UnknownReason::Closed,
                },
                again,
            )),
            Ok(Heard::Refused(error)) => Err(error),
            Err(_) => Ok((
                Answer::Unknown {
                    sequence: Sequence::NONE,
                    why: UnknownReason::Closed,
                },
                Again::No,
            )),
        }
    }
}

impl Future for ClientTicket {
    type Output = Result<Answer, CommandError>;

    /// Cancel safe: yes, but the answer is lost.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let heard = match Pin::new(&mut self.heard).poll(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(heard) => heard,
        };
        Poll::Ready(match heard {
            Ok(Heard::Answered(answer, _)) => Ok(answer),
            Ok(Heard::Numbered(sequence, _)) => Ok(Answer::Unknown {
                sequence,
                why: UnknownReason::Closed,
            }),
            Ok(Heard::Refused(error)) => Err(error),
            Err(_) => Ok(Answer::Unknown {
                sequence: Sequence::NONE,
                why: UnknownReason::Closed,
            }),
        })
    }
}
