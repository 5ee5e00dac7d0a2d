//! Plays schedules and prints how many held, or the story of the first one that did not.
//!
//! `simulation [COUNT [FIRST_SEED [MUTATION]]]`; MUTATION is `no-deadline`, `no-fork-check` or `no-identity-check`.

use std::process::ExitCode;
use std::time::Instant;

use simulation::schedule::{Mutation, ScheduleCounts, play};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| {
        let text = arguments.get(index);
        text.map_or(Some(otherwise), |text| text.parse().ok())
    };
    let mutation = match arguments.get(2).map(String::as_str) {
        None => Some(Mutation::None),
        Some("no-deadline") => Some(Mutation::NoDeadline),
        Some("no-fork-check") => Some(Mutation::NoForkCheck),
        Some("no-identity-check") => Some(Mutation::NoIdentityCheck),
        Some(_) => None,
    };
    let (Some(count), Some(first), Some(mutation)) = (number(0, 10_000), number(1, 1), mutation)
    else {
        eprintln!(
            "usage: simulation [COUNT [FIRST_SEED [no-deadline|no-fork-check|no-identity-check]]]"
        );
        return ExitCode::from(64);
    };
    let began = Instant::now();
    let mut total = ScheduleCounts::default();
    for seed in first..first.saturating_add(count) {
        match play(seed, mutation) {
            Ok(counts) => {
                total.acknowledged += counts.acknowledged;
                total.faults += counts.faults;
                total.bootstraps += counts.bootstraps;
                total.refused_plans += counts.refused_plans;
            }
            Err(violation) => {
                println!("{violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{count} schedules held: {} faults, {} acknowledged writes, {} bootstraps, {} refused plans, in {:.1} s",
        total.faults,
        total.acknowledged,
        total.bootstraps,
        total.refused_plans,
        began.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
