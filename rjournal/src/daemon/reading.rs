//! Room `daemon`: a journal as it is read by those who apply it: bundle by bundle, as far as entries are confirmed (copy) or
//! released (local). A journal of a recovery group is read along the group's history: to the end of a segment, which is told
//! together with the segment that follows; whoever reads goes on there. What the journal is may change meanwhile: it closes, and
//! rests like a copy. Must not know what is done with the bundles.

use std::sync::Arc;

use event_listener::EventListener;
use serde::{Deserialize, Serialize};

use super::command::{CommandError, ErrorKind};
use super::crank::Source;
use super::group::GroupRuntime;
use super::system::{JournalRuntime, Shared};
use crate::entry::{
    ChainHead, Epoch, GroupId, JournalId, Position, QualifiedName, SegmentId, Sequence,
};
use crate::journal::{Limit, Tail};
use crate::receiver::StoredBundle;
use crate::role::{Placed, Segment, Standing};

/// What a journal is, told when it is attached or read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalFacts {
    /// Identity.
    pub journal: JournalId,
    /// The recovery group, the journal's own bytes outside one.
    pub group: GroupId,
    /// The term that is read of it, or attached; outside a group that of its epoch.
    pub term: u64,
    /// Name here.
    pub name: QualifiedName,
    /// Whether it takes deposits here, and what is read is what it takes now.
    pub local: bool,
    /// The epoch it is open in, or has promised.
    pub epoch: Epoch,
    /// The position before the oldest entry here.
    pub oldest: Position,
    /// The last entry that may be read.
    pub last: Sequence,
    /// Where the term ended that is read of it; nothing while it goes on, and outside a group.
    pub ends: Option<Position>,
    /// The position asked for is in a term that is not in the group's history.
    pub abandoned: bool,
    /// The last entry deposited (local), whether its answer is decided or not.
    pub deposited: Sequence,
    /// The chain head at the entry asked for, where that entry is here.
    pub head: Option<ChainHead>,
    /// Whether entries carry job, user, program and system.
    pub actor: bool,
}

impl JournalFacts {
    /// Whether it belongs to a recovery group.
    pub fn is_in_group(&self) -> bool {
        self.group != GroupId::from(self.journal)
    }

    /// What is read of it.
    pub const fn segment(&self) -> SegmentId {
        SegmentId {
            term: self.term,
            journal: self.journal,
        }
    }
}

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Along {
    /// This journal alone.
    Journal,
    /// The history of the journal's recovery group, from the segment a position is in; a store without position begins with the
    /// first. Outside a group the same as the journal alone.
    Lineage(Option<SegmentId>),
}

/// A segment was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentEnded {
    /// Its last entry.
    pub last: Position,
    /// The group.
    pub group: GroupId,
    /// What follows.
    pub next: SegmentId,
    /// Name of that journal here.
    pub name: QualifiedName,
    /// The position before its first entry of that term.
    pub begins: Position,
}

/// What comes next.
#[derive(Debug)]
pub(in crate::daemon) enum Read {
    /// Bundles, whole and in order; the first entries may lie at or before the place asked for.
    Bundles(Vec<StoredBundle>),
    /// Everything that may be read now was given, up to this entry.
    Level(Sequence),
    /// The journal is something else now: it was closed, or opened.
    Changed(Box<JournalFacts>),
    /// The segment was given to its end; nothing comes any more.
    Ended(SegmentEnded),
}

/// Where a reader is.
#[derive(Debug)]
pub(in crate::daemon) struct Reading {
    shared: Arc<Shared>,
    source: Source,
    /// The group and what is read of its history; nothing for a journal read alone.
    part: Option<(Arc<GroupRuntime>, Segment)>,
    /// The reader follows a history where there is one.
    along: bool,
    at: Sequence,
    upto: Option<Sequence>,
    level: Option<Sequence>,
    /// It was told that the journal closed.
    told_closed: bool,
}

impl Reading {
    /// Begins after an entry, with what the journal is; the chain head in it is that of `after`.
    ///
    /// # Errors
    /// [`CommandError`]: no such journal, or it is not open; of a group also while this member is not settled.
    pub(in crate::daemon) fn begin(
        shared: &Arc<Shared>,
        name: QualifiedName,
        along: Along,
        after: Sequence,
        upto: Option<Sequence>,
    ) -> Result<(Self, JournalFacts), CommandError> {
        let runtime = shared.require_journal(name)?;
        let group = match along {
            Along::Journal => None,
            Along::Lineage(_) => runtime.id().and_then(|id| shared.groups.of_journal(id)),
        };
        let mut abandoned = false;
        let (source, part) = match (group, along) {
            (Some(group), Along::Lineage(at)) => {
                let standing = settled_standing(shared, &group)?;
                let segment = match standing.lineage.place(&standing.group, at, after) {
                    Placed::In(segment) => Some(segment),
                    Placed::Abandoned(segment) => {
                        abandoned = true;
                        Some(segment)
                    }
                    // Whoever asked compares the journals.
                    Placed::Elsewhere => standing.lineage.segments().next_back(),
                };
                let segment = segment.ok_or_else(|| not_open("the group has no term"))?;
                let source = source_of(shared, &standing, &segment).ok_or_else(|| {
                    not_open("the journal of the recovery group's term is not open here")
                })?;
                (source, Some((group, segment)))
            }
            _ => (runtime.source().ok_or_else(closed_journal)?, None),
        };
        let reading = Self {
            shared: Arc::clone(shared),
            source,
            part,
            along: along != Along::Journal,
            at: after,
            upto,
            level: None,
            told_closed: false,
        };
        if reading.is_over() {
            return Err(reading.why_over());
        }
        let mut facts = reading.facts(Some(after))?;
        facts.abandoned = abandoned;
        Ok((reading, facts))
    }

