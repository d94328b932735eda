//! Room `daemon`: what a link ships from: a local journal, or a copy that feeds further ones. Must not decide how far may
//! be shipped: the session's limit says so.

use std::sync::Arc;

use event_listener::EventListener;

use crate::entry::control_entry::Level;
use crate::entry::{
    ChainHead, Epoch, JournalId, Place, Position, QualifiedName, Sequence, SystemId,
};
use crate::error::{JournalError, ReceiverError};
use crate::journal::{Control, CopyShared, DeliveryMode, Journal, JournalKind, Limit, LinkRecord};
use crate::receiver::{ChainReader, StoredBundle};
use crate::remote::{Extent, MemberKey, Purpose, SessionFacts, ShipLimit, SourceMarks};
use crate::{entry::SystemName, entry::control_entry::Member};

/// A journal as a source.
#[derive(Debug, Clone)]
pub enum Source {
    /// Filled by deposits here.
    Local(Arc<Journal>),
    /// Filled by another system: it forwards what is confirmed.
    Copy(Arc<CopyShared>),
}

impl Source {
    /// Identity.
    pub fn id(&self) -> JournalId {
        match self {
            Self::Local(journal) => journal.id(),
            Self::Copy(copy) => copy.id(),
        }
    }

    /// Name here.
    pub fn name(&self) -> QualifiedName {
        match self {
            Self::Local(journal) => journal.name(),
            Self::Copy(copy) => copy.name(),
        }
    }

    /// Its receivers.
    pub fn reader(&self) -> &ChainReader {
        match self {
            Self::Local(journal) => journal.reader(),
            Self::Copy(copy) => copy.reader(),
        }
    }

    /// A copy of what is kept about it.
    pub fn control(&self) -> Control {
        match self {
            Self::Local(journal) => journal.control(),
            Self::Copy(copy) => copy.control(),
        }
    }

    /// Changes what is kept about it, durably.
    ///
    /// # Errors
    /// As [`Journal::update`].
    pub fn update(&self, change: impl FnOnce(&mut Control)) -> Result<(), JournalError> {
        match self {
            Self::Local(journal) => journal.update(change),
            Self::Copy(copy) => copy.update(change),
        }
    }

    /// How far entries may be shipped on a link.
    pub fn limit(&self, delivery: DeliveryMode) -> ShipLimit {
        match self {
            Self::Copy(_) => ShipLimit::Confirmed,
            Self::Local(journal)
                if delivery == DeliveryMode::Sync && !journal.attributes().local_first =>
            {
                ShipLimit::Sealed
            }
            Self::Local(_) => ShipLimit::Written,
        }
    }

    /// The watermarks as a session under `limit` sees them.
    pub fn marks(&self, limit: ShipLimit) -> SourceMarks {
        let marks = self.tail_marks();
        SourceMarks {
            epoch: self.epoch(),
            shippable: marks.at(tail_limit(limit)),
            confirmable: match self {
                Self::Local(_) => marks.written,
                Self::Copy(_) => marks.settled,
            },
            last: marks.sealed,
            last_time: marks.sealed_time,
        }
    }

    pub(in crate::daemon) fn tail_marks(&self) -> crate::journal::TailMarks {
        match self {
            Self::Local(journal) => journal.tail().marks(),
            Self::Copy(copy) => copy.tail().marks(),
        }
    }

    /// A listener for the watermark of `limit`; take it before looking at the marks.
    pub fn listen(&self, limit: ShipLimit) -> EventListener {
        match self {
            Self::Local(journal) => journal.tail().listen(tail_limit(limit)),
            Self::Copy(copy) => copy.tail().listen(tail_limit(limit)),
        }
    }

    /// A listener for the watermark that confirmations follow.
    pub fn listen_confirmable(&self) -> EventListener {
        match self {
            Self::Local(journal) => journal.tail().listen(Limit::Written),
            Self::Copy(copy) => copy.tail().listen(Limit::Settled),
        }
    }

    /// Bundles after `after` under a limit.
    ///
    /// # Errors
    /// As [`ChainReader::bundles_after`].
    pub fn bundles_after(
        &self,
        after: Sequence,
        limit: ShipLimit,
        bytes: usize,
    ) -> Result<Vec<StoredBundle>, ReceiverError> {
        match self {
            Self::Local(journal) => journal.bundles_after(after, tail_limit(limit), bytes),
            Self::Copy(copy) => copy.bundles_after(after, tail_limit(limit), bytes),
        }
    }

    /// The chain head at an entry.
    ///
    /// # Errors
    /// As [`ChainReader::head_at`].
    pub fn head_at(&self, sequence: Sequence) -> Result<Option<ChainHead>, ReceiverError> {
        match self {
            Self::Local(journal) => journal.head_at(sequence),
            Self::Copy(copy) => copy.reader().head_at(sequence),
        }
    }

    /// What is held here: sealed, written or confirmed, whatever may be shipped.
    ///
    /// # Errors
    /// As [`ChainReader::head_at`].
    pub fn extent(&self) -> Result<Extent, ReceiverError> {
        let oldest = self.reader().oldest();
        let tip = match self {
            Self::Local(journal) => journal.tail().tip(),
            Self::Copy(copy) => {
                let sequence = copy.tail().marks().settled;
                let head = copy.reader().head_at(sequence)?;
                head.map_or(oldest, |head| Position { sequence, head })
            }
        };
        Ok(Extent { oldest, tip })
    }

    /// Authority of sessions from here.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Local(journal) => journal.epoch(),
            Self::Copy(copy) => copy.promised(),
        }
    }

    /// Systems the entries have passed before this one.
    pub fn path(&self) -> Vec<SystemId> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Copy(copy) => match copy.control().kind {
                JournalKind::Remote(source) => source.path,
                JournalKind::Local => Vec::new(),
            },
        }
    }

    /// Facts of a session over a link of this journal.
    ///
    /// # Errors
    /// [`ReceiverError`] when the receivers cannot be read.
    pub fn session_facts(
        &self,
        link: &LinkRecord,
        system: (SystemId, SystemName),
        begin: Option<Position>,
        session: u64,
    ) -> Result<SessionFacts, ReceiverError> {
        let extent = self.extent()?;
        Ok(SessionFacts {
            session,
            purpose: Purpose::Replicate,
            journal: self.id(),
            source_journal: self.name(),
            target_journal: link.target,
            system: system.0,
            system_name: system.1,
            target: link.system,
            path: self.path(),
            epoch: self.epoch(),
            extent,
            begin: begin.unwrap_or(extent.oldest),
            tip_epoch: Epoch::NONE,
            place: Place::default(),
            acknowledged: link.acknowledged,
            level: link.level,
            limit: self.limit(link.delivery),
            sync: link.delivery == DeliveryMode::Sync,
        })
    }
}

const fn tail_limit(limit: ShipLimit) -> Limit {
    match limit {
        ShipLimit::Sealed => Limit::Sealed,
        ShipLimit::Written => Limit::Written,
        ShipLimit::Confirmed => Limit::Settled,
    }
}

/// The key of a link's target in the in-sync set.
pub(in crate::daemon) const fn member_key(link: &LinkRecord) -> MemberKey {
    MemberKey {
        system: link.system,
        journal: link.target,
    }
}

/// A link's target as a member of the in-sync set.
pub(super) const fn member(link: &LinkRecord, level: Level) -> Member {
    Member {
        system: link.system,
        rdb: link.rdb,
        journal: link.target,
        level,
        acknowledged: link.acknowledged,
    }
}
