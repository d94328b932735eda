//! What comes over the line and must not be believed: frames twice, damaged, out of place, of another session, of another
//! system, of another version.

use std::time::Duration;

use bytes::Bytes;
use rjournal::entry::{ReceiverHeader, Sequence, THRESHOLD_MAX};
use rjournal::remote::{EndReason, Frame, LinkEvent, LinkState, Message};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, broadcast, degrade};

/// LNK-5, at the target.
#[test]
fn frames_of_an_older_session_change_nothing_once_a_newer_one_was_accepted() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    let old: Vec<Frame> = pair.frames_to(TARGET).drain(..).collect();
    assert!(!old.is_empty());
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(Duration::from_millis(200)).dial();
    pair.frames_to(TARGET).extend(old);
    let before = pair.copy(TARGET).tip();
    // In the new session a bundle has no place before coupling.
    pair.arrive(TARGET);
    assert_eq!(pair.copy(TARGET).tip(), before);
    assert!(ended(&pair, |reason| matches!(reason, EndReason::Violation(_))) <= 1);
}

/// LNK-5, at the source: a second welcome of another session is nobody's.
#[test]
fn a_welcome_of_another_session_is_a_breach() {
    let mut pair = welcomed_with(|welcome| welcome.session ^= 1);
    let last_end = pair.link(SOURCE, 0).last_end;
    assert!(
        matches!(last_end, Some(EndReason::Violation(_))),
        "{last_end:?}"
    );
    assert!(pair.is_open());
    pair.activate().recovers_whole();
}

/// CFG-5: that another system stands in the target's place says nothing about the source. A directory entry that was given
/// another system's key once closed the journal for deposits.
#[test]
fn a_welcome_of_another_system_ends_the_session_and_the_source_stays_open() {
    let mut pair = welcomed_with(|welcome| {
        welcome.system = rjournal::entry::SystemId::from_bytes([66; 16]);
    });
    let refusal = pair.is_refused(rjournal::remote::RefusalCode::WrongSystem);
    assert!(refusal.text.contains("CHGRDBDIRE"), "{}", refusal.text);
    assert!(pair.is_open());
    pair.deposit("a").seconds(3).answers("a", Said::Local);
    // The directory was put right: the link goes on by itself.
    pair.seconds(15).deposit("b").settle();
    pair.answers("b", Said::Sync).recovers_whole();
}

/// A greeting that is answered with a changed welcome.
fn welcomed_with(change: impl Fn(&mut rjournal::remote::Welcome)) -> Pair {
    let mut pair = degrade();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(Duration::from_millis(200)).dial().arrive(TARGET);
    for frame in pair.frames_from(TARGET) {
        if let Frame::Message(Message::Welcome(welcome)) = frame {
            change(welcome);
        }
    }
    pair.return_from(TARGET);
    pair
}

/// LNK-1, CAT-3: a frame that comes twice is never written twice.
#[test]
fn a_bundle_delivered_twice_is_written_once() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    let again: Vec<Frame> = pair.frames_to(TARGET).iter().cloned().collect();
    pair.frames_to(TARGET).extend(again);
    pair.arrive(TARGET).flush(TARGET).settle();
    // What it holds is held: ignored, and the session goes on.
    assert_eq!(ended(&pair, |_| true), 0);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Active);
    pair.answers("a", Said::Sync).recovers_whole();
    assert_eq!(pair.shows(SOURCE), ["a"]);
}

/// LNK-8: a confirmation ahead of its entries confirms only what is there.
#[test]
fn a_confirmation_that_overtakes_its_bundle_confirms_nothing_that_is_not_there() {
    let mut pair = degrade();
    pair.deposit("a").settle().seconds(1);
    let had = pair.copy(TARGET).progress().confirmed;
    pair.deposit("b").seal().write();
    let upto = had.checked_add(1).expect("small");
    pair.frames_to(TARGET)
        .push_front(Frame::Message(Message::Confirm { upto }));
    assert!(pair.cluster.deliver_forth(0));
    assert_eq!(pair.copy(TARGET).progress().confirmed, had);
    pair.seconds(1).recovers_whole();
    assert_eq!(pair.shows(TARGET), ["a", "b"]);
}

/// I11, wrong chain: a bundle with one bit changed under way is not written, whichever bit it is.
#[test]
fn a_bundle_damaged_under_way_is_refused_and_said() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    let bundle = pair.frames_to(TARGET).iter().find_map(|frame| match frame {
        Frame::Bundle(bytes) => Some(bytes.clone()),
        _ => None,
    });
    let bundle = bundle.expect("a bundle under way");
    let tip = pair.copy(TARGET).tip();
    for at in 0..bundle.len() {
        let mut pair = pair_with_one_under_way();
        let mut bytes = bundle.to_vec();
        bytes[at] ^= 1 << (at % 8);
        for frame in pair.frames_to(TARGET) {
            if let Frame::Bundle(there) = frame {
                *there = Bytes::from(bytes.clone());
            }
        }
        pair.arrive(TARGET).flush(TARGET);
        assert_eq!(pair.copy(TARGET).tip(), tip, "byte {at}");
        pair.return_from(TARGET).answers("a", Said::Nothing);
        let shown = pair.link(SOURCE, 0);
        assert!(
            matches!(shown.last_end, Some(EndReason::Violation(_))),
            "byte {at}: {shown:?}"
        );
    }
}

