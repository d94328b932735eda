//! x
use crate::fails;
use rjournal_model::rules::*;
use rjournal_model::properties::*;
const NONE: Bounds = Bounds { deposits: 0, cycles: 0, crashes: 0, takeovers: 0, set_changes: 0, policy_changes: 0, hand_overs: 0, openings_alone: 0, restores: 0, losses: 0 };
#[test]
fn l1() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:1,set_changes:2,..NONE}).breaking(&[Broken::AsksOnlyTheNamed]), SYNC_KEPT, 0); }
#[test]
fn l2() { fails(Configuration::three(&[2],Bounds{crashes:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::AsksOnlyTheNamed]), NO_SECOND_OPENS, 0); }
#[test]
fn l3() { fails(Configuration::three(&[1,2],Bounds{takeovers:1,hand_overs:1,..NONE}).breaking(&[Broken::HandOverPromisesNothing]), ONE_JOURNAL, 0); }
#[test]
fn l4() { fails(Configuration::three(&[1],Bounds{deposits:3,crashes:1,takeovers:1,..NONE}).without_confirmations().breaking(&[Broken::FurthestIsLongest]), SYNC_KEPT, 0); }
#[test]
fn l5() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:1,..NONE}).breaking(&[Broken::PromiseCountsWithoutTip]), SYNC_KEPT, 0); }
#[test]
fn l6() { fails(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:2,losses:1,..NONE}).with_stores().with_downstream().breaking(&[Broken::TailForwardedBeforeCloseRecord]), CONFIRMED_KEPT, 0); }
#[test]
fn m2() { fails(Configuration::three(&[2],Bounds{deposits:1,takeovers:1,..NONE}).breaking(&[Broken::LateFlushAcknowledged]), SYNC_KEPT, 0); }
#[test]
fn m3() { fails(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::AsksNobody]), SYNC_KEPT, 0); }
#[test]
fn m6() { fails(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,..NONE}).breaking(&[Broken::FollowsOverTheHole]), FOLLOWER_WHOLE, 0); }
#[test]
fn m6c() { fails(Configuration::two(Bounds{deposits:1,crashes:1,takeovers:1,..NONE}).breaking(&[Broken::ClosedSegmentNotConfirmed]), FOLLOWER_WHOLE, 0); }
#[test]
fn m7() { fails(Configuration::two(Bounds{deposits:1,takeovers:1,set_changes:1,cycles:1,..NONE}).breaking(&[Broken::UndoneByRange]), STORE_IS_FOLD, 0); }
#[test]
fn m9() { fails(Configuration::two(Bounds{deposits:1,cycles:1,..NONE}).breaking(&[Broken::ReadsOnFromApplied]), STORE_IS_FOLD, 0); }
#[test]
fn m12() { fails(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::SetChangeFlushedOnlyHere]), SET_LISTED, 0); }
#[test]
fn m12named() { fails(Configuration::three(&[1,2],Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::SetChangeFlushedOnlyHere,Broken::AsksOnlyTheNamed]), SET_LISTED, 0); }
#[test]
fn m14() { fails(Configuration::two(Bounds{crashes:1,takeovers:1,..NONE}).breaking(&[Broken::OpensWithoutContact]), NO_SECOND_OPENS, 0); }
#[test]
fn m15() { fails(Configuration::two(Bounds{deposits:1,crashes:2,openings_alone:1,restores:1,..NONE}).with_downstream().breaking(&[Broken::ConfirmationUsedBeforeDurable]), CONFIRMED_KEPT, 0); }
#[test]
fn ma() { fails(Configuration::two(Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::CutWithoutArchive]), NOTHING_DESTROYED, 0); }
#[test]
fn mu() { fails(Configuration::two(Bounds{deposits:1,takeovers:1,set_changes:1,..NONE}).breaking(&[Broken::NothingUndone]), STORE_IS_FOLD, 0); }
#[test]
fn hole3() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:2,..NONE}).breaking(&[Broken::FollowsOverTheHole]), FOLLOWER_WHOLE, 0); }
#[test]
fn headless() { fails(Configuration::three(&[1],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).breaking(&[Broken::SegmentTakenWithoutItsHead]), FOLLOWER_WHOLE, 0); }
#[test]
fn rec_use() { fails(Configuration::three(&[2],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).with_downstream().without_confirmations().breaking(&[Broken::RecordAloneConfirmsForUse]), CONFIRMED_KEPT, 0); }
#[test]
fn rec() { fails(Configuration::three(&[2],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).with_downstream().without_confirmations().breaking(&[Broken::RecordAloneConfirms]), NOBODY_STOPS, 0); }
#[test]
fn rec_early() { fails(Configuration::three(&[1],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).breaking(&[Broken::RecordSpreadBeforeItsEntry]).without_confirmations(), NOBODY_STOPS, 0); }
#[test]
fn late_close() { fails(Configuration::three(&[2],Bounds{deposits:1,crashes:1,takeovers:2,..NONE}).without_confirmations().breaking(&[Broken::LateCloseRecordConfirms]), NOBODY_STOPS, 0); }
#[test]
fn hole3p1() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:2,..NONE}).breaking(&[Broken::FollowsOverTheHole]), SYNC_KEPT, 0); }
#[test]
fn loosened() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:1,set_changes:1,policy_changes:1,..NONE}).under_block().breaking(&[Broken::PolicyLoosenedOnlyHere]), LOCAL_KEPT, 0); }
#[test]
fn letter13() { fails(Configuration::three(&[1],Bounds{deposits:1,takeovers:2,policy_changes:1,..NONE}).under_block().breaking(&[Broken::KeptByTheLastSetEntryHeld]), LOCAL_KEPT, 0); }
