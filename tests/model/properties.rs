//! Package `rjournal-model`: what must hold in every state. Each is checked until it has failed once.

use std::sync::atomic::Ordering;

use stateright::Property;

use crate::actions::FEEDER;
use crate::goals;
use crate::group::Group;
use crate::journal::{Entry, Epoch, Kind, Sequence};
use crate::lineage::{Lineage, decisions};
use crate::state::{Answer, Event, Extent, Role, State};

/// What was answered SYNC survives every takeover. Not after an operator accepted loss, or restored a journal.
pub const SYNC_KEPT: &str = "P1 every SYNC answer is in the newest primary's lineage";
/// Neither by a member of the group, nor behind the back of the copy downstream.
pub const CONFIRMED_KEPT: &str = "P2 nothing confirmed is cut without an operator's word";
/// Archives included.
pub const ONE_ENTRY: &str = "P3 one (journal, epoch, sequence) names one entry";
/// Otherwise fencing fails.
pub const ONE_GIVES_SYNC: &str = "P4 one member gives SYNC in a term";
/// Nothing is missing in a store, doubled, or left over from what was cut.
pub const STORE_IS_FOLD: &str = "P5 a store is the fold of its lineage up to its position";
/// Without a hole, and not stuck before one.
pub const FOLLOWER_WHOLE: &str =
    "P6 a member at the end has the primary's lineage, and may apply all closed terms";
/// Whatever class the answer had. Not after a restore.
pub const NOTHING_DESTROYED: &str = "P7 an answered entry is in a copy or an archive";
/// Not after an operator accepted loss, or restored a journal.
pub const NO_SECOND_OPENS: &str = "P8 nobody opens by itself beside a primary of a higher term";
/// Neither at one time nor one after the other. Not after an operator accepted loss.
pub const ONE_JOURNAL: &str = "P9 one term is opened in one journal";
/// A fork below what is confirmed stops a member only after an operator's act (loss accepted, a restore, an opening alone),
/// or when it was itself the primary of a term that the lineage leaves out.
pub const NOBODY_STOPS: &str = "P10 who follows the rules is not stopped by them";
/// What target-enforced completion comes to.
pub const SEGMENTS_WHOLE: &str =
    "P11 whoever holds entries of a term holds the segments before it whole";
/// The dialogue of a takeover tells the truth. Not after an operator accepted loss, or restored a journal.
pub const LOCAL_KEPT: &str = "P12 a takeover that says that no LOCAL answer is lost loses none";
/// Once everything is up and every line stands.
pub const ALL_FOLLOW: &str = "P13 everybody comes to follow the newest primary";
/// The class that is derived from the lineage later is not above the one that was given.
pub const SET_LISTED: &str =
    "Px the lineage never lists a SYNC answer under a larger set than it rested on";

/// Loss by an operator's word: what was promised before does not bind.
const BY_WORD: [Event; 2] = [Event::LossAccepted, Event::Restored];

macro_rules! always {
    ($at:expr, $name:expr, $holds:expr) => {
        Property::always($name, |group: &Group, state: &State| {
            first_failure(group, $at, || $holds(group, state))
        })
    };
}

/// All properties, and the look at the goals.
pub fn all() -> Vec<Property<Group>> {
    vec![
        always!(1, SYNC_KEPT, sync_kept),
        always!(2, CONFIRMED_KEPT, confirmed_kept),
        always!(3, ONE_ENTRY, one_entry),
        always!(4, ONE_GIVES_SYNC, one_gives_sync),
        always!(5, STORE_IS_FOLD, store_is_fold),
        always!(6, FOLLOWER_WHOLE, follower_whole),
        always!(7, NOTHING_DESTROYED, nothing_destroyed),
        always!(8, NO_SECOND_OPENS, no_second_opens),
        always!(9, ONE_JOURNAL, one_journal),
        always!(10, NOBODY_STOPS, nobody_stops),
        always!(11, SEGMENTS_WHOLE, segments_whole),
        always!(12, LOCAL_KEPT, local_kept),
        always!(13, SET_LISTED, set_listed),
        always!(14, ALL_FOLLOW, all_follow),
        goals::look(),
    ]
}

