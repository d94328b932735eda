//! Room `daemon`, the control socket: what stands on it. One byte says what it is, four bytes its length; commands are
//! MessagePack with named fields, deposits, answers and bundles are laid out by hand. Must not know connections.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::follow::ArchiveFollowed;
use crate::daemon::command::{CommandError, Reply, Request};
use crate::daemon::reading::{Along, JournalFacts, SegmentEnded};
use crate::entry::codec::BUNDLE_BYTES_MAX;
use crate::entry::{
    ClientId, Cursor, DepositKey, Draft, EntryFlags, JournalId, Kind, ObjectId, QualifiedName,
    ReceiverId, Sequence,
};
use crate::error::LinkError;
use crate::journal::{AckClass, Again, Answer, UnknownReason};
use crate::link::{decode_message, encode_message};

/// Bytes before a body.
const HEAD_BYTES: usize = 5;
/// Longest body of what follows the hello: a bundle and the receiver it belongs to, or a deposit with the largest payload.
pub(super) const BODY_BYTES_MAX: usize = BUNDLE_BYTES_MAX + 4096;

const CLIENT: u8 = 1;
const SERVER: u8 = 2;
const DEPOSIT: u8 = 3;
const ANSWER: u8 = 4;
const BUNDLE: u8 = 5;

/// What a client says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClientMessage {
    /// The first on every connection, in every version.
    Hello {
        /// The version it speaks.
        protocol: u32,
    },
    /// Carry this out.
    Request {
        /// Repeated in the reply.
        id: u64,
        /// What.
        request: Box<Request>,
    },
    /// Deposits on this connection go to this journal.
    Attach {
        /// Repeated in the reply.
        id: u64,
        /// The journal.
        journal: QualifiedName,
        /// Job, user and program of the depositor.
        actor: [String; 3],
        /// The depositor keeps locks on what it changes, so there may be only one: an earlier one is refused from now on.
        exclusive: bool,
    },
    /// From now on this connection carries a journal's bundles.
    Follow {
        /// Repeated in the reply.
        id: u64,
        /// The journal.
        journal: QualifiedName,
        /// It alone, or the history it belongs to.
        along: Along,
        /// The last entry the client has.
        after: Sequence,
        /// The last entry it wants; the journal is followed when not given.
        upto: Option<Sequence>,
    },
    /// From now on this connection carries an orphan archive's bundles.
    FollowArchive {
        /// Repeated in the reply.
        id: u64,
        /// Which, and what of it.
        wanted: ArchiveFollowed,
    },
}

/// What the daemon says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ServerMessage {
    /// The first on every connection, in every version.
    Hello {
        /// The version it speaks.
        protocol: u32,
        /// Why nothing more comes: the client does not speak it.
        refused: Option<String>,
    },
    /// The reply to a request.
    Reply {
        /// The request's.
        id: u64,
        /// What came of it.
        result: Result<Reply, CommandError>,
    },
    /// The journal is attached, or followed.
    Attached {
        /// The request's.
        id: u64,
        /// What the journal is.
        result: Result<JournalFacts, CommandError>,
    },
    /// On a connection that follows: everything up to here was sent.
    Level {
        /// The entry.
        upto: Sequence,
    },
    /// On a connection that follows: the journal is something else now.
    Changed {
        /// What it is.
        facts: Box<JournalFacts>,
    },
    /// On a connection that follows: a segment of the group's history was sent to its end. The last that is said.
    SegmentEnded {
        /// Where it ended, and what follows.
        ended: SegmentEnded,
    },
    /// On a connection that follows: the journal is closed, or cannot be read.
    Ended {
        /// Why.
        error: CommandError,
    },
}

/// What a depositor wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Nothing, unless it is refused.
    Nothing,
    /// Its number, as soon as it has one.
    Number,
    /// Its answer.
    Answer,
}

/// One thing on the socket.
#[derive(Debug)]
pub(super) enum ControlFrame {
    Client(ClientMessage),
    Server(ServerMessage),
    /// A deposit, laid out by [`put_deposit`].
    Deposit(Bytes),
    /// An answer, laid out by [`put_answer`].
    Answer(Bytes),
    /// A receiver's id and a bundle of it.
    Bundle(ReceiverId, Bytes),
}

