//! A healthy cluster of any size whose nodes report once a second, by SQL and in the registry.

use std::sync::Arc;
use std::time::Duration;

use console_core::published::Published;
use galera::judge::cluster::{FoldSettings, fold};
use galera::observe::observation::Evidence;
use galera::observe::server_details::ServerDetails;
use galera::observe::wsrep::WsrepStatus;
use galera::view::{ClusterView, VerdictState};
use galera::{ClusterName, NodeId, Timestamp};
use monitor::{ManualMonitor, ViewPublisher};
use registry::{KeyChange, RegistryEntry};

/// The numbers of nodes that are measured.
pub(crate) const SIZES: [usize; 3] = [3, 9, 64];

const STATE_UUID: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
const PREFIX: &str = "/galera";

/// What happens before a fold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FoldCase {
    /// Nothing: the view is not published.
    Unchanged,
    /// One node answers its probe.
    OneAnswer,
    /// One node's agent puts the keys that change every second.
    OneRegistration,
    /// Every node answers its probe.
    AllAnswers,
}

impl FoldCase {
    pub(crate) const ALL: [Self; 4] = [
        Self::Unchanged,
        Self::OneAnswer,
        Self::OneRegistration,
        Self::AllAnswers,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::OneAnswer => "one answer",
            Self::OneRegistration => "one registration",
            Self::AllAnswers => "all answers",
        }
    }
}

/// The inputs of one fold, ready to be ingested.
pub(crate) struct FoldInputs {
    answers: Vec<(NodeId, WsrepStatus)>,
    changes: Vec<KeyChange>,
}

pub(crate) struct BenchCluster {
    monitor: ManualMonitor,
    publisher: Arc<ViewPublisher>,
    name: ClusterName,
    nodes: Vec<NodeId>,
    members: String,
    now: Timestamp,
    turn: usize,
    revision: i64,
}

impl BenchCluster {
    /// A cluster of `size` nodes that has been observed for 40 seconds, so that the rate history is full.
    pub(crate) fn new(size: usize) -> Self {
        let nodes: Vec<NodeId> = (0..size)
            .map(|index| format!("10.0.0.{}", index + 1).parse().unwrap())
            .collect();
        let members: Vec<String> = nodes.iter().map(|node| format!("{node}:3306")).collect();
        let publisher = Arc::new(ViewPublisher::new());
        let name: ClusterName = "lab".parse().unwrap();
        let now = Timestamp::from_unix_millis(1_795_421_520_000);
        let monitor = ManualMonitor::new(
            name.clone(),
            nodes.iter().cloned().collect(),
            PREFIX,
            Duration::from_secs(3600),
            now,
            &publisher,
        );
        let mut cluster = Self {
            monitor,
            publisher,
            name,
            nodes,
            members: members.join(","),
            now,
            turn: 0,
            revision: 1,
        };
        cluster.monitor.fold(now);
        let founded = (0..size)
            .flat_map(|index| cluster.all_keys(index))
            .collect();
        cluster.monitor.apply_changes(now, founded);
        for _ in 0..40 * size {
            let inputs = cluster.inputs(FoldCase::OneAnswer);
            cluster.fold(inputs);
            let inputs = cluster.inputs(FoldCase::OneRegistration);
            cluster.fold(inputs);
        }
        assert_eq!(cluster.view().value.verdict.state, VerdictState::Healthy);
        cluster
    }

    /// Advances the time, unmeasured, by what passes until one node reports again: each reports once a second.
    pub(crate) fn advance(&mut self) {
        for case in [FoldCase::OneAnswer, FoldCase::OneRegistration] {
            let inputs = self.inputs(case);
            self.fold(inputs);
        }
    }

    /// The inputs of a fold in the situation `case`.
    pub(crate) fn inputs(&mut self, case: FoldCase) -> FoldInputs {
        let size = self.nodes.len();
        let node = self.turn % size;
        let (answering, registering) = match case {
            FoldCase::Unchanged => (0..0, 0..0),
            FoldCase::OneAnswer => {
                self.now = self.now.plus(Duration::from_millis(1_000 / size as u64));
                (node..node + 1, 0..0)
            }
            FoldCase::OneRegistration => {
                self.turn += 1;
                (0..0, node..node + 1)
            }
            FoldCase::AllAnswers => {
                self.now = self.now.plus(Duration::from_millis(100));
                (0..size, 0..0)
            }
        };
        FoldInputs {
            answers: answering
                .map(|index| (self.nodes[index].clone(), self.status(index)))
                .collect(),
            changes: registering
                .flat_map(|index| self.changing_keys(index))
                .collect(),
        }
    }

    /// Ingests, folds and publishes: what is measured.
    pub(crate) fn fold(&mut self, inputs: FoldInputs) {
        if !inputs.changes.is_empty() {
            self.monitor.apply_changes(self.now, inputs.changes);
        }
        for (node, status) in inputs.answers {
            self.monitor.record_answer(node, self.now, status);
        }
        while self.monitor.fold(self.now) {}
    }

