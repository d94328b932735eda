//! Room `daemon`: why the receiver an operator asked for was not attached, from the thread that writes to the command that
//! waits. Must not know either.

use std::sync::Mutex;

use event_listener::Event;

use super::local::lock;
use crate::daemon::command::CommandError;

/// Why the receiver was not changed, for the command that waits for the change.
#[derive(Debug, Default)]
pub(crate) struct Unchanged {
    why: Mutex<Option<CommandError>>,
    told: Event,
}

impl Unchanged {
    /// The change that was asked for could not be made.
    pub(super) fn tell(&self, why: CommandError) {
        *lock(&self.why) = Some(why);
        self.told.notify(usize::MAX);
    }

    /// Forgets what an earlier command was told.
    pub(crate) fn forget(&self) {
        *lock(&self.why) = None;
    }

    /// Comes back with the reason, once there is one.
    ///
    /// Cancel safe: yes, a reason that was not taken stays.
    pub(crate) async fn why(&self) -> CommandError {
        loop {
            let told = self.told.listen();
            if let Some(why) = lock(&self.why).take() {
                return why;
            }
            told.await;
        }
    }
}
