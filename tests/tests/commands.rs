//! Commands of systems in this process, over real files: what an operator asks for and is told.

use std::time::Duration;

use rjournal::daemon::command::apply::{EndApply, ListJobs, StartApply};
use rjournal::daemon::command::directory::RemovePartner;
use rjournal::daemon::command::entries::SendEntry;
use rjournal::daemon::command::journal::{
    AttributePatch, ChangeJournal, CreateJournal, DeleteJournal, DescribeJournals,
    JournalDescription, JournalState, ReceiverChoice,
};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::daemon::command::remote_journal::{BeginAt, ChangeRemoteJournal, WantedState};
use rjournal::daemon::command::status::{DescribeStatus, JournalHealth, ListMessages};
use rjournal::daemon::{JobProgram, Severity};
use rjournal::entry::control_entry::{Level, Policy};
use rjournal::journal::{AckClass, DeliveryMode, ManageReceivers};
use rjournal::{System, SystemOptions};
use rjournal_tests::systems::{activate, introduce, journal_pair, make, name, rdb, start};

async fn describe(system: &System, journal: &str) -> JournalDescription {
    let described = system
        .run(DescribeJournals {
            journal: Some(name(journal)),
        })
        .await
        .expect("a journal");
    described.journals.into_iter().next().expect("one journal")
}

async fn health(system: &System, journal: &str) -> JournalHealth {
    let status = system.run(DescribeStatus {}).await.expect("an answer");
    let mut journals = status.journals.into_iter();
    journals
        .find(|health| health.journal == name(journal))
        .expect("the journal")
}

async fn messages(system: &System, id: &str) -> usize {
    let list = ListMessages {
        after: 0,
        severity: Severity::Info,
        count: 1000,
    };
    let list = system.run(list).await.expect("an answer");
    list.messages
        .iter()
        .filter(|message| message.id == id)
        .count()
}

fn remote(state: WantedState, level: Option<Level>, force: bool) -> ChangeRemoteJournal {
    ChangeRemoteJournal {
        rdb: rdb("BKP"),
        source: name("PRDLIB/JRN"),
        target: None,
        state: Some(state),
        delivery: (state == WantedState::Active).then_some(DeliveryMode::Sync),
        level,
        begin: BeginAt::Oldest,
        wait_ms: 20_000,
        text: None,
        force,
    }
}

async fn send(prd: &System, data: Vec<u8>) -> Option<AckClass> {
    let send = SendEntry {
        journal: name("PRDLIB/JRN"),
        entry_type: "00".to_owned(),
        data,
        file: None,
        key: None,
        wait_ms: 30_000,
        user: None,
    };
    prd.run(send).await.expect("it is taken").class
}

/// Joined, and everything is on the disks of both.
async fn in_sync(prd: &System) {
    activate(prd, "BKP", DeliveryMode::Sync)
        .await
        .expect("it is activated");
    assert_eq!(
        send(prd, b"both have it".to_vec()).await,
        Some(AckClass::Sync)
    );
}

async fn library(system: &System) {
    let create = CreateLibrary {
        library: name("PRDLIB/X").library,
        text: String::new(),
    };
    system.run(create).await.expect("a fresh library");
}

fn create(journal: &str) -> CreateJournal {
    CreateJournal {
        journal: name(journal),
        receiver: None,
        attributes: AttributePatch::default(),
    }
}

fn change(journal: &str, receiver: Option<ReceiverChoice>) -> ChangeJournal {
    ChangeJournal {
        journal: name(journal),
        receiver,
        open: None,
        attributes: AttributePatch::default(),
        force: false,
        fed: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_is_changed_as_often_as_is_asked_right_after_it_was_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, prd) = make(dir.path(), "PRD").await;
    library(&prd).await;
    prd.run(create("PRDLIB/JRN"))
        .await
        .expect("a fresh journal");
    for number in 2..=5 {
        let order = change("PRDLIB/JRN", Some(ReceiverChoice::Generate));
        let changed = tokio::time::timeout(Duration::from_secs(30), prd.run(order))
            .await
            .expect("the next receiver is not waited for in vain")
            .expect("a change");
        let expected = format!("PRDLIB/JRN{number:04}");
        assert_eq!(changed.receiver, Some(name(&expected)));
    }
    assert_eq!(describe(&prd, "PRDLIB/JRN").await.receivers.len(), 5);
    prd.stop().await;
}

/// Names made from PRDLIB/RCV and PRDLIB/RCV0 would be the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_different_journals_never_have_the_same_name() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, prd) = make(dir.path(), "PRD").await;
    library(&prd).await;
    let journals = ["PRDLIB/RCV", "PRDLIB/RCV0", "PRDLIB/RCV00"];
    for journal in journals {
        prd.run(create(journal)).await.expect("a fresh journal");
    }
    for _ in 0..3 {
        for journal in journals {
            let order = change(journal, Some(ReceiverChoice::Generate));
            prd.run(order).await.expect("a change");
        }
    }
    let mut names = std::collections::BTreeSet::new();
    for journal in journals {
        for receiver in describe(&prd, journal).await.receivers {
            assert!(names.insert(receiver.name), "{} twice", receiver.name);
        }
    }
    assert_eq!(names.len(), 12);
    let taken = CreateJournal {
        receiver: Some(name("PRDLIB/RCV0002")),
        ..create("PRDLIB/OTHER")
    };
    let refused = prd.run(taken).await.expect_err("it belongs to a journal");
    assert_eq!(refused.id, "RJN4023");
    prd.stop().await;
}

