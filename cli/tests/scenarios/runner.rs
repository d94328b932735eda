//! Package `cli`, tests: runs a scenario with real processes, and gives the script as it went. Must not judge.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::time::Instant;

use crate::copies;
use crate::network::Network;
use crate::script::{How, Line, parse, settled, words};

/// How long something that is to happen may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// A port of loopback that a daemon chooses.
const ANY_PORT: &str = "127.0.0.1:0";

/// One system of a scenario.
struct System {
    data: PathBuf,
    address: String,
    daemon: Option<Child>,
    beside: Option<Child>,
    network: Option<Rc<Network>>,
}

impl Drop for System {
    fn drop(&mut self) {
        for mut child in self.daemon.take().into_iter().chain(self.beside.take()) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl System {
    fn new(dir: &Path, name: &str, network: Option<Rc<Network>>) -> Self {
        Self {
            data: dir.join(name),
            address: ANY_PORT.to_owned(),
            daemon: None,
            beside: None,
            network,
        }
    }

    fn program(&self, dir: &Path, words: &[String]) -> Command {
        self.run(env!("CARGO_BIN_EXE_rjournal"), dir, words)
    }

    fn run(&self, program: &str, dir: &Path, words: &[String]) -> Command {
        let mut command = match &self.network {
            Some(network) => network.command(program, dir),
            None => Command::new(program),
        };
        command
            .current_dir(dir)
            .env("RJOURNAL_DATA", &self.data)
            .env("TZ", "UTC")
            .env_remove("COLUMNS")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn command(&self, dir: &Path, words: &[String]) -> Output {
        let output = self.program(dir, words).output();
        output.expect("the program runs")
    }

    fn begin(&mut self, dir: &Path, words: &[String]) {
        let mut program = self.program(dir, words);
        let program = program.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.beside = Some(program.spawn().expect("the program runs"));
    }

    fn wait(&mut self) -> Output {
        let beside = self.beside.take().expect("a command that runs beside");
        beside.wait_with_output().expect("it ends")
    }

    fn start(&mut self, dir: &Path) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.data.with_extension("log"))
            .expect("a log file");
        // A file that may not grow is an error for it, not its end: `fail_writes`.
        let script = "trap '' XFSZ; exec \"$0\" daemon";
        let words = ["-c", script, env!("CARGO_BIN_EXE_rjournal")].map(str::to_owned);
        let daemon = self
            .run("sh", dir, &words)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon runs");
        self.daemon = Some(daemon);
        until("the daemon answers", || {
            let status = self.command(dir, &["dspsysid".to_owned()]).status;
            status.success().then_some(())
        });
        if self.address == ANY_PORT {
            self.keep_address(dir);
        }
    }

    /// The port a daemon got stays its own: partners are told it, and it is started again.
    fn keep_address(&mut self, dir: &Path) {
        let described = self.described(dir);
        let Some(address) = described["listen"].as_str() else {
            return;
        };
        address.clone_into(&mut self.address);
        // Its disk may be one that only its network sees.
        let config = self.data.join("rjournal.toml").display().to_string();
        let words = ["-i".to_owned(), format!("s/{ANY_PORT}/{address}/"), config];
        let changed = self.run("sed", dir, &words).status();
        assert!(changed.is_ok_and(|status| status.success()));
    }

    fn described(&self, dir: &Path) -> serde_json::Value {
        let output = self.command(dir, &["dspsysid".to_owned(), "--json".to_owned()]);
        serde_json::from_slice(&output.stdout).expect("DSPSYSID gives JSON")
    }

    /// Every file the daemon writes to is longer than it may be from now on.
    fn fail_writes(&self) {
        let daemon = self.daemon.as_ref().expect("a daemon that runs");
        let pid = i32::try_from(daemon.id()).ok();
        let none = Rlimit {
            current: Some(0),
            maximum: None,
        };
        prlimit(pid.and_then(Pid::from_raw), Resource::Fsize, none).expect("it can be limited");
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

/// Runs a scenario and gives the script as it went; nothing where it needs a network and this machine allows none.
#[allow(clippy::too_many_lines, reason = "one arm for each kind of line")]
pub(crate) fn run(text: &str) -> Option<String> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().canonicalize().expect("it is there");
    let shown = path.to_string_lossy().into_owned();
    let mut systems: BTreeMap<String, System> = BTreeMap::new();
    let mut out = String::new();
    let mut network: Option<Rc<Network>> = None;
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
            Line::Rows(name, count) => {
                let rows = (1..=count).map(|row| format!("{row},{}\n", row * row));
                let text: String = ["Id,Square\n".to_owned()].into_iter().chain(rows).collect();
                std::fs::write(path.join(&name), text).expect("a file can be made");
                writeln!(out, "!rows {name} {count}").expect("text");
            }
            Line::Damage(system, from, count) => {
                damage(&systems[&system].data, from, count);
                writeln!(out, "!damage {system} {from} {count}").expect("text");
            }
            Line::LoseControl(system) => {
                lose(&first(&systems[&system].data.join("journals")), "control");
                writeln!(out, "!lose-control {system}").expect("text");
            }
            Line::LoseCatalog(system) => {
                lose(&systems[&system].data, "catalog");
                writeln!(out, "!lose-catalog {system}").expect("text");
            }
            Line::LoseMarks(system) => {
                copies::lose_marks(&systems[&system].data);
                writeln!(out, "!lose-marks {system}").expect("text");
            }
            Line::Keep(system) => {
                copies::keep(&systems[&system].data);
                writeln!(out, "!keep {system}").expect("text");
            }
            Line::Restore(system) => {
                copies::restore(&systems[&system].data);
                writeln!(out, "!restore {system}").expect("text");
            }
            Line::NoWrites(system) => {
                systems[&system].fail_writes();
                writeln!(out, "!no-writes {system}").expect("text");
            }
            Line::Network(order) => {
                match order.as_str() {
                    "own" => network = Some(Rc::new(Network::new()?)),
                    state => assert!(network.as_ref().expect("a network").loopback(state)),
                }
                writeln!(out, "!network {order}").expect("text");
            }
            Line::Disk(name, size) => {
                let at = path.join(&name);
                std::fs::create_dir_all(&at).expect("a directory");
                assert!(network.as_ref().expect("a network").disk(&at, &size));
                writeln!(out, "!disk {name} {size}").expect("text");
            }
            Line::Command {
                system: name,
                how,
                command,
                expected,
            } => {
                let sign = match how {
                    How::Once => "",
                    How::Eventually => "~",
                    How::Beside => "&",
                };
                writeln!(out, "{name}>{sign} {command}").expect("text");
                if !systems.contains_key(&name) {
                    systems.insert(name.clone(), System::new(&path, &name, network.clone()));
                }
                let command = filled(&command, &systems, &path);
                let system = systems.get_mut(&name).expect("it was put there");
                match command.as_str() {
                    "daemon" => system.start(&path),
                    "kill" => system.kill(),
                    "end" => system.end(),
                    "wait" => out.push_str(&told(&system.wait(), &shown)),
                    command if how == How::Beside => system.begin(&path, &words(command)),
                    command => {
                        let words = words(command);
                        let awaited = (how == How::Eventually).then_some(&expected);
                        out.push_str(&printed(system, &path, &shown, &words, awaited));
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
    Some(out)
}

/// The first entry of a directory.
fn first(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).expect("a directory").flatten();
    let first = entries.map(|entry| entry.path()).min();
    first.expect("something")
}

/// Changes bytes of a file in place: a daemon that runs has it open.
fn overwrite(file: &Path, from: u64, count: usize) {
    let file = std::fs::OpenOptions::new().write(true).open(file);
    file.and_then(|file| file.write_all_at(&vec![0x55; count], from))
        .expect("a file");
}

/// Changes bytes of the first receiver of the first journal.
fn damage(data: &Path, from: u64, count: usize) {
    let receivers = first(&data.join("journals")).join("receivers");
    overwrite(&first(&receivers), from, count);
}

/// Both slots of a small file.
fn lose(dir: &Path, name: &str) {
    for slot in ["a", "b"] {
        overwrite(&dir.join(format!("{name}.{slot}")), 0, 60);
    }
}

/// What a command printed, and how it ended.
fn told(output: &Output, shown: &str) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    let mut text = settled(&text, shown);
    match output.status.code() {
        Some(0) => {}
        Some(code) => writeln!(text, "[exit {code}]").expect("text"),
        None => text.push_str("[killed]\n"),
    }
    text
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
        let text = told(&system.command(dir, words), shown);
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
            let value = system.described(dir);
            text = text.replace(&key, value["fingerprint"].as_str().expect("a fingerprint"));
        }
    }
    text
}
