//! Recorded figures on real servers: what was not observed is a gap.

use std::time::{Duration, Instant};

use acceptance::api::ConsoleClient;
use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::node::NodeStart;
use anyhow::{Context, Result, ensure};
use galera::Timestamp;
use serde_json::Value;

use crate::shared;

const PATIENCE: Duration = Duration::from_secs(180);

/// The means of one metric of a node each second, with their times in milliseconds.
async fn means(api: &ConsoleClient, node: &str, name: &str) -> Result<Vec<(i64, Option<f64>)>> {
    let path = format!("/api/v1/clusters/lab/series?node={node}&name={name}&step=1");
    let answer: Value = api.get(&path).await?;
    let from = answer["from"].as_str().and_then(Timestamp::parse);
    let from = from.context("no start")?.unix_millis();
    let means = answer["series"][0]["mean"]
        .as_array()
        .context("no values")?;
    let seconds = (0..).map(|second| from + second * 1_000);
    Ok(seconds.zip(means.iter().map(Value::as_f64)).collect())
}

fn known(means: &[(i64, Option<f64>)]) -> usize {
    means.iter().filter(|(_, mean)| mean.is_some()).count()
}

async fn wait_for_readings(api: &ConsoleClient, node: &str, more_than: usize) -> Result<usize> {
    eventually("readings to be recorded", PATIENCE, async || {
        let recorded = known(&means(api, node, "recv_queue").await?);
        ensure!(recorded > more_than, "{recorded} readings");
        Ok(recorded)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_console_and_a_killed_node_leave_gaps_and_no_zeros() -> Result<()> {
    let lab = shared::lab().await?;
    let mut settings = lab.lab.console_settings();
    let data = settings.directory.join("data").display().to_string();
    settings
        .extra_arguments
        .extend(["--data-dir".to_owned(), data]);
    let console = LabConsole::start(settings).await?;
    let [first, third] = [1, 3].map(|number| lab.lab.node(number).id().to_string());
    let api = console.sign_in("viewer").await?;
    wait_for_readings(&api, &first, 8).await?;

    let node_killed = wall_clock();
    lab.lab.node(3).kill();
    let before = known(&means(&api, &first, "recv_queue").await?);
    wait_for_readings(&api, &first, before + 8).await?;
    let node_started = wall_clock();
    lab.lab.node(3).start(NodeStart::Join).await?;
    lab.lab.node(3).wait_until_synced().await?;

    let before = wait_for_readings(
        &api,
        &third,
        known(&means(&api, &third, "recv_queue").await?),
    )
    .await?;
    console.kill();
    let (killed, began) = (wall_clock(), Instant::now());
    eventually("some seconds without a console", PATIENCE, async || {
        ensure!(began.elapsed() > Duration::from_secs(15), "not yet");
        Ok(())
    })
    .await?;
    let launched = wall_clock();
    console.launch()?;
    console.wait_until_ready().await?;
    let api = console.sign_in("viewer").await?;
    wait_for_readings(&api, &third, before).await?;

    for node in [&first, &third] {
        let queue = means(&api, node, "recv_queue").await?;
        let without_console: Vec<_> = between(&queue, killed, launched);
        ensure!(without_console.len() >= 6, "{without_console:?}");
        ensure!(known(&without_console) == 0, "{node}: {without_console:?}");
        for (time, rate) in means(&api, node, "commit_rate").await? {
            let rate = rate.unwrap_or(0.0);
            ensure!((0.0..1_000.0).contains(&rate), "{node}: {rate}/s at {time}");
        }
    }
    let [of_first, of_third] = [
        between(
            &means(&api, &first, "recv_queue").await?,
            node_killed,
            node_started,
        ),
        between(
            &means(&api, &third, "recv_queue").await?,
            node_killed,
            node_started,
        ),
    ];
    ensure!(known(&of_first) >= 5, "{of_first:?}");
    ensure!(known(&of_third) == 0, "{of_third:?}");
    Ok(())
}

/// The values of whole seconds strictly within a time, one second away from its ends.
fn between(means: &[(i64, Option<f64>)], from: i64, to: i64) -> Vec<(i64, Option<f64>)> {
    let within = |(time, _): &&(i64, Option<f64>)| *time > from + 1_000 && *time + 2_000 < to;
    means.iter().filter(within).copied().collect()
}

fn wall_clock() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
