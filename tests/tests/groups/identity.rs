//! One identity twice, another behind a known name, and a wrong key (failures.md IDN, RCV-14).

use std::time::Duration;

use rjournal::daemon::command::directory::PutPartner;
use rjournal::daemon::command::journal::AttributePatch;
use rjournal::entry::{Draft, Kind};
use rjournal::journal::{AckClass, Answer};
use rjournal::remote::MemberRole;
use rjournal::{System, SystemOptions};
use rjournal_tests::groups::{Group, own};
use rjournal_tests::systems::{describe, library, make, rdb, until};

/// Whoever does not answer is given up soon.
fn impatient() -> AttributePatch {
    AttributePatch {
        sync_timeout_ms: Some(300),
        ..AttributePatch::default()
    }
}

/// Starts a clone of a member beside it, on a port of its own, with an operator's wrong word that the other is gone.
async fn clone(group: &Group, member: &str) -> System {
    let data = group.dir().join("CLONE");
    group.keep(member).put_to(&data);
    let refused = System::open(SystemOptions::new(&data)).await;
    let refused = refused.expect_err("it was copied").to_string();
    assert!(refused.contains("--moved"), "{refused}");
    let config = data.join("rjournal.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let port = group.place(member).port.to_string();
    std::fs::write(&config, text.replace(&port, "0")).expect("it can be written");
    let moved = SystemOptions {
        moved: true,
        ..SystemOptions::new(&data)
    };
    System::open(moved).await.expect("his word")
}

/// Whether a deposit is answered SYNC within a moment.
async fn answers_sync(system: &System) -> bool {
    let moment = Duration::from_millis(100);
    let deposit = async {
        let journal = system.journal_when_open(own("PRD"), moment).await.ok()?;
        let draft = Draft::new(Kind::USER, b"whose");
        let answer = journal.deposit(&draft).await.ok()?.await;
        matches!(
            answer,
            Answer::Landed {
                class: AckClass::Sync,
                ..
            }
        )
        .then_some(())
    };
    let answered = tokio::time::timeout(moment, deposit).await;
    matches!(answered, Ok(Some(())))
}

/// IDN-2, COU-7, RCV-14: whichever of the two is heard, the other gives no answer any more, and nothing that was answered is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_primary_and_its_clone_one_at_most_answers_sync() {
    let mut group = Group::new(&["PRD", "BKP"], impatient()).await;
    let before = group.deposit_sync("PRD", "before").await;
    let twin = clone(&group, "PRD").await;
    // Both are given their time to be heard, and every chance to answer.
    let mut synced = [0, 0];
    for _ in 0..20 {
        for (count, system) in synced.iter_mut().zip([group.system("PRD"), &twin]) {
            *count += usize::from(answers_sync(system).await);
        }
    }
    assert!(synced.contains(&0), "{synced:?}");
    twin.stop().await;
    let there = describe(group.system("BKP"), "BKPLIB/JRN").await;
    assert!(there.watermarks.written >= before);
    // The group goes on where what was answered is.
    let report = group.take_over("BKP", true).await.expect("a takeover");
    assert!(report.last >= before, "{report:?}");
    group.settled("PRD", MemberRole::Backup, 2).await;
    group.deposit_sync("BKP", "goes on").await;
    group.stop_all().await;
}

/// IDN-1, RCV-14: the clone of a backup is none the primary feeds: it is reached where the directory says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clone_of_a_backup_changes_nothing_for_the_one_in_the_directory() {
    let mut group = Group::new(&["PRD", "BKP"], impatient()).await;
    group.deposit_sync("PRD", "before").await;
    let twin = clone(&group, "BKP").await;
    group.deposit_sync("PRD", "after").await;
    group
        .equal(("PRD", "PRDLIB/JRN"), ("BKP", "BKPLIB/JRN"))
        .await;
    twin.stop().await;
    group.settled("BKP", MemberRole::Backup, 1).await;
    group.stop_all().await;
}

/// IDN-4, IDN-1: a system that was made anew under a member's name, at its address, is another one: its key is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_system_made_anew_under_the_name_of_a_member_is_none() {
    let mut group = Group::new(&["PRD", "BKP"], impatient()).await;
    group.deposit_sync("PRD", "before").await;
    group.crash("BKP").await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (place, fresh) = make(dir.path(), "BKP").await;
    library(&fresh, "BKPLIB").await;
    let prd = group.place("PRD");
    let entry = |place: &rjournal_tests::systems::Place, change: bool| PutPartner {
        rdb: rdb(place.identity.name.as_str()),
        fingerprint: Some(place.identity.fingerprint),
        address: Some(format!("127.0.0.1:{}", place.port)),
        allow_journals: Some(vec!["*ALL/*ALL".to_owned()]),
        text: None,
        change,
    };
    fresh.run(entry(prd, false)).await.expect("a fresh entry");
    // The directory says whose key a member has, and a member's entry stays.
    let refused = group.system("PRD").run(entry(&place, true)).await;
    let refused = refused.expect_err("it is a member's");
    assert_eq!(refused.id, "RJN7132", "{refused}");
    // It is asked where it is none: its address alone makes it no member.
    let moved = PutPartner {
        fingerprint: Some(group.place("BKP").identity.fingerprint),
        ..entry(&place, true)
    };
    group.system("PRD").run(moved).await.expect("an address");
    until(async || {
        let member = group.described("PRD").await.members.remove(1);
        member.error.is_some_and(|error| error.contains("key"))
    })
    .await;
    group.deposit_local("PRD", "alone").await;
    let take = rjournal::daemon::command::group::TakeOver {
        group: None,
        accept_loss: true,
        plan: false,
        wait_ms: Some(100),
    };
    let refused = fresh.run(take).await.expect_err("it is in no group");
    assert_eq!(refused.id, "CPF9801", "{refused}");
    fresh.stop().await;
    let home = entry(group.place("BKP"), true);
    group.system("PRD").run(home).await.expect("an address");
    group.start("BKP").await;
    group.deposit_sync("PRD", "together").await;
    group.stop_all().await;
}
