//! The operators on call: they attest the true state of every member, request a plan, approve it, and do what the plan
//! asks for. Nothing else makes the cluster Primary.

use std::time::{Duration, Instant};

use acceptance::lab::process::tail;
use acceptance::recovery_team::attest_all;
use anyhow::{Context, Result, bail, ensure};
use galera::ActionId;
use galera::publish::api::ActionView;
use galera::recover::action::ActionState;
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{CheckCode, Plan};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::faults::{Disturbance, Fault};
use crate::promise::PlanPromise;
use crate::round::Round;

/// Longest time until a node is Primary again, including all operator work.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a node must have been Primary for the cluster to count as such.
const PRIMARY_STEADY: Duration = Duration::from_secs(2);
/// A node that has been Primary for so long must be known to the console.
const DETECTION_LIMIT: Duration = Duration::from_secs(3);
/// How long operators wait for a blocked plan before they intervene.
const PATIENCE: Duration = Duration::from_secs(4);
/// The same if the plan is only waiting for the cluster to heal.
const HEALING_PATIENCE: Duration = Duration::from_secs(45);
/// Polling interval.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Longest wait for the end of an action: an order to a stopped server is watched for five minutes.
const END_TIMEOUT: Duration = Duration::from_secs(330);
/// How long replicas are left to begin what was approved.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an approval is tried.
const APPROVAL_TIMEOUT: Duration = Duration::from_secs(25);

/// How an action ended.
pub(crate) struct EndedAction {
    pub(crate) id: ActionId,
    pub(crate) state: ActionState,
}

