//! A member whose data directory was emptied, but for the identity of the data, beside agents that bootstrap automatically: what
//! only that member had must not be lost unnamed (I37).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::{Arc, Mutex};

use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::{ActionKind, Plan};
use galera::startup::{AutoBootstrap, StartupSettings};
use galera::{ClusterName, NodeId};
use galera_specification::{GaleraCluster, NodeIndex};
use rand::SeedableRng;
use rand::rngs::StdRng;
use simulation::access::{SharedCluster, lock};
use simulation::agent::SimulatedAgent;
use simulation::console::SimulatedConsole;
use simulation::registry::SimulatedRegistry;
use simulation::replica::{ConsoleReplica, create_accounts};

/// Turns of a second within which a cluster that may start automatically is Primary.
const TURNS: usize = 60;
/// The member that was Primary last, alone.
const LAST: NodeIndex = 2;

/// What became of the directory of [`LAST`] while the cluster was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastDirectory {
    Kept,
    /// Everything but the identity is gone.
    Emptied,
    /// A new volume, with a new identity.
    Replaced,
}

/// Three containers with `AUTO_BOOTSTRAP=all-reported`, and a console.
struct StoppedCluster {
    shared: Arc<Mutex<SharedCluster>>,
    registry: SimulatedRegistry,
    agents: Vec<SimulatedAgent>,
    console: ConsoleReplica,
    now: u64,
}

impl StoppedCluster {
    fn formed() -> Self {
        let name: ClusterName = "lab".parse().unwrap();
        let ids: Vec<NodeId> = ["n1", "n2", "n3"].map(|id| id.parse().unwrap()).into();
        let registry = SimulatedRegistry::new(name.clone());
        create_accounts(&registry.etcd().registry());
        let mut cluster = GaleraCluster::formed(ids.clone());
        cluster.limit_waits();
        let shared = Arc::new(Mutex::new(SharedCluster {
            cluster,
            registry: registry.clone(),
            random: StdRng::seed_from_u64(1),
            statement_fault: None,
            has_faults: false,
            judges_lateness: true,
            approved_loss: None,
            statement_losses: Vec::new(),
            statement_faults: Vec::new(),
        }));
        let observer = SimulatedConsole::new(name.clone(), ids);
        let console = ConsoleReplica::start("r1", &name, &shared, observer, 0);
        let mut lab = Self {
            shared,
            registry,
            agents: (0..3).map(SimulatedAgent::new).collect(),
            console,
            now: 0,
        };
        lab.turn();
        lab
    }

    fn turn(&mut self) {
        self.now += 1_000;
        self.registry.advance_to(self.now);
        let settings = StartupSettings {
            auto_bootstrap: AutoBootstrap::AllReported,
            ..StartupSettings::default()
        };
        let cluster = &mut lock(&self.shared).cluster;
        cluster.advance_to(self.now);
        cluster.settle();
        for agent in &mut self.agents {
            agent.act(cluster, &mut self.registry, &settings, true, self.now);
            cluster.settle();
        }
    }

    /// The console runs and observes until now.
    fn observe(&mut self) {
        self.console.advance_to(self.now);
        self.console.observe();
    }

    /// n1 and n2 stop in order, n3 commits alone, later than its agent has reported, and dies.
    fn stop_all(&mut self) {
        assert!(lock(&self.shared).cluster.write(0, 1));
        self.turn();
        self.observe();
        for node in 0..LAST {
            let cluster = &mut lock(&self.shared).cluster;
            cluster.stop(node);
            self.agents[node].stop(cluster, &mut self.registry);
            cluster.settle();
        }
        self.turn();
        self.observe();
        let cluster = &mut lock(&self.shared).cluster;
        assert!(cluster.write(LAST, 2), "n3 is Primary alone");
        cluster.kill(LAST, 0);
        self.agents[LAST].kill(self.now);
    }

    fn start_all(&mut self, directory: LastDirectory) {
        if directory != LastDirectory::Kept {
            self.agents[LAST].keeps_identity = directory == LastDirectory::Emptied;
            self.agents[LAST].replace(&mut lock(&self.shared).cluster, 1);
        }
        for agent in &mut self.agents {
            agent.start(&mut self.registry);
        }
    }

    /// Whether a Primary component forms without a person.
    fn starts_automatically(&mut self) -> bool {
        (0..TURNS).any(|_| {
            self.turn();
            self.observe();
            !lock(&self.shared).cluster.primary_components().is_empty()
        })
    }

    fn plan(&self, attestations: &[Attestation]) -> Plan {
        let plan = self.console.plan(ActionKind::Bootstrap, attestations);
        plan.unwrap()
    }
}

fn restarted(directory: LastDirectory) -> StoppedCluster {
    let mut lab = StoppedCluster::formed();
    lab.stop_all();
    lab.start_all(directory);
    lab
}

#[test]
fn i37_all_members_with_their_data_start_automatically() {
    assert!(restarted(LastDirectory::Kept).starts_automatically());
}

#[test]
fn i37_an_emptied_directory_of_a_member_is_waited_for() {
    for directory in [LastDirectory::Emptied, LastDirectory::Replaced] {
        let mut lab = restarted(directory);
        assert!(!lab.starts_automatically(), "{directory:?}");
        let waits = lab.agents.iter().map(|agent| agent.explanation.as_str());
        assert!(
            waits.clone().any(|why| why.contains("n3")),
            "{directory:?}: {:?}",
            waits.collect::<Vec<_>>()
        );
        // Two people may start it without what n3 had: the plan does not claim to know what is lost.
        let removed = Attestation {
            node: "n3".parse().unwrap(),
            statement: AttestedState::Decommissioned,
            saved_state: None,
        };
        for attestations in [&[][..], &[removed]] {
            let loss = lab.plan(attestations).loss;
            assert!(
                loss.transactions.is_none() || loss.at_least,
                "{directory:?} {attestations:?}: {loss:?}"
            );
        }
    }
}
