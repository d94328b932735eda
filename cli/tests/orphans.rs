//! Package `cli`, tests: an archive with many transactions, shown, exported, and deposited again on the system that went on
//! without them, by real daemons. Must not know how an archive comes about.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "../../apply/tests/job/fork.rs"]
mod fork;
#[path = "../../apply/tests/database/place.rs"]
mod place;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::fork::{Fork, Wanted};
use crate::place::LONG;

/// A daemon of the program in a data directory, and its commands.
struct Daemon {
    data: PathBuf,
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn program(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rjournal"));
    command
        .env("RJOURNAL_DATA", data)
        .env("TZ", "UTC")
        .args(words)
        .stdin(Stdio::null());
    command
}

/// Asks until there is an answer.
async fn until<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + LONG;
    let mut looks = tokio::time::interval(Duration::from_millis(50));
    loop {
        looks.tick().await;
        match ask() {
            Ok(found) => return found,
            Err(last) => assert!(Instant::now() < deadline, "{what}: {last}"),
        }
    }
}

impl Daemon {
    async fn start(data: &Path) -> Self {
        let child = program(data, &["daemon"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self {
            data: data.to_owned(),
            child,
        };
        until("the daemon answers", || {
            let asked = daemon.run(&["dspsysid"]);
            asked
                .status
                .success()
                .then_some(())
                .ok_or_else(|| shown(&asked))
        })
        .await;
        daemon
    }

    /// Starts store MAIN, and waits until its job serves rows.
    async fn store(&self) {
        let started = self.run(&["strapy", "--store", "MAIN", "--jrn", "PRDLIB/JRN"]);
        assert!(started.status.success(), "{}", shown(&started));
        until("the store is served", || {
            let scanned = self.run(&["scan", "--file", "PRDLIB/ACCOUNT", "--store", "MAIN"]);
            scanned
                .status
                .success()
                .then_some(())
                .ok_or_else(|| shown(&scanned))
        })
        .await;
    }

    fn run(&self, words: &[&str]) -> Output {
        program(&self.data, words).output().unwrap()
    }

    /// What a command gives as JSON, and its exit code.
    fn json(&self, words: &[&str]) -> (Value, i32) {
        let output = self.run(&[words, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout);
        let value = value.unwrap_or_else(|_| panic!("{words:?}: {}", shown(&output)));
        (value, output.status.code().unwrap())
    }

    fn amount(&self, id: &str) -> Option<i64> {
        let (row, _) = self.json(&["get", "--file", "PRDLIB/ACCOUNT", "--key", id]);
        row["AMOUNT"].as_i64()
    }
}

fn shown(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_taken_over_is_shown_exported_and_lands_once_where_it_still_fits() {
    let fork = Fork::new(Wanted::default()).await;
    let cut = Daemon::start(&fork.data).await;
    cut.store().await;
    let (listed, code) = cut.json(&["orphans", "list"]);
    assert_eq!(code, 0);
    let archive = &listed["archives"][0];
    assert_eq!(archive["transactions"], 42);
    assert_eq!(archive["fork"]["sequence"], fork.at.sequence.get());
    // The transaction that was open at the fork has its changes before it, too.
    let which = ["--jrn", "PRDLIB/JRN", "--number", "1"];
    let (shown_there, code) = cut.json(&[&["orphans", "show"], &which[..]].concat());
    assert_eq!(code, 0);
    let transactions = shown_there["transactions"].as_array().unwrap();
    assert_eq!(transactions.len(), 42);
    let spanning = &transactions[0];
    assert_eq!(spanning["outcome"], "COMMITTED");
    assert_eq!(spanning["class"], "LOCAL");
    assert_eq!(spanning["rows"].as_array().unwrap().len(), 15);
    assert!(spanning["rows"][0]["sequence"].as_u64().unwrap() < fork.at.sequence.get());
    assert_eq!(spanning["rows"][0]["before"]["NAME"], "common");
    assert_eq!(spanning["rows"][0]["after"]["NAME"], "of the open one");
    assert_eq!(spanning["rows"][0]["key"][0], 0);
    assert_eq!(
        spanning["rows"][0]["changed_since"], false,
        "it was taken out"
    );
    assert_eq!(spanning["rows"][14]["change"], "DELETE");
    let missing = cut.run(&["orphans", "show", "--jrn", "PRDLIB/JRN", "--number", "7"]);
    assert_eq!(missing.status.code(), Some(3), "{}", shown(&missing));
    let file = fork.data.with_file_name("lost.jsonl");
    let file = file.to_str().unwrap();
    let export = [&["orphans", "export"], &which[..], &["--to", file]].concat();
    let (exported, code) = cut.json(&export);
    assert_eq!((&exported["transactions"], code), (&Value::from(42), 0));
    // A replica is not deposited through.
    let redeposit = |more: &[&'static str]| {
        let from = ["orphans", "redeposit", "--from", file, "--store", "MAIN"];
        [&from[..], more].concat()
    };
    let replica = cut.run(&redeposit(&["--all"]));
    assert_eq!(replica.status.code(), Some(5), "{}", shown(&replica));
    drop(cut);
    // The other one went on: it has rows of its own.
    let other = Daemon::start(&fork.other_data).await;
    other.store().await;
    let (refused, code) = other.json(&redeposit(&["--all"]));
    assert_eq!(code, 5);
    assert_eq!(refused["deposited"], 0);
    let conflicts = refused["conflicts"].as_array().unwrap();
    let reasons: Vec<&str> = conflicts
        .iter()
        .filter_map(|one| one["key"].as_str())
        .collect();
    assert_eq!(reasons, ["0", "100", "0"]);
    assert_eq!(other.amount("101"), None, "nothing was deposited");
    // Those that fit, by their entries.
    let fits: Vec<String> = transactions[2..5]
        .iter()
        .map(|one| one["sequence"].to_string())
        .collect();
    let picked = fits.join(",");
    let pick = [
        "orphans",
        "redeposit",
        "--from",
        file,
        "--store",
        "MAIN",
        "--pick",
        &picked,
    ];
    let (done, code) = other.json(&pick);
    assert_eq!((&done["deposited"], code), (&Value::from(3), 0), "{done}");
    assert_eq!(done["transactions"][0]["class"], "LOCAL");
    assert_eq!(other.amount("101"), Some(2));
    let (again, code) = other.json(&pick);
    assert_eq!(
        (&again["landed_before"], code),
        (&Value::from(3), 0),
        "{again}"
    );
    let unknown = other.run(&redeposit(&["--pick", "1"]));
    assert_eq!(unknown.status.code(), Some(3), "{}", shown(&unknown));
    let neither = other.run(&redeposit(&[]));
    assert_eq!(neither.status.code(), Some(2), "{}", shown(&neither));
    // All of them, whatever is there now.
    let (forced, code) = other.json(&redeposit(&["--all", "--force"]));
    assert_eq!(code, 0, "{forced}");
    assert_eq!(
        (&forced["deposited"], &forced["landed_before"]),
        (&Value::from(39), &Value::from(3))
    );
    assert_eq!(other.amount("0"), Some(3));
    assert_eq!(other.amount("12"), None, "the transaction deleted it");
}
