//! Blocks that readers looked for in vain, for the recorder, which finds out whether they are missing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use galera::ClusterName;

/// Blocks that a reader did not find; clones share them. Retention may have deleted them in the meantime.
#[derive(Clone, Debug, Default)]
pub(super) struct AbsentBlocks(Arc<Mutex<BTreeSet<(ClusterName, u64)>>>);

impl AbsentBlocks {
    pub(super) fn add(&self, cluster: &ClusterName, number: u64) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.insert((cluster.clone(), number));
    }

    pub(super) fn take(&self) -> BTreeSet<(ClusterName, u64)> {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut blocks)
    }
}
