//! Room `link`: what makes a system that was restarted known again: it tells partners whose connections were to the process
//! before it that they are gone (stateless reset, RFC 9000 section 10.3), so that they connect again at once instead of
//! hearing nothing until they give up. The keys are derived from the identity, so they outlive the process. Must not know
//! sessions.

use std::sync::Arc;

use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use quinn_proto::crypto::{CryptoError, HmacKey};

use super::tls::Identity;

/// Key of the tokens that prove a reset.
struct ResetKey([u8; 32]);

impl ResetKey {
    fn token(&self, data: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature: &mut [u8]) {
        signature.copy_from_slice(self.token(data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        // Compared in constant time.
        if self.token(data) == signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Settings of an endpoint that a restart does not make a stranger.
pub(super) fn endpoint_config(identity: &Identity) -> EndpointConfig {
    let key = identity.derive_key("rjournal link 2026 stateless reset");
    let ids = identity.derive_key("rjournal link 2026 connection ids");
    let ids = ids.first_chunk().copied().map_or(0, u64::from_le_bytes);
    let mut config = EndpointConfig::new(Arc::new(ResetKey(key)));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_and_no_other_is() {
        let (identity, pem) = Identity::generate("A").unwrap();
        let again = Identity::from_pem(&pem).unwrap();
        let (other, _) = Identity::generate("A").unwrap();
        let key = |identity: &Identity| ResetKey(identity.derive_key("test"));
        let mut token = [0; blake3::OUT_LEN];
        key(&identity).sign(b"id", &mut token);
        assert!(key(&again).verify(b"id", &token).is_ok());
        assert!(key(&other).verify(b"id", &token).is_err());
        assert!(key(&again).verify(b"ie", &token).is_err());
        assert!(key(&again).verify(b"id", &token[1..]).is_err());
    }
}
