//! Reading a file of PEM, and what it contains if that is not what was expected.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::TlsFileError;

/// Bytes of a file that are read; a bundle of all public authorities has 250,000.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// The content of a file and its permissions.
pub(crate) fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsFileError> {
    let failed = |error: std::io::Error| {
        let shown = path.display();
        let text = match error.kind() {
            ErrorKind::NotFound => format!("{shown} does not exist; create it or fix the path"),
            ErrorKind::PermissionDenied => {
                format!("permission denied for {shown}; change its owner to the program's user")
            }
            _ => format!("cannot read {shown}: {error}; fix the path or the file"),
        };
        TlsFileError::Unreadable {
            text,
            permission_denied: error.kind() == ErrorKind::PermissionDenied,
        }
    };
    // Opening a named pipe would wait for its writer.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let shown = path.display();
        return Err(TlsFileError::Unreadable {
            text: format!("{shown} is not a regular file; give a file, which can be read again"),
            permission_denied: false,
        });
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok((bytes, mode))
}

/// What a file contains in which nothing usable was found.
pub(crate) fn describe_content(bytes: &[u8]) -> String {
    const BEGIN: &str = "-----BEGIN ";
    if bytes.trim_ascii().is_empty() {
        return "it is empty".to_owned();
    }
    let text = String::from_utf8_lossy(bytes);
    let label = text
        .split_once(BEGIN)
        .and_then(|(_, rest)| rest.split_once("-----"))
        .map(|(label, _)| label)
        .filter(|label| label.len() <= 40 && !label.contains(char::is_control));
    match label {
        Some("ENCRYPTED PRIVATE KEY") => "its key has a passphrase".to_owned(),
        Some(label) => format!("it has a {}", label.to_lowercase()),
        None => "it is not PEM".to_owned(),
    }
}

/// The path, for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
