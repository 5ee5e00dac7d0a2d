//! Random faults: nodes that become donors or stop answering for a while.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::{interval, sleep};
use tokio_util::task::TaskTracker;

use crate::scripted_agents::ScriptedAgents;
use crate::scripted_fleet::{NodeScript, ScriptedFleet};

/// Injects `per_second` faults a second, never into the first cluster, whose changes are measured.
pub(crate) async fn inject(
    fleet: Arc<ScriptedFleet>,
    agents: Option<Arc<ScriptedAgents>>,
    per_second: f64,
) {
    if per_second <= 0.0 || fleet.clusters.len() < 2 {
        return std::future::pending().await;
    }
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_second));
    loop {
        ticks.tick().await;
        let (cluster, node, script, length) = {
            let mut random = rand::rng();
            let cluster = random.random_range(1..fleet.clusters.len());
            let node = random.random_range(0..fleet.clusters[cluster].nodes.len());
            let script = match random.random_bool(0.5) {
                true => NodeScript::Donor,
                false => NodeScript::Silent,
            };
            (cluster, node, script, random.random_range(2_000..5_000))
        };
        let (fleet, agents) = (Arc::clone(&fleet), agents.clone());
        TaskTracker::new().spawn(async move {
            let set = |script| {
                fleet.clusters[cluster].nodes[node].set_script(script);
                if let Some(agents) = &agents {
                    agents.read(cluster, node);
                }
            };
            set(script);
            sleep(Duration::from_millis(length)).await;
            set(NodeScript::Synced);
        });
    }
}
