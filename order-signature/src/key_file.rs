//! The file of the private key.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{KeyError, OrderSigningKey};

/// Largest file that is read, in bytes.
const FILE_MAX: u64 = 64 * 1024;
/// The permission bits of users other than owner and group.
const OTHERS: u32 = 0o007;

/// A file of a private key that cannot be used, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{0} does not exist; create it with `galera-console order-key new {0}`, or fix the path", path.display())]
    Missing { path: PathBuf },
    #[error("{0} exists already and is not overwritten; choose another file, or remove it if no agent trusts its key", path.display())]
    Exists { path: PathBuf },
    #[error("{0} can be read by every user of the system (mode {mode:04o}); run chmod 0600 {0}, and replace the key if others used this system", path.display())]
    WorldReadable { path: PathBuf, mode: u32 },
    #[error("{0} {error}", path.display())]
    Key { path: PathBuf, error: KeyError },
    #[error("{0}: {error}; fix the path, its owner or its mode", path.display())]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
}

impl KeyFileError {
    /// Whether the operating system denied access.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { error, .. } if error.kind() == ErrorKind::PermissionDenied)
    }
}

/// Reads the private key in `path`, which only its owner and group may read.
///
/// # Errors
/// [`KeyFileError`] with the file and the remedy.
pub fn read_key_file(path: &Path) -> Result<OrderSigningKey, KeyFileError> {
    let io = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => KeyFileError::Missing {
            path: path.to_owned(),
        },
        _ => KeyFileError::Io {
            path: path.to_owned(),
            error,
        },
    };
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text).map_err(io)?;
    let key = OrderSigningKey::from_pem(&text).map_err(|error| KeyFileError::Key {
        path: path.to_owned(),
        error,
    })?;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::WorldReadable {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(key)
}

/// Creates `path` with a new private key, readable by its owner only. Never overwrites.
///
/// # Errors
/// [`KeyFileError`] with the file and the remedy.
pub fn create_key_file(path: &Path) -> Result<OrderSigningKey, KeyFileError> {
    let wrong = |error| KeyFileError::Key {
        path: path.to_owned(),
        error,
    };
    let io = |error: std::io::Error| match error.kind() {
        ErrorKind::AlreadyExists => KeyFileError::Exists {
            path: path.to_owned(),
        },
        _ => KeyFileError::Io {
            path: path.to_owned(),
            error,
        },
    };
    let key = OrderSigningKey::generate().map_err(wrong)?;
    let text = key.to_pem().map_err(wrong)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io)?;
    Ok(key)
}
