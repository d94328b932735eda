//! Room `daemon`: the task that opens a local journal after a start: it asks the members of the in-sync set, adopts what
//! a crash lost here, and opens - or says why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::local::lock;
use crate::daemon::clock::random_number;
use crate::daemon::crank::{OpeningCrank, OpeningState, Wire};
use crate::daemon::messages::Severity;
use crate::daemon::system::{Shared, dir_of};
use crate::entry::control_entry::{Member as SetMember, OpenReason};
use crate::entry::{JournalId, Moment, Position, QualifiedName, Sequence};
use crate::journal::{Control, LinkRecord};
use crate::link::{LinkReceiver, LinkSender, LinkStream, Wired};
use crate::receiver::ChainReader;
use crate::remote::{Frame, MemberKey, RefusalCode};

/// A member that did not answer is asked again after this long.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// An operator's word on a journal that does not open by itself.
#[derive(Debug)]
pub(crate) enum OpenOrder {
    /// Open it without hearing everybody.
    Alone(oneshot::Sender<()>),
    /// Adopt a tail of any length.
    Adopt(oneshot::Sender<()>),
    /// Another member of its group was heard, and knows of no higher term.
    Contact,
    /// The system stops.
    Shutdown,
}

/// A journal on its way, from outside.
#[derive(Debug)]
pub(crate) struct OpeningRuntime {
    /// Identity.
    pub(crate) id: JournalId,
    /// Name.
    pub(crate) name: QualifiedName,
    /// Its receivers.
    pub(crate) reader: ChainReader,
    /// What is kept about it.
    pub(crate) control: Control,
    /// The members of its recorded in-sync set.
    pub(crate) members: Vec<SetMember>,
    /// The last entry here when it was recovered.
    pub(crate) tip: Position,
    /// What it waits for, for people.
    pub(crate) waits_for: Mutex<String>,
    orders: mpsc::Sender<OpenOrder>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl OpeningRuntime {
    /// Tells the task an operator's word.
    pub(crate) async fn order(&self, order: OpenOrder) {
        drop(self.orders.send(order).await);
    }

    /// Ends the task and waits for it. What it opened meanwhile, it opened: that is for the caller to look at.
    pub(crate) async fn stop(&self) {
        self.order(OpenOrder::Shutdown).await;
        let task = lock(&self.task).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

enum Event {
    Connected(Box<LinkRecord>, LinkStream),
    NotConnected(MemberKey, String),
    Frame(MemberKey, u64, Frame),
    Lost(MemberKey, u64),
}

struct Member {
    session: u64,
    sender: LinkSender,
}

struct OpeningTask {
    shared: Arc<Shared>,
    crank: OpeningCrank,
    runtime: Arc<OpeningRuntime>,
    orders: mpsc::Receiver<OpenOrder>,
    events: mpsc::Receiver<Event>,
    tell: mpsc::Sender<Event>,
    members: BTreeMap<MemberKey, Member>,
    dialing: BTreeMap<MemberKey, Moment>,
    /// Why members could not be reached.
    errors: BTreeMap<MemberKey, String>,
    news: News,
}

/// What an operator is told of an opening that does not go on by itself: each kind of state once, until he has said
/// something.
#[derive(Debug)]
struct News {
    since: Moment,
    said: Option<OpeningState>,
}

impl News {
    const fn new(now: Moment) -> Self {
        Self {
            since: now,
            said: None,
        }
    }

    /// Whether a state is to be told now: a refusal at once, members that do not answer after OPENWAIT.
    fn is_due(&mut self, state: &OpeningState, open_wait: Duration, now: Moment) -> bool {
        let tell = match state {
            OpeningState::Waiting(_) => now.since(self.since) >= open_wait,
            OpeningState::Refused { .. } => true,
            OpeningState::Adopting | OpeningState::Ready { .. } => false,
        };
        let kind = std::mem::discriminant(state);
        let fresh = self.said.as_ref().map(std::mem::discriminant) != Some(kind);
        if tell && fresh {
            self.said = Some(state.clone());
        }
        tell && fresh
    }

    /// An operator said what is to be done: everybody is asked anew, and has as long as at the start.
    fn handle_order(&mut self, now: Moment) {
        *self = Self::new(now);
    }
}

/// Starts opening a recovered journal.
pub(crate) fn start(shared: &Arc<Shared>, crank: OpeningCrank) -> Arc<OpeningRuntime> {
    let (send_orders, orders) = mpsc::channel(8);
    let (tell, events) = mpsc::channel(64);
    let control = crank.control().clone();
    let runtime = Arc::new(OpeningRuntime {
        id: control.journal,
        name: control.name,
        reader: crank.recovered().reader(),
        members: crank
            .recovered()
            .set()
            .map_or_else(Vec::new, |(_, set)| set.members.clone()),
        tip: crank.recovered().tip(),
        waits_for: Mutex::new("the members of its in-sync set".to_owned()),
        control,
        orders: send_orders,
        task: Mutex::new(None),
    });
    let task = OpeningTask {
        shared: Arc::clone(shared),
        crank,
        runtime: Arc::clone(&runtime),
        orders,
        events,
        tell,
        members: BTreeMap::new(),
        dialing: BTreeMap::new(),
        errors: BTreeMap::new(),
        news: News::new(shared.clock.now()),
    };
    *lock(&runtime.task) = Some(shared.runtime.spawn(task.run()));
    runtime
}

impl OpeningTask {
    async fn run(mut self) {
        loop {
            match self
                .crank
                .turn(self.shared.clock.wall(), self.shared.clock.now())
            {
                Ok(wires) => {
                    for (key, wire) in wires {
                        self.wire(key, wire).await;
                    }
                }
                Err(error) => {
                    return self.shared.journal_broken(
                        self.runtime.name,
                        self.runtime.control.clone(),
                        error.to_string(),
                        dir_of(&self.runtime.reader),
                    );
                }
            }
            let state = self.crank.state();
            if let OpeningState::Ready {
                reason,
                rank_above,
                heard,
            } = state
            {
                return self.open(reason, rank_above, heard).await;
            }
            self.say(&state);
            self.dial();
            if !self.wait().await {
                return;
            }
        }
    }

    /// Keeps status and messages up to date with what is waited for.
    fn say(&mut self, state: &OpeningState) {
        let open_wait = Duration::from_millis(self.runtime.control.attributes.open_wait_ms);
        let text = match state {
            OpeningState::Waiting(members) => {
                let mut names: Vec<String> = members.iter().map(|key| self.name_of(*key)).collect();
                if names.is_empty() {
                    names.push("no other member of its group".to_owned());
                }
                format!(
                    "closed for deposits: {} of its in-sync set did not answer; it may hold answered entries this disk lost. \
                     It opens by itself when they answer; CHGJRN OPEN(*ALONE) opens it without them",
                    names.join(", ")
                )
            }
            // Why it was closed before is kept with its code.
            OpeningState::Refused {
                code: RefusalCode::Stopped,
                text,
            } => format!("closed for deposits: {text}"),
            OpeningState::Refused { code, text } => format!("closed for deposits: {code}: {text}"),
            OpeningState::Adopting | OpeningState::Ready { .. } => {
                "taking over what a crash lost here".to_owned()
            }
        };
        (*lock(&self.runtime.waits_for)).clone_from(&text);
        let now = self.shared.clock.now();
        if self.news.is_due(state, open_wait, now) {
            self.shared
                .post("RJN2001", Severity::Alarm, self.runtime.name, text);
        }
    }

    fn name_of(&self, key: MemberKey) -> String {
        let links = &self.runtime.control.links;
        let name = links
            .iter()
            .find(|link| link.system == key.system)
            .map_or_else(|| key.system.to_string(), |link| link.rdb.to_string());
        match self.errors.get(&key) {
            Some(error) => format!("{name} ({error})"),
            None => name,
        }
    }

    /// Dials members that have not answered, each at most once a second.
    fn dial(&mut self) {
        let now = self.shared.clock.now();
        for link in self.crank.to_dial() {
            let key = MemberKey {
                system: link.system,
                journal: link.target,
            };
            if self
                .dialing
                .get(&key)
                .is_some_and(|last| now.since(*last) < ASK_AGAIN)
            {
                continue;
            }
            self.dialing.insert(key, now);
            let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
            self.shared.runtime.spawn(async move {
                let event = match shared.dial(link.rdb).await {
                    Ok(stream) => Event::Connected(Box::new(link), stream),
                    Err(error) => Event::NotConnected(key, error.to_string()),
                };
                drop(tell.send(event).await);
            });
        }
    }

    async fn wire(&mut self, key: MemberKey, wire: Wire) {
        match wire {
            Wire::Frames(frames) => {
                let wired: Vec<Wired> = frames.into_iter().map(Wired::Session).collect();
                if let Some(member) = self.members.get_mut(&key)
                    && member.sender.send(&wired).await.is_err()
                {
                    self.members.remove(&key);
                    self.crank.handle_lost(key);
                }
            }
            Wire::Disconnect => {
                if let Some(member) = self.members.remove(&key) {
                    member.sender.finish().await;
                }
            }
            Wire::Dial => {}
        }
    }

    /// Waits for what comes next. Says whether to go on.
    async fn wait(&mut self) -> bool {
        let now = self.shared.clock.now();
        let due = self
            .crank
            .poll_timeout()
            .map_or(ASK_AGAIN, |due| due.since(now).min(ASK_AGAIN));
        tokio::select! {
            biased;
            order = self.orders.recv() => match order {
                Some(OpenOrder::Alone(done)) => {
                    let text = "an operator opens it without hearing its whole in-sync set".to_owned();
                    self.shared.post("RJN2002", Severity::Alarm, self.runtime.name, text);
                    self.news.handle_order(now);
                    if let Err(error) = self.crank.open_alone() {
                        tracing::error!(journal = %self.runtime.name, %error, "cannot be kept");
                    }
                    let _told = done.send(());
                }
                Some(OpenOrder::Adopt(done)) => {
                    let text = "an operator allows a tail of any length to be taken over".to_owned();
                    self.shared.post("RJN2003", Severity::Alarm, self.runtime.name, text);
                    self.news.handle_order(now);
                    match self.crank.allow_adopt(now) {
                        Ok(wires) => {
                            for (key, wire) in wires {
                                self.wire(key, wire).await;
                            }
                        }
                        Err(error) => {
                            tracing::error!(journal = %self.runtime.name, %error, "cannot be kept");
                        }
                    }
                    self.dialing.clear();
                    let _told = done.send(());
                }
                Some(OpenOrder::Contact) => self.crank.handle_contact(),
                Some(OpenOrder::Shutdown) | None => return false,
            },
            event = self.events.recv() => if let Some(event) = event { self.take(event) },
            () = tokio::time::sleep(due) => self.crank.handle_timeout(self.shared.clock.now()),
        }
        true
    }

    fn take(&mut self, event: Event) {
        let now = self.shared.clock.now();
        match event {
            Event::Connected(link, stream) => {
                let key = MemberKey {
                    system: link.system,
                    journal: link.target,
                };
                let session = random_number(&*self.shared.entropy);
                let (sender, receiver) = stream.split();
                self.errors.remove(&key);
                self.members.insert(key, Member { session, sender });
                self.crank.handle_connected(
                    &link,
                    (self.shared.id, self.shared.name),
                    session,
                    now,
                );
                self.shared
                    .runtime
                    .spawn(read_frames(receiver, key, session, self.tell.clone()));
            }
            Event::NotConnected(key, error) => {
                self.errors.insert(key, error);
            }
            Event::Frame(key, session, frame) => {
                if self
                    .members
                    .get(&key)
                    .is_some_and(|member| member.session == session)
                {
                    self.crank.handle_frame(key, frame, now);
                }
            }
            Event::Lost(key, session) => {
                if self
                    .members
                    .get(&key)
                    .is_some_and(|member| member.session == session)
                {
                    self.members.remove(&key);
                    self.crank.handle_lost(key);
                }
            }
        }
    }

    async fn open(
        self,
        reason: OpenReason,
        rank_above: (u64, u64),
        heard: Vec<(MemberKey, Sequence)>,
    ) {
        let adopted = self.crank.adopted;
        let (recovered, wires) = self.crank.finish(self.shared.clock.now());
        let mut members = self.members;
        for (key, wire) in wires {
            if let (Wire::Frames(frames), Some(member)) = (wire, members.get_mut(&key)) {
                let wired: Vec<Wired> = frames.into_iter().map(Wired::Session).collect();
                drop(member.sender.send(&wired).await);
            }
        }
        for member in members.into_values() {
            member.sender.finish().await;
        }
        if adopted > 0 {
            let text = format!(
                "{adopted} entries that a crash had taken from this disk were taken back from a member of the in-sync set"
            );
            self.shared
                .post("RJN2004", Severity::Warning, self.runtime.name, text);
        }
        let (shared, name) = (Arc::clone(&self.shared), self.runtime.name);
        let opened = tokio::task::spawn_blocking(move || {
            shared.open_local(recovered, reason, rank_above, &heard)
        })
        .await;
        let reason = match opened {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let control = self.runtime.control.clone();
        let dir = dir_of(&self.runtime.reader);
        self.shared.journal_broken(name, control, reason, dir);
    }
}

async fn read_frames(
    mut receiver: LinkReceiver,
    key: MemberKey,
    session: u64,
    tell: mpsc::Sender<Event>,
) {
    loop {
        let event = match receiver.receive().await {
            Ok(Some(Wired::Session(frame))) => Event::Frame(key, session, frame),
            _ => Event::Lost(key, session),
        };
        let last = matches!(event, Event::Lost(..));
        if tell.send(event).await.is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal lasted longer than OPENWAIT; an operator allows adoption, everybody is asked anew and answers at once.
    #[test]
    fn members_that_are_asked_anew_by_an_operator_have_as_long_to_answer_as_at_the_start() {
        let open_wait = Duration::from_secs(30);
        let at = |seconds| Moment::ZERO + Duration::from_secs(seconds);
        let refused = OpeningState::Refused {
            code: RefusalCode::SourceBehind,
            text: String::new(),
        };
        let waiting = OpeningState::Waiting(Vec::new());
        let mut news = News::new(at(0));
        assert!(!news.is_due(&waiting, open_wait, at(0)));
        assert!(news.is_due(&refused, open_wait, at(1)));
        assert!(!news.is_due(&refused, open_wait, at(100)), "said once");
        news.handle_order(at(100));
        assert!(!news.is_due(&waiting, open_wait, at(101)));
        assert!(!news.is_due(&OpeningState::Adopting, open_wait, at(102)));
        assert!(news.is_due(&waiting, open_wait, at(130)), "nobody answers");
        assert!(news.is_due(&refused, open_wait, at(131)), "refused again");
    }
}
