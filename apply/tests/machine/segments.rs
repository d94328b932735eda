//! A store follows a recovery group's history from segment to segment, there and back again, whatever step it crashes after:
//! what is open at the end of a segment is gone, everything else goes on.

use std::collections::HashMap;

use rjournal::entry::record::Format;
use rjournal::entry::{GroupId, JournalId, Kind, ObjectId, Position, SegmentId, Sequence};
use rjournal_apply::error::ApplyError;
use rjournal_apply::machine::{
    ApplyMachine, Bounds, EndedFiles, OlderFormats, Output, SegmentStart, Skip, Skips, resolve,
};
use rjournal_apply::store::{FileChange, StorePosition, StoreReader};

use crate::bench::{SMALL, skip};
use crate::history::{ALONE, Fold, History, JOURNAL, file, format, key, row};
use crate::memory::{Memory, fold_of};
use crate::restart::varied;

const GROUP: GroupId = GroupId::from_bytes(*b"group of stories");
const BACKUP: JournalId = JournalId::from_bytes(*b"journal backup 1");

/// A term in its journal.
struct Part {
    term: u64,
    history: History,
    begins: Position,
    /// The last entry that counts.
    last: Position,
}

impl Part {
    fn new(term: u64, history: &History, begins: Sequence) -> Self {
        Self {
            term,
            begins: history.position(begins),
            last: history.end(),
            history: history.clone(),
        }
    }

    const fn segment(&self) -> SegmentId {
        SegmentId {
            term: self.term,
            journal: self.history.journal,
        }
    }
}

/// What a store holds at a position of the whole history.
fn fold_at(parts: &[Part], at: &StorePosition) -> Fold {
    let mut fold = Fold::new();
    for part in parts {
        let here = part.segment().term == at.term;
        let upto = if here { at.applied } else { part.last.sequence };
        fold = part.history.fold_onto(fold, part.begins.sequence, upto);
        if here {
            return fold;
        }
    }
    panic!("no such segment: {at:?}");
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    AtTheEnd,
    Crashed,
}

struct Run {
    store: Memory,
    machine: ApplyMachine,
    formats: HashMap<ObjectId, Format>,
    steps_left: usize,
    steps: usize,
}

impl Run {
    /// Goes on from where the store stands, as a job does.
    fn start(
        parts: &[Part],
        store: Memory,
        bounds: Bounds,
        order: Option<(Sequence, Skip)>,
    ) -> Self {
        let position = store.position().unwrap();
        let part = position.map_or(&parts[0], |at| {
            let is_at = |part: &&Part| part.segment().term == at.term;
            parts.iter().find(is_at).expect("a segment")
        });
        let formats: HashMap<ObjectId, Format> = store
            .files()
            .unwrap()
            .into_iter()
            .map(|file| (file.id, file.format))
            .collect();
        let mut skips = Skips::of_store(&store).unwrap();
        if let Some((sequence, skip)) = order {
            skips.order(sequence, skip);
        }
        let journal = part.history.journal;
        let machine = ApplyMachine::new(journal, part.begins, position, formats.clone(), bounds)
            .with_skips(skips)
            .with_older_formats(OlderFormats::of_store(&store).unwrap())
            .with_ended_files(EndedFiles::of_store(&store).unwrap())
            .in_segment(GROUP, part.term);
        Self {
            store,
            machine,
            formats,
            steps_left: usize::MAX,
            steps: 0,
        }
    }

    fn run(&mut self, parts: &[Part]) -> Result<Ended, ApplyError> {
        loop {
            let at = parts
                .iter()
                .position(|part| part.segment() == self.machine.segment());
            let index = at.expect("a segment");
            let part = &parts[index];
            for bundle in part.history.between(self.machine.at(), part.last.sequence) {
                let handed = self.machine.handle_bundle(&bundle);
                if !self.turn(parts, part)? {
                    return Ok(Ended::Crashed);
                }
                handed?;
            }
            match parts.get(index + 1) {
                Some(next) => {
                    let start = SegmentStart {
                        group: GROUP,
                        segment: next.segment(),
                        begins: next.begins,
                    };
                    self.machine.handle_segment_ended(part.last, start)?;
                }
                None => self.machine.handle_level(),
            }
            if !self.turn(parts, part)? {
                return Ok(Ended::Crashed);
            }
            if index + 1 == parts.len() {
                return Ok(Ended::AtTheEnd);
            }
        }
    }

