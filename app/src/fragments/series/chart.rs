//! One chart: an SVG without text of its own scale, and the same values as a table.

use galera::Timestamp;
use galera::publish::series::NodeSeries;
use galera::record::series::SeriesMetric;

use super::annotations::Annotations;
use crate::format::{absolute, bytes, percent, rate};
use crate::markup::{Content, El, el};

/// The box of the curve, in its own units; it is stretched to the width of the page.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 100.0;
/// Rows of a table of values.
const ROWS_MAX: usize = 24;

/// Where the intervals lie, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) step: i64,
}

impl Span {
    fn time(self, interval: usize) -> Timestamp {
        let intervals = i64::try_from(interval).unwrap_or_default();
        Timestamp::from_unix_millis(self.from + self.step * intervals)
    }
}

/// The value at the upper edge of charts of `metric`: a round number above every value.
pub(super) fn top<'a>(metric: SeriesMetric, series: impl Iterator<Item = &'a NodeSeries>) -> f64 {
    let highest = series
        .flat_map(|series| series.max.iter().flatten())
        .copied()
        .fold(0.0, f64::max);
    let least = match metric {
        SeriesMetric::FlowControlPaused => 0.1,
        SeriesMetric::ProbeLatency => 0.01,
        SeriesMetric::WriteRate => 1_000.0,
        SeriesMetric::Connections => 10.0,
        _ => 1.0,
    };
    let magnitude = 10_f64.powf(highest.max(least).log10().floor());
    let rounded = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * magnitude);
    let top = rounded.into_iter().find(|top| *top >= highest.max(least));
    match metric {
        SeriesMetric::FlowControlPaused => top.unwrap_or(1.0).min(1.0),
        _ => top.unwrap_or(highest),
    }
}

/// A value with its unit.
pub(super) fn value_text(metric: SeriesMetric, value: f64) -> String {
    match metric {
        SeriesMetric::FlowControlPaused => percent(value),
        SeriesMetric::ProbeLatency => format!("{} ms", rate(value * 1_000.0)),
        SeriesMetric::WriteRate => format!("{}/s", bytes(value as usize)),
        SeriesMetric::CommitRate | SeriesMetric::CertFailures | SeriesMetric::BfAborts => {
            format!("{}/s", rate(value))
        }
        _ => match value.fract() == 0.0 {
            true => format!("{value:.0}"),
            false => rate(value),
        },
    }
}

/// One metric of one node.
pub(super) struct Chart<'a> {
    metric: SeriesMetric,
    series: &'a NodeSeries,
    span: Span,
    top: f64,
    annotations: &'a Annotations,
}

impl<'a> Chart<'a> {
    pub(super) fn new(
        metric: SeriesMetric,
        series: &'a NodeSeries,
        span: Span,
        top: f64,
        annotations: &'a Annotations,
    ) -> Self {
        Self {
            metric,
            series,
            span,
            top,
            annotations,
        }
    }

    fn count(&self) -> usize {
        self.series.mean.len().max(1)
    }

    /// The last value and the highest one, in words.
    fn summary_text(&self) -> String {
        let highest = self
            .series
            .max
            .iter()
            .flatten()
            .copied()
            .fold(None, |highest: Option<f64>, value| {
                Some(highest.map_or(value, |highest| highest.max(value)))
            });
        let Some(highest) = highest else {
            return "no readings".to_owned();
        };
        // The newest interval has only begun: before its first reading, the one before it is the last.
        let newest = self
            .series
            .mean
            .iter()
            .rev()
            .take(2)
            .find_map(|value| *value);
        let newest = newest.map_or_else(
            || "no readings now".to_owned(),
            |newest| value_text(self.metric, newest),
        );
        format!("{newest}, highest {}", value_text(self.metric, highest))
    }

    pub(super) fn summary(&self) -> El {
        el("span").class("quiet").child(self.summary_text())
    }

    /// The picture; what it shows is also in the table of values.
    pub(super) fn svg(&self, label: &str) -> El {
        let (from, to) = (self.span.time(0), self.span.time(self.count()));
        let label = format!(
            "{label}: {}; {} to {}",
            self.summary_text(),
            absolute(from),
            absolute(to)
        );
        let curve = el("svg")
            .attr("viewBox", format!("0 0 {WIDTH} {HEIGHT}"))
            .attr("preserveAspectRatio", "none")
            .attr("height", "82%")
            .child(path("gap", self.gaps()))
            .child(path(
                "grid",
                format!("M0 0H{WIDTH}M0 50H{WIDTH}M0 100H{WIDTH}"),
            ))
            .child(path("band", self.band()))
            .child(path("line", self.line()))
            .child(path("mark", self.mark_lines()));
        el("svg")
            .class("chart")
            .attr("role", "img")
            .attr("aria-label", label)
            .child(curve)
            .child(text("2", "12", "start", value_text(self.metric, self.top)))
            .child(time_label("2", "start", from, self.span.step))
            .child(time_label("99.5%", "end", to, self.span.step))
            .child(self.mark_numbers())
    }