/// Breadth first finds the shortest trace first; later failures would only replace it.
fn first_failure(group: &Group, at: u32, holds: impl Fn() -> bool) -> bool {
    if group.failed.load(Ordering::Relaxed) & (1 << at) != 0 || holds() {
        return true;
    }
    group.failed.fetch_or(1 << at, Ordering::Relaxed);
    false
}

/// The answers with their deposits.
fn answers(state: &State) -> impl Iterator<Item = (u8, Answer)> {
    (0..).zip(state.answers.iter().copied())
}

fn newest(group: &Group, state: &State) -> Option<Lineage> {
    let primary = state.newest_primary(group.configuration.members)?;
    Some(state.members[primary].lineage(Extent::Received))
}

fn sync_kept(group: &Group, state: &State) -> bool {
    let given = |(_, answer): &(u8, Answer)| matches!(answer, Answer::Sync { .. });
    if state.seen.any(&BY_WORD) || !answers(state).any(|answer| given(&answer)) {
        return true;
    }
    newest(group, state).is_none_or(|lineage| {
        answers(state)
            .filter(given)
            .all(|(id, _)| lineage.holds(id))
    })
}

fn confirmed_kept(group: &Group, state: &State) -> bool {
    if state.seen.any(&[Event::ConfirmedCut]) {
        return false;
    }
    let feeder = &state.members[FEEDER];
    if !group.configuration.downstream || feeder.role == Role::Stopped {
        return true;
    }
    let there = Lineage::of(&state.downstream);
    let common = feeder.lineage(Extent::Received).common(&there);
    // what the feeder wrote as a primary and lost may be left downstream; it is refused there (ruling 32)
    there
        .entries()
        .nth(common)
        .is_none_or(|placed| placed.journal == FEEDER)
}

fn one_entry(group: &Group, state: &State) -> bool {
    // two copies that fork have different entries at the same numbers; those must be of different epochs
    let differ =
        |one: (Sequence, Entry), other: Entry| one.1 == other || one.1.epoch != other.epoch;
    group.ids().all(|journal| {
        let copies = || {
            group
                .ids()
                .map(|id| state.members[id].copies[journal].journal)
                .chain(
                    state
                        .orphans
                        .iter()
                        .filter(|orphan| orphan.journal == journal)
                        .map(|orphan| orphan.content),
                )
        };
        copies().enumerate().all(|(at, one)| {
            copies().skip(at + 1).all(|other| {
                let fork = usize::from(one.common(other));
                (1..)
                    .zip(one.entries().iter().copied())
                    .skip(fork)
                    .zip(other.entries()[fork..].iter())
                    .all(|(one, other)| differ(one, *other))
            })
        })
    })
}

fn one_gives_sync(_: &Group, state: &State) -> bool {
    let sync = || {
        state.answers.iter().filter_map(|answer| match answer {
            Answer::Sync { by, term, .. } => Some((*by, *term)),
            _ => None,
        })
    };
    sync().all(|(by, term)| sync().all(|other| other.1 != term || other.0 == by))
}

fn store_is_fold(group: &Group, state: &State) -> bool {
    !group.configuration.stores
        || group.ids().all(|id| {
            let member = &state.members[id];
            let lineage = member.lineage(Extent::Received);
            let applied = usize::from(member.store.applied);
            member.role == Role::Stopped
                || applied <= lineage.count()
                    && decisions(lineage.entries().take(applied)) == member.store.decisions
        })
}

fn follower_whole(group: &Group, state: &State) -> bool {
    group.ids().all(|id| {
        let Some(from) = group.session_of(state, id) else {
            return true;
        };
        let (source, member) = (&state.members[from], &state.members[id]);
        let (theirs, own) = (source.copies[from].journal, member.copies[from]);
        let at_end = own.journal.last() == theirs.last() && own.flushed == theirs.last();
        if source.role != Role::Primary || !at_end {
            return true;
        }
        let (there, here) = (
            source.lineage(Extent::Received),
            member.lineage(Extent::Received),
        );
        let same = there.count() == here.count() && there.common(&here) == here.count();
        let newest = here.newest().copied().unwrap_or_default();
        let closed = here.count() - usize::from(newest.last + 1 - newest.first);
        let flushed = member.lineage(Extent::Flushed);
        same && group.confirmed_entries(state, id, &flushed) >= closed
    })
}

