//! When a deposit may be answered, and with what: both disks first, in any order of events; what a crash, a lost
//! acknowledgement or a lost connection makes of it; how a copy learns what is confirmed.

use std::time::Duration;

use rjournal::entry::control_entry::{Level, Policy, SetReason};
use rjournal::error::DepositError;
use rjournal::journal::{Attributes, Gate, KeyFound};
use rjournal::remote::{Frame, Message};
use rjournal_tests::cluster::quick;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, behind, block, degrade};

/// I5: local flush first.
#[test]
fn a_deposit_on_the_source_disk_alone_is_not_answered() {
    let mut pair = degrade();
    pair.deposit("a").seal().write().arrive(TARGET);
    pair.answers("a", Said::Nothing).only_on("a", &[SOURCE]);
    pair.flush(TARGET).answers("a", Said::Nothing);
    pair.return_from(TARGET)
        .answers("a", Said::Sync)
        .only_on("a", &[SOURCE, TARGET]);
}

/// I5: remote flush first.
#[test]
fn a_deposit_on_the_target_disk_alone_is_not_answered() {
    let mut pair = degrade();
    pair.deposit("a").seal().arrive(TARGET).flush(TARGET);
    pair.return_from(TARGET)
        .answers("a", Said::Nothing)
        .only_on("a", &[TARGET]);
    pair.write()
        .answers("a", Said::Sync)
        .only_on("a", &[SOURCE, TARGET]);
}

/// DESIGN rule 4, attribute local-first: nothing is shipped before it is flushed at the source.
#[test]
fn local_first_ships_nothing_before_the_source_has_it_on_disk() {
    let mut pair = Pair::in_sync(&Attributes {
        local_first: true,
        ..quick(Policy::Degrade)
    });
    pair.deposit("a").seal();
    assert!(pair.frames_to(TARGET).is_empty());
    pair.write().arrive(TARGET).flush(TARGET);
    pair.answers("a", Said::Nothing);
    pair.return_from(TARGET).answers("a", Said::Sync);
}

/// Ruling 19: level RECEIVED is answered from the target's memory, and said so.
#[test]
fn level_received_is_answered_as_received_and_never_as_sync() {
    let mut pair = with_level(Level::Received);
    pair.deposit("a").seal().write().arrive(TARGET);
    pair.answers("a", Said::Nothing);
    pair.return_from(TARGET)
        .answers("a", Said::Received)
        .only_on("a", &[SOURCE]);
}

/// Ruling 19: what a target had in memory does not outlive the session.
#[test]
fn level_received_is_not_answered_from_the_memory_of_a_target_that_was_lost() {
    for returns in [true, false] {
        let mut pair = with_level(Level::Received);
        pair.deposit("a").seal().arrive(TARGET).return_from(TARGET);
        pair.lose_power(TARGET).notice().write();
        pair.answers("a", Said::Nothing).only_on("a", &[SOURCE]);
        if returns {
            pair.start(TARGET).recovers_whole();
            assert!(matches!(pair.said("a"), Said::Received | Said::Sync));
        } else {
            pair.seconds(4).answers("a", Said::Local);
        }
    }
}

/// The limit of a session is changed between the order to ship and the shipping: the order was once given for ever.
#[test]
fn an_order_to_ship_what_may_not_be_shipped_any_more_is_given_up() {
    let mut pair = degrade();
    local_first(&mut pair, true);
    pair.deposit("a").seal();
    local_first(&mut pair, false);
    let now = pair.cluster.now;
    let running = pair.cluster.nodes[SOURCE].running.as_mut();
    running.expect("it is up").links[0].look(now);
    local_first(&mut pair, true);
    pair.activate();
    assert!(pair.frames_to(TARGET).is_empty());
    pair.settle().answers("a", Said::Sync).recovers_whole();
}

fn local_first(pair: &mut Pair, wanted: bool) {
    let journal = &pair.open().journal;
    let changed = journal.update(|control| control.attributes.local_first = wanted);
    changed.expect("a live disk");
}

/// No late word opens a journal that was closed: nobody would write what it takes.
#[test]
fn a_closed_journal_is_not_opened_again() {
    let mut pair = degrade();
    let journal = &pair.open().journal;
    journal.close();
    journal.set_gate(Gate::Open);
    assert_eq!(journal.gate(), Gate::Closed);
    let refused = pair.try_deposit("a", 10);
    assert!(matches!(refused, Err(DepositError::NotOpen)), "{refused:?}");
}

