//! How figures grow with the number of clusters, and the table that shows it.

use std::fmt::Write;
use std::time::Duration;

use crate::measurement::FleetFigures;

/// One line of the table: what was measured, and its value in a run.
type FigureLine = (&'static str, fn(&FleetFigures) -> f64, FigureGrowth);

/// Whether a figure is expected to grow with the fleet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FigureGrowth {
    Fitted,
    Unfitted,
}

const LINES: [FigureLine; 19] = [
    ("nodes", |run| run.nodes as f64, FigureGrowth::Unfitted),
    (
        "clusters shown",
        |run| run.shown as f64,
        FigureGrowth::Unfitted,
    ),
    (
        "start to complete and healthy, s",
        |run| run.complete_after.as_secs_f64(),
        FigureGrowth::Unfitted,
    ),
    (
        "console, processor ms/s",
        |run| run.cpu_ms_per_second,
        FigureGrowth::Fitted,
    ),
    (
        "console, resident MB",
        |run| run.resident_bytes as f64 / 1e6,
        FigureGrowth::Fitted,
    ),
    (
        "etcd transactions/s",
        |run| run.transactions_per_second,
        FigureGrowth::Fitted,
    ),
    (
        "etcd puts/s",
        |run| run.puts_per_second,
        FigureGrowth::Fitted,
    ),
    (
        "etcd MB/h in use",
        |run| run.etcd_megabytes_per_hour,
        FigureGrowth::Unfitted,
    ),
    (
        "change to frame, p50 ms",
        |run| milliseconds(quantile(&run.changes, 0.5)),
        FigureGrowth::Unfitted,
    ),
    (
        "change to frame, p99 ms",
        |run| milliseconds(quantile(&run.changes, 0.99)),
        FigureGrowth::Unfitted,
    ),
    (
        "overview frames/s to a viewer",
        |run| run.overview_frames_per_second,
        FigureGrowth::Unfitted,
    ),
    (
        "overview kB/s to a viewer",
        |run| run.overview_bytes_per_second / 1e3,
        FigureGrowth::Fitted,
    ),
    (
        "the same in version 2, kB/s",
        |run| run.patch_bytes_per_second / 1e3,
        FigureGrowth::Fitted,
    ),
    (
        "the same, compressed, kB/s",
        |run| run.compressed_bytes_per_second / 1e3,
        FigureGrowth::Fitted,
    ),
    (
        "100 viewers of the overview, processor ms/s",
        |run| run.viewers_cpu_ms_per_second,
        FigureGrowth::Unfitted,
    ),
    (
        "the same in version 2, processor ms/s",
        |run| run.patch_viewers_cpu_ms_per_second,
        FigureGrowth::Unfitted,
    ),
    (
        "the same, compressed, processor ms/s",
        |run| run.compressed_viewers_cpu_ms_per_second,
        FigureGrowth::Unfitted,
    ),
    (
        "metrics, kB a scrape",
        |run| run.metrics_bytes as f64 / 1e3,
        FigureGrowth::Fitted,
    ),
    (
        "metrics, processor ms a scrape",
        |run| run.metrics_cpu_ms,
        FigureGrowth::Fitted,
    ),
];

/// A table in Markdown with one column for each run.
pub(crate) fn table(runs: &[FleetFigures]) -> String {
    let mut table = String::from("| clusters |");
    for run in runs {
        let _ = write!(table, " {} |", run.clusters);
    }
    table.push_str(" exponent |\n|---|");
    table.push_str(&"---|".repeat(runs.len() + 1));
    for (name, value, growth) in LINES {
        let _ = write!(table, "\n| {name} |");
        for run in runs {
            let _ = write!(table, " {} |", rounded(value(run)));
        }
        let points: Vec<(f64, f64)> = runs
            .iter()
            .map(|run| (run.clusters as f64, value(run)))
            .collect();
        match exponent(&points).filter(|_| growth == FigureGrowth::Fitted) {
            Some(exponent) => {
                let _ = write!(table, " {exponent:.2} |");
            }
            None => table.push_str(" |"),
        }
    }
    table
}

/// The exponent of the power of x that fits y best; `None` for fewer than two points, or values without a logarithm.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    if points.iter().any(|(x, y)| *x <= 0.0 || *y <= 0.0) {
        return None;
    }
    let logarithms: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logarithms.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| logarithms.iter().map(part).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|(x, _)| *x), mean(|(_, y)| *y));
    let deviations = logarithms.iter().map(|(x, y)| (x - x_mean, y - y_mean));
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in deviations {
        covariance += x * y;
        variance += x * x;
    }
    (variance > 0.0).then(|| covariance / variance)
}

/// The value below which this share of `sample` lies; zero for an empty one.
fn quantile(sample: &[Duration], share: f64) -> Duration {
    let mut sorted = sample.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let rank = (last as f64 * share).ceil() as usize;
    sorted.get(rank).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        for power in [0.5, 1.0, 2.0] {
            let points = [50.0, 200.0, 1_000.0].map(|x: f64| (x, 3.0 * x.powf(power)));
            let fitted = exponent(&points).unwrap();
            assert!((fitted - power).abs() < 1e-9, "{fitted} for {power}");
        }
        assert_eq!(exponent(&[(50.0, 1.0)]), None);
        assert_eq!(exponent(&[(50.0, 0.0), (200.0, 1.0)]), None);
    }

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let sample: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&sample, 0.5), Duration::from_millis(51));
        assert_eq!(quantile(&sample, 0.99), Duration::from_millis(100));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }
}
