//! Room `link`: the QUIC endpoint of a system: it dials partners and accepts them. One connection carries one session or
//! one request, so that a small commit never waits behind bulk traffic of another link. Must not know journals.
//! Settings: failures.md section 5.3.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, IdleTimeout, MtuDiscoveryConfig, RecvStream, SendStream,
    ServerConfig, TransportConfig, TransportErrorCode, VarInt,
};

use super::frame::{self, HEAD_BYTES, Wired};
use super::reset::endpoint_config;
use super::tls::{ALPN, Fingerprint, Identity, Partners, peer_fingerprint};
use crate::error::LinkError;

/// A connection on which nothing is heard for this long is gone.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The dialing side shows that it is there this often.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A handshake, and the first stream after it, may take this long.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// The alert of TLS that says that no version of the protocol is common (RFC 7301, section 3.2).
const NO_APPLICATION_PROTOCOL: u8 = 120;
/// How long an endpoint that is closed waits for its connections to end in order.
const IDLE_WAIT_MAX: Duration = Duration::from_secs(1);
/// An address that is not free after this long is held by somebody else.
const FREE_MAX: Duration = Duration::from_secs(2);
/// Bytes one side may send before the other has read them.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Where the path carries more than Ethernet's 1500 bytes, datagrams grow up to this: each costs the same to seal and to
/// open. Ten of them, as many as are handed to the kernel at once, must stay below 64 KiB, or it takes none.
const DATAGRAM_BYTES_MAX: u16 = 6500;
/// Handshakes under way at once before addresses are validated.
const INCOMING_MAX: usize = 64;

/// One system's end of all its connections.
#[derive(Debug, Clone)]
pub struct LinkEndpoint {
    endpoint: Endpoint,
    identity: Identity,
    transport: Arc<TransportConfig>,
}

/// A connection that was accepted, and who is at its other end.
#[derive(Debug)]
pub struct Accepted {
    /// Key of the partner.
    pub fingerprint: Fingerprint,
    /// Where it comes from.
    pub address: SocketAddr,
    /// Its stream.
    pub stream: LinkStream,
}

impl LinkEndpoint {
    /// Binds the endpoint. `partners` says whose keys are admitted, and is asked at every handshake.
    ///
    /// # Errors
    /// [`LinkError::Bind`] when the address cannot be had.
    pub fn bind(
        address: SocketAddr,
        identity: Identity,
        partners: Arc<dyn Partners>,
    ) -> Result<Self, LinkError> {
        let transport = Arc::new(transport());
        let tls = identity.server_config(partners)?;
        let crypto = QuicServerConfig::try_from(tls).map_err(|error| LinkError::Identity {
            reason: error.to_string(),
        })?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config
            .transport_config(Arc::clone(&transport))
            .migration(false)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(64 * 1024)
            .incoming_buffer_size_total(4 * 1024 * 1024)
            .retry_token_lifetime(Duration::from_secs(5));
        let bound = std::net::UdpSocket::bind(address).and_then(|socket| {
            let runtime = Arc::new(quinn::TokioRuntime);
            let mut endpoint = endpoint_config(&identity);
            endpoint
                .max_udp_payload_size(DATAGRAM_BYTES_MAX)
                .map_err(std::io::Error::other)?;
            Endpoint::new(endpoint, Some(config), socket, runtime)
        });
        let endpoint = bound.map_err(|source| LinkError::Bind { address, source })?;
        Ok(Self {
            endpoint,
            identity,
            transport,
        })
    }

