//! Groups of three: who may have what the one that takes over lacks, two that take over at once, and a second takeover before the
//! first old primary is back (failures.md BRD, PRO-12, CSC-2).

use rjournal::daemon::command::journal::{AttributePatch, ChangeJournal, OpenChoice};
use rjournal::daemon::command::remote_journal::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, WantedState,
};
use rjournal::entry::control_entry::Policy;
use rjournal::journal::{AckClass, DeliveryMode};
use rjournal::remote::MemberRole;
use rjournal_tests::groups::Group;
use rjournal_tests::lines::Line;
use rjournal_tests::systems::{describe, name, rdb, until};

const NAMES: [&str; 3] = ["PRD", "BKP", "DRC"];

/// Whoever does not answer is given up soon.
async fn three(policy: Policy) -> Group {
    let attributes = AttributePatch {
        policy: Some(policy),
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    };
    Group::with_lines(&NAMES, attributes).await
}

/// Deposits until the in-sync set has so many members.
async fn deposit_in_set_of(group: &Group, members: usize) {
    until(async || {
        group.deposit("PRD", "how many").await;
        let here = describe(group.system("PRD"), "PRDLIB/JRN").await;
        here.in_sync_set.len() == members
    })
    .await;
}

/// BRD-1, rulings 3 and 26: it was answered SYNC on the other backup alone, and the primary is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_other_backup_has_is_fetched_before_a_term_is_opened() {
    let mut group = three(Policy::Degrade).await;
    deposit_in_set_of(&group, 2).await;
    group.cut("DRC");
    deposit_in_set_of(&group, 1).await;
    let (class, answered) = group.deposit("PRD", "on one of them").await;
    assert_eq!(class, AckClass::Sync);
    group.crash("PRD").await;
    // Whoever may have it is named, and no word is enough for nothing.
    group.cut("DRC");
    let refused = group.take_over("DRC", false).await.expect_err("a doubt");
    assert_eq!(refused.id, "RJN7105", "{refused}");
    for name in ["PRD", "BKP"] {
        assert!(refused.text.contains(name), "{refused}");
    }
    assert_eq!(group.described("DRC").await.promised, 1);
    group.mend("DRC");
    until(async || {
        let other = group.described("DRC").await.members.remove(1);
        other.error.is_none()
    })
    .await;
    let report = group.take_over("DRC", true).await.expect("a takeover");
    assert!(report.fetched > 0 && report.last >= answered, "{report:?}");
    group.settled("BKP", MemberRole::Backup, 2).await;
    group.deposit_sync("DRC", "goes on").await;
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    for member in ["PRD", "BKP"] {
        let [own, other] = ["DRC", "JRN"].map(|journal| format!("{member}LIB/{journal}"));
        group.equal(("DRC", "DRCLIB/DRC"), (member, &own)).await;
        group.equal(("DRC", "DRCLIB/JRN"), (member, &other)).await;
    }
    group.stop_all().await;
}

/// BRD-2, CSC-2, ruling 32: two were not heard, and an operator took that loss. Whoever has what was given up, confirmed, does not
/// cut it by itself: it stops and says so. The other two go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_has_confirmed_what_a_takeover_gave_up_keeps_it_until_an_operator_decides() {
    let mut group = three(Policy::Degrade).await;
    deposit_in_set_of(&group, 2).await;
    group.cut("DRC");
    deposit_in_set_of(&group, 1).await;
    let (_, answered) = group.deposit("PRD", "on one of them").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.settled >= answered
    })
    .await;
    let report = group.take_over("DRC", true).await.expect("a takeover");
    assert!(report.last < answered, "{report:?}");
    group.mend("DRC");
    group.settled("PRD", MemberRole::Backup, 2).await;
    until(async || group.described("BKP").await.role == MemberRole::Stopped).await;
    let told = group.tells("BKP", "RJN7006").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("*ADOPT"), "{told:?}");
    let kept = describe(group.system("BKP"), "BKPLIB/JRN").await;
    assert!(kept.watermarks.written >= answered, "{kept:?}");
    group.deposit_sync("DRC", "goes on").await;
    group
        .equal(("DRC", "DRCLIB/DRC"), ("PRD", "PRDLIB/DRC"))
        .await;
    // An operator gives it up there as well.
    let adopt = ChangeJournal {
        journal: name("BKPLIB/JRN"),
        receiver: None,
        open: Some(OpenChoice::Adopt),
        attributes: AttributePatch::default(),
        force: false,
        fed: None,
    };
    group.system("BKP").run(adopt).await.expect("his word");
    group.settled("BKP", MemberRole::Backup, 2).await;
    for journal in ["JRN", "DRC"] {
        let [here, there] = ["DRC", "BKP"].map(|member| format!("{member}LIB/{journal}"));
        group.equal(("DRC", &here), ("BKP", &there)).await;
    }
    let kept = describe(group.system("BKP"), "BKPLIB/JRN").await;
    assert_eq!(kept.orphans, 1, "{kept:?}");
    group.stop_all().await;
}

