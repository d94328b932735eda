//! Two whole systems in one process, over real QUIC and real files: deposits answered SYNC, restarts, refusals.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rjournal::System;
use rjournal::daemon::command::directory::{PutPartner, RemovePartner};
use rjournal::daemon::command::journal::{AttributePatch, ChangeJournal, ReceiverChoice};
use rjournal::daemon::command::remote_journal::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, RemoveRemoteJournal, WantedState,
};
use rjournal::daemon::command::verify::Verify;
use rjournal::daemon::{ErrorKind, Severity};
use rjournal::entry::control_entry::Policy;
use rjournal::entry::{Draft, Kind};
use rjournal::journal::{AckClass, Answer, DeliveryMode};
use rjournal::link::{Fingerprint, Identity, LinkEndpoint, Partners, Wired};
use rjournal::remote::{PartnerReply, PartnerRequest, RefusalCode};
use rjournal_tests::systems::{
    self, PATIENCE, Place, Two, activate, add_remote_journal, allow_journals, deposit, describe,
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

fn change_journal(attributes: AttributePatch, receiver: Option<ReceiverChoice>) -> ChangeJournal {
    ChangeJournal {
        journal: name("PRDLIB/JRN"),
        receiver,
        open: None,
        attributes,
        force: false,
        fed: None,
    }
}

/// Nothing but a warning that a session ended was told when deposits were no longer answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_is_alarmed_when_deposits_are_held_off_and_told_when_they_go_on() {
    let strict = AttributePatch {
        policy: Some(Policy::Block),
        ..AttributePatch::default()
    };
    let two = Two::in_sync(strict).await;
    let prd = &two.prd;
    two.bkp.stop().await;
    // Not before: a busy machine is slow, too.
    let impatient = AttributePatch {
        sync_timeout_ms: Some(100),
        ..AttributePatch::default()
    };
    prd.run(change_journal(impatient, None))
        .await
        .expect("it is open");
    let journal = prd.journal(name("PRDLIB/JRN")).expect("an open journal");
    let draft = Draft::new(Kind::USER, b"held");
    let ticket = journal.deposit(&draft).await.expect("it is taken");
    until(async || !messages(prd, "RJN2010").await.is_empty()).await;
    let held = messages(prd, "RJN2010").await;
    assert_eq!((held.len(), held[0].severity), (1, Severity::Alarm));
    let who = "BKP:BKPLIB/JRN does not answer";
    assert!(held[0].text.starts_with(who), "{}", held[0].text);
    assert!(messages(prd, "RJN2011").await.is_empty());
    let bkp = start(&two.bkp_place.data).await;
    assert!(matches!(ticket.await, Answer::Landed { .. }));
    until(async || !messages(prd, "RJN2011").await.is_empty()).await;
    assert_eq!(messages(prd, "RJN2010").await.len(), 1);
    prd.stop().await;
    bkp.stop().await;
}

/// It was called a remote journal, whose receivers change with its source's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_waits_for_its_set_is_not_open_for_a_change_of_receivers() {
    let two = Two::in_sync(AttributePatch::default()).await;
    two.stop().await;
    let prd = start(&two.prd_place.data).await;
    let change = change_journal(AttributePatch::default(), Some(ReceiverChoice::Generate));
    let refused = prd.run(change).await.expect_err("it waits");
    assert_eq!(refused.id, "RJN4010", "{refused:?}");
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
    let (kind, id) = (refused.kind, refused.id.as_str());
    assert_eq!((kind, id), (ErrorKind::NotAuthorised, "CPF70D5"));
    // Each side says it in its own words, and without positions that nobody looked at.
    let here = "the directory entry PRD does not allow feeding it: CHGRDBDIRE --rdb PRD --alwjrn BKPLIB/JRN";
    until(async || describe(bkp, "BKPLIB/JRN").await.note.as_deref() == Some(here)).await;
    let there =
        "the directory entry PRD on BKP does not allow feeding BKPLIB/JRN; there: CHGRDBDIRE";
    until(async || {
        let note = describe(prd, "PRDLIB/JRN").await.links[0].note.clone();
        note.is_some_and(|note| note.contains(there) && !note.contains("target at"))
    })
    .await;
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

/// LNK-11: more journals are behind at once than may catch up together; all of them come level by themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_journals_that_are_behind_at_once_take_turns() {
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    let two = Two::new(small.clone()).await;
    let names: Vec<_> = (0..24).map(|n| format!("LIB/J{n}")).collect();
    let target = |journal: &str| journal.replace("LIB/", "BKPLIB/");
    library(&two.prd, "LIB").await;
    for journal in &names {
        systems::journal(&two.prd, journal, small.clone()).await;
        let add = AddRemoteJournal {
            rdb: rdb("BKP"),
            source: name(journal),
            target: Some(name(&target(journal))),
            text: String::new(),
        };
        two.prd.run(add).await.expect("a fresh remote journal");
    }
    for journal in &names {
        let change = ChangeRemoteJournal {
            rdb: rdb("BKP"),
            source: name(journal),
            target: None,
            state: Some(WantedState::Active),
            delivery: Some(DeliveryMode::Async),
            level: None,
            begin: BeginAt::Oldest,
            wait_ms: 0,
            text: None,
            force: false,
        };
        two.prd.run(change).await.expect("it is activated");
    }
    for journal in &names {
        until(async || {
            let ours = describe(&two.prd, journal).await.watermarks.written;
            describe(&two.bkp, &target(journal))
                .await
                .watermarks
                .written
                == ours
        })
        .await;
    }
    two.stop().await;
}
