//! Executes the steps of an action: the intention is written first, then the step is done, then its result is written.

use std::time::Duration;

use console_core::clock::now;
use galera::NodeId;
use galera::observe::registration::{BootstrapOrder, NodeField, ParsedKey};
use galera::recover::action::{
    ActionEvent, NextStep, STATEMENT_WAIT_TIMEOUT, StepResult, StepState,
};
use galera::recover::bootstrap;
use galera::recover::plan::{PlanDigest, PlanStep};
use registry::{Precondition, WriteOp};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::cluster_access::StatementChannel;
use super::context::is_order;
use super::executor::{ApplyOutcome, Executor, ExecutorError};
use super::switches::RecoverySwitches;

/// Maximum age of a plan when an intention is written.
const PLAN_MAX_AGE: Duration = Duration::from_millis(1_500);
/// Attempts to have a fresh plan and an open connection at the same time.
const ATTEMPTS: usize = 3;
/// Pause between attempts to write a step's result.
const RETRY_DELAY: Duration = Duration::from_millis(200);

impl Executor {
    /// Does the next step; `false` once the action has ended.
    pub(super) async fn advance(&mut self) -> Result<bool, ExecutorError> {
        match self.stored.action.next_step() {
            None => return Ok(false),
            // Nothing more is done after the deadline.
            Some(NextStep::Execute(_)) if self.is_overdue() => {
                self.apply_event(ActionEvent::Tick).await?;
            }
            Some(NextStep::Execute(index)) => {
                match self.stored.action.plan.steps.get(index).cloned() {
                    Some(PlanStep::Statement { node, statement }) => {
                        self.execute_statement(index, &node, statement).await?;
                    }
                    Some(PlanStep::Key {
                        key,
                        mod_revision,
                        value,
                    }) => {
                        self.execute_key_write(index, key, mod_revision, value)
                            .await?
                    }
                    None => return Err(ActionError::Contended.into()),
                }
            }
            Some(NextStep::Observe) => {
                if self.resolve_unsent_intention().await? {
                    return Ok(true);
                }
                self.observe().await?;
            }
        }
        Ok(true)
    }

    fn is_overdue(&self) -> bool {
        let execution = self.stored.action.execution.as_ref();
        execution.is_some_and(|execution| now() >= execution.deadline)
    }

    /// Resolves an intention of this executor whose write was not confirmed: only this executor can know that nothing was
    /// sent.
    async fn resolve_unsent_intention(&mut self) -> Result<bool, ExecutorError> {
        let replica = self.context.settings.replica.clone();
        let own = |step: &galera::recover::action::StepRecord| {
            step.state == StepState::Intended && step.replica.as_ref() == Some(&replica)
        };
        let Some(index) = self.stored.action.steps.iter().position(own) else {
            return Ok(false);
        };
        // An earlier executor of this replica may have sent it before it lost its lock.
        let began_here = self.fresh_plan.is_some();
        if self.sent_step == Some(index) || !began_here {
            return Ok(false);
        }
        let result = StepResult::Refused(
            "nothing was sent: etcd did not confirm the intention in time".to_owned(),
        );
        self.record_answer(index, result).await?;
        Ok(true)
    }

    /// The digest of a plan that is at most [`PLAN_MAX_AGE`] old.
    async fn current_digest(&mut self) -> Result<PlanDigest, ExecutorError> {
        if let Some((digest, at)) = &self.fresh_plan
            && at.elapsed() < PLAN_MAX_AGE
        {
            return Ok(digest.clone());
        }
        let (inputs, plan) = self.replan().await?;
        if self.keys_before.is_none() {
            self.keys_before = inputs.cluster.readings.last().cloned();
        }
        Ok(plan.digest)
    }

