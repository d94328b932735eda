//! Room `link`: the wire. QUIC connections with mutual TLS between systems that know each other's keys, one stream per
//! session, frames on it.
//!
//! In come addresses, keys and frames, out come frames and who sent them. It must not know journals or what a frame means
//! to a session; it never decides who may do what, only whether a key is known.

mod endpoint;
mod frame;
mod hello;
mod reset;
mod sign;
mod tls;

pub use endpoint::{Accepted, LinkEndpoint, LinkReceiver, LinkSender, LinkStream};
pub use frame::{FRAME_BYTES_MAX, Wired, decode_message, encode_message};
pub use hello::{HELLO_BYTES_MAX, OtherVersion};
pub use sign::{Signed, is_signed_by};
pub use tls::{Fingerprint, Identity, Partners};