    fn tail(&self) -> &Arc<Tail> {
        tail(&self.source)
    }

    /// Nothing comes of a journal that closed and was read.
    fn is_over(&self) -> bool {
        self.along && self.tail().is_closed() && self.at >= self.tail().marks().settled
    }

    fn why_over(&self) -> CommandError {
        if self.shared.is_stopping() {
            return CommandError::new(ErrorKind::Unreachable, "RJN1006", "the system is stopping");
        }
        closed_journal()
    }

    /// Where what is read ends, as far as the group's history says.
    fn ends(&self) -> Result<Option<Position>, CommandError> {
        let Some((group, segment)) = &self.part else {
            return Ok(None);
        };
        let now = group.look(|at| at.lineage.segment(segment.term));
        match now.filter(|now| now.journal == segment.journal) {
            Some(now) => Ok(now.last),
            None => Err(not_open("its term is not in the group's history")),
        }
    }

    /// The last entry that may be read.
    fn readable(&self, ends: Option<Position>) -> Sequence {
        let settled = self.tail().marks().settled;
        ends.map_or(settled, |ends| settled.min(ends.sequence))
    }

    fn facts(&self, at: Option<Sequence>) -> Result<JournalFacts, CommandError> {
        let ends = self.ends()?;
        let (group, term) = match &self.part {
            Some((group, segment)) => (group.id, segment.term),
            None => (GroupId::from(self.source.id()), self.source.epoch().term),
        };
        let last = self.readable(ends);
        let facts = facts_of(&self.shared, &self.source, at)?;
        Ok(JournalFacts {
            group,
            term,
            local: facts.local && ends.is_none(),
            last,
            ends,
            ..facts
        })
    }

    /// What comes next; waits until there is something.
    ///
    /// Cancel safe: yes.
    ///
    /// # Errors
    /// [`CommandError`] when nothing more can be read: the journal was closed, or its receivers cannot be read, or what was
    /// given is not in the group's history.
    pub(in crate::daemon) async fn next(&mut self, bytes: usize) -> Result<Read, CommandError> {
        loop {
            // First the bells, then the look.
            let moved = self.tail().listen(Limit::Settled);
            let changed = self.shared.changed();
            let spread = self.part.as_ref().map(|(group, _)| group.changed());
            if let Some(read) = self.look(bytes)? {
                return Ok(read);
            }
            ring(moved, changed, spread).await;
        }
    }

    fn look(&mut self, bytes: usize) -> Result<Option<Read>, CommandError> {
        if self.along
            && self.part.is_none()
            && self.shared.groups.of_journal(self.source.id()).is_some()
        {
            return Err(not_open("it belongs to a recovery group since"));
        }
        let ends = self.ends()?;
        if ends.is_some_and(|ends| self.at > ends.sequence) {
            return Err(not_open(
                "what was read of it is not in the group's history",
            ));
        }
        let readable = self.readable(ends);
        if self.upto.is_none_or(|upto| self.at < upto) {
            let mut bundles = bundles_after(&self.source, self.at, bytes)?;
            bundles.retain(|bundle| bundle.header.last() <= readable);
            if let Some(last) = bundles.last() {
                self.at = last.header.last();
                return Ok(Some(Read::Bundles(bundles)));
            }
        }
        if let Some(ended) = self.ended(ends) {
            return Ok(Some(Read::Ended(ended)));
        }
        if self.level != Some(self.at) {
            self.level = Some(self.at);
            return Ok(Some(Read::Level(self.at)));
        }
        if self.tail().is_closed() {
            return self.look_closed();
        }
        Ok(None)
    }

