//! Package `cli`, the benchmark: a stretch of wire in front of a system: what partners send to it comes by here, is counted, and
//! is dropped while the wire is pulled. Must not know what it carries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use crate::error::CliError;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Whoever calls comes from one address; some more for connections of a moment.
const CALLERS_MAX: usize = 256;

#[derive(Debug, Default)]
struct Wire {
    bytes: AtomicU64,
    pulled: AtomicBool,
}

impl Wire {
    /// Whether a datagram gets through; counted then, both ways alike.
    fn carries(&self, bytes: usize) -> bool {
        let carries = !self.pulled.load(Ordering::Relaxed);
        if carries {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        carries
    }
}

/// One wire.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    wire: Arc<Wire>,
    task: AbortHandle,
}

impl Relay {
    /// Lays a wire that ends at an address.
    pub(super) async fn lay(to: SocketAddr) -> Result<Self, CliError> {
        let socket = UdpSocket::bind("127.0.0.1:0").await;
        let socket = socket.map_err(|error| CliError::internal(&error))?;
        let address = socket
            .local_addr()
            .map_err(|error| CliError::internal(&error))?;
        let wire = Arc::new(Wire::default());
        let task = tokio::spawn(carry(Arc::new(socket), to, Arc::clone(&wire)));
        Ok(Self {
            address,
            wire,
            task: task.abort_handle(),
        })
    }

    /// Where it begins.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What came through so far, in bytes of datagrams, both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.wire.bytes.load(Ordering::Relaxed)
    }

    /// Pulls it, or puts it back.
    pub(super) fn pull(&self, pulled: bool) {
        self.wire.pulled.store(pulled, Ordering::Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries until it is ended. Each caller gets a socket of its own towards the end, so that answers find their way.
async fn carry(socket: Arc<UdpSocket>, to: SocketAddr, wire: Arc<Wire>) {
    let mut ways: HashMap<SocketAddr, (Arc<UdpSocket>, Ended)> = HashMap::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // Nobody at the other end, for now: that comes back as an error.
        let Ok((bytes, from)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        if !ways.contains_key(&from) {
            if ways.len() >= CALLERS_MAX {
                ways.clear();
            }
            let Ok(way) = UdpSocket::bind("127.0.0.1:0").await else {
                continue;
            };
            let way = Arc::new(way);
            let back = carry_back(
                Arc::clone(&way),
                Arc::clone(&socket),
                from,
                Arc::clone(&wire),
            );
            let ended = Ended(tokio::spawn(back).abort_handle());
            ways.insert(from, (way, ended));
        }
        if let Some((way, _)) = ways.get(&from).filter(|_| wire.carries(bytes)) {
            drop(way.send_to(&datagram[..bytes], to).await);
        }
    }
}

async fn carry_back(way: Arc<UdpSocket>, socket: Arc<UdpSocket>, to: SocketAddr, wire: Arc<Wire>) {
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((bytes, _)) = way.recv_from(&mut datagram).await else {
            continue;
        };
        if wire.carries(bytes) {
            drop(socket.send_to(&datagram[..bytes], to).await);
        }
    }
}

/// A task that ends with this.
#[derive(Debug)]
struct Ended(AbortHandle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.abort();
    }
}