    /// Says no when it crashed.
    fn turn(&mut self, parts: &[Part], part: &Part) -> Result<bool, ApplyError> {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Step(step) => {
                    if self.steps_left == 0 {
                        return Ok(false);
                    }
                    self.steps_left -= 1;
                    self.steps += 1;
                    for change in &step.files {
                        if let FileChange::Put { id, format } = change {
                            self.formats.insert(*id, (**format).clone());
                        }
                    }
                    let batch = resolve(*step, &self.store, &self.formats)?;
                    self.store.apply(&batch)?;
                    self.assert_stands(parts);
                }
                Output::ReadAgain { after, upto } => {
                    for bundle in part.history.between(after, upto) {
                        let handed = self.machine.handle_again(&bundle);
                        if !self.turn(parts, part)? {
                            return Ok(false);
                        }
                        handed?;
                    }
                }
                Output::Journaled { .. } => {}
            }
        }
        Ok(true)
    }

    fn assert_stands(&self, parts: &[Part]) {
        let at = self.store.position().unwrap().unwrap();
        assert_eq!(at.group, GROUP);
        if at.in_progress.is_none() {
            assert_eq!(fold_of(&self.store), fold_at(parts, &at), "at {at:?}");
        }
    }
}

fn run_all(parts: &[Part], bounds: Bounds) -> Run {
    let mut run = Run::start(parts, Memory::default(), bounds, None);
    assert_eq!(run.run(parts).unwrap(), Ended::AtTheEnd);
    assert_ended(parts, &run.store);
    run
}

fn assert_ended(parts: &[Part], store: &Memory) {
    let last = parts.last().unwrap();
    let at = store.position().unwrap().unwrap();
    assert_eq!((at.term, at.journal), (last.term, last.history.journal));
    assert_eq!((at.applied, at.head), (last.last.sequence, last.last.head));
    assert_eq!(fold_of(store), fold_at(parts, &at));
}

/// There, back, and there again: terms 1 and 3 in one journal, terms 2 and 5 in another.
fn there_and_back() -> Vec<Part> {
    let mut first = varied();
    let mut parts = vec![Part::new(1, &first, Sequence::NONE)];
    let mut second = History::after(&first, BACKUP, 2);
    second.put(ALONE, 1, 8_000, b"of term 2");
    let cycle = second.begin();
    second.delete(cycle, 1, 6_000, b"kept");
    second.put(cycle, 3, 2, b"of term 2");
    second.seal();
    second.commit(cycle);
    let open = second.begin();
    second.put(open, 1, 9_000, &[7; 300]);
    second.seal();
    parts.push(Part::new(2, &second, Sequence::NONE));
    let end = first.end().sequence;
    first.begin_term(3);
    // A key that was put in a cycle that is gone.
    first.put(ALONE, 1, 9_000, b"of term 3");
    first.put(ALONE, 1, 7_000, b"of term 3");
    first.seal();
    parts.push(Part::new(3, &first, end));
    let end = second.end().sequence;
    second.begin_term(5);
    second.update(ALONE, 1, 9_000, b"of term 3", b"of term 5");
    let large = second.begin();
    for k in 20_000..20_040 {
        second.put(large, 1, k, &[5; 200]);
    }
    second.commit(large);
    second.seal();
    parts.push(Part::new(5, &second, end));
    parts
}

#[test]
fn a_store_goes_from_segment_to_segment_and_open_cycles_end_with_theirs() {
    let parts = there_and_back();
    for bounds in [SMALL, Bounds::default()] {
        let run = run_all(&parts, bounds);
        let rows = &fold_of(&run.store)[&file(1)].1;
        assert_eq!(rows[&key(1, 9_000)], row(1, 1, 9_000, b"of term 5"));
        assert!(!rows.contains_key(&key(1, 6_000)), "deleted in term 2");
    }
}

#[test]
fn a_crash_after_any_step_changes_nothing_in_the_end() {
    let parts = there_and_back();
    for bounds in [SMALL, Bounds::default()] {
        let steps = run_all(&parts, bounds).steps;
        for cut in 0..steps {
            let mut run = Run::start(&parts, Memory::default(), bounds, None);
            run.steps_left = cut;
            assert_eq!(run.run(&parts).unwrap(), Ended::Crashed);
            let mut again = Run::start(&parts, run.store.copy(), bounds, None);
            assert_eq!(again.run(&parts).unwrap(), Ended::AtTheEnd);
            assert_ended(&parts, &again.store);
        }
    }
}

