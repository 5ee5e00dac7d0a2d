//! What the service, the executors and the reconciler share.

use std::sync::Arc;

use accounts::AccountReader;
use console_core::audit::AuditTrail;
use console_core::keyspace::ActionKeys;
use console_core::tasks::Tasks;
use galera::publish::api::CleanupUndo;
use galera::recover::action::{Action, ActionLimits};
use galera::recover::plan::{ActionKind, Mechanism};
use galera::{ActionId, ClusterName};
use registry::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::AttemptTracker;
use super::cache::ActionCache;
use super::execution_gate::ExecutionGate;
use super::rate_limit::RateLimiter;
use super::replica_approvals::ReplicaApprovals;
use super::store::ActionStore;
use super::{ActionError, ActionSettings, ClusterAccess};

/// State shared by the service, the executors and the reconciler.
pub(super) struct ActionContext {
    pub(super) registry: Registry,
    pub(super) keys: ActionKeys,
    pub(super) store: ActionStore,
    pub(super) cache: ActionCache,
    pub(super) trail: AuditTrail,
    /// Who requested and approved an action is looked at again before it is executed (I41).
    pub(super) people: AccountReader,
    pub(super) clusters: Arc<dyn ClusterAccess>,
    pub(super) settings: ActionSettings,
    pub(super) approvals: ReplicaApprovals,
    pub(super) tracker: TaskTracker,
    pub(super) shutdown: CancellationToken,
    /// Actions that this replica is executing, or could not begin.
    pub(super) attempts: AttemptTracker,
    pub(super) rate_limit: RateLimiter,
    /// Closed while etcd is blocked.
    pub(super) gate: ExecutionGate,
}

impl ActionContext {
    pub(super) fn new(
        settings: ActionSettings,
        registry: Registry,
        trail: AuditTrail,
        clusters: Arc<dyn ClusterAccess>,
        tasks: &Tasks,
    ) -> Self {
        let Tasks { tracker, shutdown } = tasks.clone();
        let keys = ActionKeys::new(&settings.state_prefix);
        Self {
            store: ActionStore::new(registry.clone(), keys.clone(), trail.clone()),
            cache: ActionCache::new(keys.clone()),
            people: AccountReader::new(registry.clone(), &settings.state_prefix)
                .with_labels(settings.labels.clone()),
            trail,
            registry,
            keys,
            clusters,
            settings,
            approvals: ReplicaApprovals::default(),
            tracker,
            shutdown,
            attempts: AttemptTracker::default(),
            rate_limit: RateLimiter::default(),
            gate: ExecutionGate::default(),
        }
    }

    /// The limits of a kind of action on `cluster`, by the settings of all replicas as they were read last.
    pub(super) fn limits_of(&self, kind: ActionKind, cluster: &ClusterName) -> ActionLimits {
        let own = self.settings.limits(kind, cluster);
        self.approvals.raised(own, kind, cluster)
    }

    /// Reads what the other replicas require, before a decision that depends on it.
    pub(super) async fn read_approvals(&self) -> Result<(), ActionError> {
        let (registry, keys) = (&self.registry, &self.keys);
        self.approvals.refresh(registry, keys, &self.settings).await
    }

    /// The same for what is only shown: settings that cannot be read are left out.
    pub(super) async fn read_shown_approvals(&self) -> Result<(), ActionError> {
        match self.read_approvals().await {
            Err(ActionError::OtherSettings(_)) => Ok(()),
            read => read,
        }
    }

    /// The limits of an action; a bootstrap order to a stopped cluster takes longer than a statement.
    pub(super) fn limits(&self, action: &Action) -> ActionLimits {
        let mut limits = self.limits_of(action.kind, &action.cluster);
        if action.kind == ActionKind::Bootstrap && is_order(action) {
            limits.verify_timeout = limits
                .verify_timeout
                .max(ActionSettings::ORDER_VERIFY_TIMEOUT);
        }
        if action.kind == ActionKind::Rejoin {
            limits.verify_timeout = limits
                .verify_timeout
                .max(ActionSettings::REJOIN_VERIFY_TIMEOUT);
        }
        limits
    }

    /// The undo of an action, if any.
    pub(super) async fn read_undone(
        &self,
        id: &ActionId,
    ) -> Result<Option<CleanupUndo>, ActionError> {
        let entry = self.registry.get(self.keys.undone(id)).await?;
        Ok(entry.and_then(|entry| serde_json::from_slice(&entry.value).ok()))
    }
}

/// Whether the plan is executed by a bootstrap order to an agent.
pub(super) fn is_order(action: &Action) -> bool {
    let mechanism = action.plan.target.as_ref().map(|target| target.mechanism);
    mechanism == Some(Mechanism::Order)
}
