//! Room `journal`: the end of a journal as readers see it: the newest bundles in memory, the watermarks, and a bell for
//! each watermark, so that following it needs no polling. One tail serves all links and apply jobs; a slow reader falls
//! back to the receivers and holds nobody up (failures.md BRD-6). Must not know who reads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::{Event, EventListener};

use super::trail::Trail;
use crate::entry::{ChainHead, Position, SealedBundle, Sequence, Timestamp};
use crate::error::ReceiverError;
use crate::receiver::{ChainReader, StoredBundle};

/// How much of the newest bundles stays in memory, in bytes.
const MEMORY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How far a reader may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// What is sealed (local) or received (copy): for *SYNC links.
    Sealed,
    /// What is flushed here: for *ASYNC links.
    Written,
    /// What is released (local) or confirmed (copy): for cascades, apply jobs and people.
    Settled,
}

/// The watermarks of a tail, those of a local journal or of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailMarks {
    /// Sealed or received.
    pub sealed: Sequence,
    /// Flushed.
    pub written: Sequence,
    /// Released or confirmed.
    pub settled: Sequence,
    /// When the last sealed entry was deposited.
    pub sealed_time: Timestamp,
}

impl TailMarks {
    /// The watermark a limit stands for.
    pub const fn at(&self, limit: Limit) -> Sequence {
        match limit {
            Limit::Sealed => self.sealed,
            Limit::Written => self.written,
            Limit::Settled => self.settled,
        }
    }
}

/// What somebody who has everything up to an entry lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Behind {
    /// Bytes of bundles from the first one lacking to the end; up to 128 KiB too many where the first one lacking is no
    /// longer in memory.
    pub bytes: u64,
    /// When the first one lacking was deposited, or up to a thousandth of its age before; nothing where that is not known,
    /// or nothing is lacking.
    pub since: Option<Timestamp>,
}

/// A bundle in memory.
#[derive(Debug)]
struct Held {
    bundle: StoredBundle,
    time: Timestamp,
    /// Bytes of all bundles since the tail began, this one included.
    upto: u64,
}

impl Held {
    const fn last(&self) -> Sequence {
        self.bundle.header.last()
    }

    const fn begin(&self) -> u64 {
        self.upto - self.bundle.bytes.len() as u64
    }
}

#[derive(Debug)]
struct State {
    bundles: VecDeque<Held>,
    bytes: usize,
    /// Bytes of all bundles since the tail began.
    total: u64,
    /// Those that are no longer in memory.
    trail: Trail,
    marks: TailMarks,
    /// Chain head at the sealed watermark.
    head: ChainHead,
    closed: bool,
}

/// The end of one journal.
#[derive(Debug)]
pub struct Tail {
    state: Mutex<State>,
    sealed: Event,
    written: Event,
    settled: Event,
}