    /// Opens a connection and returns it with the digest of a plan that is still fresh afterwards.
    async fn fresh_plan_and_channel(
        &mut self,
        node: &NodeId,
    ) -> Result<(PlanDigest, Result<Box<dyn StatementChannel>, String>), ExecutorError> {
        let mut attempt = 1;
        loop {
            let digest = self.current_digest().await?;
            let action = &self.stored.action;
            let channel = self
                .context
                .clusters
                .open_channel(&action.cluster, node)
                .await;
            let fresh = self
                .fresh_plan
                .as_ref()
                .is_some_and(|(_, at)| at.elapsed() < PLAN_MAX_AGE);
            if fresh || channel.is_err() || attempt >= ATTEMPTS {
                return Ok((digest, channel));
            }
            attempt += 1;
        }
    }

    /// Sends a statement to a node: opens the connection, writes the intention, sends the statement, writes its result.
    async fn execute_statement(
        &mut self,
        index: usize,
        node: &NodeId,
        statement: String,
    ) -> Result<(), ExecutorError> {
        let (digest, channel) = self.fresh_plan_and_channel(node).await?;
        let fence = self.lock.fence;
        let intend = ActionEvent::Intend {
            fence,
            step: index,
            digest: &digest,
            recovery_pause: None,
        };
        let guards = RecoverySwitches::guards(&self.context.keys, &self.stored.action.cluster);
        let channel = match channel {
            Ok(channel) => channel,
            Err(reason) => {
                let result = StepResult::Refused(format!("nothing was sent: {reason}"));
                let answered = ActionEvent::Answered {
                    fence,
                    step: index,
                    result,
                };
                self.apply_guarded(&[intend, answered], &guards).await?;
                return Ok(());
            }
        };
        let began = Instant::now();
        match self.apply_guarded(&[intend], &guards).await? {
            ApplyOutcome::Written => {}
            ApplyOutcome::Overtaken => return Ok(()),
            // Only the recovery switches are compared here.
            ApplyOutcome::KeyChanged(_) => return self.wait_while_switched_off().await,
        }
        if self.stored.action.next_step() != Some(NextStep::Observe) {
            return Ok(());
        }
        let result = if began.elapsed() >= STATEMENT_WAIT_TIMEOUT || self.lock.is_lost() {
            StepResult::Refused("nothing was sent: writing the intention took too long".to_owned())
        } else {
            self.sent_step = Some(index);
            channel.send(statement).await
        };
        self.record_answer(index, result).await
    }

