//! Room `daemon`, the control socket: how a connection begins: each end says which version it speaks. The client goes on at
//! once, without waiting for the daemon's word; where the two differ, that word is the daemon's last. Must not know what is
//! said afterwards.

use bytes::BytesMut;

use super::frame::{
    ClientMessage, ControlFrame, ServerMessage, put_client, put_server, take_frame,
};
use crate::daemon::command::{CommandError, ErrorKind};
use crate::error::LinkError;
use crate::link::{HELLO_BYTES_MAX, OtherVersion};

/// Version of what is said on the socket. Each end names its own first, and understands no other.
pub(super) const PROTOCOL: u32 = 1;

const WAY_OUT: &str = "both must be of the same release: restart the daemon with the newer one";

/// Writes what a client says first.
pub(super) fn put_client_hello(out: &mut BytesMut) -> Result<(), LinkError> {
    put_client(out, &ClientMessage::Hello { protocol: PROTOCOL })
}

/// Takes what a client said first; nothing when more must be read. Whatever is not a hello is as good as none: a program of
/// another kind says something.
pub(super) fn take_client_hello(input: &mut BytesMut) -> Result<Option<()>, OtherVersion> {
    let client = match take_frame(input, HELLO_BYTES_MAX) {
        Ok(None) => return Ok(None),
        Ok(Some(ControlFrame::Client(ClientMessage::Hello { protocol }))) => Some(protocol),
        Ok(Some(_)) | Err(_) => None,
    };
    OtherVersion::check(PROTOCOL, client).map(Some)
}

/// Writes what the daemon says first: its version, and why it says nothing more.
pub(super) fn put_server_hello(
    out: &mut BytesMut,
    refused: Option<OtherVersion>,
) -> Result<(), LinkError> {
    let refused = refused.map(|versions| format!("{}: {WAY_OUT}", in_words(versions)));
    put_server(
        out,
        &ServerMessage::Hello {
            protocol: PROTOCOL,
            refused,
        },
    )
}

/// Takes what the daemon said first; nothing when more must be read.
pub(super) fn take_server_hello(input: &mut BytesMut) -> Result<Option<()>, CommandError> {
    let (protocol, refused) = match take_frame(input, HELLO_BYTES_MAX) {
        Ok(None) => return Ok(None),
        Ok(Some(ControlFrame::Server(ServerMessage::Hello { protocol, refused }))) => {
            (protocol, refused)
        }
        Ok(Some(_)) | Err(_) => {
            let text = "what serves the socket did not say its version first: it is no daemon of this program";
            return Err(CommandError::refused("RJN1009", text).help(WAY_OUT));
        }
    };
    let text = match (OtherVersion::check(protocol, Some(PROTOCOL)), refused) {
        (Err(versions), _) => in_words(versions),
        (Ok(()), Some(refused)) => refused,
        (Ok(()), None) => return Ok(Some(())),
    };
    Err(CommandError::refused("RJN1009", text).help(WAY_OUT))
}

/// The daemon closed the connection before it said anything.
pub(super) fn without_a_word() -> CommandError {
    CommandError::new(
        ErrorKind::Unreachable,
        "RJN1006",
        "the daemon closed the connection without a word",
    )
    .help("it is stopping, serves as many connections as it may, or is of another release: then restart it")
}

fn in_words(versions: OtherVersion) -> String {
    format!(
        "the daemon speaks {}",
        versions.of("the control socket's protocol", "the program")
    )
}
