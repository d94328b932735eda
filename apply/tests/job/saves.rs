//! Saves of a running job's store: to a file of choice, to the job's own, several askers at once; and a store made again
//! from a save and the journal behind it.

use std::path::{Path, PathBuf};

use rjournal_apply::error::DatabaseError;
use rjournal_apply::job::{ApplyJob, JobOptions, Order};
use rjournal_apply::store::{SaveInfo, StoreKind, StoreOptions, check, open, read_header, restore};
use tokio::sync::oneshot;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, main_store, row, update};

type Saved = Result<SaveInfo, DatabaseError>;

async fn ask(job: &ApplyJob, path: Option<PathBuf>) -> oneshot::Receiver<Saved> {
    let (done, saved) = oneshot::channel();
    assert!(job.shared().order(Order::Save { path, done }).await);
    saved
}

async fn save(job: &ApplyJob, path: Option<&Path>) -> Saved {
    in_time(ask(job, path.map(Path::to_path_buf)).await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_save_holds_what_the_store_held_and_makes_it_again_in_either_kind() {
    for (kind, other) in [
        (StoreKind::Sled, StoreKind::Redb),
        (StoreKind::Redb, StoreKind::Sled),
    ] {
        let place = Place::new().await;
        let job = place.job_with(kind, JobOptions::default()).await;
        let database = place.patient_database(&job, LONG).await;
        for id in 0..50 {
            database.write(insert(id, "saved", 0), None).await.unwrap();
        }
        let path = place.dir.path().join("a.save");
        let info = save(&job, Some(&path)).await.unwrap();
        assert_eq!(Some(info.position), job.shared().reader.position().unwrap());
        assert_eq!(info.files[0].rows, 50);
        check(&path, &mut |_| ()).unwrap();
        // The journal goes on, and so does the job.
        database.write(update(7, "behind", 1), None).await.unwrap();
        let due = all_rows(&database, &account()).await;
        job.stop().await.unwrap();
        std::fs::remove_dir_all(main_store(&place.data())).unwrap();
        let mut store = open(other, &main_store(&place.data()), &StoreOptions::default()).unwrap();
        restore(&path, &mut *store, &mut |_| ()).unwrap();
        store.close().unwrap();
        let job = place.job_with(other, JobOptions::default()).await;
        assert!(job.shared().applied() >= info.position.applied);
        let upto = place.journal().readable();
        assert!(in_time(job.shared().wait_applied(upto)).await);
        let database = place.database(&job).await;
        assert_eq!(all_rows(&database, &account()).await, due);
        assert_eq!(due[7], row(7, "behind", 1));
        job.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_jobs_own_save_goes_where_it_was_told_and_replaces_the_last() {
    let place = Place::new().await;
    let own = place.dir.path().join("own.save");
    let options = JobOptions {
        save: Some(own.clone()),
        ..JobOptions::default()
    };
    let job = place.job_with(StoreKind::Sled, options).await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let first = save(&job, None).await.unwrap();
    database.write(insert(2, "two", 2), None).await.unwrap();
    let second = save(&job, None).await.unwrap();
    assert!(second.position.applied > first.position.applied);
    assert_eq!(read_header(&own).unwrap().position, second.position);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_without_a_save_of_its_own_wants_to_be_told_where() {
    let place = Place::new().await;
    let job = place.job().await;
    let refused = save(&job, None).await.unwrap_err().to_string();
    assert!(refused.contains("name a file"), "{refused}");
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_save_that_cannot_be_made_says_why_and_the_job_goes_on() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    let nowhere = place.dir.path().join("no such directory").join("a.save");
    for path in [&nowhere, place.dir.path()] {
        let refused = save(&job, Some(path)).await.unwrap_err();
        let named = path.display().to_string();
        assert!(
            matches!(&refused, DatabaseError::File { path, .. } if *path == named),
            "{refused}"
        );
    }
    database.write(insert(2, "two", 2), None).await.unwrap();
    job.stop().await.unwrap();
}

#[tokio::test]
async fn all_who_ask_for_one_save_are_answered() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    for id in 0..20 {
        database.write(insert(id, "row", 0), None).await.unwrap();
    }
    let path = place.dir.path().join("a.save");
    let mut asked = Vec::new();
    for _ in 0..5 {
        asked.push(ask(&job, Some(path.clone())).await);
    }
    for saved in asked {
        let info = in_time(saved).await.unwrap().unwrap();
        assert_eq!(info.files[0].rows, 20);
    }
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_held_job_can_be_saved() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    crate::tail::give(&job, Order::Hold).await;
    let path = place.dir.path().join("a.save");
    let info = save(&job, Some(&path)).await.unwrap();
    assert_eq!(info.position.applied, job.shared().applied());
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_save_while_rows_change_is_one_state_of_the_store() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    let mut transaction = database.begin(None).await.unwrap();
    for id in 0..200 {
        transaction.write(insert(id, "row", 0)).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let path = place.dir.path().join("a.save");
    let saved = ask(&job, Some(path.clone())).await;
    for number in 1..=10 {
        let mut transaction = database.begin(None).await.unwrap();
        for id in 0..200 {
            transaction.write(update(id, "row", number)).await.unwrap();
        }
        transaction.commit().await.unwrap();
    }
    in_time(saved).await.unwrap().unwrap();
    let mut store = open(
        StoreKind::Redb,
        &place.dir.path().join("restored"),
        &StoreOptions::default(),
    )
    .unwrap();
    restore(&path, &mut *store, &mut |_| ()).unwrap();
    let file = database.file(&account()).await.unwrap();
    let rows = store
        .reader()
        .scan(file.id, None, usize::MAX, usize::MAX)
        .unwrap();
    let amounts: std::collections::BTreeSet<String> = rows
        .iter()
        .map(|row| file.decode(&row.row).unwrap()[2].to_string())
        .collect();
    assert_eq!((rows.len(), amounts.len()), (200, 1), "{amounts:?}");
    job.stop().await.unwrap();
}
