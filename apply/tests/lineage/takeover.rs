//! A takeover, and the old primary back: what was open is gone, what is decided by the new history is decided in both databases.

use rjournal::entry::{ClientId, DepositKey};
use rjournal::journal::UnknownReason;
use rjournal::remote::MemberRole;
use rjournal_apply::database::Outcome;
use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::JobOptions;
use rjournal_apply::machine::Bounds;

use crate::house::{Store, account, group, in_time, insert, row, switch, update};

fn key(number: u64) -> DepositKey {
    DepositKey {
        client: ClientId::from_bytes([3; 16]),
        key: number,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_without_a_decision_is_gone_with_the_term_and_its_rows_are_free() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    prd.write(insert(1, 10)).await;
    bkp.has(1, 10).await;
    let mut open = prd.database.begin(None).await.unwrap();
    open.write(update(1, 11)).await.unwrap();
    group.deposit_sync("PRD", "behind it").await;
    let report = group.take_over("BKP", false).await.expect("a takeover");
    assert!(report.fenced_primary, "{report:?}");
    bkp.write(update(1, 20)).await;
    let refused = open.commit().await.unwrap_err();
    assert!(
        matches!(
            refused,
            DatabaseError::NotPrimary | DatabaseError::Refused { .. }
        ),
        "{refused:?}"
    );
    group.settled("PRD", MemberRole::Backup, 2).await;
    prd.has(1, 20).await;
    // Back on the old one, the row is nobody's.
    switch(&group, "BKP", "PRD").await;
    let written = prd.write(update(1, 30)).await;
    assert!(matches!(written, Outcome::Landed { .. }), "{written:?}");
    bkp.has(1, 30).await;
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_tried_again_on_the_new_primary_lands_once() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    prd.writable().await;
    let landed = prd.database.write(insert(1, 10), Some(key(1))).await;
    let Ok(Outcome::Landed { sequence, .. }) = landed else {
        panic!("{landed:?}")
    };
    group.deposit_sync("PRD", "behind it").await;
    prd.stop().await;
    group.stop("PRD").await;
    group.take_over("BKP", true).await.expect("a takeover");
    bkp.writable().await;
    let again = in_time(async {
        loop {
            match bkp.database.write(insert(1, 10), Some(key(1))).await {
                Err(error @ DatabaseError::LandedBefore { .. }) => return error,
                Err(DatabaseError::Busy { .. } | DatabaseError::Refused { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    let DatabaseError::LandedBefore {
        sequence: found,
        journal,
    } = again.await
    else {
        panic!("it landed before")
    };
    assert_eq!(found, sequence);
    assert!(journal.is_some(), "in the journal of the one before");
    assert_eq!(bkp.amount(1).await, Some(row(1, 10)));
    bkp.stop().await;
    group.stop_all().await;
}

/// What is UNKNOWN when its system loses the role is decided when the store passes the end of the term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_unknown_is_in_both_stores_or_in_none() {
    let mut group = group(&["PRD", "BKP"]).await;
    let (prd, bkp) = (
        Store::start(&group, "PRD").await,
        Store::start(&group, "BKP").await,
    );
    prd.write(insert(0, 0)).await;
    bkp.has(0, 0).await;
    group.deposit_sync("PRD", "in sync").await;
    let writes = async {
        let mut answers = Vec::new();
        for id in 1.. {
            match prd.database.write(insert(id, 1), None).await {
                Ok(outcome) => answers.push((id, outcome)),
                Err(_) => return answers,
            }
        }
        answers
    };
    let (answers, taken) = tokio::join!(in_time(writes), group.take_over("BKP", false));
    taken.expect("a takeover");
    group.settled("PRD", MemberRole::Backup, 2).await;
    bkp.write(update(0, 1)).await;
    prd.has(0, 1).await;
    assert!(!answers.is_empty());
    for (id, outcome) in &answers {
        let (here, there) = (prd.amount(*id).await, bkp.amount(*id).await);
        assert_eq!(here, there, "row {id}, answered {outcome:?}");
        match outcome {
            Outcome::Landed { .. } => assert_eq!(here, Some(row(*id, 1)), "{outcome:?}"),
            Outcome::Unknown { why, .. } => {
                assert!(matches!(
                    why,
                    UnknownReason::Closed | UnknownReason::NotReplicated
                ));
            }
            other => panic!("{other:?}"),
        }
    }
    // Locks are those of the term.
    switch(&group, "BKP", "PRD").await;
    for (id, _) in answers.iter().rev().take(3) {
        if prd.amount(*id).await.is_some() {
            prd.write(update(*id, 2)).await;
        }
    }
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}

/// Large transactions come in steps; a job that ends between two of them goes on in the next term.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_ended_in_any_term_with_small_steps_comes_to_the_same_rows() {
    let small = || JobOptions {
        bounds: Bounds {
            buffered_bytes_max: 2_000,
            step_bytes_max: 1_000,
            step_bytes: 500,
        },
        ..JobOptions::default()
    };
    let mut group = group(&["PRD", "BKP"]).await;
    let prd = Store::start(&group, "PRD").await;
    prd.writable().await;
    let fill = async |store: &Store, from: i64| {
        let mut transaction = store.database.begin(None).await.unwrap();
        for id in from..from + 50 {
            transaction.write(insert(id, 7)).await.unwrap();
        }
        transaction.commit().await.unwrap();
    };
    fill(&prd, 1_000).await;
    switch(&group, "PRD", "BKP").await;
    // It begins with the first term, and is ended wherever it is.
    for _ in 0..5 {
        let bkp = Store::start_with(&group, "BKP", small()).await;
        bkp.stop().await;
    }
    let bkp = Store::start_with(&group, "BKP", small()).await;
    bkp.write(insert(1, 1)).await;
    fill(&bkp, 2_000).await;
    prd.has(2_049, 7).await;
    let file = bkp.database.file(&account()).await.unwrap();
    for store in [&bkp, &prd] {
        let rows = store.database.scan(&file, None, usize::MAX, usize::MAX);
        assert_eq!(rows.unwrap().len(), 101);
    }
    prd.stop().await;
    bkp.stop().await;
    group.stop_all().await;
}
