//! Deposit keys over the terms of a recovery group (ruling 16): a retry on the new primary of what the old one was given lands at
//! most once, whoever answers, also after a restart.

use rjournal::CommandError;
use rjournal::daemon::command::entries::{DepositState, EntrySent, FindDeposit, SendEntry};
use rjournal::daemon::command::journal::{AttributePatch, ChangeJournal, ReceiverChoice};
use rjournal::entry::{ClientId, DepositKey, Draft, Kind, Sequence};
use rjournal::journal::AckClass;
use rjournal::remote::MemberRole;
use rjournal_tests::groups::{Group, own};
use rjournal_tests::systems::{PATIENCE, name, until};

fn key(number: u64) -> DepositKey {
    DepositKey {
        client: ClientId::from_bytes([7; 16]),
        key: number,
    }
}

async fn send(
    group: &Group,
    member: &str,
    number: u64,
    text: &str,
) -> Result<EntrySent, CommandError> {
    let system = group.system(member);
    let open = system.journal_when_open(own(member), PATIENCE).await;
    open.expect("an open journal");
    let send = SendEntry {
        journal: own(member),
        entry_type: "AA".to_owned(),
        data: text.as_bytes().to_vec(),
        file: None,
        key: Some(key(number)),
        wait_ms: PATIENCE.as_millis() as u64,
        user: None,
    };
    system.run(send).await
}

async fn new(group: &Group, member: &str, number: u64) -> Sequence {
    let sent = send(group, member, number, &format!("text {number}")).await;
    let sent = sent.expect("it is taken");
    assert!(
        !sent.again && sent.journal.is_none() && sent.class.is_some(),
        "{sent:?}"
    );
    sent.sequence
}

/// A retry finds an entry in a journal as `member` calls it, or in its own.
async fn found(group: &Group, member: &str, number: u64, at: (Option<&str>, Sequence)) {
    let sent = send(group, member, number, &format!("text {number}")).await;
    let sent = sent.expect("it landed before");
    assert!(sent.again, "{sent:?}");
    assert_eq!((sent.journal, sent.sequence), (at.0.map(name), at.1));
    if at.0.is_some() {
        assert_eq!(sent.class, Some(AckClass::Local));
    }
    let find = FindDeposit {
        journal: own(member),
        key: key(number),
    };
    let told = group.system(member).run(find).await.expect("an answer");
    assert_eq!(told.state, DepositState::Landed);
    assert_eq!((told.journal, told.sequence), (at.0.map(name), Some(at.1)));
}

async fn switch(group: &Group, from: &str, to: &str) {
    group.deposit_sync(from, "in sync").await;
    until(async || group.switch(from, to).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_lands_once_over_switches_takeovers_and_restarts() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    let first = new(&group, "PRD", 1).await;
    switch(&group, "PRD", "BKP").await;
    let of_prd = Some("BKPLIB/JRN");
    found(&group, "BKP", 1, (of_prd, first)).await;
    let refused = send(&group, "BKP", 1, "another text")
        .await
        .expect_err("a conflict");
    assert_eq!(refused.id, "CPF7003", "{refused}");
    let second = new(&group, "BKP", 2).await;
    found(&group, "BKP", 2, (None, second)).await;
    // The new primary starts again: it reads what it knew.
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.stop("BKP").await;
    group.start("BKP").await;
    found(&group, "BKP", 1, (of_prd, first)).await;
    found(&group, "BKP", 2, (None, second)).await;
    let third = new(&group, "BKP", 3).await;
    group.deposit_sync("BKP", "in sync").await;
    // It is lost, and the other takes over what it has of it.
    group.stop("BKP").await;
    group.take_over("PRD", true).await.expect("a takeover");
    let of_bkp = Some("PRDLIB/BKP");
    found(&group, "PRD", 1, (None, first)).await;
    found(&group, "PRD", 2, (of_bkp, second)).await;
    found(&group, "PRD", 3, (of_bkp, third)).await;
    let fourth = new(&group, "PRD", 4).await;
    group.start("BKP").await;
    group.settled("BKP", MemberRole::Backup, 3).await;
    switch(&group, "PRD", "BKP").await;
    for (number, at) in [
        (1, (of_prd, first)),
        (2, (None, second)),
        (3, (None, third)),
        (4, (of_prd, fourth)),
    ] {
        found(&group, "BKP", number, at).await;
    }
    new(&group, "BKP", 5).await;
    group.stop_all().await;
}

/// The window is counted in entries of the whole history: what left it is too old, not new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_another_journal_leaves_the_window_of_the_history() {
    let mut group = Group::new(&["PRD", "BKP"], AttributePatch::default()).await;
    new(&group, "PRD", 1).await;
    many(&group, "PRD").await;
    let kept = new(&group, "PRD", 2).await;
    switch(&group, "PRD", "BKP").await;
    let change = ChangeJournal {
        journal: own("BKP"),
        receiver: None,
        open: None,
        attributes: AttributePatch {
            key_window: Some(1_000),
            ..AttributePatch::default()
        },
        force: false,
        fed: None,
    };
    group.system("BKP").run(change).await.expect("a change");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.stop("BKP").await;
    group.start("BKP").await;
    found(&group, "BKP", 2, (Some("BKPLIB/JRN"), kept)).await;
    let too_old = async |number: u64| {
        let refused = send(&group, "BKP", number, &format!("text {number}")).await;
        let refused = refused.expect_err("it is too old");
        assert!(refused.text.contains("too old"), "{refused}");
    };
    too_old(1).await;
    many(&group, "BKP").await;
    new(&group, "BKP", 3).await;
    too_old(2).await;
    group.stop_all().await;
}

