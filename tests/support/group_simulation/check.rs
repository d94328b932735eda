//! Package `tests`, groups under seeds: what must hold at the end of a run, when everything was healed.

use std::collections::BTreeMap;
use std::path::Path;

use rjournal::disk::{Disk, MemoryDisk};
use rjournal::entry::JournalId;
use rjournal::journal::{AckClass, Answer};
use rjournal::receiver::ChainReader;
use rjournal::remote::{EndReason, RefusalCode};
use rjournal::role::Stop;

use super::found::Found;
use super::member::Side;
use super::truth::covers;
use super::world::World;

impl World {
    /// Everything that must hold when all is level.
    pub(super) fn check(&self) {
        let found = Found::read(self);
        self.answers_are_kept(&found);
        self.sync_answers_are_everywhere(&found);
        self.answers_are_in_order();
        self.no_deposit_is_there_twice(&found);
        self.receivers_are_identical();
    }

    /// P7: what was answered is in a copy or an archive; what was refused is nowhere.
    fn answers_are_kept(&self, found: &Found) {
        let ledger = self.ledger.borrow();
        let mut landed = BTreeMap::new();
        let restored = self.truth.borrow().restored;
        for deposit in ledger.deposits() {
            match deposit.answer {
                Some(Answer::Landed {
                    sequence, class, ..
                }) => {
                    assert!(
                        restored || found.has(deposit.journal, sequence.get(), deposit.id),
                        "P7: {deposit:?} was answered {class:?} and is in no copy and no archive"
                    );
                    landed.insert(deposit.id, sequence);
                }
                Some(Answer::Refused { .. }) if !deposit.is_repeated => {
                    assert!(
                        !found.has_anywhere(deposit.id),
                        "{deposit:?} was refused and is there"
                    );
                }
                _ => {}
            }
        }
    }

    /// P1 once more, on the disks: every SYNC answer is in every member's copy of the newest lineage.
    fn sync_answers_are_everywhere(&self, found: &Found) {
        if self.truth.borrow().is_void() {
            return;
        }
        for answer in self.ledger.borrow().kept() {
            for member in 0..self.members.len() {
                if self.is_stopped(member) {
                    continue;
                }
                let copy = found.copies.get(&(member, answer.journal));
                let id = copy.and_then(|copy| copy.get(&answer.sequence.get()));
                assert_eq!(
                    id,
                    Some(&answer.id),
                    "P1: {answer:?} is not in the copy of member {member}"
                );
            }
        }
    }

    /// Whoever was answered SYNC before another one asked stands before it.
    fn answers_are_in_order(&self) {
        let truth = self.truth.borrow();
        if truth.is_void() {
            return;
        }
        let segments: Vec<_> = truth.newest().segments().collect();
        let place = |journal: JournalId, sequence: u64| {
            let within = |index: &usize| {
                let segment = &segments[*index];
                let last = segment
                    .last
                    .is_none_or(|last| sequence <= last.sequence.get());
                segment.journal == journal && sequence > segment.begins.sequence.get() && last
            };
            let index = (0..segments.len()).find(within)?;
            Some((index, sequence))
        };
        let ledger = self.ledger.borrow();
        let mut events = Vec::new();
        for deposit in ledger.deposits().iter().filter(|deposit| !deposit.again) {
            if let Some(Answer::Landed {
                sequence, class, ..
            }) = deposit.answer
                && let Some(place) = place(deposit.journal, sequence.get())
            {
                events.push((deposit.called, 0, place, deposit.id));
                if class == AckClass::Sync {
                    events.push((deposit.returned, 1, place, deposit.id));
                }
            }
        }
        events.sort_unstable();
        let mut highest = None;
        for (_, returned, place, id) in events {
            if returned == 1 {
                highest = highest.max(Some((place, id)));
            } else if let Some((before, other)) = highest {
                assert!(
                    place > before || id == other,
                    "deposit {id} at {place:?} was made after {other} at {before:?} was answered"
                );
            }
        }
    }

