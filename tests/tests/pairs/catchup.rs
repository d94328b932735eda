//! A target that is behind: the same stream that ships live entries brings it up, over receivers, crashes and breaks,
//! without a gap; what is needed for it is not deleted, or it is told that it must be loaded anew.

use std::time::Duration;

use rjournal::entry::Sequence;
use rjournal::entry::control_entry::{Policy, SetReason};
use rjournal::journal::{Hold, retire};
use rjournal::remote::{EndReason, LinkEvent, LinkState, RefusalCode};
use rjournal_tests::cluster::{asynchronous, quick, sync};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, behind, block, degrade};

/// A source with several receivers whose target lacks most of them.
fn far_behind() -> Pair {
    let mut pair = degrade();
    pair.deposit("first").settle();
    pair.cut().deposit("a").seconds(3);
    for _ in 0..4 {
        pair.deposit("b").deposit("c").settle();
        pair.change_receiver();
    }
    pair.deposit("last").settle();
    pair
}

/// Deletes the oldest receivers of the source but for the last few.
fn forget_all_but(pair: &mut Pair, kept: usize) -> u64 {
    let records = pair.open().journal.reader().records();
    let upto = records[records.len() - 1 - kept].receiver;
    let gone = pair.open().writer.forget_upto(upto);
    gone.expect("a live disk")
}

/// CAT-1, BRD-5.
#[test]
fn a_target_that_needs_a_deleted_receiver_is_refused_and_no_gap_is_skipped() {
    let mut pair = far_behind();
    assert!(forget_all_but(&mut pair, 1) >= 3);
    let had = pair.copy(TARGET).tip();
    pair.mend().seconds(30);
    let refusal = pair.is_refused(RefusalCode::ReceiverMissing);
    assert!(refusal.text.contains("DLTJRN"), "{}", refusal.text);
    let oldest = pair.open().journal.reader().oldest().sequence.next();
    let next = had.sequence.next();
    let both = refusal.text.contains(&format!("entry {next} "))
        && refusal.text.contains(&oldest.to_string());
    assert!(both, "it names the range: {}", refusal.text);
    assert_eq!(pair.copy(TARGET).tip(), had);
    pair.deposit("d").settle().answers("d", Said::Local);
}

/// CAT-1: what is still needed by nobody may go, and catch-up begins behind it.
#[test]
fn a_target_that_holds_the_deleted_range_couples_all_the_same() {
    let mut pair = far_behind();
    pair.mend().recovers_whole();
    forget_all_but(&mut pair, 1);
    pair.break_between(SOURCE, TARGET).deposit("d").seconds(1);
    pair.answers("d", Said::Sync);
}

/// CAT-2, CAT-5: while it is far behind it is not waited for.
#[test]
fn a_target_joins_only_when_its_lag_is_small() {
    let mut pair = degrade();
    pair.cut().deposit("a").seconds(3);
    for _ in 0..60 {
        pair.deposit_large("big").settle();
    }
    pair.mend().wait(Duration::from_secs(20)).dial();
    for _ in 0..20 {
        pair.arrive(TARGET).return_from(TARGET);
    }
    // Everything is shipped, nothing of it flushed: more under way than may be.
    assert!(pair.link(SOURCE, 0).streaming);
    pair.deposit("b").seal().write().answers("b", Said::Local);
    assert_eq!(pair.members(), 0);
    pair.flush(TARGET).return_from(TARGET).settle();
    assert_eq!(pair.members(), 1);
    pair.recovers_whole();
}

/// CAT-2: deposits come faster than the target takes them: an operator is told, once, for as long as it is so.
#[test]
fn catch_up_that_comes_no_nearer_to_the_end_is_told_instead_of_going_on_in_silence() {
    let mut pair = degrade();
    pair.cut().deposit("a").seconds(3);
    for _ in 0..60 {
        pair.deposit_large("big").settle();
    }
    pair.mend().wait(Duration::from_secs(20)).dial();
    while !pair.link(SOURCE, 0).streaming {
        pair.arrive_one(TARGET).flush(TARGET).return_from(TARGET);
    }
    let told = |pair: &Pair| pair.happened(|event| matches!(event, LinkEvent::Outrun(_)));
    for second in 0..130 {
        pair.deposit_large("more").seal().write();
        pair.wait(Duration::from_secs(1));
        pair.arrive_one(TARGET).flush(TARGET).return_from(TARGET);
        assert!(second > 50 || told(&pair) == 0, "after {second} s");
    }
    assert!(pair.link(SOURCE, 0).streaming);
    assert_eq!(told(&pair), 1);
    let outrun = pair.link(SOURCE, 0).outrun.expect("it does not converge");
    assert!(outrun.behind >= outrun.before, "{outrun:?}");
    pair.settle();
    assert_eq!(pair.members(), 1);
    assert_eq!(pair.link(SOURCE, 0).outrun, None, "it has caught up");
    pair.recovers_whole();
}

