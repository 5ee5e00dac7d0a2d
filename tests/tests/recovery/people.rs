//! Those who recover a cluster, each with a session of their own.

use std::time::Duration;

use acceptance::api::{Api, problem};
use acceptance::eventually;
use acceptance::lab::console::{Console, User};
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::api::{ActionView, AuditPage, Problem};
use galera::attestation::{Attestation, Statement};
use galera::audit::Entry;
use galera::plan::Plan;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::views::LONG;

/// Longest wait for a plan to become executable: views have to settle first.
const PLANNED: Duration = Duration::from_secs(20);

/// Sessions with one console.
pub(crate) struct People {
    cluster: String,
    pub(crate) operator: Api,
    pub(crate) approver: Api,
    /// Somebody who is both.
    pub(crate) both: Api,
}

impl People {
    pub(crate) async fn of(console: &Console) -> Result<Self> {
        Self::with(console, "lab").await
    }

    /// Those who recover `cluster`.
    pub(crate) async fn with(console: &Console, cluster: &str) -> Result<Self> {
        let both = User::new("both", "operator,approver");
        // Another test may have created it before.
        let _ = console.add_user(&both).await;
        let both = eventually("signing in", LONG, async || {
            Api::new(&console.url())?
                .sign_in(&both.name, &both.password)
                .await
        })
        .await?;
        Ok(Self {
            cluster: cluster.to_owned(),
            operator: console.sign_in("operator").await?,
            approver: console.sign_in("approver").await?,
            both,
        })
    }

    /// The plan with these members attested stopped.
    pub(crate) async fn plan(&self, kind: &str, stopped: &[NodeId]) -> Result<Plan> {
        let path = format!("/api/v1/clusters/{}/plans/{kind}", self.cluster);
        if stopped.is_empty() {
            return self.operator.get(&path).await;
        }
        let body = json!({"attestations": attested(stopped)});
        post(&self.operator, &path, body).await
    }

    /// The plan as soon as every check permits it.
    pub(crate) async fn executable(&self, kind: &str, stopped: &[NodeId]) -> Result<Plan> {
        eventually("an executable plan", PLANNED, async || {
            let plan = self.plan(kind, stopped).await?;
            let failing: Vec<&str> = plan.failing().map(|check| check.message.as_str()).collect();
            ensure!(plan.executable, "{failing:?}");
            Ok(plan)
        })
        .await
    }

    /// Requests what `plan` says; by the one who is operator and approver.
    pub(crate) async fn request(
        &self,
        kind: &str,
        plan: &Plan,
        stopped: &[NodeId],
    ) -> Result<ActionView> {
        let path = format!("/api/v1/clusters/{}/actions", self.cluster);
        let body = json!({
            "kind": kind,
            "plan_digest": plan.digest,
            "confirm": self.cluster,
            "reason": "two hosts lost power",
            "attestations": attested(stopped),
        });
        post(&self.both, &path, body).await
    }

    /// `POST /api/v1/actions/{id}/{verb}`.
    pub(crate) async fn act(
        &self,
        who: &Api,
        action: &ActionView,
        verb: &str,
    ) -> Result<ActionView> {
        let path = format!("/api/v1/actions/{}/{verb}", action.action.id);
        post(who, &path, json!({})).await
    }

    /// The same, refused.
    pub(crate) async fn refusal(
        &self,
        who: &Api,
        action: &ActionView,
        verb: &str,
    ) -> Result<Problem> {
        let path = format!("/api/v1/actions/{}/{verb}", action.action.id);
        let answer = who
            .request(Method::POST, &path)
            .json(&json!({}))
            .send()
            .await?;
        problem(answer).await
    }

    /// The action as it is now.
    pub(crate) async fn action(&self, action: &ActionView) -> Result<ActionView> {
        let path = format!("/api/v1/actions/{}", action.action.id);
        self.operator.get(&path).await
    }

    /// The action once it has ended.
    pub(crate) async fn ended(&self, action: &ActionView) -> Result<ActionView> {
        eventually("the action to end", LONG * 2, async || {
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

    /// The whole audit trail, oldest entry first.
    pub(crate) async fn trail(&self) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
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
}

fn attested(stopped: &[NodeId]) -> Vec<Attestation> {
    let attest = |node: &NodeId| Attestation {
        node: node.clone(),
        statement: Statement::Stopped,
        saved_state: None,
    };
    stopped.iter().map(attest).collect()
}

async fn post<T: DeserializeOwned>(who: &Api, path: &str, body: Value) -> Result<T> {
    let answer = who.request(Method::POST, path).json(&body).send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "POST {path}: {status}: {text}");
    serde_json::from_str(&text).with_context(|| text.clone())
}
