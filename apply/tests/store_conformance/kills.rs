//! kill -9: another process applies numbered steps and says how far it is; it is killed in the middle, and what it said to
//! be durable must be there, whole steps only.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use rjournal_apply::store::{Batch, StoreKind, StoreOptions, open};

use crate::bench::{Bench, Model, Seed, assert_holds, fold, position, step};

const CHILD: &str = "RJOURNAL_STORE_TO_KILL";
const KILLS: u64 = 12;

for_both_stores! {
    what_was_durable_survives_a_kill_and_no_step_is_half_there,
}

/// Runs in the process that is killed.
#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else {
        return;
    };
    let (kind, path) = what.split_once(':').unwrap();
    let mut store = open(
        kind.parse().unwrap(),
        Path::new(path),
        &StoreOptions::default(),
    )
    .unwrap();
    let mut at = store
        .reader()
        .position()
        .unwrap()
        .map_or(0, |position| position.applied.get());
    let mut out = std::io::stdout();
    loop {
        let (files, rows) = step(at + 1);
        let batch = Batch {
            expected: (at > 0).then(|| position(at)),
            next: position(at + 1),
            files,
            rows,
        };
        store.apply(&batch).unwrap();
        at += 1;
        writeln!(out, "applied {at}").unwrap();
        if at.is_multiple_of(5) {
            let durable = store.make_durable().unwrap().unwrap().applied;
            writeln!(out, "durable {durable}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// Lets the child run until it has said `lines` lines, kills it, and gives the last step it said to be durable.
fn run_and_kill(kind: StoreKind, path: &Path, lines: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{kind}:{}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut durable = 0;
    let mut hear = |line: &str| {
        if let Some(step) = line.strip_prefix("durable ") {
            durable = step.parse().unwrap();
        }
    };
    let mut count = 0;
    for line in &mut said {
        hear(&line);
        count += u64::from(line.starts_with("applied "));
        if count == lines {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count, lines, "the child ended by itself");
    // What it said before the kill counts, whenever it was heard.
    said.for_each(|line| hear(&line));
    durable
}

fn what_was_durable_survives_a_kill_and_no_step_is_half_there(kind: StoreKind) {
    let mut bench = Bench::empty(kind);
    bench.let_go();
    let mut seed = Seed(kind as u64 + 70);
    let mut model = Model::new();
    let mut at = 0;
    for kill in 0..KILLS {
        let durable = run_and_kill(kind, &bench.path(), 1 + seed.below(40));
        bench.open();
        let found = bench
            .reader()
            .position()
            .unwrap()
            .map_or(0, |position| position.applied.get());
        assert!(
            found >= durable,
            "kill {kill}: {durable} was durable, the store stands at {found}"
        );
        assert!(
            found >= at,
            "kill {kill}: the store went back from {at} to {found}"
        );
        for number in at + 1..=found {
            let (files, rows) = step(number);
            fold(&mut model, &files, &rows);
        }
        at = found;
        assert_holds(bench.reader().as_ref(), &model);
        assert_eq!(
            bench.store().durable_position(),
            (at > 0).then(|| position(at))
        );
        if kill % 2 == 0 {
            bench.close();
        } else {
            bench.let_go();
        }
    }
    assert!(at > 50, "{at}");
}
