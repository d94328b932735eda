//! Package `tests`: whole systems in this process, over real QUIC on loopback and real files in a temporary directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rjournal::daemon::command::directory::{DescribeSystem, PutPartner, SystemDescription};
use rjournal::daemon::command::journal::{
    AttributePatch, CreateJournal, DescribeJournals, JournalDescription,
};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::daemon::command::remote_journal::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, RemoteJournalChanged, WantedState,
};
use rjournal::daemon::command::status::ListMessages;
use rjournal::daemon::{ErrorKind, OperatorMessage, Severity};
use rjournal::entry::{Draft, Kind, QualifiedName, RdbName, SystemName};
use rjournal::journal::{AckClass, Answer, DeliveryMode};
use rjournal::{CommandError, Config, System, SystemOptions};
use tempfile::TempDir;

/// What is late by so much never comes; a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A name.
pub fn name(text: &str) -> QualifiedName {
    text.parse().expect("a qualified name")
}

/// A partner's name.
pub fn rdb(text: &str) -> RdbName {
    RdbName::new(text).expect("a name")
}

/// A system and where it lives.
#[derive(Debug)]
pub struct Place {
    /// Its data directory.
    pub data: PathBuf,
    /// Its port on loopback.
    pub port: u16,
    /// What it is.
    pub identity: SystemDescription,
}

/// Makes a system below `dir` and starts it.
pub async fn make(dir: &Path, system: &str) -> (Place, System) {
    make_with(dir, system, |_| {}).await
}

/// The same with another configuration.
pub async fn make_with(
    dir: &Path,
    system: &str,
    configure: impl FnOnce(&mut Config),
) -> (Place, System) {
    let data = dir.join(system);
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config::new(SystemName::new(system).expect("a name"), Some(any_port));
    configure(&mut config);
    System::create(&data, &config).expect("a fresh directory");
    let running = start(&data).await;
    let identity = running.run(DescribeSystem {}).await.expect("an answer");
    // It has one that nobody else had; the next start takes it again.
    let listen = identity.listen.as_deref().map(str::parse);
    let listen: SocketAddr = listen.expect("it listens").expect("an address");
    config.listen = Some(listen);
    std::fs::write(data.join("rjournal.toml"), config.to_text()).expect("a file");
    (
        Place {
            data,
            port: listen.port(),
            identity,
        },
        running,
    )
}

/// Starts the system in a directory.
pub async fn start(data: &Path) -> System {
    System::open(SystemOptions::new(data))
        .await
        .expect("a system that starts")
}

/// Makes two systems know each other; `to` may be fed by `from` in library BKPLIB.
pub async fn introduce(from: (&Place, &System), to: (&Place, &System)) {
    let entry = |place: &Place, allow: Option<Vec<String>>| PutPartner {
        rdb: rdb(place.identity.name.as_str()),
        fingerprint: Some(place.identity.fingerprint),
        address: Some(format!("127.0.0.1:{}", place.port)),
        allow_journals: allow,
        text: None,
        change: false,
    };
    from.1.run(entry(to.0, None)).await.expect("a fresh entry");
    to.1.run(entry(from.0, Some(vec!["BKPLIB/*ALL".to_owned()])))
        .await
        .expect("a fresh entry");
}

/// A library.
pub async fn library(system: &System, library: &str) {
    let create = CreateLibrary {
        library: name(&format!("{library}/X")).library,
        text: String::new(),
    };
    system.run(create).await.expect("a fresh library");
}

/// A journal.
pub async fn journal(system: &System, journal: &str, attributes: AttributePatch) {
    let create = CreateJournal {
        journal: name(journal),
        receiver: None,
        attributes,
    };
    system.run(create).await.expect("a fresh journal");
}

/// Says which journals PRD may feed at a system.
pub async fn allow_journals(system: &System, journals: &[&str]) {
    let change = PutPartner {
        rdb: rdb("PRD"),
        fingerprint: None,
        address: None,
        allow_journals: Some(journals.iter().map(|&journal| journal.to_owned()).collect()),
        text: None,
        change: true,
    };
    system.run(change).await.expect("a change");
}

/// Deposits a text in PRDLIB/JRN; the journal must be open, and the answer there, within a time each.
pub async fn deposit(system: &System, text: &str, within: Duration) -> AckClass {
    let journal = system
        .journal_when_open(name("PRDLIB/JRN"), within)
        .await
        .expect("an open journal");
    let ticket = journal
        .deposit(&Draft::new(Kind::USER, text.as_bytes()))
        .await
        .expect("a deposit that is taken");
    let answer = tokio::time::timeout(within, ticket).await;
    match answer.expect("an answer in time") {
        Answer::Landed { class, .. } => class,
        other => panic!("not landed: {other:?}"),
    }
}

/// What WRKJRNA says of a journal.
pub async fn describe(system: &System, journal: &str) -> JournalDescription {
    let journal = Some(name(journal));
    let described = system.run(DescribeJournals { journal }).await;
    let mut journals = described.expect("a journal").journals.into_iter();
    journals.next().expect("one journal")
}