/// CAT-5.
#[test]
fn entries_before_the_joining_entry_are_local_and_those_after_it_sync() {
    let mut pair = degrade();
    pair.cut().deposit("a").seconds(3).answers("a", Said::Local);
    pair.mend().wait(Duration::from_secs(20)).dial();
    let mut said = Vec::new();
    for _ in 0..30 {
        pair.deposit("b").seal().write();
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        said.push((pair.said("b"), pair.sequence("b")));
    }
    let joined = pair.set_changes().last().map(|change| change.reason);
    assert_eq!(joined, Some(SetReason::Joined));
    let first_sync = said.iter().position(|(said, _)| *said == Said::Sync);
    let first_sync = first_sync.expect("it joined");
    assert!(first_sync > 0, "{said:?}");
    let rest = said[first_sync..]
        .iter()
        .all(|(said, _)| *said == Said::Sync);
    assert!(rest, "{said:?}");
    pair.recovers_whole();
}

/// CAT-5, under block: nothing is answered before the target is back in its set.
#[test]
fn under_block_nothing_is_answered_while_a_member_catches_up() {
    let mut pair = block();
    pair.cut().deposit("a").seconds(5);
    pair.mend().wait(Duration::from_secs(20)).dial();
    pair.deposit("b").seal().write();
    pair.arrive(TARGET).return_from(TARGET).arrive(TARGET);
    pair.answers("a", Said::Nothing).answers("b", Said::Nothing);
    pair.recovers_whole();
    pair.answers("a", Said::Sync).answers("b", Said::Sync);
}

/// CAT-3, CAT-4, CHG-4: power is lost at the target before each of its flushes while it catches up over receivers.
#[test]
fn catching_up_goes_on_after_power_is_lost_before_any_flush_of_the_target() {
    let run = |dies_at: Option<u64>| -> (Pair, u64) {
        let mut pair = far_behind();
        let disk = pair.cluster.nodes[TARGET].disk.clone();
        let before = disk.syncs();
        if let Some(sync) = dies_at {
            disk.die_at_sync(before + sync);
        }
        pair.mend().seconds(2);
        let used = disk.syncs() - before;
        (pair, used)
    };
    let (_, syncs) = run(None);
    assert!(syncs > 10, "{syncs}");
    for sync in 1..=syncs {
        for seed in 0..3 {
            let (mut pair, _) = run(Some(sync));
            pair.tear(TARGET, seed).start(TARGET).seconds(20);
            pair.recovers_whole();
            let shown = pair.shows(TARGET);
            assert_eq!(shown.last(), Some(&"last"), "sync {sync} seed {seed}");
        }
    }
}

/// CAT-3: the source dies while its target catches up.
#[test]
fn catching_up_goes_on_after_the_source_lost_power() {
    for steps in 0..8 {
        let mut pair = far_behind();
        pair.mend().wait(Duration::from_secs(20)).dial();
        for _ in 0..steps {
            pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        }
        pair.lose_power(SOURCE).start(SOURCE).seconds(20);
        pair.recovers_whole();
    }
}

/// CAT-4.
#[test]
fn receivers_changed_while_a_target_catches_up_arrive_in_order() {
    let mut pair = far_behind();
    pair.mend().wait(Duration::from_secs(20)).dial();
    for _ in 0..5 {
        pair.arrive(TARGET).return_from(TARGET);
        pair.cluster.order_change();
        pair.deposit("new").seal().write();
    }
    pair.recovers_whole();
    let (ours, theirs) = (
        pair.receiver_files(SOURCE).len(),
        pair.receiver_files(TARGET).len(),
    );
    assert_eq!(ours, theirs);
}

