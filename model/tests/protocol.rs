//! The protocol within bounds that a test can afford, and proof that the model detects injected flaws.

use recovery_model::{ExplorationBounds, InjectedFlaw, RecoveryModel, SimulatedCluster};
use stateright::{Checker, HasDiscoveries, Model as _};

/// A network that changes twice: enough for a cluster to heal and split again between two observations of a replica.
const UNSTABLE_NETWORK: ExplorationBounds = ExplorationBounds {
    replicas: 2,
    actions: 1,
    approvals: 2,
    view_changes: 2,
    mortal_nodes: 0,
    reachability_changes: 0,
    crashes: 0,
    locks: 2,
    ticks: 2,
};

fn model(sizes: ExplorationBounds, flaw: InjectedFlaw) -> RecoveryModel {
    RecoveryModel {
        bounds: sizes,
        flaw,
        initial: SimulatedCluster::isolated(),
    }
}

/// Explores everything within `sizes` and asserts that every property holds.
fn assert_properties_hold(sizes: ExplorationBounds) {
    let checker = model(sizes, InjectedFlaw::None)
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    println!(
        "{sizes:?}: {} states, depth {}",
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn i16_i17_a_restless_network_makes_no_second_primary() {
    assert_properties_hold(UNSTABLE_NETWORK);
}

#[test]
fn i17_dying_replicas_and_servers_break_nothing() {
    assert_properties_hold(ExplorationBounds {
        view_changes: 1,
        mortal_nodes: 1,
        reachability_changes: 1,
        crashes: 1,
        ..UNSTABLE_NETWORK
    });
}

/// Asserts that the injected flaw leads to a counterexample to `property`.
fn assert_flaw_found(sizes: ExplorationBounds, flaw: InjectedFlaw, property: &'static str) {
    let checker = model(sizes, flaw)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    let states = checker.unique_state_count();
    assert!(
        path.is_some(),
        "{flaw:?} is not detected in {states} states"
    );
    println!(
        "{flaw:?}, after {states} states: {:?}",
        path.map(|path| path.into_actions())
    );
}

#[test]
fn a_statement_without_a_window_makes_a_second_primary() {
    assert_flaw_found(
        UNSTABLE_NETWORK,
        InjectedFlaw::LateStatements,
        "never two Primary components",
    );
}

#[test]
fn without_a_second_look_a_second_primary_appears() {
    assert_flaw_found(
        UNSTABLE_NETWORK,
        InjectedFlaw::NoRecheck,
        "never two Primary components",
    );
}

#[test]
fn a_repeated_step_uses_an_approval_twice() {
    let sizes = ExplorationBounds {
        view_changes: 0,
        ..UNSTABLE_NETWORK
    };
    assert_flaw_found(
        sizes,
        InjectedFlaw::RepeatedStep,
        "no approval is used twice",
    );
}
