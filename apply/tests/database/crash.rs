//! kill -9: another process writes and says what was answered; it is killed in the middle. What was answered is there, what
//! was not decided is not, and what is there is whole.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rjournal::entry::record::Value;
use rjournal::{System, SystemOptions};
use rjournal_apply::database::{Database, DatabaseOptions, Outcome};
use rjournal_apply::job::JobOptions;
use rjournal_apply::store::StoreKind;

use crate::place::{
    LONG, Place, account, all_rows, furnish, in_time, insert, key, main_store, make, port, row,
    start_job, update,
};

const CHILD: &str = "RJOURNAL_DATABASE_TO_KILL";
/// Rows each transaction changes together.
const TOGETHER: u8 = 4;

/// Runs in the process that is killed: transactions that each set all rows to the next number, and single rows.
#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else {
        return;
    };
    let (kind, data) = what.split_once(':').unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(write_until_killed(kind.parse().unwrap(), Path::new(data)));
}

async fn write_until_killed(kind: StoreKind, data: &Path) {
    let system = System::open(SystemOptions::new(data)).await.unwrap();
    let job = start_job(&system, data, kind, JobOptions::default()).await;
    let database = Database::open(
        port(&system).await,
        job.shared().clone(),
        DatabaseOptions::default(),
    )
    .await
    .unwrap();
    let first = database.begin(None).await.unwrap();
    let found = first.get(&account(), &key(0)).await.unwrap();
    let mut number = match found.as_deref() {
        Some([_, _, Value::Integer(number)]) => *number,
        _ => 0,
    };
    drop(first);
    let mut out = std::io::stdout();
    // Never decided.
    let mut open = database.begin(None).await.unwrap();
    loop {
        number += 1;
        let mut transaction = database.begin(None).await.unwrap();
        for id in 0..i64::from(TOGETHER) {
            let write = if number == 1 {
                insert(id, "row", number)
            } else {
                update(id, "row", number)
            };
            transaction.write(write).await.unwrap();
        }
        open.write(insert(-i64::from(number), "open", number))
            .await
            .unwrap();
        let outcome = transaction.commit().await.unwrap();
        assert!(matches!(outcome, Outcome::Landed { .. }));
        writeln!(out, "transaction {number}").unwrap();
        let alone = insert(1_000 + i64::from(number), "alone", number);
        database.write(alone, None).await.unwrap();
        writeln!(out, "alone {number}").unwrap();
        out.flush().unwrap();
    }
}

/// Lets the child run until it has said `lines` lines, kills it, and gives the last numbers it said.
fn run_and_kill(kind: StoreKind, data: &Path, lines: usize) -> [i32; 2] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{kind}:{}", data.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut last = [0; 2];
    let mut hear = |line: &str| {
        for (place, word) in ["transaction ", "alone "].iter().enumerate() {
            if let Some(number) = line.strip_prefix(word) {
                last[place] = number.parse().unwrap();
                return 1;
            }
        }
        0
    };
    let mut count = 0;
    for line in &mut said {
        count += hear(&line);
        if count == lines {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count, lines, "the child ended by itself");
    for line in said {
        hear(&line);
    }
    last
}

async fn killed_again_and_again(kind: StoreKind) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("PRD");
    make(&data);
    let system = System::open(SystemOptions::new(&data)).await.unwrap();
    furnish(&system).await;
    system.stop().await;
    drop(system);
    for lines in [1, 16] {
        let (path, kind_there) = (data.clone(), kind);
        let answered =
            tokio::task::spawn_blocking(move || run_and_kill(kind_there, &path, lines)).await;
        let [transaction, alone] = answered.unwrap();
        let system = System::open(SystemOptions::new(&data)).await.unwrap();
        let job = start_job(&system, &data, kind, JobOptions::default()).await;
        let database = Database::open(
            port(&system).await,
            job.shared().clone(),
            DatabaseOptions::default(),
        )
        .await
        .unwrap();
        let upto = system
            .journal(crate::place::qualified("PRDLIB/JRN"))
            .unwrap()
            .readable();
        assert!(in_time(job.shared().wait_applied(upto)).await);
        let rows = all_rows(&database, &account()).await;
        let number = |row: &Vec<Value>| match row[2] {
            Value::Integer(number) => number,
            _ => panic!("{row:?}"),
        };
        let together: Vec<i32> = rows
            .iter()
            .filter(|row| row[1] == Value::Text("row".to_owned()))
            .map(number)
            .collect();
        assert_eq!(together.len(), usize::from(TOGETHER), "{rows:?}");
        assert!(
            together.iter().all(|number| *number == together[0]),
            "half a transaction: {together:?}"
        );
        assert!(together[0] >= transaction, "{together:?} {transaction}");
        let singles = rows
            .iter()
            .filter(|row| row[1] == Value::Text("alone".to_owned()))
            .map(number)
            .max();
        assert!(singles.unwrap_or(0) >= alone);
        assert!(
            rows.iter()
                .all(|row| row[1] != Value::Text("open".to_owned())),
            "what was not decided is not there"
        );
        job.stop().await.unwrap();
        system.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill_on_sled() {
    killed_again_and_again(StoreKind::Sled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_a_kill_on_redb() {
    killed_again_and_again(StoreKind::Redb).await;
}

#[tokio::test]
async fn a_store_that_is_lost_is_made_again_from_the_journal() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.patient_database(&job, LONG).await;
    for id in 0..20 {
        database.write(insert(id, "row", 0), None).await.unwrap();
        let mut transaction = database.begin(None).await.unwrap();
        transaction.write(update(id, "changed", 1)).await.unwrap();
        transaction.commit().await.unwrap();
    }
    let due = all_rows(&database, &account()).await;
    job.stop().await.unwrap();
    let place = place.restart().await;
    std::fs::remove_dir_all(main_store(&place.data())).unwrap();
    for kind in [StoreKind::Redb, StoreKind::Sled] {
        drop(std::fs::remove_dir_all(main_store(&place.data())));
        let job = place.job_with(kind, JobOptions::default()).await;
        let upto = place.journal().readable();
        assert!(in_time(job.shared().wait_applied(upto)).await);
        let database = place.database(&job).await;
        assert_eq!(all_rows(&database, &account()).await, due);
        assert_eq!(due[0], row(0, "changed", 1));
        job.stop().await.unwrap();
    }
}

#[tokio::test]
async fn changes_go_on_after_an_orderly_restart() {
    let mut place = Place::new().await;
    for round in 0..2 {
        let job = place.job().await;
        let database = place.patient_database(&job, LONG).await;
        let mut open = database.begin(None).await.unwrap();
        open.write(insert(-1, "open", round)).await.unwrap();
        database
            .write(insert(i64::from(round), "row", round), None)
            .await
            .unwrap();
        // The system goes first, with a transaction open.
        place = place.restart().await;
        job.stop().await.ok();
        drop(open);
        drop(database);
    }
    let job = place.job().await;
    let upto = place.journal().readable();
    assert!(in_time(job.shared().wait_applied(upto)).await);
    let database = place.database(&job).await;
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(0, "row", 0), row(1, "row", 1)]
    );
    job.stop().await.unwrap();
}
