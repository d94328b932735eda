//! Room `database`: record locks: one owner at a time, waiters in order, each with a time-out. A lock is given back when its
//! guard is dropped. Must not know transactions.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rjournal::entry::ObjectId;
use tokio::sync::oneshot;

/// What is locked: a row, whether it exists or not.
pub(crate) type LockKey = (ObjectId, Vec<u8>);

type Table = HashMap<LockKey, VecDeque<oneshot::Sender<()>>>;

/// All locks of a database.
#[derive(Debug, Default, Clone)]
pub(crate) struct LockTable {
    /// A key is in the table while it is locked, with those who wait for it.
    table: Arc<Mutex<Table>>,
}

/// A lock that is held.
#[derive(Debug)]
pub(crate) struct LockGuard {
    key: LockKey,
    table: Arc<Mutex<Table>>,
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LockTable {
    /// Takes a lock; nothing when it was not to be had in time.
    ///
    /// Cancel safe: yes, a lock granted to a future that is gone goes to the next.
    pub(crate) async fn take(&self, key: LockKey, at_most: Duration) -> Option<LockGuard> {
        let mut granted = {
            let mut table = lock(&self.table);
            match table.get_mut(&key) {
                None => {
                    table.insert(key.clone(), VecDeque::new());
                    return Some(self.guard(key));
                }
                Some(waiters) => {
                    let (send, receive) = oneshot::channel();
                    waiters.push_back(send);
                    receive
                }
            }
        };
        match tokio::time::timeout(at_most, &mut granted).await {
            Ok(Ok(())) => Some(self.guard(key)),
            Ok(Err(_)) => None,
            Err(_) => {
                granted.close();
                // It may have been granted at the last moment.
                granted.try_recv().is_ok().then(|| self.guard(key))
            }
        }
    }

    fn guard(&self, key: LockKey) -> LockGuard {
        LockGuard {
            key,
            table: Arc::clone(&self.table),
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        let Some(waiters) = table.get_mut(&self.key) else {
            return;
        };
        while let Some(next) = waiters.pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        table.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> LockKey {
        (ObjectId::NONE, vec![n])
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_goes_to_the_next_who_waits_and_a_late_one_gives_up() {
        let table = LockTable::default();
        let first = table.take(key(1), Duration::ZERO).await.unwrap();
        assert!(table.take(key(1), Duration::from_secs(1)).await.is_none());
        assert!(table.take(key(2), Duration::ZERO).await.is_some());
        let waiting = tokio::spawn({
            let table = table.clone();
            async move { table.take(key(1), Duration::from_mins(1)).await }
        });
        tokio::task::yield_now().await;
        drop(first);
        let second = waiting.await.unwrap();
        assert!(second.is_some());
        drop(second);
        assert!(lock(&table.table).is_empty());
    }
}
