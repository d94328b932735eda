//! Room `daemon`: accepting partners: who they are is known from their key, what they may do from the directory.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::copy::{CopyEvent, CopyRuntime};
use crate::daemon::catalog::Partner;
use crate::daemon::clock::random_number;
use crate::daemon::first_copy::send_pieces;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::entry::{QualifiedName, RdbName, Sequence, SystemId};
use crate::link::{Accepted, LinkStream, Wired};
use crate::remote::{
    Frame, Hello, Message, PROTOCOL_VERSION, PartnerReply, PartnerRequest, Refusal, RefusalCode,
    SaveAsk,
};

/// Connections served at once.
const CONNECTIONS_MAX: usize = 1024;
/// The first frame of a connection must come within this time.
const FIRST_FRAME_MAX: Duration = Duration::from_secs(5);
/// Answers that may wait to be sent to one source.
const ANSWERS_WAITING: usize = 256;

/// How long connections that end may take to say their last words.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The connections that are served.
#[derive(Debug)]
pub(crate) struct Guests(Arc<Semaphore>);

impl Default for Guests {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CONNECTIONS_MAX)))
    }
}

impl Guests {
    fn enter(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }

    /// Lets nobody in any more, and comes back when all have left, or after a second: a target that stops says so, and its
    /// source must hear it before the connection is closed, or it waits for a target that is not coming back.
    pub(crate) async fn leave(&self) {
        let all = CONNECTIONS_MAX as u32;
        if let Ok(Ok(places)) = tokio::time::timeout(LAST_WORDS_MAX, self.0.acquire_many(all)).await
        {
            places.forget();
        }
    }
}

/// Accepts partners until the endpoint is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let Some(endpoint) = shared.endpoint() else {
        return;
    };
    while let Some(accepting) = endpoint.accept().await {
        let Some(place) = shared.guests.enter() else {
            tracing::warn!("too many connections; one was turned away");
            continue;
        };
        let served = Arc::clone(&shared);
        shared.runtime.spawn(async move {
            match accepting.await {
                Ok(accepted) => serve(&served, accepted).await,
                Err(error) => tracing::debug!(%error, "a connection attempt came to nothing"),
            }
            drop(place);
        });
    }
}

