//! Room `daemon`: the ticker: the few things that need looking at from time to time rather than at an event.

use std::sync::Arc;
use std::time::Duration;

use super::copy::CopyEvent;
use crate::daemon::system::{JournalRuntime, Shared};

/// Time-outs of targets are looked at this often.
const TICK: Duration = Duration::from_millis(100);
/// Copies, retention and remembered positions are looked at every so many ticks.
const SLOW: u32 = 20;

/// Ticks until the system stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count: u32 = 0;
    while !shared.is_stopping() {
        interval.tick().await;
        count = count.wrapping_add(1);
        let slow = count.is_multiple_of(SLOW);
        for runtime in shared.runtimes() {
            match runtime {
                JournalRuntime::Local(local) => local.tick(&shared),
                JournalRuntime::Copy(copy) if slow => copy.try_tell(CopyEvent::Tick),
                JournalRuntime::Copy(_)
                | JournalRuntime::Opening(_)
                | JournalRuntime::Broken(_) => {}
            }
        }
        if slow {
            shared.look_after().await;
        }
    }
}
