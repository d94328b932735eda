//! Room `journal`: what is left of deposit keys that left the window: of each client the highest, so that a key that may have
//! landed is never taken for a new one (failures.md DEP-9), and the file that keeps it when receivers go (`FORMAT.md`).
//! Must not know the window, nor what is answered.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, SlotContent, SlotFile};
use crate::entry::{ClientId, DepositKey, Sequence};
use crate::error::JournalError;

/// Clients remembered one by one. Of the others it is only remembered that they were there.
const CLIENTS_MAX: usize = 65_536;
/// Bits for those others: a power of two, so that a client's bits are cut out of a hash.
const BITS: usize = 1 << 20;
/// Bits each of them sets.
const BITS_EACH: usize = 3;
const CLIENT_BYTES: usize = 32;
const HEADER_BYTES: usize = 16;
const NAME: &str = "keys";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Highest {
    key: u64,
    sequence: Sequence,
}

/// Of each client the highest key that left the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Forgotten {
    clients: HashMap<ClientId, Highest>,
    /// Bits of the clients that had to make room; nothing while there are none.
    dropped: Vec<u64>,
}

impl Forgotten {
    /// A key that landed leaves the window.
    pub(super) fn note(&mut self, key: DepositKey, sequence: Sequence) {
        let new = Highest {
            key: key.key,
            sequence,
        };
        let highest = self.clients.entry(key.client).or_insert(new);
        highest.key = highest.key.max(key.key);
        highest.sequence = highest.sequence.max(sequence);
        if self.clients.len() > CLIENTS_MAX {
            self.drop_oldest();
        }
    }

    /// Takes over what another one remembers. Ages are counted differently there: all of it is as old as `sequence`.
    pub(super) fn join(&mut self, other: &Self, sequence: Sequence) {
        for (client, highest) in &other.clients {
            let key = DepositKey {
                client: *client,
                key: highest.key,
            };
            self.note(key, sequence);
        }
        if !other.dropped.is_empty() {
            self.dropped.resize(BITS / 64, 0);
            for (word, other) in self.dropped.iter_mut().zip(&other.dropped) {
                *word |= other;
            }
        }
    }