async fn serve(shared: &Arc<Shared>, accepted: Accepted) {
    let Some((rdb, partner)) = shared.partner_by_key(&accepted.fingerprint) else {
        return;
    };
    let mut stream = accepted.stream;
    let first = tokio::time::timeout(FIRST_FRAME_MAX, stream.receive()).await;
    match first {
        Ok(Ok(Some(Wired::Request(request)))) => match *request {
            PartnerRequest::Feed {
                group,
                journal,
                epoch,
                upto,
            } => {
                let wanted = (group, journal, epoch);
                let peer = partner.system;
                shared.serve_feed(peer, wanted, upto, stream).await;
            }
            PartnerRequest::Save(request) if matches!(request.ask, SaveAsk::Pieces { .. }) => {
                send_pieces(shared, (rdb, &partner), request, stream).await;
            }
            request => {
                let (reply, frames) = shared.partner_request(rdb, &partner, request).await;
                let mut answer = vec![Wired::Reply(Box::new(reply))];
                answer.extend(frames);
                drop(stream.send(&answer).await);
                stream.finish().await;
            }
        },
        Ok(Ok(Some(Wired::OtherVersion { protocol }))) => {
            let text = format!(
                "{} speaks protocol {PROTOCOL_VERSION}, the asking system {protocol}: both must be of the same release",
                shared.name
            );
            tracing::warn!(%rdb, "refused: {text}");
            let reply = refused(RefusalCode::Version, text);
            drop(stream.send(&[Wired::Reply(Box::new(reply))]).await);
            stream.finish().await;
        }
        Ok(Ok(Some(Wired::Session(Frame::Message(Message::Hello(hello)))))) => {
            feed(shared, rdb, &partner, hello, stream).await;
        }
        Ok(Ok(Some(_))) => {
            tracing::warn!(%rdb, "a partner began with something other than a hello or a request");
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::warn!(%rdb, %error, "a partner's first words cannot be read"),
        Err(_) => tracing::warn!(%rdb, "a partner connected and said nothing"),
    }
}

/// A source wants to feed a remote journal.
async fn feed(
    shared: &Arc<Shared>,
    rdb: RdbName,
    partner: &Partner,
    hello: Box<Hello>,
    mut stream: LinkStream,
) {
    let copy = match find_copy(shared, partner, &hello) {
        Ok(copy) => copy,
        Err(refusal) => {
            tracing::warn!(%rdb, journal = %hello.target_journal, "refused: {}", refusal.text);
            drop(
                stream
                    .send(&[Wired::Session(Frame::Message(Message::Refuse(refusal)))])
                    .await,
            );
            return stream.finish().await;
        }
    };
    carry_feed(shared, &copy, partner.system, hello, stream, false).await;
}

/// Carries a session that feeds a copy until it is over, `asked` for by this system or not.
///
/// Cancel safe: yes, the session is lost then.
pub(in crate::daemon) async fn carry_feed(
    shared: &Arc<Shared>,
    copy: &Arc<CopyRuntime>,
    peer: SystemId,
    hello: Box<Hello>,
    stream: LinkStream,
    asked: bool,
) {
    let (mut sender, mut receiver) = stream.split();
    let (out, mut answers) = mpsc::channel::<Vec<Wired>>(ANSWERS_WAITING);
    let id = random_number(&*shared.entropy);
    copy.tell(CopyEvent::Session {
        id,
        peer,
        hello,
        out,
        asked,
    })
    .await;
    // An operator may have taken the permission away between the look at it and this: nobody would end the session.
    let name = copy.copy.name();
    if !asked && !shared.may_feed(peer, name) {
        copy.tell(dismiss(shared, peer, name)).await;
    }
    let mut fed = None;
    let answering = shared.runtime.spawn(async move {
        while let Some(mut wired) = answers.recv().await {
            while let Ok(more) = answers.try_recv() {
                wired.extend(more);
            }
            if sender.send(&wired).await.is_err() {
                return;
            }
        }
        // The session ended: what it said last still goes out.
        sender.finish().await;
    });
    while let Ok(Some(Wired::Session(frame))) = receiver.receive().await {
        copy.hand_over(id, frame, &mut fed).await;
    }
    copy.tell(CopyEvent::Lost { id }).await;
    drop(answering.await);
}

fn find_copy(
    shared: &Shared,
    partner: &Partner,
    hello: &Hello,
) -> Result<Arc<CopyRuntime>, Refusal> {
    let name = hello.target_journal;
    let refuse = |code, text| Refusal {
        code,
        source: hello.tip.sequence,
        target: Sequence::NONE,
        fork: None,
        text,
    };
    if !shared.may_feed(partner.system, name) {
        let text = not_allowed(shared, partner.system, name);
        return Err(refuse(RefusalCode::NotAuthorised, text));
    }
    match shared.runtime_of(name) {
        Some(JournalRuntime::Copy(copy)) => Ok(copy),
        Some(JournalRuntime::Broken(broken)) => Err(refuse(
            RefusalCode::Damaged,
            format!("{name} on {}: {}", shared.name, broken.reason),
        )),
        Some(_) => Err(refuse(
            RefusalCode::WrongJournal,
            format!("{name} on {} is a local journal", shared.name),
        )),
        None => {
            let text = format!(
                "there is no remote journal {name} on {}; add it with ADDRMTJRN",
                shared.name
            );
            Err(refuse(RefusalCode::NoSuchJournal, text))
        }
    }
}

/// The directory entry of a system, and what ALWJRN would have to be.
fn entry_of(
    shared: &Shared,
    system: SystemId,
    journal: QualifiedName,
) -> Option<(RdbName, String)> {
    shared.catalog(|catalog| {
        let mut partners = catalog.partners.iter();
        let found = partners.find(|(_, partner)| partner.system == system);
        found.map(|(rdb, partner)| (*rdb, partner.allowing(journal)))
    })
}

/// What a source is told that may not feed a journal, as the directory is now.
pub(crate) fn not_allowed(shared: &Shared, system: SystemId, journal: QualifiedName) -> String {
    let here = shared.name;
    match entry_of(shared, system, journal) {
        Some((rdb, allowed)) => format!(
            "the directory entry {rdb} on {here} does not allow feeding {journal}; there: CHGRDBDIRE --rdb {rdb} --alwjrn {allowed}"
        ),
        None => format!(
            "{here} has no directory entry for this system any more; there: ADDRDBDIRE, with what DSPSYSID prints here"
        ),
    }
}

/// The end of what a system feeds here and may not feed any more.
pub(crate) fn dismiss(shared: &Shared, system: SystemId, journal: QualifiedName) -> CopyEvent {
    let here = match entry_of(shared, system, journal) {
        Some((rdb, allowed)) => format!(
            "the directory entry {rdb} does not allow feeding it: CHGRDBDIRE --rdb {rdb} --alwjrn {allowed}"
        ),
        None => "the directory has no entry for its source any more: ADDRDBDIRE, with what DSPSYSID prints there".to_owned(),
    };
    CopyEvent::Dismiss {
        system,
        told: not_allowed(shared, system, journal),
        here,
    }
}

/// A refusal as a reply.
pub(crate) fn refused(code: RefusalCode, text: String) -> PartnerReply {
    PartnerReply::Refused(Refusal {
        code,
        source: Sequence::NONE,
        target: Sequence::NONE,
        fork: None,
        text,
    })
}
