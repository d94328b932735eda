//! Rows in, rows out: typed values, keys in order, record numbers, and what is refused before anything is deposited.

use rjournal::entry::record::{Decimal, Value};
use rjournal::journal::AckClass;
use rjournal_apply::database::{Database, Outcome, Write};
use rjournal_apply::error::DatabaseError;

use crate::place::{
    Place, account, all_rows, create_file, delete, file_name, insert, key, row, start_journaling,
    update,
};

async fn write(database: &Database, write: Write) {
    match database.write(write, None).await.unwrap() {
        Outcome::Landed { class, .. } => assert_eq!(class, AckClass::Local),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_written_reads_back_and_scans_in_key_order() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    for id in [5, -3, 12, 0] {
        write(&database, insert(id, "row", id as i32)).await;
    }
    write(&database, update(12, "changed", 1)).await;
    write(&database, delete(0)).await;
    assert_eq!(
        database.get(&account(), &key(12)).await.unwrap(),
        Some(row(12, "changed", 1))
    );
    assert_eq!(database.get(&account(), &key(0)).await.unwrap(), None);
    assert_eq!(
        all_rows(&database, &account()).await,
        [row(-3, "row", -3), row(5, "row", 5), row(12, "changed", 1)]
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_scan_goes_on_after_a_key() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let mut transaction = database.begin(None).await.unwrap();
    for id in 0..25 {
        transaction.write(insert(id, "row", 0)).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let file = database.file(&account()).await.unwrap();
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = database
            .scan(&file, after.as_deref(), 10, usize::MAX)
            .unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 10);
        after = Some(last.key.clone());
        seen.extend(page.iter().map(|row| file.decode(&row.row).unwrap()));
    }
    let due: Vec<_> = (0..25).map(|id| row(id, "row", 0)).collect();
    assert_eq!(seen, due);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn values_of_every_type_read_back_as_they_were() {
    let place = Place::new().await;
    let file = file_name("PRDLIB/TYPES");
    let fields = [
        "K VARCHAR(10)",
        "SMALL SMALLINT",
        "WHOLE INTEGER",
        "BIG BIGINT",
        "EXACT DECIMAL(9,2)",
        "FLOATING DOUBLE",
        "BYTES VARBINARY(10)",
        "DAY DATE",
        "MOMENT TIMESTAMP",
        "YES BOOLEAN",
        "ID UUID",
    ];
    create_file(&place.system, &file, &fields, &["K"])
        .await
        .unwrap();
    start_journaling(&place.system, &file).await.unwrap();
    let job = place.job().await;
    let database = place.database(&job).await;
    let full = vec![
        Value::Text("ключ".to_owned()),
        Value::SmallInt(-5),
        Value::Integer(i32::MIN),
        Value::BigInt(i64::MAX),
        Value::Decimal(Decimal::new(-12_345, 2).unwrap()),
        Value::Double(0.1),
        Value::Binary(vec![0, 255]),
        Value::Date(20_000),
        Value::Timestamp(1),
        Value::Boolean(true),
        Value::Uuid([9; 16]),
    ];
    let mut empty = vec![Value::Null; fields.len()];
    empty[0] = Value::Text(String::new());
    for row in [&full, &empty] {
        let row = row.clone();
        let file = file.clone();
        write(&database, Write::Put { file, row }).await;
    }
    assert_eq!(
        database.get(&file, &full[..1]).await.unwrap().as_ref(),
        Some(&full)
    );
    assert_eq!(
        database.get(&file, &empty[..1]).await.unwrap().as_ref(),
        Some(&empty)
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_plain_file_keeps_bytes_under_bytes() {
    let place = Place::new().await;
    let file = file_name("PRDLIB/PLAIN");
    create_file(&place.system, &file, &[], &[]).await.unwrap();
    start_journaling(&place.system, &file).await.unwrap();
    let job = place.job().await;
    let database = place.database(&job).await;
    let pair = |key: &[u8], value: Vec<u8>| vec![Value::Binary(key.to_vec()), Value::Binary(value)];
    let large = pair(b"large", vec![7; 3_000_000]);
    for row in [pair(b"", vec![]), pair(&[0, 255], vec![1]), large.clone()] {
        let file = file.clone();
        write(&database, Write::Put { file, row }).await;
    }
    assert_eq!(
        database.get(&file, &large[..1]).await.unwrap(),
        Some(large.clone())
    );
    assert_eq!(all_rows(&database, &file).await.len(), 3);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn rows_without_a_key_are_numbered_on_also_after_a_restart() {
    let place = Place::new().await;
    let file = file_name("PRDLIB/LOG");
    create_file(&place.system, &file, &["LINE VARCHAR(50)"], &[])
        .await
        .unwrap();
    start_journaling(&place.system, &file).await.unwrap();
    let line = |text: &str| vec![Value::Text(text.to_owned())];
    let add = |text: &str| Write::Insert {
        file: file.clone(),
        row: line(text),
    };
    let job = place.job().await;
    let database = place.database(&job).await;
    write(&database, add("first")).await;
    let mut transaction = database.begin(None).await.unwrap();
    transaction.write(add("never")).await.unwrap();
    transaction.rollback().await.unwrap();
    write(&database, add("second")).await;
    let refused = database
        .write(
            Write::Update {
                file: file.clone(),
                row: line("x"),
            },
            None,
        )
        .await;
    assert!(
        matches!(refused, Err(DatabaseError::Row { .. })),
        "{refused:?}"
    );
    let take = |number| Write::Delete {
        file: file.clone(),
        key: vec![Value::BigInt(number)],
    };
    write(&database, take(1)).await;
    for bad in [0, -1] {
        let refused = database.write(take(bad), None).await;
        assert!(matches!(refused, Err(DatabaseError::Row { .. })));
    }
    job.stop().await.unwrap();
    let job = place.job().await;
    let database = place.database(&job).await;
    write(&database, add("third")).await;
    assert_eq!(
        all_rows(&database, &file).await,
        [line("second"), line("third")]
    );
    assert_eq!(
        database.get(&file, &[Value::BigInt(1)]).await.unwrap(),
        None
    );
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_constraint_is_checked_before_anything_is_deposited() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    write(&database, insert(1, "one", 1)).await;
    let deposited = place.journal().readable();
    let duplicate = database.write(insert(1, "again", 1), None).await;
    assert!(
        matches!(&duplicate, Err(DatabaseError::Duplicate { key, .. }) if key == "1"),
        "{duplicate:?}"
    );
    for absent in [update(2, "two", 2), delete(2)] {
        let refused = database.write(absent, None).await;
        assert!(
            matches!(&refused, Err(DatabaseError::NoRow { key, .. }) if key == "2"),
            "{refused:?}"
        );
    }
    let facts = place.journal().facts(deposited).unwrap();
    assert_eq!(facts.deposited, deposited);
    assert_eq!(all_rows(&database, &account()).await, [row(1, "one", 1)]);
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_row_that_does_not_fit_its_file_is_refused_before_anything_is_deposited() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    write(&database, insert(1, "one", 1)).await;
    let deposited = place.journal().readable();
    let text = |text: &str| Value::Text(text.to_owned());
    let long = "x".repeat(21);
    let misfits = [
        vec![Value::BigInt(2), text(&long), Value::Null],
        vec![Value::BigInt(2), text("two")],
        vec![Value::BigInt(2), text("two"), Value::Null, Value::Null],
        vec![Value::BigInt(2), Value::Integer(2), Value::Null],
        vec![Value::Integer(2), text("two"), Value::Null],
        vec![Value::BigInt(2), Value::Null, Value::Null],
        vec![Value::Null, text("two"), Value::Null],
        vec![],
    ];
    for row in misfits {
        for kind in 0..3 {
            let (file, row) = (account(), row.clone());
            let misfit = match kind {
                0 => Write::Insert { file, row },
                1 => Write::Update { file, row },
                _ => Write::Put { file, row },
            };
            let refused = database.write(misfit, None).await;
            assert!(
                matches!(refused, Err(DatabaseError::Row { .. })),
                "{refused:?}"
            );
        }
    }
    for bad in [vec![], vec![Value::Integer(1)], row(1, "one", 1)] {
        let read = database.get(&account(), &bad).await;
        assert!(matches!(read, Err(DatabaseError::Row { .. })), "{read:?}");
        let file = account();
        let refused = database.write(Write::Delete { file, key: bad }, None).await;
        assert!(matches!(refused, Err(DatabaseError::Row { .. })));
    }
    let facts = place.journal().facts(deposited).unwrap();
    assert_eq!(facts.deposited, deposited, "nothing of it was deposited");
    job.stop().await.unwrap();
}

#[tokio::test]
async fn a_text_of_as_many_characters_as_allowed_fits() {
    let place = Place::new().await;
    let job = place.job().await;
    let database = place.database(&job).await;
    let longest = "ü".repeat(20);
    write(&database, insert(1, &longest, 1)).await;
    assert_eq!(
        database.get(&account(), &key(1)).await.unwrap(),
        Some(row(1, &longest, 1))
    );
    job.stop().await.unwrap();
}