#[test]
fn a_store_at_the_very_end_of_a_segment_goes_on_with_the_next() {
    let parts = there_and_back();
    let mut store = Memory::default();
    for upto in 1..=parts.len() {
        let mut run = Run::start(&parts, store.copy(), SMALL, None);
        assert_eq!(run.run(&parts[..upto]).unwrap(), Ended::AtTheEnd);
        store = run.store.copy();
        assert_ended(&parts[..upto], &store);
    }
}

#[test]
fn a_segment_that_ended_elsewhere_than_the_store_is_refused_and_changes_nothing() {
    let mut parts = there_and_back();
    parts.truncate(2);
    let mut run = run_all(&parts, Bounds::default());
    let before = run.store.position().unwrap();
    let start = SegmentStart {
        group: GROUP,
        segment: SegmentId {
            term: 3,
            journal: JOURNAL,
        },
        begins: parts[0].last,
    };
    let earlier = parts[1].history.position(parts[1].last.sequence.before());
    let refused = run.machine.handle_segment_ended(earlier, start);
    assert!(
        matches!(refused, Err(ApplyError::Ahead { .. })),
        "{refused:?}"
    );
    assert_eq!(run.machine.poll_output(), None);
    assert_eq!(run.store.position().unwrap(), before);
}

/// Numbers begin anew in another journal: an order for one of them once passed over another entry.
#[test]
fn what_was_passed_over_in_one_journal_is_applied_in_the_next_and_stays_listed() {
    let mut first = History::with_files(1);
    let bad = first.entry(&first.record(Kind::RECORD_PUT, ALONE, 1, b"no row"));
    first.put(ALONE, 1, 1, b"one");
    first.seal();
    let mut second = History::after(&first, BACKUP, 2);
    while second.put(
        ALONE,
        1,
        100 + second.end().sequence.get().cast_signed(),
        b"two",
    ) < bad
    {
        second.seal();
    }
    second.seal();
    let parts = [
        Part::new(1, &first, Sequence::NONE),
        Part::new(2, &second, Sequence::NONE),
    ];
    let order = Some((bad, skip("it cannot be")));
    let mut run = Run::start(&parts, Memory::default(), SMALL, order);
    assert_eq!(run.run(&parts).unwrap(), Ended::AtTheEnd);
    assert_ended(&parts, &run.store);
    let listed = |name: &str| {
        let files = run.store.files().unwrap();
        let list = files
            .iter()
            .find(|file| file.format.file().to_string() == name);
        list.map_or(0, |file| file.rows)
    };
    assert_eq!(listed("QRJOURNAL/SKIPPED"), 0);
    assert_eq!(listed("QRJOURNAL/EARLIER"), 1);
}

#[test]
fn a_format_that_an_open_cycle_needed_goes_with_its_segment() {
    let mut first = History::with_files(1);
    let open = first.begin();
    first.put(open, 1, 1, b"of the old format");
    first.seal();
    first.define(Kind::FILE_CHANGE, 1, &format(1, 2));
    first.put(ALONE, 1, 2, b"of the new one");
    first.seal();
    let mut second = History::after(&first, BACKUP, 2);
    second.put(ALONE, 1, 1, b"of the new one");
    second.seal();
    let parts = [
        Part::new(1, &first, Sequence::NONE),
        Part::new(2, &second, Sequence::NONE),
    ];
    let run = run_all(&parts, SMALL);
    let files = run.store.files().unwrap();
    let kept = files
        .iter()
        .find(|file| file.format.file().to_string() == "QRJOURNAL/FORMATS");
    assert_eq!(kept.map_or(0, |file| file.rows), 0);
}

/// A journal that belongs to no group yet is the group's first segment: its stores go on.
#[test]
fn a_store_made_before_the_group_is_taken_over_with_its_next_step() {
    let mut first = varied();
    let mut job = crate::bench::Job::start(&first, Memory::default(), SMALL);
    job.run(&first, 1).unwrap();
    let before = job.store.position().unwrap().unwrap();
    assert_eq!(before.group, GroupId::from(JOURNAL));
    first.put(ALONE, 1, 30_000, b"behind");
    first.seal();
    let parts = [Part::new(1, &first, Sequence::NONE)];
    let mut run = Run::start(&parts, job.store.copy(), SMALL, None);
    assert_eq!(run.run(&parts).unwrap(), Ended::AtTheEnd);
    assert_ended(&parts, &run.store);
    assert_eq!(run.store.position().unwrap().unwrap().group, GROUP);
}
