//! A system of a group is restored from an older backup or snapshot: an old copy never passes for the present (failures.md RST,
//! COU-2, COU-6, COU-8).

use rjournal::daemon::command::journal::{AttributePatch, ChangeJournal, JournalState, OpenChoice};
use rjournal::journal::AckClass;
use rjournal::remote::MemberRole;
use rjournal_tests::groups::{Group, own};
use rjournal_tests::systems::{describe, until};

/// Whoever does not answer is given up soon.
fn impatient() -> AttributePatch {
    AttributePatch {
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    }
}

async fn pair() -> Group {
    Group::with_lines(&["PRD", "BKP"], impatient()).await
}

/// Puts a member back to what was kept of it, as after the loss of its disk.
async fn restore(group: &mut Group, member: &str, kept: &rjournal_tests::kept::Kept) {
    group.crash(member).await;
    kept.put_back();
    group.start(member).await;
}

/// An operator's word on the own journal of a member.
async fn open(group: &Group, member: &str, choice: OpenChoice) {
    let change = ChangeJournal {
        journal: own(member),
        receiver: None,
        open: Some(choice),
        attributes: AttributePatch::default(),
        force: false,
        fed: None,
    };
    group.system(member).run(change).await.expect("his word");
}

/// RST-1, COU-2, RST-3: the boot it was opened in is repeated, and what it answered since comes back before it opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restored_from_a_backup_gets_back_what_it_answered_before_it_opens() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let kept = group.keep("PRD");
    let answered = group.deposit_sync("PRD", "answered since").await;
    restore(&mut group, "PRD", &kept).await;
    let next = group.deposit_sync("PRD", "goes on").await;
    assert!(next > answered, "{next} {answered}");
    group.settled("PRD", MemberRole::Primary, 1).await;
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    assert!(group.told("BKP", "RJN3001").await.is_empty());
    group.stop_all().await;
}

/// RST-1: its backup knows of no in-sync set: whoever it hears of has more than it has, and it does not open behind that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restored_from_before_its_in_sync_set_does_not_open_behind_a_member() {
    let mut group = pair().await;
    group.cut("PRD");
    group.deposit_local("PRD", "alone").await;
    let kept = group.keep("PRD");
    group.mend("PRD");
    let answered = group.deposit_sync("PRD", "answered since").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.settled >= answered
    })
    .await;
    restore(&mut group, "PRD", &kept).await;
    let told = group.tells("PRD", "RJN7011").await.remove(0);
    assert!(told.contains(&answered.to_string()), "{told}");
    assert!(group.is_silent("PRD").await);
    let closed = describe(group.system("PRD"), "PRDLIB/JRN").await;
    assert_eq!(closed.state, JournalState::Opening, "{closed:?}");
    // The member goes on with what was answered.
    let report = group.take_over("BKP", false).await.expect("it is whole");
    assert!(report.last >= answered, "{report:?}");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "goes on").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// RST-2, COU-4: an operator opened the restored copy alone. The other has more that is confirmed: neither gives way by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_primary_that_was_opened_alone_is_refused_by_whoever_has_what_it_answered() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let kept = group.keep("PRD");
    let answered = group.deposit_sync("PRD", "answered since").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.settled >= answered
    })
    .await;
    group.crash("PRD").await;
    kept.put_back();
    group.cut("PRD");
    group.start("PRD").await;
    open(&group, "PRD", OpenChoice::Alone).await;
    let (class, _) = group.deposit("PRD", "another history").await;
    assert_eq!(class, AckClass::Local);
    group.mend("PRD");
    until(async || {
        let link = describe(group.system("PRD"), "PRDLIB/JRN").await.links;
        let note = link[0].note.clone().unwrap_or_default();
        note.contains("DIVERGED")
    })
    .await;
    let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
    assert!(there.watermarks.written >= answered, "nothing is cut");
    assert!(group.told("BKP", "RJN3001").await.is_empty());
    // Who goes on is an operator's choice: here it is the one that has what was answered.
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(report.last >= answered, "{report:?}");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "goes on").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// RST-4, COU-6, IDN-1: it had acknowledged more, and does not count before it has that again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restored_from_an_older_copy_is_told_and_caught_up_before_it_counts() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let kept = group.keep("BKP");
    group.deposit_sync("PRD", "answered since").await;
    restore(&mut group, "BKP", &kept).await;
    group.deposit_sync("PRD", "goes on").await;
    let told = group.tells("PRD", "RJN3002").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("TARGET_WENT_BACK"), "{told:?}");
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// RST-2, RST-3, COU-5: restored to a time when it was primary, while another is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_restored_to_when_it_was_primary_learns_that_it_is_none() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let kept = group.keep("PRD");
    group.switched("PRD", "BKP", 2).await;
    group.deposit_sync("BKP", "in the next term").await;
    restore(&mut group, "PRD", &kept).await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    assert!(group.is_silent("PRD").await);
    group.deposit_sync("BKP", "together").await;
    for journal in ["JRN", "BKP"] {
        let [there, here] = ["BKP", "PRD"].map(|member| format!("{member}LIB/{journal}"));
        group.equal(("BKP", &there), ("PRD", &here)).await;
    }
    group.stop_all().await;
}