/// SYN-1.
#[test]
fn a_tail_that_only_the_target_flushed_is_adopted_before_the_source_opens() {
    let mut pair = degrade();
    pair.deposit("kept").settle();
    let boot = pair.epoch().boot;
    drop(pair.deposit_keyed("a", 1).expect("taken"));
    pair.seal().arrive(TARGET).flush(TARGET);
    pair.only_on("a", &[TARGET]);
    pair.lose_power(SOURCE).start(SOURCE);
    assert!(!pair.is_open(), "it opens without hearing its set");
    pair.recovers_whole();
    assert_eq!(pair.epoch().boot, boot + 1);
    pair.only_on("a", &[SOURCE, TARGET]);
    assert!(pair.orphans(TARGET).is_empty());
    // The client's retry finds what it had deposited.
    let again = pair.deposit_keyed("a", 1).expect("found");
    assert!(again.again().is_again());
    pair.recovers_whole();
    let shown = pair.shows(SOURCE);
    assert_eq!(shown.iter().filter(|name| **name == "a").count(), 1);
}

/// SYN-1, RST-2: the target cannot be asked.
#[test]
fn a_tail_of_a_target_that_could_not_be_asked_is_set_aside_and_kept() {
    let mut pair = degrade();
    pair.deposit("kept").settle().seconds(1);
    pair.deposit("a").seal().arrive(TARGET).flush(TARGET);
    pair.lose_power(SOURCE).cut().start(SOURCE).seconds(60);
    assert!(!pair.is_open(), "it opens by itself without its set");
    pair.open_alone().settle();
    assert_eq!(pair.last_change(), Some(SetReason::OpenedAlone));
    pair.deposit("b").settle().answers("b", Said::Local);
    pair.mend().recovers_whole();
    let orphans = pair.orphans(TARGET);
    assert_eq!(orphans.len(), 1);
    assert_eq!(orphans[0].entries, 1);
    assert_eq!(pair.shows(TARGET), ["kept", "b"]);
}

/// SYN-2.
#[test]
fn a_tail_that_only_the_source_flushed_is_caught_up_and_was_never_answered_sync() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    pair.answers("a", Said::Nothing).only_on("a", &[SOURCE]);
    pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    pair.answers("a", Said::Nothing)
        .only_on("a", &[SOURCE, TARGET]);
}

/// SYN-3.
#[test]
fn a_target_that_loses_power_has_all_that_was_answered_and_catches_up_the_rest() {
    let mut pair = block();
    pair.deposit("a").settle().answers("a", Said::Sync);
    pair.deposit("b").seal().write().arrive(TARGET);
    pair.lose_power(TARGET);
    assert!(pair.keeps(TARGET, "a") && !pair.keeps(TARGET, "b"));
    pair.answers("b", Said::Nothing);
    pair.start(TARGET).recovers_whole();
    pair.answers("b", Said::Sync)
        .only_on("b", &[SOURCE, TARGET]);
}

/// SYN-4.
#[test]
fn a_target_whose_flush_fails_leaves_the_set_at_once_and_is_not_asked_again() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.deposit("b").seal().write().arrive(TARGET);
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    let before = pair.cluster.now;
    pair.settle().answers("b", Said::Local);
    assert_eq!(pair.cluster.now, before, "no time-out was waited for");
    assert_eq!(pair.last_change(), Some(SetReason::TargetFailed));
    // The failed flush is final: the running copy never flushes again, whatever comes.
    let flushes = disk.syncs();
    pair.deposit("c").seconds(60).answers("c", Said::Local);
    assert_eq!(disk.syncs(), flushes, "a failed copy flushed again");
    assert!(!pair.keeps(TARGET, "b"));
    // Started again it believes its medium, not its cache.
    pair.kill(TARGET).start(TARGET).recovers_whole();
    pair.only_on("b", &[SOURCE, TARGET]);
}

/// SYN-5.
#[test]
fn an_acknowledgement_lost_with_the_line_is_given_again_by_coupling() {
    let mut pair = degrade();
    pair.deposit("a")
        .seal()
        .write()
        .arrive(TARGET)
        .flush(TARGET);
    pair.break_between(SOURCE, TARGET);
    pair.answers("a", Said::Nothing);
    pair.pass(Duration::from_secs(1)).answers("a", Said::Sync);
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
}

