//! Collects readings and writes them every two seconds, on a thread of its own: a disk that hangs stops nothing else.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console_core::clock::now;
use console_core::threads::{ThreadError, ThreadLimit};
use monitor::{Monitor, NodeReading};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::SeriesError;
use crate::file::FILE_NAME;
use crate::writer::{BatchOutcome, Retention, SeriesWriter, SharedHead};

/// Time between two batches.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two attempts to open the file.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which a write that did not end is shown.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// Readings that wait for the disk; further ones are lost.
const WAITING_MAX: usize = 65_536;
/// The source of the notice on every page.
const NOTICE_SOURCE: &str = "series";

/// What is shown of the recorder.
#[derive(Debug, Default)]
pub(crate) struct RecorderState {
    /// Why nothing is recorded; `None` while readings are.
    problem: Mutex<Option<SeriesError>>,
    recorded: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
}

impl RecorderState {
    pub(crate) fn problem(&self) -> Option<SeriesError> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone()
    }

    /// Recorded readings, lost readings, and bytes of the file.
    pub(crate) fn figures(&self) -> [u64; 3] {
        [&self.recorded, &self.lost, &self.bytes].map(|figure| figure.load(Ordering::Relaxed))
    }

    fn add(&self, outcome: BatchOutcome) {
        self.recorded.fetch_add(outcome.recorded, Ordering::Relaxed);
        self.lost.fetch_add(outcome.lost, Ordering::Relaxed);
        self.bytes.store(outcome.bytes, Ordering::Relaxed);
    }

    fn lose(&self, readings: usize) {
        self.lost.fetch_add(readings as u64, Ordering::Relaxed);
    }
}

/// The task that records.
pub(crate) struct Recorder {
    pub(crate) directory: PathBuf,
    pub(crate) head: SharedHead,
    pub(crate) retention: Retention,
    pub(crate) state: Arc<RecorderState>,
    pub(crate) monitor: Monitor,
}

/// The writer, once it is open; only one thread at a time uses it.
type SharedWriter = Arc<Mutex<Option<SeriesWriter>>>;

impl Recorder {
    /// Records until `shutdown`, and then what waits.
    pub(crate) async fn run(
        self,
        mut readings: mpsc::Receiver<NodeReading>,
        shutdown: CancellationToken,
    ) {
        let threads = ThreadLimit::new("series-write", 1);
        let writer = SharedWriter::default();
        let mut tick = interval(WRITE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Vec<NodeReading> = Vec::new();
        let mut retry_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(reading) = readings.recv() => self.keep(&mut waiting, reading),
                _ = tick.tick() => {
                    if Instant::now() < retry_at {
                        self.state.lose(waiting.len());
                        waiting.clear();
                        continue;
                    }
                    let batch = std::mem::take(&mut waiting);
                    let size = batch.len();
                    let write = self.write(&threads, &writer, batch);
                    let done = self.while_collecting(write, &mut readings, &mut waiting).await;
                    if let Err(error) = done {
                        self.state.lose(size);
                        retry_at = Instant::now() + RETRY_INTERVAL;
                        self.show(Some(error));
                    } else {
                        self.show(None);
                    }
                }
            }
        }
        while let Ok(reading) = readings.try_recv() {
            self.keep(&mut waiting, reading);
        }
        let last = self.write(&threads, &writer, waiting);
        let _ = tokio::time::timeout(WRITE_INTERVAL, last).await;
    }

    fn keep(&self, waiting: &mut Vec<NodeReading>, reading: NodeReading) {
        if waiting.len() < WAITING_MAX {
            waiting.push(reading);
        } else {
            self.state.lose(1);
        }
    }

    /// Collects readings while `write` runs, and shows when it takes too long.
    async fn while_collecting(
        &self,
        write: impl Future<Output = Result<(), SeriesError>>,
        readings: &mut mpsc::Receiver<NodeReading>,
        waiting: &mut Vec<NodeReading>,
    ) -> Result<(), SeriesError> {
        let started = Instant::now();
        let mut stalled = interval(STALLED_AFTER);
        stalled.tick().await;
        tokio::pin!(write);
        loop {
            tokio::select! {
                done = &mut write => return done,
                Some(reading) = readings.recv() => self.keep(waiting, reading),
                _ = stalled.tick() => self.show(Some(SeriesError::Stalled {
                    path: self.directory.join(FILE_NAME).display().to_string(),
                    seconds: started.elapsed().as_secs(),
                })),
            }
        }
    }

    /// Opens the file unless it is open, and writes `batch`. After an error the file is opened again.
    async fn write(
        &self,
        threads: &ThreadLimit,
        writer: &SharedWriter,
        batch: Vec<NodeReading>,
    ) -> Result<(), SeriesError> {
        let (writer, state) = (Arc::clone(writer), Arc::clone(&self.state));
        let (directory, head, retention) = (
            self.directory.clone(),
            Arc::clone(&self.head),
            self.retention,
        );
        let work = move || {
            let mut open = writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Out of its place, so that it is closed after an error or a panic.
            let mut file = match open.take() {
                Some(file) => file,
                None => SeriesWriter::open(&directory, head, retention)?,
            };
            state.add(file.write(&batch, now().unix_millis())?);
            *open = Some(file);
            Ok(())
        };
        let failed = |error: ThreadError| SeriesError::io(&self.directory.join(FILE_NAME), &error);
        threads.slot().await.run(work).await.map_err(failed)?
    }

    /// Shows on every page why nothing is recorded, or that readings are recorded again.
    fn show(&self, problem: Option<SeriesError>) {
        let mut shown = self
            .state
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *shown == problem {
            return;
        }
        let notice = problem.as_ref().map(|problem| {
            format!("Figures of the nodes are not being recorded, monitoring continues: {problem}.")
        });
        match &notice {
            Some(notice) => tracing::warn!("{notice}"),
            None => tracing::info!("Figures of the nodes are recorded again"),
        }
        self.monitor
            .set_notices(NOTICE_SOURCE, notice.into_iter().collect());
        *shown = problem;
    }
}
