//! etcd dies and returns: one member, all members, while nodes start, run, are added and recover. The databases keep
//! running.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;

use crate::scenario_context::{ScenarioContext, ScenarioRunner, print_event};
use crate::stack::{NodeStorage, until};

const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "etcd3"];
/// How long all members are away: longer than any registration lives.
const AWAY: Duration = Duration::from_secs(25);

pub(super) async fn run(theatre: &ScenarioRunner, random: &mut StdRng) -> Result<()> {
    theatre
        .run(NodeStorage::Persistent, &[], async |stage| {
            members_die_while_starting(stage, random)
                .await
                .context("while nodes start")?;
            members_die_while_running(stage, random)
                .await
                .context("while nodes run")?;
            members_die_while_growing(stage)
                .await
                .context("while a node is added")?;
            members_die_while_recovering(stage, random)
                .await
                .context("while nodes recover")
        })
        .await
}

/// Members die while the nodes are settling who founds the cluster.
async fn members_die_while_starting(stage: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let patience = Duration::from_secs(60);
    until("a founder", patience, async || {
        let founder = stage.stack.registry_value("founder").await?;
        founder.context("no founder yet").map(drop)
    })
    .await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    print_event(&format!(
        "killing {one}, then all members, while the nodes join"
    ));
    stage.stack.kill_etcd(&[one]).await?;
    stage.stack.kill_etcd(&MEMBERS).await?;
    stage.wait_until_synced(3).await.map(drop)
}

/// The database is unaffected by an etcd outage.
async fn members_die_while_running(stage: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let load = stage.start_load().await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    print_event(&format!("killing {one}"));
    stage.stack.kill_etcd(&[one]).await?;
    stage.wait_for_rows(&load, 100).await?;
    without_etcd(stage).await?;
    print_event(&format!("stopping all members for {} s", AWAY.as_secs()));
    stage
        .check_for(AWAY, || {
            let primary = stage.observer.nodes().iter().all(|(_, answer)| {
                answer
                    .as_ref()
                    .is_none_or(|answer| answer.primary.is_some())
            });
            ensure!(primary, "a node is no longer Primary");
            ensure!(stage.nodes().len() == 3, "a node has gone");
            Ok(())
        })
        .await?;
    stage.wait_for_rows(&load, 100).await?;
    stage.stack.set_etcd_running(&MEMBERS, true).await?;
    registered_again(stage, 3).await?;
    stage.wait_until_synced(3).await?;
    stage.check_rows(&load).await
}

/// A node that cannot reach the registry waits until it can.
async fn members_die_while_growing(stage: &ScenarioContext) -> Result<()> {
    let load = stage.start_load().await?;
    without_etcd(stage).await?;
    print_event("adding a node while all members are stopped");
    stage.stack.scale(&[("node", 4)]).await?;
    let patience = Duration::from_secs(60);
    stage.stack.await_containers("node", 4, patience).await?;
    stage
        .check_for(Duration::from_secs(15), || {
            let nodes = stage.observer.nodes();
            let primary = nodes.iter().filter(|(_, answer)| {
                answer
                    .as_ref()
                    .is_some_and(|answer| answer.primary.is_some())
            });
            ensure!(primary.count() <= 3, "the new node did not wait");
            Ok(())
        })
        .await?;
    stage.stack.set_etcd_running(&MEMBERS, true).await?;
    stage.wait_until_synced(4).await?;
    stage.check_rows(&load).await
}

/// Nodes and registry die together; the registry dies again while they recover.
async fn members_die_while_recovering(stage: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let load = stage.start_load().await?;
    print_event("killing all nodes and all members together");
    let nodes = stage.nodes();
    tokio::try_join!(stage.kill(&nodes), stage.stack.kill_etcd(&MEMBERS))?;
    let patience = Duration::from_secs(60);
    stage
        .stack
        .await_containers("node", nodes.len(), patience)
        .await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    let patience = Duration::from_secs(30);
    until("all members to be back", patience, async || {
        stage.stack.kill_etcd(&[one]).await
    })
    .await?;
    print_event(&format!("killed {one} again while the nodes recover"));
    stage.wait_until_synced(nodes.len()).await?;
    stage.check_rows(&load).await
}

async fn without_etcd(stage: &ScenarioContext) -> Result<()> {
    stage.stack.kill_etcd(&MEMBERS).await?;
    stage.stack.set_etcd_running(&MEMBERS, false).await?;
    for member in MEMBERS {
        let patience = Duration::from_secs(60);
        stage.stack.await_containers(member, 0, patience).await?;
    }
    Ok(())
}

/// Waits until `count` nodes have their registrations back.
async fn registered_again(stage: &ScenarioContext, count: usize) -> Result<()> {
    until(
        "all nodes to be registered again",
        Duration::from_secs(60),
        async || {
            let keys = stage
                .stack
                .etcdctl("get --prefix --keys-only /galera/")
                .await?;
            let synced = keys
                .lines()
                .filter(|key| key.ends_with("/wsrep_local_state_comment"))
                .count();
            ensure!(synced == count, "{synced} are");
            Ok(())
        },
    )
    .await
}
