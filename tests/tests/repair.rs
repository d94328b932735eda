//! A damaged journal gets its bytes back from its partner, over real QUIC: detached and attached receivers, headers and
//! whole files, on the source and on the target, in use and not; and nothing is changed where nobody can prove a byte.

use std::path::Path;
use std::time::Duration;

use rjournal::CommandError;
use rjournal::System;
use rjournal::daemon::command::journal::{AttributePatch, JournalDescription, JournalState};
use rjournal::daemon::command::repair::DamageKind::{self, Bundles, Header};
use rjournal::daemon::command::repair::{RepairJournal, Repaired};
use rjournal::daemon::command::verify::Verify;
use rjournal::journal::AckClass;
use rjournal_tests::systems::{
    Place, Two, allow_journals, deposit, describe, flip, messages, name, receiver_files, start,
    until, written,
};

const SOURCE: &str = "PRDLIB/JRN";
const TARGET: &str = "BKPLIB/JRN";
const WITHIN: Duration = Duration::from_secs(30);

/// Two systems with one journal of several receivers, level.
struct Level(Two);

impl Level {
    async fn new() -> Self {
        let small = AttributePatch {
            threshold_kb: Some(64),
            ..AttributePatch::default()
        };
        let level = Self(Two::in_sync(small).await);
        level.fill(300).await;
        level
    }

    /// So many deposits that are answered SYNC, over several receivers; before them as many as the target needs to be in
    /// sync again.
    async fn fill(&self, count: usize) {
        let in_sync =
            async { while deposit(&self.0.prd, "meanwhile", WITHIN).await != AckClass::Sync {} };
        tokio::time::timeout(Duration::from_secs(30), in_sync)
            .await
            .expect("the target is in sync again");
        for n in 0..count {
            let text = format!("entry {n} {}", "x".repeat(700));
            assert_eq!(
                deposit(&self.0.prd, &text, WITHIN).await,
                AckClass::Sync,
                "{n}"
            );
        }
    }

    fn of(&self, on_source: bool) -> (&Place, &System, &'static str) {
        let two = &self.0;
        if on_source {
            (&two.prd_place, &two.prd, SOURCE)
        } else {
            (&two.bkp_place, &two.bkp, TARGET)
        }
    }

    async fn stop(&self, on_source: bool) {
        self.of(on_source).1.stop().await;
    }

    async fn start(&mut self, on_source: bool) {
        let system = start(&self.of(on_source).0.data).await;
        if on_source {
            self.0.prd = system;
        } else {
            self.0.bkp = system;
        }
    }

    async fn describe(&self, on_source: bool) -> JournalDescription {
        let (_, system, journal) = self.of(on_source);
        describe(system, journal).await
    }

    async fn repair(&self, on_source: bool, check: bool) -> Result<Repaired, CommandError> {
        let (_, system, journal) = self.of(on_source);
        let request = RepairJournal {
            journal: name(journal),
            partner: None,
            role: None,
            check,
        };
        system.run(request).await
    }

    async fn holds(&self, on_source: bool) {
        let (_, system, journal) = self.of(on_source);
        let verify = Verify {
            journal: name(journal),
            partner: None,
        };
        let verified = system.run(verify).await.expect("it can be read");
        assert!(verified.good, "{verified:?}");
    }

    /// Bytes of both systems' receivers, as far as they are written, must be equal.
    async fn assert_equal(&self) {
        self.holds(true).await;
        self.holds(false).await;
        let (ours, theirs) = (self.describe(true).await, self.describe(false).await);
        assert_eq!(ours.receivers.len(), theirs.receivers.len());
        let files = receiver_files(&self.0.prd_place).into_iter();
        for ((one, two), described) in files
            .zip(receiver_files(&self.0.bkp_place))
            .zip(&ours.receivers)
        {
            let read = |path: &Path| std::fs::read(path).expect("a receiver");
            let used = usize::try_from(described.bytes).expect("it fits");
            assert_eq!(read(&one)[..used], read(&two)[..used], "{}", one.display());
        }
    }
}

