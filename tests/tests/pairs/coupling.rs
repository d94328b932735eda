//! Whose history is it: what source and target do when they meet after crashes, restores and clones. Between forked copies
//! nothing ever takes the longer one; what is cut is kept aside; what is confirmed is never cut.

use rjournal::daemon::crank::OpeningState;
use rjournal::entry::control_entry::SetReason;
use rjournal::entry::{ChainHead, Position, Sequence};
use rjournal::remote::{ADOPT_WINDOW, Frame, LinkEvent, LinkState, Message, RefusalCode};
use rjournal_tests::checkers::content;
use rjournal_tests::node::{Running, Side};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, broadcast, degrade};
use rjournal_tests::seed::Seed;

/// COU-1.
#[test]
fn equal_histories_couple_and_go_on() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.lose_power(SOURCE).lose_power(TARGET);
    pair.start(TARGET).start(SOURCE).recovers_whole();
    pair.deposit("b").settle().answers("b", Said::Sync);
    pair.seconds(1);
    assert_eq!(pair.shows(TARGET), ["a", "b"]);
}

/// COU-2.
#[test]
fn a_short_tail_of_the_target_is_adopted_by_itself() {
    let mut pair = degrade();
    for name in ["a", "b", "c"] {
        pair.deposit(name).seal().arrive(TARGET).flush(TARGET);
        // Only one batch is ever sealed and not written.
        if name != "c" {
            pair.write().return_from(TARGET);
        }
    }
    pair.only_on("c", &[TARGET]);
    pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    pair.only_on("c", &[SOURCE, TARGET]);
    assert!(pair.orphans(TARGET).is_empty());
}

/// COU-2, RST-1: more than a crash explains needs an operator.
#[test]
fn a_source_restored_from_a_backup_adopts_only_on_an_operators_word() {
    let mut pair = degrade();
    pair.deposit("old").settle();
    let backup = pair.snapshot(SOURCE);
    for _ in 0..=ADOPT_WINDOW / 5_000 {
        for _ in 0..5_000 {
            pair.deposit("new");
        }
        pair.cluster.prepare_spare();
        pair.settle();
    }
    pair.answers("new", Said::Sync);
    pair.restore(SOURCE, &backup).start(SOURCE).seconds(10);
    let Some(OpeningState::Refused { code, text }) = pair.opening() else {
        panic!("{}", pair.cluster.describe());
    };
    assert_eq!(code, RefusalCode::SourceBehind);
    assert!(text.contains("CHGJRN OPEN(*ADOPT)"), "{text}");
    assert!(!pair.is_open() && !pair.keeps(SOURCE, "new"));
    pair.allow_adopt().recovers_whole();
    assert!(pair.keeps(SOURCE, "new"));
}

/// RST-1: an adoption of any length is in nobody's memory: a target once put its whole tail into one answer.
#[test]
fn a_long_tail_is_adopted_in_one_session_piece_by_piece() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let backup = pair.snapshot(SOURCE);
    for _ in 0..120 {
        pair.deposit_large("large").settle();
    }
    pair.recover();
    pair.restore(SOURCE, &backup).start(SOURCE).dial();
    let (mut pieces, mut most) = (0, 0);
    // No time goes by: whoever dials again does so later.
    while pair.cluster.connections() > 0 {
        pair.arrive(TARGET);
        let mut bytes = 0;
        for frame in pair.frames_from(TARGET) {
            match frame {
                Frame::Bundle(bundle) => bytes += bundle.len(),
                Frame::Message(Message::TailEnded { .. }) => pieces += 1,
                _ => {}
            }
        }
        most = most.max(bytes);
        pair.return_from(TARGET);
    }
    assert!(pair.is_open() && pieces > 2, "{pieces}");
    assert!(most < 6 * 1024 * 1024, "{most} bytes at once");
    pair.recovers_whole();
    assert!(pair.keeps(SOURCE, "large"));
}

