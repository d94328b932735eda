//! Room `link`: how the two ends of a socket on one machine find out whether they speak the same version: each names its
//! own before anything else. The control socket and the store's socket begin alike. Must not know what is said afterwards.

use std::fmt;

/// Longest first message, in bytes: its sender has not said its version yet.
pub const HELLO_BYTES_MAX: usize = 1024;

/// Versions of the two ends of a socket that do not understand each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherVersion {
    /// The serving end's.
    pub server: u32,
    /// The client's; nothing where it did not say it first.
    pub client: Option<u32>,
}

impl OtherVersion {
    /// Compares the two: each understands its own version and no other.
    ///
    /// # Errors
    /// Itself, when they differ or the client did not say its own.
    pub fn check(server: u32, client: Option<u32>) -> Result<(), Self> {
        if client == Some(server) {
            Ok(())
        } else {
            Err(Self { server, client })
        }
    }

    /// Both in words; `protocol` is what they are versions of, `asking` the client.
    pub const fn of<'a>(self, protocol: &'a str, asking: &'a str) -> impl fmt::Display + use<'a> {
        InWords {
            versions: self,
            protocol,
            asking,
        }
    }
}

struct InWords<'a> {
    versions: OtherVersion,
    protocol: &'a str,
    asking: &'a str,
}

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, asking) = (self.protocol, self.asking);
        let OtherVersion { server, client } = self.versions;
        write!(f, "version {server} of {protocol}, {asking} ")?;
        match client {
            Some(client) => write!(f, "version {client}"),
            None => write!(f, "did not say its version first"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_version_is_understood_and_both_are_named() {
        assert_eq!(OtherVersion::check(3, Some(3)), Ok(()));
        let older = OtherVersion::check(3, Some(2)).unwrap_err();
        let text = older.of("the protocol", "the client").to_string();
        assert_eq!(text, "version 3 of the protocol, the client version 2");
        let silent = OtherVersion::check(3, None).unwrap_err();
        let text = silent.of("the protocol", "the client").to_string();
        assert!(text.ends_with("did not say its version first"), "{text}");
    }
}
