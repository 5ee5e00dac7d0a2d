//! How the executor of a console reaches the simulated servers: evidence in, one statement out.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actions::{ActionsSnapshot, ClusterAccess, ClusterEvidence, StatementChannel};
use console_core::clock::now;
use futures::future::BoxFuture;
use galera::observe::started_bootstrap::StartedBootstrap;
use galera::observe::wsrep::WsrepStatus;
use galera::recover::action::{STATEMENT_WAIT_TIMEOUT, StepResult};
use galera::recover::bootstrap::{PlannedServer, StatementDialect};
use galera::recover::cleanup::RegistryReading;
use galera::{ClusterName, NodeId};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::console::SimulatedConsole;
use crate::registry::SimulatedRegistry;
use galera_specification::{GaleraCluster, LateStatement, NodeIndex, ProbeResult, StatementEffect};

/// Milliseconds from opening its connection until which a server executes a statement (`STATEMENT_DEADLINE`).
const STATEMENT_LIFETIME: u64 = 5_000;
/// How long the executor waits for the answer to a statement.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Fault that a statement met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementFault {
    /// Its server paused when it arrived.
    Pause,
    /// It never arrived, and its connection ended.
    RequestLost,
    /// Its answer never arrived.
    AnswerLost,
}

/// What every console and the schedule share.
#[derive(Debug)]
pub struct SharedCluster {
    pub cluster: GaleraCluster,
    pub registry: SimulatedRegistry,
    pub random: StdRng,
    /// The fault that every statement meets, if not a random one.
    pub statement_fault: Option<StatementFault>,
    /// Whether statements meet faults.
    pub has_faults: bool,
    /// Whether servers judge how late a statement is (I38).
    pub judges_lateness: bool,
    /// What the plan of the approved action said is lost.
    pub approved_loss: Option<u64>,
    /// The loss that the plan of each sent statement named, by the statement's number.
    pub statement_losses: Vec<Option<u64>>,
    /// Faults that statements met since the schedule last asked: where, and which.
    pub statement_faults: Vec<(NodeIndex, StatementFault)>,
}

/// Locks what is shared; a task that panicked left nothing half done.
pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The access of one console.
#[derive(Debug)]
pub struct SimulatedAccess {
    pub(crate) shared: Arc<Mutex<SharedCluster>>,
    pub(crate) observer: Arc<Mutex<SimulatedConsole>>,
    /// When its process began, in milliseconds since the beginning, and by the clock of its runtime.
    pub(crate) began: (u64, Instant),
    pub(crate) actions: OnceLock<watch::Receiver<Arc<ActionsSnapshot>>>,
}

impl SimulatedAccess {
    /// The bootstraps of actions whose outcome is not proven.
    pub(crate) fn started(&self) -> Vec<StartedBootstrap> {
        let Some(actions) = self.actions.get() else {
            return Vec::new();
        };
        let snapshot = Arc::clone(&actions.borrow());
        let actions = snapshot.newest_first();
        actions
            .filter_map(|published| published.value.action.started_bootstrap())
            .collect()
    }

    /// Milliseconds since the beginning, whatever the clock of the console shows.
    fn time(&self) -> u64 {
        time_since(self.began)
    }

    fn delay(&self) -> Duration {
        let mut shared = lock(&self.shared);
        let millis = [1, 5, 20, 60].choose(&mut shared.random);
        Duration::from_millis(*millis.unwrap_or(&1))
    }

    async fn read(&self, fresh: bool) -> ClusterEvidence {
        if fresh {
            sleep(self.delay()).await;
        }
        let started = self.started();
        let shared = lock(&self.shared);
        let mut observer = lock(&self.observer);
        if fresh {
            observer.observe(&shared.cluster, &shared.registry, &started, now());
        } else {
            observer.read(&shared.registry);
        }
        ClusterEvidence {
            evidence: observer.evidence().clone(),
            history: observer.positions().clone(),
            readings: vec![RegistryReading {
                at: now(),
                revision: shared.registry.revision(),
                keys: shared.registry.entries(),
            }],
        }
    }

    /// The node that `id` leads to from this console.
    fn node_at(&self, shared: &SharedCluster, id: &NodeId) -> Option<NodeIndex> {
        let observer = lock(&self.observer);
        let mut nodes = shared.cluster.nodes().iter().enumerate();
        nodes
            .find(|(index, node)| node.id == *id && !observer.unreachable.contains(index))
            .map(|(index, _)| index)
    }

