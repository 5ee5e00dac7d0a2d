//! Writes readings: each batch at once, and every few minutes those of a past slot as chunks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use galera::record::series::NodeFigures;
use monitor::NodeReading;
use rusqlite::{Transaction, params};

use crate::chunk::{ChunkRows, ROWS_MAX};
use crate::chunk_key::ChunkTier;
use crate::file::{
    SeriesFile, SeriesName, first_slot, for_chunks, insert_chunk, insert_series, minutes_through,
};
use crate::head::{SeriesHead, SeriesId, TimedFigures};
use crate::intervals::{READING_COLUMNS, minutes};
use recording::{BatchOutcome, BatchWriter, RecordingError};

/// How long after its end a slot is written as chunks, in milliseconds: readings of its end may still be on their way.
const SLOT_DELAY_MS: i64 = 3_000;
/// Hours written as minutes at a time.
const HOURS_AT_A_TIME: usize = 4;

/// How readings are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesRetention {
    /// Time between two readings of a node.
    pub(crate) interval: Duration,
    /// How many slots of single readings are kept.
    pub(crate) reading_slots: usize,
    /// How many slots of minutes are kept.
    pub(crate) minute_slots: usize,
}

impl SeriesRetention {
    /// The longest time between two readings that is no gap, in milliseconds.
    pub(crate) fn gap_max(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX / 4) * 3 + 500
    }

    /// Readings closer to the one before are left out, in milliseconds.
    fn interval_min(&self) -> i64 {
        i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX) / 2
    }
}

/// Readings that are not yet in chunks, shared with readers.
pub(crate) type SharedHead = Arc<Mutex<SeriesHead>>;

/// The one writer of a file.
#[derive(Debug)]
pub(crate) struct SeriesWriter {
    file: SeriesFile,
    head: SharedHead,
    retention: SeriesRetention,
}

impl BatchWriter for SeriesWriter {
    type Item = NodeReading;

    fn write(&mut self, batch: &[NodeReading], now: i64) -> Result<BatchOutcome, RecordingError> {
        let outcome = self
            .append(batch)
            .map_err(|error| self.file.recording.error(&error))?;
        if self.is_due(now) {
            self.seal(now)
                .map_err(|error| self.file.recording.error(&error))?;
        }
        Ok(BatchOutcome {
            bytes: self.file.recording.bytes(),
            ..outcome
        })
    }
}

impl SeriesWriter {
    /// Opens the file in `directory`. `head` becomes what the file holds outside of chunks.
    pub(crate) fn open(
        directory: &Path,
        head: SharedHead,
        retention: SeriesRetention,
    ) -> Result<Self, RecordingError> {
        let mut pending = SeriesHead::default();
        let file = SeriesFile::open(directory, &mut pending)?;
        *head.lock().unwrap_or_else(PoisonError::into_inner) = pending;
        Ok(Self {
            file,
            head,
            retention,
        })
    }

    pub(crate) const fn file(&self) -> &SeriesFile {
        &self.file
    }

    fn append(&mut self, batch: &[NodeReading]) -> rusqlite::Result<BatchOutcome> {
        let mut outcome = BatchOutcome::default();
        let mut added: Vec<(SeriesName, SeriesId)> = Vec::new();
        let mut appended: Vec<(SeriesId, TimedFigures)> = Vec::new();
        let mut pending = SeriesHead::default();
        let changes = self.file.recording.connection.unchecked_transaction()?;
        for reading in batch {
            let name = (reading.cluster.clone(), reading.node.clone());
            let at = reading.at.unix_millis();
            let known = self.file.series(&name);
            let known = known.or_else(|| {
                let new = added.iter().find(|(new, _)| *new == name);
                new.map(|(_, id)| *id)
            });
            let series = match known {
                _ if ChunkTier::Readings.slot(at).is_none() => None,
                Some(series) => Some(series),
                None => {
                    let series = insert_series(&changes, &name, at)?;
                    added.extend(series.map(|series| (name, series)));
                    series
                }
            };
            let Some(series) = series else {
                outcome.lost += 1;
                continue;
            };
            if !self.is_too_soon(&pending, series, at) {
                pending.push(series, (at, reading.figures));
                appended.push((series, (at, reading.figures)));
                outcome.recorded += 1;
            }
        }
        if !pending.is_empty() {
            insert_pending(&changes, &pending)?;
        }
        changes.commit()?;
        self.file.remember(added);
        let mut head = self.lock_head();
        for (series, reading) in appended {
            head.push(series, reading);
        }
        drop(head);
        Ok(outcome)
    }

    /// Whether a reading follows the one before by less than half of the interval, as when a change of state was read
    /// besides the schedule.
    fn is_too_soon(&self, pending: &SeriesHead, series: SeriesId, at: i64) -> bool {
        let head = self.lock_head();
        let last = pending.last(series).or_else(|| head.last(series));
        last.is_some_and(|(last, _)| (0..self.retention.interval_min()).contains(&(at - last)))
    }

    fn lock_head(&self) -> std::sync::MutexGuard<'_, SeriesHead> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are readings of a slot that is over, or that lies ahead because the clock was set back.
    fn is_due(&self, now: i64) -> bool {
        let current = current_slots(now);
        let head = self.lock_head();
        let mut logs = head.iter();
        logs.any(|(_, log)| {
            let slot = log
                .first_time()
                .and_then(|time| ChunkTier::Readings.slot(time));
            log.len() >= ROWS_MAX || slot.is_some_and(|slot| !current.contains(&slot))
        })
    }

