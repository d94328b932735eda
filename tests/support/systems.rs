//! Package `tests`: whole systems in this process, over real QUIC on loopback and real files in a temporary directory.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use rjournal::daemon::command::directory::{DescribeSystem, PutPartner, SystemDescription};
use rjournal::daemon::command::journal::{AttributePatch, CreateJournal};
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::daemon::command::remote_journal::{
    AddRemoteJournal, BeginAt, ChangeRemoteJournal, RemoteJournalChanged, WantedState,
};
use rjournal::entry::{QualifiedName, RdbName, SystemName};
use rjournal::journal::DeliveryMode;
use rjournal::{CommandError, Config, System, SystemOptions};

/// A name.
pub fn name(text: &str) -> QualifiedName {
    text.parse().expect("a qualified name")
}

/// A partner's name.
pub fn rdb(text: &str) -> RdbName {
    RdbName::new(text).expect("a name")
}

/// A UDP port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("loopback has ports")
        .port()
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
    let data = dir.join(system);
    let port = free_port();
    let listen = Some(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
    System::create(
        &data,
        &Config::new(SystemName::new(system).expect("a name"), listen),
    )
    .expect("a fresh directory");
    let running = start(&data).await;
    let identity = running.run(DescribeSystem {}).await.expect("an answer");
    (
        Place {
            data,
            port,
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

/// PRDLIB/JRN on `from`, with its remote journal BKPLIB/JRN on `to`, not active.
pub async fn journal_pair(from: &System, to: &System, to_name: &str, attributes: AttributePatch) {
    let library = |text: &str| CreateLibrary {
        library: name(&format!("{text}/X")).library,
        text: String::new(),
    };
    from.run(library("PRDLIB")).await.expect("a fresh library");
    to.run(library("BKPLIB")).await.expect("a fresh library");
    let create = CreateJournal {
        journal: name("PRDLIB/JRN"),
        receiver: None,
        attributes,
    };
    from.run(create).await.expect("a fresh journal");
    let add = AddRemoteJournal {
        rdb: rdb(to_name),
        source: name("PRDLIB/JRN"),
        target: Some(name("BKPLIB/JRN")),
        text: String::new(),
    };
    from.run(add).await.expect("a fresh remote journal");
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
        wait_ms: 20_000,
        text: None,
        force: false,
    })
    .await
}
