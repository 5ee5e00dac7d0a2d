//! The people who recover a cluster, each with their own session.

use std::time::Duration;

use ::galera::NodeId;
use ::galera::publish::api::{ActionView, AuditPage, ProblemDetails};
use ::galera::record::audit::{AuditEntry, AuditEvent};
use ::galera::recover::action::ActionState;
use ::galera::recover::attestation::{Attestation, AttestedState};
use ::galera::recover::plan::Plan;
use anyhow::{Context, Result, ensure};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::{ConsoleClient, problem};
use crate::eventually;
use crate::lab::console::{ConsoleUser, LabConsole};

/// Longest wait for whatever takes no state transfer.
const ACTION_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for an action to end: longer than the console waits for a statement's outcome.
const END_TIMEOUT: Duration = Duration::from_secs(240);
/// Longest wait for a plan to become executable: views must be stable first.
const PLAN_TIMEOUT: Duration = Duration::from_secs(120);
/// The same if the cluster might heal, which the plan waits for.
const UNHEALED_PLAN_TIMEOUT: Duration = Duration::from_secs(120);

/// Sessions with one console.
pub struct RecoveryTeam {
    cluster: String,
    /// An operator.
    pub operator: ConsoleClient,
    /// An approver.
    pub approver: ConsoleClient,
    /// Operator and approver: requests, and must not approve their own requests.
    pub requester: ConsoleClient,
    /// An administrator, who may override failed checks.
    pub administrator: ConsoleClient,
}

impl RecoveryTeam {
    /// Those who recover the cluster `lab`.
    ///
    /// # Errors
    /// If a sign-in fails.
    pub async fn sign_in(console: &LabConsole) -> Result<Self> {
        Self::sign_in_for(console, "lab").await
    }

    /// Those who recover `cluster`.
    ///
    /// # Errors
    /// If a sign-in fails.
    pub async fn sign_in_for(console: &LabConsole, cluster: &str) -> Result<Self> {
        let both = ConsoleUser::new("both", "operator,approver");
        // It may exist already.
        let _ = console.add_user(&both).await;
        let both = eventually("signing in", ACTION_TIMEOUT, async || {
            ConsoleClient::new(&console.url())?
                .sign_in(&both.name, &both.password)
                .await
        })
        .await?;
        Ok(Self {
            cluster: cluster.to_owned(),
            operator: console.sign_in("operator").await?,
            approver: console.sign_in("approver").await?,
            requester: both,
            administrator: console.sign_in("admin").await?,
        })
    }

    /// The same people with the same sessions at another replica.
    ///
    /// # Errors
    /// If a client cannot be created.
    pub fn at_replica(&self, replica: &LabConsole) -> Result<Self> {
        let there = |who: &ConsoleClient| {
            let cookie = who.cookie().context("not signed in")?;
            anyhow::Ok(ConsoleClient::new(&replica.url())?.with_cookie(cookie))
        };
        Ok(Self {
            cluster: self.cluster.clone(),
            operator: there(&self.operator)?,
            approver: there(&self.approver)?,
            requester: there(&self.requester)?,
            administrator: there(&self.administrator)?,
        })
    }

    /// The plan with these attestations.
    ///
    /// # Errors
    /// If the console gives none.
    pub async fn plan(&self, kind: &str, attestations: &[Attestation]) -> Result<Plan> {
        let path = format!("/api/v1/clusters/{}/plans/{kind}", self.cluster);
        if attestations.is_empty() {
            return self.operator.get(&path).await;
        }
        post(&self.operator, &path, json!({"attestations": attestations})).await
    }

    /// The plan as soon as every check passes.
    ///
    /// # Errors
    /// If a check does not pass in time; names it.
    pub async fn executable_plan(&self, kind: &str, attestations: &[Attestation]) -> Result<Plan> {
        self.executable_plan_within(PLAN_TIMEOUT, kind, attestations)
            .await
    }

