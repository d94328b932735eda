//! Package `tests`: the lines between whole systems, which a test cuts, holds and mends: what one system sends to another's address
//! goes through a relay of its own on loopback. Must not know what is sent.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

const DATAGRAM_MAX: usize = 65_536;

/// What becomes of datagrams on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// They arrive.
    Open,
    /// They wait, as many as the machine keeps for a socket, and arrive when it is open again: a system that is paused.
    Held,
    /// They are lost.
    Cut,
}

/// The line over which one system reaches another, and is answered.
#[derive(Debug)]
pub struct Relay {
    /// Whoever calls calls this port.
    pub port: u16,
    there: watch::Sender<Line>,
    back: watch::Sender<Line>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Relay {
    /// A line to a port of this machine.
    pub async fn to(port: u16) -> Self {
        let front = UdpSocket::bind(loopback(0)).await.expect("a free port");
        let own = front.local_addr().expect("it is bound").port();
        let (there, out) = watch::channel(Line::Open);
        let (back, home) = watch::channel(Line::Open);
        let task = tokio::spawn(carry(Arc::new(front), loopback(port), out, home));
        Self {
            port: own,
            there,
            back,
            task,
        }
    }

    /// Changes what becomes of datagrams, both ways.
    pub fn set(&self, line: Line) {
        self.there.send_replace(line);
        self.back.send_replace(line);
    }

    /// Changes what becomes of answers alone.
    pub fn set_back(&self, line: Line) {
        self.back.send_replace(line);
    }
}

/// Says whether a datagram goes on; waits while the line is held.
async fn passes(line: &mut watch::Receiver<Line>) -> bool {
    match line.wait_for(|line| *line != Line::Held).await {
        Ok(line) => *line == Line::Open,
        Err(_) => false,
    }
}

async fn carry(
    front: Arc<UdpSocket>,
    target: SocketAddr,
    mut there: watch::Receiver<Line>,
    home: watch::Receiver<Line>,
) {
    let mut callers: BTreeMap<SocketAddr, Arc<UdpSocket>> = BTreeMap::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        // A port that nobody has at the moment is an error of the datagram, not of the line.
        let Ok((length, caller)) = front.recv_from(&mut datagram).await else {
            continue;
        };
        if !passes(&mut there).await {
            continue;
        }
        let back = if let Some(back) = callers.get(&caller) {
            Arc::clone(back)
        } else {
            let back = UdpSocket::bind(loopback(0)).await.expect("a free port");
            back.connect(target).await.expect("an address of loopback");
            let back = Arc::new(back);
            answers.spawn(answer(
                Arc::clone(&front),
                Arc::clone(&back),
                caller,
                home.clone(),
            ));
            callers.insert(caller, Arc::clone(&back));
            back
        };
        drop(back.send(&datagram[..length]).await);
    }
}

async fn answer(
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    caller: SocketAddr,
    mut line: watch::Receiver<Line>,
) {
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        let Ok(length) = back.recv(&mut datagram).await else {
            // Nobody listens there: looked at again when the next datagram was sent.
            tokio::task::yield_now().await;
            continue;
        };
        if passes(&mut line).await {
            drop(front.send_to(&datagram[..length], caller).await);
        }
    }
}
