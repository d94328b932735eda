//! Package `tests`: what must hold after each run, whatever happened in it.

use std::collections::BTreeMap;
use std::path::Path;

use rjournal::disk::{Disk, MemoryDisk};
use rjournal::entry::control_entry::{Policy, SetChange, SetReason};
use rjournal::entry::{Kind, Sequence, SystemId};
use rjournal::journal::{AckClass, Answer, Copy};
use rjournal::receiver::ChainReader;

use crate::bench_journal::DIR;
use crate::cluster::Cluster;

/// Entries of a copy: by number, the id deposited (user entries), and the sets recorded.
#[derive(Debug, Default)]
pub struct Content {
    /// Ids of user entries by number.
    pub ids: BTreeMap<u64, u64>,
    /// Members of the in-sync set by the entry that set it.
    pub sets: BTreeMap<u64, Vec<SystemId>>,
    /// All changes of the set, oldest first.
    pub changes: Vec<SetChange>,
}

/// Reads everything up to an entry.
///
/// # Panics
/// When it cannot be read.
pub fn content(reader: &ChainReader, upto: Sequence) -> Content {
    let mut content = Content::default();
    let mut after = reader.oldest().sequence;
    while after < upto {
        let bundles = reader
            .bundles_after(after, upto, 1 << 20)
            .expect("a readable copy");
        let Some(last) = bundles.last() else { break };
        after = last.header.last();
        for bundle in &bundles {
            for view in bundle.entries() {
                let view = view.expect("a readable entry");
                if view.kind == Kind::USER {
                    let id = u64::from_le_bytes(
                        view.payload.bytes()[..8].try_into().expect("eight bytes"),
                    );
                    content.ids.insert(view.sequence.get(), id);
                }
                if view.kind == Kind::IN_SYNC_SET {
                    let set = SetChange::decode(view.payload.bytes()).expect("a readable set");
                    content.sets.insert(
                        view.sequence.get(),
                        set.members.iter().map(|member| member.system).collect(),
                    );
                    content.changes.push(set);
                }
            }
        }
    }
    content
}

/// Reads every entry: its number and the first bytes of its payload.
///
/// # Errors
/// What the reader says of the first one that cannot be read.
pub fn read_all(reader: &ChainReader) -> Result<Vec<(u64, u64)>, String> {
    let (mut after, tip) = (reader.oldest().sequence, reader.tip().sequence);
    let mut found = Vec::new();
    while after < tip {
        let bundles = reader.bundles_after(after, tip, 1 << 20);
        let bundles = bundles.map_err(|error| error.to_string())?;
        let last = bundles.last().ok_or("nothing where something should be")?;
        after = last.header.last();
        for bundle in &bundles {
            for view in bundle.entries() {
                let view = view.map_err(|error| error.to_string())?;
                let mut content = [0; 8];
                let bytes = view.payload.bytes();
                let count = bytes.len().min(8);
                content[..count].copy_from_slice(&bytes[..count]);
                found.push((view.sequence.get(), u64::from_le_bytes(content)));
            }
        }
    }
    Ok(found)
}

/// Everything that was answered is in the source's journal, at its number, and nothing is there twice.
///
/// # Panics
/// When it is not so.
pub fn answers_are_true(cluster: &Cluster) {
    let open = cluster.open().expect("an open journal");
    let found = content(open.journal.reader(), open.journal.tail().marks().written);
    for (sequence, (id, class, _)) in cluster.ledger.landed() {
        assert_eq!(
            found.ids.get(&sequence),
            Some(&id),
            "deposit {id} was answered {class:?} as entry {sequence}"
        );
    }
    let mut seen = BTreeMap::new();
    for (sequence, id) in &found.ids {
        assert_eq!(
            seen.insert(id, sequence),
            None,
            "deposit {id} is in the journal twice"
        );
    }
    for deposit in cluster.ledger.deposits() {
        if matches!(deposit.answer, Some(Answer::Refused { .. })) {
            assert!(
                !seen.contains_key(&deposit.id),
                "deposit {} was refused and is in the journal",
                deposit.id
            );
        }
    }
}