/// CAT-6.
#[test]
fn inactivating_during_catch_up_leaves_a_valid_position() {
    for steps in 0..6 {
        let mut pair = far_behind();
        pair.mend().wait(Duration::from_secs(20)).dial();
        for _ in 0..steps {
            pair.cluster.deliver_forth(0);
            pair.return_from(TARGET);
        }
        pair.inactivate().settle();
        pair.deposit("d").seconds(60).answers("d", Said::Local);
        assert!(!pair.keeps(TARGET, "d"), "an inactive link ships nothing");
        pair.activate().recovers_whole();
        assert!(pair.keeps(TARGET, "d"));
    }
}

/// CAT-6: an operator activates a link whose controlled end is under way. It was once said to have caught up, and was
/// inactive a moment later.
#[test]
fn activating_a_link_that_is_drained_keeps_it_active() {
    let mut pair = behind();
    pair.settle().deposit("a").seal().write();
    pair.inactivate_when_drained();
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::ControlledEnd);
    pair.activate().settle().deposit("b").settle();
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Active);
    assert!(pair.keeps(TARGET, "a") && pair.keeps(TARGET, "b"));
    pair.inactivate_when_drained().settle();
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
}

/// What the source had when the session began is flushed much at a time; what is deposited from then on, at once.
#[test]
fn history_is_flushed_much_at_a_time_and_what_is_new_at_once() {
    let mut pair = degrade();
    pair.cut().deposit("a").seconds(3);
    for _ in 0..100 {
        pair.deposit_large("big").settle();
    }
    pair.mend().wait(Duration::from_secs(20)).dial();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    while !pair.link(SOURCE, 0).streaming {
        pair.arrive_one(TARGET).return_from(TARGET);
    }
    let before = disk.syncs();
    for _ in 0..50 {
        pair.arrive_one(TARGET).flush(TARGET).return_from(TARGET);
    }
    let history = disk.syncs() - before;
    assert!((3..25).contains(&history), "{history} flushes");
    pair.settle();
    assert_eq!(pair.members(), 1);
    let before = disk.syncs();
    for _ in 0..20 {
        pair.deposit("new").settle();
    }
    assert!(disk.syncs() - before >= 20);
    pair.recovers_whole();
}

/// CAT-6 and the set: an operator who inactivates a member is not waited for.
#[test]
fn inactivating_a_member_takes_it_out_of_the_set_at_once() {
    let mut pair = block();
    pair.inactivate().deposit("a").settle();
    pair.answers("a", Said::Local);
    assert_eq!(pair.last_change(), Some(SetReason::Operator));
    pair.activate().recovers_whole();
    pair.deposit("b").settle().answers("b", Said::Sync);
}

/// CAT-7.
#[test]
fn a_damaged_entry_at_the_source_is_not_sent() {
    let mut pair = far_behind();
    let mut medium = pair.snapshot(SOURCE);
    let path = pair.receiver_files(SOURCE)[1].clone();
    medium.flip(&path, 4096 + 200, 1);
    let had = pair.copy(TARGET).tip();
    pair.restore(SOURCE, &medium)
        .start(SOURCE)
        .mend()
        .seconds(30);
    let shown = pair.link(SOURCE, 0);
    assert_eq!(shown.last_end, Some(EndReason::SourceFailed));
    // Everything before the damage came, nothing behind it.
    let tip = pair.copy(TARGET).tip();
    let damaged = pair.open().journal.reader().records()[1].before.sequence;
    assert!(tip.sequence >= had.sequence && tip.sequence <= damaged);
    assert_eq!(pair.members(), 0);
}

/// CAT-8.
#[test]
fn what_a_target_has_already_is_not_sent_again() {
    let mut pair = far_behind();
    pair.mend().recovers_whole();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(Duration::from_secs(1)).dial();
    let mut bundles = 0;
    for _ in 0..10 {
        let is_bundle = |frame: &&rjournal::remote::Frame| {
            !matches!(frame, rjournal::remote::Frame::Message(_))
        };
        bundles += pair.frames_to(TARGET).iter().filter(is_bundle).count();
        pair.arrive(TARGET).return_from(TARGET);
    }
    assert_eq!(bundles, 0);
    assert!(pair.link(SOURCE, 0).streaming);
}