/// A system is primary alone, so that what it deposits is not taken over.
fn short_patience() -> AttributePatch {
    AttributePatch {
        sync_timeout_ms: Some(100),
        key_window: Some(1_000),
        ..AttributePatch::default()
    }
}

/// PRD is stopped with what it deposited alone, BKP takes over what it has.
async fn lose(group: &mut Group) {
    group.stop("PRD").await;
    group.start("BKP").await;
    group.take_over("BKP", true).await.expect("a takeover");
}

/// What only the old primary had is an orphan: its key is new, on the new primary and later on the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_not_taken_over_is_taken_anew() {
    let mut group = Group::new(&["PRD", "BKP"], short_patience()).await;
    let first = new(&group, "PRD", 1).await;
    group.deposit_sync("PRD", "in sync").await;
    group.stop("BKP").await;
    new(&group, "PRD", 2).await;
    new(&group, "PRD", 3).await;
    lose(&mut group).await;
    found(&group, "BKP", 1, (Some("BKPLIB/JRN"), first)).await;
    let second = new(&group, "BKP", 2).await;
    found(&group, "BKP", 2, (None, second)).await;
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    switch(&group, "BKP", "PRD").await;
    found(&group, "PRD", 1, (None, first)).await;
    found(&group, "PRD", 2, (Some("PRDLIB/BKP"), second)).await;
    let third = new(&group, "PRD", 3).await;
    found(&group, "PRD", 3, (None, third)).await;
    group.stop_all().await;
}

/// What was kept of forgotten keys went further than where the journal is cut: numbers behind the cut are given out again, and
/// what lands there was taken for forgotten and not looked for at the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_lands_where_others_were_cut_is_found_after_a_restart() {
    let mut group = Group::new(&["PRD", "BKP"], short_patience()).await;
    let first = new(&group, "PRD", 1).await;
    group.deposit_sync("PRD", "in sync").await;
    group.stop("BKP").await;
    many(&group, "PRD").await;
    many(&group, "PRD").await;
    new(&group, "PRD", 2).await;
    // What left the window is kept when a receiver ends.
    let change = ChangeJournal {
        journal: own("PRD"),
        receiver: Some(ReceiverChoice::Generate),
        open: None,
        attributes: AttributePatch::default(),
        force: false,
        fed: None,
    };
    group.system("PRD").run(change).await.expect("a change");
    lose(&mut group).await;
    group.start("PRD").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    switch(&group, "BKP", "PRD").await;
    let second = new(&group, "PRD", 2).await;
    assert!(
        second.get() < 1_000,
        "a number that was used before: {second}"
    );
    group.deposit_sync("PRD", "in sync").await;
    group.stop("PRD").await;
    group.start("PRD").await;
    found(&group, "PRD", 1, (None, first)).await;
    found(&group, "PRD", 2, (None, second)).await;
    group.stop_all().await;
}

/// Deposits more than a window without keys.
async fn many(group: &Group, member: &str) {
    let system = group.system(member);
    let open = system.journal_when_open(own(member), PATIENCE).await;
    let journal = open.expect("an open journal");
    let mut last = None;
    for _ in 0..1_100 {
        let draft = Draft::new(Kind::USER, b"between");
        last = Some(journal.deposit(&draft).await.expect("it is taken"));
    }
    last.expect("some").await;
}
