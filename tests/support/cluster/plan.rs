//! Package `tests`, the cluster: which system feeds which, and how. Must not know what runs.

use rjournal::entry::control_entry::{Level, Policy};
use rjournal::entry::{RdbName, Sequence};
use rjournal::journal::{Attributes, DeliveryMode, LinkRecord};

use crate::bench_journal::name;
use crate::node::Node;

/// A link of the plan.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Number of the feeding node.
    pub from: usize,
    /// Number of the fed node.
    pub to: usize,
    /// How.
    pub delivery: DeliveryMode,
}

/// A *SYNC link from node 0.
pub const fn sync(to: usize) -> Plan {
    Plan {
        from: 0,
        to,
        delivery: DeliveryMode::Sync,
    }
}

/// An *ASYNC link.
pub const fn asynchronous(from: usize, to: usize) -> Plan {
    Plan {
        from,
        to,
        delivery: DeliveryMode::Async,
    }
}

/// Attributes with a small receiver and a short time-out.
pub fn quick(policy: Policy) -> Attributes {
    Attributes {
        threshold: 64 * 1024,
        policy,
        sync_timeout_ms: 2_000,
        ..Attributes::default()
    }
}

pub(crate) fn link_record(plan: &Plan, target: &Node) -> LinkRecord {
    LinkRecord {
        rdb: RdbName::new(target.name.as_str()).expect("a name"),
        system: target.system,
        target: name("BKPLIB/JRN"),
        delivery: plan.delivery,
        level: Level::Written,
        active: true,
        acknowledged: Sequence::NONE,
        needs_reinit: false,
        text: String::new(),
    }
}
