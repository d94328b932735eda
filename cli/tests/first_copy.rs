//! Package `cli`, tests: the first copy between real processes, while transactions run: the source is killed on the way, then
//! the target, and in the end all stores hold the same rows. Also measured: what a commit waits with and without it.
//!
//! `FIRST_COPY_MIB=300 cargo test -p rjournal-cli --test first_copy -- --nocapture` measures with more rows.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rjournal::entry::record::Value;
use rjournal::entry::{ClientId, DepositKey, FileName, Name};
use rjournal_apply::serve::{DatabaseClient, SteadyClient, WriteKind};
use tokio::time::Instant;

/// What is late by so much never comes.
const PATIENCE: Duration = Duration::from_mins(3);
/// Who commits at once.
const CLIENTS: u8 = 4;
const ROW_BYTES: usize = 4096;
const FILE: &str = "PRDLIB/KV";

fn store(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn file() -> FileName {
    FILE.parse().expect("a file")
}

/// One system.
struct Daemon {
    data: PathBuf,
    process: Option<Child>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Daemon {
    /// Makes a system, starts it, and lets it keep the port it got.
    async fn make(dir: &Path, name: &str) -> (Self, serde_json::Value) {
        let mut daemon = Self {
            data: dir.join(name),
            process: None,
        };
        daemon.run(&["init", "--name", name, "--listen", "127.0.0.1:0"]);
        daemon.start().await;
        let identity = daemon.run(&["dspsysid"]);
        let listen: SocketAddr = identity["listen"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address");
        daemon.configure(
            &format!("listen = \"{listen}\""),
            "listen = \"127.0.0.1:0\"",
        );
        (daemon, identity)
    }

    /// Puts a line in place of another one.
    fn configure(&self, line: &str, before: &str) {
        let path = self.data.join("rjournal.toml");
        let text = std::fs::read_to_string(&path).expect("a configuration");
        assert!(text.contains(before), "{text}");
        std::fs::write(path, text.replace(before, line)).expect("a file");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rjournal"));
        command.arg("--json").arg("--data").arg(&self.data);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.command(arguments).output().expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        let begun = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        begun.expect("the program runs")
    }

    async fn start(&mut self) {
        let process = Command::new(env!("CARGO_BIN_EXE_rjournal"))
            .arg("--data")
            .arg(&self.data)
            .arg("daemon")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.process = Some(process.expect("the program runs"));
        until(async || {
            self.command(&["dspsysid"])
                .output()
                .is_ok_and(|output| output.status.success())
        })
        .await;
    }

    /// SIGKILL, and nothing else.
    fn kill(&mut self) {
        let mut process = self.process.take().expect("a daemon that runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it was killed");
    }

    /// How far the load of a store is, in percent, while it is fetched.
    fn percent(&self, store: &str) -> Option<u32> {
        let jobs = self.run(&["wrkapy"]);
        let jobs = jobs["jobs"].as_array()?.iter();
        let job = jobs.into_iter().find(|job| job["store"] == store)?;
        let (_, rest) = job["note"].as_str()?.split_once(": ")?;
        rest.split_once(" %")?.0.parse().ok()
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while !is_so().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("in time");
}

/// What a command that ran beside gave.
fn ended(child: Child) -> serde_json::Value {
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    serde_json::from_str(&text).expect("one JSON object")
}

fn row(key: u64, version: u64) -> [Value; 2] {
    let mut bytes = vec![0; ROW_BYTES];
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version;
    for byte in &mut bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 33) as u8;
    }
    [
        Value::Binary(key.to_be_bytes().to_vec()),
        Value::Binary(bytes),
    ]
}

/// Clients that commit one row after the other, and how long each took.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<Vec<Duration>>>,
}

impl Load {
    fn begin(data: &Path, keys: u64, round: u8) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number| {
            let (stop, data) = (Arc::clone(&stop), data.to_path_buf());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(commit_until(&stop, &data, keys, round * CLIENTS + number))
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, clients }
    }

    /// All commits' times, shortest first.
    fn end(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for client in self.clients {
            all.append(&mut client.join().expect("it ends"));
        }
        all.sort_unstable();
        all
    }
}

