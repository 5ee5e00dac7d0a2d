//! The messages of the HTTP and WebSocket API that are not views.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::access::{ClusterScope, GroupName, PermissionView, Role};
use crate::id::{ActionId, ClusterName, NodeId};
use crate::judge::history_alarms::HistoryAlarm;
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

/// The body of a sign-in request.
#[derive(Clone, Deserialize, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Credentials {
    pub username: String,
    pub password: String,
    /// A code of the second factor, or a recovery code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The current session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionView {
    pub username: String,
    pub roles: Vec<Role>,
    pub expires_at: Timestamp,
    /// What the account may do on the cluster that was asked for, and why; absent without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(not(feature = "decide"), serde(skip_deserializing))]
    pub permissions: Vec<PermissionView>,
}

/// All clusters, worst verdict first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Overview {
    /// Worst verdict first, then by name.
    pub clusters: Vec<ClusterSummary>,
    /// One sentence for each thing that the console found and cannot use, such as an invalid cluster name.
    #[serde(default)]
    pub notices: Vec<String>,
}

impl Overview {
    /// What a credential that is limited to `scope` sees. Notices are about the whole console.
    #[must_use]
    pub fn in_scope(&self, scope: &ClusterScope) -> Self {
        if scope.is_all() {
            return self.clone();
        }
        let clusters = self.clusters.iter();
        Self {
            clusters: clusters
                .filter(|cluster| scope.permits(&cluster.name))
                .cloned()
                .collect(),
            notices: Vec::new(),
        }
    }
}

/// A cluster as it was seen at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordedClusterView {
    /// Without `recent_rates`.
    #[serde(flatten)]
    pub view: ClusterView,
    /// When the view was recorded: the time that was asked for, or shortly before. Absent from the current view.
    #[cfg_attr(feature = "openapi", schema(required = false))]
    pub recorded_at: Timestamp,
}

/// An error as `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProblemDetails {
    pub status: u16,
    /// A stable code in snake case.
    pub code: String,
    /// A short summary.
    pub title: String,
    /// The exact cause and the remedy.
    pub detail: String,
    /// Identifies the request in the log.
    pub request_id: String,
}

/// A client's message on the WebSocket; replaces its previous subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubscribeRequest {
    /// Topics: `overview`, `cluster/NAME`, `actions`.
    pub subscribe: Vec<String>,
}

/// The server's messages on the WebSocket; each replaces the previous one of its topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LiveMessage {
    /// First message of every connection.
    Hello {
        /// [`LIVE_VERSION`], in which the server sends until a subscription selects another one.
        version: u32,
        /// The versions that a subscription may select; absent in servers that have version 1 only.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        versions: Vec<u32>,
        server_time: Timestamp,
    },
    /// All clusters.
    Overview {
        /// Increases with every change.
        revision: u64,
        /// Worst verdict first.
        clusters: Vec<ClusterSummary>,
        /// As in [`Overview::notices`].
        #[serde(default)]
        notices: Vec<String>,
    },
    Cluster {
        /// Increases with every change.
        revision: u64,
        cluster: Box<ClusterView>,
    },
    /// One action; replaces the previous value of the same action.
    Action { action: Box<ActionView> },
    /// An invalid subscription.
    Error {
        code: String,
        /// The cause and the remedy.
        detail: String,
    },
}

/// An action as the API returns it: the record and what is derived from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionView {
    #[serde(flatten)]
    pub action: Action,
    /// Increases with every change of this action.
    pub revision: i64,
    /// Nodes that were left out of the bootstrap and turn out to be ahead (I22).
    #[serde(default)]
    pub warnings: Vec<ActionWarning>,
    /// Set if the clean-up was undone.
    #[serde(default)]
    pub undone: Option<CleanupUndo>,
    /// Whether the clean-up can be undone.
    #[serde(default)]
    pub undoable: bool,
    /// Why an approved action does not start, or a running one does not continue; absent unless it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<ActionWait>,
}

/// What an action waits for, as the replica that answers found at its last attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionWait {
    /// `locked`, `etcd_unavailable`, `short_observation`, `other_settings`, `unknown_cluster`, `node_not_ready`, `contended` or
    /// `refused`.
    pub code: String,
    /// The cause, and what ends the wait, in a sentence or two.
    pub message: String,
    /// Since when it has been waiting for this.
    pub since: Timestamp,
}

/// A node whose data are ahead of the position that the cluster continued from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionWarning {
    pub node: NodeId,
    /// Number of transactions known to exist only there.
    pub transactions: u64,
    /// The warning, with the remedy.
    pub message: String,
}

/// How a clean-up was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CleanupUndo {
    pub by: String,
    pub at: Timestamp,
    #[serde(default)]
    pub reason: Option<String>,
    /// The restored keys.
    pub restored: Vec<String>,
    /// Keys that had been written since then and were left unchanged.
    pub kept: Vec<String>,
}

/// Some actions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionList {
    pub actions: Vec<ActionView>,
    /// The `before` parameter of the next page; `null` on the last one.
    pub next_before: Option<ActionId>,
}

/// Some entries of the audit trail, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    pub entries: Vec<audit::AuditEntry>,
    /// The `before` parameter of the next page; `null` on the last one.
    pub next_before: Option<u64>,
    /// The first entry of the trail that is not archived; absent while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<u64>,
}

/// What was changed outside the console, as this replica found it, until it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlarmsView {
    pub alarms: Vec<AlarmView>,
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AlarmView {
    /// `audit_trail` or `etcd_restored`.
    pub kind: String,
    /// When it was found.
    pub at: Timestamp,
    /// What was found, as a sentence.
    pub text: String,
}

/// Some events of a cluster's history, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryPage {
    pub events: Vec<HistoryEvent>,
    /// The `before` parameter of the next page; `null` on the last one.
    pub next_before: Option<u64>,
}

/// Whether recovery is enabled, and what it requires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryState {
    /// Whether recovery is enabled for clusters that are not paused individually.
    pub enabled: bool,
    /// Set while recovery is paused for all clusters.
    pub off: Option<RecoveryPause>,
    /// Clusters for which recovery is paused individually.
    pub clusters: BTreeMap<ClusterName, RecoveryPause>,
    /// Number of approvals that each kind needs.
    pub approvals: BTreeMap<ActionKind, u32>,
    /// Whether a recovery account (`--recovery-user`) is configured.
    pub sql_account: bool,
}

/// Whether recovery is enabled for one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterRecovery {
    pub cluster: ClusterName,
    pub enabled: bool,
    pub off: Option<RecoveryPause>,
    /// The scope of the pause: `global` or `cluster`.
    pub scope: Option<String>,
    /// Approvals that each kind of action on this cluster needs.
    #[serde(default)]
    pub approvals: BTreeMap<ActionKind, u32>,
    /// Groups of which a member must approve, each another person; absent without any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approver_groups: Vec<GroupName>,
    /// Alarms about the data that are not acknowledged, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history_alarms: Vec<HistoryAlarm>,
}
