//! Public errors of the wire. Must not know a room but `entry`.

use std::io;
use std::net::SocketAddr;

use crate::entry::RdbName;

/// What can go wrong on the wire.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The own key or certificate cannot be used.
    #[error("the system's key cannot be used: {reason}")]
    Identity {
        /// What is wrong.
        reason: String,
    },
    /// Text that is not a fingerprint.
    #[error(
        "{given:?} is not a fingerprint: 64 hexadecimal digits are needed, as DSPSYSID prints them"
    )]
    Fingerprint {
        /// What was given, cut.
        given: String,
    },
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such partner in the directory.
    #[error("directory entry {rdb} not found; ADDRDBDIRE adds it")]
    NoPartner {
        /// The name.
        rdb: RdbName,
    },
    /// The partner's directory entry says not where it is reached.
    #[error("directory entry {rdb} has no address; CHGRDBDIRE --addr host:port gives it one")]
    NoAddress {
        /// The name.
        rdb: RdbName,
    },
    /// This system is starting or stopping: it calls nobody now.
    #[error("this system does not call its partners yet: it is starting, or stopping")]
    NotCalling,
    /// Enough links catch up already.
    #[error("as many links as may be are catching up; this one is tried again by itself")]
    Crowded,
    /// An address has no meaning here.
    #[error("{address} cannot be resolved: {reason}")]
    Resolve {
        /// The address.
        address: String,
        /// Why.
        reason: String,
    },
    /// A partner cannot be reached, or is not who it should be.
    #[error("no connection with {address}: {reason}")]
    Connect {
        /// The partner's address.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The connection is gone.
    #[error("the connection is gone: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// What came is no frame or no message of this protocol.
    #[error("the other side does not speak this protocol: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A message has no form on the wire.
    #[error("a message cannot be encoded: {reason}")]
    Encode {
        /// Why.
        reason: String,
    },
}

impl LinkError {
    /// Whether trying again can help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Broken { .. })
    }
}
