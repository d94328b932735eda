//! Sizes: rows and keys of every length there may be, and what is refused because it is too large.

use rjournal::entry::record::{KEY_BYTES_MAX, ROW_BYTES_MAX};
use rjournal_apply::store::{FileChange, StoreError, StoreKind};

use crate::bench::{
    Bench, Model, Seed, assert_holds, file, fold, huge_format, names, noise, put, put_file, remove,
};

for_both_stores! {
    rows_of_every_length_are_kept,
    a_row_that_grows_and_shrinks_leaves_nothing_behind,
    keys_of_every_length_are_kept,
    the_largest_row_under_the_largest_key_fits_into_one_step,
    a_key_or_row_that_is_too_long_is_refused_and_changes_nothing,
    a_step_above_the_limit_of_the_store_is_refused,
    the_largest_format_is_kept,
}

const LENGTHS: [usize; 14] = [
    0,
    1,
    63,
    64,
    65,
    6100,
    6143,
    6144,
    6145,
    12_288,
    12_289,
    255 * 1024,
    300 * 1024,
    5 * 1024 * 1024,
];

fn rows_of_every_length_are_kept(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    let rows: Vec<_> = LENGTHS
        .iter()
        .map(|length| put(1, &length.to_be_bytes(), &noise(*length as u64, *length)))
        .collect();
    fold(&mut model, &[], &rows);
    bench.apply(vec![], rows);
    assert_holds(bench.reader().as_ref(), &model);
    let longest = bench.reader().last(file(1)).unwrap().unwrap();
    assert_eq!(longest.row.len(), 5 * 1024 * 1024);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
    for length in LENGTHS {
        let row = bench.reader().get(file(1), &length.to_be_bytes()).unwrap();
        assert!(row == Some(noise(length as u64, length)), "{length}");
    }
}

fn a_row_that_grows_and_shrinks_leaves_nothing_behind(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    for (round, length) in [10, 300_000, 20_000, 20_001, 7_000, 40_000, 5]
        .into_iter()
        .enumerate()
    {
        let rows = [
            put(1, b"a", &noise(round as u64, length)),
            put(1, b"b", &noise(9, length * 2)),
        ];
        fold(&mut model, &[], &rows);
        bench.apply(vec![], rows.to_vec());
        assert_holds(bench.reader().as_ref(), &model);
        bench.let_go();
        // Pieces that nobody needs would be found here.
        bench.open();
    }
    bench.apply(vec![], vec![put(1, b"a", &noise(1, 100_000))]);
    bench.apply(vec![], vec![remove(1, b"a"), remove(1, b"b")]);
    bench.let_go();
    bench.open();
    assert_eq!(bench.reader().files().unwrap()[0].rows, 0);
}

fn keys_of_every_length_are_kept(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let mut model = Model::new();
    fold(&mut model, &[put_file(1, 1)], &[]);
    for (seed, length) in [0, 1, 500, 6_000, 6_200, 20_000, KEY_BYTES_MAX]
        .into_iter()
        .enumerate()
    {
        let key = noise(seed as u64, length);
        let rows = [
            put(1, &key, b"short"),
            put(1, &[&key[..length.min(9)], b"+"].concat(), &noise(3, 9_000)),
        ];
        fold(&mut model, &[], &rows);
        bench.apply(vec![], rows.to_vec());
    }
    assert_holds(bench.reader().as_ref(), &model);
    bench.let_go();
    bench.open();
    assert_holds(bench.reader().as_ref(), &model);
}

fn the_largest_row_under_the_largest_key_fits_into_one_step(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let (key, row) = (noise(1, KEY_BYTES_MAX), noise(2, ROW_BYTES_MAX));
    bench.apply(vec![], vec![put(1, &key, &row)]);
    assert!(bench.reader().get(file(1), &key).unwrap() == Some(row));
}

fn a_key_or_row_that_is_too_long_is_refused_and_changes_nothing(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    for (key, row) in [(KEY_BYTES_MAX + 1, 1), (1, ROW_BYTES_MAX + 1)] {
        let rows = vec![put(1, b"a", b"1"), put(1, &vec![0; key], &vec![0; row])];
        let error = bench.try_apply(vec![], rows).unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    }
    assert_eq!(bench.reader().files().unwrap()[0].rows, 0);
    assert_eq!(bench.reader().position().unwrap(), bench.at());
}

fn a_step_above_the_limit_of_the_store_is_refused(kind: StoreKind) {
    let mut bench = Bench::with_file(kind);
    let Some(bytes_max) = bench.store().atomic_up_to() else {
        return;
    };
    let rows = |bytes: usize| {
        (0..16_u8)
            .map(|key| put(1, &[key], &vec![key; bytes / 16 - 33]))
            .collect()
    };
    let error = bench.try_apply(vec![], rows(bytes_max + 16)).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
    bench.apply(vec![], rows(bytes_max));
    assert_eq!(bench.reader().files().unwrap()[0].rows, 16);
}

fn the_largest_format_is_kept(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    let format = huge_format();
    let put = |format| FileChange::Put {
        id: file(1),
        format: Box::new(format),
    };
    bench.apply(vec![put(format.clone())], vec![]);
    bench.let_go();
    bench.open();
    assert!(bench.reader().files().unwrap()[0].format == format);
    bench.apply(vec![put(crate::bench::format(2))], vec![]);
    bench.let_go();
    bench.open();
    assert_eq!(bench.reader().files().unwrap()[0].format.version(), 2);
}

/// sled keeps pages above 128 KiB in files of their own, does not sync them, and does not always remove them.
#[test]
fn rows_of_ordinary_keys_never_go_into_a_blob_file_of_sled() {
    let mut bench = Bench::with_file(StoreKind::Sled);
    let mut seed = Seed(5);
    for _ in 0..60 {
        let rows = (0..20).map(|_| {
            let key = [&seed.below(150).to_be_bytes()[..], &[7; 90]].concat();
            let length = match seed.below(4) {
                0 => seed.below(200_000),
                1 => seed.below(13_000),
                _ => 5_000 + seed.below(2_500),
            };
            put(1, &key, &vec![length as u8; length as usize])
        });
        bench.apply(vec![], rows.collect());
    }
    bench.store().make_durable().unwrap();
    assert_eq!(
        names(&bench.path().join("sled/blobs")),
        Vec::<String>::new()
    );
}
