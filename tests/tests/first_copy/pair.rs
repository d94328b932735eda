//! The first copy, whole systems: the two systems of a test, what is done and looked at on them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::apply::{
    JobDescription, ListJobs, ReportJob, StartApply, StorePlace,
};
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::command::load::{DescribeLoad, LoadStore};
use rjournal::daemon::command::receiver::DeleteReceiver;
use rjournal::daemon::{FetchedSave, JobProgram, LoadPhase, LoadStanding};
use rjournal::entry::{Name, SaveFacts, SaveId, SegmentId};
use rjournal::journal::DeliveryMode;
use rjournal::{CommandError, System, SystemOptions};
use rjournal_tests::systems::{
    Place, activate, add_remote_journal, deposit, describe, introduce, journal, library, make,
    name, rdb, until,
};
use tempfile::TempDir;

pub(crate) const PIECE: usize = 1024 * 1024;
pub(crate) const WITHIN: Duration = Duration::from_secs(30);

pub(crate) fn store(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// A system whose jobs are processes that do nothing but end when they are told.
pub(crate) async fn start(data: &Path) -> System {
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
pub(crate) struct Pair {
    pub(crate) prd_place: Place,
    pub(crate) bkp_place: Place,
    pub(crate) prd: System,
    pub(crate) bkp: System,
    pub(crate) _dir: TempDir,
}

pub(crate) fn config(place: &Place, line: &str) {
    let path = place.data.join("rjournal.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(path, format!("{text}\n{line}\n")).expect("a file");
}

impl Pair {
    /// Both made and introduced; the remote journal is not there yet.
    pub(crate) async fn strangers() -> Self {
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
    pub(crate) async fn new() -> Self {
        let pair = Self::strangers().await;
        add_remote_journal(&pair.prd, "BKP").await;
        pair.join().await;
        pair.fill(200).await;
        pair
    }

    pub(crate) async fn join(&self) {
        let open = self.prd.journal_when_open(name("PRDLIB/JRN"), WITHIN).await;
        open.expect("an open journal");
        let joined = activate(&self.prd, "BKP", DeliveryMode::Sync).await;
        assert!(joined.expect("it is activated").caught_up);
    }

    pub(crate) async fn fill(&self, count: usize) {
        for n in 0..count {
            let text = format!("{n} {}", "x".repeat(700));
            deposit(&self.prd, &text, WITHIN).await;
        }
    }

    pub(crate) async fn restart_prd(&mut self) {
        self.prd.stop().await;
        self.prd = start(&self.prd_place.data).await;
    }

    pub(crate) async fn restart_bkp(&mut self) {
        self.bkp.stop().await;
        self.bkp = start(&self.bkp_place.data).await;
    }

    /// What a save would be of that is made now.
    pub(crate) async fn facts(&self, body: &[u8]) -> SaveFacts {
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

    pub(crate) fn save_file(&self) -> PathBuf {
        self.prd_place.data.join("stores").join("DB.save")
    }

    /// The job of DB has made a save, in place of the one before.
    pub(crate) async fn save(&self, body: &[u8]) -> SaveFacts {
        let facts = self.facts(body).await;
        self.put_save(body, facts).await;
        facts
    }

    pub(crate) async fn put_save(&self, body: &[u8], facts: SaveFacts) {
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

    pub(crate) async fn load(&self) -> Result<(), CommandError> {
        load(&self.bkp, "REPLICA").await
    }

    pub(crate) async fn standing(&self) -> LoadStanding {
        let request = DescribeLoad {
            store: store("REPLICA"),
        };
        let described = self.bkp.run(request).await.expect("an answer");
        *described.load.expect("a load")
    }

    /// Waits until so many bytes came.
    pub(crate) async fn fetched(&self, bytes: usize) -> LoadStanding {
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
    pub(crate) async fn ended(&self) -> Result<FetchedSave, CommandError> {
        until(async || !self.standing().await.is_running()).await;
        let standing = self.standing().await;
        standing
            .fetched
            .ok_or_else(|| standing.failed.expect("it ended"))
    }

    /// What was fetched.
    pub(crate) fn content(&self, fetched: &FetchedSave) -> Vec<u8> {
        std::fs::read(self.bkp_place.data.join(&fetched.file)).expect("a file")
    }

    /// The job of REPLICA goes on from what it was loaded from.
    pub(crate) async fn goes_on(&self, facts: SaveFacts) {
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

    pub(crate) async fn stop(self) {
        self.bkp.stop().await;
        self.prd.stop().await;
    }
}

pub(crate) async fn strapy(system: &System, name_of: &str, journal: &str) {
    let request = StartApply {
        store: store(name_of),
        journal: Some(name(journal)),
        kind: None,
        skip: None,
    };
    system.run(request).await.expect("a job");
}

pub(crate) async fn load(system: &System, name_of: &str) -> Result<(), CommandError> {
    let request = LoadStore {
        store: store(name_of),
        rdb: rdb("PRD"),
        journal: Some(name("BKPLIB/JRN")),
        kind: None,
        start: false,
    };
    system.run(request).await.map(drop)
}

pub(crate) async fn report(
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

pub(crate) async fn job(system: &System, name_of: &str) -> JobDescription {
    let jobs = system.run(ListJobs {}).await.expect("a list").jobs;
    let found = jobs.into_iter().find(|job| job.store == store(name_of));
    found.expect("a job")
}

pub(crate) fn body(pieces: usize, seed: u8) -> Vec<u8> {
    let length = pieces * PIECE - 99;
    (0..length)
        .map(|n| (n % 251) as u8 ^ (n >> 16) as u8 ^ seed)
        .collect()
}

/// Tries to delete the receivers, and gives who is in the way.
pub(crate) async fn needed_by(system: &System, journal: &str) -> Option<String> {
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
