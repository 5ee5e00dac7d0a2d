//! Nodes die by SIGKILL: one of them, all of them together, all of them while one does not return.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::Rng;
use rand::rngs::StdRng;

use crate::docker::{self, Container};
use crate::scenario_context::{SYNC_TIMEOUT, ScenarioContext, ScenarioRunner, print_event};
use crate::stack::{NodeStorage, until};

/// How long the other nodes must wait for the missing one.
const AWAY: Duration = Duration::from_secs(30);

pub(super) async fn run(runner: &ScenarioRunner, random: &mut StdRng) -> Result<()> {
    runner
        .run(NodeStorage::Persistent, &[], async |context| {
            context.wait_until_synced(3).await?;
            kill_one(context, random).await.context("one killed")?;
            kill_all(context).await.context("all killed")?;
            all_but_one_return(context)
                .await
                .context("all killed, one kept away")
        })
        .await
}

/// A killed node is replaced and joins again.
async fn kill_one(context: &ScenarioContext, random: &mut StdRng) -> Result<()> {
    let load = context.start_load().await?;
    let nodes = context.nodes();
    let victim = &nodes[random.random_range(0..nodes.len())];
    print_event(&format!("killing {}", victim.task));
    context.kill(std::slice::from_ref(victim)).await?;
    context.wait_until_synced(3).await?;
    context.wait_for_rows(&load, 100).await?;
    context.check_rows(&load).await
}

/// The most advanced one goes first, the others join it.
async fn kill_all(context: &ScenarioContext) -> Result<()> {
    let load = context.start_load().await?;
    print_event("killing all three nodes");
    context.kill(&context.nodes()).await?;
    context.wait_until_synced(3).await?;
    context.check_rows(&load).await
}

/// The returning nodes wait, and name the missing one, until it is back.
async fn all_but_one_return(context: &ScenarioContext) -> Result<()> {
    let load = context.start_load().await?;
    let before = context.nodes();
    print_event("killing all three nodes; one does not return");
    // Together, because Swarm restarts killed tasks after some seconds.
    tokio::try_join!(context.kill(&before), context.stack.scale(&[("node", 2)]))?;
    let two = context
        .stack
        .await_containers("node", 2, SYNC_TIMEOUT)
        .await?;
    let gone = before
        .iter()
        .find(|node| two.iter().all(|other| other.slot() != node.slot()));
    let absent = gone.context("no node is missing")?.address.to_string();
    for node in &two {
        waits_for(node, &absent).await?;
    }
    print_event(&format!("both report that they wait for {absent}"));
    context
        .check_for(AWAY, || {
            let nodes = context.observer.nodes();
            let primary = nodes.iter().find(|(_, answer)| {
                answer
                    .as_ref()
                    .is_some_and(|answer| answer.primary.is_some())
            });
            match primary {
                Some((node, _)) => anyhow::bail!("{} continued without {absent}", node.task),
                None => Ok(()),
            }
        })
        .await?;
    context.stack.scale(&[("node", 3)]).await?;
    context.wait_until_synced(3).await?;
    context.check_rows(&load).await
}

async fn waits_for(node: &Container, absent: &str) -> Result<()> {
    let what = format!("{} to report that it waits for {absent}", node.task);
    until(&what, Duration::from_secs(90), async || {
        let text = docker::logs(&node.id, 200).await?;
        let output = text
            .lines()
            .any(|line| line.to_lowercase().contains("wait") && line.contains(absent));
        ensure!(output, "it does not");
        Ok(())
    })
    .await
}
