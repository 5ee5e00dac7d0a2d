//! Three nodes that exist only in a test: what they answer, what they are sent, and where an executor dies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use console_core::clock::now;
use futures::future::{BoxFuture, pending};
use galera::judge::known_positions::History;
use galera::observe::observation::{Evidence, ProbeError, ProbeFailure, SqlObservation};
use galera::observe::wsrep::WsrepStatus;
use galera::recover::action::StepResult;
use galera::view::RegistryHealth;
use galera::{ClusterName, NodeId, Timestamp};
use galera_console::actions::{Channel, Look, World};
use monitor::reading;
use registry::Registry;
use uuid::Uuid;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
const UNDEFINED: &str = "18446744073709551615";

/// A place at which an executor never comes back, because it was killed there, or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Holding the lock, before anything is written.
    Planning,
    /// Begun, before the intention.
    Opening,
    /// The intention is written, nothing was sent.
    BeforeSending,
    /// The statement took effect, its answer was not written down.
    AfterSending,
    /// The answer is written, the outcome was not looked at.
    Observing,
}

/// What a node says to the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// OK, and it becomes Primary.
    Yes,
    /// OK, and nothing happens.
    Ignored,
    /// The privilege is missing.
    Super,
    /// It carries it out and hangs.
    Hangs,
}

struct Nodes {
    /// Members of the component that answers.
    alive: BTreeSet<&'static str>,
    primary: bool,
    seqno: u64,
    stop: Option<Stop>,
    /// Whether an executor that stops is let go on later.
    held: bool,
    /// The looks during which the survivor looks for others.
    gathering: u32,
    says: Says,
    /// Nodes that came back on their own, non-Primary, at this position.
    apart: BTreeMap<&'static str, u64>,
    /// What everybody is told.
    told: Vec<String>,
}

/// The nodes `n1`, `n2` and `n3` of the cluster `lab`.
pub(crate) struct Nodes3 {
    nodes: Mutex<Nodes>,
    registry: Registry,
    /// Statements that reached a node.
    pub(crate) sent: AtomicU32,
    /// Connections that were opened and closed without a statement.
    unused: AtomicU32,
    /// Looks without etcd.
    blind: AtomicU32,
    reached: tokio::sync::Notify,
    released: tokio::sync::Notify,
}

impl Nodes3 {
    /// `n1` survives without quorum; the others refuse connections.
    pub(crate) fn two_lost(registry: Registry) -> Arc<Self> {
        Self::of(registry, &["n1"], false)
    }

    /// All three are Synced.
    pub(crate) fn healthy(registry: Registry) -> Arc<Self> {
        Self::of(registry, &["n1", "n2", "n3"], true)
    }

