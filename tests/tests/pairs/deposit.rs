//! Deposits at the source of a pair: what a crash, a failed disk, a full disk or a bad client makes of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rjournal::daemon::crank::{seal_and_tell, write_and_tell};
use rjournal::disk::MemoryDisk;
use rjournal::entry::codec::PAYLOAD_BYTES_MAX;
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{ClientId, DepositKey, Draft, Kind, Moment, Sequence, Timestamp};
use rjournal::error::DepositError;
use rjournal::journal::{AckClass, Answer, Attributes, Ticket};
use rjournal::remote::Confirmation;
use rjournal_tests::bench_journal::{BenchJournal, at};
use rjournal_tests::cluster::quick;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, behind, degrade};

/// DEP-1.
#[test]
fn a_deposit_that_was_never_written_is_gone_and_its_number_belongs_to_a_higher_boot() {
    let mut pair = behind();
    let boot = pair.epoch().boot;
    let ticket = pair.try_deposit("a", 10).expect("taken");
    pair.seal().lose_power(SOURCE).start(SOURCE).recover();
    assert!(!pair.keeps(SOURCE, "a"));
    assert_eq!(pair.epoch().boot, boot + 1);
    pair.answers("a", Said::Nothing);
    let reader = pair.open().journal.reader().clone();
    let bundles = reader.bundles_after(ticket.sequence().before(), reader.tip().sequence, 0);
    let again = bundles.expect("readable");
    assert_eq!(again[0].header.first, ticket.sequence());
    assert_eq!(again[0].header.epoch.boot, boot + 1);
}

/// DEP-1 with a target that has it: the number is not given to anything else.
#[test]
fn a_number_that_a_target_flushed_is_never_given_to_another_entry() {
    let mut pair = degrade();
    let ticket = pair.try_deposit("a", 10).expect("taken");
    pair.seal().arrive(TARGET).flush(TARGET);
    pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    let found = pair.on_disk(SOURCE).ids;
    assert!(found.contains_key(&ticket.sequence().get()), "adopted");
}

/// DEP-2 and DEP-3: killed between write and answer, the page cache lost or not.
#[test]
fn a_retry_under_its_key_lands_once_whether_the_first_survived_or_not() {
    for seed in 0..24 {
        let mut pair = behind();
        let first = pair.deposit_keyed("a", 5).expect("taken").sequence();
        if seed % 3 == 0 {
            pair.seal();
        } else {
            pair.seal().write();
        }
        pair.tear(SOURCE, seed).start(SOURCE).recover();
        let survived = pair.keeps(SOURCE, "a");
        assert!(survived || seed % 3 == 0, "what was flushed is there");
        let retry = pair.deposit_keyed("a", 5).expect("taken");
        assert_eq!(retry.again().is_again(), survived);
        if survived {
            assert_eq!(retry.sequence(), first);
        }
        pair.recovers_whole();
        assert_eq!(pair.shows(SOURCE), ["a"]);
    }
}

/// DEP-7.
#[test]
fn a_client_that_goes_away_undoes_nothing() {
    let mut pair = degrade();
    let ticket = pair.deposit_keyed("a", 3).expect("taken");
    drop(ticket);
    pair.cluster.ledger.source_died();
    pair.recovers_whole();
    pair.only_on("a", &[SOURCE, TARGET]);
    assert!(
        pair.deposit_keyed("a", 3)
            .expect("found")
            .again()
            .is_again()
    );
}

/// DEP-8.
#[test]
fn one_key_for_two_contents_is_a_conflict_and_writes_nothing() {
    let mut pair = degrade();
    let first = pair.deposit_keyed("a", 3).expect("taken").sequence();
    pair.payload("b", 0);
    let other = pair.deposit_keyed("b", 3);
    let Err(DepositError::KeyConflict { sequence }) = other else {
        panic!("{other:?}");
    };
    assert_eq!(sequence, first);
    pair.recovers_whole();
    assert!(!pair.keeps(SOURCE, "b"));
    // The conflict outlives a restart.
    pair.lose_power(SOURCE).start(SOURCE).recover();
    let other = pair.deposit_keyed("b", 3);
    assert!(matches!(other, Err(DepositError::KeyConflict { .. })));
}

