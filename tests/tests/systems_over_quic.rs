//! Two whole systems in one process, over real QUIC and real files: deposits answered SYNC, restarts, refusals.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rjournal::System;
use rjournal::daemon::command::directory::{PutPartner, RemovePartner};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::command::remote_journal::RemoveRemoteJournal;
use rjournal::daemon::command::verify::Verify;
use rjournal::journal::{AckClass, DeliveryMode};
use rjournal::link::{Fingerprint, Identity, LinkEndpoint, Partners, Wired};
use rjournal::remote::{PartnerReply, PartnerRequest, RefusalCode};
use rjournal_tests::systems::{
    PATIENCE, Place, Two, activate, add_remote_journal, allow_journals, deposit, describe,
    introduce, library, make, messages, name, rdb, start, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deposit_is_answered_sync_and_both_copies_are_equal_after_restarts() {
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    let two = Two::new(small).await;
    let prd = &two.prd;
    assert_eq!(deposit(prd, "before", PATIENCE).await, AckClass::Local);
    let changed = activate(prd, "BKP", DeliveryMode::Sync)
        .await
        .expect("it is activated");
    assert!(changed.caught_up, "{changed:?}");
    for n in 0..200 {
        assert_eq!(
            deposit(prd, &format!("entry {n} {}", "x".repeat(500)), PATIENCE).await,
            AckClass::Sync,
            "{n}"
        );
    }
    two.stop().await;
    let bkp = start(&two.bkp_place.data).await;
    // Its source has said nothing yet, and has at least what came from it.
    let marks = describe(&bkp, "BKPLIB/JRN").await.watermarks;
    assert!(marks.sealed.get() > 200, "{marks:?}");
    assert_eq!(marks.deposited, marks.sealed);
    let prd = start(&two.prd_place.data).await;
    assert_eq!(
        deposit(&prd, "after a restart of both", PATIENCE).await,
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

/// The text of the first message with this id. Deposits are made until it is there.
async fn told(system: &System, id: &str) -> String {
    let looking = async {
        loop {
            if let Some(message) = messages(system, id).await.into_iter().next() {
                return message.text;
            }
            deposit(system, "meanwhile", PATIENCE).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .unwrap_or_else(|_| panic!("{id} is never told"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_told_when_a_target_enters_and_leaves_the_set() {
    let two = Two::in_sync(AttributePatch::default()).await;
    let (prd, bkp) = (&two.prd, &two.bkp);
    let joined = told(prd, "RJN3006").await;
    assert!(joined.starts_with("BKP:BKPLIB/JRN is in sync"), "{joined}");
    assert!(joined.contains("answered SYNC"), "{joined}");
    bkp.stop().await;
    let left = told(prd, "RJN3005").await;
    assert!(left.starts_with("BKP:BKPLIB/JRN is out of sync"), "{left}");
    assert!(left.contains("answered LOCAL"), "{left}");
    prd.stop().await;
}

/// Section 10 of the design: a partner is admitted only for the journals its entry allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partner_is_told_only_of_journals_it_feeds_or_is_fed_with() {
    let two = Two::in_sync(AttributePatch::default()).await;
    let (prd, bkp) = (&two.prd, &two.bkp);
    let verify = |journal, partner| Verify {
        journal: name(journal),
        partner: Some(rdb(partner)),
    };
    prd.run(verify("PRDLIB/JRN", "BKP"))
        .await
        .expect("it may feed that journal");
    allow_journals(bkp, &[]).await;
    let refused = prd.run(verify("PRDLIB/JRN", "BKP")).await;
    let refused = refused.expect_err("its entry allows nothing any more");
    assert!(refused.text.contains("CHGRDBDIRE"), "{refused:?}");
    bkp.run(verify("BKPLIB/JRN", "PRD"))
        .await
        .expect("it is fed with that journal");
    two.stop().await;
}

/// CFG-5: a backup takes another's place in the directory. Its own copy of the journal is none of this link's; the source
/// once took the stranger for a clone's witness, and closed for deposits until it was started again and opened by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_entry_given_to_another_backup_leaves_the_source_open() {
    let two = Two::in_sync(AttributePatch::default()).await;
    let prd = &two.prd;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (other_place, other) = make(dir.path(), "BKP2").await;
    introduce((&two.prd_place, prd), (&other_place, &other)).await;
    library(&other, "BKPLIB").await;
    add_remote_journal(prd, "BKP2").await;
    let removed = RemoveRemoteJournal {
        rdb: rdb("BKP2"),
        source: name("PRDLIB/JRN"),
        target: None,
    };
    prd.run(removed).await.expect("it was there");
    let forgotten = RemovePartner { rdb: rdb("BKP2") };
    prd.run(forgotten).await.expect("nothing uses it");
    let entry = |place: &Place| PutPartner {
        rdb: rdb("BKP"),
        fingerprint: Some(place.identity.fingerprint),
        address: Some(format!("127.0.0.1:{}", place.port)),
        allow_journals: None,
        text: None,
        change: true,
    };
    prd.run(entry(&other_place)).await.expect("a free key");
    // The link has to connect anew.
    two.bkp.stop().await;
    until(async || {
        let links = describe(prd, "PRDLIB/JRN").await.links;
        let note = links[0].note.as_deref();
        note.is_some_and(|why| why.contains("WRONG_SYSTEM"))
    })
    .await;
    assert_eq!(deposit(prd, "alone", PATIENCE).await, AckClass::Local);
    assert!(messages(prd, "RJN2006").await.is_empty());
    // The right system again: the link goes on by itself.
    let bkp = start(&two.bkp_place.data).await;
    prd.run(entry(&two.bkp_place)).await.expect("a free key");
    until(async || deposit(prd, "with it", PATIENCE).await == AckClass::Sync).await;
    prd.stop().await;
    bkp.stop().await;
    other.stop().await;
}

/// Admits nobody: it only dials.
#[derive(Debug)]
struct Nobody;

impl Partners for Nobody {
    fn admits(&self, _: &Fingerprint) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_another_version_is_refused_with_both_whatever_it_asks() {
    let two = Two::new(AttributePatch::default()).await;
    two.prd.stop().await;
    // Whoever has the source's key speaks for it.
    let pem = std::fs::read_to_string(two.prd_place.data.join("identity.pem"));
    let key = Identity::from_pem(&pem.expect("a key")).expect("a key");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let endpoint = LinkEndpoint::bind(any, key, Arc::new(Nobody)).expect("a free port");
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, two.bkp_place.port));
    let ask = async |asked: Wired| {
        let partner = two.bkp_place.identity.fingerprint;
        let mut stream = endpoint.connect(target, partner).await.expect("admitted");
        stream.send(&[asked]).await.expect("sent");
        match stream.receive().await.expect("an answer") {
            Some(Wired::Reply(reply)) => *reply,
            other => panic!("not a reply: {other:?}"),
        }
    };
    match ask(Wired::OtherVersion { protocol: 7 }).await {
        PartnerReply::Refused(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Version);
            for part in ["BKP speaks protocol 1", "system 7", "same release"] {
                assert!(refusal.text.contains(part), "{part}: {}", refusal.text);
            }
        }
        other => panic!("not refused: {other:?}"),
    }
    let ping = Wired::Request(Box::new(PartnerRequest::Ping));
    assert!(matches!(ask(ping).await, PartnerReply::Pong { .. }));
    two.bkp.stop().await;
}
