//! Room `journal`: answers to deposits: each ticket waits for its sequence, and is told its class when everything up to
//! there is decided. Nothing is kept per ticket but its number; who waits leaves a waker.
//! Must not know how a class is decided: that is `remote/confirm`.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::entry::{JournalId, Sequence};

/// What a deposit that landed was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AckClass {
    /// Flushed here and at every target of the in-sync set.
    Sync,
    /// Flushed here, in the memory of every target of the set: only where that level was asked for.
    Received,
    /// Flushed here only.
    Local,
}

/// Why nobody can say what became of a deposit. It may be in the journal or not; retrying with its key is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownReason {
    /// A write or flush went wrong after the entry was sealed.
    Poisoned,
    /// The journal was closed before the class was decided.
    Closed,
    /// The in-sync set did not answer, and the policy is reject.
    NotReplicated,
    /// The depositor's own deadline passed.
    Deadline,
}

/// The answer to a deposit. There is no bare OK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The entry is in the journal.
    Landed {
        /// Its number.
        sequence: Sequence,
        /// How well it is kept.
        class: AckClass,
        /// The entry that set the in-sync set it rests on; none where there never was one.
        set: Sequence,
    },
    /// The entry is certainly not in the journal.
    Refused {
        /// The number it would have had.
        sequence: Sequence,
    },
    /// It may be in the journal.
    Unknown {
        /// The number it has, if it is there.
        sequence: Sequence,
        /// Why.
        why: UnknownReason,
    },
}

/// How far a class reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The last entry of it.
    pub upto: Sequence,
    /// The class.
    pub class: AckClass,
    /// The entry that set the in-sync set.
    pub set: Sequence,
}

/// How the journal ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    why: UnknownReason,
    /// What lies beyond was never sealed.
    sealed: Sequence,
}

#[derive(Debug)]
struct State {
    released: Sequence,
    /// Newest last; the class of everything up to `released`, merged where it did not change.
    classes: VecDeque<Release>,
    /// In order of sequence.
    waiting: VecDeque<(Sequence, Waker)>,
    ended: Option<Ended>,
    /// Under policy reject: what waited when the set was lost was answered UNKNOWN up to here.
    unknown_upto: Sequence,
}

/// How many changes of class are remembered for tickets that are asked late.
const CLASSES_KEPT: usize = 1024;

/// The answers of one journal.
#[derive(Debug)]
pub struct Answers {
    state: Mutex<State>,
}

