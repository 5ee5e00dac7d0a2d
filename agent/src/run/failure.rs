//! Why `galera-agent run` ends before its server does, and the exit code that says so.

use std::io;
use std::path::Path;

use crate::settings::Wrong;

/// Why the agent does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A setting.
    #[error(transparent)]
    Wrong(#[from] Wrong),
    /// What was found must not be touched: foreign data, another cluster's, another history's.
    #[error("{0}")]
    Refused(String),
    /// A file or directory may not be used.
    #[error("{0}")]
    Forbidden(String),
    /// A program is missing, or the data directory is in use.
    #[error("{0}")]
    Unavailable(String),
    /// Something that should not happen.
    #[error("{0}")]
    Internal(String),
}

impl Failure {
    /// The exit code: 64, 69, 70 or 77.
    #[must_use]
    pub const fn code(&self) -> u8 {
        match self {
            Self::Wrong(wrong) if wrong.forbidden => 77,
            Self::Wrong(_) | Self::Refused(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
            Self::Forbidden(_) => 77,
        }
    }

    /// What became of using `path`.
    #[must_use]
    pub fn of(what: &str, path: &Path, error: &io::Error) -> Self {
        let text = format!("{what} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Forbidden(text)
            }
            _ => Self::Internal(text),
        }
    }
}