/// One client: a row after the other, each in a transaction with a key of its own.
async fn commit_until(stop: &AtomicBool, data: &Path, keys: u64, number: u8) -> Vec<Duration> {
    let mut database = SteadyClient::new(data, store("DB"), PATIENCE);
    let (file, mut took) = (file(), Vec::new());
    let mut key = 0;
    while !stop.load(Ordering::Relaxed) {
        key += 1;
        let deposit = DepositKey {
            client: ClientId::from_bytes([number + 1; 16]),
            key,
        };
        let row = row((key * 7919 + u64::from(number)) % keys, key);
        let begun = Instant::now();
        let landed = database
            .transact(deposit, async |transaction| {
                transaction.write(WriteKind::Put, &file, &row).await
            })
            .await;
        landed.expect("it lands");
        took.push(begun.elapsed());
    }
    took
}

#[expect(clippy::print_stdout, reason = "what was measured is told")]
fn tell(what: &str, took: &[Duration], time: Duration) {
    let at =
        |part: usize| took[(took.len() * part / 1000).min(took.len() - 1)].as_secs_f64() * 1000.0;
    println!(
        "{what}: {} commits, {}/s; p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
        took.len(),
        took.len() as u128 * 1000 / time.as_millis().max(1),
        at(500),
        at(990),
        at(999),
        at(1000),
    );
}