/// DEP-9.
#[test]
fn a_key_older_than_the_window_is_too_old_and_never_a_second_deposit() {
    let mut pair = Pair::in_sync(&Attributes {
        key_window: 20,
        ..quick(Policy::Degrade)
    });
    for key in 1..40 {
        pair.payload("k", 0);
        drop(pair.deposit_keyed("k", key).expect("taken"));
        pair.settle();
    }
    pair.payload("old", 0);
    let old = pair.deposit_keyed("old", 1);
    assert!(
        matches!(old, Err(DepositError::KeyTooOld { window: 20 })),
        "{old:?}"
    );
    pair.lose_power(SOURCE).start(SOURCE).recover();
    let old = pair.deposit_keyed("old", 1);
    assert!(matches!(old, Err(DepositError::KeyTooOld { .. })));
}

fn deposit_as(
    pair: &mut Pair,
    client: u8,
    name: &'static str,
    key: u64,
) -> Result<Ticket, DepositError> {
    let payload = pair.payload(name, 0);
    let key = Some(DepositKey {
        client: ClientId::from_bytes([client; 16]),
        key,
    });
    let draft = Draft {
        key,
        ..Draft::new(Kind::USER, &payload)
    };
    let taken = pair.try_draft(name, &draft);
    pair.settle();
    taken
}

/// DEP-9: of a client that was away while others filled the window, nothing is left in it.
#[test]
fn a_key_of_a_client_that_was_away_is_too_old_whatever_happened_meanwhile() {
    for (restarts, changes, deletes) in [
        (false, false, false),
        (true, false, false),
        (true, true, false),
        (true, true, true),
    ] {
        let mut pair = Pair::in_sync(&Attributes {
            key_window: 20,
            ..quick(Policy::Degrade)
        });
        deposit_as(&mut pair, 1, "away", 5).expect("taken");
        if changes {
            pair.change_receiver();
        }
        for key in 1..40 {
            deposit_as(&mut pair, 2, "other", key).expect("taken");
        }
        if changes {
            pair.change_receiver();
        }
        if deletes {
            let oldest = pair.open().journal.reader().records()[0].receiver;
            let gone = pair.open().writer.forget_upto(oldest);
            assert_eq!(gone.expect("a live disk"), 1);
        }
        // Twice: what was kept is kept again.
        for _ in 0..if restarts { 2 } else { 0 } {
            pair.lose_power(SOURCE).start(SOURCE).recover();
            pair.change_receiver();
        }
        let case = (restarts, changes, deletes);
        for key in [4, 5] {
            let again = deposit_as(&mut pair, 1, "again", key);
            let too_old = matches!(again, Err(DepositError::KeyTooOld { window: 20 }));
            assert!(too_old, "{case:?} {key}: {again:?}");
        }
        let next = deposit_as(&mut pair, 1, "next", 6).expect("taken");
        assert!(!next.again().is_again(), "{case:?}");
        let first = deposit_as(&mut pair, 3, "first", 1).expect("taken");
        assert!(
            !first.again().is_again(),
            "{case:?}: a client never heard of"
        );
    }
}

/// DEP-10.
#[test]
fn payloads_from_nothing_to_the_maximum_arrive_and_one_more_byte_is_refused() {
    let mut pair = degrade();
    let kind = Kind::user("ZZ").expect("a kind");
    let max = vec![0xff; PAYLOAD_BYTES_MAX as usize];
    let more = vec![0; PAYLOAD_BYTES_MAX as usize + 1];
    let wall = pair.wall();
    let journal = pair.open().journal.clone();
    let empty = journal
        .deposit(&Draft::new(kind, &[]), wall)
        .expect("taken");
    let large = loop {
        match journal.deposit(&Draft::new(kind, &max), wall) {
            Err(DepositError::Busy) => {
                pair.seal().write();
            }
            other => break other.expect("taken"),
        }
    };
    let refused = journal.deposit(&Draft::new(kind, &more), wall);
    assert!(matches!(refused, Err(DepositError::TooLarge { .. })));
    pair.recover();
    for ticket in [empty, large] {
        let answer = ticket.now();
        let Some(Answer::Landed { class, .. }) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(class, AckClass::Sync);
    }
    rjournal_tests::checkers::receivers_are_identical(&pair.cluster);
}

