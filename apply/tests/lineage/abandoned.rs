//! A term that does not count: two systems opened it, an operator picked one of them. The store of the other stands in it, and is
//! made anew from the history that counts.

use rjournal::entry::Name;
use rjournal::remote::MemberRole;
use rjournal_apply::error::{ApplyError, MadeFrom};
use rjournal_apply::job::{JobOptions, save_path, store_path};
use rjournal_tests::systems::until;

use crate::house::{Store, group, in_time, insert, row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_in_a_term_that_was_left_out_is_made_anew_from_the_journal() {
    let mut group = group(&["PRD", "BKP", "THI"]).await;
    let prd = Store::start(&group, "PRD").await;
    prd.write(insert(1, 10)).await;
    prd.stop().await;
    group.deposit_sync("PRD", "in sync").await;
    group.stop("PRD").await;
    group.stop("THI").await;
    group.take_over("BKP", true).await.expect("a takeover");
    let bkp = Store::start(&group, "BKP").await;
    bkp.write(insert(2, 20)).await;
    bkp.has(2, 20).await;
    bkp.stop().await;
    let data = group.system("BKP").data().to_owned();
    group.stop("BKP").await;
    // Nobody told the third: it opens the same term.
    group.start("THI").await;
    group.take_over("THI", true).await.expect("a takeover");
    let thi = Store::start(&group, "THI").await;
    thi.write(insert(3, 30)).await;
    group.start("BKP").await;
    until(async || group.described("THI").await.stopped.is_some()).await;
    group.take_over("THI", true).await.expect("it is picked");
    group.settled("BKP", MemberRole::Backup, 3).await;
    let main = Name::new("MAIN").unwrap();
    let options = JobOptions {
        save: Some(save_path(&data, main)),
        ..JobOptions::default()
    };
    let mut store = Store::start_with(&group, "BKP", options).await;
    let ended = in_time(store.job.ended()).await;
    let Err(ApplyError::Anew { reason, from }) = &ended else {
        panic!("{ended:?}")
    };
    assert_eq!(*from, MadeFrom::Journal);
    assert!(
        matches!(**reason, ApplyError::Abandoned { .. }),
        "{reason:?}"
    );
    drop(store);
    std::fs::remove_dir_all(store_path(&data, main)).unwrap();
    let bkp = Store::start(&group, "BKP").await;
    bkp.has(3, 30).await;
    assert_eq!(bkp.amount(1).await, Some(row(1, 10)));
    assert_eq!(bkp.amount(2).await, None);
    thi.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}
