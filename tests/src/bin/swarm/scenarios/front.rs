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

pub(super) async fn run(runner: &ScenarioRunner) -> Result<()> {
    runner
        .run(
            NodeStorage::Ephemeral,
            &["stack.haproxy.yaml"],
            async |context| {
                context.wait_until_synced(3).await?;
                let patience = Duration::from_secs(30);
                let proxies = context
                    .stack
                    .await_containers("haproxy", 1, patience)
                    .await?;
                let address = proxies
                    .first()
                    .context("HAProxy does not run")?
                    .host_address;
                let load = context
                    .start_load_through(&load::target_address(address))
                    .await?;
                let behind = node_behind(context, address).await?;
                // Resets the measurement.
                let _ = load.longest_pause();
                print_event(&format!("killing {}, the node behind HAProxy", behind.task));
                context.kill(std::slice::from_ref(&behind)).await?;
                context.wait_for_rows(&load, 200).await?;
                let pause = load.longest_pause();
                print_event(&format!(
                    "longest pause for clients: {:.1} s",
                    pause.as_secs_f64()
                ));
                ensure!(pause <= PAUSE, "the pause is longer than {PAUSE:?}");
                context.wait_until_synced(3).await?;
                context.wait_for_rows(&load, 200).await?;
                context.check_rows(&load).await
            },
        )
        .await
}

/// The node behind HAProxy's address.
async fn node_behind(
    context: &ScenarioContext,
    address: std::net::Ipv4Addr,
) -> Result<crate::docker::Container> {
    until(
        "an answer through HAProxy",
        Duration::from_secs(30),
        async || {
            let ask = async {
                let mut connection = Conn::new(load::login().options(address)).await?;
                let host: Option<String> = connection.query_first("SELECT @@hostname").await?;
                anyhow::Ok(host)
            };
            let host = timeout(Duration::from_secs(5), ask).await??;
            let host = host.context("it has no name")?;
            let nodes = context.nodes();
            let node = nodes.into_iter().find(|node| node.id.starts_with(&host));
            node.with_context(|| format!("{host} is not a node"))
        },
    )
    .await
}
