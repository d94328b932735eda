//! Room `job`: the job, before it applies, finds its store beyond its journal: that was cut, and what was cut lies in an
//! archive here. Then what was decided behind the fork is taken out of the store again, by the undo machine, and the job goes
//! on from the fork (failures.md PRO-8, APL-8). Must not know how it is taken out.

use std::collections::HashMap;
use std::time::Duration;

use rjournal::daemon::command::apply::StorePlace;
use rjournal::daemon::{Followed, JournalFacts, Severity};
use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Sequence};
use tokio::time::Instant;

use super::beginning::{Beginning, check_place};
use super::port::{Feed, Port, Report};
use super::task::{DURABLE_EVERY, message};
use super::way_back::{Part, Way, segment_of};
use crate::error::ApplyError;
use crate::machine::{
    OlderFormats, Skips, Step, UndoMachine, UndoOrder, UndoOutput, Undone, resolve,
};
use crate::store::{Batch, FileChange, StorePosition};

/// A store that is full or locked is tried again after this long, doubling up to a hundred times as long.
const AGAIN_MIN: Duration = Duration::from_millis(100);

/// Where a store stands, seen from its journal.
#[derive(Debug)]
pub(super) enum Place {
    /// In its history.
    Here(Box<JournalFacts>),
    /// Behind a fork, with a way back.
    Behind(Box<Way>),
    /// Behind a fork that is not confirmed in the journal yet.
    Later(String),
}

/// Where a store stands, and that everything it needs next is there.
///
/// # Errors
/// As [`check_place`]; [`ApplyError::Ahead`] where no archive here holds what the store applied.
pub(super) async fn place(
    port: &Port,
    position: Option<StorePosition>,
) -> Result<Place, ApplyError> {
    let placed = check_place(port, position).await;
    let Some(position) = position else {
        return placed.map(here);
    };
    let ahead = match placed {
        Ok(facts) if !Way::is_needed(port, &position, &facts).await? => return Ok(here(facts)),
        Ok(facts) => ApplyError::Ahead {
            store: position.to_string(),
            journal: facts.last,
        },
        Err(ahead @ ApplyError::Ahead { .. }) => ahead,
        Err(error) => return Err(error),
    };
    let name = port
        .facts(Some(segment_of(&position)), position.applied)
        .await?
        .name;
    let Some(way) = Way::find(port, &position, name).await? else {
        return Err(ahead);
    };
    let facts = port.facts(Some(way.segment()), way.fork().sequence).await?;
    if facts.local || facts.last >= way.fork().sequence {
        return Ok(Place::Behind(Box::new(way)));
    }
    Ok(Place::Later(format!(
        "the store stands behind entry {}, where its journal was cut; what lies behind that is taken out of it when the \
         journal is confirmed up to there",
        way.fork().sequence
    )))
}

fn here(facts: JournalFacts) -> Place {
    Place::Here(Box::new(facts))
}

impl Beginning {
    /// Takes out of the store what was decided behind the fork. Says where it stands then; nothing when the job was told to
    /// end before: it goes on from there when it is started again.
    pub(super) async fn take_back(
        &mut self,
        way: &Way,
        position: StorePosition,
    ) -> Result<Option<StorePosition>, ApplyError> {
        let reader = self.store.reader();
        let formats: HashMap<ObjectId, Format> = reader
            .files()?
            .into_iter()
            .map(|file| (file.id, file.format))
            .collect();
        let facts = self
            .port
            .facts(Some(way.segment()), way.fork().sequence)
            .await?;
        let oldest = facts.oldest.sequence;
        let mut machine = UndoMachine::new(UndoOrder {
            fork: way.fork(),
            store: position,
            formats: formats.clone(),
            older: OlderFormats::of_store(&*reader)?,
            skips: Skips::of_store(&*reader)?,
            oldest,
            bounds: self.bounds(),
        });
        // Whoever reads is served, and told to wait as long as a mark stands.
        self.shared.set_not_open(format!(
            "the store stands behind entry {fork}, where its journal was cut: what was decided behind that is taken out",
            fork = way.fork().sequence
        ));
        self.shared.set_back(way.fork().sequence);
        let (mut stands, mut durable) = (position, Instant::now());
        while let Some(output) = machine.poll_output() {
            if !self.may_go_on().await {
                return Ok(None);
            }
            match output {
                UndoOutput::Read { after, upto } => {
                    if !self.read_for(&mut machine, way, after, upto).await? {
                        return Ok(None);
                    }
                }
                UndoOutput::Planned { restart, undone } => {
                    self.tell_plan(way, position, restart, undone).await?;
                }
                UndoOutput::Step(step) => {
                    stands = step.next;
                    if !self.take_step(*step, &formats, way).await? {
                        return Ok(None);
                    }
                    // A power cut takes no more of a long way back than of applying.
                    if durable.elapsed() >= DURABLE_EVERY {
                        self.store.make_durable()?;
                        durable = Instant::now();
                    }
                }
                UndoOutput::Done(undone) => {
                    self.store.make_durable()?;
                    self.tell_done(way, stands, undone).await;
                }
            }
        }
        Ok(Some(stands))
    }