fn put_frame(out: &mut BytesMut, kind: u8, body: &[u8]) {
    out.put_u8(kind);
    out.put_u32_le(body.len() as u32);
    out.extend_from_slice(body);
}

/// Writes a message of a client.
pub(super) fn put_client(out: &mut BytesMut, message: &ClientMessage) -> Result<(), LinkError> {
    put_frame(out, CLIENT, &encode_message(message)?);
    Ok(())
}

/// Writes a message of the daemon.
pub(super) fn put_server(out: &mut BytesMut, message: &ServerMessage) -> Result<(), LinkError> {
    put_frame(out, SERVER, &encode_message(message)?);
    Ok(())
}

/// Writes a bundle.
pub(super) fn put_bundle(out: &mut BytesMut, receiver: ReceiverId, bundle: &[u8]) {
    out.reserve(HEAD_BYTES + 16 + bundle.len());
    out.put_u8(BUNDLE);
    out.put_u32_le((16 + bundle.len()) as u32);
    out.extend_from_slice(receiver.as_bytes());
    out.extend_from_slice(bundle);
}

/// Takes the next whole frame out of what was read, with a body of at most so many bytes; nothing when more must be read
/// first.
pub(super) fn take_frame(
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> Result<Option<ControlFrame>, LinkError> {
    let Some(head) = buffer.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let [kind, a, b, c, d] = *head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if length > bytes_max {
        return Err(LinkError::Malformed {
            reason: format!("a frame claims {length} bytes, at most {bytes_max} are allowed"),
        });
    }
    if buffer.len() < HEAD_BYTES + length {
        buffer.reserve(HEAD_BYTES + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEAD_BYTES);
    let mut body = buffer.split_to(length).freeze();
    Ok(Some(match kind {
        CLIENT => ControlFrame::Client(decode_message(&body)?),
        SERVER => ControlFrame::Server(decode_message(&body)?),
        DEPOSIT => ControlFrame::Deposit(body),
        ANSWER => ControlFrame::Answer(body),
        BUNDLE if length >= 16 => {
            let mut id = [0; 16];
            id.copy_from_slice(&body.split_to(16));
            ControlFrame::Bundle(ReceiverId::from_bytes(id), body)
        }
        _ => {
            return Err(LinkError::Malformed {
                reason: format!("a frame of unknown kind {kind}"),
            });
        }
    }))
}

/// A deposit on the socket.
#[derive(Debug)]
pub(super) struct DepositFrame<'a> {
    pub(super) id: u64,
    pub(super) want: Want,
    /// The next frame belongs to the same unit.
    pub(super) continues: bool,
    pub(super) draft: Draft<'a>,
}

/// Bytes of a deposit before its payload.
pub(super) const DEPOSIT_FIXED: usize = 8 + 1 + 1 + 3 + 1 + 16 + 8 + 8 + 4 + 2 + 24;

/// Writes a deposit. The actor is the connection's.
pub(super) fn put_deposit(
    out: &mut BytesMut,
    id: u64,
    want: Want,
    continues: bool,
    draft: &Draft<'_>,
) {
    out.reserve(HEAD_BYTES + DEPOSIT_FIXED + draft.payload.len());
    out.put_u8(DEPOSIT);
    out.put_u32_le((DEPOSIT_FIXED + draft.payload.len()) as u32);
    out.put_u64_le(id);
    out.put_u8(match want {
        Want::Nothing => 0,
        Want::Number => 1,
        Want::Answer => 2,
    });
    out.put_u8(u8::from(continues) | u8::from(draft.key.is_some()) << 1);
    out.extend_from_slice(&draft.kind.to_bytes());
    out.put_u8(draft.indicator);
    out.extend_from_slice(draft.object.as_bytes());
    out.put_u64_le(draft.count);
    out.put_u64_le(draft.cycle.get());
    out.put_u32_le(draft.format);
    out.put_u16_le(draft.flags.ignorable);
    let key = draft.key.unwrap_or(DepositKey {
        client: ClientId::NONE,
        key: 0,
    });
    out.extend_from_slice(key.client.as_bytes());
    out.put_u64_le(key.key);
    out.extend_from_slice(draft.payload);
}

/// Reads a deposit.
pub(super) fn read_deposit(body: &[u8]) -> Result<DepositFrame<'_>, LinkError> {
    let malformed = || LinkError::Malformed {
        reason: "a deposit is cut short or uses a reserved value".to_owned(),
    };
    let mut cursor = Cursor::new(body);
    let id = cursor.u64().ok_or_else(malformed)?;
    let want = match cursor.u8() {
        Some(0) => Want::Nothing,
        Some(1) => Want::Number,
        Some(2) => Want::Answer,
        _ => return Err(malformed()),
    };
    let flags = cursor
        .u8()
        .filter(|flags| *flags < 4)
        .ok_or_else(malformed)?;
    let code = cursor.u8().ok_or_else(malformed)?;
    let kind = Kind::new(code, cursor.array().ok_or_else(malformed)?).map_err(|_| malformed())?;
    let indicator = cursor.u8().ok_or_else(malformed)?;
    let object = ObjectId::from_bytes(cursor.array().ok_or_else(malformed)?);
    let count = cursor.u64().ok_or_else(malformed)?;
    let cycle = Sequence::new(cursor.u64().ok_or_else(malformed)?);
    let format = cursor.u32().ok_or_else(malformed)?;
    let ignorable = cursor.u16().ok_or_else(malformed)?;
    let client = ClientId::from_bytes(cursor.array().ok_or_else(malformed)?);
    let key = cursor.u64().ok_or_else(malformed)?;
    let draft = Draft {
        kind,
        object,
        count,
        cycle,
        format,
        flags: EntryFlags {
            must_understand: 0,
            ignorable,
        },
        indicator,
        key: (flags & 2 != 0).then_some(DepositKey { client, key }),
        actor: None,
        payload: cursor.rest(),
    };
    Ok(DepositFrame {
        id,
        want,
        continues: flags & 1 != 0,
        draft,
    })
}

