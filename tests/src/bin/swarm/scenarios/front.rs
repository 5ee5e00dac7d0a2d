//! HAProxy in front, led by the nodes' health endpoints: a client of one address survives the death of the node behind.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;

use crate::load;
use crate::scenario_context::{ScenarioContext, ScenarioRunner, print_event};
use crate::stack::{NodeStorage, until};

/// The longest pause for clients: the group takes five seconds to give the dead one up, HAProxy two.
const PAUSE: Duration = Duration::from_secs(15);

pub(super) async fn run(theatre: &ScenarioRunner) -> Result<()> {
    theatre
        .run(
            NodeStorage::Ephemeral,
            &["stack.haproxy.yaml"],
            async |stage| {
                stage.wait_until_synced(3).await?;
                let patience = Duration::from_secs(30);
                let proxies = stage.stack.await_containers("haproxy", 1, patience).await?;
                let door = proxies
                    .first()
                    .context("HAProxy does not run")?
                    .host_address;
                let load = stage
                    .start_load_through(&load::target_address(door))
                    .await?;
                let behind = node_behind(stage, door).await?;
                // Resets the measurement.
                let _ = load.longest_pause();
                print_event(&format!("killing {}, the node behind HAProxy", behind.task));
                stage.kill(std::slice::from_ref(&behind)).await?;
                stage.wait_for_rows(&load, 200).await?;
                let pause = load.longest_pause();
                print_event(&format!("longest pause for clients: {:.1} s", pause.as_secs_f64()));
                ensure!(pause <= PAUSE, "the pause is longer than {PAUSE:?}");
                stage.wait_until_synced(3).await?;
                stage.wait_for_rows(&load, 200).await?;
                stage.check_rows(&load).await
            },
        )
        .await
}

/// The node behind HAProxy's address.
async fn node_behind(
    stage: &ScenarioContext,
    door: std::net::Ipv4Addr,
) -> Result<crate::docker::Container> {
    until(
        "an answer through HAProxy",
        Duration::from_secs(30),
        async || {
            let ask = async {
                let mut connection = Conn::new(load::login().options(door)).await?;
                let host: Option<String> = connection.query_first("SELECT @@hostname").await?;
                anyhow::Ok(host)
            };
            let host = timeout(Duration::from_secs(5), ask).await??;
            let host = host.context("it has no name")?;
            let nodes = stage.nodes();
            let node = nodes.into_iter().find(|node| node.id.starts_with(&host));
            node.with_context(|| format!("{host} is not a node"))
        },
    )
    .await
}
