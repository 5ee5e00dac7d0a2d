//! Allocations of one fold with everything that its monitor does, and of serializing a view for its first reader.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made has to stop"
)]

use std::alloc::System;
use std::hint::black_box;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[path = "../fold/cluster.rs"]
mod cluster;

use cluster::{BenchCluster, FoldCase, SIZES};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Folds that are counted for an average.
const FOLDS: usize = 256;

fn main() {
    println!("| nodes | measured | allocations | bytes | published |");
    println!("|---|---|---|---|---|");
    for size in SIZES {
        let mut cluster = BenchCluster::new(size);
        for case in FoldCase::ALL {
            let (mut counted, mut published) = (Stats::default(), 0);
            for _ in 0..FOLDS {
                cluster.advance();
                let inputs = cluster.inputs(case);
                let before = cluster.view().revision;
                let region = Region::new(ALLOCATOR);
                cluster.fold(inputs);
                add(&mut counted, region.change());
                published += cluster.view().revision - before;
            }
            print_row(size, case.as_str(), counted, FOLDS, &published.to_string());
        }
        let (evidence, previous) = (cluster.evidence(), cluster.view());
        let region = Region::new(ALLOCATOR);
        black_box(cluster.pure_fold(&evidence, &previous.value));
        print_row(size, "the pure fold", region.change(), 1, "");
        let region = Region::new(ALLOCATOR);
        black_box(previous.frame());
        print_row(size, "body and frame of a view", region.change(), 1, "");
    }
}

fn add(total: &mut Stats, counted: Stats) {
    total.allocations += counted.allocations;
    total.reallocations += counted.reallocations;
    total.bytes_allocated += counted.bytes_allocated;
}

fn print_row(size: usize, what: &str, counted: Stats, folds: usize, published: &str) {
    let allocations = counted.allocations + counted.reallocations;
    println!(
        "| {size} | {what} | {} | {} | {published} |",
        allocations / folds,
        counted.bytes_allocated / folds,
    );
}
