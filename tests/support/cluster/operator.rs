//! Package `tests`, the cluster: what an operator orders at node 0, and whom he gives up by it. Must not decide when.

use rjournal::daemon::crank::{Ending, change_attributes};
use rjournal::entry::control_entry::Policy;
use rjournal::remote::MemberKey;

use super::systems::Cluster;
use crate::node::{Running, Side};

impl Cluster {
    /// An operator changes the policy. What members are to know first waits for them.
    pub fn change_policy(&mut self, policy: Policy) {
        self.order_policy(policy, &[]);
    }

    /// An operator changes the policy, and gives up who cannot be told.
    pub fn force_policy(&mut self, policy: Policy) {
        let Some(open) = self.open() else { return };
        let confirmation = open.confirmation.lock().expect("nobody panicked");
        let away: Vec<MemberKey> = if confirmation.must_be_told(policy) {
            confirmation.away().iter().map(MemberKey::from).collect()
        } else {
            Vec::new()
        };
        drop(confirmation);
        self.order_policy(policy, &away);
        for key in away {
            self.void(key);
        }
    }

    fn order_policy(&mut self, policy: Policy, given_up: &[MemberKey]) {
        let (wall, now) = (self.wall(), self.now);
        let Some(open) = self.open_mut() else { return };
        let journal = &open.journal;
        let mut confirmation = open.confirmation.lock().expect("nobody panicked");
        let mut wanted = journal.control().attributes;
        wanted.policy = policy;
        let changed = change_attributes(journal, &mut confirmation, wanted, given_up, wall, now);
        drop(confirmation);
        // A disk that refuses leaves everything as it was.
        self.tell_left(&changed.unwrap_or_default());
    }

    /// An operator ends a link of a node.
    pub fn inactivate(&mut self, node: usize, index: usize, how: Ending) {
        let (wall, now) = (self.wall(), self.now);
        let mut left = Vec::new();
        let mut given_up = None;
        if let Some(Running { side, links }) = &mut self.nodes[node].running {
            let confirmation = match side {
                Side::Open(open) => Some(&open.confirmation),
                _ => None,
            };
            let Some(link) = links.get_mut(index) else {
                return;
            };
            let key = link.key();
            let bound = confirmation.is_some_and(|confirmation| {
                let confirmation = confirmation.lock().expect("nobody panicked");
                confirmation.guarded(key).is_some() || confirmation.untold_since(key).is_some()
            });
            given_up = (bound && how == Ending::Forced).then_some(key);
            let ended = link.inactivate(how, confirmation, wall, now);
            left = ended.unwrap_or_default();
        }
        self.tell_left(&left);
        self.pump(node);
        if let Some(key) = given_up {
            self.void(key);
        }
    }

    /// Nothing is promised to a target that was given up before it has a change of the set from after that.
    fn void(&mut self, key: MemberKey) {
        // Also of a journal that stopped meanwhile.
        let last = match &self.nodes[0].running {
            Some(Running {
                side: Side::Open(open),
                ..
            }) => open.journal.intake().last(),
            _ => self.last(),
        };
        let node = self.nodes.iter().position(|node| node.system == key.system);
        self.voided.insert(node.expect("a target is a node"), last);
    }
}
