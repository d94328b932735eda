//! Damage on the media: rot, misplaced and lost writes, files cut, taken away or put back from an older time. It is found
//! on opening or reading, named, and never cut away, jumped over or served.

use std::path::{Path, PathBuf};

use rjournal::disk::CrashedDisk;
use rjournal::entry::Epoch;
use rjournal_tests::checkers::read_all;
use rjournal_tests::cluster::Cluster;
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, degrade};

/// A pair with three receivers, level and idle.
fn three_receivers() -> Pair {
    let mut pair = degrade();
    pair.deposit("a").settle().change_receiver();
    pair.deposit("b").settle().change_receiver();
    pair.deposit("c").settle().seconds(1);
    pair
}

fn files(medium: &CrashedDisk, end: &str) -> Vec<PathBuf> {
    let has = |path: &&Path| path.to_string_lossy().ends_with(end);
    medium.paths().filter(has).map(Path::to_path_buf).collect()
}

/// The last byte of a file that is not zero.
fn used(medium: &CrashedDisk, path: &Path) -> usize {
    let content = medium.content(path).expect("a file");
    content
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1)
}

/// Starts a system from a damaged medium. Gives what it says, or what it holds when it does start.
fn start_damaged(
    pair: &mut Pair,
    node: usize,
    medium: &CrashedDisk,
) -> Result<Vec<(u64, u64)>, String> {
    pair.restore(node, medium);
    pair.cluster.start(node)?;
    let reader = if node == SOURCE {
        use rjournal_tests::node::{Running, Side};
        let Some(Running {
            side: Side::Opening(crank),
            ..
        }) = &pair.cluster.nodes[SOURCE].running
        else {
            return Err("it is not on its way".to_owned());
        };
        crank.recovered().reader()
    } else {
        pair.copy(node).shared().reader().clone()
    };
    read_all(&reader)
}

/// RCV-2, RCV-3: any changed byte of any receiver is found, at the source and at the target.
#[test]
fn a_changed_byte_in_a_receiver_is_found_on_each_medium() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let medium = pair.snapshot(node);
        let truth = start_damaged(&mut pair, node, &medium).expect("undamaged");
        for path in files(&medium, ".rcv") {
            let used = used(&medium, &path);
            if used == 0 {
                continue;
            }
            let header = (0..400).step_by(19).chain((400..4096).step_by(911));
            for at in header.chain((4096..used).step_by(31)) {
                let mut rotten = medium.clone();
                rotten.flip(&path, at as u64, 1 << (at % 8));
                let found = start_damaged(&mut pair, node, &rotten);
                assert!(
                    found.is_err(),
                    "byte {at} of {} on system {node}: {}",
                    path.display(),
                    found.as_ref() == Ok(&truth)
                );
            }
        }
    }
}

/// RCV-2: what is damaged is named, and nothing is changed on the disk.
#[test]
fn damage_is_named_with_its_place_and_nothing_is_cut() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let mut medium = pair.snapshot(node);
        let path = pair.receiver_files(node)[2].clone();
        medium.flip(&path, 4096 + 150, 4);
        pair.restore(node, &medium);
        let text = pair.refuses_to_start(node);
        assert!(text.contains("RCV0003") && text.contains("4096"), "{text}");
        let after = pair.snapshot(node);
        for file in files(&medium, ".rcv") {
            assert_eq!(after.content(&file), medium.content(&file));
        }
    }
}

/// MET-1, MET-2: any changed byte of the control file is found: the older slot has to do, or nothing starts.
#[test]
fn a_changed_byte_in_the_control_file_is_never_believed() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let medium = pair.snapshot(node);
        let truth = start_damaged(&mut pair, node, &medium).expect("undamaged");
        let slots: Vec<PathBuf> = ["control.a", "control.b"]
            .iter()
            .flat_map(|name| files(&medium, name))
            .collect();
        assert_eq!(slots.len(), 2);
        for path in &slots {
            for at in (0..used(&medium, path)).step_by(61) {
                let mut rotten = medium.clone();
                rotten.flip(path, at as u64, 1 << (at % 8));
                if let Ok(found) = start_damaged(&mut pair, node, &rotten) {
                    assert_eq!(found, truth, "byte {at} of {}", path.display());
                }
            }
        }
        let mut rotten = medium.clone();
        for path in &slots {
            rotten.flip(path, 50, 1);
        }
        let text = start_damaged(&mut pair, node, &rotten).expect_err("both are bad");
        assert!(text.contains("control file"), "{text}");
    }
}

