//! Background tasks and their shutdown.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tracks background tasks and cancels them; clones share both.
///
/// A task returns soon after `shutdown` is cancelled; stopping waits for every task on `tracker`.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
}

impl Tasks {
    /// Spawns `task`, which must observe `shutdown`.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }
}
