//! Explores the model for a given time:
//! `cargo run -p recovery-model -- [SECONDS [REPLICAS [ACTIONS [CHANGES [BLINDNESS [CRASHES [LOCKS [TICKS [MORTAL]]]]]]]]]`.

use std::time::{Duration, Instant};

use recovery_model::{ExplorationBounds, InjectedFlaw, RecoveryModel, SimulatedCluster};
use stateright::{Checker, Model as _};

/// Bound for memory, which may run out before time does: about 200 bytes per generated state.
const STATE_LIMIT: usize = 40_000_000;

fn main() {
    let arguments: Vec<u8> = std::env::args()
        .skip(2)
        .filter_map(|text| text.parse().ok())
        .collect();
    let number = |place: usize, default: u8| arguments.get(place).copied().unwrap_or(default);
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let model = RecoveryModel {
        bounds: ExplorationBounds {
            replicas: usize::from(number(0, 2)),
            actions: usize::from(number(1, 2)),
            approvals: 2,
            view_changes: number(2, 2),
            mortal_nodes: usize::from(number(7, 1)),
            reachability_changes: number(3, 1),
            crashes: number(4, 1),
            locks: number(5, 2),
            ticks: number(6, 3),
        },
        flaw: InjectedFlaw::None,
        initial: SimulatedCluster::isolated(),
    };
    let limit = Duration::from_secs(seconds.unwrap_or(600));
    let begun = Instant::now();
    let checker = model.checker().threads(2).timeout(limit).spawn_bfs().join();
    println!("{:?}", model.bounds);
    println!(
        "{} states explored ({} with repetition), depth {}, in {:.1} s; {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64(),
        if begun.elapsed() < limit && checker.state_count() < STATE_LIMIT {
            "complete"
        } else {
            "not complete"
        },
    );
    let mut broken = false;
    for (name, path) in checker.discoveries() {
        let classification = checker.discovery_classification(name);
        println!(
            "{classification}: {name}, after {} moves",
            path.into_actions().len()
        );
        broken |= classification.to_string() == "counterexample";
    }
    if broken {
        std::process::exit(1);
    }
}
