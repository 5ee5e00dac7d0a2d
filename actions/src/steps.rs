//! Executes the steps of an action: the intention is written first, then the step is done, then its result is written.

use std::time::Duration;

use accounts::AccountReading;
use console_core::clock::now;
use galera::judge::known_positions::{PositionCorrections, PositionReset};
use galera::observe::fork;
use galera::observe::registration::{
    BootstrapOrder, NodeField, OrderClaims, OrderSignature, ParsedKey, RegistryKeys, RejoinOrder,
};
use galera::recover::action::{
    ActionEvent, NextStep, STATEMENT_WAIT_TIMEOUT, StepResult, StepState,
};
use galera::recover::allow_list::{PermittedStep, permitted_step};
use galera::recover::bootstrap::{PlannedServer, StatementDialect};
use galera::recover::plan::{Plan, PlanStep};
use galera::{NodeId, Timestamp};
use registry::{Precondition, WriteOp, spans};
use tokio::time::{Instant, sleep};
use tracing::{Instrument, Span};

use super::cluster_access::StatementChannel;
use super::executor::{ApplyOutcome, Executor, ExecutorError};
use super::switches::RecoverySwitches;
use super::{ActionError, ActionSettings};

/// Maximum age of a plan when an intention is written.
const PLAN_MAX_AGE: Duration = Duration::from_millis(1_500);
/// Attempts to have a fresh plan and an open connection at the same time.
const ATTEMPTS: usize = 3;
/// How far a node's clock may be behind this console's when it reads an order.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(120);
/// For how long after a correction other replicas may still read or report what it voids.
const CORRECTION_MARGIN: Duration = Duration::from_secs(10);
/// Pause between attempts to write a step's result.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The span of a step, without the statement or key that it has.
fn step_span(index: usize, kind: &'static str) -> Span {
    tracing::info_span!(
        target: spans::TARGET, "step",
        otel.name = format!("execute step ({kind})"), step.index = index, step.kind = kind,
    )
}

