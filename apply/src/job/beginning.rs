//! Room `job`: the job before it applies: it waits until its journal is open, while its store is read already, and finds out
//! whether the store stands in that journal's history. Must not know how entries are applied.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rjournal::daemon::JournalFacts;
use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Position, QualifiedName, Sequence};
use tokio::sync::{mpsc, oneshot};

use super::own_save;
use super::port::{Port, Report};
use super::saving::Saving;
use super::shared::{JobShared, Order};
use super::task::{JobOptions, Over, Task};
use super::undoing::{Place, place};
use crate::error::{ApplyError, DatabaseError};
use crate::machine::{ApplyMachine, Bounds, EndedFiles, OlderFormats, Skips};
use crate::store::{ReplicaStore, StorePosition};

/// How often a journal that is not open is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the daemon says of one that is not.
pub(super) const NOT_OPEN: &str = "RJN4010";

/// A job that does not apply yet, or not any more until its journal is open again.
pub(super) struct Beginning {
    /// Ends with whoever started the job.
    pub(super) wanted: oneshot::Receiver<()>,
    pub(super) port: Port,
    pub(super) store: Box<dyn ReplicaStore>,
    pub(super) shared: Arc<JobShared>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) held: bool,
    pub(super) options: JobOptions,
    /// What the journal was when the job was started, where that was looked at.
    pub(super) placed: Option<JournalFacts>,
    /// A save in the making.
    pub(super) saving: Option<Saving>,
    /// The job's own save was made behind a fork: another is made as soon as it applies.
    pub(super) save_owed: bool,
}

