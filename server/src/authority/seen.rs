//! What this host has seen of the records, kept outside etcd.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use console_core::audit::AuditTrail;
use console_core::seen_records::{SeenRecordsError, SeenRecordsFile, SeenState};
use console_core::state_secret::StateSecrets;
use galera::record::audit::AuditAnchor;
use registry::{EtcdRestore, Registry, SeenRecords};
use tokio::time::sleep;

use super::SealedState;

/// Time between two looks whether something is to be written.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// The longest time after which the revision of etcd is written, although nothing else has changed.
const REVISION_INTERVAL: Duration = Duration::from_secs(300);

/// The file of seen records, and what it held at the start; clones share it.
#[derive(Clone, Debug)]
pub(super) struct SeenMemory {
    file: SeenRecordsFile,
    initial: Arc<SeenState>,
    progress: Arc<Mutex<SeenProgress>>,
}

#[derive(Debug)]
struct SeenProgress {
    /// The records that were reported as older than seen, or missing.
    reported: BTreeSet<String>,
    /// The restoration that was reported.
    restored: Option<EtcdRestore>,
    written: SeenState,
    written_at: Instant,
    failed: bool,
}

impl SeenMemory {
    pub(super) fn open(
        path: &Path,
        state_prefix: &str,
        secrets: StateSecrets,
    ) -> Result<Self, SeenRecordsError> {
        let file = SeenRecordsFile::open(path, state_prefix, secrets)?;
        let initial = file.read()?;
        let progress = SeenProgress {
            reported: initial.reported.clone(),
            restored: initial.records.restored,
            written: initial.clone(),
            written_at: Instant::now(),
            failed: false,
        };
        Ok(Self {
            file,
            initial: Arc::new(initial),
            progress: Arc::new(Mutex::new(progress)),
        })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    fn lock(&self) -> MutexGuard<'_, SeenProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen before this process was started.
    pub(super) fn records(&self) -> &SeenRecords {
        &self.initial.records
    }

    /// The newest entry of the audit trail seen then.
    pub(super) fn anchor(&self) -> Option<&AuditAnchor> {
        self.initial.anchor.as_ref()
    }

    pub(super) fn reported(&self) -> BTreeSet<String> {
        self.lock().reported.clone()
    }

    pub(super) fn reported_restore(&self) -> Option<EtcdRestore> {
        self.lock().restored
    }

    pub(super) fn set_reported(&self, keys: BTreeSet<String>, restored: Option<EtcdRestore>) {
        let mut progress = self.lock();
        progress.reported = keys;
        progress.restored = restored;
    }

    /// What is to be written now, if anything is.
    fn due(&self, registry: &Registry, trail: &AuditTrail) -> Option<SeenState> {
        let progress = self.lock();
        let anchor = trail.last_seen().or_else(|| self.initial.anchor.clone());
        let state = SeenState {
            records: registry.seen_records(),
            anchor,
            reported: progress.reported.clone(),
        };
        let mut comparable = state.clone();
        comparable.records.revision = progress.written.records.revision;
        let changed = comparable != progress.written;
        let late = progress.written_at.elapsed() >= REVISION_INTERVAL;
        (changed || (late && state != progress.written)).then_some(state)
    }

    /// Writes what has changed. A failure is logged once, until a write succeeds.
    async fn save(&self, registry: &Registry, trail: &AuditTrail) {
        let Some(state) = self.due(registry, trail) else {
            return;
        };
        let file = self.file.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let merged = file.merge(&state);
            (merged, state)
        });
        let Ok((merged, state)) = writing.await else {
            return;
        };
        let mut progress = self.lock();
        match merged {
            Ok(()) => {
                progress.written = state;
                progress.written_at = Instant::now();
                progress.failed = false;
            }
            Err(error) if !progress.failed => {
                progress.failed = true;
                tracing::error!(%error, "Could not save the seen-records file: {error}");
            }
            Err(_) => {}
        }
    }
}

impl SealedState {
    /// Writes what is seen to the file, at a bounded rate, until it is dropped.
    pub(super) async fn keep_seen(&self, trail: &AuditTrail) {
        let Some(seen) = &self.seen else {
            return;
        };
        loop {
            seen.save(&self.registry, trail).await;
            sleep(SAVE_INTERVAL).await;
        }
    }

    /// Writes what was seen to the file, if there is one.
    pub(crate) async fn save_seen(&self, trail: &AuditTrail) {
        if let Some(seen) = &self.seen {
            seen.save(&self.registry, trail).await;
        }
    }
}
