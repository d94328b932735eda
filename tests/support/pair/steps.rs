//! Package `tests`, the pair: one step after the other, and time.

use std::time::Duration;

use super::Pair;
use crate::checkers;

impl Pair {
    /// The source seals what was deposited; links ship it at once if they may.
    pub fn seal(&mut self) -> &mut Self {
        self.cluster.seal();
        self
    }

    /// The source writes and flushes what it sealed.
    pub fn write(&mut self) -> &mut Self {
        self.cluster.write();
        self
    }

    /// Everything under way to a system arrives there; nothing is flushed.
    pub fn arrive(&mut self, at: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            while self
                .cluster
                .connections
                .get(index)
                .is_some_and(|c| c.to == at && !c.forth.is_empty())
            {
                if !self.cluster.deliver_forth(index) {
                    break;
                }
            }
        }
        self
    }

    /// The next frame under way to a system arrives there; nothing is flushed.
    pub fn arrive_one(&mut self, at: usize) -> &mut Self {
        let mut connections = self.cluster.connections.iter();
        if let Some(index) = connections.rposition(|c| c.to == at) {
            self.cluster.deliver_forth(index);
        }
        self
    }

    /// A target flushes what it was asked to.
    pub fn flush(&mut self, node: usize) -> &mut Self {
        self.cluster.flush(node);
        self
    }

    /// Everything a system answered arrives at its source.
    pub fn return_from(&mut self, node: usize) -> &mut Self {
        for index in 0..self.cluster.connections() {
            while self
                .cluster
                .connections
                .get(index)
                .is_some_and(|c| c.to == node && !c.back.is_empty())
            {
                self.cluster.deliver_back(index);
            }
        }
        self
    }

    /// Both ends notice that their connection is gone.
    pub fn notice(&mut self) -> &mut Self {
        for index in (0..self.cluster.connections()).rev() {
            if self.cluster.connections[index].closed {
                self.cluster.deliver_forth(index);
                self.cluster.deliver_back(index);
            }
        }
        self
    }

    /// Answers all dials; nothing else moves.
    pub fn dial(&mut self) -> &mut Self {
        while self.cluster.answer_dial() {}
        self
    }

    /// Brings a new session as far as both ends stream, without any flush a session asks for.
    pub fn couple_without_flush(&mut self, node: usize) -> &mut Self {
        self.dial();
        for _ in 0..200 {
            self.arrive(node).return_from(node);
        }
        self
    }

    /// All that can happen happens; time stands still.
    pub fn settle(&mut self) -> &mut Self {
        self.cluster.settle();
        self
    }

    /// Time goes on, and all that can happen happens.
    pub fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.cluster.now + time;
        while self.cluster.now < end {
            let step = end.since(self.cluster.now).min(Duration::from_millis(50));
            self.cluster.tick(step);
            self.cluster.settle();
        }
        self
    }

    /// As [`Self::pass`], in seconds.
    pub fn seconds(&mut self, seconds: u64) -> &mut Self {
        self.pass(Duration::from_secs(seconds))
    }

    /// Only the clock goes on.
    pub fn wait(&mut self, time: Duration) -> &mut Self {
        self.cluster.tick(time);
        self
    }

    /// Time goes on until everything is level and in sync.
    ///
    /// # Panics
    /// When that does not come to pass.
    #[track_caller]
    pub fn recover(&mut self) -> &mut Self {
        self.cluster.prepare_spare();
        let level = self
            .cluster
            .settle_until(Duration::from_mins(1), |cluster| {
                cluster.is_level() && cluster.is_in_sync()
            });
        assert!(
            level,
            "it does not come level:\n{}",
            self.cluster.describe()
        );
        self
    }

    /// As [`Self::recover`]; then everything that was answered must be there, and all copies must be the same bytes.
    #[track_caller]
    pub fn recovers_whole(&mut self) -> &mut Self {
        self.recover();
        checkers::answers_are_true(&self.cluster);
        checkers::receivers_are_identical(&self.cluster);
        self
    }
}
