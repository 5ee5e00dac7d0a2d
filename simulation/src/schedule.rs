//! A schedule: faults, writes and recoveries in an order that a seed decides, and what must hold after each step.

mod conclusion;
mod consoles;
mod counts;
mod episodes;
mod faults;
mod properties;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex};

use galera::judge::known_positions::KnownPositions;
use galera::startup::{AutoBootstrap, StartupSettings};
use galera::{ActionId, ClusterName, NodeId};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::access::SharedCluster;
use crate::agent::SimulatedAgent;
use crate::console::SimulatedConsole;
use crate::registry::{RegistryBackup, SimulatedRegistry};
use crate::replica::{ConsoleReplica, create_accounts};
use galera_specification::{GaleraCluster, NodeIndex};

/// Milliseconds between two probes.
const POLL: u64 = 1_000;
/// Steps of a schedule.
const STEPS: usize = 60;

pub use counts::{FaultKind, ScheduleCounts};

/// A safeguard that a schedule does without, to prove that it would be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovedSafeguard {
    /// None.
    #[default]
    None,
    /// Statements have no deadline (I38).
    NoDeadline,
    /// Agents do not know of forks (I35).
    NoForkCheck,
    /// New data under a member's address have the identity of the former ones (I34).
    NoIdentityCheck,
}

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct PropertyViolation {
    pub seed: u64,
    pub what: String,
    /// Every step until then.
    pub story: Vec<String>,
}

impl fmt::Display for PropertyViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        self.story
            .iter()
            .try_for_each(|step| writeln!(f, "  {step}"))
    }
}

/// Plays the schedule of `seed`.
///
/// # Errors
/// The first property that does not hold.
pub fn play(seed: u64, removed: RemovedSafeguard) -> Result<ScheduleCounts, PropertyViolation> {
    let mut schedule = FaultSchedule::new(seed, removed);
    for _ in 0..STEPS {
        if schedule.ended {
            break;
        }
        let held = schedule.step();
        if let Err(what) = held.and_then(|()| schedule.judge()) {
            return Err(schedule.violation(seed, what));
        }
    }
    if let Err(what) = schedule.conclude() {
        return Err(schedule.violation(seed, what));
    }
    Ok(schedule.counts)
}

struct FaultSchedule {
    random: StdRng,
    /// Decides in which order a mended network connects nodes; apart, so that it does not decide the faults.
    meeting_order: StdRng,
    removed: RemovedSafeguard,
    cluster: GaleraCluster,
    registry: SimulatedRegistry,
    agents: Vec<SimulatedAgent>,
    startup: StartupSettings,
    /// Replicas of the console.
    consoles: Vec<ConsoleReplica>,
    /// What consoles and servers share; the cluster is there only while consoles run.
    shared: Arc<Mutex<SharedCluster>>,
    /// The replica that leads, and since when it has not been able to renew that.
    leader: (usize, u64),
    /// What the leader recorded.
    recorded: (KnownPositions, BTreeSet<NodeId>),
    /// The action that was approved last, while it is open.
    approved: Option<consoles::ApprovedAction>,
    /// The action that was requested and not yet decided.
    pending: Option<ActionId>,
    /// Nodes that an operator has isolated; no client reaches them.
    fenced: BTreeSet<NodeIndex>,
    /// Those of them that were Primary before they were isolated. They serve no client, and an operator who reconnects such a machine
    /// stops its server first.
    fenced_primaries: BTreeSet<NodeIndex>,
    /// Nodes whose host reaches neither the console nor etcd. Clients there do reach them.
    unplugged: BTreeSet<NodeIndex>,
    /// Number of data directories that were replaced.
    replaced: u64,
    /// A backup of etcd.
    backup: Option<RegistryBackup>,
    ended: bool,
    /// What the plan of each order said is lost.
    ordered_losses: BTreeMap<String, Option<u64>>,
    /// The first loss by an order that no plan named.
    unnamed_loss: Option<String>,
    /// The first verdict that denied what was true when it was made.
    wrong_verdict: Option<String>,
    /// Since when the verdict of each console denies that members serve.
    denies_since: BTreeMap<usize, u64>,
    /// Milliseconds since the beginning.
    now: u64,
    /// Acknowledged writes that no plan has given up.
    acknowledged: BTreeSet<u64>,
    counts: ScheduleCounts,
    story: Vec<String>,
}

