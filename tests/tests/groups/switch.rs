//! Planned switches that are interrupted, on either side: before the hand-over entry, behind it, and behind the new term
//! (failures.md SWB).

use std::path::PathBuf;

use rjournal::daemon::command::group::{SwitchPrimary, Switched};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::{ErrorKind, SwitchReport};
use rjournal::entry::SystemName;
use rjournal::journal::{AckClass, Answer};
use rjournal::remote::MemberRole;
use rjournal::{CommandError, System};
use rjournal_tests::groups::Group;
use rjournal_tests::lines::Line;
use rjournal_tests::systems::{allow_journals, describe, until};
use tokio::task::JoinHandle;

/// Whoever does not answer is given up soon.
fn impatient() -> AttributePatch {
    AttributePatch {
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    }
}

/// The operator's command on the primary, which waits before the step until a test has done what it wants in between.
struct Gate {
    reached: PathBuf,
    go: PathBuf,
}

impl Gate {
    /// Has PRD, which is started again, wait before it switches.
    async fn before_switch(group: &mut Group) -> Self {
        let [reached, go] = ["reached", "go"].map(|name| group.dir().join(name));
        for fifo in [&reached, &go] {
            let made = std::process::Command::new("mkfifo").arg(fifo).status();
            assert!(made.expect("mkfifo runs").success());
        }
        let command = format!(
            "test $RJOURNAL_STEP != before-switch || {{ echo > {}; cat {}; }}",
            reached.display(),
            go.display()
        );
        let config = group.place("PRD").data.join("rjournal.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let text = text.replace("role_hook_seconds = 10", "role_hook_seconds = 120");
        let text = format!("on_role = {command:?}\n{text}");
        std::fs::write(&config, text).expect("it can be written");
        group.stop("PRD").await;
        group.start("PRD").await;
        Self { reached, go }
    }

    /// The switch has begun: everything was found ready, and nothing was done.
    async fn reached(&self) {
        let path = self.reached.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read(path));
        read.await.expect("it ends").expect("it was written");
    }

    /// It goes on.
    async fn go(&self) {
        let path = self.go.clone();
        let write = tokio::task::spawn_blocking(move || std::fs::write(path, "go"));
        write.await.expect("it ends").expect("it is read");
    }
}

const fn order(abort: bool) -> SwitchPrimary {
    SwitchPrimary {
        group: None,
        to: None,
        plan: false,
        abort,
        drain_ms: 200,
        behind_max: 10_000,
    }
}

type Switching = JoinHandle<Result<SwitchReport, CommandError>>;

fn begin(prd: &System) -> Switching {
    let prd = prd.clone();
    tokio::spawn(async move {
        let to = SystemName::new("BKP").ok();
        match prd.run(SwitchPrimary { to, ..order(false) }).await? {
            Switched::To(report) => Ok(report),
            Switched::Back { .. } => panic!("not what was asked for"),
        }
    })
}

async fn abort(group: &Group, member: &str) -> Result<u64, CommandError> {
    match group.system(member).run(order(true)).await? {
        Switched::Back { term } => Ok(term),
        Switched::To(report) => panic!("not what was asked for: {report:?}"),
    }
}

/// A pair whose switch from PRD to BKP has begun, and was found ready.
async fn begun() -> (Group, Gate, Switching) {
    begun_of(&["PRD", "BKP"]).await
}

async fn begun_of(names: &[&str]) -> (Group, Gate, Switching) {
    let mut group = Group::with_lines(names, impatient()).await;
    let gate = Gate::before_switch(&mut group).await;
    group.deposit_sync("PRD", "before").await;
    until(async || group.switch_plan("PRD").await.against.is_empty()).await;
    let switching = begin(group.system("PRD"));
    gate.reached().await;
    (group, gate, switching)
}

/// The same, and the hand-over entry is flushed on PRD alone.
async fn handed_over_alone() -> Group {
    handed_over_alone_of(&["PRD", "BKP"]).await
}

async fn handed_over_alone_of(names: &[&str]) -> Group {
    let (group, gate, switching) = begun_of(names).await;
    group.cut("PRD");
    gate.go().await;
    let stuck = switching.await.expect("it ends");
    let stuck = stuck.expect_err("nobody took it");
    assert_eq!(stuck.id, "RJN7112", "{stuck}");
    assert_eq!(stuck.kind, ErrorKind::Unreachable);
    let described = group.described("PRD").await;
    assert_eq!(described.role, MemberRole::HandedOver);
    assert!(group.is_silent("PRD").await);
    group
}

