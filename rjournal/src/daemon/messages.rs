//! Room `daemon`: messages: what an operator must be able to read later, kept durably with id, severity and time, and told
//! to a command of the operator's own as it happens. Ids follow IBM i's where one exists (docs/MESSAGES.md). Must not
//! decide what deserves one.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::entry::Timestamp;
use crate::error::SystemError;

/// A file of messages is set aside at this size; one older file is kept.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Version of the lines. It stands in the first one.
const VERSION: u16 = 1;
/// How many messages stay in memory.
const KEPT: usize = 2_000;
/// How many messages may wait for the operator's command.
const HOOK_QUEUE: usize = 256;

/// How grave a message is (IBM i: 0 to 99).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Something went as it should (0).
    Info,
    /// Something an operator should look at (40).
    Warning,
    /// Protection or service is lost until somebody acts, or was lost for a while (70).
    Alarm,
    /// Data is at stake (99).
    Critical,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorMessage {
    /// Number, growing.
    pub number: u64,
    /// Id, as in `CPF70D5`.
    pub id: String,
    /// How grave.
    pub severity: Severity,
    /// When.
    pub time: Timestamp,
    /// What it is about: a journal, a link, a store.
    pub about: String,
    /// Text.
    pub text: String,
}

/// The first line of a file of messages.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    messages: u16,
}

#[derive(Debug)]
struct State {
    file: File,
    bytes: u64,
    recent: VecDeque<OperatorMessage>,
    next: u64,
}

/// The message list of a system.
#[derive(Debug)]
pub(crate) struct Messages {
    path: PathBuf,
    state: Mutex<State>,
    hook: Option<SyncSender<OperatorMessage>>,
}

impl Messages {
    /// Opens the list in a data directory. `on_message` is run for every new message.
    ///
    /// # Errors
    /// [`SystemError::Io`] when the disk refuses, `Version` when a newer program wrote them; nothing is changed then.
    pub(crate) fn open(dir: &Path, on_message: Option<&str>) -> Result<Self, SystemError> {
        let path = dir.join("messages.jsonl");
        let io = |source| SystemError::io("could not be opened", &path, source);
        let mut recent = VecDeque::new();
        let mut whole = true;
        for file in [older(&path), path.clone()] {
            whole = read(&file, &mut recent)?;
        }
        let mut file = append(&path).map_err(io)?;
        let mut bytes = file.metadata().map_err(io)?.len();
        if bytes == 0 {
            bytes = write_head(&mut file).map_err(io)?;
        } else if !whole {
            // The next message would be lost with the torn one it is written behind.
            file.write_all(b"\n").map_err(io)?;
        }
        let next = recent
            .back()
            .map_or(1, |message: &OperatorMessage| message.number + 1);
        let hook = on_message.map(start_hook);
        Ok(Self {
            path,
            state: Mutex::new(State {
                file,
                bytes,
                recent,
                next,
            }),
            hook,
        })
    }

    /// Puts a message down, durably, and tells the operator's command.
    pub(crate) fn post(
        &self,
        id: &str,
        severity: Severity,
        about: &str,
        text: String,
        time: Timestamp,
    ) {
        match severity {
            Severity::Info => tracing::info!(id, about, "{text}"),
            Severity::Warning => tracing::warn!(id, about, "{text}"),
            Severity::Alarm | Severity::Critical => tracing::error!(id, about, "{text}"),
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let message = OperatorMessage {
            number: state.next,
            id: id.to_owned(),
            severity,
            time,
            about: about.to_owned(),
            text,
        };
        state.next += 1;
        if let Err(error) = self.write(&mut state, &message) {
            tracing::error!(%error, "a message could not be kept");
        }
        state.recent.push_back(message.clone());
        if state.recent.len() > KEPT {
            state.recent.pop_front();
        }
        drop(state);
        if let Some(hook) = &self.hook
            && hook.try_send(message).is_err()
        {
            tracing::warn!("the command for messages is too slow; one was not told to it");
        }
    }

    fn write(&self, state: &mut State, message: &OperatorMessage) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        if state.bytes > FILE_BYTES_MAX {
            self.turn_over(state)?;
        }
        state.file.write_all(&line)?;
        state.file.sync_data()?;
        state.bytes += line.len() as u64;
        Ok(())
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "an older list may be lost at a crash; nothing rests on it"
    )]
    fn turn_over(&self, state: &mut State) -> std::io::Result<()> {
        fs::rename(&self.path, older(&self.path))?;
        state.file = append(&self.path)?;
        state.bytes = write_head(&mut state.file)?;
        Ok(())
    }

    /// Messages after number `after`, at least as grave as `severity`, the newest `count` of them.
    pub(crate) fn list(
        &self,
        after: u64,
        severity: Severity,
        count: usize,
    ) -> Vec<OperatorMessage> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted =
            |message: &&OperatorMessage| message.number > after && message.severity >= severity;
        let mut found: Vec<OperatorMessage> = state
            .recent
            .iter()
            .rev()
            .filter(wanted)
            .take(count)
            .cloned()
            .collect();
        found.reverse();
        found
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("older.jsonl")
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// Begins a file; says how long it is then. The first message flushes it.
fn write_head(file: &mut File) -> std::io::Result<u64> {
    let mut line = serde_json::to_vec(&Head { messages: VERSION })?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(line.len() as u64)
}

