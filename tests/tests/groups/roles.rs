//! Recovery groups: made, switched, taken over, joined again, when nothing else goes wrong; two systems and three.

use rjournal::daemon::command::journal::AttributePatch;
use rjournal::journal::AckClass;
use rjournal::remote::MemberRole;
use rjournal_tests::groups::Group;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_handed_over_and_back_and_every_copy_is_equal() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    group.deposit_sync("PRD", "first").await;
    let report = group.switch("PRD", "BKP").await.expect("a switch");
    assert_eq!(report.term, Some(2), "{report:?}");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.deposit_sync("BKP", "second").await;
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    let report = group.switch("BKP", "PRD").await.expect("a switch");
    assert_eq!(report.term, Some(3), "{report:?}");
    group.settled("BKP", MemberRole::Backup, 3).await;
    group.deposit_sync("PRD", "third").await;
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    group
        .equal(("PRD", "PRDLIB/BKP"), ("BKP", "BKPLIB/BKP"))
        .await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_over_and_the_old_primary_follows_when_it_is_back() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let last = group.deposit_sync("PRD", "before").await;
    group.stop("PRD").await;
    let refused = group.take_over("BKP", false).await.expect_err("a doubt");
    assert_eq!(refused.id, "RJN7105", "{refused}");
    assert_eq!(
        group.described("BKP").await.promised,
        1,
        "nothing was changed"
    );
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert_eq!(report.term, Some(2));
    assert!(report.last >= last, "{report:?}");
    let (class, _) = group.deposit("BKP", "alone").await;
    assert_eq!(class, AckClass::Local);
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.switch("BKP", "PRD").await.expect("a switch");
    group.settled("PRD", MemberRole::Primary, 3).await;
    group.deposit_sync("PRD", "home").await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_lives_is_fenced_by_a_takeover_and_follows() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    group.deposit_sync("PRD", "before").await;
    // It answers, so nothing it said alone can be unknown.
    let report = group.take_over("BKP", false).await.expect("a takeover");
    assert!(report.fenced_primary, "{report:?}");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "after").await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_primary_had_alone_is_set_aside_when_it_comes_back() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    group.deposit_sync("PRD", "shared").await;
    group.stop("BKP").await;
    let alone = async {
        loop {
            if group.deposit("PRD", "alone").await.0 == AckClass::Local {
                return;
            }
        }
    };
    alone.await;
    group.stop("PRD").await;
    group.start("BKP").await;
    group.take_over("BKP", true).await.expect("a takeover");
    group.deposit("BKP", "new").await;
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    let archived = rjournal_tests::systems::messages(group.system("PRD"), "RJN3001").await;
    assert_eq!(archived.len(), 1, "{archived:?}");
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_three_systems_two_follow_whoever_is_primary() {
    let mut group = Group::new(&["PRD", "BKP", "DRC"], AttributePatch::default()).await;
    group.deposit_sync("PRD", "first").await;
    group.stop("PRD").await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert_eq!(report.term, Some(2));
    group.settled("DRC", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "second").await;
    group
        .equal(("BKP", "BKPLIB/BKP"), ("DRC", "DRCLIB/BKP"))
        .await;
    group.stop("BKP").await;
    let refused = group
        .take_over("DRC", false)
        .await
        .expect_err("two are missing");
    assert_eq!(refused.id, "RJN7105", "{refused}");
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.take_over("DRC", true).await.expect("a takeover");
    group.start("BKP").await;
    for member in ["PRD", "BKP"] {
        group.settled(member, MemberRole::Backup, 3).await;
    }
    group.deposit_sync("DRC", "third").await;
    for member in ["PRD", "BKP"] {
        let copy = format!("{member}LIB/DRC");
        group.equal(("DRC", "DRCLIB/DRC"), (member, &copy)).await;
    }
    group.stop_all().await;
}
