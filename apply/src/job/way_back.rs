//! Room `job`: the way back of a store that stands where its journal was cut: which archives hold what it applied, from its
//! own entry down to a fork that the journal still has. Usually it is one. Must not know what is taken out.

use rjournal::CommandError;
use rjournal::daemon::{ErrorKind, Followed, JournalFacts};
use rjournal::entry::{Kind, Position, QualifiedName, SealedBundle, SegmentId, Sequence};
use rjournal::journal::Orphan;

use super::port::{Feed, Port};
use crate::error::ApplyError;
use crate::store::{InProgress, StorePosition};

/// A stretch of the history a store stands in, and where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// The archive; the journal itself where there is none.
    pub(super) archive: Option<u64>,
    pub(super) after: Sequence,
    pub(super) upto: Sequence,
}

impl Part {
    /// Reads it.
    pub(super) async fn feed(&self, port: &Port, way: &Way) -> Result<Feed, ApplyError> {
        let feed = match self.archive {
            Some(number) => {
                port.follow_archive(way.journal, number, self.after, Some(self.upto))
                    .await
            }
            None => {
                port.follow(Some(way.segment), self.after, Some(self.upto))
                    .await
            }
        };
        feed.map_err(|error| self.unreadable(error))
    }

    /// What an error in reading it means.
    pub(super) fn unreadable(&self, error: CommandError) -> ApplyError {
        match self.archive {
            Some(archive) => of_archive(archive, error),
            None => error.into(),
        }
    }
}

/// An archive that is damaged or gone is not better after a while.
fn of_archive(archive: u64, error: CommandError) -> ApplyError {
    match error.kind {
        ErrorKind::Damaged | ErrorKind::NotFound => ApplyError::Archive { archive, error },
        _ => error.into(),
    }
}

/// Where the history a store stands in is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The segment of the history the store stands in, and the name of its journal here.
    segment: SegmentId,
    journal: QualifiedName,
    fork: Position,
    /// Stretches in archives, the one at the fork first.
    parts: Vec<Part>,
}

impl Way {
    /// The last entry that stays.
    pub(super) const fn fork(&self) -> Position {
        self.fork
    }

    /// The segment the store stands in.
    pub(super) const fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Name of its journal here.
    pub(super) const fn journal(&self) -> QualifiedName {
        self.journal
    }

    /// The archives that list what is taken out, the one at the fork first.
    pub(super) fn archives(&self) -> Vec<u64> {
        self.parts.iter().filter_map(|part| part.archive).collect()
    }

    /// Where the entries in `(after, upto]` are read, in order.
    pub(super) fn parts(&self, after: Sequence, upto: Sequence) -> Vec<Part> {
        let journal = Part {
            archive: None,
            after: Sequence::NONE,
            upto: self.fork.sequence,
        };
        let all = [journal].into_iter().chain(self.parts.iter().copied());
        let wanted = all.map(|part| Part {
            after: part.after.max(after),
            upto: part.upto.min(upto),
            ..part
        });
        wanted.filter(|part| part.after < part.upto).collect()
    }

    /// Whether a store whose position lies in its journal is to be taken back all the same: it was being taken back, or the
    /// decision of the transaction it is applying was cut.
    pub(super) async fn is_needed(
        port: &Port,
        position: &StorePosition,
        facts: &JournalFacts,
    ) -> Result<bool, ApplyError> {
        let Some(mark) = position.in_progress else {
            return Ok(false);
        };
        if mark.is_undo() {
            return Ok(true);
        }
        if facts.last < mark.decision {
            // A local journal settles less after a restart; a copy has what was applied, unless it was cut.
            return Ok(!facts.local && Self::find(port, position, facts.name).await?.is_some());
        }
        let feed = port
            .follow(
                Some(segment_of(position)),
                mark.decision.before(),
                Some(mark.decision),
            )
            .await?;
        Ok(!holds_decision(feed, mark).await?)
    }

