//! Five nodes and back to three, while clients write.

use anyhow::Result;

use crate::scenario_context::ScenarioRunner;
use crate::stack::NodeStorage;

pub(super) async fn run(theatre: &ScenarioRunner) -> Result<()> {
    theatre
        .run(NodeStorage::Ephemeral, &[], async |stage| {
            stage.wait_until_synced(3).await?;
            let load = stage.start_load().await?;
            stage.stack.scale(&[("node", 5)]).await?;
            stage.wait_until_synced(5).await?;
            stage.wait_for_rows(&load, 200).await?;
            stage.stack.scale(&[("node", 3)]).await?;
            stage.wait_until_synced(3).await?;
            stage.wait_for_rows(&load, 200).await?;
            stage.check_rows(&load).await
        })
        .await
}
