//! Takeovers that something goes wrong with: the system that takes over dies on the way, the old primary is cut off, paused, or was
//! never followed (failures.md PRO).

use std::os::unix::fs::FileExt;
use std::time::Duration;

use rjournal::daemon::command::group::TakeOver;
use rjournal::daemon::command::journal::{AttributePatch, ChangeJournal, JournalState, OpenChoice};
use rjournal::entry::control_entry::Policy;
use rjournal::journal::{AckClass, Answer};
use rjournal::remote::MemberRole;
use rjournal_tests::groups::{Group, own};
use rjournal_tests::lines::Line;
use rjournal_tests::systems::{allow_journals, describe, flip, until, written};

/// Whoever does not answer is given up soon.
fn impatient(policy: Policy) -> AttributePatch {
    AttributePatch {
        policy: Some(policy),
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    }
}

async fn pair() -> Group {
    Group::with_lines(&["PRD", "BKP"], impatient(Policy::Degrade)).await
}

/// A takeover whose members have long to answer.
const fn patient(wait_ms: u64) -> TakeOver {
    TakeOver {
        group: None,
        accept_loss: true,
        plan: false,
        wait_ms: Some(wait_ms),
    }
}

/// PRO-1: behind the claim, and before anybody has answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_that_dies_behind_its_claim_has_fenced_the_old_term_and_is_given_again() {
    let mut group = pair().await;
    let last = group.deposit_sync("PRD", "before").await;
    group.cut("PRD");
    let bkp = group.system("BKP").clone();
    let taking = tokio::spawn(async move { bkp.run(patient(60_000)).await });
    group.promised("BKP", 2).await;
    group.crash("BKP").await;
    group.cut("PRD");
    taking.abort();
    group.start("BKP").await;
    let role = group.described("BKP").await.role;
    assert_eq!(role, MemberRole::Claiming);
    // Nobody is primary now, and the old one learns that it is none.
    group.mend("PRD");
    group.promised("PRD", 2).await;
    until(async || group.described("PRD").await.role == MemberRole::Backup).await;
    assert!(group.is_silent("PRD").await);
    let report = group.take_over("BKP", false).await.expect("a takeover");
    assert_eq!(report.term, Some(3), "{report:?}");
    assert!(report.last >= last, "{report:?}");
    group.settled("PRD", MemberRole::Backup, 3).await;
    group.deposit_sync("BKP", "after").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// PRO-1: the close record is flushed, and what the member remembers does not say so yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_takeover_that_dies_behind_its_close_record_has_opened_its_term() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    group.cut("PRD");
    let bkp = group.system("BKP").clone();
    let taking = tokio::spawn(async move { bkp.run(patient(2_000)).await });
    group.promised("BKP", 2).await;
    let claimed = group.keep_standing("BKP");
    assert_eq!(group.described("BKP").await.role, MemberRole::Claiming);
    taking.await.expect("it ends").expect("a takeover");
    let (class, alone) = group.deposit("BKP", "alone").await;
    assert_eq!(class, AckClass::Local);
    group.crash("BKP").await;
    claimed.put_back();
    group.start("BKP").await;
    group.settled("BKP", MemberRole::Primary, 2).await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    let next = group.deposit_sync("BKP", "together").await;
    assert!(next > alone);
    group
        .equal(("BKP", "BKPLIB/BKP"), ("PRD", "PRDLIB/BKP"))
        .await;
    group.stop_all().await;
}

/// PRO-2, PRO-6, section 4.7: under degrade it answers LOCAL as long as it hears of nobody, and never SYNC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_cut_off_answers_local_alone_until_it_is_fenced_at_the_first_contact() {
    let mut group = pair().await;
    let shared = group.deposit_sync("PRD", "shared").await;
    group.cut("PRD");
    let first = group.deposit_local("PRD", "alone").await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(
        !report.fenced_primary && report.last >= shared,
        "{report:?}"
    );
    let (class, second) = group.deposit("PRD", "still alone").await;
    assert_eq!(class, AckClass::Local);
    assert!(second > first);
    group.mend("PRD");
    group.settled("PRD", MemberRole::Backup, 2).await;
    assert!(group.is_silent("PRD").await);
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    let archived = group.tells("PRD", "RJN3001").await;
    assert_eq!(archived.len(), 1, "{archived:?}");
    group.stop_all().await;
}

