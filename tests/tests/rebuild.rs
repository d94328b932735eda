//! A journal whose control file is lost in both slots comes back over real QUIC: the source asks its target before it
//! opens, the target is not fed before an operator says so, and a role that is not theirs is refused.

use std::path::PathBuf;
use std::time::Duration;

use rjournal::daemon::command::journal::{
    AttributePatch, ChangeJournal, DescribeJournals, JournalDescription, JournalState, OpenChoice,
};
use rjournal::daemon::command::repair::{RepairJournal, Repaired};
use rjournal::daemon::command::verify::Verify;
use rjournal::entry::QualifiedName;
use rjournal::journal::{AckClass, DeliveryMode, Role};
use rjournal::{CommandError, System};
use rjournal_tests::systems::{
    Place, Two, activate, deposit, describe, flip, messages, name, receiver_files, start, until,
    written,
};

const SOURCE: &str = "PRDLIB/JRN";
const TARGET: &str = "BKPLIB/JRN";
const WITHIN: Duration = Duration::from_secs(30);

/// Two systems with one journal of several receivers, in sync; so many deposits were answered SYNC.
async fn filled() -> Two {
    let small = AttributePatch {
        threshold_kb: Some(64),
        ..AttributePatch::default()
    };
    let two = Two::in_sync(small).await;
    for n in 0..200 {
        let text = format!("entry {n} {}", "x".repeat(700));
        assert_eq!(
            deposit(&two.prd, &text, WITHIN).await,
            AckClass::Sync,
            "{n}"
        );
    }
    two
}

fn journal_dir(place: &Place) -> PathBuf {
    let journals = std::fs::read_dir(place.data.join("journals")).expect("a directory");
    journals.flatten().next().expect("one journal").path()
}

/// Both slots of the control file are written over.
fn lose_control(place: &Place) {
    for slot in ["control.a", "control.b"] {
        flip(&journal_dir(place).join(slot), 0, 60);
    }
}

/// The one journal, as it is listed, whatever it is called.
async fn listed(system: &System) -> JournalDescription {
    let described = system.run(DescribeJournals { journal: None }).await;
    let mut journals = described.expect("a list").journals;
    assert_eq!(journals.len(), 1, "{journals:?}");
    journals.remove(0)
}

async fn repair(
    system: &System,
    journal: QualifiedName,
    role: Option<Role>,
    check: bool,
) -> Result<Repaired, CommandError> {
    let request = RepairJournal {
        journal,
        partner: None,
        role,
        check,
    };
    system.run(request).await
}

/// RPRJRN with ROLE, of a journal whose control file it makes again, and that opens then.
async fn made_again(system: &System, journal: QualifiedName, role: Role) -> Repaired {
    let repaired = repair(system, journal, Some(role), false).await;
    let repaired = repaired.expect("whole receivers, or a partner that has them");
    assert!(repaired.repaired && repaired.note.is_none(), "{repaired:?}");
    repaired
}

async fn holds(system: &System, journal: &str) -> u64 {
    let verify = Verify {
        journal: name(journal),
        partner: None,
    };
    let verified = system.run(verify).await.expect("it can be read");
    assert!(verified.good, "{verified:?}");
    verified.entries
}

