//! The protocol within bounds that a test can afford, and proof that the model notices what it should.

use recovery_model::{Cluster, Model, Sizes, Weakness};
use stateright::{Checker, HasDiscoveries, Model as _};

/// A network that changes twice: enough for a cluster to heal and to fall apart again behind a replica's back.
const RESTLESS: Sizes = Sizes {
    replicas: 2,
    actions: 1,
    approvals: 2,
    changes: 2,
    mortal: 0,
    blindness: 0,
    crashes: 0,
    locks: 2,
    ticks: 2,
};

fn model(sizes: Sizes, weakness: Weakness) -> Model {
    Model {
        sizes,
        weakness,
        begin: Cluster::isolated(),
    }
}

/// Explores everything within `sizes` and expects every property to hold.
fn holds(sizes: Sizes) {
    let checker = model(sizes, Weakness::None)
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
    holds(RESTLESS);
}

#[test]
fn i17_dying_replicas_and_servers_break_nothing() {
    holds(Sizes {
        changes: 1,
        mortal: 1,
        blindness: 1,
        crashes: 1,
        ..RESTLESS
    });
}

/// Finds the counterexample to `property` when `weakness` is built in.
fn breaks(sizes: Sizes, weakness: Weakness, property: &'static str) {
    let checker = model(sizes, weakness)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyOf([property].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    let states = checker.unique_state_count();
    assert!(
        path.is_some(),
        "{weakness:?} is not noticed in {states} states"
    );
    println!(
        "{weakness:?}, after {states} states: {:?}",
        path.map(|path| path.into_actions())
    );
}

#[test]
fn a_statement_without_a_window_makes_a_second_primary() {
    breaks(
        RESTLESS,
        Weakness::LateStatements,
        "never two Primary components",
    );
}

#[test]
fn without_a_second_look_a_second_primary_appears() {
    breaks(
        RESTLESS,
        Weakness::NoSecondLook,
        "never two Primary components",
    );
}

#[test]
fn a_repeated_step_uses_an_approval_twice() {
    let sizes = Sizes {
        changes: 0,
        ..RESTLESS
    };
    breaks(sizes, Weakness::Repeat, "no approval is used twice");
}
