//! Scripts, played on the specification.

use std::collections::{BTreeMap, BTreeSet};

use galera::NodeId;

use super::observation::{FileObservation, NodeObservation, OpenServer, ServerObservation};
use super::{GaleraScript, ScriptStep};
use crate::{
    GaleraCluster, GaleraTransaction, LateStatement, NodeIndex, ProbeResult, WAIT_PRIM_TIMEOUT,
};

/// A statement that says no deadline.
const WITHOUT_DEADLINE: LateStatement = LateStatement {
    deadline: None,
    number: 0,
};

/// What the step itself returned to who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was done.
    Done,
    /// A write was acknowledged to the client, or not.
    Acknowledged(bool),
}

/// A script in progress.
pub struct ScriptPlayer {
    cluster: GaleraCluster,
    ids: Vec<NodeId>,
    now: u64,
}

impl ScriptPlayer {
    /// The cluster of `script`, formed: the first node founded it, the others joined in order, the arbitrator last.
    #[must_use]
    pub fn new(script: &GaleraScript) -> Self {
        let ids: Vec<NodeId> = (1..=script.weights.len())
            .filter_map(|number| format!("n{number}").parse().ok())
            .collect();
        let mut cluster = GaleraCluster::formed_with(ids.iter().cloned(), &script.weights);
        cluster.limit_waits();
        if script.arbitrator
            && let Ok(id) = "garb".parse()
        {
            let arbitrator = cluster.add_arbitrator(id);
            let _ = cluster.start(arbitrator);
            cluster.settle();
        }
        Self {
            cluster,
            ids,
            now: 0,
        }
    }

    /// The cluster as it is now.
    #[must_use]
    pub const fn cluster(&self) -> &GaleraCluster {
        &self.cluster
    }

    /// Does one step, and lets the group settle.
    pub fn apply(&mut self, step: ScriptStep) -> StepOutcome {
        let mut outcome = StepOutcome::Done;
        match step {
            // A refused start leaves a stopped server, which the next observation states.
            ScriptStep::Start(node) => drop(self.cluster.start(node)),
            ScriptStep::StartNewCluster(node) => drop(self.cluster.start_new_cluster(node)),
            ScriptStep::Kill(node) => self.cluster.kill(node, 0),
            ScriptStep::Stop(node) => self.cluster.stop(node),
            ScriptStep::Pause(node) => self.cluster.set_paused(node, true, self.now),
            ScriptStep::Resume(node) => self.cluster.set_paused(node, false, self.now),
            ScriptStep::Lock(node) => self.cluster.set_locked(node, true),
            ScriptStep::Unlock(node) => self.cluster.set_locked(node, false),
            ScriptStep::Cut(one, other) => self.cluster.set_cut(one, other, true),
            ScriptStep::Mend(one, other) => self.cluster.set_cut(one, other, false),
            ScriptStep::Heal => self.cluster.heal(),
            ScriptStep::Bootstrap(node) => {
                self.cluster.bootstrap(node, WITHOUT_DEADLINE, self.now);
            }
            ScriptStep::Write(node, number) => {
                outcome = StepOutcome::Acknowledged(self.cluster.write(node, number));
            }
            ScriptStep::SetSafeToBootstrap(node) => {
                self.cluster.node_mut(node).data.safe_to_bootstrap = true;
            }
            ScriptStep::RemoveSavedView(node) => self.cluster.node_mut(node).data.saved_view = None,
            ScriptStep::EmptyData(node) => {
                self.cluster.node_mut(node).data = crate::NodeData::default();
            }
            ScriptStep::WaitPrimTimeout => {
                self.now += WAIT_PRIM_TIMEOUT + 1;
                self.cluster.advance_to(self.now);
            }
        }
        self.cluster.settle();
        outcome
    }

    /// What clients and files show now.
    #[must_use]
    pub fn observe(&self) -> Vec<NodeObservation> {
        let nodes = 0..self.cluster.nodes().len();
        nodes.map(|node| self.observe_node(node)).collect()
    }

    fn observe_node(&self, node: NodeIndex) -> NodeObservation {
        let own = &self.cluster.nodes()[node];
        if own.arbitrator {
            let server = match own.server {
                Some(_) => ServerObservation::Running,
                None => ServerObservation::Stopped,
            };
            return NodeObservation {
                server,
                files: None,
            };
        }
        let server = match self.cluster.probe(node) {
            ProbeResult::Refused if own.server.is_none() => ServerObservation::Stopped,
            ProbeResult::Refused => ServerObservation::Closed,
            ProbeResult::Silent => ServerObservation::Silent,
            ProbeResult::Rows(rows) => ServerObservation::Open(self.open_server(node, &rows)),
        };
        let stopped = own.server.is_none();
        let files = stopped.then(|| FileObservation {
            clean: own.data.clean,
            safe_to_bootstrap: own.data.safe_to_bootstrap,
            saved_view: own.data.saved_view.is_some(),
        });
        NodeObservation { server, files }
    }

    fn open_server(&self, node: NodeIndex, rows: &BTreeMap<String, String>) -> OpenServer {
        let listed = rows["wsrep_incoming_addresses"].split(',');
        let members = listed
            .filter_map(|address| self.ids.iter().position(|id| id.to_string() == address))
            .collect();
        let written = self.cluster.nodes()[node].data.transactions.iter();
        let writes: BTreeSet<u64> = written
            .filter_map(|transaction| match transaction {
                GaleraTransaction::Write(number) => Some(*number),
                GaleraTransaction::View(_) => None,
            })
            .collect();
        let number = |name: &str| rows[name].parse().unwrap_or(u64::MAX);
        let primary = rows["wsrep_cluster_status"] == "Primary";
        OpenServer {
            primary,
            state: rows["wsrep_local_state_comment"].clone(),
            size: rows["wsrep_cluster_size"].parse().unwrap_or(usize::MAX),
            members,
            weight: number("wsrep_cluster_weight"),
            conf_id: primary.then(|| number("wsrep_cluster_conf_id")),
            seqno: number("wsrep_last_committed"),
            writes,
        }
    }
}
