//! Actions: plans that people request and approve, and that the console carries out once.
//!
//! What an action is and how it changes is decided in `galera::recover::action`; here it is stored, locked, done and watched.
//!
//! Invariants: every transition is one transaction that compares the record's revision and adds its entries to the
//! audit trail, so nothing happens unrecorded; an executor's transitions compare its lock as well (I17); nothing is sent
//! before its intention is written, and nothing that was intended is ever sent by somebody else.

mod attempts;
mod audit_records;
mod cache;
mod cluster_access;
mod executor;
mod ids;
mod lock;
mod metrics;
mod planner;
mod rate_limit;
mod reconciler;
mod replan;
mod service;
mod steps;
mod store;
mod switches;
mod undo;
mod verification;

use std::collections::BTreeMap;
use std::time::Duration;

use console_core::audit::AuditError;
use galera::recover::action::{ActionLimits, ActionRefusal};
use galera::recover::bootstrap;
use galera::recover::plan::ActionKind;

pub use cache::{ActionsSnapshot, PublishedAction};
pub use cluster_access::{
    ClusterAccess, ClusterEvidence, MonitorClusterAccess, RecoveryCredentials, StatementChannel,
};
pub(crate) use ids::{is_valid_id, new_id};
pub use service::{ActionDecision, ActionProposal, ActionQuery, ActionService};

/// How actions are handled.
#[derive(Clone, Debug)]
pub struct ActionSettings {
    /// This process; unique, because only who sent a step can know that it did not arrive.
    pub replica: String,
    /// Where nodes register.
    pub registry_prefix: String,
    /// Where the console keeps its own state.
    pub state_prefix: String,
    /// How long evidence must last.
    pub plan: bootstrap::RecoverySettings,
    /// Approvals that a kind needs, where it is not [`ActionLimits::approvals_needed`].
    pub approvals: BTreeMap<ActionKind, u32>,
    /// Deadlines, and the approvals that a kind needs unless it is named above.
    pub limits: ActionLimits,
    /// How long a lock outlives its holder.
    pub lock_ttl: Duration,
    /// Whether the console has an account that may send statements.
    pub sql_account: bool,
}

impl ActionSettings {
    /// How long a stopped cluster may take to start: recovery and start of a server are slower than a statement.
    const ORDER_VERIFY_TIMEOUT: Duration = Duration::from_secs(300);

    /// The limits of a kind of action.
    pub(crate) fn limits(&self, kind: ActionKind) -> ActionLimits {
        ActionLimits {
            approvals_needed: self
                .approvals
                .get(&kind)
                .copied()
                .unwrap_or(self.limits.approvals_needed),
            ..self.limits
        }
    }
}

/// Why something was not done with an action.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The action does not take this step.
    #[error(transparent)]
    Refused(#[from] ActionRefusal),
    /// There is no such action.
    #[error("there is no action {0}")]
    UnknownAction(String),
    /// There is no such cluster.
    #[error("there is no cluster of this name")]
    UnknownCluster,
    /// Another action of the cluster was there first.
    #[error(
        "action {0} of this cluster was requested in the same moment; follow that one, or cancel it first"
    )]
    AlreadyOpen(String),
    /// Somebody else carries out an action of this cluster.
    #[error("replica {0} carries out an action of this cluster right now")]
    Busy(String),
    /// The record is changed by others all the time.
    #[error("the action is being changed by others at the same moment; look at it and try again")]
    Contended,
    /// One person asks for too much.
    #[error("too many requests; wait a moment")]
    RateLimited(Duration),
    /// Taking back is not possible.
    #[error("{0}")]
    NotUndoable(&'static str),
    /// etcd or the trail in it.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// etcd could not be read while a plan was made: it says nothing about the cluster.
    #[error("the plan could not be made again: {0}")]
    RegistryUnreadable(String),
    /// This replica cannot tell yet whether everything is as it was approved.
    #[error(
        "this replica of the console has not watched the nodes for long enough to tell that they are as they were \
         when this was approved; it looks again by itself"
    )]
    NotWatchedLongEnough,
}

impl ActionError {
    /// Whether it is a fault of the moment, so that nothing about the action was decided.
    pub(crate) const fn is_transient(&self) -> bool {
        match self {
            // A replica that has just started does not know every cluster yet.
            Self::UnknownCluster
            | Self::Busy(_)
            | Self::Contended
            | Self::Audit(_)
            | Self::RegistryUnreadable(_)
            | Self::NotWatchedLongEnough => true,
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
