//! The store without its recorder, for `examples/series_cost.rs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use galera::record::series::SeriesMetric;
use monitor::NodeReading;
use recording::{BatchWriter, RecordingError};
use rusqlite::params;

use crate::SeriesStore;
use crate::chunk_key::ChunkTier;
use crate::file::first_slot;
use crate::reader::{self, SeriesAnswer, SeriesRequest};
use crate::writer::SeriesWriter;

/// A store that is written and read directly.
#[derive(Debug)]
pub struct MeasuredStore {
    store: SeriesStore,
    writer: SeriesWriter,
    directory: PathBuf,
}

impl MeasuredStore {
    /// Opens a store in `directory`, for a reading each second.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(directory: &Path) -> Result<Self, RecordingError> {
        let store = SeriesStore::for_directory(directory, Duration::from_secs(1));
        let writer = SeriesWriter::open(directory, store.head.clone(), store.retention)?;
        Ok(Self {
            store,
            writer,
            directory: directory.to_owned(),
        })
    }

    /// Writes a batch as of `now` (milliseconds since 1970).
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn write(&mut self, batch: &[NodeReading], now: i64) -> Result<(), RecordingError> {
        self.writer.write(batch, now).map(drop)
    }

    /// Bytes of the chunks of readings, of those of minutes, and of the file.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn bytes(&self) -> Result<[u64; 3], RecordingError> {
        let file = self.writer.file();
        let of = |tier: ChunkTier| {
            let (first, last) = tier.all_keys();
            let sum = "SELECT coalesce(sum(length(body)), 0) FROM chunk WHERE id BETWEEN ?1 AND ?2";
            let sum = file
                .recording
                .connection
                .query_row(sum, params![first, last], |row| row.get::<_, i64>(0));
            sum.map(i64::unsigned_abs)
                .map_err(|error| file.recording.error(&error))
        };
        Ok([
            of(ChunkTier::Readings)?,
            of(ChunkTier::Minutes)?,
            file.recording.bytes(),
        ])
    }

    /// Repeats the minutes of the first `hours` for `count` hours before them.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn copy_minutes(&mut self, count: usize, hours: usize) -> Result<(), RecordingError> {
        let file = self.writer.file();
        let failed = |error: rusqlite::Error| file.recording.error(&error);
        let first = first_slot(&file.recording.connection, ChunkTier::Minutes, 0)
            .map_err(failed)?
            .unwrap_or(0);
        let (first, last) = (
            ChunkTier::Minutes.slot_keys(first).0,
            ChunkTier::Minutes.all_keys().1,
        );
        let hour = ChunkTier::Minutes.slot_keys(1).0 - ChunkTier::Minutes.slot_keys(0).0;
        let copy = "INSERT OR IGNORE INTO chunk (id, body) SELECT id - ?3, body FROM chunk
            WHERE id BETWEEN ?1 AND ?2 AND ((id & 4294967295) >> 8) <= 5";
        for back in (0..count).step_by(hours.max(1)).skip(1) {
            let shift = hour * i64::try_from(back).unwrap_or_default();
            file.recording
                .connection
                .execute(copy, params![first, last, shift])
                .map_err(failed)?;
        }
        Ok(())
    }

    /// Reads `nodes` nodes of the first cluster.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(
        &self,
        nodes: usize,
        metrics: &[SeriesMetric],
        from: i64,
        step: i64,
        count: usize,
    ) -> Result<SeriesAnswer, RecordingError> {
        let unnamed = |_| RecordingError::io(&self.directory, &"no name");
        let nodes = (0..nodes).map(|node| format!("node-{node}").parse().map_err(unnamed));
        let request = SeriesRequest {
            cluster: "c0".parse().map_err(unnamed)?,
            nodes: nodes.collect::<Result<_, _>>()?,
            metrics: metrics.to_vec(),
            from,
            step,
            count,
        };
        let gap_max = self.store.retention.gap_max();
        reader::read(&self.directory, &self.store.head, gap_max, &request)
    }
}