/// SWB-1: what is on its way when the line breaks is acknowledged by nobody: deposits go on where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_whose_target_is_lost_before_the_hand_over_changes_nothing() {
    let (mut group, gate, switching) = begun().await;
    group.cut("PRD");
    let waiting = group.ticket("PRD", "on its way").await.expect("taken");
    gate.go().await;
    let refused = switching.await.expect("it ends");
    let refused = refused.expect_err("it does not acknowledge");
    assert_eq!(refused.id, "RJN7113", "{refused}");
    let answer = waiting.await;
    assert!(matches!(answer, Answer::Landed { .. }), "{answer:?}");
    let (class, _) = group.deposit("PRD", "it goes on").await;
    assert_eq!(class, AckClass::Local);
    group.mend("PRD");
    group.deposit_sync("PRD", "together").await;
    group.settled("PRD", MemberRole::Primary, 1).await;
    group.stop_all().await;
}

/// SWB-1: the old primary dies before its hand-over entry: it is primary when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_before_the_hand_over_is_still_primary() {
    let (mut group, gate, switching) = begun().await;
    let left = group.keep("PRD");
    group.cut("PRD");
    gate.go().await;
    drop(switching.await);
    group.stop("PRD").await;
    left.put_back();
    group.mend("PRD");
    group.start("PRD").await;
    group.deposit_sync("PRD", "it goes on").await;
    group.settled("PRD", MemberRole::Primary, 1).await;
    group.stop_all().await;
}

/// SWB-2: nobody has the hand-over but the one that wrote it, and that one dies. It stays closed, and the other is sent it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_the_other_did_not_get_is_kept_over_a_crash_and_sent_again() {
    let mut group = handed_over_alone().await;
    group.crash("PRD").await;
    group.cut("PRD");
    group.start("PRD").await;
    let described = group.described("PRD").await;
    assert_eq!(described.role, MemberRole::HandedOver);
    assert!(group.is_silent("PRD").await);
    // Only in contact with the system it names it is taken back.
    let refused = abort(&group, "PRD").await.expect_err("no contact");
    assert_eq!(refused.id, "RJN7115", "{refused}");
    group.mend("PRD");
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "after").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    assert!(group.told("PRD", "RJN3001").await.is_empty());
    group.stop_all().await;
}

/// SWB-2: the same without a crash: the command given again says how it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_the_other_did_not_get_goes_on_when_it_is_reached() {
    let mut group = handed_over_alone().await;
    group.mend("PRD");
    let report = group.switch("PRD", "BKP").await;
    // It may have been taken before the command came.
    if let Err(late) = report {
        assert_eq!(late.id, "RJN7110", "{late}");
    }
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "after").await;
    group.stop_all().await;
}

/// SWB-2: the other is reached, and cannot take it: it gives the role back, in a term of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_is_taken_back_in_contact_with_the_system_that_did_not_take_it() {
    let mut group = handed_over_alone().await;
    // The entry reaches it no way: it may not be fed, and cannot fetch.
    allow_journals(group.system("BKP"), &["BKPLIB/BKP"]).await;
    group.line("PRD", "BKP").set(Line::Open);
    let term = abort(&group, "PRD").await.expect("it gives it back");
    // One term was kept free for the other.
    assert_eq!(term, 3);
    group.mend("PRD");
    allow_journals(group.system("BKP"), &["*ALL/*ALL"]).await;
    group.settled("PRD", MemberRole::Primary, 3).await;
    group.settled("BKP", MemberRole::Backup, 3).await;
    group.deposit_sync("PRD", "it goes on").await;
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// SWB-2: once the other has opened, nothing is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_was_taken_is_not_taken_back() {
    let mut group = Group::new(&["PRD", "BKP"], impatient()).await;
    group.deposit_sync("PRD", "before").await;
    group.switched("PRD", "BKP", 2).await;
    let refused = abort(&group, "PRD").await.expect_err("it was taken");
    assert_eq!(refused.id, "RJN7114", "{refused}");
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.stop_all().await;
}

/// SWB-3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_primary_that_dies_right_after_it_opened_is_primary_when_it_is_back() {
    let mut group = Group::with_lines(&["PRD", "BKP"], impatient()).await;
    group.deposit_sync("PRD", "before").await;
    group.switched("PRD", "BKP", 2).await;
    group.crash("BKP").await;
    assert!(group.is_silent("PRD").await);
    assert_eq!(group.described("PRD").await.role, MemberRole::Backup);
    group.start("BKP").await;
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.deposit_sync("BKP", "after").await;
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group.stop_all().await;
}

