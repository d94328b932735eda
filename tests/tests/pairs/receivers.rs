//! Receivers on both sides: torn ends, changes in mid-flight with a crash at every flush, disks without room for the next
//! one, deletion, and a storm of changes.

use rjournal::entry::control_entry::{Policy, SetReason};
use rjournal::entry::{Draft, Kind};
use rjournal::journal::Attributes;
use rjournal::receiver::Leftover;
use rjournal_tests::cluster::quick;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, behind, degrade};

/// RCV-1, at the target.
#[test]
fn a_torn_bundle_at_the_target_is_dropped_whole_and_sent_again() {
    let mut torn = 0;
    for seed in 0..64 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let wall = pair.wall();
        let large = pair.payload("b", 6_000);
        let draft = Draft::new(Kind::USER, &large);
        drop(pair.open().journal.deposit(&draft, wall).expect("taken"));
        pair.seal().write().arrive(TARGET).tear(TARGET, seed);
        assert!(pair.keeps(TARGET, "a"));
        pair.start(TARGET);
        let cleaned = pair.copy(TARGET).leftovers();
        let is_torn = |leftover: &Leftover| matches!(leftover, Leftover::TornTail { .. });
        torn += usize::from(cleaned.iter().any(is_torn));
        pair.recovers_whole();
        pair.only_on("b", &[SOURCE, TARGET]);
    }
    assert!(torn > 10, "{torn}");
}

/// RCV-1, ruling 5: several bundles in one flush; the later ones tell of entries the source had on disk, and that is no
/// evidence about this disk.
#[test]
fn a_torn_bundle_before_a_later_one_of_the_same_flush_is_no_damage() {
    for seed in 0..64 {
        let mut pair = behind();
        pair.deposit("a").settle();
        for name in ["b", "c", "d"] {
            let wall = pair.wall();
            let large = pair.payload(name, 3_000);
            let draft = Draft::new(Kind::USER, &large);
            drop(pair.open().journal.deposit(&draft, wall).expect("taken"));
            pair.seal().write();
        }
        pair.arrive(TARGET).tear(TARGET, seed).start(TARGET);
        pair.recovers_whole();
    }
}

/// RCV-1, at the source.
#[test]
fn a_torn_bundle_at_the_source_is_dropped_whole_and_its_answer_never_given() {
    for seed in 0..64 {
        let mut pair = degrade();
        pair.deposit("a").settle().seconds(1);
        let disk = pair.cluster.nodes[SOURCE].disk.clone();
        disk.die_at_sync(disk.syncs() + 1);
        pair.deposit("b").seal().write();
        pair.tear(SOURCE, seed).start(SOURCE).recovers_whole();
        // The client saw the write go wrong, or the connection go away.
        assert!(matches!(pair.said("b"), Said::Unknown | Said::Nothing));
        assert!(pair.keeps(SOURCE, "a"));
    }
}

/// RCV-6.
#[test]
fn zeros_behind_the_last_bundle_are_its_end() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let path = pair.receiver_files(TARGET)[0].clone();
    let medium = pair.snapshot(TARGET);
    let whole = medium.content(&path).expect("a receiver");
    assert!(whole.ends_with(&[0; 4096]));
    pair.restore(TARGET, &medium).start(TARGET);
    assert!(pair.copy(TARGET).leftovers().is_empty());
    pair.recovers_whole();
}

/// RCV-7.
#[test]
fn garbage_behind_the_last_bundle_is_copied_aside_before_it_is_cut() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let path = pair.receiver_files(TARGET)[0].clone();
    let end = pair.copy(TARGET).place().offset as usize;
    let mut medium = pair.snapshot(TARGET);
    medium.overwrite(&path, end, b"garbage of another time");
    pair.restore(TARGET, &medium).start(TARGET);
    let leftovers = pair.copy(TARGET).leftovers().to_vec();
    let Some(Leftover::TornTail { aside, bytes, .. }) = leftovers.first() else {
        panic!("{leftovers:?}");
    };
    let aside = pair.snapshot(TARGET).content(aside).map(<[u8]>::to_vec);
    let aside = aside.expect("copied aside");
    assert_eq!(&aside[..], b"garbage of another time");
    assert_eq!(*bytes, aside.len() as u64);
    pair.recovers_whole();
}