/// MET-2: nothing is guessed, and what the target has is heard before the source takes a deposit again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_without_its_control_file_asks_its_target_before_it_opens() {
    let mut two = filled().await;
    let before = describe(&two.prd, SOURCE).await;
    let entries = holds(&two.bkp, TARGET).await;
    two.stop().await;
    lose_control(&two.prd_place);
    two.prd = start(&two.prd_place.data).await;
    let lost = listed(&two.prd).await;
    assert_eq!(lost.state, JournalState::Damaged, "{lost:?}");

    let refused = repair(&two.prd, name(SOURCE), None, false).await;
    assert_eq!(refused.expect_err("no role is guessed").id, "RJN4026");
    for named in [name(SOURCE), lost.journal] {
        let refused = repair(&two.prd, named, Some(Role::Remote), false).await;
        let refused = refused.expect_err("it was sealed here");
        assert_eq!(refused.id, "RJN4027");
        assert!(refused.text.contains("ROLE(*LOCAL)"), "{refused}");
    }
    let checked = repair(&two.prd, name(SOURCE), Some(Role::Local), true).await;
    let checked = checked.expect("a check");
    assert!(!checked.repaired, "{checked:?}");
    let asks = checked.rebuilt.and_then(|rebuilt| rebuilt.asks);
    assert_eq!(asks.as_deref(), Some(&["BKPLIB/JRN at BKP".to_owned()][..]));
    assert_eq!(listed(&two.prd).await.state, JournalState::Damaged);

    // Its target is away: it waits, and does not open alone.
    let repaired = made_again(&two.prd, name(SOURCE), Role::Local).await;
    assert_eq!(repaired.kept.len(), 2, "{repaired:?}");
    let waiting = listed(&two.prd).await;
    assert_eq!(
        (waiting.journal, waiting.state),
        (name(SOURCE), JournalState::Opening)
    );
    assert_eq!(messages(&two.prd, "RJN2009").await.len(), 1);

    two.bkp = start(&two.bkp_place.data).await;
    until(async || listed(&two.prd).await.state == JournalState::Active).await;
    let after = describe(&two.prd, SOURCE).await;
    assert!(after.epoch.rank() > before.epoch.rank(), "{after:?}");
    assert_eq!(after.receivers.len(), before.receivers.len());
    assert!(holds(&two.prd, SOURCE).await > entries);

    // The link is defined, and an operator's to activate.
    let changed = activate(&two.prd, "BKP", DeliveryMode::Sync).await;
    assert!(changed.expect("it is activated").caught_up);
    assert_eq!(deposit(&two.prd, "goes on", WITHIN).await, AckClass::Sync);
    let given = repair(&two.prd, name(SOURCE), Some(Role::Local), false).await;
    assert_eq!(given.expect_err("it is not lost").id, "RJN4026");

    // It is whole: the next start needs nobody.
    two.prd.stop().await;
    two.prd = start(&two.prd_place.data).await;
    until(async || deposit(&two.prd, "again", WITHIN).await == AckClass::Sync).await;
    until(async || holds(&two.prd, SOURCE).await == holds(&two.bkp, TARGET).await).await;
    two.stop().await;
}

/// MET-2, MET-4: the copy keeps its promise, and is not fed before an operator says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_its_control_file_comes_back_stopped() {
    let mut two = filled().await;
    two.bkp.stop().await;
    lose_control(&two.bkp_place);
    two.bkp = start(&two.bkp_place.data).await;
    let lost = listed(&two.bkp).await;
    assert_eq!(lost.state, JournalState::Damaged, "{lost:?}");
    let refused = repair(&two.bkp, name(TARGET), Some(Role::Local), false).await;
    let refused = refused.expect_err("another system sealed it");
    assert_eq!(refused.id, "RJN4027");
    assert!(refused.text.contains("ROLE(*REMOTE)"), "{refused}");

    // Its own history names it: the name it is listed under will do.
    let repaired = made_again(&two.bkp, lost.journal, Role::Remote).await;
    assert_eq!(repaired.journal, name(TARGET));
    let stopped = listed(&two.bkp).await;
    assert_eq!(
        (stopped.journal, stopped.state),
        (name(TARGET), JournalState::Inactive)
    );
    // The source goes on without it meanwhile.
    let fed = ChangeJournal {
        journal: name(TARGET),
        receiver: None,
        open: None,
        attributes: AttributePatch::default(),
        force: false,
        fed: Some(true),
    };
    two.bkp.run(fed).await.expect("it may be fed again");
    until(async || deposit(&two.prd, "again", WITHIN).await == AckClass::Sync).await;
    until(async || holds(&two.prd, SOURCE).await == holds(&two.bkp, TARGET).await).await;
    two.stop().await;
}

/// Lets the copy be fed, and the source feed it.
async fn join_again(two: &Two) {
    let fed = ChangeJournal {
        journal: name(TARGET),
        receiver: None,
        open: None,
        attributes: AttributePatch::default(),
        force: false,
        fed: Some(true),
    };
    // Of the two only the one that was made again stands still.
    drop(two.bkp.run(fed).await);
    until(async || listed(&two.prd).await.state == JournalState::Active).await;
    until(async || activate(&two.prd, "BKP", DeliveryMode::Sync).await.is_ok()).await;
    until(async || deposit(&two.prd, "again", WITHIN).await == AckClass::Sync).await;
    until(async || holds(&two.prd, SOURCE).await == holds(&two.bkp, TARGET).await).await;
}

