//! The views of every cluster over time, on the console's own disk: what was seen at any second of the last day, and states
//! for 90 days.
//!
//! `collector` takes each change of state from the monitor, and every ten seconds the view of every cluster. A
//! [`recording::BatchRecorder`] writes them every two seconds. `ViewWriter` keeps what it wrote in a `PendingFrames` in memory until its slot
//! of five minutes is over; then the frames of a cluster become a chunk. After a day a chunk keeps its changes of state and one
//! frame a minute. [`ViewStore::view_at`] answers from chunks and head.
//!
//! Invariants: a frame is believed for as long as the next one was due; after that the view is not known, and never the one
//! before. What was written is never changed except by thinning, whatever the clock does.

mod collector;
mod file;
mod frame;
mod head;
#[doc(hidden)]
pub mod measuring;
mod reader;
mod thinning;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use console_core::tasks::Tasks;
use console_core::threads::ThreadLimit;
use galera::{ClusterName, Timestamp};
use monitor::Monitor;
use prometheus_client::registry::Registry;
use recording::{BatchRecorder, RecorderNotice, RecorderState, RecordingError};
use tokio::sync::mpsc;

pub use reader::{RecordedView, ViewLookup};

use head::SharedFrames;
use writer::ViewWriter;

/// How long every frame is kept; longer if nothing was recorded for a while.
pub const FRAMES_KEPT: Duration = Duration::from_secs(25 * 3600);
/// How long states are kept; longer if nothing was recorded for a while.
pub const STATES_KEPT: Duration = Duration::from_secs(91 * 24 * 3600);
/// Frames between the collector and the recorder, and that wait for the disk; further ones are lost.
const WAITING_MAX: usize = 16_384;
/// Requests that are read at a time; each has its own connection to the file.
const READERS_MAX: usize = 2;
/// The notice on every page while nothing is recorded.
const NOTICE: RecorderNotice = RecorderNotice {
    source: "views",
    content: "Views of the clusters",
};

/// The recorded views. Cheap to clone.
#[derive(Clone)]
pub struct ViewStore {
    directory: PathBuf,
    head: SharedFrames,
    state: Arc<RecorderState>,
    readers: ThreadLimit,
}

impl fmt::Debug for ViewStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = &self.directory;
        f.debug_struct("ViewStore")
            .field("directory", directory)
            .finish_non_exhaustive()
    }
}

impl ViewStore {
    /// Starts to record in `directory` what `monitor` publishes, as `tasks`. Does not wait for the disk.
    #[must_use]
    pub fn start(directory: &Path, monitor: &Monitor, tasks: &Tasks) -> Self {
        let store = Self::for_directory(directory);
        let (opened, head) = (store.directory.clone(), Arc::clone(&store.head));
        let recorder = BatchRecorder {
            path: directory.join(file::FORMAT.name),
            open: Arc::new(move || ViewWriter::open(&opened, Arc::clone(&head))),
            state: Arc::clone(&store.state),
            monitor: monitor.clone(),
            notice: NOTICE,
            waiting_max: WAITING_MAX,
        };
        let (frames, collected) = mpsc::channel(WAITING_MAX);
        let views = {
            let monitor = monitor.clone();
            move || monitor.views()
        };
        let events = monitor.view_events();
        let collecting = collector::collect(events, views, frames, Arc::clone(&store.state));
        let shutdown = tasks.shutdown.clone();
        tasks.spawn(async move {
            shutdown.run_until_cancelled(collecting).await;
        });
        tasks.spawn(recorder.run(collected, tasks.shutdown.clone()));
        store
    }

    /// The views that another process records in `directory`, up to now. Later ones are not read.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(directory: &Path) -> Result<Self, RecordingError> {
        let store = Self::for_directory(directory);
        if let Some(connection) = recording::open_for_reading(directory, &file::FORMAT)? {
            let mut head = store.head.lock().unwrap_or_else(PoisonError::into_inner);
            file::add_pending(&connection, &mut head).map_err(|error| {
                RecordingError::of_sqlite(&directory.join(file::FORMAT.name), &error)
            })?;
        }
        Ok(store)
    }

    fn for_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            head: SharedFrames::default(),
            state: Arc::default(),
            readers: ThreadLimit::new("view-read", READERS_MAX),
        }
    }

    /// What was seen of `cluster` at `at`, read on a thread.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub async fn view_at(
        &self,
        cluster: &ClusterName,
        at: Timestamp,
    ) -> Result<ViewLookup, RecordingError> {
        let (directory, head) = (self.directory.clone(), Arc::clone(&self.head));
        let cluster = cluster.clone();
        let work = move || reader::view_at(&directory, &head, &cluster, at.unix_millis());
        let done = self.readers.slot().await.run(work).await;
        done.map_err(|error| RecordingError::io(&self.directory, &error))?
    }

    /// Registers gauges and counters of the recorder.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.state.register_metrics(
            registry,
            ("views", "frames"),
            ("views of the clusters", "Views of clusters"),
        );
    }
}

#[cfg(test)]
mod tests;
