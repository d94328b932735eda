//! Room `disk`, in memory: it must be as bad as the worst real disk, and no better.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::MemoryDisk;
use crate::disk::Disk;

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_vanish() {
    let disk = MemoryDisk::new();
    let file = disk.create(&path("a")).unwrap();
    file.write_at(b"kept", 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    file.write_at(&[7; 4096], 4).unwrap();
    let mut lengths = BTreeSet::new();
    for seed in 0..40 {
        let after = disk.crash(seed);
        let content = after.content(&path("a")).unwrap();
        assert_eq!(&content[..4], b"kept");
        let written = content.iter().map(|byte| usize::from(*byte == 7));
        lengths.insert(written.sum::<usize>());
    }
    assert!(
        lengths.contains(&0) && lengths.contains(&4096) && lengths.len() > 4,
        "{lengths:?}"
    );
}

#[test]
fn a_name_that_was_not_synced_may_vanish() {
    let disk = MemoryDisk::new();
    disk.create(&path("a")).unwrap().sync().unwrap();
    let kept = (0..20)
        .filter(|seed| disk.crash(*seed).content(&path("a")).is_some())
        .count();
    assert!((1..20).contains(&kept), "{kept}");
}

#[test]
fn a_failed_sync_loses_the_pages_though_reads_show_them_and_the_next_sync_succeeds() {
    let disk = MemoryDisk::new();
    let file = disk.create(&path("a")).unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    file.write_at(b"lost", 0).unwrap();
    disk.fail_sync(2);
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok());
    let mut bytes = [0; 4];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 4);
    assert_eq!(&bytes, b"lost");
    file.drop_cache().unwrap();
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 0);
}

#[test]
fn a_full_disk_takes_a_part_and_says_so() {
    let disk = MemoryDisk::new();
    disk.limit_bytes(Some(6));
    let file = disk.create(&path("a")).unwrap();
    let error = file.write_at(b"12345678", 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.length().unwrap(), 6);
}

#[test]
fn after_power_is_lost_nothing_works_until_it_is_back() {
    let disk = MemoryDisk::new();
    let file = disk.create(&path("a")).unwrap();
    disk.die_at_sync(1);
    assert!(file.sync().is_err());
    assert!(file.write_at(b"x", 0).is_err() && disk.open(&path("a")).is_err());
    assert!(disk.crash(1).power_on().list(Path::new("")).is_ok());
}
