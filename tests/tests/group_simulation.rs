//! Recovery groups over many seeds; some are run twice and must go the same way; mistakes made on purpose must be found.

use rjournal_tests::group_simulation::{Counts, Wrong, run, run_wrong, story};

/// One seed, a range of them, or the usual ones: `RJOURNAL_SEED=17` or `RJOURNAL_SEED=500..2000` with
/// `cargo test -p rjournal-tests --test group_simulation`.
fn seeds() -> Vec<u64> {
    let Ok(text) = std::env::var("RJOURNAL_SEED") else {
        return (0..300).collect();
    };
    let (from, to) = text.split_once("..").unwrap_or((&text, ""));
    let from: u64 = from.parse().expect("a seed");
    let to = to.parse().unwrap_or(from + 1);
    (from..to).collect()
}

#[test]
fn answers_hold_and_everybody_follows_whatever_operators_and_disks_do() {
    let mut all = Counts::default();
    let (mut sync, mut local, mut counted) = (0, 0, 0);
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed)).unwrap_or_else(|_| {
            let told = story().join("\n");
            panic!("{told}\nseed {seed} failed; replay with RJOURNAL_SEED={seed}")
        });
        sync += outcome.answered.0;
        local += outcome.answered.1;
        counted += usize::from(outcome.counts());
        all.add(&outcome.counts);
    }
    println!(
        "{counted} runs count; answered SYNC {sync}, LOCAL {local}; {:?}",
        all.all()
    );
}

#[test]
fn a_seed_run_twice_goes_the_same_way() {
    for seed in (0..300).step_by(30) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

#[test]
fn every_mistake_is_found() {
    for wrong in Wrong::ALL {
        let found =
            (0..200).find(|seed| std::panic::catch_unwind(|| run_wrong(*seed, wrong)).is_err());
        assert!(found.is_some(), "{wrong:?} is not found");
    }
}