/// What a depositor hears.
#[derive(Debug, Clone)]
pub(super) enum Heard {
    /// Its number, and whether it had landed before under its key.
    Numbered(Sequence, Again),
    /// Its answer, and whether it had landed before under its key.
    Answered(Answer, Again),
    /// It was refused before it got a number.
    Refused(CommandError),
}

/// Writes what a depositor hears.
pub(super) fn put_answer(out: &mut BytesMut, id: u64, heard: &Heard) -> Result<(), LinkError> {
    let (status, sequence, set, again) = match heard {
        Heard::Numbered(sequence, again) => (1, *sequence, Sequence::NONE, *again),
        Heard::Answered(
            Answer::Landed {
                sequence,
                class,
                set,
            },
            again,
        ) => {
            let status = match class {
                AckClass::Sync => 2,
                AckClass::Received => 3,
                AckClass::Local => 4,
            };
            (status, *sequence, *set, *again)
        }
        Heard::Answered(Answer::Refused { sequence }, again) => {
            (5, *sequence, Sequence::NONE, *again)
        }
        Heard::Answered(Answer::Unknown { sequence, why }, again) => {
            let status = match why {
                UnknownReason::Poisoned => 6,
                UnknownReason::Closed => 7,
                UnknownReason::NotReplicated => 8,
                UnknownReason::Deadline => 9,
            };
            (status, *sequence, Sequence::NONE, *again)
        }
        Heard::Refused(_) => (10, Sequence::NONE, Sequence::NONE, Again::No),
    };
    let text = match heard {
        Heard::Refused(error) => encode_message(error)?,
        _ => Vec::new(),
    };
    out.put_u8(ANSWER);
    out.put_u32_le((8 + 1 + 1 + 8 + 8 + 16 + text.len()) as u32);
    out.put_u64_le(id);
    out.put_u8(status);
    out.put_u8(u8::from(again.is_again()));
    out.put_u64_le(sequence.get());
    out.put_u64_le(set.get());
    let journal = again.journal().unwrap_or(JournalId::NONE);
    out.extend_from_slice(journal.as_bytes());
    out.extend_from_slice(&text);
    Ok(())
}

