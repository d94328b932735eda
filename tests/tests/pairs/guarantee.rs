//! Ruling 13: under block and reject a member's own copy says that nothing was answered without it. A looser policy, and that
//! an operator takes it out, count only once it has the entry that says so on its disk - or an operator gives it up.

use std::time::Duration;

use rjournal::daemon::crank::Ending;
use rjournal::entry::control_entry::{Policy, SetReason};
use rjournal::remote::LinkState;
use rjournal_tests::checkers;
use rjournal_tests::cluster::{quick, sync};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, block, degrade, reject};

const LOOSER: (Policy, Option<Policy>) = (Policy::Degrade, None);
const WAITS: (Policy, Option<Policy>) = (Policy::Block, Some(Policy::Degrade));
const KEPT: (Policy, Option<Policy>) = (Policy::Block, None);

/// One source and two members under block.
fn two_members() -> Pair {
    Pair::level_with(3, &[sync(TARGET), sync(THIRD)], &quick(Policy::Block))
}

/// Asserts what a copy lets a takeover say, and that it is true.
#[track_caller]
fn rules_out(pair: &mut Pair, node: usize) {
    assert!(!pair.local_answers_possible(node), "it is possible");
    checkers::what_copies_rule_out_is_true(&mut pair.cluster);
}

#[test]
fn a_looser_policy_is_in_force_once_the_member_has_it_on_disk() {
    for mut pair in [block(), reject()] {
        let before = pair.policy().0;
        rules_out(&mut pair, TARGET);
        pair.change_policy(Policy::Degrade).seal().write();
        assert_eq!(pair.policy(), (before, Some(Policy::Degrade)));
        pair.arrive(TARGET);
        rules_out(&mut pair, TARGET);
        pair.flush(TARGET);
        assert!(pair.local_answers_possible(TARGET));
        assert_eq!(pair.policy(), (before, Some(Policy::Degrade)));
        pair.return_from(TARGET);
        assert_eq!(pair.policy(), LOOSER);
        assert_eq!(pair.members(), 1, "nobody left");
        assert_eq!(pair.last_change(), Some(SetReason::Operator));
        pair.cut().deposit("a").seconds(3).answers("a", Said::Local);
        pair.mend().recovers_whole();
    }
}

#[test]
fn a_policy_on_its_way_answers_nothing_without_a_member_that_was_lost() {
    let mut pair = block();
    pair.change_policy(Policy::Degrade).seal().write().cut();
    pair.deposit("a").seconds(60).answers("a", Said::Nothing);
    assert_eq!(pair.policy(), WAITS);
    assert_eq!(pair.away(), ["SYS1"], "the command names it");
    rules_out(&mut pair, TARGET);
    pair.mend().recovers_whole();
    pair.answers("a", Said::Sync);
    assert_eq!(pair.policy(), LOOSER);
    assert!(pair.away().is_empty());
}

/// The order stands through the crash, and so does the policy before it.
#[test]
fn a_crash_between_the_order_and_its_acknowledgement_leaves_the_old_policy_in_force() {
    for sealed in [false, true] {
        let mut pair = block();
        pair.change_policy(Policy::Degrade);
        if sealed {
            pair.seal().write();
        }
        pair.cut().lose_power(SOURCE).mend().start(SOURCE);
        // The member says how far it is, and is gone before it is sent anything.
        pair.couple_without_flush(TARGET).cut();
        assert!(pair.is_open());
        assert_eq!(pair.policy(), WAITS, "sealed {sealed}");
        pair.deposit("a").seconds(60).answers("a", Said::Nothing);
        assert_eq!(pair.policy(), WAITS, "sealed {sealed}");
        rules_out(&mut pair, TARGET);
        pair.mend().recovers_whole();
        pair.answers("a", Said::Sync);
        assert_eq!(pair.policy(), LOOSER, "sealed {sealed}");
    }
}

/// An entry that is on every disk counts, whatever the crash left unsaid.
#[test]
fn a_policy_every_member_has_on_disk_is_in_force_after_a_crash() {
    let mut pair = block();
    pair.change_policy(Policy::Degrade).seal().write();
    pair.arrive(TARGET).flush(TARGET).lose_power(SOURCE);
    pair.start(SOURCE);
    pair.couple_without_flush(TARGET).cut();
    assert!(pair.is_open());
    assert_eq!(pair.policy(), LOOSER);
    pair.deposit("a").seconds(3).answers("a", Said::Local);
    pair.mend().recovers_whole();
}