impl Answers {
    /// Nothing is answered yet, of what was deposited before this opening either.
    pub fn new() -> Arc<Self> {
        let state = State {
            released: Sequence::NONE,
            classes: VecDeque::new(),
            waiting: VecDeque::new(),
            ended: None,
            unknown_upto: Sequence::NONE,
        };
        Arc::new(Self {
            state: Mutex::new(state),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers everything up to `release.upto`.
    pub fn release(&self, release: Release) {
        let mut state = self.lock();
        if release.upto <= state.released || state.ended.is_some() {
            return;
        }
        state.released = release.upto;
        match state.classes.back_mut() {
            Some(last) if last.class == release.class && last.set == release.set => {
                last.upto = release.upto;
            }
            _ => state.classes.push_back(release),
        }
        if state.classes.len() > CLASSES_KEPT {
            state.classes.pop_front();
        }
        let count = state
            .waiting
            .partition_point(|(sequence, _)| *sequence <= release.upto);
        let woken: Vec<Waker> = state
            .waiting
            .drain(..count)
            .map(|(_, waker)| waker)
            .collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Answers everything beyond what is released: sealed entries UNKNOWN, the others REFUSED.
    pub fn end(&self, why: UnknownReason, sealed: Sequence) {
        let mut state = self.lock();
        if state.ended.is_none() {
            state.ended = Some(Ended { why, sealed });
        }
        let woken = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// Policy reject: what waits now, up to `upto`, is answered UNKNOWN; the entries stay and are replicated later.
    pub fn give_up(&self, upto: Sequence) {
        let mut state = self.lock();
        state.unknown_upto = state.unknown_upto.max(upto);
        let count = state
            .waiting
            .partition_point(|(sequence, _)| *sequence <= upto);
        let woken: Vec<Waker> = state
            .waiting
            .drain(..count)
            .map(|(_, waker)| waker)
            .collect();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Everything up to here has its class.
    pub fn released(&self) -> Sequence {
        self.lock().released
    }

    /// The ticket of an entry.
    pub fn ticket(self: &Arc<Self>, sequence: Sequence, again: bool) -> Ticket {
        let again = if again { Again::Here } else { Again::No };
        Ticket {
            sequence,
            again,
            answers: Arc::clone(self),
        }
    }

    /// The ticket of an entry that landed in another journal of the history, in an earlier term: its answer is known.
    pub(super) fn earlier(self: &Arc<Self>, sequence: Sequence, journal: JournalId) -> Ticket {
        Ticket {
            sequence,
            again: Again::In(journal),
            answers: Arc::clone(self),
        }
    }

    fn poll(&self, sequence: Sequence, waker: &Waker) -> Poll<Answer> {
        let mut state = self.lock();
        if let Some(answer) = state.answer(sequence) {
            return Poll::Ready(answer);
        }
        let at = state
            .waiting
            .partition_point(|(waiting, _)| *waiting <= sequence);
        match at
            .checked_sub(1)
            .and_then(|before| state.waiting.get_mut(before))
        {
            Some((waiting, kept)) if *waiting == sequence && kept.will_wake(waker) => {}
            _ => state.waiting.insert(at, (sequence, waker.clone())),
        }
        Poll::Pending
    }
}

impl State {
    fn answer(&self, sequence: Sequence) -> Option<Answer> {
        if sequence <= self.released {
            // Of those forgotten, the oldest kept is true: who joined has everything before, too.
            let release = self
                .classes
                .iter()
                .find(|release| sequence <= release.upto)?;
            return Some(Answer::Landed {
                sequence,
                class: release.class,
                set: release.set,
            });
        }
        if sequence <= self.unknown_upto {
            return Some(Answer::Unknown {
                sequence,
                why: UnknownReason::NotReplicated,
            });
        }
        let ended = self.ended?;
        Some(if sequence <= ended.sealed {
            Answer::Unknown {
                sequence,
                why: ended.why,
            }
        } else {
            Answer::Refused { sequence }
        })
    }
}

/// The promise of an answer. Dropping it undoes nothing: the entry stays deposited (failures.md DEP-7).
#[derive(Debug, Clone)]
pub struct Ticket {
    sequence: Sequence,
    again: Again,
    answers: Arc<Answers>,
}

/// Whether a deposit had landed before, under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It did not.
    No,
    /// It did, in this journal.
    Here,
    /// It did, in an earlier term of the recovery group, in this other journal.
    In(JournalId),
}

impl Again {
    /// Whether it did.
    pub fn is_again(self) -> bool {
        self != Self::No
    }

    /// The other journal it is in, if it is in one.
    pub const fn journal(self) -> Option<JournalId> {
        match self {
            Self::In(journal) => Some(journal),
            Self::No | Self::Here => None,
        }
    }
}

impl Ticket {
    /// The entry's number, final once the answer is `Landed`.
    pub const fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Whether this deposit had landed before, under the same key.
    pub const fn again(&self) -> Again {
        self.again
    }

    /// What is certain of an entry in another journal: it is in the history, and it is here.
    fn earlier(&self) -> Option<Answer> {
        let sequence = self.sequence;
        self.again.journal().map(|_| Answer::Landed {
            sequence,
            class: AckClass::Local,
            set: Sequence::NONE,
        })
    }

    /// The answer if there is one already.
    pub fn now(&self) -> Option<Answer> {
        self.earlier()
            .or_else(|| self.answers.lock().answer(self.sequence))
    }

    /// Blocks the thread until there is an answer or the time is over, then UNKNOWN.
    pub fn wait(&self, at_most: Duration) -> Answer {
        if let Some(answer) = self.earlier() {
            return answer;
        }
        let bell = Arc::new(Bell::default());
        match self
            .answers
            .poll(self.sequence, &Waker::from(Arc::clone(&bell)))
        {
            Poll::Ready(answer) => return answer,
            Poll::Pending => bell.wait(at_most),
        }
        self.now().unwrap_or(Answer::Unknown {
            sequence: self.sequence,
            why: UnknownReason::Deadline,
        })
    }
}

/// Wakes a blocked thread.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    fn wait(&self, at_most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(rung, at_most, |rung| !*rung);
        drop(waited);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl Future for Ticket {
    type Output = Answer;

    /// Cancel safe: yes, because nothing but a waker is kept, and the ticket can be asked again.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.earlier() {
            Some(answer) => Poll::Ready(answer),
            None => self.answers.poll(self.sequence, cx.waker()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(upto: u64, class: AckClass) -> Release {
        Release {
            upto: Sequence::new(upto),
            class,
            set: Sequence::NONE,
        }
    }

    #[test]
    fn tickets_are_answered_in_order_with_the_class_of_their_place() {
        let answers = Answers::new();
        let tickets: Vec<Ticket> = (1..=4)
            .map(|n| answers.ticket(Sequence::new(n), false))
            .collect();
        answers.release(release(2, AckClass::Sync));
        answers.release(release(3, AckClass::Local));
        let classes: Vec<Option<AckClass>> = tickets
            .iter()
            .map(|ticket| match ticket.now() {
                Some(Answer::Landed { class, .. }) => Some(class),
                _ => None,
            })
            .collect();
        assert_eq!(
            classes,
            [
                Some(AckClass::Sync),
                Some(AckClass::Sync),
                Some(AckClass::Local),
                None
            ]
        );
    }

    #[test]
    fn when_the_journal_ends_sealed_entries_are_unknown_and_unsealed_ones_refused() {
        let answers = Answers::new();
        answers.release(release(5, AckClass::Local));
        let (sealed, unsealed) = (
            answers.ticket(Sequence::new(6), false),
            answers.ticket(Sequence::new(7), false),
        );
        let waiting = std::thread::spawn(move || sealed.wait(Duration::from_mins(1)));
        answers.end(UnknownReason::Poisoned, Sequence::new(6));
        let why = UnknownReason::Poisoned;
        assert_eq!(
            waiting.join().unwrap(),
            Answer::Unknown {
                sequence: Sequence::new(6),
                why
            }
        );
        assert_eq!(
            unsealed.now(),
            Some(Answer::Refused {
                sequence: Sequence::new(7)
            })
        );
    }

    #[test]
    fn a_ticket_that_waits_too_long_is_unknown_but_may_be_asked_again() {
        let answers = Answers::new();
        let ticket = answers.ticket(Sequence::new(1), false);
        assert!(matches!(
            ticket.wait(Duration::ZERO),
            Answer::Unknown {
                why: UnknownReason::Deadline,
                ..
            }
        ));
        answers.release(release(1, AckClass::Local));
        assert!(matches!(ticket.now(), Some(Answer::Landed { .. })));
    }
}
