//! A copy that feeds a further one: it forwards what is confirmed, durably, and nothing else.

use std::path::Path;
use std::time::Duration;

use rjournal_tests::bench_journal::DIR;
use rjournal_tests::pair::{SOURCE, TARGET, THIRD, cascade};

/// CSC-1.
#[test]
fn a_cascade_forwards_confirmed_entries_only() {
    let mut pair = cascade();
    pair.deposit("a").recover();
    pair.deposit("b").seal().arrive(TARGET).flush(TARGET);
    for _ in 0..3 {
        pair.arrive(THIRD).flush(THIRD).return_from(THIRD);
    }
    pair.only_on("b", &[TARGET]);
    // The target cuts its unconfirmed tail; the end of the cascade never had it.
    pair.lose_power(SOURCE).cut().start(SOURCE).open_alone();
    pair.deposit("c").settle();
    pair.mend().recovers_whole();
    assert_eq!(pair.orphans(TARGET).len(), 1);
    assert!(pair.orphans(THIRD).is_empty());
    assert_eq!(pair.shows(THIRD), ["a", "c"]);
}

/// CSC-1: the confirmation is durable at the middle before the end gets the entry (ruling 15).
#[test]
fn the_middle_of_a_cascade_never_knows_less_confirmed_than_it_has_forwarded() {
    for seed in 0..20 {
        let mut pair = cascade();
        for name in ["a", "b", "c"] {
            pair.deposit(name).settle();
            pair.wait(Duration::from_millis(seed % 3)).settle();
        }
        let forwarded = pair.copy(THIRD).tip().sequence;
        pair.tear(TARGET, seed).start(TARGET);
        let confirmed = pair.copy(TARGET).progress().confirmed;
        assert!(confirmed >= forwarded, "{confirmed:?} < {forwarded:?}");
        pair.recovers_whole();
    }
}

/// CSC-1, TLS aside: the end of a cascade follows when the source opens in a new epoch.
#[test]
fn a_cascade_follows_its_source_through_restarts() {
    let mut pair = cascade();
    for name in ["a", "b", "c"] {
        pair.deposit(name).settle();
        pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    }
    pair.lose_power(TARGET).start(TARGET).recovers_whole();
    assert_eq!(pair.shows(THIRD), ["a", "b", "c"]);
}

/// Ruling 15: what a copy fed from here was seen to have had been confirmed, also where the mark that said so is gone.
#[test]
fn what_the_end_of_a_cascade_has_counts_as_confirmed_in_its_middle() {
    let mut pair = cascade();
    pair.deposit("a").settle().seconds(1);
    let forwarded = pair.copy(THIRD).tip().sequence;
    let shared = pair.copy(TARGET).shared().clone();
    let remembered = shared.update(|control| control.links[0].acknowledged = forwarded);
    remembered.expect("a live disk");
    let mut medium = pair.snapshot(TARGET);
    medium.remove(&Path::new(DIR).join("mark"));
    pair.restore(TARGET, &medium).start(TARGET);
    let confirmed = pair.copy(TARGET).progress().confirmed;
    assert!(confirmed >= forwarded, "{confirmed:?} < {forwarded:?}");
    pair.recovers_whole();
}