    /// Writes readings of past slots as chunks, and past hours as minutes; deletes what is too old.
    fn seal(&mut self, now: i64) -> rusqlite::Result<()> {
        let current = current_slots(now);
        let gap_max = self.retention.gap_max();
        let mut rest = self.lock_head().clone();
        let changes = self.file.recording.connection.unchecked_transaction()?;
        let through = minutes_through(&changes)?;
        let logs: Vec<(SeriesId, Vec<TimedFigures>)> = rest
            .iter()
            .map(|(series, log)| (series, log.readings()))
            .collect();
        for (series, readings) in logs {
            let full = readings.len() >= ROWS_MAX;
            let (open, past): (Vec<TimedFigures>, Vec<TimedFigures>) =
                readings.into_iter().partition(|(time, _)| {
                    let slot = ChunkTier::Readings.slot(*time);
                    !full && slot.is_some_and(|slot| current.contains(&slot))
                });
            for (slot, rows) in by_slot(&past) {
                let kept = insert_chunk(
                    &changes,
                    ChunkTier::Readings.keys(slot, series),
                    &rows.encode(),
                )?;
                if !kept {
                    tracing::warn!(series, "Readings are left out: the clock was set too often");
                }
                let hour = slot * ChunkTier::Readings.slot_ms() / ChunkTier::Minutes.slot_ms();
                if through.is_some_and(|through| hour < through) {
                    insert_minutes(&changes, hour, series, &rows, gap_max)?;
                }
            }
            rest.replace(series, &open);
        }
        changes.execute("DELETE FROM pending", [])?;
        if !rest.is_empty() {
            insert_pending(&changes, &rest)?;
        }
        let series = self.file.series_ids();
        summarize_hours(&changes, &series, through, now - SLOT_DELAY_MS, gap_max)?;
        delete_oldest(&changes, ChunkTier::Readings, self.retention.reading_slots)?;
        delete_oldest(&changes, ChunkTier::Minutes, self.retention.minute_slots)?;
        changes.commit()?;
        *self.lock_head() = rest;
        Ok(())
    }
}

/// The slots whose readings stay in the head.
fn current_slots(now: i64) -> std::ops::RangeInclusive<i64> {
    let slot = |time: i64| time.div_euclid(ChunkTier::Readings.slot_ms());
    slot(now - SLOT_DELAY_MS)..=slot(now + SLOT_DELAY_MS)
}

fn insert_pending(changes: &Transaction<'_>, readings: &SeriesHead) -> rusqlite::Result<()> {
    let mut insert = changes.prepare_cached("INSERT INTO pending (body) VALUES (?1)")?;
    insert.execute(params![readings.to_bytes()]).map(drop)
}

fn by_slot(readings: &[TimedFigures]) -> BTreeMap<i64, ChunkRows> {
    let mut slots: BTreeMap<i64, ChunkRows> = BTreeMap::new();
    for (time, NodeFigures(values)) in readings {
        if let Some(slot) = ChunkTier::Readings.slot(*time) {
            let rows = slots
                .entry(slot)
                .or_insert_with(|| ChunkRows::new(READING_COLUMNS));
            rows.push(*time, values);
        }
    }
    slots
}

fn insert_minutes(
    changes: &Transaction<'_>,
    hour: i64,
    series: SeriesId,
    readings: &ChunkRows,
    gap_max: i64,
) -> rusqlite::Result<()> {
    let rows = minutes(readings, gap_max);
    if !rows.times.is_empty() {
        insert_chunk(
            changes,
            ChunkTier::Minutes.keys(hour, series),
            &rows.encode(),
        )?;
    }
    Ok(())
}

/// Writes hours that are over by `now` as minutes.
fn summarize_hours(
    changes: &Transaction<'_>,
    series: &[SeriesId],
    through: Option<i64>,
    now: i64,
    gap_max: i64,
) -> rusqlite::Result<()> {
    let slots = ChunkTier::Minutes.slot_ms() / ChunkTier::Readings.slot_ms();
    let end = now.div_euclid(ChunkTier::Minutes.slot_ms());
    let mut hour = through.unwrap_or(0);
    for _ in 0..HOURS_AT_A_TIME {
        let first = first_slot(changes, ChunkTier::Readings, hour * slots)?;
        hour = first.map_or(end, |slot| slot / slots).min(end).max(hour);
        if hour >= end {
            break;
        }
        for series in series {
            let mut readings = ChunkRows::new(READING_COLUMNS);
            for slot in hour * slots..(hour + 1) * slots {
                for_chunks(changes, ChunkTier::Readings.keys(slot, *series), |body| {
                    readings.append(body);
                })?;
            }
            insert_minutes(changes, hour, *series, &readings, gap_max)?;
        }
        hour += 1;
    }
    changes.execute(
        "INSERT INTO progress (id, minutes_through) VALUES (1, ?1)
         ON CONFLICT (id) DO UPDATE SET minutes_through = ?1",
        params![hour],
    )?;
    Ok(())
}

/// Deletes the oldest slots until `kept` are left. What is too old is judged by how much was recorded since, not by the
/// clock: one that is ahead for a while deletes nothing.
fn delete_oldest(changes: &Transaction<'_>, tier: ChunkTier, kept: usize) -> rusqlite::Result<()> {
    let mut slots = Vec::new();
    let mut next = 0;
    while let Some(slot) = first_slot(changes, tier, next)? {
        slots.push(slot);
        next = slot + 1;
    }
    for slot in &slots[..slots.len().saturating_sub(kept)] {
        let (first, last) = tier.slot_keys(*slot);
        let delete = "DELETE FROM chunk WHERE id BETWEEN ?1 AND ?2";
        changes.execute(delete, params![first, last])?;
    }
    Ok(())
}
