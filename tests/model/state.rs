//! Package `rjournal-model`: what a group is at one moment: its members with their copies, what clients were told, and what
//! only the checker sees. Knows nothing of what may happen next.

use crate::few::Few;
use crate::journal::{
    Boot, Closed, Entry, Epoch, Journal, MemberId, Members, PerMember, Sequence, Term,
};
use crate::lineage::Lineage;
use crate::rules::Bounds;

/// The whole group.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// The members; those beyond the configuration's number never change.
    pub members: PerMember<Member>,
    /// What became of each deposit and cycle.
    pub answers: Few<Answer, 4>,
    /// Term records that were ever signed. A member knows some of them.
    pub records: Few<TermRecord, 6>,
    /// Everything members have archived, sorted. An archive is never lost, so whose it is makes no difference.
    pub orphans: Vec<Orphan>,
    /// A copy outside the group, fed by member 1: its copies of the members' journals.
    pub downstream: PerMember<Journal>,
    /// What has happened how often.
    pub used: Bounds,
    /// What only the checker sees.
    pub seen: Seen,
}

/// One member. What is durable survives a crash; a crash loses everything not flushed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// Is it running?
    pub up: bool,
    /// Durable.
    pub role: Role,
    /// Durable: whom it follows, for the whole group. Never goes back.
    pub promise: Promise,
    /// Durable: how often its own journal was opened.
    pub boot: Boot,
    /// Durable, for each copy: the opening of that journal which it has accepted sessions of.
    pub session_boot: PerMember<Boot>,
    /// Durable: the term records it holds, a bit for each of `State::records`.
    pub known: u8,
    /// Its copies of everybody's journal, its own included.
    pub copies: PerMember<Copied>,
    /// Its store.
    pub store: Store,
    /// In memory: does it take deposits?
    pub open: bool,
    /// In memory: whose journal is being shipped to it.
    pub session: Option<MemberId>,
    /// In memory, at a primary: what each member has acknowledged.
    pub acknowledged: PerMember<Sequence>,
    /// In memory: a takeover that is under way.
    pub takeover: Option<Takeover>,
    /// On the wire: an acknowledgement that has not arrived.
    pub acknowledging: Option<Acknowledgement>,
}

/// A copy of one journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Copied {
    /// What is held, in memory or on disk.
    pub journal: Journal,
    /// How much of it is on disk.
    pub flushed: Sequence,
    /// Confirmed by its writer.
    pub confirmed: Sequence,
    /// The same, as a crash leaves it.
    pub confirmed_flushed: Sequence,
    /// For the checker: the furthest that was ever applied or forwarded as confirmed.
    pub relied_on: Sequence,
}

/// What a member is in its group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    /// Its journal is the group's, when it is open.
    Primary,
    /// It follows.
    Backup,
    /// It was the primary, and has handed over.
    HandedOver,
    /// An operator must look: a fork below what was confirmed, an older copy, one term in two journals.
    Stopped,
}

/// A durable promise to accept nothing of a lower term, and nothing of this term from anybody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Promise {
    /// The term.
    pub term: Term,
    /// Who may be its primary.
    pub to: MemberId,
}

/// A takeover between its promise and its first entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Takeover {
    /// Who has promised, and whose tip was heard.
    pub heard: Members,
    /// The highest term that anybody heard had promised before this takeover asked; its own promise before it began,
    /// included. Followed only where the policy matters.
    pub promised_before: Term,
}

/// "Your journal is on my disk up to here."
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Acknowledgement {
    /// Whose journal.
    pub source: MemberId,
    /// The session's epoch.
    pub epoch: Epoch,
    /// Flushed here.
    pub flushed: Sequence,
}

/// Rows made of the lineage.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Store {
    /// The decisions applied, in order.
    pub decisions: Few<u8, 4>,
    /// How many entries of the lineage it has consumed.
    pub applied: u8,
}

/// The signed record of a term: who its primary is, and where the term before it ended. Spreads apart from the journals; the
/// same facts stand in the first entry of the term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct TermRecord {
    /// The term it begins.
    pub term: Term,
    /// Its primary.
    pub primary: MemberId,
    /// What it closes.
    pub closes: Closed,
}

/// Entries cut from a copy: those of `content` beyond `fork`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Orphan {
    /// Whose journal they stood in.
    pub journal: MemberId,
    /// The journal as it was.
    pub content: Journal,
    /// The last entry that was kept.
    pub fork: Sequence,
}

