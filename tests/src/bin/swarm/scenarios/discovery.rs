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

pub(super) async fn run(runner: &ScenarioRunner, random: &mut StdRng) -> Result<()> {
    runner
        .run(NodeStorage::Persistent, &[], async |context| {
            members_die_while_starting(context, random)
                .await
                .context("while nodes start")?;
            members_die_while_running(context, random)
                .await
                .context("while nodes run")?;
            members_die_while_growing(context)
                .await
                .context("while a node is added")?;
            members_die_while_recovering(context, random)
                .await
                .context("while nodes recover")
        })
        .await
}

/// Members die while the nodes are settling who founds the cluster.
async fn members_die_while_starting(context: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let patience = Duration::from_secs(60);
    until("a founder", patience, async || {
        let founder = context.stack.registry_value("founder").await?;
        founder.context("no founder yet").map(drop)
    })
    .await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    print_event(&format!(
        "killing {one}, then all members, while the nodes join"
    ));
    context.stack.kill_etcd(&[one]).await?;
    context.stack.kill_etcd(&MEMBERS).await?;
    context.wait_until_synced(3).await.map(drop)
}

/// The database is unaffected by an etcd outage.
async fn members_die_while_running(context: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let load = context.start_load().await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    print_event(&format!("killing {one}"));
    context.stack.kill_etcd(&[one]).await?;
    context.wait_for_rows(&load, 100).await?;
    without_etcd(context).await?;
    print_event(&format!("stopping all members for {} s", AWAY.as_secs()));
    context
        .check_for(AWAY, || {
            let primary = context.observer.nodes().iter().all(|(_, answer)| {
                answer
                    .as_ref()
                    .is_none_or(|answer| answer.primary.is_some())
            });
            ensure!(primary, "a node is no longer Primary");
            ensure!(context.nodes().len() == 3, "a node has gone");
            Ok(())
        })
        .await?;
    context.wait_for_rows(&load, 100).await?;
    context.stack.set_etcd_running(&MEMBERS, true).await?;
    registered_again(context, 3).await?;
    context.wait_until_synced(3).await?;
    context.check_rows(&load).await
}

/// A node that cannot reach the registry waits until it can.
async fn members_die_while_growing(context: &ScenarioContext) -> Result<()> {
    let load = context.start_load().await?;
    without_etcd(context).await?;
    print_event("adding a node while all members are stopped");
    context.stack.scale(&[("node", 4)]).await?;
    let patience = Duration::from_secs(60);
    context.stack.await_containers("node", 4, patience).await?;
    context
        .check_for(Duration::from_secs(15), || {
            let nodes = context.observer.nodes();
            let primary = nodes.iter().filter(|(_, answer)| {
                answer
                    .as_ref()
                    .is_some_and(|answer| answer.primary.is_some())
            });
            ensure!(primary.count() <= 3, "the new node did not wait");
            Ok(())
        })
        .await?;
    context.stack.set_etcd_running(&MEMBERS, true).await?;
    context.wait_until_synced(4).await?;
    context.check_rows(&load).await
}

/// Nodes and registry die together; the registry dies again while they recover.
async fn members_die_while_recovering(
    context: &ScenarioContext,
    random: &mut StdRng,
) -> Result<()> {
    let load = context.start_load().await?;
    print_event("killing all nodes and all members together");
    let nodes = context.nodes();
    tokio::try_join!(context.kill(&nodes), context.stack.kill_etcd(&MEMBERS))?;
    let patience = Duration::from_secs(60);
    context
        .stack
        .await_containers("node", nodes.len(), patience)
        .await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    let patience = Duration::from_secs(30);
    until("all members to be back", patience, async || {
        context.stack.kill_etcd(&[one]).await
    })
    .await?;
    print_event(&format!("killed {one} again while the nodes recover"));
    context.wait_until_synced(nodes.len()).await?;
    context.check_rows(&load).await
}

async fn without_etcd(context: &ScenarioContext) -> Result<()> {
    context.stack.kill_etcd(&MEMBERS).await?;
    context.stack.set_etcd_running(&MEMBERS, false).await?;
    for member in MEMBERS {
        let patience = Duration::from_secs(60);
        context.stack.await_containers(member, 0, patience).await?;
    }
    Ok(())
}

/// Waits until `count` nodes have their registrations back.
async fn registered_again(context: &ScenarioContext, count: usize) -> Result<()> {
    until(
        "all nodes to be registered again",
        Duration::from_secs(60),
        async || {
            let keys = context
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
