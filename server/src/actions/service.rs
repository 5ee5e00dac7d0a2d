//! What people can do with actions; every replica serves everybody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::keyspace::ActionKeys;
use console_core::tasks::Tasks;
use galera::publish::api::{ActionList, ActionView, ClusterRecovery, RecoveryState};
use galera::record::audit::AuditRecord;
use galera::recover::action::{
    Action, ActionEvent, ActionRefusal, ActionRequest, ActionState, Actor, BreakGlassRequest,
    RecoveryPause, request_action, step,
};
use galera::recover::attestation::Attestation;
use galera::recover::plan::{ActionKind, CheckCode, Plan};
use galera::{ClusterName, Timestamp};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempts::AttemptTracker;
use super::audit_records::{action_record, end_record, request_details};
use super::cache::{ActionCache, ActionsSnapshot, PublishedAction, action_view};
use super::ids::{is_valid_id, new_id};
use super::rate_limit::RateLimiter;
use super::store::ActionStore;
use super::switches::{self, RecoverySwitches};
use super::{ActionError, ActionSettings, ClusterAccess};

/// Races for a switch that are tried again before giving up.
const ATTEMPTS: usize = 5;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct ActionProposal {
    /// What to do.
    pub kind: ActionKind,
    /// The digest of the plan that was shown.
    pub plan_digest: String,
    /// The cluster's name as it was typed.
    pub confirm: String,
    /// Why.
    pub reason: String,
    /// What the requester vouches for.
    pub attestations: Vec<Attestation>,
    /// The checks to override, if that is asked for.
    pub overrides: Option<Vec<CheckCode>>,
}

/// What somebody decides about an open action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionDecision {
    /// For it; the digest of the plan that they saw, when they name it.
    Approve {
        /// The digest.
        digest: Option<String>,
    },
    /// Against it.
    Reject,
    /// Withdrawn.
    Cancel,
    /// Just words.
    Comment,
}

/// Which actions are wanted.
#[derive(Clone, Debug, Default)]
pub struct ActionQuery {
    /// Only of this cluster.
    pub cluster: Option<ClusterName>,
    /// Only in one of these states; empty for all.
    pub states: Vec<ActionState>,
    /// Only before this one.
    pub before: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl ActionQuery {
    fn matches(&self, action: &Action) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| action.cluster == *cluster)
            && (self.states.is_empty() || self.states.contains(&action.state))
            && self
                .before
                .as_ref()
                .is_none_or(|before| action.id < *before)
    }
}

/// Everything that actions need; shared by the desk, the executors and the sweep.
pub(super) struct ActionContext {
    pub(super) registry: Registry,
    pub(super) keys: ActionKeys,
    pub(super) store: ActionStore,
    pub(super) cache: ActionCache,
    pub(super) trail: AuditTrail,
    pub(super) clusters: Arc<dyn ClusterAccess>,
    pub(super) settings: ActionSettings,
    pub(super) tracker: TaskTracker,
    pub(super) shutdown: CancellationToken,
    /// Actions that this replica carries out at the moment, or could not begin.
    pub(super) attempts: AttemptTracker,
    rate_limit: RateLimiter,
}

/// The desk; clones share it.
#[derive(Clone)]
pub struct ActionService {
    pub(super) context: Arc<ActionContext>,
}

impl ActionService {
    /// A desk on `registry` whose tasks run as `tasks`: one that keeps what is known true, one that
    /// lets expire what is due and continues what another replica left.
    #[must_use]
    pub fn start(
        settings: ActionSettings,
        registry: Registry,
        world: Arc<dyn ClusterAccess>,
        tasks: &Tasks,
    ) -> Self {
        let Tasks { tracker, shutdown } = tasks.clone();
        let keys = ActionKeys::new(&settings.state_prefix);
        let trail = AuditTrail::new(registry.clone(), &settings.state_prefix);
        let context = Arc::new(ActionContext {
            store: ActionStore::new(registry.clone(), keys.clone(), trail.clone()),
            cache: ActionCache::new(keys.clone()),
            trail,
            registry,
            keys,
            clusters: world,
            settings,
            tracker,
            shutdown,
            attempts: AttemptTracker::default(),
            rate_limit: RateLimiter::default(),
        });
        let following = Arc::clone(&context);
        context.tracker.spawn(async move {
            let registry = following.registry.clone();
            let shutdown = following.shutdown.clone();
            following.cache.run(registry, shutdown).await;
        });
        context
            .tracker
            .spawn(super::reconciler::run(Arc::clone(&context)));
        Self { context }
    }

