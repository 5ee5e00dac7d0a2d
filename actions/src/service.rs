//! The operations on actions; every replica can serve them.

use std::collections::BTreeMap;
use std::sync::Arc;

use console_core::audit::AuditTrail;
use console_core::clock::now;
use console_core::tasks::Tasks;
use galera::access::{ClusterScope, GroupName, group_without_member};
use galera::publish::api::{ActionList, ActionView, ClusterRecovery, RecoveryState};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::recover::action::{
    Action, ActionEvent, ActionLimits, ActionRefusal, ActionRequest, ActionState, Actor,
    BreakGlassRequest, RecoveryPause, request_action, step,
};
use galera::recover::attestation::Attestation;
use galera::recover::bootstrap::RecoveryReach;
use galera::recover::plan::{ActionKind, CheckCode, Plan, PlanDigest};
use galera::{ActionId, ClusterName, Timestamp};
use registry::{Precondition, Registry, Transaction, TransactionOutcome, WriteOp};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::audit_records::{action_record, end_record, request_details};
use super::cache::{ActionsSnapshot, PublishedAction, action_view};
use super::context::ActionContext;
use super::execution_gate::ExecutionGate;
use super::store::decode_action;
use super::switches::{self, RecoverySwitches};
use super::{ActionError, ActionSettings, ClusterAccess, metrics, reconciler, runner};

/// Attempts to change a recovery switch before it fails as contended.
const ATTEMPTS: usize = 5;

/// A request for an action, as the API receives it.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionProposal {
    pub kind: ActionKind,
    /// The digest of the plan that the requester saw.
    pub plan_digest: PlanDigest,
    /// The cluster's name as typed by the requester.
    pub confirm: String,
    pub reason: String,
    #[serde(default)]
    pub attestations: Vec<Attestation>,
    /// The failed checks to override, for break-glass requests.
    #[serde(default)]
    pub break_glass: Option<BreakGlassProposal>,
}

/// The override in an [`ActionProposal`].
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BreakGlassProposal {
    /// Exactly the checks that fail.
    pub overrides: Vec<CheckCode>,
}

/// A user's decision on an open action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionDecision {
    /// With the digest of the plan that the approver saw, if given.
    Approve {
        digest: Option<PlanDigest>,
    },
    Reject,
    Cancel,
    Comment,
}

/// A filter on actions.
#[derive(Clone, Debug, Default)]
pub struct ActionQuery {
    pub cluster: Option<ClusterName>,
    /// The clusters that the reader's credential is limited to.
    pub scope: ClusterScope,
    /// Empty for all states.
    pub states: Vec<ActionState>,
    /// Only actions whose id sorts before this text, which need not be an id.
    pub before: Option<String>,
    pub limit: usize,
}

impl ActionQuery {
    fn matches(&self, action: &Action) -> bool {
        self.cluster
            .as_ref()
            .is_none_or(|cluster| action.cluster == *cluster)
            && self.scope.permits(&action.cluster)
            && (self.states.is_empty() || self.states.contains(&action.state))
            && self
                .before
                .as_ref()
                .is_none_or(|before| action.id.as_str() < before.as_str())
    }
}

/// The entry point to actions; clones share their state.
#[derive(Clone)]
pub struct ActionService {
    pub(super) context: Arc<ActionContext>,
}

impl ActionService {
    /// Starts the service. Its tasks, the cache's watch and the reconciler, run as `tasks`.
    #[must_use]
    pub fn start(
        settings: ActionSettings,
        registry: Registry,
        trail: AuditTrail,
        clusters: Arc<dyn ClusterAccess>,
        tasks: &Tasks,
    ) -> Self {
        let context = ActionContext::new(settings, registry, trail, clusters, tasks);
        let context = Arc::new(context);
        let watching = Arc::clone(&context);
        context.tracker.spawn(async move {
            let registry = watching.registry.clone();
            let shutdown = watching.shutdown.clone();
            watching.cache.run(registry, shutdown).await;
        });
        let publishing = Arc::clone(&context);
        context.tracker.spawn(async move {
            let (registry, keys) = (publishing.registry.clone(), publishing.keys.clone());
            let (settings, shutdown) = (&publishing.settings, publishing.shutdown.clone());
            publishing
                .approvals
                .run(registry, keys, settings, shutdown)
                .await;
        });
        context.tracker.spawn(reconciler::run(Arc::clone(&context)));
        Self { context }
    }

