//! A planned switch: the databases change places, and their jobs go on.

use rjournal::daemon::command::file::{EndJournaling, ListFiles, StartJournaling};
use rjournal::entry::record::Images;
use rjournal::remote::MemberRole;
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use rjournal_tests::groups::own;
use rjournal_tests::systems::messages;

use crate::house::{Store, account, group, in_time, insert, switch, update};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_change_places_with_the_role_and_back_and_no_job_ends() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    prd.writable().await;
    prd.write(insert(1, 10)).await;
    bkp.has(1, 10).await;
    assert!(!bkp.database.is_writable());
    let refused = bkp.database.write(insert(2, 2), None).await;
    assert_eq!(refused, Err(DatabaseError::NotPrimary));

    switch(&group, "PRD", "BKP").await;
    let written = bkp.write(update(1, 20)).await;
    assert!(matches!(written, Outcome::Landed { .. }), "{written:?}");
    prd.has(1, 20).await;
    let refused = prd.database.write(update(1, 30), None).await;
    assert_eq!(refused, Err(DatabaseError::NotPrimary));
    group.settled("PRD", MemberRole::Backup, 2).await;

    switch(&group, "BKP", "PRD").await;
    prd.write(update(1, 40)).await;
    bkp.has(1, 40).await;
    for (store, term) in [(&prd, 3), (&bkp, 3)] {
        let position = store.job.shared().reader.position().unwrap().unwrap();
        assert_eq!(position.term, term);
    }
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_new_primary_are_those_of_its_store_with_their_identities() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    prd.write(insert(1, 10)).await;
    bkp.has(1, 10).await;
    let listed = async |member: &str| {
        let files = group.system(member).run(ListFiles { file: None }).await;
        files.unwrap().files
    };
    let of_prd = listed("PRD").await;
    assert_eq!(listed("BKP").await, []);
    switch(&group, "PRD", "BKP").await;
    bkp.write(update(1, 20)).await;
    let of_bkp = listed("BKP").await;
    assert_eq!(of_bkp.len(), 1);
    assert_eq!((of_bkp[0].id, &of_bkp[0].file), (of_prd[0].id, &account()));
    assert_eq!(of_bkp[0].format, of_prd[0].format);
    assert_eq!(of_bkp[0].journal, Some(own("BKP")));
    // Journaling ends here and begins again: it is the same file, and its entries are new ones.
    let system = group.system("BKP").clone();
    system.run(EndJournaling { file: account() }).await.unwrap();
    let refused = async {
        loop {
            match bkp.database.write(update(1, 21), None).await {
                Err(error) => return error,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    let refused = in_time(refused).await;
    assert_eq!(refused, DatabaseError::NotJournaled { file: account() });
    system
        .run(StartJournaling {
            file: account(),
            journal: own("BKP"),
            images: Images::Both,
        })
        .await
        .unwrap();
    let journaled = async {
        while bkp.database.write(update(1, 30), None).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    in_time(journaled).await;
    prd.has(1, 30).await;
    system.run(EndJournaling { file: account() }).await.unwrap();
    switch(&group, "BKP", "PRD").await;
    prd.writable().await;
    let known = async {
        loop {
            let files = listed("PRD").await;
            if files[0].journal.is_none() {
                return files;
            }
            tokio::task::yield_now().await;
        }
    };
    let known = in_time(known).await;
    assert_eq!(
        (known[0].id, known[0].text.as_str()),
        (of_prd[0].id, "of the shop")
    );
    let refused = prd.database.write(update(1, 40), None).await;
    assert_eq!(
        refused,
        Err(DatabaseError::NotJournaled { file: account() })
    );
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}

/// It told the operator that the system had been taken over, and that something was set aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_is_no_alarm_where_the_role_was_handed_over() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    switch(&group, "PRD", "BKP").await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    switch(&group, "BKP", "PRD").await;
    group.settled("BKP", MemberRole::Backup, 3).await;
    for member in ["PRD", "BKP"] {
        let alarms = messages(group.system(member), "RJN7003").await;
        assert!(alarms.is_empty(), "on {member}: {alarms:?}");
        let told = messages(group.system(member), "RJN7004").await;
        assert!(!told.is_empty(), "on {member} it is told all the same");
    }
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_did_not_run_during_the_switches_follows_them_afterwards() {
    let mut group = group(&["PRD", "BKP"]).await;
    let prd = Store::start(&group, "PRD").await;
    let bkp = Store::start(&group, "BKP").await;
    prd.write(insert(1, 10)).await;
    bkp.has(1, 10).await;
    prd.stop().await;
    switch(&group, "PRD", "BKP").await;
    bkp.write(update(1, 20)).await;
    group.settled("PRD", MemberRole::Backup, 2).await;
    bkp.stop().await;
    switch(&group, "BKP", "PRD").await;
    // One stands in the first term, one in the second; the third is written.
    let prd = Store::start(&group, "PRD").await;
    prd.write(update(1, 30)).await;
    let bkp = Store::start(&group, "BKP").await;
    bkp.has(1, 30).await;
    prd.has(1, 30).await;
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}
