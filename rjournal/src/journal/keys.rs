//! Room `journal`: the window of deposit keys: what makes a retried deposit land at most once (ruling 16). It is made
//! again from the receivers when a journal is opened, so it depends on nothing but them and its length.
//! Must not know how a deposit is answered.

use std::collections::{HashMap, VecDeque};

use crate::entry::{ClientId, DepositKey, Sequence};

/// What became of a deposit under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFound {
    /// Not deposited within the window: go on.
    New,
    /// It is this entry.
    Landed {
        /// The entry.
        sequence: Sequence,
        /// Whether what was deposited then is what is deposited now.
        same_content: bool,
    },
    /// It lies below everything remembered of this client, and older keys have been forgotten.
    TooOld,
}

#[derive(Debug, Clone, Copy)]
struct Landed {
    key: u64,
    content: [u8; 16],
    sequence: Sequence,
}

/// All keys of the last so many sequences.
#[derive(Debug)]
pub(super) struct KeyWindow {
    window: u64,
    /// Of each client, in order of key.
    clients: HashMap<ClientId, VecDeque<Landed>>,
    /// In order of sequence, to forget the oldest.
    order: VecDeque<(Sequence, DepositKey)>,
}

impl KeyWindow {
    /// An empty window over `window` sequences.
    pub(super) fn new(window: u64) -> Self {
        Self {
            window,
            clients: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Looks a key up; `tip` is the last entry numbered so far.
    pub(super) fn find(&self, key: DepositKey, content: &[u8; 16], tip: Sequence) -> KeyFound {
        let Some(landed) = self.clients.get(&key.client) else {
            return KeyFound::New;
        };
        match landed.binary_search_by_key(&key.key, |landed| landed.key) {
            Ok(index) => landed
                .get(index)
                .map_or(KeyFound::New, |landed| KeyFound::Landed {
                    sequence: landed.sequence,
                    same_content: landed.content == *content,
                }),
            // While the window reaches back to the first entry nothing was forgotten, and a low key is merely late.
            Err(0) if tip.get() > self.window => KeyFound::TooOld,
            Err(_) => KeyFound::New,
        }
    }

    /// Notes a key that landed, and forgets those that left the window.
    pub(super) fn note(&mut self, key: DepositKey, content: [u8; 16], sequence: Sequence) {
        let landed = self.clients.entry(key.client).or_default();
        let at = landed.partition_point(|landed| landed.key < key.key);
        landed.insert(
            at,
            Landed {
                key: key.key,
                content,
                sequence,
            },
        );
        self.order.push_back((sequence, key));
        while let Some((oldest, key)) = self.order.front().copied() {
            if sequence.entries_since(oldest) < self.window {
                break;
            }
            self.order.pop_front();
            self.forget(key);
        }
    }

    fn forget(&mut self, key: DepositKey) {
        let Some(landed) = self.clients.get_mut(&key.client) else {
            return;
        };
        if let Ok(index) = landed.binary_search_by_key(&key.key, |landed| landed.key) {
            landed.remove(index);
        }
        if landed.is_empty() {
            self.clients.remove(&key.client);
        }
    }

    /// Over how many sequences keys are remembered.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: u8, key: u64) -> DepositKey {
        DepositKey {
            client: ClientId::from_bytes([client; 16]),
            key,
        }
    }

    fn at(sequence: u64) -> Sequence {
        Sequence::new(sequence)
    }

    #[test]
    fn a_retry_finds_its_first_deposit_and_other_content_is_told_apart() {
        let mut keys = KeyWindow::new(100);
        assert_eq!(keys.find(key(1, 7), &[1; 16], at(4)), KeyFound::New);
        keys.note(key(1, 7), [1; 16], at(5));
        let landed = |same_content| KeyFound::Landed {
            sequence: at(5),
            same_content,
        };
        assert_eq!(keys.find(key(1, 7), &[1; 16], at(9)), landed(true));
        assert_eq!(keys.find(key(1, 7), &[2; 16], at(9)), landed(false));
        assert_eq!(keys.find(key(2, 7), &[1; 16], at(9)), KeyFound::New);
    }

    #[test]
    fn a_key_below_the_window_is_too_old_once_anything_was_forgotten() {
        let mut keys = KeyWindow::new(10);
        keys.note(key(1, 1), [1; 16], at(1));
        keys.note(key(1, 5), [1; 16], at(9));
        assert_eq!(keys.find(key(1, 0), &[1; 16], at(9)), KeyFound::New);
        keys.note(key(1, 8), [1; 16], at(12));
        assert_eq!(keys.order.len(), 2);
        assert_eq!(keys.find(key(1, 1), &[1; 16], at(12)), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 7), &[1; 16], at(12)), KeyFound::New);
    }
}
