//! Room `role`: what a takeover may lose, before it is done: what its dialogue tells an operator (rulings 13 and 26), and who is to
//! be heard where no operator gives a word. Must not know who is asked, nor how.

use serde::{Deserialize, Serialize};

use super::standing::Standing;
use crate::entry::SystemId;

/// Why a takeover may lose answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The primary is not heard: answers LOCAL that it may have given alone cannot be known here (ruling 13).
    LocalAnswers,
    /// More than one member is not heard: a SYNC answer may rest on those alone (ruling 26).
    Unheard(Vec<SystemId>),
    /// These claimed a later term than those known here, and are not heard: what they answered in it cannot be known.
    Claimed(Vec<SystemId>),
    /// This copy was never in the in-sync set, or left it: what the primary answered since is not here.
    NotInSync,
}

/// What the own copy of a primary's journal says of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopySays {
    /// The last term that began in it, flushed; 0 for none. What it says is of that term.
    pub term: u64,
    /// Whether this member is in the last in-sync set that came here.
    pub in_set: bool,
    /// Whether the primary may have answered entries that are not here (ruling 13).
    pub local_answers_possible: bool,
}

/// What is known before a takeover, for its dialogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The last term known here.
    pub term: u64,
    /// Its primary.
    pub primary: Option<SystemId>,
    /// What speaks against it without an operator's word.
    pub doubts: Vec<Doubt>,
}

/// Who is to be heard before a term is opened without an operator's word: the primary, where it may have given answers that are not
/// here, and whoever may have opened a later term than those known.
pub fn to_be_heard(standing: &Standing, me: SystemId, copy: Option<CopySays>) -> Vec<SystemId> {
    let primary = standing.lineage.newest().map(|newest| newest.primary);
    let others: Vec<SystemId> = standing
        .group
        .others(me)
        .map(|member| member.system)
        .collect();
    let but = |other: &SystemId| Some(*other) != primary;
    let heard: Vec<SystemId> = others.iter().copied().filter(but).collect();
    let mut doubted = standing.unknown(me);
    if !assess(standing, me, &others, &heard, copy)
        .doubts
        .is_empty()
    {
        doubted.extend(primary);
    }
    doubted
}

/// What may be lost if `me` takes over now. `heard` are the members that answer; `copy` is what the own copy of the newest
/// term's journal says, nothing where there is none.
pub fn assess(
    standing: &Standing,
    me: SystemId,
    others: &[SystemId],
    heard: &[SystemId],
    copy: Option<CopySays>,
) -> Assessment {
    let lineage = &standing.lineage;
    let newest = lineage.newest();
    let primary = newest.map(|newest| newest.primary);
    let mut doubts = Vec::new();
    let unheard: Vec<SystemId> = others
        .iter()
        .copied()
        .filter(|other| !heard.contains(other))
        .collect();
    if unheard.len() > 1 {
        doubts.push(Doubt::Unheard(unheard.clone()));
    }
    let mut claimed = standing.unknown(me);
    claimed.retain(|system| !heard.contains(system));
    if !claimed.is_empty() {
        doubts.push(Doubt::Claimed(claimed));
    }
    let primary_silent = primary.is_some_and(|primary| primary != me && unheard.contains(&primary));
    // A copy in which the newest term has not begun says nothing of it (the first one has no record).
    let says = |copy: &CopySays| {
        newest.is_none_or(|newest| newest.closed.is_none() || copy.term == newest.term)
    };
    let copy = copy.filter(says);
    if primary_silent {
        let in_set = copy.is_some_and(|copy| copy.in_set);
        if !in_set {
            doubts.push(Doubt::NotInSync);
        }
        if !in_set || copy.is_none_or(|copy| copy.local_answers_possible) {
            doubts.push(Doubt::LocalAnswers);
        }
    }
    Assessment {
        term: lineage.term(),
        primary,
        doubts,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lineage::tests::{group, lineage, record, system};
    use super::*;
    use crate::entry::{GroupId, TermClaim};

    #[test]
    fn what_cannot_be_known_is_said_before_anything_is_done() {
        let mut standing = Standing::new(group(3), lineage(&[record(1, 1, 0, None)]));
        let doubts =
            |standing: &Standing, heard: &[u8], in_set: bool, local_answers_possible: bool| {
                let heard: Vec<SystemId> = heard.iter().copied().map(system).collect();
                let others = [system(1), system(3)];
                let copy = CopySays {
                    term: 0,
                    in_set,
                    local_answers_possible,
                };
                assess(standing, system(2), &others, &heard, Some(copy)).doubts
            };
        assert_eq!(doubts(&standing, &[1, 3], true, true), []);
        assert_eq!(doubts(&standing, &[3], true, false), []);
        assert_eq!(doubts(&standing, &[3], true, true), [Doubt::LocalAnswers]);
        assert_eq!(
            doubts(&standing, &[], true, false),
            [Doubt::Unheard(vec![system(1), system(3)])]
        );
        assert_eq!(
            doubts(&standing, &[3], false, false),
            [Doubt::NotInSync, Doubt::LocalAnswers]
        );
        // A copy of an earlier term in the same journal says nothing of this one.
        let back = [
            record(1, 1, 0, None),
            record(2, 2, 0, Some((1, 1, 9))),
            record(3, 1, 9, Some((2, 2, 4))),
        ];
        let back = Standing::new(group(3), lineage(&back));
        let of_term = |term| {
            let copy = CopySays {
                term,
                in_set: true,
                local_answers_possible: false,
            };
            let others = [system(1), system(3)];
            assess(&back, system(2), &others, &[system(3)], Some(copy)).doubts
        };
        assert_eq!(of_term(1), [Doubt::NotInSync, Doubt::LocalAnswers]);
        assert_eq!(of_term(3), []);
        // Somebody claimed a term, and may have opened it.
        let claim = TermClaim {
            group: GroupId::from_bytes([9; 16]),
            term: 2,
            system: system(3),
            proof: crate::entry::Proof::NONE,
        };
        standing.handle_claim(system(2), claim);
        assert_eq!(
            doubts(&standing, &[1], true, false),
            [Doubt::Claimed(vec![system(3)])]
        );
        assert_eq!(doubts(&standing, &[1, 3], true, false), []);
        let copy = CopySays {
            term: 0,
            in_set: true,
            local_answers_possible: false,
        };
        assert_eq!(to_be_heard(&standing, system(2), Some(copy)), [system(3)]);
        assert_eq!(
            to_be_heard(&standing, system(2), None),
            [system(3), system(1)]
        );
    }
}
