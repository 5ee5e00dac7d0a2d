//! How long a node's change of state takes from its agent, through etcd and the console, to a frame.

use std::time::{Duration, Instant};

use acceptance::live::LiveClient;
use anyhow::Result;
use galera::NodeId;
use galera::view::{ClusterView, NodeState};
use rand::Rng;

use crate::scripted_agents::ScriptedAgents;
use crate::scripted_fleet::{NodeScript, ScriptedFleet};

/// Longest wait for one change.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two changes, in milliseconds.
const PAUSE: std::ops::Range<u64> = 100..300;

/// Changes nodes of the first cluster for `duration`; `live` is subscribed to it. Without agents the next probe shows the
/// change.
///
/// # Errors
/// If a change does not arrive.
pub(crate) async fn measure(
    fleet: &ScriptedFleet,
    agents: Option<&ScriptedAgents>,
    live: &mut LiveClient,
    duration: Duration,
) -> Result<Vec<Duration>> {
    let cluster = &fleet.clusters[0];
    let end = Instant::now() + duration;
    let mut changes = Vec::new();
    while Instant::now() < end {
        let index = changes.len() / 2 % cluster.nodes.len();
        let node = &cluster.nodes[index];
        let (script, state) = match changes.len() % 2 {
            0 => (NodeScript::Donor, NodeState::Donor),
            _ => (NodeScript::Synced, NodeState::Synced),
        };
        let began = Instant::now();
        node.set_script(script);
        if let Some(agents) = agents {
            agents.read(0, index);
        }
        live.wait_for("the change", PATIENCE, |view| {
            state_of(view, &node.id) == Some(state)
        })
        .await?;
        changes.push(began.elapsed());
        let pause = rand::rng().random_range(PAUSE);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    Ok(changes)
}

fn state_of(view: &ClusterView, id: &NodeId) -> Option<NodeState> {
    let id = id.clone();
    // The console leaves out its default port.
    let same = |shown: &NodeId| *shown == id || shown.host() == id.host();
    let node = view.nodes.iter().find(|node| same(&node.id))?;
    Some(node.state)
}
