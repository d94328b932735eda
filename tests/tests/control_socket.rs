//! Programs on the control socket of a whole system, with real files: what a program that does not wait for its writes may
//! rely on.

use rjournal::Client;
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::daemon::{ControlSocket, JournalClient, Want};
use rjournal::entry::{Draft, Kind, Sequence};
use rjournal::journal::Answer;
use rjournal_tests::systems::{Single, name};

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
        matches!(answers[0], Ok((Answer::Landed { .. }, false))),
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
