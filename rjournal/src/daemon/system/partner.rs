//! Room `daemon`, a system: partners are called: connected to, and asked outside a session. Must not know what an answer
//! means.

use std::time::Duration;

use bytes::Bytes;

use super::shared::Shared;
use crate::daemon::command::{CommandError, ErrorKind};
use crate::entry::RdbName;
use crate::entry::codec::{BUNDLE_BYTES_MAX, BUNDLE_HEADER_BYTES};
use crate::error::LinkError;
use crate::link::{LinkStream, Wired};
use crate::remote::{
    Frame, PartnerReply, PartnerRequest, RefusalCode, STORED_BYTES_MAX, SaveAnswer,
};

/// How long a partner may take to answer a request.
const ASK_MAX: Duration = Duration::from_secs(15);
/// How long it may take to send some megabytes over a slow line.
const STORED_MAX: Duration = Duration::from_mins(2);
/// How long a piece of a store save may take.
const PIECE_MAX: Duration = Duration::from_mins(1);

impl Shared {
    /// Connects to a partner.
    ///
    /// Cancel safe: yes.
    pub(crate) async fn dial(&self, rdb: RdbName) -> Result<LinkStream, LinkError> {
        let partner = self.catalog(|catalog| catalog.partners.get(&rdb).cloned());
        let Some(partner) = partner else {
            return Err(LinkError::NoPartner { rdb });
        };
        let Some(address) = partner.address else {
            return Err(LinkError::NoAddress { rdb });
        };
        let Some(endpoint) = self.endpoint() else {
            return Err(LinkError::NotCalling);
        };
        let resolved = tokio::net::lookup_host(&address).await;
        let mut addresses = resolved.map_err(|error| LinkError::Resolve {
            address: address.clone(),
            reason: error.to_string(),
        })?;
        match addresses.next() {
            Some(found) => endpoint.connect(found, partner.fingerprint).await,
            None => Err(LinkError::Resolve {
                address: address.clone(),
                reason: "no address has this name".to_owned(),
            }),
        }
    }

    /// Asks a partner something outside a session.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(crate) async fn ask_partner(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
    ) -> Result<PartnerReply, CommandError> {
        self.ask_partner_noting(rdb, request, || ()).await
    }

    /// The same; `reached` is called when there is a connection to it.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(crate) async fn ask_partner_noting(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
        reached: impl FnOnce(),
    ) -> Result<PartnerReply, CommandError> {
        let ask = async {
            let mut stream = self.dial(rdb).await?;
            reached();
            stream.send(&[Wired::Request(Box::new(request))]).await?;
            let answer = stream.receive().await?;
            stream.finish().await;
            Ok::<_, LinkError>(match answer {
                Some(Wired::Reply(reply)) => Some(*reply),
                _ => None,
            })
        };
        let reply = heard(rdb, tokio::time::timeout(ASK_MAX, ask).await)?;
        require_same_version(rdb, &reply)?;
        Ok(reply)
    }

    /// Asks a partner for bytes it has on its disk: the reply, and the frames behind it.
    ///
    /// Cancel safe: yes, nothing is changed there.
    pub(crate) async fn ask_for_stored(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
    ) -> Result<(PartnerReply, Vec<Frame>), CommandError> {
        let ask = async {
            let mut stream = self.dial(rdb).await?;
            stream.send(&[Wired::Request(Box::new(request))]).await?;
            let Some(Wired::Reply(reply)) = stream.receive().await? else {
                return Ok::<_, LinkError>(None);
            };
            let count = match &*reply {
                PartnerReply::Stored { frames } => *frames,
                _ => 0,
            };
            // No bundle is shorter than its header.
            if count as usize > STORED_BYTES_MAX / BUNDLE_HEADER_BYTES {
                return Ok(None);
            }
            let (mut frames, mut bytes) = (Vec::new(), 0);
            for _ in 0..count {
                let Some(Wired::Session(frame)) = stream.receive().await? else {
                    return Ok(None);
                };
                if let Frame::Bundle(body) | Frame::Header(body) = &frame {
                    bytes += body.len();
                }
                // One bundle may be as long as a bundle may be; the others are what was asked for.
                if bytes > STORED_BYTES_MAX + BUNDLE_BYTES_MAX {
                    return Ok(None);
                }
                frames.push(frame);
            }
            stream.finish().await;
            Ok(Some((*reply, frames)))
        };
        let (reply, frames) = heard(rdb, tokio::time::timeout(STORED_MAX, ask).await)?;
        require_same_version(rdb, &reply)?;
        Ok((reply, frames))
    }
}