/// RCV-10: power is lost again and again while a torn tail is cleaned.
#[test]
fn cleaning_a_torn_tail_may_be_interrupted_three_times() {
    for seed in 0..40 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let path = pair.receiver_files(TARGET)[0].clone();
        let end = pair.copy(TARGET).place().offset as usize;
        let mut medium = pair.snapshot(TARGET);
        medium.overwrite(&path, end, &[0x5a; 3_000]);
        pair.restore(TARGET, &medium);
        for round in 0..3 {
            let disk = pair.cluster.nodes[TARGET].disk.clone();
            disk.die_at_sync(1 + (seed + round) % 7);
            drop(pair.cluster.start(TARGET));
            pair.tear(TARGET, seed * 3 + round);
        }
        pair.start(TARGET).recovers_whole();
        assert!(pair.keeps(TARGET, "a"));
    }
}

/// CHG-1, at the source: power is lost before each flush of a change in mid-flight.
#[test]
fn a_change_interrupted_at_the_source_loses_and_doubles_nothing() {
    change_interrupted(SOURCE);
}

/// CHG-1, CHG-4, at the target.
#[test]
fn a_change_interrupted_at_the_target_loses_and_doubles_nothing() {
    change_interrupted(TARGET);
}

fn change_interrupted(node: usize) {
    let run = |dies_at: Option<u64>| -> (Pair, u64) {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let disk = pair.cluster.nodes[node].disk.clone();
        let before = disk.syncs();
        if let Some(sync) = dies_at {
            disk.die_at_sync(before + sync);
        }
        pair.cluster.order_change();
        pair.deposit("b").settle();
        if pair.cluster.open().is_some() {
            pair.deposit("c").settle();
        }
        let used = disk.syncs() - before;
        (pair, used)
    };
    let (_, syncs) = run(None);
    assert!(syncs >= 4, "{syncs}");
    for sync in 1..=syncs {
        for seed in 0..8 {
            let (mut pair, _) = run(Some(sync));
            pair.tear(node, seed).start(node).seconds(5);
            pair.recovers_whole();
            pair.deposit("d").settle().answers("d", Said::Sync);
            let shown = pair.shows(SOURCE);
            let mut once = shown.clone();
            once.dedup();
            assert_eq!(shown, once, "sync {sync} seed {seed}");
        }
    }
}

/// CHG-1: both lose power in the same moment, in the middle of a change.
#[test]
fn a_change_interrupted_on_both_sides_at_once_is_made_whole() {
    for seed in 0..60 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        pair.cluster.order_change();
        pair.deposit("b").seal();
        for _ in 0..seed % 4 {
            pair.cluster.deliver_forth(0);
        }
        if seed % 5 > 2 {
            pair.flush(TARGET);
        }
        if seed % 2 == 0 {
            let disk = pair.cluster.nodes[SOURCE].disk.clone();
            disk.die_at_sync(disk.syncs() + 1 + seed % 3);
        }
        pair.write();
        pair.tear(SOURCE, seed).tear(TARGET, seed + 1);
        pair.start(TARGET).start(SOURCE).seconds(5);
        pair.recovers_whole();
        assert!(pair.keeps(TARGET, "a"));
    }
}