    /// The same for a cluster whose members all run, so that it might heal.
    ///
    /// # Errors
    /// As [`RecoveryTeam::executable_plan`].
    pub async fn executable_plan_unhealed(&self, kind: &str) -> Result<Plan> {
        self.executable_plan_within(UNHEALED_PLAN_TIMEOUT, kind, &[])
            .await
    }

    /// The plan as soon as every check permits it, which may take as long as `patience`.
    ///
    /// # Errors
    /// As [`RecoveryTeam::executable_plan`].
    pub async fn executable_plan_within(
        &self,
        patience: Duration,
        kind: &str,
        attestations: &[Attestation],
    ) -> Result<Plan> {
        eventually("an executable plan", patience, async || {
            let plan = self.plan(kind, attestations).await?;
            let failing: Vec<&str> = plan.failing().map(|check| check.message.as_str()).collect();
            ensure!(plan.executable, "{failing:?}");
            Ok(plan)
        })
        .await
    }

    /// Requests the plan as soon as there is an executable one that `right` accepts, for a cluster whose members all
    /// run. Non-Primary members periodically try to reconnect, and no plan is executable while they do.
    ///
    /// # Errors
    /// If `right` rejects a plan, or nothing can be requested in time.
    pub async fn request_unhealed(
        &self,
        kind: &str,
        right: impl Fn(&Plan) -> Result<()>,
    ) -> Result<ActionView> {
        eventually("the request to be taken", ACTION_TIMEOUT, async || {
            let plan = self.executable_plan_unhealed(kind).await?;
            right(&plan)?;
            self.request(kind, &plan, &[]).await
        })
        .await
    }

    /// Requests `plan` as the user with both roles.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn request(
        &self,
        kind: &str,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<ActionView> {
        let answer = self.post_request(kind, plan, attestations).await?;
        read_json("requesting", answer).await
    }

