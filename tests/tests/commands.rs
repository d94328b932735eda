//! Commands of systems in this process, over real files: what an operator asks for and is told.

use rjournal::daemon::JobProgram;
use rjournal::daemon::command::apply::{EndApply, ListJobs, StartApply};
use rjournal::daemon::command::directory::RemovePartner;
use rjournal::daemon::command::entries::SendEntry;
use rjournal::daemon::command::journal::{
    AttributePatch, ChangeJournal, CreateJournal, DeleteJournal, JournalState, ReceiverChoice,
};
use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::daemon::command::remote_journal::{BeginAt, ChangeRemoteJournal, WantedState};
use rjournal::daemon::command::status::{DescribeStatus, JournalHealth};
use rjournal::entry::control_entry::{Level, Policy};
use rjournal::journal::{AckClass, DeliveryMode, ManageReceivers};
use rjournal::{System, SystemOptions};
use rjournal_tests::systems::{
    PATIENCE, Single, Two, allow_journals, describe, journal, library, make, messages, name, rdb,
    start, until,
};

async fn health(system: &System, journal: &str) -> JournalHealth {
    let status = system.run(DescribeStatus {}).await.expect("an answer");
    let mut journals = status.journals.into_iter();
    journals
        .find(|health| health.journal == name(journal))
        .expect("the journal")
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
        wait_ms: 120_000,
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
        wait_ms: 120_000,
        user: None,
    };
    prd.run(send).await.expect("it is taken").class
}

/// Joined, and everything is on the disks of both.
async fn level() -> Two {
    let two = Two::in_sync(AttributePatch::default()).await;
    assert_eq!(
        send(&two.prd, b"both have it".to_vec()).await,
        Some(AckClass::Sync)
    );
    two
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
    let single = Single::with_journal(AttributePatch::default()).await;
    let prd = &single.prd;
    for number in 2..=5 {
        let order = change("PRDLIB/JRN", Some(ReceiverChoice::Generate));
        let changed = tokio::time::timeout(PATIENCE, prd.run(order))
            .await
            .expect("the next receiver is not waited for in vain")
            .expect("a change");
        let expected = format!("PRDLIB/JRN{number:04}");
        assert_eq!(changed.receiver, Some(name(&expected)));
    }
    assert_eq!(describe(prd, "PRDLIB/JRN").await.receivers.len(), 5);
    prd.stop().await;
}

/// Names made from PRDLIB/RCV and PRDLIB/RCV0 would be the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_different_journals_never_have_the_same_name() {
    let single = Single::new().await;
    let prd = &single.prd;
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
        for receiver in describe(prd, journal).await.receivers {
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

/// Names made from PRDLIB/RECEIVERA and PRDLIB/RECEIVERB are the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_could_not_be_made_keeps_no_name_of_a_receiver() {
    let single = Single::new().await;
    let prd = &single.prd;
    let attributes = AttributePatch {
        threshold_kb: Some(1),
        ..AttributePatch::default()
    };
    let impossible = CreateJournal {
        attributes,
        ..create("PRDLIB/RECEIVERA")
    };
    prd.run(impossible).await.expect_err("too small");
    let made = prd.run(create("PRDLIB/RECEIVERB")).await;
    let receiver = made.expect("a fresh journal").receiver;
    assert_eq!(receiver, name("PRDLIB/RECEIV0001"));
    prd.stop().await;
}

/// IBM i's CPF7099: an operator is told once, and changes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_an_operator_changes_tells_once_that_it_is_full() {
    let single = Single::new().await;
    let prd = &single.prd;
    let mut by_hand = create("PRDLIB/JRN");
    by_hand.attributes.threshold_kb = Some(64);
    by_hand.attributes.manage_receivers = Some(ManageReceivers::User);
    prd.run(by_hand).await.expect("a fresh journal");
    for told in 1..=2 {
        for _ in 0..20 {
            send(prd, vec![7; 8_000]).await;
        }
        assert_eq!(messages(prd, "CPF7099").await.len(), told);
        let order = change("PRDLIB/JRN", Some(ReceiverChoice::Generate));
        prd.run(order).await.expect("a change");
    }
    prd.stop().await;
}

/// The copy here brings the names of the receivers of PRD's journal along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_two_journals_have_is_deleted_only_with_its_journal_named() {
    let two = Two::new(AttributePatch::default()).await;
    let bkp = &two.bkp;
    library(bkp, "PRDLIB").await;
    journal(bkp, "PRDLIB/JRN", AttributePatch::default()).await;
    two.join().await;
    send(&two.prd, b"both have it".to_vec()).await;
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
    assert_eq!(describe(bkp, "PRDLIB/JRN").await.receivers.len(), 1);
    two.stop().await;
}

