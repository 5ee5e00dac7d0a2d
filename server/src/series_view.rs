//! Recorded figures as they are shown: in steps that suit a chart, rounded.

use galera::publish::series::NodeSeries;
use galera::record::series::SeriesMetric;
use galera::{NodeId, Timestamp};
use series::{IntervalValue, SeriesIntervals};

/// About as many intervals as a chart shows: the step if none is given follows from it.
const INTERVALS_WANTED: i64 = 360;
/// The longest step, in seconds: a day.
pub(crate) const STEP_MAX: u32 = 86_400;
/// From this step on, in seconds, minutes are read.
pub(crate) const MINUTE: u32 = 60;
/// Steps that are chosen if none is given, in seconds.
const STEPS: [u32; 12] = [
    1, 5, 15, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, STEP_MAX,
];

/// The step of a chart from `from` to `to`, both in milliseconds since 1970; in seconds.
pub(crate) fn default_step(from: i64, to: i64, now: Timestamp) -> u32 {
    let wanted = (to - from) / 1_000 / INTERVALS_WANTED;
    let fine = STEPS.into_iter().find(|step| i64::from(*step) >= wanted);
    let step = fine.unwrap_or(STEP_MAX);
    match is_kept(from, now) {
        true => step,
        false => step.max(MINUTE),
    }
}

/// Whether single readings of that time are kept.
pub(crate) fn is_kept(from: i64, now: Timestamp) -> bool {
    from >= now.minus(series::READINGS_KEPT).unix_millis()
}

/// The series of each metric of `node`.
pub(crate) fn node_series<'a>(
    metrics: &'a [SeriesMetric],
    node: &'a NodeId,
    intervals: &'a SeriesIntervals,
) -> impl Iterator<Item = NodeSeries> + 'a {
    let of_metrics = metrics.iter().zip(intervals.values());
    of_metrics.map(move |(metric, values)| {
        let part = |index: usize| {
            let value = |value: &IntervalValue| Some(round(value.get()?[index]));
            values.iter().map(value).collect()
        };
        NodeSeries {
            node: node.clone(),
            name: metric.as_str().to_owned(),
            unit: metric.unit().to_owned(),
            min: part(0),
            mean: part(1),
            max: part(2),
        }
    })
}

/// More digits are noise, and are sent to every reader.
pub(crate) fn round(value: f64) -> f64 {
    if value.abs() < 1.0 {
        (value * 1e6).round() / 1e6
    } else {
        (value * 1e3).round() / 1e3
    }
}
