//! Programs on the control socket of a whole system, with real files: what a program that does not wait for its writes may
//! rely on, and how the two ends find out that they are of different versions.

use std::path::Path;

use rjournal::daemon::command::directory::DescribeSystem;
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::{Along, ControlSocket, ErrorKind, JournalClient, Want};
use rjournal::entry::{Draft, Kind, Sequence, SystemName};
use rjournal::journal::{Again, Answer};
use rjournal::{Client, CommandError, Config, System};
use rjournal_tests::systems::{PATIENCE, Single, name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

async fn attached(data: &std::path::Path) -> JournalClient {
    let actor = ["JOB", "USER", "PROGRAM"].map(str::to_owned);
    Client::attach(data, name("PRDLIB/JRN"), actor, false)
        .await
        .expect("a journal that takes deposits")
}

async fn start(client: &JournalClient) -> Sequence {
    let draft = Draft::new(Kind::CYCLE_START, &[]);
    let ticket = client.deposit(&draft, Want::Number).await.expect("sent");
    ticket.number().await.expect("a number").0
}

const fn in_cycle(cycle: Sequence, kind: Kind) -> Draft<'static> {
    Draft {
        cycle,
        ..Draft::new(kind, b"text")
    }
}

/// A refused write nobody waited for was once told to whichever transaction of the connection committed next: that one was
/// rolled back, and the one with the missing entry landed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_does_not_land_when_an_entry_of_its_cycle_was_refused() {
    let single = Single::with_journal(AttributePatch::default()).await;
    let socket = ControlSocket::listen(&single.prd).expect("a socket");
    let client = attached(&single.place.data).await;
    let (torn, whole) = (start(&client).await, start(&client).await);
    // Entries of code J are the journal's own: refused.
    for (cycle, kind) in [
        (whole, Kind::USER),
        (torn, Kind::OPENED),
        (torn, Kind::USER),
    ] {
        let draft = in_cycle(cycle, kind);
        drop(client.deposit(&draft, Want::Nothing).await.expect("sent"));
    }
    let mut answers = Vec::new();
    for cycle in [whole, torn, torn] {
        let commit = in_cycle(cycle, Kind::CYCLE_COMMIT);
        let ticket = client.deposit(&commit, Want::Answer).await.expect("sent");
        answers.push(ticket.answer().await);
    }
    assert!(
        matches!(answers[0], Ok((Answer::Landed { .. }, Again::No))),
        "{answers:?}"
    );
    assert!(answers[1].is_err(), "{answers:?}");
    assert!(
        answers[2].is_err(),
        "the cycle was rolled back: {answers:?}"
    );
    drop(socket);
    single.prd.stop().await;
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a short body");
    [&[kind], &length.to_le_bytes()[..], body].concat()
}

/// What a client of a version begins with.
fn hello(protocol: u8) -> Vec<u8> {
    framed(
        1,
        &[b"\x81\xa5hello\x81\xa8protocol", &[protocol][..]].concat(),
    )
}

/// What a daemon of a version begins with.
fn server_hello(protocol: u8) -> Vec<u8> {
    let body = [
        b"\x81\xa5hello\x82\xa8protocol",
        &[protocol][..],
        b"\xa7refused\xc0",
    ];
    framed(2, &body.concat())
}