/// I5, DESIGN rule 1: the position told in a greeting counts as an acknowledgement, so it is flushed first.
#[test]
fn what_an_earlier_session_left_unflushed_is_flushed_before_a_new_one_counts_it() {
    let mut pair = degrade();
    pair.deposit("a").seal().write().arrive(TARGET);
    pair.break_between(SOURCE, TARGET);
    pair.notice().wait(Duration::from_millis(200));
    pair.couple_without_flush(TARGET);
    pair.answers("a", Said::Sync);
    pair.only_on("a", &[SOURCE, TARGET]);
    pair.lose_power(TARGET).start(TARGET).recovers_whole();
}

/// SYN-9.
#[test]
fn a_late_acknowledgement_of_a_target_that_left_does_not_bring_it_back() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    pair.wait(Duration::from_secs(3));
    pair.seal().write().answers("a", Said::Local);
    assert_eq!(pair.members(), 0);
    // The connection never broke: what is under way arrives only now.
    pair.deposit("b")
        .seal()
        .write()
        .arrive(TARGET)
        .flush(TARGET);
    pair.return_from(TARGET)
        .answers("a", Said::Local)
        .answers("b", Said::Local);
    pair.recover();
    let reasons: Vec<SetReason> = pair.set_changes().iter().map(|set| set.reason).collect();
    assert_eq!(
        reasons,
        [SetReason::Joined, SetReason::TimedOut, SetReason::Joined]
    );
    pair.deposit("c").settle().answers("c", Said::Sync);
}

/// SYN-10.
#[test]
fn a_source_that_dies_before_the_loss_of_its_target_is_on_disk_has_answered_nothing_local() {
    let mut pair = degrade();
    pair.cut().deposit("a").seal().write();
    pair.wait(Duration::from_secs(3)).seal();
    // The change of the set is sealed and not flushed.
    pair.answers("a", Said::Nothing);
    pair.lose_power(SOURCE).start(SOURCE);
    pair.answers("a", Said::Nothing);
    assert!(!pair.is_open(), "its set on disk still has the target");
    pair.mend().recovers_whole();
    pair.only_on("a", &[SOURCE, TARGET]);
}

/// SYN-14.
#[test]
fn an_acknowledgement_of_what_was_never_sent_ends_the_session_and_counts_nothing() {
    let mut pair = block();
    pair.deposit("a")
        .seal()
        .write()
        .arrive(TARGET)
        .flush(TARGET);
    for frame in pair.frames_from(TARGET) {
        if let Frame::Message(Message::Acknowledge {
            received, written, ..
        }) = frame
        {
            *received = received.checked_add(5).expect("small");
            *written = *received;
        }
    }
    pair.deposit("b").return_from(TARGET);
    pair.answers("a", Said::Nothing).answers("b", Said::Nothing);
    assert!(!pair.link(SOURCE, 0).streaming);
}

/// Ruling 19, COU: the confirmation of the last entry does not wait for the next one.
#[test]
fn an_idle_source_confirms_what_it_wrote_within_a_moment() {
    let mut pair = degrade();
    pair.deposit("a").settle().answers("a", Said::Sync);
    assert!(!pair.shows(TARGET).contains(&"a"), "shown unconfirmed");
    pair.wait(Duration::from_millis(1)).settle();
    assert_eq!(pair.shows(TARGET), ["a"]);
}

/// Ruling 15.
#[test]
fn a_confirmation_counts_only_once_it_is_on_the_target_disk() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.wait(Duration::from_millis(1)).arrive(TARGET);
    let confirmed = pair.copy(TARGET).progress().confirmed;
    assert_eq!(pair.shows(TARGET), ["a"]);
    pair.lose_power(TARGET).start(TARGET);
    assert_eq!(pair.copy(TARGET).progress().confirmed, confirmed);
    assert_eq!(pair.shows(TARGET), ["a"]);
}

/// APL-9 at the journal's end, RCV-12: readers of a copy see what is confirmed only.
#[test]
fn readers_of_a_copy_never_see_an_unconfirmed_entry() {
    let mut pair = degrade();
    pair.deposit("a").recover();
    pair.pass(Duration::from_millis(50));
    pair.deposit("b").seal().arrive(TARGET).flush(TARGET);
    assert!(pair.keeps(TARGET, "b"));
    assert_eq!(pair.shows(TARGET), ["a"]);
    assert_eq!(
        pair.shows(SOURCE),
        ["a"],
        "the source shows what is written"
    );
    pair.write().settle().pass(Duration::from_millis(50));
    assert_eq!(pair.shows(TARGET), ["a", "b"]);
}

