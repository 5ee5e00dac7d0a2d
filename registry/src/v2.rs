//! The keys API of etcd v2, which the original images write: listings and a watch over HTTP. It only reads.
//!
//! etcd has it up to 3.5, in a separate store that shares nothing with v3: no leases but times to live of single keys, no
//! transactions, and directories, which outlive the keys in them. There is no maintained crate for it, and it needs two
//! requests only.
//!
//! Invariants: every request has a deadline, every answer a limit; redirects are not followed; what does not read as an
//! answer of etcd is an error that names it, never an empty registry.

mod http;
mod tree;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::{EtcdSettings, Result};
use http::{HttpAnswer, HttpClient};

pub use tree::{V2Entry, V2Listing};
pub use watch::{V2Event, V2Subscription};

/// Longest answer that is read, in bytes: a registry of 100,000 directories has less.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Shortest time that an endpoint gets to answer when several share a call's deadline.
const ATTEMPT_MIN: Duration = Duration::from_secs(1);
/// etcd's code for a key that does not exist.
const KEY_NOT_FOUND: u32 = 100;
/// etcd's code for an index that is no longer in its history of 1,000 events.
const EVENT_INDEX_CLEARED: u32 = 401;
/// Characters of a key that a URL has as they are; `/` separates its segments.
const UNENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'/');

/// Why the v2 keys cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum V2Error {
    /// No endpoint answered.
    #[error(
        "etcd's v2 keys cannot be read at {endpoint}: {cause}; check that etcd runs there and that the console reaches it"
    )]
    Unavailable {
        /// The endpoint that was tried last.
        endpoint: String,
        /// What the attempt met.
        cause: String,
    },
    /// etcd refused the account.
    #[error(
        "etcd at {endpoint} refused access to its v2 keys: {cause}; give the account of --etcd-user read access to them (etcdctl of the v2 API: role grant)"
    )]
    Denied {
        /// The endpoint that refused.
        endpoint: String,
        /// etcd's reason.
        cause: String,
    },
    /// Something else than etcd answers, or etcd answers something else.
    #[error(
        "what answers at {endpoint} is not the v2 keys API of etcd: {cause}; check --registry-v2-endpoints, or set --registry-dialect v3"
    )]
    Foreign {
        /// The endpoint.
        endpoint: String,
        /// What it answered.
        cause: String,
    },
}

/// What a directory of the v2 keys holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum V2Read {
    /// The keys; without any if the directory does not exist.
    Listing(V2Listing),
    /// etcd runs without the v2 API (`--enable-v2=false`, or a release after 3.5).
    Disabled,
}

/// The end of a wait for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitEnd {
    /// A key changed.
    Changed,
    /// No key changed in time.
    Idle,
    /// The changes since then are no longer in etcd's history.
    Cleared,
}

/// The connection to the v2 keys of etcd; clones share it.
#[derive(Clone, Debug)]
pub struct V2Registry {
    client: Arc<HttpClient>,
    preferred: Arc<AtomicUsize>,
}

/// The body of an error of etcd.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "errorCode")]
    code: u32,
    message: String,
}

#[derive(Deserialize)]
struct VersionBody {
    etcdserver: String,
}

impl V2Registry {
    /// Prepares requests to `settings.endpoints`, without sending one. The account is sent with each request, as v2
    /// requires.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for settings that can never work, [`crate::Error::TlsFile`] for files that cannot be used.
    pub fn connect(settings: EtcdSettings) -> Result<Self> {
        Ok(Self {
            client: Arc::new(HttpClient::new(settings)?),
            preferred: Arc::default(),
        })
    }

    /// The endpoints as one text, for messages.
    #[must_use]
    pub fn endpoints(&self) -> String {
        self.client.urls().join(", ")
    }

    /// Every key below the directory `prefix`, read linearizably.
    ///
    /// # Errors
    /// [`V2Error`] when no endpoint returns them.
    pub async fn list(&self, prefix: &str) -> Result<V2Read, V2Error> {
        let target = format!("{}?recursive=true&quorum=true", keys_path(prefix));
        let urls = self.client.urls();
        let deadline = self.client.deadline();
        let limit = (deadline / u32::try_from(urls.len()).unwrap_or(1)).max(ATTEMPT_MIN);
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failed = None;
        for offset in 0..urls.len() {
            let index = (first + offset) % urls.len();
            let url = &urls[index];
            match self.client.get(url, &target, limit).await {
                Ok(answer) => match read(url, prefix, &answer) {
                    Ok(read) => {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Ok(read);
                    }
                    Err(error) => failed = Some(error),
                },
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| self.without_endpoints()))
    }

