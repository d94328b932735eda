//! Who may feed a copy: terms, boots, nonces, clones, other journals, other systems; what was stopped stays stopped.

use std::sync::Arc;

use rjournal::daemon::crank::OpeningState;
use rjournal::entry::{Epoch, JournalId};
use rjournal::remote::{Frame, Hello, LinkEvent, Message, RefusalCode};
use rjournal_tests::node::{Running, Side};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, behind, degrade};

/// COU-5.
#[test]
fn a_source_of_a_lower_term_is_fenced_stops_and_stays_stopped() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    promise(&mut pair, |epoch| Epoch {
        term: epoch.term + 1,
        ..epoch
    });
    pair.break_between(SOURCE, TARGET)
        .deposit("b")
        .seal()
        .write();
    let last = pair.cluster.last();
    pair.seconds(1);
    let refusal = pair.is_refused(RefusalCode::Fenced);
    let journal = match &pair.cluster.nodes[SOURCE].running {
        Some(Running {
            side: Side::Open(open),
            ..
        }) => open.journal.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(journal.intake().last(), last, "no smaller set is deposited");
    assert!(refusal.text.contains("primary"), "{}", refusal.text);
    pair.answers("b", Said::Unknown);
    let late = pair.try_deposit("c", 1);
    assert!(late.is_err(), "{late:?}");
    stays_stopped(&mut pair);
}

/// COU-5: fenced in the middle of a session, between two flushes (I5).
#[test]
fn a_promise_given_meanwhile_takes_the_acknowledgement_back() {
    let mut pair = degrade();
    pair.deposit("a").seal().write().arrive(TARGET);
    promise(&mut pair, |epoch| Epoch {
        term: epoch.term + 1,
        ..epoch
    });
    pair.flush(TARGET).return_from(TARGET);
    assert_ne!(pair.said("a"), Said::Sync);
    pair.is_refused(RefusalCode::Fenced);
}

/// COU-7.
#[test]
fn two_sources_of_one_identity_are_refused_and_give_no_answer() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    promise(&mut pair, |epoch| Epoch {
        nonce: epoch.nonce ^ 1,
        ..epoch
    });
    pair.break_between(SOURCE, TARGET).seconds(1);
    pair.is_refused(RefusalCode::DuplicateIdentity);
    assert!(pair.try_deposit("b", 1).is_err());
    stays_stopped(&mut pair);
}

/// COU-7, RST-3: a clone of the source that started by itself.
#[test]
fn a_clone_of_the_source_with_the_same_boot_is_refused() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let clone = pair.snapshot(SOURCE);
    // The original starts again, and couples in boot 2.
    pair.kill(SOURCE).start(SOURCE).recover();
    pair.deposit("b").settle().answers("b", Said::Sync);
    // The clone starts too, as boot 2 with its own nonce; it hears of the other at once.
    pair.restore(SOURCE, &clone);
    pair.cluster.nodes[SOURCE].starts += 7;
    pair.cut().start(SOURCE).open_alone();
    assert_eq!(pair.epoch().boot, 2);
    pair.deposit("c").settle();
    let before = pair.on_disk(TARGET).ids;
    pair.mend().seconds(10);
    pair.is_refused(RefusalCode::DuplicateIdentity);
    assert_ne!(pair.said("c"), Said::Sync);
    assert_eq!(pair.on_disk(TARGET).ids, before);
    assert!(pair.try_deposit("d", 1).is_err(), "it stopped");
}

/// COU-8.
#[test]
fn an_older_copy_of_the_source_is_stale_and_stops() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let old = pair.snapshot(SOURCE);
    for _ in 0..3 {
        pair.kill(SOURCE).start(SOURCE).recover();
    }
    pair.deposit("b").settle().answers("b", Said::Sync);
    pair.restore(SOURCE, &old).cut().start(SOURCE).open_alone();
    pair.deposit("c").settle();
    pair.mend().seconds(10);
    pair.is_refused(RefusalCode::StaleSource);
    assert!(pair.try_deposit("d", 1).is_err(), "it stopped");
    stays_stopped(&mut pair);
    assert!(pair.keeps(TARGET, "b") && !pair.keeps(TARGET, "c"));
}

/// COU-8: an old copy that asks before it opens is refused, and an operator's word brings it forward.
#[test]
fn an_older_copy_that_asks_first_stays_closed_until_an_operator_decides() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let old = pair.snapshot(SOURCE);
    pair.kill(SOURCE).start(SOURCE).recover();
    pair.deposit("b").settle().answers("b", Said::Sync);
    pair.restore(SOURCE, &old).start(SOURCE).seconds(5);
    let refused = matches!(
        pair.opening(),
        Some(OpeningState::Refused {
            code: RefusalCode::StaleSource,
            ..
        })
    );
    assert!(refused, "{}", pair.cluster.describe());
    pair.allow_adopt().recovers_whole();
    assert_eq!(pair.shows(SOURCE), ["a", "b"]);
    assert!(pair.epoch().boot > 2);
}

/// COU-9.
#[test]
fn another_journal_under_the_same_name_is_refused() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let mut other = Pair::fresh(
        2,
        &[rjournal_tests::cluster::sync(TARGET)],
        &rjournal_tests::cluster::quick(rjournal::entry::control_entry::Policy::Degrade),
    );
    other.cluster = rjournal_tests::cluster::Cluster::new(
        2,
        &[rjournal_tests::cluster::sync(TARGET)],
        &rjournal_tests::cluster::quick(rjournal::entry::control_entry::Policy::Degrade),
        99,
    );
    other.recover();
    other.deposit("z").settle();
    let foreign = other.snapshot(TARGET);
    pair.restore(TARGET, &foreign).start(TARGET).seconds(10);
    let refusal = pair.is_refused(RefusalCode::WrongJournal);
    assert!(refusal.text.contains("DLTJRN"), "{}", refusal.text);
    assert_eq!(pair.on_disk(TARGET).ids, other.on_disk(TARGET).ids);
}

