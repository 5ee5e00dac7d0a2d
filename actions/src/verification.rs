//! Observes until the outcome is proven or the deadline has passed: a statement's reply proves nothing (I21).

use std::time::Duration;

use console_core::clock::now;
use console_core::keyspace;
use galera::judge::history_alarms::{AcceptedLoss, HistoryAcknowledgement, HistoryAlarmRecord};
use galera::judge::known_positions::KnownPositions;
use galera::observe::registration::{ClusterField, RegistryKeys};
use galera::recover::action::{ActionEvent, ActionRefusal, ObservedOutcome};
use galera::recover::bootstrap::{BootstrapOutcome, verify};
use galera::recover::cleanup::lost_registrations;
use galera::recover::plan::{ActionKind, PlanStep, PlanTarget};
use galera::recover::rejoin::{self, RejoinOutcome};
use registry::Precondition;
use tokio::time::sleep;

use super::ActionSettings;
use super::executor::{Executor, ExecutorError};

/// Pause between observations.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);
/// The same while a node receives a full state transfer, which takes minutes to hours.
const TRANSFER_OBSERVE_INTERVAL: Duration = Duration::from_secs(1);
/// Attempts to change the record of alarms while monitors write it.
const ALARM_ATTEMPTS: usize = 5;
/// How long after the end of its order an agent may still be executing it.
const ORDER_END_MARGIN: Duration = Duration::from_secs(15);

/// What one observation of a bootstrap proves.
enum BootstrapObservation {
    Outcome(ObservedOutcome),
    /// The statement had no effect and can have none; a sentence says why.
    NoEffect(String),
}