    /// The same, refused.
    ///
    /// # Errors
    /// If it is not refused.
    pub async fn request_refused(
        &self,
        kind: &str,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<ProblemDetails> {
        problem(self.post_request(kind, plan, attestations).await?).await
    }

    /// Requests `plan` as the administrator, who overrides every check that fails.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn request_override(
        &self,
        kind: &str,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<ActionView> {
        let failing: Vec<&str> = plan.failing().map(|check| check.code.as_str()).collect();
        let mut body = self.request_body(kind, plan, attestations);
        body["break_glass"] = json!({"overrides": failing});
        post(&self.administrator, &self.actions_path(), body).await
    }

    async fn post_request(
        &self,
        kind: &str,
        plan: &Plan,
        attestations: &[Attestation],
    ) -> Result<Response> {
        let body = self.request_body(kind, plan, attestations);
        let request = self
            .requester
            .request(Method::POST, &self.actions_path())
            .json(&body);
        Ok(request.send().await?)
    }

    fn actions_path(&self) -> String {
        format!("/api/v1/clusters/{}/actions", self.cluster)
    }

    fn request_body(&self, kind: &str, plan: &Plan, attestations: &[Attestation]) -> Value {
        json!({
            "kind": kind,
            "plan_digest": plan.digest,
            "confirm": self.cluster,
            "reason": "two hosts lost power",
            "attestations": attestations,
        })
    }

    /// `POST /api/v1/actions/{id}/{verb}`.
    ///
    /// # Errors
    /// If that is refused.
    pub async fn act(
        &self,
        who: &ConsoleClient,
        action: &ActionView,
        verb: &str,
    ) -> Result<ActionView> {
        let path = format!("/api/v1/actions/{}/{verb}", action.action.id);
        post(who, &path, json!({})).await
    }

    /// The same, refused.
    ///
    /// # Errors
    /// If it is not refused.
    pub async fn act_refused(
        &self,
        who: &ConsoleClient,
        action: &ActionView,
        verb: &str,
    ) -> Result<ProblemDetails> {
        let path = format!("/api/v1/actions/{}/{verb}", action.action.id);
        let request = who.request(Method::POST, &path).json(&json!({}));
        problem(request.send().await?).await
    }

    /// The current state of the action.
    ///
    /// # Errors
    /// If the console does not respond.
    pub async fn action(&self, action: &ActionView) -> Result<ActionView> {
        let path = format!("/api/v1/actions/{}", action.action.id);
        self.operator.get(&path).await
    }

    /// The action once it has ended.
    ///
    /// # Errors
    /// If it has not in time; quotes its journal.
    pub async fn wait_for_end(&self, action: &ActionView) -> Result<ActionView> {
        eventually("the action to end", END_TIMEOUT, async || {
            let now = self.action(action).await?;
            let journal: Vec<&str> = now
                .action
                .journal
                .iter()
                .map(|line| line.text.as_str())
                .collect();
            ensure!(
                now.action.state.is_final(),
                "{:?}: {journal:?}",
                now.action.state
            );
            Ok(now)
        })
        .await
    }

    /// Waits until the action has ended as superseded without having done anything, and nothing is left to recover.
    ///
    /// # Errors
    /// If it ends otherwise, may have acted, or a plan still offers something.
    pub async fn wait_for_superseded(&self, action: &ActionView) -> Result<()> {
        let ended = self.wait_for_end(action).await?.action;
        ensure!(ended.state == ActionState::Superseded, "{ended:#?}");
        ensure!(!ended.may_have_acted(), "{:?}", ended.steps);
        // The executor has queried the nodes itself; the console's view may lag behind.
        eventually("the plan to follow", ACTION_TIMEOUT, async || {
            let now = self.plan("bootstrap", &[]).await?;
            ensure!(
                now.summary.starts_with("Nothing to recover"),
                "{}",
                now.summary
            );
            Ok(())
        })
        .await
    }

    /// The whole audit trail, oldest entry first.
    ///
    /// # Errors
    /// If the console does not respond.
    pub async fn audit_trail(&self) -> Result<Vec<AuditEntry>> {
        let mut entries: Vec<AuditEntry> = Vec::new();
        let mut path = "/api/v1/audit?limit=1000".to_owned();
        loop {
            let page: AuditPage = self.operator.get(&path).await?;
            entries.extend(page.entries);
            match page.next_before {
                Some(before) => path = format!("/api/v1/audit?limit=1000&before={before}"),
                None => break,
            }
        }
        entries.reverse();
        Ok(entries)
    }

    /// The audit events of `action`, oldest first.
    ///
    /// # Errors
    /// If the console does not respond.
    pub async fn audit_events(&self, action: &ActionView) -> Result<Vec<AuditEvent>> {
        let trail = self.audit_trail().await?;
        let own = trail
            .iter()
            .filter(|entry| entry.record.subject.as_deref() == Some(action.action.id.as_str()));
        Ok(own.map(|entry| entry.record.event.clone()).collect())
    }
}

/// The declaration that these members are stopped.
#[must_use]
pub fn attest_stopped(nodes: &[NodeId]) -> Vec<Attestation> {
    attest_all(nodes, AttestedState::Stopped)
}

/// One declaration about each of these members.
#[must_use]
pub fn attest_all(nodes: &[NodeId], statement: AttestedState) -> Vec<Attestation> {
    let attest = |node: &NodeId| Attestation {
        node: node.clone(),
        statement,
        saved_state: None,
    };
    nodes.iter().map(attest).collect()
}

async fn post<T: DeserializeOwned>(who: &ConsoleClient, path: &str, body: Value) -> Result<T> {
    let answer = who.request(Method::POST, path).json(&body).send().await?;
    read_json(path, answer).await
}

async fn read_json<T: DeserializeOwned>(what: &str, answer: Response) -> Result<T> {
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{what}: {status}: {text}");
    serde_json::from_str(&text).with_context(|| text.clone())
}