/// RCV-2 and ruling 5: any changed byte of the flush mark is found; it is only a lower bound.
#[test]
fn a_changed_byte_in_the_flush_mark_is_never_believed() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let medium = pair.snapshot(node);
        let truth = start_damaged(&mut pair, node, &medium).expect("undamaged");
        let confirmed = pair_confirmed(&pair, node);
        let path = files(&medium, "mark").remove(0);
        for at in (0..used(&medium, &path)).step_by(3) {
            let mut rotten = medium.clone();
            rotten.flip(&path, at as u64, 1 << (at % 8));
            let found = start_damaged(&mut pair, node, &rotten).expect("a lower bound");
            assert_eq!(found, truth, "byte {at}");
            assert!(pair_confirmed(&pair, node) <= confirmed, "byte {at}");
        }
    }
}

fn pair_confirmed(pair: &Pair, node: usize) -> u64 {
    pair.cluster
        .copy(node)
        .map_or(0, |copy| copy.progress().confirmed.get())
}

/// RCV-4.
#[test]
fn a_write_that_went_to_another_place_is_refused() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let paths = pair.receiver_files(node);
        let medium = pair.snapshot(node);
        let bytes = medium.content(&paths[2]).expect("a file")[4096..4096 + 400].to_vec();
        // Over a neighbour in the same receiver, and over the same offset of another one.
        for (path, at) in [(&paths[2], 4096 + 168), (&paths[1], 4096)] {
            let mut misplaced = medium.clone();
            misplaced.overwrite(path, at, &bytes);
            assert!(start_damaged(&mut pair, node, &misplaced).is_err());
        }
    }
}

/// RCV-5: the content a recycled file had before.
#[test]
fn a_lost_write_that_shows_older_valid_content_is_refused() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let paths = pair.receiver_files(node);
        let medium = pair.snapshot(node);
        let old = medium.content(&paths[0]).expect("a file").to_vec();
        // The whole file of an older receiver, and only its bundles under the header of the newer one.
        let mut recycled = medium.clone();
        recycled.put(&paths[2], old.clone());
        assert!(start_damaged(&mut pair, node, &recycled).is_err());
        let mut recycled = medium.clone();
        recycled.overwrite(&paths[2], 4096, &old[4096..4096 + 1_000]);
        assert!(start_damaged(&mut pair, node, &recycled).is_err());
    }
}

/// RCV-5: a flushed write that is not there after all.
#[test]
fn a_flushed_bundle_that_became_zeros_is_damage_and_no_end() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let path = pair.receiver_files(node)[2].clone();
        let mut medium = pair.snapshot(node);
        let used = used(&medium, &path);
        medium.overwrite(&path, 4096, &vec![0; used - 4096]);
        let text = start_damaged(&mut pair, node, &medium).expect_err("it was flushed");
        assert!(text.contains("cut or replaced"), "{text}");
    }
}

/// RCV-8.
#[test]
fn a_receiver_shorter_than_what_was_flushed_is_refused() {
    for node in [SOURCE, TARGET] {
        for index in 0..3 {
            let mut pair = three_receivers();
            let path = pair.receiver_files(node)[index].clone();
            let mut medium = pair.snapshot(node);
            medium.cut(&path, 4096 + 20);
            let text = start_damaged(&mut pair, node, &medium).expect_err("it was cut");
            assert!(text.contains("cut or replaced"), "{text}");
        }
    }
}

/// RCV-9, DEL-3.
#[test]
fn a_missing_receiver_is_named_and_nothing_is_renumbered() {
    for node in [SOURCE, TARGET] {
        for index in 0..3 {
            let mut pair = three_receivers();
            let path = pair.receiver_files(node)[index].clone();
            let mut medium = pair.snapshot(node);
            medium.remove(&path);
            pair.restore(node, &medium);
            let text = pair.refuses_to_start(node);
            let name = format!("RCV000{}", index + 1);
            assert!(text.contains(&name) && text.contains("missing"), "{text}");
            let left = pair.snapshot(node);
            assert_eq!(files(&left, ".rcv").len(), files(&medium, ".rcv").len());
        }
    }
}

/// MET-3: the control file was put back from an older time; positions are those of the receivers.
#[test]
fn receivers_newer_than_the_control_file_win() {
    for node in [SOURCE, TARGET] {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let old = pair.snapshot(node);
        pair.change_receiver().deposit("b").settle();
        pair.change_receiver().deposit("c").settle().seconds(1);
        let mut medium = pair.snapshot(node);
        for name in ["control.a", "control.b"] {
            for path in files(&old, name) {
                let content = old.content(&path).expect("a file").to_vec();
                medium.put(&path, content);
            }
        }
        pair.restore(node, &medium).start(node).seconds(5);
        pair.recovers_whole();
        assert_eq!(pair.shows(SOURCE), ["a", "b", "c"]);
    }
}