    /// A deposit is at most once in the newest lineage, under a key or not.
    fn no_deposit_is_there_twice(&self, found: &Found) {
        let truth = self.truth.borrow();
        let mut seen = BTreeMap::new();
        for member in &self.group.members {
            let copies = (0..self.members.len()).filter(|number| !self.is_stopped(*number));
            let mut copies =
                copies.filter_map(|number| found.copies.get(&(number, member.journal)));
            let Some(copy) = copies.next() else {
                continue;
            };
            for (sequence, id) in copy {
                if covers(truth.newest(), member.journal, *sequence) {
                    let before = seen.insert(*id, (member.journal, *sequence));
                    assert_eq!(
                        before, None,
                        "deposit {id} is there twice, at {sequence} again"
                    );
                }
            }
        }
    }

    /// The receivers of all copies are the same bytes, from the first to the end of the last bundle (ruling 17).
    fn receivers_are_identical(&self) {
        // A disk that was set back may fork below what others confirmed: they refuse each other, and an operator picks.
        if self.truth.borrow().restored {
            return;
        }
        for (writer, of) in self.group.members.iter().enumerate() {
            let mut known: BTreeMap<_, (usize, Vec<u8>)> = BTreeMap::new();
            for (number, member) in self.members.iter().enumerate() {
                if self.is_stopped(number) {
                    continue;
                }
                let member = member.borrow();
                let side = member.up.as_ref().map(|up| &up.sides[writer]);
                // What came behind the end of the history and was never flushed is set aside when it is.
                let more = matches!(side, Some(Side::Copy(side))
                    if side.copy.progress().received > side.copy.progress().written);
                let reader: ChainReader = match side {
                    Some(Side::Open(open)) => open.journal.reader().clone(),
                    Some(Side::Copy(side)) => side.copy.shared().reader().clone(),
                    _ => continue,
                };
                for (record, path) in reader.records().iter().zip(reader.paths()) {
                    let bytes = bytes(&member.disk, &path, record.bytes);
                    let first = if more {
                        known.get(&record.receiver)
                    } else {
                        let first = known.entry(record.receiver);
                        Some(&*first.or_insert_with(|| (number, bytes.clone())))
                    };
                    let Some(first) = first else {
                        continue;
                    };
                    let differs = first.1.iter().zip(&bytes).position(|(a, b)| a != b);
                    assert!(
                        differs.is_none() && (more || first.1.len() == bytes.len()),
                        "receiver {} of {} differs between members {} and {number}: {} and {} bytes, from byte {differs:?}",
                        record.name,
                        of.own,
                        first.0,
                        first.1.len(),
                        bytes.len()
                    );
                }
            }
        }
    }

    /// Whether a member takes no part until an operator decides; a conflict ends with the next term.
    pub(super) fn is_stopped(&self, member: usize) -> bool {
        let forked = self.truth.borrow().forked.contains(&member);
        forked || self.is_refused(member) || {
            let member = self.members[member].borrow();
            let up = member.up.as_ref();
            up.is_none_or(|up| matches!(up.standing.get().stopped, Some(Stop::Abandoned { .. })))
        }
    }

    /// Whether a disk was set back, and a member's copy refuses the primary for what it has confirmed: an operator is told so.
    fn is_refused(&self, member: usize) -> bool {
        let system = self.group.members[member].system;
        let refuses = |other: usize| {
            let other = self.members[other].borrow();
            let links = other.up.iter().flat_map(|up| &up.links);
            let mut links = links.filter(|link| link.record.system == system);
            links.any(|link| match link.link.shown().last_end {
                Some(EndReason::Refused(refusal)) => refusal.code == RefusalCode::Diverged,
                _ => false,
            })
        };
        self.truth.borrow().restored && (0..self.members.len()).any(refuses)
    }
}

fn bytes(disk: &MemoryDisk, path: &Path, count: u64) -> Vec<u8> {
    let file = disk.open(path).expect("a receiver's file");
    file.read(count as usize, 0).expect("a readable file")
}
