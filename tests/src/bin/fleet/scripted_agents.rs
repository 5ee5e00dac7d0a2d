//! The agents of the fleet: the reporter of `galera-agent` for each node, with scripted readings of its server.

use std::sync::Arc;
use std::time::Duration;

use galera::Timestamp;
use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::observe::registration::RegistryKeys;
use galera_agent::observation::{ServerState, StatusReading};
use galera_agent::report::{ReportTarget, Reporter};
use registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::scripted_fleet::{NodeScript, ScriptedFleet};

/// Time between two readings of a server, as in the agent.
const READING_INTERVAL: Duration = Duration::from_secs(1);
/// Time to live of an agent's lease: the default of `TTL`.
const TTL: Duration = Duration::from_secs(10);

/// The agents of the fleet; they stop when it is dropped.
pub(crate) struct ScriptedAgents {
    fleet: Arc<ScriptedFleet>,
    /// By cluster, then by node.
    readings: Vec<Vec<watch::Sender<ServerState>>>,
    stop: CancellationToken,
}

impl ScriptedAgents {
    /// Starts an agent for each node, spread over one reading interval as real ones are.
    pub(crate) fn start(
        fleet: &Arc<ScriptedFleet>,
        registry: &Registry,
        now: Timestamp,
    ) -> Arc<Self> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let keys = RegistryKeys::new("/galera");
        let start = |cluster: &crate::scripted_fleet::ScriptedCluster, index: usize| {
            let (sender, server) = watch::channel(ServerState::Unknown);
            let target = ReportTarget {
                keys: keys.clone(),
                cluster: cluster.name.clone(),
                node: cluster.nodes[index].id.clone(),
            };
            let reporter = Reporter::new(registry.clone(), target, TTL, now);
            tasks.spawn(reporter.run(server, stop.clone()));
            sender
        };
        let readings = fleet
            .clusters
            .iter()
            .map(|cluster| {
                let nodes = 0..cluster.nodes.len();
                nodes.map(|index| start(cluster, index)).collect()
            })
            .collect();
        let agents = Arc::new(Self {
            fleet: Arc::clone(fleet),
            readings,
            stop,
        });
        let count = fleet.clusters.len();
        for number in 0..count {
            let (agents, stop) = (Arc::clone(&agents), agents.stop.clone());
            let delay = READING_INTERVAL.mul_f64(number as f64 / count as f64);
            TaskTracker::new().spawn(stop.run_until_cancelled_owned(async move {
                sleep(delay).await;
                let mut ticks = interval(READING_INTERVAL);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    for node in 0..agents.readings[number].len() {
                        agents.read(number, node);
                    }
                }
            }));
        }
        agents
    }

    /// Reads a server now, as its agent does after a notification.
    pub(crate) fn read(&self, cluster: usize, node: usize) {
        let scripted = &self.fleet.clusters[cluster];
        let state = if scripted.nodes[node].script() == NodeScript::Silent {
            ServerState::Unreachable {
                error: ProbeError {
                    kind: ProbeErrorKind::Closed,
                    message: "the connection was closed".to_owned(),
                },
                answered_before: true,
            }
        } else {
            let mut rows = self.fleet.status(scripted, node);
            rows.extend(ScriptedFleet::variables(scripted, node));
            ServerState::Responding {
                at: Instant::now(),
                reading: Box::new(StatusReading::from_rows(&rows)),
            }
        };
        self.readings[cluster][node].send_replace(state);
    }

    /// Ends every agent; their leases expire.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}
