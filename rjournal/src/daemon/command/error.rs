//! Room `daemon`: why a command was not carried out: what kind of failure, an id an operator can look up, what happened,
//! and what to do next. Must not know how it is shown.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{DepositError, JournalError, LinkError, ReceiverError, SystemError, is_no_room};

/// What kind of failure; each has its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The command makes no sense as given.
    Invalid,
    /// Something named is not there.
    NotFound,
    /// Something of that name is there already.
    Exists,
    /// A rule forbids it as things stand.
    Refused,
    /// A partner or the daemon cannot be reached.
    Unreachable,
    /// A partner does not allow it.
    NotAuthorised,
    /// Something on disk is damaged.
    Damaged,
    /// The disk is full.
    Full,
    /// It took longer than allowed; it may have happened or not.
    TimedOut,
    /// A write or flush went wrong.
    Poisoned,
    /// The machine or this program let us down.
    Internal,
}

/// A command that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// Message id: IBM i's where there is one, else `RJN` and a number (docs/MESSAGES.md).
    pub id: String,
    /// What happened.
    pub text: String,
    /// What to do next.
    pub help: Option<String>,
}

impl CommandError {
    /// An error without a next step.
    pub fn new(kind: ErrorKind, id: &str, text: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.to_owned(),
            text: text.into(),
            help: None,
        }
    }

    /// With a next step.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Something named is not there.
    pub fn not_found(what: &str, name: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::NotFound,
            "CPF9801",
            format!("{what} {name} not found"),
        )
    }

    /// Something of that name is there already.
    pub fn exists(what: &str, name: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::Exists,
            "CPF9870",
            format!("{what} {name} exists already"),
        )
    }

    /// The command makes no sense as given.
    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, "CPF0006", text)
    }

    /// A rule forbids it.
    pub fn refused(id: &str, text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, id, text)
    }
}

impl CommandError {
    /// Whether trying again can help, perhaps at another member of the recovery group: nothing is wrong with what was asked, it
    /// was asked at the wrong time or place.
    pub fn is_transient(&self) -> bool {
        let kind = matches!(
            self.kind,
            ErrorKind::Unreachable | ErrorKind::TimedOut | ErrorKind::Poisoned
        );
        // Stopping; not open; held off; not this member; handing over.
        let id = ["RJN1005", "RJN4010", "RJN4029", "RJN7131", "RJN7133"];
        kind || id.contains(&self.id.as_str())
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.text)?;
        match &self.help {
            Some(help) => write!(f, ". {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CommandError {}

impl From<SystemError> for CommandError {
    fn from(error: SystemError) -> Self {
        let kind = match &error {
            SystemError::Io { source, .. } if is_no_room(source) => ErrorKind::Full,
            SystemError::NoSystem { .. } | SystemError::NoConfig { .. } => ErrorKind::NotFound,
            SystemError::AlreadyInitialised { .. } => ErrorKind::Exists,
            SystemError::ForeignFiles { .. }
            | SystemError::InUse { .. }
            | SystemError::Copied { .. }
            | SystemError::KeyReadable { .. }
            | SystemError::OtherKey { .. }
            | SystemError::NotLost { .. } => ErrorKind::Refused,
            SystemError::Config { .. } => ErrorKind::Invalid,
            SystemError::Link(LinkError::Identity { .. }) => ErrorKind::Damaged,
            SystemError::Link(_) => ErrorKind::Unreachable,
            SystemError::Journal(error) if error.is_disk_full() => ErrorKind::Full,
            SystemError::Damaged { .. }
            | SystemError::CatalogLost { .. }
            | SystemError::Version { .. }
            | SystemError::Journal(_) => ErrorKind::Damaged,
            SystemError::Io { .. } => ErrorKind::Internal,
        };
        Self::new(kind, "RJN1001", error.to_string())
    }
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        let kind = match &error {
            error if error.is_disk_full() => ErrorKind::Full,
            JournalError::Io { .. }
            | JournalError::Receiver(ReceiverError::Io { .. } | ReceiverError::Failed { .. }) => {
                ErrorKind::Internal
            }
            JournalError::NoFreeName { .. } | JournalError::Name(_) => ErrorKind::Invalid,
            _ => ErrorKind::Damaged,
        };
        Self::new(kind, "RJN1002", error.to_string())
    }
}

impl From<ReceiverError> for CommandError {
    fn from(error: ReceiverError) -> Self {
        match error {
            ReceiverError::NotHere { .. } => {
                Self::new(ErrorKind::NotFound, "RJN4003", error.to_string())
            }
            error => Self::from(JournalError::from(error)),
        }
    }
}

impl From<LinkError> for CommandError {
    fn from(error: LinkError) -> Self {
        let kind = match &error {
            LinkError::Fingerprint { .. } => ErrorKind::Invalid,
            LinkError::Malformed { .. } | LinkError::Encode { .. } | LinkError::Identity { .. } => {
                ErrorKind::Internal
            }
            _ => ErrorKind::Unreachable,
        };
        Self::new(kind, "CPF70C5", error.to_string())
    }
}

impl From<DepositError> for CommandError {
    fn from(error: DepositError) -> Self {
        let kind = match &error {
            DepositError::NoSpace { .. } => ErrorKind::Full,
            DepositError::Poisoned => ErrorKind::Poisoned,
            DepositError::TooLarge { .. }
            | DepositError::ReservedKind { .. }
            | DepositError::KeyNotDeclared => ErrorKind::Invalid,
            _ => ErrorKind::Refused,
        };
        let id = match &error {
            DepositError::SyncBlocked => "RJN4029",
            DepositError::NotOpen => "RJN4010",
            DepositError::HandingOver => "RJN7133",
            _ => "CPF7003",
        };
        Self::new(kind, id, format!("the entry was not journaled: {error}"))
    }
}
