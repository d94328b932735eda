//! Package `tests`, groups under seeds: operators, right and wrong: takeovers while the primary lives, two at once, with and without
//! accepting loss, switches, aborts in the middle, a journal opened alone. Must not know what comes of it.

use std::rc::Rc;
use std::time::Duration;

use rjournal::daemon::crank::OpeningState;

use super::goals::Goal;
use super::member::Side;
use super::takeover::TakeoverOrder;
use super::world::{Here, World};

/// Commands that may be under way at a member.
const COMMANDS_MAX: usize = 2;

impl World {
    pub(super) fn here(self: &Rc<Self>, me: usize) -> Here {
        Here {
            world: Rc::clone(self),
            me,
        }
    }

    fn may_command(&self, me: usize) -> bool {
        self.is_up(me) && self.tasks.count_of(me, "command") < COMMANDS_MAX
    }

    /// An operator takes over at a member.
    pub(super) fn order_takeover(self: &Rc<Self>, me: usize, accept_loss: bool) {
        if !self.may_command(me) {
            return;
        }
        let here = self.here(me);
        let order = TakeoverOrder {
            accept_loss,
            wait: Duration::from_millis(500),
        };
        let work = here.clone();
        here.spawn("command", async move {
            work.world.say(me, || {
                format!("takeover ordered, accept loss {accept_loss}")
            });
            let done = work.take_over(order).await;
            work.world.say(me, || format!("takeover: {done:?}"));
        });
    }

    /// An operator has a member hand over.
    pub(super) fn order_switch(self: &Rc<Self>, me: usize, to: usize) {
        if !self.may_command(me) || me == to {
            return;
        }
        let here = self.here(me);
        let work = here.clone();
        here.spawn("command", async move {
            work.world.say(me, || format!("switch to {to} ordered"));
            let done = work.hand_over(to).await;
            work.world.say(me, || format!("switch: {done:?}"));
        });
    }

    /// An operator takes a hand-over back.
    pub(super) fn order_abort(self: &Rc<Self>, me: usize) {
        if !self.may_command(me) {
            return;
        }
        let here = self.here(me);
        let work = here.clone();
        here.spawn("command", async move {
            work.world.say(me, || "abort ordered".to_owned());
            let done = work.abort_switch().await;
            work.world.say(me, || format!("abort: {done:?}"));
        });
    }

    /// An operator opens a journal that waits, without hearing anybody.
    pub(super) fn order_alone(self: &Rc<Self>, me: usize) {
        {
            let mut member = self.members[me].borrow_mut();
            let Some(up) = &mut member.up else {
                return;
            };
            let Side::Opening(crank) = &mut up.sides[me] else {
                return;
            };
            if !matches!(crank.state(), OpeningState::Waiting(_)) || crank.open_alone().is_err() {
                return;
            }
        }
        self.say(me, || "opened alone".to_owned());
        self.counts.borrow_mut().alone += 1;
        self.reach(Goal::OpenedAlone);
        self.truth.borrow_mut().alone = true;
        self.pump(me);
        self.try_open(me);
    }
}