/// CHG-2.
#[test]
fn without_room_for_the_next_receiver_the_attached_one_is_used_to_its_end() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes()));
    // Beyond the threshold of 64 KiB, and no next one to be had.
    for _ in 0..8 {
        pair.cluster.prepare_spare();
        drop(
            pair.try_deposit("b", 60_000)
                .expect("room behind the threshold"),
        );
        pair.settle().answers("b", Said::Sync);
    }
    assert_eq!(pair.receiver_files(SOURCE).len(), 1);
    disk.limit_bytes(None);
    pair.cluster.prepare_spare();
    pair.deposit("c").settle().deposit("d").settle();
    assert_eq!(pair.receiver_files(SOURCE).len(), 2);
    pair.recovers_whole();
}

/// CHG-3.
#[test]
fn a_target_without_room_for_the_next_receiver_is_dropped_and_deposits_go_on() {
    let mut pair = degrade();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes()));
    pair.deposit("a").settle().answers("a", Said::Sync);
    pair.change_receiver();
    pair.deposit("b").settle().answers("b", Said::Local);
    assert_eq!(pair.last_change(), Some(SetReason::TargetFailed));
    disk.limit_bytes(None);
    pair.seconds(30).recovers_whole();
    pair.deposit("c").settle().answers("c", Said::Sync);
}

/// CHG-4.
#[test]
fn a_line_cut_between_two_receivers_is_coupled_by_chain() {
    for frames in 0..5 {
        let mut pair = degrade();
        pair.deposit("a").settle();
        pair.cluster.order_change();
        pair.deposit("b").seal().write();
        for _ in 0..frames {
            pair.cluster.deliver_forth(0);
        }
        if frames % 2 == 1 {
            pair.flush(TARGET);
        }
        pair.break_between(SOURCE, TARGET).seconds(1);
        pair.recovers_whole();
        pair.answers("b", Said::Sync);
    }
}

/// CHG-7: a unit is never split over two receivers.
#[test]
fn a_unit_of_work_at_the_threshold_stays_in_one_bundle() {
    let mut pair = Pair::in_sync(&Attributes {
        threshold: 64 * 1024,
        ..quick(Policy::Degrade)
    });
    for _ in 0..30 {
        pair.cluster.prepare_spare();
        let wall = pair.wall();
        let parts = [
            pair.payload("one", 9_000),
            pair.payload("two", 9_000),
            pair.payload("three", 9_000),
        ];
        let drafts: Vec<Draft<'_>> = parts
            .iter()
            .map(|part| Draft::new(Kind::USER, part))
            .collect();
        let journal = pair.open().journal.clone();
        let ticket = journal.deposit_unit(&drafts, wall).expect("taken");
        pair.settle();
        let last = ticket.sequence();
        let reader = journal.reader();
        let bundles = reader.bundles_after(last.before(), last, 0).expect("there");
        assert!(bundles[0].header.first.get() + 2 <= last.get());
        assert_eq!(bundles[0].header.last(), last);
    }
    assert!(pair.receiver_files(SOURCE).len() > 5);
    pair.recovers_whole();
}

/// CHG-8.
#[test]
fn a_storm_of_changes_is_survived_by_both_sides() {
    let mut pair = degrade();
    for _ in 0..60 {
        pair.deposit("a").change_receiver();
        pair.answers("a", Said::Sync);
    }
    assert_eq!(pair.receiver_files(TARGET).len(), 61);
    pair.lose_power(SOURCE).lose_power(TARGET);
    pair.start(TARGET).start(SOURCE).recovers_whole();
}

/// Ruling 17: what a crash left of a receiver at the source alone gives way to the one its target has.
#[test]
fn a_receiver_the_source_lost_is_adopted_with_its_identity() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.cluster.order_change();
    pair.deposit("b").seal();
    // What ends the old receiver is flushed, what begins the new one is not.
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.die_at_sync(disk.syncs() + 2);
    pair.write().arrive(TARGET).flush(TARGET);
    let there = pair.copy(TARGET).place().receiver;
    pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    let attached = pair.open().journal.reader().attached();
    assert_eq!(attached.map(|header| header.receiver), Some(there));
}
