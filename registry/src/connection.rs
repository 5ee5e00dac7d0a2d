//! One endpoint and the connection with it.
//!
//! Concurrent calls share one connection attempt, which continues after they have timed out. etcd computes a bcrypt hash for
//! every connection with an account: after an outage, an attempt for each call, given up at its deadline, keeps a member too
//! busy to complete any.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::error::{AttemptError, classify};

/// A connection with an endpoint.
#[derive(Clone)]
pub(crate) struct EtcdConnection {
    /// From 1 on, in the order in which they were begun.
    pub(crate) number: u64,
    pub(crate) client: Client,
}

/// A connection that is being made.
type PendingConnection = Shared<BoxFuture<'static, Result<EtcdConnection, AttemptError>>>;

/// One endpoint.
pub(crate) struct EtcdEndpoint {
    url: String,
    state: Mutex<ConnectionState>,
}

#[derive(Default)]
struct ConnectionState {
    /// How many were begun.
    begun: u64,
    made: Option<EtcdConnection>,
    /// The one with the number `begun`.
    pending: Option<PendingConnection>,
    answered_at: Option<Instant>,
}

impl EtcdEndpoint {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            state: Mutex::default(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The connection, made on first use. `settings` are its options, the authority of the members' certificates, and how
    /// long it may take.
    pub(crate) fn connection(
        self: &Arc<Self>,
        settings: impl FnOnce() -> (ConnectOptions, Option<PathBuf>, Duration),
    ) -> PendingConnection {
        let mut state = self.lock();
        if let Some(made) = &state.made {
            return std::future::ready(Ok(made.clone())).boxed().shared();
        }
        if let Some(pending) = &state.pending {
            return pending.clone();
        }
        state.begun += 1;
        let task = TaskTracker::new().spawn(Arc::clone(self).connect(state.begun, settings()));
        let pending = async {
            task.await.unwrap_or_else(|error| {
                Err(AttemptError::Transient {
                    cause: error.to_string(),
                    maybe_applied: false,
                })
            })
        };
        let pending = pending.boxed().shared();
        state.pending = Some(pending.clone());
        pending
    }

    async fn connect(
        self: Arc<Self>,
        number: u64,
        (options, authorities, limit): (ConnectOptions, Option<PathBuf>, Duration),
    ) -> Result<EtcdConnection, AttemptError> {
        // Also when the task is dropped, so that the next call makes a new one.
        let pending = PendingGuard {
            endpoint: &self,
            number,
        };
        let connecting = Client::connect([self.url.as_str()], Some(options));
        let result = match timeout(limit, Box::pin(connecting)).await {
            Ok(Ok(client)) => Ok(EtcdConnection { number, client }),
            Ok(Err(error)) => Err(classify(&self.url, authorities.as_deref(), error)),
            Err(_) => Err(AttemptError::Transient {
                cause: format!("no connection with {} within {limit:?}", self.url),
                maybe_applied: false,
            }),
        };
        let mut state = self.lock();
        // Otherwise the options were replaced meanwhile.
        if state.begun == number && state.pending.is_some() {
            state.made = result.as_ref().ok().cloned();
        }
        drop(state);
        drop(pending);
        result
    }

    /// Gives up the connection, and the one that is being made.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        state.made = None;
        state.pending = None;
    }

    /// Gives up connection `number` unless the endpoint has answered since `begun`.
    pub(crate) fn give_up_if_silent(&self, number: u64, begun: Instant) {
        let mut state = self.lock();
        let answered = state.answered_at.is_some_and(|at| at >= begun);
        if !answered {
            state.made.take_if(|made| made.number == number);
        }
    }

    pub(crate) fn record_answer(&self) {
        self.lock().answered_at = Some(Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionState> {
        // Values are replaced under the lock, which cannot leave them half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the waiting for connection `number`.
struct PendingGuard<'e> {
    endpoint: &'e EtcdEndpoint,
    number: u64,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.endpoint.lock();
        if state.begun == self.number {
            state.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{EtcdSettings, Registry, Secret};

    /// A member that accepts connections and answers nothing; how many it accepted.
    async fn silent_member() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        TaskTracker::new().spawn(async move {
            let mut streams = Vec::new();
            loop {
                streams.push(listener.accept().await.unwrap().0);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        (url, accepted)
    }

    fn settings(url: String) -> EtcdSettings {
        EtcdSettings {
            user: Some("console".to_owned()),
            password: Some(Secret::new("secret")),
            deadline: Duration::from_millis(500),
            ..EtcdSettings::new([url])
        }
    }

    #[tokio::test]
    async fn concurrent_calls_make_one_connection() {
        let (url, accepted) = silent_member().await;
        let registry = Registry::connect(settings(url)).unwrap();
        let calls = (0..50).map(|_| registry.get("/k"));
        for result in futures::future::join_all(calls).await {
            let error = result.unwrap_err();
            assert!(
                error.is_transient() && error.to_string().contains("no connection"),
                "{error}"
            );
        }
        assert_eq!(accepted.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_connection_is_completed_after_its_callers_have_given_up() {
        let (url, _) = silent_member().await;
        let endpoint = Arc::new(EtcdEndpoint::new(url));
        let made =
            || endpoint.connection(|| (ConnectOptions::new(), None, Duration::from_secs(120)));
        // Without an account nothing is awaited: the task is done as soon as it runs.
        drop(made());
        let first = made().await.unwrap();
        assert_eq!(first.number, 1);
        let begun = Instant::now();
        endpoint.give_up_if_silent(first.number + 1, begun);
        assert_eq!(
            made().await.unwrap().number,
            1,
            "another connection was silent"
        );
        endpoint.record_answer();
        endpoint.give_up_if_silent(first.number, begun);
        assert_eq!(made().await.unwrap().number, 1, "it answered");
        endpoint.give_up_if_silent(first.number, Instant::now() + Duration::from_secs(1));
        assert_eq!(made().await.unwrap().number, 2);
    }

    #[tokio::test]
    async fn a_failed_connection_is_made_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let registry = Registry::connect(settings(url)).unwrap();
        let closing = async {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read_u8().await;
            }
        };
        let calling = async {
            loop {
                assert!(registry.get("/k").await.is_err());
            }
        };
        let twice = async {
            tokio::select! {
                () = closing => {}
                () = calling => {}
            }
        };
        let twice = timeout(Duration::from_secs(120), twice).await;
        twice.expect("the second connection");
    }
}
