//! All stopped cleanly, in turn, and started together; then the registry is wiped while nodes run.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::scenario_context::{ScenarioContext, ScenarioRunner, print_event};
use crate::stack::NodeStorage;

pub(super) async fn run(runner: &ScenarioRunner) -> Result<()> {
    runner
        .run(NodeStorage::Persistent, &[], async |context| {
            context.wait_until_synced(3).await?;
            stop_in_turn(context).await.context("all stopped in turn")?;
            wipe_registry(context).await.context("the registry wiped")
        })
        .await
}

async fn stop_in_turn(context: &ScenarioContext) -> Result<()> {
    let load = context.start_load().await?;
    for count in [2, 1] {
        context.stack.scale(&[("node", count)]).await?;
        context.wait_until_synced(count).await?;
        context.wait_for_rows(&load, 50).await?;
    }
    print_event("stopping the last node");
    context.stack.scale(&[("node", 0)]).await?;
    let patience = Duration::from_secs(120);
    context.stack.await_containers("node", 0, patience).await?;
    print_event("starting all three nodes together");
    context.stack.scale(&[("node", 3)]).await?;
    context.wait_until_synced(3).await?;
    context.check_rows(&load).await
}

/// A node that starts while the registry is empty must not take that for a new cluster.
async fn wipe_registry(context: &ScenarioContext) -> Result<()> {
    let load = context.start_load().await?;
    for count in [4, 5] {
        print_event("wiping the registry and starting another node");
        context.stack.wipe_registry().await?;
        context.stack.scale(&[("node", count)]).await?;
        context.wait_until_synced(count).await?;
    }
    context.wait_for_rows(&load, 100).await?;
    context.check_rows(&load).await
}
