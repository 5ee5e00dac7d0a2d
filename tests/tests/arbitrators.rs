//! `galera-agent arbitrator` with a real `garbd`: it joins, votes, is shown, and leaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use acceptance::eventually;
use acceptance::lab::console::LabConsole;
use acceptance::lab::homogeneous::{CLUSTER, HomogeneousLab};
use acceptance::lab::ports::ReservedPort;
use acceptance::lab::process::{LabProcess, Program};
use anyhow::{Context, Result, ensure};
use galera::view::{ArbitratorState, ClusterView};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest wait for nodes to form a cluster.
const FORMATION_TIMEOUT: Duration = Duration::from_secs(180);
/// Longest wait for the arbitrator to react.
const SOON: Duration = Duration::from_secs(120);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

async fn record(lab: &HomogeneousLab, name: &str) -> Result<Option<Value>> {
    let keys = lab.keys().await?;
    let value = keys.get(&format!("arbitrators/{name}"));
    value
        .map(|value| serde_json::from_str(value).context("a record"))
        .transpose()
}

async fn wait_for_phase(lab: &HomogeneousLab, name: &str, phase: &str) -> Result<Value> {
    eventually(&format!("{name} {phase}"), SOON, async || {
        let record = record(lab, name).await?.context("no record")?;
        ensure!(record["phase"] == phase, "{record}");
        Ok(record)
    })
    .await
}

/// The program of the arbitrator `garb1`, which works in the directory `place`.
fn arbitrator(lab: &HomogeneousLab, place: &str, port: &ReservedPort) -> Result<Program> {
    let directory = lab.directory().join(place);
    std::fs::create_dir_all(&directory)?;
    let address = SocketAddr::new(ADDRESS.into(), port.number());
    Ok(lab.arbitrator_agent("garb1", address, &directory))
}

/// The only child of the agent: `garbd`.
fn child_of(agent: &LabProcess) -> Result<Pid> {
    let pid = agent.pid();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child = children.trim().parse().ok().and_then(Pid::from_raw);
    child.with_context(|| format!("children of {pid}: {children:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_arbitrator_joins_members_votes_and_leaves() -> Result<()> {
    let lab = HomogeneousLab::prepare(2).await?;
    let (port, other_port) = (
        ReservedPort::reserve(ADDRESS)?,
        ReservedPort::reserve(ADDRESS)?,
    );
    let console = LabConsole::start(lab.console_settings()).await?;
    let viewer = console.sign_in("viewer").await?;
    let agent = arbitrator(&lab, "garb1", &port)?.start()?;
    eventually("garb1 to say what it waits for", SOON, async || {
        let waiting = record(&lab, "garb1").await?.context("no record")?;
        let why = waiting["waiting_for"].as_str().unwrap_or_default();
        ensure!(why.contains("never starts a cluster"), "{waiting}");
        Ok(())
    })
    .await?;

    let status = agent.stop(SOON).await?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(record(&lab, "garb1").await?.is_none());

    for node in lab.nodes() {
        node.start()?;
    }
    lab.wait_until_synced(&[1, 2], FORMATION_TIMEOUT).await?;
    let agent = arbitrator(&lab, "garb1", &port)?.start()?;
    wait_for_phase(&lab, "garb1", "primary").await?;
    let shown = async |what: &str, state: Option<ArbitratorState>| {
        eventually(what, SOON, async || {
            let view: ClusterView = viewer.cluster(CLUSTER).await?;
            let arbitrators = view.arbitrators.iter();
            let states: Vec<_> = arbitrators
                .map(|one| (one.name.as_deref(), one.state))
                .collect();
            ensure!(
                states == Vec::from_iter(state.map(|state| (Some("garb1"), state))),
                "{states:?}"
            );
            Ok(view)
        })
        .await
    };
    let view = shown(
        "the console shows that it votes",
        Some(ArbitratorState::Member),
    )
    .await?;
    let quorum = view.quorum.context("no quorum")?;
    ensure!((quorum.votes, quorum.arbitrators) == (3, 1), "{quorum:?}");

    // A second agent of that name is refused, and the first one continues.
    let second = arbitrator(&lab, "other", &other_port)?.start()?;
    second.wait(SOON).await?;
    let status = second.status().context("it runs")?;
    ensure!(status.code() == Some(64), "{status}");
    let mine = record(&lab, "garb1").await?.context("no record")?;
    ensure!(
        mine["address"] == format!("{ADDRESS}:{}", port.number()),
        "{mine}"
    );

    // Nor is one whose agent was killed started again beside itself.
    let garbd = child_of(&agent)?;
    agent.signal(Signal::KILL)?;
    let again = arbitrator(&lab, "garb1", &other_port)?.start()?;
    again.wait(SOON).await?;
    let status = again.status().context("it runs")?;
    ensure!(status.code() == Some(69), "{status}");
    kill_process(garbd, Signal::TERM)?;
    eventually("garbd to be gone", SOON, async || {
        ensure!(!Path::new(&format!("/proc/{}", garbd.as_raw_nonzero())).exists());
        Ok(())
    })
    .await?;
    eventually("the lease of the killed agent to end", SOON, async || {
        ensure!(record(&lab, "garb1").await?.is_none());
        Ok(())
    })
    .await?;
    let agent = arbitrator(&lab, "garb1", &port)?.start()?;
    wait_for_phase(&lab, "garb1", "primary").await?;

    // Without an arbitrator the remaining member of two would lose quorum.
    is_primary_of(&lab, "3").await?;
    lab.node(2).kill().await?;
    is_primary_of(&lab, "2").await?;

    // It leaves in order: the member stays Primary alone, and nothing of it is left in the registry.
    let status = agent.stop(SOON).await?;
    ensure!(status.code() == Some(0), "{status}");
    ensure!(record(&lab, "garb1").await?.is_none());
    shown("the console shows none", None).await?;
    is_primary_of(&lab, "1").await
}

/// Waits until node 1 is Primary in a component of this size.
async fn is_primary_of(lab: &HomogeneousLab, size: &str) -> Result<()> {
    eventually(
        &format!("a Primary component of {size}"),
        SOON,
        async || {
            let status = lab.node(1).wsrep().await?;
            let shown = (
                status["wsrep_cluster_status"].as_str(),
                status["wsrep_cluster_size"].as_str(),
            );
            ensure!(shown == ("Primary", size), "{shown:?}");
            Ok(())
        },
    )
    .await
}
