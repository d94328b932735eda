//! The simulator over many seeds; some are run twice and must go the same way.

use rjournal_tests::mood::Faults;
use rjournal_tests::simulation::run;

/// One seed, a range of them, or the usual ones: `RJOURNAL_SEED=17` or `RJOURNAL_SEED=500..2000` with
/// `cargo test -p rjournal-tests --test simulation`.
fn seeds() -> Vec<u64> {
    let Ok(text) = std::env::var("RJOURNAL_SEED") else {
        return (0..500).collect();
    };
    let (from, to) = text.split_once("..").unwrap_or((&text, ""));
    let from: u64 = from.parse().expect("a seed");
    let to = to.parse().unwrap_or(from + 1);
    (from..to).collect()
}

#[test]
fn answers_hold_and_copies_come_level_whatever_the_seed_does() {
    let (mut sync, mut local, mut faults) = (0, 0, Faults::default());
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed))
            .unwrap_or_else(|_| panic!("seed {seed} failed; replay with RJOURNAL_SEED={seed}"));
        sync += outcome.answered.0;
        local += outcome.answered.1;
        faults.add(&outcome.faults);
    }
    println!("answered SYNC {sync}, LOCAL {local}, {faults:?}");
    if seeds().len() >= 500 {
        let reached = sync > 1000 && local > 1000 && faults.crashes > 500;
        let hurt = faults.kills.min(faults.full).min(faults.failed_syncs);
        assert!(
            reached && hurt > 100 && faults.rot_found > 50,
            "the runs do not reach what they should: {sync} {local} {faults:?}"
        );
    }
}

#[test]
fn a_seed_run_twice_goes_the_same_way() {
    for seed in (0..500).step_by(25) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