/// RST-1, RST-3: the primary is restored to before its own takeover: it remembers no term of its own, and a member does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_primary_restored_to_before_its_term_stays_closed_and_loses_nothing_to_the_other() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let kept = group.keep("BKP");
    group.switched("PRD", "BKP", 2).await;
    let answered = group.deposit_sync("BKP", "in the next term").await;
    restore(&mut group, "BKP", &kept).await;
    group.promised("BKP", 2).await;
    assert!(group.is_silent("BKP").await);
    let report = group.take_over("PRD", false).await.expect("it is whole");
    assert_eq!(report.term, Some(3), "{report:?}");
    assert!(report.last >= answered, "{report:?}");
    group.settled("BKP", MemberRole::Backup, 3).await;
    group.deposit_sync("PRD", "goes on").await;
    for journal in ["JRN", "BKP"] {
        let [here, there] = ["PRD", "BKP"].map(|member| format!("{member}LIB/{journal}"));
        group.equal(("PRD", &here), ("BKP", &there)).await;
    }
    group.stop_all().await;
}

/// RST-1, COU-8: the primary of a later term is restored to the middle of it, and was opened again since: it is an older copy of
/// itself, and an operator's word brings it forward.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_restored_to_the_middle_of_its_term_gets_the_rest_of_it_back() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    group.switched("PRD", "BKP", 2).await;
    group.deposit_sync("BKP", "in the next term").await;
    let kept = group.keep("BKP");
    group.crash("BKP").await;
    group.start("BKP").await;
    let answered = group.deposit_sync("BKP", "in a later boot").await;
    restore(&mut group, "BKP", &kept).await;
    until(async || {
        let closed = describe(group.system("BKP"), "BKPLIB/BKP").await;
        let note = closed.note.unwrap_or_default();
        closed.state == JournalState::Opening && note.contains("*ADOPT")
    })
    .await;
    assert!(group.is_silent("BKP").await);
    open(&group, "BKP", OpenChoice::Adopt).await;
    let next = group.deposit_sync("BKP", "goes on").await;
    assert!(next > answered, "{next} {answered}");
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group.stop_all().await;
}

/// RST-5: both are restored, from backups of different times: the chain says what they have in common, and the longer one is
/// adopted before anybody opens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_restored_from_different_times_go_on_with_what_the_later_one_has() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "first").await;
    let early = group.keep("PRD");
    let second = group.deposit_sync("PRD", "second").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.written >= second
    })
    .await;
    let late = group.keep("BKP");
    group.deposit_sync("PRD", "in neither").await;
    group.crash("PRD").await;
    group.crash("BKP").await;
    early.put_back();
    late.put_back();
    group.start("PRD").await;
    group.start("BKP").await;
    let next = group.deposit_sync("PRD", "goes on").await;
    assert!(next > second, "{next} {second}");
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    group.stop_all().await;
}
