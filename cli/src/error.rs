//! Package `cli`: from the kind of a failure to an exit code and a hint. Must not print.

use std::fmt;

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
