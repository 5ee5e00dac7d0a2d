//! What the console cannot see: a Primary component behind a broken network, and the answer to its own statement.

use std::cell::Cell;
use std::time::Duration;

use acceptance::lab::node::GaleraNode;
use acceptance::recovery_team::{RecoveryTeam, attest_stopped};
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use galera::NodeId;
use galera::record::audit::AuditEvent;
use galera::recover::action::{ActionState, StepState};
use galera::recover::plan::{CheckCode, CheckStatus, Plan};
use galera::view::{ReasonCode, VerdictState};

/// Longest wait for views and registrations to settle.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_primary_is_inferred_and_a_lost_reply_is_resolved() -> Result<()> {
    let lab = Lab::builder().sql_proxies().agents(true).start().await?;
    let console = lab.console().await?;
    let team = RecoveryTeam::sign_in(&console).await?;
    let unseen = [lab.node(2).id().clone(), lab.node(3).id().clone()];

    check_unreachable_primary(&lab, &team, &unseen).await?;
    lab.node(1).isolate(false).await?;
    lab.galera().wait_until_synced().await?;
    for number in [2, 3] {
        sql_proxy(lab.node(number))?.pass();
        lab.agent(number).ensure_running()?;
    }
    check_lost_reply(&lab, &team, &unseen).await
}

/// n2 and n3 are Primary, and the console reaches neither; n1, which it reaches, is not.
async fn check_unreachable_primary(
    lab: &Lab,
    team: &RecoveryTeam,
    unseen: &[NodeId],
) -> Result<()> {
    for number in [2, 3] {
        sql_proxy(lab.node(number))?.blackhole();
    }
    lab.node(1).isolate(true).await?;
    // No other evidence is needed: declaring them stopped is contradicted by the registry.
    for declared in [&[][..], unseen] {
        let plan = wait_for_refused_plan(team, declared, |plan| {
            check_mentions(
                plan,
                &CheckCode::NOBODY_PRIMARY,
                "the live registration reports Primary",
            )
        })
        .await?;
        let refusal = team
            .request_refused("bootstrap", &plan, &attest_stopped(declared))
            .await?;
        ensure!(refusal.status == 422, "{refusal:?}");
    }
    // Without an agent's report they are merely unaccounted for, not down.
    for number in [2, 3] {
        lab.agent(number).kill();
    }
    let plan = wait_for_refused_plan(team, &[], |plan| {
        check_passes(plan, &CheckCode::NOBODY_PRIMARY)
            && check_mentions(
                plan,
                &CheckCode::MEMBERS_ACCOUNTED,
                "may still be Primary, unreachable from the console",
            )
    })
    .await?;
    let refusal = team.request_refused("bootstrap", &plan, &[]).await?;
    ensure!(refusal.status == 422, "{refusal:?}");
    // They serve, out of sight: that is no outage (I43).
    eventually("a verdict without agents", SETTLE_TIMEOUT, async || {
        let verdict = team.operator.cluster(lab.cluster()).await?.verdict;
        ensure!(verdict.state == VerdictState::Unknown, "{verdict:#?}");
        let reason = verdict
            .reasons
            .iter()
            .find(|reason| reason.code == ReasonCode::NoPrimaryInSight);
        let message = &reason.with_context(|| format!("{verdict:#?}"))?.message;
        ensure!(
            unseen.iter().all(|id| message.contains(&id.to_string()))
                && message.contains("unreachable members hold 2 of 3 votes"),
            "{message}"
        );
        Ok(())
    })
    .await?;
    for number in [2, 3] {
        let status = lab.node(number).wsrep().await?;
        ensure!(status["wsrep_cluster_status"] == "Primary", "{status:?}");
    }
    Ok(())
}

/// The plan once the views are stable and it reports what is expected; it must never be executable.
async fn wait_for_refused_plan(
    team: &RecoveryTeam,
    declared: &[NodeId],
    expected: impl Fn(&Plan) -> bool,
) -> Result<Plan> {
    let offered = Cell::new(false);
    let plan = eventually("the plan to explain why not", SETTLE_TIMEOUT, async || {
        let plan = team.plan("bootstrap", &attest_stopped(declared)).await?;
        offered.set(offered.get() || plan.executable);
        let settled = check_passes(&plan, &CheckCode::SETTLED);
        ensure!(settled && expected(&plan), "{:#?}", plan.checks);
        Ok(plan)
    })
    .await?;
    ensure!(!offered.get(), "it was offered in the meantime");
    Ok(plan)
}

/// The statement reaches the database and is executed; the response is lost.
async fn check_lost_reply(lab: &Lab, team: &RecoveryTeam, lost: &[NodeId]) -> Result<()> {
    lab.node(2).kill();
    lab.node(3).kill();
    sql_proxy(lab.node(1))?.drop_replies_after("pc.bootstrap");
    let declared = attest_stopped(lost);
    let plan = team
        .executable_plan_within(SETTLE_TIMEOUT, "bootstrap", &declared)
        .await?;
    let action = team.request("bootstrap", &plan, &declared).await?;
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    let step = ended.steps.first().context("no step")?;
    ensure!(step.state == StepState::Unknown, "{step:?}");
    let answer = step.answer.as_deref().unwrap_or_default();
    ensure!(answer.contains("no answer"), "{answer:?}");
    let recorded = team.audit_events(&action).await?;
    let sent = recorded
        .iter()
        .filter(|event| **event == AuditEvent::ACTION_STEP)
        .count();
    ensure!(sent == 1, "{recorded:?}");
    lab.node(1).wait_until_synced().await
}

fn sql_proxy(node: &GaleraNode) -> Result<&acceptance::proxy::ChaosProxy> {
    node.sql_proxy().context("the lab has no doors")
}

fn check_passes(plan: &Plan, code: &CheckCode) -> bool {
    let check = plan.check(code);
    check.is_some_and(|check| check.status == CheckStatus::Pass)
}

fn check_mentions(plan: &Plan, code: &CheckCode, words: &str) -> bool {
    let check = plan.check(code);
    check.is_some_and(|check| !check.status.permits() && check.message.contains(words))
}
