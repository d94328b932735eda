//! Room `link`: frames on a stream: one byte that says what it is, four bytes of length, then the body. Every length is
//! checked before anything is allocated. Messages are MessagePack with named fields; receiver headers, bundles
//! and pieces of a store save travel as they stand on disk. Must not know what a message means. Layout: docs/PROTOCOL.md.

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::entry::RECEIVER_HEADER_BYTES;
use crate::entry::codec::BUNDLE_BYTES_MAX;
use crate::error::LinkError;
use crate::remote::{Frame, Message, PIECE_BYTES, PROTOCOL_VERSION, PartnerReply, PartnerRequest};

/// Longest body of a frame, in bytes.
pub const FRAME_BYTES_MAX: usize = BUNDLE_BYTES_MAX;
/// Longest message, in bytes.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes before a body.
pub(super) const HEAD_BYTES: usize = 5;
/// Bodies up to this length are copied behind their neighbours rather than sent apart.
const COPIED_BYTES_MAX: usize = 16 * 1024;

const MESSAGE: u8 = 1;
const HEADER: u8 = 2;
const BUNDLE: u8 = 3;
const REQUEST: u8 = 4;
const REPLY: u8 = 5;
const PIECE: u8 = 6;

/// What can stand on a stream between two systems.
#[derive(Debug, Clone, PartialEq)]
pub enum Wired {
    /// Part of a session.
    Session(Frame),
    /// A request outside a session.
    Request(Box<PartnerRequest>),
    /// A request of another version of the protocol, whatever it asks.
    OtherVersion {
        /// That version.
        protocol: u16,
    },
    /// The answer to one.
    Reply(Box<PartnerReply>),
    /// A piece of a store save, behind the reply that announces it.
    Piece(Bytes),
}

/// The version of a request. It stands beside what is asked, in every version.
#[derive(Serialize, Deserialize)]
struct RequestVersion {
    protocol: u16,
}

/// A request as it travels.
#[derive(Serialize, Deserialize)]
struct VersionedRequest<R> {
    protocol: u16,
    request: R,
}

/// Writes a message as MessagePack with named fields.
///
/// # Errors
/// [`LinkError::Encode`] when it has no such form.
pub fn encode_message<T: Serialize>(message: &T) -> Result<Vec<u8>, LinkError> {
    rmp_serde::to_vec_named(message).map_err(|error| LinkError::Encode {
        reason: error.to_string(),
    })
}

/// Reads a message nobody has checked yet; bytes left over are an error.
///
/// # Errors
/// [`LinkError::Malformed`].
pub fn decode_message<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LinkError> {
    let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    let message = T::deserialize(&mut deserializer).map_err(|error| LinkError::Malformed {
        reason: error.to_string(),
    })?;
    if deserializer.position() == bytes.len() as u64 {
        Ok(message)
    } else {
        Err(LinkError::Malformed {
            reason: "bytes are left over behind a message".to_owned(),
        })
    }
}

/// Lays frames out for sending: small bodies are put behind each other, large ones go as they are, without a copy.
pub(super) fn lay_out(frames: &[Wired]) -> Result<Vec<Bytes>, LinkError> {
    let mut chunks = Vec::new();
    let mut small = BytesMut::new();
    for frame in frames {
        let (kind, body) = body(frame)?;
        small.put_u8(kind);
        small.put_u32_le(body.len() as u32);
        if body.len() <= COPIED_BYTES_MAX {
            small.extend_from_slice(&body);
        } else {
            chunks.push(small.split().freeze());
            chunks.push(body);
        }
    }
    if !small.is_empty() {
        chunks.push(small.freeze());
    }
    Ok(chunks)
}

fn body(frame: &Wired) -> Result<(u8, Bytes), LinkError> {
    Ok(match frame {
        Wired::Session(Frame::Message(message)) => (MESSAGE, encode_message(message)?.into()),
        Wired::Session(Frame::Header(bytes)) => (HEADER, bytes.clone()),
        Wired::Session(Frame::Bundle(bytes)) => (BUNDLE, bytes.clone()),
        Wired::Request(request) => {
            let protocol = PROTOCOL_VERSION;
            let versioned = VersionedRequest { protocol, request };
            (REQUEST, encode_message(&versioned)?.into())
        }
        Wired::OtherVersion { protocol } => {
            let protocol = *protocol;
            (
                REQUEST,
                encode_message(&RequestVersion { protocol })?.into(),
            )
        }
        Wired::Reply(reply) => (REPLY, encode_message(reply)?.into()),
        Wired::Piece(bytes) => (PIECE, bytes.clone()),
    })
}

