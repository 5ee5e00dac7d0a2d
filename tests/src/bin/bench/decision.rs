//! Time until starting nodes have decided what to do, all of them starting together: with the scripts that
//! `galera-agent run` replaces, and with `galera-agent run`, on the same machine with the same etcd.
//!
//! The scripts could not coordinate, so they waited: one key TTL for running nodes to report and, if none did, another
//! one for all positions to be published.

use std::time::{Duration, Instant};

use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab};
use anyhow::{Result, ensure};
use futures::future::try_join_all;
use registry::Registry;

use crate::figures::MeasuredFigure;

/// The scripts' default lifetime of a key.
const TTL: Duration = Duration::from_secs(10);
const NODES: usize = 3;
/// Longest wait for one cluster.
const WHOLE: Duration = Duration::from_secs(90);
/// Longest wait for a decision.
const DECIDED: Duration = Duration::from_secs(30);

/// Both procedures: from nothing, and of a cluster that was stopped.
pub(crate) async fn measure() -> Result<Vec<MeasuredFigure>> {
    let nodes = HomogeneousLab::prepare(NODES).await?;
    println!("==> The former scripts decide, twice");
    let registry = nodes.registry()?;
    let former_empty = measure_scripts(&registry, "empty", false).await?;
    let former_stopped = measure_scripts(&registry, "stopped", true).await?;
    println!("==> galera-agent run decides, twice");
    let (empty, stopped) = measure_agents(&nodes).await?;
    Ok(vec![
        MeasuredFigure::duration_without_limit(
            "decision from nothing, former scripts",
            former_empty,
        ),
        MeasuredFigure::duration(
            "decision from nothing, galera-agent run",
            empty,
            Duration::from_secs(5),
        ),
        MeasuredFigure::duration_without_limit(
            "decision of a stopped cluster, former scripts",
            former_stopped,
        ),
        MeasuredFigure::duration(
            "decision of a stopped cluster, galera-agent run",
            stopped,
            Duration::from_secs(5),
        ),
    ])
}

/// The scripts' procedure on all nodes of cluster `name`; the time until the last one has decided.
async fn measure_scripts(registry: &Registry, name: &str, known: bool) -> Result<Duration> {
    let prefix = format!("/former/{name}/");
    if known {
        // What the first node of all has once left without a lifetime.
        registry
            .put(format!("{prefix}1/ipaddress"), "127.0.1.1", None)
            .await?;
    }
    let began = Instant::now();
    try_join_all((1..=NODES).map(|number| run_script(registry, &prefix, number))).await?;
    Ok(began.elapsed())
}

/// One node's start script up to its decision: whether it founds, joins or bootstraps does not matter here.
async fn run_script(registry: &Registry, prefix: &str, number: usize) -> Result<()> {
    tokio::time::sleep(TTL).await;
    let listing = registry.list(prefix.to_owned()).await?;
    if listing.entries.is_empty() {
        // "The first node": it founds. So do all others that started with it.
        return Ok(());
    }
    // No node is Synced: publish the own position and compare all of them after another TTL.
    let lease = registry.grant_without_keep_alive(TTL * 2).await?;
    let seqno = number.to_string();
    registry
        .put(format!("{prefix}{number}/seqno"), seqno, Some(lease))
        .await?;
    tokio::time::sleep(TTL).await;
    let listing = registry.list(prefix.to_owned()).await?;
    let reported = listing
        .entries
        .iter()
        .filter(|entry| entry.key.ends_with(b"/seqno"))
        .count();
    ensure!(reported == NODES, "only {reported} positions were reported");
    Ok(())
}

async fn measure_agents(nodes: &HomogeneousLab) -> Result<(Duration, Duration)> {
    let all: Vec<usize> = (1..=NODES).collect();
    let began = start(nodes)?;
    until_key(nodes, "founder").await?;
    let empty = began.elapsed();
    nodes.wait_until_synced(&all, WHOLE).await?;
    for number in &all {
        nodes.node(*number).stop().await?;
    }
    let recorder = nodes.recorder()?;
    let began = start(nodes)?;
    // A node leaves its deliberations when it starts its server.
    acceptance::eventually("a node to go ahead", DECIDED, async || {
        ensure!(
            recorder.has_seen("/phase", "joining"),
            "all of them deliberate"
        );
        Ok(())
    })
    .await?;
    let stopped = began.elapsed();
    nodes.wait_until_synced(&all, WHOLE).await?;
    Ok((empty, stopped))
}

fn start(nodes: &HomogeneousLab) -> Result<Instant> {
    let began = Instant::now();
    for node in nodes.nodes() {
        node.start()?;
    }
    Ok(began)
}

async fn until_key(nodes: &HomogeneousLab, key: &str) -> Result<()> {
    let registry = nodes.registry()?;
    let key = format!("/galera/{CLUSTER}/{key}");
    acceptance::eventually(&key.clone(), DECIDED, async || {
        ensure!(
            registry.get(key.clone()).await?.is_some(),
            "it is not there"
        );
        Ok(())
    })
    .await
}
