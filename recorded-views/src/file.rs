//! The file: chunks, frames that are not yet in one, and the names of the clusters.

use std::collections::HashMap;
use std::path::Path;

use galera::ClusterName;
use recording::{FileFormat, RecordingError, RecordingFile};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::head::PendingFrames;

/// The file of recorded views.
pub(crate) const FORMAT: FileFormat = FileFormat {
    name: "views.db",
    content: "recorded views",
    // `GCvi`.
    application_id: 0x4743_7669,
    version: 1,
    schema: SCHEMA,
    page_size: 16_384,
};
/// `slot.thinned` is whether the chunks of the slot are.
const SCHEMA: &str = "
    CREATE TABLE cluster (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE slot (id INTEGER PRIMARY KEY, thinned INTEGER NOT NULL);
    CREATE TABLE chunk (cluster INTEGER NOT NULL, slot INTEGER NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (cluster, slot, part));
    CREATE TABLE pending (id INTEGER PRIMARY KEY, cluster INTEGER NOT NULL, slot INTEGER NOT NULL, body BLOB NOT NULL);";

/// The number of a cluster in the file.
pub(crate) type ClusterId = i64;

/// The open file.
#[derive(Debug)]
pub(crate) struct ViewFile {
    pub(crate) recording: RecordingFile,
    clusters: HashMap<ClusterName, ClusterId>,
}

impl ViewFile {
    /// Opens or creates the file in `directory`, and adds to `head` the frames that are in no chunk yet.
    pub(crate) fn open(directory: &Path, head: &mut PendingFrames) -> Result<Self, RecordingError> {
        let mut file = Self {
            recording: RecordingFile::open(directory, &FORMAT)?,
            clusters: HashMap::new(),
        };
        file.load(head)
            .map_err(|error| file.recording.error(&error))?;
        Ok(file)
    }

    fn load(&mut self, head: &mut PendingFrames) -> rusqlite::Result<()> {
        let connection = &self.recording.connection;
        let mut names = connection.prepare("SELECT id, name FROM cluster")?;
        let mut rows = names.query([])?;
        while let Some(row) = rows.next()? {
            let (id, name): (ClusterId, String) = (row.get(0)?, row.get(1)?);
            if let Ok(name) = name.parse() {
                self.clusters.insert(name, id);
            }
        }
        add_pending(connection, head)
    }

    /// The number of `cluster`, as `changes` insert it if it is new.
    pub(crate) fn cluster_id(
        &self,
        changes: &Transaction<'_>,
        cluster: &ClusterName,
    ) -> rusqlite::Result<ClusterId> {
        if let Some(id) = self.clusters.get(cluster) {
            return Ok(*id);
        }
        let insert = "INSERT INTO cluster (name) VALUES (?1) ON CONFLICT (name) DO NOTHING";
        changes
            .prepare_cached(insert)?
            .execute([cluster.as_str()])?;
        let mut select = changes.prepare_cached("SELECT id FROM cluster WHERE name = ?1")?;
        select.query_row([cluster.as_str()], |row| row.get(0))
    }

    /// All clusters that have a number.
    pub(crate) fn cluster_ids(&self) -> Vec<ClusterId> {
        self.clusters.values().copied().collect()
    }

    /// Remembers the number of a cluster after the commit.
    pub(crate) fn remember(&mut self, cluster: ClusterName, id: ClusterId) {
        self.clusters.insert(cluster, id);
    }
}

/// Adds to `head` the frames that are in no chunk yet.
pub(crate) fn add_pending(
    connection: &Connection,
    head: &mut PendingFrames,
) -> rusqlite::Result<()> {
    let select = "SELECT name, slot, body FROM pending JOIN cluster ON cluster.id = pending.cluster \
                  ORDER BY pending.id";
    let mut pending = connection.prepare(select)?;
    let mut rows = pending.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        if let Ok(name) = name.parse() {
            head.add(&name, row.get(1)?, row.get(2)?);
        }
    }
    Ok(())
}

/// Inserts a chunk beside those of the same cluster and slot.
pub(crate) fn insert_chunk(
    changes: &Transaction<'_>,
    (cluster, slot): (ClusterId, i64),
    body: &[u8],
) -> rusqlite::Result<()> {
    let select = "SELECT coalesce(max(part), 0) + 1 FROM chunk WHERE cluster = ?1 AND slot = ?2";
    let mut next = changes.prepare_cached(select)?;
    let part: i64 = next.query_row(params![cluster, slot], |row| row.get(0))?;
    let insert = "INSERT INTO chunk (cluster, slot, part, body) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = changes.prepare_cached(insert)?;
    insert.execute(params![cluster, slot, part, body])?;
    let slots = "INSERT INTO slot (id, thinned) VALUES (?1, 0) ON CONFLICT (id) DO NOTHING";
    changes.prepare_cached(slots)?.execute([slot])?;
    Ok(())
}

/// The number of `cluster`; `None` if nothing was recorded of it.
pub(crate) fn find_cluster(
    connection: &Connection,
    cluster: &ClusterName,
) -> rusqlite::Result<Option<ClusterId>> {
    let mut select = connection.prepare_cached("SELECT id FROM cluster WHERE name = ?1")?;
    select
        .query_row([cluster.as_str()], |row| row.get(0))
        .optional()
}

/// The chunks of a cluster in a slot, in the order in which they were recorded, and whether they are thinned.
pub(crate) fn chunks(
    connection: &Connection,
    (cluster, slot): (ClusterId, i64),
) -> rusqlite::Result<(Vec<Vec<u8>>, bool)> {
    let select = "SELECT body FROM chunk WHERE cluster = ?1 AND slot = ?2 ORDER BY part";
    let mut bodies = connection.prepare_cached(select)?;
    let bodies: rusqlite::Result<Vec<Vec<u8>>> = bodies
        .query_map(params![cluster, slot], |row| row.get(0))?
        .collect();
    let mut thinned = connection.prepare_cached("SELECT thinned FROM slot WHERE id = ?1")?;
    let thinned: Option<bool> = thinned.query_row([slot], |row| row.get(0)).optional()?;
    Ok((bodies?, thinned.unwrap_or(false)))
}
