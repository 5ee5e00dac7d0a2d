//! All stopped cleanly, in turn, and started together; then the registry is wiped while nodes run.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::scenario_context::{ScenarioContext, ScenarioRunner, print_event};
use crate::stack::NodeStorage;

pub(super) async fn run(theatre: &ScenarioRunner) -> Result<()> {
    theatre
        .run(NodeStorage::Persistent, &[], async |stage| {
            stage.wait_until_synced(3).await?;
            stop_in_turn(stage).await.context("all stopped in turn")?;
            wipe_registry(stage).await.context("the registry wiped")
        })
        .await
}

async fn stop_in_turn(stage: &ScenarioContext) -> Result<()> {
    let load = stage.start_load().await?;
    for count in [2, 1] {
        stage.stack.scale(&[("node", count)]).await?;
        stage.wait_until_synced(count).await?;
        stage.wait_for_rows(&load, 50).await?;
    }
    print_event("stopping the last node");
    stage.stack.scale(&[("node", 0)]).await?;
    let patience = Duration::from_secs(120);
    stage.stack.await_containers("node", 0, patience).await?;
    print_event("starting all three nodes together");
    stage.stack.scale(&[("node", 3)]).await?;
    stage.wait_until_synced(3).await?;
    stage.check_rows(&load).await
}

/// A node that starts while the registry is empty must not take that for a new cluster.
async fn wipe_registry(stage: &ScenarioContext) -> Result<()> {
    let load = stage.start_load().await?;
    for count in [4, 5] {
        print_event("wiping the registry and starting another node");
        stage.stack.wipe_registry().await?;
        stage.stack.scale(&[("node", count)]).await?;
        stage.wait_until_synced(count).await?;
    }
    stage.wait_for_rows(&load, 100).await?;
    stage.check_rows(&load).await
}