/// The messages of this id, oldest first.
pub async fn messages(system: &System, id: &str) -> Vec<OperatorMessage> {
    let list = ListMessages {
        after: 0,
        severity: Severity::Info,
        count: 1000,
    };
    let mut messages = system.run(list).await.expect("a list").messages;
    messages.retain(|message| message.id == id);
    messages
}

/// Looks again and again until something is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !is_so().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("in time");
}

/// One system, with library PRDLIB.
#[derive(Debug)]
pub struct Single {
    /// Where it lives.
    pub place: Place,
    /// It.
    pub prd: System,
    _dir: TempDir,
}

impl Single {
    /// Makes it and starts it.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (place, prd) = make(dir.path(), "PRD").await;
        library(&prd, "PRDLIB").await;
        Self {
            place,
            prd,
            _dir: dir,
        }
    }

    /// The same with journal PRDLIB/JRN.
    pub async fn with_journal(attributes: AttributePatch) -> Self {
        let single = Self::new().await;
        journal(&single.prd, "PRDLIB/JRN", attributes).await;
        single
    }
}

/// Two systems that know each other: PRDLIB/JRN on PRD, and its remote journal BKPLIB/JRN on BKP, not active.
#[derive(Debug)]
pub struct Two {
    /// Where the source lives.
    pub prd_place: Place,
    /// Where the target lives.
    pub bkp_place: Place,
    /// The source.
    pub prd: System,
    /// The target.
    pub bkp: System,
    _dir: TempDir,
}

impl Two {
    /// Makes both, starts them and ties them together.
    pub async fn new(attributes: AttributePatch) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (prd_place, prd) = make(dir.path(), "PRD").await;
        let (bkp_place, bkp) = make(dir.path(), "BKP").await;
        introduce((&prd_place, &prd), (&bkp_place, &bkp)).await;
        library(&prd, "PRDLIB").await;
        library(&bkp, "BKPLIB").await;
        journal(&prd, "PRDLIB/JRN", attributes).await;
        add_remote_journal(&prd, "BKP").await;
        Self {
            prd_place,
            bkp_place,
            prd,
            bkp,
            _dir: dir,
        }
    }

    /// The same, active in *SYNC and caught up.
    pub async fn in_sync(attributes: AttributePatch) -> Self {
        let two = Self::new(attributes).await;
        two.join().await;
        two
    }

    /// Makes the remote journal active in *SYNC; comes back when it has caught up.
    pub async fn join(&self) {
        let changed = activate(&self.prd, "BKP", DeliveryMode::Sync).await;
        assert!(changed.expect("it is activated").caught_up);
    }

    /// Stops both, the source first.
    pub async fn stop(&self) {
        self.prd.stop().await;
        self.bkp.stop().await;
    }
}

/// Makes BKPLIB/JRN at a partner the remote journal of PRDLIB/JRN.
pub async fn add_remote_journal(prd: &System, partner: &str) {
    let add = AddRemoteJournal {
        rdb: rdb(partner),
        source: name("PRDLIB/JRN"),
        target: Some(name("BKPLIB/JRN")),
        text: String::new(),
    };
    // A target too busy to answer is asked again.
    until(async || match prd.run(add.clone()).await {
        Ok(_) => true,
        Err(error) if error.kind == ErrorKind::Unreachable => false,
        Err(error) => panic!("no remote journal: {error}"),
    })
    .await;
}

/// Activates the remote journal and waits until it has caught up.
///
/// # Errors
/// What CHGRMTJRN says.
pub async fn activate(
    from: &System,
    to_name: &str,
    delivery: DeliveryMode,
) -> Result<RemoteJournalChanged, CommandError> {
    from.run(ChangeRemoteJournal {
        rdb: rdb(to_name),
        source: name("PRDLIB/JRN"),
        target: None,
        state: Some(WantedState::Active),
        delivery: Some(delivery),
        level: None,
        begin: BeginAt::Oldest,
        wait_ms: 120_000,
        text: None,
        force: false,
    })
    .await
}

/// The receivers of the one journal of a system, oldest first; spares, whose header is zeros, are left out.
pub fn receiver_files(place: &Place) -> Vec<PathBuf> {
    let journals = std::fs::read_dir(place.data.join("journals")).expect("a directory");
    let journal = journals.flatten().next().expect("one journal").path();
    let receivers = std::fs::read_dir(journal.join("receivers")).expect("a directory");
    let mut files: Vec<PathBuf> = receivers
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "rcv"))
        .filter(|path| std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"RJRNRCV")))
        .collect();
    files.sort();
    files
}

/// What a receiver's file holds, without the zeros it was prepared with: those are given back when it is detached.
pub fn written(path: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(path).expect("a receiver");
    let end = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(end.map_or(0, |last| last + 1));
    bytes
}

/// Changes bytes of a file.
pub fn flip(path: &Path, at: usize, count: usize) {
    let mut bytes = std::fs::read(path).expect("a receiver");
    for byte in &mut bytes[at..at + count] {
        *byte ^= 0x55;
    }
    std::fs::write(path, bytes).expect("a file that can be written");
}
