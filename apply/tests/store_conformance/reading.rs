//! Reading: order, limits, where a scan goes on, the last row.

use rjournal_apply::store::StoreKind;

use crate::bench::{Bench, file, put, put_file};

for_both_stores! {
    rows_come_in_key_order_and_stay_within_their_file,
    a_scan_goes_on_after_a_key_whether_it_is_there_or_not,
    a_scan_gives_no_more_than_was_asked_for_but_at_least_one_row,
    the_last_row_is_found,
    a_reader_outlives_the_store_and_then_says_that_it_is_closed,
}

const KEYS: [&[u8]; 9] = [
    b"",
    b"\0",
    b"\0\0",
    b"\0\xff",
    b"a",
    b"aa",
    b"b",
    b"\xff",
    b"\xff\xff",
];

fn filled(kind: StoreKind) -> Bench {
    let mut bench = Bench::with_file(kind);
    bench.apply(vec![put_file(2, 1), put_file(3, 1)], vec![]);
    let mut rows: Vec<_> = KEYS.iter().rev().map(|key| put(2, key, key)).collect();
    // Neighbours, which are never seen.
    rows.extend([put(1, b"\xff\xff\xff", b"x"), put(3, b"", b"x")]);
    bench.apply(vec![], rows);
    bench
}

fn rows_come_in_key_order_and_stay_within_their_file(kind: StoreKind) {
    let bench = filled(kind);
    let rows = bench.reader().scan(file(2), None, 100, 1 << 20).unwrap();
    let keys: Vec<&[u8]> = rows.iter().map(|row| row.key.as_slice()).collect();
    assert_eq!(keys, KEYS);
    for key in KEYS {
        assert_eq!(
            bench.reader().get(file(2), key).unwrap().as_deref(),
            Some(key)
        );
    }
    assert_eq!(bench.reader().get(file(2), b"\xff\xff\xff").unwrap(), None);
    assert_eq!(bench.reader().get(file(4), b"").unwrap(), None);
}

fn a_scan_goes_on_after_a_key_whether_it_is_there_or_not(kind: StoreKind) {
    let bench = filled(kind);
    let after = |key: &[u8]| {
        let rows = bench
            .reader()
            .scan(file(2), Some(key), 100, 1 << 20)
            .unwrap();
        rows.into_iter().map(|row| row.key).collect::<Vec<_>>()
    };
    for (index, key) in KEYS.iter().enumerate() {
        assert_eq!(after(key), KEYS[index + 1..]);
    }
    assert_eq!(after(b"a\xff"), KEYS[6..]);
    assert_eq!(after(b"\xff\xff\xff"), Vec::<Vec<u8>>::new());
}

fn a_scan_gives_no_more_than_was_asked_for_but_at_least_one_row(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(
        vec![],
        (0..50_u8).map(|key| put(1, &[key], &[key; 99])).collect(),
    );
    let count = |count, bytes_max| {
        let rows = bench
            .reader()
            .scan(file(1), None, count, bytes_max)
            .unwrap();
        rows.len()
    };
    assert_eq!(count(0, 1000), 0);
    assert_eq!(count(7, 1 << 20), 7);
    assert_eq!(count(50, 1 << 20), 50);
    assert_eq!(count(51, 1 << 20), 50);
    assert_eq!(count(50, 0), 1);
    assert_eq!(count(50, 1000), 10);
    assert_eq!(count(50, 1001), 11);
}

fn the_last_row_is_found(kind: StoreKind) {
    let mut bench = filled(kind);
    let last = |bench: &Bench, number| {
        bench
            .reader()
            .last(file(number))
            .unwrap()
            .map(|row| row.key)
    };
    assert_eq!(last(&bench, 1), Some(b"\xff\xff\xff".to_vec()));
    assert_eq!(last(&bench, 2), Some(b"\xff\xff".to_vec()));
    assert_eq!(last(&bench, 3), Some(vec![]));
    bench.apply(
        vec![],
        vec![
            crate::bench::remove(2, b"\xff\xff"),
            crate::bench::remove(3, b""),
        ],
    );
    assert_eq!(last(&bench, 2), Some(b"\xff".to_vec()));
    assert_eq!(last(&bench, 3), None);
    assert_eq!(last(&bench, 4), None);
}

fn a_reader_outlives_the_store_and_then_says_that_it_is_closed(kind: StoreKind) {
    let mut bench = filled(kind);
    let reader = bench.reader();
    bench.close();
    assert!(!reader.position().unwrap_err().is_transient());
    assert!(reader.scan(file(1), None, 1, 1).is_err());
    // It keeps nobody out.
    bench.open();
    assert!(reader.files().is_err());
    let reader = bench.reader();
    bench.let_go();
    assert!(reader.get(file(1), b"").is_err());
    bench.open();
}
