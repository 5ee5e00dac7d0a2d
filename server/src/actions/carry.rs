//! The steps of an action: what is written before, what is done, what is written after.

use std::time::Duration;

use console_core::clock::now;
use galera::NodeId;
use galera::observe::registration::{Field, Order, RegistryKeyKind};
use galera::recover::action::{Action, Event, Next, STATEMENT_WAIT, StepResult, StepState};
use galera::recover::bootstrap;
use galera::recover::plan::{Mechanism, Step};
use registry::{Guard, Write};
use tokio::time::{Instant, sleep};

use super::ActionError;
use super::run::{Applied, Run, Stopped};
use super::switches::Switches;
use super::world::Channel;

/// How old a plan may be when its intention is written.
const PLAN_AGE: Duration = Duration::from_millis(1_500);
/// Attempts to have a fresh plan and a fresh connection at the same time.
const ATTEMPTS: usize = 3;
/// Pause between attempts to write down an answer.
const AGAIN: Duration = Duration::from_millis(200);

/// Whether the plan is carried out by an order to an agent.
pub(super) fn is_order(action: &Action) -> bool {
    let mechanism = action.plan.target.as_ref().map(|target| target.mechanism);
    mechanism == Some(Mechanism::Order)
}

impl Run {
    /// Does what comes next; `false` when the action has ended.
    pub(super) async fn advance(&mut self) -> Result<bool, Stopped> {
        match self.stored.action.next() {
            None => return Ok(false),
            // Nothing more is done after the deadline; what was, or was not, ends here.
            Some(Next::Do(_)) if self.overdue() => {
                self.apply(&[Event::Tick], &[], &[]).await?;
            }
            Some(Next::Do(place)) => match self.stored.action.plan.steps.get(place).cloned() {
                Some(Step::Statement { node, statement }) => {
                    self.statement(place, &node, statement).await?;
                }
                Some(Step::Key {
                    key,
                    mod_revision,
                    value,
                }) => self.key(place, key, mod_revision, value).await?,
                None => return Err(ActionError::Contended.into()),
            },
            Some(Next::Observe) => {
                if self.never_sent().await? {
                    return Ok(true);
                }
                self.observe().await?;
            }
        }
        Ok(true)
    }

    fn overdue(&self) -> bool {
        let execution = self.stored.action.execution.as_ref();
        execution.is_some_and(|execution| now() >= execution.deadline)
    }

    /// An intention of this very executor whose confirmation got lost: only we can know that nothing was sent.
    async fn never_sent(&mut self) -> Result<bool, Stopped> {
        let replica = self.inner.settings.replica.clone();
        let own = |state: &galera::recover::action::StepRecord| {
            state.state == StepState::Intended && state.replica.as_deref() == Some(&*replica)
        };
        let Some(place) = self.stored.action.steps.iter().position(own) else {
            return Ok(false);
        };
        // Another run of this replica may have sent it before it lost its lock.
        let began_here = self.planned.is_some();
        if self.sent == Some(place) || !began_here {
            return Ok(false);
        }
        let result = StepResult::Refused(
            "nothing was sent: etcd did not confirm the intention in time".to_owned(),
        );
        self.answer(place, result).await?;
        Ok(true)
    }

    /// The digest of the plan as of now.
    async fn digest(&mut self) -> Result<String, Stopped> {
        if let Some((digest, at)) = &self.planned
            && at.elapsed() < PLAN_AGE
        {
            return Ok(digest.clone());
        }
        let (scene, plan) = self.plan_again().await?;
        if self.before.is_none() {
            self.before = scene.look.readings.last().cloned();
        }
        Ok(plan.digest)
    }

    /// A connection that was opened a moment ago, and a plan as fresh.
    async fn ready(
        &mut self,
        node: &NodeId,
    ) -> Result<(String, Result<Box<dyn Channel>, String>), Stopped> {
        let mut attempt = 1;
        loop {
            let digest = self.digest().await?;
            let action = &self.stored.action;
            let channel = self.inner.world.open(&action.cluster, node).await;
            let fresh = self
                .planned
                .as_ref()
                .is_some_and(|(_, at)| at.elapsed() < PLAN_AGE);
            if fresh || channel.is_err() || attempt >= ATTEMPTS {
                return Ok((digest, channel));
            }
            attempt += 1;
        }
    }

    /// One statement to one node: the connection first, then the intention, then the statement, then the answer.
    async fn statement(
        &mut self,
        place: usize,
        node: &NodeId,
        statement: String,
    ) -> Result<(), Stopped> {
        let (digest, channel) = self.ready(node).await?;
        let fence = self.lock.fence;
        let intend = Event::Intend {
            fence,
            step: place,
            digest: &digest,
            off: None,
        };
        let guards = Switches::guards(&self.inner.keys, &self.stored.action.cluster);
        let channel = match channel {
            Ok(channel) => channel,
            Err(why) => {
                let result = StepResult::Refused(format!("nothing was sent: {why}"));
                let answered = Event::Answered {
                    fence,
                    step: place,
                    result,
                };
                self.apply(&[intend, answered], &guards, &[]).await?;
                return Ok(());
            }
        };
        let began = Instant::now();
        match self.apply(&[intend], &guards, &[]).await? {
            Applied::Written => {}
            Applied::Overtaken => return Ok(()),
            // Only the switches are compared here.
            Applied::KeyChanged(_) => return self.switched_off().await,
        }
        if self.stored.action.next() != Some(Next::Observe) {
            return Ok(());
        }
        let result = if began.elapsed() >= STATEMENT_WAIT || self.lock.is_lost() {
            StepResult::Refused("nothing was sent: writing the intention took too long".to_owned())
        } else {
            self.sent = Some(place);
            channel.send(statement).await
        };
        self.answer(place, result).await
    }

