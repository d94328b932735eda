//! Room `receiver`, tests: what is damage, and which bytes may take its place.

use super::*;
use crate::entry::codec::{BUNDLE_HEADER_BYTES, Seal, encode_entry, seal};
use crate::entry::{Alignment, Draft, GroupId, Kind, SystemName, Timestamp};

pub(in crate::receiver) const RECEIVER: ReceiverId = ReceiverId::from_bytes([7; 16]);
pub(in crate::receiver) const JOURNAL: JournalId = JournalId::from_bytes([9; 16]);

pub(in crate::receiver) fn genesis() -> Position {
    Position {
        sequence: Sequence::NONE,
        head: ChainHead::genesis(JOURNAL),
    }
}

/// A bundle of two entries behind a point.
fn bundle(behind: Point, text: &str, durable_upto: u64) -> SealedBundle {
    let mut buffer = vec![0; BUNDLE_HEADER_BYTES];
    for offset in 1..=2 {
        let sequence = Sequence::new(behind.at.sequence.get() + offset);
        let draft = Draft::new(Kind::USER, text.as_bytes());
        encode_entry(&mut buffer, &draft, sequence, Timestamp::ZERO, None, None);
    }
    let epoch = Epoch {
        term: 1,
        boot: 1,
        nonce: 5,
    };
    let how = Seal {
        receiver: RECEIVER,
        offset: behind.offset,
        align: 8,
        epoch,
        before: behind.at,
        durable_upto: Sequence::new(durable_upto),
    };
    seal(buffer, 2, &how)
}

fn behind(bundle: &SealedBundle) -> Point {
    Point {
        offset: bundle.header().end(),
        at: bundle.last(),
    }
}

/// Bundles of one history, from the beginning of a receiver; each says that the one before it is on disk.
pub(in crate::receiver) fn history(texts: &[&str]) -> Vec<SealedBundle> {
    let mut at = Point::begin(genesis());
    let mut all = Vec::new();
    for text in texts {
        let next = bundle(at, text, at.at.sequence.get());
        at = behind(&next);
        all.push(next);
    }
    all
}

fn walk(found: &[&SealedBundle], ending: Ending) -> Vec<Gap> {
    let mut walk = Walk::new(genesis());
    for bundle in found {
        walk.handle_bundle(Seen::from(*bundle));
    }
    walk.finish(ending)
}

fn ends_behind(last: &SealedBundle) -> Ending {
    Ending::At(End {
        offset: Some(last.header().end()),
        ..End::head(last.last())
    })
}

/// Offers bundles until all gaps are closed: the stretches that were replaced, or why not.
fn fill(gaps: &[Gap], truth: &[SealedBundle]) -> Result<Vec<(u64, u64)>, Unproven> {
    let mut fill = Fill::new(RECEIVER, gaps);
    while let Some((after, upto)) = fill.wanted()? {
        let wanted = |bundle: &&SealedBundle| {
            bundle.last().sequence > after && bundle.last().sequence <= upto
        };
        let mut offered = truth.iter().filter(wanted).peekable();
        if offered.peek().is_none() {
            fill.handle_nothing();
        }
        for bundle in offered {
            let (_, closed) = fill.handle_bundle(bundle.bytes().clone())?;
            if closed {
                break;
            }
        }
    }
    Ok(fill.filled().expect("all gaps are closed").to_vec())
}

fn bytes(of: &[SealedBundle]) -> (u64, u64) {
    let (first, last) = (of.first().unwrap(), of.last().unwrap());
    (first.header().offset, last.header().end())
}

#[test]
fn good_bundles_have_no_gap() {
    let all = history(&["a", "b", "c"]);
    assert!(walk(&all.iter().collect::<Vec<_>>(), ends_behind(&all[2])).is_empty());
}

#[test]
fn a_hole_is_closed_by_what_stood_there_at_the_beginning_in_the_middle_and_at_the_end() {
    let all = history(&["a", "b", "c", "d", "e"]);
    for hole in [0..1, 1..3, 4..5, 0..5] {
        let found: Vec<&SealedBundle> = all[..hole.start].iter().chain(&all[hole.end..]).collect();
        let gaps = walk(&found, ends_behind(&all[4]));
        assert_eq!(gaps.len(), 1, "{hole:?}");
        assert_eq!(gaps[0].first(), all[hole.start].header().first);
        assert_eq!(gaps[0].last, all[hole.end - 1].last().sequence);
        assert_eq!(fill(&gaps, &all), Ok(vec![bytes(&all[hole.clone()])]));
    }
}

