//! The first copy over real QUIC: a store save goes from one system to another, over broken lines, restarts, replaced and
//! damaged saves, and nothing half-mixed ever comes out. The stores are made up: of a save the daemons know its file alone.

mod pair;

use std::path::Path;

use rjournal::daemon::command::apply::{EndApply, ReportJob};
use rjournal::daemon::command::journal::DeleteJournal;
use rjournal::daemon::command::load::{DescribeLoad, LoadStore};
use rjournal::daemon::command::remote_journal::{
    BeginAt, ChangeRemoteJournal, RemoveRemoteJournal, WantedState,
};
use rjournal::daemon::{ErrorKind, LoadPhase};
use rjournal::entry::{SaveFacts, SaveId, Sequence};
use rjournal_tests::systems::{add_remote_journal, describe, messages, name, rdb, until};

use pair::*;

/// DEL-4: from the promise on until the job goes on from it, receivers stay on both sides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_loaded_while_entries_flow_and_receivers_are_kept_until_the_job_goes_on() {
    let mut pair = Pair::new().await;
    let body = body(3, 0);
    let first = pair.save(&body).await;
    pair.load().await.expect("a load");
    pair.fetched(PIECE).await;
    pair.fill(200).await;
    // A newer save covers more: what was promised holds its receivers all the same, over a restart, too.
    pair.save(b"a newer one").await;
    let needed = needed_by(&pair.prd, "PRDLIB/JRN").await;
    assert!(
        needed
            .as_ref()
            .is_some_and(|who| who.contains("first copy of store REPLICA at BKP")),
        "{needed:?}"
    );
    let fetched = pair.ended().await.expect("it is fetched");
    assert_eq!((fetched.save, fetched.kept), (first, 0));
    let whole = [&body[..], first.save.as_bytes()].concat();
    assert!(pair.content(&fetched) == whole);
    pair.restart_bkp().await;
    pair.restart_prd().await;
    pair.join().await;
    assert!(needed_by(&pair.prd, "PRDLIB/JRN").await.is_some());
    let needed = needed_by(&pair.bkp, "BKPLIB/JRN").await;
    assert!(needed.is_some_and(|who| who.contains("store REPLICA")));
    pair.goes_on(first).await;
    until(async || {
        let needed = needed_by(&pair.prd, "PRDLIB/JRN").await.unwrap_or_default();
        !needed.contains("first copy")
    })
    .await;
    assert_eq!(messages(&pair.prd, "RJN5020").await.len(), 1);
    assert_eq!(messages(&pair.bkp, "RJN5024").await.len(), 1);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_goes_on_after_a_restart_of_either_system() {
    let mut pair = Pair::new().await;
    let body = body(10, 1);
    let facts = pair.save(&body).await;
    pair.load().await.expect("a load");
    pair.fetched(2 * PIECE).await;
    pair.restart_prd().await;
    let before = pair.fetched(4 * PIECE).await;
    assert_eq!(before.kept, 0, "the same load goes on");
    pair.restart_bkp().await;
    let note = job(&pair.bkp, "REPLICA").await.note;
    assert_eq!(
        note.as_deref(),
        Some("being loaded from PRD: RSTSTO goes on")
    );
    // A part of what is here is not what it was.
    let part = pair.bkp_place.data.join("stores").join("REPLICA.load");
    rjournal_tests::systems::flip(&part, PIECE + 5, 10);
    pair.load().await.expect("a load");
    let fetched = pair.ended().await.expect("it is fetched");
    let expected = (before.done - PIECE as u64)..=(before.done + PIECE as u64);
    assert!(
        expected.contains(&fetched.kept),
        "{} of {}",
        fetched.kept,
        before.done
    );
    assert!(pair.content(&fetched) == [&body[..], facts.save.as_bytes()].concat());
    assert_eq!(messages(&pair.bkp, "RJN5026").await.len(), 1);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_that_is_replaced_meanwhile_is_sent_to_its_end_or_begun_anew_and_never_mixed() {
    let mut pair = Pair::new().await;
    let (one, two, three) = (body(6, 1), body(7, 2), body(5, 3));
    let first = pair.save(&one).await;
    pair.load().await.expect("a load");
    pair.fetched(PIECE).await;
    let second = pair.save(&two).await;
    let fetched = pair.ended().await.expect("it is fetched");
    assert_eq!(fetched.save, first);
    assert!(pair.content(&fetched) == [&one[..], first.save.as_bytes()].concat());

    // After a restart only what stands there can be sent.
    let forget = EndApply {
        store: store("REPLICA"),
        remove: true,
    };
    pair.bkp.run(forget).await.expect("it is forgotten");
    pair.load().await.expect("a load");
    let begun = pair.fetched(PIECE).await;
    assert_eq!(begun.save, Some(second));
    pair.prd.stop().await;
    let third = {
        // Its facts as of now, told by the job when it starts.
        let facts = SaveFacts {
            save: SaveId::from_bytes(*blake3::hash(&three).as_bytes()),
            bytes: three.len() as u64 + 32,
            ..second
        };
        std::fs::write(
            pair.save_file(),
            [&three[..], facts.save.as_bytes()].concat(),
        )
        .expect("a file");
        facts
    };
    pair.prd = start(&pair.prd_place.data).await;
    report(&pair.prd, "DB", Some(third), None).await;
    let fetched = pair.ended().await.expect("it is fetched");
    assert_eq!(fetched.save, third);
    assert!(pair.content(&fetched) == [&three[..], third.save.as_bytes()].concat());
    pair.stop().await;
}

/// The bytes of a save change behind the back of the system that promised it: what it sends is a lie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_that_is_not_of_the_save_is_refused_and_nothing_of_it_is_kept() {
    let pair = Pair::new().await;
    let body = body(8, 4);
    let facts = pair.save(&body).await;
    pair.load().await.expect("a load");
    pair.fetched(PIECE).await;
    flip_in_place(&pair.save_file(), 6 * PIECE + 3);
    let refused = pair.ended().await.expect_err("one byte is another");
    assert_eq!(
        (refused.id.as_str(), refused.kind),
        ("RJN5025", ErrorKind::Damaged)
    );
    assert!(
        refused.text.contains("piece 6, from byte 6291456 on"),
        "{refused}"
    );
    flip_in_place(&pair.save_file(), 6 * PIECE + 3);
    pair.load().await.expect("a load");
    let fetched = pair.ended().await.expect("it is fetched");
    assert!(fetched.kept >= 6 * PIECE as u64, "{}", fetched.kept);
    assert!(pair.content(&fetched) == [&body[..], facts.save.as_bytes()].concat());
    pair.stop().await;
}

