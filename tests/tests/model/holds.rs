//! Runs that hold: no way leads to a state in which a property fails. Each names how far it goes and the goals it comes past.

use rjournal_model::goals::Goal;
use rjournal_model::rules::{Bounds, Configuration};

use crate::Reach::{All, Generated};
use crate::holds;

const NONE: Bounds = Bounds::NONE;

macro_rules! runs {
    ($($name:ident: $configuration:expr, $reach:expr, [$($goal:ident),+];)+) => {
        $(
            #[test]
            fn $name() {
                holds($configuration, $reach, &[$(Goal::$goal),+]);
            }
        )+

        #[test]
        fn every_goal_is_reached_in_some_run() {
            let reached = [$($(Goal::$goal),+),+];
            let missed: Vec<_> = Goal::ALL.iter().filter(|goal| !reached.contains(goal)).collect();
            assert!(missed.is_empty(), "no run comes past {missed:?}");
        }
    };
}

fn two(bounds: Bounds) -> Configuration {
    Configuration::two(bounds)
}

fn three(set: &[u8], bounds: Bounds) -> Configuration {
    Configuration::three(set, bounds)
}

runs! {
    // Two members.
    two_members_take_over_and_come_back:
        two(Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, ..NONE }).healing(),
        All(186_801),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         FencedByRecord];
    two_members_crash_and_take_over_twice:
        two(Bounds { deposits: 1, crashes: 2, takeovers: 2, set_changes: 1, ..NONE }).without_stores(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SwitchedBack, SyncInTermTwo,
         LocalAbandoned, Refused, FencedByRecord, TermLeftOut];
    two_members_with_a_cycle_that_spans_the_fork:
        two(Bounds { deposits: 1, cycles: 1, crashes: 1, takeovers: 1, set_changes: 1, ..NONE }),
        All(976_031),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SpanningCycleUndone, SyncInTermTwo,
         LocalAbandoned, FencedByRecord];
    two_members_one_opens_alone_one_feeds_another:
        two(Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, openings_alone: 1, ..NONE })
            .with_downstream(),
        All(1_148_138),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         DownstreamGotTheNewTerm, FencedByRecord];
    two_members_hand_over_and_back_or_take_it_back:
        two(Bounds { deposits: 1, crashes: 1, set_changes: 1, hand_overs: 2, ..NONE }).without_stores(),
        All(53_194),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, HandedOver, Aborted, SwitchedBack, SyncInTermTwo,
         FencedByRecord];
    two_members_hand_over_against_a_takeover:
        two(Bounds { deposits: 1, takeovers: 1, set_changes: 1, hand_overs: 1, ..NONE }).without_stores(),
        All(30_175),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, HandedOver, Aborted, SwitchedBack, SyncInTermTwo,
         LocalAbandoned, Refused, FencedByRecord, TermLeftOut];
    two_members_hand_over_crash_and_take_over:
        two(Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, hand_overs: 1, ..NONE })
            .without_stores().healing(),
        All(513_027),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, HandedOver, Aborted, SwitchedBack,
         SyncInTermTwo, LocalAbandoned, Refused, FencedByRecord, TermLeftOut];
    two_members_an_older_journal_is_restored_and_opened_alone:
        two(Bounds { deposits: 2, crashes: 1, openings_alone: 1, restores: 1, ..NONE }).with_downstream(),
        All(24_134),
        [Sync, Unknown, Adopted, Orphaned, Refused];
    two_members_take_over_twice_and_one_feeds_another:
        two(Bounds { deposits: 1, takeovers: 2, ..NONE }).with_downstream(),
        All(21_157),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned,
         DownstreamGotTheNewTerm, DownstreamAhead, FencedByRecord, TermLeftOut];
    two_members_two_deposits_a_cycle_a_crash_two_takeovers:
        two(Bounds { deposits: 2, cycles: 1, crashes: 1, takeovers: 2, set_changes: 1, ..NONE }),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SpanningCycleUndone, SwitchedBack,
         LocalAbandoned, Refused, FencedByRecord, TermLeftOut];
    // Three members.
    three_members_take_over_while_the_set_changes:
        three(&[1, 2], Bounds { deposits: 1, takeovers: 1, set_changes: 1, ..NONE }).healing(),
        All(251_489),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SyncInTermTwo, CompletedFromAnother,
         FencedByRecord];
    three_members_take_over_while_the_set_changes_twice:
        three(&[1, 2], Bounds { deposits: 1, takeovers: 1, set_changes: 2, ..NONE }),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         CompletedFromAnother, FencedByRecord];
    three_members_one_in_the_set_that_changes_twice:
        three(&[1], Bounds { deposits: 1, takeovers: 1, set_changes: 2, ..NONE }).without_confirmations(),
        All(852_579),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         CompletedFromAnother, FencedByRecord];
    three_members_crash_and_take_over:
        three(&[1, 2], Bounds { deposits: 1, crashes: 1, takeovers: 1, ..NONE }).without_confirmations().healing(),
        All(58_355),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, CompletedFromAnother, FencedByRecord];
    three_members_crash_while_the_set_changes:
        three(&[2], Bounds { crashes: 1, takeovers: 1, set_changes: 1, ..NONE }),
        All(304_357),
        [Adopted, Orphaned, Completed, TailCollected, CompletedFromAnother, FencedByRecord];
    three_members_take_over_with_stores:
        three(&[1, 2], Bounds { deposits: 1, takeovers: 1, ..NONE }).with_stores(),
        All(29_471),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, CompletedFromAnother, FencedByRecord];
    three_members_take_over_twice:
        three(&[1, 2], Bounds { deposits: 1, takeovers: 2, ..NONE }).healing(),
        All(259_981),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned, Refused,
         CompletedFromAnother, FencedByRecord, TermLeftOut];
    three_members_crash_and_take_over_twice:
        three(&[2], Bounds { deposits: 1, crashes: 1, takeovers: 2, ..NONE }).without_confirmations().healing(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned, Refused,
         CompletedFromAnother, FencedByRecord, TermLeftOut];
    three_members_crash_and_take_over_twice_and_one_feeds_another:
        three(&[2], Bounds { deposits: 1, crashes: 1, takeovers: 2, ..NONE }).with_downstream()
            .without_confirmations(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned,
         DownstreamGotTheNewTerm, Refused, DownstreamAhead, CompletedFromAnother, FencedByRecord, TermLeftOut];
    three_members_fork_by_boot:
        three(&[1], Bounds { deposits: 3, crashes: 1, takeovers: 1, ..NONE }).without_confirmations(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, CompletedFromAnother, FencedByRecord];
    three_members_one_opens_alone:
        three(&[1, 2], Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, openings_alone: 1, ..NONE })
            .without_confirmations(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SyncInTermTwo, CompletedFromAnother,
         FencedByRecord];
    three_members_hand_over_against_a_takeover:
        three(&[1, 2], Bounds { takeovers: 1, hand_overs: 1, ..NONE }).healing(),
        All(54_201),
        [Orphaned, Completed, TailCollected, HandedOver, Aborted, SwitchedBack, Refused, CompletedFromAnother,
         FencedByRecord, TermLeftOut, RaisedBeyondHandOver];
    three_members_hand_over_crash_and_take_over:
        three(&[1, 2], Bounds { crashes: 1, takeovers: 1, hand_overs: 1, ..NONE }).healing(),
        Generated(6_000_000, None),
        [Adopted, Orphaned, Completed, TailCollected, HandedOver, Aborted, SwitchedBack, Refused,
         CompletedFromAnother, FencedByRecord, TermLeftOut, RaisedBeyondHandOver];
    three_members_accept_loss_and_one_feeds_another:
        three(&[1, 2], Bounds { deposits: 1, crashes: 1, takeovers: 1, losses: 1, ..NONE }).with_downstream(),
        All(873_108),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, DownstreamGotTheNewTerm, Refused,
         CompletedFromAnother, FencedByRecord];
    three_members_accept_loss_with_stores_and_one_feeds_another:
        three(&[1, 2], Bounds { deposits: 1, takeovers: 2, losses: 1, ..NONE }).with_stores().with_downstream(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned,
         DownstreamGotTheNewTerm, Refused, DownstreamAhead, CompletedFromAnother, FencedByRecord, TermLeftOut];
    // What a policy promises.
    two_members_under_block_crash_and_take_over:
        two(Bounds { deposits: 1, crashes: 1, takeovers: 1, openings_alone: 1, policy_changes: 1, ..NONE })
            .under_block(),
        All(377_286),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, FencedByRecord, PolicyLoosened,
         KeptByPolicy];
    two_members_under_block_change_the_policy_twice:
        two(Bounds { deposits: 1, crashes: 1, takeovers: 1, set_changes: 1, policy_changes: 2, ..NONE })
            .under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         FencedByRecord, PolicyLoosened, KeptByPolicy];
    three_members_under_block_take_over_while_the_set_changes:
        three(&[1], Bounds { deposits: 1, takeovers: 1, set_changes: 1, policy_changes: 1, ..NONE })
            .under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SyncInTermTwo, LocalAbandoned,
         CompletedFromAnother, FencedByRecord, PolicyLoosened, KeptByPolicy];
    three_members_under_block_take_over_twice:
        three(&[1], Bounds { deposits: 1, takeovers: 2, policy_changes: 1, ..NONE }).under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned, Refused,
         CompletedFromAnother, FencedByRecord, TermLeftOut, PolicyLoosened, KeptByPolicy];
    three_members_under_block_crash_and_take_over:
        three(&[1], Bounds { deposits: 1, crashes: 1, takeovers: 1, policy_changes: 1, ..NONE }).under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Adopted, Orphaned, Completed, TailCollected, CompletedFromAnother, FencedByRecord,
         PolicyLoosened, KeptByPolicy];
    three_members_under_block_hand_over_against_a_takeover:
        three(&[1], Bounds { deposits: 1, takeovers: 1, hand_overs: 1, policy_changes: 1, ..NONE })
            .under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, HandedOver, Aborted, SwitchedBack, LocalAbandoned,
         Refused, CompletedFromAnother, FencedByRecord, TermLeftOut, RaisedBeyondHandOver, PolicyLoosened,
         KeptByPolicy];
    three_members_under_block_accept_loss:
        three(&[1], Bounds { deposits: 1, takeovers: 2, losses: 1, policy_changes: 1, ..NONE }).under_block(),
        Generated(6_000_000, None),
        [Sync, Local, Unknown, Orphaned, Completed, TailCollected, SwitchedBack, LocalAbandoned, Refused,
         CompletedFromAnother, FencedByRecord, TermLeftOut, KeptByPolicy];
}