/// SWB-4: the hand-over is lost on its way, and an operator has the other take over: the one that handed over is closed, so that
/// nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_instead_of_a_lost_hand_over_loses_nothing() {
    let mut group = handed_over_alone().await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert_eq!(report.term, Some(2), "{report:?}");
    group.deposit("BKP", "meanwhile").await;
    group.mend("PRD");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group.stop_all().await;
}

/// SWB-4, ruling 28: a third system is taken over on, and hears of the hand-over: the two never share a term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_system_takes_over_above_the_term_that_was_handed_over() {
    let mut group = handed_over_alone_of(&["PRD", "BKP", "DRC"]).await;
    group.crash("BKP").await;
    group.mend("PRD");
    let report = group.take_over("DRC", true).await.expect("a takeover");
    assert_eq!(report.term, Some(3), "{report:?}");
    group.start("BKP").await;
    for member in ["PRD", "BKP"] {
        group.settled(member, MemberRole::Backup, 3).await;
    }
    group.deposit_sync("DRC", "goes on").await;
    group.stop_all().await;
}

/// SWB-2: the system the role was handed to is lost for good: whoever handed over takes over, in a term above the one it gave away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_handed_over_to_a_system_that_is_lost_takes_over_itself() {
    let mut group = handed_over_alone().await;
    group.stop("BKP").await;
    let refused = group.take_over("PRD", false).await;
    if let Err(refused) = refused {
        assert_eq!(refused.id, "RJN7105", "{refused}");
        let report = group.take_over("PRD", true).await.expect("a takeover");
        assert_eq!(report.term, Some(3), "{report:?}");
    }
    group.deposit("PRD", "alone").await;
    group.mend("PRD");
    group.start("BKP").await;
    group.settled("BKP", MemberRole::Backup, 3).await;
    group.deposit_sync("PRD", "together").await;
    group.stop_all().await;
}

/// SWB-5: there is no way back before the first primary has all of the reverse journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_back_waits_for_the_first_primary_to_be_level() {
    let mut group = Group::with_lines(&["PRD", "BKP"], impatient()).await;
    group.deposit_sync("PRD", "before").await;
    group.cut("PRD");
    group.take_over("BKP", true).await.expect("a takeover");
    group.deposit("BKP", "alone").await;
    let refused = group.switch("BKP", "PRD").await.expect_err("it is away");
    assert_eq!(refused.id, "RJN7111", "{refused}");
    let (class, _) = group.deposit("BKP", "it goes on").await;
    assert_eq!(class, AckClass::Local);
    group.mend("PRD");
    group.deposit_sync("BKP", "together").await;
    until(async || group.switch_plan("BKP").await.against.is_empty()).await;
    group.switched("BKP", "PRD", 3).await;
    group.deposit_sync("PRD", "home").await;
    group.stop_all().await;
}

/// SWB-6, CHG-5: each term goes on in its primary's own journal, with the receivers it has, whatever they are called elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_earlier_terms_stay_where_they_are_over_switches_there_and_back() {
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    let mut group = Group::new(&["PRD", "BKP"], small).await;
    let many = "x".repeat(20_000);
    let (mut from, mut to) = ("PRD", "BKP");
    for term in 2..6 {
        for _ in 0..6 {
            group.deposit_sync(from, &many).await;
        }
        until(async || group.switch_plan(from).await.against.is_empty()).await;
        group.switched(from, to, term).await;
        (from, to) = (to, from);
    }
    group.deposit_sync("PRD", "home").await;
    for (here, there) in [("PRDLIB/JRN", "BKPLIB/JRN"), ("PRDLIB/BKP", "BKPLIB/BKP")] {
        group.equal(("PRD", here), ("BKP", there)).await;
        let ours = describe(group.system("PRD"), here).await.receivers;
        let theirs = describe(group.system("BKP"), there).await.receivers;
        assert!(ours.len() > 2, "{}", ours.len());
        let of_both = ours.iter().zip(&theirs);
        assert_eq!(ours.len(), theirs.len());
        for (here, there) in of_both {
            assert_eq!(here.receiver, there.receiver);
        }
    }
    group.stop_all().await;
}
