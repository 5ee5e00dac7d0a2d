//! Planning an action again before anything is done: what was approved must still hold (I16).
//!
//! Three things that differ say nothing about the cluster, so they do not end an action as superseded: etcd that could
//! not be read, a state that a node leaves by itself within seconds, and a replica that has not watched for long enough.

use std::time::Duration;

use console_core::clock::now;
use galera::recover::plan::{Plan, PlanComparison};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::executor::Executor;
use super::planner::PlanningInputs;

/// How long a node is given to leave a state that lasts a moment.
const TRANSIENT_WAIT: Duration = Duration::from_secs(5);
/// Pause between two looks at it.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

impl Executor {
    /// The plan as of now, from nodes that were asked now.
    pub(super) async fn replan(&mut self) -> Result<(PlanningInputs, Plan), ActionError> {
        let until = Instant::now() + TRANSIENT_WAIT.min(self.time_left());
        loop {
            let action = &self.stored.action;
            let own = Some(action.id.as_str());
            let scene = self
                .context
                .planning_inputs(&action.cluster, true, own)
                .await?;
            let health = &scene.snapshot.evidence.registry_health;
            if !health.reachable {
                let why = health.error.as_deref().unwrap_or("etcd does not answer");
                return Err(ActionError::RegistryUnreadable(why.to_owned()));
            }
            let plan = scene.plan(&self.context.settings, action.kind, &action.attestations);
            match plan.compare_with_approved(&action.plan) {
                PlanComparison::ShortLivedState if Instant::now() < until => {
                    sleep(RETRY_INTERVAL).await
                }
                PlanComparison::ShortObservation => return Err(ActionError::NotWatchedLongEnough),
                _ => {
                    self.fresh_plan = Some((plan.digest.clone(), Instant::now()));
                    return Ok((scene, plan));
                }
            }
        }
    }

    /// What is left of the time in which the action may go on.
    fn time_left(&self) -> Duration {
        let action = &self.stored.action;
        let deadline = action.execution.as_ref().map(|begun| begun.deadline);
        let end = deadline.or(action.expires_at);
        end.map_or(Duration::ZERO, |end| now().age(end))
    }
}
