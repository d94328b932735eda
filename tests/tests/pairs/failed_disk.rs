//! A disk that fails or is full under deposits: what was answered stays true, what failed is never tried again, and a
//! restart believes the medium alone.

use std::io::ErrorKind;
use std::time::Duration;

use rjournal::entry::{Draft, Kind, Timestamp};
use rjournal::error::DepositError;
use rjournal::journal::Gate;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, degrade};

/// DEP-4, ruling 1: a short write after sealing is no REFUSED: the target may have it.
#[test]
fn a_short_write_after_sealing_is_unknown_and_poisons_the_journal() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.fail_write(disk.writes() + 1);
    pair.deposit("b").seal().deposit("unsealed");
    pair.arrive(TARGET).flush(TARGET).write();
    pair.answers("b", Said::Unknown)
        .answers("unsealed", Said::Refused);
    assert!(pair.keeps(TARGET, "b"));
    // After the restart it comes back from the target, under the same number.
    pair.kill(SOURCE).start(SOURCE).recovers_whole();
    pair.only_on("b", &[SOURCE, TARGET]);
    assert!(!pair.keeps(SOURCE, "unsealed"));
}

/// DEP-5, DESIGN rule 6.
#[test]
fn a_failed_flush_stops_the_journal_and_is_never_tried_again() {
    let mut pair = degrade();
    pair.deposit("a").settle().seconds(1);
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    let written = pair.open().journal.tail().marks().written;
    disk.fail_sync(disk.syncs() + 1);
    let journal = pair.open().journal.clone();
    pair.deposit("b").seal().deposit("c").write();
    assert_eq!(journal.gate(), Gate::Poisoned);
    assert_eq!(journal.tail().marks().written, written);
    pair.answers("b", Said::Unknown).answers("c", Said::Refused);
    let late = journal.deposit(&Draft::new(Kind::USER, b"late"), Timestamp::ZERO);
    assert!(matches!(late, Err(DepositError::Poisoned)), "{late:?}");
    // The gate cannot be talked open again.
    journal.set_gate(Gate::Open);
    assert_eq!(journal.gate(), Gate::Poisoned);
    let flushes = disk.syncs();
    pair.seconds(60);
    assert_eq!(disk.syncs(), flushes, "it flushed again");
    // The target keeps what it has.
    assert!(pair.keeps(TARGET, "a"));
}

/// DEP-5, section 1 point 7: the page cache shows what is not on the disk; a restart must not believe it.
#[test]
fn after_a_failed_flush_a_restart_believes_the_medium_and_not_the_cache() {
    for with_target in [false, true] {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let disk = pair.cluster.nodes[SOURCE].disk.clone();
        disk.fail_sync(disk.syncs() + 1);
        pair.deposit("b").seal();
        if with_target {
            pair.arrive(TARGET).flush(TARGET);
        }
        pair.write();
        // Only the process goes: the cache of the machine stays.
        pair.kill(SOURCE).start(SOURCE).recovers_whole();
        for node in [SOURCE, TARGET] {
            assert_eq!(pair.keeps(node, "b"), with_target);
        }
        pair.answers("b", Said::Unknown);
        pair.deposit("c").settle().answers("c", Said::Sync);
        pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
        assert!(pair.keeps(SOURCE, "c"));
    }
}

/// DEP-5: the journal fails at every one of its flushes in turn; nothing that was answered is ever missing.
#[test]
fn whichever_flush_fails_what_was_answered_is_there_after_a_restart() {
    let run = |fails: Option<u64>| -> (Pair, u64) {
        let mut pair = degrade();
        let disk = pair.cluster.nodes[SOURCE].disk.clone();
        let before = disk.syncs();
        if let Some(nth) = fails {
            disk.fail_sync(before + nth);
        }
        for name in ["a", "b", "c"] {
            if pair.cluster.open().is_some() {
                pair.deposit(name).settle();
                pair.cluster.order_change();
                pair.settle();
            }
        }
        let used = disk.syncs() - before;
        (pair, used)
    };
    let (_, syncs) = run(None);
    assert!(syncs > 8, "{syncs}");
    for nth in 1..=syncs {
        let (mut pair, _) = run(Some(nth));
        pair.kill(SOURCE).start(SOURCE).seconds(5);
        pair.recovers_whole();
    }
}

