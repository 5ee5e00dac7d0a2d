//! Recovery with approval: requested by one person, approved by another, done once, verified, recorded.

mod full_server;
mod isolated;
mod late_statement;
mod starting;
mod unseen;

use std::time::Instant;

use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab};
use acceptance::recovery_team::{RecoveryTeam, attest_stopped};
use anyhow::{Context, Result, ensure};
use galera::publish::api::LiveMessage;
use galera::record::audit::AuditEvent;
use galera::recover::action::ActionState;
use galera::recover::plan::{CheckCode, CheckStatus, Mechanism};
use galera::view::{NodeState, ReasonCode, VerdictState};

use crate::shared;
use crate::views::{self, PATIENCE};

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_killed_are_recovered_by_two_people() -> Result<()> {
    let lab = shared::lab().await?;
    let team = RecoveryTeam::sign_in(&lab.console).await?;
    let mut live = lab.live().await?;
    let healthy = team.plan("bootstrap", &[]).await?;
    ensure!(!healthy.executable, "{}", healthy.summary);
    ensure!(
        healthy.summary.starts_with("Nothing to recover"),
        "{}",
        healthy.summary
    );

    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    live.wait_for("no_primary", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::NoPrimary)
    })
    .await?;
    let lost = attest_stopped(&[lab.lab.node(2).id().clone(), lab.lab.node(3).id().clone()]);
    let plan = team.executable_plan("bootstrap", &lost).await?;
    let action = team.request("bootstrap", &plan, &lost).await?;
    ensure!(
        action.action.state == ActionState::Pending,
        "{:?}",
        action.action
    );
    let own = team
        .act_refused(&team.requester, &action, "approve")
        .await?;
    ensure!(own.code == "own_request" && own.status == 403, "{own:?}");

    let mut news = team.operator.live().await?;
    news.subscribe(&["actions"]).await?;
    let began = Instant::now();
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?;
    ensure!(
        ended.action.state == ActionState::Succeeded,
        "{:#?}",
        ended.action
    );
    println!("approved to proven: {} ms", began.elapsed().as_millis());
    loop {
        let LiveMessage::Action { action: recorded } = news.next(PATIENCE).await? else {
            continue;
        };
        if recorded.action.id == action.action.id && recorded.action.state == ActionState::Succeeded
        {
            break;
        }
    }
    let survivor = lab.lab.node(1).id().clone();
    live.wait_for("Primary again", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Degraded)
            && views::state(view, &survivor) == Some(NodeState::Synced)
    })
    .await?;

    for number in [2, 3] {
        let node = lab.lab.node(number);
        let before = std::fs::read_to_string(node.log())?.len();
        node.start(acceptance::lab::node::NodeStart::Join).await?;
        let log = std::fs::read_to_string(node.log())?;
        let joined = log.get(before..).unwrap_or_default();
        ensure!(
            joined.contains("IST received"),
            "{} did not get what it missed by IST",
            node.id()
        );
    }
    live.wait_for("all three again", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Healthy)
    })
    .await?;
    let verified = lab.console.command(&["audit", "verify"]).await?;
    ensure!(verified.contains("the chain is intact"), "{verified}");
    let words = team.audit_events(&action).await?;
    ensure!(
        words
            == [
                AuditEvent::ACTION_REQUESTED,
                AuditEvent::ACTION_APPROVED,
                AuditEvent::ACTION_BEGAN,
                AuditEvent::ACTION_STEP,
                AuditEvent::ACTION_ANSWERED,
                AuditEvent::ACTION_ENDED,
            ],
        "{words:?}"
    );
    let after = team.act_refused(&team.approver, &action, "approve").await?;
    ensure!(
        after.code == "action_final" && after.status == 409,
        "{after:?}"
    );
    Ok(())
}

