//! Room `daemon`, the control socket: following a journal: its bundles as they are confirmed (copy) or released (local),
//! whole and in order, for an apply job or any other reader; of a recovery group's journal also where it goes on. Must not know what is done with them.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::frame::{BODY_BYTES_MAX, ControlFrame, ServerMessage, take_frame};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::daemon::reading::{JournalFacts, SegmentEnded};
use crate::entry::codec;
use crate::entry::{QualifiedName, ReceiverId, SealedBundle, Sequence};
use crate::error::LinkError;

/// What is wanted of an orphan archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveFollowed {
    /// The journal.
    pub journal: QualifiedName,
    /// The archive's number.
    pub number: u64,
    /// The last entry that is not wanted.
    pub after: Sequence,
    /// The last entry that is; everything to its end when not given.
    pub upto: Option<Sequence>,
}

/// What a follower gets.
#[derive(Debug, Clone)]
pub enum Followed {
    /// The next bundle, checked; its first entries may lie at or before the place asked for.
    Bundle(SealedBundle),
    /// Everything that may be read now was given, up to this entry.
    Level(Sequence),
    /// The journal is something else now: it was closed, or opened for deposits. Reading goes on.
    Changed(Box<JournalFacts>),
    /// Of a recovery group's journal: the segment was given to its end, and this follows. Nothing comes any more.
    SegmentEnded(SegmentEnded),
}

/// A journal being followed over the control socket.
#[derive(Debug)]
pub struct Follower {
    stream: UnixStream,
    buffer: BytesMut,
    facts: JournalFacts,
}

impl Follower {
    pub(super) const fn new(stream: UnixStream, buffer: BytesMut, facts: JournalFacts) -> Self {
        Self {
            stream,
            buffer,
            facts,
        }
    }

    /// What the journal is.
    pub const fn facts(&self) -> &JournalFacts {
        &self.facts
    }

    /// The next thing; waits until there is one.
    ///
    /// Cancel safe: yes, what was read stays in the buffer.
    ///
    /// # Errors
    /// [`CommandError`]: the daemon is gone, the journal was closed, or a bundle does not hold what it should.
    pub async fn next(&mut self) -> Result<Followed, CommandError> {
        loop {
            match take_frame(&mut self.buffer, BODY_BYTES_MAX).map_err(CommandError::from)? {
                Some(ControlFrame::Bundle(receiver, bytes)) => {
                    return open(bytes, receiver).map(Followed::Bundle);
                }
                Some(ControlFrame::Server(ServerMessage::Level { upto })) => {
                    return Ok(Followed::Level(upto));
                }
                Some(ControlFrame::Server(ServerMessage::Changed { facts })) => {
                    return Ok(Followed::Changed(facts));
                }
                Some(ControlFrame::Server(ServerMessage::SegmentEnded { ended })) => {
                    return Ok(Followed::SegmentEnded(ended));
                }
                Some(ControlFrame::Server(ServerMessage::Ended { error })) => return Err(error),
                Some(_) => {
                    return Err(CommandError::new(
                        ErrorKind::Internal,
                        "RJN1003",
                        "something else than a bundle was sent",
                    ));
                }
                None => {}
            }
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|error| broken(&error))? == 0 {
                return Err(CommandError::new(
                    ErrorKind::Unreachable,
                    "RJN1006",
                    "the daemon ended",
                ));
            }
        }
    }
}

/// Reads a bundle as it is stored and sent.
pub(in crate::daemon) fn open(
    bytes: Bytes,
    receiver: ReceiverId,
) -> Result<SealedBundle, CommandError> {
    codec::open(bytes, receiver)
        .map_err(|error| CommandError::new(ErrorKind::Damaged, "RJN1002", error.to_string()))
}

pub(super) fn broken(error: &std::io::Error) -> CommandError {
    CommandError::from(LinkError::Broken {
        reason: error.to_string(),
    })
}
