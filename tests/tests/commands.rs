//! Commands of one system in this process, over real files: what an operator asks for and is told.

use std::time::Duration;

use rjournal::System;
use rjournal::daemon::command::journal::{
    AttributePatch, ChangeJournal, CreateJournal, DescribeJournals, JournalDescription,
    ReceiverChoice,
};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal_tests::systems::{make, name};

async fn describe(system: &System, journal: &str) -> JournalDescription {
    let described = system
        .run(DescribeJournals {
            journal: Some(name(journal)),
        })
        .await
        .expect("a journal");
    described.journals.into_iter().next().expect("one journal")
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
    prd.run(create("PRDLIB/JRN")).await.expect("a fresh journal");
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