    fn x(&self, interval: f64) -> f64 {
        interval / self.count() as f64 * WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - (value / self.top).clamp(0.0, 1.0) * HEIGHT
    }

    /// Consecutive intervals with values, as ranges.
    fn runs(&self) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (index, value) in self.series.mean.iter().enumerate() {
            if value.is_none() {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.end == index => run.end += 1,
                _ => runs.push(index..index + 1),
            }
        }
        runs
    }

    fn line(&self) -> String {
        let mut path = String::new();
        for run in self.runs() {
            // From the edge of the first interval to that of the last, so that a single one is seen.
            for (order, index) in run.clone().enumerate() {
                let y = self.y(self.series.mean[index].unwrap_or_default());
                let x = self.x(index as f64 + 0.5);
                if order == 0 {
                    push(&mut path, 'M', self.x(index as f64), y);
                }
                push(&mut path, 'L', x, y);
                if index + 1 == run.end {
                    push(&mut path, 'L', self.x(index as f64 + 1.0), y);
                }
            }
        }
        path
    }

    fn band(&self) -> String {
        let mut path = String::new();
        for run in self.runs() {
            let edge = |values: &[Option<f64>], index: usize| {
                self.y(values.get(index).copied().flatten().unwrap_or_default())
            };
            for (order, index) in run.clone().enumerate() {
                let step = if order == 0 { 'M' } else { 'L' };
                push(
                    &mut path,
                    step,
                    self.x(index as f64),
                    edge(&self.series.max, index),
                );
                push(
                    &mut path,
                    'L',
                    self.x(index as f64 + 1.0),
                    edge(&self.series.max, index),
                );
            }
            for index in run.rev() {
                push(
                    &mut path,
                    'L',
                    self.x(index as f64 + 1.0),
                    edge(&self.series.min, index),
                );
                push(
                    &mut path,
                    'L',
                    self.x(index as f64),
                    edge(&self.series.min, index),
                );
            }
            path.push('Z');
        }
        path
    }

    /// Times without readings. The newest interval has only begun.
    fn gaps(&self) -> String {
        let mut path = String::new();
        let mut end = 0;
        let count = self.count();
        let newest = std::iter::once(count - 1..count);
        for run in self.runs().into_iter().chain(newest) {
            if run.start > end {
                let (left, right) = (self.x(end as f64), self.x(run.start as f64));
                push(&mut path, 'M', left, 0.0);
                path.push_str(&format!("H{right:.1}V{HEIGHT}H{left:.1}Z"));
            }
            end = end.max(run.end);
        }
        path
    }

    /// Where each annotation lies, from 0 to 1.
    fn marks(&self) -> impl Iterator<Item = (usize, f64)> {
        let length = self.span.step * i64::try_from(self.count()).unwrap_or(1);
        let shown = self.annotations.shown.iter().enumerate();
        shown.filter_map(move |(index, annotation)| {
            let offset = annotation.at.unix_millis() - self.span.from;
            let place = offset as f64 / length as f64;
            (0.0..=1.0).contains(&place).then_some((index + 1, place))
        })
    }

    fn mark_lines(&self) -> String {
        let mut path = String::new();
        for (_, place) in self.marks() {
            path.push_str(&format!("M{:.1} 0V{HEIGHT}", place * WIDTH));
        }
        path
    }

    /// Numbers at the marks; one that would cover the one before is left out.
    fn mark_numbers(&self) -> Vec<El> {
        let mut numbers = Vec::new();
        let mut before = f64::NEG_INFINITY;
        for (number, place) in self.marks() {
            if place - before >= 0.06 {
                before = place;
                let x = format!("{:.1}%", (place * 100.0 + 0.6).min(96.0));
                numbers.push(text(&x, "12", "start", number.to_string()).attr("class", "mark"));
            }
        }
        numbers
    }

    /// The values as a table, a bounded number of rows.
    pub(super) fn values(&self) -> El {
        let all = std::slice::from_ref(&self.series);
        let column = |values: fn(&NodeSeries) -> &[Option<f64>], how: ColumnSummary| {
            summarized(all, values, how)
                .into_iter()
                .next()
                .unwrap_or_default()
        };
        let columns = [
            (
                "Lowest",
                column(|series| &series.min, ColumnSummary::Lowest),
            ),
            ("Mean", column(|series| &series.mean, ColumnSummary::Mean)),
            (
                "Highest",
                column(|series| &series.max, ColumnSummary::Highest),
            ),
        ];
        let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
        let columns: Vec<_> = columns.into_iter().map(|(_, column)| column).collect();
        table(
            self.metric,
            self.span,
            self.series.mean.len(),
            heads,
            &columns,
        )
    }
}

