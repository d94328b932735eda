//! Room `remote`: opening: what a source must hear before it takes deposits again (ruling 14, failures.md COU-2, PRO-7).
//!
//! A journal whose recorded in-sync set is empty opens at once. Otherwise every member is asked what it holds. When all
//! have answered, the furthest tail on this journal's own chain is adopted - by itself up to the in-flight window, beyond
//! it only on an operator's word - and the journal opens above every epoch that was heard of. While somebody has not
//! answered it stays readable and closed, and says so; an operator may open it alone. A member whose history went another
//! way keeps it closed too, unless what it has beyond the fork is unconfirmed and of an earlier opening: coupling sets that
//! aside. Must not know connections.

use super::couple::Coupling;
use super::message::{Refusal, RefusalCode, Welcome};
use crate::entry::control_entry::OpenReason;
use crate::entry::{Position, Sequence};
use crate::remote::MemberKey;

/// What a crash can explain: more than the bundles one writer ever has under way. A longer tail means that this copy was
/// restored from a backup.
pub const ADOPT_WINDOW: u64 = 3 * crate::entry::codec::BUNDLE_ENTRIES_MAX as u64;

/// What a member answered.
#[derive(Debug, Clone)]
pub enum Heard {
    /// What it holds, and what follows from the two histories.
    Welcome(Box<Welcome>, Coupling),
    /// It will not have this source.
    Refused(Refusal),
    /// Its connection broke; it will be asked again.
    Lost,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpeningStep {
    /// Somebody has not answered yet.
    Wait,
    /// Take over this member's tail; say when it is durable with [`Opening::handle_adopted`].
    Adopt(MemberKey),
    /// Open for deposits, above this `(term, boot)`.
    Open {
        /// Why.
        reason: OpenReason,
        /// The highest rank anybody knew.
        rank_above: (u64, u64),
        /// What members have of this journal's chain.
        heard: Vec<(MemberKey, Sequence)>,
    },
    /// Stay closed until an operator decides.
    Refuse {
        /// Why.
        code: RefusalCode,
        /// What an operator reads.
        text: String,
    },
}

#[derive(Debug)]
struct Asked {
    key: MemberKey,
    answer: Option<Heard>,
}

/// The opening of one local journal.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "words of an operator, each by itself"
)]
pub struct Opening {
    tip: Position,
    /// Of the epoch of the last bundle here.
    tip_rank: (u64, u64),
    rank: (u64, u64),
    members: Vec<Asked>,
    /// An operator's word: open without hearing everybody.
    alone: bool,
    /// An operator's word: adopt a tail of any length, and pass over a later boot.
    adopt: bool,
    adopted: bool,
    /// Another member of its group is to be heard first.
    contact_missing: bool,
}

impl Opening {
    /// A journal recovered up to `tip`, whose last bundle is of rank `tip_rank`, last opened at `rank`, with these members
    /// recorded.
    pub fn new(
        tip: Position,
        tip_rank: (u64, u64),
        rank: (u64, u64),
        members: impl IntoIterator<Item = MemberKey>,
    ) -> Self {
        let members = members
            .into_iter()
            .map(|key| Asked { key, answer: None })
            .collect();
        Self {
            tip,
            tip_rank,
            rank,
            members,
            alone: false,
            adopt: false,
            adopted: false,
            contact_missing: false,
        }
    }

    /// Who has not answered.
    pub fn missing(&self) -> impl Iterator<Item = MemberKey> {
        self.members
            .iter()
            .filter(|member| member.answer.is_none())
            .map(|member| member.key)
    }

    /// It belongs to a recovery group: another member must be heard, whoever is in the in-sync set (ruling 14).
    pub const fn require_contact(&mut self) {
        self.contact_missing = true;
    }

    /// Another member was heard, and knows of no higher term.
    pub const fn handle_contact(&mut self) {
        self.contact_missing = false;
    }

    /// An operator opens it without hearing everybody.
    pub fn open_alone(&mut self) {
        self.alone = true;
    }

    /// An operator allows a tail of any length to be adopted.
    pub fn allow_adopt(&mut self) {
        self.adopt = true;
        // A refusal may become an answer under the operator's word, and an answer needs a session to adopt over.
        self.ask_again();
    }

    /// Whether an operator allowed it.
    pub const fn is_adopt_allowed(&self) -> bool {
        self.adopt
    }

    /// A member answered, or was lost before it could.
    pub fn handle_heard(&mut self, key: MemberKey, heard: Heard) {
        if let Some(member) = self.members.iter_mut().find(|member| member.key == key) {
            // That a target is missing, busy or not allowed is no statement about histories: it is asked again.
            let passing = matches!(&heard, Heard::Refused(refusal) if refusal.code.may_pass());
            member.answer = if passing || matches!(heard, Heard::Lost) {
                None
            } else {
                Some(heard)
            };
        }
    }

    /// Forgets all answers.
    pub fn ask_again(&mut self) {
        for member in &mut self.members {
            member.answer = None;
        }
    }

    /// The tail was adopted and is durable: everything up to `tip` is here now, the last bundle of rank `tip_rank`. Members
    /// that have something else beyond the old end are asked again: their histories are to be compared with the new one.
    pub fn handle_adopted(&mut self, tip: Position, tip_rank: (u64, u64)) {
        self.adopted = self.adopted || tip.sequence > self.tip.sequence;
        self.tip = tip;
        self.tip_rank = tip_rank;
        for member in &mut self.members {
            if let Some(Heard::Welcome(welcome, coupling)) = &mut member.answer
                && matches!(coupling, Coupling::Ahead { .. })
            {
                if welcome.tip == tip {
                    *coupling = Coupling::Continue { at: tip };
                } else {
                    member.answer = None;
                }
            }
        }
    }

