//! Collects items and writes them every two seconds, on a thread of its own: a disk that hangs stops nothing else.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use console_core::clock::now;
use console_core::threads::{ThreadError, ThreadLimit};
use monitor::Monitor;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::error::RecordingError;

/// Time between two batches.
const WRITE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two attempts to open the file.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time after which a write that did not end is shown.
const STALLED_AFTER: Duration = Duration::from_secs(30);

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    pub recorded: u64,
    /// Left out because the file has no room for them.
    pub lost: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// The one writer of a file.
pub trait BatchWriter: Send + 'static {
    /// What is recorded.
    type Item: Send + 'static;

    /// Writes `batch` durably, as of `now` (milliseconds since 1970). The batch may be empty.
    ///
    /// # Errors
    /// [`RecordingError`]. The file is opened again afterwards.
    fn write(&mut self, batch: &[Self::Item], now: i64) -> Result<BatchOutcome, RecordingError>;
}

/// What is shown of a recorder.
#[derive(Debug, Default)]
pub struct RecorderState {
    /// Why nothing is recorded; `None` while items are.
    problem: Mutex<Option<RecordingError>>,
    recorded: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
}

impl RecorderState {
    /// Why nothing is recorded; `None` while items are.
    #[must_use]
    pub fn problem(&self) -> Option<RecordingError> {
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        problem.clone()
    }

    /// Registers `PREFIX_recording`, `PREFIX_ITEMS_total`, `PREFIX_lost_ITEMS_total` and `PREFIX_bytes`. `described` is what
    /// is recorded, as in "Figures of the nodes", and each item, as in "Readings of nodes".
    pub fn register_metrics(
        &self,
        registry: &mut Registry,
        (prefix, items): (&str, &str),
        (content, described): (&str, &str),
    ) {
        let gauge = |value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            gauge
        };
        let counter = |figure: &AtomicU64| {
            let counter: Counter = Counter::default();
            counter.inc_by(figure.load(Ordering::Relaxed));
            counter
        };
        registry.register(
            format!("{prefix}_recording"),
            format!("Whether {content} are recorded (1) or cannot be written (0)"),
            gauge(i64::from(self.problem().is_none())),
        );
        registry.register(
            format!("{prefix}_{items}"),
            format!("{described} that were recorded"),
            counter(&self.recorded),
        );
        registry.register(
            format!("{prefix}_lost_{items}"),
            format!("{described} that could not be recorded"),
            counter(&self.lost),
        );
        let bytes = self.bytes.load(Ordering::Relaxed);
        registry.register(
            format!("{prefix}_bytes"),
            format!("Size of the file with {content}, in bytes"),
            gauge(i64::try_from(bytes).unwrap_or(i64::MAX)),
        );
    }

    fn add(&self, outcome: BatchOutcome) {
        self.recorded.fetch_add(outcome.recorded, Ordering::Relaxed);
        self.lost.fetch_add(outcome.lost, Ordering::Relaxed);
        self.bytes.store(outcome.bytes, Ordering::Relaxed);
    }

    /// Counts items that were lost before they reached the recorder.
    pub fn lose(&self, items: usize) {
        self.lost.fetch_add(items as u64, Ordering::Relaxed);
    }
}

/// The notice on every page while nothing is recorded.
#[derive(Clone, Copy, Debug)]
pub struct RecorderNotice {
    /// Its source, for [`Monitor::set_notices`]; also the name of the thread that writes.
    pub source: &'static str,
    /// What is not recorded, as in "Figures of the nodes".
    pub content: &'static str,
}

/// The task that records.
pub struct BatchRecorder<W: BatchWriter> {
    /// The file.
    pub path: PathBuf,
    /// Opens the file.
    pub open: Arc<dyn Fn() -> Result<W, RecordingError> + Send + Sync>,
    pub state: Arc<RecorderState>,
    pub monitor: Monitor,
    pub notice: RecorderNotice,
    /// Items that wait for the disk; further ones are lost.
    pub waiting_max: usize,
}

