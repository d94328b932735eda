//! An old primary comes back with something broken: damage in its journal, receivers that are gone, or more than the new primary
//! has (failures.md COU, RCV-2, PRO-6, PRO-9).

use rjournal::daemon::command::journal::{AttributePatch, JournalState};
use rjournal::daemon::command::repair::RepairJournal;
use rjournal::remote::MemberRole;
use rjournal_tests::groups::Group;
use rjournal_tests::systems::{describe, flip, name, until, written};

/// Whoever does not answer is given up soon; receivers are small.
async fn pair() -> Group {
    let attributes = AttributePatch {
        sync_timeout_ms: Some(300),
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    Group::with_lines(&["PRD", "BKP"], attributes).await
}

async fn repair(group: &Group, member: &str, journal: &str) {
    let request = RepairJournal {
        journal: name(journal),
        partner: None,
        role: None,
        check: false,
    };
    // The line may not be mended yet: an operator gives it again.
    until(async || group.system(member).run(request.clone()).await.is_ok()).await;
}

/// RCV-2, PRO-6: what was flushed is damaged. Nothing is cut for it, and nothing but the repair is needed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_whose_journal_is_damaged_follows_once_it_is_repaired() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let receiver = group.receivers("PRD", "PRDLIB/JRN").await.pop();
    let receiver = receiver.expect("an attached one");
    group.crash("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    flip(&receiver, written(&receiver).len() / 2, 4);
    group.start("PRD").await;
    group.promised("PRD", 2).await;
    let damaged = describe(group.system("PRD"), "PRDLIB/JRN").await;
    assert_eq!(damaged.state, JournalState::Damaged, "{damaged:?}");
    repair(&group, "PRD", "PRDLIB/JRN").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.switched("BKP", "PRD", 3).await;
    group.stop_all().await;
}

/// RCV-9, PRO-6: receivers in the middle are gone. They are got from the other under their identities, and nothing is renumbered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_lost_a_receiver_follows_once_it_is_repaired() {
    let mut group = pair().await;
    let many = "x".repeat(20_000);
    for _ in 0..12 {
        group.deposit_sync("PRD", &many).await;
    }
    let receivers = group.receivers("PRD", "PRDLIB/JRN").await;
    assert!(receivers.len() > 3, "{receivers:?}");
    group.crash("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    std::fs::remove_file(&receivers[1]).expect("it was there");
    group.start("PRD").await;
    group.promised("PRD", 2).await;
    repair(&group, "PRD", "PRDLIB/JRN").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// PRO-3, COU: the copy of a backup is repaired from the primary, and it may take over again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_whose_copy_was_damaged_takes_over_once_it_is_repaired() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let receiver = group.receivers("BKP", "BKPLIB/JRN").await.pop();
    let receiver = receiver.expect("an attached one");
    group.crash("BKP").await;
    flip(&receiver, written(&receiver).len() / 2, 4);
    group.start("BKP").await;
    repair(&group, "BKP", "BKPLIB/JRN").await;
    let last = group.deposit_sync("PRD", "after the repair").await;
    group.crash("PRD").await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(report.last >= last, "{report:?}");
    group.stop_all().await;
}

/// PRO-6, COU-3, I9: it dies again and again while it sets aside what it had alone; it is archived once and never lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_dies_while_it_comes_back_sets_aside_once() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "shared").await;
    group.cut("PRD");
    for _ in 0..4 {
        group.deposit_local("PRD", "alone").await;
    }
    group.take_over("BKP", true).await.expect("a takeover");
    group.deposit("BKP", "new").await;
    for _ in 0..3 {
        group.crash("PRD").await;
        group.start("PRD").await;
    }
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    let mine = describe(group.system("PRD"), "PRDLIB/JRN").await;
    assert_eq!(mine.orphans, 1, "{mine:?}");
    group.stop_all().await;
}

/// PRO-6, COU-1: nothing forked, and both have all of it: it only follows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_has_nothing_of_its_own_leaves_no_archive() {
    let mut group = pair().await;
    let last = group.deposit_sync("PRD", "shared").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.settled >= last
    })
    .await;
    group.crash("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    let mine = describe(group.system("PRD"), "PRDLIB/JRN").await;
    assert_eq!(mine.orphans, 0, "{mine:?}");
    assert!(group.told("PRD", "RJN3001").await.is_empty());
    group.stop_all().await;
}
