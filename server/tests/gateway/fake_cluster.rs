//! A fake cluster of three nodes: what they report, the statements they receive, and where an executor crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use console_core::clock::now;
use futures::future::{BoxFuture, pending};
use galera::judge::known_positions::KnownPositions;
use galera::observe::observation::{
    Evidence, ProbeError, ProbeErrorKind, RegistryObservation, SqlObservation,
};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::action::StepResult;
use galera::recover::bootstrap::{PlannedServer, StatementDialect};
use galera::view::RegistryHealth;
use galera::{ClusterName, NodeId, Timestamp};
use galera_console::actions::{ClusterAccess, ClusterEvidence, StatementChannel};
use monitor::registry_reading;
use registry::Registry;
use uuid::Uuid;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
const UNDEFINED: &str = "18446744073709551615";

/// Where an executor is killed, so that it never returns, or held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// Holding the lock, before anything is written.
    BeforePlanning,
    /// Started, before the intention is written.
    BeforeOpening,
    /// The intention is written, nothing was sent.
    BeforeSending,
    /// The statement took effect, its response was not recorded.
    AfterSending,
    /// The response is recorded, the outcome was not observed.
    BeforeObserving,
}

/// What happens to an executor at its crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExecutorInterruption {
    /// It never returns.
    Kill,
    /// It can be released.
    Hold,
    Panic,
}

/// A node's reply to the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatementReply {
    /// OK, and the node becomes Primary.
    Success,
    /// OK, without effect.
    Ignored,
    /// Error: the privilege is missing.
    MissingPrivilege,
    /// Executed, but the reply never arrives.
    Timeout,
    /// It never arrives.
    Lost,
    /// It never arrives, and the server is restarted.
    Restarted,
}

struct FakeClusterState {
    /// Members of the component that answers.
    alive: BTreeSet<&'static str>,
    primary: bool,
    seqno: u64,
    crash_point: Option<CrashPoint>,
    /// What happens to the executor there.
    interruption: ExecutorInterruption,
    /// The number of reads during which the survivor is in state GATHER.
    gathering_reads: u32,
    reply: StatementReply,
    /// Whether the survivor was restarted after the statement.
    restarted: bool,
    /// Nodes that came back non-Primary in a component of one, with their position.
    isolated: BTreeMap<&'static str, u64>,
    /// What agents registered under a live lease.
    registered: BTreeMap<&'static str, Vec<(&'static str, String)>>,
    /// Notices shown on every page.
    notices: Vec<String>,
}

/// The nodes `n1`, `n2` and `n3` of the cluster `lab`.
pub(crate) struct FakeCluster {
    state: Mutex<FakeClusterState>,
    registry: Registry,
    /// Statements that reached a node.
    pub(crate) sent: AtomicU32,
    /// Connections opened and closed without a statement.
    unused_connections: AtomicU32,
    /// Reads while etcd was unreachable.
    reads_without_etcd: AtomicU32,
    crash_point_reached: tokio::sync::Notify,
    released: tokio::sync::Notify,
}

impl FakeCluster {
    /// `n1` survives without quorum; the others refuse connections.
    pub(crate) fn two_lost(registry: Registry) -> Arc<Self> {
        Self::new(registry, &["n1"], false)
    }

    /// All three are Synced.
    pub(crate) fn healthy(registry: Registry) -> Arc<Self> {
        Self::new(registry, &["n1", "n2", "n3"], true)
    }

    /// `n2` and `n3` are Synced; `n1` does not answer.
    pub(crate) fn one_outside(registry: Registry) -> Arc<Self> {
        Self::new(registry, &["n2", "n3"], true)
    }

