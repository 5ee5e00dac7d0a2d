//! Watching until the outcome is proven or the deadline has passed: what an answer says proves nothing (I21).

use std::time::Duration;

use galera::recover::action::{ActionEvent, ActionRefusal, ObservedOutcome};
use galera::recover::bootstrap::{BootstrapOutcome, verify};
use galera::recover::cleanup::lost_registrations;
use galera::recover::plan::{ActionKind, PlanStep};
use registry::Precondition;
use tokio::time::sleep;

use super::executor::{Executor, ExecutorError};

/// Pause between two looks.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);

impl Executor {
    /// Looks once, writes down what is new, and ends the action when that is due.
    pub(super) async fn observe(&mut self) -> Result<(), ExecutorError> {
        let verdict = match self.stored.action.kind {
            ActionKind::Bootstrap => self.verify_bootstrap().await?,
            ActionKind::Cleanup | ActionKind::Decommission => self.verify_cleanup().await?,
        };
        let fence = self.lock.fence;
        let observed = ActionEvent::Observed {
            fence,
            outcome: verdict,
        };
        match self.apply(&[observed], &[], &[]).await {
            Ok(_) | Err(ExecutorError::Refused(ActionRefusal::TooEarly { .. })) => {}
            Err(error) => return Err(error),
        }
        if self.stored.action.state.is_final() {
            return Ok(());
        }
        match self.apply(&[ActionEvent::Tick], &[], &[]).await {
            Ok(_)
            | Err(ExecutorError::Refused(
                ActionRefusal::TooEarly { .. } | ActionRefusal::NothingDue { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if !self.stored.action.state.is_final() {
            sleep(OBSERVE_INTERVAL).await;
        }
        Ok(())
    }

    /// What the nodes themselves say.
    async fn verify_bootstrap(&self) -> Result<ObservedOutcome, ExecutorError> {
        let action = &self.stored.action;
        let scene = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let Some(target) = &action.plan.target else {
            return Ok(ObservedOutcome::NotYet("the plan has no target".to_owned()));
        };
        // Whoever was attested stopped and answers now is the observation's business, not the attestation's.
        let case = scene.case(&self.context.settings, &[]);
        Ok(match verify(target, &case) {
            BootstrapOutcome::Proven => {
                let names: Vec<String> = target.revives.iter().map(ToString::to_string).collect();
                ObservedOutcome::Proven(format!(
                    "{} Primary and Synced, by their own word",
                    match names.as_slice() {
                        [one] => format!("{one} is"),
                        _ => format!("{} are", names.join(", ")),
                    }
                ))
            }
            BootstrapOutcome::NotYet(what) => ObservedOutcome::NotYet(what),
            BootstrapOutcome::Contradicted(what) => ObservedOutcome::Contradicted(what),
        })
    }

    /// Every key is gone by transactions of ours; a living node that lost its registration by that gets it back (I28).
    async fn verify_cleanup(&self) -> Result<ObservedOutcome, ExecutorError> {
        let action = &self.stored.action;
        let scene = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let removed = match action.plan.steps.len() {
            1 => "The key was removed as it was seen".to_owned(),
            count => format!("{count} keys were removed, each as it was seen"),
        };
        let mut restored = Vec::new();
        if action.kind == ActionKind::Cleanup
            && let (Some(before), Some(after)) = (&self.keys_before, scene.snapshot.readings.last())
        {
            let case = scene.case(&self.context.settings, &action.attestations);
            for step in lost_registrations(&case, before, after) {
                restored.extend(self.restore_key(step).await?);
            }
        }
        Ok(ObservedOutcome::Proven(if restored.is_empty() {
            removed
        } else {
            format!("{removed}; living nodes got back {}", restored.join(", "))
        }))
    }

    async fn restore_key(&self, step: PlanStep) -> Result<Option<String>, ExecutorError> {
        let PlanStep::Key {
            key,
            value: Some(value),
            ..
        } = step
        else {
            return Ok(None);
        };
        let transaction = registry::Transaction::new()
            .when(self.lock.guard())
            .when(Precondition::Absent(key.clone().into_bytes()))
            .then([registry::WriteOp::put(key.clone(), value, None)]);
        let outcome = self.context.registry.transact(&transaction).await;
        let outcome = outcome.map_err(super::ActionError::from)?;
        Ok(matches!(outcome, registry::TransactionOutcome::Committed { .. }).then_some(key))
    }
}