impl FaultSchedule {
    fn new(seed: u64, removed: RemovedSafeguard) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = *[3, 3, 3, 4, 5].choose(&mut random).unwrap_or(&3);
        let ids: Vec<NodeId> = (1..=count)
            .filter_map(|n| format!("n{n}").parse().ok())
            .collect();
        let unequal = random.random_bool(0.25);
        let mut weight = || match unequal {
            true => random.random_range(0..=3),
            false => 1,
        };
        let mut weights: Vec<u64> = ids.iter().map(|_| weight()).collect();
        // Without a vote no component has quorum.
        if weights.iter().sum::<u64>() == 0 {
            weights[0] = 1;
        }
        let mut cluster = GaleraCluster::formed_with(ids.clone(), &weights);
        cluster.limit_waits();
        let arbitrator = random.random_bool(0.2);
        if arbitrator && let Ok(id) = "arbitrator".parse() {
            let node = cluster.add_arbitrator(id);
            let _ = cluster.start(node);
            cluster.settle();
        }
        let name: ClusterName = "lab"
            .parse()
            .unwrap_or_else(|_| unreachable!("a valid name"));
        let agent = |node| {
            let mut agent = SimulatedAgent::new(node);
            agent.ignores_forks = removed == RemovedSafeguard::NoForkCheck;
            agent.keeps_identity = removed == RemovedSafeguard::NoIdentityCheck;
            agent
        };
        let agents = (0..cluster.nodes().len()).map(agent).collect();
        let auto_bootstrap = match random.random_range(0..3) {
            0 => AutoBootstrap::AllReported,
            _ => AutoBootstrap::Never,
        };
        let startup = StartupSettings {
            auto_bootstrap,
            ..StartupSettings::default()
        };
        let registry = SimulatedRegistry::new(name.clone());
        create_accounts(&registry.etcd().registry());
        let shared = Arc::new(Mutex::new(SharedCluster {
            cluster: GaleraCluster::default(),
            registry: registry.clone(),
            random: StdRng::seed_from_u64(!seed),
            statement_fault: None,
            has_faults: true,
            judges_lateness: removed != RemovedSafeguard::NoDeadline,
            approved_loss: None,
            statement_losses: Vec::new(),
            statement_faults: Vec::new(),
        }));
        let replicas = *[1, 2, 2, 3].choose(&mut random).unwrap_or(&1);
        let console = |number: usize| {
            let observer = SimulatedConsole::new(name.clone(), ids.clone());
            ConsoleReplica::start(&format!("r{number}"), &name, &shared, observer, 0)
        };
        let consoles = (1..=replicas).map(console).collect();
        let mut schedule = Self {
            random,
            meeting_order: StdRng::seed_from_u64(seed.rotate_left(32)),
            removed,
            cluster,
            registry,
            agents,
            startup,
            consoles,
            shared,
            leader: (0, 0),
            recorded: (KnownPositions::default(), BTreeSet::new()),
            approved: None,
            pending: None,
            fenced: BTreeSet::new(),
            fenced_primaries: BTreeSet::new(),
            unplugged: BTreeSet::new(),
            replaced: 0,
            backup: None,
            ended: false,
            ordered_losses: BTreeMap::new(),
            unnamed_loss: None,
            wrong_verdict: None,
            denies_since: BTreeMap::new(),
            now: 0,
            acknowledged: BTreeSet::new(),
            counts: ScheduleCounts::default(),
            story: vec![format!(
                "{count} nodes of weights {weights:?}, {replicas} console(s), {auto_bootstrap:?}{}",
                if arbitrator { ", an arbitrator" } else { "" }
            )],
        };
        if arbitrator {
            schedule.counts.add(FaultKind::Arbitrator);
        }
        if unequal {
            schedule.counts.add(FaultKind::UnequalWeights);
        }
        schedule.turn();
        schedule
    }

    /// Galera's timeouts pass, agents act, consoles execute and poll.
    fn turn(&mut self) {
        self.registry.advance_to(self.now);
        self.cluster.advance_to(self.now);
        self.cluster.settle();
        for node in 0..self.agents.len() {
            let agent = &mut self.agents[node];
            let acted = agent.act(
                &mut self.cluster,
                &mut self.registry,
                &self.startup,
                !self.unplugged.contains(&node),
                self.now,
            );
            if let Some(acted) = acted {
                self.note(format_args!("the agent of n{} {acted}", node + 1));
                self.judge_order(node);
                self.cluster.settle();
            }
        }
        self.run_consoles();
        self.check_verdicts();
    }

    fn violation(self, seed: u64, what: String) -> PropertyViolation {
        PropertyViolation {
            seed,
            what,
            story: self.story,
        }
    }

    fn note(&mut self, what: impl fmt::Display) {
        self.story.push(format!("{:>7} ms  {what}", self.now));
    }

    fn any_node(&mut self) -> NodeIndex {
        self.random.random_range(0..self.cluster.nodes().len())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.random_range(0..100) {
            0..35 => self.write(),
            35..62 => self.fail(),
            62..76 => self.wait(),
            76..78 => return self.lose_hidden_majority(),
            78..80 => return self.delay_statement(),
            _ => return self.recover(),
        }
        Ok(())
    }

    /// The nodes in random order.
    fn shuffled(&mut self) -> Vec<NodeIndex> {
        let mut nodes: Vec<NodeIndex> = (0..self.agents.len()).collect();
        nodes.shuffle(&mut self.random);
        nodes
    }

    fn write(&mut self) {
        for _ in 0..self.random.random_range(1..6) {
            let (node, write) = (self.any_node(), self.counts.acknowledged + 1);
            if !self.fenced.contains(&node) && self.cluster.write(node, write) {
                self.counts.acknowledged = write;
                self.acknowledged.insert(write);
            }
        }
    }

    /// Time passes.
    fn wait(&mut self) {
        let seconds = *[1, 3, 8, 40].choose(&mut self.random).unwrap_or(&1);
        for _ in 0..seconds {
            self.now += POLL;
            self.turn();
        }
    }
}