/// Reads what a depositor hears.
pub(super) fn read_answer(body: &[u8]) -> Result<(u64, Heard), LinkError> {
    let malformed = || LinkError::Malformed {
        reason: "an answer is cut short or uses a reserved value".to_owned(),
    };
    let mut cursor = Cursor::new(body);
    let id = cursor.u64().ok_or_else(malformed)?;
    let status = cursor.u8().ok_or_else(malformed)?;
    let again = cursor.u8().ok_or_else(malformed)? != 0;
    let sequence = Sequence::new(cursor.u64().ok_or_else(malformed)?);
    let set = Sequence::new(cursor.u64().ok_or_else(malformed)?);
    let journal = JournalId::from_bytes(cursor.array().ok_or_else(malformed)?);
    let again = match (again, journal.is_none()) {
        (false, _) => Again::No,
        (true, true) => Again::Here,
        (true, false) => Again::In(journal),
    };
    let landed = |class| {
        Heard::Answered(
            Answer::Landed {
                sequence,
                class,
                set,
            },
            again,
        )
    };
    let unknown = |why| Heard::Answered(Answer::Unknown { sequence, why }, again);
    let heard = match status {
        1 => Heard::Numbered(sequence, again),
        2 => landed(AckClass::Sync),
        3 => landed(AckClass::Received),
        4 => landed(AckClass::Local),
        5 => Heard::Answered(Answer::Refused { sequence }, again),
        6 => unknown(UnknownReason::Poisoned),
        7 => unknown(UnknownReason::Closed),
        8 => unknown(UnknownReason::NotReplicated),
        9 => unknown(UnknownReason::Deadline),
        10 => Heard::Refused(decode_message(cursor.rest())?),
        _ => return Err(malformed()),
    };
    Ok((id, heard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deposit_reads_back_as_it_was() {
        let key = DepositKey {
            client: ClientId::from_bytes([7; 16]),
            key: 9,
        };
        let draft = Draft {
            cycle: Sequence::new(5),
            count: 3,
            format: 2,
            key: Some(key),
            ..Draft::new(Kind::RECORD_PUT, b"row")
        };
        let mut out = BytesMut::new();
        put_deposit(&mut out, 11, Want::Answer, true, &draft);
        let Some(ControlFrame::Deposit(body)) = take_frame(&mut out, BODY_BYTES_MAX).unwrap()
        else {
            panic!("a deposit")
        };
        let read = read_deposit(&body).unwrap();
        assert_eq!(
            (read.id, read.want, read.continues),
            (11, Want::Answer, true)
        );
        assert_eq!(format!("{:?}", read.draft), format!("{draft:?}"));
        assert!(out.is_empty());
    }

    #[test]
    fn answers_read_back_as_they_were() {
        let landed = Heard::Answered(
            Answer::Landed {
                sequence: Sequence::new(4),
                class: AckClass::Sync,
                set: Sequence::new(2),
            },
            Again::Here,
        );
        let refused = Heard::Refused(CommandError::invalid("no"));
        let earlier = Again::In(JournalId::from_bytes([7; 16]));
        let numbered = |again| Heard::Numbered(Sequence::new(8), again);
        for heard in [landed, refused, numbered(Again::No), numbered(earlier)] {
            let mut out = BytesMut::new();
            put_answer(&mut out, 3, &heard).unwrap();
            let Some(ControlFrame::Answer(body)) = take_frame(&mut out, BODY_BYTES_MAX).unwrap()
            else {
                panic!("an answer")
            };
            let (id, read) = read_answer(&body).unwrap();
            assert_eq!((id, format!("{read:?}")), (3, format!("{heard:?}")));
        }
    }

    #[test]
    fn half_a_frame_is_waited_for_and_a_giant_one_refused() {
        let mut buffer = BytesMut::from(&[DEPOSIT, 10, 0, 0, 0, 1, 2][..]);
        assert!(take_frame(&mut buffer, BODY_BYTES_MAX).unwrap().is_none());
        let mut giant = BytesMut::from(&[DEPOSIT, 0xff, 0xff, 0xff, 0xff][..]);
        assert!(take_frame(&mut giant, BODY_BYTES_MAX).is_err());
        let mut unknown = BytesMut::from(&[77, 0, 0, 0, 0][..]);
        assert!(take_frame(&mut unknown, BODY_BYTES_MAX).is_err());
    }
}
