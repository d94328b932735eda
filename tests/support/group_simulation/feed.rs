//! Package `tests`, groups under seeds: a member fetches from another what it lacks of a journal; in the daemon's order.

use std::time::Duration;

use rjournal::entry::{Epoch, JournalId, Position, Sequence};
use rjournal::remote::{GroupNews, PartnerReply, PartnerRequest};
use rjournal::role::{Chore, Standing};

use super::member::Side;
use super::world::Here;

/// How long a member may take to say that it feeds.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A fetch that brings nothing for so long is given up.
const STALL_MAX: Duration = Duration::from_secs(10);

impl Here {
    /// Fetches what another member has flushed of a journal, as far as it goes.
    pub(super) async fn fetch_from(
        &self,
        from: usize,
        journal: JournalId,
        upto: Option<Sequence>,
    ) -> Result<Position, String> {
        let writer = self.world.writer_of(journal).ok_or("no such journal")?;
        if !self.up(|up| matches!(up.sides[writer], Side::Copy(_))) {
            return Err("the journal is not at rest here".to_owned());
        }
        let epoch = Epoch {
            term: self.look(Standing::promised),
            ..Epoch::NONE
        };
        let request = PartnerRequest::Feed {
            group: self.world.group.id,
            journal,
            epoch,
            upto,
        };
        let call = self.world.line.borrow_mut().number();
        let told = self.ask_call(call, from, request, ANSWER_MAX).await?;
        let PartnerReply::Feeding { upto } = told else {
            return Err("it said something else".to_owned());
        };
        let id = {
            let mut line = self.world.line.borrow_mut();
            let id = line.feeding.remove(&call).ok_or("it does not feed")?;
            line.fetches.insert(id);
            id
        };
        let connection = Fed {
            here: self.clone(),
            id,
        };
        let arrived = self.arrives(writer, id, upto).await;
        drop(connection);
        arrived
    }

    /// Waits until everything that is fed is here, or no more comes.
    async fn arrives(&self, writer: usize, id: u64, upto: Position) -> Result<Position, String> {
        let has = || {
            self.up(|up| match &up.sides[writer] {
                Side::Copy(side) => {
                    let written = side.copy.shared().tail().marks().written;
                    let reader = side.copy.shared().reader();
                    let here = || reader.head_at(upto.sequence).ok().flatten();
                    let all = written >= upto.sequence && here() == Some(upto.head);
                    (written, all)
                }
                _ => (Sequence::NONE, false),
            })
        };
        let lost = || {
            let mut line = self.world.line.borrow_mut();
            let open = line
                .connection(id)
                .is_some_and(|c| !c.closed || !c.forth.is_empty());
            !open
        };
        let mut seen = has().0;
        loop {
            let due = self.now() + STALL_MAX;
            let moved = self
                .found_before(due, || {
                    let (written, all) = has();
                    (all || written != seen || lost()).then_some(written)
                })
                .await;
            if has().1 {
                return Ok(upto);
            }
            match moved {
                None => return Err("it stalled".to_owned()),
                Some(_) if lost() => return Err("the connection was lost".to_owned()),
                Some(written) => seen = written,
            }
        }
    }

    /// Fetches what a member has more: first what its lineage closed, then what the last term left.
    pub(super) async fn fetch_tail(&self, from: usize, news: Option<&GroupNews>) {
        let closed = |chore: &Chore| matches!(chore, Chore::Fetch { .. } | Chore::SetAside { .. });
        drop(self.do_chores(closed).await);
        let lineage = self.look(|at| at.lineage.clone());
        let tips = news.map(|news| news.tips.clone()).unwrap_or_default();
        let held = lineage.held(|journal| {
            let tip = tips.iter().find(|tip| tip.journal == journal);
            tip.map(|tip| tip.tip.sequence)
        });
        if let Some(newest) = held.newest() {
            drop(self.fetch_from(from, newest.journal, None).await);
        }
    }
}

/// A connection on which this member is fed; it lets go of it when it has what it wants.
struct Fed {
    here: Here,
    id: u64,
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut line = self.here.world.line.borrow_mut();
        line.fetches.remove(&self.id);
        if let Some(connection) = line.connection(self.id) {
            connection.forth.clear();
            connection.closed = true;
        }
    }
}