/// DEP-11: the payload is a bundle of this very receiver, and the bundle that carries it is torn.
#[test]
fn a_payload_that_looks_like_a_bundle_is_never_taken_for_one() {
    let mut pair = behind();
    pair.deposit("a").settle();
    let reader = pair.open().journal.reader().clone();
    let tip = reader.tip().sequence;
    let bundle = reader
        .bundles_after(tip.before(), tip, 0)
        .expect("readable");
    let payload = bundle[0].bytes.repeat(3);
    let wall = pair.wall();
    let kind = Kind::user("ZZ").expect("a kind");
    let journal = pair.open().journal.clone();
    let draft = Draft::new(kind, &payload);
    drop(journal.deposit(&draft, wall).expect("taken"));
    let offset = pair.open().writer.journal().reader().records()[0].bytes as usize;
    pair.seal();
    let disk = pair.cluster.nodes[SOURCE].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    pair.write();
    // All of the payload reached the disk, the head of the bundle did not.
    let path = pair_path(&pair);
    let mut medium = disk.image();
    medium.overwrite(&path, offset, &[0; 64]);
    pair.restore(SOURCE, &medium).start(SOURCE).recover();
    let reader = pair.open().journal.reader().clone();
    let found = rjournal_tests::checkers::content(&reader, reader.tip().sequence);
    assert_eq!(found.ids.len(), 1, "{:?}", found.ids);
    pair.recovers_whole();
}

fn pair_path(pair: &Pair) -> std::path::PathBuf {
    let medium = pair.snapshot(SOURCE);
    let mut paths: Vec<_> = medium.paths().map(ToOwned::to_owned).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "rcv"));
    paths.sort();
    paths.remove(0)
}

/// DEP-12.
#[test]
fn a_wall_clock_that_jumps_changes_neither_order_nor_answers() {
    let mut pair = degrade();
    let kind = Kind::user("ZZ").expect("a kind");
    let day = 86_400_000_000;
    let now = pair.wall().as_micros();
    let journal = pair.open().journal.clone();
    let tickets: Vec<_> = [now, now - 10 * day, now + 10 * day, now]
        .into_iter()
        .map(|wall| {
            let draft = Draft::new(kind, b"x");
            let ticket = journal.deposit(&draft, Timestamp::from_micros(wall));
            pair.settle();
            ticket.expect("taken")
        })
        .collect();
    pair.recovers_whole();
    let mut times = Vec::new();
    for ticket in &tickets {
        let answer = ticket.now();
        let sync = matches!(
            answer,
            Some(Answer::Landed {
                class: AckClass::Sync,
                ..
            })
        );
        assert!(sync, "{answer:?}");
        let reader = pair.open().journal.reader().clone();
        let bundles = reader.bundles_after(ticket.sequence().before(), ticket.sequence(), 0);
        let bundles = bundles.expect("readable");
        let view = bundles[0].entries().flatten();
        let view = view
            .into_iter()
            .find(|view| view.sequence == ticket.sequence());
        let view = view.expect("it is there");
        let raw = view.extension().expect("readable").raw_time;
        times.push((view.time.as_micros(), raw.map(Timestamp::as_micros)));
    }
    assert!(
        times.windows(2).all(|two| two[0].0 <= two[1].0),
        "{times:?}"
    );
    assert_eq!(times[1].1, Some(now - 10 * day), "the raw reading is kept");
    assert_eq!(times[3].1, Some(now));
}

/// DEP-13.
#[test]
fn a_journal_that_is_not_open_refuses_deposits() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    pair.lose_power(SOURCE).cut().start(SOURCE).seconds(60);
    let refused = pair.try_deposit("b", 1);
    assert!(matches!(refused, Err(DepositError::NotOpen)));
    pair.mend().recovers_whole();
    let open = pair.open().journal.clone();
    open.close();
    let refused = open.deposit(&Draft::new(Kind::USER, b"c"), Timestamp::ZERO);
    assert!(matches!(refused, Err(DepositError::NotOpen)));
}

