//! One replica of the console: its real actions service on its own runtime, whose clock the schedule advances.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use accounts::{UserName, UserRecord};
use actions::{
    ActionDecision, ActionError, ActionProposal, ActionService, ActionSettings, BreakGlassProposal,
};
use console_core::audit::AuditTrail;
use console_core::clock::simulated;
use console_core::keyspace::AccountKeys;
use console_core::tasks::Tasks;
use futures::FutureExt;
use galera::access::Role;
use galera::publish::accounts::AccountKind;
use galera::recover::action::{Action, ActionLimits, Actor};
use galera::recover::attestation::Attestation;
use galera::recover::bootstrap::{RecoveryReach, RecoverySettings};
use galera::recover::plan::{ActionKind, CheckCode, Plan};
use galera::{ActionId, ClusterName, ReplicaId, Timestamp};
use registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep};
use uuid::Uuid;

use crate::access::{SharedCluster, SimulatedAccess, lock};
use crate::clock::at;
use crate::console::SimulatedConsole;
use crate::order_key::order_key;

/// Prefix of the consoles' own state.
const STATE: &str = "/state";
/// How long the lock of a cluster outlives its holder.
const LOCK_TTL: Duration = Duration::from_secs(10);

/// Who requests, who approves, and who overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedPerson {
    Operator,
    Approver,
    Administrator,
}

impl SimulatedPerson {
    const ALL: [Self; 3] = [Self::Operator, Self::Approver, Self::Administrator];

    const fn name(self) -> &'static str {
        match self {
            Self::Operator => "olga",
            Self::Approver => "adam",
            Self::Administrator => "root",
        }
    }

    const fn role(self) -> Role {
        match self {
            Self::Operator => Role::Operator,
            Self::Approver => Role::Approver,
            Self::Administrator => Role::Admin,
        }
    }

    fn record(self) -> UserRecord {
        UserRecord {
            kind: AccountKind::default(),
            password_hash: String::new(),
            credential: Uuid::from_u128(self as u128 + 1),
            roles: vec![self.role()],
            grants: Vec::new(),
            groups: Vec::new(),
            external: None,
            email: None,
            factor: None,
            disabled: false,
            created_at: at(0),
            changed_at: at(0),
        }
    }

    fn actor(self) -> Actor {
        Actor {
            name: self.name().to_owned(),
            roles: vec![self.role()],
            credential: self.record().credential_tag(),
            groups: Vec::new(),
        }
    }
}

/// Creates the accounts that schedules use.
pub fn create_accounts(registry: &Registry) {
    let keys = AccountKeys::new(STATE);
    for person in SimulatedPerson::ALL {
        let Ok(name) = person.name().parse::<UserName>() else {
            continue;
        };
        let value = serde_json::to_vec(&person.record()).unwrap_or_default();
        registry
            .put(keys.user(name.as_str()), value, None)
            .now_or_never();
    }
}

/// A replica. While it is paused, its runtime does not run; afterwards everything that was due happens at once.
pub struct ConsoleReplica {
    name: String,
    cluster: ClusterName,
    shared: Arc<Mutex<SharedCluster>>,
    pub observer: Arc<Mutex<SimulatedConsole>>,
    process: ConsoleProcess,
    /// Number of processes so far.
    starts: u32,
    pub paused: bool,
    clock_ahead: i64,
}

struct ConsoleProcess {
    runtime: Runtime,
    began: (u64, Instant),
    access: Arc<SimulatedAccess>,
    service: ActionService,
}

impl ConsoleReplica {
    /// Starts the replica `name` at `now`, in milliseconds since the beginning.
    #[must_use]
    pub fn start(
        name: &str,
        cluster: &ClusterName,
        shared: &Arc<Mutex<SharedCluster>>,
        observer: SimulatedConsole,
        now: u64,
    ) -> Self {
        let observer = Arc::new(Mutex::new(observer));
        Self {
            process: ConsoleProcess::start(&format!("{name}-0"), shared, &observer, at(now), now),
            name: name.to_owned(),
            cluster: cluster.clone(),
            shared: Arc::clone(shared),
            observer,
            starts: 1,
            paused: false,
            clock_ahead: 0,
        }
    }

    /// Kills its process and starts another one at `now`.
    pub fn restart(&mut self, now: u64) {
        lock(&self.observer).restart();
        let name = format!("{}-{}", self.name, self.starts);
        let shown = at(now).shifted(self.clock_ahead);
        self.process = ConsoleProcess::start(&name, &self.shared, &self.observer, shown, now);
        self.starts += 1;
        self.paused = false;
    }

    /// Sets its clock: `ahead` milliseconds ahead.
    pub fn set_clock(&mut self, ahead: i64) {
        self.clock_ahead = ahead;
        lock(&self.observer).set_clock(ahead);
    }

    /// By how many milliseconds its clock is ahead.
    #[must_use]
    pub const fn clock_ahead(&self) -> i64 {
        self.clock_ahead
    }

