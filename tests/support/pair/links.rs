//! Package `tests`, the pair: links, policies and openings, as an operator sees and orders them.

use std::time::Duration;

use rjournal::daemon::crank::{OpeningState, carry_confirmation};
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{Epoch, Sequence};
use rjournal::journal::Gate;
use rjournal::remote::{EndReason, LinkEvent, LinkState, Refusal, RefusalCode, Shown};

use super::{Pair, SOURCE};
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
        let now = self.cluster.now;
        if let Some(Running { links, .. }) = &mut self.cluster.nodes[SOURCE].running {
            crate::node::activate(&mut links[0], now);
        }
        self.cluster.pump(SOURCE);
        self
    }

    /// An operator changes policy or time-out.
    ///
    /// # Panics
    /// When the journal is not open.
    pub fn change_policy(&mut self, policy: Policy) -> &mut Self {
        let (wall, now) = (self.cluster.wall(), self.cluster.now);
        let open = self.open();
        let mut confirmation = open.confirmation.lock().expect("nobody panicked");
        confirmation.handle_policy(policy, Duration::from_secs(2), 100, now);
        let left = carry_confirmation(&open.journal, &mut confirmation, wall, now);
        drop(confirmation);
        self.cluster.tell_left(&left);
        self
    }

    /// An operator inactivates the source's first link at once.
    pub fn inactivate(&mut self) -> &mut Self {
        self.inactivate_at(None)
    }

    /// An operator inactivates it once the target has what is there now.
    pub fn inactivate_when_drained(&mut self) -> &mut Self {
        let last = self.cluster.last();
        self.inactivate_at(Some(last))
    }

    fn inactivate_at(&mut self, upto: Option<Sequence>) -> &mut Self {
        let now = self.cluster.now;
        if let Some(Running { links, .. }) = &mut self.cluster.nodes[SOURCE].running {
            links[0].link.inactivate(upto, now);
        }
        self.cluster.pump(SOURCE);
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
