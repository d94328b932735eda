//! Room `daemon`, the first copy: how fast saves are read and sent. A first copy is bulk: deposits and live links come first. So
//! pieces are read, and leave, one at a time for the whole system, with a pause between them while entries are deposited or
//! received; `first_copy_mib` in the configuration bounds what leaves. Must not know whose pieces they are.

use std::sync::Mutex;
use std::time::Duration;

use crate::daemon::system::Shared;
use crate::entry::{Moment, Sequence};
use crate::remote::PIECE_BYTES;

/// Between two pieces while entries come in: at most 100 MiB a second.
const GAP_WHILE_BUSY: Duration = Duration::from_millis(10);

/// When the next piece may leave.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Turn>);

#[derive(Debug, Default)]
struct Turn {
    next: Moment,
    /// The last entries of all journals, added up, when the last piece left.
    seen: u64,
}

impl Pace {
    /// How long to wait for the turn of a piece, which is taken by asking.
    fn take(&self, now: Moment, seen: u64, mib_per_second: u32) -> Duration {
        let mut turn = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let busy = std::mem::replace(&mut turn.seen, seen) != seen;
        let gap = match mib_per_second {
            0 if busy => GAP_WHILE_BUSY,
            0 => Duration::ZERO,
            mib => Duration::from_secs(PIECE_BYTES / (1024 * 1024)) / mib,
        };
        let begin = turn.next.max(now);
        turn.next = begin + gap;
        begin.since(now)
    }
}

impl Shared {
    /// Waits until the next piece may be sent.
    ///
    /// Cancel safe: yes, the turn is lost.
    pub(super) async fn piece_turn(&self) {
        let rate = self.config().first_copy_mib;
        self.wait_turn(&self.lends.sending, rate).await;
    }

    /// Waits until the next piece may be read that is not sent.
    ///
    /// Cancel safe: yes, the turn is lost.
    pub(super) async fn read_turn(&self) {
        self.wait_turn(&self.lends.reading, 0).await;
    }

    async fn wait_turn(&self, pace: &Pace, mib_per_second: u32) {
        let seen = self
            .runtimes()
            .into_iter()
            .filter_map(|runtime| runtime.source())
            .map(|source| Sequence::get(source.reader().tip().sequence))
            .fold(0, u64::wrapping_add);
        let wait = pace.take(self.clock.now(), seen, mib_per_second);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_leave_apart_while_entries_come_in_and_at_the_rate_that_is_set() {
        let at = |millis| Moment::from_start(Duration::from_millis(millis));
        let pace = Pace::default();
        let mut seen = 0;
        let mut waits = |now, entries: u64, rate| {
            seen += entries;
            pace.take(at(now), seen, rate).as_millis()
        };
        // Nothing is deposited: as fast as they can be read.
        assert_eq!([waits(100, 0, 0), waits(100, 0, 0)], [0, 0]);
        // The gap stands behind the piece that met entries.
        assert_eq!(
            [waits(100, 5, 0), waits(100, 5, 0), waits(100, 0, 0)],
            [0, 10, 20]
        );
        assert_eq!(waits(500, 0, 0), 0);
        // 4 MiB a second, for all who ask together.
        assert_eq!(
            [waits(500, 0, 4), waits(500, 0, 4), waits(500, 0, 4)],
            [0, 250, 500]
        );
        assert_eq!(waits(2000, 1, 4), 0);
    }
}