/// IBM i's CPF7099: an operator is told once, and changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_an_operator_changes_tells_once_that_it_is_full() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, prd) = make(dir.path(), "PRD").await;
    library(&prd).await;
    let mut by_hand = create("PRDLIB/JRN");
    by_hand.attributes.threshold_kb = Some(64);
    by_hand.attributes.manage_receivers = Some(ManageReceivers::User);
    prd.run(by_hand).await.expect("a fresh journal");
    for told in 1..=2 {
        for _ in 0..20 {
            send(&prd, vec![7; 8_000]).await;
        }
        assert_eq!(messages(&prd, "CPF7099").await, told);
        let order = change("PRDLIB/JRN", Some(ReceiverChoice::Generate));
        prd.run(order).await.expect("a change");
    }
    prd.stop().await;
}

/// The copy here brings the names of the receivers of PRD's journal along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_two_journals_have_is_deleted_only_with_its_journal_named() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (prd_place, prd) = make(dir.path(), "PRD").await;
    let (bkp_place, bkp) = make(dir.path(), "BKP").await;
    introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
    journal_pair(&prd, &bkp, "BKP", AttributePatch::default()).await;
    library(&bkp).await;
    bkp.run(create("PRDLIB/JRN"))
        .await
        .expect("a fresh journal");
    in_sync(&prd).await;
    let order = change("PRDLIB/JRN", Some(ReceiverChoice::Generate));
    bkp.run(order).await.expect("a change");
    let mut delete = DeleteReceiver {
        receiver: name("PRDLIB/JRN0001"),
        journal: None,
        force: false,
    };
    let refused = bkp.run(delete.clone()).await.expect_err("two have it");
    assert!(refused.text.contains("BKPLIB/JRN, PRDLIB/JRN"), "{refused}");
    delete.journal = Some(name("PRDLIB/JRN"));
    bkp.run(delete).await.expect("it is named");
    assert_eq!(describe(&bkp, "PRDLIB/JRN").await.receivers.len(), 1);
    prd.stop().await;
    bkp.stop().await;
}

/// Ruling 13: what an operator does here, the member that is away cannot know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_member_that_is_away_is_given_up_only_by_force() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (prd_place, prd) = make(dir.path(), "PRD").await;
    let (bkp_place, bkp) = make(dir.path(), "BKP").await;
    introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
    let block = AttributePatch {
        policy: Some(Policy::Block),
        ..AttributePatch::default()
    };
    journal_pair(&prd, &bkp, "BKP", block).await;
    let joined = prd
        .run(remote(WantedState::Active, Some(Level::Received), false))
        .await;
    assert!(joined.expect("it is activated").caught_up);
    assert_eq!(
        health(&prd, "PRDLIB/JRN").await.class,
        Some(AckClass::Received)
    );
    bkp.stop().await;
    for state in [
        WantedState::InactiveControlled,
        WantedState::InactiveImmediate,
    ] {
        let refused = prd.run(remote(state, None, false)).await;
        assert_eq!(refused.expect_err("a member is away").id, "RJN4004");
    }
    let described = describe(&prd, "PRDLIB/JRN").await;
    assert_eq!(described.in_sync_set, [rdb("BKP")]);
    prd.run(remote(WantedState::InactiveImmediate, None, true))
        .await
        .expect("it is forced");
    assert!(describe(&prd, "PRDLIB/JRN").await.in_sync_set.is_empty());
    prd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_opens_or_is_damaged_shows_what_is_defined() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (prd_place, prd) = make(dir.path(), "PRD").await;
    let (bkp_place, bkp) = make(dir.path(), "BKP").await;
    introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
    journal_pair(&prd, &bkp, "BKP", AttributePatch::default()).await;
    in_sync(&prd).await;
    prd.stop().await;
    bkp.stop().await;
    let prd = start(&prd_place.data).await;
    let opening = describe(&prd, "PRDLIB/JRN").await;
    assert_eq!(opening.state, JournalState::Opening);
    assert_eq!(opening.in_sync_set, [rdb("BKP")]);
    assert!(opening.links[0].in_sync, "{:?}", opening.links);
    prd.stop().await;
    for (data, journal, kind, links) in [
        (&prd_place.data, "PRDLIB/JRN", "*LOCAL", 1),
        (&bkp_place.data, "BKPLIB/JRN", "*REMOTE", 0),
    ] {
        spoil_receivers(data);
        let system = start(data).await;
        let damaged = describe(&system, journal).await;
        assert_eq!(damaged.state, JournalState::Damaged);
        assert_eq!((damaged.kind.as_str(), damaged.links.len()), (kind, links));
        assert!(health(&system, journal).await.exposure.is_none());
        assert_eq!(messages(&system, "RJN9003").await, 1);
        system.stop().await;
    }
}