/// DEP-4 before sealing, CHG-2: a full disk refuses, certainly and with the reason, and takes deposits again later.
#[test]
fn a_full_source_refuses_before_sealing_and_goes_on_when_there_is_room() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.limit_bytes(Some(disk.used_bytes()));
    let mut refused = 0;
    for _ in 0..200 {
        match pair.try_deposit("big", 50_000) {
            Err(DepositError::NoSpace { .. }) => refused += 1,
            Err(DepositError::Busy) | Ok(_) => {}
            Err(other) => panic!("{other:?}"),
        }
        pair.seal().write();
        pair.settle();
    }
    assert!(refused > 0);
    assert!(pair.is_open(), "a full disk is no poison");
    let missing = pair.open().journal.intake().room_missing();
    assert!(missing.is_some_and(|bytes| bytes > 50_000), "{missing:?}");
    // The disk is asked again without a deposit: an operator is told as long as it refuses, and no longer.
    pair.open().journal.intake().nudge();
    pair.seal();
    assert_eq!(pair.open().journal.intake().room_missing(), missing);
    disk.limit_bytes(None);
    pair.open().journal.intake().nudge();
    pair.seal();
    assert_eq!(pair.open().journal.intake().room_missing(), None);
    pair.seconds(1);
    pair.deposit_large("after").settle();
    pair.answers("after", Said::Sync);
    pair.wait(Duration::from_millis(5)).recovers_whole();
}

/// DESIGN rule 6, I13: the receiver itself refuses after a failed flush, whoever asks it again.
#[test]
fn a_receiver_whose_flush_failed_takes_no_write_and_no_flush_whoever_asks() {
    use rjournal_tests::node::{Running, Side};
    let mut pair = degrade();
    pair.deposit("a").settle().seconds(1);
    let wall = pair.wall();
    // At the source: an entry of the journal's own comes behind the failed batch.
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    let change = pair.set_changes().pop().expect("it joined");
    pair.deposit("b").seal().write();
    let Some(Running {
        side: Side::Open(open),
        ..
    }) = &mut pair.cluster.nodes[SOURCE].running
    else {
        panic!("the journal was open");
    };
    let flushes = disk.syncs();
    open.journal.deposit_set_change(&change, wall);
    let batch = open.writer.seal(wall).expect("sealing needs no disk");
    let again = open.writer.write(batch.expect("an entry"), wall);
    assert!(again.is_err(), "{again:?}");
    assert_eq!(disk.syncs(), flushes, "it was flushed again");
    // At the target: nothing was written since, and still the flush is not said to have been done.
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    let Some(Running {
        side: Side::Copy { copy, .. },
        ..
    }) = &mut pair.cluster.nodes[TARGET].running
    else {
        panic!("a copy runs");
    };
    let tip = copy.tip();
    copy.flush().expect("a live disk");
    pair.kill(SOURCE).start(SOURCE).cut().open_alone();
    pair.mend().deposit("c").seal().write();
    pair.wait(Duration::from_millis(1)).dial();
    for _ in 0..4 {
        pair.arrive(TARGET).return_from(TARGET);
    }
    let Some(Running {
        side: Side::Copy { copy, .. },
        ..
    }) = &mut pair.cluster.nodes[TARGET].running
    else {
        panic!("a copy runs");
    };
    assert!(copy.tip().sequence > tip.sequence, "something is unflushed");
    disk.fail_sync(disk.syncs() + 1);
    assert!(copy.flush().is_err());
    let flushes = disk.syncs();
    let again = copy.flush();
    assert!(again.is_err(), "{again:?}");
    assert_eq!(disk.syncs(), flushes, "it was flushed again");
}

/// Fills the attached receiver at the source until a deposit finds no more room in it.
fn fill_up(pair: &mut Pair) {
    loop {
        match pair.try_deposit("big", 100_000) {
            Ok(_) => pair.seal().write().settle(),
            Err(DepositError::Busy) => return,
            Err(other) => panic!("{other:?}"),
        };
    }
}