    /// The half that has not been heard of for longest makes room.
    fn drop_oldest(&mut self) {
        self.dropped.resize(BITS / 64, 0);
        let mut by_age: Vec<(Sequence, ClientId)> = self
            .clients
            .iter()
            .map(|(client, highest)| (highest.sequence, *client))
            .collect();
        by_age.sort_unstable();
        by_age.truncate(CLIENTS_MAX / 2);
        for (_, client) in by_age {
            self.clients.remove(&client);
            for (word, bit) in bits(client) {
                if let Some(word) = self.dropped.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// The highest key of a client that left the window; nothing where none did, or it is not remembered any more.
    pub(super) fn highest(&self, client: ClientId) -> Option<u64> {
        self.clients.get(&client).map(|highest| highest.key)
    }

    /// Whether a client may be one of those that had to make room: never no of one that is.
    pub(super) fn may_be_dropped(&self, client: ClientId) -> bool {
        let is_set = |(word, bit): (usize, u64)| {
            let found = self.dropped.get(word);
            found.is_some_and(|found| found & bit != 0)
        };
        bits(client).into_iter().all(is_set)
    }

    pub(super) fn encode(&self, upto: Sequence) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(
            HEADER_BYTES + self.clients.len() * CLIENT_BYTES + self.dropped.len() * 8,
        );
        bytes.extend_from_slice(&upto.get().to_le_bytes());
        bytes.extend_from_slice(&(self.clients.len() as u64).to_le_bytes());
        for (client, highest) in &self.clients {
            bytes.extend_from_slice(client.as_bytes());
            bytes.extend_from_slice(&highest.key.to_le_bytes());
            bytes.extend_from_slice(&highest.sequence.get().to_le_bytes());
        }
        for word in &self.dropped {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<(Sequence, Self)> {
        let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
        let (upto, rest) = bytes.split_at_checked(8)?;
        let (count, rest) = rest.split_at_checked(8)?;
        let count = usize::try_from(number(count)?).ok()?;
        let (clients, dropped) = rest.split_at_checked(count.checked_mul(CLIENT_BYTES)?)?;
        if count > CLIENTS_MAX || !(dropped.is_empty() || dropped.len() == BITS / 8) {
            return None;
        }
        let mut forgotten = Self::default();
        for client in clients.chunks_exact(CLIENT_BYTES) {
            let (id, rest) = client.split_at_checked(16)?;
            let (key, sequence) = rest.split_at_checked(8)?;
            let highest = Highest {
                key: number(key)?,
                sequence: Sequence::new(number(sequence)?),
            };
            let id = ClientId::from_bytes(id.try_into().ok()?);
            forgotten.clients.insert(id, highest);
        }
        for word in dropped.chunks_exact(8) {
            forgotten.dropped.push(number(word)?);
        }
        Some((Sequence::new(number(upto)?), forgotten))
    }
}

/// The bits of a client: each a word and the bit in it. Clients choose their ids, so they are hashed.
fn bits(client: ClientId) -> [(usize, u64); BITS_EACH] {
    let hash = blake3::hash(client.as_bytes());
    let mut numbers = hash.as_bytes().chunks_exact(4);
    [(); BITS_EACH].map(|()| {
        let number = numbers.next().and_then(|bytes| bytes.try_into().ok());
        let bit = u32::from_le_bytes(number.unwrap_or_default()) as usize % BITS;
        (bit / 64, 1 << (bit % 64))
    })
}

/// The file of what is forgotten.
#[derive(Debug)]
pub(super) struct ForgottenFile {
    slots: SlotFile,
    dir: PathBuf,
    /// Everything up to here is in it.
    upto: Sequence,
}

impl ForgottenFile {
    /// Opens it in a journal's directory, with what it says. A file that is not there, or damaged, is as good as an empty one:
    /// all receivers are read then.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Forgotten), JournalError> {
        let (slots, content) = SlotFile::open(disk, dir, NAME)
            .map_err(|source| JournalError::io("could not be read", dir.join(NAME), source))?;
        let found = match content {
            SlotContent::Found { bytes, .. } => Forgotten::decode(&bytes),
            SlotContent::Missing | SlotContent::Damaged(_) | SlotContent::Newer(_) => None,
        };
        let (upto, forgotten) = found.unwrap_or_default();
        let file = Self {
            slots,
            dir: dir.to_path_buf(),
            upto,
        };
        Ok((file, forgotten))
    }

    /// Keys of entries behind this one are found in the receivers only.
    pub(super) const fn upto(&self) -> Sequence {
        self.upto
    }

    /// Keeps what is forgotten of the entries up to `upto`, durably.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn save(
        &mut self,
        upto: Sequence,
        forgotten: &Forgotten,
    ) -> Result<(), JournalError> {
        self.slots.save(&forgotten.encode(upto)).map_err(|source| {
            JournalError::io("could not be written", self.dir.join(NAME), source)
        })?;
        self.upto = upto;
        Ok(())
    }

    /// Everything behind `at` is about to be cut, of a journal whose receivers begin behind `oldest`. Where the file speaks of
    /// what goes, the numbers it has passed are given out again: the receivers are to be read from their beginning then. Durable
    /// when this returns.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the disk refuses.
    pub(super) fn cut(
        disk: Arc<dyn Disk>,
        dir: &Path,
        at: Sequence,
        oldest: Sequence,
    ) -> Result<(), JournalError> {
        let (mut file, forgotten) = Self::open(disk, dir)?;
        if file.upto <= at {
            return Ok(());
        }
        // Of what is in no receiver any more the keys stay too old, and with them those that are cut: none lands twice.
        let kept = if oldest == Sequence::NONE {
            Forgotten::default()
        } else {
            forgotten
        };
        file.save(oldest, &kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        ClientId::from_bytes(bytes)
    }

    fn key(number: u64, key: u64) -> DepositKey {
        DepositKey {
            client: client(number),
            key,
        }
    }

    #[test]
    fn what_is_forgotten_is_read_as_it_was_written() {
        let mut forgotten = Forgotten::default();
        forgotten.note(key(1, 9), Sequence::new(5));
        forgotten.note(key(1, 7), Sequence::new(6));
        let bytes = forgotten.encode(Sequence::new(6));
        // The last entry, one client: its id, its highest key, the last entry one of its keys landed as.
        let words = [6, 1, 1, 0, 9, 6_u64];
        assert_eq!(bytes, words.map(u64::to_le_bytes).concat());
        assert_eq!(
            Forgotten::decode(&bytes),
            Some((Sequence::new(6), forgotten))
        );
        for end in 0..bytes.len() {
            assert_eq!(Forgotten::decode(&bytes[..end]), None, "{end}");
        }
    }

    #[test]
    fn what_was_kept_of_entries_that_are_cut_is_looked_for_in_the_receivers_again() {
        let disk: Arc<dyn Disk> = Arc::new(crate::disk::MemoryDisk::new());
        let dir = Path::new("journal");
        disk.create_dir(dir).unwrap();
        let mut forgotten = Forgotten::default();
        forgotten.note(key(1, 9), Sequence::new(50));
        let open = || ForgottenFile::open(Arc::clone(&disk), dir).unwrap();
        let cut = |at, oldest| {
            let (at, oldest) = (Sequence::new(at), Sequence::new(oldest));
            ForgottenFile::cut(Arc::clone(&disk), dir, at, oldest).unwrap();
            let (file, forgotten) = open();
            (file.upto().get(), forgotten.highest(client(1)))
        };
        open().0.save(Sequence::new(60), &forgotten).unwrap();
        assert_eq!(cut(60, 0), (60, Some(9)));
        // Receivers are gone: what they had is not known better.
        assert_eq!(cut(59, 40), (40, Some(9)));
        open().0.save(Sequence::new(60), &forgotten).unwrap();
        assert_eq!(cut(30, 0), (0, None));
    }

    #[test]
    fn a_client_that_made_room_is_never_taken_for_a_new_one() {
        let mut forgotten = Forgotten::default();
        let many = CLIENTS_MAX as u64 + 10;
        for number in 0..many {
            forgotten.note(key(number, 1), Sequence::new(number));
        }
        assert!(forgotten.clients.len() <= CLIENTS_MAX);
        let is_known = |number| {
            forgotten.highest(client(number)).is_some() || forgotten.may_be_dropped(client(number))
        };
        assert!((0..many).all(is_known));
        let mistaken = (many..2 * many).filter(|number| is_known(*number)).count();
        assert!(mistaken < 200, "{mistaken} new clients are refused");
        let (upto, read) = Forgotten::decode(&forgotten.encode(Sequence::new(many))).unwrap();
        assert_eq!((upto, read), (Sequence::new(many), forgotten));
    }
}
