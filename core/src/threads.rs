//! Blocking work on dedicated threads, a bounded number for each purpose.
//!
//! The runtime's blocking threads are shared by everything in the process: work that may hang or is slow would occupy
//! all of them and delay the rest.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Why blocking work has no result.
#[derive(Debug, thiserror::Error)]
pub enum ThreadError {
    /// The system refuses another thread.
    #[error("no thread could be started: {0}")]
    NotStarted(#[from] std::io::Error),
    /// The work panicked.
    #[error("the work panicked")]
    Panicked,
}

/// At most so many threads for one purpose. A thread ends with its work.
#[derive(Clone, Debug)]
pub struct ThreadLimit {
    name: &'static str,
    free: Arc<Semaphore>,
}

/// The right to start one thread; held until the work ends, also when its result is no longer awaited.
#[derive(Debug)]
pub struct ThreadSlot {
    name: &'static str,
    permit: OwnedSemaphorePermit,
}

impl ThreadLimit {
    /// At most `max` threads, each named `name`.
    #[must_use]
    pub fn new(name: &'static str, max: usize) -> Self {
        Self {
            name,
            free: Arc::new(Semaphore::new(max)),
        }
    }

    /// A free slot, or `None` when all are taken.
    #[must_use]
    pub fn try_slot(&self) -> Option<ThreadSlot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(ThreadSlot {
            name: self.name,
            permit,
        })
    }

    /// Waits for a free slot, in order of arrival.
    pub async fn slot(&self) -> ThreadSlot {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => ThreadSlot {
                name: self.name,
                permit,
            },
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

impl ThreadSlot {
    /// Starts `work` on a thread.
    ///
    /// # Errors
    /// When the system refuses another thread; `work` is then dropped.
    pub fn start(self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let permit = self.permit;
        let thread = std::thread::Builder::new().name(self.name.to_owned());
        thread.spawn(move || {
            let _permit = permit;
            work();
        })?;
        Ok(())
    }

    /// Runs `work` on a thread and waits for its result.
    ///
    /// # Errors
    /// [`ThreadError`].
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ThreadError> {
        let (sender, receiver) = oneshot::channel();
        self.start(move || {
            let _ = sender.send(work());
        })?;
        receiver.await.map_err(|_| ThreadError::Panicked)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_slot_is_held_until_the_work_ends() {
        let threads = ThreadLimit::new("test", 1);
        let (end, ended) = mpsc::channel::<()>();
        let slot = threads.try_slot().unwrap();
        slot.start(move || {
            let _ = ended.recv();
        })
        .unwrap();
        assert!(threads.try_slot().is_none());
        end.send(()).unwrap();
        assert_eq!(threads.slot().await.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_that_panics_frees_its_slot() {
        let threads = ThreadLimit::new("test", 1);
        let result = threads.slot().await.run(|| panic!("expected in a test"));
        assert!(matches!(result.await, Err::<(), _>(ThreadError::Panicked)));
        threads.slot().await;
    }
}
