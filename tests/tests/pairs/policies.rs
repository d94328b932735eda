//! What happens to deposits when a *SYNC target does not answer in time: degrade, block, reject; and how a target that
//! comes back, again and again, is taken into the set.

use std::time::Duration;

use rjournal::entry::control_entry::{Policy, SetReason};
use rjournal::error::DepositError;
use rjournal::journal::Attributes;
use rjournal::remote::{EndReason, Frame, LinkState, Message};
use rjournal_tests::cluster::quick;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, block, broadcast, degrade, reject};

/// SYN-6.
#[test]
fn degrade_answers_local_only_when_the_loss_is_on_disk() {
    let mut pair = degrade();
    pair.cut().deposit("a").settle();
    pair.pass(Duration::from_millis(1_900))
        .answers("a", Said::Nothing);
    pair.wait(Duration::from_millis(200));
    pair.seal().answers("a", Said::Nothing);
    assert_eq!(pair.members(), 0);
    pair.write().answers("a", Said::Local);
    assert_eq!(pair.last_change(), Some(SetReason::TimedOut));
    let change = pair.set_changes().pop().expect("a change");
    assert_eq!((change.members.len(), change.left.len()), (0, 1));
    // From now on nothing waits.
    pair.deposit("b").settle().answers("b", Said::Local);
}

/// SYN-6, the list of classes: what the target had when it was lost stands in the entry.
#[test]
fn the_entry_that_drops_a_target_says_how_far_it_was() {
    let mut pair = degrade();
    pair.deposit("a").settle().answers("a", Said::Sync);
    let had = pair.sequence("a");
    pair.cut().deposit("b").seconds(3).answers("b", Said::Local);
    let change = pair.set_changes().pop().expect("a change");
    assert_eq!(change.left[0].acknowledged.get(), had);
    assert!(pair.sequence("b") > had);
}

/// SYN-6, section 5 of the design: degraded links restore themselves, at a sequence without a gap.
#[test]
fn a_target_that_comes_back_catches_up_and_is_in_sync_again_without_a_gap() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.cut().deposit("b").seconds(3);
    for name in ["c", "d", "e"] {
        pair.deposit(name).settle().answers(name, Said::Local);
    }
    pair.mend().recovers_whole();
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
    pair.deposit("f").settle().answers("f", Said::Sync);
    pair.seconds(1);
    assert_eq!(pair.shows(TARGET), ["a", "b", "c", "d", "e", "f"]);
}

/// SYN-7.
#[test]
fn block_keeps_deposits_waiting_and_refuses_beyond_its_bound() {
    let mut pair = Pair::in_sync(&Attributes {
        waiting_entries_max: 2,
        ..quick(Policy::Block)
    });
    pair.cut().deposit("a").seconds(60);
    pair.answers("a", Said::Nothing);
    pair.deposit("b").deposit("c").settle();
    let refused = pair.try_deposit("d", 10);
    assert!(
        matches!(refused, Err(DepositError::SyncBlocked)),
        "{refused:?}"
    );
    pair.seconds(600);
    for name in ["a", "b", "c"] {
        pair.answers(name, Said::Nothing);
    }
    assert_eq!(pair.members(), 1, "the set is never shrunk");
    pair.mend().recovers_whole();
    for name in ["a", "b", "c"] {
        pair.answers(name, Said::Sync);
    }
    pair.answers("d", Said::Refused);
    pair.deposit("e").settle().answers("e", Said::Sync);
}