/// The control file went back to an older state: the receivers win.
#[test]
fn a_policy_that_was_forgotten_beside_the_receivers_is_in_force_by_them() {
    let mut pair = block();
    let journal = &pair.open().journal;
    let changed = journal.update(|control| control.attributes.policy = Policy::Degrade);
    changed.expect("a live disk");
    pair.lose_power(SOURCE).start(SOURCE).recover();
    assert_eq!(pair.policy(), KEPT);
    rules_out(&mut pair, TARGET);
}

#[test]
fn a_stricter_policy_is_in_force_at_once_and_said_to_the_members() {
    let mut pair = degrade();
    assert!(pair.local_answers_possible(TARGET));
    pair.change_policy(Policy::Block);
    assert_eq!(pair.policy(), KEPT);
    pair.seal().write().cut();
    pair.deposit("a").seconds(60).answers("a", Said::Nothing);
    assert!(pair.local_answers_possible(TARGET), "it does not know yet");
    pair.mend().recovers_whole();
    pair.answers("a", Said::Sync);
    rules_out(&mut pair, TARGET);
    assert_eq!(pair.set_changes().len(), 2, "joined, and said once");
}

#[test]
fn an_order_that_is_taken_back_before_it_counts_leaves_everything_as_it_was() {
    let mut pair = block();
    pair.change_policy(Policy::Degrade).seal().write().cut();
    pair.change_policy(Policy::Block);
    assert_eq!(pair.policy(), KEPT);
    pair.deposit("a").seconds(60).answers("a", Said::Nothing);
    pair.mend().recovers_whole();
    pair.answers("a", Said::Sync);
    assert_eq!(pair.policy(), KEPT);
    rules_out(&mut pair, TARGET);
}

/// Who joins while a policy is on its way is told it by the entry that takes it in.
#[test]
fn a_policy_on_its_way_waits_for_all_members_also_a_new_one() {
    let mut pair = two_members();
    pair.cut_between(SOURCE, THIRD).end_link(1, Ending::Forced);
    pair.settle();
    assert_eq!(pair.members(), 1);
    pair.cut().change_policy(Policy::Degrade).seal().write();
    pair.mend().activate_link(1).seconds(2);
    pair.recovers_whole();
    assert_eq!(pair.members(), 2);
    assert_eq!(pair.policy(), LOOSER);
    assert!(pair.local_answers_possible(TARGET) && pair.local_answers_possible(THIRD));
}

/// `--force` gives up who cannot be told, and nobody else.
#[test]
fn an_operator_who_gives_a_member_up_still_waits_for_the_other() {
    let mut pair = two_members();
    pair.cut_between(SOURCE, THIRD).settle();
    assert_eq!(pair.away(), ["SYS2"]);
    pair.force_policy(Policy::Degrade).seal().write();
    assert_eq!(pair.policy(), WAITS);
    pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
    assert_eq!(pair.policy(), LOOSER);
    assert!(!pair.local_answers_possible(THIRD), "it does not know");
    pair.deposit("a").seconds(3).answers("a", Said::Sync);
    pair.mend().recovers_whole();
    assert!(pair.local_answers_possible(THIRD));
}

#[test]
fn an_operator_who_gives_the_only_member_up_is_answered_local() {
    let mut pair = block();
    pair.cut().deposit("a").seconds(3);
    pair.change_policy(Policy::Degrade);
    assert_eq!(pair.policy(), WAITS);
    pair.force_policy(Policy::Degrade);
    assert_eq!(pair.policy(), WAITS, "not before it is on this disk");
    pair.settle().answers("a", Said::Local);
    assert_eq!(pair.policy(), LOOSER);
    assert!(!pair.local_answers_possible(TARGET), "what was voided");
    pair.mend().recovers_whole();
    assert!(pair.local_answers_possible(TARGET));
}

#[test]
fn a_member_that_is_inactivated_knows_before_anything_is_answered_without_it() {
    let mut pair = block();
    pair.deposit("had").seal().inactivate();
    pair.deposit("a").seal().write().seal().write();
    assert_eq!(pair.members(), 0);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::ControlledEnd);
    pair.answers("had", Said::Nothing)
        .answers("a", Said::Nothing);
    pair.arrive(TARGET);
    rules_out(&mut pair, TARGET);
    pair.flush(TARGET).answers("a", Said::Nothing);
    assert!(pair.local_answers_possible(TARGET));
    pair.return_from(TARGET);
    pair.answers("had", Said::Sync).answers("a", Said::Local);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
    pair.deposit("b").settle().answers("b", Said::Local);
    pair.activate().recovers_whole();
    pair.deposit("c").settle().answers("c", Said::Sync);
}