    /// The address it listens on.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Connects to a partner and opens the stream.
    ///
    /// Cancel safe: yes, the connection is dropped with the future.
    ///
    /// # Errors
    /// [`LinkError::Connect`] when it does not answer, or is not who it should be.
    pub async fn connect(
        &self,
        address: SocketAddr,
        partner: Fingerprint,
    ) -> Result<LinkStream, LinkError> {
        let tls = self.identity.client_config(partner)?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| LinkError::Identity {
            reason: error.to_string(),
        })?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.transport));
        let failed = |reason: String| LinkError::Connect { address, reason };
        let connecting = self
            .endpoint
            .connect_with(config, address, "rjournal")
            .map_err(|error| failed(error.to_string()))?;
        let connected = tokio::time::timeout(HANDSHAKE_MAX, async {
            let connection = connecting
                .await
                .map_err(|error| failed(connect_reason(&error)))?;
            let (send, receive) = connection
                .open_bi()
                .await
                .map_err(|error| failed(error.to_string()))?;
            Ok(LinkStream {
                connection,
                send,
                receive,
            })
        });
        connected
            .await
            .map_err(|_| failed(format!("no answer within {} s", HANDSHAKE_MAX.as_secs())))?
    }

    /// Accepts the next connection attempt; nothing when the endpoint is closed. The handshake goes on in the future that
    /// is given, so that a slow peer holds nobody up.
    ///
    /// Cancel safe: yes.
    pub async fn accept(
        &self,
    ) -> Option<impl Future<Output = Result<Accepted, LinkError>> + Send + 'static + use<>> {
        let incoming = self.endpoint.accept().await?;
        let crowded = self.endpoint.open_connections() > INCOMING_MAX;
        Some(async move {
            let address = incoming.remote_address();
            let failed = |reason: String| LinkError::Connect { address, reason };
            if crowded && !incoming.remote_address_validated() {
                incoming
                    .retry()
                    .map_err(|error| failed(error.to_string()))?;
                return Err(failed("asked to prove its address".to_owned()));
            }
            let handshake = tokio::time::timeout(HANDSHAKE_MAX, async {
                let connection = incoming
                    .accept()
                    .map_err(|error| failed(error.to_string()))?
                    .await;
                let connection = connection.map_err(|error| failed(error.to_string()))?;
                let fingerprint = peer_fingerprint(connection.peer_identity())
                    .ok_or_else(|| failed("no key".to_owned()))?;
                let (send, receive) = connection
                    .accept_bi()
                    .await
                    .map_err(|error| failed(error.to_string()))?;
                Ok(Accepted {
                    fingerprint,
                    address,
                    stream: LinkStream {
                        connection,
                        send,
                        receive,
                    },
                })
            });
            handshake
                .await
                .map_err(|_| failed("the handshake took too long".to_owned()))?
        })
    }

    /// Closes everything, and comes back when the last bytes are out and the address is free for another process.
    ///
    /// Cancel safe: yes.
    pub async fn release(self) {
        let address = self.endpoint.local_addr();
        self.endpoint.close(VarInt::from_u32(0), b"stopping");
        let idle = self.endpoint.wait_idle();
        if tokio::time::timeout(IDLE_WAIT_MAX, idle).await.is_err() {
            self.leave_address();
        }
        drop(self);
        // The socket goes with the endpoint's driver, a moment after its last handle.
        let free = async {
            while address
                .as_ref()
                .is_ok_and(|address| std::net::UdpSocket::bind(address).is_err())
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _free = tokio::time::timeout(FREE_MAX, free).await;
    }

    /// A connection that was still being made, or whose partner is slow, keeps the endpoint for seconds after it was closed:
    /// it goes on without the address. quinn keeps the socket it had before until it hears something, so it is given two.
    fn leave_address(&self) {
        for _ in 0..2 {
            let other = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
            if let Err(error) = other.and_then(|socket| self.endpoint.rebind(socket)) {
                tracing::debug!(%error, "the address cannot be given back before the endpoint ends");
            }
        }
    }
}

fn connect_reason(error: &quinn::ConnectionError) -> String {
    match error {
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::crypto(NO_APPLICATION_PROTOCOL) =>
        {
            format!(
                "it does not speak {ALPN}, the protocol of this system: both must be of the same release"
            )
        }
        quinn::ConnectionError::TransportError(inner)
            if inner.to_string().contains("certificate") =>
        {
            format!("its key is not the one in the directory, or it does not know ours ({inner})")
        }
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            "it takes no connections now: it is stopping, or has too many".to_owned()
        }
        quinn::ConnectionError::ConnectionClosed(close) => {
            format!(
                "it closed the connection, most likely because it does not know our key ({})",
                close.error_code
            )
        }
        quinn::ConnectionError::TimedOut => "no answer".to_owned(),
        other => other.to_string(),
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(DATAGRAM_BYTES_MAX);
    transport
        .mtu_discovery_config(Some(discovery))
        .max_concurrent_bidi_streams(VarInt::from_u32(4))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(
            IDLE_MAX.as_millis() as u32,
        ))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(2 * STREAM_WINDOW))
        .send_window(u64::from(2 * STREAM_WINDOW))
        .datagram_receive_buffer_size(None)
        .allow_spin(false);
    transport
}

/// One stream of one connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct LinkStream {
    connection: Connection,
    send: SendStream,
    receive: RecvStream,
}

/// The sending half.
#[derive(Debug)]
pub struct LinkSender {
    connection: Connection,
    send: SendStream,
}

/// The receiving half.
#[derive(Debug)]
pub struct LinkReceiver {
    receive: RecvStream,
}

impl LinkStream {
    /// Takes the two halves apart, for two tasks.
    pub fn split(self) -> (LinkSender, LinkReceiver) {
        (
            LinkSender {
                connection: self.connection,
                send: self.send,
            },
            LinkReceiver {
                receive: self.receive,
            },
        )
    }

