//! etcd dies and returns: one member, all members, while nodes start, run, are added and recover. The databases go on.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;

use crate::stack::{Storage, until};
use crate::stage::{Stage, Theatre, say};

const MEMBERS: [&str; 3] = ["etcd1", "etcd2", "etcd3"];
/// How long all members are away: longer than any registration lives.
const AWAY: Duration = Duration::from_secs(25);

pub(super) async fn play(theatre: &Theatre, random: &mut StdRng) -> Result<()> {
    theatre
        .play(Storage::Persistent, &[], async |stage| {
            starting(stage, random).await.context("while nodes start")?;
            running(stage, random).await.context("while nodes run")?;
            growing(stage).await.context("while a node is added")?;
            recovering(stage, random)
                .await
                .context("while nodes recover")
        })
        .await
}

/// Members die while the nodes are settling who founds the cluster.
async fn starting(stage: &Stage, random: &mut StdRng) -> Result<()> {
    let patience = Duration::from_secs(60);
    until("a founder", patience, async || {
        let founder = stage.stack.registered("founder").await?;
        founder.context("there is none yet").map(drop)
    })
    .await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    say(&format!(
        "killing {one}, then all members, while the nodes join"
    ));
    stage.stack.kill_etcd(&[one]).await?;
    stage.stack.kill_etcd(&MEMBERS).await?;
    stage.whole(3).await.map(drop)
}

/// The database does not notice that etcd is gone.
async fn running(stage: &Stage, random: &mut StdRng) -> Result<()> {
    let load = stage.load().await?;
    let one = MEMBERS[random.random_range(0..MEMBERS.len())];
    say(&format!("killing {one}"));
    stage.stack.kill_etcd(&[one]).await?;
    stage.written(&load, 100).await?;
    away(stage).await?;
    say(&format!("all members are away for {} s", AWAY.as_secs()));
    stage
        .meanwhile(AWAY, || {
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
    stage.written(&load, 100).await?;
    stage.stack.keep_etcd(&MEMBERS, true).await?;
    registered_again(stage, 3).await?;
    stage.whole(3).await?;
    stage.check(&load).await
}

/// A node that cannot ask the registry does nothing until it can.
async fn growing(stage: &Stage) -> Result<()> {
    let load = stage.load().await?;
    away(stage).await?;
    say("adding a node while all members are away");
    stage.stack.scale(&[("node", 4)]).await?;
    let patience = Duration::from_secs(60);
    stage.stack.await_containers("node", 4, patience).await?;
    stage
        .meanwhile(Duration::from_secs(15), || {
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
    stage.stack.keep_etcd(&MEMBERS, true).await?;
    stage.whole(4).await?;
    stage.check(&load).await
}

/// Nodes and registry die together; the registry dies again while they recover.
async fn recovering(stage: &Stage, random: &mut StdRng) -> Result<()> {
    let load = stage.load().await?;
    say("killing all nodes and all members at once");
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
    say(&format!("killed {one} again while the nodes recover"));
    stage.whole(nodes.len()).await?;
    stage.check(&load).await
}

async fn away(stage: &Stage) -> Result<()> {
    stage.stack.kill_etcd(&MEMBERS).await?;
    stage.stack.keep_etcd(&MEMBERS, false).await?;
    for member in MEMBERS {
        let patience = Duration::from_secs(60);
        stage.stack.await_containers(member, 0, patience).await?;
    }
    Ok(())
}

/// Waits until `count` nodes have their registrations back.
async fn registered_again(stage: &Stage, count: usize) -> Result<()> {
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