fn observation_span() -> Span {
    tracing::info_span!(target: spans::TARGET, "observation", otel.name = "observe the outcome")
}

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
                let plan = self.computed_plan(index).await?;
                match self.permitted(&plan, index) {
                    Ok(PermittedStep::Statement { node, dialect }) => {
                        self.execute_statement(index, &node, dialect)
                            .instrument(step_span(index, "statement"))
                            .await?;
                    }
                    Ok(PermittedStep::Order { key, order }) => {
                        let write = self.order_write(&key, order).await?;
                        let absent = Precondition::Absent(key.clone().into_bytes());
                        self.execute_key_write(index, &key, absent, write)
                            .instrument(step_span(index, "order"))
                            .await?;
                    }
                    Ok(PermittedStep::Rejoin { key, rejoin }) => {
                        let write = self.rejoin_write(&key, rejoin).await?;
                        let absent = Precondition::Absent(key.clone().into_bytes());
                        self.execute_key_write(index, &key, absent, write)
                            .instrument(step_span(index, "rejoin"))
                            .await?;
                    }
                    Ok(PermittedStep::Delete { key, mod_revision }) => {
                        let write = WriteOp::delete(key.as_str());
                        let unchanged =
                            Precondition::Unchanged(key.clone().into_bytes(), mod_revision);
                        self.execute_key_write(index, &key, unchanged, write)
                            .instrument(step_span(index, "delete"))
                            .await?;
                    }
                    Ok(PermittedStep::Correction {
                        key,
                        mod_revision,
                        reset,
                    }) => {
                        self.execute_correction(index, &plan, &key, mod_revision, &reset)
                            .instrument(step_span(index, "correction"))
                            .await?;
                    }
                    Err(reason) => self.refuse_step(index, &plan, reason).await?,
                }
            }
            Some(NextStep::Observe) => {
                if self.resolve_unsent_intention().await? {
                    return Ok(true);
                }
                let observing = self.observe();
                observing.instrument(observation_span()).await?;
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
        let began_here = self.computed.is_some();
        if self.sent_step == Some(index) || !began_here {
            return Ok(false);
        }
        let result = StepResult::Refused(
            "nothing was sent: etcd did not confirm the intention in time".to_owned(),
        );
        self.record_answer(index, result).await?;
        Ok(true)
    }

    /// The plan that step `index` is taken from. Before the first step it is at most [`PLAN_MAX_AGE`] old; for a later one it
    /// is the plan that this executor began with, or after a takeover the plan of what is left.
    async fn computed_plan(&mut self, index: usize) -> Result<Plan, ExecutorError> {
        let acted = self.stored.action.may_have_acted();
        if let Some((plan, at)) = &self.computed
            && (acted || at.elapsed() < PLAN_MAX_AGE)
        {
            return Ok(plan.clone());
        }
        let (inputs, plan) = match acted {
            false => self.replan().await?,
            true => self.plan_of_rest(index).await?,
        };
        if self.keys_before.is_none() {
            self.keys_before = inputs.cluster.readings.last().cloned();
        }
        Ok(plan)
    }

    /// The step at `index` of the record, if `plan` contains it and it may be executed.
    fn permitted(&self, plan: &Plan, index: usize) -> Result<PermittedStep, String> {
        let action = &self.stored.action;
        let settings = &self.context.settings;
        let stored = action.plan.steps.get(index);
        let position = plan.steps.iter().position(|step| Some(step) == stored);
        let Some(position) = position else {
            return Err(match stored {
                Some(PlanStep::Key { key, .. }) => {
                    format!(
                        "{key} was changed concurrently, or the plan computed now does not contain it"
                    )
                }
                _ => "the record's step is not a step of the plan computed now".to_owned(),
            });
        };
        let keys = RegistryKeys::new(&settings.registry_prefix);
        let port = settings.plan.fold.default_port;
        permitted_step(plan, position, &action.id, &keys, port).map_err(|error| error.to_string())
    }

    /// Ends the action without executing step `index`.
    async fn refuse_step(
        &mut self,
        index: usize,
        plan: &Plan,
        reason: String,
    ) -> Result<(), ExecutorError> {
        let people = self.read_people().await?;
        let fence = self.lock.fence;
        let intend = ActionEvent::Intend {
            fence,
            step: index,
            plan,
            accounts: &people.accounts,
            recovery_pause: None,
        };
        let refused = ActionEvent::Answered {
            fence,
            step: index,
            result: StepResult::Refused(reason),
        };
        let guards = self.guards(people.unchanged);
        self.apply_guarded(&[intend, refused], &guards).await?;
        Ok(())
    }

    /// The accounts of the requester and the approvers, as of now.
    pub(super) async fn read_people(&self) -> Result<AccountReading, ActionError> {
        let people = self.stored.action.people();
        let cluster = &self.stored.action.cluster;
        Ok(self.context.people.read(people, cluster).await?)
    }

    /// The preconditions of a beginning or an intention: recovery is not paused, and `unchanged` holds.
    pub(super) fn guards(&self, unchanged: Vec<Precondition>) -> Vec<Precondition> {
        let cluster = &self.stored.action.cluster;
        let mut guards = RecoverySwitches::guards(&self.context.keys, cluster);
        guards.extend(unchanged);
        guards
    }

    /// Opens a connection and returns it with a plan that is still fresh afterwards.
    async fn fresh_plan_and_channel(
        &mut self,
        index: usize,
        node: &NodeId,
    ) -> Result<(Plan, Result<Box<dyn StatementChannel>, String>), ExecutorError> {
        let mut attempt = 1;
        loop {
            let plan = self.computed_plan(index).await?;
            let action = &self.stored.action;
            let planned = plan.target.as_ref().map(PlannedServer::of);
            let channel = self
                .context
                .clusters
                .open_channel(&action.cluster, node, &planned.unwrap_or_default())
                .await;
            let fresh = self
                .computed
                .as_ref()
                .is_some_and(|(_, at)| at.elapsed() < PLAN_MAX_AGE);
            if fresh || channel.is_err() || attempt >= ATTEMPTS {
                return Ok((plan, channel));
            }
            attempt += 1;
        }
    }

    /// Sends a statement to a node: opens the connection, writes the intention, sends the statement, writes its result.
    async fn execute_statement(
        &mut self,
        index: usize,
        node: &NodeId,
        dialect: StatementDialect,
    ) -> Result<(), ExecutorError> {
        let (plan, channel) = self.fresh_plan_and_channel(index, node).await?;
        let people = self.read_people().await?;
        let fence = self.lock.fence;
        let intend = ActionEvent::Intend {
            fence,
            step: index,
            plan: &plan,
            accounts: &people.accounts,
            recovery_pause: None,
        };
        let guards = self.guards(people.unchanged);
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
        // If the intention ends the action, nothing else may be written with it.
        if !self.would_act(&intend)? {
            self.apply_guarded(&[intend], &guards).await?;
            return Ok(());
        }
        let fork = match self.fork_write(&plan).await? {
            Ok(fork) => fork,
            Err(error) => return self.refuse_step(index, &plan, error.to_string()).await,
        };
        let (absent, write): (Vec<_>, Vec<_>) = fork.into_iter().unzip();
        let guards = [guards, absent].concat();
        let began = Instant::now();
        match self.apply(&[intend], &guards, &write).await? {
            ApplyOutcome::Written => {}
            ApplyOutcome::Overtaken => return Ok(()),
            ApplyOutcome::KeyChanged(_) => return self.wait_for_guards().await,
        }
        if self.stored.action.next_step() != Some(NextStep::Observe) {
            return Ok(());
        }
        let result = if began.elapsed() >= STATEMENT_WAIT_TIMEOUT || self.lock.is_lost() {
            StepResult::Refused("nothing was sent: writing the intention took too long".to_owned())
        } else {
            self.sent_step = Some(index);
            channel.send(dialect).await
        };
        self.record_answer(index, result).await
    }

    /// Recovery was paused, an account changed or another fork was recorded between reading and intention: waits until the
    /// next attempt, which reads all again, or the deadline.
    async fn wait_for_guards(&mut self) -> Result<(), ExecutorError> {
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
            match self.apply_answer(answered).await {
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

    /// Writes an answer; that of a statement without effect removes its fork.
    async fn apply_answer(
        &mut self,
        answered: ActionEvent<'_>,
    ) -> Result<ApplyOutcome, ExecutorError> {
        let refused = matches!(
            answered,
            ActionEvent::Answered {
                result: StepResult::Refused(_),
                ..
            }
        );
        let removals = match refused {
            true => self.fork_removals().await?,
            false => Vec::new(),
        };
        let (unchanged, delete): (Vec<_>, Vec<_>) = removals.into_iter().unzip();
        self.apply(&[answered], &unchanged, &delete).await
    }

    fn is_answered(&self, index: usize) -> bool {
        let state = self.stored.action.steps.get(index).map(|step| step.state);
        state.is_some_and(|state| !matches!(state, StepState::Waiting | StepState::Intended))
    }

    /// Does `write` to `key` under `guard`, in one transaction with the action's record.
    async fn execute_key_write(
        &mut self,
        index: usize,
        key: &str,
        guard: Precondition,
        write: WriteOp,
    ) -> Result<(), ExecutorError> {
        let plan = self.computed_plan(index).await?;
        let people = self.read_people().await?;
        let fence = self.lock.fence;
        let mod_revision = match &guard {
            Precondition::Unchanged(_, revision) => *revision,
            _ => 0,
        };
        let common = self.guards(people.unchanged);
        let mut guards = common.clone();
        guards.push(guard);
        let intend = || ActionEvent::Intend {
            fence,
            step: index,
            plan: &plan,
            accounts: &people.accounts,
            recovery_pause: None,
        };
        let answered = |result: StepResult| ActionEvent::Answered {
            fence,
            step: index,
            result,
        };
        // If the intention ends the action, nothing else may be written with it.
        if !self.would_act(&intend())? {
            self.apply_guarded(&[intend()], &common).await?;
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
                    return self.wait_for_guards().await;
                }
                let reason = match changed {
                    Some(_) => format!("{key} was changed concurrently (revision {revision})"),
                    None => format!("{key} no longer exists"),
                };
                let refused = answered(StepResult::Refused(reason));
                self.apply_guarded(&[intend(), refused], &common).await?;
                Ok(())
            }
        }
    }

    /// Adds `reset` to the cluster's record of corrections, for what was seen until a moment from now.
    async fn execute_correction(
        &mut self,
        index: usize,
        plan: &Plan,
        key: &str,
        mod_revision: i64,
        reset: &PositionReset,
    ) -> Result<(), ExecutorError> {
        if key != self.context.corrections_key(&self.stored.action.cluster) {
            let reason = "the key is not the cluster's record of corrections".to_owned();
            return self.refuse_step(index, plan, reason).await;
        }
        let stored = self.context.registry.get(key).await;
        let stored = stored.map_err(ActionError::from)?;
        let mut corrections: PositionCorrections = match &stored {
            Some(entry) => serde_json::from_slice(&entry.value).unwrap_or_default(),
            None => PositionCorrections::default(),
        };
        // This console's clock may be behind the one that recorded what is forgotten.
        let cluster = &self.stored.action.cluster;
        let inputs = self.context.planning_inputs(cluster, false, None).await?;
        let seen = inputs.cluster.history.last_seen(reset);
        let until = seen.map_or_else(now, |seen| seen.max(now()));
        corrections.add(reset, until.plus(CORRECTION_MARGIN));
        let value = super::store::encode(&corrections)?;
        let guard = match mod_revision {
            0 => Precondition::Absent(key.as_bytes().to_vec()),
            revision => Precondition::Unchanged(key.as_bytes().to_vec(), revision),
        };
        let write = WriteOp::put(key, value, None);
        self.execute_key_write(index, key, guard, write).await
    }

    fn would_act(&self, intend: &ActionEvent<'_>) -> Result<bool, ExecutorError> {
        let action = &self.stored.action;
        let limits = self.context.limits(action);
        let next = galera::recover::action::step(action, intend, &limits, now())?;
        Ok(!next.state.is_final())
    }

    /// The write of an order, signed now, under a lease that ends at the action's deadline, when the signature ends too.
    async fn order_write(
        &self,
        key: &str,
        order: BootstrapOrder,
    ) -> Result<WriteOp, ExecutorError> {
        let ends = self.deadline();
        let mut order = self.addressed(order, ends).await?;
        let signature = self.signature_of(order.claims());
        set_signature(&mut order, signature);
        self.leased_write(key, order.to_value(), ends).await
    }

    /// The same for an order to rejoin, which ends long before the state transfer that it starts may.
    async fn rejoin_write(
        &self,
        key: &str,
        mut rejoin: RejoinOrder,
    ) -> Result<WriteOp, ExecutorError> {
        let ends = self
            .deadline()
            .min(now().plus(ActionSettings::ORDER_VERIFY_TIMEOUT));
        rejoin.order = self.addressed(rejoin.order, ends).await?;
        let signature = self.signature_of(rejoin.claims());
        set_signature(&mut rejoin.order, signature);
        self.leased_write(key, rejoin.to_value(), ends).await
    }

    fn deadline(&self) -> Timestamp {
        let execution = self.stored.action.execution.as_ref();
        execution.map_or_else(now, |execution| execution.deadline)
    }

    async fn leased_write(
        &self,
        key: &str,
        value: String,
        ends: Timestamp,
    ) -> Result<WriteOp, ExecutorError> {
        let left = now().age(ends);
        let granted = self.context.registry.grant_without_keep_alive(left).await;
        let lease = granted.map_err(ActionError::from)?;
        Ok(WriteOp::put(key, value, Some(lease)))
    }

    /// The fork that the data of `node` are part of, as its agent publishes it: the plan names it as evidence.
    async fn fork_epoch(&self, node: &NodeId) -> Result<u64, ActionError> {
        let keys = RegistryKeys::new(&self.context.settings.registry_prefix);
        let key = keys.node_key(&self.stored.action.cluster, node, "fork_epoch");
        let entry = self.context.registry.get(key).await;
        let entry = entry.map_err(ActionError::from)?;
        Ok(entry.map_or(0, |entry| {
            fork::parse_epoch(&String::from_utf8_lossy(&entry.value))
        }))
    }

    /// `order` under the name that the node's agent has, with everything that a signature covers but without one. Without a
    /// key it stays unsigned; a plan for an agent that would refuse it contains no order.
    async fn addressed(
        &self,
        order: BootstrapOrder,
        expires_at: Timestamp,
    ) -> Result<BootstrapOrder, ActionError> {
        let node = self.registered_name(&order.node);
        let fork_epoch = self.fork_epoch(&node).await?;
        let settings = &self.context.settings;
        let signed = settings.order_key.as_ref().map(|key| {
            Box::new(OrderSignature {
                registry: RegistryKeys::new(&settings.registry_prefix).root_prefix(),
                cluster: self.stored.action.cluster.to_string(),
                not_before: now().minus(CLOCK_TOLERANCE),
                expires_at,
                fork_epoch,
                key_id: key.public().id().to_owned(),
                signature: String::new(),
            })
        });
        Ok(BootstrapOrder {
            node,
            signed,
            ..order
        })
    }

    fn signature_of(&self, claims: Option<OrderClaims>) -> Option<String> {
        let key = self.context.settings.order_key.as_ref()?;
        Some(key.sign(&claims?))
    }

    /// The node's own id in the registry: plans omit the console's default port, which the node's agent may not.
    fn registered_name(&self, node: &NodeId) -> NodeId {
        let settings = &self.context.settings;
        let keys = RegistryKeys::new(&settings.registry_prefix);
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

fn set_signature(order: &mut BootstrapOrder, signature: Option<String>) {
    if let (Some(signed), Some(signature)) = (&mut order.signed, signature) {
        signed.signature = signature;
    }
}