    /// Takes orders that wait, and waits while it is held. Says whether the job goes on.
    async fn may_go_on(&mut self) -> bool {
        loop {
            if self.is_unwanted() {
                return false;
            }
            let order = match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(_) if !self.held => return true,
                Err(_) => tokio::select! {
                    biased;
                    _ = &mut self.wanted => return false,
                    order = self.orders.recv() => order,
                },
            };
            if !self.take_order(order).await {
                return false;
            }
        }
    }

    fn is_unwanted(&mut self) -> bool {
        use tokio::sync::oneshot::error::TryRecvError;
        !matches!(self.wanted.try_recv(), Err(TryRecvError::Empty))
    }

    /// Hands in what the machine asked for. Says whether the job goes on.
    async fn read_for(
        &mut self,
        machine: &mut UndoMachine,
        way: &Way,
        after: Sequence,
        upto: Sequence,
    ) -> Result<bool, ApplyError> {
        for part in way.parts(after, upto) {
            let mut feed = part.feed(&self.port, way).await?;
            loop {
                match self.next_of(&mut feed, &part).await? {
                    None => return Ok(false),
                    Some(Followed::Bundle(bundle)) => {
                        machine.handle_bundle(&bundle)?;
                        if bundle.header().last() >= part.upto {
                            break;
                        }
                    }
                    Some(Followed::Level(at)) if at >= part.upto => break,
                    Some(Followed::SegmentEnded(_)) => break,
                    Some(Followed::Level(_) | Followed::Changed(_)) => {}
                }
            }
        }
        machine.handle_read()?;
        Ok(true)
    }

    async fn next_of(
        &mut self,
        feed: &mut Feed,
        part: &Part,
    ) -> Result<Option<Followed>, ApplyError> {
        loop {
            tokio::select! {
                biased;
                _ = &mut self.wanted => return Ok(None),
                order = self.orders.recv() => {
                    if !self.take_order(order).await {
                        return Ok(None);
                    }
                }
                followed = feed.next() => {
                    return followed.map(Some).map_err(|error| part.unreadable(error));
                }
            }
        }
    }

    async fn take_step(
        &mut self,
        step: Step,
        formats: &HashMap<ObjectId, Format>,
        way: &Way,
    ) -> Result<bool, ApplyError> {
        let next = step.next;
        for change in &step.files {
            if let FileChange::Drop { id } = change {
                // Whoever looked it up meanwhile is to look again.
                self.shared.set_journaled(*id, false);
            }
        }
        let batch = resolve(step, &*self.shared.reader, formats)
            .map_err(|error| not_as_left(error, way.fork().sequence))?;
        if next.in_progress.is_some() {
            // Readers are told to wait before the first part is gone.
            self.shared.update(|status| status.position = Some(next));
        }
        let applied = self.apply(&batch).await?;
        if applied {
            self.shared.update(|status| status.position = Some(next));
        }
        Ok(applied)
    }

    /// Applies a batch; a store that is full, locked or slow is tried again. Says whether the job goes on.
    async fn apply(&mut self, batch: &Batch) -> Result<bool, ApplyError> {
        let mut wait = AGAIN_MIN;
        loop {
            match self.store.apply(batch) {
                Ok(()) => return Ok(true),
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the store does not take changes; trying again");
                    self.shared
                        .update(|status| status.note = Some(error.to_string()));
                    tokio::select! {
                        _ = &mut self.wanted => return Ok(false),
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(AGAIN_MIN * 100);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Everything can be taken out. What is read again afterwards must stay until a save covers it, and an order to pass over
    /// an entry behind the fork is none any more: another entry will have its number.
    async fn tell_plan(
        &mut self,
        way: &Way,
        position: StorePosition,
        restart: Sequence,
        undone: Undone,
    ) -> Result<(), ApplyError> {
        let fork = way.fork().sequence;
        self.options.skip.take_if(|(sequence, _)| *sequence > fork);
        let text = format!(
            "the store stands at entry {}, and its journal was cut behind entry {fork}: {} decided behind that are taken \
             out of it",
            position.applied,
            transactions(undone)
        );
        let report = Report {
            kept_from: Some(restart),
            fork: Some(fork),
            message: Some(message("RJN5013", Severity::Warning, text)),
            ..Report::default()
        };
        self.port.report(report).await?;
        Ok(())
    }

    async fn tell_done(&mut self, way: &Way, position: StorePosition, undone: Undone) {
        let fork = way.fork().sequence;
        let journal = way.journal();
        let archives = way.archives();
        let numbers: Vec<String> = archives.iter().map(ToString::to_string).collect();
        let text = format!(
            "{} were taken out of the store: they were decided behind entry {fork}, where its journal was cut. It stands at \
             entry {fork} and goes on from there; orphan archive {} lists them: rjournal orphans show --jrn {journal} \
             --number {}",
            transactions(undone),
            numbers.join(", "),
            archives.first().copied().unwrap_or_default(),
        );
        let report = Report {
            place: Some(StorePlace {
                applied: position.applied,
                restart: position.restart,
                at: position.segment(),
            }),
            message: Some(message("RJN5014", Severity::Alarm, text)),
            ..Report::default()
        };
        if let Err(error) = self.port.report(report).await {
            tracing::warn!(%error, "the daemon was not told what was taken out of the store");
        }
    }
}

fn transactions(undone: Undone) -> String {
    let counted = |number: u64, one: &str, many: &str| {
        format!("{number} {}", if number == 1 { one } else { many })
    };
    format!(
        "{} with {}",
        counted(undone.transactions, "transaction", "transactions"),
        counted(undone.rows, "change of a row", "changes of rows")
    )
}

/// A conflict in what is taken out, told as one.
fn not_as_left(error: ApplyError, fork: Sequence) -> ApplyError {
    match error {
        ApplyError::Conflict {
            sequence,
            file,
            found,
            expected,
        } => ApplyError::UndoConflict {
            sequence,
            file,
            found,
            expected,
            fork,
        },
        error => error,
    }
}