/// An account without SUPER, two concurrent replicas, and a cluster that is repaired manually while the request is
/// pending.
#[tokio::test(flavor = "multi_thread")]
async fn failed_and_unneeded_actions_are_reported_and_not_retried() -> Result<()> {
    let lab = shared::lab().await?;
    let mut live = lab.live().await?;
    let mut weak = lab.lab.console_settings();
    weak.recovery = Some(("console".to_owned(), weak.mysql_password.clone()));
    let mut twin = lab.console.settings().clone();
    twin.listen = None;
    twin.directory = weak.directory.with_extension("twin");
    let (weak, twin) = (LabConsole::start(weak).await?, LabConsole::prepare(twin)?);
    twin.launch()?;
    twin.wait_until_ready().await?;
    let team = RecoveryTeam::sign_in(&lab.console).await?;
    let others = RecoveryTeam::sign_in(&twin).await?;
    let helpless = RecoveryTeam::sign_in(&weak).await?;

    lab.lab.node(2).kill();
    lab.lab.node(3).kill();
    live.wait_for("no_primary", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::NoPrimary)
    })
    .await?;
    let lost = attest_stopped(&[lab.lab.node(2).id().clone(), lab.lab.node(3).id().clone()]);
    let plan = helpless.executable_plan("bootstrap", &lost).await?;
    let action = helpless.request("bootstrap", &plan, &lost).await?;
    helpless.act(&helpless.approver, &action, "approve").await?;
    let failed = helpless.wait_for_end(&action).await?.action;
    let outcome = failed.outcome.clone().unwrap_or_default();
    ensure!(failed.state == ActionState::Failed, "{failed:#?}");
    ensure!(
        outcome.contains("1227") && outcome.contains("SUPER"),
        "{outcome}"
    );

    let plan = team.executable_plan("bootstrap", &lost).await?;
    let same = others.executable_plan("bootstrap", &lost).await?;
    ensure!(plan.digest == same.digest, "replicas plan differently");
    let (one, other) = tokio::join!(
        team.request("bootstrap", &plan, &lost),
        others.request("bootstrap", &same, &lost),
    );
    let ((Ok(action), Err(refused)) | (Err(refused), Ok(action))) = (one, other) else {
        anyhow::bail!("not exactly one of two requests became an action");
    };
    ensure!(format!("{refused:#}").contains("409"), "{refused:#}");

    lab.lab.node(1).bootstrap().await?;
    live.wait_for("repaired by hand", PATIENCE, |view| {
        views::has_verdict(view, VerdictState::Degraded)
    })
    .await?;
    let (_, _) = tokio::join!(
        team.act(&team.approver, &action, "approve"),
        others.act(&others.approver, &action, "approve"),
    );
    others.wait_for_superseded(&action).await?;
    live.wait_for("the alarm of the bootstrap", PATIENCE, |view| {
        views::has_reason(view, ReasonCode::HistoryAlarm)
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_cluster_offers_no_plan_and_explains_why() -> Result<()> {
    let lab = shared::lab().await?;
    let team = RecoveryTeam::sign_in(&lab.console).await?;
    for kind in ["bootstrap", "cleanup", "decommission"] {
        let plan = team.plan(kind, &[]).await?;
        ensure!(!plan.executable, "{kind}: {}", plan.summary);
        ensure!(plan.failing().next().is_some(), "{kind}: {:?}", plan.checks);
    }
    let plan = team.plan("bootstrap", &[]).await?;
    let check = plan.check(&CheckCode::NOBODY_PRIMARY);
    ensure!(check.is_some_and(|check| check.status == CheckStatus::Fail));
    Ok(())
}

/// Everything is stopped by a crash; the order goes to the agent of the most advanced node, and the other one joins.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_cluster_starts_where_the_approved_order_says() -> Result<()> {
    let nodes = HomogeneousLab::prepare(3).await?.without_auto_bootstrap();
    for node in nodes.nodes() {
        node.start()?;
    }
    nodes.wait_until_synced(&[1, 2, 3], PATIENCE * 2).await?;
    let console = LabConsole::start(nodes.console_settings()).await?;
    let team = RecoveryTeam::sign_in_for(&console, CLUSTER).await?;
    nodes
        .node(3)
        .execute("CREATE TABLE mysql.missed (id INT PRIMARY KEY) ENGINE = InnoDB")
        .await?;
    nodes.wait_until_applied(&[1, 2, 3]).await?;
    // n1 misses what is written after it is killed. Rows, not DDL: a node killed during DDL has no position.
    nodes.node(1).kill().await?;
    nodes.wait_until_synced(&[2, 3], PATIENCE).await?;
    for row in 0..10 {
        let statement = format!("INSERT INTO mysql.missed VALUES ({row})");
        nodes.node(3).execute(&statement).await?;
    }
    let (two, three) = tokio::join!(nodes.node(2).kill(), nodes.node(3).kill());
    two.and(three)?;
    for node in nodes.nodes() {
        node.start()?;
    }
    let plan = team
        .executable_plan_within(PATIENCE, "bootstrap", &[])
        .await?;
    let target = plan.target.as_ref().context("no target")?;
    ensure!(target.mechanism == Mechanism::Order, "{target:?}");
    let mut positions = Vec::new();
    for node in nodes.nodes() {
        let key = format!("{}/recovered_position", node.id()?);
        let position = nodes.keys().await?.remove(&key).context("no position")?;
        positions.push(position.parse::<galera::Position>()?);
    }
    let best = positions.iter().map(|position| position.seqno).max();
    ensure!(Some(positions[0].seqno + 10) <= best, "{positions:?}");
    let chosen = target.position.as_ref().map(|position| position.seqno);
    ensure!(chosen == best, "{target:?}, of {positions:?}");
    let action = team.request("bootstrap", &plan, &[]).await?;
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    nodes.wait_until_synced(&[1, 2, 3], PATIENCE * 2).await?;
    let keys = nodes.keys().await?;
    ensure!(
        !keys.contains_key("bootstrap"),
        "the order still exists: {keys:?}"
    );
    Ok(())
}
