//! The first copy over real QUIC: a store save goes from one system to another, over broken lines, restarts, replaced and
//! damaged saves, and nothing half-mixed ever comes out. The stores are made up: of a save the daemons know its file alone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::apply::{
    EndApply, JobDescription, ListJobs, ReportJob, StartApply, StorePlace,
};
use rjournal::daemon::command::journal::{AttributePatch, DeleteJournal};
use rjournal::daemon::command::load::{DescribeLoad, LoadStore};
use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::daemon::command::remote_journal::{
    BeginAt, ChangeRemoteJournal, RemoveRemoteJournal, WantedState,
};
use rjournal::daemon::{ErrorKind, FetchedSave, JobProgram, LoadPhase, LoadStanding};
use rjournal::entry::{Name, SaveFacts, SaveId, SegmentId, Sequence};
use rjournal::journal::DeliveryMode;
use rjournal::{CommandError, System, SystemOptions};
use rjournal_tests::systems::{
    Place, activate, add_remote_journal, deposit, describe, introduce, journal, library, make,
    messages, name, rdb, until,
};
use tempfile::TempDir;

const PIECE: usize = 1024 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

fn store(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A system whose jobs are processes that do nothing but end when they are told.
async fn start(data: &Path) -> System {
    let program = JobProgram {
        program: "/bin/sh".into(),
        arguments: ["-c", "cat", "job"].map(str::to_owned).to_vec(),
    };
    let options = SystemOptions {
        job_program: Some(program),
        ..SystemOptions::new(data)
    };
    System::open(options).await.expect("a system that starts")
}

/// PRD with journal and store DB, BKP with the remote journal. What PRD sends of saves is bounded to 4 MiB a second.
struct Pair {
    prd_place: Place,
    bkp_place: Place,
    prd: System,
    bkp: System,
    _dir: TempDir,
}

fn config(place: &Place, line: &str) {
    let path = place.data.join("rjournal.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(path, format!("{text}\n{line}\n")).expect("a file");
}

impl Pair {
    /// Both made and introduced; the remote journal is not there yet.
    async fn strangers() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (prd_place, prd) = make(dir.path(), "PRD").await;
        let (bkp_place, bkp) = make(dir.path(), "BKP").await;
        introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
        library(&prd, "PRDLIB").await;
        library(&bkp, "BKPLIB").await;
        let small = AttributePatch {
            threshold_kb: Some(64),
            ..AttributePatch::default()
        };
        journal(&prd, "PRDLIB/JRN", small).await;
        prd.stop().await;
        bkp.stop().await;
        config(&prd_place, "first_copy_mib = 4");
        let pair = Self {
            prd: start(&prd_place.data).await,
            bkp: start(&bkp_place.data).await,
            prd_place,
            bkp_place,
            _dir: dir,
        };
        strapy(&pair.prd, "DB", "PRDLIB/JRN").await;
        pair
    }

    /// With the remote journal, level, and some receivers full of entries.
    async fn new() -> Self {
        let pair = Self::strangers().await;
        add_remote_journal(&pair.prd, "BKP").await;
        pair.join().await;
        pair.fill(200).await;
        pair
    }

    async fn join(&self) {
        let open = self.prd.journal_when_open(name("PRDLIB/JRN"), WITHIN).await;
        open.expect("an open journal");
        let joined = activate(&self.prd, "BKP", DeliveryMode::Sync).await;
        assert!(joined.expect("it is activated").caught_up);
    }

    async fn fill(&self, count: usize) {
        for n in 0..count {
            let text = format!("{n} {}", "x".repeat(700));
            deposit(&self.prd, &text, WITHIN).await;
        }
    }

    async fn restart_prd(&mut self) {
        self.prd.stop().await;
        self.prd = start(&self.prd_place.data).await;
    }

    async fn restart_bkp(&mut self) {
        self.bkp.stop().await;
        self.bkp = start(&self.bkp_place.data).await;
    }

    /// What a save would be of that is made now.
    async fn facts(&self, body: &[u8]) -> SaveFacts {
        let here = self.prd.journal_when_open(name("PRDLIB/JRN"), WITHIN).await;
        let here = here.expect("an open journal");
        let applied = here.readable();
        let head = here.facts(applied).expect("it can be read").head;
        SaveFacts {
            save: SaveId::from_bytes(*blake3::hash(body).as_bytes()),
            bytes: body.len() as u64 + 32,
            applied,
            restart: applied,
            head: head.expect("it is here"),
        }
    }

    fn save_file(&self) -> PathBuf {
        self.prd_place.data.join("stores").join("DB.save")
    }

    /// The job of DB has made a save, in place of the one before.
    async fn save(&self, body: &[u8]) -> SaveFacts {
        let facts = self.facts(body).await;
        self.put_save(body, facts).await;
        facts
    }

    async fn put_save(&self, body: &[u8], facts: SaveFacts) {
        let fresh = self.save_file().with_extension("new");
        let whole = [body, facts.save.as_bytes()].concat();
        std::fs::create_dir_all(fresh.parent().expect("a directory")).expect("it is there");
        std::fs::write(&fresh, whole).expect("a file");
        #[allow(
            clippy::disallowed_methods,
            reason = "in place of a job: the name is all that counts here"
        )]
        std::fs::rename(fresh, self.save_file()).expect("a name");
        report(&self.prd, "DB", Some(facts), None).await;
    }

    async fn load(&self) -> Result<(), CommandError> {
        load(&self.bkp, "REPLICA").await
    }

    async fn standing(&self) -> LoadStanding {
        let request = DescribeLoad {
            store: store("REPLICA"),
        };
        let described = self.bkp.run(request).await.expect("an answer");
        *described.load.expect("a load")
    }

    /// Waits until so many bytes came.
    async fn fetched(&self, bytes: usize) -> LoadStanding {
        let mut last = None;
        until(async || {
            let standing = self.standing().await;
            let phase = standing.phase;
            assert_ne!(phase, LoadPhase::Failed, "{:?}", standing.failed);
            let there = phase == LoadPhase::Fetching && standing.done >= bytes as u64;
            last = Some(standing);
            there
        })
        .await;
        last.expect("it was looked at")
    }

    /// Waits for the end.
    async fn ended(&self) -> Result<FetchedSave, CommandError> {
        until(async || !self.standing().await.is_running()).await;
        let standing = self.standing().await;
        standing
            .fetched
            .ok_or_else(|| standing.failed.expect("it ended"))
    }

    /// What was fetched.
    fn content(&self, fetched: &FetchedSave) -> Vec<u8> {
        std::fs::read(self.bkp_place.data.join(&fetched.file)).expect("a file")
    }

    /// The job of REPLICA goes on from what it was loaded from.
    async fn goes_on(&self, facts: SaveFacts) {
        let place = StorePlace {
            applied: facts.applied,
            restart: facts.restart,
            at: SegmentId {
                term: 1,
                journal: describe(&self.bkp, "BKPLIB/JRN")
                    .await
                    .journal_id
                    .expect("a journal"),
            },
        };
        report(&self.bkp, "REPLICA", Some(facts), Some(place)).await;
    }

    async fn stop(self) {
        self.bkp.stop().await;
        self.prd.stop().await;
    }
}