/// BRD-4, DEL-1: who holds receivers, and what gives way above the cap.
#[test]
fn a_slow_consumer_holds_receivers_up_to_the_hard_cap_and_is_then_given_up() {
    let mut pair = far_behind();
    let records = pair.open().journal.reader().records();
    let slow = Hold {
        who: "remote journal at TARGET".to_owned(),
        after: pair.copy(TARGET).tip().sequence,
        expendable: true,
    };
    let holds = [slow.clone()];
    let kept = retire(&records, &holds, true, 0);
    assert!(kept.deletable.len() <= 1, "{kept:?}");
    assert!(kept.given_up.is_empty());
    assert_eq!(kept.oldest_hold, Some(slow.clone()));
    // Above the cap the consumer goes, never the disk; the attached receiver always stays.
    let pressed = retire(&records, &holds, true, 1);
    assert_eq!(pressed.given_up, [slow.who]);
    assert_eq!(pressed.deletable.len(), records.len() - 1);
    for receiver in pressed.deletable {
        let gone = pair.open().writer.forget_upto(receiver);
        gone.expect("a live disk");
    }
    pair.mend().seconds(30);
    pair.is_refused(RefusalCode::ReceiverMissing);
    // What is left survives a restart, and takes deposits.
    pair.lose_power(SOURCE).start(SOURCE).seconds(1);
    pair.deposit("d").settle();
    assert!(pair.keeps(SOURCE, "d"));
}

/// DEL-2.
#[test]
fn a_deletion_interrupted_anywhere_leaves_no_gap_and_no_file_behind() {
    for sync in 1..4 {
        for seed in 0..6 {
            let mut pair = far_behind();
            pair.mend().recovers_whole();
            let disk = pair.cluster.nodes[SOURCE].disk.clone();
            disk.die_at_sync(disk.syncs() + sync);
            let records = pair.open().journal.reader().records();
            let upto = records[records.len() - 2].receiver;
            drop(pair.open().writer.forget_upto(upto));
            pair.tear(SOURCE, seed).start(SOURCE).recover();
            pair.deposit("d").settle();
            pair.recover();
            let reader = pair.open().journal.reader().clone();
            let files = pair.receiver_files(SOURCE);
            assert_eq!(files.len(), reader.records().len());
            let found = rjournal_tests::checkers::content(&reader, reader.tip().sequence);
            let entries = found.ids.keys().copied().collect::<Vec<u64>>();
            assert!(!entries.is_empty(), "sync {sync} seed {seed}");
        }
    }
}

/// DEL-4: catch-up under way holds nothing by itself; what it cannot read any more ends it with its reason.
#[test]
fn a_receiver_deleted_under_a_running_catch_up_ends_it_and_never_makes_a_gap() {
    let mut pair = far_behind();
    // Not in memory any more: read from the receivers.
    pair.lose_power(SOURCE).start(SOURCE).seconds(1);
    pair.mend().wait(Duration::from_secs(20)).dial();
    pair.arrive(TARGET).return_from(TARGET);
    forget_all_but(&mut pair, 1);
    pair.seconds(30);
    let tip = pair.copy(TARGET).tip().sequence;
    let shown = pair.link(SOURCE, 0);
    let level = tip == pair.cluster.last();
    assert!(level || shown.last_end.is_some(), "{shown:?}");
    let reader = pair.copy(TARGET).shared().reader().clone();
    let found = rjournal_tests::checkers::content(&reader, tip);
    assert!(found.ids.keys().all(|at| *at <= tip.get()));
}

/// A target added late begins where the source's oldest receiver does.
#[test]
fn a_new_target_gets_every_receiver_there_is() {
    let mut pair = Pair::fresh(
        3,
        &[sync(TARGET), asynchronous(SOURCE, THIRD)],
        &quick(Policy::Degrade),
    );
    pair.cut_between(SOURCE, THIRD).seconds(1);
    pair.deposit("a").settle();
    pair.change_receiver().deposit("b").settle();
    pair.change_receiver().deposit("c").settle();
    forget_all_but(&mut pair, 1);
    pair.mend().recover();
    let oldest = pair.open().journal.reader().oldest();
    assert!(oldest.sequence > Sequence::NONE);
    assert_eq!(pair.copy(THIRD).shared().reader().oldest(), oldest);
    rjournal_tests::checkers::receivers_are_identical(&pair.cluster);
}

/// DESIGN section 5: *ASYNC lags, and goes back to catch-up by itself.
#[test]
fn an_async_target_that_was_away_for_long_is_level_again_by_itself() {
    let mut pair = behind();
    pair.cut();
    for _ in 0..30 {
        pair.deposit_large("a").settle().answers("a", Said::Local);
    }
    pair.lose_power(SOURCE).start(SOURCE).seconds(600);
    pair.mend().recovers_whole();
}
