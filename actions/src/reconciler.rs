//! Periodic work on actions: expiring them, resuming what another replica left unfinished, and watching nodes that a
//! bootstrap excluded (I22).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::publish::api::ActionWarning;
use galera::recover::action::{Action, ActionEvent, ActionState, step};
use galera::recover::bootstrap::returning_ahead;
use galera::recover::plan::ActionKind;
use tokio::time::{MissedTickBehavior, interval};

use super::audit_records;
use super::cache::PublishedAction;
use super::context::ActionContext;
use super::{ActionError, runner};

const PERIOD: Duration = Duration::from_secs(1);
/// How long the replica that received the last approval has to begin before others do.
const HEAD_START: Duration = Duration::from_secs(3);
/// How long after a bootstrap the excluded nodes are checked for being ahead.
const RETURN_WATCH: Duration = Duration::from_secs(24 * 3600);

/// Reconciles all open actions periodically until shutdown.
pub(super) async fn run(context: Arc<ActionContext>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if context.registry.outdated_secret().is_some() {
            // Until a restart this replica can record nothing.
            return;
        }
        let snapshot = context.cache.snapshot();
        let open: Vec<PublishedAction> = snapshot.open().cloned().collect();
        context.attempts.retain_open(|id| {
            open.iter()
                .any(|published| published.value.action.id == *id)
        });
        for published in &open {
            let action = &published.value.action;
            if let Err(error) = reconcile(&context, action).await {
                tracing::debug!(action.id = action.id.as_str(), %error, "Could not reconcile an action; will retry");
            }
        }
        warn_of_returning_nodes(&context, snapshot.newest_first()).await;
    }
}

async fn reconcile(context: &Arc<ActionContext>, action: &Action) -> Result<(), ActionError> {
    match action.state {
        ActionState::Pending | ActionState::Approved
            if action.expires_at.is_some_and(|at| now() >= at) =>
        {
            expire(context, action).await
        }
        ActionState::Approved if action.approvals_needed > 0 => {
            let since = action.approvals.iter().map(|approval| approval.at).max();
            let left = since.is_some_and(|at| at.age(now()) >= HEAD_START);
            if left && context.attempts.may_begin(&action.id) {
                runner::spawn(context, &action.id);
            }
            Ok(())
        }
        ActionState::Executing => {
            let lock = context
                .registry
                .get(context.keys.lock(&action.cluster))
                .await?;
            if lock.is_none() {
                runner::spawn(context, &action.id);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Expires an action. Of several replicas that try, one succeeds; the others find it done.
async fn expire(context: &Arc<ActionContext>, action: &Action) -> Result<(), ActionError> {
    let stored = context
        .store
        .update(&action.id, |action| {
            let at = now();
            let limits = context.limits(action);
            let next = step(action, &ActionEvent::Tick, &limits, at)?;
            let record =
                audit_records::end_record(action, &next, context.settings.replica.as_str(), at);
            Ok((next, record.into_iter().collect()))
        })
        .await;
    match stored {
        Ok(stored) => {
            context.cache.insert_ahead_of_watch(&stored);
            Ok(())
        }
        Err(ActionError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Warns about nodes that a bootstrap excluded and that turn out to be ahead.
async fn warn_of_returning_nodes(
    context: &Arc<ActionContext>,
    newest: impl Iterator<Item = &PublishedAction>,
) {
    let mut seen = HashSet::new();
    for published in newest {
        let action = &published.value.action;
        let acted = action.kind == ActionKind::Bootstrap
            && matches!(
                action.state,
                ActionState::Succeeded | ActionState::Unverified
            );
        let ended = action.ended_at.filter(|at| at.age(now()) < RETURN_WATCH);
        let Some(ended) = ended.filter(|_| acted) else {
            continue;
        };
        // Only the target of a cluster's newest bootstrap is valid.
        if !seen.insert(action.cluster.clone()) {
            continue;
        }
        let Some(target) = &action.plan.target else {
            continue;
        };
        let Some(cluster) = context.clusters.last_known(&action.cluster) else {
            continue;
        };
        let recovery_context = galera::recover::bootstrap::RecoveryContext::default();
        let case = galera::recover::bootstrap::RecoveryCase {
            evidence: &cluster.evidence,
            history: &cluster.history,
            attestations: &[],
            context: &recovery_context,
            settings: &context.settings.plan,
            now: now(),
        };
        let warnings: Vec<ActionWarning> = returning_ahead(target, ended, &case)
            .into_iter()
            .map(|ahead| ActionWarning {
                node: ahead.node,
                transactions: ahead.transactions,
                message: ahead.message,
            })
            .collect();
        let messages = warnings.iter().map(|warning| warning.message.clone());
        context
            .clusters
            .set_warnings(&action.cluster, messages.collect());
        context.cache.set_warnings(&action.id, warnings);
    }
}
