//! Package `rjournal-model`: what comes of a state when everything is up and every line stands, and nobody takes over any more:
//! all must come to follow the newest primary. The one question about what happens at all that the model asks.

use crate::group::Group;
use crate::journal::{MemberId, Members};
use crate::lineage::Lineage;
use crate::state::{Event, Extent, Role, State};

impl Group {
    /// From this state on, does everybody come to follow the newest primary? Nothing is asked where a member has promised a
    /// higher term: only another takeover goes on from there. Nor of a member that is stopped.
    pub fn heals(&self, state: &State) -> bool {
        let Some(primary) = state.newest_primary(self.configuration.members) else {
            return true;
        };
        let term = state.members[primary].promise.term;
        let outdone = |id: MemberId| state.members[id].promise.term > term;
        if self.ids().any(outdone) {
            return true;
        }
        let mut healed = state.clone();
        for id in self.ids() {
            healed.members[id].up = true;
            self.flush(&mut healed, id);
        }
        if !healed.members[primary].open {
            let others = Members::first(self.configuration.members).without(primary);
            if self.open_asking(&mut healed, primary, others).is_none() {
                return false;
            }
            self.flush(&mut healed, primary);
        }
        self.ids()
            .filter(|id| *id != primary)
            .all(|id| self.comes_to_follow(&mut healed, primary, id))
    }

    fn comes_to_follow(&self, state: &mut State, primary: MemberId, id: MemberId) -> bool {
        if state.members[id].role == Role::Stopped {
            return true;
        }
        self.couple(state, primary, id);
        while state.members[id].role == Role::Backup && self.session_of(state, id).is_none() {
            if self.complete(state, id, primary).is_none() {
                self.couple(state, primary, id);
                break;
            }
        }
        if state.members[id].role == Role::Stopped {
            // as abandoned; that nobody else is stopped is a property of its own
            return !state.seen.any(&[Event::ForkBelowConfirmed]);
        }
        if self.session_of(state, id) != Some(primary) {
            return false;
        }
        let own = state.members[primary].copies[primary].journal;
        while state.members[id].copies[primary].journal.last() < own.last() {
            self.ship(state, primary, id);
        }
        self.flush(state, id);
        self.confirm(state, id);
        let there = state.members[primary].lineage(Extent::Received);
        let here = state.members[id].lineage(Extent::Flushed);
        same(&there, &here) && self.confirmed_entries(state, id, &here) == here.count()
    }
}

fn same(one: &Lineage, other: &Lineage) -> bool {
    one.count() == other.count() && one.common(other) == one.count()
}
