//! Room `daemon`, recovery groups: deposit keys that landed in the journals of other members. They are read while this member
//! follows, so that little is left to read when it becomes primary: then the window of its own journal's keys knows them before
//! the first deposit (ruling 16). What left the window is kept in a file beside the standing. Must not answer deposits.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::runtime::GroupRuntime;
use crate::daemon::system::{JournalRuntime, Shared, lock};
use crate::disk::{Disk, SlotContent, SlotFile};
use crate::entry::{Closed, JournalId, SegmentId, Sequence};
use crate::error::JournalError;
use crate::journal::{EarlierKeys, Hold, Recovered, TermBegins};
use crate::role::{Lineage, Segment};

/// The file, in the group's directory.
const NAME: &str = "keys";
/// Read at once, so that whoever becomes primary does not wait for it long.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces read each time it is looked after.
const PIECES: usize = 64;
/// What was passed is kept durably every so many entries of the history.
const KEEP_EVERY: u64 = 65_536;

/// What is known of the keys.
#[derive(Debug, Default)]
pub(super) struct KeyCollector {
    keys: EarlierKeys,
    /// What lies before was read before the last start, or is not looked for any more.
    start: Option<(SegmentId, Sequence)>,
    /// How far each journal was read since.
    read: BTreeMap<JournalId, (SegmentId, Sequence)>,
    /// Where reading was last.
    upto: Option<(SegmentId, Sequence)>,
    /// Journals of which nothing can be read here, found out when one was opened without them.
    missing: Vec<JournalId>,
    /// What the file has.
    kept: Option<(SegmentId, Sequence)>,
    file: Option<SlotFile>,
    /// The term of the history when it was looked at last.
    term: u64,
}

/// The segments of a history, each with how many entries the history has before it.
struct Indexed(Vec<(Segment, u64)>);

impl Indexed {
    /// With `closed` as the end of the last one, where a new term closes it.
    fn new(lineage: &Lineage, closed: Option<Closed>) -> Self {
        let mut index = 0;
        let segments = lineage.segments().map(|segment| {
            let ends = closed.filter(|closed| closed.term == segment.term);
            let last = segment.last.or(ends.map(|ends| ends.last));
            let before = index;
            let length = |last: Sequence| last.entries_since(segment.begins.sequence);
            index += last.map_or(0, |last| length(last.sequence));
            (Segment { last, ..segment }, before)
        });
        Self(segments.collect())
    }

    fn index_of(&self, (segment, sequence): (SegmentId, Sequence)) -> u64 {
        let found = self.0.iter().find(|(found, _)| id_of(found) == segment);
        found.map_or(0, |(found, before)| {
            before + sequence.entries_since(found.begins.sequence)
        })
    }

    /// How many entries all segments that ended have.
    fn ended(&self) -> u64 {
        self.0.last().map_or(0, |(segment, before)| {
            let last = segment.last;
            before
                + last.map_or(0, |last| {
                    last.sequence.entries_since(segment.begins.sequence)
                })
        })
    }

    fn holds(&self, segment: SegmentId, sequence: Sequence) -> bool {
        let found = self.0.iter().find(|(found, _)| id_of(found) == segment);
        found.is_some_and(|(found, _)| found.last.is_none_or(|last| sequence <= last.sequence))
    }
}

const fn id_of(segment: &Segment) -> SegmentId {
    SegmentId {
        term: segment.term,
        journal: segment.journal,
    }
}

impl KeyCollector {
    /// The history has other terms than before: a term that is none any more takes its keys with it, and what stands in its place
    /// is read.
    fn follow(&mut self, history: &Indexed) {
        let term = history.0.last().map_or(0, |(segment, _)| segment.term);
        if std::mem::replace(&mut self.term, term) == term {
            return;
        }
        self.keys.retain(|segment, at| history.holds(segment, at));
        for (journal, (segment, at)) in &mut self.read {
            let of = |found: &&(Segment, u64)| {
                found.0.journal == *journal && found.0.term <= segment.term
            };
            // Where an abandoned term began, the one before it in its journal ended.
            let last = history.0.iter().rfind(of).map(|(found, _)| *found);
            match last {
                Some(found) => {
                    *segment = id_of(&found);
                    *at = found.last.map_or(*at, |last| last.sequence.min(*at));
                }
                None => *at = Sequence::NONE,
            }
        }
        if let Some((segment, _)) = self.start
            && !history.0.iter().any(|(found, _)| id_of(found) == segment)
        {
            let before = history
                .0
                .iter()
                .rfind(|(found, _)| found.term < segment.term);
            self.start = before.map(|(found, _)| (id_of(found), found.begins.sequence));
        }
        self.upto = self
            .upto
            .filter(|(segment, at)| history.holds(*segment, *at));
    }

