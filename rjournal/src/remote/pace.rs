//! Room `remote`: whether a target that catches up comes nearer to the end at all (failures.md CAT-2): where deposits come
//! faster, an operator is to hear of it. Must not know what is shipped, or why it is slow.

use std::time::Duration;

use crate::entry::Moment;

/// Catch-up is judged over this long.
const WINDOW: Duration = Duration::from_mins(1);

/// Catch-up that did not come nearer to the end within a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outrun {
    /// Entries the target was behind when the minute began.
    pub before: u64,
    /// Entries it was behind when the minute was over.
    pub behind: u64,
}

/// How catch-up goes in one session.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the minute that runs began, and how far the target was behind then.
    window: Option<(Moment, u64)>,
    outrun: Option<Outrun>,
    told: bool,
}

impl Pace {
    /// The target catches up and is this many entries behind. Gives what an operator is to be told, once a session.
    pub(super) fn handle_behind(&mut self, behind: u64, now: Moment) -> Option<Outrun> {
        let (since, before) = *self.window.get_or_insert((now, behind));
        if now.since(since) < WINDOW {
            return None;
        }
        self.window = Some((now, behind));
        if behind < before || behind == 0 {
            return None;
        }
        let outrun = Outrun { before, behind };
        self.outrun = Some(outrun);
        (!std::mem::replace(&mut self.told, true)).then_some(outrun)
    }

    /// It has caught up: what was said is no longer so, and the next minute begins with the next lag.
    pub(super) fn handle_caught_up(&mut self) {
        self.window = None;
        self.outrun = None;
    }

    /// What is so now.
    pub(super) const fn outrun(&self) -> Option<Outrun> {
        self.outrun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lag_that_shrinks_is_no_news_and_one_that_does_not_is_told_once() {
        let mut pace = Pace::default();
        assert_eq!(pace.handle_behind(100, at(0)), None);
        assert_eq!(pace.handle_behind(200, at(59)), None, "not a minute yet");
        assert_eq!(pace.handle_behind(99, at(60)), None, "it comes nearer");
        let outrun = Outrun {
            before: 99,
            behind: 99,
        };
        assert_eq!(pace.handle_behind(99, at(120)), Some(outrun));
        assert_eq!(pace.outrun(), Some(outrun));
        assert_eq!(pace.handle_behind(300, at(180)), None, "it was told");
        pace.handle_caught_up();
        assert_eq!(pace.outrun(), None);
        assert_eq!(pace.handle_behind(300, at(500)), None, "a minute begins");
    }
}
