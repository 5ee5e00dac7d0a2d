//! Frames that are not yet in chunks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use galera::ClusterName;

use crate::frame::{self, ViewFrame};

/// Length of a slot, in milliseconds.
pub(crate) const SLOT_MS: i64 = 5 * 60 * 1_000;

/// The slot of a time.
pub(crate) const fn slot_of(at: i64) -> i64 {
    at.div_euclid(SLOT_MS)
}

/// Frames of clusters by slot, compressed each for itself, in the order in which they were recorded.
#[derive(Debug, Default)]
pub(crate) struct PendingFrames {
    parts: BTreeMap<(ClusterName, i64), Vec<Vec<u8>>>,
}

/// Shared with readers.
pub(crate) type SharedFrames = Arc<Mutex<PendingFrames>>;

impl PendingFrames {
    pub(crate) fn add(&mut self, cluster: &ClusterName, slot: i64, frame: Vec<u8>) {
        let part = self.parts.entry((cluster.clone(), slot)).or_default();
        part.push(frame);
    }

    /// The parts whose slots ended before `now`.
    pub(crate) fn ended(&self, now: i64) -> Vec<(ClusterName, i64)> {
        let parts = self.parts.keys();
        parts
            .filter(|(_, slot)| (slot + 1) * SLOT_MS <= now)
            .cloned()
            .collect()
    }

    /// The frames of a part, without damaged ones and what follows them.
    pub(crate) fn frames(&self, part: &(ClusterName, i64)) -> Vec<ViewFrame> {
        let frames = self.parts.get(part).into_iter().flatten();
        frames
            .map_while(|bytes| frame::decode(bytes))
            .flatten()
            .collect()
    }

    /// The slots of `cluster`, oldest first.
    pub(crate) fn slots(&self, cluster: &ClusterName) -> Vec<i64> {
        let parts = self.parts.keys();
        parts
            .filter(|(name, _)| name == cluster)
            .map(|(_, slot)| *slot)
            .collect()
    }

    pub(crate) fn remove(&mut self, part: &(ClusterName, i64)) {
        self.parts.remove(part);
    }
}
