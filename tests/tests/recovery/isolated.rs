//! Running nodes that cannot reach each other, at different positions: recovery starts from the most advanced, and not
//! at all if they reconnect first.

use std::time::Duration;

use acceptance::lab::console::{ConsoleSettings, LabConsole};
use acceptance::lab::node::GaleraNode;
use acceptance::recovery_team::RecoveryTeam;
use acceptance::{Lab, eventually};
use anyhow::{Context, Result, ensure};
use galera::record::audit::AuditEvent;
use galera::recover::action::{Action, ActionState};
use galera::recover::plan::Plan;
use mysql_async::prelude::Queryable;

use crate::views::PATIENCE;

/// How long the group may take to give up those who are silent, on a busy machine.
const SPLIT_TIMEOUT: Duration = Duration::from_secs(120);
/// Rows that n1 misses.
const MISSED: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn three_isolated_nodes_recover_from_the_most_advanced_unless_they_heal() -> Result<()> {
    let lab = Lab::builder().start().await?;
    let console = lab.console().await?;
    let twin = LabConsole::start(ConsoleSettings {
        listen: None,
        users: Vec::new(),
        directory: console.settings().directory.with_extension("twin"),
        ..console.settings().clone()
    })
    .await?;
    let team = RecoveryTeam::sign_in(&console).await?;
    let others = team.at_replica(&twin)?;
    let mut app = lab.node(1).app().await?;
    app.query_drop("CREATE TABLE kept (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY)")
        .await?;
    drop(app);

    let ahead = isolate(&lab).await?;
    let action = team
        .request_unhealed("bootstrap", |plan| ensure_expected_plan(&lab, plan, ahead))
        .await?;
    heal(&lab).await?;
    lab.galera().wait_until_synced().await?;
    team.act(&team.approver, &action, "approve").await?;
    team.wait_for_superseded(&action).await?;

    let ahead = isolate(&lab).await?;
    request_concurrently(&team, &others, |plan| {
        ensure_expected_plan(&lab, plan, ahead)
    })
    .await?;
    lab.node(2).wait_until_synced().await?;
    heal(&lab).await?;
    lab.galera().wait_until_synced().await?;
    for node in lab.nodes() {
        ensure!(
            rows(node).await? == MISSED * 2,
            "rows are lost at {}",
            node.id()
        );
    }
    Ok(())
}

/// Isolates n1 first, so that it misses what the others write, and then those from each other. Returns the position of
/// the most advanced.
async fn isolate(lab: &Lab) -> Result<u64> {
    lab.node(1).isolate(true).await?;
    wait_for_cluster_status(lab.node(1), "non-Primary").await?;
    eventually("the others to go on", SPLIT_TIMEOUT, async || {
        let size = lab.node(2).wsrep().await?.remove("wsrep_cluster_size");
        ensure!(size.as_deref() == Some("2"), "they see {size:?}");
        Ok(())
    })
    .await?;
    let mut app = lab.node(3).app().await?;
    for _ in 0..MISSED {
        app.query_drop("INSERT INTO kept VALUES ()").await?;
    }
    drop(app);
    let (two, three) = tokio::join!(lab.node(2).isolate(true), lab.node(3).isolate(true));
    two.and(three)?;
    for number in [2, 3] {
        wait_for_cluster_status(lab.node(number), "non-Primary").await?;
    }
    let positions = futures::future::try_join_all(lab.nodes().iter().map(position)).await?;
    ensure!(
        positions[0] + MISSED <= positions[1] && positions[1] == positions[2],
        "{positions:?}"
    );
    Ok(positions[1])
}

async fn heal(lab: &Lab) -> Result<()> {
    let orders = lab.nodes().iter().map(|node| node.isolate(false));
    futures::future::try_join_all(orders).await.map(drop)
}

/// The plan starts from n2, which is level with n3 and precedes it by name, and leaves n1 behind.
fn ensure_expected_plan(lab: &Lab, plan: &Plan, ahead: u64) -> Result<()> {
    let target = plan.target.as_ref().context("no target")?;
    let position = target.position.as_ref().map(|position| position.seqno);
    ensure!(
        target.node.as_ref() == Some(lab.node(2).id())
            && target.members == [lab.node(2).id().clone()],
        "{target:?}"
    );
    ensure!(position == Some(ahead), "{target:?}");
    ensure!(plan.loss.transactions == Some(0), "{:?}", plan.loss);
    Ok(())
}

/// Two operators request at two replicas in the same moment, and two approvers approve: one action, one statement.
async fn request_concurrently(
    team: &RecoveryTeam,
    others: &RecoveryTeam,
    right: impl Fn(&Plan) -> Result<()>,
) -> Result<()> {
    // As in RecoveryTeam::request_unhealed: both may be refused while the target tries to reconnect.
    let (action, refused) = eventually("one of two requests to be taken", PATIENCE, async || {
        let plan = team.executable_plan_unhealed("bootstrap").await?;
        right(&plan)?;
        let same = others.executable_plan_unhealed("bootstrap").await?;
        ensure!(plan.digest == same.digest, "replicas plan differently");
        let requests = tokio::join!(
            team.request("bootstrap", &plan, &[]),
            others.request("bootstrap", &same, &[]),
        );
        match requests {
            (Ok(action), Err(refused)) | (Err(refused), Ok(action)) => Ok((action, refused)),
            (Ok(_), Ok(_)) => panic!("two requests became actions"),
            (Err(one), Err(other)) => Err(one.context(format!("{other:#}"))),
        }
    })
    .await?;
    ensure!(format!("{refused:#}").contains("409"), "{refused:#}");
    let (one, other) = tokio::join!(
        team.act(&team.approver, &action, "approve"),
        others.act(&others.approver, &action, "approve"),
    );
    ensure!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
    let ended: Action = others.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    let recorded = team.audit_events(&action).await?;
    for event in [
        AuditEvent::ACTION_APPROVED,
        AuditEvent::ACTION_BEGAN,
        AuditEvent::ACTION_STEP,
        AuditEvent::ACTION_ENDED,
    ] {
        let times = recorded.iter().filter(|one| **one == event).count();
        ensure!(times == 1, "{event} {times} times: {recorded:?}");
    }
    Ok(())
}

async fn wait_for_cluster_status(node: &GaleraNode, status: &str) -> Result<()> {
    eventually(
        &format!("{} to be {status}", node.name()),
        SPLIT_TIMEOUT,
        async || {
            let reported = node.wsrep().await?.remove("wsrep_cluster_status");
            ensure!(
                reported.as_deref() == Some(status),
                "it reports {reported:?}"
            );
            Ok(())
        },
    )
    .await
}

async fn position(node: &GaleraNode) -> Result<u64> {
    let reported = node.wsrep().await?.remove("wsrep_last_committed");
    Ok(reported.context("no position")?.parse()?)
}

async fn rows(node: &GaleraNode) -> Result<u64> {
    eventually("the rows", PATIENCE, async || {
        let mut app = node.app().await?;
        app.query_drop("SET SESSION wsrep_sync_wait = 1").await?;
        let count: Option<u64> = app.query_first("SELECT COUNT(*) FROM kept").await?;
        count.context("no count")
    })
    .await
}
