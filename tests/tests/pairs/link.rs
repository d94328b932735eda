//! The line below sockets: silence, half-open connections, frames that come twice, damaged, or not at all; bounded queues;
//! waits between attempts; heartbeats.

use std::time::Duration;

use bytes::Bytes;
use rjournal::entry::control_entry::SetReason;
use rjournal::remote::{EndReason, Frame, LinkEvent, LinkState, Message};
use rjournal_tests::pair::{
    Pair, SOURCE, Said, TARGET, THIRD, behind, block, broadcast, cascade, degrade,
};

fn ended(pair: &Pair, wanted: impl Fn(&EndReason) -> bool) -> usize {
    pair.happened(|event| matches!(event, LinkEvent::Ended { reason, .. } if wanted(reason)))
}

/// LNK-2, source to target.
#[test]
fn a_silent_line_is_decided_by_the_sync_time_out_and_closed_by_silence() {
    let mut pair = degrade();
    pair.darken(SOURCE, TARGET).deposit("a").seconds(1);
    pair.answers("a", Said::Nothing);
    pair.pass(Duration::from_millis(1_100))
        .answers("a", Said::Local);
    assert!(pair.link(SOURCE, 0).streaming, "the session still lives");
    pair.seconds(8);
    assert_eq!(ended(&pair, |reason| *reason == EndReason::Silent), 1);
    pair.mend().recovers_whole();
    pair.deposit("b").settle().answers("b", Said::Sync);
}

/// LNK-2, target to source: it has the entry, its word does not come back.
#[test]
fn a_line_silent_on_the_way_back_gives_no_sync_answer_until_it_is_mended() {
    let mut pair = block();
    pair.darken(TARGET, SOURCE).deposit("a").seconds(30);
    assert!(pair.keeps(TARGET, "a"));
    pair.answers("a", Said::Nothing);
    pair.mend().recovers_whole();
    pair.answers("a", Said::Sync);
}

/// DESIGN rule 10: a target that hears nothing ends its session too.
#[test]
fn a_target_that_hears_no_heartbeat_ends_its_session() {
    let mut pair = degrade();
    pair.seconds(60);
    assert!(
        pair.link(SOURCE, 0).streaming,
        "idle links live on heartbeats"
    );
    pair.darken(SOURCE, TARGET)
        .darken(TARGET, SOURCE)
        .seconds(9);
    assert!(!pair.cluster.describe().contains("session Some"));
    pair.mend().recovers_whole();
}

/// DESIGN rule 10: an idle link says something every second.
#[test]
fn an_idle_link_sends_heartbeats_and_hears_answers() {
    let mut pair = degrade();
    pair.deposit("a").seconds(1);
    let acknowledged =
        |pair: &Pair| pair.happened(|event| matches!(event, LinkEvent::Acknowledged { .. }));
    let before = acknowledged(&pair);
    pair.seconds(10);
    let heard = acknowledged(&pair) - before;
    assert!((9..=12).contains(&heard), "{heard} in ten seconds");
}

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
fn a_welcome_of_another_session_is_refused() {
    let mut pair = degrade();
    pair.break_between(SOURCE, TARGET).notice();
    pair.wait(Duration::from_millis(200)).dial().arrive(TARGET);
    for frame in pair.frames_from(TARGET) {
        if let Frame::Message(Message::Welcome(welcome)) = frame {
            welcome.session ^= 1;
        }
    }
    pair.return_from(TARGET);
    pair.is_refused(rjournal::remote::RefusalCode::DuplicateIdentity);
}

/// LNK-6 and CAT-3: a connection that breaks between any two frames leaves whole bundles, and the next session goes on.
#[test]
fn a_connection_broken_after_any_frame_leaves_a_position_to_go_on_from() {
    for frames in 0..12 {
        let mut pair = degrade();
        pair.cut().deposit("a").seconds(3);
        pair.change_receiver().deposit("b").settle();
        pair.change_receiver().deposit("c").settle();
        pair.mend().wait(Duration::from_secs(20)).dial();
        let mut left = frames;
        while left > 0 {
            if !pair.cluster.deliver_forth(0) {
                pair.return_from(TARGET);
                if pair.cluster.connections() == 0 || pair.frames_to(TARGET).is_empty() {
                    break;
                }
            }
            left -= 1;
        }
        pair.break_between(SOURCE, TARGET).seconds(40);
        pair.recovers_whole();
        assert_eq!(pair.shows(SOURCE), ["a", "b", "c"], "after {frames} frames");
    }
}

/// LNK-1, CAT-3: a frame that comes twice is never written twice.
#[test]
fn a_bundle_delivered_twice_is_written_once() {
    let mut pair = degrade();
    pair.deposit("a").seal().write();
    let again: Vec<Frame> = pair.frames_to(TARGET).iter().cloned().collect();
    pair.frames_to(TARGET).extend(again);
    pair.arrive(TARGET).flush(TARGET).settle();
    // On an ordered stream that is a breach: said so, and the operator lets it go on.
    assert_eq!(
        ended(&pair, |reason| matches!(reason, EndReason::Violation(_))),
        1
    );
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Failed);
    pair.activate().recovers_whole();
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

