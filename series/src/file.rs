//! The file: an SQLite database with chunks, readings that are not yet in one, and the names of the series.
//!
//! Every change is one transaction in write-ahead mode, synced: a killed process or a power failure loses what was not yet
//! written, and nothing else.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use galera::{ClusterName, NodeId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use crate::chunk_key::{PART_MAX, SERIES_MAX, Tier};
use crate::error::SeriesError;
use crate::head::{Head, SeriesId};

/// The file's name in its directory.
pub(crate) const FILE_NAME: &str = "series.db";
/// Marks a file of recorded figures: `GCse`.
const APPLICATION_ID: i64 = 0x4743_7365;
/// The version of the format.
const FORMAT: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE node_series (id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, node TEXT NOT NULL,
        first_at INTEGER NOT NULL, UNIQUE (cluster, node));
    CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE pending (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), minutes_through INTEGER NOT NULL);";

/// Names a series.
pub(crate) type SeriesName = (ClusterName, NodeId);

/// The open file. No other process writes while it is.
#[derive(Debug)]
pub(crate) struct SeriesFile {
    pub(crate) connection: Connection,
    pub(crate) path: PathBuf,
    series: HashMap<SeriesName, SeriesId>,
    _lock: File,
}

impl SeriesFile {
    /// Opens or creates the file in `directory`, and adds to `head` the readings that are in no chunk yet.
    pub(crate) fn open(directory: &Path, head: &mut Head) -> Result<Self, SeriesError> {
        let path = directory.join(FILE_NAME);
        let io = |error: std::io::Error| SeriesError::io(&path, &error);
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
        .and_then(|connection| initialize(&connection).map(|format| (connection, format)));
        let (connection, format) = opened.map_err(|error| SeriesError::of_sqlite(&path, &error))?;
        check_format(&path, format)?;
        let mut file = Self {
            connection,
            path,
            series: HashMap::new(),
            _lock: lock,
        };
        file.load(head).map_err(|error| file.error(&error))?;
        Ok(file)
    }

    fn load(&mut self, head: &mut Head) -> rusqlite::Result<()> {
        let mut names = self
            .connection
            .prepare("SELECT id, cluster, node FROM node_series")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let (id, cluster, node): (SeriesId, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if let (Ok(cluster), Ok(node)) = (cluster.parse(), node.parse()) {
                self.series.insert((cluster, node), id);
            }
        }
        let mut pending = self
            .connection
            .prepare("SELECT body FROM pending ORDER BY id")?;
        let mut rows = pending.query([])?;
        while let Some(row) = rows.next()? {
            if head.add_bytes(row.get_ref(0)?.as_blob()?).is_none() {
                tracing::warn!(
                    "Readings of {} are damaged and left out",
                    self.path.display()
                );
            }
        }
        Ok(())
    }

    pub(crate) fn error(&self, error: &rusqlite::Error) -> SeriesError {
        SeriesError::of_sqlite(&self.path, error)
    }

    /// All series that have a number.
    pub(crate) fn series_ids(&self) -> Vec<SeriesId> {
        self.series.values().copied().collect()
    }

    pub(crate) fn series(&self, name: &SeriesName) -> Option<SeriesId> {
        self.series.get(name).copied()
    }

    /// Remembers what a committed transaction added with [`insert_series`].
    pub(crate) fn remember(&mut self, added: Vec<(SeriesName, SeriesId)>) {
        self.series.extend(added);
    }

    /// Bytes of the file, without its write-ahead log.
    pub(crate) fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }
}

/// The number of a new series; `None` if there are too many.
pub(crate) fn insert_series(
    changes: &Transaction<'_>,
    (cluster, node): &SeriesName,
    first_at: i64,
) -> rusqlite::Result<Option<SeriesId>> {
    let next: i64 = changes.query_row(
        "SELECT coalesce(max(id), 0) + 1 FROM node_series",
        [],
        |row| row.get(0),
    )?;
    let Some(id) = SeriesId::try_from(next).ok().filter(|id| *id <= SERIES_MAX) else {
        return Ok(None);
    };
    let statement = "INSERT INTO node_series (id, cluster, node, first_at) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = changes.prepare_cached(statement)?;
    insert.execute(params![id, cluster.as_str(), node.to_string(), first_at])?;
    Ok(Some(id))
}

