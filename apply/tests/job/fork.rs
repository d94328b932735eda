//! A journal that forks: a system and a copy of it, made while a transaction was open, go on each for itself; a third holds a
//! copy of the journal that was cut where they parted, with what lay behind in an archive, and the store of the first, which
//! had applied it. Must not know what a case is about.

#![allow(
    dead_code,
    reason = "the tests of the job and those of the program each use a part of it"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rjournal::daemon::SystemJournal;
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::disk::{Disk, OsDisk};
use rjournal::entry::codec;
use rjournal::entry::record::Value;
use rjournal::entry::{Position, Sequence, SystemId, SystemName, Timestamp};
use rjournal::journal::{Attributes, Copy, SourceRecord};
use rjournal::receiver::StoredBundle;
use rjournal::{Config, System, SystemOptions};
use rjournal_apply::database::{Database, DatabaseOptions, Write};
use rjournal_apply::job::{JobOptions, save_path};
use rjournal_apply::store::StoreKind;
use tempfile::TempDir;

use crate::place::{
    LONG, Place, account, all_rows, delete, in_time, insert, main_store, port, qualified, row,
    start_job, update,
};

/// Where the copy's journal is, in its data directory.
const JOURNAL_DIR: &str = "journals/00000000000000aa";
/// Bytes of the journal read at once.
const READ_BYTES: usize = 1 << 20;

/// The systems, and what is where.
pub(crate) struct Fork {
    _dirs: [TempDir; 2],
    /// The data directory with the cut copy and the store.
    pub(crate) data: PathBuf,
    /// The data directory of the other system, which went on without it.
    pub(crate) other_data: PathBuf,
    /// Where they parted.
    pub(crate) at: Position,
    /// Rows at the fork.
    pub(crate) rows: Vec<Vec<Value>>,
    /// Where the store stood.
    pub(crate) stood: Sequence,
    /// Rows of the other continuation, at its end.
    pub(crate) other_rows: Vec<Vec<Value>>,
    other: Vec<StoredBundle>,
}