/// LNK-7.
#[test]
fn what_is_under_way_to_a_target_that_does_not_read_is_bounded() {
    let mut pair = degrade();
    let mut most = 0;
    for _ in 0..300 {
        pair.deposit_large("big").seal().write();
        let under_way: usize = pair
            .frames_to(TARGET)
            .iter()
            .map(|frame| match frame {
                Frame::Header(bytes) | Frame::Bundle(bytes) => bytes.len(),
                Frame::Message(_) => 0,
            })
            .sum();
        most = most.max(under_way);
    }
    assert!(most > 7 << 20, "the window is used: {most}");
    assert!(most <= (8 << 20) + (2 << 20), "{most}");
    pair.seconds(3);
    pair.recovers_whole();
}

/// LNK-9.
#[test]
fn a_target_that_restarts_at_once_is_coupled_anew() {
    let mut pair = degrade();
    pair.deposit("a").seal().write().arrive(TARGET);
    pair.lose_power(TARGET).start(TARGET);
    pair.seconds(1).answers("a", Said::Sync);
    pair.recovers_whole();
}

/// LNK-11.
#[test]
fn attempts_become_rarer_and_differ_from_link_to_link() {
    let mut pair = broadcast();
    pair.cut_between(SOURCE, TARGET).cut_between(SOURCE, THIRD);
    let mut at: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
    let begin = pair.cluster.now;
    while pair.cluster.now.since(begin) < Duration::from_mins(2) {
        pair.pass(Duration::from_millis(50));
        for (index, at) in at.iter_mut().enumerate() {
            let attempts = pair.link(SOURCE, index).attempts as usize;
            if attempts > at.len() {
                at.resize(attempts, pair.cluster.now.since(begin));
            }
        }
    }
    let longest = |at: &[Duration]| at.windows(2).map(|two| two[1].saturating_sub(two[0])).max();
    for at in &at {
        assert!((12..30).contains(&at.len()), "{at:?}");
        let longest = longest(at).expect("several");
        assert!(longest > Duration::from_secs(7) && longest <= Duration::from_secs(16));
    }
    assert_ne!(at[0], at[1], "both dial at the same moments");
}

/// BRD-6, SYN-12: each link runs on its own.
#[test]
fn a_dead_link_does_not_hold_the_others_back() {
    let mut pair = Pair::level_with(
        3,
        &[
            rjournal_tests::cluster::sync(TARGET),
            rjournal_tests::cluster::asynchronous(SOURCE, THIRD),
        ],
        rjournal_tests::cluster::quick(rjournal::entry::control_entry::Policy::Block),
    );
    pair.darken(SOURCE, THIRD).darken(THIRD, SOURCE);
    for _ in 0..50 {
        let before = pair.cluster.now;
        pair.deposit("a").settle().answers("a", Said::Sync);
        assert_eq!(pair.cluster.now, before, "no time passed");
        pair.pass(Duration::from_millis(100));
    }
    assert_eq!(pair.last_change(), Some(SetReason::Joined));
    pair.mend().recovers_whole();
}

/// BRD-6: a target that is dark from the very beginning.
#[test]
fn an_async_target_never_leaves_because_it_is_slow() {
    let mut pair = behind();
    pair.cut();
    for _ in 0..20 {
        pair.deposit_large("a").settle().answers("a", Said::Local);
    }
    pair.seconds(3_600);
    assert_eq!(pair.link(SOURCE, 0).state, LinkState::Active);
    pair.mend().recovers_whole();
}

/// CSC-1.
#[test]
fn a_cascade_forwards_confirmed_entries_only() {
    let mut pair = cascade();
    pair.deposit("a").recover();
    pair.deposit("b").seal().arrive(TARGET).flush(TARGET);
    for _ in 0..3 {
        pair.arrive(THIRD).flush(THIRD).return_from(THIRD);
    }
    pair.only_on("b", &[TARGET]);
    // The target cuts its unconfirmed tail; the end of the cascade never had it.
    pair.lose_power(SOURCE).cut().start(SOURCE).open_alone();
    pair.deposit("c").settle();
    pair.mend().recovers_whole();
    assert_eq!(pair.orphans(TARGET).len(), 1);
    assert!(pair.orphans(THIRD).is_empty());
    assert_eq!(pair.shows(THIRD), ["a", "c"]);
}

/// CSC-1: the confirmation is durable at the middle before the end gets the entry (ruling 15).
#[test]
fn the_middle_of_a_cascade_never_knows_less_confirmed_than_it_has_forwarded() {
    for seed in 0..20 {
        let mut pair = cascade();
        for name in ["a", "b", "c"] {
            pair.deposit(name).settle();
            pair.wait(Duration::from_millis(seed % 3)).settle();
        }
        let forwarded = pair.copy(THIRD).tip().sequence;
        pair.tear(TARGET, seed).start(TARGET);
        let confirmed = pair.copy(TARGET).progress().confirmed;
        assert!(confirmed >= forwarded, "{confirmed:?} < {forwarded:?}");
        pair.recovers_whole();
    }
}

/// CSC-1, TLS aside: the end of a cascade follows when the source opens in a new epoch.
#[test]
fn a_cascade_follows_its_source_through_restarts() {
    let mut pair = cascade();
    for name in ["a", "b", "c"] {
        pair.deposit(name).settle();
        pair.lose_power(SOURCE).start(SOURCE).recovers_whole();
    }
    pair.lose_power(TARGET).start(TARGET).recovers_whole();
    assert_eq!(pair.shows(THIRD), ["a", "b", "c"]);
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
