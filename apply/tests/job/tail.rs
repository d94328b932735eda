//! A job follows its journal's tail, may be held and released, stops where it stands and goes on from there.

use rjournal::entry::{Draft, Kind, Sequence};
use rjournal_apply::job::{ApplyJob, JobOptions, Order};
use rjournal_apply::store::{StoreKind, StoreOptions, open};
use tokio::sync::oneshot;

use crate::place::{LONG, Place, account, all_rows, in_time, insert, main_store, row, update};

pub(crate) async fn give(job: &ApplyJob, order: fn(oneshot::Sender<()>) -> Order) {
    let (done, told) = oneshot::channel();
    assert!(job.shared().order(order(done)).await);
    in_time(told).await.unwrap();
}

/// Deposits a user's entry and gives its number once it is answered.
pub(crate) async fn note(place: &Place) -> Sequence {
    let ticket = place
        .journal()
        .deposit(&Draft::new(Kind::USER, b"note"))
        .await;
    let ticket = ticket.unwrap();
    let sequence = ticket.sequence();
    in_time(ticket).await;
    sequence
}

#[tokio::test]
async fn a_job_follows_the_tail_and_says_how_far_it_is() {
    let place = Place::new().await;
    let job = place.job().await;
    for _ in 0..5 {
        let sequence = note(&place).await;
        assert!(in_time(job.shared().wait_applied(sequence)).await);
        let status = job.shared().status();
        assert!(status.position.unwrap().applied >= sequence);
        assert!(status.readable >= sequence);
        assert!(!status.held && status.note.is_none());
        assert_eq!(
            job.shared().reader.position().unwrap(),
            status.position,
            "it says what the store says"
        );
    }
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_is_held_applies_nothing_until_it_is_released() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    give(&job, Order::Hold).await;
    assert!(job.shared().status().held);
    let held_at = job.shared().applied();
    let sequence = note(&place).await;
    // It takes orders meanwhile, one after the other: it had every chance to apply something.
    give(&job, Order::Hold).await;
    give(&job, Order::Hold).await;
    assert_eq!(job.shared().applied(), held_at);
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(1, "one", 1)],
        "reads go on"
    );
    give(&job, Order::Release).await;
    assert!(in_time(job.shared().wait_applied(sequence)).await);
    assert!(!job.shared().status().held);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_held_job_can_be_stopped() {
    let place = Place::new().await;
    let job = place.job().await;
    give(&job, Order::Hold).await;
    in_time(job.stop()).await.unwrap();
}

#[tokio::test]
async fn a_job_goes_on_from_where_its_store_stands() {
    for kind in [StoreKind::Sled, StoreKind::Redb] {
        let place = Place::new().await;
        let mut stood = Sequence::NONE;
        for number in 0..4 {
            let job = place.job_with(kind, JobOptions::default()).await;
            assert!(job.shared().applied() >= stood, "not from the beginning");
            let database = place.patient_database(&job, LONG).await;
            if number == 0 {
                database.write(insert(1, "row", 0), None).await.unwrap();
            }
            let mut transaction = database.begin(None).await.unwrap();
            transaction.write(update(1, "row", number)).await.unwrap();
            transaction.commit().await.unwrap();
            // What comes while no job runs is applied by the next one.
            job.stop().await.unwrap();
            let store = open(kind, &main_store(&place.data()), &StoreOptions::default()).unwrap();
            let position = store.reader().position().unwrap().unwrap();
            assert_eq!(store.durable_position(), Some(position));
            store.close().unwrap();
            stood = position.applied;
            note(&place).await;
        }
    }
}

#[tokio::test]
async fn what_came_while_no_job_ran_is_applied_by_the_next() {
    let place = Place::new().await;
    let job = place.job().await;
    job.stop().await.unwrap();
    let sequence = note(&place).await;
    let job = place.job().await;
    assert!(in_time(job.shared().wait_applied(sequence)).await);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_job_that_ends_is_told() {
    let place = Place::new().await;
    let job = place.job().await;
    let shared = job.shared().clone();
    let waiting = tokio::spawn({
        let shared = shared.clone();
        async move { shared.wait_applied(Sequence::new(1 << 40)).await }
    });
    tokio::task::yield_now().await;
    job.stop().await.unwrap();
    assert!(!in_time(waiting).await.unwrap());
    let (done, _told) = oneshot::channel();
    assert!(!shared.order(Order::Hold(done)).await, "it takes no orders");
}

#[tokio::test]
async fn two_stores_of_one_journal_end_alike() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    for id in 0..30 {
        database.write(insert(id, "row", 0), None).await.unwrap();
    }
    let path = place.dir.path().join("other");
    let store = open(StoreKind::Redb, &path, &StoreOptions::default()).unwrap();
    let other = ApplyJob::start(place.port().await, store, JobOptions::default())
        .await
        .unwrap();
    let upto = place.journal().readable();
    for job in [&job, &other] {
        assert!(in_time(job.shared().wait_applied(upto)).await);
    }
    let second = place.database(&other).await;
    assert_eq!(
        all_rows(&database, &account()).await,
        all_rows(&second, &account()).await
    );
    let positions = [&job, &other].map(|job| job.shared().reader.position().unwrap());
    assert_eq!(positions[0], positions[1]);
    job.stop().await.unwrap();
    other.stop().await.unwrap();
}
