//! Package `tests`, groups under seeds: a member whose disk is set back to a snapshot, once in a run: it forgets what it promised,
//! and what it acknowledged. Must not judge what comes of it.

use std::rc::Rc;

use rjournal::daemon::crank::OpeningState;
use rjournal::remote::MemberRole;

use super::goals::Goal;
use super::member::Side;
use super::world::World;

impl World {
    /// A snapshot of a member's disk is taken, or the disk is set back to it.
    pub(super) fn set_back(self: &Rc<Self>, me: usize) {
        if self.truth.borrow().restored || !self.is_up(me) {
            return;
        }
        let kept = self.members[me].borrow_mut().snapshot.take();
        let Some(kept) = kept else {
            let mut member = self.members[me].borrow_mut();
            member.snapshot = Some(member.disk.image());
            return;
        };
        let primary = self.here(me).role() == MemberRole::Primary;
        self.reach(if primary {
            Goal::PrimaryRestored
        } else {
            Goal::BackupRestored
        });
        self.crash(me, false);
        self.say(me, || "is set back to a snapshot".to_owned());
        self.members[me].borrow_mut().disk = kept.power_on();
        self.truth.borrow_mut().handle_restored(me);
    }

    /// An operator says that a journal which others know more of may take that over. Says whether it was waiting for that word.
    pub(super) fn allow_adopt(self: &Rc<Self>, me: usize) -> bool {
        let now = self.now.get();
        let wires = {
            let mut member = self.members[me].borrow_mut();
            let Some(up) = &mut member.up else {
                return false;
            };
            let Side::Opening(crank) = &mut up.sides[me] else {
                return false;
            };
            if !matches!(crank.state(), OpeningState::Refused { .. }) {
                return false;
            }
            self.reach(Goal::RestoredRefused);
            crank.allow_adopt(now)
        };
        let Ok(wires) = wires else {
            return false;
        };
        for (key, wire) in wires {
            self.opening_wire(me, key, wire);
        }
        self.pump(me);
        self.try_open(me);
        true
    }
}
