//! Package `cli`, tests: the demonstration, in short: real processes under SIGKILL, and the ledger of every answer held
//! against what both sides have.

use std::path::Path;
use std::process::Command;

fn demo(arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_rjournal"))
        .args(["--json", "demo"])
        .args(arguments)
        .output()
        .expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}{said}", output.status);
    serde_json::from_str(&text).expect("one JSON object")
}

fn check(summary: &serde_json::Value, sync_answers_min: u64) {
    assert_eq!(summary["lost_sync_answers"], 0, "{summary}");
    for proof in ["replica_equal", "content_right", "receivers_identical"] {
        assert_eq!(summary[proof], true, "{proof} in {summary}");
    }
    let number = |name: &str| summary[name].as_u64().expect("a number");
    assert!(number("sync_answers") >= sync_answers_min, "{summary}");
    assert!(number("entries") > number("transactions"), "{summary}");
}

#[test]
fn a_bank_loses_nothing_when_systems_are_killed_and_one_stands_in_for_the_other() {
    let summary = demo(&["--seconds", "4", "--accounts", "50", "--clients", "4"]);
    check(&summary, 1);
    assert!(summary["transactions"].as_u64() > Some(50), "{summary}");
    assert_eq!(summary["kills"], 8, "{summary}");
    assert_eq!(summary["switched_back"], true, "{summary}");
    let losses = summary["takeovers"].as_array().expect("takeovers");
    let how: Vec<&str> = losses
        .iter()
        .filter_map(|taken| taken["loss"].as_str())
        .collect();
    assert_eq!(how, ["killed", "cut_off_and_killed"], "{summary}");
    let number = |name: &str| summary[name].as_u64().expect("a number");
    for measured in ["takeover_ms", "switch_pause_ms", "rejoin_bytes"] {
        assert!(number(measured) > 0, "{measured} in {summary}");
    }
    // What it answered while it was cut off is on its disk only: set aside, counted, and named.
    assert!(losses[1]["orphans"].as_u64() > Some(0), "{summary}");
    assert!(number("orphans") >= number("orphans_answered"), "{summary}");
    assert!(number("orphans_answered") > 0, "{summary}");
    let named = summary["orphans_named"].as_array().expect("names");
    assert!(!named.is_empty(), "{summary}");
}

#[test]
fn csv_files_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().expect("a directory");
    write(
        &dir.path().join("people.csv"),
        "Id,Name,Note\n1,\"Smith, Ann\",\n2,\"O\"\"Neill\",\"\"\n3,Größe,\"two\nlines\"\n",
    );
    let numbers: String = (1..=4000_u64)
        .flat_map(|n| {
            [
                n.to_string(),
                ",".to_owned(),
                (n * n).to_string(),
                "\n".to_owned(),
            ]
        })
        .collect();
    write(
        &dir.path().join("squares.csv"),
        &format!("N,Square\n{numbers}"),
    );
    let pairs: String = (1..=4000_u64)
        .flat_map(|n| [(n % 7).to_string(), ",x\n".to_owned()])
        .collect();
    write(
        &dir.path().join("pairs.csv"),
        &format!("Kind,Text\n{pairs}"),
    );
    let from = dir.path().to_string_lossy().into_owned();
    let summary = demo(&["--from", &from]);
    check(&summary, 1);
    assert_eq!(summary["kills"], 4, "{summary}");
    assert_eq!(summary["switched_back"], serde_json::Value::Null);
    assert_eq!(summary["rows"], 8003, "{summary}");
}

/// Its only transaction is answered LOCAL where it falls into the time the target is away: all the same it is proven.
#[test]
fn two_rows_are_enough() {
    let dir = tempfile::tempdir().expect("a directory");
    write(&dir.path().join("two.csv"), "Id,Name\n1,one\n2,two\n");
    let summary = demo(&["--from", &dir.path().to_string_lossy()]);
    check(&summary, 0);
    assert_eq!(summary["rows"], 2, "{summary}");
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file can be made");
}
