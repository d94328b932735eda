//! What the cases stand on: a machine, a store and a history, turned like the job turns them. After every step the store
//! must be the fold of the position it stands at. Must not know what a case is about.

use std::collections::HashMap;
use std::sync::Arc;

use rjournal::entry::record::Format;
use rjournal::entry::{ObjectId, Sequence, Timestamp};
use rjournal_apply::error::ApplyError;
use rjournal_apply::machine::{
    ApplyMachine, Bounds, EndedFiles, OlderFormats, Output, Skip, Skips, Step, resolve,
};
use rjournal_apply::store::{
    Batch, FileChange, ReplicaStore, StoreError, StorePosition, StoreReader,
};

use crate::history::{Fold, History, JOURNAL};
use crate::memory::{Memory, fold_of};

/// Bounds under which everything is small.
pub(crate) const SMALL: Bounds = Bounds {
    buffered_bytes_max: 4_000,
    step_bytes_max: 2_000,
    step_bytes: 500,
};

/// An order to pass over an entry.
pub(crate) fn skip(reason: &str) -> Skip {
    Skip {
        reason: reason.to_owned(),
        at: Timestamp::from_micros(77),
    }
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The positions the store stood at after each step.
    pub(crate) positions: Vec<StorePosition>,
    /// How often a cycle was read again.
    pub(crate) read_again: usize,
    /// The most undecided bytes in memory.
    pub(crate) buffered_max: usize,
    /// The most bytes of changes in one step.
    pub(crate) step_max: usize,
    /// What was said of files' journaling.
    pub(crate) journaled: Vec<(ObjectId, bool)>,
}

impl Seen {
    /// The entries the store stood at.
    pub(crate) fn applied(&self) -> Vec<u64> {
        self.positions
            .iter()
            .map(|position| position.applied.get())
            .collect()
    }
}

/// Any store under a job.
pub(crate) trait Under {
    fn reading(&self) -> Arc<dyn StoreReader>;
    fn take(&mut self, batch: &Batch) -> Result<(), StoreError>;
}

impl Under for Memory {
    fn reading(&self) -> Arc<dyn StoreReader> {
        Arc::new(self.clone())
    }

    fn take(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.apply(batch)
    }
}

impl Under for Box<dyn ReplicaStore> {
    fn reading(&self) -> Arc<dyn StoreReader> {
        self.reader()
    }

    fn take(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.apply(batch)
    }
}

/// A job without a thread.
#[derive(Debug)]
pub(crate) struct Job<S = Memory> {
    pub(crate) store: S,
    pub(crate) machine: ApplyMachine,
    pub(crate) seen: Seen,
    formats: HashMap<ObjectId, Format>,
    /// So many more steps are applied, then it crashes.
    steps_left: usize,
}

/// Why a run ended before its history did.
#[derive(Debug)]
pub(crate) enum End {
    Crashed,
    Stopped(ApplyError),
}

impl From<ApplyError> for End {
    fn from(error: ApplyError) -> Self {
        Self::Stopped(error)
    }
}

impl<S: Under> Job<S> {
    /// A job on a store, empty or not.
    pub(crate) fn start(history: &History, store: S, bounds: Bounds) -> Self {
        Self::start_with(history, store, bounds, None)
    }

    pub(crate) fn start_with(
        history: &History,
        store: S,
        bounds: Bounds,
        order: Option<(Sequence, Skip)>,
    ) -> Self {
        let reader = store.reading();
        let position = reader.position().unwrap();
        let formats: HashMap<ObjectId, Format> = reader
            .files()
            .unwrap()
            .into_iter()
            .map(|file| (file.id, file.format))
            .collect();
        let mut skips = Skips::of_store(&*reader).unwrap();
        if let Some((sequence, skip)) = order {
            skips.order(sequence, skip);
        }
        let begin = history.position(Sequence::NONE);
        let machine = ApplyMachine::new(JOURNAL, begin, position, formats.clone(), bounds)
            .with_skips(skips)
            .with_older_formats(OlderFormats::of_store(&*reader).unwrap())
            .with_ended_files(EndedFiles::of_store(&*reader).unwrap());
        Self {
            store,
            machine,
            seen: Seen::default(),
            formats,
            steps_left: usize::MAX,
        }
    }