/// A place that was deleted here is no failure of the copy, which was once stopped until a restart.
#[test]
fn a_tail_that_is_not_held_any_more_is_refused_and_the_copy_goes_on() {
    let mut pair = degrade();
    for _ in 0..3 {
        pair.deposit("a").change_receiver();
    }
    let upto = pair.copy(TARGET).shared().reader().records()[1].receiver;
    if let Some(Running {
        side: Side::Copy { copy, .. },
        ..
    }) = &mut pair.cluster.nodes[TARGET].running
    {
        copy.forget_upto(upto).expect("a live disk");
    }
    pair.kill(SOURCE).start(SOURCE).dial().arrive(TARGET);
    let after = Position {
        sequence: Sequence::NONE,
        head: ChainHead::from_bytes([0; 32]),
    };
    pair.frames_to(TARGET)
        .push_back(Frame::Message(Message::TailAsked { after }));
    pair.arrive(TARGET);
    let refused = pair.frames_from(TARGET).iter().any(|frame| {
        matches!(frame, Frame::Message(Message::Refuse(refusal))
            if refusal.code == RefusalCode::ReceiverMissing)
    });
    assert!(refused);
    pair.break_between(SOURCE, TARGET).recover();
    pair.deposit("b").settle().answers("b", Said::Sync);
}

/// RCV-15, RST-1: the disk lied about a flush that was answered.
#[test]
fn an_answered_entry_that_the_source_disk_lost_comes_back_from_the_target() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let backup = pair.snapshot(SOURCE);
    pair.deposit("b").recover();
    pair.seconds(1).answers("b", Said::Sync);
    pair.restore(SOURCE, &backup).start(SOURCE).recovers_whole();
    pair.only_on("b", &[SOURCE, TARGET]);
    assert_eq!(pair.shows(SOURCE), ["a", "b"]);
}

/// COU-3.
#[test]
fn a_fork_above_the_confirmed_position_is_archived_and_followed() {
    let mut pair = degrade();
    pair.deposit("a").settle().seconds(1);
    pair.deposit("b").seal().arrive(TARGET).flush(TARGET);
    let bytes = pair.on_disk(TARGET);
    pair.lose_power(SOURCE).cut().start(SOURCE).open_alone();
    pair.deposit("c").settle();
    pair.mend().recovers_whole();
    let orphans = pair.orphans(TARGET);
    assert_eq!((orphans.len(), orphans[0].entries), (1, 1));
    let fork = orphans[0].fork.sequence.get();
    assert!(bytes.ids.contains_key(&(fork + 1)));
    let told = |event: &LinkEvent| matches!(event, LinkEvent::Coupled { archived: 1, .. });
    assert_eq!(pair.happened(told), 1, "the source is told too");
    assert_eq!(pair.shows(TARGET), ["a", "c"]);
    // What was set aside is never taken as a step back later.
    pair.break_between(SOURCE, TARGET).seconds(1);
    pair.deposit("d").settle().answers("d", Said::Sync);
    let back = |event: &LinkEvent| {
        matches!(
            event,
            LinkEvent::Coupled {
                went_back: true,
                ..
            }
        )
    };
    assert_eq!(pair.happened(back), 0);
}

/// COU-3, RCV-10, I9: power is lost before every flush of the cut, twice.
#[test]
fn a_cut_that_is_interrupted_anywhere_ends_in_the_same_state() {
    let forked = |dies_at: Option<u64>, seed: u64| -> (Pair, u64) {
        let mut pair = degrade();
        pair.deposit("a").settle().seconds(1);
        pair.change_receiver();
        pair.deposit("b")
            .deposit("x")
            .seal()
            .arrive(TARGET)
            .flush(TARGET);
        pair.lose_power(SOURCE).cut().start(SOURCE).open_alone();
        pair.deposit("c").settle();
        let disk = pair.cluster.nodes[TARGET].disk.clone();
        let before = disk.syncs();
        if let Some(sync) = dies_at {
            disk.die_at_sync(before + sync);
        }
        pair.mend().seconds(2);
        let used = disk.syncs() - before;
        if dies_at.is_some() {
            pair.tear(TARGET, seed);
            // Again in the middle of the next opening.
            let disk = pair.cluster.nodes[TARGET].disk.clone();
            disk.die_at_sync(1 + seed % 4);
            drop(pair.cluster.start(TARGET));
            pair.tear(TARGET, seed + 1).start(TARGET).seconds(20);
        }
        (pair, used)
    };
    let (_, syncs) = forked(None, 0);
    assert!(syncs > 5, "{syncs}");
    for sync in 1..=syncs {
        for seed in 0..4 {
            let (mut pair, _) = forked(Some(sync), seed);
            pair.recovers_whole();
            assert_eq!(pair.shows(TARGET), ["a", "c"], "sync {sync} seed {seed}");
            let entries: Vec<u64> = pair.orphans(TARGET).iter().map(|o| o.entries).collect();
            assert!(entries.contains(&2), "sync {sync} seed {seed}: {entries:?}");
        }
    }
}