/// What was kept of damaged files.
fn kept(place: &Place) -> usize {
    let receiver = receiver_files(place).remove(0);
    let dir = receiver.parent().expect("a directory");
    let names = std::fs::read_dir(dir).expect("a directory").flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().contains(".damaged-"))
        .count()
}

/// RCV-3: what rots in a detached receiver is told without anybody asking, and once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rots_in_a_detached_receiver_is_told() {
    let mut two = Level::new().await;
    two.0.bkp.stop().await;
    flip(&receiver_files(&two.0.bkp_place)[1], 4096 + 5000, 1);
    two.0.bkp = start(&two.0.bkp_place.data).await;
    until(async || !messages(&two.0.bkp, "RJN9004").await.is_empty()).await;
    let told = messages(&two.0.bkp, "RJN9004").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].text.contains("RPRJRN"), "{told:?}");
    until(async || two.describe(false).await.state == JournalState::Active).await;
    two.0.stop().await;
}

/// RCV-2: verify finds it while the journal is in use; a detached receiver is replaced without closing the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_receiver_is_repaired_while_the_journal_is_in_use() {
    let two = Level::new().await;
    for on_source in [true, false] {
        let (place, system, journal) = two.of(on_source);
        let files = receiver_files(place);
        assert!(files.len() > 3, "{}", files.len());
        flip(&files[0], 4096 + 5000, 300);
        flip(&files[0], 4096 + 30_000, 1);
        flip(&files[1], 100, 4);
        let truth = written(&files[2]);
        flip(&files[2], 4096, 40_000);
        let verify = Verify {
            journal: name(journal),
            partner: None,
        };
        assert!(!system.run(verify).await.expect("an answer").good);

        let before = two.describe(on_source).await.epoch;
        let checked = two.repair(on_source, true).await.expect("a check");
        assert!(checked.repairable && !checked.repaired, "{checked:?}");
        assert_eq!(kept(place), 0);
        let kinds: Vec<DamageKind> = checked.damage.iter().map(|damage| damage.kind).collect();
        assert_eq!(kinds, [Bundles, Bundles, Header, Bundles], "{checked:?}");

        let repaired = two.repair(on_source, false).await.expect("a repair");
        assert!(repaired.repaired, "{repaired:?}");
        assert_eq!(repaired.damage, checked.damage);
        assert_eq!(kept(place), 3);
        assert!(written(&files[2]) == truth, "other bytes than before");
        assert_eq!(two.describe(on_source).await.epoch, before);
        two.assert_equal().await;
    }
    assert_eq!(deposit(&two.0.prd, "goes on", WITHIN).await, AckClass::Sync);
    for on_source in [true, false] {
        let again = two.repair(on_source, false).await.expect("a repair");
        assert!(again.damage.is_empty() && !again.repaired, "{again:?}");
    }
    two.stop(true).await;
    two.stop(false).await;
}

/// RCV-2: the attached receiver is damaged below what was flushed: the journal does not open, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_opened_comes_back() {
    let mut two = Level::new().await;
    for on_source in [true, false] {
        two.stop(on_source).await;
        let files = receiver_files(two.of(on_source).0);
        let attached = files.last().expect("a receiver");
        flip(attached, 4096 + 200, 100);
        flip(&files[1], 4096 + 9000, 9000);
        two.start(on_source).await;
        let described = two.describe(on_source).await;
        assert_eq!(described.state, JournalState::Damaged, "{described:?}");

        let repaired = two.repair(on_source, false).await.expect("a repair");
        assert!(repaired.repaired && repaired.note.is_none(), "{repaired:?}");
        assert_eq!(kept(two.of(on_source).0), 2);
        // A local journal asks its in-sync set before it opens, a copy is fed again: both by themselves.
        two.fill(3).await;
        two.assert_equal().await;
        two.stop(on_source).await;
        two.start(on_source).await;
        two.fill(3).await;
        assert_eq!(kept(two.of(on_source).0), 2);
    }
    two.stop(true).await;
    two.stop(false).await;
}