/// Everything the daemon says to somebody who says this, until it closes the connection.
async fn said_to(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.expect("a daemon");
    stream.write_all(bytes).await.expect("room for it");
    let mut said = Vec::new();
    let closed = async {
        // What it left unread makes the close an error; it comes behind what was said.
        while matches!(stream.read_buf(&mut said).await, Ok(1..)) {}
    };
    tokio::time::timeout(PATIENCE, closed)
        .await
        .expect("it is closed");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_another_version_or_of_none_is_told_both_and_let_go() {
    let single = Single::new().await;
    let socket = ControlSocket::listen(&single.prd).expect("a socket");
    // A request is as good as no hello, and so are noise, a kind of frame nobody knows, and a claim to a long message.
    let request = framed(1, b"\x81\xa7request\x80");
    let noise = b"GET / HTTP/1.1\r\n\r\n".repeat(1000);
    let (unknown, giant) = (framed(77, b"?"), [1, 0xd0, 7, 0, 0].to_vec());
    let first_words = [
        ([hello(2), request.clone()].concat(), "program version 2"),
        (request, "did not say its version first"),
        (noise, "did not say its version first"),
        (unknown, "did not say its version first"),
        (giant, "did not say its version first"),
    ];
    for (bytes, of_client) in first_words {
        let said = said_to(socket.path(), &bytes).await;
        assert_eq!(said[0], 2, "{said:?}");
        let text = String::from_utf8_lossy(&said);
        for part in [
            "hello",
            "daemon speaks version 1",
            of_client,
            "same release",
        ] {
            assert!(text.contains(part), "{part}: {text:?}");
        }
    }
    // One of this version is served as if nobody had come before.
    let client = Client::connect(&single.place.data).await.expect("a daemon");
    client.run(DescribeSystem {}).await.expect("an answer");
    // A hello comes once.
    let twice = said_to(socket.path(), &[hello(1), hello(1)].concat()).await;
    assert!(twice.is_empty() || twice == server_hello(1), "{twice:?}");
    drop(socket);
    single.prd.stop().await;
}

/// A data directory without a daemon, and something else that listens in it.
struct Stranger {
    dir: tempfile::TempDir,
    listener: UnixListener,
}

impl Stranger {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("PRD");
        let config = Config::new(SystemName::new("PRD").expect("a name"), None);
        System::create(&data, &config).expect("a fresh directory");
        let listener = UnixListener::bind(ControlSocket::path_in(&data, None)).expect("a socket");
        Self { dir, listener }
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("PRD")
    }

    /// Hears one client's hello, says this, and closes; gives what the client made of it.
    async fn hears<T>(
        &self,
        says: &[u8],
        client: impl Future<Output = Result<T, CommandError>>,
    ) -> CommandError {
        let served = async {
            let (mut stream, _) = self.listener.accept().await.expect("a client");
            let mut heard = vec![0; hello(1).len()];
            stream.read_exact(&mut heard).await.expect("a hello");
            assert_eq!(heard, hello(1));
            stream.write_all(says).await.expect("room for it");
        };
        let both = async { tokio::join!(client, served).0 };
        let told = tokio::time::timeout(PATIENCE, both).await;
        told.expect("in time").map(drop).expect_err("a refusal")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_refuses_a_daemon_of_another_version_whatever_it_wants() {
    let stranger = Stranger::new();
    let data = stranger.data();
    let journal = name("PRDLIB/JRN");
    let ask = || async {
        // It is not kept waiting for the daemon's word before it may go on.
        let client = Client::connect(&data).await?;
        client.run(DescribeSystem {}).await
    };
    let attach = || Client::attach(&data, journal, Default::default(), false);
    let follow = || Client::follow(&data, journal, Along::Journal, Sequence::NONE, None);
    let newer = server_hello(7);
    let told = [
        stranger.hears(&newer, ask()).await,
        stranger.hears(&newer, attach()).await,
        stranger.hears(&newer, follow()).await,
    ];
    for error in told {
        assert_eq!((&*error.id, error.kind), ("RJN1009", ErrorKind::Refused));
        let text = error.to_string();
        for part in ["daemon speaks version 7", "program version 1", "restart"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    for says in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &framed(2, b"\xc0"),
    ] {
        let told = [
            stranger.hears(says, ask()).await,
            stranger.hears(says, follow()).await,
        ];
        for error in told {
            assert_eq!(error.id, "RJN1009", "{error}");
        }
    }
    let told = [
        stranger.hears(b"", ask()).await,
        stranger.hears(b"", attach()).await,
        stranger.hears(b"", follow()).await,
    ];
    for error in told {
        assert_eq!(
            (&*error.id, error.kind),
            ("RJN1006", ErrorKind::Unreachable)
        );
        assert!(error.text.contains("without a word"), "{error}");
    }
}
