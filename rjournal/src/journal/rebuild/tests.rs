//! Room `journal`, tests: what a lost control file is made from, and what is refused because nobody can know it.

use super::*;
use crate::entry::control_entry::{Level, Policy, SetReason};
use crate::entry::{Alignment, ChainHead, GroupId, JournalId, Position, ReceiverId};

const HERE: SystemId = SystemId::from_bytes([1; 16]);
const THERE: SystemId = SystemId::from_bytes([2; 16]);
const THIRD: SystemId = SystemId::from_bytes([3; 16]);

fn name(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

fn rdb(text: &str) -> RdbName {
    RdbName::new(text).unwrap()
}

fn header(origin: SystemId, first: u64) -> ReceiverHeader {
    let journal = JournalId::from_bytes([9; 16]);
    ReceiverHeader {
        receiver: ReceiverId::from_bytes([7; 16]),
        journal,
        group: GroupId::from(journal),
        name: name("PRDLIB/RCV1"),
        journal_name: name("PRDLIB/JRN"),
        origin_name: SystemName::new("PRD").unwrap(),
        origin,
        previous: ReceiverId::NONE,
        before: Position {
            sequence: Sequence::new(first - 1),
            head: ChainHead::genesis(journal),
        },
        threshold: 123_456,
        alignment: Alignment::Padded,
    }
}

fn member(system: SystemId, journal: &str, acknowledged: u64) -> Member {
    Member {
        system,
        rdb: rdb("BKP"),
        journal: name(journal),
        level: Level::Written,
        acknowledged: Sequence::new(acknowledged),
    }
}

const EPOCH: Epoch = Epoch {
    term: 1,
    boot: 8,
    nonce: 77,
};

/// A history sealed by `origin` from entry `first` on, with this in-sync set in force.
fn history(origin: SystemId, first: u64, members: &[Member]) -> History {
    let mut history = History::new(&header(origin, first));
    history.facts.epoch = EPOCH;
    if !members.is_empty() {
        let set = SetChange {
            required: 1,
            policy: Policy::Block,
            reason: SetReason::Joined,
            members: members.to_vec(),
            left: Vec::new(),
        };
        history.facts.set = Some((Sequence::new(40), set));
    }
    for member in members {
        let key = (member.system, member.journal);
        history.targets.insert(key, member.clone());
    }
    history
}

fn order(role: Role) -> Order {
    Order {
        role,
        name: None,
        fed_by: None,
        owner: Owner {
            system: HERE,
            name: SystemName::new("HERE").unwrap(),
        },
    }
}

fn decided(history: &mut History, order: &Order) -> Rebuilt {
    decide(history, Vec::new(), 3, order).expect("nothing contradicts it")
}

fn refused(history: &mut History, order: &Order) -> RebuildError {
    match decide(history, Vec::new(), 0, order).expect_err("it is contradicted") {
        JournalError::Rebuild(why) => why,
        other => panic!("{other}"),
    }
}

/// The set history names last is asked; its targets are defined again, and nothing is sent to them by itself.
#[test]
fn a_local_journal_asks_the_set_that_history_names_last() {
    let bkp = member(THERE, "BKPLIB/JRN", 39);
    let gone = member(THIRD, "OLDLIB/JRN", 12);
    let mut history = history(HERE, 1, std::slice::from_ref(&bkp));
    history
        .targets
        .insert((gone.system, gone.journal), gone.clone());
    let rebuilt = decided(&mut history, &order(Role::Local));
    assert_eq!(rebuilt.members, Some(vec![bkp]));
    let control = rebuilt.control;
    assert_eq!(control.kind, JournalKind::Local);
    assert_eq!(control.name, name("PRDLIB/JRN"));
    assert_eq!((control.epoch, control.promised), (EPOCH, Epoch::NONE));
    assert_eq!(control.stopped, None);
    assert_eq!(control.orphans, 3);
    assert_eq!(control.links.len(), 2);
    assert!(control.links.iter().all(|link| !link.active));
    let attributes = control.attributes;
    assert_eq!(attributes.threshold, 123_456);
    assert_eq!(attributes.alignment, Alignment::Padded);
    // Never loosened by the way (ruling 13).
    assert_eq!(attributes.policy, Policy::Block);
    assert!(
        rebuilt
            .look_again
            .iter()
            .any(|look| look.contains("OLDLIB/JRN"))
    );
}

/// A set that was put down before the oldest receiver may have named anybody: that is not "nobody".
#[test]
fn a_local_journal_whose_set_cannot_be_known_stays_closed() {
    let rebuilt = decided(&mut history(HERE, 100, &[]), &order(Role::Local));
    assert!(rebuilt.control.stopped.is_some());
    assert_eq!(rebuilt.members, None);
    let whole = decided(&mut history(HERE, 1, &[]), &order(Role::Local));
    assert_eq!(
        (whole.control.stopped, whole.members),
        (None, Some(Vec::new()))
    );
    let bkp = member(THERE, "BKPLIB/JRN", 139);
    let named = decided(&mut history(HERE, 100, &[bkp]), &order(Role::Local));
    assert_eq!(named.control.stopped, None);
}

#[test]
fn a_role_the_receivers_contradict_is_refused() {
    let journal = name("PRDLIB/JRN");
    let mut ours = history(HERE, 1, &[]);
    let why = refused(&mut ours, &order(Role::Remote));
    assert_eq!(why, RebuildError::SealedHere { journal });
    let mut theirs = history(THERE, 1, &[]);
    let why = refused(&mut theirs, &order(Role::Local));
    let origin = SystemName::new("PRD").unwrap();
    assert_eq!(why, RebuildError::SealedElsewhere { origin, journal });
    let other = Order {
        name: Some(name("PRDLIB/OTHER")),
        ..order(Role::Local)
    };
    let why = refused(&mut ours, &other);
    assert_eq!(why, RebuildError::OtherName { found: journal });
    ours.handle_receiver(&header(THERE, 50));
    let why = refused(&mut ours, &order(Role::Local));
    assert!(matches!(why, RebuildError::Contradiction { .. }), "{why}");
}

/// A copy that its own history names needs no more words; it is not fed before an operator says so (MET-2), and its
/// promise is at least the highest epoch it has seen (MET-4).
#[test]
fn a_copy_comes_back_stopped_under_the_name_and_the_promise_of_its_history() {
    let here = member(HERE, "BKPLIB/JRN", 39);
    let mut history = history(THERE, 1, &[here]);
    let control = decided(&mut history, &order(Role::Remote)).control;
    let JournalKind::Remote(source) = &control.kind else {
        panic!("{control:?}");
    };
    assert_eq!(source.system, THERE);
    assert_eq!(source.journal, name("PRDLIB/JRN"));
    assert_eq!(control.name, name("BKPLIB/JRN"));
    assert_eq!((control.epoch, control.promised), (Epoch::NONE, EPOCH));
    assert!(
        control
            .stopped
            .is_some_and(|text| text.contains("JRNSTATE"))
    );
    assert!(control.links.is_empty());
    let mistyped = Order {
        name: Some(name("BKPLIB/JNR")),
        ..order(Role::Remote)
    };
    let why = refused(&mut history, &mistyped);
    let found = name("BKPLIB/JRN");
    assert_eq!(why, RebuildError::OtherName { found });
}

/// Nothing in the receivers names a copy that was never in the in-sync set, nor who feeds it.
#[test]
fn name_and_source_of_a_copy_that_history_does_not_name_are_asked_for() {
    let mut history = history(THERE, 1, &[]);
    let mut asked = order(Role::Remote);
    assert_eq!(refused(&mut history, &asked), RebuildError::NoName);
    asked.name = Some(name("BKPLIB/JRN"));
    assert_eq!(refused(&mut history, &asked), RebuildError::NoFeeder);
    asked.fed_by = Some((THERE, rdb("PRODUCTION")));
    let direct = decided(&mut history, &asked).control;
    asked.fed_by = Some((THIRD, rdb("BKP")));
    let cascade = decided(&mut history, &asked).control;
    let feeders = [direct, cascade].map(|control| match control.kind {
        JournalKind::Remote(source) => (source.system, source.name.to_string(), source.path),
        JournalKind::Local => panic!("it is a copy"),
    });
    assert_eq!(feeders[0], (THERE, "PRD".to_owned(), vec![THERE]));
    assert_eq!(feeders[1], (THIRD, "BKP".to_owned(), vec![THERE, THIRD]));
}

fn change(policy: Policy, reason: SetReason, members: usize, left: usize) -> SetChange {
    let bkp = || member(THERE, "BKPLIB/JRN", 39);
    SetChange {
        required: members as u32,
        policy,
        reason,
        members: std::iter::repeat_with(bkp).take(members).collect(),
        left: std::iter::repeat_with(bkp).take(left).collect(),
    }
}

/// Ruling 13: what the control file alone knew of who was told is asked again, never taken for granted.
#[test]
fn a_looser_policy_is_in_force_only_where_something_proves_it() {
    use SetReason::{Joined, Operator, TargetFailed, TimedOut};
    let (block, looser) = (Policy::Block, Policy::Degrade);
    let joined = change(block, Joined, 1, 0);
    let loosened = change(looser, Operator, 1, 0);
    let after = |changes: &[&SetChange]| {
        changes
            .iter()
            .fold(None, |before, change| guard(before, change))
    };
    assert_eq!(after(&[&joined]), Some(block));
    assert_eq!(after(&[&joined, &loosened]), Some(block));
    let another = change(looser, Joined, 2, 0);
    assert_eq!(after(&[&joined, &loosened, &another]), Some(block));
    for reason in [TimedOut, TargetFailed] {
        let dropped = change(looser, reason, 0, 1);
        assert_eq!(after(&[&joined, &loosened, &dropped]), None);
    }
    // Where the stricter one was said is deleted.
    assert_eq!(after(&[&loosened]), Some(block));
    assert_eq!(after(&[&change(looser, Joined, 1, 0)]), None);

    let mut history = history(HERE, 1, &[member(THERE, "BKPLIB/JRN", 39)]);
    history.facts.set = Some((Sequence::new(40), loosened));
    history.guard = Some(block);
    let control = decided(&mut history, &order(Role::Local)).control;
    assert_eq!(control.attributes.policy, block);
    assert_eq!(control.policy_ordered, Some(looser));
}

#[test]
fn who_was_taken_out_last_under_block_is_asked_too() {
    let bkp = member(THERE, "BKPLIB/JRN", 39);
    let mut history = history(HERE, 1, std::slice::from_ref(&bkp));
    let out = change(Policy::Block, SetReason::Operator, 0, 1);
    history.facts.set = Some((Sequence::new(40), out));
    let rebuilt = decided(&mut history, &order(Role::Local));
    assert_eq!(rebuilt.members, Some(vec![bkp.clone()]));
    assert_eq!(rebuilt.control.untold, [bkp]);
    let degraded = change(Policy::Degrade, SetReason::Operator, 0, 1);
    history.facts.set = Some((Sequence::new(40), degraded));
    let rebuilt = decided(&mut history, &order(Role::Local));
    assert_eq!(rebuilt.members, Some(Vec::new()));
}

/// A copy put together again cannot know what was said to it.
#[test]
fn a_remote_journal_made_again_rules_nothing_out_by_what_it_holds() {
    let mut history = history(THERE, 1, &[member(HERE, "BKPLIB/JRN", 39)]);
    history.tip = Sequence::new(77);
    let control = decided(&mut history, &order(Role::Remote)).control;
    assert_eq!(control.began_behind, Some(Sequence::new(77)));
}
