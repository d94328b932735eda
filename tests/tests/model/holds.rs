//! x
use crate::{holds,Reach};
use rjournal_model::rules::*;
const NONE: Bounds = Bounds { deposits: 0, cycles: 0, crashes: 0, takeovers: 0, set_changes: 0, policy_changes: 0, hand_overs: 0, openings_alone: 0, restores: 0, losses: 0 };
#[test]
fn two_base() { holds(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_2crashes_2takeovers() { holds(Configuration::two(Bounds{deposits:1,crashes:2,takeovers:2,set_changes:1,..NONE}).without_stores(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_spanning() { holds(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,cycles:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_alone_down() { holds(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,openings_alone:1,..NONE}).with_downstream(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_handover_back() { holds(Configuration::two(Bounds{deposits:1,crashes:1,set_changes:1,hand_overs:2,..NONE}).without_stores(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_handover_takeover() { holds(Configuration::two(Bounds{deposits:1,takeovers:1,set_changes:1,hand_overs:1,..NONE}).without_stores(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_restore_alone() { holds(Configuration::two(Bounds{deposits:2,crashes:1,openings_alone:1,restores:1,..NONE}).with_downstream(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_takeover_one_set() { holds(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_takeover_two_set() { holds(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,set_changes:2,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_set1() { holds(Configuration::three(&[1],Bounds{deposits:1,takeovers:1,set_changes:2,..NONE}).without_confirmations(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_crash() { holds(Configuration::three(&[1,2],Bounds{deposits:1,crashes:1,takeovers:1,..NONE}).without_confirmations(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_crash_set_nodep() { holds(Configuration::three(&[2],Bounds{crashes:1,takeovers:1,set_changes:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_takeover_stores() { holds(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,..NONE}).with_stores(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_two_takeovers() { holds(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:2,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_hand_takeover() { holds(Configuration::three(&[1,2],Bounds{takeovers:1,hand_overs:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_loss() { holds(Configuration::three(&[1,2],Bounds{deposits:1,crashes:1,takeovers:1,losses:1,..NONE}).with_downstream(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_L4_by_epoch() { holds(Configuration::three(&[1],Bounds{deposits:3,crashes:1,takeovers:1,..NONE}).without_confirmations(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_alone() { holds(Configuration::three(&[1,2],Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,openings_alone:1,..NONE}).without_confirmations(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_hand_takeover_crash() { holds(Configuration::three(&[1,2],Bounds{crashes:1,takeovers:1,hand_overs:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_loss_stores_down() { holds(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:2,losses:1,..NONE}).with_stores().with_downstream(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_down_2takeovers() { holds(Configuration::two(Bounds{deposits:1,takeovers:2,..NONE}).with_downstream(), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_big() { holds(Configuration::two(Bounds{deposits:2,crashes:1,takeovers:2,set_changes:1,cycles:1,..NONE}), Reach::Generated(LIMIT), &[]); }
#[test]
fn two_hand_crash_takeover() { holds(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,hand_overs:1,..NONE}).without_stores(), Reach::Generated(LIMIT), &[]); }
#[test]
fn p_block() { holds(Configuration::three(&[1],Bounds{deposits:1,takeovers:1,set_changes:1,policy_changes:1,..NONE}).under_block(), Reach::Generated(LIMIT), &[]); }
#[test]
fn p_block2() { holds(Configuration::three(&[1],Bounds{deposits:1,takeovers:2,policy_changes:1,..NONE}).under_block(), Reach::Generated(LIMIT), &[]); }
#[test]
fn p_block_crash() { holds(Configuration::three(&[1],Bounds{deposits:1,crashes:1,takeovers:1,policy_changes:1,..NONE}).under_block(), Reach::Generated(LIMIT), &[]); }
#[test]
fn p_two() { holds(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,set_changes:1,policy_changes:2,..NONE}).under_block(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_crash_2take() { holds(Configuration::three(&[2],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).without_confirmations(), Reach::Generated(LIMIT), &[]); }
#[test]
fn three_crash_2take_down() { holds(Configuration::three(&[2],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).with_downstream().without_confirmations(), Reach::Generated(LIMIT), &[]); }
const LIMIT: usize = 6_000_000;