    /// The way back of a store, if archives here hold what it applied.
    pub(super) async fn find(
        port: &Port,
        position: &StorePosition,
        name: QualifiedName,
    ) -> Result<Option<Self>, ApplyError> {
        let (orphans, unreadable) = port.orphans(name).await?;
        let (journal, segment) = (position.journal, segment_of(position));
        let orphans: Vec<Orphan> = orphans
            .into_iter()
            .filter(|orphan| orphan.journal == journal)
            .collect();
        let mut at = Position {
            sequence: position.applied,
            head: position.head,
        };
        let mark = position.in_progress;
        let mut upto = mark.map_or(at.sequence, |mark| mark.decision.max(at.sequence));
        let mut parts: Vec<Part> = Vec::new();
        // Only where no other archive holds it.
        let mut damaged = unreadable
            .into_iter()
            .next()
            .map(|reason| ApplyError::Archive {
                archive: 0,
                error: CommandError::new(ErrorKind::Damaged, "RJN1002", reason),
            });
        loop {
            let mark = mark.filter(|_| parts.is_empty());
            let mut found = None;
            for orphan in orphans.iter().filter(|orphan| orphan.last.sequence >= upto) {
                match holds((port, name), orphan, at, upto, mark).await {
                    Ok(true) => {
                        found = Some(orphan);
                        break;
                    }
                    Ok(false) => {}
                    Err(error @ ApplyError::Archive { .. }) => damaged = Some(error),
                    Err(error) => return Err(error),
                }
            }
            let Some(orphan) = found else {
                return damaged.map_or(Ok(None), Err);
            };
            let part = Part {
                archive: Some(orphan.number),
                after: orphan.fork.sequence,
                upto,
            };
            parts.insert(0, part);
            at = orphan.fork;
            upto = at.sequence;
            let head = port.facts(Some(segment), at.sequence).await?.head;
            if head == Some(at.head) || at.sequence == Sequence::NONE {
                return Ok(Some(Self {
                    segment,
                    journal: name,
                    fork: at,
                    parts,
                }));
            }
        }
    }
}

/// The segment a position is in.
pub(super) const fn segment_of(position: &StorePosition) -> SegmentId {
    SegmentId {
        term: position.term,
        journal: position.journal,
    }
}

/// Whether an archive holds the history up to an entry: the position in it, and the decision of what is half applied.
async fn holds(
    (port, name): (&Port, QualifiedName),
    orphan: &Orphan,
    at: Position,
    upto: Sequence,
    mark: Option<InProgress>,
) -> Result<bool, ApplyError> {
    if orphan.fork.sequence >= upto || orphan.fork.sequence > at.sequence {
        return Ok(false);
    }
    let number = orphan.number;
    let unreadable = |error| of_archive(number, error);
    let head = if at.sequence == orphan.fork.sequence {
        Some(orphan.fork.head)
    } else {
        let facts = port.archive_facts(name, number, at.sequence).await;
        facts.map_err(unreadable)?.head
    };
    if head != Some(at.head) {
        return Ok(false);
    }
    let Some(mark) = mark.filter(|mark| mark.decision > at.sequence && !mark.is_undo()) else {
        return Ok(true);
    };
    let (before, decision) = (mark.decision.before(), Some(mark.decision));
    let feed = port.follow_archive(name, number, before, decision).await;
    let held = holds_decision(feed.map_err(unreadable)?, mark).await;
    held.map_err(unreadable)
}

/// Whether the decision a mark names is the commit of its cycle in what is read.
async fn holds_decision(mut feed: Feed, mark: InProgress) -> Result<bool, CommandError> {
    loop {
        match feed.next().await? {
            Followed::Bundle(bundle) if bundle.header().last() >= mark.decision => {
                return Ok(is_decision(&bundle, mark));
            }
            Followed::Level(upto) if upto >= mark.decision => return Ok(false),
            Followed::SegmentEnded(_) => return Ok(false),
            Followed::Bundle(_) | Followed::Level(_) | Followed::Changed(_) => {}
        }
    }
}

fn is_decision(bundle: &SealedBundle, mark: InProgress) -> bool {
    bundle.entries().flatten().any(|view| {
        view.sequence == mark.decision
            && view.kind == Kind::CYCLE_COMMIT
            && view.cycle == mark.cycle
    })
}

#[cfg(test)]
mod tests {
    use rjournal::entry::{ChainHead, JournalId};

    use super::*;

    #[test]
    fn a_stretch_is_read_where_it_lies() {
        let part = |archive, after, upto| Part {
            archive,
            after: Sequence::new(after),
            upto: Sequence::new(upto),
        };
        let way = Way {
            segment: SegmentId {
                term: 1,
                journal: JournalId::from_bytes([1; 16]),
            },
            journal: "PRDLIB/JRN".parse().unwrap(),
            fork: Position {
                sequence: Sequence::new(90),
                head: ChainHead::from_bytes([1; 32]),
            },
            parts: vec![part(Some(2), 90, 100), part(Some(1), 100, 150)],
        };
        let parts = |after, upto| way.parts(Sequence::new(after), Sequence::new(upto));
        assert_eq!(
            parts(80, 150),
            [
                part(None, 80, 90),
                part(Some(2), 90, 100),
                part(Some(1), 100, 150)
            ]
        );
        assert_eq!(
            parts(95, 120),
            [part(Some(2), 95, 100), part(Some(1), 100, 120)]
        );
        assert_eq!(parts(10, 20), [part(None, 10, 20)]);
        assert_eq!(parts(100, 101), [part(Some(1), 100, 101)]);
        assert_eq!(way.archives(), [2, 1]);
    }
}