fn spoil_receivers(data: &std::path::Path) {
    for journal in std::fs::read_dir(data.join("journals")).expect("journals") {
        let receivers = journal.expect("a journal").path().join("receivers");
        for file in std::fs::read_dir(receivers).expect("receivers") {
            let path = file.expect("a receiver").path();
            let mut bytes = std::fs::read(&path).expect("readable");
            bytes[..64].fill(0x5a);
            std::fs::write(path, bytes).expect("writable");
        }
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !is_so().await {
            ticks.tick().await;
        }
    };
    let patience = Duration::from_secs(30);
    tokio::time::timeout(patience, look).await.expect("in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_is_removed_feeds_nothing_here_any_more() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (prd_place, prd) = make(dir.path(), "PRD").await;
    let (bkp_place, bkp) = make(dir.path(), "BKP").await;
    introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
    journal_pair(&prd, &bkp, "BKP", AttributePatch::default()).await;
    in_sync(&prd).await;
    bkp.run(RemovePartner { rdb: rdb("PRD") })
        .await
        .expect("nothing needs it");
    until(async || describe(&bkp, "BKPLIB/JRN").await.state == JournalState::Inactive).await;
    let before = describe(&bkp, "BKPLIB/JRN").await.watermarks.sealed;
    until(async || send(&prd, b"alone".to_vec()).await == Some(AckClass::Local)).await;
    assert_eq!(describe(&bkp, "BKPLIB/JRN").await.watermarks.sealed, before);
    prd.stop().await;
    bkp.stop().await;
}

/// A system whose jobs are processes that do nothing until they are told to end.
async fn with_jobs(data: &std::path::Path) -> System {
    let options = SystemOptions {
        job_program: Some(JobProgram {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), "cat".to_owned()],
        }),
        ..SystemOptions::new(data)
    };
    System::open(options).await.expect("a system that starts")
}

fn start_apply() -> StartApply {
    StartApply {
        store: name("PRDLIB/STORE").name,
        journal: Some(name("PRDLIB/JRN")),
        kind: None,
        skip: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_goes_only_when_no_store_is_made_from_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (place, prd) = make(dir.path(), "PRD").await;
    prd.stop().await;
    drop(prd);
    let prd = with_jobs(&place.data).await;
    library(&prd).await;
    prd.run(create("PRDLIB/JRN"))
        .await
        .expect("a fresh journal");
    let job = prd.run(start_apply()).await.expect("it starts");
    assert_eq!(job.cache_mib, prd.config().store_cache_mib);
    let delete = DeleteJournal {
        journal: name("PRDLIB/JRN"),
    };
    let end = |remove| EndApply {
        store: job.store,
        remove,
    };
    assert_eq!(
        prd.run(delete.clone()).await.expect_err("it runs").id,
        "RJN4008"
    );
    prd.run(end(false)).await.expect("it ends");
    let refused = prd
        .run(delete.clone())
        .await
        .expect_err("its record is there");
    assert!(refused.to_string().contains("--remove"), "{refused}");
    prd.run(end(true)).await.expect("it is forgotten");
    prd.run(delete).await.expect("nothing needs it");
    assert_eq!(messages(&prd, "CPI70E5").await, 0);
    prd.stop().await;
}

/// A program that embeds a system was once told no, and a job that was to run and never would held receivers from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_run_here_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_place, system) = make(dir.path(), "PRD").await;
    library(&system).await;
    system.run(create("PRDLIB/JRN")).await.expect("a journal");
    let refused = system.run(start_apply()).await.expect_err("no program");
    assert_eq!(refused.id, "RJN5001", "{refused:?}");
    let jobs = system.run(ListJobs {}).await.expect("an answer");
    assert!(jobs.jobs.is_empty(), "{jobs:?}");
    let delete = DeleteJournal {
        journal: name("PRDLIB/JRN"),
    };
    system.run(delete).await.expect("no store is made from it");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_socket_cannot_be_made_is_not_started() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let deep = dir.path().join("d".repeat(100));
    let (_, prd) = make(&deep, "PRD").await;
    library(&prd).await;
    prd.run(create("PRDLIB/JRN"))
        .await
        .expect("a fresh journal");
    let refused = prd
        .run(start_apply())
        .await
        .expect_err("the path is too long");
    assert_eq!(refused.id, "RJN5006");
    assert!(refused.to_string().contains("107"), "{refused}");
    prd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attribute_that_was_so_already_is_not_said_to_be_changed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_, prd) = make(dir.path(), "PRD").await;
    library(&prd).await;
    prd.run(create("PRDLIB/JRN"))
        .await
        .expect("a fresh journal");
    for is_new in [true, false] {
        let mut block = change("PRDLIB/JRN", None);
        block.attributes.policy = Some(Policy::Block);
        assert_eq!(
            prd.run(block).await.expect("it is allowed").attributes,
            is_new
        );
    }
    prd.stop().await;
}