    fn of(registry: Registry, alive: &[&'static str], primary: bool) -> Arc<Self> {
        let nodes = Nodes {
            alive: alive.iter().copied().collect(),
            primary,
            seqno: 100,
            stop: None,
            held: false,
            gathering: 0,
            says: Says::Yes,
            apart: BTreeMap::new(),
            told: Vec::new(),
        };
        Arc::new(Self {
            nodes: Mutex::new(nodes),
            registry,
            sent: AtomicU32::new(0),
            unused: AtomicU32::new(0),
            blind: AtomicU32::new(0),
            reached: tokio::sync::Notify::new(),
            released: tokio::sync::Notify::new(),
        })
    }

    /// Kills the next executor that comes to `stop`.
    pub(crate) fn kill_at(&self, stop: Stop) {
        self.nodes.lock().unwrap().stop = Some(stop);
    }

    /// Waits until an executor was killed.
    pub(crate) async fn killed(&self) {
        tokio::time::timeout(crate::etcd::PATIENCE, self.reached.notified())
            .await
            .expect("an executor comes to where it is killed");
    }

    /// Holds the next executor that comes to `stop`, until it is released.
    pub(crate) fn hold_at(&self, stop: Stop) {
        let mut nodes = self.nodes.lock().unwrap();
        (nodes.stop, nodes.held) = (Some(stop), true);
    }

    /// Lets the held executor go on.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    /// The survivor looks for others, as the next `looks` at it find.
    pub(crate) fn gathers(&self, looks: u32) {
        self.nodes.lock().unwrap().gathering = looks;
    }

    /// Connections that were opened and closed without a statement.
    pub(crate) fn unused(&self) -> u32 {
        self.unused.load(Ordering::SeqCst)
    }

    /// Looks without etcd.
    pub(crate) fn blind(&self) -> u32 {
        self.blind.load(Ordering::SeqCst)
    }

    pub(crate) fn says(&self, says: Says) {
        self.nodes.lock().unwrap().says = says;
    }

    /// A node that was lost answers again: in no quorum, at `seqno`.
    pub(crate) fn returns(&self, name: &'static str, seqno: u64) {
        self.nodes.lock().unwrap().apart.insert(name, seqno);
    }

    /// What everybody is told at the moment.
    pub(crate) fn told(&self) -> Vec<String> {
        self.nodes.lock().unwrap().told.clone()
    }

    /// Makes the survivor's position another one.
    pub(crate) fn moves_on(&self) {
        self.nodes.lock().unwrap().seqno += 1;
    }

    pub(crate) fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Never comes back from `stop` when an executor is to be killed there, or only when it is released.
    async fn pass(&self, stop: Stop) {
        let (here, held) = {
            let mut nodes = self.nodes.lock().unwrap();
            let here = nodes.stop == Some(stop);
            if here {
                nodes.stop = None;
            }
            (here, nodes.held)
        };
        if here {
            self.reached.notify_one();
            if held {
                self.released.notified().await;
            } else {
                pending::<()>().await;
            }
        }
    }

    fn takes_effect(&self) {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let mut nodes = self.nodes.lock().unwrap();
        if !matches!(nodes.says, Says::Ignored | Says::Super) {
            nodes.primary = true;
        }
    }

    /// What somebody knows who has been watching since `began`.
    fn evidence(&self, at: Timestamp, began: Timestamp) -> Evidence {
        let nodes = self.nodes.lock().unwrap();
        let health = RegistryHealth {
            reachable: true,
            since: before(at, 300),
            error: None,
        };
        let mut evidence = Evidence::new("lab".parse().unwrap(), health);
        for name in ["n1", "n2", "n3"] {
            let id: NodeId = name.parse().unwrap();
            evidence.configured.insert(id.clone());
            let observation = if nodes.alive.contains(name) {
                answering(status(&nodes, name), at, began)
            } else if let Some(seqno) = nodes.apart.get(name) {
                answering(alone(name, *seqno), at, began)
            } else {
                silent(at)
            };
            evidence.sql.insert(id, observation);
        }
        for name in ["n4", "n5"] {
            evidence.sql.insert(name.parse().unwrap(), silent(at));
        }
        evidence
    }
}

fn before(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(at.unix_millis() - seconds * 1_000)
}

/// The same answer for five minutes, as far as somebody saw it who has been watching since `began`.
fn answering(status: WsrepStatus, at: Timestamp, began: Timestamp) -> SqlObservation {
    let mut observation = SqlObservation::default();
    let times = [301, 300, 1].map(|seconds| before(at, seconds));
    let seen = times.into_iter().filter(|time| *time > began);
    for time in std::iter::once(began.max(times[0])).chain(seen) {
        observation.answered(time, status.clone());
    }
    observation.answered(at, status);
    observation
}

fn silent(at: Timestamp) -> SqlObservation {
    let mut observation = SqlObservation::default();
    for seconds in [300, 1] {
        let error = ProbeError {
            kind: ProbeFailure::Refused,
            message: "connection refused".to_owned(),
        };
        observation.failed(before(at, seconds), error);
    }
    observation
}

fn status(nodes: &Nodes, name: &str) -> WsrepStatus {
    let index = nodes.alive.iter().position(|alive| *alive == name).unwrap();
    let members: Vec<&str> = nodes.alive.iter().copied().collect();
    let (members, size, index) = (
        members.join(","),
        members.len().to_string(),
        index.to_string(),
    );
    let seqno = nodes.seqno.to_string();
    let word = |primary: &'static str, not: &'static str| if nodes.primary { primary } else { not };
    WsrepStatus::from_rows([
        ("wsrep_local_state_uuid", HISTORY),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_last_committed", &seqno),
        ("wsrep_local_recv_queue", "0"),
        ("wsrep_local_state", word("4", "0")),
        ("wsrep_local_state_comment", word("Synced", "Initialized")),
        ("wsrep_incoming_addresses", &members),
        ("wsrep_cluster_size", &size),
        ("wsrep_local_index", &index),
        (
            "wsrep_evs_state",
            if nodes.gathering > 0 {
                "GATHER"
            } else {
                "OPERATIONAL"
            },
        ),
        ("wsrep_gcomm_uuid", "00000001-0001-11ef-a1b2-c3d4e5f60718"),
        ("wsrep_cluster_conf_id", word("17", UNDEFINED)),
        ("wsrep_cluster_status", word("Primary", "non-Primary")),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", word("ON", "OFF")),
    ])
}

/// A node in a component of its own.
fn alone(name: &'static str, seqno: u64) -> WsrepStatus {
    let nodes = Nodes {
        alive: BTreeSet::from([name]),
        primary: false,
        seqno,
        stop: None,
        held: false,
        gathering: 0,
        says: Says::Yes,
        apart: BTreeMap::new(),
        told: Vec::new(),
    };
    WsrepStatus {
        gcomm_uuid: Some(Uuid::from_u128(2)),
        ..status(&nodes, name)
    }
}

struct Sender(Arc<Nodes3>, bool);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0
            .unused
            .fetch_add(u32::from(!self.1), Ordering::SeqCst);
    }
}

