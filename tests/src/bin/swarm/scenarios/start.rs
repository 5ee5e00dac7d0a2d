//! Three nodes of one stack start at the same moment, from nothing, etcd included: one founds, the others join.

use std::time::Duration;

use acceptance::api::ConsoleClient;
use anyhow::{Context, Result, ensure};

use crate::docker;
use crate::scenario_context::{ScenarioContext, ScenarioRunner, print_event};
use crate::stack::{NodeStorage, until};

/// Limit from nothing to three Synced nodes, with the image already present.
const PROMISED: Duration = Duration::from_secs(30);

pub(super) async fn run(runner: &ScenarioRunner) -> Result<()> {
    let mut times = Vec::new();
    for round in 1..=runner.rounds {
        print_event(&format!("round {round} of {}", runner.rounds));
        runner
            .run(NodeStorage::Ephemeral, &[], async |context| {
                context.wait_until_synced(3).await?;
                times.push(context.deployed.elapsed());
                check_one_founder(context).await?;
                if round == runner.rounds {
                    check_console(context).await?;
                }
                Ok(())
            })
            .await
            .with_context(|| format!("round {round}"))?;
    }
    times.sort_unstable();
    let (Some(median), Some(longest)) = (times.get(times.len() / 2), times.last()) else {
        return Ok(());
    };
    print_event(&format!(
        "from nothing to three Synced nodes: median {:.1} s, longest {:.1} s, limit {} s",
        median.as_secs_f64(),
        longest.as_secs_f64(),
        PROMISED.as_secs()
    ));
    ensure!(*median <= PROMISED, "that takes longer than promised");
    Ok(())
}

async fn check_one_founder(context: &ScenarioContext) -> Result<()> {
    let founder = context.stack.registry_value("founder").await?;
    let founder = founder.context("the registry knows no founder")?;
    let founder: serde_json::Value = serde_json::from_str(&founder)?;
    let founder = founder["node"]
        .as_str()
        .context("the founder has no name")?;
    let nodes = context.nodes();
    ensure!(
        nodes.iter().any(|node| node.address.to_string() == founder),
        "the founder {founder} is not one of the nodes"
    );
    Ok(())
}

/// Signs in to one of the consoles and checks that it shows the cluster as it is.
async fn check_console(context: &ScenarioContext) -> Result<()> {
    let consoles = context
        .stack
        .await_containers("console", 2, Duration::from_secs(30))
        .await?;
    let console = consoles.first().context("no console runs")?;
    let password = "correct horse battery staple";
    let add =
        format!("printf '{password}' | galera-console user add ada --role viewer --password-stdin");
    docker::shell(console, &add).await?;
    until(
        "the console to see a healthy cluster",
        Duration::from_secs(30),
        async || {
            let api = ConsoleClient::new(&format!("http://{}:3000", console.host_address))?;
            let api = api.sign_in("ada", password).await?;
            let view = serde_json::to_value(api.cluster("galera").await?)?;
            let state = &view["verdict"]["state"];
            let nodes = view["nodes"].as_array().map_or(0, Vec::len);
            ensure!(
                state == "healthy" && nodes == 3,
                "it reports {state} with {nodes} nodes"
            );
            Ok(())
        },
    )
    .await?;
    print_event("both consoles run; one reports the cluster as healthy");
    Ok(())
}
