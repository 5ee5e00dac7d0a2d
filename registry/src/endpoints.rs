//! The endpoints in order of preference, each with its own connection, and the calls that move on when one fails.
//!
//! The client library would balance over all endpoints and keep sending requests to a dead or hanging one, so every
//! endpoint has a separate client here, and the one that answered last is tried first.

use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions};
use rand::Rng;
use tokio::time::{Instant, sleep, timeout};

use crate::backoff::Backoff;
use crate::connection::{EtcdConnection, EtcdEndpoint};
use crate::error::{AttemptError, classify};
use crate::{Error, EtcdSettings, Result};

/// Is no number of a connection.
const NO_CONNECTION: u64 = 0;

/// Every endpoint with its connection.
pub(crate) struct Endpoints {
    endpoints: Vec<Arc<EtcdEndpoint>>,
    joined_urls: String,
    /// The endpoint that answered last.
    preferred: AtomicUsize,
    /// For new connections.
    options: Mutex<ConnectionOptions>,
    settings: EtcdSettings,
}

/// The client's options, with the TLS files as they were read.
struct ConnectionOptions {
    client: ConnectOptions,
    /// Identifies the contents of the TLS files.
    tls_source: Option<[u8; 32]>,
}

/// An answer, and whether an earlier attempt of the same call may have been carried out as well.
pub(crate) struct CallResponse<T> {
    pub(crate) value: T,
    pub(crate) maybe_applied: bool,
}

/// Whether a call may change etcd.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    Read,
    Write,
}

impl Endpoints {
    pub(crate) fn new(settings: EtcdSettings) -> Result<Self> {
        let urls = settings.urls()?;
        let options = ConnectionOptions {
            tls_source: settings.tls_source()?,
            client: settings.options()?,
        };
        Ok(Self {
            joined_urls: urls.join(", "),
            // Several clients of one cluster spread over its members.
            preferred: AtomicUsize::new(rand::rng().random_range(0..urls.len())),
            endpoints: urls
                .into_iter()
                .map(|url| Arc::new(EtcdEndpoint::new(url)))
                .collect(),
            options: Mutex::new(options),
            settings,
        })
    }

    pub(crate) fn joined_urls(&self) -> &str {
        &self.joined_urls
    }

    pub(crate) fn settings(&self) -> &EtcdSettings {
        &self.settings
    }

    pub(crate) fn count(&self) -> usize {
        self.endpoints.len()
    }

    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    pub(crate) fn set_preferred(&self, index: usize) {
        self.preferred.store(index, Ordering::Relaxed);
    }

    pub(crate) fn url(&self, index: usize) -> &str {
        self.endpoints[index].url()
    }

    /// How long one endpoint may take before the next one is tried.
    pub(crate) fn attempt_timeout(&self) -> Duration {
        let deadline = self.settings.deadline;
        match self.endpoints.len() {
            1 => deadline,
            several => deadline / u32::try_from(several + 1).unwrap_or(u32::MAX),
        }
    }

    /// The connection with the endpoint, which the first call makes and concurrent ones wait for.
    pub(crate) async fn connection(&self, index: usize) -> Result<EtcdConnection, AttemptError> {
        let made = self.endpoints[index].connection(|| {
            let options = lock(&self.options).client.clone();
            (options, self.settings.ca.clone(), self.settings.deadline)
        });
        made.await.map_err(|error| self.inspect(error))
    }

    /// Gives up a connection that has answered nothing since `begun`: it may be dead for minutes without noticing.
    pub(crate) fn give_up_if_silent(&self, index: usize, number: u64, begun: Instant) {
        self.endpoints[index].give_up_if_silent(number, begun);
    }

    /// Records that the endpoint answers.
    pub(crate) fn record_answer(&self, index: usize) {
        self.endpoints[index].record_answer();
    }

    /// Classifies the error of an attempt at an endpoint. One that may be due to TLS files which were replaced in the
    /// meantime, as a renewed certificate, lets the next attempt use the new ones.
    pub(crate) fn classify(&self, index: usize, error: etcd_client::Error) -> AttemptError {
        self.inspect(classify(
            self.url(index),
            self.settings.ca.as_deref(),
            error,
        ))
    }

    fn inspect(&self, error: AttemptError) -> AttemptError {
        match error {
            AttemptError::Transient {
                cause,
                maybe_applied,
            } => {
                self.reload_tls_files();
                let own = cause
                    .contains("client certificate")
                    .then(|| self.settings.check_tls_files().err())
                    .flatten();
                AttemptError::Transient {
                    cause: match own {
                        Some(problem) => format!("{cause}: {problem}"),
                        None => cause,
                    },
                    maybe_applied,
                }
            }
            permanent => permanent,
        }
    }

