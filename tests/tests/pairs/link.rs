//! The line below sockets: silence, half-open connections, frames that come twice, damaged, or not at all; bounded queues;
//! waits between attempts; heartbeats.

use std::time::Duration;

use rjournal::entry::Sequence;
use rjournal::entry::control_entry::SetReason;
use rjournal::journal::{Behind, Limit};
use rjournal::remote::{EndReason, Frame, LinkEvent, LinkState};
use rjournal_tests::pair::{Pair, SOURCE, Said, TARGET, THIRD, behind, block, broadcast, degrade};

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
        &rjournal_tests::cluster::quick(rjournal::entry::control_entry::Policy::Block),
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

/// The age of what a target lacks was counted from the last deposit: under load a target that was away seemed level.
#[test]
fn how_long_a_target_is_behind_counts_from_the_oldest_entry_it_lacks() {
    let mut pair = behind();
    let level = pair.open().journal.tail().marks().sealed;
    assert_eq!(lacks(&mut pair, level), Behind::default());
    pair.cut().deposit("a").seal().write();
    let first = pair.wall();
    pair.seconds(40).deposit("b").seal().write();
    assert!(pair.wall().since(first) >= Duration::from_secs(40));
    assert_eq!(lacks(&mut pair, level).since, Some(first));
    // After a restart nothing of it is in memory, until it was read once.
    pair.lose_power(SOURCE).start(SOURCE).seconds(1);
    assert_eq!(lacks(&mut pair, level).since, None);
    let journal = &pair.open().journal;
    let read = journal.bundles_after(level, Limit::Sealed, 0);
    assert_eq!(read.expect("readable").len(), 1);
    assert_eq!(lacks(&mut pair, level).since, Some(first));
}

/// The bytes a target lacks were an average over the receivers: two small entries after a large one counted megabytes.
#[test]
fn how_many_bytes_a_target_lacks_is_counted() {
    let mut pair = behind();
    pair.deposit_large("large").settle();
    let level = pair.open().journal.tail().marks().sealed;
    pair.cut().deposit("a").deposit("b").seal().write();
    let in_memory = lacks(&mut pair, level).bytes;
    assert!((100..2_000).contains(&in_memory), "{in_memory}");
    pair.lose_power(SOURCE).start(SOURCE).seconds(1);
    let journal = &pair.open().journal;
    journal
        .bundles_after(level, Limit::Sealed, 0)
        .expect("readable");
    // With the entry of the new boot.
    let read = lacks(&mut pair, level).bytes;
    assert!((in_memory..in_memory + 2_000).contains(&read), "{read}");
}

fn lacks(pair: &mut Pair, after: Sequence) -> Behind {
    let journal = &pair.open().journal;
    journal
        .tail()
        .behind(journal.reader(), after, Limit::Sealed)
}
