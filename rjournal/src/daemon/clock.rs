//! Room `daemon`: the only place that reads clocks and draws random numbers. Must not decide anything with them.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::entry::{Moment, Timestamp};
use crate::journal::Entropy;

/// The two times.
pub trait Clock: fmt::Debug + Send + Sync {
    /// What people read; may jump.
    fn wall(&self) -> Timestamp;
    /// What machines measure with; never jumps.
    fn now(&self) -> Moment;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts measuring.
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the place that reads clocks"
    )]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the place that reads clocks"
    )]
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    fn now(&self) -> Moment {
        Moment::from_start(self.start.elapsed())
    }
}

/// The machine's randomness.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("a machine without randomness cannot make identities");
        id
    }
}

/// A random number.
pub(super) fn random_number(entropy: &dyn Entropy) -> u64 {
    u128::from_le_bytes(entropy.id()) as u64
}
