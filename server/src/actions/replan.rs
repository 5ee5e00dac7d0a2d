//! Recomputes the plan before anything is done: what was approved must still hold (I16).
//!
//! Three differences say nothing about the cluster, so they do not supersede the action: etcd could not be read, a node is
//! in a state that it leaves within seconds, or this replica has not observed the nodes long enough.

use std::time::Duration;

use console_core::clock::now;
use galera::recover::plan::{Plan, PlanComparison};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::executor::Executor;
use super::planner::PlanningInputs;

/// How long to wait for a node to leave a transient state.
const TRANSIENT_WAIT: Duration = Duration::from_secs(5);
/// Pause between replanning attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

impl Executor {
    /// The current plan, from nodes probed now.
    pub(super) async fn replan(&mut self) -> Result<(PlanningInputs, Plan), ActionError> {
        let until = Instant::now() + TRANSIENT_WAIT.min(self.time_left());
        loop {
            let action = &self.stored.action;
            let own = Some(&action.id);
            let inputs = self
                .context
                .planning_inputs(&action.cluster, true, own)
                .await?;
            let health = &inputs.cluster.evidence.registry_health;
            if !health.reachable {
                let reason = health.error.as_deref().unwrap_or("etcd is unreachable");
                return Err(ActionError::RegistryUnreadable(reason.to_owned()));
            }
            let plan = inputs.plan(&self.context.settings, action.kind, &action.attestations);
            match plan.compare_with_approved(&action.plan) {
                PlanComparison::ShortLivedState if Instant::now() < until => {
                    sleep(RETRY_INTERVAL).await
                }
                PlanComparison::ShortObservation => return Err(ActionError::NotWatchedLongEnough),
                _ => {
                    self.computed = Some((plan.clone(), Instant::now()));
                    return Ok((inputs, plan));
                }
            }
        }
    }

    /// The plan of what is left of an action that another executor began, once it contains step `index`. What the earlier
    /// steps changed is first observed for a while, so until then, or the deadline, it is computed again.
    pub(super) async fn plan_of_rest(
        &mut self,
        index: usize,
    ) -> Result<(PlanningInputs, Plan), ActionError> {
        let step = self.stored.action.plan.steps.get(index).cloned();
        loop {
            let (inputs, plan) = self.replan().await?;
            let contained = step.as_ref().is_some_and(|step| plan.steps.contains(step));
            if contained || self.time_left() <= RETRY_INTERVAL {
                return Ok((inputs, plan));
            }
            self.computed = None;
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Time left until the action's deadline or expiry.
    fn time_left(&self) -> Duration {
        let action = &self.stored.action;
        let deadline = action
            .execution
            .as_ref()
            .map(|execution| execution.deadline);
        let end = deadline.or(action.expires_at);
        end.map_or(Duration::ZERO, |end| now().age(end))
    }
}