impl Channel for Sender {
    fn send(mut self: Box<Self>, _: String) -> BoxFuture<'static, StepResult> {
        self.1 = true;
        Box::pin(async move {
            self.0.pass(Stop::BeforeSending).await;
            self.0.takes_effect();
            self.0.pass(Stop::AfterSending).await;
            let says = self.0.nodes.lock().unwrap().says;
            match says {
                Says::Yes | Says::Ignored => StepResult::Done("OK".to_owned()),
                Says::Super => StepResult::Refused("error 1227: SUPER is missing".to_owned()),
                Says::Hangs => StepResult::Unknown("no answer within 3 s".to_owned()),
            }
        })
    }
}

/// The nodes as one replica knows them, which has been watching them since a moment.
pub(crate) struct Watched(pub(crate) Arc<Nodes3>, pub(crate) Timestamp);

impl World for Watched {
    fn look<'a>(&'a self, cluster: &'a ClusterName, fresh: bool) -> BoxFuture<'a, Option<Look>> {
        Box::pin(async move {
            if fresh {
                let stop = if self.0.sent() > 0 {
                    Stop::Observing
                } else {
                    Stop::Planning
                };
                self.0.pass(stop).await;
            }
            let prefix = format!("/galera/{cluster}/");
            let listing = self.0.registry.list(prefix).await;
            let at = now();
            let mut evidence = self.0.evidence(at, self.1);
            if fresh {
                let mut nodes = self.0.nodes.lock().unwrap();
                nodes.gathering = nodes.gathering.saturating_sub(1);
            }
            let readings = match listing {
                Ok(listing) => vec![reading(before(at, 200), &listing), reading(at, &listing)],
                Err(error) => {
                    evidence.registry_health = RegistryHealth {
                        reachable: false,
                        since: at,
                        error: Some(error.to_string()),
                    };
                    self.0.blind.fetch_add(1, Ordering::SeqCst);
                    Vec::new()
                }
            };
            Some(Look {
                evidence,
                history: History::default(),
                readings,
            })
        })
    }

    fn known(&self, _: &ClusterName) -> Option<Look> {
        Some(Look {
            evidence: self.0.evidence(now(), self.1),
            history: History::default(),
            readings: Vec::new(),
        })
    }

    fn tell(&self, _: &ClusterName, sentences: Vec<String>) {
        self.0.nodes.lock().unwrap().told = sentences;
    }

    fn open<'a>(
        &'a self,
        _: &'a ClusterName,
        _: &'a NodeId,
    ) -> BoxFuture<'a, Result<Box<dyn Channel>, String>> {
        Box::pin(async move {
            self.0.pass(Stop::Opening).await;
            let channel: Box<dyn Channel> = Box::new(Sender(Arc::clone(&self.0), false));
            Ok(channel)
        })
    }
}

/// How long an action may take to its end in these tests.
pub(crate) const VERIFY: Duration = Duration::from_secs(4);