/// MET-2 and RCV-2 at once: the headers that are left prove what the partner sends, and the control file is made from
/// whole receivers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_damaged_with_the_control_file_are_repaired_first() {
    let mut two = filled().await;
    for (on_source, role) in [(true, Role::Local), (false, Role::Remote)] {
        let place = if on_source {
            two.prd.stop().await;
            &two.prd_place
        } else {
            two.bkp.stop().await;
            &two.bkp_place
        };
        let files = receiver_files(place);
        let truth = written(&files[1]);
        flip(&files[1], 4096 + 9000, 9000);
        // The attached one, below what was flushed.
        flip(files.last().expect("a receiver"), 4096 + 200, 100);
        lose_control(place);
        let system = start(&place.data).await;
        let journal = listed(&system).await.journal;

        let checked = repair(&system, journal, Some(role), true).await;
        let checked = checked.expect("a check");
        assert!(checked.repairable && !checked.repaired, "{checked:?}");
        assert_eq!(checked.damage.len(), 2, "{checked:?}");
        assert!(checked.rebuilt.is_none() && checked.note.is_some());
        assert!(written(&files[1]) != truth, "a check changes nothing");

        let repaired = made_again(&system, journal, role).await;
        assert_eq!(repaired.damage, checked.damage);
        assert!(repaired.rebuilt.is_some(), "{repaired:?}");
        assert_eq!(repaired.kept.len(), 4, "{repaired:?}");
        assert!(written(&files[1]) == truth, "other bytes than before");
        for id in ["RJN2008", "RJN2009"] {
            assert_eq!(messages(&system, id).await.len(), 1, "{id}");
        }
        if on_source {
            two.prd = system;
        } else {
            two.bkp = system;
        }
        join_again(&two).await;
    }
    two.stop().await;
}

/// Where nothing here proves a byte, the refusal says which file it is and what an operator may do, and that works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_without_a_header_is_put_back_by_hand() {
    let mut two = filled().await;
    two.stop().await;
    let (ours, theirs) = (
        receiver_files(&two.prd_place),
        receiver_files(&two.bkp_place),
    );
    flip(&ours[1], 0, 500);
    lose_control(&two.prd_place);
    two.prd = start(&two.prd_place.data).await;
    for check in [true, false] {
        let refused = repair(&two.prd, name(SOURCE), Some(Role::Local), check).await;
        let refused = refused.expect_err("its header is damaged");
        assert_eq!(refused.id, "RJN1002", "{refused}");
        let file = ours[1].file_name().expect("a name").to_string_lossy();
        assert!(refused.text.contains(&*file), "{refused}");
        let help = refused.help.expect("the way out");
        assert!(help.contains("copy") && help.contains("BKP"), "{help}");
    }
    two.prd.stop().await;
    std::fs::copy(&theirs[1], &ours[1]).expect("it can be copied");
    two.prd = start(&two.prd_place.data).await;
    two.bkp = start(&two.bkp_place.data).await;
    made_again(&two.prd, name(SOURCE), Role::Local).await;
    join_again(&two).await;
    two.stop().await;
}

/// Nobody knows whom to ask: to adopt from nobody would be to open without asking, which has a name of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_cannot_know_its_set_is_not_opened_by_adopting() {
    let mut two = filled().await;
    two.stop().await;
    // The set was set in it.
    std::fs::remove_file(&receiver_files(&two.prd_place)[0]).expect("a receiver");
    lose_control(&two.prd_place);
    two.prd = start(&two.prd_place.data).await;
    let repaired = repair(&two.prd, name(SOURCE), Some(Role::Local), false).await;
    assert!(repaired.expect("whole receivers").repaired);
    let open = async |choice| {
        let order = ChangeJournal {
            journal: name(SOURCE),
            receiver: None,
            open: Some(choice),
            attributes: AttributePatch::default(),
            force: false,
            fed: None,
        };
        two.prd.run(order).await
    };
    let refused = open(OpenChoice::Adopt).await.expect_err("from whom");
    assert_eq!(refused.id, "RJN4028", "{refused}");
    assert!(refused.to_string().contains("OPEN(*ALONE)"), "{refused}");
    assert_eq!(listed(&two.prd).await.state, JournalState::Opening);
    open(OpenChoice::Alone).await.expect("an operator's word");
    until(async || listed(&two.prd).await.state == JournalState::Active).await;
    two.prd.stop().await;
}
