//! Room `journal`: where an entry is born. A deposit is checked, numbered and encoded into the open bundle, under one
//! short lock; the answer comes later, by its ticket. Space for what is numbered is secured before, so that a number is
//! never taken back (ruling 1). Must not know disks, links, or how answers are decided.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

use super::answer::{Answers, Ticket, UnknownReason};
use super::keys::{KeyFound, KeyWindow};
use crate::entry::codec::{
    self, BUNDLE_BYTES_MAX, BUNDLE_ENTRIES_MAX, BUNDLE_HEADER_BYTES, EXTENSION_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
};
use crate::entry::{DepositKey, Draft, Kind, Sequence, Timestamp};
use crate::error::DepositError;

/// Bundles are closed at this size, unless one entry is larger.
const BUNDLE_BYTES: usize = 1024 * 1024;
/// Most commit cycles open at once.
const CYCLES_MAX: usize = 65_536;
/// Kept free in the attached receiver for entries of the journal's own: those that end it, and a change of a large set.
pub(super) const RESERVE_BYTES: u64 = 64 * 1024;

/// Whether deposits are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Not opened yet, or closed again.
    Closed,
    /// Deposits are taken.
    Open,
    /// The in-sync set does not answer and the policy holds new deposits off.
    Held {
        /// Entries above this number are not taken until the set answers.
        upto: Sequence,
    },
    /// A write or flush went wrong.
    Poisoned,
}

/// A commit cycle that was started and has no decision yet.
#[derive(Debug)]
struct Cycle {
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
    fn new() -> Self {
        Self {
            buffer: vec![0; BUNDLE_HEADER_BYTES],
            entries: 0,
        }
    }

    fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

#[derive(Debug)]
struct State {
    gate: Gate,
    last: Sequence,
    last_time: Timestamp,
    open: OpenBundle,
    cycles: HashMap<Sequence, Cycle>,
    keys: KeyWindow,
    last_keyed: Sequence,
    /// Bytes the open bundle and those after it may still take in the attached receiver.
    room: u64,
    /// A deposit waits for this much room.
    room_wanted: u64,
    /// The disk could not give this much.
    room_refused: u64,
    /// What the disk refused last and has not given since: asked for again with every errand.
    room_missing: u64,
    /// Bytes a bundle may lose to alignment.
    align: u64,
    /// The writer waits for work.
    writer_waits: bool,
    /// Something other than entries waits for the writer.
    errand: bool,
    stop: bool,
}

/// What the writer takes from the intake in one go.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bundle: Option<OpenBundle>,
    pub(super) first: Sequence,
    /// The time the writer's own entries get.
    pub(super) time: Timestamp,
    pub(super) room_wanted: u64,
}

/// Why the writer was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// There is something to seal, or an errand.
    Due,
    /// The journal is to be stopped, and nothing is left to seal.
    Stop,
}

/// The place deposits come in. Shared by all depositors and the one writer.
#[derive(Debug)]
pub struct Intake {
    state: Mutex<State>,
    /// Entries in the open bundle, to be looked at without the lock.
    open_entries: AtomicU32,
    work: Condvar,
    room: Event,
    answers: Arc<Answers>,
}

