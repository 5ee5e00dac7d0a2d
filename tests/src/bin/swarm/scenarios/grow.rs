//! Five nodes and back to three, while clients write.

use anyhow::Result;

use crate::stack::Storage;
use crate::stage::Theatre;

pub(super) async fn play(theatre: &Theatre) -> Result<()> {
    theatre
        .play(Storage::Ephemeral, &[], async |stage| {
            stage.whole(3).await?;
            let load = stage.load().await?;
            stage.stack.scale(&[("node", 5)]).await?;
            stage.whole(5).await?;
            stage.written(&load, 200).await?;
            stage.stack.scale(&[("node", 3)]).await?;
            stage.whole(3).await?;
            stage.written(&load, 200).await?;
            stage.check(&load).await
        })
        .await
}
