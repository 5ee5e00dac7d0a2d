//! Why `galera-agent run` ends before its server does, and the exit code that says so.

use std::io;
use std::path::Path;

use crate::settings::SettingError;

/// Why the agent does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A setting.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// What was found must not be touched: foreign data, another cluster's, another history's.
    #[error("{0}")]
    Refused(String),
    /// A file or directory may not be used.
    #[error("{0}")]
    PermissionDenied(String),
    /// A program is missing, or the data directory is in use.
    #[error("{0}")]
    Unavailable(String),
    /// Something that should not happen.
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

    /// What became of using `path`.
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
