//! Finds the frame of a time.

use std::path::Path;
use std::sync::PoisonError;

use galera::publish::live::TopicDocument;
use galera::view::ClusterView;
use galera::{ClusterName, Timestamp};
use recording::{RecordingError, open_for_reading};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value};

use crate::collector::FRAME_INTERVAL;
use crate::file::{ClusterId, FORMAT, chunks, find_cluster};
use crate::frame::{ViewFrame, decode, replay};
use crate::head::{SharedFrames, slot_of};
use crate::thinning::THINNED_INTERVAL_MS;

/// A view as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedView {
    /// Without `recent_rates`.
    pub view: ClusterView,
    /// When it was recorded: at most ten seconds before the time that was asked for, or a minute if that is more than a day
    /// ago.
    pub at: Timestamp,
}

/// What is recorded of a time.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewLookup {
    Recorded(Box<RecordedView>),
    /// Nothing was recorded then. The nearest times at which something was, if any.
    Gap {
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    },
    /// Nothing is recorded of the cluster.
    NeverRecorded,
}

/// How long a frame is believed: three times as long as the next one was due.
const fn believed_ms(thinned: bool) -> i64 {
    3 * match thinned {
        true => THINNED_INTERVAL_MS,
        false => FRAME_INTERVAL.as_millis() as i64,
    }
}

/// The frames of a cluster that were recorded together.
struct RecordedPart {
    frames: Vec<ViewFrame>,
    thinned: bool,
}

/// The recorded parts of one cluster.
struct ClusterRecords<'a> {
    head: &'a SharedFrames,
    cluster: &'a ClusterName,
    /// The file, once there is one with the cluster.
    file: Option<(Connection, ClusterId)>,
}

/// What was seen of `cluster` at `at`, in milliseconds since 1970.
pub(crate) fn view_at(
    directory: &Path,
    head: &SharedFrames,
    cluster: &ClusterName,
    at: i64,
) -> Result<ViewLookup, RecordingError> {
    let failed =
        |error: rusqlite::Error| RecordingError::of_sqlite(&directory.join(FORMAT.name), &error);
    let file = match open_for_reading(directory, &FORMAT)? {
        Some(connection) => find_cluster(&connection, cluster)
            .map_err(failed)?
            .map(|id| (connection, id)),
        None => None,
    };
    let recorded = ClusterRecords {
        head,
        cluster,
        file,
    };
    recorded.find(at).map_err(failed)
}

impl ClusterRecords<'_> {
    fn find(&self, at: i64) -> rusqlite::Result<ViewLookup> {
        let slot = slot_of(at);
        let mut parts = self.parts(slot)?;
        // A frame is believed for less than a slot.
        parts.extend(self.parts(slot - 1)?);
        let mut best: Option<(i64, bool, Map<String, Value>)> = None;
        for part in &parts {
            replay(&part.frames, |frame, document| {
                let is_newer = best.as_ref().is_none_or(|(best, ..)| frame.at >= *best);
                if frame.at <= at && is_newer {
                    best = Some((frame.at, part.thinned, document.clone()));
                }
            });
        }
        if let Some((found, thinned, document)) = best
            && at - found <= believed_ms(thinned)
            && let Some(view) = TopicDocument::cluster_view(document)
        {
            return Ok(ViewLookup::Recorded(Box::new(RecordedView {
                view,
                at: Timestamp::from_unix_millis(found),
            })));
        }
        let (before, after) = (self.nearest(at, false)?, self.nearest(at, true)?);
        Ok(match (before, after) {
            (None, None) => ViewLookup::NeverRecorded,
            (before, after) => ViewLookup::Gap {
                before: before.map(Timestamp::from_unix_millis),
                after: after.map(Timestamp::from_unix_millis),
            },
        })
    }

    /// The parts of a slot. The head is read first: what becomes a chunk meanwhile is read twice, not missed.
    fn parts(&self, slot: i64) -> rusqlite::Result<Vec<RecordedPart>> {
        let pending = {
            let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            head.frames(&(self.cluster.clone(), slot))
        };
        let mut parts = Vec::new();
        if let Some((connection, id)) = &self.file {
            let (bodies, thinned) = chunks(connection, (*id, slot))?;
            for body in bodies {
                match decode(&body) {
                    Some(frames) => parts.push(RecordedPart { frames, thinned }),
                    None => tracing::warn!(
                        "A chunk of recorded views of {} is damaged and left out",
                        self.cluster
                    ),
                }
            }
        }
        parts.push(RecordedPart {
            frames: pending,
            thinned: false,
        });
        Ok(parts)
    }

    /// The time of the nearest frame at or before `at`, or after it.
    fn nearest(&self, at: i64, later: bool) -> rusqlite::Result<Option<i64>> {
        let mut slot = slot_of(at);
        loop {
            let parts = self.parts(slot)?;
            let times = parts.iter().flat_map(|part| &part.frames);
            let times = times.map(|frame| frame.at);
            let nearest = match later {
                true => times.filter(|time| *time > at).min(),
                false => times.filter(|time| *time <= at).max(),
            };
            if nearest.is_some() {
                return Ok(nearest);
            }
            match self.next_slot(slot, later)? {
                Some(next) => slot = next,
                None => return Ok(None),
            }
        }
    }

    /// The nearest slot before or after `slot` in which something was recorded.
    fn next_slot(&self, slot: i64, later: bool) -> rusqlite::Result<Option<i64>> {
        let pending = {
            let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
            head.slots(self.cluster)
        };
        let pending = pending.into_iter();
        let pending = match later {
            true => pending.filter(|other| *other > slot).min(),
            false => pending.filter(|other| *other < slot).max(),
        };
        let Some((connection, id)) = &self.file else {
            return Ok(pending);
        };
        let select = match later {
            true => "SELECT min(slot) FROM chunk WHERE cluster = ?1 AND slot > ?2",
            false => "SELECT max(slot) FROM chunk WHERE cluster = ?1 AND slot < ?2",
        };
        let mut select = connection.prepare_cached(select)?;
        let stored: Option<Option<i64>> = select
            .query_row(params![id, slot], |row| row.get(0))
            .optional()?;
        let slots = pending.into_iter().chain(stored.flatten());
        Ok(match later {
            true => slots.min(),
            false => slots.max(),
        })
    }
}