#[test]
fn several_holes_are_closed_each_with_its_own_bytes() {
    let all = history(&["a", "b", "c", "d", "e"]);
    let gaps = walk(&[&all[1], &all[3]], ends_behind(&all[4]));
    let expected: Vec<(u64, u64)> = [0, 2, 4].map(|at| bytes(&all[at..=at])).to_vec();
    assert_eq!(fill(&gaps, &all), Ok(expected));
}

/// A partner whose history forked, or who lies, has good bundles, too.
#[test]
fn bytes_of_another_history_are_never_taken() {
    let all = history(&["a", "b", "c", "d"]);
    let other = history(&["a", "X", "c", "d"]);
    let gaps = walk(&[&all[0], &all[3]], ends_behind(&all[3]));
    let refused = fill(&gaps, &other);
    assert_eq!(
        refused,
        Err(Unproven::OtherHistory {
            upto: Sequence::new(6)
        })
    );
    let elsewhere = history(&["longer", "b", "c", "d"]);
    assert!(matches!(
        fill(&gaps, &elsewhere),
        Err(Unproven::NotJoined { .. })
    ));
    let mut rotten = all[1].bytes().to_vec();
    rotten[150] ^= 1;
    let mut one = Fill::new(RECEIVER, &gaps);
    assert!(matches!(
        one.handle_bundle(rotten.into()),
        Err(Unproven::Codec(_))
    ));
    // What was refused leaves no trace.
    one.begin_again();
    assert_eq!(one.wanted(), Ok(Some((Sequence::new(2), Sequence::new(6)))));
    assert_eq!(one.filled(), None);
}

/// RCV-3: if the checksum happens to fit, the chain does not; then nobody knows which of two neighbours is wrong.
#[test]
fn two_good_neighbours_that_do_not_join_are_both_doubted() {
    let all = history(&["a", "b", "c", "d"]);
    for wrong in 0..4_usize {
        let stands_before = wrong
            .checked_sub(1)
            .map_or(Point::begin(genesis()), |index| behind(&all[index]));
        let false_one = bundle(stands_before, "Z", 0);
        let mut found: Vec<&SealedBundle> = all.iter().collect();
        found[wrong] = &false_one;
        let gaps = walk(&found, ends_behind(&all[3]));
        assert_eq!(gaps.len(), 1, "{wrong}");
        let filled = fill(&gaps, &all).unwrap();
        assert_eq!(filled, vec![bytes(&all[wrong..=wrong])], "{wrong}");
    }
}

/// A payload can hold the bytes of a bundle at just the right place.
#[test]
fn a_false_start_inside_the_damage_is_passed_over() {
    let all = history(&[
        "a",
        "b is long enough for another bundle to begin in it",
        "c",
    ]);
    // It may claim to join the bundle before it, or entries of the one behind it: then those are doubted, too.
    for (sequence, doubted) in [(2, 0..2), (3, 1..3)] {
        let mut inside = behind(&all[0]);
        inside.offset += 64;
        inside.at.sequence = Sequence::new(sequence);
        let false_start = bundle(inside, "Z", 0);
        let gaps = walk(&[&all[0], &false_start, &all[2]], ends_behind(&all[2]));
        let filled = fill(&gaps, &all).unwrap();
        assert_eq!(filled, vec![bytes(&all[doubted])], "{gaps:?}");
    }
}

#[test]
fn bytes_of_an_older_time_are_part_of_the_damage() {
    let all = history(&["a", "b", "c"]);
    let old = bundle(
        Point {
            offset: all[1].header().offset,
            at: genesis(),
        },
        "old",
        0,
    );
    let gaps = walk(&[&all[0], &old, &all[2]], ends_behind(&all[2]));
    assert_eq!(fill(&gaps, &all), Ok(vec![bytes(&all[1..=1])]));
}

fn open(known: &SealedBundle, mark: Option<&SealedBundle>) -> Ending {
    Ending::Open {
        known: known.last().sequence,
        mark: mark.map(SealedBundle::last),
        sealed_here: false,
    }
}

/// Ruling 5: what was never known to be on disk is a torn tail, and is nobody's to repair.
#[test]
fn above_what_is_known_nothing_is_damage() {
    let all = history(&["a", "b", "c", "d"]);
    assert!(walk(&[&all[0], &all[1]], open(&all[1], None)).is_empty());
    assert!(walk(&[&all[0], &all[1], &all[3]], open(&all[1], None)).is_empty());
    let gaps = walk(&[&all[1], &all[3]], open(&all[1], None));
    assert_eq!(fill(&gaps, &all), Ok(vec![bytes(&all[..1])]));
}

