//! Power cuts: of what was written after the last sync, any part of any file may have reached the medium, in any order. A
//! store that opens after that holds the fold of its position, whole, and does not stand behind what was durable; one
//! that cannot be brought back says so. redb comes back from all of them; sled only where all or nothing was lost.

use std::path::Path;

use rjournal_apply::store::{StoreError, StoreKind, StoreOptions};

use crate::bench::{Bench, Model, Seed, assert_holds, copy, fold, names, step};

for_both_stores! {
    after_a_power_cut_a_store_is_whole_or_in_doubt_but_never_wrong,
}

const BLOCK: usize = 4096;
const HISTORIES: u64 = 2;
const CUTS: u64 = 9;

fn apply_steps(bench: &mut Bench, count: u64) {
    for _ in 0..count {
        let (files, rows) = step(bench.step + 1);
        bench.apply(files, rows);
    }
}

/// Makes what may be found after a power cut: each block as it was when it was synced, or as it was written since. Gives
/// how many blocks differed.
fn cut(synced: &Path, written: &Path, found: &Path, lost_in_ten: u64, seed: &mut Seed) -> u64 {
    std::fs::create_dir_all(found).unwrap();
    let mut differed = 0;
    for name in names(written) {
        let [synced, written, found] = [synced, written, found].map(|dir| dir.join(&name));
        if written.is_dir() {
            differed += cut(&synced, &written, &found, lost_in_ten, seed);
            continue;
        }
        let new = std::fs::read(&written).unwrap();
        let Ok(old) = std::fs::read(&synced) else {
            if seed.below(2) == 0 {
                std::fs::write(&found, new).unwrap();
            }
            continue;
        };
        let mut bytes = new.clone();
        for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
            let mut before = old.chunks(BLOCK).nth(number).unwrap_or_default().to_vec();
            before.resize(block.len(), 0);
            if block != before {
                differed += 1;
                if seed.below(10) < lost_in_ten {
                    block.copy_from_slice(&before);
                }
            }
        }
        if lost_in_ten > 0 && seed.below(4) == 0 {
            bytes.truncate(old.len());
        }
        std::fs::write(&found, bytes).unwrap();
    }
    differed
}

fn after_a_power_cut_a_store_is_whole_or_in_doubt_but_never_wrong(kind: StoreKind) {
    let mut seed = Seed(41);
    let mut whole = 0;
    for _ in 0..HISTORIES {
        // So little memory that redb writes before it syncs.
        let cache_bytes = if kind == StoreKind::Redb {
            256 * 1024
        } else {
            1 << 24
        };
        let options = StoreOptions {
            cache_bytes,
            ..StoreOptions::default()
        };
        let mut bench = Bench::with(kind, options);
        apply_steps(&mut bench, 10 + seed.below(20));
        bench.store().make_durable().unwrap();
        let durable = bench.step;
        let synced = bench.beside("synced");
        copy(&bench.path(), &synced);
        apply_steps(&mut bench, 10 + seed.below(10));
        if kind == StoreKind::Sled {
            // Has it write all it has. redb would sync several times, one after the other.
            bench.let_go();
        }
        let written = bench.beside("written");
        copy(&bench.path(), &written);
        bench.store = None;
        for number in 0..CUTS {
            std::fs::remove_dir_all(bench.path()).unwrap();
            let lost_in_ten = [0, 10, 1, 5, 9][(number % 5) as usize];
            let differed = cut(&synced, &written, &bench.path(), lost_in_ten, &mut seed);
            assert!(differed > 5, "{differed}");
            let store = match bench.try_open() {
                Ok(store) => store,
                Err(StoreError::Doubtful { reason, .. })
                    if kind == StoreKind::Sled && (1..10).contains(&lost_in_ten) =>
                {
                    eprintln!("in doubt after a power cut: {reason}");
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            whole += 1;
            let found = store.reader().position().unwrap().unwrap();
            let found = found.applied.get();
            assert!(
                found >= durable,
                "{durable} was durable, the store stands at {found}"
            );
            let mut model = Model::new();
            for number in 1..=found {
                let (files, rows) = step(number);
                fold(&mut model, &files, &rows);
            }
            assert_holds(store.reader().as_ref(), &model);
        }
    }
    eprintln!("{kind}: {whole} of {} came back", HISTORIES * CUTS);
}