/// COU-4.
#[test]
fn a_fork_below_the_confirmed_position_is_refused_and_changes_nothing() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let backup = pair.snapshot(SOURCE);
    pair.deposit("b").settle().seconds(1);
    assert!(pair.shows(TARGET).contains(&"b"), "confirmed");
    pair.restore(SOURCE, &backup)
        .cut()
        .start(SOURCE)
        .open_alone();
    // The diverged source is made much longer: length decides nothing.
    for _ in 0..50 {
        pair.deposit("other").settle();
    }
    let before = (
        pair.on_disk(SOURCE).ids,
        pair.on_disk(TARGET).ids,
        pair.copy(TARGET).shared().promised(),
    );
    pair.mend().seconds(60);
    let refusal = pair.is_refused(RefusalCode::Diverged);
    assert!(refusal.fork.is_some() && refusal.source > refusal.target);
    assert!(refusal.text.contains("VERIFY"), "{}", refusal.text);
    let after = (
        pair.on_disk(SOURCE).ids,
        pair.on_disk(TARGET).ids,
        pair.copy(TARGET).shared().promised(),
    );
    assert_eq!(before, after);
    assert!(pair.orphans(TARGET).is_empty());
    // Time and restarts do not soften it.
    pair.kill(TARGET).start(TARGET).activate().seconds(60);
    pair.is_refused(RefusalCode::Diverged);
}

/// COU-4: a target that is longer is not followed either.
#[test]
fn a_diverged_target_that_is_longer_is_refused_too() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let backup = pair.snapshot(SOURCE);
    for _ in 0..50 {
        pair.deposit("b").settle();
    }
    pair.seconds(1);
    pair.restore(SOURCE, &backup)
        .cut()
        .start(SOURCE)
        .open_alone();
    pair.deposit("c").settle();
    let mine = pair.on_disk(SOURCE).ids;
    pair.mend().seconds(30);
    pair.is_refused(RefusalCode::Diverged);
    assert_eq!(pair.on_disk(SOURCE).ids, mine);
    assert!(pair.is_open(), "it goes on by itself, its answers LOCAL");
    pair.deposit("d").settle().answers("d", Said::Local);
}

/// COU-4 at the target: it does not take the source's word for the fork.
#[test]
fn a_target_refuses_a_fork_that_is_no_place_in_its_own_history() {
    use rjournal::remote::{Frame, Message};
    let mut pair = degrade();
    pair.deposit("a").deposit("b").settle();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(std::time::Duration::from_millis(200));
    pair.dial().arrive(TARGET).return_from(TARGET);
    let confirmed = pair.copy(TARGET).progress().confirmed;
    for frame in pair.frames_to(TARGET) {
        if let Frame::Message(Message::Couple { fork }) = frame {
            fork.sequence = confirmed;
            fork.head = rjournal::entry::ChainHead::from_bytes([9; 32]);
        }
    }
    let promised = pair.copy(TARGET).shared().promised();
    let before = pair.on_disk(TARGET).ids;
    pair.arrive(TARGET).return_from(TARGET);
    pair.is_refused(RefusalCode::Diverged);
    assert_eq!(pair.copy(TARGET).shared().promised(), promised);
    assert_eq!(pair.on_disk(TARGET).ids, before);
}

/// COU-6.
#[test]
fn a_target_that_went_back_is_told_caught_up_and_out_of_the_set_meanwhile() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let backup = pair.snapshot(TARGET);
    for _ in 0..30 {
        pair.deposit("b").settle();
    }
    pair.answers("b", Said::Sync);
    pair.restore(TARGET, &backup).start(TARGET).recovers_whole();
    let back = |event: &LinkEvent| {
        matches!(
            event,
            LinkEvent::Coupled {
                went_back: true,
                ..
            }
        )
    };
    assert_eq!(pair.happened(back), 1);
    let reasons: Vec<SetReason> = pair.set_changes().iter().map(|set| set.reason).collect();
    assert_eq!(
        reasons,
        [
            SetReason::Joined,
            SetReason::TargetFailed,
            SetReason::Joined
        ]
    );
    pair.only_on("b", &[SOURCE, TARGET]);
}

