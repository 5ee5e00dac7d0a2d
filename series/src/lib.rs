//! Figures of every node over time, on the console's own disk: each reading for a day, minutes for 90 days.
//!
//! A reading passes from the monitor into a [`recording::BatchRecorder`], which writes every two seconds. `SeriesWriter` keeps what it
//! wrote in a `Head` in memory until its slot of five minutes is over; then it becomes a chunk of each node, a whole hour
//! becomes minutes, and what is too old is deleted. [`SeriesStore::read`] merges minutes, chunks and head into intervals.
//! [`SeriesStore::state`] says whether readings are recorded.
//!
//! Invariants: nothing waits for the disk but the recorder. A time without readings has no value, never zero, and no rate
//! spans it. A counter that fell, or one of another process, has no rate. What is written is never changed, whatever the
//! clock does.

mod chunk;
mod chunk_key;
mod file;
mod head;
mod intervals;
#[doc(hidden)]
pub mod measuring;
mod reader;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use console_core::tasks::Tasks;
use console_core::threads::ThreadLimit;
use galera::publish::series::RecordingState;
use monitor::Monitor;
use prometheus_client::registry::Registry;
use recording::{BatchRecorder, RecorderNotice, RecorderState, RecordingError};

pub use intervals::{IntervalValue, SeriesIntervals};
pub use reader::{SeriesAnswer, SeriesRequest};

use chunk_key::ChunkTier;
use writer::{SeriesRetention, SeriesWriter, SharedHead};

/// How long single readings are kept; longer if nothing was recorded for a while.
pub const READINGS_KEPT: Duration = Duration::from_secs(25 * 3600);
/// How long minutes are kept; longer if nothing was recorded for a while.
pub const MINUTES_KEPT: Duration = Duration::from_secs(91 * 24 * 3600);
/// Readings between the monitor and the recorder.
const QUEUE: usize = 16_384;
/// Requests that are read at a time; each has its own connection to the file.
const READERS_MAX: usize = 2;
/// Readings that wait for the disk; further ones are lost.
const WAITING_MAX: usize = 65_536;
/// The notice on every page while nothing is recorded.
const NOTICE: RecorderNotice = RecorderNotice {
    source: "series",
    content: "Figures of the nodes",
};

/// Where figures are kept.
#[derive(Clone, Debug)]
pub struct SeriesSettings {
    /// The directory of the file; created if it does not exist.
    pub directory: PathBuf,
    /// Time between two readings of a node.
    pub poll_interval: Duration,
}

/// The recorded figures. Cheap to clone.
#[derive(Clone)]
pub struct SeriesStore {
    directory: PathBuf,
    head: SharedHead,
    retention: SeriesRetention,
    state: Arc<RecorderState>,
    readers: ThreadLimit,
}

impl fmt::Debug for SeriesStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = &self.directory;
        f.debug_struct("SeriesStore")
            .field("directory", directory)
            .finish_non_exhaustive()
    }
}

impl SeriesStore {
    /// Starts to record what `monitor` reads, as `tasks`. Does not wait for the disk.
    #[must_use]
    pub fn start(settings: &SeriesSettings, monitor: &Monitor, tasks: &Tasks) -> Self {
        let store = Self::for_directory(&settings.directory, settings.poll_interval);
        let (directory, head) = (store.directory.clone(), Arc::clone(&store.head));
        let retention = store.retention;
        let recorder = BatchRecorder {
            path: directory.join(file::FORMAT.name),
            open: Arc::new(move || SeriesWriter::open(&directory, Arc::clone(&head), retention)),
            state: Arc::clone(&store.state),
            monitor: monitor.clone(),
            notice: NOTICE,
            waiting_max: WAITING_MAX,
        };
        tasks.spawn(recorder.run(monitor.readings(QUEUE), tasks.shutdown.clone()));
        store
    }

    /// The figures that another process records with `settings`, up to now. Later ones are not read.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(settings: &SeriesSettings) -> Result<Self, RecordingError> {
        let directory = &settings.directory;
        let store = Self::for_directory(directory, settings.poll_interval);
        if let Some(connection) = recording::open_for_reading(directory, &file::FORMAT)? {
            let path = directory.join(file::FORMAT.name);
            let mut head = store.head.lock().unwrap_or_else(PoisonError::into_inner);
            file::add_pending(&connection, &path, &mut head)
                .map_err(|error| RecordingError::of_sqlite(&path, &error))?;
        }
        Ok(store)
    }

    fn for_directory(directory: &Path, interval: Duration) -> Self {
        let slots = |kept: Duration, tier: ChunkTier| {
            usize::try_from(kept.as_millis() / u128::from(tier.slot_ms().unsigned_abs()))
                .unwrap_or(usize::MAX)
        };
        Self {
            directory: directory.to_owned(),
            head: SharedHead::default(),
            retention: SeriesRetention {
                interval,
                reading_slots: slots(READINGS_KEPT, ChunkTier::Readings),
                minute_slots: slots(MINUTES_KEPT, ChunkTier::Minutes),
            },
            state: Arc::default(),
            readers: ThreadLimit::new("series-read", READERS_MAX),
        }
    }

    /// Reads series, on a thread.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub async fn read(&self, request: SeriesRequest) -> Result<SeriesAnswer, RecordingError> {
        let (directory, head) = (self.directory.clone(), Arc::clone(&self.head));
        let gap_max = self.retention.gap_max();
        let work = move || reader::read(&directory, &head, gap_max, &request);
        let done = self.readers.slot().await.run(work).await;
        done.map_err(|error| RecordingError::io(&self.directory, &error))?
    }

    /// Whether readings are recorded, and why not.
    #[must_use]
    pub fn state(&self) -> RecordingState {
        let problem = self.state.problem().map(|problem| problem.to_string());
        RecordingState {
            recording: problem.is_none(),
            problem,
        }
    }

    /// Registers gauges and counters of the recorder.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.state.register_metrics(
            registry,
            ("series", "readings"),
            ("figures of the nodes", "Readings of nodes"),
        );
    }
}

#[cfg(test)]
mod tests;
