//! Package `tests`, groups under seeds: what a member does in several steps, as a future: between any two of them everything else
//! may happen, and a crash drops it where it stands. Must not know what the steps are.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Whose, and which life of it.
    of: (usize, u64),
    name: &'static str,
    work: Work,
}

/// All tasks.
#[derive(Default)]
pub(super) struct Tasks {
    running: RefCell<Vec<Task>>,
    begun: RefCell<Vec<Task>>,
}

impl Tasks {
    /// Begins a task of a member in one of its lives.
    pub(super) fn spawn(
        &self,
        of: (usize, u64),
        name: &'static str,
        work: impl Future<Output = ()> + 'static,
    ) {
        let work = Box::pin(work);
        self.begun.borrow_mut().push(Task { of, name, work });
    }

    /// Lets go of all of them, as far as they are not in the middle of something.
    pub(super) fn clear(&self) {
        for tasks in [&self.running, &self.begun] {
            let taken = tasks
                .try_borrow_mut()
                .map(|mut tasks| std::mem::take(&mut *tasks));
            drop(taken);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.take_up();
        self.running.borrow().len()
    }

    /// How many of this name a member has.
    pub(super) fn count_of(&self, member: usize, name: &str) -> usize {
        self.take_up();
        let running = self.running.borrow();
        let of = running.iter().filter(|task| task.of.0 == member);
        of.filter(|task| task.name == name).count()
    }

    fn take_up(&self) {
        self.running
            .borrow_mut()
            .append(&mut self.begun.borrow_mut());
    }

    /// Goes on with one.
    pub(super) fn poll(&self, index: usize) {
        self.take_up();
        let mut task = self.running.borrow_mut().remove(index);
        let mut context = Context::from_waker(Waker::noop());
        if task.work.as_mut().poll(&mut context).is_pending() {
            let mut running = self.running.borrow_mut();
            let index = index.min(running.len());
            running.insert(index, task);
        }
    }

    /// A member's life is over: what it was doing is never finished.
    pub(super) fn drop_of(&self, member: usize) {
        self.take_up();
        let kept: Vec<Task> = {
            let mut running = self.running.borrow_mut();
            let all = std::mem::take(&mut *running);
            let (gone, kept) = all.into_iter().partition(|task| task.of.0 == member);
            drop::<Vec<Task>>(gone);
            kept
        };
        *self.running.borrow_mut() = kept;
    }

    /// Names of what is under way, for messages.
    pub(super) fn describe(&self) -> Vec<(usize, &'static str)> {
        self.take_up();
        let running = self.running.borrow();
        running.iter().map(|task| (task.of.0, task.name)).collect()
    }
}

/// Comes back at the next poll.
pub(super) async fn next_poll() {
    let mut polled = false;
    poll_fn(move |_| {
        if polled {
            Poll::Ready(())
        } else {
            polled = true;
            Poll::Pending
        }
    })
    .await;
}

/// Comes back with what `look` finds, once it finds something.
pub(super) async fn found<T>(mut look: impl FnMut() -> Option<T>) -> T {
    poll_fn(move |_| look().map_or(Poll::Pending, Poll::Ready)).await
}

/// A lock of one member.
#[derive(Default, Clone)]
pub(super) struct Lock(Rc<Cell<bool>>);

/// A lock that is held.
pub(super) struct Held(Rc<Cell<bool>>);

impl Lock {
    /// Waits for it.
    pub(super) async fn hold(&self) -> Held {
        found(|| (!self.0.replace(true)).then_some(())).await;
        Held(Rc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