impl From<ObservedOutcome> for BootstrapObservation {
    fn from(outcome: ObservedOutcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl Executor {
    /// Observes once, records what changed, and ends the action if that is due.
    pub(super) async fn observe(&mut self) -> Result<(), ExecutorError> {
        let outcome = match self.stored.action.kind {
            ActionKind::Bootstrap => self.verify_bootstrap().await?,
            ActionKind::Cleanup | ActionKind::Decommission => self.verify_cleanup().await?.into(),
            ActionKind::Positions => self.verify_positions().await?.into(),
            ActionKind::Rejoin => self.verify_rejoin().await?.into(),
        };
        let fence = self.lock.fence;
        // Without effect it is no fork: data beyond it are not on another branch.
        let removals = match &outcome {
            BootstrapObservation::NoEffect(_) => self.fork_removals().await?,
            BootstrapObservation::Outcome(_) => Vec::new(),
        };
        let (unchanged, delete): (Vec<_>, Vec<_>) = removals.into_iter().unzip();
        let outcome = match outcome {
            BootstrapObservation::NoEffect(reason) => ObservedOutcome::Contradicted(reason),
            BootstrapObservation::Outcome(outcome) => outcome,
        };
        let observed = ActionEvent::Observed { fence, outcome };
        match self.apply(&[observed], &unchanged, &delete).await {
            Ok(_) | Err(ExecutorError::Refused(ActionRefusal::TooEarly { .. })) => {}
            Err(error) => return Err(error),
        }
        if self.stored.action.state.is_final() {
            return Ok(());
        }
        match self.apply_event(ActionEvent::Tick).await {
            Ok(_)
            | Err(ExecutorError::Refused(
                ActionRefusal::TooEarly { .. } | ActionRefusal::NothingDue { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if !self.stored.action.state.is_final() {
            sleep(match self.stored.action.kind {
                ActionKind::Rejoin => TRANSFER_OBSERVE_INTERVAL,
                _ => OBSERVE_INTERVAL,
            })
            .await;
        }
        Ok(())
    }

    /// Checks the bootstrap against what the nodes report.
    async fn verify_bootstrap(&mut self) -> Result<BootstrapObservation, ExecutorError> {
        let action = &self.stored.action;
        let inputs = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let Some(target) = &action.plan.target else {
            return Ok(ObservedOutcome::NotYet("the plan has no target".to_owned()).into());
        };
        // No attestations: a node attested as stopped that answers now is judged by what it reports.
        let case = inputs.case(&self.context.settings, &[]);
        let outcome = verify(target, &case);
        if outcome == BootstrapOutcome::Proven
            && let Some(missing) = self.record_missing_fork(&action.plan, &case).await?
        {
            return Ok(ObservedOutcome::NotYet(missing).into());
        }
        if outcome == BootstrapOutcome::Proven {
            self.accept_loss(target, &inputs.cluster.history).await;
        }
        if let Some(reason) = self.no_effect.observe(target, &case, self.began.elapsed()) {
            return Ok(BootstrapObservation::NoEffect(reason));
        }
        let outcome = match outcome {
            BootstrapOutcome::Proven => {
                let names: Vec<String> = target.revives.iter().map(ToString::to_string).collect();
                ObservedOutcome::Proven(match names.as_slice() {
                    [name] => format!("{name} is Primary and Synced, as reported by the node"),
                    _ => format!(
                        "{} are Primary and Synced, as reported by the nodes",
                        names.join(", ")
                    ),
                })
            }
            BootstrapOutcome::NotYet(reason) => ObservedOutcome::NotYet(reason),
            BootstrapOutcome::Contradicted(reason) => ObservedOutcome::Contradicted(reason),
        };
        Ok(outcome.into())
    }

    /// The loss was approved: the alarm about it is acknowledged with the action, before or after it is raised. Without
    /// that a person acknowledges it.
    async fn accept_loss(&self, target: &PlanTarget, known: &KnownPositions) {
        let Some(loss) = target.position.as_ref().and_then(|position| {
            let highest = known.highest.get(&position.uuid)?;
            (highest.seqno > position.seqno).then(|| AcceptedLoss {
                history: position.uuid,
                from: position.seqno,
                highest: highest.seqno,
                acknowledgement: HistoryAcknowledgement {
                    by: format!("action {}", self.stored.action.id),
                    at: now(),
                    reason: "approved with the bootstrap".to_owned(),
                },
            })
        }) else {
            return;
        };
        let accept = |record: &mut HistoryAlarmRecord| {
            let accepted = record.accepted.as_ref();
            let by = accepted.map(|accepted| &accepted.acknowledgement.by);
            if by != Some(&loss.acknowledgement.by) {
                record.accept_loss(loss.clone());
            }
        };
        if let Err(error) = self.update_alarms(accept).await {
            tracing::warn!(%error, "Could not record that the loss was approved; the alarm stays: {error}");
        }
    }

    /// Changes the record of the cluster's alarms; one that cannot be read stays as it is.
    async fn update_alarms(
        &self,
        change: impl Fn(&mut HistoryAlarmRecord),
    ) -> Result<(), registry::Error> {
        let prefix = &self.context.settings.state_prefix;
        let key = keyspace::history_alarms_of(prefix, &self.stored.action.cluster);
        for _ in 0..ALARM_ATTEMPTS {
            let stored = self.context.registry.get(key.as_str()).await?;
            let decoded = stored
                .as_ref()
                .map(|entry| serde_json::from_slice::<HistoryAlarmRecord>(&entry.value))
                .transpose();
            let Ok(known) = decoded.map(Option::unwrap_or_default) else {
                return Ok(());
            };
            let mut record = known.clone();
            change(&mut record);
            if record == known {
                return Ok(());
            }
            let value = serde_json::to_vec(&record)
                .map_err(|error| registry::Error::Invalid(error.to_string()))?;
            let seen = match &stored {
                Some(entry) => {
                    Precondition::Unchanged(key.clone().into_bytes(), entry.mod_revision)
                }
                None => Precondition::Absent(key.clone().into_bytes()),
            };
            let transaction = registry::Transaction::new()
                .when(self.lock.guard())
                .when(seen)
                .then([registry::WriteOp::put(key.clone(), value, None)]);
            if let registry::TransactionOutcome::Committed { .. } =
                self.context.registry.transact(&transaction).await?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Our own transactions removed every key; restores the registration of any running node that lost it that way (I28).
    async fn verify_cleanup(&self) -> Result<ObservedOutcome, ExecutorError> {
        let action = &self.stored.action;
        let inputs = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let removed = match action.plan.steps.len() {
            1 => "The key was removed at its planned revision".to_owned(),
            count => format!("{count} keys were removed, each at its planned revision"),
        };
        let mut restored = Vec::new();
        if action.kind == ActionKind::Cleanup
            && let (Some(before), Some(after)) = (&self.keys_before, inputs.cluster.readings.last())
        {
            let case = inputs.case(&self.context.settings, &action.attestations);
            for step in lost_registrations(&case, before, after) {
                restored.extend(self.restore_key(step).await?);
            }
        }
        if action.kind == ActionKind::Decommission
            && let Err(error) = self.update_alarms(HistoryAlarmRecord::end_history).await
        {
            tracing::warn!(%error, "Could not record that the history ended; the next one raises an alarm: {error}");
        }
        Ok(ObservedOutcome::Proven(if restored.is_empty() {
            removed
        } else {
            format!(
                "{removed}; restored for running nodes: {}",
                restored.join(", ")
            )
        }))
    }

    /// Plans again: what is forgotten is in no plan.
    async fn verify_positions(&self) -> Result<ObservedOutcome, ExecutorError> {
        let action = &self.stored.action;
        let inputs = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let plan = inputs.plan(&self.context.settings, action.kind, &action.attestations);
        Ok(match plan.target {
            None => ObservedOutcome::Proven(
                "no position is remembered that no member has reached".to_owned(),
            ),
            Some(_) => ObservedOutcome::NotYet(
                "a position is remembered that no member has reached".to_owned(),
            ),
        })
    }

    /// Checks the rejoin against what the node and its agent report.
    async fn verify_rejoin(&self) -> Result<ObservedOutcome, ExecutorError> {
        let action = &self.stored.action;
        let inputs = self
            .context
            .planning_inputs(&action.cluster, true, Some(&action.id))
            .await?;
        let Some(rejoin) = rejoin::order(&action.plan, &action.id) else {
            return Ok(ObservedOutcome::NotYet("the plan has no order".to_owned()));
        };
        let intended = action.steps.first().and_then(|step| step.intended_at);
        let patience = ActionSettings::ORDER_VERIFY_TIMEOUT + ORDER_END_MARGIN;
        let ended = intended.is_some_and(|at| now() >= at.plus(patience));
        let case = inputs.case(&self.context.settings, &[]);
        let node = &rejoin.order.node;
        let outcome = rejoin::verify(&rejoin, ended, &case);
        if !matches!(outcome, RejoinOutcome::NotYet(_)) {
            self.remove_order_to_rejoin().await?;
        }
        Ok(match outcome {
            RejoinOutcome::Proven => ObservedOutcome::Proven(format!(
                "{node} is Synced with the cluster's data, as it reports; its former data are kept aside on that node: its agent's \
                     log names the directory"
            )),
            RejoinOutcome::NotYet(reason) => ObservedOutcome::NotYet(reason),
            RejoinOutcome::NotObeyed(reason) | RejoinOutcome::Contradicted(reason) => {
                ObservedOutcome::Contradicted(reason)
            }
        })
    }

    /// The action ends: until its lease ended, the order would stand in the way of the next.
    async fn remove_order_to_rejoin(&self) -> Result<(), ExecutorError> {
        let keys = RegistryKeys::new(&self.context.settings.registry_prefix);
        let key = keys.cluster_key(&self.stored.action.cluster, ClusterField::Rejoin);
        let transaction = registry::Transaction::new()
            .when(self.lock.guard())
            .then([registry::WriteOp::delete(key)]);
        let outcome = self.context.registry.transact(&transaction).await;
        outcome.map_err(super::ActionError::from)?;
        Ok(())
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