/// DESIGN section 5: *ASYNC answers at the local disk and ships only what is written.
#[test]
fn an_async_target_gets_nothing_before_the_source_has_it_on_disk() {
    let mut pair = behind();
    pair.deposit("a").seal();
    assert!(pair.frames_to(TARGET).is_empty());
    pair.write().answers("a", Said::Local);
    pair.recovers_whole();
}

/// DEP-2 with a target: the retry of a client whose answer was lost with the source.
#[test]
fn a_retry_after_a_lost_answer_lands_once_wherever_the_crash_was() {
    for steps in 0..6 {
        let mut pair = degrade();
        drop(pair.deposit_keyed("a", 9).expect("taken"));
        let walk: [fn(&mut Pair) -> &mut Pair; 5] = [
            Pair::seal,
            |pair| pair.arrive(TARGET),
            |pair| pair.flush(TARGET),
            Pair::write,
            |pair| pair.return_from(TARGET),
        ];
        for step in walk.iter().take(steps) {
            step(&mut pair);
        }
        pair.lose_power(SOURCE).start(SOURCE).recover();
        let found = pair.keeps(SOURCE, "a");
        let retry = pair.deposit_keyed("a", 9).expect("found or taken");
        assert_eq!(retry.again().is_again(), found, "after {steps} steps");
        pair.recovers_whole();
        assert_eq!(pair.shows(SOURCE), ["a"], "after {steps} steps");
        let key = rjournal::entry::DepositKey {
            client: rjournal::entry::ClientId::from_bytes([7; 16]),
            key: 9,
        };
        let landed = pair.open().journal.find_key(key);
        assert!(matches!(landed, KeyFound::Landed { .. }));
    }
}

fn with_level(level: Level) -> Pair {
    let plans = [rjournal_tests::cluster::sync(TARGET)];
    let mut pair = Pair::fresh(2, &plans, &quick(Policy::Degrade));
    // Before it joins the set for the first time: a member's level stands in the entry by which it joined.
    pair.cut().seconds(1);
    let changed = pair
        .open()
        .journal
        .update(|control| control.links[0].level = level);
    changed.expect("a live disk");
    pair.mend().lose_power(SOURCE).start(SOURCE).recover();
    pair
}

/// SYN-15: the source slept between the acknowledgement and its answer, and the target was taken over meanwhile.
#[test]
fn an_answer_given_late_is_still_true_and_the_next_one_is_not_sync() {
    let mut pair = degrade();
    pair.deposit("a")
        .seal()
        .write()
        .arrive(TARGET)
        .flush(TARGET);
    // The acknowledgement is on its way while the target promises another term.
    take_over(&mut pair);
    pair.return_from(TARGET).answers("a", Said::Sync);
    assert!(pair.keeps(TARGET, "a"));
    pair.deposit("b")
        .seal()
        .write()
        .arrive(TARGET)
        .flush(TARGET);
    pair.return_from(TARGET).settle();
    assert_ne!(pair.said("b"), Said::Sync);
    pair.seconds(10);
    assert_ne!(pair.said("b"), Said::Sync);
}

fn take_over(pair: &mut Pair) {
    use rjournal_tests::node::{Running, Side};
    let Some(Running {
        side: Side::Copy { copy, .. },
        ..
    }) = &mut pair.cluster.nodes[TARGET].running
    else {
        panic!("no copy runs");
    };
    let promised = copy.shared().promised();
    let next = rjournal::entry::Epoch {
        term: promised.term + 1,
        ..promised
    };
    copy.promise(next, Vec::new()).expect("a live disk");
}

/// Ruling 15: one flush held the last bundle of a receiver and the header of the next, power was lost, and the copy read
/// the new receiver alone, in which nothing stands.
#[test]
fn what_counted_as_confirmed_counts_after_power_was_lost_behind_a_receiver_just_begun() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.cluster.order_change();
    pair.deposit("b").seal().arrive(TARGET).write();
    pair.arrive_one(TARGET).flush(TARGET);
    let (before, epoch) = (pair.copy(TARGET).progress(), pair.copy(TARGET).epoch());
    assert!(before.confirmed.get() >= pair.sequence("a"));
    let place = pair.copy(TARGET).place();
    assert!(place.is_unused(), "nothing but a header: {place:?}");
    pair.cut().lose_power(TARGET).start(TARGET);
    assert_eq!(pair.copy(TARGET).progress(), before);
    assert_eq!(pair.copy(TARGET).epoch(), epoch);
    pair.mend().recovers_whole();
}