/// The same while the journal is in use: it is closed for a moment, and opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attached_receiver_is_repaired_while_the_journal_is_in_use() {
    let two = Level::new().await;
    for on_source in [true, false] {
        let (place, system, journal) = two.of(on_source);
        let files = receiver_files(place);
        let attached = files.last().expect("a receiver");
        let damaged = std::fs::OpenOptions::new()
            .write(true)
            .open(attached)
            .expect("a receiver");
        // In place: the writer has the file open.
        std::os::unix::fs::FileExt::write_all_at(&damaged, &[0x55; 500], 4096 + 300)
            .expect("it can be written");
        let verify = Verify {
            journal: name(journal),
            partner: None,
        };
        let verified = tokio::time::timeout(Duration::from_secs(30), system.run(verify)).await;
        assert!(
            !verified
                .expect("nothing waits for itself")
                .expect("an answer")
                .good
        );
        let repaired = two.repair(on_source, false).await.expect("a repair");
        assert!(repaired.repaired && repaired.note.is_none(), "{repaired:?}");
        two.fill(3).await;
        two.assert_equal().await;
    }
    two.stop(true).await;
    two.stop(false).await;
}

/// RCV-8, RCV-9: a file that is gone, and one that was cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_and_a_shortened_receiver_are_made_again() {
    let mut two = Level::new().await;
    for on_source in [true, false] {
        two.stop(on_source).await;
        let files = receiver_files(two.of(on_source).0);
        std::fs::remove_file(&files[1]).expect("a receiver");
        std::fs::remove_file(files.last().expect("a receiver")).expect("a receiver");
        let cut = std::fs::OpenOptions::new().write(true).open(&files[0]);
        cut.and_then(|file| file.set_len(9000)).expect("it is cut");
        two.start(on_source).await;
        let described = two.describe(on_source).await;
        assert_eq!(described.state, JournalState::Damaged, "{described:?}");
        let repaired = two.repair(on_source, false).await.expect("a repair");
        assert!(repaired.repaired && repaired.note.is_none(), "{repaired:?}");
        two.fill(3).await;
        two.assert_equal().await;
    }
    two.stop(true).await;
    two.stop(false).await;
}

/// Nothing is guessed: where the partner lacks the same bytes, or may not tell, everything stays as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_proof_nothing_is_changed_and_the_missing_entries_are_named() {
    let mut two = Level::new().await;
    two.stop(true).await;
    let ours = receiver_files(&two.0.prd_place);
    flip(&ours[0], 4096 + 6000, 2000);
    flip(ours.last().expect("a receiver"), 4096 + 300, 10);
    let theirs = receiver_files(&two.0.bkp_place);
    flip(&theirs[0], 4096 + 6000, 10);
    let before: Vec<Vec<u8>> = ours
        .iter()
        .map(|path| std::fs::read(path).expect("a file"))
        .collect();
    two.start(true).await;
    let checked = two.repair(true, true).await.expect("a check");
    assert!(!checked.repairable, "{checked:?}");
    let refused = two
        .repair(true, false)
        .await
        .expect_err("half of it is lost");
    assert_eq!(refused.id, "RJN4025");
    let lost = &checked.damage[0];
    let (first, last) = (lost.first.expect("an entry"), lost.last.expect("an entry"));
    let named = format!("entries {first} to {last}");
    assert!(refused.text.contains(&named), "{named}: {refused}");
    let after: Vec<Vec<u8>> = ours
        .iter()
        .map(|path| std::fs::read(path).expect("a file"))
        .collect();
    assert_eq!(after, before);
    assert_eq!(kept(&two.0.prd_place), 0);
    assert_eq!(two.describe(true).await.state, JournalState::Damaged);

    // Damage in different places: the one that is open is repaired first, then the other.
    flip(&theirs[0], 4096 + 6000, 10);
    allow_journals(&two.0.bkp, &[]).await;
    let refused = two.repair(true, false).await.expect_err("it may not read");
    assert!(refused.text.contains("may not read"), "{refused}");
    allow_journals(&two.0.bkp, &["BKPLIB/*ALL"]).await;
    let repaired = two.repair(true, false).await.expect("a repair");
    assert!(repaired.repaired, "{repaired:?}");
    two.fill(3).await;
    two.assert_equal().await;
    two.stop(true).await;
    two.stop(false).await;
}