impl Beginning {
    pub(super) async fn run(mut self) -> Result<(), ApplyError> {
        let failed = loop {
            match self.task_parts().await {
                Ok(Some((machine, formats))) => {
                    let owed = self.options.save.clone().filter(|_| self.save_owed);
                    let owed = owed
                        .map(|save| Saving::begin(save, &self.shared.reader, Vec::new(), false));
                    let task = Task {
                        wanted: self.wanted,
                        port: self.port,
                        store: self.store,
                        machine,
                        formats,
                        shared: self.shared,
                        orders: self.orders,
                        held: self.held,
                        reported: None,
                        quiet: 0,
                        options: self.options,
                        saving: self.saving.or(owed),
                        left: None,
                    };
                    match task.run().await {
                        Over::Ended(outcome) => return outcome,
                        Over::NotOpen(again) => self = *again,
                    }
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        if let Some(error) = &failed {
            let report = Report {
                stopped: error.stopped(),
                ..Report::default()
            };
            if let Err(error) = self.port.report(report).await {
                tracing::debug!(%error, "the daemon was not told why the job does not begin");
            }
            self.shared
                .update(|status| status.note = Some(error.to_string()));
        }
        let closed = self.store.close();
        match failed {
            Some(error) => Err(error),
            None => Ok(closed?),
        }
    }

    /// What the job begins with; nothing when it was told to end before.
    async fn task_parts(
        &mut self,
    ) -> Result<Option<(ApplyMachine, HashMap<ObjectId, Format>)>, ApplyError> {
        let reader = Arc::clone(&self.shared.reader);
        let facts = match self.placed.take() {
            Some(facts) => facts,
            None => match self.wait_until_open(reader.position()?).await? {
                Some(facts) => facts,
                None => return Ok(None),
            },
        };
        self.save_owed = own_save::judge(&self.port, self.options.save.as_deref()).await?;
        let position = reader.position()?;
        self.shared.set_placed(facts.clone(), position.as_ref());
        let formats: HashMap<ObjectId, Format> = reader
            .files()?
            .into_iter()
            .map(|file| (file.id, file.format))
            .collect();
        let begin = Position {
            sequence: facts.oldest.sequence,
            head: facts.oldest.head,
        };
        let ended = EndedFiles::of_store(&*reader)?;
        for file in ended.iter() {
            self.shared.set_journaled(file, false);
        }
        let bounds = self.bounds();
        let mut skips = Skips::of_store(&*reader)?;
        if let Some((sequence, skip)) = self.options.skip.take() {
            skips.order(sequence, skip);
        }
        let machine = ApplyMachine::new(facts.journal, begin, position, formats.clone(), bounds)
            .with_skips(skips)
            .with_older_formats(OlderFormats::of_store(&*reader)?)
            .with_ended_files(ended);
        let machine = if facts.is_in_group() {
            machine.in_segment(facts.group, facts.term)
        } else {
            machine
        };
        Ok(Some((machine, formats)))
    }

    /// The bounds of a machine, so that the store takes its steps.
    pub(super) fn bounds(&self) -> Bounds {
        let bounds = self.options.bounds;
        let step_bytes_max = self
            .store
            .atomic_up_to()
            .unwrap_or(usize::MAX)
            .min(bounds.step_bytes_max);
        Bounds {
            step_bytes_max,
            ..bounds
        }
    }

    /// Waits until the journal is open, and takes the store back where it was cut behind it; gives nothing when the job was
    /// told to end before. A journal that asks its in-sync set first, or is stopped, may take as long as an operator likes.
    async fn wait_until_open(
        &mut self,
        mut position: Option<StorePosition>,
    ) -> Result<Option<JournalFacts>, ApplyError> {
        loop {
            match (place(&self.port, position).await, position) {
                (Err(ApplyError::Journal(error)), _) if error.id == NOT_OPEN => {
                    self.shared.set_not_open(error.to_string());
                }
                (Ok(Place::Behind(way)), Some(stands)) => {
                    position = self.take_back(&way, stands).await?;
                    if position.is_none() {
                        return Ok(None);
                    }
                    continue;
                }
                (Ok(Place::Later(note)), _) => self.shared.set_not_open(note),
                (placed, _) => {
                    self.shared.update(|status| status.note = None);
                    let Place::Here(facts) = placed? else {
                        return Ok(None);
                    };
                    return Ok(Some(*facts));
                }
            }
            let mut look = std::pin::pin!(tokio::time::sleep(LOOK_EVERY));
            loop {
                tokio::select! {
                    biased;
                    _ = &mut self.wanted => return Ok(None),
                    order = self.orders.recv() => {
                        if !self.take_order(order).await {
                            return Ok(None);
                        }
                    }
                    () = &mut look => break,
                }
            }
        }
    }

    /// Takes an order. Says whether the job goes on.
    pub(super) async fn take_order(&mut self, order: Option<Order>) -> bool {
        // Who asked may be gone.
        match order {
            Some(Order::Hold(done)) => {
                self.hold(true).await;
                let _heard = done.send(());
            }
            Some(Order::Release(done)) => {
                self.hold(false).await;
                let _heard = done.send(());
            }
            Some(Order::Save { done, .. }) => {
                let reason = "the journal is not open yet; try again when it is".to_owned();
                drop(done.send(Err(DatabaseError::Store { reason })));
            }
            Some(Order::Stop) | None => return false,
        }
        true
    }

    async fn hold(&mut self, held: bool) {
        self.held = held;
        self.shared.set_held(held);
        let held = Some(held);
        let report = Report {
            held,
            ..Report::default()
        };
        if let Err(error) = self.port.report(report).await {
            tracing::debug!(%error, "the daemon was not told of the hold");
        }
    }
}

/// Whether a store stands in its journal's history, and everything it needs next is there (failures.md APL-7, APL-8). Of a
/// recovery group's journal that is the group's history: the position may lie in any segment of it, also at its end.
pub(super) async fn check_place(
    port: &Port,
    position: Option<StorePosition>,
) -> Result<JournalFacts, ApplyError> {
    let Some(position) = position else {
        let facts = port.facts(None, Sequence::NONE).await?;
        if facts.oldest.sequence > Sequence::NONE {
            return Err(ApplyError::Missing {
                needed: Sequence::NONE,
                oldest: facts.oldest.sequence,
            });
        }
        return Ok(facts);
    };
    let segment = Some(position.segment());
    let facts = port.facts(segment, position.applied).await?;
    require_place(&facts, position, port.journal())?;
    Ok(facts)
}

/// That a store at `position` stands in the history of the journal `facts` were asked of there.
fn require_place(
    facts: &JournalFacts,
    position: StorePosition,
    journal: QualifiedName,
) -> Result<(), ApplyError> {
    if facts.journal != position.journal && !facts.abandoned {
        return Err(ApplyError::OtherJournal { journal });
    }
    // A local journal that was just opened may know of fewer answers than it gave before, of the same entries; of a segment that
    // ended all entries count, whether that was heard yet or not.
    let counts = match facts.ends {
        Some(ends) => position.applied <= ends.sequence,
        None => facts.local,
    };
    let is_here = counts && facts.head == Some(position.head);
    let beyond = position.applied > facts.last && !is_here;
    if beyond || facts.abandoned || facts.head.is_some_and(|head| head != position.head) {
        return Err(ApplyError::Ahead {
            store: position.to_string(),
            journal: facts.last,
        });
    }
    if position.restart < facts.oldest.sequence {
        return Err(ApplyError::Missing {
            needed: position.restart,
            oldest: facts.oldest.sequence,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rjournal::entry::{ChainHead, Epoch, GroupId, JournalId};

    use super::*;

    /// A restart settles what the in-sync set was heard to have, which may be less than what was answered and applied before.
    #[test]
    fn a_store_ahead_of_what_is_settled_is_in_place_where_the_local_journal_holds_its_entry() {
        let (journal, head) = (
            JournalId::from_bytes([1; 16]),
            ChainHead::from_bytes([2; 32]),
        );
        let name: QualifiedName = "PRDLIB/JRN".parse().unwrap();
        let position = StorePosition {
            group: GroupId::from(journal),
            term: 1,
            journal,
            applied: Sequence::new(50),
            restart: Sequence::new(50),
            head,
            in_progress: None,
        };
        let facts = |local, head| JournalFacts {
            journal,
            group: GroupId::from(journal),
            term: 1,
            name,
            local,
            epoch: Epoch::NONE,
            oldest: Position {
                sequence: Sequence::NONE,
                head: ChainHead::genesis(journal),
            },
            last: Sequence::new(45),
            ends: None,
            abandoned: false,
            deposited: Sequence::new(50),
            head,
            actor: false,
        };
        let placed = |facts: &JournalFacts| require_place(facts, position, name).is_ok();
        assert!(placed(&facts(true, Some(head))));
        assert!(!placed(&facts(true, None)), "the entry is not here");
        assert!(!placed(&facts(true, Some(ChainHead::from_bytes([3; 32])))));
        // A copy may yet set aside what is not confirmed.
        assert!(!placed(&facts(false, Some(head))));
        // What a close record counts in, counts.
        let closed = |last: u64| JournalFacts {
            ends: Some(Position {
                sequence: Sequence::new(last),
                head,
            }),
            ..facts(false, Some(head))
        };
        assert!(placed(&closed(50)) && placed(&closed(60)));
        assert!(!placed(&closed(49)), "beyond the end of its segment");
        let abandoned = JournalFacts {
            abandoned: true,
            ..closed(60)
        };
        assert!(!placed(&abandoned));
    }
}