    /// Recovery was paused between plan and intention: waits until it is resumed or the deadline passes.
    async fn wait_while_switched_off(&mut self) -> Result<(), ExecutorError> {
        sleep(RETRY_DELAY).await;
        match self.apply_event(ActionEvent::Tick).await {
            Err(ExecutorError::Refused(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes a step's result, retrying while the lock is held: only this executor knows it.
    async fn record_answer(
        &mut self,
        index: usize,
        result: StepResult,
    ) -> Result<(), ExecutorError> {
        loop {
            let answered = ActionEvent::Answered {
                fence: self.lock.fence,
                step: index,
                result: result.clone(),
            };
            match self.apply_event(answered).await {
                Ok(ApplyOutcome::Written) => return Ok(()),
                Ok(_) => {}
                Err(ExecutorError::Failed(error)) if !self.lock.is_lost() => {
                    tracing::warn!(%error, "Could not write a step's result; will retry");
                    sleep(RETRY_DELAY).await;
                    // The unconfirmed write may have arrived.
                    if self.reload().await.is_ok() && self.is_answered(index) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_answered(&self, index: usize) -> bool {
        let state = self.stored.action.steps.get(index).map(|step| step.state);
        state.is_some_and(|state| !matches!(state, StepState::Waiting | StepState::Intended))
    }

    /// Writes a registry key if it is unchanged, in one transaction with the action's record.
    async fn execute_key_write(
        &mut self,
        index: usize,
        key: String,
        mod_revision: i64,
        value: Option<String>,
    ) -> Result<(), ExecutorError> {
        let digest = if self.stored.action.may_have_acted() {
            self.stored.action.plan.digest.clone()
        } else {
            self.current_digest().await?
        };
        let fence = self.lock.fence;
        let write = self.key_write(&key, value).await?;
        let guard = match mod_revision {
            0 => Precondition::Absent(key.clone().into_bytes()),
            seen => Precondition::Unchanged(key.clone().into_bytes(), seen),
        };
        let mut guards = RecoverySwitches::guards(&self.context.keys, &self.stored.action.cluster);
        let switches = guards.clone();
        guards.push(guard);
        let intend = || ActionEvent::Intend {
            fence,
            step: index,
            digest: &digest,
            recovery_pause: None,
        };
        let answered = |result: StepResult| ActionEvent::Answered {
            fence,
            step: index,
            result,
        };
        // If the plan has changed, the intention supersedes the action, and nothing else may be written with it.
        if !self.would_act(&intend())? {
            self.apply_guarded(&[intend()], &switches).await?;
            return Ok(());
        }
        let done = answered(StepResult::Done(format!(
            "written in one transaction with fence {fence}"
        )));
        match self.apply(&[intend(), done], &guards, &[write]).await? {
            ApplyOutcome::Written | ApplyOutcome::Overtaken => Ok(()),
            ApplyOutcome::KeyChanged(current) => {
                let changed = current.iter().find(|entry| entry.key == key.as_bytes());
                let revision = changed.map_or(0, |entry| entry.mod_revision);
                if revision == mod_revision {
                    return self.wait_while_switched_off().await;
                }
                let reason = match changed {
                    Some(_) => format!("{key} was changed concurrently (revision {revision})"),
                    None => format!("{key} no longer exists"),
                };
                let refused = answered(StepResult::Refused(reason));
                self.apply_guarded(&[intend(), refused], &switches).await?;
                Ok(())
            }
        }
    }

    fn would_act(&self, intend: &ActionEvent<'_>) -> Result<bool, ExecutorError> {
        let action = &self.stored.action;
        let limits = self.context.limits(action);
        let next = galera::recover::action::step(action, intend, &limits, now())?;
        Ok(!next.state.is_final())
    }

    /// The write of a key. A bootstrap order gets a lease that ends at the action's deadline.
    async fn key_write(&self, key: &str, value: Option<String>) -> Result<WriteOp, ExecutorError> {
        let Some(value) = value else {
            return Ok(WriteOp::delete(key));
        };
        let action = &self.stored.action;
        if !is_order(action) {
            return Ok(WriteOp::put(key, value, None));
        }
        let left = action
            .execution
            .as_ref()
            .map_or(Duration::ZERO, |execution| now().age(execution.deadline));
        let granted = self.context.registry.grant_without_keep_alive(left).await;
        let lease = granted.map_err(ActionError::from)?;
        let value = bootstrap::order(&action.plan, &action.id).map_or(value, |order| {
            let node = self.registered_name(&order.node);
            BootstrapOrder { node, ..order }.to_value()
        });
        Ok(WriteOp::put(key, value, Some(lease)))
    }

    /// The node's own id in the registry: plans omit the console's default port, which the node's agent may not.
    fn registered_name(&self, node: &NodeId) -> NodeId {
        let settings = &self.context.settings;
        let keys = galera::observe::registration::RegistryKeys::new(&settings.registry_prefix);
        let spellings = self.keys_before.iter().flat_map(|reading| &reading.keys);
        spellings
            .filter_map(|raw| match keys.parse(&raw.key) {
                ParsedKey::Node {
                    cluster,
                    node: name,
                    field: NodeField::Phase,
                } if cluster == self.stored.action.cluster => Some(name),
                _ => None,
            })
            .find(|name| name.clone().normalized(settings.plan.fold.default_port) == *node)
            .unwrap_or_else(|| node.clone())
    }
}
