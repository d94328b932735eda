//! Runs that hold: nobody finds a way to a state in which a property fails.
use crate::{Reach, holds};
use rjournal_model::goals::Goal;
use rjournal_model::rules::{Bounds, Configuration};
const NONE: Bounds = Bounds::NONE;
#[test]
fn two_members_take_over_and_come_back() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            takeovers: 1,
            set_changes: 1,
            ..NONE
        }),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_crash_and_take_over_twice() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 2,
            takeovers: 2,
            set_changes: 1,
            ..NONE
        })
        .without_stores(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn two_members_with_a_cycle_that_spans_the_fork() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            cycles: 1,
            crashes: 1,
            takeovers: 1,
            set_changes: 1,
            ..NONE
        }),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_one_opens_alone_one_feeds_another() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            takeovers: 1,
            set_changes: 1,
            openings_alone: 1,
            ..NONE
        })
        .with_downstream(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_hand_over_and_back_or_take_it_back() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            set_changes: 1,
            hand_overs: 2,
            ..NONE
        })
        .without_stores(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_hand_over_against_a_takeover() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            takeovers: 1,
            set_changes: 1,
            hand_overs: 1,
            ..NONE
        })
        .without_stores(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_hand_over_crash_and_take_over() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            takeovers: 1,
            set_changes: 1,
            hand_overs: 1,
            ..NONE
        })
        .without_stores(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_an_older_journal_is_restored_and_opened_alone() {
    holds(
        Configuration::two(Bounds {
            deposits: 2,
            crashes: 1,
            openings_alone: 1,
            restores: 1,
            ..NONE
        })
        .with_downstream(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_take_over_twice_and_one_feeds_another() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            takeovers: 2,
            ..NONE
        })
        .with_downstream(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_two_deposits_a_cycle_a_crash_two_takeovers() {
    holds(
        Configuration::two(Bounds {
            deposits: 2,
            cycles: 1,
            crashes: 1,
            takeovers: 2,
            set_changes: 1,
            ..NONE
        }),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_take_over_while_the_set_changes() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                takeovers: 1,
                set_changes: 1,
                ..NONE
            },
        ),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_take_over_while_the_set_changes_twice() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                takeovers: 1,
                set_changes: 2,
                ..NONE
            },
        ),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_one_in_the_set_that_changes_twice() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                takeovers: 1,
                set_changes: 2,
                ..NONE
            },
        )
        .without_confirmations(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_crash_and_take_over() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 1,
                ..NONE
            },
        )
        .without_confirmations(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_crash_while_the_set_changes() {
    holds(
        Configuration::three(
            &[2],
            Bounds {
                crashes: 1,
                takeovers: 1,
                set_changes: 1,
                ..NONE
            },
        ),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_take_over_with_stores() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                takeovers: 1,
                ..NONE
            },
        )
        .with_stores(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_take_over_twice() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                takeovers: 2,
                ..NONE
            },
        ),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_crash_and_take_over_twice() {
    holds(
        Configuration::three(
            &[2],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 2,
                ..NONE
            },
        )
        .without_confirmations(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_crash_and_take_over_twice_and_one_feeds_another() {
    holds(
        Configuration::three(
            &[2],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 2,
                ..NONE
            },
        )
        .with_downstream()
        .without_confirmations(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_fork_by_boot() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 3,
                crashes: 1,
                takeovers: 1,
                ..NONE
            },
        )
        .without_confirmations(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_one_opens_alone() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 1,
                set_changes: 1,
                openings_alone: 1,
                ..NONE
            },
        )
        .without_confirmations(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_hand_over_against_a_takeover() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                takeovers: 1,
                hand_overs: 1,
                ..NONE
            },
        ),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_hand_over_crash_and_take_over() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                crashes: 1,
                takeovers: 1,
                hand_overs: 1,
                ..NONE
            },
        ),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_accept_loss_and_one_feeds_another() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 1,
                losses: 1,
                ..NONE
            },
        )
        .with_downstream(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn three_members_accept_loss_with_stores_and_one_feeds_another() {
    holds(
        Configuration::three(
            &[1, 2],
            Bounds {
                deposits: 1,
                takeovers: 2,
                losses: 1,
                ..NONE
            },
        )
        .with_stores()
        .with_downstream(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn two_members_under_block_crash_and_take_over() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            takeovers: 1,
            openings_alone: 1,
            policy_changes: 1,
            ..NONE
        })
        .under_block(),
        Reach::All(0),
        &[],
    );
}
#[test]
fn two_members_under_block_change_the_policy_twice() {
    holds(
        Configuration::two(Bounds {
            deposits: 1,
            crashes: 1,
            takeovers: 1,
            set_changes: 1,
            policy_changes: 2,
            ..NONE
        })
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_under_block_take_over_while_the_set_changes() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                takeovers: 1,
                set_changes: 1,
                policy_changes: 1,
                ..NONE
            },
        )
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_under_block_take_over_twice() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                takeovers: 2,
                policy_changes: 1,
                ..NONE
            },
        )
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_under_block_crash_and_take_over() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                crashes: 1,
                takeovers: 1,
                policy_changes: 1,
                ..NONE
            },
        )
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_under_block_hand_over_against_a_takeover() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                takeovers: 1,
                hand_overs: 1,
                policy_changes: 1,
                ..NONE
            },
        )
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
#[test]
fn three_members_under_block_accept_loss() {
    holds(
        Configuration::three(
            &[1],
            Bounds {
                deposits: 1,
                takeovers: 2,
                losses: 1,
                policy_changes: 1,
                ..NONE
            },
        )
        .under_block(),
        Reach::Generated(6_000_000, None),
        &[],
    );
}