/// Every SYNC answer is on the disk of every member of its set, power lost there this very moment.
///
/// # Panics
/// When it is not so.
pub fn sync_answers_are_on_every_member(cluster: &Cluster, seed: u64) {
    let landed = cluster.ledger.landed();
    let newest = landed
        .values()
        .filter(|(_, class, _)| *class == AckClass::Sync)
        .count();
    if newest == 0 {
        return;
    }
    for node in cluster.nodes.iter().skip(1) {
        let disk = node.disk.crash(seed).power_on();
        let copy = Copy::open(std::sync::Arc::new(disk), Path::new(DIR), Sequence::NONE)
            .expect("a copy recovers");
        let found = content(copy.shared().reader(), copy.tip().sequence);
        for (sequence, (id, class, set)) in &landed {
            // A set this copy has not heard of does not name it, unless its own tail is what is missing.
            let member = match found.sets.get(&set.get()) {
                Some(members) => members.contains(&node.system),
                None => *set <= copy.tip().sequence && cluster.nodes.len() == 2,
            };
            if *class == AckClass::Sync && member {
                assert_eq!(
                    found.ids.get(sequence),
                    Some(id),
                    "SYNC entry {sequence} is not on the disk of {}",
                    node.name
                );
            }
        }
    }
}

/// What a copy rules out for who takes over there is true (ruling 13): nothing was answered that it lacks, power lost there this
/// very moment, unless an operator gave it up at the source.
///
/// # Panics
/// When something was.
pub fn what_copies_rule_out_is_true(cluster: &mut Cluster) {
    cluster.ledger.look();
    for (number, node) in cluster.nodes.iter().enumerate().skip(1) {
        let disk = node.disk.crash_to_synced().power_on();
        let copy = Copy::open(std::sync::Arc::new(disk), Path::new(DIR), Sequence::NONE)
            .expect("a copy recovers");
        let set = copy.shared().set();
        let said = set.as_ref().map_or(Sequence::NONE, |(at, _)| *at);
        let voided = cluster.voided.get(&number).is_some_and(|at| said <= *at);
        if voided || copy.shared().local_answers_possible(node.system) {
            continue;
        }
        let found = content(copy.shared().reader(), copy.tip().sequence);
        for (sequence, (id, class, _)) in cluster.ledger.landed() {
            assert_eq!(
                found.ids.get(&sequence),
                Some(&id),
                "entry {sequence} was answered {class:?} without {}, which rules that out by {set:?}",
                node.name
            );
        }
    }
}

/// Under block and reject only an operator makes the set smaller (ruling 13).
///
/// # Panics
/// When something else did.
pub fn only_degrade_makes_the_set_smaller(cluster: &Cluster) {
    let open = cluster.open().expect("an open journal");
    let found = content(open.journal.reader(), open.journal.tail().marks().written);
    for change in found.changes {
        let by_itself = matches!(change.reason, SetReason::TimedOut | SetReason::TargetFailed);
        assert!(
            change.policy == Policy::Degrade || !by_itself,
            "the set was made smaller: {change:?}"
        );
    }
}

/// The receivers of all copies are the same bytes, from the first to the end of the last bundle (ruling 17).
///
/// # Panics
/// When they are not.
pub fn receivers_are_identical(cluster: &Cluster) {
    let source = cluster
        .open()
        .expect("an open journal")
        .journal
        .reader()
        .clone();
    for node in 1..cluster.nodes.len() {
        let copy = cluster.copy(node).expect("a running copy");
        let theirs = copy.shared().reader();
        let ours: BTreeMap<_, _> = source
            .records()
            .into_iter()
            .zip(source.paths())
            .map(|(r, path)| (r.receiver, (r, path)))
            .collect();
        for (record, path) in theirs.records().iter().zip(theirs.paths()) {
            // One that the source has deleted has nothing to be compared with.
            let Some((source_record, source_path)) = ours.get(&record.receiver) else {
                continue;
            };
            assert_eq!(
                source_record.bytes, record.bytes,
                "length of {}",
                record.name
            );
            let here = bytes(&cluster.nodes[0].disk, source_path, record.bytes);
            let there = bytes(&cluster.nodes[node].disk, &path, record.bytes);
            let differs = here.iter().zip(&there).position(|(a, b)| a != b);
            assert_eq!(
                differs, None,
                "receiver {} differs on node {node} from this byte of {}",
                record.name, record.bytes
            );
        }
    }
}

fn bytes(disk: &MemoryDisk, path: &Path, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; count as usize];
    let read = disk
        .open(path)
        .expect("a receiver's file")
        .read_at(&mut bytes, 0)
        .expect("a readable file");
    assert_eq!(read as u64, count);
    bytes
}
