//! Room `daemon`: a copy with all that runs for it, from outside: what its thread is told, its status. Must not know what the
//! thread does with it.

mod thread;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::daemon::system::Shared;
use crate::daemon::task::link::LinkSet;
use crate::daemon::task::local::lock;
use crate::entry::progress::CopyProgress;
use crate::entry::{
    Position, ReceiverHeader, ReceiverId, SealedBundle, Sequence, SystemId, Timestamp, codec,
};
use crate::journal::{Copy, CopyShared};
use crate::link::Wired;
use crate::remote::{Frame, Hello};
use thread::CopyThread;

/// Events that may wait for the thread.
const EVENTS_WAITING: usize = 256;
/// Bytes of frames that may wait for the thread, in KiB.
const WAITING_KIB_MAX: usize = 20 * 1024;

/// What the thread of a copy is told.
#[derive(Debug)]
pub(crate) enum CopyEvent {
    /// A source greets: if it is let in its session begins, and an older one ends.
    Session {
        /// Its number.
        id: u64,
        /// The system at the other end, as its key says.
        peer: SystemId,
        /// What it says first.
        hello: Box<Hello>,
        /// Where answers go.
        out: mpsc::Sender<Vec<Wired>>,
        /// This system asked to be fed.
        asked: bool,
    },
    /// The session that feeds it ends, and what came is made durable.
    Quiesce {
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
    /// Move what lies behind a position into an archive.
    SetAside {
        /// The last entry that stays.
        at: Position,
        /// Told when it is done, or why it is not.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// A close record says that everything up to an entry is confirmed.
    Close {
        /// The entry.
        upto: Sequence,
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
    /// A frame of a session came. The permit bounds what waits.
    Frame {
        /// The session.
        id: u64,
        /// The frame.
        frame: Frame,
        /// Given back when it was handled.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A bundle of a session came, and was read on its way.
    Bundle {
        /// The session.
        id: u64,
        /// The bundle.
        bundle: SealedBundle,
        /// Given back when it was handled.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// The connection of a session is gone.
    Lost {
        /// The session.
        id: u64,
    },
    /// Time went on.
    Tick,
    /// Delete the oldest receivers up to and with this one.
    Forget {
        /// The receiver.
        receiver: ReceiverId,
        /// Told when it is done.
        done: oneshot::Sender<Result<u64, String>>,
    },
    /// An operator ends the session that feeds it, and lets no other begin, or lets one begin again.
    Stop(Option<String>),
    /// A system may not feed it any more: a session it has here ends.
    Dismiss {
        /// The system.
        system: SystemId,
        /// What it is told.
        told: String,
        /// What is said of it here.
        here: String,
    },
    /// The system stops.
    Shutdown,
}

/// A copy for people.
#[derive(Debug, Clone, Default)]
pub(crate) struct CopyStatus {
    /// Watermarks.
    pub(crate) progress: CopyProgress,
    /// Whether a session feeds it.
    pub(crate) fed: bool,
    /// Where its source said it is.
    pub(crate) source_at: Option<(Sequence, Timestamp)>,
    /// When its source was last heard.
    pub(crate) heard_at: Timestamp,
    /// How the last session ended.
    pub(crate) last_end: Option<String>,
    /// A write or flush went wrong: it is fed no more until the system is started again.
    pub(crate) failure: Option<String>,
}

/// A copy with all that runs for it.
#[derive(Debug)]
pub(crate) struct CopyRuntime {
    /// What readers share.
    pub(crate) copy: Arc<CopyShared>,
    /// Links to further systems.
    pub(crate) links: LinkSet,
    pub(super) status: Mutex<CopyStatus>,
    events: mpsc::Sender<CopyEvent>,
    waiting: Arc<Semaphore>,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl CopyRuntime {
    /// Starts the copy's thread.
    pub(crate) fn start(shared: &Arc<Shared>, copy: Copy) -> Arc<Self> {
        let (events, receive) = mpsc::channel(EVENTS_WAITING);
        let runtime = Arc::new(Self {
            copy: Arc::clone(copy.shared()),
            links: LinkSet::default(),
            status: Mutex::new(CopyStatus {
                progress: copy.progress(),
                ..CopyStatus::default()
            }),
            events,
            waiting: Arc::new(Semaphore::new(WAITING_KIB_MAX)),
            stopping: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let thread = CopyThread {
            shared: Arc::downgrade(shared),
            runtime: Arc::downgrade(&runtime),
            copy,
            events: receive,
            session: None,
            prepared_at: shared.clock.now(),
        };
        let name = format!("receive {}", runtime.copy.name());
        match std::thread::Builder::new()
            .name(name)
            .spawn(move || thread.run())
        {
            Ok(handle) => *lock(&runtime.thread) = Some(handle),
            Err(error) => {
                lock(&runtime.status).failure =
                    Some(format!("its thread cannot be started: {error}"));
            }
        }
        runtime
    }

    /// The status now.
    pub(crate) fn status(&self) -> CopyStatus {
        lock(&self.status).clone()
    }

    /// Whether it is being stopped.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tells the thread something.
    pub(crate) async fn tell(&self, event: CopyEvent) {
        drop(self.events.send(event).await);
    }

    /// Tells the thread something if it can take it now.
    pub(crate) fn try_tell(&self, event: CopyEvent) {
        drop(self.events.try_send(event));
    }

    /// Hands a frame over, waiting while too much waits already. Bundles are read and hashed here, on the connection's task,
    /// while the copy's thread writes and flushes; one that cannot be read goes on as it came, to be judged there.
    /// `receiver` is the one whose bundles come, once that is known.
    pub(crate) async fn hand_over(&self, id: u64, frame: Frame, receiver: &mut Option<ReceiverId>) {
        let (bytes, opened) = match &frame {
            Frame::Message(_) => (0, None),
            Frame::Header(bytes) => {
                *receiver = ReceiverHeader::decode(bytes)
                    .ok()
                    .map(|header| header.receiver);
                (bytes.len(), None)
            }
            Frame::Bundle(bytes) => {
                let attached = || self.copy.reader().attached();
                let here = receiver.or_else(|| attached().map(|header| header.receiver));
                *receiver = here;
                let opened = here.and_then(|receiver| codec::open(bytes.clone(), receiver).ok());
                (bytes.len(), opened)
            }
        };
        let permits = u32::try_from(bytes / 1024)
            .unwrap_or(0)
            .min(WAITING_KIB_MAX as u32);
        let permit = if permits == 0 {
            None
        } else {
            Arc::clone(&self.waiting)
                .acquire_many_owned(permits)
                .await
                .ok()
        };
        self.tell(match opened {
            Some(bundle) => CopyEvent::Bundle { id, bundle, permit },
            None => CopyEvent::Frame { id, frame, permit },
        })
        .await;
    }

    /// Ends the thread and waits for it.
    pub(crate) async fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.tell(CopyEvent::Shutdown).await;
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        self.copy.tail().close();
    }
}