    /// Registers how many actions there are in each state.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        super::metrics::register(&self.subscribe().borrow(), registry);
    }

    /// Every open action and the newest others, and the news of changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ActionsSnapshot>> {
        self.context.cache.subscribe()
    }

    /// The audit trail that everything here is recorded in.
    #[must_use]
    pub fn trail(&self) -> &AuditTrail {
        &self.context.trail
    }

    /// A plan, computed now.
    ///
    /// # Errors
    /// [`ActionError::UnknownCluster`] only: whatever is not known becomes a check.
    pub async fn plan(
        &self,
        kind: ActionKind,
        cluster: &ClusterName,
        attestations: &[Attestation],
    ) -> Result<Plan, ActionError> {
        let scene = self.context.planning_inputs(cluster, false, None).await?;
        Ok(scene.plan(&self.context.settings, kind, attestations))
    }

    /// Requests an action.
    ///
    /// # Errors
    /// [`ActionError`]; nothing is recorded then.
    pub async fn request(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        wanted: &ActionProposal,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let inner = &self.context;
        let scene = inner.planning_inputs(cluster, false, None).await?;
        let shown = scene.plan(&inner.settings, wanted.kind, &[]);
        let plan = scene.plan(&inner.settings, wanted.kind, &wanted.attestations);
        let at = now();
        let id = new_id(at);
        let asked = ActionRequest {
            id: &id,
            by,
            plan_digest: &wanted.plan_digest,
            confirm: &wanted.confirm,
            reason: &wanted.reason,
            break_glass: wanted
                .overrides
                .clone()
                .map(|overrides| BreakGlassRequest { overrides }),
        };
        let limits = inner.settings.limits(wanted.kind);
        let action = request_action(&asked, &shown, &plan, &limits, at)?;
        let record = action_record(
            &action,
            &by.name,
            "action_requested",
            request_details(&action),
            at,
        );
        let guards = RecoverySwitches::guards(&inner.keys, cluster);
        let stored = inner.store.create(&action, guards, &[record]).await?;
        tracing::info!(
            action.id = id, cluster.id = %cluster, user = by.name,
            "{} requested the {} of {cluster}: action {id}", by.name, action.kind,
        );
        Ok(inner.cache.insert_ahead_of_watch(&stored))
    }

    /// Approves, rejects, withdraws or comments an action. With its last approval it is carried out at once.
    ///
    /// # Errors
    /// [`ActionError`]; the action stays as it is.
    pub async fn decide(
        &self,
        by: &Actor,
        id: &str,
        decision: &ActionDecision,
        comment: Option<&str>,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = validate_id(id)?;
        let stored = self
            .context
            .store
            .update(id, |action| {
                self.apply_decision(action, by, decision, comment)
            })
            .await?;
        let shown = self.context.cache.insert_ahead_of_watch(&stored);
        if matches!(decision, ActionDecision::Approve { .. })
            && stored.action.state == ActionState::Approved
        {
            super::executor::spawn(&self.context, id);
        }
        Ok(shown)
    }

    fn apply_decision(
        &self,
        action: &Action,
        by: &Actor,
        decision: &ActionDecision,
        comment: Option<&str>,
    ) -> Result<(Action, Vec<AuditRecord>), ActionRefusal> {
        let at = now();
        let (event, word) = match decision {
            ActionDecision::Approve { digest } => {
                let digest = digest.as_deref().unwrap_or(&action.plan.digest);
                let event = ActionEvent::Approve {
                    by,
                    digest,
                    comment,
                };
                (event, "action_approved")
            }
            ActionDecision::Reject => (ActionEvent::Reject { by, comment }, "action_rejected"),
            ActionDecision::Cancel => (ActionEvent::Cancel { by, comment }, "action_cancelled"),
            ActionDecision::Comment => {
                let text = comment.unwrap_or_default();
                (ActionEvent::Comment { by, text }, "action_commented")
            }
        };
        let limits = self.context.settings.limits(action.kind);
        let next = step(action, &event, &limits, at)?;
        let mut detail = BTreeMap::from([("digest".to_owned(), action.plan.digest.clone())]);
        if let Some(comment) = comment.map(str::trim).filter(|comment| !comment.is_empty()) {
            detail.insert("comment".to_owned(), comment.to_owned());
        }
        let mut records = vec![action_record(&next, &by.name, word, detail, at)];
        records.extend(end_record(action, &next, &by.name, at));
        Ok((next, records))
    }

    /// Has an approved action carried out by this replica; returns as soon as it has begun.
    ///
    /// # Errors
    /// [`ActionError`]; it was not begun then.
    pub async fn execute(&self, by: &Actor, id: &str) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = validate_id(id)?;
        super::executor::execute(&self.context, by, id).await?;
        self.get(id).await
    }

    /// An action, as this replica knows it or else as etcd has it.
    ///
    /// # Errors
    /// [`ActionError::UnknownAction`], etcd's.
    pub async fn get(&self, id: &str) -> Result<PublishedAction, ActionError> {
        let id = validate_id(id)?;
        if let Some(shown) = self.context.cache.snapshot().get(id) {
            return Ok(Arc::clone(shown));
        }
        let stored = self.context.store.get(id).await?;
        let stored = stored.ok_or_else(|| ActionError::UnknownAction(id.to_owned()))?;
        let undone = self.context.read_undone(id).await?;
        let revision = u64::try_from(stored.revision).unwrap_or(0);
        let view = action_view(&stored, undone, Vec::new());
        Ok(Arc::new(console_core::published::Published::new(
            revision, view,
        )))
    }

    /// Actions, newest first.
    ///
    /// # Errors
    /// etcd's, when actions are wanted that are too old to be in memory.
    pub async fn list(&self, query: &ActionQuery) -> Result<ActionList, ActionError> {
        let shelf = self.context.cache.snapshot();
        let from_memory: Vec<ActionView> = shelf
            .newest_first()
            .filter(|shown| query.matches(&shown.value.action))
            .take(query.limit + 1)
            .map(|shown| shown.value.clone())
            .collect();
        let reaches_back = match shelf.complete_from() {
            None => false,
            Some("") => true,
            Some(oldest) => from_memory
                .last()
                .is_some_and(|last| from_memory.len() > query.limit && *last.action.id >= *oldest),
        };
        let only_open =
            !query.states.is_empty() && query.states.iter().all(|state| !state.is_final());
        let mut actions = if reaches_back || (only_open && shelf.loaded) {
            from_memory
        } else {
            self.context.list_from_registry(query).await?
        };
        let more = actions.len() > query.limit;
        actions.truncate(query.limit);
        let next_before = actions
            .last()
            .filter(|_| more)
            .map(|last| last.action.id.clone());
        Ok(ActionList {
            actions,
            next_before,
        })
    }

    /// Whether recovery is on.
    ///
    /// # Errors
    /// etcd's.
    pub async fn recovery_state(&self) -> Result<RecoveryState, ActionError> {
        let switches = RecoverySwitches::read(&self.context.registry, &self.context.keys).await?;
        let settings = &self.context.settings;
        Ok(RecoveryState {
            enabled: switches.global.is_none(),
            off: switches.global,
            clusters: switches.clusters,
            approvals: ActionKind::ALL
                .map(|kind| (kind, settings.limits(kind).approvals_needed))
                .into(),
            sql_account: settings.sql_account,
        })
    }

    /// Whether recovery of `cluster` is on.
    ///
    /// # Errors
    /// etcd's.
    pub async fn cluster_recovery(
        &self,
        cluster: &ClusterName,
    ) -> Result<ClusterRecovery, ActionError> {
        let switches = RecoverySwitches::read(&self.context.registry, &self.context.keys).await?;
        let off = switches.off_for(cluster).cloned();
        let scope = off.as_ref().map(|_| {
            let scope = if switches.global.is_some() {
                "global"
            } else {
                "cluster"
            };
            scope.to_owned()
        });
        Ok(ClusterRecovery {
            cluster: cluster.clone(),
            enabled: off.is_none(),
            off,
            scope,
        })
    }

    /// Switches recovery of one cluster, or of all, on or off. Who may do that was checked before.
    ///
    /// # Errors
    /// A missing reason for switching off, etcd's.
    pub async fn switch_recovery(
        &self,
        by: &Actor,
        cluster: Option<&ClusterName>,
        enabled: bool,
        reason: &str,
    ) -> Result<(), ActionError> {
        self.check_rate(by)?;
        let reason = reason.trim();
        let length = reason.chars().count();
        let limit = galera::recover::action::TEXT_MAX;
        if length > limit {
            return Err(ActionRefusal::TooLong { length, limit }.into());
        }
        if !enabled && reason.is_empty() {
            return Err(ActionRefusal::NoReason.into());
        }
        let keys = &self.context.keys;
        let key = cluster.map_or_else(|| keys.global_switch(), |name| keys.cluster_switch(name));
        for _ in 0..ATTEMPTS {
            let present = self.context.registry.get(key.as_str()).await?;
            if enabled == present.is_none() {
                return Ok(());
            }
            let at = now();
            let off = RecoveryPause {
                by: by.name.clone(),
                at,
                reason: reason.to_owned(),
            };
            let guard = match &present {
                None => Precondition::Absent(key.clone().into_bytes()),
                Some(entry) => {
                    Precondition::Unchanged(key.clone().into_bytes(), entry.mod_revision)
                }
            };
            let write = if enabled {
                WriteOp::delete(key.clone())
            } else {
                WriteOp::put(key.clone(), switches::encode_switch(&off)?, None)
            };
            let transaction = Transaction::new().when(guard).then([write]);
            let record = switch_record(by, cluster, enabled, reason, at);
            if let TransactionOutcome::Committed { .. } =
                self.context.trail.commit(&transaction, &[record]).await?
            {
                return Ok(());
            }
        }
        Err(ActionError::Contended)
    }

    pub(super) fn check_rate(&self, by: &Actor) -> Result<(), ActionError> {
        self.context
            .rate_limit
            .check(&by.name, Instant::now())
            .map_err(ActionError::RateLimited)
    }
}