    fn new(registry: Registry, alive: &[&'static str], primary: bool) -> Arc<Self> {
        let nodes = FakeClusterState {
            alive: alive.iter().copied().collect(),
            primary,
            seqno: 100,
            crash_point: None,
            interruption: ExecutorInterruption::Kill,
            gathering_reads: 0,
            reply: StatementReply::Success,
            restarted: false,
            isolated: BTreeMap::new(),
            registered: BTreeMap::new(),
            notices: Vec::new(),
        };
        Arc::new(Self {
            state: Mutex::new(nodes),
            registry,
            sent: AtomicU32::new(0),
            unused_connections: AtomicU32::new(0),
            reads_without_etcd: AtomicU32::new(0),
            crash_point_reached: tokio::sync::Notify::new(),
            released: tokio::sync::Notify::new(),
        })
    }

    /// Kills the next executor that reaches `crash_point`.
    pub(crate) fn kill_at(&self, stop: CrashPoint) {
        let mut nodes = self.state.lock().unwrap();
        (nodes.crash_point, nodes.interruption) = (Some(stop), ExecutorInterruption::Kill);
    }

    /// Waits until an executor was killed.
    pub(crate) async fn wait_until_killed(&self) {
        tokio::time::timeout(crate::etcd::TIMEOUT, self.crash_point_reached.notified())
            .await
            .expect("an executor reaches the crash point");
    }

    /// Holds the next executor that reaches `crash_point` until it is released.
    pub(crate) fn hold_at(&self, stop: CrashPoint) {
        let mut nodes = self.state.lock().unwrap();
        (nodes.crash_point, nodes.interruption) = (Some(stop), ExecutorInterruption::Hold);
    }

    /// The next executor that reaches `crash_point` panics.
    pub(crate) fn panic_at(&self, stop: CrashPoint) {
        let mut nodes = self.state.lock().unwrap();
        (nodes.crash_point, nodes.interruption) = (Some(stop), ExecutorInterruption::Panic);
    }

    /// Releases the held executor.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    /// The survivor reports GATHER for the next `reads` reads.
    pub(crate) fn set_gathering(&self, reads: u32) {
        self.state.lock().unwrap().gathering_reads = reads;
    }

    /// Connections opened and closed without a statement.
    pub(crate) fn unused_connections(&self) -> u32 {
        self.unused_connections.load(Ordering::SeqCst)
    }

    /// Reads while etcd was unreachable.
    pub(crate) fn reads_without_etcd(&self) -> u32 {
        self.reads_without_etcd.load(Ordering::SeqCst)
    }

    pub(crate) fn set_reply(&self, reply: StatementReply) {
        self.state.lock().unwrap().reply = reply;
    }

    /// A lost node answers again: non-Primary, at `seqno`.
    pub(crate) fn return_isolated(&self, name: &'static str, seqno: u64) {
        self.state.lock().unwrap().isolated.insert(name, seqno);
    }

    /// The agent of a node registers these fields under a live lease.
    pub(crate) fn register(&self, name: &'static str, fields: &[(&'static str, &str)]) {
        let fields = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let mut nodes = self.state.lock().unwrap();
        nodes.registered.insert(name, fields.collect());
    }

    /// A node answers from now on, as a member of the component.
    pub(crate) fn join(&self, name: &'static str) {
        self.state.lock().unwrap().alive.insert(name);
    }

    /// Notices currently shown on every page.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.state.lock().unwrap().notices.clone()
    }

    /// Advances the survivor's position.
    pub(crate) fn advance_position(&self) {
        self.state.lock().unwrap().seqno += 1;
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// At an armed crash point: never returns, or only once released, or panics.
    async fn pass_crash_point(&self, stop: CrashPoint) {
        let (here, interruption) = {
            let mut nodes = self.state.lock().unwrap();
            let here = nodes.crash_point == Some(stop);
            if here {
                nodes.crash_point = None;
            }
            (here, nodes.interruption)
        };
        if here {
            self.crash_point_reached.notify_one();
            match interruption {
                ExecutorInterruption::Kill => pending().await,
                ExecutorInterruption::Hold => self.released.notified().await,
                ExecutorInterruption::Panic => panic!("as armed by the test"),
            }
        }
    }

    fn apply_statement(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let mut nodes = self.state.lock().unwrap();
        if !matches!(
            nodes.reply,
            StatementReply::Ignored
                | StatementReply::MissingPrivilege
                | StatementReply::Lost
                | StatementReply::Restarted
        ) {
            nodes.primary = true;
        }
        nodes.restarted = nodes.reply == StatementReply::Restarted;
    }

    /// The evidence of an observer that has been watching since `began`.
    fn evidence(&self, at: Timestamp, began: Timestamp) -> Evidence {
        let nodes = self.state.lock().unwrap();
        let health = RegistryHealth {
            reachable: true,
            since: seconds_before(at, 300),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        for name in ["n1", "n2", "n3"] {
            let id: NodeId = name.parse().unwrap();
            evidence.configured_members.insert(id.clone());
            let observation = if nodes.alive.contains(name) {
                answering_observation(status(&nodes, name), at, began)
            } else if let Some(seqno) = nodes.isolated.get(name) {
                answering_observation(isolated_status(name, *seqno), at, began)
            } else {
                unreachable_observation(at)
            };
            evidence.probes.insert(id, observation);
        }
        for (name, fields) in &nodes.registered {
            let fields = fields.iter().cloned();
            let seen = RegistryObservation {
                fields: fields
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
                last_put_at: Some(at),
                leased: true,
                ttl: Some(10),
                ..RegistryObservation::default()
            };
            evidence.registrations.insert(name.parse().unwrap(), seen);
        }
        for name in ["n4", "n5"] {
            evidence
                .probes
                .insert(name.parse().unwrap(), unreachable_observation(at));
        }
        evidence
    }
}

fn seconds_before(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(at.unix_millis() - seconds * 1_000)
}

/// The same status for five minutes, as far as an observer watching since `began` saw it.
fn answering_observation(status: WsrepStatus, at: Timestamp, began: Timestamp) -> SqlObservation {
    let mut observation = SqlObservation::default();
    let times = [301, 300, 1].map(|seconds| seconds_before(at, seconds));
    let seen = times.into_iter().filter(|time| *time > began);
    for time in std::iter::once(began.max(times[0])).chain(seen) {
        observation.record_success(time, status.clone());
    }
    observation.record_success(at, status);
    observation
}

fn unreachable_observation(at: Timestamp) -> SqlObservation {
    let mut observation = SqlObservation::default();
    for seconds in [300, 1] {
        let error = ProbeError {
            kind: ProbeErrorKind::Refused,
            message: "connection refused".to_owned(),
        };
        observation.record_failure(seconds_before(at, seconds), error);
    }
    observation
}

/// The identity of a node's process; each node has one in a `group`.
fn process_of(name: &str, group: u128) -> Uuid {
    let node = name
        .bytes()
        .fold(group, |hash, byte| (hash << 8) | u128::from(byte));
    Uuid::from_u128(node)
}

fn status(nodes: &FakeClusterState, name: &str) -> WsrepStatus {
    let index = nodes.alive.iter().position(|alive| *alive == name).unwrap();
    let members: Vec<&str> = nodes.alive.iter().copied().collect();
    let (members, size, index) = (
        members.join(","),
        members.len().to_string(),
        index.to_string(),
    );
    let seqno = nodes.seqno.to_string();
    let group = if nodes.restarted { 3 } else { 1 };
    let process = process_of(name, group).to_string();
    let select =
        |primary: &'static str, not: &'static str| if nodes.primary { primary } else { not };
    WsrepStatus::from_rows([
        ("wsrep_local_state_uuid", HISTORY),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_last_committed", &seqno),
        ("wsrep_local_recv_queue", "0"),
        ("wsrep_local_state", select("4", "0")),
        ("wsrep_local_state_comment", select("Synced", "Initialized")),
        ("wsrep_incoming_addresses", &members),
        ("wsrep_cluster_size", &size),
        ("wsrep_local_index", &index),
        (
            "wsrep_evs_state",
            if nodes.gathering_reads > 0 {
                "GATHER"
            } else {
                "OPERATIONAL"
            },
        ),
        ("wsrep_gcomm_uuid", &process),
        ("wsrep_cluster_conf_id", select("17", UNDEFINED)),
        ("wsrep_cluster_status", select("Primary", "non-Primary")),
        ("wsrep_cluster_weight", select("1", "0")),
        ("wsrep_protocol_version", "10"),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", select("ON", "OFF")),
        ("version", "10.11.19-MariaDB"),
    ])
}

/// A node in a component of one.
fn isolated_status(name: &'static str, seqno: u64) -> WsrepStatus {
    let nodes = FakeClusterState {
        alive: BTreeSet::from([name]),
        primary: false,
        seqno,
        crash_point: None,
        interruption: ExecutorInterruption::Kill,
        gathering_reads: 0,
        reply: StatementReply::Success,
        restarted: false,
        isolated: BTreeMap::new(),
        registered: BTreeMap::new(),
        notices: Vec::new(),
    };
    WsrepStatus {
        gcomm_uuid: Some(process_of(name, 2)),
        ..status(&nodes, name)
    }
}

struct FakeChannel(Arc<FakeCluster>, bool);

impl Drop for FakeChannel {
    fn drop(&mut self) {
        self.0
            .unused_connections
            .fetch_add(u32::from(!self.1), Ordering::SeqCst);
    }
}

impl StatementChannel for FakeChannel {
    fn send(mut self: Box<Self>, _: StatementDialect) -> BoxFuture<'static, StepResult> {
        self.1 = true;
        Box::pin(async move {
            self.0.pass_crash_point(CrashPoint::BeforeSending).await;
            self.0.apply_statement();
            self.0.pass_crash_point(CrashPoint::AfterSending).await;
            let reply = self.0.state.lock().unwrap().reply;
            match reply {
                StatementReply::Success | StatementReply::Ignored => {
                    StepResult::Done("OK".to_owned())
                }
                StatementReply::MissingPrivilege => {
                    StepResult::Refused("error 1227: SUPER is missing".to_owned())
                }
                StatementReply::Timeout | StatementReply::Lost | StatementReply::Restarted => {
                    StepResult::Unknown("no answer within 3 s".to_owned())
                }
            }
        })
    }
}

