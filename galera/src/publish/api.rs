//! The messages of the HTTP and WebSocket interface that are not views.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::Role;
use crate::id::{ClusterName, NodeId};
use crate::record::audit;
use crate::record::history::HistoryEvent;
use crate::recover::action::{Action, RecoveryPause};
use crate::recover::plan::ActionKind;
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
pub struct ProblemDetails {
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
pub struct SubscribeRequest {
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
    /// One action; each action replaces its own last value.
    Action {
        /// The whole action.
        action: Box<ActionView>,
    },
    /// A subscription that could not be served.
    Error {
        /// A stable word.
        code: String,
        /// What was wrong and the remedy.
        detail: String,
    },
}

/// An action as the interface gives it: the record, and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionView {
    /// The record.
    #[serde(flatten)]
    pub action: Action,
    /// Grows with every change of this action.
    pub revision: i64,
    /// Nodes that a bootstrap left out and that turn out to be ahead (I22).
    #[serde(default)]
    pub warnings: Vec<ActionWarning>,
    /// A clean-up that was taken back.
    #[serde(default)]
    pub undone: Option<CleanupUndo>,
    /// Whether taking it back is offered.
    #[serde(default)]
    pub undoable: bool,
}

/// A node that holds more than the cluster went on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionWarning {
    /// The node.
    pub node: NodeId,
    /// How many transactions only it is known to have.
    pub transactions: u64,
    /// The warning, with what to do.
    pub message: String,
}

/// How a clean-up was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanupUndo {
    /// Who did it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, as they said.
    #[serde(default)]
    pub reason: Option<String>,
    /// The keys that were put back.
    pub restored: Vec<String>,
    /// The keys that somebody else had written meanwhile; they were left as they are.
    pub kept: Vec<String>,
}

/// Some actions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionList {
    /// The actions.
    pub actions: Vec<ActionView>,
    /// What `before` must be for the next page; `null` on the last one.
    pub next_before: Option<String>,
}

/// Some entries of the audit trail, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<audit::AuditEntry>,
    /// What `before` must be for the next page; `null` on the last one.
    pub next_before: Option<u64>,
}

/// Some events of a cluster's chronicle, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The events.
    pub events: Vec<HistoryEvent>,
    /// What `before` must be for the next page; `null` on the last one.
    pub next_before: Option<u64>,
}

/// Whether recovery is on, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryState {
    /// Whether it is on for clusters that are not switched off themselves.
    pub enabled: bool,
    /// Who switched it off for all.
    pub off: Option<RecoveryPause>,
    /// Clusters that are switched off themselves.
    pub clusters: BTreeMap<ClusterName, RecoveryPause>,
    /// Approvals that each kind needs.
    pub approvals: BTreeMap<ActionKind, u32>,
    /// Whether the console has an account that may send statements.
    pub sql_account: bool,
}

/// Whether recovery is on for one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecovery {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether it is on.
    pub enabled: bool,
    /// Who switched it off.
    pub off: Option<RecoveryPause>,
    /// Which switch is off: `global` or `cluster`.
    pub scope: Option<String>,
}
