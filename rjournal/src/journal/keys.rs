//! Room `journal`: the window of deposit keys: what makes a retried deposit land at most once (ruling 16). It is made
//! again from the receivers when a journal is opened; what left it before is known by its client's highest key.
//! Must not know how a deposit is answered.

use std::collections::{HashMap, VecDeque};

use super::earlier::{EarlierKeys, TermBegins};
use super::forgotten::Forgotten;
use crate::entry::{ClientId, DepositKey, JournalId, Sequence};

/// What became of a deposit under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFound {
    /// Not deposited within the window: go on.
    New,
    /// It is this entry.
    Landed {
        /// The entry.
        sequence: Sequence,
        /// The journal it is in, where it landed in an earlier term in another one.
        journal: Option<JournalId>,
        /// Whether what was deposited then is what is deposited now.
        same_content: bool,
    },
    /// It is not above every key of this client that was forgotten: nobody can tell whether it landed.
    TooOld,
}

#[derive(Debug, Clone, Copy)]
struct Landed {
    key: u64,
    content: [u8; 16],
    sequence: Sequence,
    /// Another journal of the history it is in.
    journal: Option<JournalId>,
}

/// All keys of the last so many sequences.
#[derive(Debug)]
pub(super) struct KeyWindow {
    window: u64,
    /// Of each client, in order of key.
    clients: HashMap<ClientId, VecDeque<Landed>>,
    /// In order of sequence, to forget the oldest.
    order: VecDeque<(Sequence, DepositKey)>,
    /// Keys of other journals in order of the history, each with its index there, and where this journal's term begins.
    earlier: VecDeque<(u64, DepositKey)>,
    begins: TermBegins,
    /// What left the window.
    forgotten: Forgotten,
}

impl KeyWindow {
    /// An empty window over `window` sequences, after what was forgotten before.
    pub(super) fn new(window: u64, forgotten: Forgotten) -> Self {
        Self {
            window,
            clients: HashMap::new(),
            order: VecDeque::new(),
            earlier: VecDeque::new(),
            begins: TermBegins::default(),
            forgotten,
        }
    }

    /// Takes over what landed in other journals of the history, before the first deposit; `last` is the last entry of this one.
    pub(super) fn remember(&mut self, earlier: &EarlierKeys, begins: TermBegins, last: Sequence) {
        self.begins = begins;
        self.forgotten.join(earlier.forgotten(), begins.sequence);
        for found in earlier.landed() {
            let landed = self.clients.entry(found.key.client).or_default();
            let at = landed.partition_point(|landed| landed.key < found.key.key);
            if landed.get(at).is_some_and(|same| same.key == found.key.key) {
                continue;
            }
            landed.insert(
                at,
                Landed {
                    key: found.key.key,
                    content: found.content,
                    sequence: found.sequence,
                    journal: Some(found.segment.journal),
                },
            );
            self.earlier.push_back((found.index, found.key));
        }
        self.leave(last);
    }

    /// What lies a window before an entry of this journal is forgotten.
    fn leave(&mut self, sequence: Sequence) {
        while let Some((oldest, key)) = self.order.front().copied() {
            if sequence.entries_since(oldest) < self.window {
                break;
            }
            self.order.pop_front();
            self.forget(key, oldest);
        }
        let now = self.begins.index + sequence.entries_since(self.begins.sequence);
        while let Some((index, key)) = self.earlier.front().copied() {
            if now.saturating_sub(index) < self.window {
                break;
            }
            self.earlier.pop_front();
            self.forget(key, sequence);
        }
    }

    /// Looks a key up.
    pub(super) fn find(&self, key: DepositKey, content: &[u8; 16]) -> KeyFound {
        let landed = self.clients.get(&key.client);
        let same = landed.and_then(|landed| {
            let index = landed.binary_search_by_key(&key.key, |landed| landed.key);
            landed.get(index.ok()?)
        });
        if let Some(landed) = same {
            return KeyFound::Landed {
                sequence: landed.sequence,
                journal: landed.journal,
                same_content: landed.content == *content,
            };
        }
        // Above all that was forgotten a key is new, or merely late: one that landed would be in the window. Keys grow, so
        // one above all in the window was never forgotten.
        let is_next = || {
            landed
                .and_then(VecDeque::back)
                .is_some_and(|last| key.key > last.key)
        };
        let too_old = self.forgotten.highest(key.client).map_or_else(
            || self.forgotten.may_be_dropped(key.client) && !is_next(),
            |highest| key.key <= highest,
        );
        if too_old {
            KeyFound::TooOld
        } else {
            KeyFound::New
        }
    }

