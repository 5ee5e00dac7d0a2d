//! A schedule: faults, writes and recoveries in an order that a seed decides, and what must hold after each step.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::AddAssign;

use galera::observe::registration::ClusterField;
use galera::recover::plan::{Mechanism, Plan, PlanTarget};
use galera::startup::{AutoBootstrap, StartupSettings};
use galera::view::VerdictState;
use galera::{ActionId, ClusterName, NodeId};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::agent::{SimulatedAgent, TTL};
use crate::clock::at;
use crate::console::SimulatedConsole;
use crate::registry::SimulatedRegistry;
use crate::specification::{GaleraCluster, LateStatement, NodeIndex, Transaction};

/// Milliseconds between two probes.
const POLL: u64 = 1_000;
/// Milliseconds after its approval until which a server executes a statement.
const STATEMENT_LIFETIME: u64 = 2_000;
/// Steps of a schedule.
const STEPS: usize = 60;

/// A safeguard that a schedule does without, to prove that it would be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
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

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduleCounts {
    pub acknowledged: u64,
    pub faults: u64,
    pub bootstraps: u64,
    pub refused_plans: u64,
}

impl AddAssign for ScheduleCounts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.faults += other.faults;
        self.bootstraps += other.bootstraps;
        self.refused_plans += other.refused_plans;
    }
}

impl fmt::Display for ScheduleCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} faults, {} acknowledged writes, {} bootstraps, {} refused plans",
            self.faults, self.acknowledged, self.bootstraps, self.refused_plans
        )
    }
}

/// A property that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
    /// Every step until then.
    pub story: Vec<String>,
}

impl fmt::Display for Violation {
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
pub fn play(seed: u64, mutation: Mutation) -> Result<ScheduleCounts, Violation> {
    let mut schedule = Schedule::new(seed, mutation);
    for _ in 0..STEPS {
        if schedule.ended {
            break;
        }
        let held = schedule.step();
        if let Err(what) = held.and_then(|()| schedule.judge()) {
            return Err(Violation {
                seed,
                what,
                story: schedule.story,
            });
        }
    }
    Ok(schedule.counts)
}

struct Schedule {
    random: StdRng,
    mutation: Mutation,
    cluster: GaleraCluster,
    registry: SimulatedRegistry,
    agents: Vec<SimulatedAgent>,
    startup: StartupSettings,
    console: SimulatedConsole,
    /// Statements whose forks are not recorded yet.
    unrecorded: Vec<(ActionId, PlanTarget)>,
    /// Nodes that an operator has isolated; no client reaches them.
    fenced: BTreeSet<NodeIndex>,
    /// Nodes whose host reaches neither the console nor etcd. Clients there do reach them.
    unplugged: BTreeSet<NodeIndex>,
    /// Whether the next statement meets a machine that has just paused.
    pauses_at_statement: bool,
    /// Number of data directories that were replaced.
    replaced: u64,
    ended: bool,
    /// The first verdict that denied what was true when it was made.
    wrong_verdict: Option<String>,
    /// Since when the verdict denies that members serve.
    denies_since: Option<u64>,
    /// Milliseconds since the beginning.
    now: u64,
    /// Acknowledged writes that no plan has given up.
    acknowledged: BTreeSet<u64>,
    counts: ScheduleCounts,
    story: Vec<String>,
}

impl Schedule {
    fn new(seed: u64, mutation: Mutation) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = *[3, 3, 3, 4, 5].choose(&mut random).unwrap_or(&3);
        let ids: Vec<NodeId> = (1..=count)
            .filter_map(|n| format!("n{n}").parse().ok())
            .collect();
        let cluster = GaleraCluster::formed(ids.clone());
        let name: ClusterName = "lab"
            .parse()
            .unwrap_or_else(|_| unreachable!("a valid name"));
        let agent = |node| {
            let mut agent = SimulatedAgent::new(node);
            agent.ignores_forks = mutation == Mutation::NoForkCheck;
            agent.keeps_identity = mutation == Mutation::NoIdentityCheck;
            agent
        };
        let agents = (0..ids.len()).map(agent).collect();
        let auto_bootstrap = match random.random_range(0..3) {
            0 => AutoBootstrap::AllReported,
            _ => AutoBootstrap::Never,
        };
        let startup = StartupSettings {
            auto_bootstrap,
            ..StartupSettings::default()
        };
        let mut schedule = Self {
            random,
            mutation,
            cluster,
            registry: SimulatedRegistry::new(name.clone()),
            agents,
            startup,
            console: SimulatedConsole::new(name, ids),
            unrecorded: Vec::new(),
            fenced: BTreeSet::new(),
            unplugged: BTreeSet::new(),
            pauses_at_statement: false,
            replaced: 0,
            ended: false,
            wrong_verdict: None,
            denies_since: None,
            now: 0,
            acknowledged: BTreeSet::new(),
            counts: ScheduleCounts::default(),
            story: vec![format!("{count} nodes, {auto_bootstrap:?}")],
        };
        schedule.turn();
        schedule
    }

