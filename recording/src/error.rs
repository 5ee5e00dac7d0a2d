//! Why a file cannot be written or read.

use std::path::Path;

use rusqlite::ErrorCode;

/// Why a file of recorded data cannot be used. Each text names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    #[error(
        "another console records in {path}; give each console its own --data-dir, or stop the other one"
    )]
    InUse { path: String },
    #[error(
        "{path} was written by another version of the console (format {found}, this one reads {expected}); run that version, or move the file away"
    )]
    OtherVersion {
        path: String,
        found: i64,
        expected: i64,
    },
    #[error("{path} is not a file of {content}; move it away, or set another --data-dir")]
    Foreign { path: String, content: &'static str },
    #[error(
        "{path} is damaged ({reason}); check the disk, then move the file away: a new one is begun"
    )]
    Damaged { path: String, reason: String },
    #[error("the disk of {path} is full; free space on it")]
    Full { path: String },
    #[error(
        "{path} cannot be written because it or its disk is read-only; mount the disk writable, or correct the permissions"
    )]
    ReadOnly { path: String },
    #[error("the disk of {path} has not answered for {seconds} s; check the disk")]
    Stalled { path: String, seconds: u64 },
    #[error(
        "{path} cannot be used: {reason}; correct the path, the permissions or the disk, or set another --data-dir"
    )]
    Io { path: String, reason: String },
}

impl RecordingError {
    /// Any other failure.
    #[must_use]
    pub fn io(path: &Path, reason: &dyn std::fmt::Display) -> Self {
        Self::Io {
            path: path.display().to_string(),
            reason: reason.to_string(),
        }
    }

    /// The failure of a statement on the file at `path`.
    #[must_use]
    pub fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let shown = path.display().to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { path: shown },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path: shown },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::InUse { path: shown }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path: shown,
                reason: error.to_string(),
            },
            _ => Self::io(path, error),
        }
    }
}
