//! The file: chunks, readings that are not yet in one, and the names of the series.

use std::collections::HashMap;
use std::path::Path;

use galera::{ClusterName, NodeId};
use recording::{FileFormat, RecordingError, RecordingFile};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::chunk_key::{ChunkTier, PART_MAX, SERIES_MAX};
use crate::head::{SeriesHead, SeriesId};

/// The file of recorded figures.
pub(crate) const FORMAT: FileFormat = FileFormat {
    name: "series.db",
    content: "recorded figures",
    // `GCse`.
    application_id: 0x4743_7365,
    version: 1,
    schema: SCHEMA,
    page_size: 16_384,
};
const SCHEMA: &str = "
    CREATE TABLE node_series (id INTEGER PRIMARY KEY, cluster TEXT NOT NULL, node TEXT NOT NULL,
        first_at INTEGER NOT NULL, UNIQUE (cluster, node));
    CREATE TABLE chunk (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE pending (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE progress (id INTEGER PRIMARY KEY CHECK (id = 1), minutes_through INTEGER NOT NULL);";

/// Names a series.
pub(crate) type SeriesName = (ClusterName, NodeId);

/// The open file.
#[derive(Debug)]
pub(crate) struct SeriesFile {
    pub(crate) recording: RecordingFile,
    series: HashMap<SeriesName, SeriesId>,
}

impl SeriesFile {
    /// Opens or creates the file in `directory`, and adds to `head` the readings that are in no chunk yet.
    pub(crate) fn open(directory: &Path, head: &mut SeriesHead) -> Result<Self, RecordingError> {
        let mut file = Self {
            recording: RecordingFile::open(directory, &FORMAT)?,
            series: HashMap::new(),
        };
        file.load(head)
            .map_err(|error| file.recording.error(&error))?;
        Ok(file)
    }

    fn load(&mut self, head: &mut SeriesHead) -> rusqlite::Result<()> {
        let connection = &self.recording.connection;
        let mut names = connection.prepare("SELECT id, cluster, node FROM node_series")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let (id, cluster, node): (SeriesId, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            if let (Ok(cluster), Ok(node)) = (cluster.parse(), node.parse()) {
                self.series.insert((cluster, node), id);
            }
        }
        add_pending(connection, &self.recording.path, head)
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
}

/// Adds to `head` the readings that are in no chunk yet.
pub(crate) fn add_pending(
    connection: &Connection,
    path: &Path,
    head: &mut SeriesHead,
) -> rusqlite::Result<()> {
    let mut pending = connection.prepare("SELECT body FROM pending ORDER BY id")?;
    let mut rows = pending.query([])?;
    while let Some(row) = rows.next()? {
        if head.add_bytes(row.get_ref(0)?.as_blob()?).is_none() {
            tracing::warn!("Readings of {} are damaged and left out", path.display());
        }
    }
    Ok(())
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
    tier: ChunkTier,
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