/// MET-3, MET-4: with the control file an older promise came back; the copy's own history knows better.
#[test]
fn a_promise_is_never_below_the_history_of_the_copy() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let old = pair.snapshot(TARGET);
    for name in ["b", "c"] {
        pair.lose_power(SOURCE).start(SOURCE).recover();
        pair.deposit(name).settle();
    }
    let promised: Epoch = pair.copy(TARGET).shared().promised();
    let mut medium = pair.snapshot(TARGET);
    for name in ["control.a", "control.b"] {
        for path in files(&old, name) {
            let content = old.content(&path).expect("a file").to_vec();
            medium.put(&path, content);
        }
    }
    pair.cut().restore(TARGET, &medium).start(TARGET);
    assert_eq!(pair.copy(TARGET).shared().promised(), promised);
    pair.mend().recovers_whole();
}

/// MET-5.
#[test]
fn a_control_file_of_a_newer_version_is_refused_and_left_alone() {
    for node in [SOURCE, TARGET] {
        let mut pair = three_receivers();
        let mut medium = pair.snapshot(node);
        for name in ["control.a", "control.b"] {
            for path in files(&medium, name) {
                medium.overwrite(&path, 8, &2_u16.to_le_bytes());
            }
        }
        pair.restore(node, &medium);
        let text = pair.refuses_to_start(node);
        assert!(text.contains("version 2"), "{text}");
        let after = pair.snapshot(node);
        for name in ["control.a", "control.b"] {
            for path in files(&medium, name) {
                assert_eq!(after.content(&path), medium.content(&path));
            }
        }
    }
}

/// DESIGN rule 1 and 6: a promise whose flush failed was not made, whatever the page cache shows.
#[test]
fn a_promise_whose_flush_failed_is_not_believed_after_a_restart() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let promised = pair.copy(TARGET).shared().promised();
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    // The next boot of the source asks for a new promise.
    pair.lose_power(SOURCE).start(SOURCE);
    disk.fail_sync(disk.syncs() + 1);
    pair.seconds(1);
    pair.kill(TARGET).cut().start(TARGET);
    let durable = {
        let medium = pair.cluster.nodes[TARGET].disk.crash_to_synced();
        let mut other = Cluster::new(
            2,
            &[rjournal_tests::cluster::sync(TARGET)],
            &rjournal_tests::cluster::quick(rjournal::entry::control_entry::Policy::Degrade),
            1,
        );
        other.crash(TARGET, 0);
        other.nodes[TARGET].disk = medium.power_on();
        other.start(TARGET).expect("it starts");
        other.copy(TARGET).expect("a copy").shared().promised()
    };
    assert_eq!(pair.copy(TARGET).shared().promised(), durable);
    assert!(durable.rank() >= promised.rank());
    pair.mend().recovers_whole();
}

/// Ruling 15 and DESIGN rule 6: a confirmation whose flush failed does not count, whatever the page cache shows.
#[test]
fn a_confirmation_whose_flush_failed_is_not_believed_after_a_restart() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let confirmed = pair.copy(TARGET).progress().confirmed;
    let disk = pair.cluster.nodes[TARGET].disk.clone();
    disk.fail_sync(disk.syncs() + 1);
    pair.wait(std::time::Duration::from_millis(1));
    pair.arrive(TARGET);
    pair.kill(TARGET).cut().start(TARGET);
    assert_eq!(pair.copy(TARGET).progress().confirmed, confirmed);
    pair.mend().recovers_whole();
    pair.seconds(1).answers("a", Said::Sync);
    assert_eq!(pair.shows(TARGET), ["a"]);
}

/// RCV-2: the flush mark is lost as well; a later bundle tells what this source had on disk when it was sealed.
#[test]
fn damage_before_a_later_bundle_of_the_source_is_no_torn_tail_even_without_a_mark() {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let at = pair.sequence("a");
    let reader = pair.open().journal.reader().clone();
    let last = rjournal::entry::Sequence::new(at);
    let bundle = reader.bundles_after(last.before(), last, 0).expect("there");
    let offset = bundle[0].header.offset;
    pair.deposit("b").settle().seconds(1);
    let path = pair.receiver_files(SOURCE)[0].clone();
    let mut medium = pair.snapshot(SOURCE);
    let mark = files(&medium, "mark").remove(0);
    medium.remove(&mark);
    medium.flip(&path, offset + 150, 1);
    pair.restore(SOURCE, &medium);
    let text = pair.refuses_to_start(SOURCE);
    assert!(text.contains("is damaged"), "{text}");
}