#[test]
fn a_member_lost_while_it_is_inactivated_is_told_when_it_is_back() {
    let mut pair = block();
    pair.inactivate().seal().write().cut();
    pair.deposit("a").seconds(60).answers("a", Said::Nothing);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::ControlledEnd);
    assert_eq!(pair.away(), ["SYS1"], "the command names it");
    rules_out(&mut pair, TARGET);
    pair.mend().seconds(30).answers("a", Said::Local);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
    assert!(pair.local_answers_possible(TARGET));
    assert_eq!(pair.members(), 0, "it does not join by the way");
}

/// SYN-7: what holds deposits off under block does so for a member on its way out, too.
#[test]
fn deposits_are_held_off_for_a_member_on_its_way_out() {
    let mut pair = block();
    pair.inactivate().seal().write().cut();
    pair.deposit("a").seconds(3);
    assert!(pair.try_deposit("b", 10).is_ok(), "within WAITENT");
    let held = rjournal::journal::Gate::Held {
        upto: rjournal::entry::Sequence::NONE,
    };
    let gate = pair.open().journal.gate();
    let same = std::mem::discriminant(&gate) == std::mem::discriminant(&held);
    assert!(same, "{gate:?}");
    let mut pair = reject();
    pair.inactivate().seal().write().cut();
    pair.deposit("a").seconds(3).answers("a", Said::Unknown);
}

/// The recorded set is empty, and yet somebody is to be asked.
#[test]
fn a_crash_before_the_member_knows_keeps_the_journal_closed_until_it_is_heard() {
    let mut pair = block();
    pair.inactivate().cut().deposit("a").seal().write();
    pair.seal().write().answers("a", Said::Nothing);
    pair.lose_power(SOURCE).start(SOURCE).seconds(60);
    assert!(!pair.is_open(), "nobody was asked");
    rules_out(&mut pair, TARGET);
    pair.mend().wait(Duration::from_secs(2));
    pair.couple_without_flush(TARGET).cut();
    assert!(pair.is_open());
    pair.deposit("b").seconds(60).answers("b", Said::Nothing);
    rules_out(&mut pair, TARGET);
    pair.mend().recovers_whole();
    pair.answers("b", Said::Local);
    let kept = pair.open().journal.control().untold;
    assert!(kept.is_empty(), "{kept:?}");
}

/// The entry was lost in the crash: the member never left.
#[test]
fn a_crash_before_the_entry_is_on_disk_leaves_the_member_where_it_was() {
    let mut pair = block();
    pair.inactivate().lose_power(SOURCE).start(SOURCE);
    pair.recovers_whole();
    assert_eq!(pair.members(), 1);
    let kept = pair.open().journal.control().untold;
    assert!(kept.is_empty(), "{kept:?}");
    pair.deposit("a").settle().answers("a", Said::Sync);
}

/// The same, and the operator's word that the link is to end is kept: it goes on with that.
#[test]
fn an_end_that_a_crash_undid_is_made_once_the_member_knows() {
    for sealed in [false, true] {
        let mut pair = block();
        let journal = &pair.open().journal;
        let changed = journal.update(|control| control.links[0].active = false);
        changed.expect("a live disk");
        pair.inactivate();
        if sealed {
            pair.seal().write();
        }
        pair.cut().lose_power(SOURCE).mend().start(SOURCE);
        pair.couple_without_flush(TARGET).cut();
        pair.deposit("a").seconds(60).answers("a", Said::Nothing);
        assert_eq!(pair.members(), 0);
        rules_out(&mut pair, TARGET);
        pair.mend().seconds(30).answers("a", Said::Local);
        assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
        assert!(pair.local_answers_possible(TARGET));
    }
}

#[test]
fn an_operator_who_gives_up_a_member_on_its_way_out_waits_no_longer() {
    let mut pair = block();
    pair.inactivate().seal().write().cut();
    pair.deposit("a").seconds(10).answers("a", Said::Nothing);
    pair.force_inactive().settle().answers("a", Said::Local);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
    assert!(pair.away().is_empty());
    let kept = pair.open().journal.control().untold;
    assert!(kept.is_empty(), "{kept:?}");
    // Nobody is asked for it any more.
    pair.lose_power(SOURCE).start(SOURCE);
    pair.wait(Duration::from_millis(1));
    assert!(pair.is_open());
}

