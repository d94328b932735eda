//! The simulator over many seeds; some are run twice and must go the same way.

use rjournal_tests::simulation::run;

/// One seed, or all: `RJOURNAL_SEED=17 cargo test -p rjournal-tests --test simulation` replays one.
fn seeds() -> Vec<u64> {
    match std::env::var("RJOURNAL_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(seed) => vec![seed],
        None => (0..500).collect(),
    }
}

#[test]
fn answers_hold_and_copies_come_level_whatever_the_seed_does() {
    let (mut sync, mut local, mut crashes) = (0, 0, 0);
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| run(seed))
            .unwrap_or_else(|_| panic!("seed {seed} failed; replay with RJOURNAL_SEED={seed}"));
        sync += outcome.answered.0;
        local += outcome.answered.1;
        crashes += outcome.crashes;
    }
    println!("answered SYNC {sync}, LOCAL {local}, power lost {crashes} times");
    if seeds().len() > 1 {
        assert!(
            sync > 1000 && local > 1000 && crashes > 500,
            "the runs do not reach what they should: {sync} {local} {crashes}"
        );
    }
}

#[test]
fn a_seed_run_twice_goes_the_same_way() {
    for seed in (0..500).step_by(25) {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