/// PRO-2: under block there is no answer outside of the backup, so that no operator's word is needed to take over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_block_a_primary_that_is_cut_off_has_answered_nothing_the_new_one_lacks() {
    let attributes = impatient(Policy::Block);
    let mut group = Group::with_lines(&["PRD", "BKP"], attributes).await;
    let shared = group.deposit_sync("PRD", "shared").await;
    group.cut("PRD");
    let waiting = group.ticket("PRD", "waits").await.expect("it is taken");
    until(async || !group.told("PRD", "RJN2010").await.is_empty()).await;
    let report = group.take_over("BKP", false).await.expect("no doubt");
    assert!(report.last >= shared, "{report:?}");
    group.mend("PRD");
    group.settled("PRD", MemberRole::Backup, 2).await;
    let answer = waiting.await;
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
    group.deposit_sync("BKP", "together").await;
    group.stop_all().await;
}

/// SYN-15, section 1 point 2: the primary hears nothing for a while - it is paused, or its line is - and meanwhile another opens
/// the next term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_comes_late_is_still_true_and_no_later_one_comes() {
    let attributes = AttributePatch::default();
    let mut group = Group::with_lines(&["PRD", "BKP"], attributes).await;
    group.deposit_sync("PRD", "before").await;
    group.line("PRD", "BKP").set_back(Line::Held);
    group.line("BKP", "PRD").set(Line::Held);
    let waiting = group.ticket("PRD", "on its way").await.expect("taken");
    let on_its_way = describe(group.system("PRD"), "PRDLIB/JRN")
        .await
        .watermarks
        .deposited;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.written >= on_its_way
    })
    .await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(report.last >= on_its_way, "{report:?}");
    group.mend("PRD");
    let answer = waiting.await;
    // Whichever it is, it is true: the entry was taken over.
    let (landed, class) = match answer {
        Answer::Landed {
            sequence, class, ..
        } => (sequence, class),
        Answer::Unknown { .. } => (on_its_way, AckClass::Sync),
        Answer::Refused { .. } => panic!("it is in the journal"),
    };
    assert!(
        landed <= report.last && class == AckClass::Sync,
        "{answer:?}"
    );
    group.settled("PRD", MemberRole::Backup, 2).await;
    assert!(group.is_silent("PRD").await);
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// PRO-3: the backup was killed in a write; nothing of it had been acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_tail_of_the_backup_is_cut_and_the_rest_is_taken_over() {
    let mut group = pair().await;
    let last = group.deposit_sync("PRD", "before").await;
    let receiver = group.receivers("BKP", "BKPLIB/JRN").await.pop();
    let receiver = receiver.expect("an attached one");
    group.crash("PRD").await;
    group.crash("BKP").await;
    let end = written(&receiver).len() as u64;
    let file = std::fs::OpenOptions::new().write(true).open(&receiver);
    let file = file.expect("a receiver");
    file.write_all_at(&[0x55; 100], end.next_multiple_of(8))
        .expect("room");
    group.start("BKP").await;
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(report.last >= last, "{report:?}");
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    group.stop_all().await;
}

/// PRO-3: what was flushed and acknowledged is damaged: a takeover would lose it, whatever an operator says, until it is repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_whose_copy_is_damaged_takes_nothing_over_and_says_how_it_is_repaired() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    let receiver = group.receivers("BKP", "BKPLIB/JRN").await.pop();
    let receiver = receiver.expect("an attached one");
    group.crash("BKP").await;
    let middle = written(&receiver).len() / 2;
    flip(&receiver, middle, 4);
    group.start("BKP").await;
    for accept_loss in [false, true] {
        let refused = group.take_over("BKP", accept_loss).await;
        let refused = refused.expect_err("it is damaged");
        assert_eq!(refused.id, "RJN7103", "{refused}");
        assert!(refused.text.contains("BKPLIB/JRN"), "{refused}");
        let help = refused.help.unwrap_or_default();
        assert!(help.contains("RPRJRN"), "{help}");
    }
    assert_eq!(group.described("BKP").await.promised, 1);
    group.deposit("PRD", "it goes on").await;
    group.stop_all().await;
}