    /// What is to be done with what was heard so far.
    pub fn step(&self) -> OpeningStep {
        if let Some(refusal) = self.members.iter().find_map(refused) {
            return OpeningStep::Refuse {
                code: refusal.code,
                text: refusal.text.clone(),
            };
        }
        if let Some(parted) = self.parted().filter(|_| !self.alone) {
            return parted;
        }
        let answered = self.members.iter().all(|member| member.answer.is_some());
        let all_heard = answered && !self.contact_missing;
        if !all_heard && !self.alone {
            return OpeningStep::Wait;
        }
        let ahead = self
            .members
            .iter()
            .filter_map(|member| match &member.answer {
                Some(Heard::Welcome(welcome, Coupling::Ahead { .. })) => {
                    Some((member.key, welcome))
                }
                _ => None,
            });
        // The later epoch first, then the longer tail (ruling 29): they are on one chain, so longest is most.
        let furthest =
            ahead.max_by_key(|(_, welcome)| (welcome.tip_epoch.rank(), welcome.tip.sequence));
        if let Some((key, welcome)) = furthest {
            let missing = welcome.tip.sequence.entries_since(self.tip.sequence);
            if missing > ADOPT_WINDOW && !self.adopt {
                return self.refuse_behind(missing, welcome.tip.sequence);
            }
            return OpeningStep::Adopt(key);
        }
        let reason = match (self.adopted, all_heard) {
            (_, false) => OpenReason::Alone,
            (true, true) => OpenReason::Adopted,
            (false, true) => OpenReason::Restarted,
        };
        OpeningStep::Open {
            reason,
            rank_above: self.highest_rank(),
            heard: self.heard(),
        }
    }

    /// How far each member that was heard has this journal's own chain on its disk.
    fn heard(&self) -> Vec<(MemberKey, Sequence)> {
        let had = |member: &Asked| match &member.answer {
            Some(Heard::Welcome(
                _,
                Coupling::Continue { at } | Coupling::Ahead { at } | Coupling::Forked { at },
            )) => Some((member.key, at.sequence)),
            // One that is empty begins behind what it was never sent.
            _ => None,
        };
        self.members.iter().filter_map(had).collect()
    }

    /// Who answered, and goes on with this journal's own chain.
    pub fn followers(&self) -> impl Iterator<Item = MemberKey> {
        let follows = |member: &&Asked| {
            matches!(
                &member.answer,
                Some(Heard::Welcome(
                    _,
                    Coupling::Continue { .. } | Coupling::Ahead { .. }
                ))
            )
        };
        self.members.iter().filter(follows).map(|member| member.key)
    }

    /// A member whose history and this one cannot both be the journal's: nobody but an operator chooses, and never the
    /// longer one wins.
    fn parted(&self) -> Option<OpeningStep> {
        let stays = "It stays closed and nothing was changed. VERIFY compares the two. To go on with the entries here: CHGJRN \
                     OPEN(*ALONE), then DLTJRN of the copy there and ADDRMTJRN; to go on with those there, restore this \
                     journal from them before it is opened";
        self.members.iter().find_map(|member| {
            let Some(Heard::Welcome(welcome, coupling)) = &member.answer else {
                return None;
            };
            let (here, there) = (self.tip.sequence, welcome.tip.sequence);
            let found = match coupling {
                // Coupling archives a tail that is unconfirmed and was sealed before what is here (ruling 29).
                Coupling::Forked { at }
                    if at.sequence >= welcome.confirmed
                        && welcome.tip_epoch.rank() < self.tip_rank =>
                {
                    return None;
                }
                Coupling::Forked { at } => format!(
                    "the histories fork after entry {}; this journal ends at entry {here}, the copy of a member of its in-sync \
                     set at entry {there}, confirmed up to {}",
                    at.sequence, welcome.confirmed
                ),
                Coupling::Strangers => format!(
                    "this journal ends at entry {here}, the copy of a member of its in-sync set at entry {there}, and they have \
                     no entry in common"
                ),
                Coupling::Gap => format!(
                    "the copy of a member of its in-sync set ends at entry {there}, before the oldest entry here: whether it \
                     was this journal's cannot be told any more"
                ),
                Coupling::Continue { .. } | Coupling::Begin { .. } | Coupling::Ahead { .. } => {
                    return None;
                }
            };
            Some(OpeningStep::Refuse {
                code: RefusalCode::Diverged,
                text: format!("{found}. {stays}"),
            })
        })
    }

    fn refuse_behind(&self, missing: u64, target: Sequence) -> OpeningStep {
        let text = format!(
            "this journal ends at entry {}, a member of its in-sync set holds entry {target}: {missing} more than a crash \
             explains. Was it restored from a backup? CHGJRN OPEN(*ADOPT) takes them over",
            self.tip.sequence
        );
        OpeningStep::Refuse {
            code: RefusalCode::SourceBehind,
            text,
        }
    }

    fn highest_rank(&self) -> (u64, u64) {
        let heard = self
            .members
            .iter()
            .filter_map(|member| match &member.answer {
                Some(Heard::Welcome(welcome, _)) => {
                    Some(welcome.promised.rank().max(welcome.tip_epoch.rank()))
                }
                _ => None,
            });
        heard.fold(self.rank, Ord::max)
    }
}

/// A refusal forbids opening.
fn refused(member: &Asked) -> Option<&Refusal> {
    match &member.answer {
        Some(Heard::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}
