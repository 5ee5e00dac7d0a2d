//! The messages of the HTTP and WebSocket interface that are not views.

use serde::{Deserialize, Serialize};

use crate::access::Role;
use crate::timestamp::Timestamp;
use crate::view::{ClusterSummary, ClusterView};

/// The version of the WebSocket protocol, as `hello` announces it.
pub const LIVE_VERSION: u32 = 1;
/// WebSocket close code: the session ended (signed out, disabled or expired).
pub const CLOSE_SESSION_ENDED: u16 = 4401;

/// What a client sends to sign in.
#[derive(Clone, Deserialize, Serialize)]
pub struct Credentials {
    /// The account's name.
    pub username: String,
    /// The account's password.
    pub password: String,
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The account's name.
    pub username: String,
    /// Its roles.
    pub roles: Vec<Role>,
    /// When the session ends.
    pub expires_at: Timestamp,
}

/// All clusters, worst verdict first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    /// One summary a cluster, worst verdict first, then by name.
    pub clusters: Vec<ClusterSummary>,
    /// Things that the console met and could not use, one sentence each (names that break the grammar).
    #[serde(default)]
    pub notices: Vec<String>,
}

/// An error as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// A stable word in snake case.
    pub code: String,
    /// What went wrong, in a few words.
    pub title: String,
    /// What exactly, and the remedy.
    pub detail: String,
    /// Finds the request in the log.
    pub request_id: String,
}

/// What a live client sends; replaces its former subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Topics: `overview`, `cluster/NAME`, `actions`.
    pub subscribe: Vec<String>,
}

/// What the server sends; each message replaces the previous one of its topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveMessage {
    /// First message of every connection.
    Hello {
        /// [`LIVE_VERSION`].
        version: u32,
        /// The server's clock.
        server_time: Timestamp,
    },
    /// All clusters.
    Overview {
        /// Grows with every change.
        revision: u64,
        /// Worst verdict first.
        clusters: Vec<ClusterSummary>,
        /// As in [`Overview::notices`].
        #[serde(default)]
        notices: Vec<String>,
    },
    /// One cluster.
    Cluster {
        /// Grows with every change.
        revision: u64,
        /// The whole view.
        cluster: Box<ClusterView>,
    },
    /// A subscription that could not be served.
    Error {
        /// A stable word.
        code: String,
        /// What was wrong and the remedy.
        detail: String,
    },
}