/// The fake cluster as one replica sees it, watching since the given time.
pub(crate) struct FakeClusterAccess(pub(crate) Arc<FakeCluster>, pub(crate) Timestamp);

impl ClusterAccess for FakeClusterAccess {
    fn read_cluster<'a>(
        &'a self,
        cluster: &'a ClusterName,
        fresh: bool,
    ) -> BoxFuture<'a, Option<ClusterEvidence>> {
        Box::pin(async move {
            if fresh {
                let stop = if self.0.sent() > 0 {
                    CrashPoint::BeforeObserving
                } else {
                    CrashPoint::BeforePlanning
                };
                self.0.pass_crash_point(stop).await;
            }
            let prefix = format!("/galera/{cluster}/");
            let listing = self.0.registry.list(prefix).await;
            let at = now();
            let mut evidence = self.0.evidence(at, self.1);
            if fresh {
                let mut nodes = self.0.state.lock().unwrap();
                nodes.gathering_reads = nodes.gathering_reads.saturating_sub(1);
            }
            let readings = match listing {
                Ok(listing) => vec![
                    registry_reading(seconds_before(at, 200), &listing),
                    registry_reading(at, &listing),
                ],
                Err(error) => {
                    evidence.registry_health = RegistryHealth {
                        reachable: false,
                        since: at,
                        error: Some(error.to_string()),
                    };
                    self.0.reads_without_etcd.fetch_add(1, Ordering::SeqCst);
                    Vec::new()
                }
            };
            Some(ClusterEvidence {
                evidence,
                history: KnownPositions::default(),
                readings,
            })
        })
    }

    fn last_known(&self, _: &ClusterName) -> Option<ClusterEvidence> {
        Some(ClusterEvidence {
            evidence: self.0.evidence(now(), self.1),
            history: KnownPositions::default(),
            readings: Vec::new(),
        })
    }

    fn set_warnings(&self, _: &ClusterName, sentences: Vec<String>) {
        self.0.state.lock().unwrap().notices = sentences;
    }

    fn open_channel<'a>(
        &'a self,
        _: &'a ClusterName,
        _: &'a NodeId,
        _: &'a PlannedServer,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>> {
        Box::pin(async move {
            self.0.pass_crash_point(CrashPoint::BeforeOpening).await;
            let channel: Box<dyn StatementChannel> =
                Box::new(FakeChannel(Arc::clone(&self.0), false));
            Ok(channel)
        })
    }
}
