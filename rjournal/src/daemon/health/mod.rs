//! Room `daemon`, health: an address where a proxy, or whoever moves an address to the primary, asks over HTTP what this system
//! is: primary, backup, well or not. Nothing can be changed here, and everybody who reaches the address may ask. Must not
//! judge.
//!
//! | path | 200 when |
//! | --- | --- |
//! | `/primary`, `/groups/NAME/primary` | this system is the primary of the (only) group and takes deposits |
//! | `/backup`, `/groups/NAME/backup` | it is a backup and follows |
//! | `/groups/NAME` | there is such a group: who is primary |
//! | `/health` | nothing is stopped, as STATUS says |

mod http;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::command::CommandError;
use super::command::group::PrimaryTold;
use super::command::status::Health;
use super::group::GroupRuntime;
use super::system::Shared;
use crate::entry::Name;
use crate::error::LinkError;
use crate::remote::MemberRole;
use http::{Asked, HEAD_BYTES_MAX, Status, answer, read_head};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 64;
/// A connection is over after this time, whatever it says.
const CONNECTION_MAX: Duration = Duration::from_secs(5);
/// A listener out of file descriptors tries again after this time.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The address, listened on until this is dropped.
#[derive(Debug)]
pub(super) struct HealthEndpoint {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl HealthEndpoint {
    /// Listens.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`LinkError::Bind`] when the address cannot be had.
    pub(super) async fn listen(
        shared: &Arc<Shared>,
        address: SocketAddr,
    ) -> Result<Self, LinkError> {
        let failed = |source| LinkError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let task = shared
            .runtime
            .spawn(accept(listener, Arc::downgrade(shared)));
        Ok(Self { address, task })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for HealthEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Weak<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the health address");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let Some(shared) = shared.upgrade() else {
            return;
        };
        tokio::spawn(async move {
            let served = tokio::time::timeout(CONNECTION_MAX, serve(stream, &shared)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "a question about health was not answered");
            }
            drop(place);
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let asked = loop {
        match read_head(&head) {
            Asked::More => {}
            asked => break asked,
        }
        let room = (HEAD_BYTES_MAX - head.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let (status, body, head_only) = match asked {
        Asked::Request { path, head_only } => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let (status, body) = shared.tell_health(&path);
            (status, body, head_only)
        }
        Asked::Wrong(status) => (
            status,
            said("GET and HEAD of a short path, as HTTP/1"),
            false,
        ),
        Asked::More => return Ok(()),
    };
    stream.write_all(&answer(status, &body, head_only)).await?;
    stream.shutdown().await
}

fn said(error: &str) -> Value {
    json!({ "error": error })
}

/// Which role is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Primary,
    Backup,
    Any,
}

impl Shared {
    /// Where health is told, until the system stops.
    pub(crate) fn health_address(&self) -> Option<SocketAddr> {
        super::system::lock(&self.health)
            .as_ref()
            .map(HealthEndpoint::address)
    }

    fn tell_health(&self, path: &[&str]) -> (Status, Value) {
        if self.is_stopping() {
            return (Status::Unavailable, said("the system is stopping"));
        }
        match path {
            ["health"] => self.tell_well(),
            ["primary"] => self.tell_role(None, Role::Primary),
            ["backup"] => self.tell_role(None, Role::Backup),
            ["groups", name] => self.tell_role(Some(name), Role::Any),
            ["groups", name, "primary"] => self.tell_role(Some(name), Role::Primary),
            ["groups", name, "backup"] => self.tell_role(Some(name), Role::Backup),
            _ => (
                Status::NotFound,
                said("there are /primary, /backup, /health and /groups/NAME"),
            ),
        }
    }

    /// As STATUS says in one word; the rest is told to operators only.
    fn tell_well(&self) -> (Status, Value) {
        let found = self.describe_status();
        let body = json!({
            "system": found.system,
            "health": found.health,
            "role": found.role,
            "time": found.time,
            "up_seconds": found.up_seconds,
        });
        let status = match found.health {
            Health::Protected | Health::Degraded => Status::Ok,
            Health::Stopped | Health::Unknown => Status::Unavailable,
        };
        (status, body)
    }

    fn tell_role(&self, name: Option<&str>, role: Role) -> (Status, Value) {
        let no = |error: &CommandError| {
            // A check that names no group is no mistake of its own where there is none, or more than one.
            let status = match name {
                None => Status::Unavailable,
                Some(_) => Status::NotFound,
            };
            (status, said(&error.to_string()))
        };
        let parsed = name.map(str::parse::<Name>).transpose();
        let name = match parsed {
            Ok(name) => name,
            Err(error) => return no(&CommandError::invalid(error.to_string())),
        };
        let group = match self.require_group(name) {
            Ok(group) => group,
            Err(error) => return no(&error),
        };
        let told = self.primary_of(&group);
        let yes = match role {
            Role::Any => true,
            Role::Primary => told.here && told.open,
            Role::Backup => self.is_following(&group, &told),
        };
        let status = if yes { Status::Ok } else { Status::Unavailable };
        (status, json!(told))
    }

    /// Whether this system is a backup that lacks nothing of earlier terms, and has a primary to follow.
    fn is_following(&self, group: &GroupRuntime, told: &PrimaryTold) -> bool {
        told.role == MemberRole::Backup
            && told.primary.is_some()
            && self.own_news(group).follows == told.term
    }
}
