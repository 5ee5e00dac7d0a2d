//! A plan is requested by one person, approved by another, and followed to its end.

use std::time::{Duration, Instant};

use acceptance::lab::process::tail;
use anyhow::{Context, Result, bail, ensure};
use galera::ActionId;
use galera::publish::api::ActionView;
use galera::recover::action::ActionState;
use galera::recover::attestation::Attestation;
use galera::recover::plan::Plan;

use super::{PATIENCE, POLL_INTERVAL};
use crate::faults::{Disturbance, RoundFault};
use crate::promise::PlanPromise;
use crate::round::Round;

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
    /// Requests the plan, has another person approve it, and follows the action to its end.
    pub(super) async fn execute_plan(
        &mut self,
        console: usize,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<()> {
        let team = self.lab.team(console);
        let requested = if plan.executable {
            team.request("bootstrap", plan, attestations).await
        } else {
            self.journal
                .note("an administrator overrides the checks that fail");
            self.overrides += 1;
            team.request_override("bootstrap", plan, attestations).await
        };
        let action = match requested {
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
        self.disturb(&before, console, plan).await?;
        let Some(approving) = self.approve(&action).await? else {
            return Ok(());
        };
        self.disturb(&after, approving, plan).await?;
        self.follow(&action, plan, attestations).await
    }

    /// The replica that took the approval; `None` when the action ended before.
    async fn approve(&mut self, action: &ActionView) -> Result<Option<usize>> {
        let end = Instant::now() + APPROVAL_TIMEOUT;
        loop {
            self.resume_due();
            let Some(console) = self.ensure_console().await? else {
                continue;
            };
            let team = self.lab.team(console);
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
            self.resume_due();
            if let Some(console) = self.ensure_console().await?
                && let Ok(now) = self.lab.team(console).action(action).await
            {
                if now.action.state.is_final() {
                    break now;
                }
                // What could not be begun when it was approved, because etcd was away, waits for a person.
                if now.action.state == ActionState::Approved && began.elapsed() > BEGIN_TIMEOUT {
                    let team = self.lab.team(console);
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

    async fn disturb(
        &mut self,
        disturbance: &Disturbance,
        console: usize,
        plan: &Plan,
    ) -> Result<()> {
        match disturbance {
            Disturbance::None => return Ok(()),
            Disturbance::Console => self.inflict(&RoundFault::Console(console)).await?,
            Disturbance::Etcd(member) => self.inflict(&RoundFault::Etcd(*member)).await?,
            Disturbance::EtcdQuorum(lost) => {
                self.inflict(&RoundFault::EtcdQuorum(0)).await?;
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
            Disturbance::PauseTarget(paused) => {
                let target = plan.target.as_ref().and_then(|target| target.node.as_ref());
                let Some(node) = target.and_then(|id| self.lab.index_of(id)) else {
                    return Ok(());
                };
                let fault = if self.lab.node(node).servers().is_empty() {
                    RoundFault::PauseAgent(node)
                } else {
                    RoundFault::PauseServer(node)
                };
                self.inflict(&fault).await?;
                self.resumes.push((Instant::now() + *paused, node));
            }
        }
        Ok(())
    }

    /// Wakes the targets whose pause is over.
    pub(super) fn resume_due(&mut self) {
        let now = Instant::now();
        let due = self.resumes.extract_if(.., |(at, _)| *at <= now);
        let due: Vec<usize> = due.map(|(_, node)| node).collect();
        for node in due {
            self.journal.note(format!("resume n{}", node + 1));
            self.conditions.resume(self.lab, node);
        }
    }
}