/// SYN-7, ruling 13: a restart makes no LOCAL of an entry that the member lacks, whoever asks for it by its key.
#[test]
fn a_retry_after_a_restart_waits_for_the_member_that_lacks_the_entry() {
    for policy in [Policy::Block, Policy::Reject, Policy::Degrade] {
        let mut pair = Pair::in_sync(&quick(policy));
        pair.deposit_keyed("had", 1).expect("taken");
        pair.settle().answers("had", Said::Sync);
        pair.cut().deposit_keyed("lacks", 2).expect("taken");
        pair.seal().write().answers("lacks", Said::Nothing);
        // It is asked, has nothing that is missing here, and is gone before it is shipped anything.
        pair.kill(SOURCE).mend().start(SOURCE);
        pair.couple_without_flush(TARGET).cut();
        assert!(pair.is_open());
        assert!(
            pair.deposit_keyed("had", 1)
                .expect("taken")
                .again()
                .is_again()
        );
        pair.settle().answers("had", Said::Sync);
        assert!(
            pair.deposit_keyed("lacks", 2)
                .expect("taken")
                .again()
                .is_again()
        );
        pair.settle().answers("lacks", Said::Nothing);
        pair.only_on("lacks", &[SOURCE]);
        assert_eq!(pair.shown_settled(), ["had"], "readers see no more");
        pair.seconds(3).answers(
            "lacks",
            match policy {
                Policy::Block => Said::Nothing,
                Policy::Reject => Said::Unknown,
                Policy::Degrade => Said::Local,
            },
        );
        pair.mend().recovers_whole();
        pair.deposit_keyed("lacks", 2).expect("found");
        pair.answers(
            "lacks",
            if policy == Policy::Degrade {
                Said::Local
            } else {
                Said::Sync
            },
        );
    }
}

/// SYN-7: the operator's way out.
#[test]
fn an_operator_who_loosens_block_releases_what_waits_as_local() {
    let mut pair = block();
    pair.cut()
        .deposit("a")
        .seconds(10)
        .answers("a", Said::Nothing);
    pair.change_policy(Policy::Degrade).settle();
    // Who is to know cannot be told.
    pair.answers("a", Said::Nothing);
    assert_eq!(pair.policy(), (Policy::Block, Some(Policy::Degrade)));
    pair.force_policy(Policy::Degrade).settle();
    pair.answers("a", Said::Local);
    assert_eq!(pair.policy(), (Policy::Degrade, None));
    assert_eq!(pair.last_change(), Some(SetReason::TimedOut));
}

/// SYN-8.
#[test]
fn reject_answers_unknown_refuses_new_ones_and_replicates_what_stayed() {
    let mut pair = reject();
    pair.cut()
        .deposit("a")
        .seconds(3)
        .answers("a", Said::Unknown);
    let refused = pair.try_deposit("b", 10);
    assert!(
        matches!(refused, Err(DepositError::SyncBlocked)),
        "{refused:?}"
    );
    assert!(pair.keeps(SOURCE, "a"), "it is never reported as absent");
    pair.mend().recover();
    pair.deposit("c").settle().answers("c", Said::Sync);
    pair.recovers_whole();
    pair.only_on("a", &[SOURCE, TARGET]);
    assert_eq!(pair.shows(SOURCE), ["a", "c"]);
}

/// SYN-8: what was numbered and not sealed when the time was over is answered too.
#[test]
fn reject_answers_what_was_numbered_before_it_held_deposits_off() {
    let mut pair = reject();
    pair.cut().deposit("a").seal().write();
    pair.deposit("b");
    pair.wait(Duration::from_secs(3))
        .answers("a", Said::Unknown);
    pair.answers("b", Said::Nothing).seal().write();
    pair.answers("b", Said::Unknown);
    pair.mend().recovers_whole();
}

/// SYN-7, SYN-8: a change of policy while deposits are held off.
#[test]
fn an_operator_who_turns_block_into_reject_has_what_waits_answered() {
    let mut pair = block();
    pair.cut()
        .deposit("a")
        .seconds(3)
        .answers("a", Said::Nothing);
    pair.change_policy(Policy::Reject)
        .answers("a", Said::Unknown);
    let refused = pair.try_deposit("b", 10);
    assert!(
        matches!(refused, Err(DepositError::SyncBlocked)),
        "{refused:?}"
    );
    pair.mend().recovers_whole();
}

/// A target that says that it stops is not waited for; it is tried again, and nobody has to activate it.
#[test]
fn a_target_that_stops_in_order_leaves_the_set_at_once() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    let reason = EndReason::ShuttingDown;
    pair.frames_from(TARGET)
        .push_back(Frame::Message(Message::End { reason }));
    pair.return_from(TARGET).cut().seal().write();
    pair.answers("a", Said::Local);
    assert_eq!(pair.last_change(), Some(SetReason::TargetFailed));
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Active);
    pair.mend().recovers_whole();
}

