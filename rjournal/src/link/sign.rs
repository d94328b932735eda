//! Room `link`: a system's word that others may pass on: records signed with its key, and proven from the key's fingerprint.
//! Must not know what a record means.

use ring::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};

use super::tls::{Fingerprint, Identity};
use crate::entry::{Proof, TermClaim, TermRecord};
use crate::error::LinkError;

/// What stands before an Ed25519 key in a subject public key info (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Something a system signs.
pub trait Signed {
    /// What is signed.
    fn signed_bytes(&self) -> Vec<u8>;
    /// Its proof.
    fn proof(&self) -> &Proof;
    /// Puts the proof in.
    fn set_proof(&mut self, proof: Proof);
}

macro_rules! signed {
    ($name:ty) => {
        impl Signed for $name {
            fn signed_bytes(&self) -> Vec<u8> {
                Self::signed_bytes(self)
            }
            fn proof(&self) -> &Proof {
                &self.proof
            }
            fn set_proof(&mut self, proof: Proof) {
                self.proof = proof;
            }
        }
    };
}

signed!(TermClaim);
signed!(TermRecord);

impl Identity {
    /// Signs a record.
    ///
    /// # Errors
    /// [`LinkError::Identity`] when the system's key is not one it can sign with (Ed25519).
    pub fn sign(&self, record: &mut impl Signed) -> Result<(), LinkError> {
        use ring::signature::KeyPair;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(self.secret_der());
        let pair = pair.map_err(|error| LinkError::Identity {
            reason: format!("the key cannot sign: {error}"),
        })?;
        let mut proof = Proof::NONE;
        proof.key.copy_from_slice(pair.public_key().as_ref());
        let signature = pair.sign(&record.signed_bytes());
        proof.signature.copy_from_slice(signature.as_ref());
        record.set_proof(proof);
        Ok(())
    }
}

/// Whether a record was signed with the key of this fingerprint.
pub fn is_signed_by(record: &impl Signed, fingerprint: &Fingerprint) -> bool {
    let proof = record.proof();
    let info = [&SPKI_PREFIX[..], &proof.key].concat();
    let is_key = Fingerprint::of_key_info(&info) == *fingerprint;
    let key = UnparsedPublicKey::new(&ED25519, proof.key);
    is_key && key.verify(&record.signed_bytes(), &proof.signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{GroupId, SystemId};

    #[test]
    fn a_record_is_proven_by_its_signers_key_and_no_other_and_not_once_it_is_changed() {
        let (signer, _) = Identity::generate("PRD").unwrap();
        let (other, _) = Identity::generate("BKP").unwrap();
        let mut claim = TermClaim {
            group: GroupId::from_bytes([1; 16]),
            term: 2,
            system: SystemId::from_bytes([2; 16]),
            proof: Proof::NONE,
        };
        assert!(!is_signed_by(&claim, &signer.fingerprint()));
        signer.sign(&mut claim).unwrap();
        assert!(is_signed_by(&claim, &signer.fingerprint()));
        assert!(!is_signed_by(&claim, &other.fingerprint()));
        claim.term = 3;
        assert!(!is_signed_by(&claim, &signer.fingerprint()));
    }
}
