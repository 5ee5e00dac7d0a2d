//! Reads OpenMetrics text, as `/metrics` writes it, into metrics of OTLP.
//!
//! Source: <https://prometheus.io/docs/specs/om/open_metrics_spec/>. A sample keeps its name, with the suffix of a counter. Lines that
//! are no sample of a known kind are left out.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    metric::Data, number_data_point::Value,
};

/// When counting began and when the values were read, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PointTimes {
    pub(crate) started: u64,
    pub(crate) at: u64,
}

type Labels = Vec<(String, String)>;

/// A line with a value.
#[derive(Debug, PartialEq)]
struct MetricSample<'a> {
    name: &'a str,
    labels: Labels,
    value: f64,
}

/// The buckets of one histogram.
#[derive(Default)]
struct HistogramBuckets {
    /// Upper bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: f64,
    sum: Option<f64>,
}

/// One family of the text.
#[derive(Default)]
struct FamilyText<'a> {
    name: &'a str,
    kind: &'a str,
    help: &'a str,
    /// By name of the samples.
    points: BTreeMap<&'a str, Vec<(Labels, f64)>>,
    histograms: BTreeMap<Labels, HistogramBuckets>,
}

/// The metrics of `text`, and how many points they have.
pub(crate) fn metrics_of(text: &str, times: PointTimes) -> (Vec<Metric>, usize) {
    let (mut metrics, mut points) = (Vec::new(), 0);
    let mut family = FamilyText::default();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (word, name, rest) = (words.next(), words.next(), words.next());
            let (Some(word), Some(name)) = (word, name) else {
                continue;
            };
            if name != family.name {
                points += std::mem::take(&mut family).finish(times, &mut metrics);
                family.name = name;
            }
            match word {
                "TYPE" => family.kind = rest.unwrap_or_default(),
                "HELP" => family.help = rest.unwrap_or_default(),
                _ => {}
            }
        } else if let Some(sample) = parse_sample(line) {
            family.add(sample);
        }
    }
    points += family.finish(times, &mut metrics);
    (metrics, points)
}

impl<'a> FamilyText<'a> {
    fn add(&mut self, mut sample: MetricSample<'a>) {
        if self.kind != "histogram" {
            let points = self.points.entry(sample.name).or_default();
            points.push((sample.labels, sample.value));
            return;
        }
        let bound = sample.labels.iter().position(|(name, _)| name == "le");
        let bound = bound.map(|index| sample.labels.remove(index).1);
        let part = sample.name.strip_prefix(self.name).unwrap_or_default();
        let histogram = self.histograms.entry(sample.labels).or_default();
        match (part, bound.and_then(|bound| parse_number(&bound))) {
            ("_bucket", Some(bound)) => histogram.buckets.push((bound, sample.value)),
            ("_count", _) => histogram.count = sample.value,
            ("_sum", _) => histogram.sum = Some(sample.value),
            _ => {}
        }
    }

    /// Adds the metrics of this family; returns how many points they have.
    fn finish(self, times: PointTimes, metrics: &mut Vec<Metric>) -> usize {
        let mut count = 0;
        let metric = |name: &str, data| Metric {
            name: name.to_owned(),
            description: self.help.trim_end_matches('.').to_owned(),
            data: Some(data),
            ..Metric::default()
        };
        for (name, points) in self.points {
            count += points.len();
            let points = points.into_iter();
            let data_points = points
                .map(|(labels, value)| number_point(labels, value, times))
                .collect();
            let data = match self.kind {
                "counter" => Data::Sum(Sum {
                    data_points,
                    aggregation_temporality: AggregationTemporality::Cumulative.into(),
                    is_monotonic: true,
                }),
                _ => Data::Gauge(Gauge { data_points }),
            };
            metrics.push(metric(name, data));
        }
        if !self.histograms.is_empty() {
            count += self.histograms.len();
            let histograms = self.histograms.into_iter();
            let data_points = histograms
                .map(|(labels, buckets)| buckets.into_point(labels, times))
                .collect();
            let data = Data::Histogram(Histogram {
                data_points,
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
            });
            metrics.push(metric(self.name, data));
        }
        count
    }
}

impl HistogramBuckets {
    fn into_point(mut self, labels: Labels, times: PointTimes) -> HistogramDataPoint {
        self.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut below = 0.0;
        let mut bucket_counts = Vec::new();
        for (_, cumulative) in &self.buckets {
            bucket_counts.push(whole(cumulative - below));
            below = *cumulative;
        }
        let bounds = self.buckets.iter().map(|(bound, _)| *bound);
        HistogramDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: times.started,
            time_unix_nano: times.at,
            count: whole(self.count),
            sum: self.sum,
            bucket_counts,
            explicit_bounds: bounds.filter(|bound| bound.is_finite()).collect(),
            ..HistogramDataPoint::default()
        }
    }
}

/// A count, which the text has as a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the conversion saturates, and counts are whole and positive"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn number_point(labels: Labels, value: f64, times: PointTimes) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.started,
        time_unix_nano: times.at,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    let labels = labels.into_iter();
    labels
        .map(|(key, value)| KeyValue {
            key,
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value)),
            }),
            ..KeyValue::default()
        })
        .collect()
}

/// Parses `name{label="value",…} number`, and leaves out what follows.
fn parse_sample(line: &str) -> Option<MetricSample<'_>> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?;
    Some(MetricSample {
        name,
        labels,
        value: parse_number(value)?,
    })
}

/// The labels up to the closing brace, and the rest of the line.
fn parse_labels(text: &str) -> Option<(Labels, &str)> {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = parse_quoted(after)?;
        labels.push((name.to_owned(), value));
        rest = after;
    }
}

/// A value up to its closing quote, without escapes, and what follows.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped => value.push(escaped),
            },
            character => value.push(character),
        }
    }
    None
}

fn parse_number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}
