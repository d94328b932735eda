//! Room `daemon`: what an operator is told of a local journal's in-sync set: who came and went, that deposits are held off,
//! that a policy waits for somebody to know it. Must not decide anything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::local::lock;
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::entry::Moment;
use crate::entry::control_entry::{Level, Member, Policy, SetChange, SetReason};
use crate::journal::{Gate, Journal};
use crate::remote::Confirmation;

/// A policy that is in force within this time needs no word of its own: the command said it.
const ORDERED_QUIET: Duration = Duration::from_secs(1);

/// A looser policy on its way.
#[derive(Debug, Clone, Copy)]
struct OnItsWay {
    policy: Policy,
    since: Moment,
    told: bool,
}

/// What was told, so that it is told once.
#[derive(Debug, Default)]
pub(super) struct SetNews {
    /// That deposits are held off, and not yet that they go on.
    held: AtomicBool,
    ordered: Mutex<Option<OnItsWay>>,
}

impl SetNews {
    /// Tells what is new.
    pub(super) fn tell(
        &self,
        shared: &Shared,
        journal: &Journal,
        confirmation: &Mutex<Confirmation>,
    ) {
        let (news, away, ordered, ignorant, policy) = {
            let mut confirmation = lock(confirmation);
            let news: Vec<SetChange> = std::iter::from_fn(|| confirmation.poll_news()).collect();
            let ordered = confirmation.policy_ordered();
            let ignorant = confirmation.ignorant();
            (
                news,
                confirmation.away(),
                ordered,
                ignorant,
                confirmation.policy(),
            )
        };
        for change in news {
            let (id, severity, text) = describe_change(&change);
            shared.post(id, severity, journal.name(), text);
        }
        self.tell_held(shared, journal, policy, &away);
        self.tell_ordered(shared, journal, policy, ordered, &ignorant);
    }

    /// An operator is told once that deposits are held off, and once that they go on.
    fn tell_held(&self, shared: &Shared, journal: &Journal, policy: Policy, away: &[Member]) {
        let gate = journal.gate();
        let held = matches!(gate, Gate::Held { .. });
        // A journal that stopped says so itself.
        let goes_on = gate == Gate::Open;
        let told = self.held.load(Ordering::Acquire);
        if told == held || !(held || goes_on) {
            return;
        }
        self.held.store(held, Ordering::Release);
        let name = journal.name();
        if held {
            let text = describe_held(policy, away);
            shared.post("RJN2010", Severity::Alarm, name, text);
        } else {
            let text = "deposits are no longer held off".to_owned();
            shared.post("RJN2011", Severity::Info, name, text);
        }
    }

    /// An operator is told of a policy that is not in force at once, and when it is.
    fn tell_ordered(
        &self,
        shared: &Shared,
        journal: &Journal,
        policy: Policy,
        ordered: Option<Policy>,
        ignorant: &[Member],
    ) {
        let now = shared.clock.now();
        let mut known = lock(&self.ordered);
        let before = *known;
        *known = ordered.map(|policy| {
            let same = before.filter(|before| before.policy == policy);
            let since = same.map_or(now, |before| before.since);
            let told = same.is_some_and(|before| before.told) || now.since(since) >= ORDERED_QUIET;
            OnItsWay {
                policy,
                since,
                told,
            }
        });
        let (was_told, is_told) = (before.filter(|way| way.told), known.filter(|way| way.told));
        if was_told.is_none() && is_told.is_some() {
            let text = describe_ordered(policy, ordered.unwrap_or(policy), ignorant);
            shared.post("RJN2013", Severity::Warning, journal.name(), text);
        } else if was_told.is_some() && ordered.is_none() {
            let text = format!("policy {} is in force", policy_name(policy));
            shared.post("RJN2014", Severity::Info, journal.name(), text);
        }
    }
}

/// A policy that waits, for people.
pub(in crate::daemon) fn describe_ordered(
    in_force: Policy,
    ordered: Policy,
    ignorant: &[Member],
) -> String {
    let (in_force, ordered) = (policy_name(in_force), policy_name(ordered));
    let waits = match ignorant {
        [] => "for this disk".to_owned(),
        ignorant => format!("until {} has it on disk", names(ignorant)),
    };
    format!("policy {ordered} is ordered and waits {waits}; until then {in_force} is in force")
}

const fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::Degrade => "*DEGRADE",
        Policy::Block => "*BLOCK",
        Policy::Reject => "*REJECT",
    }
}

/// Targets for people.
pub(in crate::daemon) fn names(members: &[Member]) -> String {
    let names: Vec<String> = members.iter().map(named).collect();
    names.join(", ")
}

/// A change of the in-sync set for people: who, why, and what answers are worth from now on.
fn describe_change(change: &SetChange) -> (&'static str, Severity, String) {
    let received = |member: &Member| member.level == Level::Received;
    let class = match change.members.len() {
        0 => "deposits are answered LOCAL, flushed here only".to_owned(),
        targets => {
            let class = if change.members.iter().any(received) {
                "RECEIVED"
            } else {
                "SYNC"
            };
            format!("deposits are answered {class} by this system and {targets} in sync")
        }
    };
    let why = match change.reason {
        SetReason::TimedOut => "it did not answer within SYNCTIMO",
        SetReason::TargetFailed => "it said that it cannot go on, or its link ended",
        SetReason::Operator => "by an operator",
        SetReason::Joined => "it has caught up",
        SetReason::OpenedAlone => "the journal was opened without it",
        SetReason::NewTerm => "a term of its recovery group begins",
    };
    if change.left.is_empty() {
        // The one that joined stands last.
        let joined = change.members.last().map(named).unwrap_or_default();
        let text = format!("{joined} is in sync ({why}): {class}");
        return ("RJN3006", Severity::Info, text);
    }
    let text = format!("{} is out of sync ({why}): {class}", names(&change.left));
    ("RJN3005", Severity::Warning, text)
}

/// What it means that deposits are held off, and what an operator can do.
fn describe_held(policy: Policy, away: &[Member]) -> String {
    let means = match policy {
        Policy::Reject => {
            "no deposit is answered, those that wait are UNKNOWN and further ones are refused"
        }
        Policy::Block | Policy::Degrade => "no deposit is answered, and further ones wait",
    };
    let who = match away {
        [] => "a *SYNC target".to_owned(),
        away => names(away),
    };
    format!(
        "{who} does not answer: by the policy of the journal {means} until it does. Bring it back; giving it up instead \
         (CHGRMTJRN JRNSTATE(*INACTIVE), --force) voids the guarantee that nothing is answered without it"
    )
}

fn named(member: &Member) -> String {
    format!("{}:{}", member.rdb, member.journal)
}
