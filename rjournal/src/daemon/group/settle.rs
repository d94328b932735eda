//! Room `daemon`, recovery groups: the journals of a group are made to be what the standing of this member says: its own one open
//! or at rest, the copies fenced, closed segments complete (ruling 6), what a flushed close record confirms confirmed
//! (ruling 31), the links of a primary active to whoever follows. Must not judge: it compares and carries out.

use std::sync::Arc;

use super::runtime::GroupRuntime;
use crate::daemon::messages::Severity;
use crate::daemon::system::{JournalRuntime, Shared};
use crate::daemon::task::copy::{CopyEvent, CopyRuntime};
use crate::daemon::task::link::LinkCommand;
use crate::entry::{ChainHead, JournalId, Position, Sequence, SystemId};
use crate::error::SystemError;
use crate::remote::{JournalTip, MemberRole};
use crate::role::{Standing, Stop};

/// A journal of the group that is not what its closed segments say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lack {
    pub(super) journal: JournalId,
    /// Where its last closed segment ends.
    pub(super) end: Position,
    /// It has everything, and more behind it that is in no segment.
    pub(super) only_beyond: bool,
}

impl Shared {
    /// What keeps this member from following the newest term.
    pub(super) fn missing(&self, standing: &Standing, tips: &[JournalTip]) -> Vec<Lack> {
        let lineage = &standing.lineage;
        let journals = standing.group.members.iter().map(|member| member.journal);
        journals
            .filter_map(|journal| {
                let closed = lineage.end_of(journal);
                // Of a journal no term was ever written in, nothing belongs to the group.
                let none = || {
                    (!lineage.is_current(journal)).then(|| Position {
                        sequence: Sequence::NONE,
                        head: ChainHead::genesis(journal),
                    })
                };
                let end = closed.or_else(none)?;
                let tip = tips.iter().find(|tip| tip.journal == journal);
                let has_end = end.sequence == Sequence::NONE
                    || tip.is_some_and(|tip| {
                        // One that was loaded later begins behind what it needs no more.
                        tip.oldest.sequence > end.sequence
                            || tip.tip == end
                            || self.head_in_group(standing, journal, end.sequence) == Some(end.head)
                    });
                let beyond = tip.is_some_and(|tip| tip.tip.sequence > end.sequence);
                let only_beyond = has_end && beyond && !lineage.is_current(journal);
                (!has_end || only_beyond).then_some(Lack {
                    journal,
                    end,
                    only_beyond,
                })
            })
            .collect()
    }

    fn head_in_group(
        &self,
        standing: &Standing,
        journal: JournalId,
        at: Sequence,
    ) -> Option<crate::entry::ChainHead> {
        let name = standing.group.name_at(self.id, journal)?;
        let source = self.runtime_of(name)?.source()?;
        source.reader().head_at(at).ok().flatten()
    }

    /// The term this member follows: 0 where something keeps it from it.
    pub(super) fn follows(&self, standing: &Standing, tips: &[JournalTip]) -> u64 {
        let promised_more = standing.promised() > standing.lineage.term();
        if promised_more || standing.stopped.is_some() || !self.missing(standing, tips).is_empty() {
            0
        } else {
            standing.lineage.term()
        }
    }

    /// The copy of a journal of the group, or the own one at rest.
    pub(super) fn group_copy(
        &self,
        standing: &Standing,
        journal: JournalId,
    ) -> Option<Arc<CopyRuntime>> {
        let name = standing.group.name_at(self.id, journal)?;
        match self.runtime_of(name)? {
            JournalRuntime::Copy(copy) => Some(copy),
            _ => None,
        }
    }

