//! Five nodes and back to three, while clients write.

use anyhow::Result;

use crate::scenario_context::ScenarioRunner;
use crate::stack::NodeStorage;

pub(super) async fn run(runner: &ScenarioRunner) -> Result<()> {
    runner
        .run(NodeStorage::Ephemeral, &[], async |context| {
            context.wait_until_synced(3).await?;
            let load = context.start_load().await?;
            context.stack.scale(&[("node", 5)]).await?;
            context.wait_until_synced(5).await?;
            context.wait_for_rows(&load, 200).await?;
            context.stack.scale(&[("node", 3)]).await?;
            context.wait_until_synced(3).await?;
            context.wait_for_rows(&load, 200).await?;
            context.check_rows(&load).await
        })
        .await
}
