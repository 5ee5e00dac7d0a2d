//! Actions: plans that users request and approve, and that the console executes exactly once.
//!
//! The state machine is `galera::recover::action`; this module stores, locks, executes and verifies actions. A request
//! enters at [`ActionService`], which plans it from `PlanningInputs` (read through [`ClusterAccess`]) and stores it in
//! `ActionStore`. Once it is approved, an `Executor` takes the `ClusterLock`, replans, executes the steps and verifies the
//! outcome. The reconciler expires actions and resumes what another replica left unfinished. All of them share an
//! `ActionContext`. `ActionCache` watches etcd
//! and publishes [`ActionsSnapshot`]s to readers.
//!
//! Invariants: every transition is one transaction that compares the record's revision and appends its audit entries, so
//! nothing happens unrecorded; an executor's transitions also compare its lock (I17); nothing is sent before its intention
//! is written, and an intended step is never sent by another executor.

mod attempts;
mod audit_records;
mod cache;
mod cluster_access;
mod context;
mod execution_gate;
mod executor;
mod forks;
mod lock;
mod metrics;
mod opened_links;
mod planner;
mod rate_limit;
mod reconciler;
mod replan;
mod replica_approvals;
mod runner;
mod service;
mod steps;
mod store;
mod switches;
mod undo;
mod verification;
mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::audit::AuditError;
use console_core::current_labels::CurrentLabels;
use galera::recover::action::{ActionLimits, ActionRefusal, ClusterApprovals, least_approvals};
use galera::recover::bootstrap;
use galera::recover::bootstrap::RecoveryReach;
use galera::recover::plan::ActionKind;
use galera::{ActionId, ClusterName, ReplicaId};
use order_signature::OrderSigningKey;

pub use cache::{ActionsSnapshot, PublishedAction};
pub use cluster_access::{
    ClusterAccess, ClusterEvidence, MonitorClusterAccess, RecoveryAccount, RecoveryCredentials,
    StatementChannel,
};
pub use execution_gate::{ClosedGate, ExecutionGate};
pub use service::{ActionDecision, ActionProposal, ActionQuery, ActionService, BreakGlassProposal};
pub use store::read_actions;

/// Settings of [`ActionService`].
#[derive(Clone, Debug)]
pub struct ActionSettings {
    /// This replica. Its name must be unique, because only the sender of a step can know that it was never sent.
    pub replica: ReplicaId,
    /// Prefix under which nodes register.
    pub registry_prefix: String,
    /// Prefix of the console's own state.
    pub state_prefix: String,
    /// Settings of recovery plans.
    pub plan: bootstrap::RecoverySettings,
    /// Approvals needed per kind, overriding [`ActionLimits::approvals_needed`].
    pub approvals: BTreeMap<ActionKind, u32>,
    /// Approvals that actions on some clusters need at least.
    pub cluster_approvals: Vec<ClusterApprovals>,
    /// Labels of the clusters.
    pub labels: CurrentLabels,
    /// Deadlines and the default number of approvals.
    pub limits: ActionLimits,
    /// How long a cluster's lock outlives its holder.
    pub lock_ttl: Duration,
    /// Where the console's database account for recovery statements may connect.
    pub recovery_reach: RecoveryReach,
    /// The key that signs bootstrap orders.
    pub order_key: Option<Arc<OrderSigningKey>>,
}

impl ActionSettings {
    /// How long a stopped cluster may take to start: crash recovery and startup are slower than a statement.
    const ORDER_VERIFY_TIMEOUT: Duration = Duration::from_secs(300);

    /// How long a node that joins empty may take: a full state transfer of a large cluster takes hours.
    const REJOIN_VERIFY_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

    /// The limits of a kind of action on `cluster`, by the settings of this replica alone.
    pub(crate) fn limits(&self, kind: ActionKind, cluster: &ClusterName) -> ActionLimits {
        let least = least_approvals(&self.cluster_approvals, cluster, &self.labels.get());
        ActionLimits {
            approvals_needed: self.approvals_of(kind).max(least.count),
            approver_groups: least.groups,
            ..self.limits.clone()
        }
    }

    /// The approvals that a kind of action needs on every cluster, by the settings of this replica alone.
    pub(crate) fn approvals_of(&self, kind: ActionKind) -> u32 {
        let of_kind = self.approvals.get(&kind).copied();
        of_kind.unwrap_or(self.limits.approvals_needed)
    }
}

/// Why an operation on an action failed.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The state machine refuses the event.
    #[error(transparent)]
    Refused(#[from] ActionRefusal),
    /// With the text that was given, shortened; it need not be an id.
    #[error("unknown action {0}")]
    UnknownAction(String),
    #[error("unknown cluster")]
    UnknownCluster,
    /// The cluster already has an open action.
    #[error(
        "action {0} of this cluster was requested at the same time; follow it, or cancel it first"
    )]
    AlreadyOpen(ActionId),
    /// Another executor holds the cluster's lock.
    #[error("replica {0} is already executing an action on this cluster")]
    Busy(ReplicaId),
    /// Concurrent changes to the record won every attempt.
    #[error("the action is being changed concurrently; reload it and try again")]
    Contended,
    /// The user exceeded the change rate; holds the remaining wait.
    #[error("too many requests; wait a moment")]
    RateLimited(Duration),
    /// The action cannot be undone.
    #[error("{0}")]
    NotUndoable(&'static str),
    /// etcd, or the audit trail in it, failed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// etcd could not be read while replanning, so nothing is known about the cluster.
    #[error("the plan could not be recomputed: {0}")]
    RegistryUnreadable(String),
    /// This replica cannot confirm yet that the plan still holds.
    #[error(
        "this replica of the console has not observed the nodes long enough to confirm that they are unchanged since \
         the approval; it retries automatically"
    )]
    NotWatchedLongEnough,
    /// The settings of this replica lack what the plan needs; holds which, in a sentence.
    #[error(
        "this replica of the console cannot carry it out with its settings, another one may: {0}"
    )]
    OtherSettings(String),
}

impl ActionError {
    /// Whether this is a transient fault that decides nothing about the action.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            // A replica that has just started may not have discovered the cluster yet.
            Self::UnknownCluster
            | Self::Busy(_)
            | Self::Contended
            | Self::Audit(_)
            | Self::RegistryUnreadable(_)
            | Self::NotWatchedLongEnough
            | Self::OtherSettings(_) => true,
            Self::Refused(_)
            | Self::UnknownAction(_)
            | Self::AlreadyOpen(_)
            | Self::RateLimited(_)
            | Self::NotUndoable(_) => false,
        }
    }
}

impl From<registry::Error> for ActionError {
    fn from(error: registry::Error) -> Self {
        Self::Audit(error.into())
    }
}