/// That the source itself stops takes nobody out: it asks its set when it starts again.
#[test]
fn a_source_that_stops_in_order_keeps_its_set() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let now = pair.cluster.now;
    let running = pair.cluster.nodes[SOURCE].running.as_mut();
    running.expect("it is up").links[0]
        .link
        .handle_shutdown(now);
    pair.activate();
    assert_eq!(pair.members(), 1);
    pair.seal().write();
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
}

/// SYN-8 and ruling 16: a retry after UNKNOWN finds the entry that stayed.
#[test]
fn a_retry_after_unknown_under_reject_lands_once() {
    let mut pair = reject();
    pair.cut();
    drop(pair.deposit_keyed("a", 1).expect("taken"));
    pair.seconds(3).answers("a", Said::Unknown);
    pair.mend().recover();
    assert!(
        pair.deposit_keyed("a", 1)
            .expect("found")
            .again()
            .is_again()
    );
    pair.recovers_whole();
    assert_eq!(pair.shows(SOURCE), ["a"]);
}

/// SYN-11.
#[test]
fn a_target_that_keeps_leaving_is_held_off_longer_and_longer() {
    let mut pair = degrade();
    let mut joined = Vec::new();
    for _ in 0..6 {
        let changes = pair.set_changes().len();
        pair.cut().deposit("a").seconds(3).mend();
        let (left, mut waited) = (pair.cluster.now, 0);
        while pair.members() == 0 {
            pair.pass(Duration::from_millis(100));
            waited = pair.cluster.now.since(left).as_millis();
            assert!(waited < 60_000, "it never joins again");
        }
        pair.settle();
        assert_eq!(pair.set_changes().len(), changes + 2, "out and in again");
        joined.push(waited);
    }
    assert!(joined[0] < 3_000, "{joined:?}");
    assert!(joined[5] >= 8_000, "{joined:?}");
    let grows = joined.windows(2).skip(1).all(|pair| pair[1] > pair[0]);
    assert!(grows, "{joined:?}");
}

/// SYN-11: the rate of deposits while a link flaps.
#[test]
fn deposits_wait_for_a_flapping_target_only_while_it_is_in_the_set() {
    let mut pair = degrade();
    let mut waited = Duration::ZERO;
    let begin = pair.cluster.now;
    for _ in 0..300 {
        if !pair.cluster.cut.contains(&(SOURCE, TARGET)) && pair.members() == 1 {
            pair.cut();
        } else {
            pair.mend();
        }
        pair.deposit("a").settle();
        while pair.said("a") == Said::Nothing {
            pair.pass(Duration::from_millis(50));
            waited += Duration::from_millis(50);
        }
        pair.pass(Duration::from_millis(100));
    }
    let whole = pair.cluster.now.since(begin);
    assert!(waited * 2 < whole, "waited {waited:?} of {whole:?}");
}

/// SYN-12.
#[test]
fn of_two_targets_the_slow_one_alone_is_dropped_and_the_answer_names_the_set() {
    let mut pair = broadcast();
    pair.deposit("a").settle().answers("a", Said::Sync);
    pair.cut_between(SOURCE, THIRD).deposit("b").settle();
    pair.answers("b", Said::Nothing);
    assert!(pair.keeps(TARGET, "b"));
    pair.seconds(3).answers("b", Said::Sync);
    assert_eq!(pair.members(), 1);
    // Ruling 12: what rests on the smaller set waited until the change was on the disk of who remained.
    let change = pair.set_changes().len();
    let at_target = pair.on_disk(TARGET).sets.len();
    assert_eq!(at_target, change);
    pair.deposit("c").settle().answers("c", Said::Sync);
    pair.mend().recovers_whole();
    assert_eq!(pair.members(), 2);
}

/// Ruling 12: the answer waits for the change of the set at every member that remains.
#[test]
fn an_answer_on_a_smaller_set_waits_until_the_change_is_on_all_remaining_disks() {
    let mut pair = broadcast();
    pair.cut_between(SOURCE, THIRD).deposit("a").settle();
    pair.wait(Duration::from_secs(3));
    pair.seal().write().answers("a", Said::Nothing);
    assert_eq!(pair.members(), 1);
    pair.arrive(TARGET).answers("a", Said::Nothing);
    pair.flush(TARGET)
        .return_from(TARGET)
        .answers("a", Said::Sync);
}

