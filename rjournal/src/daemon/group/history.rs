//! Room `daemon`, recovery groups: what those who read a group's history are told of this member. Must not judge: the standing
//! does.

use event_listener::EventListener;

use super::runtime::GroupRuntime;
use crate::daemon::system::Shared;

impl Shared {
    /// Whether this member follows the newest term it has promised: everything before is complete here, and nothing beyond it.
    pub(in crate::daemon) fn is_settled(&self, group: &GroupRuntime) -> bool {
        self.seen(group).follows() > 0
    }
}

impl GroupRuntime {
    /// A listener for changes of the standing.
    pub(in crate::daemon) fn changed(&self) -> EventListener {
        self.changed.listen()
    }
}
