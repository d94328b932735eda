//! Comparing: equal files have equal hashes in every store, and where two part the first key is named.

use rjournal_apply::store::{Difference, RowSource, StoreKind, StoreReader, difference, hash_file};

use crate::bench::{Bench, file, noise, put, remove};

for_both_stores! {
    equal_files_have_equal_hashes_however_they_came_to_be,
    the_first_key_where_two_replicas_part_is_named,
}

fn reversed_and_rewritten(bench: &mut Bench) {
    for key in (0..200_u8).rev() {
        bench.apply(
            vec![],
            vec![put(1, &[key], b"old"), put(1, &[key, 1], b"gone")],
        );
        bench.apply(
            vec![],
            vec![
                put(1, &[key], &noise(u64::from(key), 9_000)),
                remove(1, &[key, 1]),
            ],
        );
    }
}

fn equal_files_have_equal_hashes_however_they_came_to_be(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    bench.apply(
        vec![],
        (0..200_u8)
            .map(|key| put(1, &[key], &noise(u64::from(key), 9_000)))
            .collect(),
    );
    let mut other = Bench::with_file(StoreKind::Sled);
    reversed_and_rewritten(&mut other);
    let mut snapshot = bench.reader().snapshot().unwrap();
    let hash = hash_file(&mut snapshot, file(1)).unwrap();
    assert_eq!(hash.rows, 200);
    let reader = other.reader();
    let mut live: &dyn StoreReader = reader.as_ref();
    assert_eq!(hash_file(&mut live, file(1)).unwrap(), hash);
    assert_eq!(difference(&mut snapshot, &mut live, file(1)).unwrap(), None);
    // Bytes that move from key to row make another hash.
    other.apply(
        vec![],
        vec![
            remove(1, &[7]),
            put(1, &[7, noise(7, 1)[0]], &noise(7, 9_000)[1..]),
        ],
    );
    let moved = hash_file(&mut live, file(1)).unwrap();
    assert_eq!(moved.rows, 200);
    assert_ne!(moved.hash, hash.hash);
    let nothing = hash_file(&mut live, file(9)).unwrap();
    assert_eq!(nothing.rows, 0);
}

fn the_first_key_where_two_replicas_part_is_named(kind: StoreKind) {
    let mut one = Bench::with_file(kind);
    let mut other = Bench::with_file(StoreKind::Redb);
    let rows: Vec<_> = (0..100_u8).map(|key| put(1, &[key], b"row")).collect();
    one.apply(vec![], rows.clone());
    other.apply(vec![], rows);
    let find = |one: &Bench, other: &Bench| {
        let (one, other) = (one.reader(), other.reader());
        let mut one: &dyn StoreReader = one.as_ref();
        let mut other: &dyn StoreReader = other.as_ref();
        difference(&mut one as &mut dyn RowSource, &mut other, file(1)).unwrap()
    };
    assert_eq!(find(&one, &other), None);
    other.apply(vec![], vec![put(1, &[99], b"other")]);
    assert_eq!(
        find(&one, &other),
        Some(Difference::OtherRow { key: vec![99] })
    );
    other.apply(vec![], vec![remove(1, &[50])]);
    assert_eq!(
        find(&one, &other),
        Some(Difference::OnlyInFirst { key: vec![50] })
    );
    one.apply(vec![], vec![remove(1, &[40]), put(1, &[99], b"other")]);
    let found = find(&one, &other).unwrap();
    assert_eq!(found, Difference::OnlyInSecond { key: vec![40] });
    assert_eq!(found.key(), [40]);
    one.apply(vec![], (0..100_u8).map(|key| remove(1, &[key])).collect());
    assert_eq!(
        find(&one, &other),
        Some(Difference::OnlyInSecond { key: vec![0] })
    );
}
