//! Clean-up while a container starts: nothing that it may be using is removed, and it founds nothing.

use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab};
use acceptance::observer::ClusterObserver;
use acceptance::recovery_team::RecoveryTeam;
use anyhow::{Context, Result, ensure};
use galera::recover::action::ActionState;
use galera::recover::plan::{CheckCode, CheckStatus};

/// Longest wait for nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(180);
/// A registration must be without any sign of life for 90 s.
const STALE_TIMEOUT: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn i27_nothing_is_cleaned_while_a_container_starts_and_it_joins() -> Result<()> {
    let lab = HomogeneousLab::prepare(4).await?;
    let observer = ClusterObserver::start(lab.observed_nodes("console"))?;
    for number in [1, 2, 3] {
        lab.node(number).start()?;
    }
    lab.wait_until_synced(&[1, 2, 3], FORMATION_TIMEOUT).await?;
    let console = LabConsole::start(lab.console_settings()).await?;
    let team = RecoveryTeam::sign_in_for(&console, CLUSTER).await?;
    let gone = lab.node(3).id()?.to_string();
    let founder = lab.keys().await?.remove("founder");
    lab.node(3).kill().await?;

    let plan = team
        .executable_plan_within(STALE_TIMEOUT, "cleanup", &[])
        .await?;
    let target = plan.target.as_ref().context("no target")?;
    ensure!(target.removes.len() == 1, "{target:?}");
    let waiting = team.request("cleanup", &plan, &[]).await?;
    lab.node(4).start()?;
    let phase = format!("{}/phase", lab.node(4).id()?);
    eventually("the container to be known", FORMATION_TIMEOUT, async || {
        lab.keys().await?.remove(&phase).context("it is not")
    })
    .await?;
    team.act(&team.approver, &waiting, "approve").await?;
    let ended = team.wait_for_end(&waiting).await?.action;
    ensure!(ended.state == ActionState::Superseded, "{ended:#?}");
    ensure!(!ended.may_have_acted(), "{:?}", ended.steps);
    let plan = team.plan("cleanup", &[]).await?;
    let starting = plan.check(&CheckCode::NOBODY_STARTING);
    let joined = lab.keys().await?.remove(&phase).as_deref() == Some("running");
    ensure!(
        joined || starting.is_some_and(|check| check.status == CheckStatus::Fail),
        "{starting:?}"
    );
    lab.wait_until_synced(&[1, 2, 4], FORMATION_TIMEOUT).await?;
    ensure!(
        lab.node(4).count_log_lines("as the first member") == 0,
        "it founded"
    );
    let registered = lab.keys().await?;
    ensure!(registered.contains_key(&format!("{gone}/registered")));

    // All nodes are back: now the stale registration is removed, and nothing else.
    let plan = team
        .executable_plan_within(STALE_TIMEOUT, "cleanup", &[])
        .await?;
    let action = team.request("cleanup", &plan, &[]).await?;
    team.act(&team.approver, &action, "approve").await?;
    let ended = team.wait_for_end(&action).await?.action;
    ensure!(ended.state == ActionState::Succeeded, "{ended:#?}");
    let keys = lab.keys().await?;
    let left: Vec<_> = keys.keys().filter(|key| key.starts_with(&gone)).collect();
    ensure!(left.is_empty(), "{left:?}");
    for number in [1, 2, 4] {
        let key = format!("{}/registered", lab.node(number).id()?);
        ensure!(keys.contains_key(&key), "{key} is gone, too");
    }

    // The removed node rejoins with its data.
    lab.node(3).start()?;
    lab.wait_until_synced(&[1, 2, 3, 4], FORMATION_TIMEOUT)
        .await?;
    ensure!(
        lab.keys().await?.remove("founder") == founder,
        "another founder"
    );
    observer.verify().map(drop)
}
