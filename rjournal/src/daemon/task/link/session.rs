//! Room `daemon`: the connection of a link: frames are read on a task of their own. Must not know what a frame means.

use std::pin::Pin;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::places::Place;
use crate::daemon::system::Shared;
use crate::error::LinkError;
use crate::link::{LinkReceiver, LinkSender, LinkStream, Wired};
use crate::remote::Frame;

/// Frames that may wait to be handled.
const FRAMES_WAITING: usize = 64;

/// A connection that is being made.
pub(super) type Dial = Pin<Box<dyn Future<Output = Dialed> + Send>>;
/// What came of it: the connection, and a place to catch up.
pub(super) type Dialed = Result<(LinkStream, Place), LinkError>;

/// A connection that is up.
#[derive(Debug)]
pub(in crate::daemon) struct Session {
    pub(in crate::daemon) sender: LinkSender,
    pub(super) frames: mpsc::Receiver<Option<Frame>>,
    pub(in crate::daemon) reader: JoinHandle<()>,
}

/// Reads frames from a connection on a task of its own: reading is not cancel safe.
pub(in crate::daemon) fn start_session(shared: &Shared, stream: LinkStream) -> Session {
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
pub(in crate::daemon) async fn next_frame(session: &mut Option<Session>) -> Option<Frame> {
    match session {
        Some(session) => session.frames.recv().await.flatten(),
        None => std::future::pending().await,
    }
}

/// The connection once it is made; never, when none is being made.
pub(super) async fn dialed(dial: &mut Option<Dial>) -> Dialed {
    match dial {
        Some(dial) => dial.await,
        None => std::future::pending().await,
    }
}
