//! Room `journal`: where an entry is born. A deposit is checked, numbered and encoded into the open bundle (`numbering`), under
//! one short lock; the answer comes later, by its ticket. Space for what is numbered is secured before, so that a number is
//! never taken back (ruling 1). Must not know disks, links, or how answers are decided.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

use super::answer::{Answers, Ticket, UnknownReason};
use super::forgotten::Forgotten;
use super::keys::{KeyFound, KeyWindow};
use super::numbering::{Checked, OpenBundle, State, check_draft};
use crate::entry::codec;
use crate::entry::{DepositKey, Draft, Sequence, Timestamp};
use crate::error::DepositError;

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

/// What is still taken while the role of primary is being handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// What belongs to a commit cycle that is open.
    OpenCycles,
    /// Nothing.
    Nothing,
}

/// What the writer takes from the intake in one go.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) bundle: Option<OpenBundle>,
    pub(super) first: Sequence,
    /// The time the writer's own entries get.
    pub(super) time: Timestamp,
}

/// What the writer has to know before it seals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asks {
    /// What is in the open bundle, in bytes.
    pub(super) open_bytes: u64,
    /// Bytes a depositor waits for or, on an errand, the disk refused before.
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
    /// Commit cycles whose commit will carry a deposit key, to be looked at without the lock.
    keyed_cycles: AtomicU32,
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
            drain: None,
            last,
            last_time,
            open: OpenBundle::new(),
            cycles: HashMap::new(),
            keyed_cycles: 0,
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
            keyed_cycles: AtomicU32::new(0),
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
        let hashed = self.hash_within_cycles(drafts);
        let mut state = self.lock();
        state.check_gate(drafts)?;
        let key = match state.check_keys_and_cycles(drafts, content)? {
            Checked::Landed(sequence, None) => return Ok(self.answers.ticket(sequence, true)),
            Checked::Landed(sequence, Some(journal)) => {
                return Ok(self.answers.earlier(sequence, journal));
            }
            Checked::New(key) => key,
        };
        if let Err(error) = state.check_room(bytes, drafts.len()) {
            if state.room_wanted > 0 {
                self.wake_writer(&mut state);
            }
            return Err(error);
        }
        for (index, draft) in drafts.iter().enumerate() {
            let content = key
                .filter(|_| draft.key.is_some())
                .map(|(_, content)| content);
            state.append(draft, now, content, hashed.get(index).copied());
        }
        let sequence = state.last;
        self.keyed_cycles
            .store(state.keyed_cycles, Ordering::Relaxed);
        self.open_entries
            .store(state.open.entries, Ordering::Relaxed);
        if wakes {
            self.wake_writer(&mut state);
        }
        drop(state);
        Ok(self.answers.ticket(sequence, false))
    }

    /// Hashes what goes into the content of a commit cycle, before the lock is taken: it may be 15 MB. Who deposits within a
    /// cycle has its number, so it sees here that the cycle has a key.
    fn hash_within_cycles(&self, drafts: &[Draft<'_>]) -> Vec<[u8; 16]> {
        let within =
            |draft: &Draft<'_>| draft.cycle != Sequence::NONE && !draft.kind.is_commitment();
        if self.keyed_cycles.load(Ordering::Relaxed) == 0 || !drafts.iter().any(within) {
            return Vec::new();
        }
        drafts.iter().map(Draft::content_hash).collect()
    }

    /// Takes an entry of the journal about itself, whatever the gate says.
    pub(super) fn deposit_own(&self, draft: &Draft<'_>, now: Timestamp) -> Sequence {
        let mut state = self.lock();
        state.append(draft, now, None, None);
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

    /// The last number given, and the beginning of the oldest commit cycle that is open.
    pub fn oldest_open(&self) -> (Sequence, Option<Sequence>) {
        let state = self.lock();
        (state.last, state.cycles.keys().min().copied())
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

    /// Begins to hand the role over, or goes on taking everything. What the gate says holds beside it.
    pub fn set_drain(&self, drain: Option<Drain>) {
        self.lock().drain = drain;
        self.room.notify(usize::MAX);
    }

    /// Whether the role is being handed over.
    pub fn is_draining(&self) -> bool {
        self.lock().drain.is_some()
    }

    /// Whether a commit cycle is open.
    pub fn has_open_cycles(&self) -> bool {
        !self.lock().cycles.is_empty()
    }

    /// Where a key landed, if it did, and whether that can still be told.
    pub fn find_key(&self, key: DepositKey) -> KeyFound {
        self.lock().keys.find(key, &[0; 16])
    }

    /// The last entry that carries a deposit key.
    pub(super) fn last_keyed(&self) -> Sequence {
        self.lock().last_keyed
    }

    /// What would be left of the keys up to an entry if they were forgotten, and those the window does without.
    pub(super) fn forgotten_upto(&self, upto: Sequence) -> (Sequence, Forgotten) {
        let state = self.lock();
        let begins = state.last.get().saturating_sub(state.keys.window());
        let upto = upto.max(Sequence::new(begins));
        (upto, state.keys.forgotten_upto(upto))
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
            // The next receiver has room; whoever needs more asks again.
            state.room_wanted = 0;
        }
        let time = state.last_time;
        let bytes = bundle
            .as_ref()
            .map_or(0, |bundle| bundle.buffer.len() as u64 + state.align);
        state.room = room(bytes);
        if state.room >= state.room_missing {
            state.room_missing = 0;
        }
        drop(state);
        self.room.notify(usize::MAX);
        Taken {
            bundle,
            first,
            time,
        }
    }

    /// How many deposits are in the open bundle, about: for deciding whether to wait for more.
    pub fn open_entries(&self) -> u32 {
        self.open_entries.load(Ordering::Relaxed)
    }

    /// What the writer has to know. An errand that comes later wakes it again.
    pub(super) fn asks(&self) -> Asks {
        let mut state = self.lock();
        let again = if std::mem::take(&mut state.errand) {
            state.room_missing
        } else {
            0
        };
        Asks {
            open_bytes: state.open_bytes(),
            room_wanted: state.room_wanted.max(again),
        }
    }

    /// The disk was asked for more room: `refused` is what it could not give, or nothing.
    pub(super) fn set_room(&self, room: u64, align: u64, refused: Option<u64>) {
        let mut state = self.lock();
        state.align = align;
        state.room = room.saturating_sub(state.open_bytes());
        // Whoever needs more meanwhile asks again.
        state.room_wanted = 0;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ClientId, Kind};

    /// A payload may have 15 MB: all other depositors would wait for its hash.
    #[test]
    fn the_content_of_a_cycle_with_a_key_is_hashed_before_the_lock_is_taken() {
        let keys = KeyWindow::new(100, Forgotten::default());
        let none = Sequence::NONE;
        let intake = Intake::new(none, Timestamp::ZERO, keys, none, Answers::new());
        intake.set_gate(Gate::Open);
        intake.set_room(1 << 20, 8, None);
        let deposit =
            |draft: &Draft<'_>| intake.deposit(draft, Timestamp::ZERO).unwrap().sequence();
        let key = Some(DepositKey {
            client: ClientId::from_bytes([1; 16]),
            key: 1,
        });
        let start = Draft::new(Kind::CYCLE_START, &[]);
        let plain = deposit(&start);
        let entry = |cycle| Draft {
            cycle,
            ..Draft::new(Kind::USER, b"row")
        };
        assert!(intake.hash_within_cycles(&[entry(plain)]).is_empty());
        let keyed = deposit(&Draft { key, ..start });
        let hashed = intake.hash_within_cycles(&[entry(keyed)]);
        assert_eq!(hashed, [entry(keyed).content_hash()]);
        assert!(intake.hash_within_cycles(&[entry(none)]).is_empty());
        deposit(&entry(keyed));
        deposit(&Draft {
            cycle: keyed,
            key,
            ..Draft::new(Kind::CYCLE_COMMIT, &[])
        });
        assert!(intake.hash_within_cycles(&[entry(plain)]).is_empty());
    }
}