impl Round<'_> {
    /// Works until a node reports that it is Primary.
    ///
    /// # Errors
    /// If that takes too long, an action does not end, or the console offers an unsafe plan.
    pub(crate) async fn recover_cluster(&mut self) -> Result<()> {
        let end = Instant::now() + RECOVERY_TIMEOUT;
        let mut blocked = Instant::now();
        while !self.has_steady_primary() {
            ensure!(
                Instant::now() < end,
                "no node was Primary again within {RECOVERY_TIMEOUT:?}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
            let Some((console, plan, attestations)) = self.plan().await? else {
                if blocked.elapsed() > PATIENCE {
                    self.assist().await?;
                    blocked = Instant::now();
                }
                continue;
            };
            if plan.executable {
                self.execute_plan(console, &plan, &attestations).await?;
                blocked = Instant::now();
            } else if blocked.elapsed() > plan_patience(&plan) {
                self.assist().await?;
                blocked = Instant::now();
            }
        }
        Ok(())
    }

    /// Whether a node has been Primary for a while and still is.
    pub(crate) fn has_steady_primary(&self) -> bool {
        let now = Instant::now();
        let recently = now.checked_sub(Duration::from_millis(600)).unwrap_or(now);
        let since = recently.checked_sub(PRIMARY_STEADY).unwrap_or(recently);
        !self.observer.primary_throughout(since, recently).is_empty()
    }

    /// The plan as one of the replicas makes it, with what can truthfully be attested; `None` when it gives none.
    async fn plan(&mut self) -> Result<Option<(usize, Plan, Vec<Attestation>)>> {
        let Some(console) = self.any_console() else {
            return Ok(None);
        };
        let attestations = self.attestations()?;
        let asked = Instant::now();
        let plan = self.lab.teams[console].plan("bootstrap", &attestations);
        let plan = match plan.await {
            Ok(plan) => plan,
            Err(error) => {
                self.journal
                    .note_change(format!("console {} gives no plan: {error:#}", console + 1));
                return Ok(None);
            }
        };
        self.journal.note_change(format!("plan: {}", plan.summary));
        if plan.executable {
            self.ensure_no_known_primary(&plan, asked).await?;
        }
        Ok(Some((console, plan, attestations)))
    }

    /// No plan may be offered while a node has been Primary for longer than detection takes.
    async fn ensure_no_known_primary(&self, plan: &Plan, asked: Instant) -> Result<()> {
        // The next answers prove that it was Primary at the moment of the question.
        tokio::time::sleep(POLL_INTERVAL).await;
        let since = asked.checked_sub(DETECTION_LIMIT).unwrap_or(asked);
        let primary = self.observer.primary_throughout(since, asked);
        ensure!(
            primary.is_empty(),
            "the console offered to bootstrap while {} was Primary: {}",
            primary.join(", "),
            plan.summary
        );
        Ok(())
    }

    /// The true state of the members that do not respond: killed ones are stopped, or given up with everything that
    /// only they hold. An unplugged one is fenced if it serves no client, because its clients are on its side of the
    /// partition.
    fn attestations(&self) -> Result<Vec<Attestation>> {
        let id = |node: &usize| self.lab.node(*node).id();
        let down = self.conditions.nodes_where(|node| node.down);
        let down = down.iter().map(id).collect::<Result<Vec<_>>>()?;
        let unplugged = self
            .conditions
            .nodes_where(|node| node.unplugged && !node.down);
        let fenced = unplugged
            .into_iter()
            .filter(|node| self.serves_nobody(*node));
        let fenced = fenced.map(|node| id(&node)).collect::<Result<Vec<_>>>()?;
        let statement = if self.gives_up {
            AttestedState::Fenced
        } else {
            AttestedState::Stopped
        };
        let mut all = attest_all(&down, statement);
        all.extend(attest_all(&fenced, AttestedState::Fenced));
        Ok(all)
    }

    fn serves_nobody(&self, node: usize) -> bool {
        self.says_primary(node) == Some(false)
    }

    /// Whether a node reports that it is Primary; `None` if it does not respond.
    fn says_primary(&self, node: usize) -> Option<bool> {
        let known = self.observer.nodes();
        let (_, answer) = known.get(node)?;
        Some(answer.as_ref()?.primary.is_some())
    }

    fn any_console(&mut self) -> Option<usize> {
        let running = self.lab.running();
        let choice = self.random.random_range(0..running.len().max(1));
        running.get(choice).copied()
    }

    /// Requests the plan, has another person approve it, and follows the action to its end.
    async fn execute_plan(
        &mut self,
        console: usize,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<()> {
        let team = &self.lab.teams[console];
        let action = match team.request("bootstrap", plan, attestations).await {
            Ok(action) => action,
            Err(error) => {
                self.journal
                    .note(format!("the request is refused: {error:#}"));
                return Ok(());
            }
        };
        let declared: Vec<String> = attestations
            .iter()
            .map(|attestation| format!("{} {}", attestation.node, attestation.statement))
            .collect();
        self.journal.note(format!(
            "requested at console {}, attesting [{}]: {}",
            console + 1,
            declared.join(", "),
            plan.summary
        ));
        let (before, after) = self
            .disturbances
            .next()
            .unwrap_or((Disturbance::None, Disturbance::None));
        self.disturb(&before, console).await?;
        let Some(approving) = self.approve(&action).await? else {
            return Ok(());
        };
        self.disturb(&after, approving).await?;
        self.follow(&action, plan, attestations).await
    }

    /// The replica that took the approval; `None` when the action ended before.
    async fn approve(&mut self, action: &ActionView) -> Result<Option<usize>> {
        let end = Instant::now() + APPROVAL_TIMEOUT;
        loop {
            let Some(console) = self.ensure_console().await? else {
                continue;
            };
            let team = &self.lab.teams[console];
            let outcome = team.act(&team.approver, action, "approve").await;
            match outcome {
                Ok(_) => {
                    self.journal
                        .note(format!("approved at console {}", console + 1));
                    return Ok(Some(console));
                }
                Err(error) => self.journal.note_change(format!(
                    "not approved at console {}: {error:#}",
                    console + 1
                )),
            }
            // The response may have been lost, but not the approval.
            if let Ok(now) = team.action(action).await {
                if now.action.state.is_final() {
                    self.record_end(&now);
                    return Ok(None);
                }
                if now.action.state != ActionState::Pending {
                    return Ok(Some(console));
                }
            }
            ensure!(
                Instant::now() < end,
                "the action could not be approved within {APPROVAL_TIMEOUT:?}"
            );
            // Approving requires etcd.
            self.repair_etcd().await?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// A running replica; starts one if there is none, as its supervisor would.
    async fn ensure_console(&mut self) -> Result<Option<usize>> {
        if let Some(console) = self.any_console() {
            return Ok(Some(console));
        }
        self.journal.note("restarting console 1");
        self.lab.consoles[0].launch()?;
        // It is not ready without etcd; the next attempt retries.
        let _ = self.lab.consoles[0].wait_until_ready().await;
        Ok(None)
    }

    /// Waits for the end of an approved action, and keeps what its plan has promised.
    async fn follow(
        &mut self,
        action: &ActionView,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<()> {
        let began = Instant::now();
        let mut last = None;
        let ended = loop {
            if let Some(console) = self.ensure_console().await?
                && let Ok(now) = self.lab.teams[console].action(action).await
            {
                if now.action.state.is_final() {
                    break now;
                }
                // What could not be begun when it was approved, because etcd was away, waits for a person.
                if now.action.state == ActionState::Approved && began.elapsed() > BEGIN_TIMEOUT {
                    let team = &self.lab.teams[console];
                    let begun = team.act(&team.operator, action, "execute").await;
                    self.journal.note_change(match begun {
                        Ok(_) => "started manually".to_owned(),
                        Err(error) => format!("not started manually: {error:#}"),
                    });
                }
                last = Some(now);
            }
            if began.elapsed() > END_TIMEOUT {
                bail!("the approved action has not ended within {END_TIMEOUT:?}: {last:#?}");
            }
            // Members killed by a disturbance are not waited for.
            if began.elapsed() > PATIENCE {
                self.repair_etcd().await?;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        };
        self.record_end(&ended);
        if ended.action.may_have_acted() {
            self.promises
                .push(PlanPromise::from_plan(plan, attestations));
        }
        let target = plan
            .target
            .as_ref()
            .context("an executed plan without a target")?;
        if ended.action.state == ActionState::Succeeded {
            self.recovered.push(target.mechanism);
        }
        Ok(())
    }

    fn record_end(&mut self, ended: &ActionView) {
        let action = &ended.action;
        let outcome = action.outcome.as_deref().unwrap_or("no outcome");
        self.journal
            .note(format!("the action {}: {outcome}", action.state.as_str()));
        if matches!(action.state, ActionState::Failed | ActionState::Unverified) {
            for line in &action.journal {
                self.journal.note(format!(
                    "its journal: {} by {}: {}",
                    line.at, line.by, line.text
                ));
            }
            for console in &self.lab.consoles {
                self.journal
                    .note(format!("a console's log: {}", tail(console.log(), 12)));
            }
        }
        self.ended.push(EndedAction {
            id: action.id.clone(),
            state: action.state,
        });
    }

    async fn disturb(&mut self, disturbance: &Disturbance, console: usize) -> Result<()> {
        match disturbance {
            Disturbance::None => return Ok(()),
            Disturbance::Console => self.inflict(&Fault::Console(console)).await?,
            Disturbance::Etcd(member) => self.inflict(&Fault::Etcd(*member)).await?,
            Disturbance::EtcdQuorum(lost) => {
                self.inflict(&Fault::EtcdQuorum(0)).await?;
                tokio::time::sleep(*lost).await;
                self.repair_etcd().await?;
            }
            Disturbance::Return => {
                for node in self.conditions.nodes_where(|node| node.down) {
                    self.start(node)?;
                }
            }
            Disturbance::Heal => {
                self.journal.note("healing network and group connections");
                self.conditions.heal(self.lab).await?;
            }
        }
        Ok(())
    }

    /// Does one of the things that unblock a plan, as described in docs/recovery.md.
    async fn assist(&mut self) -> Result<()> {
        self.repair_etcd().await?;
        for (index, console) in self.lab.consoles.iter().enumerate() {
            if console.pid().is_none() {
                self.journal
                    .note(format!("console {} is started again", index + 1));
                console.launch()?;
            }
        }
        let paused = self.conditions.nodes_where(|node| node.paused);
        let mut down = self.conditions.nodes_where(|node| node.down);
        down.shuffle(&mut self.random);
        if let Some(node) = paused.first().copied() {
            if self.random.random_bool(0.5) {
                return self.inflict(&Fault::Kill(vec![node])).await;
            }
            self.journal.note(format!("resume n{}", node + 1));
            self.conditions.resume(self.lab, node);
        } else if let Some(node) = self.unplugged_primary() {
            // Its clients are beside it: it only stops serving them without power.
            return self.inflict(&Fault::Kill(vec![node])).await;
        } else if !down.is_empty() {
            self.reconnect(&down).await?;
            let count = if self.random.random_bool(0.5) {
                1
            } else {
                down.len()
            };
            for node in down.into_iter().take(count) {
                self.start(node)?;
            }
        } else {
            self.journal
                .note("network and group connections are repaired");
            self.conditions.heal(self.lab).await?;
        }
        self.start_ended()
    }

    fn unplugged_primary(&self) -> Option<usize> {
        let unplugged = self
            .conditions
            .nodes_where(|node| node.unplugged && !node.down);
        let primary = |node: &usize| self.says_primary(*node) == Some(true);
        unplugged.into_iter().find(primary)
    }

    /// A container that cannot reach etcd would wait for it.
    async fn reconnect(&mut self, nodes: &[usize]) -> Result<()> {
        let unplugged = |node: &usize| self.conditions.nodes[*node].unplugged;
        if nodes.iter().any(unplugged) {
            self.journal
                .note("network and group connections are repaired");
            self.conditions.heal(self.lab).await?;
        }
        Ok(())
    }
}

fn plan_patience(plan: &Plan) -> Duration {
    let waits = plan.failing().all(|check| check.code == CheckCode::SETTLED);
    if waits { HEALING_PATIENCE } else { PATIENCE }
}
