//! Files by name: unknown, not journaled, ended, deleted and made again; names that are none; commands out of order.

use rjournal::daemon::ErrorKind;
use rjournal::daemon::command::file::DeleteFile;
use rjournal::daemon::command::library::CreateLibrary;
use rjournal::entry::{FileName, Name};
use rjournal_apply::error::DatabaseError;

use crate::place::{
    Place, account, all_rows, create_file, end_journaling, file_name, in_time, insert, key, row,
    start_journaling, update,
};

#[tokio::test]
async fn a_file_that_is_not_there_is_no_file() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    for name in ["PRDLIB/NONE", "NOLIB/ACCOUNT"] {
        let name = file_name(name);
        let read = database.get(&name, &key(1)).await;
        assert_eq!(read, Err(DatabaseError::NoFile { file: name }));
    }
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_is_in_the_store_once_it_is_journaled() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let file = file_name("PRDLIB/LATE");
    create_file(&place.system, &file, &["K BIGINT"], &["K"])
        .await
        .unwrap();
    let found = database.file(&file).await;
    assert!(
        matches!(found, Err(DatabaseError::NoFile { .. })),
        "it is not journaled"
    );
    start_journaling(&place.system, &file).await.unwrap();
    let found = in_time(database.file(&file)).await.unwrap();
    assert_eq!(found.name, file);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_whose_journaling_ended_is_read_but_not_changed() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    end_journaling(&place.system, &account()).await.unwrap();
    // The job may be a moment behind the command.
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    let refused = database.write(update(1, "uno", 1), None).await;
    assert_eq!(
        refused,
        Err(DatabaseError::NotJournaled { file: account() })
    );
    let mut transaction = database.begin(None).await.unwrap();
    assert!(transaction.write(update(1, "uno", 1)).await.is_err());
    transaction.rollback().await.unwrap();
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    start_journaling(&place.system, &account()).await.unwrap();
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    database.write(update(1, "uno", 1), None).await.unwrap();
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_starts_later_knows_too_that_journaling_ended() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    end_journaling(&place.system, &account()).await.unwrap();
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    job.stop().await.unwrap();
    let job = place.job().await;
    let database = place.database(&job).await;
    let refused = database.write(update(1, "uno", 1), None).await;
    assert_eq!(
        refused,
        Err(DatabaseError::NotJournaled { file: account() })
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_made_again_under_its_name_is_the_new_one() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    // Identities are random: with several rounds the new one comes first and last.
    for round in 0..6 {
        database.write(insert(1, "row", round), None).await.unwrap();
        end_journaling(&place.system, &account()).await.unwrap();
        let gone = DeleteFile { file: account() };
        place.system.run(gone).await.unwrap();
        let fields = ["ID BIGINT", "NAME VARCHAR(20) NOT NULL", "AMOUNT INTEGER"];
        create_file(&place.system, &account(), &fields, &["ID"])
            .await
            .unwrap();
        start_journaling(&place.system, &account()).await.unwrap();
        let upto = place.journal().readable();
        assert!(in_time(job.shared().wait_applied(upto)).await);
        assert_eq!(
            database.get(&account(), &key(1)).await.unwrap(),
            None,
            "round {round}"
        );
    }
    let files = database.files().unwrap();
    let of_name = files.iter().filter(|file| *file.format.file() == account());
    assert_eq!(of_name.count(), 1);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn names_that_are_none_are_refused_where_they_are_read() {
    for bad in [
        "",
        "ACCOUNT",
        "/ACCOUNT",
        "PRDLIB/",
        "1LIB/FILE",
        "TOOLONGLIBRARY/FILE",
        "A B/FILE",
        "PRDLIB/A/B",
        "PRDLIB/\0",
    ] {
        assert!(bad.parse::<FileName>().is_err(), "{bad:?}");
    }
    let longest = format!("PRDLIB/{}", "A".repeat(128));
    assert!(longest.parse::<FileName>().is_ok());
    assert!(format!("{longest}A").parse::<FileName>().is_err());
}

#[tokio::test]
async fn commands_out_of_order_are_refused_and_change_nothing() {
    let place = Place::new().await;
    let system = &place.system;
    let (none, other) = (file_name("PRDLIB/NONE"), file_name("NOLIB/FILE"));
    let kind = |result: Result<(), rjournal::CommandError>| result.unwrap_err().kind;
    assert_eq!(
        kind(create_file(system, &other, &["K BIGINT"], &["K"]).await),
        ErrorKind::NotFound,
        "no such library"
    );
    assert_eq!(
        kind(create_file(system, &account(), &["K BIGINT"], &["K"]).await),
        ErrorKind::Exists
    );
    assert_eq!(
        kind(start_journaling(system, &none).await),
        ErrorKind::NotFound
    );
    assert_eq!(
        kind(end_journaling(system, &none).await),
        ErrorKind::NotFound
    );
    let journaled = DeleteFile { file: account() };
    assert_eq!(
        kind(system.run(journaled).await.map(drop)),
        ErrorKind::Refused,
        "it is journaled"
    );
    let library = CreateLibrary {
        library: Name::new("PRDLIB").unwrap(),
        text: String::new(),
    };
    assert_eq!(kind(system.run(library).await.map(drop)), ErrorKind::Exists);
    let job = place.job().await;
    let database = place.database(&job).await;
    database.write(insert(1, "one", 1), None).await.unwrap();
    job.stop().await.unwrap();
}
