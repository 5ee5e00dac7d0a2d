//! Writes frames: each batch at once, and every five minutes those of a past slot as chunks.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use console_core::published::Published;
use galera::ClusterName;
use galera::view::ClusterView;
use recording::{BatchOutcome, BatchWriter, RecordingError};
use rusqlite::params;

use crate::collector::ViewSighting;
use crate::file::{ClusterId, ViewFile, insert_chunk};
use crate::frame::{ViewFrame, encode};
use crate::head::{PendingFrames, SharedFrames, slot_of};
use crate::thinning;

/// How long after its end a slot is written as chunks, in milliseconds: frames of its end may still be on their way.
const SLOT_DELAY_MS: i64 = 3_000;

/// The one writer of a file.
#[derive(Debug)]
pub(crate) struct ViewWriter {
    file: ViewFile,
    head: SharedFrames,
    /// The view of each cluster's last frame, and its slot: the next frame of that slot is a patch to it.
    bases: HashMap<ClusterName, (i64, Arc<Published<ClusterView>>)>,
}

impl ViewWriter {
    /// Opens the file in `directory`. `head` becomes what the file holds outside of chunks.
    pub(crate) fn open(directory: &Path, head: SharedFrames) -> Result<Self, RecordingError> {
        let mut pending = PendingFrames::default();
        let file = ViewFile::open(directory, &mut pending)?;
        *head.lock().unwrap_or_else(PoisonError::into_inner) = pending;
        Ok(Self {
            file,
            head,
            bases: HashMap::new(),
        })
    }

    fn append(&mut self, batch: &[ViewSighting]) -> rusqlite::Result<()> {
        let changes = self.file.recording.connection.unchecked_transaction()?;
        let mut ids: HashMap<ClusterName, ClusterId> = HashMap::new();
        let mut added = Vec::with_capacity(batch.len());
        let mut bases = self.bases.clone();
        for sighting in batch {
            let (cluster, at) = (&sighting.view.value.name, sighting.at.unix_millis());
            let slot = slot_of(at);
            let base = bases.get(cluster).filter(|(of, _)| *of == slot);
            let base = base.map(|(_, view)| &view.value);
            let body = encode(&[ViewFrame::new(at, &sighting.view.value, base)]);
            let id = match ids.get(cluster) {
                Some(id) => *id,
                None => self.file.cluster_id(&changes, cluster)?,
            };
            ids.insert(cluster.clone(), id);
            let insert = "INSERT INTO pending (cluster, slot, body) VALUES (?1, ?2, ?3)";
            let mut insert = changes.prepare_cached(insert)?;
            insert.execute(params![id, slot, body])?;
            bases.insert(cluster.clone(), (slot, Arc::clone(&sighting.view)));
            added.push((cluster.clone(), slot, body));
        }
        changes.commit()?;
        self.bases = bases;
        for (cluster, id) in ids {
            self.file.remember(cluster, id);
        }
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        for (cluster, slot, body) in added {
            head.add(&cluster, slot, body);
        }
        Ok(())
    }

    /// Writes the parts of past slots as chunks, and thins and deletes old ones.
    fn seal(&mut self, now: i64) -> rusqlite::Result<()> {
        let lock = || self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = lock().ended(now - SLOT_DELAY_MS);
        if parts.is_empty() {
            return Ok(());
        }
        let changes = self.file.recording.connection.unchecked_transaction()?;
        for part in &parts {
            // One part at a time: decoded, all of them would take a hundred times their size.
            let frames = lock().frames(part);
            let (cluster, slot) = part;
            let id = self.file.cluster_id(&changes, cluster)?;
            insert_chunk(&changes, (id, *slot), &encode(&frames))?;
            let delete = "DELETE FROM pending WHERE cluster = ?1 AND slot = ?2";
            changes.prepare_cached(delete)?.execute(params![id, slot])?;
        }
        thinning::thin(&changes, &self.file.cluster_ids())?;
        changes.commit()?;
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        for part in &parts {
            head.remove(part);
            // The next frame of the slot begins another part.
            if self
                .bases
                .get(&part.0)
                .is_some_and(|(slot, _)| *slot == part.1)
            {
                self.bases.remove(&part.0);
            }
        }
        Ok(())
    }
}

impl BatchWriter for ViewWriter {
    type Item = ViewSighting;

    fn write(&mut self, batch: &[ViewSighting], now: i64) -> Result<BatchOutcome, RecordingError> {
        self.append(batch)
            .and_then(|()| self.seal(now))
            .map_err(|error| self.file.recording.error(&error))?;
        Ok(BatchOutcome {
            recorded: batch.len() as u64,
            lost: 0,
            bytes: self.file.recording.bytes(),
        })
    }
}
