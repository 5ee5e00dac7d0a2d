//! Planning an action again before anything is done: what was approved must still hold (I16).
//!
//! Three things that differ say nothing about the cluster, so they do not end an action as superseded: etcd that could
//! not be read, a state that a node leaves by itself within seconds, and a replica that has not watched for long enough.

use std::time::Duration;

use console_core::clock::now;
use galera::recover::plan::{Comparison, Plan};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::planner::Scene;
use super::run::Run;

/// How long a node is given to leave a state that lasts a moment.
const MOMENT: Duration = Duration::from_secs(5);
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(250);

impl Run {
    /// The plan as of now, from nodes that were asked now.
    pub(super) async fn plan_again(&mut self) -> Result<(Scene, Plan), ActionError> {
        let until = Instant::now() + MOMENT.min(self.left());
        loop {
            let action = &self.stored.action;
            let own = Some(action.id.as_str());
            let scene = self.inner.scene(&action.cluster, true, own).await?;
            let health = &scene.look.evidence.registry_health;
            if !health.reachable {
                let why = health.error.as_deref().unwrap_or("etcd does not answer");
                return Err(ActionError::Blind(why.to_owned()));
            }
            let plan = scene.plan(&self.inner.settings, action.kind, &action.attestations);
            match plan.compared(&action.plan) {
                Comparison::Moment if Instant::now() < until => sleep(LOOK).await,
                Comparison::Unwatched => return Err(ActionError::Unwatched),
                _ => {
                    self.planned = Some((plan.digest.clone(), Instant::now()));
                    return Ok((scene, plan));
                }
            }
        }
    }

    /// What is left of the time in which the action may go on.
    fn left(&self) -> Duration {
        let action = &self.stored.action;
        let deadline = action.execution.as_ref().map(|begun| begun.deadline);
        let end = deadline.or(action.expires_at);
        end.map_or(Duration::ZERO, |end| now().age(end))
    }
}