impl<W: BatchWriter> fmt::Debug for BatchRecorder<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchRecorder")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The writer, once it is open; only one thread at a time uses it.
type SharedWriter<W> = Arc<Mutex<Option<W>>>;

impl<W: BatchWriter> BatchRecorder<W> {
    /// Records `items` until `shutdown`, and then what waits.
    pub async fn run(self, mut items: mpsc::Receiver<W::Item>, shutdown: CancellationToken) {
        let threads = ThreadLimit::new(self.notice.source, 1);
        let writer: SharedWriter<W> = Arc::default();
        let mut tick = interval(WRITE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Vec<W::Item> = Vec::new();
        let mut retry_at = Instant::now();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(item) = items.recv() => self.keep(&mut waiting, item),
                _ = tick.tick() => {
                    if Instant::now() < retry_at {
                        self.state.lose(waiting.len());
                        waiting.clear();
                        continue;
                    }
                    let batch = std::mem::take(&mut waiting);
                    let size = batch.len();
                    let write = self.write(&threads, &writer, batch);
                    let done = self.while_collecting(write, &mut items, &mut waiting).await;
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
        while let Ok(item) = items.try_recv() {
            self.keep(&mut waiting, item);
        }
        let last = self.write(&threads, &writer, waiting);
        let _ = tokio::time::timeout(WRITE_INTERVAL, last).await;
    }

    fn keep(&self, waiting: &mut Vec<W::Item>, item: W::Item) {
        if waiting.len() < self.waiting_max {
            waiting.push(item);
        } else {
            self.state.lose(1);
        }
    }

    /// Collects items while `write` runs, and shows when it takes too long.
    async fn while_collecting(
        &self,
        write: impl Future<Output = Result<(), RecordingError>>,
        items: &mut mpsc::Receiver<W::Item>,
        waiting: &mut Vec<W::Item>,
    ) -> Result<(), RecordingError> {
        let started = Instant::now();
        let mut stalled = interval(STALLED_AFTER);
        stalled.tick().await;
        tokio::pin!(write);
        loop {
            tokio::select! {
                done = &mut write => return done,
                Some(item) = items.recv() => self.keep(waiting, item),
                _ = stalled.tick() => self.show(Some(RecordingError::Stalled {
                    path: self.path.display().to_string(),
                    seconds: started.elapsed().as_secs(),
                })),
            }
        }
    }

    /// Opens the file unless it is open, and writes `batch`. After an error the file is opened again.
    async fn write(
        &self,
        threads: &ThreadLimit,
        writer: &SharedWriter<W>,
        batch: Vec<W::Item>,
    ) -> Result<(), RecordingError> {
        let (writer, state, open) = (
            Arc::clone(writer),
            Arc::clone(&self.state),
            Arc::clone(&self.open),
        );
        let work = move || {
            let mut shared = writer.lock().unwrap_or_else(PoisonError::into_inner);
            // Out of its place, so that it is closed after an error or a panic.
            let mut file = match shared.take() {
                Some(file) => file,
                None => open()?,
            };
            state.add(file.write(&batch, now().unix_millis())?);
            *shared = Some(file);
            Ok(())
        };
        let failed = |error: ThreadError| RecordingError::io(&self.path, &error);
        threads.slot().await.run(work).await.map_err(failed)?
    }

    /// Shows on every page why nothing is recorded, or that items are recorded again.
    fn show(&self, problem: Option<RecordingError>) {
        let mut shown = self
            .state
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *shown == problem {
            return;
        }
        let content = self.notice.content;
        let notice = problem.as_ref().map(|problem| {
            format!("{content} are not being recorded, monitoring continues: {problem}.")
        });
        match &notice {
            Some(notice) => tracing::warn!("{notice}"),
            None => tracing::info!("{content} are recorded again"),
        }
        self.monitor
            .set_notices(self.notice.source, notice.into_iter().collect());
        *shown = problem;
    }
}