    /// Galera's timeouts pass, agents act, the console polls.
    fn turn(&mut self) {
        self.registry.now = self.now;
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
                self.cluster.settle();
            }
        }
        self.console
            .observe(&self.cluster, &self.registry, self.now);
        self.check_verdict();
        let unrecorded = std::mem::take(&mut self.unrecorded);
        for (action, target) in unrecorded {
            if let Some((epoch, record)) = self.console.fork(&target, &action, self.now) {
                let field = ClusterField::Fork(epoch);
                let key = self
                    .registry
                    .keys
                    .cluster_key(&self.registry.cluster, field);
                self.registry.put(&key, record.to_value(), 0);
                self.note(format_args!("fork {epoch} at {}", record.seqno));
            }
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

    /// Every node but one goes on where neither console nor etcd sees it, dies, and returns after that one was
    /// bootstrapped.
    fn lose_hidden_majority(&mut self) -> Result<(), String> {
        let nodes = self.shuffled();
        let (survivor, hidden) = (nodes[0], &nodes[1..]);
        self.note(format_args!("all but n{} are unplugged", survivor + 1));
        for &node in hidden {
            self.unplugged.insert(node);
            self.console.unreachable.insert(node);
            self.cluster.set_cut(survivor, node, true);
        }
        self.wait();
        self.write();
        if self.random.random_bool(0.3) {
            let hidden = hidden.to_vec();
            return self.replace_hidden(survivor, &hidden);
        }
        for &node in hidden {
            self.note(format_args!("kill n{}", node + 1));
            self.cluster.kill(node, 0);
            self.agents[node].kill(self.now);
        }
        self.wait();
        self.recover()?;
        self.reconnect();
        self.judge()?;
        for _ in 0..self.random.random_range(0..4) {
            self.write();
            self.wait();
        }
        for &node in hidden {
            self.agents[node].start(&mut self.registry);
            self.wait();
            self.judge()?;
        }
        Ok(())
    }

    /// The orchestrator starts empty containers under the addresses of nodes that run on out of sight; these are not
    /// attested as stopped. The schedule ends with it.
    fn replace_hidden(&mut self, survivor: NodeIndex, hidden: &[NodeIndex]) -> Result<(), String> {
        let old: Vec<NodeIndex> = (0..self.agents.len())
            .filter(|&node| node != survivor)
            .collect();
        for &node in hidden {
            let id = self.cluster.nodes()[node].id.clone();
            self.note(format_args!("an empty container as {id}"));
            let new = self.cluster.add_node(id);
            for &other in &old {
                self.cluster.set_cut(new, other, true);
            }
            let mut agent =
                self.agents[node].successor(new, self.mutation == Mutation::NoIdentityCheck);
            agent.start(&mut self.registry);
            self.agents.push(agent);
        }
        for _ in 0..3 {
            self.wait();
            self.judge()?;
            self.recover()?;
            self.judge()?;
        }
        self.ended = true;
        Ok(())
    }

    /// Two halves that do not see each other: the machine of one pauses with the statement, is fenced, and continues after
    /// the other half was bootstrapped.
    fn delay_statement(&mut self) -> Result<(), String> {
        let nodes = self.shuffled();
        let half = nodes.len() / 2;
        for &one in &nodes[..half] {
            for &other in &nodes[half..] {
                self.cluster.set_cut(one, other, true);
            }
        }
        // An odd node dies first, so that neither half has quorum.
        if nodes.len() % 2 == 1 {
            let odd = nodes[nodes.len() - 1];
            self.note(format_args!("kill n{}", odd + 1));
            self.cluster.kill(odd, 0);
            self.agents[odd].kill(self.now);
        }
        self.note("two halves");
        self.wait();
        self.pauses_at_statement = true;
        self.recover()?;
        self.pauses_at_statement = false;
        for node in nodes {
            let server = self.cluster.nodes()[node].server.as_ref();
            if server.is_some_and(|server| server.paused) {
                // The whole host pauses: every node of that half.
                for other in self.cluster.nodes()[node]
                    .server
                    .iter()
                    .flat_map(|one| one.members.clone())
                    .collect::<Vec<_>>()
                {
                    self.cluster.set_paused(other, true, self.now);
                }
            }
        }
        self.fence_paused();
        self.wait();
        self.recover()?;
        for node in 0..self.agents.len() {
            self.cluster.set_paused(node, false, self.now);
        }
        self.judge()?;
        self.reconnect();
        Ok(())
    }

    /// Every host reaches every other again.
    fn reconnect(&mut self) {
        self.note("heal");
        self.cluster.heal();
        self.fenced.clear();
        self.unplugged.clear();
        self.console.unreachable.clear();
    }

    /// A new, empty volume for a node that is stopped.
    fn replace(&mut self, node: NodeIndex) {
        if !self.agents[node].running {
            self.note(format_args!("n{} has a new, empty volume", node + 1));
            self.replaced += 1;
            self.agents[node].replace(&mut self.cluster, self.replaced);
        }
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

    fn fail(&mut self) {
        let node = self.any_node();
        let name = self.cluster.nodes()[node].id.clone();
        self.counts.faults += 1;
        match self.random.random_range(0..100) {
            0..22 => {
                self.note(format_args!("kill {name}"));
                self.cluster.kill(node, 0);
                self.agents[node].kill(self.now);
            }
            22..30 => {
                self.note(format_args!("stop {name}"));
                if self.cluster.nodes()[node]
                    .server
                    .as_ref()
                    .is_some_and(|server| !server.paused)
                {
                    self.cluster.stop(node);
                    self.agents[node].stop(&self.cluster, &mut self.registry);
                }
            }
            30..50 => {
                self.note(format_args!("start {name}"));
                self.agents[node].start(&mut self.registry);
            }
            50..58 => {
                self.note(format_args!("pause {name}"));
                self.cluster.set_paused(node, true, self.now);
            }
            58..68 => {
                self.note(format_args!("resume {name}"));
                self.cluster.set_paused(node, false, self.now);
            }
            68..82 => {
                let other = self.any_node();
                if other != node {
                    self.note(format_args!("cut n{} from n{}", node + 1, other + 1));
                    self.cluster.set_cut(node, other, true);
                }
            }
            82..87 => self.reconnect(),
            87..88 => self.replace(node),
            88..92 => {
                self.note(format_args!("hide {name} from the console"));
                self.console.unreachable.insert(node);
            }
            92..97 => {
                self.note("the console reaches every node");
                self.console.unreachable.clear();
            }
            _ => {
                self.note("restart the console");
                self.console.restart();
            }
        }
    }

    /// Two people recover: they attest what is true, and only that.
    fn recover(&mut self) -> Result<(), String> {
        if self.random.random_bool(0.5) {
            self.fence_paused();
        }
        let mut plan = self.console.plan(&self.stopped_members(), self.now);
        // Most of what forbids a plan at first is that too little time has passed.
        for _ in 0..self.random.random_range(0..40) {
            if plan.executable || !self.cluster.primary_components().is_empty() {
                break;
            }
            self.now += POLL;
            self.turn();
            plan = self.console.plan(&self.stopped_members(), self.now);
        }
        let stopped = self.stopped_members();
        if !plan.executable {
            self.counts.refused_plans += 1;
            return Ok(());
        }
        let Some(target) = plan.target.clone() else {
            return Ok(());
        };
        // Until the approval, anything may happen.
        for _ in 0..self.random.random_range(0..3) {
            self.fail();
        }
        self.wait();
        let still_true = stopped
            .iter()
            .all(|node| self.stopped_members().contains(node));
        let again = self.console.plan(&stopped, self.now);
        let unchanged = again.executable && again.digest == plan.digest;
        if !still_true || !unchanged {
            self.note("superseded");
            return Ok(());
        }
        self.counts.bootstraps += 1;
        let action = ActionId::new(
            at(self.now),
            u32::try_from(self.counts.bootstraps).unwrap_or(0),
        );
        match target.mechanism {
            Mechanism::Statement => {
                let node = target.node.as_ref().and_then(|id| self.index_of(id));
                node.map_or(Ok(()), |node| self.execute(node, &again, action))
            }
            Mechanism::Order => {
                self.order(&again, &action);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes the signed order of `plan`; what it gives up is judged when it is obeyed.
    fn order(&mut self, plan: &Plan, action: &ActionId) {
        if let Some(order) = self.console.order(plan, action, self.now) {
            self.note(format_args!(
                "order to {} at {}",
                order.node, order.position
            ));
            let field = ClusterField::Bootstrap;
            let key = self
                .registry
                .keys
                .cluster_key(&self.registry.cluster, field);
            let lease = self.registry.grant();
            self.registry.put(&key, order.to_value(), lease);
        }
    }

    fn execute(&mut self, node: NodeIndex, plan: &Plan, action: ActionId) -> Result<(), String> {
        let deadline = match self.mutation {
            Mutation::NoDeadline => None,
            _ => Some(self.now + STATEMENT_LIFETIME),
        };
        let loss = plan.loss.transactions;
        self.note(format_args!("bootstrap n{}, loss {loss:?}", node + 1));
        // The machine may pause with the statement on its way.
        if self.pauses_at_statement || self.random.random_range(0..4) == 0 {
            self.note(format_args!("pause n{} first", node + 1));
            self.cluster.set_paused(node, true, self.now);
        }
        self.cluster
            .bootstrap(node, LateStatement { deadline }, self.now);
        self.cluster.settle();
        if let Some(target) = plan.target.clone() {
            self.unrecorded.push((action, target));
        }
        self.give_up(node, loss)
    }

    /// Acknowledged writes that the new Primary component lacks must be covered by what the plan said.
    fn give_up(&mut self, node: NodeIndex, loss: Option<u64>) -> Result<(), String> {
        let own = &self.cluster.nodes()[node];
        if !own
            .server
            .as_ref()
            .is_some_and(|server| server.is_primary())
        {
            return Ok(());
        }
        let kept: BTreeSet<u64> = own
            .data
            .transactions
            .iter()
            .filter_map(|one| match one {
                Transaction::Write(write) => Some(*write),
                Transaction::View(_) => None,
            })
            .collect();
        let lost: Vec<u64> = self.acknowledged.difference(&kept).copied().collect();
        for write in &lost {
            self.acknowledged.remove(write);
        }
        match loss {
            Some(named) if (lost.len() as u64) > named => Err(format!(
                "the plan said that at most {named} transaction(s) are lost, but {} acknowledged writes are",
                lost.len()
            )),
            _ => Ok(()),
        }
    }

    /// Isolates every paused machine from clients and from the other nodes, as an operator does who cannot reach it.
    fn fence_paused(&mut self) {
        for node in 0..self.cluster.nodes().len() {
            let server = self.cluster.nodes()[node].server.as_ref();
            if server.is_some_and(|server| server.paused) && self.fenced.insert(node) {
                self.note(format_args!("fence n{}", node + 1));
                for other in 0..self.cluster.nodes().len() {
                    self.cluster.set_cut(node, other, true);
                }
            }
        }
    }

    /// Members that run no server, and fenced ones: what two people truthfully attest.
    fn stopped_members(&self) -> Vec<NodeId> {
        let nodes = self.cluster.nodes().iter();
        nodes
            .zip(&self.agents)
            .enumerate()
            .filter(|(index, (node, agent))| {
                let mut namesakes = self.cluster.nodes().iter();
                let none_runs =
                    namesakes.all(|other| other.id != node.id || other.server.is_none());
                none_runs && !agent.running || self.fenced.contains(index)
            })
            .map(|(_, (node, _))| node.id.clone())
            .collect()
    }

    fn index_of(&self, id: &NodeId) -> Option<NodeIndex> {
        let mut nodes = self.cluster.nodes().iter().enumerate();
        nodes
            .find(|(node, own)| own.id == *id && !self.unplugged.contains(node))
            .map(|(node, _)| node)
    }

    /// I43: while members serve, wherever, no verdict says that none does, for longer than the lease of an agent that
    /// reported another state may live.
    fn check_verdict(&mut self) {
        let Some(view) = self.console.view() else {
            return;
        };
        let denies = matches!(
            view.verdict.state,
            VerdictState::NoPrimary | VerdictState::Down
        );
        let serving = self.cluster.primary_components();
        if !denies || serving.is_empty() {
            self.denies_since = None;
            return;
        }
        let since = *self.denies_since.get_or_insert(self.now);
        if self.now - since > TTL && self.wrong_verdict.is_none() {
            let reasons: Vec<String> = view
                .verdict
                .reasons
                .iter()
                .map(|reason| reason.message.clone())
                .collect();
            self.wrong_verdict = Some(format!(
                "the verdict is {:?} while {serving:?} serve: {}",
                view.verdict.state,
                reasons.join(" ")
            ));
            self.note("a wrong verdict");
        }
    }

    fn judge(&self) -> Result<(), String> {
        if let Some(wrong) = &self.wrong_verdict {
            return Err(wrong.clone());
        }
        let primaries = self.cluster.primary_components();
        if primaries.len() > 1 {
            return Err(format!(
                "{} Primary components: {primaries:?}",
                primaries.len()
            ));
        }
        if self.cluster.has_diverged() {
            return Err(format!(
                "members of {primaries:?} have different data and are Synced"
            ));
        }
        Ok(())
    }
}