/// Inserts a chunk beside those of the same node and slot. Returns whether there was room.
pub(crate) fn insert_chunk(
    changes: &Transaction<'_>,
    (first, last): (i64, i64),
    body: &[u8],
) -> rusqlite::Result<bool> {
    let statement = "SELECT max(id) FROM chunk WHERE id BETWEEN ?1 AND ?2";
    let mut newest = changes.prepare_cached(statement)?;
    let newest: Option<i64> = newest.query_row(params![first, last], |row| row.get(0))?;
    let key = newest.map_or(first, |newest| newest + 1);
    if key > first + PART_MAX {
        return Ok(false);
    }
    let mut insert = changes.prepare_cached("INSERT INTO chunk (id, body) VALUES (?1, ?2)")?;
    insert.execute(params![key, body])?;
    Ok(true)
}

/// Calls `each` with every chunk whose key is in the range.
pub(crate) fn for_chunks(
    connection: &Connection,
    (first, last): (i64, i64),
    mut each: impl FnMut(&[u8]),
) -> rusqlite::Result<()> {
    let mut select =
        connection.prepare_cached("SELECT body FROM chunk WHERE id BETWEEN ?1 AND ?2")?;
    let mut rows = select.query(params![first, last])?;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_blob()?);
    }
    Ok(())
}

/// The slot of the first chunk of `tier` from `slot` on.
pub(crate) fn first_slot(
    connection: &Connection,
    tier: Tier,
    slot: i64,
) -> rusqlite::Result<Option<i64>> {
    let mut select =
        connection.prepare_cached("SELECT min(id) FROM chunk WHERE id BETWEEN ?1 AND ?2")?;
    let range = params![tier.slot_keys(slot).0, tier.all_keys().1];
    let key: Option<i64> = select.query_row(range, |row| row.get(0))?;
    Ok(key.map(|key| tier.slot_of(key)))
}

/// The hour before which every hour is in minutes; `None` if none is yet.
pub(crate) fn minutes_through(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let mut select = connection.prepare_cached("SELECT minutes_through FROM progress")?;
    select.query_row([], |row| row.get(0)).optional()
}

/// A connection for one reader; `None` if there is no file yet.
pub(crate) fn open_for_reading(directory: &Path) -> Result<Option<Connection>, SeriesError> {
    let path = directory.join(FILE_NAME);
    if !path.exists() {
        return Ok(None);
    }
    let failed = |error: rusqlite::Error| SeriesError::of_sqlite(&path, &error);
    let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    check_format(&path, format_of(&connection).map_err(failed)?)?;
    Ok(Some(connection))
}

fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    Ok(connection)
}

/// The mark and the version of the file. A new file has neither.
fn format_of(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn check_format(path: &Path, (application, format): (i64, i64)) -> Result<(), SeriesError> {
    let shown = path.display().to_string();
    if application != APPLICATION_ID {
        return Err(SeriesError::Foreign { path: shown });
    }
    if format != FORMAT {
        return Err(SeriesError::OtherVersion {
            path: shown,
            found: format,
            expected: FORMAT,
        });
    }
    Ok(())
}

/// Prepares the connection, and the file if it is new. Returns its mark and version.
fn initialize(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if format_of(connection)? == (0, 0) && tables == 0 {
        // Larger pages waste less at the ends of chunks of two kilobytes.
        connection.pragma_update(None, "page_size", 16_384)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let changes = connection.unchecked_transaction()?;
        changes.execute_batch(SCHEMA)?;
        changes.pragma_update(None, "application_id", APPLICATION_ID)?;
        changes.pragma_update(None, "user_version", FORMAT)?;
        changes.commit()?;
    }
    let format = format_of(connection)?;
    if format == (APPLICATION_ID, FORMAT) {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -8_192)?;
        connection.pragma_update(None, "wal_autocheckpoint", 512)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    }
    Ok(format)
}

/// Refuses a file that is shorter than its header says, which SQLite takes for an empty one if less than a page is left. With a
/// write-ahead log the rest may be there.
fn check_length(path: &Path) -> Result<(), SeriesError> {
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
        _ => Err(SeriesError::Damaged {
            path: path.display().to_string(),
            reason: format!(
                "its end is missing: {} bytes of {complete} are left",
                length(path)
            ),
        }),
    }
}

/// Excludes other consoles as long as the file is held.
fn lock(directory: &Path, path: &Path) -> Result<File, SeriesError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(directory.join("lock"))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem => SeriesError::ReadOnly {
                path: path.display().to_string(),
            },
            std::io::ErrorKind::StorageFull => SeriesError::Full {
                path: path.display().to_string(),
            },
            _ => SeriesError::io(path, &error),
        })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SeriesError::InUse {
            path: path.display().to_string(),
        }),
        Err(TryLockError::Error(error)) => Err(SeriesError::io(path, &error)),
    }
}