impl Tail {
    /// A tail that begins after `at`, everything before it settled up to `settled`.
    pub fn new(at: Position, settled: Sequence) -> Arc<Self> {
        let marks = TailMarks {
            sealed: at.sequence,
            written: at.sequence,
            settled,
            ..TailMarks::default()
        };
        let state = State {
            bundles: VecDeque::new(),
            bytes: 0,
            total: 0,
            trail: Trail::new(),
            marks,
            head: at.head,
            closed: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            sealed: Event::new(),
            written: Event::new(),
            settled: Event::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watermarks now.
    pub fn marks(&self) -> TailMarks {
        self.lock().marks
    }

    /// The last entry sealed or received, and the chain head there.
    pub fn tip(&self) -> Position {
        let state = self.lock();
        Position {
            sequence: state.marks.sealed,
            head: state.head,
        }
    }

    /// Whether the journal was closed; nothing will come any more.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// A listener that wakes when a watermark moves or the tail is closed. Take it first, look at the marks then, and
    /// wait last: nothing is missed that way.
    pub fn listen(&self, limit: Limit) -> EventListener {
        self.event(limit).listen()
    }

    const fn event(&self, limit: Limit) -> &Event {
        match limit {
            Limit::Sealed => &self.sealed,
            Limit::Written => &self.written,
            Limit::Settled => &self.settled,
        }
    }

    /// Adds a bundle that was just sealed or received.
    ///
    /// # Panics
    /// When it does not continue the tail.
    pub fn add(&self, stored: StoredBundle, bundle: &SealedBundle) {
        let mut state = self.lock();
        assert_eq!(
            stored.header.first,
            state.marks.sealed.next(),
            "a bundle does not continue the tail"
        );
        state.marks.sealed = bundle.last().sequence;
        state.head = bundle.last().head;
        state.marks.sealed_time = bundle.last_time();
        state.bytes += stored.bytes.len();
        state.total += stored.bytes.len() as u64;
        let held = Held {
            bundle: stored,
            time: bundle.last_time(),
            upto: state.total,
        };
        state.bundles.push_back(held);
        while state.bytes > MEMORY_BYTES_MAX && state.bundles.len() > 1 {
            // What is not written yet cannot be read from the receivers.
            let written = state.marks.written;
            let Some(oldest) = state.bundles.pop_front_if(|held| held.last() <= written) else {
                break;
            };
            state.bytes -= oldest.bundle.bytes.len();
            state.trail.note(&oldest.bundle, oldest.time);
        }
        drop(state);
        self.sealed.notify(usize::MAX);
    }

    /// Moves the written watermark.
    ///
    /// # Panics
    /// When it would pass the sealed one or go back.
    pub fn set_written(&self, written: Sequence) {
        let mut state = self.lock();
        let marks = state.marks;
        assert!(
            marks.sealed >= written && written >= marks.written,
            "written {written:?} out of order: {marks:?}"
        );
        state.marks.written = written;
        drop(state);
        self.written.notify(usize::MAX);
    }

    /// Moves the settled watermark; one that is not higher changes nothing.
    ///
    /// # Panics
    /// When it would pass the written one.
    pub fn set_settled(&self, settled: Sequence) {
        let mut state = self.lock();
        let marks = state.marks;
        assert!(
            marks.written >= settled,
            "settled {settled:?} above what is written: {marks:?}"
        );
        if settled <= marks.settled {
            return;
        }
        state.marks.settled = settled;
        drop(state);
        self.settled.notify(usize::MAX);
    }

    /// A copy was cut: what lies behind `at` is gone.
    pub fn cut(&self, at: Position) {
        let mut state = self.lock();
        state.bundles.retain(|held| held.last() <= at.sequence);
        state.bytes = state
            .bundles
            .iter()
            .map(|held| held.bundle.bytes.len())
            .sum();
        state.total = state.bundles.back().map_or(state.total, |held| held.upto);
        state.trail.cut(at.sequence);
        state.head = at.head;
        state.marks.sealed = at.sequence;
        state.marks.written = state.marks.written.min(at.sequence);
        state.marks.settled = state.marks.settled.min(at.sequence);
    }

    /// An empty copy begins in the middle of a history: everything up to `at` counts as settled elsewhere.
    pub fn begin_at(&self, at: Position) {
        let mut state = self.lock();
        let sequence = at.sequence;
        state.head = at.head;
        state.marks = TailMarks {
            sealed: sequence,
            written: sequence,
            settled: sequence,
            ..state.marks
        };
    }

    /// Nothing will come any more; all listeners wake.
    pub fn close(&self) {
        self.lock().closed = true;
        for event in [&self.sealed, &self.written, &self.settled] {
            event.notify(usize::MAX);
        }
    }

    /// Bundles after `after` from memory; nothing when the first of them is not there any more.
    fn held_after(
        &self,
        after: Sequence,
        limit: Limit,
        bytes_max: usize,
    ) -> Option<Vec<StoredBundle>> {
        let state = self.lock();
        let upto = state.marks.at(limit);
        if after >= upto {
            return Some(Vec::new());
        }
        let start = state.bundles.partition_point(|held| held.last() <= after);
        let first = state.bundles.get(start)?;
        if first.bundle.header.first > after.next() {
            return None;
        }
        let mut room = bytes_max;
        let mut found = Vec::new();
        for Held { bundle, .. } in state.bundles.iter().skip(start) {
            let fits = found.is_empty() || bundle.bytes.len() <= room;
            if bundle.header.last() > upto || !fits {
                break;
            }
            room = room.saturating_sub(bundle.bytes.len());
            found.push(bundle.clone());
        }
        Some(found)
    }

    /// The chain head at an entry: from memory while its bundle is not written yet, else from the receivers.
    ///
    /// # Errors
    /// As [`ChainReader::head_at`].
    pub fn head_at(
        &self,
        reader: &ChainReader,
        sequence: Sequence,
    ) -> Result<Option<ChainHead>, ReceiverError> {
        let unwritten = {
            let state = self.lock();
            let holding = |bundle: &StoredBundle| {
                bundle.header.first <= sequence && sequence <= bundle.header.last()
            };
            let found = state
                .bundles
                .iter()
                .find(|held| holding(&held.bundle))
                .map(|held| held.bundle.clone());
            found.filter(|_| sequence > state.marks.written)
        };
        match unwritten {
            Some(bundle) => bundle.head_at(sequence),
            None => reader.head_at(sequence),
        }
    }

    /// Whole bundles after `after` up to a watermark, from memory if they are there, else from the receivers. Nothing
    /// when there is nothing yet.
    ///
    /// # Errors
    /// As [`ChainReader::bundles_after`].
    pub fn bundles_after(
        &self,
        reader: &ChainReader,
        after: Sequence,
        limit: Limit,
        bytes_max: usize,
    ) -> Result<Vec<StoredBundle>, ReceiverError> {
        if let Some(found) = self.held_after(after, limit, bytes_max) {
            return Ok(found);
        }
        let marks = self.marks();
        let found = reader.bundles_after(after, marks.at(limit).min(marks.written), bytes_max)?;
        // Whoever reads this lacks it: from now on it is known since when.
        if let Some(bundle) = found.first()
            && let Some(Ok(view)) = bundle.entries().next()
        {
            self.lock().trail.note(bundle, view.time);
        }
        Ok(found)
    }

    /// What one who has everything up to `after` lacks under a limit; from memory.
    pub fn behind(&self, reader: &ChainReader, after: Sequence, limit: Limit) -> Behind {
        let state = self.lock();
        let upto = state.marks.at(limit);
        if after >= upto {
            return Behind::default();
        }
        let upto_of = |sequence: Sequence| {
            let count = state
                .bundles
                .partition_point(|held| held.last() <= sequence);
            let before = count
                .checked_sub(1)
                .and_then(|last| state.bundles.get(last));
            let oldest = state.bundles.front();
            before
                .map(|held| held.upto)
                .or_else(|| oldest.map(Held::begin))
                .unwrap_or(state.total)
        };
        let end = upto_of(upto);
        let start = state.bundles.partition_point(|held| held.last() <= after);
        let first = state
            .bundles
            .get(start)
            .filter(|held| held.bundle.header.first <= after.next());
        if let Some(first) = first {
            return Behind {
                bytes: end.saturating_sub(first.begin()),
                since: Some(first.time),
            };
        }
        let written = upto_of(state.marks.written);
        let mark = state.trail.before(after.next());
        drop(state);
        let place = mark.map(|mark| (mark.receiver, mark.offset));
        Behind {
            // On this disk, and what is not there yet; less what is there and beyond the limit.
            bytes: (reader.bytes_after(after, place) + end).saturating_sub(written),
            since: mark.map(|mark| mark.time),
        }
    }
}
