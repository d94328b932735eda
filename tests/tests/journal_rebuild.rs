//! The control file of a local journal is lost in both slots and made again from its receivers: what was lost, or nothing;
//! and power is lost before every sync of it in turn.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::disk::{CrashedDisk, Disk, MemoryDisk};
use rjournal::entry::control_entry::{Level, Member, Policy, SetChange, SetReason};
use rjournal::entry::{RdbName, Sequence, SystemId};
use rjournal::error::{JournalError, ReceiverError};
use rjournal::journal::{Attributes, Control, ControlFile, Order, Rebuilt, Role, decide, traced};
use rjournal_tests::bench_journal::{BenchJournal, DIR, at, name, owner, recover, user_entries};

fn member() -> Member {
    Member {
        system: SystemId::from_bytes([4; 16]),
        rdb: RdbName::new("BKP").expect("a name"),
        journal: name("BKPLIB/JRN"),
        level: Level::Written,
        acknowledged: Sequence::new(2),
    }
}

/// A journal of several receivers and two openings; BKP is in its in-sync set since its first receiver.
fn journal() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let attributes = Attributes {
        threshold: 64 * 1024,
        ..Attributes::default()
    };
    let mut bench = BenchJournal::create(&disk, attributes, 7).expect("a journal");
    let change = SetChange {
        required: 1,
        policy: Policy::Block,
        reason: SetReason::Joined,
        members: vec![member()],
        left: Vec::new(),
    };
    bench.journal.deposit_set_change(&change, at(2));
    for opening in 0..2 {
        for n in 0..120_u32 {
            drop(bench.deposit(format!("{opening} {n} ").repeat(200).as_bytes()));
            bench.writer_spare();
            bench.step().expect("a good disk");
        }
        drop(bench);
        bench = BenchJournal::reopen(&disk, 8 + opening).expect("a journal");
    }
    disk
}

fn slot(slot: &str) -> PathBuf {
    Path::new(DIR).join(format!("control.{slot}"))
}

fn receiver(number: u32) -> PathBuf {
    Path::new(DIR).join(format!("receivers/r{number:08}.rcv"))
}

fn without_control(disk: &MemoryDisk) -> CrashedDisk {
    let mut image = disk.image();
    image.flip(&slot("a"), 60, 1);
    image.flip(&slot("b"), 60, 1);
    image
}

fn control(disk: &MemoryDisk) -> Result<Control, JournalError> {
    let (file, stale) = ControlFile::open(Arc::new(disk.clone()), Path::new(DIR))?;
    assert_eq!(stale, None);
    Ok(file.get().clone())
}

fn read(disk: &MemoryDisk) -> Result<Rebuilt, JournalError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let asked = (Role::Local, Sequence::NONE);
    let mut found = traced(&disk, Path::new(DIR), asked, &|_| {})?;
    let order = Order {
        role: Role::Local,
        name: None,
        fed_by: None,
        owner: owner(),
    };
    decide(&mut found.history, found.records, found.orphans, &order)
}

fn rebuild(disk: &MemoryDisk) -> Result<Vec<PathBuf>, JournalError> {
    let rebuilt = read(disk)?;
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    ControlFile::replace_lost(&disk, Path::new(DIR), rebuilt.control)
}

/// What a control file says of receivers, dates apart.
fn chain(control: &Control) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let records = control.receivers.iter();
    records
        .map(|record| {
            (
                record.receiver,
                record.name,
                record.file,
                record.before,
                record.last,
            )
        })
        .collect()
}

/// One slot on blocks that cannot be read leaves the other one, which is told, and is not lost; two are made again.
#[test]
fn a_slot_on_unreadable_blocks_is_told_and_two_are_made_again() {
    let disk = journal();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let before = control(&disk).expect("it can be read");
    disk.fail_reads(&slot("a"));
    let (_, stale) = ControlFile::open(Arc::clone(&shared), Path::new(DIR)).expect("the other one");
    assert!(stale.is_some_and(|why| why.starts_with("control.a: ")));
    assert!(rebuild(&disk).is_err(), "it is not lost");
    disk.fail_reads(&slot("b"));
    let refused = ControlFile::open(shared, Path::new(DIR)).expect_err("none can be read");
    let refused = refused.to_string();
    for told in ["control.a: ", "control.b: ", "RPRJRN"] {
        assert!(refused.contains(told), "{told}: {refused}");
    }
    assert_eq!(rebuild(&disk).expect("whole receivers").len(), 2);
    let after = control(&disk).expect("the new one");
    assert_eq!(chain(&after), chain(&before));
}

