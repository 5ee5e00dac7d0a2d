//! Recomputes the plan before anything is done: what was approved must still hold (I16).
//!
//! Four differences say nothing about the cluster, so they do not supersede the action: etcd could not be read, a node is in a
//! state that it leaves within seconds, this replica has not observed the nodes long enough, or its settings lack what the
//! replica had that made the plan.

use std::time::Duration;

use console_core::clock::now;
use galera::recover::cleanup::RegistryReading;
use galera::recover::plan::{
    CheckCode, CheckStatus, EvidenceSource, Plan, PlanCheck, PlanComparison, PlanStep,
};
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
            let missing = missing_setting(&action.plan, &plan);
            if let Some(missing) = missing.filter(|_| !action.may_have_acted()) {
                return Err(ActionError::OtherSettings(missing));
            }
            match plan.compare_with_approved(&action.plan) {
                PlanComparison::ShortLivedState if Instant::now() < until => {
                    self.context.show_node_wait(&action.id, &plan);
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
    /// steps changed is first observed for a while, so until then, or the deadline, it is computed again. A key that
    /// was changed or removed since then never returns to the plan.
    pub(super) async fn plan_of_rest(
        &mut self,
        index: usize,
    ) -> Result<(PlanningInputs, Plan), ActionError> {
        let step = self.stored.action.plan.steps.get(index).cloned();
        loop {
            let (inputs, plan) = self.replan().await?;
            let contained = step.as_ref().is_some_and(|step| plan.steps.contains(step));
            let changed = step.as_ref().is_some_and(|step| {
                let reading = inputs.cluster.readings.last();
                reading.is_some_and(|reading| is_changed(step, reading))
            });
            if contained || changed || self.time_left() <= RETRY_INTERVAL {
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

/// What the settings of the replica that computed the plan lack, in a sentence, of what those of the replica that made the
/// `approved` one had: the recovery account, or the order key.
fn missing_setting(approved: &Plan, computed: &Plan) -> Option<String> {
    let check_of = |plan: &Plan, code: &CheckCode| {
        let mut checks = plan.checks.iter();
        checks.find(|check| check.code == *code).cloned()
    };
    let own_facts = |check: &PlanCheck| -> Vec<String> {
        let facts = check.evidence.iter();
        let own = facts.filter(|fact| fact.source == EvidenceSource::Console);
        own.map(|fact| fact.value.clone()).collect()
    };
    let differs = |code: &CheckCode| {
        let (before, now) = (check_of(approved, code)?, check_of(computed, code)?);
        let lacks = before.status == CheckStatus::Pass && now.status == CheckStatus::Fail;
        // Without evidence the check rests on settings only.
        let is_own = now.evidence.is_empty() || own_facts(&before) != own_facts(&now);
        (lacks && is_own).then_some(now.message)
    };
    [CheckCode::SQL_ACCOUNT, CheckCode::ORDER_ACCEPTED]
        .iter()
        .find_map(differs)
}

/// Whether the key that `step` removes is absent or has another revision.
fn is_changed(step: &PlanStep, reading: &RegistryReading) -> bool {
    let PlanStep::Key {
        key, mod_revision, ..
    } = step
    else {
        return false;
    };
    let current = reading.keys.iter().find(|raw| raw.key == key.as_bytes());
    current.map_or(0, |raw| raw.mod_revision) != *mod_revision
}
