//! Reads the series of nodes in intervals.

use std::path::Path;
use std::sync::PoisonError;

use galera::record::series::SeriesMetric;
use galera::{ClusterName, NodeId};
use recording::{RecordingError, open_for_reading};
use rusqlite::{Connection, OptionalExtension, params};

use crate::chunk::ChunkRows;
use crate::chunk_key::ChunkTier;
use crate::file::{FORMAT, first_slot, for_chunks, minutes_through};
use crate::head::SeriesId;
use crate::intervals::{
    MINUTE_COLUMNS, MINUTE_MS, READING_COLUMNS, SeriesIntervals, minute_columns, reading_columns,
};
use crate::writer::SharedHead;

/// What to read.
#[derive(Clone, Debug)]
pub struct SeriesRequest {
    pub cluster: ClusterName,
    pub nodes: Vec<NodeId>,
    pub metrics: Vec<SeriesMetric>,
    /// The start of the first interval, in milliseconds since 1970.
    pub from: i64,
    /// Length of an interval, in milliseconds; from a minute on, minutes are read instead of single readings.
    pub step: i64,
    /// How many intervals.
    pub count: usize,
}

impl SeriesRequest {
    fn end(&self) -> i64 {
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        self.from.saturating_add(self.step.saturating_mul(count))
    }
}

/// What was read.
#[derive(Clone, Debug)]
pub struct SeriesAnswer {
    /// When the cluster's first reading was recorded that is still kept, in milliseconds since 1970; `None` if there is
    /// none.
    pub recorded_since: Option<i64>,
    /// One for each requested node.
    pub nodes: Vec<SeriesIntervals>,
    /// Whether a reading of the node was ever recorded, for each requested node.
    pub recorded: Vec<bool>,
}

/// Reads the file in `directory` and what is not yet in its chunks.
pub(crate) fn read(
    directory: &Path,
    head: &SharedHead,
    gap_max: i64,
    request: &SeriesRequest,
) -> Result<SeriesAnswer, RecordingError> {
    let empty =
        || SeriesIntervals::new(request.from, request.step, request.count, &request.metrics);
    let Some(connection) = open_for_reading(directory, &FORMAT)? else {
        return Ok(SeriesAnswer {
            recorded_since: None,
            nodes: request.nodes.iter().map(|_| empty()).collect(),
            recorded: vec![false; request.nodes.len()],
        });
    };
    let path = directory.join(FORMAT.name);
    let reading = || -> rusqlite::Result<SeriesAnswer> {
        let names = request.nodes.iter();
        let series = names.map(|node| series_id(&connection, &request.cluster, node));
        let series: Vec<Option<SeriesId>> = series.collect::<rusqlite::Result<_>>()?;
        // Before the chunks: what becomes one in between is then read twice, and counts once.
        let newest: Vec<_> = {
            let head = head.lock().unwrap_or_else(PoisonError::into_inner);
            let newest = series
                .iter()
                .map(|series| series.map(|series| head.readings(series)));
            newest.map(Option::unwrap_or_default).collect()
        };
        // One transaction: a chunk is read either before or after it became minutes.
        let state = connection.unchecked_transaction()?;
        let through = minutes_through(&state)?.unwrap_or(0);
        let recorded = series.iter().map(Option::is_some).collect();
        let mut nodes = Vec::with_capacity(request.nodes.len());
        for (series, newest) in series.into_iter().zip(newest) {
            let mut intervals = empty();
            if let Some(series) = series {
                let mut rows =
                    read_chunks(&state, series, through, request, gap_max, &mut intervals)?;
                for (time, figures) in newest {
                    rows.push(time, &figures.0);
                }
                intervals.add_readings(&rows, gap_max);
            }
            nodes.push(intervals);
        }
        let recorded_since = recorded_since(&state, &request.cluster)?;
        Ok(SeriesAnswer {
            recorded_since,
            nodes,
            recorded,
        })
    };
    reading().map_err(|error| RecordingError::of_sqlite(&path, &error))
}

/// Adds minutes, and returns the readings of times without minutes.
fn read_chunks(
    state: &Connection,
    series: SeriesId,
    through: i64,
    request: &SeriesRequest,
    gap_max: i64,
    intervals: &mut SeriesIntervals,
) -> rusqlite::Result<ChunkRows> {
    let slot = |tier: ChunkTier, time: i64| time.div_euclid(tier.slot_ms());
    let (from, end) = (request.from, request.end());
    // With the reading before the first interval, for its rate.
    let mut first = slot(ChunkTier::Readings, from.saturating_sub(gap_max));
    if request.step >= MINUTE_MS {
        let wanted = minute_columns(&request.metrics);
        let oldest = first_slot(state, ChunkTier::Minutes, 0)?.unwrap_or(through);
        for hour in slot(ChunkTier::Minutes, from).max(oldest)
            ..=slot(ChunkTier::Minutes, end - 1).min(through - 1)
        {
            for_chunks(state, ChunkTier::Minutes.keys(hour, series), |body| {
                let mut rows = ChunkRows::new(MINUTE_COLUMNS);
                rows.append_columns(body, &wanted);
                intervals.add_minutes(&rows);
            })?;
        }
        let slots = ChunkTier::Minutes.slot_ms() / ChunkTier::Readings.slot_ms();
        first = first.max(through * slots);
    }
    let wanted = reading_columns(&request.metrics);
    let mut rows = ChunkRows::new(READING_COLUMNS);
    let oldest = first_slot(state, ChunkTier::Readings, 0)?.unwrap_or(i64::MAX);
    for slot in first.max(oldest)..=slot(ChunkTier::Readings, end - 1) {
        for_chunks(state, ChunkTier::Readings.keys(slot, series), |body| {
            rows.append_columns(body, &wanted);
        })?;
    }
    // Columns that were not decoded have no rows; those of the head are added at the end.
    let count = rows.times.len();
    for column in &mut rows.columns {
        column.resize(count, None);
    }
    Ok(rows)
}

fn series_id(
    state: &Connection,
    cluster: &ClusterName,
    node: &NodeId,
) -> rusqlite::Result<Option<SeriesId>> {
    let statement = "SELECT id FROM node_series WHERE cluster = ?1 AND node = ?2";
    let mut select = state.prepare_cached(statement)?;
    select
        .query_row(params![cluster.as_str(), node.to_string()], |row| {
            row.get(0)
        })
        .optional()
}

fn recorded_since(state: &Connection, cluster: &ClusterName) -> rusqlite::Result<Option<i64>> {
    let statement = "SELECT min(first_at) FROM node_series WHERE cluster = ?1";
    let first: Option<i64> =
        state.query_row(statement, params![cluster.as_str()], |row| row.get(0))?;
    let oldest = match first_slot(state, ChunkTier::Minutes, 0)? {
        Some(hour) => Some(hour * ChunkTier::Minutes.slot_ms()),
        None => first_slot(state, ChunkTier::Readings, 0)?
            .map(|slot| slot * ChunkTier::Readings.slot_ms()),
    };
    Ok(first.map(|first| first.max(oldest.unwrap_or(first))))
}
