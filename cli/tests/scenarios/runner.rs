//! Package `cli`, tests: runs a scenario with real processes, and gives the script as it went. Must not judge.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::script::{Line, parse, settled, words};

/// How long something that is to happen may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// One system of a scenario.
struct System {
    data: PathBuf,
    address: String,
    daemon: Option<Child>,
}

impl Drop for System {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            drop(daemon.kill());
            drop(daemon.wait());
        }
    }
}

impl System {
    fn new(dir: &Path, name: &str) -> Self {
        let port = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.local_addr())
            .expect("loopback has ports")
            .port();
        Self {
            data: dir.join(name),
            address: format!("127.0.0.1:{port}"),
            daemon: None,
        }
    }

    fn command(&self, dir: &Path, words: &[String]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rjournal"))
            .current_dir(dir)
            .env("RJOURNAL_DATA", &self.data)
            .env("TZ", "UTC")
            .env_remove("COLUMNS")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    }

    fn start(&mut self, dir: &Path) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("a log file");
        let daemon = Command::new(env!("CARGO_BIN_EXE_rjournal"))
            .env("RJOURNAL_DATA", &self.data)
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon runs");
        self.daemon = Some(daemon);
        until("the daemon answers", || {
            let status = self.command(dir, &["dspsysid".to_owned()]).status;
            status.success().then_some(())
        });
    }

    fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon that runs");
        daemon.kill().expect("it can be killed");
        daemon.wait().expect("it was killed");
    }

    fn end(&mut self) {
        let daemon = self.daemon.as_mut().expect("a daemon that runs");
        let told = Command::new("kill")
            .arg(daemon.id().to_string())
            .status()
            .expect("kill runs");
        assert!(told.success());
        let status = daemon.wait().expect("it ends");
        assert!(status.success(), "the daemon ended with {status}");
        self.daemon = None;
    }
}

/// Does something again and again until it gives something.
fn until<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = so() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: it did not happen");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Runs a scenario and gives the script as it went.
pub(crate) fn run(text: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().canonicalize().expect("it is there");
    let shown = path.to_string_lossy().into_owned();
    let mut systems: BTreeMap<String, System> = BTreeMap::new();
    let mut out = String::new();
    for line in parse(text) {
        match line {
            Line::Note(note) => {
                out.push_str(&note);
                out.push('\n');
            }
            Line::Write(name, text) => {
                let bytes = text.replace("\\n", "\n");
                std::fs::write(path.join(&name), bytes).expect("a file can be made");
                writeln!(out, "!write {name} {text}").expect("text");
            }
            Line::Command {
                system: name,
                eventually,
                command,
                expected,
            } => {
                let sign = if eventually { "~" } else { "" };
                writeln!(out, "{name}>{sign} {command}").expect("text");
                if !systems.contains_key(&name) {
                    systems.insert(name.clone(), System::new(&path, &name));
                }
                let command = filled(&command, &systems, &path);
                let system = systems.get_mut(&name).expect("it was put there");
                match command.as_str() {
                    "daemon" => system.start(&path),
                    "kill" => system.kill(),
                    "end" => system.end(),
                    command => {
                        let words = words(command);
                        out.push_str(&printed(
                            system,
                            &path,
                            &shown,
                            &words,
                            eventually.then_some(&expected),
                        ));
                    }
                }
            }
        }
    }
    for system in systems.values_mut() {
        if system.daemon.is_some() {
            system.end();
        }
    }
    out
}

/// What a command prints; where something is awaited, until it is that or the time is over.
fn printed(
    system: &System,
    dir: &Path,
    shown: &str,
    words: &[String],
    awaited: Option<&String>,
) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = system.command(dir, words);
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        let mut text = settled(&text, shown);
        match output.status.code() {
            Some(0) => {}
            Some(code) => writeln!(text, "[exit {code}]").expect("text"),
            None => text.push_str("[killed]\n"),
        }
        // Nothing stands there yet: it is taken as it is now.
        let done = awaited.is_none_or(|awaited| awaited.is_empty() || *awaited == text);
        if done || Instant::now() >= deadline {
            return text;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Puts in what differs from run to run.
fn filled(command: &str, systems: &BTreeMap<String, System>, dir: &Path) -> String {
    let mut text = command.replace("$DIR", &dir.to_string_lossy());
    for (name, system) in systems {
        text = text.replace(&format!("${name}_ADDRESS"), &system.address);
        let key = format!("${name}_KEY");
        if text.contains(&key) {
            let output = system.command(dir, &["dspsysid".to_owned(), "--json".to_owned()]);
            let value: serde_json::Value =
                serde_json::from_slice(&output.stdout).expect("DSPSYSID gives JSON");
            text = text.replace(&key, value["fingerprint"].as_str().expect("a fingerprint"));
        }
    }
    text
}