/// SYN-13.
#[test]
fn a_full_target_leaves_at_once_says_so_and_comes_back_when_there_is_room() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes()));
    let before = pair.cluster.now;
    // Receivers are prepared with room to spare; more than that is not there.
    for _ in 0..40 {
        pair.deposit_large("big").settle();
    }
    let full = |event: &rjournal::remote::LinkEvent| {
        matches!(
            event,
            rjournal::remote::LinkEvent::Ended {
                reason: rjournal::remote::EndReason::Full,
                ..
            }
        )
    };
    assert_eq!(pair.happened(full), 1);
    assert_eq!(pair.cluster.now, before, "no time-out was waited for");
    assert_eq!(pair.last_change(), Some(SetReason::TargetFailed));
    pair.deposit("b").settle().answers("b", Said::Local);
    pair.seconds(60);
    assert_eq!(pair.members(), 0);
    disk.limit_bytes(None);
    pair.seconds(30).recovers_whole();
    assert_eq!(pair.members(), 1);
}

/// SYN-13: low space is said before the disk is full.
#[test]
fn a_target_says_that_its_disk_will_soon_be_full() {
    let mut pair = degrade();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes() + 1024 * 1024));
    pair.deposit("a").settle().answers("a", Said::Sync);
    let low = pair.happened(|event| {
        matches!(
            event,
            rjournal::remote::LinkEvent::Acknowledged {
                low_space: true,
                ..
            }
        )
    });
    assert!(low > 0);
}

/// DEP-6: the time-out of a target does not run against a slow local disk.
#[test]
fn a_slow_local_flush_drops_no_target() {
    let mut pair = degrade();
    pair.deposit("a").seal().arrive(TARGET).flush(TARGET);
    pair.return_from(TARGET);
    for _ in 0..40 {
        pair.wait(Duration::from_millis(250));
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
    }
    pair.answers("a", Said::Nothing);
    pair.write().settle().answers("a", Said::Sync);
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
}

/// DEP-6 under local-first: nothing was shipped, so there is nothing a target could be late with.
#[test]
fn a_slow_local_flush_under_local_first_drops_no_target() {
    let mut pair = Pair::in_sync(&Attributes {
        local_first: true,
        ..quick(Policy::Degrade)
    });
    pair.deposit("a").seal();
    for _ in 0..40 {
        pair.wait(Duration::from_millis(250));
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
    }
    pair.write().settle().answers("a", Said::Sync);
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
}

/// SYN-4 and SYN-7, ruling 13: under block nothing is ever answered LOCAL, also when the target says that it failed.
#[test]
fn block_waits_for_a_target_that_failed() {
    let mut pair = block();
    pair.deposit("a").settle();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    pair.deposit("b").seconds(60).answers("b", Said::Nothing);
    assert_eq!(pair.members(), 1);
    pair.cluster.kill(TARGET);
    pair.start(TARGET).recovers_whole();
    pair.answers("b", Said::Sync);
}

/// SYN-13 and SYN-7: a full target, and one that an operator has stopped.
#[test]
fn block_waits_for_a_target_that_is_full_or_stopped() {
    let mut pair = block();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes()));
    pair.change_receiver();
    pair.deposit("a").seconds(60).answers("a", Said::Nothing);
    disk.limit_bytes(None);
    pair.seconds(30).answers("a", Said::Sync);
    let hold = |pair: &Pair, reason: Option<&str>| {
        let reason = reason.map(ToOwned::to_owned);
        let kept = pair
            .copy(TARGET)
            .shared()
            .update(|control| control.stopped = reason);
        kept.expect("a live disk");
    };
    hold(&pair, Some("held"));
    pair.break_between(SOURCE, TARGET);
    pair.deposit("b").seconds(60).answers("b", Said::Nothing);
    hold(&pair, None);
    pair.recovers_whole();
    pair.answers("b", Said::Sync);
}

/// SYN-8: reject does not turn into LOCAL either.
#[test]
fn reject_answers_unknown_when_the_target_failed() {
    let mut pair = reject();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    pair.deposit("a").seconds(3).answers("a", Said::Unknown);
    assert!(pair.try_deposit("b", 1).is_err());
    pair.cluster.kill(TARGET);
    pair.start(TARGET).recovers_whole();
    pair.deposit("c").settle().answers("c", Said::Sync);
}