    /// What a window without the entries up to `upto` has forgotten.
    pub(super) fn forgotten_upto(&self, upto: Sequence) -> Forgotten {
        let mut forgotten = self.forgotten.clone();
        let gone = self
            .order
            .partition_point(|(sequence, _)| *sequence <= upto);
        for (sequence, key) in self.order.range(..gone) {
            forgotten.note(*key, *sequence);
        }
        forgotten
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
                journal: None,
            },
        );
        self.order.push_back((sequence, key));
        self.leave(sequence);
    }

    fn forget(&mut self, key: DepositKey, sequence: Sequence) {
        self.forgotten.note(key, sequence);
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
    use super::super::earlier::EarlierKey;
    use super::*;
    use crate::entry::SegmentId;

    fn key(client: u8, key: u64) -> DepositKey {
        DepositKey {
            client: ClientId::from_bytes([client; 16]),
            key,
        }
    }

    fn at(sequence: u64) -> Sequence {
        Sequence::new(sequence)
    }

    fn window(window: u64) -> KeyWindow {
        KeyWindow::new(window, Forgotten::default())
    }

    #[test]
    fn a_retry_finds_its_first_deposit_and_other_content_is_told_apart() {
        let mut keys = window(100);
        assert_eq!(keys.find(key(1, 7), &[1; 16]), KeyFound::New);
        keys.note(key(1, 7), [1; 16], at(5));
        let landed = |same_content| KeyFound::Landed {
            sequence: at(5),
            journal: None,
            same_content,
        };
        assert_eq!(keys.find(key(1, 7), &[1; 16]), landed(true));
        assert_eq!(keys.find(key(1, 7), &[2; 16]), landed(false));
        assert_eq!(keys.find(key(2, 7), &[1; 16]), KeyFound::New);
    }

    #[test]
    fn a_key_below_the_window_is_too_old_once_anything_was_forgotten() {
        let mut keys = window(10);
        keys.note(key(1, 1), [1; 16], at(1));
        keys.note(key(1, 5), [1; 16], at(9));
        assert_eq!(keys.find(key(1, 0), &[1; 16]), KeyFound::New);
        keys.note(key(1, 8), [1; 16], at(12));
        assert_eq!(keys.order.len(), 2);
        assert_eq!(keys.find(key(1, 1), &[1; 16]), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 7), &[1; 16]), KeyFound::New);
    }

    #[test]
    fn the_keys_of_a_client_that_left_the_window_are_too_old_and_its_next_one_is_new() {
        let mut keys = window(10);
        keys.note(key(1, 3), [1; 16], at(1));
        keys.note(key(2, 1), [1; 16], at(20));
        assert_eq!(keys.find(key(1, 3), &[1; 16]), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 2), &[1; 16]), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 4), &[1; 16]), KeyFound::New);
        // A lower one in the window makes no new one of a higher one that left it.
        keys.note(key(1, 2), [1; 16], at(21));
        assert_eq!(keys.find(key(1, 3), &[1; 16]), KeyFound::TooOld);
    }

    /// A takeover: what the one before deposited is found in its journal, and leaves the window by its place in the history.
    #[test]
    fn keys_of_another_journal_are_found_there_until_they_leave_the_window_of_the_history() {
        let journal = JournalId::from_bytes([9; 16]);
        let segment = SegmentId { term: 1, journal };
        let mut earlier = EarlierKeys::default();
        for n in 1..=30 {
            earlier.note(EarlierKey {
                key: key(1, n),
                content: [n as u8; 16],
                segment,
                sequence: at(n),
                index: n,
            });
        }
        earlier.forget(30, 20);
        let begins = TermBegins {
            sequence: at(5),
            index: 30,
        };
        let mut keys = window(20);
        keys.note(key(2, 7), [7; 16], at(3));
        keys.remember(&earlier, begins, at(5));
        let landed = |n, same_content| KeyFound::Landed {
            sequence: at(n),
            journal: Some(journal),
            same_content,
        };
        assert_eq!(keys.find(key(1, 10), &[10; 16]), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 11), &[11; 16]), landed(11, true));
        assert_eq!(keys.find(key(1, 11), &[0; 16]), landed(11, false));
        assert_eq!(keys.find(key(1, 31), &[0; 16]), KeyFound::New);
        assert_eq!(keys.find(key(3, 1), &[0; 16]), KeyFound::New);
        // Own keys go on beside them.
        keys.note(key(1, 31), [31; 16], at(10));
        assert_eq!(keys.find(key(1, 15), &[15; 16]), KeyFound::TooOld);
        assert_eq!(keys.find(key(1, 16), &[16; 16]), landed(16, true));
        keys.note(key(4, 1), [1; 16], at(25));
        assert_eq!(keys.find(key(1, 30), &[30; 16]), KeyFound::TooOld);
        let own = KeyFound::Landed {
            sequence: at(10),
            journal: None,
            same_content: true,
        };
        assert_eq!(keys.find(key(1, 31), &[31; 16]), own);
        assert_eq!(keys.find(key(2, 7), &[7; 16]), KeyFound::TooOld);
    }

    #[test]
    fn what_was_forgotten_of_other_journals_reads_back_with_its_place() {
        let segment = SegmentId {
            term: 3,
            journal: JournalId::from_bytes([9; 16]),
        };
        let mut earlier = EarlierKeys::default();
        earlier.note(EarlierKey {
            key: key(1, 4),
            content: [4; 16],
            segment,
            sequence: at(8),
            index: 80,
        });
        assert!(!earlier.forget(81, 10));
        assert!(earlier.forget(90, 10));
        let bytes = earlier.encode_forgotten((segment, at(8)));
        let (read, place, sequence) = EarlierKeys::decode_forgotten(&bytes).expect("as it was");
        assert_eq!((place, sequence), (segment, at(8)));
        assert_eq!(read.forgotten(), earlier.forgotten());
        for end in 0..bytes.len() {
            assert!(EarlierKeys::decode_forgotten(&bytes[..end]).is_none());
        }
    }

    #[test]
    fn a_window_made_again_behind_what_is_kept_knows_the_same_keys() {
        let mut keys = window(10);
        for n in 1..=30 {
            keys.note(key(n as u8 % 4, n), [1; 16], at(n));
        }
        // Cut also behind what the window still has, as receivers are deleted by force.
        for upto in [20, 25] {
            let mut again = KeyWindow::new(10, keys.forgotten_upto(at(upto)));
            for n in upto + 1..=30 {
                again.note(key(n as u8 % 4, n), [1; 16], at(n));
            }
            for n in 1..=34 {
                let key = key(n as u8 % 4, n);
                let expected = match keys.find(key, &[1; 16]) {
                    KeyFound::Landed { sequence, .. } if sequence <= at(upto) => KeyFound::TooOld,
                    other => other,
                };
                assert_eq!(again.find(key, &[1; 16]), expected, "{n} {upto}");
            }
        }
    }
}
