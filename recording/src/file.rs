//! A file: an SQLite database with one writer.
//!
//! Every change is one transaction in write-ahead mode, synced: a killed process or a power failure loses what was not yet
//! written, and nothing else.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::RecordingError;

/// What a file holds, and how it is recognized.
#[derive(Clone, Copy, Debug)]
pub struct FileFormat {
    /// The file's name in its directory.
    pub name: &'static str,
    /// What it holds, as in "recorded figures".
    pub content: &'static str,
    /// `PRAGMA application_id`, which marks a file of this kind.
    pub application_id: i64,
    /// `PRAGMA user_version`: the version of the format.
    pub version: i64,
    /// The statements that make its tables.
    pub schema: &'static str,
    /// Bytes of a page. Larger pages waste less at the ends of values of some kilobytes.
    pub page_size: i64,
}

/// An open file. No other process writes while it is.
#[derive(Debug)]
pub struct RecordingFile {
    pub connection: Connection,
    pub path: PathBuf,
    _lock: File,
}

impl RecordingFile {
    /// Opens the file in `directory`, or creates both.
    ///
    /// # Errors
    /// [`RecordingError`]: another console has it open, it is damaged, of another kind or version, or the disk refuses.
    pub fn open(directory: &Path, format: &FileFormat) -> Result<Self, RecordingError> {
        let path = directory.join(format.name);
        let io = |error: std::io::Error| RecordingError::io(&path, &error);
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(io)?;
        let lock = lock(directory, &path)?;
        check_length(&path)?;
        let opened = connect(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        )
        .and_then(|connection| initialize(&connection, format).map(|found| (connection, found)));
        let (connection, found) =
            opened.map_err(|error| RecordingError::of_sqlite(&path, &error))?;
        check_format(&path, format, found)?;
        Ok(Self {
            connection,
            path,
            _lock: lock,
        })
    }

    /// The failure of a statement.
    #[must_use]
    pub fn error(&self, error: &rusqlite::Error) -> RecordingError {
        RecordingError::of_sqlite(&self.path, error)
    }

    /// Bytes of the file, without its write-ahead log.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }
}

/// A connection for one reader; `None` if there is no file yet.
///
/// # Errors
/// [`RecordingError`]: the file is damaged, of another kind or version, or the disk refuses.
pub fn open_for_reading(
    directory: &Path,
    format: &FileFormat,
) -> Result<Option<Connection>, RecordingError> {
    let path = directory.join(format.name);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |error: rusqlite::Error| RecordingError::of_sqlite(&path, &error);
    let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    check_format(&path, format, format_of(&connection).map_err(failed)?)?;
    Ok(Some(connection))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    Ok(connection)
}

/// The mark and the version of the file. A new file has neither.
fn format_of(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn check_format(
    path: &Path,
    format: &FileFormat,
    (application, version): (i64, i64),
) -> Result<(), RecordingError> {
    let shown = path.display().to_string();
    if application != format.application_id {
        return Err(RecordingError::Foreign {
            path: shown,
            content: format.content,
        });
    }
    if version != format.version {
        return Err(RecordingError::OtherVersion {
            path: shown,
            found: version,
            expected: format.version,
        });
    }
    Ok(())
}

/// Prepares the connection, and the file if it is new. Returns its mark and version.
fn initialize(connection: &Connection, format: &FileFormat) -> rusqlite::Result<(i64, i64)> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if format_of(connection)? == (0, 0) && tables == 0 {
        connection.pragma_update(None, "page_size", format.page_size)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let changes = connection.unchecked_transaction()?;
        changes.execute_batch(format.schema)?;
        changes.pragma_update(None, "application_id", format.application_id)?;
        changes.pragma_update(None, "user_version", format.version)?;
        changes.commit()?;
    }
    let found = format_of(connection)?;
    if found == (format.application_id, format.version) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -8_192)?;
        connection.pragma_update(None, "wal_autocheckpoint", 512)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    }
    Ok(found)
}

/// Refuses a file that is shorter than its header says, which SQLite takes for an empty one if less than a page is left. With a
/// write-ahead log the rest may be there.
fn check_length(path: &Path) -> Result<(), RecordingError> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length(path) == 0 || length(Path::new(&log)) > 0 {
        return Ok(());
    }
    let mut header = [0_u8; 100];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    let complete = u64::from(pages) * page_size;
    match read {
        Ok(()) if length(path) >= complete => Ok(()),
        _ => Err(RecordingError::Damaged {
            path: path.display().to_string(),
            reason: format!(
                "its end is missing: {} bytes of {complete} are left",
                length(path)
            ),
        }),
    }
}

/// Excludes other consoles as long as the file is held.
fn lock(directory: &Path, path: &Path) -> Result<File, RecordingError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => RecordingError::ReadOnly {
                path: path.display().to_string(),
            },
            std::io::ErrorKind::StorageFull => RecordingError::Full {
                path: path.display().to_string(),
            },
            _ => RecordingError::io(path, &error),
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RecordingError::InUse {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(RecordingError::io(path, &error)),
    }
}
