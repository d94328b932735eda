//! Package `rjournal-model`: what flows. Members and sets of them, entries, and a journal's content, which is known by its
//! chain head as on disk: equal heads, equal entries. Knows nothing of roles, copies or rules.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Index, IndexMut};
use std::sync::{LazyLock, Mutex};

/// Most members a group of the model has.
pub(crate) const MEMBERS_MAX: usize = 3;

/// A change of primary; grows.
pub(crate) type Term = u8;
/// An opening of a journal for deposits by the member that writes it; grows.
pub(crate) type Boot = u8;
/// An entry's number in its journal, from 1. As a watermark inclusive: everything up to and with this one.
pub(crate) type Sequence = u8;
/// A deposit or commit cycle: its place among the answers.
pub(crate) type DepositId = u8;

/// A member of the group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct MemberId(pub u8);

impl fmt::Display for MemberId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "member {}", self.0)
    }
}

/// One of something for each member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct PerMember<T>(pub [T; MEMBERS_MAX]);

impl<T> Index<MemberId> for PerMember<T> {
    type Output = T;

    fn index(&self, member: MemberId) -> &T {
        &self.0[usize::from(member.0)]
    }
}

impl<T> IndexMut<MemberId> for PerMember<T> {
    fn index_mut(&mut self, member: MemberId) -> &mut T {
        &mut self.0[usize::from(member.0)]
    }
}

/// A set of members.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Members(u8);

impl Members {
    /// Nobody.
    pub const NOBODY: Self = Self(0);

    /// Those with these numbers.
    pub const fn of(numbers: &[u8]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < numbers.len() {
            bits |= 1 << numbers[at];
            at += 1;
        }
        Self(bits)
    }

    /// The first `count` members.
    pub const fn first(count: u8) -> Self {
        Self((1 << count) - 1)
    }

    /// Every set of the first `count` members.
    pub fn all_sets(count: u8) -> impl Iterator<Item = Self> {
        (0..1 << count).map(Self)
    }

    /// Each of them, ascending.
    pub fn each(self) -> impl Iterator<Item = MemberId> {
        (0..MEMBERS_MAX as u8)
            .map(MemberId)
            .filter(move |member| self.contains(*member))
    }

    /// Is this one among them?
    pub const fn contains(self, member: MemberId) -> bool {
        self.0 & (1 << member.0) != 0
    }

    /// With one more.
    #[must_use]
    pub const fn with(self, member: MemberId) -> Self {
        Self(self.0 | 1 << member.0)
    }

    /// Without one.
    #[must_use]
    pub const fn without(self, member: MemberId) -> Self {
        Self(self.0 & !(1 << member.0))
    }

    /// In both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Here and not in `other`.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Nobody?
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }
}

/// What stands in a bundle's header: who may have sealed it, and after how many openings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Epoch {
    /// The change of primary.
    pub term: Term,
    /// The opening of the journal.
    pub boot: Boot,
}

/// What happens to deposits when the in-sync set does not answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Policy {
    /// The set shrinks; with nobody left answers are LOCAL.
    #[default]
    Degrade,
    /// Nothing is answered LOCAL. Stands for the policy reject, too: neither lets the set shrink.
    Block,
}

/// The in-sync set as an entry tells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct InSync {
    /// Who must acknowledge before an answer is SYNC.
    pub members: Members,
    /// What happens when they do not.
    pub policy: Policy,
}

/// Where a term ended: the closed segment, and with its content the chain head that proves it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Closed {
    /// The term that is closed.
    pub term: Term,
    /// The journal its segment lies in.
    pub journal: MemberId,
    /// That journal up to the last entry of the segment.
    pub content: Journal,
    /// Was loss accepted to open the term that closes it?
    pub loss_accepted: bool,
}

impl Closed {
    /// The last entry of the segment.
    pub fn last(&self) -> Sequence {
        self.content.last()
    }
}