/// DEP-15, at every tearing of the last batch.
#[test]
fn a_unit_of_work_is_there_whole_or_not_at_all() {
    let (mut whole, mut none) = (0, 0);
    for seed in 0..60 {
        let mut pair = behind();
        let wall = pair.wall();
        let one = pair.payload("one", 900);
        let two = pair.payload("two", 900);
        let drafts = [Draft::new(Kind::USER, &one), Draft::new(Kind::USER, &two)];
        let journal = pair.open().journal.clone();
        drop(journal.deposit_unit(&drafts, wall).expect("taken"));
        pair.seal();
        let disk = pair.cluster.nodes[SOURCE].disk.clone();
        disk.die_at_sync(disk.syncs() + 1);
        pair.write().tear(SOURCE, seed).start(SOURCE).recover();
        let there = (pair.keeps(SOURCE, "one"), pair.keeps(SOURCE, "two"));
        assert_eq!(there.0, there.1, "seed {seed}");
        if there.0 {
            whole += 1;
        } else {
            none += 1;
        }
        pair.recovers_whole();
    }
    assert!(whole > 5 && none > 5, "{whole} {none}");
}

/// DEP-15, ruling 10: an open commit cycle is rolled back by the entry that opens the next boot.
#[test]
fn a_commit_cycle_cut_by_a_crash_cannot_be_continued() {
    let mut pair = degrade();
    let wall = pair.wall();
    let journal = pair.open().journal.clone();
    let start = Draft::new(Kind::CYCLE_START, &[]);
    let cycle = journal.deposit(&start, wall).expect("taken").sequence();
    pair.settle().lose_power(SOURCE).start(SOURCE).recover();
    let journal = pair.open().journal.clone();
    assert!(journal.opened_at() > cycle);
    let commit = Draft {
        cycle,
        ..Draft::new(Kind::CYCLE_COMMIT, &[])
    };
    let refused = journal.deposit(&commit, wall);
    assert!(matches!(refused, Err(DepositError::UnknownCycle { .. })));
    assert_ne!(cycle, Sequence::NONE);
}

/// DEP-6: links, heartbeats and the time-outs of all journals wait for the lock of the confirmation. A slow disk is never
/// waited for under it: not for the next receiver an operator ordered, and not for more room in the attached one.
#[test]
fn no_write_and_no_flush_is_made_under_the_lock_of_the_confirmation() {
    let disk = MemoryDisk::new();
    let attributes = quick(Policy::Degrade);
    let mut bench = BenchJournal::create(&disk, attributes, 7).expect("a live disk");
    let timeout = Duration::from_mins(1);
    let confirmation = Confirmation::new(Policy::Degrade, timeout, 100, None);
    let confirmation = Arc::new(Mutex::new(confirmation));
    let (free, looks) = (Arc::clone(&confirmation), Arc::new(AtomicU64::new(0)));
    let looked = Arc::clone(&looks);
    disk.watch(move || {
        assert!(free.try_lock().is_ok(), "the lock is held over the disk");
        looked.fetch_add(1, Ordering::Relaxed);
    });
    let now = Moment::from_start(Duration::from_secs(1));
    let mut seal = || {
        let before = looks.load(Ordering::Relaxed);
        let batch = seal_and_tell(&mut bench.writer, &confirmation, at(3), now);
        let made = looks.load(Ordering::Relaxed) - before;
        if let Some(batch) = batch.expect("a live disk") {
            write_and_tell(&mut bench.writer, batch, &confirmation, at(3), now)
                .expect("a live disk");
        }
        made
    };
    bench.journal.order_change(None);
    assert!(seal() > 0, "the next receiver was made");
    let payload = vec![1; 100_000];
    let draft = Draft::new(Kind::USER, &payload);
    while !matches!(
        bench.journal.deposit(&draft, at(2)),
        Err(DepositError::Busy)
    ) {
        seal();
    }
    assert!(seal() > 0, "room was made");
    bench.journal.deposit(&draft, at(2)).expect("there is room");
}