    /// Registers the number of actions in each state.
    pub fn register_metrics(&self, registry: &mut prometheus_client::registry::Registry) {
        metrics::register(&self.subscribe().borrow(), registry);
    }

    /// Subscribes to snapshots of all open and the newest final actions.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<ActionsSnapshot>> {
        self.context.cache.subscribe()
    }

    /// What to show while approval settings or clocks of replicas differ, and its changes.
    #[must_use]
    pub fn replica_notices(&self) -> watch::Receiver<Vec<String>> {
        self.context.approvals.notices()
    }

    /// Open while actions may be carried out.
    #[must_use]
    pub fn gate(&self) -> ExecutionGate {
        self.context.gate.clone()
    }

    #[must_use]
    pub fn trail(&self) -> &AuditTrail {
        &self.context.trail
    }

    /// Computes a plan.
    ///
    /// # Errors
    /// Only [`ActionError::UnknownCluster`]; anything else that is unknown becomes a check of the plan.
    pub async fn plan(
        &self,
        kind: ActionKind,
        cluster: &ClusterName,
        attestations: &[Attestation],
    ) -> Result<Plan, ActionError> {
        let inputs = self.context.planning_inputs(cluster, false, None).await?;
        Ok(inputs.plan(&self.context.settings, kind, attestations))
    }

    /// Computes what the plan of `action` is now. The action itself is not another one that is open.
    ///
    /// # Errors
    /// As [`ActionService::plan`].
    pub async fn present_plan(&self, action: &Action) -> Result<Plan, ActionError> {
        let (context, own) = (&self.context, Some(&action.id));
        let inputs = context.planning_inputs(&action.cluster, false, own).await?;
        Ok(inputs.plan(&context.settings, action.kind, &action.attestations))
    }

    /// Requests an action.
    ///
    /// # Errors
    /// [`ActionError`]; nothing has been recorded then.
    pub async fn request(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        proposal: &ActionProposal,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let context = &self.context;
        let inputs = context.planning_inputs(cluster, false, None).await?;
        let unattested = inputs.plan(&context.settings, proposal.kind, &[]);
        let plan = inputs.plan(&context.settings, proposal.kind, &proposal.attestations);
        let at = now();
        let id = ActionId::new(at, rand::random());
        let request = ActionRequest {
            id: &id,
            by,
            plan_digest: &proposal.plan_digest,
            confirm: &proposal.confirm,
            reason: &proposal.reason,
            break_glass: proposal
                .break_glass
                .as_ref()
                .map(|break_glass| BreakGlassRequest {
                    overrides: break_glass.overrides.clone(),
                }),
        };
        context.read_approvals().await?;
        let limits = context.limits_of(proposal.kind, cluster);
        self.ensure_groups_can_approve(by, cluster, &limits).await?;
        let action = request_action(&request, &unattested, &plan, &limits, at)?;
        let record = action_record(
            &action,
            &by.name,
            AuditEvent::ACTION_REQUESTED,
            request_details(&action),
            at,
        );
        let guards = RecoverySwitches::guards(&context.keys, cluster);
        let stored = context.store.create(&action, guards, &[record]).await?;
        tracing::info!(
            action.id = id.as_str(), cluster.id = %cluster, user = by.name,
            "{} requested the {} of {cluster}: action {id}", by.name, action.kind,
        );
        Ok(context.cache.insert_ahead_of_watch(&stored))
    }

    /// Refuses a policy's group of which no account can approve, before anything waits for it.
    async fn ensure_groups_can_approve(
        &self,
        by: &Actor,
        cluster: &ClusterName,
        limits: &ActionLimits,
    ) -> Result<(), ActionError> {
        if limits.approver_groups.is_empty() {
            return Ok(());
        }
        let approvers = self.context.people.approvers(cluster, &by.name).await?;
        let members: Vec<&[GroupName]> = approvers.iter().map(Vec::as_slice).collect();
        match group_without_member(&limits.approver_groups, &members) {
            None => Ok(()),
            Some(group) => Err(ActionError::Refused(ActionRefusal::NoApproverInGroup {
                cluster: cluster.clone(),
                group: group.clone(),
            })),
        }
    }

    /// Approves, rejects, cancels or comments on an action. The last approval needed starts its execution.
    ///
    /// # Errors
    /// [`ActionError`]; the action is unchanged then.
    pub async fn decide(
        &self,
        by: &Actor,
        id: &str,
        decision: &ActionDecision,
        comment: Option<&str>,
    ) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = parse_id(id)?;
        if matches!(decision, ActionDecision::Approve { .. }) {
            self.context.read_approvals().await?;
        }
        let stored = self
            .context
            .store
            .update(&id, |action| {
                self.apply_decision(action, by, decision, comment)
            })
            .await?;
        let published = self.context.cache.insert_ahead_of_watch(&stored);
        if matches!(decision, ActionDecision::Approve { .. })
            && stored.action.state == ActionState::Approved
        {
            runner::spawn(&self.context, &id);
        }
        Ok(published)
    }

    fn apply_decision(
        &self,
        action: &Action,
        by: &Actor,
        decision: &ActionDecision,
        comment: Option<&str>,
    ) -> Result<(Action, Vec<AuditRecord>), ActionRefusal> {
        let at = now();
        let (event, audit_event) = match decision {
            ActionDecision::Approve { digest } => {
                let digest = digest.as_ref().unwrap_or(&action.plan.digest);
                let event = ActionEvent::Approve {
                    by,
                    digest,
                    comment,
                };
                (event, AuditEvent::ACTION_APPROVED)
            }
            ActionDecision::Reject => (
                ActionEvent::Reject { by, comment },
                AuditEvent::ACTION_REJECTED,
            ),
            ActionDecision::Cancel => (
                ActionEvent::Cancel { by, comment },
                AuditEvent::ACTION_CANCELLED,
            ),
            ActionDecision::Comment => {
                let text = comment.unwrap_or_default();
                (
                    ActionEvent::Comment { by, text },
                    AuditEvent::ACTION_COMMENTED,
                )
            }
        };
        let limits = self.context.limits_of(action.kind, &action.cluster);
        let next = step(action, &event, &limits, at)?;
        let mut details = BTreeMap::from([("digest".to_owned(), action.plan.digest.to_string())]);
        if let Some(comment) = comment.map(str::trim).filter(|comment| !comment.is_empty()) {
            details.insert(detail::COMMENT.to_owned(), comment.to_owned());
        }
        if matches!(decision, ActionDecision::Approve { .. })
            && let Some(link) = action.link_of(&by.name)
        {
            let name = link.target_name.clone();
            details.insert(detail::NOTIFICATION_TARGET.to_owned(), name);
        }
        let mut records = vec![action_record(&next, &by.name, audit_event, details, at)];
        records.extend(end_record(action, &next, &by.name, at));
        Ok((next, records))
    }

    /// Begins an approved action in this replica, and returns as soon as it has begun.
    ///
    /// # Errors
    /// [`ActionError`]; the action has not begun then.
    pub async fn execute(&self, by: &Actor, id: &str) -> Result<PublishedAction, ActionError> {
        self.check_rate(by)?;
        let id = parse_id(id)?;
        runner::execute(&self.context, by, &id).await?;
        self.get_by_id(&id).await
    }

    /// An action, from the cache or else from etcd.
    ///
    /// # Errors
    /// [`ActionError::UnknownAction`]; etcd errors.
    pub async fn get(&self, id: &str) -> Result<PublishedAction, ActionError> {
        self.get_by_id(&parse_id(id)?).await
    }

    pub(super) async fn get_by_id(&self, id: &ActionId) -> Result<PublishedAction, ActionError> {
        if let Some(published) = self.context.cache.snapshot().get(id) {
            return Ok(Arc::clone(published));
        }
        let stored = self.context.store.get(id).await?;
        let stored = stored.ok_or_else(|| ActionError::UnknownAction(id.to_string()))?;
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
    /// etcd errors, if the query reaches back beyond the cache.
    pub async fn list(&self, query: &ActionQuery) -> Result<ActionList, ActionError> {
        let snapshot = self.context.cache.snapshot();
        let from_memory: Vec<ActionView> = snapshot
            .newest_first()
            .filter(|published| query.matches(&published.value.action))
            .take(query.limit + 1)
            .map(|published| published.value.clone())
            .collect();
        let cache_suffices = match snapshot.complete_from() {
            None => false,
            Some("") => true,
            Some(oldest) => from_memory.last().is_some_and(|last| {
                from_memory.len() > query.limit && last.action.id.as_str() >= oldest
            }),
        };
        let only_open =
            !query.states.is_empty() && query.states.iter().all(|state| !state.is_final());
        let mut actions = if cache_suffices || (only_open && snapshot.loaded) {
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

    /// Whether recovery is enabled, globally and per cluster.
    ///
    /// # Errors
    /// etcd errors.
    pub async fn recovery_state(&self) -> Result<RecoveryState, ActionError> {
        let switches = RecoverySwitches::read(&self.context.registry, &self.context.keys).await?;
        self.context.read_shown_approvals().await?;
        let (settings, approvals) = (&self.context.settings, &self.context.approvals);
        Ok(RecoveryState {
            enabled: switches.global.is_none(),
            off: switches.global,
            clusters: switches.clusters,
            approvals: ActionKind::ALL
                .map(|kind| (kind, approvals.count(kind, settings.approvals_of(kind))))
                .into(),
            sql_account: settings.recovery_reach != RecoveryReach::Nowhere,
        })
    }

    /// Whether recovery of `cluster` is enabled.
    ///
    /// # Errors
    /// etcd errors.
    pub async fn cluster_recovery(
        &self,
        cluster: &ClusterName,
    ) -> Result<ClusterRecovery, ActionError> {
        let switches = RecoverySwitches::read(&self.context.registry, &self.context.keys).await?;
        self.context.read_shown_approvals().await?;
        let limits = |kind| self.context.limits_of(kind, cluster);
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
            approvals: ActionKind::ALL
                .map(|kind| (kind, limits(kind).approvals_needed))
                .into(),
            approver_groups: limits(ActionKind::Bootstrap).approver_groups,
            history_alarms: Vec::new(),
        })
    }

    /// Enables or pauses recovery of one cluster, or of all. The caller has checked the permission.
    ///
    /// # Errors
    /// If the reason for a pause is missing or too long; etcd errors.
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
            let (present, genuine) = match self.context.registry.get(key.as_str()).await {
                // Either decision replaces a switch that was changed outside the console.
                Err(registry::Error::Tampered { .. }) => (None, false),
                present => (present?, true),
            };
            if genuine && enabled == present.is_none() {
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
    /// Matching actions from etcd, including those too old for the cache.
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
            let Ok(stored) = decode_action(entry) else {
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

/// The id in a request; text that cannot be one is unknown.
pub(super) fn parse_id(text: &str) -> Result<ActionId, ActionError> {
    text.parse()
        .map_err(|_| ActionError::UnknownAction(text.chars().take(40).collect()))
}

fn switch_record(
    by: &Actor,
    cluster: Option<&ClusterName>,
    enabled: bool,
    reason: &str,
    at: Timestamp,
) -> AuditRecord {
    let event = if enabled {
        AuditEvent::RECOVERY_SWITCHED_ON
    } else {
        AuditEvent::RECOVERY_SWITCHED_OFF
    };
    AuditRecord {
        at,
        actor: by.name.clone(),
        event,
        cluster: cluster.cloned(),
        subject: None,
        detail: BTreeMap::from([("reason".to_owned(), reason.to_owned())]),
    }
}