impl ActionContext {
    /// Actions that match, from etcd: for those that are too old to be in memory.
    async fn list_from_registry(
        &self,
        query: &ActionQuery,
    ) -> Result<Vec<ActionView>, ActionError> {
        let listing = self.registry.list(self.keys.actions_prefix()).await?;
        let mut undone = BTreeMap::new();
        let mut views = Vec::new();
        for entry in listing.entries.iter().rev() {
            let key = String::from_utf8_lossy(&entry.key);
            let name = key
                .strip_prefix(&self.keys.actions_prefix())
                .unwrap_or_default();
            if let Some(id) = name.strip_suffix("/undone") {
                undone.insert(id.to_owned(), serde_json::from_slice(&entry.value).ok());
                continue;
            }
            let Ok(stored) = super::store::decode_action(entry) else {
                continue;
            };
            if query.matches(&stored.action) {
                let undone = undone.remove(name).flatten();
                views.push(action_view(&stored, undone, Vec::new()));
                if views.len() > query.limit {
                    break;
                }
            }
        }
        Ok(views)
    }
}

/// The identity, when it can be one.
pub(super) fn validate_id(id: &str) -> Result<&str, ActionError> {
    if is_valid_id(id) {
        Ok(id)
    } else {
        Err(ActionError::UnknownAction(id.chars().take(40).collect()))
    }
}

fn switch_record(
    by: &Actor,
    cluster: Option<&ClusterName>,
    enabled: bool,
    reason: &str,
    at: Timestamp,
) -> AuditRecord {
    let event = if enabled {
        "recovery_switched_on"
    } else {
        "recovery_switched_off"
    };
    AuditRecord {
        at,
        actor: by.name.clone(),
        event: event.to_owned(),
        cluster: cluster.cloned(),
        subject: None,
        detail: BTreeMap::from([("reason".to_owned(), reason.to_owned())]),
    }
}