impl Intake {
    pub(super) fn new(
        last: Sequence,
        last_time: Timestamp,
        keys: KeyWindow,
        last_keyed: Sequence,
        answers: Arc<Answers>,
    ) -> Arc<Self> {
        let state = State {
            gate: Gate::Closed,
            last,
            last_time,
            open: OpenBundle::new(),
            cycles: HashMap::new(),
            keys,
            last_keyed,
            room: 0,
            room_wanted: 0,
            room_refused: 0,
            room_missing: 0,
            align: 8,
            writer_waits: false,
            errand: false,
            stop: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            open_entries: AtomicU32::new(0),
            work: Condvar::new(),
            room: Event::new(),
            answers,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a deposit. Never blocks: when there is no room right now it says [`DepositError::Busy`]; wait for
    /// [`Self::room`] and try again.
    ///
    /// # Errors
    /// [`DepositError`]: refused, and certainly not in the journal.
    pub fn deposit(&self, draft: &Draft<'_>, now: Timestamp) -> Result<Ticket, DepositError> {
        self.deposit_unit(std::slice::from_ref(draft), now)
    }

    /// Takes several deposits that are never torn: all of them stand in one bundle, or none is in the journal. The ticket
    /// is that of the last one.
    ///
    /// # Errors
    /// As [`Self::deposit`]; `TooLarge` also when they do not fit into one bundle together.
    pub fn deposit_unit(
        &self,
        drafts: &[Draft<'_>],
        now: Timestamp,
    ) -> Result<Ticket, DepositError> {
        self.take_in(drafts, now, true)
    }

    /// Takes a deposit without waking the writer: whoever calls this has it written, by his own hand or with
    /// [`Self::wake`].
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub(crate) fn deposit_unwoken(
        &self,
        draft: &Draft<'_>,
        now: Timestamp,
    ) -> Result<Ticket, DepositError> {
        self.take_in(std::slice::from_ref(draft), now, false)
    }

    /// Wakes the writer for what was deposited without doing so.
    pub(crate) fn wake(&self) {
        self.wake_writer(&mut self.lock());
    }

    fn take_in(
        &self,
        drafts: &[Draft<'_>],
        now: Timestamp,
        wakes: bool,
    ) -> Result<Ticket, DepositError> {
        let mut bytes = 0;
        for draft in drafts {
            check_draft(draft)?;
            bytes += codec::entry_bytes_max(draft);
        }
        let keyed = drafts.iter().find_map(|draft| Some((draft.key?, draft)));
        let content = keyed
            .filter(|(_, draft)| !draft.kind.is_commitment())
            .map(|(_, draft)| draft.content_hash());
        let mut state = self.lock();
        state.check_gate(drafts.len() as u64)?;
        let key = match state.check_keys_and_cycles(drafts, content)? {
            Checked::Landed(sequence) => return Ok(self.answers.ticket(sequence, true)),
            Checked::New(key) => key,
        };
        if let Err(error) = state.check_room(bytes, drafts.len()) {
            if state.room_wanted > 0 {
                self.wake_writer(&mut state);
            }
            return Err(error);
        }
        for draft in drafts {
            let content = key
                .filter(|_| draft.key.is_some())
                .map(|(_, content)| content);
            state.append(draft, now, content);
        }
        let sequence = state.last;
        self.open_entries
            .store(state.open.entries, Ordering::Relaxed);
        if wakes {
            self.wake_writer(&mut state);
        }
        drop(state);
        Ok(self.answers.ticket(sequence, false))
    }

    /// Takes an entry of the journal about itself, whatever the gate says.
    pub(super) fn deposit_own(&self, draft: &Draft<'_>, now: Timestamp) -> Sequence {
        let mut state = self.lock();
        state.append(draft, now, None);
        let sequence = state.last;
        self.wake_writer(&mut state);
        sequence
    }

    fn wake_writer(&self, state: &mut State) {
        if state.writer_waits {
            state.writer_waits = false;
            self.work.notify_one();
        }
    }

    /// A listener for [`DepositError::Busy`]: take it before trying again.
    pub fn room(&self) -> EventListener {
        self.room.listen()
    }

    /// The last number given.
    pub fn last(&self) -> Sequence {
        self.lock().last
    }

    /// Bytes a deposit was refused for because the disk is full, until the disk can give them.
    pub fn room_missing(&self) -> Option<u64> {
        Some(self.lock().room_missing).filter(|missing| *missing > 0)
    }

    /// The gate.
    pub fn gate(&self) -> Gate {
        self.lock().gate
    }

    /// Opens, closes or holds the gate; a poisoned one stays poisoned, and one that was stopped is never opened again:
    /// nobody would write what it takes.
    pub fn set_gate(&self, gate: Gate) {
        let mut state = self.lock();
        let for_good = state.gate == Gate::Poisoned || (state.stop && gate != Gate::Poisoned);
        if !for_good {
            state.gate = gate;
        }
        drop(state);
        self.room.notify(usize::MAX);
    }

    /// Where a key landed, if it did, and whether that can still be told.
    pub fn find_key(&self, key: DepositKey) -> KeyFound {
        let state = self.lock();
        state.keys.find(key, &[0; 16], state.last)
    }

    /// The last entry that carries a deposit key.
    pub(super) fn last_keyed(&self) -> Sequence {
        self.lock().last_keyed
    }

    /// Wakes the writer for something other than entries.
    pub fn nudge(&self) {
        let mut state = self.lock();
        state.errand = true;
        self.wake_writer(&mut state);
    }

    /// Asks the writer to stop once everything is sealed; no further deposits are taken.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stop = true;
        if state.gate != Gate::Poisoned {
            state.gate = Gate::Closed;
        }
        self.wake_writer(&mut state);
        drop(state);
        self.room.notify(usize::MAX);
    }

    /// Blocks the writer's thread until there is something to do.
    pub fn wait_for_work(&self) -> Work {
        let mut state = self.lock();
        loop {
            if !state.open.is_empty() || state.room_wanted > 0 || state.errand {
                return Work::Due;
            }
            if state.stop {
                return Work::Stop;
            }
            state.writer_waits = true;
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.writer_waits = false;
        }
    }

    /// Takes what is in the open bundle, and keeps `own` numbers behind it for entries of the writer's own. Depositors go
    /// on behind them at once, with the room that `room` says is left after the bytes taken.
    pub(super) fn take(&self, own: u64, now: Timestamp, room: impl FnOnce(u64) -> u64) -> Taken {
        let mut state = self.lock();
        let errand = std::mem::take(&mut state.errand);
        self.open_entries.store(0, Ordering::Relaxed);
        let bundle = if state.open.is_empty() {
            None
        } else {
            Some(std::mem::replace(&mut state.open, OpenBundle::new()))
        };
        let entries = bundle
            .as_ref()
            .map_or(0, |bundle| u64::from(bundle.entries));
        let first = Sequence::new(state.last.get() + 1 - entries);
        state.last = Sequence::new(state.last.get() + own);
        if own > 0 {
            state.last_time = state.last_time.max(now);
        }
        let time = state.last_time;
        let bytes = bundle
            .as_ref()
            .map_or(0, |bundle| bundle.buffer.len() as u64 + state.align);
        state.room = room(bytes);
        if state.room >= state.room_missing {
            state.room_missing = 0;
        }
        let again = if errand { state.room_missing } else { 0 };
        let room_wanted = std::mem::take(&mut state.room_wanted).max(again);
        drop(state);
        self.room.notify(usize::MAX);
        Taken {
            bundle,
            first,
            time,
            room_wanted,
        }
    }

    /// How many deposits are in the open bundle, about: for deciding whether to wait for more.
    pub fn open_entries(&self) -> u32 {
        self.open_entries.load(Ordering::Relaxed)
    }

    /// What is in the open bundle now, in bytes.
    pub(super) fn open_bytes(&self) -> u64 {
        let state = self.lock();
        if state.open.is_empty() {
            0
        } else {
            state.open.buffer.len() as u64 + state.align
        }
    }

    /// The disk was asked for more room: `refused` is what it could not give, or nothing.
    pub(super) fn set_room(&self, room: u64, align: u64, refused: Option<u64>) {
        let mut state = self.lock();
        let used = if state.open.is_empty() {
            0
        } else {
            state.open.buffer.len() as u64 + align
        };
        state.room = room.saturating_sub(used);
        state.align = align;
        state.room_refused = refused.unwrap_or(0);
        state.room_missing = state.room_refused;
        drop(state);
        self.room.notify(usize::MAX);
    }

    /// A write or flush went wrong: nothing is taken any more; what is sealed is UNKNOWN, the rest REFUSED.
    pub(super) fn poison(&self, sealed: Sequence) {
        self.lock().gate = Gate::Poisoned;
        self.answers.end(UnknownReason::Poisoned, sealed);
        self.room.notify(usize::MAX);
    }

    /// Numbers of the commit cycles that are open.
    pub fn open_cycles(&self) -> Vec<Sequence> {
        let mut cycles: Vec<Sequence> = self.lock().cycles.keys().copied().collect();
        cycles.sort_unstable();
        cycles
    }
}

enum Checked {
    New(Option<(DepositKey, [u8; 16])>),
    Landed(Sequence),
}

/// What can be said of a draft without the journal.
fn check_draft(draft: &Draft<'_>) -> Result<(), DepositError> {
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
    fn check_gate(&self, count: u64) -> Result<(), DepositError> {
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

    fn check_keys_and_cycles(
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
            match self.keys.find(key, &content, self.last) {
                KeyFound::New => {}
                // Whether a cycle under a used key is the same one shows only at its commit.
                KeyFound::Landed {
                    sequence,
                    same_content,
                } if same_content || starts => return Ok(Checked::Landed(sequence)),
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

    fn check_room(&mut self, bytes: usize, entries: usize) -> Result<(), DepositError> {
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

    /// Numbers and encodes a draft that was checked.
    fn append(&mut self, draft: &Draft<'_>, now: Timestamp, content: Option<[u8; 16]>) {
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
        self.track_cycle(draft, sequence);
        if let (Some(key), Some(content)) = (written.key, content) {
            self.keys.note(key, content, sequence);
            self.last_keyed = sequence;
        }
    }

    fn track_cycle(&mut self, draft: &Draft<'_>, sequence: Sequence) {
        match draft.kind {
            Kind::CYCLE_START => {
                self.cycles.insert(
                    sequence,
                    Cycle {
                        keyed: draft.key.map(|key| (key, [0; 16])),
                    },
                );
            }
            Kind::CYCLE_COMMIT | Kind::CYCLE_ROLLBACK => {
                self.cycles.remove(&draft.cycle);
            }
            _ => {
                if let Some(Cycle {
                    keyed: Some((_, content)),
                }) = self.cycles.get_mut(&draft.cycle)
                {
                    *content = joined_content(content, &draft.content_hash());
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
