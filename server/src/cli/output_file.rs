//! Files that commands write.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::{CliError, ExitReason};

/// Writes a file that does not exist yet, readable by this user only.
pub(super) fn write_new(path: &str, parts: &[&[u8]]) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::AlreadyExists => "; name a file that does not exist yet",
            _ => "",
        };
        CliError::new(
            ExitReason::Usage,
            format!("cannot write {path}: {error}{remedy}"),
        )
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let written = parts
        .iter()
        .try_for_each(|part| file.write_all(part))
        .and_then(|()| file.sync_all());
    written.map_err(|error| {
        // An incomplete file could be taken for an export.
        let _ = std::fs::remove_file(path);
        failed(error)
    })
}