async fn strapy(system: &System, name_of: &str, journal: &str) {
    let request = StartApply {
        store: store(name_of),
        journal: Some(name(journal)),
        kind: None,
        skip: None,
    };
    system.run(request).await.expect("a job");
}

async fn load(system: &System, name_of: &str) -> Result<(), CommandError> {
    let request = LoadStore {
        store: store(name_of),
        rdb: rdb("PRD"),
        journal: Some(name("BKPLIB/JRN")),
        kind: None,
        start: false,
    };
    system.run(request).await.map(drop)
}

async fn report(
    system: &System,
    name_of: &str,
    save: Option<SaveFacts>,
    place: Option<StorePlace>,
) {
    let request = ReportJob {
        store: store(name_of),
        place,
        save,
        saved: None,
        not_saved: None,
        stopped: None,
        message: None,
        held: None,
        fork: None,
        kept_from: None,
    };
    system.run(request).await.expect("it is taken");
}

async fn job(system: &System, name_of: &str) -> JobDescription {
    let jobs = system.run(ListJobs {}).await.expect("a list").jobs;
    let found = jobs.into_iter().find(|job| job.store == store(name_of));
    found.expect("a job")
}

fn body(pieces: usize, seed: u8) -> Vec<u8> {
    let length = pieces * PIECE - 99;
    (0..length)
        .map(|n| (n % 251) as u8 ^ (n >> 16) as u8 ^ seed)
        .collect()
}

/// Tries to delete the receivers, and gives who is in the way.
async fn needed_by(system: &System, journal: &str) -> Option<String> {
    let receivers = describe(system, journal).await.receivers;
    let detached = receivers.iter().rev().nth(1).expect("several receivers");
    let delete = DeleteReceiver {
        receiver: detached.name,
        journal: Some(name(journal)),
        force: false,
    };
    match system.run(delete).await {
        Ok(_) => None,
        Err(error) if error.id == "RJN4002" => Some(error.text),
        Err(error) => panic!("{error}"),
    }
}

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
