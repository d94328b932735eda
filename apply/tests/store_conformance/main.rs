//! The conformance suite of the stores: one list of cases, run against each store that stands behind `ReplicaStore`.
//! What an apply job may rely on is said here, as sentences; a new store has to pass all of them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on says where"
)]

/// Makes a test of each case for each store.
macro_rules! for_both_stores {
    ($($case:ident),+ $(,)?) => {
        mod sled {
            $(#[test] fn $case() { super::$case(rjournal_apply::store::StoreKind::Sled); })+
        }
        mod redb {
            $(#[test] fn $case() { super::$case(rjournal_apply::store::StoreKind::Redb); })+
        }
    };
}

mod bench;
mod comparing;
mod kills;
mod model;
mod opening;
mod power;
mod reading;
mod saves;
mod sizes;
mod snapshots;
mod steps;
