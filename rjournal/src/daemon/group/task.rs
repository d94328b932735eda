//! Room `daemon`, recovery groups: the task of one group: every few seconds, and whenever something happened, it asks the others
//! where they stand, tells them where it stands, and brings its journals to where they belong. Must not judge.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::runtime::GroupRuntime;
use crate::daemon::messages::Severity;
use crate::daemon::system::Shared;
use crate::entry::{JournalId, SystemId};
use crate::remote::{GroupNews, PartnerReply, PartnerRequest};

/// Others are asked this often when nothing happens.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// While something is missing, this often.
const ASK_SOON: Duration = Duration::from_millis(500);
/// How long a member may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The way back is tried at once, and then once a day.
const PATH_EVERY_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

impl Shared {
    /// Starts the tasks of all groups.
    pub(crate) fn start_groups(self: &Arc<Self>) {
        for group in self.groups.all() {
            self.start_group(group);
        }
    }

    pub(super) fn start_group(self: &Arc<Self>, group: Arc<GroupRuntime>) {
        let shared = Arc::clone(self);
        self.runtime
            .spawn(async move { shared.run_group(group).await });
    }

    async fn run_group(self: Arc<Self>, group: Arc<GroupRuntime>) {
        self.fence(&group);
        let mut asked = self.clock.now();
        self.ask_members(&group);
        while !self.is_stopping() && !group.over.load(Ordering::Acquire) {
            let went_on = self.go_on(&group).await;
            if self.try_paths(&group).await || went_on {
                // Whoever waits for this member hears of it at once.
                asked = self.clock.now();
                self.ask_members(&group);
            }
            let wait = (asked + self.ask_again_after(&group)).since(self.clock.now());
            tokio::select! {
                () = group.wake.notified() => {}
                () = tokio::time::sleep(wait) => {
                    asked = self.clock.now();
                    self.ask_members(&group);
                }
            }
        }
    }

    fn ask_again_after(&self, group: &GroupRuntime) -> Duration {
        let standing = group.standing();
        let whole = self.seen(group).follows() == standing.promised();
        let open_ways = group.paths().iter().all(|path| path.error.is_none());
        if whole && open_ways && standing.handed_over.is_none() {
            ASK_EVERY
        } else {
            ASK_SOON
        }
    }

    /// Does what follows from what is known now. Says whether there is something to tell.
    async fn go_on(self: &Arc<Self>, group: &Arc<GroupRuntime>) -> bool {
        let before = group.standing();
        if let Err(error) = self.settle(group).await {
            let text = format!("the standing of this member cannot be kept: {error}");
            self.post_about("RJN7007", Severity::Alarm, group.name.as_str(), text);
            return false;
        }
        let follows = self.seen(group).follows();
        let told = group.told() == Some(follows);
        group.set_told(follows);
        !told || group.standing() != before
    }

    /// Asks a member something.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(super) async fn ask_member(
        &self,
        to: SystemId,
        request: PartnerRequest,
        wait: Duration,
    ) -> Result<PartnerReply, String> {
        self.ask_member_noting(to, request, wait, || ()).await
    }

    /// The same; `reached` is called when there is a connection to it.
    ///
    /// Cancel safe: yes, but it may have been done.
    pub(super) async fn ask_member_noting(
        &self,
        to: SystemId,
        request: PartnerRequest,
        wait: Duration,
        reached: impl FnOnce(),
    ) -> Result<PartnerReply, String> {
        let rdb = self
            .rdb_of(to)
            .ok_or_else(|| format!("{to} is not in the directory here: ADDRDBDIRE"))?;
        let asked = self.ask_partner_noting(rdb, request, reached);
        match tokio::time::timeout(wait, asked).await {
            Err(_) => Err("it did not answer in time".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(PartnerReply::Refused(refusal))) => Err(refusal.text),
            Ok(Ok(reply)) => Ok(reply),
        }
    }

    /// Asks one member where it stands, and takes that in.
    ///
    /// Cancel safe: no.
    pub(super) async fn ask_where(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        to: SystemId,
        wait: Duration,
    ) -> Result<GroupNews, String> {
        let request = PartnerRequest::Group(Box::new(self.group_news(group)));
        let answer = self.ask_member(to, request, wait).await;
        self.take_where(group, to, answer)
    }

    /// Takes in what came of asking a member where it stands.
    pub(super) fn take_where(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
        to: SystemId,
        answer: Result<PartnerReply, String>,
    ) -> Result<GroupNews, String> {
        let told = match answer {
            Ok(PartnerReply::Group(news)) => Ok(*news),
            Ok(_) => Err("it said something else".to_owned()),
            Err(error) => Err(error),
        };
        match told {
            Ok(news) => {
                let taken = self.take_news(group, to, &news);
                taken.map_err(|error| error.to_string())?;
                Ok(news)
            }
            Err(error) => {
                let (wall, now) = (self.clock.wall(), self.clock.now());
                group.note_heard(to, Err(error.clone()), wall, now);
                Err(error)
            }
        }
    }

    /// Asks all other members where they stand, and waits for nobody: each answer wakes the group's task.
    fn ask_members(self: &Arc<Self>, group: &Arc<GroupRuntime>) {
        let others: Vec<SystemId> = group.look(|at| {
            at.group
                .others(self.id)
                .map(|member| member.system)
                .collect()
        });
        for to in others {
            if !group.begin_asking(to) {
                continue;
            }
            let (shared, group) = (Arc::clone(self), Arc::clone(group));
            self.runtime.spawn(async move {
                let heard = shared.ask_where(&group, to, ANSWER_MAX).await.is_ok();
                group.end_asking(to);
                if heard {
                    group.wake();
                }
            });
        }
    }

    /// Whether every other member would let itself be fed by this one: found out when the group is made and daily, not when the
    /// house burns.
    /// Says whether something else came of it than before.
    async fn try_paths(&self, group: &GroupRuntime) -> bool {
        let mut changed = false;
        let standing = group.standing();
        let Some(own) = standing.group.member(self.id).map(|member| member.journal) else {
            return false;
        };
        let now = self.clock.wall().as_micros();
        for (to, heard) in group.heard() {
            let due = match &heard.path {
                None | Some((Err(_), _)) => true,
                Some((Ok(()), at)) => now.saturating_sub(at.as_micros()) >= PATH_EVERY_MICROS,
            };
            if !due || heard.news.is_none() || heard.error.is_some() {
                continue;
            }
            let path = self.try_path(group, to, own).await;
            let was = heard.path.map(|(path, _)| path);
            if let Err(error) = &path
                && was.as_ref() != Some(&path)
            {
                let name = standing
                    .group
                    .member(to)
                    .map(|member| member.name.to_string());
                let text = format!(
                    "the way to {} is not open: were this system primary, it could not feed it: {error}",
                    name.unwrap_or_default()
                );
                self.post_about("RJN7008", Severity::Alarm, group.name.as_str(), text);
            }
            changed |= was.as_ref() != Some(&path);
            group.note_path(to, path, self.clock.wall());
        }
        changed
    }

    /// Whether a member would let itself be fed by this one.
    pub(super) async fn try_path(
        &self,
        group: &GroupRuntime,
        to: SystemId,
        own: JournalId,
    ) -> Result<(), String> {
        let request = PartnerRequest::CheckPath {
            group: group.id,
            journal: own,
        };
        match self.ask_member(to, request, ANSWER_MAX).await? {
            PartnerReply::Done => Ok(()),
            _ => Err("it said something else".to_owned()),
        }
    }
}