    /// Brings everything of a group to where its standing wants it.
    ///
    /// Cancel safe: no.
    pub(super) async fn settle(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<(), SystemError> {
        let _turn = group.turn.lock().await;
        self.rest_if_not_primary(group).await;
        if let Err(error) = self.furnish(group).await {
            let text = format!("what the group needs here cannot be made: {error}");
            if group.set_trouble(Some(text.clone())) {
                self.post_about("RJN7009", Severity::Alarm, group.name.as_str(), text);
            }
        } else {
            group.set_trouble(None);
        }
        self.fence(group);
        let standing = group.standing();
        if standing.role(self.id) == MemberRole::Stopped {
            return Ok(());
        }
        self.complete(group).await?;
        self.note_flushed(group).await?;
        self.fence(group);
        self.lead(group).await;
        Ok(())
    }

    /// Brings the copies of closed segments to their ends.
    ///
    /// Cancel safe: no.
    pub(super) async fn complete(
        self: &Arc<Self>,
        group: &Arc<GroupRuntime>,
    ) -> Result<(), SystemError> {
        let standing = group.standing();
        for lack in self.missing(&standing, &self.group_tips(&standing.group)) {
            let Some(copy) = self.group_copy(&standing, lack.journal) else {
                continue;
            };
            if lack.only_beyond {
                self.set_aside_behind(group, &copy, lack.end).await?;
                continue;
            }
            for from in self.who_may_have(group, &standing, lack) {
                match self.fetch_from(group, from, lack.journal).await {
                    Ok(_) => {}
                    Err(error) => {
                        tracing::info!(group = %group.name, journal = %copy.copy.name(), %error, "a segment is not complete yet");
                    }
                }
                let left = self.missing(&standing, &self.group_tips(&standing.group));
                match left.iter().find(|left| left.journal == lack.journal) {
                    None => break,
                    Some(left) if left.only_beyond => {
                        self.set_aside_behind(group, &copy, left.end).await?;
                        break;
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Members that may hold what is lacking, the primary first.
    fn who_may_have(&self, group: &GroupRuntime, standing: &Standing, lack: Lack) -> Vec<SystemId> {
        let heard = group.heard();
        let primary = standing.lineage.newest().map(|newest| newest.primary);
        let mut who: Vec<SystemId> = standing
            .group
            .others(self.id)
            .map(|member| member.system)
            .filter(|system| {
                let news = heard.get(system).and_then(|heard| heard.news.as_ref());
                let tip =
                    news.and_then(|news| news.tips.iter().find(|tip| tip.journal == lack.journal));
                tip.is_some_and(|tip| tip.tip.sequence >= lack.end.sequence)
            })
            .collect();
        who.sort_by_key(|system| Some(*system) != primary);
        who
    }

    /// Moves what lies behind the end of a closed segment into an archive.
    async fn set_aside_behind(
        &self,
        group: &GroupRuntime,
        copy: &CopyRuntime,
        end: Position,
    ) -> Result<(), SystemError> {
        let (done, answer) = tokio::sync::oneshot::channel();
        copy.tell(CopyEvent::SetAside { at: end, done }).await;
        match answer.await {
            Ok(Ok(())) | Err(_) => Ok(()),
            // What is confirmed is never cut by itself (I8, ruling 32).
            Ok(Err(text)) => self.abandon(group, text),
        }
    }

    pub(super) fn abandon(&self, group: &GroupRuntime, text: String) -> Result<(), SystemError> {
        let stop = Stop::Abandoned { text };
        let told = stop.to_string();
        let fresh = group.update(|at| {
            let fresh = at.stopped.as_ref() != Some(&stop);
            at.stopped = Some(stop);
            fresh
        })?;
        if fresh {
            self.post_about("RJN7006", Severity::Critical, group.name.as_str(), told);
        }
        Ok(())
    }

    /// The first entry of the newest term is flushed here: what its record closes is confirmed.
    async fn note_flushed(&self, group: &GroupRuntime) -> Result<(), SystemError> {
        let standing = group.standing();
        let Some(newest) = standing.lineage.newest().copied() else {
            return Ok(());
        };
        if standing.flushed < newest.term
            && newest.primary != self.id
            && let Some(copy) = self.group_copy(&standing, newest.journal)
        {
            let written = copy.copy.tail().marks().written;
            let here = copy.copy.term();
            if here.is_some_and(|(entry, record)| record.term == newest.term && entry <= written) {
                group.update(|at| at.flushed = newest.term)?;
            }
        }
        self.confirm_closed(group).await;
        Ok(())
    }

    /// What the flushed close record says is confirmed, is.
    pub(super) async fn confirm_closed(&self, group: &GroupRuntime) {
        let standing = group.standing();
        if standing.flushed < standing.lineage.term() {
            return;
        }
        for member in &standing.group.members {
            let Some(end) = standing.lineage.end_of(member.journal) else {
                continue;
            };
            let Some(copy) = self.group_copy(&standing, member.journal) else {
                continue;
            };
            let marks = copy.copy.tail().marks();
            if marks.settled < end.sequence && marks.written >= end.sequence {
                let (done, answer) = tokio::sync::oneshot::channel();
                let upto = end.sequence;
                copy.tell(CopyEvent::Close { upto, done }).await;
                drop(answer.await);
            }
        }
    }

    /// As primary: whoever follows is fed.
    async fn lead(&self, group: &GroupRuntime) {
        let standing = group.standing();
        let term = standing.lineage.term();
        if standing.role(self.id) != MemberRole::Primary {
            return;
        }
        let own = standing.group.member(self.id).map(|member| member.own);
        let Some(runtime @ JournalRuntime::Local(_)) = own.and_then(|own| self.runtime_of(own))
        else {
            return;
        };
        let heard = group.heard();
        for handle in runtime.links() {
            let record = crate::daemon::system::lock(&handle.record).clone();
            let news = heard
                .get(&record.system)
                .and_then(|heard| heard.news.as_ref());
            let follows = news.is_some_and(|news| news.follows == term);
            let waits = !handle.status().shown.streaming;
            if !follows || !waits || standing.group.member(record.system).is_none() {
                continue;
            }
            if !record.active && handle.status().shown.state != crate::remote::LinkState::Inactive {
                continue;
            }
            let (done, answer) = tokio::sync::oneshot::channel();
            let mut active = record;
            active.active = true;
            *crate::daemon::system::lock(&handle.record) = active.clone();
            handle
                .command(LinkCommand::Nudge {
                    record: active,
                    done,
                })
                .await;
            drop(answer.await);
        }
    }
}