/// BRD-3, section 4.7 point 7: two operators, and none of the systems hears another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_opened_one_term_stop_when_they_meet_and_an_operator_picks() {
    let mut group = three(Policy::Degrade).await;
    group.deposit_sync("PRD", "before").await;
    group.crash("PRD").await;
    group.line("BKP", "DRC").set(Line::Cut);
    group.line("DRC", "BKP").set(Line::Cut);
    for member in ["BKP", "DRC"] {
        let report = group.take_over(member, true).await.expect("a takeover");
        assert_eq!(report.term, Some(2), "{report:?}");
        let (class, _) = group.deposit(member, "alone").await;
        assert_eq!(class, AckClass::Local);
    }
    group.mend("BKP");
    for member in ["BKP", "DRC"] {
        until(async || group.described(member).await.role == MemberRole::Stopped).await;
        assert_eq!(group.tells(member, "RJN7005").await.len(), 1);
        assert!(group.is_silent(member).await);
    }
    let report = group.take_over("BKP", true).await.expect("his choice");
    assert_eq!(report.term, Some(3), "{report:?}");
    group.settled("DRC", MemberRole::Backup, 3).await;
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 3).await;
    group.deposit_sync("BKP", "together").await;
    for member in ["PRD", "DRC"] {
        let copy = format!("{member}LIB/BKP");
        group.equal(("BKP", "BKPLIB/BKP"), (member, &copy)).await;
    }
    assert_eq!(group.tells("DRC", "RJN3001").await.len(), 1);
    group.stop_all().await;
}

/// PRO-12: three terms, and in each of the first two its primary answered something alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_takeover_before_the_first_primary_is_back_finds_the_fork_of_each_term() {
    let mut group = three(Policy::Degrade).await;
    deposit_in_set_of(&group, 2).await;
    group.cut("PRD");
    group.deposit_local("PRD", "alone in term 1").await;
    group.take_over("BKP", true).await.expect("a takeover");
    group.settled("DRC", MemberRole::Backup, 2).await;
    let shared = group.deposit_sync("BKP", "shared in term 2").await;
    group.cut("BKP");
    group.deposit_local("BKP", "alone in term 2").await;
    let report = group.take_over("DRC", true).await.expect("a takeover");
    assert!(
        report.term == Some(3) && report.last >= shared,
        "{report:?}"
    );
    group.mend("PRD");
    group.mend("BKP");
    for member in ["PRD", "BKP"] {
        group.settled(member, MemberRole::Backup, 3).await;
        let archived = group.tells(member, "RJN3001").await;
        assert_eq!(archived.len(), 1, "{member}: {archived:?}");
    }
    group.deposit_sync("DRC", "together").await;
    for member in ["PRD", "BKP"] {
        for journal in ["JRN", "BKP", "DRC"] {
            let [here, there] = ["DRC", member].map(|of| format!("{of}LIB/{journal}"));
            group.equal(("DRC", &here), (member, &there)).await;
        }
    }
    group.stop_all().await;
}

/// CSC-2, CSC-4, ruling 6: a copy that is fed by the backup, and no member. It gets the tail of the closed term from the one that took
/// over, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_below_the_backup_gets_the_tail_that_was_taken_over() {
    let attributes = AttributePatch {
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    };
    let mut group = Group::acquainted(&["PRD", "BKP", "END"], attributes, true, |_| {}).await;
    group.create(&["PRD", "BKP"], true).await;
    group.deposit_sync("PRD", "before").await;
    let add = AddRemoteJournal {
        rdb: rdb("END"),
        source: name("BKPLIB/JRN"),
        target: Some(name("ENDLIB/JRN")),
        text: String::new(),
    };
    group.system("BKP").run(add).await.expect("a fresh one");
    let activate = ChangeRemoteJournal {
        rdb: rdb("END"),
        source: name("BKPLIB/JRN"),
        target: None,
        state: Some(WantedState::Active),
        delivery: Some(DeliveryMode::Async),
        level: None,
        begin: BeginAt::Oldest,
        wait_ms: 120_000,
        text: None,
        force: false,
    };
    group.system("BKP").run(activate).await.expect("it is fed");
    group.cut("PRD");
    let report = group.take_over("BKP", true).await.expect("a takeover");
    until(async || {
        let end = describe(group.system("END"), "ENDLIB/JRN").await;
        end.watermarks.written == report.last
    })
    .await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("END", "ENDLIB/JRN"))
        .await;
    group.mend("PRD");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group.stop_all().await;
}