fn flip_in_place(path: &Path, at: usize) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    let file = file.expect("a save");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64)
        .expect("it can be read");
    file.write_all_at(&[byte[0] ^ 1], at as u64)
        .expect("it can be written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_ordered_where_there_is_none_or_none_that_is_whole() {
    let pair = Pair::new().await;
    pair.load().await.expect("a load");
    until(async || job(&pair.prd, "DB").await.save_wanted).await;
    let making = Some("PRD makes a save of store DB");
    until(async || pair.standing().await.note.as_deref() == making).await;
    let one = body(2, 5);
    let facts = pair.save(&one).await;
    assert!(!job(&pair.prd, "DB").await.save_wanted);
    assert_eq!(pair.ended().await.expect("it is fetched").save, facts);

    // The save has rotted since: it is not promised, an operator is told, and another one is made.
    pair.restart_of_prd_with(|pair| flip_in_place(&pair.save_file(), 77))
        .await;
}

impl Pair {
    async fn restart_of_prd_with(mut self, change: impl FnOnce(&Self)) {
        self.prd.stop().await;
        change(&self);
        self.prd = start(&self.prd_place.data).await;
        self.join().await;
        let forget = EndApply {
            store: store("REPLICA"),
            remove: true,
        };
        self.bkp.run(forget).await.expect("it is forgotten");
        self.load().await.expect("a load");
        until(async || job(&self.prd, "DB").await.save_wanted).await;
        assert_eq!(messages(&self.prd, "RJN5023").await.len(), 1);
        // The job cannot: what it says reaches who asked.
        let not_saved = ReportJob {
            saved: None,
            store: store("DB"),
            place: None,
            save: None,
            not_saved: Some("no room".to_owned()),
            stopped: None,
            message: None,
            held: None,
            fork: None,
            kept_from: None,
        };
        self.prd.run(not_saved).await.expect("it is taken");
        let refused = self.ended().await.expect_err("there is none");
        assert!(
            refused
                .text
                .contains("store DB on PRD cannot be saved: no room"),
            "{refused}"
        );
        self.load().await.expect("a load");
        until(async || job(&self.prd, "DB").await.save_wanted).await;
        let facts = self.save(&body(2, 6)).await;
        assert_eq!(self.ended().await.expect("it is fetched").save, facts);
        self.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_is_for_who_is_fed_with_its_journal_alone() {
    let pair = Pair::strangers().await;
    pair.save(b"rows").await;
    let refused = pair.load().await.expect_err("there is no such journal");
    assert_eq!(refused.kind, ErrorKind::NotFound);
    add_remote_journal(&pair.prd, "BKP").await;
    let remove = RemoveRemoteJournal {
        rdb: rdb("BKP"),
        source: name("PRDLIB/JRN"),
        target: None,
    };
    pair.prd.run(remove).await.expect("it is removed");
    pair.load().await.expect("a load");
    let refused = pair.ended().await.expect_err("it is not fed");
    assert_eq!(
        (refused.id.as_str(), refused.kind),
        ("CPF70D5", ErrorKind::NotAuthorised)
    );

    // Without a store there is no save either, and without a job none that is new enough.
    add_remote_journal(&pair.prd, "BKP").await;
    let end = |remove| EndApply {
        store: store("DB"),
        remove,
    };
    pair.prd.run(end(true)).await.expect("it is forgotten");
    pair.load().await.expect("a load");
    let refused = pair.ended().await.expect_err("there is no store");
    assert!(
        refused
            .text
            .contains("no store is made from PRDLIB/JRN on PRD"),
        "{refused}"
    );
    strapy(&pair.prd, "DB", "PRDLIB/JRN").await;
    pair.prd.run(end(false)).await.expect("it is ended");
    pair.load().await.expect("a load");
    let refused = pair.ended().await.expect_err("nobody makes a save");
    assert!(
        refused
            .text
            .contains("no apply job of PRDLIB/JRN runs on PRD"),
        "{refused}"
    );
    pair.stop().await;
}

/// A save is of no use where the copy begins behind it, has not come so far, or has another history.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_waits_for_the_journal_it_goes_on_with_and_must_fit_it() {
    let pair = Pair::new().await;
    let change = |state| ChangeRemoteJournal {
        rdb: rdb("BKP"),
        source: name("PRDLIB/JRN"),
        target: None,
        state: Some(state),
        delivery: None,
        level: None,
        begin: BeginAt::Attached,
        wait_ms: 0,
        text: None,
        force: false,
    };
    let off = change(WantedState::InactiveImmediate);
    pair.prd.run(off.clone()).await.expect("it is changed");
    pair.fill(100).await;
    let facts = pair.save(b"rows").await;
    pair.load().await.expect("a load");
    until(async || pair.standing().await.phase == LoadPhase::Waiting).await;
    let note = pair.standing().await.note.unwrap_or_default();
    assert!(
        note.ends_with(&format!("the save at entry {}", facts.applied)),
        "{note}"
    );
    pair.join().await;
    assert_eq!(pair.ended().await.expect("it is fetched").save, facts);

    // Another history.
    let lie = SaveFacts {
        head: describe_head(&pair, facts.applied.before()),
        save: SaveId::from_bytes(*blake3::hash(b"other").as_bytes()),
        bytes: 5 + 32,
        ..facts
    };
    let forget = EndApply {
        store: store("REPLICA"),
        remove: true,
    };
    pair.bkp.run(forget.clone()).await.expect("it is forgotten");
    pair.put_save(b"other", lie).await;
    pair.load().await.expect("a load");
    let refused = pair.ended().await.expect_err("the heads differ");
    assert_eq!(refused.id, "RJN5028", "{refused}");

    // The copy is made again, and begins with the receiver that is attached: the save is older.
    pair.bkp.run(forget).await.expect("it is forgotten");
    let before = pair.save(b"an older one").await;
    pair.prd.run(off).await.expect("it is changed");
    let remove = RemoveRemoteJournal {
        rdb: rdb("BKP"),
        source: name("PRDLIB/JRN"),
        target: None,
    };
    pair.prd.run(remove).await.expect("it is removed");
    let gone = DeleteJournal {
        journal: name("BKPLIB/JRN"),
    };
    until(async || pair.bkp.run(gone.clone()).await.is_ok()).await;
    pair.fill(200).await;
    add_remote_journal(&pair.prd, "BKP").await;
    let on = change(WantedState::Active);
    pair.prd.run(on).await.expect("it is changed");
    until(async || !describe(&pair.bkp, "BKPLIB/JRN").await.receivers.is_empty()).await;
    pair.load().await.expect("a load");
    until(async || job(&pair.prd, "DB").await.save_wanted).await;
    // A cycle has been open since before the copy begins.
    pair.put_save(b"an older one", before).await;
    let refused = pair.ended().await.expect_err("entries would be missing");
    assert!(
        refused.text.contains("a commit cycle is open on PRD"),
        "{refused}"
    );
    pair.load().await.expect("a load");
    until(async || job(&pair.prd, "DB").await.save_wanted).await;
    let facts = pair.save(b"a newer one").await;
    assert_eq!(pair.ended().await.expect("it is fetched").save, facts);
    pair.stop().await;
}

fn describe_head(pair: &Pair, at: Sequence) -> rjournal::entry::ChainHead {
    let here = pair.prd.journal(name("PRDLIB/JRN")).expect("it is open");
    let head = here.facts(at).expect("it can be read").head;
    head.expect("it is here")
}

/// The store of the source is lost with its save: it is loaded from the target's replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_of_a_source_is_loaded_from_its_target() {
    let pair = Pair::new().await;
    strapy(&pair.bkp, "REPLICA", "BKPLIB/JRN").await;
    let facts = pair.facts(b"rows of the replica").await;
    let whole = [&b"rows of the replica"[..], facts.save.as_bytes()].concat();
    let stores = pair.bkp_place.data.join("stores");
    std::fs::write(stores.join("REPLICA.save"), whole).expect("a file");
    report(&pair.bkp, "REPLICA", Some(facts), None).await;
    let request = LoadStore {
        store: store("DB"),
        rdb: rdb("BKP"),
        journal: None,
        kind: None,
        start: false,
    };
    pair.prd.run(request).await.expect("a load");
    let describe = DescribeLoad { store: store("DB") };
    let mut ended = None;
    until(async || {
        let described = pair.prd.run(describe.clone()).await.expect("an answer");
        ended = described.load.filter(|load| !load.is_running());
        ended.is_some()
    })
    .await;
    let ended = ended.expect("it ended");
    let fetched = ended.fetched.expect("it is fetched");
    assert_eq!((fetched.save, fetched.start), (facts, true));
    pair.stop().await;
}
