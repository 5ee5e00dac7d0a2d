//! Remembers what passes through the registry, so that a state of some milliseconds can be asserted afterwards.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use registry::{KeyChange, Registry, WatchEvent};

use super::CLUSTER;
use crate::background::runtime;

/// What [`super::HomogeneousLab::recorder`] remembers.
pub struct KeyRecorder {
    values: Arc<Mutex<Vec<(String, String)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl KeyRecorder {
    /// Remembers every value that keys of the cluster get from now on.
    pub(super) fn start(registry: Registry) -> Result<Self> {
        let values = Arc::<Mutex<Vec<(String, String)>>>::default();
        let record = Arc::clone(&values);
        let task = runtime()?.spawn(async move {
            let mut events = registry.watch(format!("/galera/{CLUSTER}/"));
            while let Some(event) = events.next().await {
                let WatchEvent::Changes { changes, .. } = event else {
                    continue;
                };
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record.extend(changes.into_iter().filter_map(put));
            }
        });
        Ok(Self { values, task })
    }

    /// Whether a key that ends with `field` ever had this value.
    #[must_use]
    pub fn has_seen(&self, field: &str, value: &str) -> bool {
        self.values(field).contains(value)
    }

    /// Every value that keys which end with `field` ever had.
    #[must_use]
    pub fn values(&self, field: &str) -> BTreeSet<String> {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let of_field = values.iter().filter(|(key, _)| key.ends_with(field));
        of_field.map(|(_, value)| value.clone()).collect()
    }
}

fn put(change: KeyChange) -> Option<(String, String)> {
    match change {
        KeyChange::Put(entry) => Some((
            String::from_utf8_lossy(&entry.key).into_owned(),
            String::from_utf8_lossy(&entry.value).into_owned(),
        )),
        KeyChange::Delete { .. } => None,
    }
}

impl Drop for KeyRecorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}