    /// Crashes after so many steps.
    pub(crate) fn crash_after(&mut self, steps: usize) {
        self.steps_left = steps;
    }

    /// Hands in everything that is sealed and was not handed in yet; says after every `level_every`th bundle, and at the
    /// end, that nothing more can be read.
    pub(crate) fn run(&mut self, history: &History, level_every: usize) -> Result<(), End> {
        let end = history.end().sequence;
        for (number, bundle) in history.between(self.machine.at(), end).iter().enumerate() {
            let handed = self.machine.handle_bundle(bundle);
            self.turn(history)?;
            handed?;
            if (number + 1) % level_every == 0 {
                self.machine.handle_level();
                self.turn(history)?;
            }
        }
        self.machine.handle_level();
        self.turn(history)
    }

    /// Does what the machine wants now.
    pub(crate) fn run_outputs(&mut self, history: &History) -> Result<(), End> {
        self.turn(history)
    }

    fn turn(&mut self, history: &History) -> Result<(), End> {
        while let Some(output) = self.machine.poll_output() {
            self.seen.buffered_max = self.seen.buffered_max.max(self.machine.buffered());
            match output {
                Output::Step(step) => self.apply(*step, history)?,
                Output::ReadAgain { after, upto } => {
                    self.seen.read_again += 1;
                    for bundle in history.between(after, upto) {
                        let handed = self.machine.handle_again(&bundle);
                        self.turn(history)?;
                        handed?;
                    }
                }
                Output::Journaled { file, journaled } => {
                    self.seen.journaled.push((file, journaled));
                }
            }
        }
        self.seen.buffered_max = self.seen.buffered_max.max(self.machine.buffered());
        Ok(())
    }

    fn apply(&mut self, step: Step, history: &History) -> Result<(), End> {
        if self.steps_left == 0 {
            return Err(End::Crashed);
        }
        self.steps_left -= 1;
        for change in &step.files {
            if let FileChange::Put { id, format } = change {
                self.formats.insert(*id, (**format).clone());
            }
        }
        let reader = self.store.reading();
        let batch = resolve(step, &*reader, &self.formats)?;
        self.seen.step_max = self.seen.step_max.max(batch.bytes());
        self.store.take(&batch).map_err(ApplyError::from)?;
        self.seen.positions.push(batch.next);
        assert_stands(&*reader, history);
        Ok(())
    }
}

/// The store is the fold of its position, and the position is right; while a mark stands, only the position is looked at.
pub(crate) fn assert_stands(store: &dyn StoreReader, history: &History) {
    let Some(position) = store.position().unwrap() else {
        assert_eq!(fold_of(store), Fold::new());
        return;
    };
    let applied = position.applied;
    assert_eq!(position.journal, JOURNAL);
    assert_eq!(
        position.head,
        history.position(applied).head,
        "at {applied}"
    );
    assert_eq!(position.restart, history.restart(applied), "at {applied}");
    if position.in_progress.is_none() {
        assert_eq!(fold_of(store), history.fold(applied), "at {applied}");
    }
}

/// Applies a whole history to an empty store and checks that it holds everything decided.
pub(crate) fn apply_all(history: &History, bounds: Bounds) -> Job {
    let mut job = Job::start(history, Memory::default(), bounds);
    job.run(history, 1).unwrap();
    assert_ended(&job.store, history);
    job
}

/// The store stands at the end of the history.
pub(crate) fn assert_ended(store: &dyn StoreReader, history: &History) {
    let position = store.position().unwrap().unwrap();
    assert_eq!(position.applied, history.end().sequence);
    assert_eq!(position.in_progress, None);
    assert_stands(store, history);
}

/// Applies a history until the machine stops, and gives why, with the job as it was left.
pub(crate) fn apply_until_stopped(history: &History, bounds: Bounds) -> (ApplyError, Job) {
    let mut job = Job::start(history, Memory::default(), bounds);
    match job.run(history, 1) {
        Err(End::Stopped(error)) => (error, job),
        other => panic!("it did not stop: {other:?}"),
    }
}
