//! Package `cli`, the demonstration: the ledger: every answer a client of the bank got, with its class and its time. What both
//! systems have is held against it. Must not know what a transaction does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rjournal::journal::AckClass;
use tokio::time::Instant;

use crate::demo::screen::Screen;
use crate::demo::{Ledger, rate};
use crate::error::CliError;
use crate::pair::until;
use crate::text;

/// How often what is going on is shown.
const SHOWN_EVERY: Duration = Duration::from_millis(500);

/// Which system answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::demo) enum Place {
    Prd,
    Bkp,
}

/// A transaction that was answered.
#[derive(Debug, Clone, Copy)]
pub(in crate::demo) struct Answered {
    pub(in crate::demo) client: i32,
    pub(in crate::demo) number: i64,
    pub(in crate::demo) delta: i64,
    /// Nothing where the answer was lost, and a later try found that it had landed.
    pub(in crate::demo) class: Option<AckClass>,
    /// Where.
    pub(in crate::demo) by: Place,
    pub(in crate::demo) at: Instant,
}

/// All answers so far, in the order they came.
#[derive(Debug, Default)]
pub(in crate::demo) struct Answers {
    all: Mutex<Vec<Answered>>,
    stop: AtomicBool,
}

impl Answered {
    /// Whether it was answered SYNC.
    pub(in crate::demo) fn is_sync(&self) -> bool {
        self.class == Some(AckClass::Sync)
    }

    /// Whether it was answered LOCAL.
    pub(in crate::demo) fn is_local(&self) -> bool {
        self.class == Some(AckClass::Local)
    }
}

impl Answers {
    fn taken(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, answered: Answered) {
        self.taken().push(answered);
    }

    /// No client begins anything more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A copy of them.
    pub(in crate::demo) fn all(&self) -> Vec<Answered> {
        self.taken().clone()
    }

    /// How many of each kind.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        for answered in self.taken().iter() {
            match answered.class {
                Some(AckClass::Sync) => ledger.sync += 1,
                Some(_) => ledger.local += 1,
                None => ledger.found += 1,
            }
        }
        ledger
    }

    /// Answers a second in a time that begins now.
    pub(in crate::demo) async fn rate(&self, time: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.taken().len());
        tokio::time::sleep(time).await;
        let done = self.taken().len() - before;
        rate(done as u64, began.elapsed())
    }

    /// Waits for the first answer behind a moment that is as asked for. Gives when it came.
    pub(in crate::demo) async fn after(
        &self,
        moment: Instant,
        asked: impl Fn(&Answered) -> bool,
    ) -> Result<Instant, CliError> {
        let mut found = None;
        until("a client is answered", async || {
            let all = self.taken();
            let late = all.iter().rev().take_while(|answered| answered.at > moment);
            let first = late.filter(|answered| asked(answered)).last();
            found = first.map(|answered| answered.at);
            Ok(found.is_some())
        })
        .await?;
        found.ok_or_else(|| CliError::internal(&"no answer"))
    }

    /// How many behind a moment were answered LOCAL.
    pub(in crate::demo) fn local_after(&self, moment: Instant) -> u64 {
        let all = self.taken();
        let late = all.iter().rev().take_while(|answered| answered.at > moment);
        late.filter(|answered| answered.is_local()).count() as u64
    }

    /// The longest time without any answer between the last one before `from` and the first one behind `to`.
    pub(in crate::demo) fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let all = self.taken();
        let first = all.partition_point(|answered| answered.at < from);
        let behind = all.partition_point(|answered| answered.at <= to);
        let seen = all.get(first.saturating_sub(1)..(behind + 1).min(all.len()));
        let pauses = seen.unwrap_or_default().windows(2);
        pauses
            .filter_map(|pair| match pair {
                [one, other] => Some(other.at - one.at),
                _ => None,
            })
            .max()
            .unwrap_or_default()
    }

    fn so_far(&self) -> (u64, &'static str) {
        let all = self.taken();
        let class = match all.last().map(|answered| answered.class) {
            Some(Some(AckClass::Sync)) => "SYNC",
            Some(Some(_)) => "LOCAL",
            _ => "-",
        };
        (all.len() as u64, class)
    }
}

/// Says how it goes on, until it is aborted.
pub(super) async fn show(answers: Arc<Answers>, screen: Screen) {
    let progress = screen.progress();
    let mut before = 0;
    let mut tick = tokio::time::interval(SHOWN_EVERY);
    loop {
        tick.tick().await;
        let (count, class) = answers.so_far();
        let rate = (count - before) * 2;
        before = count;
        let answered = if rate == 0 { "nothing" } else { class };
        progress.show(&format!(
            "{} transactions, {} a second, answered {answered} now",
            text::count(count),
            text::count(rate)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(answers: &Answers, began: Instant, at_ms: u64, class: Option<AckClass>) {
        answers.note(Answered {
            client: 1,
            number: 1,
            delta: 0,
            class,
            by: Place::Prd,
            at: began + Duration::from_millis(at_ms),
        });
    }

    #[test]
    fn a_pause_is_the_longest_time_without_an_answer_around_what_was_done() {
        let (answers, began) = (Answers::default(), Instant::now());
        for at in [0, 500, 510, 520, 700, 710, 2_000] {
            answered(&answers, began, at, Some(AckClass::Sync));
        }
        let at = |millis| began + Duration::from_millis(millis);
        let pause = |from, to| answers.longest_pause(at(from), at(to)).as_millis();
        assert_eq!(pause(515, 705), 180);
        // What it waited for before and behind counts, too.
        assert_eq!((pause(100, 505), pause(715, 720)), (500, 1_290));
        assert_eq!(pause(3_000, 3_100), 0, "nothing came behind it");
    }

    #[tokio::test]
    async fn the_first_answer_of_a_class_behind_a_moment_is_found() {
        let (answers, began) = (Answers::default(), Instant::now());
        answered(&answers, began, 10, Some(AckClass::Sync));
        answered(&answers, began, 20, Some(AckClass::Local));
        answered(&answers, began, 30, Some(AckClass::Local));
        let after = async |millis, class: Option<AckClass>| {
            let moment = began + Duration::from_millis(millis);
            let asked = |answered: &Answered| class.is_none() || answered.class == class;
            let at = answers.after(moment, asked).await.expect("an answer");
            (at - began).as_millis()
        };
        assert_eq!(after(5, None).await, 10);
        assert_eq!(after(5, Some(AckClass::Local)).await, 20);
        assert_eq!(after(20, Some(AckClass::Local)).await, 30);
        assert_eq!(answers.local_after(began), 2);
        let ledger = answers.ledger();
        assert_eq!((ledger.sync, ledger.local, ledger.found), (1, 2, 0));
    }
}
