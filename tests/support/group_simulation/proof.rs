//! Package `tests`, groups under seeds: signatures that cannot be forged by construction: a proof names its system and holds a
//! hash of what was said. Only [`sign`] makes one, and only for the member that calls it. Must not know what is signed.

use rjournal::entry::{Proof, SystemId, TermClaim, TermRecord};
use rjournal::remote::Group;

/// The proof that a system said this.
pub(super) fn sign(system: SystemId, bytes: &[u8]) -> Proof {
    let mut proof = Proof::NONE;
    proof.key[..16].copy_from_slice(system.as_bytes());
    let hash = hash(hash(0, system.as_bytes()), bytes);
    proof.signature[..8].copy_from_slice(&hash.to_le_bytes());
    proof
}

/// FNV-1a over bytes, going on from a hash.
pub(super) fn hash(from: u64, bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(from ^ 0xcbf2_9ce4_8422_2325, step)
}

/// Whether a record is the word of the member it speaks of.
pub(super) fn record_is_proven(group: &Group, record: &TermRecord) -> bool {
    let member = group.member(record.primary).is_some();
    member && record.proof == sign(record.primary, &record.signed_bytes())
}

/// The same of a claim.
pub(super) fn claim_is_proven(group: &Group, claim: &TermClaim) -> bool {
    let member = claim.group == group.id && group.member(claim.system).is_some();
    member && claim.proof == sign(claim.system, &claim.signed_bytes())
}