#[test]
fn an_operator_who_activates_it_again_takes_the_order_back() {
    let mut pair = block();
    pair.inactivate().seal().write().cut();
    pair.deposit("a").seconds(3).activate();
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Active);
    pair.answers("a", Said::Nothing).mend().recovers_whole();
    pair.deposit("b").settle().answers("b", Said::Sync);
    pair.seconds(1);
    rules_out(&mut pair, TARGET);
}

/// Under degrade a takeover counts on nothing, and nobody waits.
#[test]
fn under_degrade_a_member_is_inactivated_at_once() {
    let mut pair = degrade();
    pair.inactivate().deposit("a").seal().write();
    pair.answers("a", Said::Local);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Inactive);
}

#[test]
fn of_two_members_the_one_that_leaves_is_waited_for_too() {
    let mut pair = two_members();
    pair.end_link(1, Ending::Immediate).deposit("a").seal();
    pair.write().seal().write();
    pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
    pair.answers("a", Said::Nothing);
    rules_out(&mut pair, THIRD);
    pair.arrive(THIRD).flush(THIRD).return_from(THIRD);
    pair.answers("a", Said::Sync);
    assert_eq!(pair.members(), 1);
    rules_out(&mut pair, TARGET);
    assert!(pair.local_answers_possible(THIRD));
}

/// Ruling 14: an operator's word for those who did not answer; who did is told.
#[test]
fn a_journal_that_opens_alone_tells_the_members_it_heard() {
    let mut pair = two_members();
    pair.cut_between(SOURCE, THIRD).lose_power(SOURCE);
    pair.start(SOURCE).seconds(60);
    assert!(!pair.is_open(), "it opens without all of its set");
    pair.open_alone().cut().deposit("a").seconds(60);
    pair.answers("a", Said::Nothing);
    assert!(!pair.local_answers_possible(TARGET));
    pair.mend().cut_between(SOURCE, THIRD).seconds(20);
    pair.answers("a", Said::Local);
    pair.mend().recovers_whole();
}

/// A change of the set may be lost at the source after a copy has it: alone it rules nothing out.
#[test]
fn a_set_the_source_lost_in_a_crash_rules_nothing_out() {
    let mut pair = Pair::fresh(2, &[sync(TARGET)], &quick(Policy::Block));
    pair.cut().seconds(1).mend().wait(Duration::from_secs(20));
    for _ in 0..200 {
        pair.dial().arrive(TARGET).flush(TARGET).return_from(TARGET);
        if pair.members() == 1 {
            break;
        }
        pair.seal().write();
    }
    assert_eq!(pair.members(), 1);
    pair.seal().arrive(TARGET).flush(TARGET);
    assert!(pair.copy(TARGET).shared().set().is_some());
    assert!(pair.local_answers_possible(TARGET));
    pair.lose_power(SOURCE).cut().start(SOURCE);
    pair.wait(Duration::from_millis(1));
    pair.deposit("a").settle().answers("a", Said::Local);
    checkers::what_copies_rule_out_is_true(&mut pair.cluster);
    pair.mend().recovers_whole();
    pair.seconds(1);
    rules_out(&mut pair, TARGET);
}

/// What an empty copy catches up with was said to the one before it.
#[test]
fn a_copy_that_was_made_anew_rules_nothing_out_by_the_sets_of_the_one_before() {
    let mut pair = block();
    pair.deposit("a").settle().answers("a", Said::Sync);
    for _ in 0..3 {
        pair.change_receiver().deposit("filling").settle();
    }
    pair.change_policy(Policy::Degrade).settle();
    pair.kill(TARGET).deposit("b").seconds(3);
    pair.answers("b", Said::Local);
    pair.cluster.replace_copy(TARGET);
    pair.start(TARGET).pass(Duration::from_millis(1));
    let mut steps = 0;
    while pair.copy(TARGET).tip().sequence.get() < pair.sequence("b") {
        assert!(pair.local_answers_possible(TARGET), "after {steps} steps");
        pair.dial().arrive_one(TARGET).flush(TARGET);
        pair.return_from(TARGET);
        pair.wait(Duration::from_millis(20));
        steps += 1;
        assert!(steps < 2_000, "it does not catch up");
    }
    pair.recovers_whole();
    assert!(pair.local_answers_possible(TARGET));
    pair.change_policy(Policy::Block).settle().seconds(1);
    rules_out(&mut pair, TARGET);
}
