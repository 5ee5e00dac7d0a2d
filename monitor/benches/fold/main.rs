//! Time of one fold with everything that its monitor does: ingest, fold, compare, publish.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement that cannot be made has to stop"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use galera::insight::findings::findings;

mod cluster;

use cluster::{BenchCluster, FoldCase, SIZES};

fn folds(criterion: &mut Criterion) {
    for size in SIZES {
        let mut cluster = BenchCluster::new(size);
        for case in FoldCase::ALL {
            let name = format!("fold and publish {size} nodes, {}", case.as_str());
            criterion.bench_function(&name, |bencher| {
                bencher.iter_custom(|iterations| measure(&mut cluster, case, iterations));
            });
        }
        let (evidence, previous) = (cluster.evidence(), cluster.view());
        criterion.bench_function(&format!("fold {size} nodes"), |bencher| {
            bencher.iter(|| cluster.pure_fold(black_box(&evidence), &previous.value));
        });
        criterion.bench_function(&format!("findings of {size} nodes"), |bencher| {
            bencher.iter(|| findings(black_box(&previous.value), &evidence, 3306));
        });
    }
}

/// The time of `iterations` folds, without that of preparing their inputs.
fn measure(cluster: &mut BenchCluster, case: FoldCase, iterations: u64) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..iterations {
        cluster.advance();
        let inputs = cluster.inputs(case);
        let began = Instant::now();
        cluster.fold(inputs);
        total += began.elapsed();
    }
    total
}

criterion_group!(benches, folds);
criterion_main!(benches);
