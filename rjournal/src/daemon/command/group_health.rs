//! Room `daemon`: whether a recovery group is as it was asked to be, for STATUS: somebody takes deposits, every other member
//! answers and follows, and the ways there and back are open. Judged from what is known already. Must not ask anybody.

use serde::{Deserialize, Serialize};

use super::group::{GroupDescription, MemberDescription};
use super::status::Health;
use crate::entry::{Name, SystemName, Timestamp};
use crate::remote::MemberRole;

/// A member that was not heard for this long is not believed.
const SILENT_SECONDS_MAX: u64 = 30;

/// One recovery group in the status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHealth {
    /// The group.
    pub group: Name,
    /// Role of this system in it.
    pub role: MemberRole,
    /// The term promised here.
    pub term: u64,
    /// Who is primary, where one is known that has opened the term.
    pub primary: Option<SystemName>,
    /// Whether that is this system.
    pub here: bool,
    /// Whether it takes deposits, as far as is known.
    pub open: bool,
    /// How it is.
    pub health: Health,
    /// What is wrong, one thing each.
    pub notes: Vec<String>,
}

/// Judges a group.
pub(super) fn judge_group(group: &GroupDescription, now: Timestamp) -> GroupHealth {
    let told = &group.primary;
    let mut notes = Vec::new();
    let mut health = Health::Protected;
    if let Some(stopped) = &group.stopped {
        health = Health::Stopped;
        notes.push(stopped.clone());
    }
    match told.primary {
        None => {
            health = Health::Stopped;
            notes.push(format!("term {} is claimed and not opened", told.term));
        }
        Some(_) if told.here && !told.open => {
            health = Health::Stopped;
            notes.push("this system is primary, and takes no deposits".to_owned());
        }
        Some(primary) if !told.open => {
            health = Health::Stopped;
            notes.push(format!(
                "{primary} is primary, and took no deposits when it was heard"
            ));
        }
        Some(_) => {}
    }
    if let Some(doing) = &group.doing {
        health = health.max(Health::Degraded);
        notes.push(format!("under way: {doing}"));
    }
    for member in &group.members {
        let found = if member.is_here {
            of_this_system(group, member)
        } else {
            of_member(group, member, now)
        };
        if !found.is_empty() {
            health = health.max(Health::Degraded);
        }
        notes.extend(found);
    }
    GroupHealth {
        group: group.name,
        role: group.role,
        term: told.term,
        primary: told.primary,
        here: told.here,
        open: told.open,
        health,
        notes,
    }
}

fn of_this_system(group: &GroupDescription, member: &MemberDescription) -> Vec<String> {
    let follows = member.follows == group.primary.term;
    // Of one that takes no part it was said why.
    if follows || group.stopped.is_some() || group.primary.primary.is_none() {
        return Vec::new();
    }
    vec![format!(
        "this system does not follow term {} yet",
        group.primary.term
    )]
}

fn of_member(group: &GroupDescription, member: &MemberDescription, now: Timestamp) -> Vec<String> {
    let name = member.name;
    let silent = now.since(member.heard_at).as_secs();
    if let Some(error) = &member.error {
        return vec![format!("{name} does not answer: {error}")];
    }
    if member.heard_at == Timestamp::ZERO {
        return vec![format!("{name} was not heard yet")];
    }
    if silent > SILENT_SECONDS_MAX {
        return vec![format!("{name} was not heard for {silent} s")];
    }
    let mut notes = Vec::new();
    if member.follows != group.primary.term && group.primary.primary.is_some() {
        notes.push(format!(
            "{name} does not follow term {} yet",
            group.primary.term
        ));
    }
    for (way, found) in [
        (format!("the way to {name}"), &member.path),
        (format!("the way back from {name}"), &member.way_back),
    ] {
        match found {
            Some(Ok(_)) => {}
            Some(Err(error)) => notes.push(format!("{way} is not open: {error}")),
            None => notes.push(format!("{way} was not tried yet")),
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::group::PrimaryTold;
    use super::*;
    use crate::entry::SystemId;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

    fn member(n: u8, name: &str, is_here: bool) -> MemberDescription {
        MemberDescription {
            name: name.parse().unwrap(),
            system: SystemId::from_bytes([n; 16]),
            is_here,
            journal: format!("{name}LIB/JRN").parse().unwrap(),
            here: None,
            role: None,
            open: n == 1,
            follows: 2,
            flushed: None,
            applied: None,
            heard_at: NOW,
            error: None,
            path: (!is_here).then_some(Ok(NOW)),
            way_back: (!is_here).then_some(Ok(NOW)),
            health: None,
        }
    }

    fn group() -> GroupDescription {
        GroupDescription {
            name: "ORDERS".parse().unwrap(),
            sync: true,
            text: String::new(),
            role: MemberRole::Primary,
            promised: 2,
            stopped: None,
            doing: None,
            primary: PrimaryTold {
                group: "ORDERS".parse().unwrap(),
                term: 2,
                primary: Some("PRD".parse().unwrap()),
                address: None,
                here: true,
                open: true,
                role: MemberRole::Primary,
                journal: "PRDLIB/JRN".parse().unwrap(),
                heard_at: NOW,
            },
            members: vec![member(1, "PRD", true), member(2, "BKP", false)],
            terms: Vec::new(),
        }
    }

    #[test]
    fn a_group_is_protected_while_all_follow_and_the_ways_are_open() {
        let judged = judge_group(&group(), NOW);
        assert_eq!((judged.health, judged.notes.len()), (Health::Protected, 0));
    }

    #[test]
    fn a_member_that_is_silent_or_behind_and_a_way_back_that_is_closed_degrade_it() {
        let note = |change: fn(&mut MemberDescription), now: Timestamp| {
            let mut group = group();
            change(&mut group.members[1]);
            let judged = judge_group(&group, now);
            assert_eq!(judged.health, Health::Degraded);
            judged.notes.join("; ")
        };
        assert_eq!(
            note(|member| member.follows = 1, NOW),
            "BKP does not follow term 2 yet"
        );
        assert_eq!(
            note(
                |member| member.way_back = Some(Err("no address".to_owned())),
                NOW
            ),
            "the way back from BKP is not open: no address"
        );
        assert_eq!(
            note(|member| member.path = None, NOW),
            "the way to BKP was not tried yet"
        );
        assert_eq!(
            note(
                |member| member.error = Some("it did not answer in time".to_owned()),
                NOW
            ),
            "BKP does not answer: it did not answer in time"
        );
        let later = Timestamp::from_micros(NOW.as_micros() + 31_000_000);
        assert_eq!(note(|_| {}, later), "BKP was not heard for 31 s");
    }

    #[test]
    fn a_group_in_which_nobody_takes_deposits_is_stopped() {
        let mut closed = group();
        closed.primary.open = false;
        assert_eq!(judge_group(&closed, NOW).health, Health::Stopped);
        let mut claimed = group();
        claimed.primary.primary = None;
        let judged = judge_group(&claimed, NOW);
        assert_eq!(judged.health, Health::Stopped);
        assert_eq!(judged.notes, ["term 2 is claimed and not opened"]);
        let mut picked = group();
        picked.stopped = Some("CONFLICT: ...".to_owned());
        assert_eq!(judge_group(&picked, NOW).health, Health::Stopped);
    }
}