/// COU-10 in its general form: no pair of mutated histories is ever joined. Every head of the target is wrong in turn.
#[test]
fn heads_that_do_not_match_never_couple_below_what_is_confirmed() {
    use rjournal::remote::{Frame, Message};
    for lie in 0..4 {
        let mut pair = degrade();
        pair.deposit("a").deposit("b").settle().seconds(1);
        pair.cut().deposit("c").seconds(3);
        pair.mend().wait(std::time::Duration::from_secs(20));
        pair.dial();
        let before = pair.on_disk(TARGET).ids;
        for _ in 0..40 {
            pair.arrive(TARGET);
            if pair.cluster.connections() == 0 {
                break;
            }
            for frame in pair.frames_from(TARGET) {
                match frame {
                    Frame::Message(Message::Welcome(welcome)) => {
                        welcome.tip.head = rjournal::entry::ChainHead::from_bytes([lie; 32]);
                    }
                    Frame::Message(Message::HeadTold { head, .. }) => {
                        *head = Some(rjournal::entry::ChainHead::from_bytes([lie; 32]));
                    }
                    _ => {}
                }
            }
            pair.return_from(TARGET);
        }
        pair.is_refused(RefusalCode::Diverged);
        assert_eq!(pair.on_disk(TARGET).ids, before);
    }
}

/// RST-2 under many interleavings: whatever source and target each lost, a coupling that succeeds leaves one history, and
/// what is confirmed at the target is in it.
#[test]
fn whatever_both_sides_lost_one_history_remains_or_the_coupling_is_refused() {
    let (mut coupled, mut refused) = (0, 0);
    for number in 0..120 {
        let mut seed = Seed::new(number);
        let mut pair = degrade();
        let mut backups = Vec::new();
        for _ in 0..4 {
            pair.deposit("a").settle();
            backups.push((pair.snapshot(SOURCE), pair.snapshot(TARGET)));
            match seed.below(3) {
                0 => drop(pair.seconds(1).is_open()),
                1 => drop(pair.change_receiver().is_open()),
                _ => {}
            }
        }
        pair.deposit("b").seal();
        if seed.below(2) == 0 {
            pair.arrive(TARGET).flush(TARGET);
        }
        let older = seed.below(backups.len() as u64) as usize;
        match seed.below(3) {
            0 => pair.restore(SOURCE, &backups[older].0),
            1 => pair.restore(TARGET, &backups[older].1).start(TARGET),
            _ => pair.tear(SOURCE, seed.draw()),
        };
        if pair.cluster.nodes[SOURCE].running.is_none() {
            pair.cluster.nodes[SOURCE].starts += seed.below(3);
            pair.cut().start(SOURCE).open_alone();
            pair.deposit("c").settle();
        }
        let confirmed = pair.copy(TARGET).progress().confirmed;
        let reader = pair.copy(TARGET).shared().reader().clone();
        let before = content(&reader, confirmed).ids;
        pair.mend().seconds(20);
        let after = content(&reader, confirmed).ids;
        assert_eq!(before, after, "seed {number}: confirmed entries changed");
        if pair.link(SOURCE, 0).state == LinkState::Failed {
            refused += 1;
        } else {
            coupled += 1;
            pair.recover();
            rjournal_tests::checkers::receivers_are_identical(&pair.cluster);
        }
    }
    assert!(coupled > 20 && refused > 10, "{coupled} {refused}");
}

/// Ruling 14: with several targets the furthest tail on the own chain is adopted, and all get it.
#[test]
fn of_several_targets_the_furthest_is_adopted_from() {
    for furthest in [TARGET, THIRD] {
        let mut pair = broadcast();
        pair.deposit("a").settle();
        pair.deposit("b").seal().arrive(furthest).flush(furthest);
        pair.only_on("b", &[furthest]);
        pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
        pair.only_on("b", &[SOURCE, TARGET, THIRD]);
        assert!(pair.orphans(furthest).is_empty());
    }
}

/// Ruling 14: it waits for every member, also when one has answered.
#[test]
fn a_source_does_not_open_while_one_member_of_its_set_has_not_answered() {
    let mut pair = broadcast();
    pair.deposit("a").settle();
    pair.deposit("b").seal().arrive(THIRD).flush(THIRD);
    pair.lose_power(SOURCE)
        .cut_between(SOURCE, THIRD)
        .start(SOURCE);
    pair.seconds(120);
    assert!(!pair.is_open());
    let Some(OpeningState::Waiting(missing)) = pair.opening() else {
        panic!("{}", pair.cluster.describe());
    };
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].system, pair.cluster.nodes[THIRD].system);
    pair.mend().recovers_whole();
    pair.only_on("b", &[SOURCE, TARGET, THIRD]);
}