/// The length of the body that follows a head, if a body of that kind may be so long.
pub(super) fn body_length(head: [u8; HEAD_BYTES]) -> Result<usize, LinkError> {
    let [kind, a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let length_max = match kind {
        MESSAGE | REQUEST | REPLY => MESSAGE_BYTES_MAX,
        HEADER => RECEIVER_HEADER_BYTES,
        BUNDLE => FRAME_BYTES_MAX,
        PIECE => PIECE_BYTES as usize,
        _ => {
            return Err(LinkError::Malformed {
                reason: format!("a frame of unknown kind {kind}"),
            });
        }
    };
    if length <= length_max {
        Ok(length)
    } else {
        Err(LinkError::Malformed {
            reason: format!(
                "a frame of kind {kind} claims {length} bytes, at most {length_max} are allowed"
            ),
        })
    }
}

/// Reads a frame from its head's kind and its body.
pub(super) fn decode(kind: u8, body: Bytes) -> Result<Wired, LinkError> {
    Ok(match kind {
        MESSAGE => Wired::Session(Frame::Message(decode_message::<Message>(&body)?)),
        HEADER => Wired::Session(Frame::Header(body)),
        BUNDLE => Wired::Session(Frame::Bundle(body)),
        REQUEST => decode_request(&body)?,
        REPLY => Wired::Reply(Box::new(decode_message(&body)?)),
        PIECE => Wired::Piece(body),
        _ => {
            return Err(LinkError::Malformed {
                reason: format!("a frame of unknown kind {kind}"),
            });
        }
    })
}

/// The version is read first: what is asked may be laid out otherwise in another one.
fn decode_request(body: &[u8]) -> Result<Wired, LinkError> {
    let RequestVersion { protocol } = decode_message(body)?;
    if protocol != PROTOCOL_VERSION {
        return Ok(Wired::OtherVersion { protocol });
    }
    let VersionedRequest { request, .. } = decode_message(body)?;
    Ok(Wired::Request(request))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Sequence;

    fn joined(frames: &[Wired]) -> Vec<u8> {
        lay_out(frames).unwrap().concat()
    }

    #[test]
    fn frames_read_back_in_order_small_and_large() {
        let frames = vec![
            Wired::Session(Frame::Message(Message::Confirm {
                upto: Sequence::new(7),
            })),
            Wired::Session(Frame::Bundle(vec![1; 100].into())),
            Wired::Session(Frame::Bundle(vec![2; 100_000].into())),
            Wired::Session(Frame::Header(vec![3; 4096].into())),
            Wired::Piece(vec![4; PIECE_BYTES as usize].into()),
        ];
        let bytes = joined(&frames);
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let head: [u8; HEAD_BYTES] = bytes[at..at + HEAD_BYTES].try_into().unwrap();
            let length = body_length(head).unwrap();
            let body = Bytes::copy_from_slice(&bytes[at + HEAD_BYTES..at + HEAD_BYTES + length]);
            found.push(decode(head[0], body).unwrap());
            at += HEAD_BYTES + length;
        }
        assert_eq!(found, frames);
    }

    #[test]
    fn a_length_beyond_its_kind_is_refused_before_anything_is_read() {
        assert!(body_length([MESSAGE, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(body_length([HEADER, 1, 0x10, 0, 0]).is_err());
        assert!(body_length([PIECE, 1, 0, 0x10, 0]).is_err());
        assert!(body_length([9, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_request_names_its_version_and_one_of_another_is_known_by_it_alone() {
        let ping = Wired::Request(Box::new(PartnerRequest::Ping));
        let bytes = joined(std::slice::from_ref(&ping));
        assert_eq!(
            &bytes[HEAD_BYTES..],
            b"\x82\xa8protocol\x01\xa7request\xa4ping"
        );
        let body = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        assert_eq!(decode(REQUEST, body(&bytes[HEAD_BYTES..])).unwrap(), ping);
        let newer = decode(REQUEST, body(b"\x82\xa8protocol\x02\xa7request\xa4fuse"));
        assert_eq!(newer.unwrap(), Wired::OtherVersion { protocol: 2 });
        assert!(decode(REQUEST, body(b"\x82\xa8protocol\x01\xa7request\xa4fuse")).is_err());
        assert!(decode(REQUEST, body(b"\x81\xa7request\xa4ping")).is_err());
    }

    #[test]
    fn bytes_behind_a_message_are_an_error() {
        let mut bytes = encode_message(&Message::Confirm {
            upto: Sequence::new(7),
        })
        .unwrap();
        assert!(decode_message::<Message>(&bytes).is_ok());
        bytes.push(0xc0);
        assert!(decode_message::<Message>(&bytes).is_err());
    }
}
