//! The executor of a console on simulated servers: what it records of a statement whose answer is lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::sync::{Arc, Mutex};

use actions::ActionDecision;
use galera::observe::registration::ClusterField;
use galera::recover::action::{Action, ActionState};
use galera::recover::attestation::{Attestation, AttestedState};
use galera::recover::plan::ActionKind;
use galera::{ClusterName, NodeId};
use galera_specification::GaleraCluster;
use rand::SeedableRng;
use rand::rngs::StdRng;
use simulation::access::{SharedCluster, StatementFault, lock};
use simulation::console::SimulatedConsole;
use simulation::registry::SimulatedRegistry;
use simulation::replica::{ConsoleReplica, SimulatedPerson, create_accounts};

/// Two of three members are killed; the statement to the third meets `fault`. Returns the ended action, and whether its fork is
/// recorded.
fn bootstrap_with(fault: StatementFault) -> (Action, bool) {
    let name: ClusterName = "lab".parse().unwrap();
    let ids: Vec<NodeId> = ["n1", "n2", "n3"].map(|id| id.parse().unwrap()).into();
    let registry = SimulatedRegistry::new(name.clone());
    create_accounts(&registry.etcd().registry());
    let shared = Arc::new(Mutex::new(SharedCluster {
        cluster: GaleraCluster::formed(ids.clone()),
        registry: registry.clone(),
        random: StdRng::seed_from_u64(1),
        statement_fault: Some(fault),
        has_faults: true,
        judges_lateness: true,
        approved_loss: None,
        statement_losses: Vec::new(),
        statement_faults: Vec::new(),
    }));
    let founder = registry.keys.cluster_key(&name, ClusterField::Founder);
    let observer = SimulatedConsole::new(name.clone(), ids);
    let mut console = ConsoleReplica::start("r1", &name, &shared, observer, 0);
    registry.put(&founder, r#"{"node":"n1"}"#.to_owned(), 0);
    let mut now = 0;
    let mut turn = |console: &mut ConsoleReplica| {
        now += 1_000;
        registry.advance_to(now);
        lock(&shared).cluster.settle();
        console.advance_to(now);
        console.observe();
    };
    turn(&mut console);
    for node in [1, 2] {
        lock(&shared).cluster.kill(node, 0);
    }
    let gone = ["n2", "n3"].map(|id| Attestation {
        node: id.parse().unwrap(),
        statement: AttestedState::Stopped,
        saved_state: None,
    });
    let mut plan = None;
    for _ in 0..120 {
        turn(&mut console);
        plan = console.plan(ActionKind::Bootstrap, &gone);
        if plan.as_ref().is_some_and(|plan| plan.executable) {
            break;
        }
    }
    let plan = plan.unwrap();
    let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
    assert!(plan.executable, "{failing:?}");
    let id = console.request(&plan, &gone, None).unwrap();
    let decision = ActionDecision::Approve { digest: None };
    console
        .decide(SimulatedPerson::Approver, &id, &decision)
        .unwrap();
    for _ in 0..120 {
        turn(&mut console);
        let action = console.action(&id).unwrap();
        if action.state.is_final() {
            let fork = registry.keys.cluster_key(&name, ClusterField::Fork(1));
            return (action, registry.get(&fork).is_some());
        }
    }
    panic!("{:?}", console.action(&id));
}

/// Otherwise members that continued without a bootstrap would be held back as if they were on another branch.
#[test]
fn i35_a_statement_that_never_arrived_leaves_no_fork() {
    let (action, recorded) = bootstrap_with(StatementFault::RequestLost);
    assert_eq!(action.state, ActionState::Failed, "{:?}", action.outcome);
    assert!(!recorded);
}

#[test]
fn i35_a_statement_whose_answer_was_lost_succeeds_with_its_fork() {
    let (action, recorded) = bootstrap_with(StatementFault::AnswerLost);
    assert_eq!(action.state, ActionState::Succeeded, "{:?}", action.outcome);
    assert!(recorded);
}

/// A paused server answers nothing: it may have executed the statement.
#[test]
fn i35_a_statement_to_a_paused_server_stays_unverified_with_its_fork() {
    let (action, recorded) = bootstrap_with(StatementFault::Pause);
    assert_eq!(
        action.state,
        ActionState::Unverified,
        "{:?}",
        action.outcome
    );
    assert!(recorded);
}