/// Pieces of a store save on their way from a partner. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct PieceStream {
    rdb: RdbName,
    stream: LinkStream,
    left: u32,
}

impl PieceStream {
    /// The next piece; nothing behind the last.
    ///
    /// Cancel safe: no, drop the stream then.
    ///
    /// # Errors
    /// When none comes for a while, or something else does.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, CommandError> {
        if self.left == 0 {
            return Ok(None);
        }
        let received = async {
            Ok(match self.stream.receive().await? {
                Some(Wired::Piece(piece)) => Some(piece),
                _ => None,
            })
        };
        let piece = heard(self.rdb, tokio::time::timeout(PIECE_MAX, received).await)?;
        self.left -= 1;
        Ok(Some(piece))
    }
}

impl Shared {
    /// Asks a partner for pieces of a store save: the reply, and the pieces behind it where it announces any. More than
    /// `count` are not taken.
    ///
    /// Cancel safe: yes, nothing is changed there.
    pub(crate) async fn ask_for_pieces(
        &self,
        rdb: RdbName,
        request: PartnerRequest,
        count: u32,
    ) -> Result<(PartnerReply, PieceStream), CommandError> {
        let ask = async {
            let mut stream = self.dial(rdb).await?;
            stream.send(&[Wired::Request(Box::new(request))]).await?;
            Ok(match stream.receive().await? {
                Some(Wired::Reply(reply)) => Some((*reply, stream)),
                _ => None,
            })
        };
        let (reply, stream) = heard(rdb, tokio::time::timeout(ASK_MAX, ask).await)?;
        require_same_version(rdb, &reply)?;
        let left = match &reply {
            PartnerReply::Save(SaveAnswer::Pieces { count: sent }) => count.min(*sent),
            _ => 0,
        };
        Ok((reply, PieceStream { rdb, stream, left }))
    }
}

/// A partner of another version says nothing of what it was asked for, so this is no answer for who asked.
fn require_same_version(rdb: RdbName, reply: &PartnerReply) -> Result<(), CommandError> {
    match reply {
        PartnerReply::Refused(refusal) if refusal.code == RefusalCode::Version => {
            let text = format!("{rdb} refused: {}", refusal.text);
            Err(CommandError::refused("CPF70D5", text))
        }
        _ => Ok(()),
    }
}

/// What came of asking.
fn heard<T>(
    rdb: RdbName,
    asked: Result<Result<Option<T>, LinkError>, tokio::time::error::Elapsed>,
) -> Result<T, CommandError> {
    let help = format!(
        "WRKRDBDIRE shows the entry; is {rdb} running, and does it know this system's key (DSPSYSID)?"
    );
    match asked {
        Ok(Ok(Some(answer))) => Ok(answer),
        Ok(Ok(None)) => Err(CommandError::new(
            ErrorKind::Unreachable,
            "CPF70C5",
            format!("{rdb} gave no answer"),
        )
        .help(help)),
        Ok(Err(error @ LinkError::NoPartner { .. })) => Err(CommandError::new(
            ErrorKind::NotFound,
            "CPF9801",
            error.to_string(),
        )),
        Ok(Err(error)) => Err(CommandError::from(error).help(help)),
        Err(_) => Err(CommandError::new(
            ErrorKind::Unreachable,
            "CPF70C5",
            format!("{rdb} did not answer in time"),
        )
        .help(help)),
    }
}
