//! Package `tests`, groups under seeds: the task of a member: every few seconds, and whenever something happened, it asks the
//! others where they stand, tells them where it stands, and brings its journals to where they belong; as the daemon's does.

use std::time::Duration;

use rjournal::remote::{GroupNews, PartnerReply, PartnerRequest};

use super::goals::Goal;
use super::line::{Body, Mail};
use super::world::Here;

/// Others are asked this often when nothing happens.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// While something is missing, this often.
const ASK_SOON: Duration = Duration::from_millis(500);
/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);

impl Here {
    /// The others.
    pub(super) fn others(&self) -> Vec<usize> {
        let me = self.me;
        let all = 0..self.world.members.len();
        all.filter(|other| *other != me).collect()
    }

    pub(super) async fn run_group(self) {
        self.pause().await;
        self.fence();
        let mut asked = self.now();
        self.ask_members();
        loop {
            if self.go_on().await {
                asked = self.now();
                self.ask_members();
            }
            let due = asked + self.ask_again_after();
            let woken = || self.up(|up| std::mem::take(&mut up.woken).then_some(()));
            if self.found_before(due, woken).await.is_none() {
                asked = self.now();
                self.ask_members();
            }
        }
    }

    fn ask_again_after(&self) -> Duration {
        let standing = self.standing();
        let whole = self.seen().follows() == standing.promised();
        if whole && standing.handed_over.is_none() {
            ASK_EVERY
        } else {
            ASK_SOON
        }
    }

    /// Does what follows from what is known now. Says whether there is something to tell.
    async fn go_on(&self) -> bool {
        let before = self.standing();
        if self.settle().await.is_err() {
            return false;
        }
        let follows = self.seen().follows();
        self.note_parent(follows);
        let told = self.up(|up| up.told.replace(follows));
        told != Some(follows) || self.standing() != before
    }

    /// Whether this member follows another primary than before.
    fn note_parent(&self, follows: u64) {
        let primary = self.look(|at| at.lineage.newest().map(|newest| newest.primary));
        let Some(primary) = primary.filter(|_| follows > 0) else {
            return;
        };
        let before = self.up(|up| up.parent.replace(primary));
        let me = self.id();
        if before.is_some_and(|before| before != primary && before != me) && primary != me {
            self.world.reach(Goal::Reparented);
        }
    }

    /// Asks a member something.
    pub(super) async fn ask_member(
        &self,
        to: usize,
        request: PartnerRequest,
        wait: Duration,
    ) -> Result<PartnerReply, String> {
        let call = self.world.line.borrow_mut().number();
        self.ask_call(call, to, request, wait).await
    }

    /// The same, under a number of its own.
    pub(super) async fn ask_call(
        &self,
        call: u64,
        to: usize,
        request: PartnerRequest,
        wait: Duration,
    ) -> Result<PartnerReply, String> {
        {
            let mut line = self.world.line.borrow_mut();
            line.calls.insert(call, None);
            line.mails.push(Mail {
                call,
                from: self.me,
                to,
                life: self.world.members[to].borrow().life,
                body: Body::Request(Box::new(request)),
            });
        }
        let waiting = Waiting {
            here: self.clone(),
            call,
        };
        let answered = || waiting.take();
        let answer = self.found_before(self.now() + wait, answered).await;
        match answer {
            None => Err("it did not answer in time".to_owned()),
            Some(Ok(PartnerReply::Refused(refusal))) => Err(refusal.text),
            Some(other) => other,
        }
    }

    /// Asks one member where it stands, and takes that in.
    pub(super) async fn ask_where(&self, to: usize, wait: Duration) -> Result<GroupNews, String> {
        let request = PartnerRequest::Group(Box::new(self.group_news()));
        match self.ask_member(to, request, wait).await {
            Ok(PartnerReply::Group(news)) => {
                self.take_news(to, &news).await?;
                Ok(*news)
            }
            Ok(_) => Err("it said something else".to_owned()),
            Err(error) => {
                self.note_heard(to, None);
                Err(error)
            }
        }
    }

    /// Asks all other members where they stand, and waits for nobody.
    fn ask_members(&self) {
        for to in self.others() {
            if !self.up(|up| up.asking.insert(to)) {
                continue;
            }
            let here = self.clone();
            self.spawn("ask", async move {
                let heard = here.ask_where(to, ANSWER_MAX).await.is_ok();
                here.up(|up| up.asking.remove(&to));
                if heard {
                    here.wake();
                }
            });
        }
    }

    /// Asks all other members where they stand, and waits for each so long; gives those that answered.
    pub(super) async fn ask_all(&self, wait: Duration) -> Vec<usize> {
        let until = self.now() + wait;
        let mut heard = Vec::new();
        for to in self.others() {
            let left = until.since(self.now());
            if self.ask_where(to, left).await.is_ok() {
                heard.push(to);
            }
        }
        heard
    }
}

/// A question that is waited for; whoever gives up is not answered.
struct Waiting {
    here: Here,
    call: u64,
}

impl Waiting {
    fn take(&self) -> Option<Result<PartnerReply, String>> {
        let mut line = self.here.world.line.borrow_mut();
        line.calls.get_mut(&self.call).and_then(Option::take)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.here.world.line.borrow_mut().calls.remove(&self.call);
    }
}