fn nothing_destroyed(group: &Group, state: &State) -> bool {
    let kept = |id: u8| {
        let decides = |entry: &Entry| entry.decides() == Some(id);
        let in_copy = group.ids().any(|member| {
            let copies = &state.members[member].copies.0;
            copies
                .iter()
                .any(|copy| copy.journal.entries().iter().any(decides))
        });
        in_copy
            || state
                .orphans
                .iter()
                .any(|orphan| orphan.entries().any(|(_, entry)| decides(&entry)))
    };
    state.seen.any(&[Event::Restored])
        || answers(state).all(|(id, answer)| {
            !matches!(answer, Answer::Sync { .. } | Answer::Local { .. }) || kept(id)
        })
}

fn no_second_opens(_: &Group, state: &State) -> bool {
    state.seen.any(&BY_WORD) || !state.seen.any(&[Event::SecondOpened])
}

fn one_journal(_: &Group, state: &State) -> bool {
    state.seen.any(&[Event::LossAccepted]) || !state.seen.any(&[Event::TermOpenedTwice])
}

fn nobody_stops(_: &Group, state: &State) -> bool {
    let by_word = state.seen.any(&BY_WORD) || state.seen.any(&[Event::OpenedAlone]);
    by_word || !state.seen.any(&[Event::ForkBelowConfirmed])
}

fn segments_whole(group: &Group, state: &State) -> bool {
    group.ids().all(|id| {
        let member = &state.members[id];
        let held = member.held(Extent::Received);
        let lineage = Lineage::of(&held);
        lineage.segments().iter().all(|segment| {
            let first = held[segment.journal].entry(segment.first);
            match first.kind {
                Kind::Open {
                    closes: Some(closed),
                    ..
                } => {
                    member.copies[closed.journal]
                        .flushed_journal()
                        .up_to(closed.last())
                        == closed.content
                }
                _ => true,
            }
        })
    })
}

fn local_kept(group: &Group, state: &State) -> bool {
    if state.seen.local_kept == 0 || state.seen.any(&BY_WORD) {
        return true;
    }
    let Some(primary) = state.newest_primary(group.configuration.members) else {
        return true;
    };
    let member = &state.members[primary];
    let lineage = member.lineage(Extent::Received);
    let Some(closed) =
        member.copies[primary]
            .journal
            .entries()
            .iter()
            .find_map(|entry| match entry.kind {
                Kind::Open {
                    closes: Some(closed),
                    ..
                } if entry.epoch.term == member.promise.term => Some(closed),
                _ => None,
            })
    else {
        return true;
    };
    let said = state.seen.local_kept & (1 << member.promise.term) != 0;
    !said
        || answers(state).all(|(id, answer)| match answer {
            Answer::Local { term } => {
                term < closed.term || term >= member.promise.term || lineage.holds(id)
            }
            _ => true,
        })
}

fn all_follow(group: &Group, state: &State) -> bool {
    !group.configuration.heals || group.heals(state)
}

fn set_listed(group: &Group, state: &State) -> bool {
    let given = |answer: Answer| matches!(answer, Answer::Sync { .. });
    if state.seen.any(&BY_WORD) || !answers(state).any(|(_, answer)| given(answer)) {
        return true;
    }
    let Some(lineage) = newest(group, state) else {
        return true;
    };
    answers(state).all(|(id, answer)| {
        let Answer::Sync { set, .. } = answer else {
            return true;
        };
        let decides = |entry: &Entry| entry.decides() == Some(id);
        let Some(at) = lineage.entries().position(|placed| decides(&placed.entry)) else {
            return true;
        };
        let Epoch { term, .. } = lineage
            .entries()
            .nth(at)
            .map_or(Epoch::default(), |p| p.entry.epoch);
        let before = lineage.entries().take(at + 1);
        let mut listed = before
            .filter_map(|placed| placed.entry.set())
            .last()
            .unwrap_or_default()
            .members;
        for placed in lineage.entries().skip(at) {
            if let Kind::SetChange(change) = placed.entry.kind
                && placed.entry.epoch.term == term
            {
                listed = listed.and(change.members);
            }
        }
        listed.minus(set).is_empty()
    })
}
