//! Room `daemon`: how long a write that is under way has taken so far, for whoever asks meanwhile (failures.md DEP-6). Must not
//! know what is written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::entry::Moment;

/// A write that takes so long is slow.
const SLOW: Duration = Duration::from_secs(1);

/// Since when a write is under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(AtomicU64);

impl UnderWay {
    /// A write begins.
    pub(super) fn begin(&self, now: Moment) {
        let nanos = u64::try_from(now.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.store(nanos.max(1), Ordering::Relaxed);
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long one that is slow has taken so far.
    pub(super) fn slow(&self, now: Moment) -> Option<Duration> {
        let began = self.0.load(Ordering::Relaxed);
        let taken = now.since(Moment::from_start(Duration::from_nanos(began)));
        (began > 0 && taken >= SLOW).then_some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_that_is_under_way_for_long_is_slow() {
        let at = |millis| Moment::from_start(Duration::from_millis(millis));
        let write = UnderWay::default();
        assert_eq!(write.slow(at(100_000)), None);
        write.begin(at(5_000));
        assert_eq!(write.slow(at(5_999)), None);
        assert_eq!(write.slow(at(15_000)), Some(Duration::from_secs(10)));
        write.end();
        assert_eq!(write.slow(at(15_000)), None);
        write.begin(Moment::ZERO);
        assert!(write.slow(at(2_000)).is_some());
    }
}
