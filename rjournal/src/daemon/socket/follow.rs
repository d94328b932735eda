//! Room `daemon`, the control socket: following a journal: its bundles as they are confirmed (copy) or released (local),
//! whole and in order, for an apply job or any other reader. Must not know what is done with them.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::frame::{BODY_BYTES_MAX, ControlFrame, ServerMessage, take_frame};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::entry::codec;
use crate::entry::{
    Epoch, GroupId, JournalId, Position, QualifiedName, ReceiverId, SealedBundle, Sequence,
};
use crate::error::LinkError;

/// What a journal is, told when it is attached or followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFacts {
    /// Identity.
    pub journal: JournalId,
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// Name here.
    pub name: QualifiedName,
    /// Whether it takes deposits here.
    pub local: bool,
    /// The epoch it is open in, or has promised.
    pub epoch: Epoch,
    /// The position before the oldest entry here.
    pub oldest: Position,
    /// The last entry that may be read.
    pub last: Sequence,
    /// The last entry deposited (local), whether its answer is decided or not.
    pub deposited: Sequence,
    /// The chain head at the entry asked for, where that entry is here.
    pub head: Option<crate::entry::ChainHead>,
    /// Whether entries carry job, user, program and system.
    pub actor: bool,
}

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

fn open(bytes: Bytes, receiver: ReceiverId) -> Result<SealedBundle, CommandError> {
    codec::open(bytes, receiver)
        .map_err(|error| CommandError::new(ErrorKind::Damaged, "RJN1002", error.to_string()))
}

pub(super) fn broken(error: &std::io::Error) -> CommandError {
    CommandError::from(LinkError::Broken {
        reason: error.to_string(),
    })
}