    /// What is to be read next: the segment, how many entries the history has before it, and the entry after which.
    fn next(&self, history: &Indexed, own: JournalId) -> Option<(Segment, u64, Sequence)> {
        let others = history.0.iter().filter(|(segment, _)| {
            segment.journal != own && !self.missing.contains(&segment.journal)
        });
        let mut left = others.filter_map(|(segment, before)| {
            let started = match self.start {
                Some((start, _)) if segment.term < start.term => return None,
                Some((start, at)) if id_of(segment) == start => at,
                _ => Sequence::NONE,
            };
            let read = self.read.get(&segment.journal);
            let read = read.map_or(Sequence::NONE, |(_, at)| *at);
            let after = started.max(read).max(segment.begins.sequence);
            let whole = segment.last.is_some_and(|last| after >= last.sequence);
            (!whole).then_some((*segment, *before, after))
        });
        left.next()
    }

    /// Opens the file, and begins where it ends.
    fn open(&mut self, disk: &Arc<dyn Disk>, dir: &Path) -> Result<(), JournalError> {
        if self.file.is_some() {
            return Ok(());
        }
        let (file, content) = SlotFile::open(Arc::clone(disk), dir, NAME)
            .map_err(|source| JournalError::io("could not be read", dir.join(NAME), source))?;
        // One that is damaged, or of another release, is made again from the journals.
        if let SlotContent::Found { bytes, .. } = content
            && let Some((keys, segment, sequence)) = EarlierKeys::decode_forgotten(&bytes)
        {
            self.keys = keys;
            self.start = Some((segment, sequence));
            self.kept = self.start;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Where reading begins again after a start: before the oldest key that is not forgotten.
    fn passed(&self) -> Option<(SegmentId, Sequence)> {
        let oldest = self.keys.oldest();
        let read = self.upto.or(self.start);
        oldest.map_or(read, |(segment, at)| Some((segment, at.before())))
    }

    fn keep(&mut self, history: &Indexed) {
        let Some(passed) = self.passed().filter(|_| self.missing.is_empty()) else {
            return;
        };
        let kept = self.kept.map_or(0, |kept| history.index_of(kept));
        let moved = history.index_of(passed).saturating_sub(kept);
        if moved < KEEP_EVERY && self.kept.is_some() {
            return;
        }
        let Some(file) = &mut self.file else { return };
        match file.save(&self.keys.encode_forgotten(passed)) {
            Ok(()) => self.kept = Some(passed),
            // Receivers are held until it is.
            Err(error) => tracing::warn!(%error, "forgotten deposit keys are not kept yet"),
        }
    }
}

impl Shared {
    /// Reads on in the journals of other members, as far as they are confirmed. Blocks.
    pub(in crate::daemon) fn collect_keys(&self, group: &GroupRuntime) {
        for _ in 0..PIECES {
            let standing = group.standing();
            let Some(own) = standing.group.member(self.id).map(|member| member.journal) else {
                return;
            };
            let history = Indexed::new(&standing.lineage, None);
            let mut collector = lock(&group.keys);
            let more = collector
                .open(&self.disk, &group.dir())
                .and_then(|()| self.collect_piece(group, &mut collector, &history, own, true));
            match more {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(group = %group.name, %error, "deposit keys of earlier terms cannot be read");
                    return;
                }
            }
        }
    }

    /// Reads one piece; says whether there may be more.
    fn collect_piece(
        &self,
        group: &GroupRuntime,
        collector: &mut KeyCollector,
        history: &Indexed,
        own: JournalId,
        confirmed: bool,
    ) -> Result<bool, JournalError> {
        collector.follow(history);
        let Some((segment, before, after)) = collector.next(history, own) else {
            return Ok(false);
        };
        let name = group.look(|at| at.group.name_at(self.id, segment.journal));
        let source = name
            .and_then(|name| self.runtime_of(name))
            .and_then(|runtime| runtime.source());
        let Some(source) = source else {
            if !confirmed {
                // It is broken, or not here: later ones are not left out for it. After the next start it is looked for again.
                tracing::warn!(journal = %segment.journal, "its deposit keys cannot be read");
                collector.missing.push(segment.journal);
            }
            return Ok(!confirmed);
        };
        let marks = source.tail_marks();
        let flushed = if confirmed {
            marks.settled
        } else {
            marks.written
        };
        let upto = segment
            .last
            .map_or(flushed, |last| flushed.min(last.sequence));
        let reader = source.reader();
        let after = after.max(reader.oldest().sequence.min(upto));
        let id = id_of(&segment);
        let begins = segment.begins.sequence;
        let mut at = after;
        if after < upto {
            let bundles = reader.bundles_after(after, upto, PIECE_BYTES)?;
            for bundle in &bundles {
                let index = |sequence: Sequence| before + sequence.entries_since(begins);
                collector.keys.read(id, bundle, (after, upto), index)?;
                at = at.max(bundle.header.last().min(upto));
            }
        }
        collector.read.insert(segment.journal, (id, at));
        collector.upto = Some((id, at));
        let window = self.key_window_of(group);
        collector.keys.forget(history.index_of((id, at)), window);
        if confirmed {
            collector.keep(history);
        }
        let ended = segment.last.is_some_and(|last| at >= last.sequence);
        let more = ended || at > after;
        if !more && !confirmed && segment.last.is_some() {
            tracing::warn!(journal = %segment.journal, entry = %at, "its deposit keys cannot be read further");
            collector.missing.push(segment.journal);
            return Ok(true);
        }
        Ok(more)
    }

    /// Over how many entries of the history keys are remembered: the own journal's attribute.
    fn key_window_of(&self, group: &GroupRuntime) -> u64 {
        let own = group.look(|at| at.group.member(self.id).map(|member| member.own));
        let attributes = own
            .and_then(|own| self.runtime_of(own))
            .and_then(|runtime| runtime.attributes());
        attributes.unwrap_or_default().key_window
    }

    /// Gives a journal that opens what landed in the others of its group's history: in the term that `lineage` ends with, or in
    /// a new one that closes it with `closed`. Blocks.
    ///
    /// # Errors
    /// [`JournalError`] when they cannot be read.
    pub(in crate::daemon) fn remember_earlier(
        &self,
        group: &GroupRuntime,
        recovered: &mut Recovered,
        lineage: &Lineage,
        closed: Option<Closed>,
    ) -> Result<(), JournalError> {
        let own = recovered.control().journal;
        let window = recovered.control().attributes.key_window;
        let history = Indexed::new(lineage, closed);
        let newest = history.0.last().copied();
        // Its own term goes on, or a new one begins behind everything.
        let begins = match newest {
            Some((segment, before)) if closed.is_none() && segment.journal == own => TermBegins {
                sequence: segment.begins.sequence,
                index: before,
            },
            _ => TermBegins {
                sequence: recovered.tip().sequence,
                index: history.ended(),
            },
        };
        let mut collector = lock(&group.keys);
        collector.open(&self.disk, &group.dir())?;
        // Also what is further back than the window: a key there is too old, and would be new if it were not known.
        while self.collect_piece(group, &mut collector, &history, own, false)? {}
        collector.keys.forget(begins.index, window);
        recovered.remember(collector.keys.clone(), begins);
        Ok(())
    }

    /// A term that was to be opened was not: what was read for it may never be in the history. It is read again as far as it is
    /// confirmed.
    pub(super) fn keys_again(group: &GroupRuntime) {
        *lock(&group.keys) = KeyCollector::default();
    }

    /// The receivers of a journal of a group that are needed to know its deposit keys.
    pub(in crate::daemon) fn key_hold(&self, runtime: &JournalRuntime) -> Option<Hold> {
        let JournalRuntime::Copy(copy) = runtime else {
            return None;
        };
        let group = self.groups.of_journal(copy.copy.id())?;
        let standing = group.standing();
        let own = standing.group.member(self.id).map(|member| member.journal);
        let after = if own == Some(copy.copy.id()) {
            // What its file of forgotten keys has was put down when its last receiver began.
            let begins = copy.copy.reader().records().last()?.before.sequence;
            let window = copy.copy.control().attributes.key_window;
            Sequence::new(begins.get().saturating_sub(window))
        } else {
            let collector = lock(&group.keys);
            let from = collector.kept.or_else(|| collector.passed());
            let history = Indexed::new(&standing.lineage, None);
            let mut needed = history.0.iter().filter_map(|(segment, _)| {
                let is_it = segment.journal == copy.copy.id();
                let later = from.is_none_or(|(from, _)| segment.term > from.term);
                match from {
                    Some((from, at)) if is_it && id_of(segment) == from => Some(at),
                    _ => (is_it && later).then_some(segment.begins.sequence),
                }
            });
            needed.next()?
        };
        Some(Hold {
            who: "remembered deposit keys".to_owned(),
            after,
            expendable: false,
        })
    }
}