fn pair_with_one_under_way() -> Pair {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    pair
}

/// I11: the header of a receiver with one bit changed under way is not attached.
#[test]
fn a_receiver_header_damaged_under_way_is_refused_and_said() {
    for at in (0..4096).step_by(67).chain(0..200) {
        let mut pair = degrade();
        pair.cluster.order_change();
        pair.deposit("a").seal().write();
        let tip = pair.copy(TARGET).place().receiver;
        let mut damaged = 0;
        for frame in pair.frames_to(TARGET) {
            if let Frame::Header(bytes) = frame {
                let mut changed = bytes.to_vec();
                changed[at] ^= 0x10;
                *bytes = Bytes::from(changed);
                damaged += 1;
            }
        }
        assert_eq!(damaged, 1);
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        assert_eq!(pair.copy(TARGET).place().receiver, tip, "byte {at}");
        let shown = pair.link(SOURCE, 0);
        assert!(
            matches!(shown.last_end, Some(EndReason::Violation(_))),
            "byte {at}: {shown:?}"
        );
    }
}

/// The space of a receiver is reckoned from its threshold: one no journal can have overflowed, and took the system down.
#[test]
fn a_receiver_of_a_size_no_journal_can_have_is_refused_and_said() {
    for threshold in [0, THRESHOLD_MAX + 1, u64::MAX] {
        let mut pair = degrade();
        pair.cluster.order_change();
        pair.deposit("a").seal().write();
        let before = pair.copy(TARGET).place().receiver;
        for frame in pair.frames_to(TARGET) {
            if let Frame::Header(bytes) = frame {
                let truth = ReceiverHeader::decode(bytes).expect("sent by a source");
                let forged = ReceiverHeader { threshold, ..truth };
                *bytes = Bytes::from(forged.encode());
            }
        }
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        assert_eq!(pair.copy(TARGET).place().receiver, before);
        let shown = pair.link(SOURCE, 0);
        let said = matches!(shown.last_end, Some(EndReason::Violation(_)));
        assert!(said, "{threshold}: {shown:?}");
        pair.activate().recovers_whole();
    }
}

/// I3, I11: bundles that come out of order, or with one left out, are refused.
#[test]
fn a_gap_in_the_stream_is_refused_and_said() {
    let mut pair = degrade();
    for name in ["a", "b", "c"] {
        pair.deposit(name).seal().write();
    }
    let frames = pair.frames_to(TARGET);
    let second = frames
        .iter()
        .enumerate()
        .filter(|(_, frame)| matches!(frame, Frame::Bundle(_)))
        .nth(1)
        .map(|(index, _)| index);
    frames.remove(second.expect("three bundles"));
    pair.arrive(TARGET).flush(TARGET).settle();
    assert_eq!(
        ended(&pair, |reason| matches!(reason, EndReason::Violation(_))),
        1
    );
    assert!(!pair.keeps(TARGET, "c"));
    pair.activate().recovers_whole();
}

/// TLS-7: the certificate of another system, however valid, feeds nothing here.
#[test]
fn a_system_that_names_itself_otherwise_than_its_key_is_not_authorised() {
    let refusal = greeted_with(|hello| {
        hello.system = rjournal::entry::SystemId::from_bytes([66; 16]);
    });
    assert_eq!(refusal, rjournal::remote::RefusalCode::NotAuthorised);
}

/// TLS-5 above the handshake: another version of the protocol is refused, there is no falling back.
#[test]
fn another_version_of_the_protocol_is_refused() {
    for version in [0, 2, u16::MAX] {
        let refusal = greeted_with(|hello| hello.protocol = version);
        assert_eq!(refusal, rjournal::remote::RefusalCode::Version);
    }
}