/// The means of all nodes as a table, a bounded number of rows.
pub(super) fn values_by_node(
    metric: SeriesMetric,
    series: &[&NodeSeries],
    labels: &[String],
    span: Span,
) -> Content {
    let Some(first) = series.first() else {
        return Content::None;
    };
    let columns = summarized(series, |series| &series.mean, ColumnSummary::Mean);
    table(metric, span, first.mean.len(), labels.to_vec(), &columns).into()
}

#[derive(Clone, Copy)]
enum ColumnSummary {
    Lowest,
    Mean,
    Highest,
}

/// How many intervals one row has.
fn group(count: usize) -> usize {
    count.div_ceil(ROWS_MAX).max(1)
}

fn summarized(
    series: &[&NodeSeries],
    values: impl Fn(&NodeSeries) -> &[Option<f64>],
    how: ColumnSummary,
) -> Vec<Vec<Option<f64>>> {
    let of_one = |series: &&NodeSeries| {
        let values = values(series);
        let rows = values.chunks(group(values.len()));
        rows.map(|row| {
            let known: Vec<f64> = row.iter().flatten().copied().collect();
            let first = *known.first()?;
            Some(match how {
                ColumnSummary::Lowest => known.iter().copied().fold(first, f64::min),
                ColumnSummary::Highest => known.iter().copied().fold(first, f64::max),
                ColumnSummary::Mean => known.iter().sum::<f64>() / known.len() as f64,
            })
        })
        .collect()
    };
    series.iter().map(of_one).collect()
}

fn table(
    metric: SeriesMetric,
    span: Span,
    count: usize,
    heads: Vec<String>,
    columns: &[Vec<Option<f64>>],
) -> El {
    let group = group(count);
    let head = |text: String| el("th").attr("scope", "col").child(text);
    let heads = std::iter::once("From".to_owned()).chain(heads).map(head);
    let rows = (0..count.div_ceil(group)).map(|row| {
        let cells = columns.iter().map(|column| {
            let value = column.get(row).copied().flatten();
            let text = value.map_or_else(
                || "no readings".to_owned(),
                |value| value_text(metric, value),
            );
            el("td").class("n").child(text)
        });
        let time = absolute(span.time(row * group));
        el("tr")
            .child(el("th").attr("scope", "row").child(time))
            .child(cells.collect::<Vec<_>>())
    });
    let table = el("table")
        .child(el("caption").class("vh").child(super::title(metric)))
        .child(el("thead").child(el("tr").child(heads.collect::<Vec<_>>())))
        .child(el("tbody").child(rows.collect::<Vec<_>>()));
    el("details")
        .class("values")
        .child(el("summary").child("Values"))
        .child(
            el("div")
                .class("scroll")
                .attr("tabindex", "0")
                .attr("role", "group")
                .attr("aria-label", super::title(metric))
                .child(table),
        )
}

/// The date below the axis, or the time of the day if the intervals are short. `app/browser/local-time.js` converts it.
fn time_label(x: &str, anchor: &'static str, at: Timestamp, step: i64) -> El {
    let full = absolute(at);
    let part = if step > 300_000 { 5..10 } else { 11..16 };
    let short = full.get(part).unwrap_or_default().to_owned();
    text(x, "97%", anchor, short).attr("data-utc", full)
}

fn path(class: &'static str, d: String) -> El {
    el("path").class(class).attr("d", d)
}

fn text(x: &str, y: &'static str, anchor: &'static str, content: String) -> El {
    el("text")
        .attr("x", x.to_owned())
        .attr("y", y)
        .attr("text-anchor", anchor)
        .child(content)
}

fn push(path: &mut String, step: char, x: f64, y: f64) {
    path.push_str(&format!("{step}{x:.1} {y:.1}"));
}
