//! Room `journal`: numbering: what an open journal demands of a deposit, its number and time, and its bytes in the open bundle.
//! All of it under the intake's one short lock, so nothing here waits. Must not know who deposits, or who writes.

use std::collections::HashMap;

use super::deposit::{Drain, Gate};
use super::keys::{KeyFound, KeyWindow};
use crate::entry::codec::{
    self, BUNDLE_BYTES_MAX, BUNDLE_ENTRIES_MAX, BUNDLE_HEADER_BYTES, EXTENSION_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
};
use crate::entry::{DepositKey, Draft, JournalId, Kind, Sequence, Timestamp};
use crate::error::DepositError;

/// Bundles are closed at this size, unless one entry is larger.
const BUNDLE_BYTES: usize = 1024 * 1024;
/// Most commit cycles open at once.
const CYCLES_MAX: usize = 65_536;

/// A commit cycle that was started and has no decision yet.
#[derive(Debug)]
pub(super) struct Cycle {
    /// Of a cycle whose commit will carry a deposit key: the key and a hash over all its entries.
    keyed: Option<(DepositKey, [u8; 16])>,
}

/// Entries on their way into a bundle.
#[derive(Debug)]
pub(super) struct OpenBundle {
    /// Free bytes for the header, then entries.
    pub(super) buffer: Vec<u8>,
    pub(super) entries: u32,
}

impl OpenBundle {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; BUNDLE_HEADER_BYTES],
            entries: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) gate: Gate,
    /// What is still taken while the role is handed over.
    pub(super) drain: Option<Drain>,
    pub(super) last: Sequence,
    pub(super) last_time: Timestamp,
    pub(super) open: OpenBundle,
    pub(super) cycles: HashMap<Sequence, Cycle>,
    /// Those of them whose commit will carry a deposit key.
    pub(super) keyed_cycles: u32,
    pub(super) keys: KeyWindow,
    pub(super) last_keyed: Sequence,
    /// Bytes the open bundle and those after it may still take in the attached receiver.
    pub(super) room: u64,
    /// A deposit waits for this much room.
    pub(super) room_wanted: u64,
    /// The disk could not give this much.
    pub(super) room_refused: u64,
    /// What the disk refused last and has not given since: asked for again with every errand.
    pub(super) room_missing: u64,
    /// Bytes a bundle may lose to alignment.
    pub(super) align: u64,
    /// The writer waits for work.
    pub(super) writer_waits: bool,
    /// Something other than entries waits for the writer.
    pub(super) errand: bool,
    pub(super) stop: bool,
}

pub(super) enum Checked {
    New(Option<(DepositKey, [u8; 16])>),
    /// The entry, and the journal it is in where that is another one.
    Landed(Sequence, Option<JournalId>),
}

/// What can be said of a draft without the journal.
pub(super) fn check_draft(draft: &Draft<'_>) -> Result<(), DepositError> {
    let bytes = draft.payload.len() as u64;
    if bytes > u64::from(PAYLOAD_BYTES_MAX) {
        return Err(DepositError::TooLarge {
            bytes,
            bytes_max: u64::from(PAYLOAD_BYTES_MAX),
        });
    }
    if draft.kind.is_journal_control() {
        return Err(DepositError::ReservedKind { kind: draft.kind });
    }
    let actor = draft.actor.map_or(0, |actor| actor.encoded().len());
    if actor > EXTENSION_BYTES_MAX - 64 {
        return Err(DepositError::TooLarge {
            bytes: actor as u64,
            bytes_max: EXTENSION_BYTES_MAX as u64,
        });
    }
    Ok(())
}

impl State {
    /// What is in the open bundle, in bytes.
    pub(super) fn open_bytes(&self) -> u64 {
        if self.open.is_empty() {
            0
        } else {
            self.open.buffer.len() as u64 + self.align
        }
    }

