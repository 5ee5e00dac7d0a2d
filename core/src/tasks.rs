//! The tasks of a process, and how they end.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where tasks run and what ends them; clones share both.
///
/// A task returns soon after `shutdown` is cancelled; stopping waits for every task that was spawned on `tracker`.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    /// Waits for the tasks.
    pub tracker: TaskTracker,
    /// Ends the tasks.
    pub shutdown: CancellationToken,
}

impl Tasks {
    /// Runs `task`, which has to watch `shutdown`, until it returns.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(task);
    }
}