/// Ruling 13: what an operator does here, the member that is away cannot know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guarded_member_that_is_away_is_given_up_only_by_force() {
    let block = AttributePatch {
        policy: Some(Policy::Block),
        ..AttributePatch::default()
    };
    let two = Two::new(block).await;
    let (prd, bkp) = (&two.prd, &two.bkp);
    let joined = prd
        .run(remote(WantedState::Active, Some(Level::Received), false))
        .await;
    assert!(joined.expect("it is activated").caught_up);
    assert_eq!(
        health(prd, "PRDLIB/JRN").await.class,
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
    let described = describe(prd, "PRDLIB/JRN").await;
    assert_eq!(described.in_sync_set, [rdb("BKP")]);
    prd.run(remote(WantedState::InactiveImmediate, None, true))
        .await
        .expect("it is forced");
    assert!(describe(prd, "PRDLIB/JRN").await.in_sync_set.is_empty());
    prd.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_opens_or_is_damaged_shows_what_is_defined() {
    let two = level().await;
    two.stop().await;
    let prd = start(&two.prd_place.data).await;
    let opening = describe(&prd, "PRDLIB/JRN").await;
    assert_eq!(opening.state, JournalState::Opening);
    assert_eq!(opening.in_sync_set, [rdb("BKP")]);
    assert!(opening.links[0].in_sync, "{:?}", opening.links);
    prd.stop().await;
    for (data, journal, kind, links) in [
        (&two.prd_place.data, "PRDLIB/JRN", "*LOCAL", 1),
        (&two.bkp_place.data, "BKPLIB/JRN", "*REMOTE", 0),
    ] {
        spoil_receivers(data);
        let system = start(data).await;
        let damaged = describe(&system, journal).await;
        assert_eq!(damaged.state, JournalState::Damaged);
        assert_eq!((damaged.kind.as_str(), damaged.links.len()), (kind, links));
        assert!(health(&system, journal).await.exposure.is_none());
        assert_eq!(messages(&system, "RJN9003").await.len(), 1);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_that_is_removed_feeds_nothing_here_any_more() {
    let two = level().await;
    let (prd, bkp) = (&two.prd, &two.bkp);
    bkp.run(RemovePartner { rdb: rdb("PRD") })
        .await
        .expect("nothing needs it");
    until(async || describe(bkp, "BKPLIB/JRN").await.state == JournalState::Inactive).await;
    let before = describe(bkp, "BKPLIB/JRN").await.watermarks.sealed;
    until(async || send(prd, b"alone".to_vec()).await == Some(AckClass::Local)).await;
    assert_eq!(describe(bkp, "BKPLIB/JRN").await.watermarks.sealed, before);
    two.stop().await;
}

/// It went on feeding until its connection was lost, however long that took.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_whose_permission_is_taken_away_feeds_again_when_it_is_given_back() {
    let two = level().await;
    let (prd, bkp) = (&two.prd, &two.bkp);
    allow_journals(bkp, &["BKPLIB/OTHER"]).await;
    until(async || describe(bkp, "BKPLIB/JRN").await.state == JournalState::Inactive).await;
    let before = describe(bkp, "BKPLIB/JRN").await.watermarks.sealed;
    until(async || send(prd, b"alone".to_vec()).await == Some(AckClass::Local)).await;
    assert_eq!(describe(bkp, "BKPLIB/JRN").await.watermarks.sealed, before);
    until(async || !messages(prd, "CPF70D5").await.is_empty()).await;
    let told = messages(prd, "CPF70D5").await.swap_remove(0).text;
    assert!(
        told.contains("CHGRDBDIRE --rdb PRD --alwjrn BKPLIB/OTHER,BKPLIB/JRN"),
        "{told}"
    );
    allow_journals(bkp, &["BKPLIB/*ALL"]).await;
    until(async || send(prd, b"both".to_vec()).await == Some(AckClass::Sync)).await;
    two.stop().await;
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
    let single = Single::with_journal(AttributePatch::default()).await;
    single.prd.stop().await;
    let prd = with_jobs(&single.place.data).await;
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
    assert_eq!(messages(&prd, "CPI70E5").await.len(), 0);
    prd.stop().await;
}

/// A program that embeds a system was once told no, and a job that was to run and never would held receivers from then on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_cannot_run_here_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (_place, system) = make(dir.path(), "PRD").await;
    library(&system, "PRDLIB").await;
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
    library(&prd, "PRDLIB").await;
    journal(&prd, "PRDLIB/JRN", AttributePatch::default()).await;
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
    let single = Single::with_journal(AttributePatch::default()).await;
    let prd = &single.prd;
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
