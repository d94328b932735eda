//! The model with one rule left out at a time: the checker must find what goes wrong, and in how few steps. L: a ruling read
//! to the letter. M: a rule dropped.

use rjournal_model::properties::{
    ALL_FOLLOW, CONFIRMED_KEPT, FOLLOWER_WHOLE, LOCAL_KEPT, NO_SECOND_OPENS, NOBODY_STOPS,
    NOTHING_DESTROYED, ONE_JOURNAL, SET_LISTED, STORE_IS_FOLD, SYNC_KEPT,
};
use rjournal_model::rules::{Bounds, Broken, Configuration};

use crate::fails;

/// One deposit, one takeover, one change of the set.
const A_TAKEOVER: Bounds = Bounds {
    deposits: 1,
    takeovers: 1,
    set_changes: 1,
    ..Bounds::NONE
};

/// One deposit, two takeovers.
const TWO_TAKEOVERS: Bounds = Bounds {
    deposits: 1,
    takeovers: 2,
    ..Bounds::NONE
};

/// One deposit, a crash, two takeovers.
const CRASH_AND_TAKEOVERS: Bounds = Bounds {
    crashes: 1,
    ..TWO_TAKEOVERS
};

/// One deposit, a crash, a takeover.
const CRASH_AND_TAKEOVER: Bounds = Bounds {
    takeovers: 1,
    ..CRASH_AND_TAKEOVERS
};

/// A hand-over and a takeover at the same time.
const RACE: Bounds = Bounds {
    takeovers: 1,
    hand_overs: 1,
    ..Bounds::NONE
};

#[test]
fn l1_a_takeover_that_asks_only_the_named_loses_a_sync_answer() {
    let bounds = Bounds {
        set_changes: 2,
        ..A_TAKEOVER
    };
    let configuration = Configuration::three(&[1], bounds);
    fails(
        configuration.breaking(&[Broken::AsksOnlyTheNamed]),
        SYNC_KEPT,
        12,
    );
}

#[test]
fn l2_after_a_takeover_that_asks_only_the_named_a_second_primary_opens() {
    let bounds = Bounds {
        crashes: 1,
        deposits: 0,
        ..A_TAKEOVER
    };
    let configuration = Configuration::three(&[2], bounds);
    fails(
        configuration.breaking(&[Broken::AsksOnlyTheNamed]),
        NO_SECOND_OPENS,
        8,
    );
}

#[test]
fn l3_a_hand_over_that_promises_nothing_shares_its_term_with_a_takeover() {
    let configuration = Configuration::three(&[1, 2], RACE);
    fails(
        configuration.breaking(&[Broken::HandOverPromisesNothing]),
        ONE_JOURNAL,
        9,
    );
}

#[test]
fn l4_the_longest_tip_is_not_the_furthest() {
    let bounds = Bounds {
        deposits: 3,
        ..CRASH_AND_TAKEOVER
    };
    let configuration = Configuration::three(&[1], bounds).without_confirmations();
    fails(
        configuration.breaking(&[Broken::FurthestIsLongest]),
        SYNC_KEPT,
        19,
    );
}

#[test]
fn l5_a_promise_without_its_tip_hides_a_sync_answer() {
    let bounds = Bounds {
        set_changes: 0,
        ..A_TAKEOVER
    };
    let configuration = Configuration::three(&[1], bounds);
    fails(
        configuration.breaking(&[Broken::PromiseCountsWithoutTip]),
        SYNC_KEPT,
        10,
    );
}

#[test]
fn l6_a_tail_forwarded_before_its_close_record_is_flushed_stays_downstream() {
    let bounds = Bounds {
        losses: 1,
        ..TWO_TAKEOVERS
    };
    let configuration = Configuration::three(&[1, 2], bounds)
        .with_stores()
        .with_downstream();
    fails(
        configuration.breaking(&[Broken::TailForwardedBeforeCloseRecord]),
        CONFIRMED_KEPT,
        10,
    );
}

#[test]
fn l13_local_answers_are_lost_behind_the_last_set_entry_held() {
    let bounds = Bounds {
        policy_changes: 1,
        ..TWO_TAKEOVERS
    };
    let configuration = Configuration::three(&[1], bounds).under_block();
    fails(
        configuration.breaking(&[Broken::KeptByTheLastSetEntryHeld]),
        LOCAL_KEPT,
        12,
    );
}

#[test]
fn m2_a_late_flush_acknowledged_after_a_promise_loses_a_sync_answer() {
    let bounds = Bounds {
        set_changes: 0,
        ..A_TAKEOVER
    };
    let configuration = Configuration::three(&[2], bounds);
    fails(
        configuration.breaking(&[Broken::LateFlushAcknowledged]),
        SYNC_KEPT,
        9,
    );
}

#[test]
fn m3_a_takeover_that_asks_nobody_loses_a_sync_answer() {
    let configuration = Configuration::three(&[1, 2], A_TAKEOVER);
    fails(configuration.breaking(&[Broken::AsksNobody]), SYNC_KEPT, 10);
}

#[test]
fn m6_an_old_primary_that_follows_over_the_hole_has_another_lineage() {
    let configuration = Configuration::two(CRASH_AND_TAKEOVER);
    fails(
        configuration.breaking(&[Broken::FollowsOverTheHole]),
        FOLLOWER_WHOLE,
        10,
    );
}

#[test]
fn m6_who_followed_over_the_hole_takes_over_without_a_sync_answer() {
    let configuration = Configuration::three(&[1], TWO_TAKEOVERS);
    fails(
        configuration.breaking(&[Broken::FollowsOverTheHole]),
        SYNC_KEPT,
        15,
    );
}

