//! Plays schedules, and prints how many held, what they did, and the story of the first one that did not hold.
//!
//! `simulation [COUNT [FIRST_SEED [SAFEGUARD]]]`; SAFEGUARD is `no-deadline`, `no-fork-check` or `no-identity-check`, which is then
//! removed, and the run ends at the first schedule that notices it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use simulation::schedule::{PropertyViolation, RemovedSafeguard, ScheduleCounts, play};
use tikv_jemallocator::Jemalloc;

/// Schedules allocate and free small records all the time.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| {
        let text = arguments.get(index);
        text.map_or(Some(otherwise), |text| text.parse().ok())
    };
    let removed = match arguments.get(2).map(String::as_str) {
        None => Some(RemovedSafeguard::None),
        Some("no-deadline") => Some(RemovedSafeguard::NoDeadline),
        Some("no-fork-check") => Some(RemovedSafeguard::NoForkCheck),
        Some("no-identity-check") => Some(RemovedSafeguard::NoIdentityCheck),
        Some(_) => None,
    };
    let (Some(count), Some(first), Some(removed)) = (number(0, 10_000), number(1, 1), removed)
    else {
        eprintln!(
            "usage: simulation [COUNT [FIRST_SEED [no-deadline|no-fork-check|no-identity-check]]]"
        );
        return ExitCode::from(64);
    };
    let began = Instant::now();
    let (total, mut violations) = play_all(count, first, removed);
    violations.sort_by_key(|violation| violation.seed);
    print!("{total}");
    println!("in {:.1} s", began.elapsed().as_secs_f64());
    let Some(earliest) = violations.first() else {
        println!("all {count} schedules held");
        return ExitCode::SUCCESS;
    };
    println!("{earliest}");
    println!("{} schedule(s) did not hold:", violations.len());
    for violation in &violations {
        println!("  seed {}: {}", violation.seed, violation.what);
    }
    ExitCode::FAILURE
}

/// Plays `count` schedules from the seed `first` on, on every core.
fn play_all(
    count: u64,
    first: u64,
    removed: RemovedSafeguard,
) -> (ScheduleCounts, Vec<PropertyViolation>) {
    let next = AtomicU64::new(first);
    let noticed = AtomicBool::new(false);
    let results = Mutex::new((ScheduleCounts::default(), Vec::new()));
    let play_next = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let ends = removed != RemovedSafeguard::None && noticed.load(Ordering::Relaxed);
        if ends || seed - first >= count {
            return;
        }
        let result = play(seed, removed);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(counts) => results.0 += counts,
            Err(violation) => {
                noticed.store(true, Ordering::Relaxed);
                results.1.push(violation);
            }
        }
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(play_next);
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
