//! The file with the state secrets: one a line, newest first, readable by its owner only.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::envelope::to_hex;
use super::{SECRET_MIN_CHARS, SECRETS_MAX, StateSecrets};

/// Bytes of a secret file that are read; more cannot be valid.
const FILE_MAX_BYTES: u64 = 16 * 1024;

/// Why a secret file cannot be used: each text names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateSecretFileError {
    #[error(
        "{0} does not exist; create it with `galera-console secret new {0}`, or copy it from another replica"
    )]
    Missing(String),
    #[error("{0} exists already; use `galera-console secret rotate {0}` to replace its secret")]
    Exists(String),
    #[error("permission denied for {0}; change its owner to the console's user")]
    Denied(String),
    #[error(
        "{0} can be read by every user of the system or written by its group (mode {1:04o}); run chmod 0600 {0}, and rotate the secret if others used this system"
    )]
    Exposed(String, u32),
    #[error("{0} is not a regular file; give a file with one secret a line")]
    NotAFile(String),
    #[error("{0} is empty; create a secret with `galera-console secret new` and write it there")]
    Empty(String),
    #[error("{0} has more than two lines; keep the newest secret and the one before, newest first")]
    TooManyLines(String),
    #[error(
        "line {1} of {0} is shorter than 32 characters; use a secret of `galera-console secret new`"
    )]
    TooShort(String, usize),
    #[error(
        "line {1} of {0} is malformed: a secret has printable ASCII characters without spaces; use one of `galera-console secret new`"
    )]
    Malformed(String, usize),
    #[error(
        "both lines of {0} are the same secret; remove one, or create another with `galera-console secret rotate {0}`"
    )]
    Repeated(String),
    #[error("cannot use {0}: {1}; fix the path or the file")]
    Io(String, String),
}

fn io_error(path: &Path, error: &std::io::Error) -> StateSecretFileError {
    let shown = path.display().to_string();
    match error.kind() {
        ErrorKind::NotFound => StateSecretFileError::Missing(shown),
        ErrorKind::AlreadyExists => StateSecretFileError::Exists(shown),
        ErrorKind::PermissionDenied => StateSecretFileError::Denied(shown),
        ErrorKind::IsADirectory => StateSecretFileError::NotAFile(shown),
        _ => StateSecretFileError::Io(shown, error.to_string()),
    }
}

/// A new random secret, as text.
///
/// # Errors
/// If the system has no random numbers.
pub fn new_secret() -> Result<String, registry::Error> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| registry::Error::Invalid("no random numbers are available".to_owned()))?;
    Ok(to_hex(&bytes))
}

/// Reads the secrets in `path`.
///
/// # Errors
/// [`StateSecretFileError`].
pub fn read_file(path: &Path) -> Result<StateSecrets, StateSecretFileError> {
    let lines = read_lines(path)?;
    let newest = lines.first().map_or("", String::as_str);
    StateSecrets::derive(newest, lines.get(1).map(String::as_str))
        .map_err(|error| StateSecretFileError::Io(path.display().to_string(), error.to_string()))
}

fn read_lines(path: &Path) -> Result<Vec<String>, StateSecretFileError> {
    let shown = || path.display().to_string();
    let failed = |error: std::io::Error| io_error(path, &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(StateSecretFileError::NotAFile(shown()));
    }
    let mode = metadata.mode() & 0o7777;
    // A group that may read is how Kubernetes gives a file to a container.
    if mode & 0o027 != 0 {
        return Err(StateSecretFileError::Exposed(shown(), mode));
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| StateSecretFileError::Malformed(shown(), 1))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.trim().is_empty() {
        return Err(StateSecretFileError::Empty(shown()));
    }
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line).to_owned())
        .collect();
    if lines.len() > SECRETS_MAX {
        return Err(StateSecretFileError::TooManyLines(shown()));
    }
    for (index, line) in lines.iter().enumerate() {
        if !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(StateSecretFileError::Malformed(shown(), index + 1));
        }
        if line.len() < SECRET_MIN_CHARS {
            return Err(StateSecretFileError::TooShort(shown(), index + 1));
        }
    }
    match lines.as_slice() {
        [newest, previous] if newest == previous => Err(StateSecretFileError::Repeated(shown())),
        _ => Ok(lines),
    }
}

/// Creates `path` with a new secret.
///
/// # Errors
/// [`StateSecretFileError`]; an existing file is not changed.
pub fn generate_file(path: &Path) -> Result<StateSecrets, StateSecretFileError> {
    let secret = new_secret()
        .map_err(|error| StateSecretFileError::Io(path.display().to_string(), error.to_string()))?;
    write_new(path, &format!("{secret}\n")).map_err(|error| io_error(path, &error))?;
    read_file(path)
}

/// Puts a new secret before the newest one in `path` and drops older ones; returns the new content.
///
/// # Errors
/// [`StateSecretFileError`]; the file is unchanged then.
pub fn rotate_file(path: &Path) -> Result<StateSecrets, StateSecretFileError> {
    let lines = read_lines(path)?;
    let failed = |error: &dyn std::fmt::Display| {
        StateSecretFileError::Io(path.display().to_string(), error.to_string())
    };
    let secret = new_secret().map_err(|error| failed(&error))?;
    let previous = lines.first().map_or("", String::as_str);
    let next = temporary_beside(path);
    write_new(&next, &format!("{secret}\n{previous}\n")).map_err(|error| failed(&error))?;
    if let Err(error) = std::fs::rename(&next, path) {
        let _ = std::fs::remove_file(&next);
        return Err(failed(&error));
    }
    read_file(path)
}

fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    PathBuf::from(name)
}

/// Writes a file that only its owner can read.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
