//! What no request asks for: letting expire what is due, continuing what another replica left, and watching the nodes
//! that a bootstrap left out (I22).

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
use super::service::ActionContext;
use super::{ActionError, executor};

const PERIOD: Duration = Duration::from_secs(1);
/// How long the replica that took the last approval is left alone to begin.
const HEAD_START: Duration = Duration::from_secs(3);
/// How long nodes that a bootstrap left out are watched for being ahead.
const RETURN_WATCH: Duration = Duration::from_secs(24 * 3600);

/// Works until the console stops.
pub(super) async fn run(inner: Arc<ActionContext>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shelf = inner.cache.snapshot();
        let open: Vec<PublishedAction> = shelf.open().cloned().collect();
        inner
            .attempts
            .retain_open(|id| open.iter().any(|shown| shown.value.action.id == id));
        for shown in &open {
            let action = &shown.value.action;
            if let Err(error) = reconcile(&inner, action).await {
                tracing::debug!(action.id = action.id, %error, "Sweeping waits");
            }
        }
        warn_of_returning_nodes(&inner, shelf.newest_first()).await;
    }
}

async fn reconcile(inner: &Arc<ActionContext>, action: &Action) -> Result<(), ActionError> {
    match action.state {
        ActionState::Pending | ActionState::Approved
            if action.expires_at.is_some_and(|at| now() >= at) =>
        {
            expire(inner, action).await
        }
        ActionState::Approved if action.approvals_needed > 0 => {
            let since = action.approvals.iter().map(|approval| approval.at).max();
            let left = since.is_some_and(|at| at.age(now()) >= HEAD_START);
            if left && inner.attempts.may_begin(&action.id) {
                executor::spawn(inner, &action.id);
            }
            Ok(())
        }
        ActionState::Executing => {
            let lock = inner.registry.get(inner.keys.lock(&action.cluster)).await?;
            if lock.is_none() {
                executor::spawn(inner, &action.id);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Of several replicas that say so, one is first; the others find it said.
async fn expire(inner: &Arc<ActionContext>, action: &Action) -> Result<(), ActionError> {
    let stored = inner
        .store
        .update(&action.id, |action| {
            let at = now();
            let limits = executor::limits(inner, action);
            let next = step(action, &ActionEvent::Tick, &limits, at)?;
            let record = audit_records::end_record(action, &next, &inner.settings.replica, at);
            Ok((next, record.into_iter().collect()))
        })
        .await;
    match stored {
        Ok(stored) => {
            inner.cache.insert_ahead_of_watch(&stored);
            Ok(())
        }
        Err(ActionError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Warns of nodes that a bootstrap left out and that turn out to be ahead.
async fn warn_of_returning_nodes(
    inner: &Arc<ActionContext>,
    newest: impl Iterator<Item = &PublishedAction>,
) {
    let mut seen = HashSet::new();
    for shown in newest {
        let action = &shown.value.action;
        let acted = action.kind == ActionKind::Bootstrap
            && matches!(
                action.state,
                ActionState::Succeeded | ActionState::Unverified
            );
        let ended = action.ended_at.filter(|at| at.age(now()) < RETURN_WATCH);
        let Some(ended) = ended.filter(|_| acted) else {
            continue;
        };
        // The newest bootstrap of a cluster is the one whose target holds.
        if !seen.insert(action.cluster.clone()) {
            continue;
        }
        let Some(target) = &action.plan.target else {
            continue;
        };
        let Some(look) = inner.clusters.last_known(&action.cluster) else {
            continue;
        };
        let circumstances = galera::recover::bootstrap::RecoveryContext::default();
        let case = galera::recover::bootstrap::RecoveryCase {
            evidence: &look.evidence,
            history: &look.history,
            attestations: &[],
            context: &circumstances,
            settings: &inner.settings.plan,
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
        let sentences = warnings.iter().map(|warning| warning.message.clone());
        inner
            .clusters
            .set_warnings(&action.cluster, sentences.collect());
        inner.cache.set_warnings(&action.id, warnings);
    }
}