/// What a fork is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) kind: StoreKind,
    /// Rows written behind the fork, each alone.
    pub(crate) rows: i64,
    /// Whether the copy knows that the fork is confirmed.
    pub(crate) confirmed: bool,
    /// Whether the job made a save behind the fork.
    pub(crate) saved: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            kind: StoreKind::Sled,
            rows: 40,
            confirmed: true,
            saved: false,
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_dir(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn bundles(journal: &SystemJournal) -> Vec<StoredBundle> {
    let (upto, mut at, mut found) = (journal.readable(), Sequence::NONE, Vec::new());
    while at < upto {
        let some = journal.bundles_after(at, READ_BYTES).await.unwrap();
        at = some.last().unwrap().header.last();
        found.extend(some);
    }
    found
}

fn receive(copy: &mut Copy, bundle: &StoredBundle) {
    if bundle.begins_receiver() {
        copy.receive_header(&bundle.receiver, Timestamp::ZERO)
            .unwrap();
    }
    let receiver = bundle.receiver.receiver;
    let sealed = codec::open(bundle.bytes.clone(), receiver).unwrap();
    copy.receive(&sealed).unwrap();
}

/// The job of the system's store, and what it is written through.
async fn database(
    system: &System,
    data: &Path,
    kind: StoreKind,
) -> (Database, rjournal_apply::job::ApplyJob) {
    let options = JobOptions {
        save: Some(save_path(data, "MAIN".parse().unwrap())),
        ..JobOptions::default()
    };
    let job = start_job(system, data, kind, options).await;
    let options = DatabaseOptions {
        lock_timeout: LONG,
        ..DatabaseOptions::default()
    };
    let port = port(system).await;
    let database = Database::open(port, job.shared().clone(), options).await;
    (database.unwrap(), job)
}

async fn write(database: &Database, write: Write) {
    in_time(database.write(write, None)).await.unwrap();
}

impl Fork {
    #[allow(clippy::too_many_lines, reason = "a story, told in order")]
    pub(crate) async fn new(wanted: Wanted) -> Self {
        let Place { dir, system } = Place::new().await;
        let data = dir.path().join("PRD");
        let (written, job) = database(&system, &data, wanted.kind).await;
        for id in 0..20 {
            write(&written, insert(id, "common", 0)).await;
        }
        let mut open = written.begin(None).await.unwrap();
        for id in 0..10 {
            open.write(update(id, "of the open one", 1)).await.unwrap();
        }
        // Answered, and so is everything before it.
        write(&written, insert(50, "common", 0)).await;
        let rows = all_rows(&written, &account()).await;
        let journal = system.journal(qualified("PRDLIB/JRN")).unwrap();
        let sequence = journal.readable();
        let fork = Position {
            sequence,
            head: journal.facts(sequence).unwrap().head.unwrap(),
        };
        // As a backup of the machine would have it.
        let elsewhere = dir.path().join("OTHER");
        copy_dir(&data, &elsewhere);
        // One goes on: it commits what was open, and changes what is there.
        for id in 10..15 {
            open.write(delete(id)).await.unwrap();
        }
        open.commit().await.unwrap();
        for id in 0..wanted.rows {
            write(&written, insert(100 + id, "behind the fork", 2)).await;
        }
        write(&written, update(0, "twice", 3)).await;
        let upto = journal.readable();
        assert!(in_time(job.shared().wait_applied(upto)).await);
        if wanted.saved {
            let (done, saved) = tokio::sync::oneshot::channel();
            let order = rjournal_apply::job::Order::Save { path: None, done };
            assert!(job.shared().order(order).await);
            in_time(saved).await.unwrap().unwrap();
        }
        let stood = job.shared().applied();
        job.stop().await.unwrap();
        let branch = bundles(&journal).await;
        drop((written, journal));
        system.stop().await;
        drop(system);
        let (other, other_rows) = other_branch(&elsewhere).await;
        let id = branch[0].receiver.journal;
        let backup = tempfile::tempdir().unwrap();
        let target = backup.path().join("BKP");
        let name = SystemName::new("BKP").unwrap();
        System::create(&target, &Config::new(name, None)).unwrap();
        let empty = System::open(SystemOptions::new(&target)).await.unwrap();
        let library = CreateLibrary {
            library: "PRDLIB".parse().unwrap(),
            text: String::new(),
        };
        empty.run(library).await.unwrap();
        empty.stop().await;
        drop(empty);
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&target));
        let source = SourceRecord {
            system: SystemId::from_bytes([3; 16]),
            name: SystemName::new("PRD").unwrap(),
            journal: qualified("PRDLIB/JRN"),
            path: Vec::new(),
        };
        let mut copy = Copy::create(
            disk,
            Path::new(JOURNAL_DIR),
            id,
            qualified("PRDLIB/JRN"),
            source,
            Attributes::default(),
            Timestamp::ZERO,
        )
        .unwrap();
        let (common, behind): (Vec<_>, Vec<_>) = branch
            .iter()
            .partition(|bundle| bundle.header.last() <= fork.sequence);
        for bundle in common {
            receive(&mut copy, bundle);
        }
        copy.flush().unwrap();
        if wanted.confirmed {
            copy.confirm(fork.sequence).unwrap();
        }
        for bundle in behind {
            receive(&mut copy, bundle);
        }
        let archived = copy.archive_behind(fork, "a test", Timestamp::ZERO);
        let archived = archived.unwrap().unwrap();
        assert_eq!((archived.number, archived.fork), (1, fork));
        drop(copy);
        copy_dir(&main_store(&data), &main_store(&target));
        if wanted.saved {
            let own = |data: &Path| save_path(data, "MAIN".parse().unwrap());
            std::fs::copy(own(&data), own(&target)).unwrap();
        }
        Self {
            _dirs: [dir, backup],
            data: target,
            other_data: elsewhere,
            at: fork,
            rows,
            stood,
            other_rows,
            other,
        }
    }

    /// The system with the cut copy.
    pub(crate) async fn open(&self) -> System {
        System::open(SystemOptions::new(&self.data)).await.unwrap()
    }

    /// The other continuation comes; the system is stopped. Gives its end.
    pub(crate) fn feed_other(&self) -> Sequence {
        let disk: Arc<dyn Disk> = Arc::new(OsDisk::new(&self.data));
        // The store may have been beyond the fork when it was asked last.
        let mut copy = Copy::open(disk, Path::new(JOURNAL_DIR), self.stood).unwrap();
        assert_eq!(copy.tip(), self.at);
        for bundle in &self.other {
            receive(&mut copy, bundle);
        }
        copy.flush().unwrap();
        let tip = copy.tip().sequence;
        copy.confirm(tip).unwrap();
        tip
    }

    /// The file with the entries of the archive.
    pub(crate) fn archive(&self) -> PathBuf {
        self.data
            .join(JOURNAL_DIR)
            .join("orphans/orphan000001.entries")
    }
}

/// The other system goes on from the fork. Gives its bundles behind that, and its rows.
async fn other_branch(data: &Path) -> (Vec<StoredBundle>, Vec<Vec<Value>>) {
    // Its store is a copy of files in use: it is made anew.
    drop(std::fs::remove_dir_all(data.join("stores")));
    let options = SystemOptions {
        moved: true,
        ..SystemOptions::new(data)
    };
    let system = System::open(options).await.unwrap();
    let (database, job) = database(&system, data, StoreKind::Sled).await;
    let journal = system.journal(qualified("PRDLIB/JRN")).unwrap();
    write(&database, update(0, "otherwise", 7)).await;
    write(&database, insert(100, "of the other one", 8)).await;
    write(&database, delete(19)).await;
    let rows = all_rows(&database, &account()).await;
    assert!(rows.contains(&row(0, "otherwise", 7)));
    job.stop().await.unwrap();
    let found = bundles(&journal).await;
    drop((database, journal));
    system.stop().await;
    (found, rows)
}

impl Fork {
    /// Leaves of the other continuation what the copy has not.
    pub(crate) fn trimmed(mut self) -> Self {
        let fork = self.at.sequence;
        self.other.retain(|bundle| bundle.header.last() > fork);
        self
    }
}