async fn commits_for(
    data: &Path,
    keys: u64,
    round: u8,
    time: Duration,
) -> (Vec<Duration>, Duration) {
    let begun = Instant::now();
    let load = Load::begin(data, keys, round);
    until(async || begun.elapsed() >= time).await;
    (load.end(), begun.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_loaded_while_transactions_run_and_both_systems_are_killed() {
    let mib: u64 =
        std::env::var("FIRST_COPY_MIB").map_or(24, |text| text.parse().expect("a number"));
    let keys = mib * 1024 * 1024 / ROW_BYTES as u64;
    let dir = tempfile::tempdir().expect("a directory");
    let (mut prd, prd_identity) = Daemon::make(dir.path(), "PRD").await;
    let (mut bkp, bkp_identity) = Daemon::make(dir.path(), "BKP").await;
    let of = |identity: &serde_json::Value, name: &str| {
        identity[name].as_str().expect("a text").to_owned()
    };
    let (key, address) = (
        of(&bkp_identity, "fingerprint"),
        of(&bkp_identity, "listen"),
    );
    prd.run(&[
        "addrdbdire",
        "--rdb",
        "BKP",
        "--fingerprint",
        &key,
        "--addr",
        &address,
    ]);
    let (key, address) = (
        of(&prd_identity, "fingerprint"),
        of(&prd_identity, "listen"),
    );
    bkp.run(&[
        "addrdbdire",
        "--rdb",
        "PRD",
        "--fingerprint",
        &key,
        "--addr",
        &address,
        "--alwjrn",
        "BKPLIB/*ALL",
    ]);
    prd.run(&["crtlib", "--lib", "PRDLIB"]);
    bkp.run(&["crtlib", "--lib", "BKPLIB"]);
    prd.run(&["crtjrn", "--jrn", "PRDLIB/JRN", "--threshold", "4096"]);
    prd.run(&[
        "strapy",
        "--store",
        "DB",
        "--jrn",
        "PRDLIB/JRN",
        "--type",
        "*REDB",
    ]);
    prd.run(&["crtpf", "--file", FILE]);
    prd.run(&["strjrnpf", "--file", FILE, "--jrn", "PRDLIB/JRN"]);
    fill(&prd.data, keys).await;
    // The first receivers go: whoever begins now needs the store.
    prd.run(&["savsto", "--store", "DB"]);
    prd.run(&["dltjrnrcv", "--jrnrcv", "PRDLIB/JRN0003", "--force"]);
    prd.run(&[
        "addrmtjrn",
        "--rdb",
        "BKP",
        "--srcjrn",
        "PRDLIB/JRN",
        "--tgtjrn",
        "BKPLIB/JRN",
    ]);
    let on = [
        "chgrmtjrn",
        "--rdb",
        "BKP",
        "--srcjrn",
        "PRDLIB/JRN",
        "--jrnstate",
        "*ACTIVE",
        "--delivery",
        "*SYNC",
        "--wait",
        "170",
    ];
    prd.run(&on);

    let time = Duration::from_secs(3);
    let (took, measured) = commits_for(&prd.data, keys, 0, time).await;
    tell("without", &took, measured);
    let running = Load::begin(&prd.data, keys, 1);
    let begun = Instant::now();
    let loading = bkp.begin(&[
        "strapy",
        "--store",
        "REPLICA",
        "--jrn",
        "BKPLIB/JRN",
        "--type",
        "*REDB",
        "--load",
        "PRD",
    ]);
    let loaded = tokio::task::spawn_blocking(move || ended(loading)).await;
    assert_eq!(loaded.expect("it ends")["store"], "REPLICA");
    let took = running.end();
    tell("while a store is loaded", &took, begun.elapsed());

    // Slow enough to be killed on the way.
    prd.configure("first_copy_mib = 8\nname", "name");
    prd.kill();
    prd.start().await;
    let running = Load::begin(&prd.data, keys, 2);
    let loading = [
        "rststo",
        "--store",
        "SECOND",
        "--rdb",
        "PRD",
        "--jrn",
        "BKPLIB/JRN",
    ];
    let begun = bkp.begin(&loading);
    until(async || bkp.percent("SECOND").is_some_and(|percent| percent > 0)).await;
    prd.kill();
    prd.start().await;
    until(async || bkp.percent("SECOND").is_some_and(|percent| percent > 20)).await;
    bkp.kill();
    let refused = begun.wait_with_output().expect("it ends");
    assert_eq!(refused.status.code(), Some(6));
    bkp.start().await;
    let loaded = tokio::task::block_in_place(|| bkp.run(&loading));
    let kept = loaded["kept"].as_u64().expect("a number");
    assert!(kept > 0, "{loaded}");
    bkp.run(&["strapy", "--store", "SECOND"]);
    running.end();

    let expected = hash(&prd.data, "DB").await;
    for loaded in ["REPLICA", "SECOND"] {
        until(async || hash(&bkp.data, loaded).await == expected).await;
    }
    assert!(expected.is_some());
    let verified = prd.run(&["verify", "--jrn", "PRDLIB/JRN", "--rdb", "BKP"]);
    assert_eq!(verified["good"], true, "{verified}");
}

/// The rows of the file, and their hash; nothing while the store does not answer.
async fn hash(data: &Path, name: &str) -> Option<(u64, String)> {
    let mut database = DatabaseClient::connect(data, store(name)).await.ok()?;
    let hashed = database.hash(&file()).await.ok()?;
    Some((hashed.rows, format!("{:?}", hashed.hash)))
}

async fn fill(data: &Path, keys: u64) {
    let mut database = None;
    until(async || {
        database = DatabaseClient::connect(data, store("DB")).await.ok();
        database.is_some()
    })
    .await;
    let mut database = database.expect("it was just there");
    let file = file();
    let mut key = 0;
    while key < keys {
        let mut writes = Vec::new();
        while key < keys && writes.len() < 256 {
            let write = database.encode(WriteKind::Put, &file, &row(key, 0)).await;
            writes.push(write.expect("a row"));
            key += 1;
        }
        database.write(writes, None).await.expect("it lands");
    }
}
