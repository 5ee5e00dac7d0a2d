//! All stopped cleanly, one after the other, and started at once; then the registry wiped while nodes run.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::stack::Storage;
use crate::stage::{Stage, Theatre, say};

pub(super) async fn play(theatre: &Theatre) -> Result<()> {
    theatre
        .play(Storage::Persistent, &[], async |stage| {
            stage.whole(3).await?;
            in_turn(stage).await.context("all stopped in turn")?;
            wiped(stage).await.context("the registry wiped")
        })
        .await
}

async fn in_turn(stage: &Stage) -> Result<()> {
    let load = stage.load().await?;
    for count in [2, 1] {
        stage.stack.scale(&[("node", count)]).await?;
        stage.whole(count).await?;
        stage.written(&load, 50).await?;
    }
    say("stopping the last one");
    stage.stack.scale(&[("node", 0)]).await?;
    let patience = Duration::from_secs(120);
    stage.stack.await_containers("node", 0, patience).await?;
    say("starting all three at once");
    stage.stack.scale(&[("node", 3)]).await?;
    stage.whole(3).await?;
    stage.check(&load).await
}

/// Whoever starts while the registry is empty must not take that for a cluster that never was.
async fn wiped(stage: &Stage) -> Result<()> {
    let load = stage.load().await?;
    for count in [4, 5] {
        say("wiping the registry and starting a further node");
        stage.stack.wipe_registry().await?;
        stage.stack.scale(&[("node", count)]).await?;
        stage.whole(count).await?;
    }
    stage.written(&load, 100).await?;
    stage.check(&load).await
}