    /// The version that the first endpoint to answer reports, such as `3.4.23`.
    ///
    /// # Errors
    /// [`V2Error`] when no endpoint reports one.
    pub async fn server_version(&self) -> Result<String, V2Error> {
        let mut failed = None;
        for url in self.client.urls() {
            let answer = match self.client.get(url, "/version", ATTEMPT_MIN).await {
                Ok(answer) => answer,
                Err(error) => {
                    failed = Some(error);
                    continue;
                }
            };
            match serde_json::from_slice::<VersionBody>(&answer.body) {
                Ok(body) => return Ok(body.etcdserver.chars().take(32).collect()),
                Err(_) => failed = Some(refusal(url, &answer)),
            }
        }
        Err(failed.unwrap_or_else(|| self.without_endpoints()))
    }

    fn without_endpoints(&self) -> V2Error {
        V2Error::Unavailable {
            endpoint: self.endpoints(),
            cause: "no endpoint is given".to_owned(),
        }
    }

    /// Waits until a key below `prefix` changes after `index`, at most for `limit`.
    async fn wait(&self, prefix: &str, index: u64, limit: Duration) -> Result<WaitEnd, V2Error> {
        let target = format!(
            "{}?recursive=true&wait=true&waitIndex={}",
            keys_path(prefix),
            index.saturating_add(1)
        );
        let urls = self.client.urls();
        let url = &urls[self.preferred.load(Ordering::Relaxed) % urls.len()];
        let answer = tokio::time::timeout(limit, self.client.get(url, &target, limit * 2)).await;
        match answer {
            Err(_) => Ok(WaitEnd::Idle),
            Ok(Err(error)) => Err(error),
            Ok(Ok(answer)) if answer.status == StatusCode::OK => Ok(WaitEnd::Changed),
            Ok(Ok(answer)) => match error_body(&answer) {
                Some(body) if body.code == EVENT_INDEX_CLEARED => Ok(WaitEnd::Cleared),
                _ => Err(refusal(url, &answer)),
            },
        }
    }
}

fn keys_path(prefix: &str) -> String {
    let encoded = utf8_percent_encode(prefix.trim_end_matches('/'), UNENCODED);
    format!("/v2/keys{encoded}")
}

/// Reads the answer to a request for the keys below `prefix`.
fn read(endpoint: &str, prefix: &str, answer: &HttpAnswer) -> Result<V2Read, V2Error> {
    let foreign = |cause: String| V2Error::Foreign {
        endpoint: endpoint.to_owned(),
        cause,
    };
    match answer.status {
        StatusCode::OK => {
            let index = answer
                .index
                .ok_or_else(|| foreign("the answer has no X-Etcd-Index".to_owned()))?;
            V2Listing::parse(prefix, index, &answer.body)
                .map(V2Read::Listing)
                .map_err(foreign)
        }
        StatusCode::NOT_FOUND => match error_body(answer) {
            Some(body) if body.code == KEY_NOT_FOUND => {
                Ok(V2Read::Listing(V2Listing::empty(answer.index.unwrap_or(0))))
            }
            Some(_) => Err(refusal(endpoint, answer)),
            // Go's answer for a path without a handler; etcd's members and gateways answer nothing else there.
            None if answer.is_etcd_without_v2() => Ok(V2Read::Disabled),
            None => Err(refusal(endpoint, answer)),
        },
        _ => Err(refusal(endpoint, answer)),
    }
}

fn error_body(answer: &HttpAnswer) -> Option<ErrorBody> {
    serde_json::from_slice(&answer.body).ok()
}

/// The error of an answer that has no keys.
fn refusal(endpoint: &str, answer: &HttpAnswer) -> V2Error {
    let endpoint = endpoint.to_owned();
    let status = answer.status.as_u16();
    if answer.status.is_redirection() {
        let cause = format!("it redirects (status {status}), which is not followed");
        return V2Error::Foreign { endpoint, cause };
    }
    let Some(body) = error_body(answer) else {
        let cause = format!("status {status} without an error of etcd");
        return match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => V2Error::Denied { endpoint, cause },
            _ => V2Error::Foreign { endpoint, cause },
        };
    };
    let message: String = body.message.chars().take(200).collect();
    let cause = format!("error {} ({message})", body.code);
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => V2Error::Denied { endpoint, cause },
        _ => V2Error::Unavailable { endpoint, cause },
    }
}