    /// The last published view.
    pub(crate) fn view(&self) -> Arc<Published<ClusterView>> {
        let directory = self.publisher.directory();
        let feed = directory.borrow()[&self.name].clone();
        Arc::clone(&feed.borrow())
    }

    /// What the last fold rested on.
    pub(crate) fn evidence(&self) -> Evidence {
        self.publisher
            .snapshot(&self.name)
            .unwrap()
            .evidence
            .clone()
    }

    /// The pure fold alone.
    pub(crate) fn pure_fold(&self, evidence: &Evidence, previous: &ClusterView) -> ClusterView {
        fold(evidence, self.now, &FoldSettings::default(), Some(previous))
    }

    fn seqno(&self) -> String {
        (self.now.unix_millis() / 10).to_string()
    }

    fn status(&self, index: usize) -> WsrepStatus {
        let (local_index, size) = (index.to_string(), self.nodes.len().to_string());
        let (seqno, gcomm) = (self.seqno(), gcomm_uuid(index));
        let name = format!("db{index}");
        let mut status = WsrepStatus::from_rows([
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_local_state", "4"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_state_uuid", STATE_UUID),
            ("wsrep_local_state_uuid", STATE_UUID),
            ("wsrep_gcomm_uuid", gcomm.as_str()),
            ("wsrep_cluster_conf_id", "17"),
            ("wsrep_cluster_size", size.as_str()),
            ("wsrep_local_index", local_index.as_str()),
            ("wsrep_incoming_addresses", self.members.as_str()),
            ("wsrep_last_committed", seqno.as_str()),
            ("wsrep_local_recv_queue", "0"),
            ("wsrep_local_send_queue", "0"),
            ("wsrep_flow_control_paused_ns", "0"),
            ("wsrep_ready", "ON"),
            ("wsrep_connected", "ON"),
            ("wsrep_gmcast_segment", "0"),
            ("wsrep_evs_state", "OPERATIONAL"),
            ("wsrep_node_name", name.as_str()),
            ("version", "10.11.19-MariaDB"),
        ]);
        status.details = Some(Arc::new(ServerDetails::from_rows([
            ("binlog_format", "ROW"),
            ("collation_server", "utf8mb4_general_ci"),
            ("innodb_autoinc_lock_mode", "2"),
            ("innodb_flush_log_at_trx_commit", "0"),
            ("max_connections", "151"),
            ("sql_mode", "STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION"),
            ("threads_connected", "7"),
            (
                "wsrep_cluster_address",
                "gcomm://10.0.0.1,10.0.0.2,10.0.0.3",
            ),
            (
                "wsrep_provider_options",
                "gcache.size = 128M; gcs.fc_limit = 16; pc.recovery = true; socket.ssl = NO",
            ),
            ("wsrep_slave_threads", if index == 0 { "1" } else { "4" }),
            ("wsrep_sst_method", "rsync"),
            ("wsrep_sync_wait", "0"),
        ])));
        status
    }

    /// Every key that an agent keeps.
    fn all_keys(&mut self, index: usize) -> Vec<KeyChange> {
        let (size, name) = (self.nodes.len().to_string(), format!("db{index}"));
        let (gcomm, members) = (gcomm_uuid(index), self.members.clone());
        let fixed = [
            ("registered", r#"{"first_seen":"2026-11-23T08:00:00Z"}"#),
            ("phase", "running"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_state_uuid", STATE_UUID),
            ("wsrep_cluster_conf_id", "17"),
            ("wsrep_cluster_size", size.as_str()),
            ("wsrep_gcomm_uuid", gcomm.as_str()),
            ("wsrep_incoming_addresses", members.as_str()),
            ("wsrep_node_name", name.as_str()),
        ];
        let mut changes: Vec<KeyChange> = fixed
            .iter()
            .map(|(field, value)| self.put(index, field, value))
            .collect();
        changes.extend(self.changing_keys(index));
        changes
    }

    /// The keys that change with every commit.
    fn changing_keys(&mut self, index: usize) -> Vec<KeyChange> {
        self.revision += 1;
        let seqno = self.seqno();
        let highest = format!("{STATE_UUID}:{seqno}");
        vec![
            self.put(index, "wsrep_last_committed", &seqno),
            self.put(index, "highest_position", &highest),
        ]
    }

    fn put(&self, index: usize, field: &str, value: &str) -> KeyChange {
        KeyChange::Put(RegistryEntry {
            key: format!("{PREFIX}/{}/{}/{field}", self.name, self.nodes[index]).into_bytes(),
            value: value.into(),
            create_revision: 1,
            mod_revision: self.revision,
            version: 1,
            lease: i64::try_from(index).unwrap() + 1,
        })
    }
}

fn gcomm_uuid(index: usize) -> String {
    format!("000000{index:02x}-0c2f-11ef-a1b2-c3d4e5f60718")
}