    /// Sends frames.
    ///
    /// Cancel safe: no, a frame may be half sent; close the connection then.
    ///
    /// # Errors
    /// [`LinkError::Broken`] when the connection is gone.
    pub async fn send(&mut self, frames: &[Wired]) -> Result<(), LinkError> {
        send(&mut self.send, frames).await
    }

    /// Reads the next frame; nothing when the other side has finished.
    ///
    /// Cancel safe: no, a frame may be half read; close the connection then.
    ///
    /// # Errors
    /// [`LinkError::Broken`] when the connection is gone, [`LinkError::Malformed`] when the bytes are no frame.
    pub async fn receive(&mut self) -> Result<Option<Wired>, LinkError> {
        receive(&mut self.receive).await
    }

    /// Ends the stream in order: what was sent arrives before the connection is closed.
    ///
    /// Cancel safe: yes, but then it may not arrive.
    pub async fn finish(mut self) {
        finish(&self.connection, &mut self.send).await;
    }
}

impl LinkSender {
    /// As [`LinkStream::send`].
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// As [`LinkStream::send`].
    pub async fn send(&mut self, frames: &[Wired]) -> Result<(), LinkError> {
        send(&mut self.send, frames).await
    }

    /// As [`LinkStream::finish`].
    ///
    /// Cancel safe: yes, but then what was sent may not arrive.
    pub async fn finish(mut self) {
        finish(&self.connection, &mut self.send).await;
    }

    /// Closes the connection at once.
    pub fn close(&self) {
        self.connection.close(VarInt::from_u32(0), b"closed");
    }
}

impl LinkReceiver {
    /// As [`LinkStream::receive`].
    ///
    /// Cancel safe: no.
    ///
    /// # Errors
    /// As [`LinkStream::receive`].
    pub async fn receive(&mut self) -> Result<Option<Wired>, LinkError> {
        receive(&mut self.receive).await
    }
}

async fn send(stream: &mut SendStream, frames: &[Wired]) -> Result<(), LinkError> {
    let mut chunks = frame::lay_out(frames)?;
    stream
        .write_all_chunks(&mut chunks)
        .await
        .map_err(|error| LinkError::Broken {
            reason: error.to_string(),
        })
}

async fn finish(connection: &Connection, stream: &mut SendStream) {
    if stream.finish().is_ok() {
        // The other side has read everything, or will not; either way the connection can go.
        let _stopped = tokio::time::timeout(Duration::from_secs(1), stream.stopped()).await;
    }
    connection.close(VarInt::from_u32(0), b"finished");
}

async fn receive(stream: &mut RecvStream) -> Result<Option<Wired>, LinkError> {
    let broken = |error: quinn::ReadExactError| LinkError::Broken {
        reason: error.to_string(),
    };
    let mut head = [0; HEAD_BYTES];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(quinn::ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(broken(error)),
    }
    let mut body = vec![0; frame::body_length(head)?];
    stream.read_exact(&mut body).await.map_err(broken)?;
    frame::decode(head[0], Bytes::from(body)).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::PROTOCOL_VERSION;

    #[derive(Debug)]
    struct Everybody;

    impl Partners for Everybody {
        fn admits(&self, _: &Fingerprint) -> bool {
            true
        }
    }

    fn identity() -> Identity {
        Identity::generate("A").unwrap().0
    }

    fn own() -> LinkEndpoint {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        LinkEndpoint::bind(address, identity(), Arc::new(Everybody)).unwrap()
    }

    #[test]
    fn the_handshake_names_the_version_of_the_protocol() {
        assert_eq!(ALPN, format!("rjournal/{PROTOCOL_VERSION}"));
    }

    /// Such a partner was once said not to know our key.
    #[tokio::test]
    async fn a_partner_of_another_version_is_told_from_one_that_does_not_know_us() {
        let partner = identity();
        let mut tls = partner.server_config(Arc::new(Everybody)).unwrap();
        tls.alpn_protocols = vec![b"rjournal/2".to_vec()];
        let crypto = Arc::new(QuicServerConfig::try_from(tls).unwrap());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let newer = Endpoint::server(ServerConfig::with_crypto(crypto), address).unwrap();
        let accepting = async {
            let incoming = newer.accept().await.unwrap();
            incoming.await.map(drop).unwrap_err()
        };
        let own = own();
        let connecting = own.connect(newer.local_addr().unwrap(), partner.fingerprint());
        let (refused, _) = tokio::join!(connecting, accepting);
        let text = refused.map(drop).unwrap_err().to_string();
        assert!(text.contains("does not speak rjournal/1"), "{text}");
        assert!(text.contains("same release"), "{text}");
    }
}