#[test]
fn the_end_of_the_last_receiver_is_proven_by_the_flush_mark_alone() {
    let all = history(&["a", "b", "c"]);
    let gaps = walk(&[&all[0]], open(&all[2], Some(&all[2])));
    assert_eq!(fill(&gaps, &all), Ok(vec![bytes(&all[1..])]));
    for mark in [None, Some(&all[1])] {
        let gaps = walk(&[&all[0]], open(&all[2], mark));
        assert_eq!(
            (gaps[0].first(), gaps[0].last),
            (Sequence::new(3), Sequence::new(6))
        );
        assert_eq!(fill(&gaps, &all), Err(Unproven::NothingBehind));
    }
}

/// At the writer a later bundle says what was on this disk.
#[test]
fn a_later_bundle_of_this_system_makes_a_torn_tail_damage() {
    let all = history(&["a", "b", "c"]);
    let ending = |sealed_here| Ending::Open {
        known: Sequence::NONE,
        mark: None,
        sealed_here,
    };
    assert!(walk(&[&all[0], &all[2]], ending(false)).is_empty());
    let gaps = walk(&[&all[0], &all[2]], ending(true));
    assert_eq!(fill(&gaps, &all), Ok(vec![bytes(&all[1..=1])]));
}

/// The chain does not cover it, and on a copy it confirms entries.
#[test]
fn no_bundle_may_claim_more_on_disk_than_the_one_behind_it() {
    let first = bundle(Point::begin(genesis()), "a", 0);
    let second = bundle(behind(&first), "b", 0);
    let third = bundle(behind(&second), "c", 1);
    let claims = bundle(behind(&first), "b", 2);
    let gaps = walk(&[&first, &third], ends_behind(&third));
    assert_eq!(fill(&gaps, &[claims]), Err(Unproven::Claims));
    assert!(fill(&gaps, &[second]).is_ok());
}

pub(in crate::receiver) fn header() -> ReceiverHeader {
    ReceiverHeader {
        receiver: RECEIVER,
        journal: JOURNAL,
        group: GroupId::from(JOURNAL),
        name: "PRDLIB/RCV2".parse().unwrap(),
        journal_name: "PRDLIB/JRN".parse().unwrap(),
        origin_name: SystemName::new("PRD").unwrap(),
        origin: SystemId::from_bytes([3; 16]),
        previous: ReceiverId::from_bytes([6; 16]),
        before: genesis(),
        threshold: 65_536,
        alignment: Alignment::Packed,
    }
}

#[test]
fn a_header_is_held_against_everything_that_is_known_of_it() {
    let truth = header();
    let known = KnownHeader {
        receiver: truth.receiver,
        journal: truth.journal,
        name: Some(truth.name),
        before: truth.before,
        previous: Some(truth.previous),
        origin: Some(truth.origin),
        announced: Some(Neighbour::of(truth.receiver, truth.name, &truth)),
    };
    assert_eq!(known.prove(&truth.encode()), Ok(truth.clone()));
    let others = [
        ReceiverHeader {
            receiver: ReceiverId::from_bytes([8; 16]),
            ..truth.clone()
        },
        ReceiverHeader {
            journal: JournalId::from_bytes([8; 16]),
            ..truth.clone()
        },
        ReceiverHeader {
            name: "PRDLIB/RCV3".parse().unwrap(),
            ..truth.clone()
        },
        ReceiverHeader {
            origin: SystemId::from_bytes([8; 16]),
            ..truth.clone()
        },
        ReceiverHeader {
            previous: ReceiverId::NONE,
            ..truth.clone()
        },
        ReceiverHeader {
            threshold: 123_456,
            ..truth.clone()
        },
        ReceiverHeader {
            alignment: Alignment::Padded,
            ..truth.clone()
        },
        ReceiverHeader {
            before: history(&["a"])[0].last(),
            ..truth.clone()
        },
    ];
    for other in others {
        let refused = known.prove(&other.encode());
        assert!(matches!(refused, Err(Unproven::Header { .. })), "{other:?}");
    }
    let mut rotten = truth.encode();
    rotten[20] ^= 1;
    assert!(matches!(known.prove(&rotten), Err(Unproven::Codec(_))));
}

#[test]
fn a_partner_that_has_nothing_is_asked_no_further() {
    let all = history(&["a", "b", "c"]);
    let gaps = walk(&[&all[0], &all[2]], ends_behind(&all[2]));
    let refused = fill(&gaps, &all[..1]);
    assert_eq!(
        refused,
        Err(Unproven::NotHeld {
            first: Sequence::new(3)
        })
    );
}