    /// The journal closed: alone that is the end, in a group it is waited for what it becomes.
    fn look_closed(&mut self) -> Result<Option<Read>, CommandError> {
        let Some((group, segment)) = &self.part else {
            return Err(self.why_over());
        };
        if self.shared.is_stopping() {
            return Err(self.why_over());
        }
        if !std::mem::replace(&mut self.told_closed, true) {
            let facts = self.facts(None)?;
            let closed = JournalFacts {
                local: false,
                ..facts
            };
            return Ok(Some(Read::Changed(Box::new(closed))));
        }
        let name = group.look(|at| at.group.name_at(self.shared.id, segment.journal));
        let runtime = name.and_then(|name| self.shared.runtime_of(name));
        let source = runtime.and_then(|runtime| runtime.source());
        let Some(source) = source.filter(|source| !tail(source).is_closed()) else {
            return Ok(None);
        };
        self.source = source;
        self.told_closed = false;
        let facts = self.facts(None)?;
        Ok(Some(Read::Changed(Box::new(facts))))
    }

    /// What follows, once the segment was given whole, the close record is flushed here (ruling 31) and what follows can be read.
    fn ended(&self, ends: Option<Position>) -> Option<SegmentEnded> {
        let (group, segment) = self.part.as_ref()?;
        let last = ends.filter(|ends| self.at == ends.sequence)?;
        if self.tail().marks().settled < last.sequence {
            return None;
        }
        let standing = group.standing();
        let next = standing.lineage.after(segment.term)?;
        if standing.flushed < next.term {
            return None;
        }
        let source = source_of(&self.shared, &standing, &next)?;
        Some(SegmentEnded {
            last,
            group: group.id,
            next: SegmentId {
                term: next.term,
                journal: next.journal,
            },
            name: source.name(),
            begins: next.begins,
        })
    }

    /// Whether the last entry asked for was given.
    pub(in crate::daemon) fn is_done(&self) -> bool {
        self.upto.is_some_and(|upto| self.at >= upto)
    }
}

async fn ring(moved: EventListener, changed: EventListener, spread: Option<EventListener>) {
    let spread = async {
        match spread {
            Some(spread) => spread.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = moved => {}
        () = changed => {}
        () = spread => {}
    }
}

fn tail(source: &Source) -> &Arc<Tail> {
    match source {
        Source::Local(journal) => journal.tail(),
        Source::Copy(copy) => copy.tail(),
    }
}

/// Bundles after an entry, as far as they may be read.
pub(in crate::daemon) fn bundles_after(
    source: &Source,
    after: Sequence,
    bytes: usize,
) -> Result<Vec<StoredBundle>, CommandError> {
    Ok(match source {
        Source::Local(journal) => journal.bundles_after(after, Limit::Settled, bytes)?,
        Source::Copy(copy) => copy.bundles_after(after, Limit::Settled, bytes)?,
    })
}

/// The standing of a member that follows its group's newest term.
fn settled_standing(shared: &Shared, group: &GroupRuntime) -> Result<Standing, CommandError> {
    if shared.is_settled(group) {
        return Ok(group.standing());
    }
    let why = match group.look(|at| at.stopped.clone()) {
        Some(stop) => stop.to_string(),
        None => format!(
            "this system does not follow the newest term of recovery group {} yet",
            group.name
        ),
    };
    Err(not_open(&why))
}

/// The journal of a segment, where that can be read: one that is to take deposits here does so.
fn source_of(shared: &Shared, standing: &Standing, segment: &Segment) -> Option<Source> {
    let name = standing.group.name_at(shared.id, segment.journal)?;
    let source = shared.runtime_of(name)?.source()?;
    let is_own = segment.last.is_none() && segment.primary == shared.id;
    let opens = is_own && matches!(source, Source::Copy(_));
    (!opens && !tail(&source).is_closed()).then_some(source)
}

fn not_open(why: &str) -> CommandError {
    CommandError::refused("RJN4010", format!("the journal is not open: {why}"))
        .help("DSPCRG says where the members of the group are")
}

fn closed_journal() -> CommandError {
    CommandError::refused("RJN4010", "the journal is not open").help("WRKJRNA says why")
}

/// What a journal is, as it takes deposits or is read alone, and its chain head at an entry.
pub(in crate::daemon) fn facts(
    shared: &Shared,
    runtime: &JournalRuntime,
    at: Option<Sequence>,
) -> Result<JournalFacts, CommandError> {
    facts_of(shared, &runtime.source().ok_or_else(closed_journal)?, at)
}

fn facts_of(
    shared: &Shared,
    source: &Source,
    at: Option<Sequence>,
) -> Result<JournalFacts, CommandError> {
    let head = match at {
        Some(at) => source.reader().head_at(at)?,
        None => None,
    };
    let group = shared.groups.of_journal(source.id());
    let control = source.control();
    Ok(JournalFacts {
        journal: source.id(),
        group: group.map_or_else(|| GroupId::from(source.id()), |group| group.id),
        term: source.epoch().term,
        name: source.name(),
        local: matches!(source, Source::Local(_)),
        epoch: source.epoch(),
        oldest: source.reader().oldest(),
        last: tail(source).marks().settled,
        ends: None,
        abandoned: false,
        deposited: match source {
            Source::Local(journal) => journal.intake().last(),
            Source::Copy(_) => Sequence::NONE,
        },
        head,
        actor: control.attributes.actor,
    })
}