/// DEP-5: what fails while room is made in the attached receiver is no lack of room, unless a write says so.
#[test]
fn a_receiver_that_fails_while_room_is_made_in_it_stops_the_journal() {
    for sync in [false, true] {
        let mut pair = degrade();
        pair.deposit("a").settle();
        fill_up(&mut pair);
        pair.deposit("b");
        let disk = pair.cluster.nodes[SOURCE].disk.clone();
        if sync {
            disk.fail_sync_with(disk.syncs() + 1, ErrorKind::StorageFull);
        } else {
            disk.fail_write(disk.writes() + 1);
        }
        let journal = pair.open().journal.clone();
        pair.seal();
        assert_eq!(journal.gate(), Gate::Poisoned);
        pair.answers("b", Said::Refused);
        let late = journal.deposit(&Draft::new(Kind::USER, b"late"), Timestamp::ZERO);
        assert!(matches!(late, Err(DepositError::Poisoned)), "{late:?}");
        let (writes, flushes) = (disk.writes(), disk.syncs());
        pair.seal().write().seconds(60);
        assert_eq!((disk.writes(), disk.syncs()), (writes, flushes));
        pair.kill(SOURCE).start(SOURCE).recovers_whole();
    }
}

/// DESIGN rule 6: a thin pool is found full only by a flush. A copy whose receiver grows flushes what it received before
/// with it; where that fails, the next flush would succeed, and the source would be told of bundles that are lost.
#[test]
fn a_copy_whose_flush_found_the_disk_full_acknowledges_nothing_it_lost() {
    let mut pair = degrade();
    pair.deposit("a").settle().change_receiver();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    let mut fired = false;
    for _ in 0..40 {
        pair.deposit("small").seal().arrive(TARGET).write();
        if let Err(error) = pair.try_deposit("big", 100_000) {
            assert!(matches!(error, DepositError::Busy), "{error:?}");
            pair.seal().settle();
            continue;
        }
        pair.seal();
        let flushes = disk.syncs();
        disk.fail_sync_with(flushes + 1, ErrorKind::StorageFull);
        pair.arrive(TARGET);
        fired = disk.syncs() > flushes;
        if fired {
            break;
        }
        disk.fail_sync(u64::MAX);
        pair.write().settle();
    }
    assert!(fired, "its receiver never grew");
    pair.write().seconds(10);
    assert!(!pair.keeps(TARGET, "small"));
    pair.answers("small", Said::Local);
    assert!(pair.cluster.copy(TARGET).is_none(), "it is fed no more");
    pair.kill(TARGET).start(TARGET).recovers_whole();
    assert!(pair.keeps(TARGET, "small"));
}

/// What is left after a cut at the target that finds its disk full once, in the `nth` write or flush from its beginning
/// on; gives how many there were.
fn cut_with_a_full_disk(writes: Option<u64>, syncs: Option<u64>) -> (Pair, (u64, u64)) {
    let mut pair = degrade();
    pair.deposit("a").settle().seconds(1);
    pair.change_receiver();
    pair.deposit("b").deposit("x").seal();
    pair.arrive(TARGET).flush(TARGET);
    pair.lose_power(SOURCE).cut().start(SOURCE).open_alone();
    pair.deposit("c").settle();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    let before = (disk.writes(), disk.syncs());
    if let Some(nth) = writes {
        disk.fail_write_with(before.0 + nth, ErrorKind::StorageFull);
    }
    if let Some(nth) = syncs {
        disk.fail_sync_with(before.1 + nth, ErrorKind::StorageFull);
    }
    pair.mend().seconds(10);
    (pair, (disk.writes() - before.0, disk.syncs() - before.1))
}

/// I8, I9: a cut that was begun and found the disk full stood in the control file of a copy that went on, and took away
/// at its next start what had been acknowledged since.
#[test]
fn a_cut_that_finds_the_disk_full_anywhere_takes_nothing_away_later() {
    let (_, (writes, syncs)) = cut_with_a_full_disk(None, None);
    assert!(writes > 8 && syncs > 8, "{writes} {syncs}");
    let cases = (1..=writes).map(|nth| (Some(nth), None));
    for (write, sync) in cases.chain((1..=syncs).map(|nth| (None, Some(nth)))) {
        let (mut pair, _) = cut_with_a_full_disk(write, sync);
        pair.deposit("d").seconds(3);
        let promised = pair.said("d") == Said::Sync;
        pair.cut().kill(TARGET).start(TARGET);
        assert!(
            !promised || pair.keeps(TARGET, "d"),
            "write {write:?} sync {sync:?}"
        );
        pair.mend().recovers_whole();
        pair.seconds(1);
        assert_eq!(pair.shows(TARGET), ["a", "c", "d"], "{write:?} {sync:?}");
        let entries: Vec<u64> = pair.orphans(TARGET).iter().map(|o| o.entries).collect();
        assert!(entries.contains(&2), "{write:?} {sync:?}: {entries:?}");
    }
}