/// Changes a greeting under way; gives the refusal it meets. Nothing may have changed at the target.
fn greeted_with(change: impl Fn(&mut rjournal::remote::Hello)) -> rjournal::remote::RefusalCode {
    let mut pair = degrade();
    pair.deposit("a").settle();
    let promised = pair.copy(TARGET).shared().promised();
    let tip = pair.copy(TARGET).tip();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(Duration::from_millis(200)).dial();
    for frame in pair.frames_to(TARGET) {
        if let Frame::Message(Message::Hello(hello)) = frame {
            change(hello);
        }
    }
    pair.arrive(TARGET).return_from(TARGET);
    assert_eq!(pair.copy(TARGET).shared().promised(), promised);
    assert_eq!(pair.copy(TARGET).tip(), tip);
    match pair.link(SOURCE, 0).last_end {
        Some(EndReason::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

/// Numbers are checked before they are counted on: `boot + 1` of what a target claimed once ended the source's process.
#[test]
fn a_welcome_with_numbers_at_their_end_is_a_breach_and_the_source_waits_on() {
    let changes: [fn(&mut rjournal::remote::Welcome); 5] = [
        |welcome| welcome.promised.boot = u64::MAX,
        |welcome| welcome.promised.term = u64::MAX,
        |welcome| welcome.tip_epoch.boot = u64::MAX,
        |welcome| welcome.tip.sequence = Sequence::new(u64::MAX),
        |welcome| welcome.oldest.sequence = Sequence::new(u64::MAX),
    ];
    for change in changes {
        let mut pair = degrade();
        pair.deposit("a").settle();
        pair.kill(SOURCE).start(SOURCE).dial().arrive(TARGET);
        let mut changed = 0;
        for frame in pair.frames_from(TARGET) {
            if let Frame::Message(Message::Welcome(welcome)) = frame {
                change(welcome);
                changed += 1;
            }
        }
        assert_eq!(changed, 1);
        pair.return_from(TARGET);
        assert!(!pair.is_open());
        // Asked again, it answers as it should.
        pair.seconds(3).recovers_whole();
    }
}

/// What one target claims leads the source to no opening another target would not believe: one that claimed the highest that
/// was believed once had all others end the session as a breach, for good.
#[test]
fn a_target_that_claims_a_late_opening_does_not_part_the_source_from_the_others() {
    for (claimed, opened) in [(1 << 62, 2), (1 << 32, (1 << 32) + 1)] {
        let mut pair = broadcast();
        pair.deposit("a").settle();
        pair.kill(SOURCE).start(SOURCE).dial();
        pair.arrive(TARGET).arrive(THIRD);
        let mut changed = 0;
        for frame in pair.frames_from(TARGET) {
            if let Frame::Message(Message::Welcome(welcome)) = frame {
                welcome.promised.boot = claimed;
                changed += 1;
            }
        }
        assert_eq!(changed, 1);
        pair.return_from(TARGET).return_from(THIRD);
        pair.seconds(3).recovers_whole();
        assert_eq!(pair.epoch().boot, opened);
        pair.deposit("b").settle().answers("b", Said::Sync);
    }
}

/// The same at the target: no promise is made of an opening behind which there is none.
#[test]
fn a_greeting_with_numbers_at_their_end_is_a_breach() {
    let changes: [fn(&mut rjournal::remote::Hello); 3] = [
        |hello| hello.epoch.boot = u64::MAX,
        |hello| hello.epoch.term = u64::MAX,
        |hello| hello.tip.sequence = Sequence::new(u64::MAX),
    ];
    for change in changes {
        let mut pair = degrade();
        pair.deposit("a").settle();
        let promised = pair.copy(TARGET).shared().promised();
        pair.break_between(SOURCE, TARGET).notice();
        pair.wait(Duration::from_millis(200)).dial();
        for frame in pair.frames_to(TARGET) {
            if let Frame::Message(Message::Hello(hello)) = frame {
                change(hello);
            }
        }
        pair.arrive(TARGET).return_from(TARGET);
        assert_eq!(
            ended(&pair, |reason| matches!(reason, EndReason::Violation(_))),
            1
        );
        assert_eq!(pair.copy(TARGET).shared().promised(), promised);
        pair.activate().recovers_whole();
    }
}

/// Hostile frames: whatever message comes at whatever time, the copy is unharmed and the session ends or goes on.
#[test]
fn messages_out_of_place_end_the_session_and_harm_nothing() {
    let at = rjournal::entry::Sequence::new(3);
    let odd = [
        Message::Coupled {
            tip: at,
            archived: 9,
        },
        Message::TailAsked {
            after: rjournal::entry::Position {
                sequence: at,
                head: rjournal::entry::ChainHead::from_bytes([1; 32]),
            },
        },
        Message::HeadAsked { sequence: at },
        Message::Couple {
            fork: rjournal::entry::Position {
                sequence: rjournal::entry::Sequence::new(u64::MAX - 1),
                head: rjournal::entry::ChainHead::from_bytes([1; 32]),
            },
        },
        Message::Confirm {
            upto: rjournal::entry::Sequence::new(u64::MAX),
        },
        Message::Acknowledge {
            received: at,
            written: at,
            confirmed: at,
            low_space: false,
        },
    ];
    for message in odd {
        let mut pair = degrade();
        pair.deposit("a").settle().seconds(1);
        let tip = pair.copy(TARGET).tip();
        pair.frames_to(TARGET)
            .push_front(Frame::Message(message.clone()));
        pair.arrive(TARGET).flush(TARGET).return_from(TARGET);
        assert_eq!(pair.copy(TARGET).tip(), tip, "{message:?}");
        let confirmed = pair.copy(TARGET).progress().confirmed;
        assert!(confirmed <= tip.sequence, "{message:?}");
        pair.activate().seconds(10).recovers_whole();
    }
}

fn ended(pair: &Pair, wanted: impl Fn(&EndReason) -> bool) -> usize {
    pair.happened(|event| matches!(event, LinkEvent::Ended { reason, .. } if wanted(reason)))
}