    /// Runs its tasks until `now`, in milliseconds since the beginning; not while it is paused.
    pub fn advance_to(&mut self, now: u64) {
        if self.paused {
            return;
        }
        self.run(async |since: u64| {
            let left = now.saturating_sub(since);
            // What came due in a pause happens at once, as when a process continues.
            if left > 1_000 {
                advance(Duration::from_millis(left - 1)).await;
            }
            sleep(Duration::from_millis(left.min(1_000))).await;
        });
    }

    /// Probes the nodes, reads the registry and judges.
    pub fn observe(&mut self) {
        let (shared, observer) = (Arc::clone(&self.shared), Arc::clone(&self.observer));
        let started = self.process.access.started();
        self.run(async |_| {
            let shared = lock(&shared);
            let mut observer = lock(&observer);
            let now = console_core::clock::now();
            observer.observe(&shared.cluster, &shared.registry, &started, now);
            observer.judge(now);
        });
    }

    /// What `task` returns, which gets the time: milliseconds since the beginning.
    fn run<T>(&self, task: impl AsyncFnOnce(u64) -> T) -> T {
        let process = &self.process;
        let _runtime = process.runtime.enter();
        let (millis, since) = process.began;
        let time = millis + u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let _clock = simulated::show(at(time).shifted(self.clock_ahead));
        process.runtime.block_on(task(time))
    }

    /// The plan of `kind` with these attestations.
    #[must_use]
    pub fn plan(&self, kind: ActionKind, attestations: &[Attestation]) -> Option<Plan> {
        let service = &self.process.service;
        self.run(async |_| service.plan(kind, &self.cluster, attestations).await.ok())
    }

    /// Requests what `plan` describes. With `overrides` an administrator does, against these checks.
    ///
    /// # Errors
    /// As [`ActionService::request`].
    pub fn request(
        &self,
        plan: &Plan,
        attestations: &[Attestation],
        overrides: Option<Vec<CheckCode>>,
    ) -> Result<ActionId, ActionError> {
        let person = match overrides {
            Some(_) => SimulatedPerson::Administrator,
            None => SimulatedPerson::Operator,
        };
        let proposal = ActionProposal {
            kind: plan.kind,
            plan_digest: plan.digest.clone(),
            confirm: self.cluster.to_string(),
            reason: "simulated".to_owned(),
            attestations: attestations.to_vec(),
            break_glass: overrides.map(|overrides| BreakGlassProposal { overrides }),
        };
        let (service, actor) = (&self.process.service, person.actor());
        let requested = self.run(async |_| service.request(&actor, &self.cluster, &proposal).await);
        requested.map(|published| published.value.action.id.clone())
    }

    /// Decides on an action.
    ///
    /// # Errors
    /// As [`ActionService::decide`].
    pub fn decide(
        &self,
        by: SimulatedPerson,
        id: &ActionId,
        decision: &ActionDecision,
    ) -> Result<(), ActionError> {
        let (service, actor) = (&self.process.service, by.actor());
        let decided = self.run(async |_| service.decide(&actor, id.as_str(), decision, None).await);
        decided.map(drop)
    }

    /// The action as this replica shows it.
    #[must_use]
    pub fn action(&self, id: &ActionId) -> Option<Action> {
        let service = &self.process.service;
        let found = self.run(async |_| service.get(id.as_str()).await.ok());
        found.map(|published| published.value.action.clone())
    }
}

impl ConsoleProcess {
    fn start(
        replica: &str,
        shared: &Arc<Mutex<SharedCluster>>,
        observer: &Arc<Mutex<SimulatedConsole>>,
        shown: Timestamp,
        now: u64,
    ) -> Self {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => panic!("a runtime without a network: {error}"),
        };
        let entered = runtime.enter();
        let _clock = simulated::show(shown);
        let began = (now, Instant::now());
        let access = Arc::new(SimulatedAccess {
            shared: Arc::clone(shared),
            observer: Arc::clone(observer),
            began,
            actions: OnceLock::new(),
        });
        let registry = lock(shared).registry.etcd().connect().registry();
        let trail = AuditTrail::new(registry.clone(), STATE);
        let settings = ActionSettings {
            replica: ReplicaId::new(replica),
            registry_prefix: "/galera".to_owned(),
            state_prefix: STATE.to_owned(),
            plan: RecoverySettings::default(),
            approvals: BTreeMap::new(),
            cluster_approvals: Vec::new(),
            labels: console_core::current_labels::CurrentLabels::default(),
            limits: ActionLimits::default(),
            lock_ttl: LOCK_TTL,
            recovery_reach: RecoveryReach::Everywhere,
            order_key: Some(Arc::clone(order_key())),
        };
        let clusters = Arc::clone(&access) as Arc<dyn actions::ClusterAccess>;
        let service = ActionService::start(settings, registry, trail, clusters, &Tasks::default());
        let _ = access.actions.set(service.subscribe());
        drop(entered);
        Self {
            runtime,
            began,
            access,
            service,
        }
    }
}
