//! What no request asks for: letting expire what is due, continuing what another replica left, and watching the nodes
//! that a bootstrap left out (I22).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use galera::publish::api::ActionWarning;
use galera::recover::action::{Action, Event, State, step};
use galera::recover::bootstrap::returning_ahead;
use galera::recover::plan::Kind;
use tokio::time::{MissedTickBehavior, interval};

use super::board::Shown;
use super::desk::Inner;
use super::records;
use super::{ActionError, run};

const PERIOD: Duration = Duration::from_secs(1);
/// How long the replica that took the last approval is left alone to begin.
const HEAD_START: Duration = Duration::from_secs(3);
/// How long nodes that a bootstrap left out are watched for being ahead.
const RETURNING: Duration = Duration::from_secs(24 * 3600);

/// Works until the console stops.
pub(super) async fn run(inner: Arc<Inner>) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = inner.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shelf = inner.board.shelf();
        let open: Vec<Shown> = shelf.open().cloned().collect();
        inner
            .attempts
            .retain(|id| open.iter().any(|shown| shown.value.action.id == id));
        for shown in &open {
            let action = &shown.value.action;
            if let Err(error) = sweep(&inner, action).await {
                tracing::debug!(action.id = action.id, %error, "Sweeping waits");
            }
        }
        watch_returning(&inner, shelf.newest()).await;
    }
}

async fn sweep(inner: &Arc<Inner>, action: &Action) -> Result<(), ActionError> {
    match action.state {
        State::Pending | State::Approved if action.expires_at.is_some_and(|at| now() >= at) => {
            expire(inner, action).await
        }
        State::Approved if action.approvals_needed > 0 => {
            let since = action.approvals.iter().map(|approval| approval.at).max();
            let left = since.is_some_and(|at| at.age(now()) >= HEAD_START);
            if left && inner.attempts.may_begin(&action.id) {
                run::start(inner, &action.id);
            }
            Ok(())
        }
        State::Executing => {
            let lock = inner.registry.get(inner.keys.lock(&action.cluster)).await?;
            if lock.is_none() {
                run::start(inner, &action.id);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Of several replicas that say so, one is first; the others find it said.
async fn expire(inner: &Arc<Inner>, action: &Action) -> Result<(), ActionError> {
    let stored = inner
        .store
        .change(&action.id, |action| {
            let at = now();
            let limits = run::limits(inner, action);
            let next = step(action, &Event::Tick, &limits, at)?;
            let record = records::ended(action, &next, &inner.settings.replica, at);
            Ok((next, record.into_iter().collect()))
        })
        .await;
    match stored {
        Ok(stored) => {
            inner.board.note(&stored);
            Ok(())
        }
        Err(ActionError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Warns of nodes that a bootstrap left out and that turn out to be ahead.
async fn watch_returning(inner: &Arc<Inner>, newest: impl Iterator<Item = &Shown>) {
    let mut seen = HashSet::new();
    for shown in newest {
        let action = &shown.value.action;
        let acted = action.kind == Kind::Bootstrap
            && matches!(action.state, State::Succeeded | State::Unverified);
        let ended = action.ended_at.filter(|at| at.age(now()) < RETURNING);
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
        let Some(look) = inner.world.known(&action.cluster) else {
            continue;
        };
        let circumstances = galera::recover::bootstrap::Circumstances::default();
        let case = galera::recover::bootstrap::Case {
            evidence: &look.evidence,
            history: &look.history,
            attestations: &[],
            circumstances: &circumstances,
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
        inner.world.tell(&action.cluster, sentences.collect());
        inner.board.warn(&action.id, warnings);
    }
}
