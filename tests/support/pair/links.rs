//! Package `tests`, the pair: links, policies and openings, as an operator sees and orders them.

use std::path::Path;
use std::sync::Arc;

use rjournal::daemon::crank::{Ending, OpeningState};
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{Epoch, Sequence};
use rjournal::journal::{Copy, Gate};
use rjournal::remote::{EndReason, LinkEvent, LinkState, Refusal, RefusalCode, Shown};

use super::{Pair, SOURCE};
use crate::bench_journal::DIR;
use crate::node::{Running, Side};

impl Pair {
    /// Whether the source takes deposits.
    pub fn is_open(&self) -> bool {
        self.cluster
            .open()
            .is_some_and(|open| matches!(open.journal.gate(), Gate::Open | Gate::Held { .. }))
    }

    /// What an opening that refuses says.
    pub fn opening(&self) -> Option<OpeningState> {
        match &self.cluster.nodes[SOURCE].running {
            Some(Running {
                side: Side::Opening(crank),
                ..
            }) => Some(crank.state()),
            _ => None,
        }
    }

    /// The epoch the source is open in.
    pub fn epoch(&mut self) -> Epoch {
        self.open().journal.epoch()
    }

    /// The link from a system, for people.
    ///
    /// # Panics
    /// When there is none.
    pub fn link(&self, from: usize, index: usize) -> Shown {
        let running = self.cluster.nodes[from].running.as_ref().expect("it is up");
        running.links[index].link.shown()
    }

    /// Asserts that the source's first link was refused, and has stopped trying where time does not help.
    ///
    /// # Panics
    /// When it was not, or for another reason.
    #[track_caller]
    pub fn is_refused(&self, code: RefusalCode) -> Refusal {
        let shown = self.link(SOURCE, 0);
        let Some(EndReason::Refused(refusal)) = shown.last_end else {
            panic!("not refused: {shown:?}\n{}", self.cluster.describe());
        };
        assert_eq!(refusal.code, code, "{}", refusal.text);
        let stopped = shown.state == LinkState::Failed;
        assert_eq!(stopped, !code.may_pass(), "{:?}", shown.state);
        refusal
    }

    /// An operator activates the source's first link again.
    pub fn activate(&mut self) -> &mut Self {
        self.activate_link(0)
    }

    /// An operator activates a link of the source again.
    pub fn activate_link(&mut self, index: usize) -> &mut Self {
        let now = self.cluster.now;
        if let Some(Running { links, .. }) = &mut self.cluster.nodes[SOURCE].running {
            links[index].activate(now);
        }
        self.cluster.pump(SOURCE);
        self
    }

    /// An operator changes the policy; one that members are to know first waits for them.
    pub fn change_policy(&mut self, policy: Policy) -> &mut Self {
        self.cluster.change_policy(policy);
        self
    }

    /// An operator changes the policy, and gives up who cannot be told.
    pub fn force_policy(&mut self, policy: Policy) -> &mut Self {
        self.cluster.force_policy(policy);
        self
    }

    /// The policy in force, and the looser one that waits for members to know it.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn policy(&mut self) -> (Policy, Option<Policy>) {
        let open = self.open();
        let confirmation = open.confirmation.lock().expect("nobody panicked");
        let (kept, control) = (confirmation.policy(), open.journal.control());
        let ordered = confirmation.policy_ordered();
        assert_eq!(control.attributes.policy, kept);
        assert_eq!(control.policy_ordered, ordered);
        (kept, ordered)
    }

    /// Whom CHGJRN and CHGRMTJRN name when they refuse: members that cannot be told.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn away(&mut self) -> Vec<String> {
        let open = self.open();
        let confirmation = open.confirmation.lock().expect("nobody panicked");
        let away = confirmation.away();
        away.iter().map(|member| member.rdb.to_string()).collect()
    }

    /// Whether the copy of a system, as it would come back from a loss of power, cannot rule out that something was answered
    /// without it.
    pub fn local_answers_possible(&self, node: usize) -> bool {
        let disk = self.cluster.nodes[node].disk.crash_to_synced().power_on();
        let copy = Copy::open(Arc::new(disk), Path::new(DIR), Sequence::NONE);
        let copy = copy.expect("a copy recovers");
        let me = self.cluster.nodes[node].system;
        copy.shared().local_answers_possible(me)
    }

    /// An operator inactivates the source's first link at once.
    pub fn inactivate(&mut self) -> &mut Self {
        self.end_link(0, Ending::Immediate)
    }

    /// An operator inactivates it once the target has what is there now.
    pub fn inactivate_when_drained(&mut self) -> &mut Self {
        self.end_link(0, Ending::Controlled)
    }

    /// An operator inactivates it, and gives its target up.
    pub fn force_inactive(&mut self) -> &mut Self {
        self.end_link(0, Ending::Forced)
    }

    /// An operator ends a link of the source.
    pub fn end_link(&mut self, index: usize, how: Ending) -> &mut Self {
        self.cluster.inactivate(SOURCE, index, how);
        self
    }

    /// How often something happened on links.
    pub fn happened(&self, what: impl Fn(&LinkEvent) -> bool) -> usize {
        self.cluster
            .events
            .iter()
            .filter(|(_, event)| what(event))
            .count()
    }
}
