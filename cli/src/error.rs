//! Package `cli`: from the kind of a failure to an exit code and a hint. Must not print.

use std::fmt;
use std::path::Path;

use rjournal::daemon::{CommandError, ErrorKind};

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) struct CliError(pub(crate) CommandError);

impl CliError {
    /// The machine or this program let us down.
    pub(crate) fn internal(error: &dyn fmt::Display) -> Self {
        Self(CommandError::new(
            ErrorKind::Internal,
            "RJN1003",
            error.to_string(),
        ))
    }

    /// The command makes no sense as given.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self(CommandError::invalid(text))
    }

    /// A path on the command line that cannot be used; `parameter` is the one it was given in.
    pub(crate) fn wrong_path(
        kind: ErrorKind,
        parameter: &str,
        path: &Path,
        why: &dyn std::fmt::Display,
    ) -> Self {
        let text = format!("{parameter} {}: {why}", path.display());
        Self(CommandError::new(kind, "RJN1008", text))
    }

    /// A path on the command line that cannot be read.
    pub(crate) fn unreadable_path(parameter: &str, path: &Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        };
        Self::wrong_path(kind, parameter, path, error)
    }

    /// The exit code: docs/COMMANDS.md lists them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self.0.kind {
            ErrorKind::Invalid => 2,
            ErrorKind::NotFound => 3,
            ErrorKind::Exists => 4,
            ErrorKind::Refused => 5,
            ErrorKind::Unreachable => 6,
            ErrorKind::NotAuthorised => 7,
            ErrorKind::Damaged => 8,
            ErrorKind::Full => 9,
            ErrorKind::TimedOut => 10,
            ErrorKind::Poisoned => 11,
            ErrorKind::Internal => 12,
        }
    }
}

impl<E: Into<CommandError>> From<E> for CliError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}
