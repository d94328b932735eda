//! Package `tests`: two or three systems as a story: deposits by name, one step after the other by hand, faults by name,
//! and what must be true afterwards. Node 0 is the source; node 1 its target; node 2, where there is one, a second target
//! or the end of a cascade.

mod deposits;
mod faults;
mod links;
mod steps;
mod view;

use std::collections::BTreeMap;

use rjournal::entry::control_entry::Policy;
use rjournal::journal::Attributes;

use crate::cluster::{Cluster, Plan, asynchronous, quick, sync};

/// The system whose journal takes deposits.
pub const SOURCE: usize = 0;
/// The system that holds its copy.
pub const TARGET: usize = 1;
/// A second target, or the end of a cascade.
pub const THIRD: usize = 2;

/// What a client was told about its deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// On the disks of all.
    Sync,
    /// On this disk, in the memory of all.
    Received,
    /// On this disk.
    Local,
    /// Certainly not in the journal.
    Refused,
    /// May be in the journal.
    Unknown,
    /// Nothing, so far or for ever.
    Nothing,
}

/// Systems with a journal and its copies.
#[derive(Debug)]
pub struct Pair {
    /// The systems underneath.
    pub cluster: Cluster,
    ids: BTreeMap<&'static str, u64>,
}

/// One pair under policy degrade, in sync.
pub fn degrade() -> Pair {
    Pair::in_sync(&quick(Policy::Degrade))
}

/// One pair under policy block, in sync.
pub fn block() -> Pair {
    Pair::in_sync(&quick(Policy::Block))
}

/// One pair under policy reject, in sync.
pub fn reject() -> Pair {
    Pair::in_sync(&quick(Policy::Reject))
}

/// One pair with *ASYNC delivery, level.
pub fn behind() -> Pair {
    Pair::level_with(2, &[asynchronous(SOURCE, TARGET)], &quick(Policy::Degrade))
}

/// A *SYNC target that feeds a third system.
pub fn cascade() -> Pair {
    Pair::level_with(
        3,
        &[sync(TARGET), asynchronous(TARGET, THIRD)],
        &quick(Policy::Degrade),
    )
}

/// Two *SYNC targets of one source.
pub fn broadcast() -> Pair {
    Pair::level_with(3, &[sync(TARGET), sync(THIRD)], &quick(Policy::Degrade))
}

impl Pair {
    /// Everything is defined and started; nothing has moved yet.
    pub fn fresh(nodes: usize, plans: &[Plan], attributes: &Attributes) -> Self {
        Self {
            cluster: Cluster::new(nodes, plans, attributes, 4711),
            ids: BTreeMap::new(),
        }
    }

    /// Everything is level and every *SYNC target in the set.
    pub fn level_with(nodes: usize, plans: &[Plan], attributes: &Attributes) -> Self {
        let mut pair = Self::fresh(nodes, plans, attributes);
        pair.recover();
        pair
    }

    /// One source and one *SYNC target, in sync.
    pub fn in_sync(attributes: &Attributes) -> Self {
        Self::level_with(2, &[sync(TARGET)], attributes)
    }
}