    /// Replaces every connection if the TLS files changed and can be used. Two files of a pair are written one after the
    /// other: until they fit, the former ones stay.
    fn reload_tls_files(&self) {
        let source = match self.settings.tls_source() {
            Ok(Some(source)) => Some(source),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "The TLS files for etcd cannot be read: {error}");
                return;
            }
        };
        if lock(&self.options).tls_source == source {
            return;
        }
        match self.settings.options() {
            Ok(client) => {
                *lock(&self.options) = ConnectionOptions {
                    client,
                    tls_source: source,
                };
                for endpoint in &self.endpoints {
                    endpoint.give_up();
                }
                tracing::info!("The TLS files for etcd were replaced; new connections use them");
            }
            Err(error) => tracing::warn!(
                %error,
                "The replaced TLS files for etcd cannot be used, the former ones stay in use: {error}"
            ),
        }
    }

    /// Carries out `operation` on the preferred endpoint, then on the others, again and again until the deadline.
    ///
    /// Repeating must be harmless: `operation` is a read, is idempotent, or compares what it depends on.
    pub(crate) async fn call<T, F, Fut>(
        &self,
        kind: CallKind,
        operation: F,
    ) -> Result<CallResponse<T>>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let end = Instant::now() + self.settings.deadline;
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
        let first = self.preferred();
        let mut repeated = false;
        loop {
            let mut last = String::new();
            for step in 0..self.endpoints.len() {
                let index = (first + step) % self.endpoints.len();
                let limit = self
                    .attempt_timeout()
                    .min(end.saturating_duration_since(Instant::now()));
                if limit.is_zero() {
                    break;
                }
                match self.attempt(index, limit, &operation).await {
                    Ok(value) => {
                        self.set_preferred(index);
                        return Ok(CallResponse {
                            value,
                            maybe_applied: repeated,
                        });
                    }
                    Err(AttemptError::Permanent(error)) => return Err(error),
                    Err(AttemptError::Transient {
                        cause,
                        maybe_applied: maybe_done,
                    }) => {
                        tracing::debug!(
                            endpoint = self.url(index),
                            cause,
                            "etcd endpoint {} failed",
                            self.url(index)
                        );
                        repeated |= maybe_done && kind == CallKind::Write;
                        last = cause;
                    }
                }
            }
            let pause = backoff.next_delay();
            if Instant::now() + pause >= end {
                return Err(self.deadline_error(repeated, last));
            }
            sleep(pause).await;
        }
    }

    /// Carries out a read on one endpoint, once.
    pub(crate) async fn attempt_at<T, F, Fut>(&self, index: usize, operation: F) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        self.attempt_within(index, self.attempt_timeout(), operation)
            .await
    }

    /// Carries out `operation` on one endpoint, once, in at most `limit`.
    pub(crate) async fn attempt_within<T, F, Fut>(
        &self,
        index: usize,
        limit: Duration,
        operation: F,
    ) -> Result<T>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let answer = self.attempt(index, limit, &operation);
        answer.await.map_err(|error| match error {
            AttemptError::Permanent(error) => error,
            AttemptError::Transient { cause, .. } => Error::Unavailable {
                endpoints: self.url(index).to_owned(),
                cause,
            },
        })
    }

    async fn attempt<T, F, Fut>(
        &self,
        index: usize,
        limit: Duration,
        operation: &F,
    ) -> Result<T, AttemptError>
    where
        F: Fn(Client) -> Fut,
        Fut: Future<Output = Result<T, etcd_client::Error>>,
    {
        let begun = Instant::now();
        let used = AtomicU64::new(NO_CONNECTION);
        let work = async {
            let connection = self.connection(index).await?;
            used.store(connection.number, Ordering::Relaxed);
            let answer = operation(connection.client).await;
            answer.map_err(|error| self.classify(index, error))
        };
        // Boxed: the client's calls make futures of many kilobytes.
        if let Ok(done) = timeout(limit, Box::pin(work)).await {
            if done.is_ok() {
                self.record_answer(index);
            }
            return done;
        }
        let (url, limit) = (self.url(index), limit.as_millis());
        Err(match used.into_inner() {
            NO_CONNECTION => AttemptError::Transient {
                cause: format!("no connection with {url} within {limit} ms"),
                maybe_applied: false,
            },
            number => {
                self.give_up_if_silent(index, number, begun);
                AttemptError::Transient {
                    cause: format!("{url} did not answer within {limit} ms"),
                    maybe_applied: true,
                }
            }
        })
    }

    fn deadline_error(&self, maybe_done: bool, cause: String) -> Error {
        let endpoints = self.joined_urls.clone();
        let cause = if cause.is_empty() {
            format!("no answer within {} ms", self.settings.deadline.as_millis())
        } else {
            cause
        };
        if maybe_done {
            Error::Unconfirmed { endpoints, cause }
        } else {
            Error::Unavailable { endpoints, cause }
        }
    }
}

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A value is cloned or replaced under the lock, neither of which can leave it half-done.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoints").field(&self.joined_urls).finish()
    }
}