#[test]
fn m6_a_segment_taken_without_its_head_is_another_segment() {
    let configuration = Configuration::three(&[1], CRASH_AND_TAKEOVERS);
    fails(
        configuration.breaking(&[Broken::SegmentTakenWithoutItsHead]),
        FOLLOWER_WHOLE,
        13,
    );
}

#[test]
fn m6c_a_closed_segment_that_is_not_confirmed_is_never_applied() {
    let configuration = Configuration::two(CRASH_AND_TAKEOVER);
    fails(
        configuration.breaking(&[Broken::ClosedSegmentNotConfirmed]),
        FOLLOWER_WHOLE,
        9,
    );
}

#[test]
fn m7_undone_by_range_a_spanning_cycle_stays_in_the_store() {
    let bounds = Bounds {
        cycles: 1,
        ..A_TAKEOVER
    };
    fails(
        Configuration::two(bounds).breaking(&[Broken::UndoneByRange]),
        STORE_IS_FOLD,
        11,
    );
}

#[test]
fn m9_reading_on_from_what_is_applied_misses_a_cycle() {
    let bounds = Bounds {
        deposits: 1,
        cycles: 1,
        ..Bounds::NONE
    };
    fails(
        Configuration::two(bounds).breaking(&[Broken::ReadsOnFromApplied]),
        STORE_IS_FOLD,
        10,
    );
}

#[test]
fn m12_a_set_change_flushed_only_here_is_not_in_the_lineage_that_lists_it() {
    let configuration = Configuration::three(&[1, 2], A_TAKEOVER);
    fails(
        configuration.breaking(&[Broken::SetChangeFlushedOnlyHere]),
        SET_LISTED,
        10,
    );
}

#[test]
fn m13_a_policy_loosened_only_here_lets_a_takeover_lose_local_answers() {
    let bounds = Bounds {
        policy_changes: 1,
        ..A_TAKEOVER
    };
    let configuration = Configuration::three(&[1], bounds).under_block();
    fails(
        configuration.breaking(&[Broken::PolicyLoosenedOnlyHere]),
        LOCAL_KEPT,
        9,
    );
}

#[test]
fn m14_a_journal_that_opens_without_contact_is_a_second_primary() {
    let bounds = Bounds {
        deposits: 0,
        ..CRASH_AND_TAKEOVER
    };
    fails(
        Configuration::two(bounds).breaking(&[Broken::OpensWithoutContact]),
        NO_SECOND_OPENS,
        6,
    );
}

#[test]
fn m15_a_confirmation_used_before_it_is_durable_is_cut() {
    let bounds = Bounds {
        deposits: 1,
        crashes: 2,
        openings_alone: 1,
        restores: 1,
        ..Bounds::NONE
    };
    let configuration = Configuration::two(bounds).with_downstream();
    fails(
        configuration.breaking(&[Broken::ConfirmationUsedBeforeDurable]),
        CONFIRMED_KEPT,
        13,
    );
}

#[test]
fn m27_a_primary_demoted_by_an_equal_term_shares_it() {
    let bounds = Bounds { crashes: 1, ..RACE };
    let configuration = Configuration::three(&[1, 2], bounds);
    fails(
        configuration.breaking(&[Broken::DemotedByAnEqualTerm]),
        ONE_JOURNAL,
        11,
    );
}

#[test]
fn m27_who_keeps_a_futile_promise_cannot_follow_the_primary_of_its_term() {
    let configuration = Configuration::three(&[1, 2], TWO_TAKEOVERS).healing();
    fails(
        configuration.breaking(&[Broken::FutilePromiseKept]),
        ALL_FOLLOW,
        4,
    );
}

#[test]
fn m28_a_hand_over_forgotten_on_contact_shares_its_term_with_a_takeover() {
    let configuration = Configuration::three(&[1, 2], RACE);
    fails(
        configuration.breaking(&[Broken::HandOverForgottenOnContact]),
        ONE_JOURNAL,
        10,
    );
}

#[test]
fn m31_a_segment_confirmed_by_its_record_alone_is_cut() {
    let configuration = Configuration::three(&[2], CRASH_AND_TAKEOVERS)
        .with_downstream()
        .without_confirmations();
    fails(
        configuration.breaking(&[Broken::RecordAloneConfirms]),
        CONFIRMED_KEPT,
        13,
    );
}

#[test]
fn m31_a_close_record_that_comes_late_confirms_what_another_term_leaves_out() {
    let configuration = Configuration::three(&[2], CRASH_AND_TAKEOVERS).without_confirmations();
    fails(
        configuration.breaking(&[Broken::LateCloseRecordConfirms]),
        NOBODY_STOPS,
        20,
    );
}

#[test]
fn m31_a_first_entry_shipped_before_its_flush_confirms_what_another_term_leaves_out() {
    let configuration = Configuration::three(&[2], CRASH_AND_TAKEOVERS).without_confirmations();
    fails(
        configuration.breaking(&[Broken::FirstEntryShippedBeforeItsFlush]),
        NOBODY_STOPS,
        18,
    );
}

#[test]
fn ma_what_is_cut_without_an_archive_is_gone() {
    let configuration = Configuration::two(A_TAKEOVER);
    fails(
        configuration.breaking(&[Broken::CutWithoutArchive]),
        NOTHING_DESTROYED,
        8,
    );
}

#[test]
fn mu_a_store_that_is_not_undone_holds_what_the_lineage_does_not() {
    let configuration = Configuration::two(A_TAKEOVER);
    fails(
        configuration.breaking(&[Broken::NothingUndone]),
        STORE_IS_FOLD,
        9,
    );
}
