//! Two whole systems in one process, over real QUIC and real files: deposits answered SYNC, restarts, refusals.

use std::time::Duration;

use rjournal::System;
use rjournal::daemon::command::journal::{AttributePatch, DescribeJournals, JournalDescription};
use rjournal::entry::{Draft, Kind};
use rjournal::journal::{AckClass, Answer, DeliveryMode};
use rjournal_tests::systems::{activate, introduce, journal_pair, make, name, start};

async fn describe(system: &System, journal: &str) -> JournalDescription {
    let described = system
        .run(DescribeJournals {
            journal: Some(name(journal)),
        })
        .await
        .expect("a journal");
    described.journals.into_iter().next().expect("one journal")
}

async fn deposit(system: &System, text: &str) -> Answer {
    let journal = system
        .journal_when_open(name("PRDLIB/JRN"), Duration::from_secs(30))
        .await
        .expect("an open journal");
    let ticket = journal
        .deposit(&Draft::new(Kind::USER, text.as_bytes()))
        .await
        .expect("a deposit that is taken");
    tokio::time::timeout(Duration::from_secs(30), ticket)
        .await
        .expect("an answer in time")
}

fn class(answer: Answer) -> AckClass {
    match answer {
        Answer::Landed { class, .. } => class,
        other => panic!("not landed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_is_answered_sync_and_both_copies_are_equal_after_restarts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (prd_place, prd) = make(dir.path(), "PRD").await;
    let (bkp_place, bkp) = make(dir.path(), "BKP").await;
    introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    journal_pair(&prd, &bkp, "BKP", small).await;
    assert_eq!(class(deposit(&prd, "before").await), AckClass::Local);
    let changed = activate(&prd, "BKP", DeliveryMode::Sync)
        .await
        .expect("it is activated");
    assert!(changed.caught_up, "{changed:?}");
    for n in 0..200 {
        assert_eq!(
            class(deposit(&prd, &format!("entry {n} {}", "x".repeat(500))).await),
            AckClass::Sync,
            "{n}"
        );
    }
    prd.stop().await;
    bkp.stop().await;
    drop((prd, bkp));
    let bkp = start(&bkp_place.data).await;
    let prd = start(&prd_place.data).await;
    assert_eq!(
        class(deposit(&prd, "after a restart of both").await),
        AckClass::Sync
    );
    let (ours, theirs) = (
        describe(&prd, "PRDLIB/JRN").await,
        describe(&bkp, "BKPLIB/JRN").await,
    );
    assert_eq!(ours.watermarks.head, theirs.watermarks.head);
    assert!(
        ours.receivers.len() > 1,
        "receivers were changed: {:?}",
        ours.receivers.len()
    );
    assert_eq!(ours.receivers.len(), theirs.receivers.len());
    prd.stop().await;
    bkp.stop().await;
}