/// PRO-5: it was named a member, and nothing has come to it yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_holds_nothing_of_the_history_does_not_take_over() {
    let names = ["PRD", "BKP"];
    let mut group = Group::strangers(&names, impatient(Policy::Degrade)).await;
    allow_journals(group.system("BKP"), &["BKPLIB/BKP"]).await;
    group.try_create(&names, true, Duration::ZERO).await;
    group.deposit("PRD", "answered").await;
    for accept_loss in [false, true] {
        let refused = group.take_over("BKP", accept_loss).await;
        let refused = refused.expect_err("it has nothing");
        assert_eq!(refused.id, "RJN7103", "{refused}");
    }
    assert_eq!(group.described("BKP").await.promised, 1);
    group.deposit("PRD", "it goes on").await;
    group.stop_all().await;
}

/// PRO-7, PRO-10: both were down, and only the old primary comes back: it cannot know whether another took over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_meets_nobody_stays_readable_and_closed() {
    let mut group = pair().await;
    let last = group.deposit_sync("PRD", "before").await;
    group.crash("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    group.stop("BKP").await;
    group.start("PRD").await;
    let waits = describe(group.system("PRD"), "PRDLIB/JRN").await;
    assert_eq!(waits.state, JournalState::Opening, "{waits:?}");
    assert!(waits.watermarks.written >= last, "it is read");
    assert!(group.is_silent("PRD").await);
    group.start("BKP").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group.stop_all().await;
}

/// PRO-7, RST-2, section 4.7: an operator opened it alone all the same; what it answered then is listed when both meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_an_operator_opens_alone_is_fenced_when_both_meet() {
    let mut group = pair().await;
    group.deposit_sync("PRD", "before").await;
    group.crash("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    group.cut("PRD");
    group.start("PRD").await;
    let alone = ChangeJournal {
        journal: own("PRD"),
        receiver: None,
        open: Some(OpenChoice::Alone),
        attributes: AttributePatch::default(),
        force: false,
        fed: None,
    };
    group.system("PRD").run(alone).await.expect("his word");
    let (class, _) = group.deposit("PRD", "alone").await;
    assert_eq!(class, AckClass::Local);
    group.mend("PRD");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "together").await;
    group
        .equal(("BKP", "BKPLIB/JRN"), ("PRD", "PRDLIB/JRN"))
        .await;
    assert_eq!(group.tells("PRD", "RJN3001").await.len(), 1);
    group.stop_all().await;
}

/// PRO-11, ruling 13: a backup that was never in the in-sync set cannot know what it lacks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_not_in_sync_takes_over_on_an_operators_word_alone() {
    let names = ["PRD", "BKP"];
    let mut group = Group::acquainted(&names, impatient(Policy::Degrade), true, |_| {}).await;
    group.create(&names, false).await;
    let (_, had) = group.deposit("PRD", "it has this").await;
    until(async || {
        let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
        there.watermarks.written >= had
    })
    .await;
    group.cut("PRD");
    let (_, lacks) = group.deposit("PRD", "and lacks this").await;
    group.stop("PRD").await;
    let refused = group.take_over("BKP", false).await.expect_err("a doubt");
    assert_eq!(refused.id, "RJN7105", "{refused}");
    assert!(refused.text.contains("not in the in-sync set"), "{refused}");
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(
        report.last >= had && report.last < lacks,
        "{report:?} {lacks}"
    );
    group.mend("PRD");
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    assert_eq!(group.tells("PRD", "RJN3001").await.len(), 1);
    group.stop_all().await;
}