#[test]
fn what_is_made_again_is_what_was_lost() {
    let disk = journal();
    let before = control(&disk).expect("a control file");
    assert!(before.receivers.len() > 3, "{}", before.receivers.len());
    let lost = without_control(&disk).power_on();
    assert!(matches!(
        control(&lost),
        Err(JournalError::ControlDamaged { .. })
    ));
    let kept = rebuild(&lost).expect("whole receivers");
    assert_eq!(kept.len(), 2, "{kept:?}");
    let after = control(&lost).expect("a control file");
    assert_eq!(chain(&after), chain(&before));
    assert_eq!(after.checkpoint, before.checkpoint);
    assert_eq!(
        (after.journal, after.name, after.epoch, &after.kind),
        (before.journal, before.name, before.epoch, &before.kind)
    );
    assert_eq!(after.attributes.threshold, before.attributes.threshold);
    let links: Vec<_> = after.links.iter().map(|link| link.target).collect();
    assert_eq!(links, [member().journal]);
    // Not twice: it is not lost any more.
    let again = rebuild(&lost).expect_err("it can be read");
    assert!(matches!(again, JournalError::Rebuild(_)), "{again}");
}

#[test]
fn a_crash_at_any_sync_leaves_no_control_file_or_the_one_made_again() {
    let disk = journal();
    let truth = user_entries(&recover(&disk).expect("a journal"));
    let epoch = control(&disk).expect("a control file").epoch;
    let lost = without_control(&disk);
    let mut finished = false;
    for cut in 1..20 {
        let disk = lost.clone().power_on();
        disk.die_at_sync(cut);
        let rebuilt = rebuild(&disk).is_ok();
        for seed in 0..6 {
            let after = disk.crash(seed).power_on();
            if control(&after).is_err() {
                assert!(!rebuilt, "cut {cut} seed {seed}");
                rebuild(&after).expect("it can be given again");
            }
            let recovered = recover(&after).expect("a journal");
            assert_eq!(recovered.epoch(), epoch);
            let set = recovered.set().map(|(_, set)| set.members.clone());
            assert_eq!(set, Some(vec![member()]), "it asks before it opens");
            assert_eq!(user_entries(&recovered), truth);
        }
        if rebuilt {
            finished = true;
            break;
        }
    }
    assert!(finished);
}

/// What is not whole is nothing to make a control file from, and stays as it is.
#[test]
fn damaged_or_missing_receivers_are_refused_and_nothing_is_changed() {
    let whole = without_control(&journal());
    let mut damaged = whole.clone();
    damaged.flip(&receiver(2), 9000, 1);
    let mut headless = whole.clone();
    headless.flip(&receiver(2), 20, 1);
    let mut hole = whole.clone();
    hole.remove(&receiver(2));
    for (image, what) in [(damaged, "damaged"), (headless, "headless"), (hole, "hole")] {
        let disk = image.clone().power_on();
        let error = rebuild(&disk).expect_err(what);
        let as_told = matches!(
            (&error, what),
            (
                JournalError::Receiver(ReceiverError::Corrupt { .. }),
                "damaged"
            ) | (
                JournalError::Receiver(ReceiverError::Headless { .. }),
                "headless"
            ) | (
                JournalError::Receiver(ReceiverError::NotJoined { .. }),
                "hole"
            )
        );
        assert!(as_told, "{what}: {error}");
        for path in image.paths() {
            let left = disk.image();
            assert_eq!(
                left.content(path),
                image.content(path),
                "{}",
                path.display()
            );
        }
    }
}

/// The entry that set the in-sync set was deleted with its receiver: it may have named anybody.
#[test]
fn a_journal_whose_set_is_not_in_its_receivers_stays_closed() {
    let mut image = without_control(&journal());
    image.remove(&receiver(1));
    let disk = image.power_on();
    rebuild(&disk).expect("receivers that are a chain");
    let recovered = recover(&disk).expect("a journal");
    assert!(recovered.set().is_none());
    assert!(recovered.control().stopped.is_some());
}