impl Orphan {
    /// The entries, with their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (Sequence, Entry)> {
        (self.fork + 1..).zip(
            self.content.entries()[usize::from(self.fork)..]
                .iter()
                .copied(),
        )
    }
}

/// What became of a deposit or a commit cycle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Answer {
    /// A cycle that is not decided: nobody waits for an answer.
    #[default]
    Undecided,
    /// Waits, at this primary.
    Waiting(MemberId),
    /// On the disks of the primary and of this set.
    Sync {
        /// Given by.
        by: MemberId,
        /// In the term.
        term: Term,
        /// The set it rests on.
        set: Members,
    },
    /// On the primary's disk only.
    Local {
        /// In the term.
        term: Term,
    },
    /// May be or not.
    Unknown,
}

/// What only the checker sees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seen {
    events: u8,
    /// Terms whose takeover said that no LOCAL answer is lost, a bit each. Followed only where the policy matters.
    pub local_kept: u8,
}

/// Something that happened, and that properties ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A takeover accepted loss.
    LossAccepted,
    /// A journal was restored from before.
    Restored,
    /// A journal was opened alone.
    OpenedAlone,
    /// Something that was relied on as confirmed was cut without an operator's word.
    ConfirmedCut,
    /// A journal opened by itself beside a primary of a higher term.
    SecondOpened,
    /// One term was opened in two journals.
    TermOpenedTwice,
    /// A member stopped that only followed the rules: its fork lay below what it had confirmed.
    ForkBelowConfirmed,
}

impl Seen {
    /// It happened.
    pub fn note(&mut self, event: Event) {
        self.events |= 1 << event as u8;
    }

    /// Did one of these happen?
    pub fn any(self, events: &[Event]) -> bool {
        events
            .iter()
            .any(|event| self.events & (1 << *event as u8) != 0)
    }
}

/// How much of a copy counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// What is on disk.
    Flushed,
    /// What is in memory, too.
    Received,
}

impl Member {
    /// The entries held of each journal.
    pub fn held(&self, extent: Extent) -> PerMember<Journal> {
        PerMember(self.copies.0.map(|copy| match extent {
            Extent::Flushed => copy.flushed_journal(),
            Extent::Received => copy.journal,
        }))
    }

    /// The lineage as its copies tell it.
    pub fn lineage(&self, extent: Extent) -> Lineage {
        Lineage::of(&self.held(extent))
    }

    /// Does this primary take deposits, with its opening entry on its disk?
    pub fn live(&self, this: MemberId) -> bool {
        let own = self.copies[this];
        self.up
            && self.role == Role::Primary
            && self.open
            && own
                .flushed_journal()
                .entries()
                .iter()
                .rev()
                .any(|entry| entry.epoch == self.own_epoch())
    }

    /// The epoch it seals bundles under.
    pub fn own_epoch(&self) -> Epoch {
        Epoch {
            term: self.promise.term,
            boot: self.boot,
        }
    }
}

impl Copied {
    /// What is on disk.
    pub fn flushed_journal(&self) -> Journal {
        self.journal.up_to(self.flushed)
    }

    /// Cuts behind `last`.
    pub fn cut(&mut self, last: Sequence) {
        self.journal = self.journal.up_to(last);
        self.flushed = self.flushed.min(last);
        self.confirmed = self.confirmed.min(last);
        self.confirmed_flushed = self.confirmed_flushed.min(last);
    }
}

impl State {
    /// The primary of the highest term: whose lineage counts.
    pub fn newest_primary(&self, members: u8) -> Option<MemberId> {
        (0..members)
            .map(MemberId)
            .filter(|member| self.members[*member].role == Role::Primary)
            .max_by_key(|member| self.members[*member].own_epoch())
    }

    /// The term records a member knows.
    pub fn known_to(&self, member: MemberId) -> impl Iterator<Item = &TermRecord> + Clone {
        let known = self.members[member].known;
        self.records
            .iter()
            .enumerate()
            .filter(move |(at, _)| known & (1 << at) != 0)
            .map(|(_, record)| record)
    }

    /// Keeps what is cut. What an archive holds already is not kept twice.
    pub fn archive(&mut self, orphan: Orphan) {
        let covered = self.orphans.iter().any(|kept| {
            kept.journal == orphan.journal
                && kept.fork <= orphan.fork
                && kept.content.common(orphan.content) == orphan.content.last()
        });
        if !covered {
            self.orphans.push(orphan);
            self.orphans
                .sort_by_key(|kept| (kept.journal, kept.fork, kept.content.head()));
        }
    }
}