    pub(super) fn check_gate(&self, drafts: &[Draft<'_>]) -> Result<(), DepositError> {
        let count = drafts.len() as u64;
        match self.drain {
            None => {}
            Some(Drain::OpenCycles)
                if drafts
                    .iter()
                    .all(|draft| self.cycles.contains_key(&draft.cycle)) => {}
            Some(_) => return Err(DepositError::HandingOver),
        }
        match self.gate {
            Gate::Open => {}
            Gate::Held { upto } if self.last.get() + count <= upto.get() => {}
            Gate::Held { .. } => return Err(DepositError::SyncBlocked),
            Gate::Closed => return Err(DepositError::NotOpen),
            Gate::Poisoned => return Err(DepositError::Poisoned),
        }
        if self.last.get() + count > Sequence::LAST_USABLE.get() {
            return Err(DepositError::NumbersExhausted);
        }
        Ok(())
    }

    pub(super) fn check_keys_and_cycles(
        &self,
        drafts: &[Draft<'_>],
        content: Option<[u8; 16]>,
    ) -> Result<Checked, DepositError> {
        let mut keyed = None;
        for draft in drafts {
            let starts = draft.kind == Kind::CYCLE_START;
            let cycle = self.cycles.get(&draft.cycle);
            if starts && self.cycles.len() >= CYCLES_MAX {
                return Err(DepositError::TooManyCycles { max: CYCLES_MAX });
            }
            let inside = draft.cycle != Sequence::NONE || draft.kind.is_commitment();
            if inside && !starts && cycle.is_none() {
                return Err(DepositError::UnknownCycle { cycle: draft.cycle });
            }
            let Some(key) = draft.key else { continue };
            let content = match (draft.kind, cycle) {
                (
                    Kind::CYCLE_COMMIT,
                    Some(Cycle {
                        keyed: Some((declared, content)),
                    }),
                ) if *declared == key => *content,
                (Kind::CYCLE_COMMIT, _) => return Err(DepositError::KeyNotDeclared),
                (Kind::CYCLE_START, _) => [0; 16],
                (_, _) if draft.cycle != Sequence::NONE => {
                    return Err(DepositError::KeyNotDeclared);
                }
                _ => content.unwrap_or_default(),
            };
            match self.keys.find(key, &content) {
                KeyFound::New => {}
                // Whether a cycle under a used key is the same one shows only at its commit.
                KeyFound::Landed {
                    sequence,
                    journal,
                    same_content,
                } if same_content || starts => return Ok(Checked::Landed(sequence, journal)),
                KeyFound::Landed { sequence, .. } => {
                    return Err(DepositError::KeyConflict { sequence });
                }
                KeyFound::TooOld => {
                    return Err(DepositError::KeyTooOld {
                        window: self.keys.window(),
                    });
                }
            }
            keyed = Some((key, content));
        }
        Ok(Checked::New(keyed))
    }

    pub(super) fn check_room(&mut self, bytes: usize, entries: usize) -> Result<(), DepositError> {
        let whole = BUNDLE_HEADER_BYTES + bytes + self.align as usize;
        if whole > BUNDLE_BYTES_MAX || entries > BUNDLE_ENTRIES_MAX as usize {
            return Err(DepositError::TooLarge {
                bytes: bytes as u64,
                bytes_max: BUNDLE_BYTES_MAX as u64,
            });
        }
        let full = self.open.buffer.len() + bytes > BUNDLE_BYTES
            || self.open.entries as usize + entries > BUNDLE_ENTRIES_MAX as usize;
        if full && !self.open.is_empty() {
            return Err(DepositError::Busy);
        }
        let needed = if self.open.is_empty() {
            whole as u64
        } else {
            bytes as u64
        };
        if needed <= self.room {
            return Ok(());
        }
        if self.room_refused >= needed {
            // Said once; the next deposit makes the journal ask the disk again.
            self.room_refused = 0;
            return Err(DepositError::NoSpace { bytes: needed });
        }
        self.room_wanted = self.room_wanted.max(needed);
        Err(DepositError::Busy)
    }

    /// Numbers and encodes a draft that was checked. `content` goes into the entry with its key; `hashed` is the hash of its
    /// own content, where it was made before.
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        now: Timestamp,
        content: Option<[u8; 16]>,
        hashed: Option<[u8; 16]>,
    ) {
        let sequence = self.last.next();
        let time = now.max(self.last_time);
        let raw_time = (time != now).then_some(now);
        let used = self.open.buffer.len();
        let opening = if self.open.is_empty() {
            BUNDLE_HEADER_BYTES as u64 + self.align
        } else {
            0
        };
        // A key on C SC only declares the one its commit will carry.
        let written = if draft.kind == Kind::CYCLE_START {
            Draft {
                key: None,
                ..*draft
            }
        } else {
            *draft
        };
        codec::encode_entry(
            &mut self.open.buffer,
            &written,
            sequence,
            time,
            raw_time,
            content,
        );
        self.open.entries += 1;
        self.room = self
            .room
            .saturating_sub((self.open.buffer.len() - used) as u64 + opening);
        self.last = sequence;
        self.last_time = time;
        self.track_cycle(draft, sequence, hashed);
        if let (Some(key), Some(content)) = (written.key, content) {
            self.keys.note(key, content, sequence);
            self.last_keyed = sequence;
        }
    }

    fn track_cycle(&mut self, draft: &Draft<'_>, sequence: Sequence, hashed: Option<[u8; 16]>) {
        match draft.kind {
            Kind::CYCLE_START => {
                self.keyed_cycles += u32::from(draft.key.is_some());
                self.cycles.insert(
                    sequence,
                    Cycle {
                        keyed: draft.key.map(|key| (key, [0; 16])),
                    },
                );
            }
            Kind::CYCLE_COMMIT | Kind::CYCLE_ROLLBACK => {
                let cycle = self.cycles.remove(&draft.cycle);
                self.keyed_cycles -= u32::from(cycle.is_some_and(|cycle| cycle.keyed.is_some()));
            }
            _ => {
                if let Some(Cycle {
                    keyed: Some((_, content)),
                }) = self.cycles.get_mut(&draft.cycle)
                {
                    let own = hashed.unwrap_or_else(|| draft.content_hash());
                    *content = joined_content(content, &own);
                }
            }
        }
    }
}

/// The content of a commit cycle: a hash over the contents of its entries in order.
fn joined_content(before: &[u8; 16], next: &[u8; 16]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(before).update(next);
    let mut joined = [0; 16];
    hasher.finalize_xof().fill(&mut joined);
    joined
}