/// Ruling 14: a connection that breaks in the middle of an adoption keeps what came whole, and asks again.
#[test]
fn an_adoption_that_is_interrupted_is_taken_up_again() {
    for frames in 0..6 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let backup = pair.snapshot(SOURCE);
        for _ in 0..5 {
            pair.deposit("b").change_receiver();
        }
        pair.restore(SOURCE, &backup).start(SOURCE).dial();
        for _ in 0..4 {
            pair.arrive(TARGET);
            pair.cluster.deliver_back(0);
        }
        for _ in 0..frames {
            pair.cluster.deliver_back(0);
        }
        if frames % 2 == 0 {
            pair.break_between(SOURCE, TARGET);
        } else {
            pair.tear(SOURCE, frames).start(SOURCE);
        }
        pair.seconds(5).recovers_whole();
        assert!(pair.orphans(TARGET).is_empty());
    }
}

/// Section 6 of the design while the source is not open: a member whose confirmed history went another way keeps it closed.
#[test]
fn a_source_whose_set_holds_another_confirmed_history_stays_closed() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let (source, early) = (pair.snapshot(SOURCE), pair.snapshot(TARGET));
    pair.deposit("b").settle().seconds(1);
    let late = pair.snapshot(TARGET);
    // Both lose it, and go on together.
    pair.restore(SOURCE, &source).restore(TARGET, &early);
    pair.start(TARGET).start(SOURCE).recover();
    pair.deposit("c").settle().answers("c", Said::Sync);
    // Then the target's disk of the other history comes back.
    pair.restore(TARGET, &late).kill(SOURCE);
    pair.start(TARGET).start(SOURCE).seconds(30);
    let Some(OpeningState::Refused { code, text }) = pair.opening() else {
        panic!("{}", pair.cluster.describe());
    };
    assert_eq!(code, RefusalCode::Diverged);
    assert!(text.contains("CHGJRN OPEN(*ALONE)"), "{text}");
    assert!(pair.orphans(TARGET).is_empty() && !pair.is_open());
    pair.open_alone().settle();
    assert!(pair.is_open());
    pair.is_refused(RefusalCode::Diverged);
}

/// Ruling 29: the tail of the later opening is adopted, however much longer the other is; who has the other is compared
/// with it then, and sets it aside.
#[test]
fn after_an_adoption_a_longer_tail_of_an_earlier_opening_is_set_aside() {
    let mut pair = broadcast();
    pair.deposit("a").settle().seconds(1);
    let backup = pair.snapshot(SOURCE);
    for _ in 0..30 {
        pair.deposit("unanswered");
    }
    pair.seal().arrive(THIRD).flush(THIRD);
    pair.lose_power(SOURCE).cut_between(SOURCE, THIRD);
    pair.start(SOURCE).open_alone();
    pair.deposit("b").settle().seconds(1);
    assert!(pair.keeps(TARGET, "b"));
    let (shorter, longer) = (pair.copy(TARGET).tip(), pair.copy(THIRD).tip());
    assert!(shorter.sequence < longer.sequence);
    pair.restore(SOURCE, &backup).mend().start(SOURCE);
    pair.seconds(3).allow_adopt().seconds(5).recovers_whole();
    assert!(pair.keeps(SOURCE, "b") && !pair.keeps(THIRD, "unanswered"));
    assert_eq!(pair.orphans(THIRD).len(), 1);
}

/// An operator's word in the middle of an adoption does not leave it hanging.
#[test]
fn an_operators_word_during_an_adoption_asks_again_and_goes_on() {
    for frames in 0..6 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let backup = pair.snapshot(SOURCE);
        for _ in 0..5 {
            pair.deposit("b").change_receiver();
        }
        pair.restore(SOURCE, &backup).start(SOURCE).dial();
        for _ in 0..4 {
            pair.arrive(TARGET);
            pair.cluster.deliver_back(0);
        }
        for _ in 0..frames {
            pair.cluster.deliver_back(0);
        }
        if pair.opening().is_some() {
            pair.allow_adopt();
        }
        pair.seconds(5).recovers_whole();
        assert!(pair.keeps(SOURCE, "b"));
    }
}