/// What an entry says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A single change, decided by itself.
    Deposit(DepositId),
    /// A commit cycle begins.
    Begin(DepositId),
    /// A commit cycle is decided.
    Commit(DepositId),
    /// The in-sync set, or its policy, becomes another.
    SetChange(InSync),
    /// First entry of every boot and of every term. Rolls back the cycles open before it. The first of a term closes the
    /// segment before.
    Open {
        /// The close record, in the first entry of a term.
        closes: Option<Closed>,
        /// The set that holds from here.
        set: InSync,
    },
    /// The term is handed to this member.
    HandOver(MemberId),
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Of the bundle it was sealed in.
    pub epoch: Epoch,
    /// What it says.
    pub kind: Kind,
}

impl Entry {
    /// The deposit whose answer this entry decides.
    pub fn decides(&self) -> Option<DepositId> {
        match self.kind {
            Kind::Deposit(id) | Kind::Commit(id) => Some(id),
            _ => None,
        }
    }

    /// The in-sync set that holds from here, if this entry says one.
    pub fn set(&self) -> Option<InSync> {
        match self.kind {
            Kind::SetChange(set) | Kind::Open { set, .. } => Some(set),
            _ => None,
        }
    }
}

/// What a journal holds, up to some entry. Every content is made once and kept for as long as the tests run (there are some
/// ten thousand), so that a state holds a pointer and compares chain heads.
#[derive(Clone, Copy)]
pub struct Journal(&'static Chain);

struct Chain {
    head: u64,
    entries: &'static [Entry],
    before: Option<Journal>,
}

static NOTHING: Chain = Chain {
    head: 0,
    entries: &[],
    before: None,
};

static MADE: LazyLock<Mutex<HashMap<(u64, Entry), Journal>>> = LazyLock::new(Mutex::default);

impl Journal {
    /// A journal without entries.
    pub const EMPTY: Self = Self(&NOTHING);

    /// With one entry more.
    #[must_use]
    pub fn with(self, entry: Entry) -> Self {
        let mut made = MADE
            .lock()
            .expect("nobody panics while contents are looked up");
        *made.entry((self.0.head, entry)).or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            (self.0.head, entry).hash(&mut hasher);
            let entries: Vec<Entry> = self.entries().iter().copied().chain([entry]).collect();
            Self(Box::leak(Box::new(Chain {
                head: hasher.finish(),
                entries: entries.leak(),
                before: Some(self),
            })))
        })
    }

    /// The chain head: equal heads mean equal entries.
    pub fn head(self) -> u64 {
        self.0.head
    }

    /// The number of the last entry; 0 when there is none.
    pub fn last(self) -> Sequence {
        self.0.entries.len() as Sequence
    }

    /// The entries, in order.
    pub fn entries(self) -> &'static [Entry] {
        self.0.entries
    }

    /// The entry with this number.
    pub fn entry(self, sequence: Sequence) -> Entry {
        self.0.entries[usize::from(sequence) - 1]
    }

    /// Its beginning, up to and with `last`; the whole when it does not go so far.
    #[must_use]
    pub fn up_to(self, last: Sequence) -> Self {
        let mut found = self;
        while found.last() > last
            && let Some(before) = found.0.before
        {
            found = before;
        }
        found
    }

    /// The last entry both hold with everything before it: their fork.
    pub fn common(self, other: Self) -> Sequence {
        let (mut here, mut there) = (self.up_to(other.last()), other.up_to(self.last()));
        while here != there {
            let (Some(before_here), Some(before_there)) = (here.0.before, there.0.before) else {
                break;
            };
            (here, there) = (before_here, before_there);
        }
        here.last()
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl PartialEq for Journal {
    fn eq(&self, other: &Self) -> bool {
        self.0.head == other.0.head
    }
}

impl Eq for Journal {}

impl Hash for Journal {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.0.head);
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.entries()).finish()
    }
}