/// IDN-3: a copy is bound to one source.
#[test]
fn a_copy_is_fed_by_the_source_it_is_bound_to_and_no_other() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let copied = pair.copy(TARGET).shared().update(|control| {
        if let rjournal::journal::JournalKind::Remote(source) = &mut control.kind {
            source.system = rjournal::entry::SystemId::from_bytes([77; 16]);
        }
    });
    copied.expect("a live disk");
    pair.break_between(SOURCE, TARGET).seconds(1);
    let refusal = pair.is_refused(RefusalCode::Busy);
    assert!(refusal.text.contains("bound to"), "{}", refusal.text);
}

/// Whoever is turned away disturbs nobody: a partner that was refused again and again once ended the session that feeds the
/// copy each time.
#[test]
fn a_newcomer_that_is_refused_leaves_the_session_that_feeds_the_copy_alone() {
    type Change = fn(&mut Hello);
    let refusals: [(Change, RefusalCode); 3] = [
        (
            |hello| hello.epoch.nonce ^= 1,
            RefusalCode::DuplicateIdentity,
        ),
        (|hello| hello.epoch.boot -= 1, RefusalCode::StaleSource),
        (
            |hello| hello.journal = JournalId::from_bytes([9; 16]),
            RefusalCode::WrongJournal,
        ),
    ];
    let mut pair = degrade();
    pair.deposit("a")
        .settle()
        .break_between(SOURCE, TARGET)
        .notice();
    pair.wait(std::time::Duration::from_millis(200)).dial();
    let greeting = pair.frames_to(TARGET).iter().find_map(|frame| match frame {
        Frame::Message(Message::Hello(hello)) => Some(hello.clone()),
        _ => None,
    });
    let greeting = greeting.expect("a hello");
    pair.recover();
    let ends = ended(&pair);
    for (change, code) in refusals {
        let mut hello = greeting.clone();
        change(&mut hello);
        let told = pair.knock(SOURCE, TARGET, hello);
        let Some(Frame::Message(Message::Refuse(refusal))) = told.first() else {
            panic!("not refused: {told:?}");
        };
        assert_eq!(refusal.code, code);
        // What is deposited now goes over the session there is.
        pair.deposit("b").settle().answers("b", Said::Sync);
    }
    pair.seconds(1);
    assert_eq!(ended(&pair), ends);
    // The source itself, coming anew, takes its own place.
    let told = pair.knock(SOURCE, TARGET, greeting);
    assert!(matches!(
        told.first(),
        Some(Frame::Message(Message::Welcome(_)))
    ));
    pair.seconds(1);
    assert_eq!(ended(&pair), ends + 1);
    pair.seconds(20).recovers_whole();
}

fn ended(pair: &Pair) -> usize {
    pair.happened(|event| matches!(event, LinkEvent::Ended { .. }))
}

/// The catalogue's STOPPED: what an operator stopped stays stopped, over a restart, until an operator lets it go on.
#[test]
fn a_stopped_copy_stays_stopped_after_a_restart_until_an_operator_releases_it() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let stop = |pair: &Pair, reason: Option<String>| {
        let stopped = pair
            .copy(TARGET)
            .shared()
            .update(|control| control.stopped = reason);
        stopped.expect("a live disk");
    };
    stop(&pair, Some("held by the operator".to_owned()));
    pair.lose_power(TARGET).start(TARGET);
    pair.deposit("b").seconds(30).answers("b", Said::Local);
    let refusal = pair.is_refused(RefusalCode::Stopped);
    assert_eq!(refusal.text, "held by the operator");
    assert!(!pair.keeps(TARGET, "b"));
    stop(&pair, None);
    pair.recovers_whole();
    assert!(pair.keeps(TARGET, "b"));
}

/// CSC-5.
#[test]
fn entries_never_come_back_to_a_system_they_have_passed() {
    let mut pair = behind();
    pair.deposit("a").settle();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(std::time::Duration::from_millis(200)).dial();
    let target = pair.cluster.nodes[TARGET].system;
    for frame in pair.frames_to(TARGET) {
        if let Frame::Message(Message::Hello(hello)) = frame {
            hello.path.insert(0, target);
        }
    }
    pair.arrive(TARGET).return_from(TARGET);
    pair.is_refused(RefusalCode::Cycle);
}

fn promise(pair: &mut Pair, change: impl FnOnce(Epoch) -> Epoch) {
    use rjournal_tests::node::{Running, Side};
    let Some(Running {
        side: Side::Copy { copy, .. },
        ..
    }) = &mut pair.cluster.nodes[TARGET].running
    else {
        panic!("no copy runs");
    };
    let promised = Arc::clone(copy.shared()).promised();
    copy.promise(change(promised), Vec::new())
        .expect("a live disk");
}

/// After a restart the journal is still closed, and an operator's word opens it.
#[track_caller]
fn stays_stopped(pair: &mut Pair) {
    pair.cut().kill(SOURCE).start(SOURCE).seconds(60);
    let Some(OpeningState::Refused { code, .. }) = pair.opening() else {
        panic!("{}", pair.cluster.describe());
    };
    assert_eq!(code, RefusalCode::Stopped);
    assert!(pair.try_deposit("after a restart", 1).is_err());
    pair.open_alone();
    assert!(pair.is_open());
}