    async fn open(
        &self,
        id: &NodeId,
        planned: &PlannedServer,
    ) -> Result<Box<dyn StatementChannel>, String> {
        sleep(self.delay()).await;
        let shared = lock(&self.shared);
        let silent = || format!("{id} does not answer");
        let node = self.node_at(&shared, id).ok_or_else(silent)?;
        let ProbeResult::Rows(rows) = shared.cluster.probe(node) else {
            return Err(silent());
        };
        planned.check(&WsrepStatus::from_rows(rows))?;
        Ok(Box::new(SimulatedChannel {
            shared: Arc::clone(&self.shared),
            observer: Arc::clone(&self.observer),
            node,
            loss: shared.approved_loss,
            opened_at: self.time(),
            began: self.began,
        }))
    }
}

fn time_since((millis, since): (u64, Instant)) -> u64 {
    millis + u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct SimulatedChannel {
    shared: Arc<Mutex<SharedCluster>>,
    observer: Arc<Mutex<SimulatedConsole>>,
    node: NodeIndex,
    loss: Option<u64>,
    opened_at: u64,
    began: (u64, Instant),
}

impl SimulatedChannel {
    /// Delivers the statement; `None` if no answer arrives.
    fn deliver(&self) -> Option<StepResult> {
        let mut shared = lock(&self.shared);
        let shared = &mut *shared;
        let (node, now) = (self.node, time_since(self.began));
        let idle = Duration::from_millis(now.saturating_sub(self.opened_at));
        if shared.judges_lateness && idle >= STATEMENT_WAIT_TIMEOUT {
            let closed = "the server has closed the connection".to_owned();
            return Some(StepResult::Unknown(closed));
        }
        if lock(&self.observer).unreachable.contains(&node) {
            return None;
        }
        let fault = match shared.random.random_range(0..12) {
            _ if shared.statement_fault.is_some() => shared.statement_fault,
            _ if !shared.has_faults => None,
            0..3 => Some(StatementFault::Pause),
            3 => Some(StatementFault::RequestLost),
            4 => Some(StatementFault::AnswerLost),
            _ => None,
        };
        shared
            .statement_faults
            .extend(fault.map(|fault| (node, fault)));
        match fault {
            Some(StatementFault::RequestLost) => return None,
            Some(StatementFault::Pause) => shared.cluster.set_paused(node, true, now),
            _ => {}
        }
        let deadline = shared
            .judges_lateness
            .then_some(self.opened_at + STATEMENT_LIFETIME);
        let number = shared.statement_losses.len() as u64;
        shared.statement_losses.push(self.loss);
        let statement = LateStatement { deadline, number };
        let effect = shared.cluster.bootstrap(node, statement, now);
        shared.cluster.settle();
        match effect {
            _ if fault == Some(StatementFault::AnswerLost) => None,
            StatementEffect::Executed => Some(StepResult::Done("OK".to_owned())),
            StatementEffect::Refused => {
                let refused = "error 1210: the server did not run it".to_owned();
                Some(StepResult::Refused(refused))
            }
            StatementEffect::Pending => None,
        }
    }
}

impl StatementChannel for SimulatedChannel {
    fn send(self: Box<Self>, _: StatementDialect) -> BoxFuture<'static, StepResult> {
        Box::pin(async move {
            let delay = {
                let mut shared = lock(&self.shared);
                let millis = [1, 5, 20, 60, 300, 900].choose(&mut shared.random);
                Duration::from_millis(*millis.unwrap_or(&1))
            };
            sleep(delay).await;
            match self.deliver() {
                Some(result) => result,
                None => {
                    sleep(STATEMENT_TIMEOUT).await;
                    StepResult::Unknown("no answer; it may still be executed".to_owned())
                }
            }
        })
    }
}

impl ClusterAccess for SimulatedAccess {
    fn read_cluster<'a>(
        &'a self,
        _: &'a ClusterName,
        fresh: bool,
    ) -> BoxFuture<'a, Option<ClusterEvidence>> {
        Box::pin(async move { Some(self.read(fresh).await) })
    }

    fn last_known(&self, _: &ClusterName) -> Option<ClusterEvidence> {
        let observer = lock(&self.observer);
        Some(ClusterEvidence {
            evidence: observer.evidence().clone(),
            history: observer.positions().clone(),
            readings: Vec::new(),
        })
    }

    fn set_warnings(&self, _: &ClusterName, _: Vec<String>) {}

    fn open_channel<'a>(
        &'a self,
        _: &'a ClusterName,
        node: &'a NodeId,
        planned: &'a PlannedServer,
    ) -> BoxFuture<'a, Result<Box<dyn StatementChannel>, String>> {
        Box::pin(self.open(node, planned))
    }
}
