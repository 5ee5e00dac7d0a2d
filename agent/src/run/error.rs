//! Errors that end `galera-agent run` before its server exits, and their exit codes.

use std::io;
use std::path::Path;

use crate::settings::SettingError;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The data directory must not be touched: foreign data, or another cluster's or history's.
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    PermissionDenied(String),
    /// A program is missing, or the data directory is in use.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl RunError {
    /// The exit code: 64, 69, 70 or 77.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(wrong) if wrong.permission_denied => 77,
            Self::Setting(_) | Self::Refused(_) => 64,
            Self::Unavailable(_) => 69,
            Self::Internal(_) => 70,
            Self::PermissionDenied(_) => 77,
        }
    }

    /// An I/O error on `path`; `what` is the failed operation.
    #[must_use]
    pub fn from_io(what: &str, path: &Path, error: &io::Error) -> Self {
        let text = format!("{what} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied(text)
            }
            _ => Self::Internal(text),
        }
    }
}
