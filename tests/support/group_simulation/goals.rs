//! Package `tests`, groups under seeds: what runs must come past. A simulation in which nothing happens breaks no rule; so each
//! goal is reached by some seed of every long row of them. Must not judge a run.

/// What a member is in the middle of: a crash there is a goal of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Takeover: the claim is being made durable.
    Claiming,
    /// Members are asked for their promise.
    Asking,
    /// The tail of one that is further is fetched.
    Fetching,
    /// The own journal is being opened.
    Opening,
    /// The close record is flushed, and the standing does not know it yet.
    Opened,
    /// Switch, at the old primary: what is open may decide, what is deposited is acknowledged.
    Draining,
    /// The hand-over entry is deposited.
    Handing,
    /// It is flushed, and the other is told.
    HandedOver,
    /// Switch, at the new primary: what is missing is fetched, the term claimed.
    Taking,
    /// Its journal is being opened.
    TakingOpens,
    /// The hand-over is taken back.
    TakingBack,
}

impl Step {
    /// Whether it is one of a takeover.
    pub(super) const fn is_takeover(self) -> bool {
        matches!(
            self,
            Self::Claiming | Self::Asking | Self::Fetching | Self::Opening | Self::Opened
        )
    }

    /// Whether it is one of a switch before the role is given away.
    pub(super) const fn is_handing(self) -> bool {
        matches!(self, Self::Draining | Self::Handing | Self::HandedOver)
    }

    pub(super) const fn crashed(self) -> Goal {
        match self {
            Self::Claiming => Goal::CrashedClaiming,
            Self::Asking => Goal::CrashedAsking,
            Self::Fetching => Goal::CrashedFetching,
            Self::Opening => Goal::CrashedOpening,
            Self::Opened => Goal::CrashedOpened,
            Self::Draining => Goal::CrashedDraining,
            Self::Handing => Goal::CrashedHanding,
            Self::HandedOver => Goal::CrashedHandedOver,
            Self::Taking => Goal::CrashedTaking,
            Self::TakingOpens => Goal::CrashedTakingOpens,
            Self::TakingBack => Goal::CrashedTakingBack,
        }
    }
}

macro_rules! goals {
    ($($(#[doc = $doc:literal])* $goal:ident,)*) => {
        /// Something that must happen in some run.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Goal {
            $($(#[doc = $doc])* $goal,)*
        }

        impl Goal {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; [$(Self::$goal),*].len()] = [$(Self::$goal),*];
        }
    };
}

goals! {
    /// A takeover by an operator's word: the primary is silent.
    TakenOverFromSilent,
    /// A takeover in which the primary answered, and was fenced.
    TakenOverFromFenced,
    /// A takeover among three.
    TakenOverOfThree,
    /// A takeover is refused before anything is done: answers may be lost.
    Doubted,
    /// A claimed takeover stops: more than one member does not answer.
    NeededWord,
    /// More than one member does not answer, and an operator accepts what that loses.
    LossAccepted,
    /// A takeover fetched the tail of another member.
    TailFetched,
    /// Somebody promised more.
    GivenUp,
    /// The role is handed over.
    HandedOver,
    /// What was handed over is taken back.
    TakenBack,
    /// A switch that nobody acknowledged: deposits go on.
    Resumed,
    /// A takeover met a hand-over to another, and claimed a term above it.
    RaisedAboveHandOver,
    /// A takeover asks for its promise whoever is handing over.
    TakenOverInSwitch,
    /// Whoever had promised the next term found its hand-over entry flushed.
    HandedOverTooLate,
    /// A crash while a claim is made.
    CrashedClaiming,
    /// A crash while promises are asked for.
    CrashedAsking,
    /// A crash while a tail is fetched.
    CrashedFetching,
    /// A crash while a takeover opens.
    CrashedOpening,
    /// A crash behind the close record, before anything rests on it.
    CrashedOpened,
    /// A crash while a switch drains.
    CrashedDraining,
    /// A crash around the hand-over entry.
    CrashedHanding,
    /// A crash behind it.
    CrashedHandedOver,
    /// A crash of whoever takes what was handed over.
    CrashedTaking,
    /// The same while it opens.
    CrashedTakingOpens,
    /// A crash while a hand-over is taken back.
    CrashedTakingBack,
    /// A member finds at its start that it had opened a term.
    TermFound,
    /// The old primary is started while another member takes over.
    PrimaryReturned,
    /// A member moves what it wrote itself, and is in no term, into an archive.
    RejoinedWithOrphans,
    /// A member fetched a closed segment it lacked.
    SegmentCompleted,
    /// The third member follows another primary than before.
    Reparented,
    /// A later term in a journal, after one in another.
    SwitchedBack,
    /// One term is opened by two.
    OpenedTwice,
    /// A member meets that, and stops.
    Conflicted,
    /// A member with confirmed entries that are in no term stops.
    Abandoned,
    /// An operator opens a journal alone.
    OpenedAlone,
    /// A deposit is found to have landed in the journal of an earlier primary.
    KeyFoundElsewhere,
    /// Two members take over at the same time.
    BothTakeOver,
    /// A takeover is ordered at the primary.
    TakeoverAtPrimary,
    /// A switch is ordered at a member that is not the primary.
    SwitchAtBackup,
    /// A switch is ordered to a member that is not ready.
    SwitchNotReady,
    /// The primary is set back to an older snapshot.
    PrimaryRestored,
    /// Another member is.
    BackupRestored,
    /// A restored journal is refused where it would open, until an operator says so.
    RestoredRefused,
}

/// Each goal, and how often it was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goals([u64; Goal::ALL.len()]);

impl Default for Goals {
    fn default() -> Self {
        Self([0; Goal::ALL.len()])
    }
}

impl Goals {
    pub(super) const fn reach(&mut self, goal: Goal) {
        self.0[goal as usize] += 1;
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// How often each was reached.
    pub fn each(&self) -> impl Iterator<Item = (Goal, u64)> {
        Goal::ALL.into_iter().zip(self.0)
    }

    /// Goals that were not reached.
    pub fn missed(&self) -> Vec<Goal> {
        let missed = self.each().filter(|(_, times)| *times == 0);
        missed.map(|(goal, _)| goal).collect()
    }
}