    /// Recovery was switched off between plan and intention: the action waits for its deadline or for the switch.
    async fn switched_off(&mut self) -> Result<(), Stopped> {
        sleep(AGAIN).await;
        let tick = Event::Tick;
        match self.apply(&[tick], &[], &[]).await {
            Err(Stopped::Refused(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Writes an answer down, and goes on trying while the lock holds: only this executor knows it.
    async fn answer(&mut self, place: usize, result: StepResult) -> Result<(), Stopped> {
        loop {
            let answered = Event::Answered {
                fence: self.lock.fence,
                step: place,
                result: result.clone(),
            };
            match self.apply(&[answered], &[], &[]).await {
                Ok(Applied::Written) => return Ok(()),
                Ok(_) => {}
                Err(Stopped::Failed(error)) if !self.lock.is_lost() => {
                    tracing::warn!(%error, "An answer is not written down yet");
                    sleep(AGAIN).await;
                    // A write that was not confirmed may be there.
                    if self.reload().await.is_ok() && self.is_answered(place) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_answered(&self, place: usize) -> bool {
        let state = self.stored.action.steps.get(place).map(|step| step.state);
        state.is_some_and(|state| !matches!(state, StepState::Waiting | StepState::Intended))
    }

    /// One compared write to the registry, in one transaction with the record's next revision.
    async fn key(
        &mut self,
        place: usize,
        key: String,
        mod_revision: i64,
        value: Option<String>,
    ) -> Result<(), Stopped> {
        let digest = if self.stored.action.may_have_acted() {
            self.stored.action.plan.digest.clone()
        } else {
            self.digest().await?
        };
        let fence = self.lock.fence;
        let write = self.write(&key, value).await?;
        let guard = match mod_revision {
            0 => Guard::Absent(key.clone().into_bytes()),
            seen => Guard::Unchanged(key.clone().into_bytes(), seen),
        };
        let mut guards = Switches::guards(&self.inner.keys, &self.stored.action.cluster);
        let switches = guards.clone();
        guards.push(guard);
        let intend = || Event::Intend {
            fence,
            step: place,
            digest: &digest,
            off: None,
        };
        let answered = |result: StepResult| Event::Answered {
            fence,
            step: place,
            result,
        };
        // A plan that has changed is superseded by the intention, and then nothing may be written with it.
        if !self.would_act(&intend())? {
            self.apply(&[intend()], &switches, &[]).await?;
            return Ok(());
        }
        let done = answered(StepResult::Done(format!(
            "written in one transaction with fence {fence}"
        )));
        match self.apply(&[intend(), done], &guards, &[write]).await? {
            Applied::Written | Applied::Overtaken => Ok(()),
            Applied::KeyChanged(current) => {
                let changed = current.iter().find(|entry| entry.key == key.as_bytes());
                let revision = changed.map_or(0, |entry| entry.mod_revision);
                if revision == mod_revision {
                    return self.switched_off().await;
                }
                let why = match changed {
                    Some(_) => format!("{key} was written meanwhile (revision {revision})"),
                    None => format!("{key} is gone already"),
                };
                self.apply(
                    &[intend(), answered(StepResult::Refused(why))],
                    &switches,
                    &[],
                )
                .await?;
                Ok(())
            }
        }
    }

    fn would_act(&self, intend: &Event<'_>) -> Result<bool, Stopped> {
        let action = &self.stored.action;
        let limits = super::run::limits(&self.inner, action);
        let next = galera::recover::action::step(action, intend, &limits, now())?;
        Ok(!next.state.is_final())
    }

    /// The write of a key. An order lives under a lease that ends with the time in which its outcome is watched for.
    async fn write(&self, key: &str, value: Option<String>) -> Result<Write, Stopped> {
        let Some(value) = value else {
            return Ok(Write::delete(key));
        };
        let action = &self.stored.action;
        if !is_order(action) {
            return Ok(Write::put(key, value, None));
        }
        let left = action
            .execution
            .as_ref()
            .map_or(Duration::ZERO, |execution| now().age(execution.deadline));
        let granted = self.inner.registry.grant_unattended(left).await;
        let lease = granted.map_err(ActionError::from)?;
        let value = bootstrap::order(&action.plan, &action.id).map_or(value, |order| {
            let node = self.registered_name(&order.node);
            Order { node, ..order }.to_value()
        });
        Ok(Write::put(key, value, Some(lease)))
    }

    /// A node as it names itself in the registry: plans leave out the port that this console takes for the usual one,
    /// which the node's agent may not.
    fn registered_name(&self, node: &NodeId) -> NodeId {
        let settings = &self.inner.settings;
        let keys = galera::observe::registration::Keys::new(&settings.registry_prefix);
        let spellings = self.before.iter().flat_map(|reading| &reading.keys);
        spellings
            .filter_map(|raw| match keys.parse(&raw.key) {
                RegistryKeyKind::Node {
                    cluster,
                    node: name,
                    field: Field::Phase,
                } if cluster == self.stored.action.cluster => Some(name),
                _ => None,
            })
            .find(|name| name.clone().normalized(settings.plan.fold.default_port) == *node)
            .unwrap_or_else(|| node.clone())
    }
}