/// Reads what can be read: a torn last line is passed over. Says whether the last line has its end.
fn read(path: &Path, recent: &mut VecDeque<OperatorMessage>) -> Result<bool, SystemError> {
    let Ok(file) = File::open(path) else {
        return Ok(true);
    };
    let (mut file, mut line) = (BufReader::new(file), Vec::new());
    let mut whole = true;
    while matches!(file.read_until(b'\n', &mut line), Ok(1..)) {
        whole = line.ends_with(b"\n");
        if let Ok(message) = serde_json::from_slice(&line) {
            recent.push_back(message);
            if recent.len() > KEPT {
                recent.pop_front();
            }
        } else if let Ok(Head { messages: found }) = serde_json::from_slice(&line)
            && found > VERSION
        {
            let path = path.to_path_buf();
            return Err(SystemError::Version { path, found });
        }
        line.clear();
    }
    Ok(whole)
}

/// Runs the operator's command for one message after the other, on a thread of its own.
fn start_hook(command: &str) -> SyncSender<OperatorMessage> {
    let (send, receive) = sync_channel::<OperatorMessage>(HOOK_QUEUE);
    let command = command.to_owned();
    let run = move || {
        for message in receive {
            if let Err(error) = run_hook(&command, &message) {
                tracing::warn!(%error, command, "the command for messages could not be run");
            }
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("on-message".to_owned())
        .spawn(run)
    {
        tracing::error!(%error, "the command for messages cannot be run");
    }
    send
}

fn run_hook(command: &str, message: &OperatorMessage) -> std::io::Result<()> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .env("RJOURNAL_MESSAGE_ID", &message.id)
        .env("RJOURNAL_MESSAGE_ABOUT", &message.about)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not read its input is not an error.
        drop(input.write_all(&serde_json::to_vec(message)?));
    }
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(dir: &Path, text: &str) {
        let messages = Messages::open(dir, None).unwrap();
        messages.post(
            "RJN0",
            Severity::Info,
            "it",
            text.to_owned(),
            Timestamp::ZERO,
        );
    }

    fn listed(dir: &Path) -> Vec<String> {
        let messages = Messages::open(dir, None).unwrap();
        let list = messages.list(0, Severity::Info, 100);
        list.into_iter().map(|message| message.text).collect()
    }

    #[test]
    fn a_list_begins_with_its_version_and_a_newer_one_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("messages.jsonl");
        post(dir.path(), "one");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("{\"messages\":1}\n{\"number\":1,"),
            "{text}"
        );
        assert_eq!(listed(dir.path()), ["one"]);
        let newer = text.replacen(":1}", ":2}", 1);
        for name in ["messages.jsonl", "messages.older.jsonl"] {
            let path = dir.path().join(name);
            fs::write(&path, &newer).unwrap();
            let error = Messages::open(dir.path(), None).map(drop).unwrap_err();
            assert!(error.to_string().contains("format version 2"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), newer);
            fs::write(&path, &text).unwrap();
        }
    }

    /// It was once written behind the torn line, and read with it: not at all.
    #[test]
    fn a_message_behind_a_torn_one_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        post(dir.path(), "one");
        let mut file = append(&dir.path().join("messages.jsonl")).unwrap();
        file.write_all(b"{\"number\":2,\"id\":\xc3").unwrap();
        post(dir.path(), "two");
        assert_eq!(listed(dir.path()), ["one", "two"]);
    }
}
