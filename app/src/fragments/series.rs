//! Charts of recorded figures: of every node of a cluster beside each other, and of one node.

mod annotations;
mod chart;

use galera::publish::api::ProblemDetails;
use galera::publish::series::{NodeSeries, SeriesPart, SeriesSource, SeriesView};
use galera::record::series::SeriesMetric;
use galera::view::{ClusterView, NodeView};
use galera::{NodeId, Timestamp};

use super::FragmentRequest;
use super::time_range::TimeRange;
use crate::data::encode_segment;
use crate::format::{absolute, link, quiet};
use crate::markup::{Content, El, el};
pub(super) use annotations::{Annotation, Annotations};
use chart::{Chart, Span};

/// What is drawn, in this order.
const CHARTED: [SeriesMetric; 9] = [
    SeriesMetric::CommitRate,
    SeriesMetric::FlowControlPaused,
    SeriesMetric::RecvQueue,
    SeriesMetric::SendQueue,
    SeriesMetric::CertFailures,
    SeriesMetric::BfAborts,
    SeriesMetric::Connections,
    SeriesMetric::WriteRate,
    SeriesMetric::ProbeLatency,
];

/// Title of a chart.
const fn title(metric: SeriesMetric) -> &'static str {
    match metric {
        SeriesMetric::LastCommitted => "Last committed transaction",
        SeriesMetric::CommitRate => "Commits per second",
        SeriesMetric::RecvQueue => "Receive queue",
        SeriesMetric::SendQueue => "Send queue",
        SeriesMetric::FlowControlPaused => "Paused by flow control",
        SeriesMetric::CertFailures => "Certification conflicts",
        SeriesMetric::BfAborts => "Brute-force aborts",
        SeriesMetric::Connections => "Connections",
        SeriesMetric::ProbeLatency => "Probe latency",
        SeriesMetric::WriteRate => "Write-sets of all nodes",
    }
}

/// The recorded figures of a cluster or node, or why there are none.
pub(super) struct SeriesRead {
    range: TimeRange,
    series: Result<SeriesView, ProblemDetails>,
    annotations: Annotations,
}

impl SeriesRead {
    /// Links to all ranges; to a year only with a server that can have it.
    fn tabs(&self) -> El {
        let has_server = |series: &SeriesView| series.metrics_server.is_some();
        let years = self.series.as_ref().is_ok_and(has_server);
        self.range.chart_tabs("Range of the charts", years)
    }
}

impl FragmentRequest<'_> {
    /// The recorded figures of `cluster`, or of one of its nodes; both encoded for a path.
    pub(super) async fn recorded(&self, cluster: &str, node: Option<&str>) -> SeriesRead {
        let range = TimeRange::from_query(self.query);
        let from = self.now.shifted(-range.millis());
        let names = CHARTED.map(SeriesMetric::as_str).join(",");
        let of_node = node
            .map(|node| format!("/nodes/{node}"))
            .unwrap_or_default();
        let query = format!("from={}&to={}&name={names}", from, self.now);
        let path = format!("/api/v1/clusters/{cluster}{of_node}/series?{query}");
        let (series, annotations) = futures::join!(
            self.client.get(&path),
            annotations::read(self.client, cluster, node, from),
        );
        SeriesRead {
            range,
            series,
            annotations,
        }
    }
}

/// The page of a cluster: a row of charts for each metric, one for each node, with one scale.
pub(super) fn page(view: &ClusterView, read: &SeriesRead, now: Timestamp) -> El {
    let intro = "Figures of each node, from this console's probes.";
    let page = el("div")
        .class("page")
        .child(el("h2").class("vh").child("Charts"))
        .child(el("p").class("quiet").child(intro))
        .child(read.tabs());
    let series = match &read.series {
        Ok(series) => series,
        Err(problem) => return page.child(why_none(problem)),
    };
    let caption = |node: &NodeId| {
        let known = view.nodes.iter().find(|known| known.id == *node);
        ChartCaption {
            label: known.map_or_else(|| node.to_string(), NodeView::label),
            href: Some(node_href(view, node, read.range)),
        }
    };
    let sections = metric_sections(series, &read.annotations, &caption);
    page.child(notes(series, read))
        .child(read.annotations.list(&view.name, now))
        .child(sections)
}

/// Names a chart.
pub(super) struct ChartCaption {
    pub(super) label: String,
    /// The page of the node.
    pub(super) href: Option<String>,
}

/// A section for each metric, with a chart for each node.
pub(super) fn metric_sections(
    series: &SeriesView,
    annotations: &Annotations,
    caption: &dyn Fn(&NodeId) -> ChartCaption,
) -> Vec<El> {
    let span = span_of(series);
    let section = |metric: &SeriesMetric| {
        let of_metric = series_of(series, *metric);
        let top = chart::top(*metric, of_metric.iter().copied());
        let charts = of_metric.iter().map(|of_node| {
            let ChartCaption { label, href } = caption(&of_node.node);
            let chart = Chart::new(*metric, of_node, span, top, annotations);
            let name = match href {
                Some(href) => link(href, label.clone()),
                None => el("b").child(label.clone()),
            };
            el("figure")
                .child(el("figcaption").child(name).child(chart.summary()))
                .child(chart.svg(&format!("{}, {label}", title(*metric))))
        });
        let charts = el("div").class("charts").child(charts.collect::<Vec<_>>());
        let labels = of_metric.iter().map(|of_node| caption(&of_node.node).label);
        let labels: Vec<String> = labels.collect();
        el("section")
            .child(el("h3").child(title(*metric)))
            .child(charts)
            .child(chart::values_by_node(*metric, &of_metric, &labels, span))
    };
    CHARTED.iter().map(section).collect()
}

/// The section of a node's page: a chart for each metric.
pub(super) fn node_section(read: &SeriesRead, now: Timestamp) -> El {
    let section = el("section").child(el("h2").child("Recorded figures"));
    let series = match &read.series {
        Ok(series) => series,
        Err(problem) => return section.child(why_none(problem)),
    };
    let span = span_of(series);
    let charts = CHARTED.iter().flat_map(|metric| {
        let of_metric = series_of(series, *metric);
        let top = chart::top(*metric, of_metric.iter().copied());
        of_metric.into_iter().map(move |of_node| {
            let chart = Chart::new(*metric, of_node, span, top, &read.annotations);
            el("figure")
                .child(
                    el("figcaption")
                        .child(el("b").child(title(*metric)))
                        .child(chart.summary()),
                )
                .child(chart.svg(title(*metric)))
                .child(chart.values())
        })
    });
    let charts = el("div").class("charts").child(charts.collect::<Vec<_>>());
    section.child(
        el("div")
            .class("page")
            .child(read.tabs())
            .child(notes(series, read))
            .child(read.annotations.list(&series.cluster, now))
            .child(charts),
    )
}

fn span_of(series: &SeriesView) -> Span {
    Span {
        from: series.from.unix_millis(),
        step: i64::from(series.step) * 1_000,
    }
}

fn series_of(series: &SeriesView, metric: SeriesMetric) -> Vec<&NodeSeries> {
    let all = series.series.iter();
    all.filter(|series| series.name == metric.as_str())
        .collect()
}

fn node_href(view: &ClusterView, node: &NodeId, range: TimeRange) -> String {
    let (cluster, node) = (view.name.as_str(), node.to_string());
    let (cluster, node) = (encode_segment(cluster), encode_segment(&node));
    format!("/clusters/{cluster}/nodes/{node}?range={}", range.name())
}

/// How closely the charts show the time, and what is missing.
fn notes(series: &SeriesView, read: &SeriesRead) -> El {
    let step = match series.step {
        step @ 0..60 => format!("{step} s"),
        step @ 60..3_600 => format!("{} min", step / 60),
        step => format!("{} h", step / 3_600),
    };
    let since = series.recorded_since.map_or_else(
        || "Nothing is recorded of this cluster yet.".to_owned(),
        |since| format!("Recorded since {}.", absolute(since)),
    );
    let text = format!(
        "Each point is the mean of {step}; the band reaches from the lowest to the highest reading. Shaded times have no readings. {since}"
    );
    let own = series.sources.iter();
    let is_recorded = |part: &SeriesPart| part.source == SeriesSource::Recorded;
    // A console that keeps no figures of its own is not faulty.
    let shown = own.clone().any(is_recorded) || series.metrics_server.is_none();
    let problem = series
        .state
        .problem
        .as_ref()
        .filter(|_| shown)
        .map(|problem| {
            el("p")
                .class("notice")
                .child(format!("Not recording now: {problem}."))
        });
    let earlier = own.filter(|part| !is_recorded(part));
    let earlier: Vec<Content> = earlier
        .flat_map(|part| earlier_notes(part, series))
        .collect();
    let incomplete = read.annotations.incomplete.then(|| {
        el("p")
            .class("notice")
            .child("Events, actions or incidents could not be read; not all of them are marked.")
    });
    el("div")
        .child(problem)
        .child(incomplete)
        .child(earlier)
        .child(quiet(text))
}

/// What the metrics server contributes, and what it lacks.
fn earlier_notes(part: &SeriesPart, series: &SeriesView) -> Vec<Content> {
    let server = series.metrics_server.as_deref().unwrap_or_default();
    let until = absolute(part.to);
    let mut notes = Vec::new();
    if let Some(problem) = &part.problem {
        let text = format!("Figures before {until} can be missing: {problem}.");
        notes.push(el("p").class("notice").child(text).into());
    }
    let newest = part.newest.map_or_else(
        || "which has no data for this range".to_owned(),
        |newest| format!("newest value {}", absolute(newest)),
    );
    let titles = CHARTED
        .iter()
        .filter(|metric| part.without.iter().any(|name| name == metric.as_str()));
    let titles: Vec<&str> = titles.map(|metric| title(*metric)).collect();
    let without = match titles.is_empty() {
        true => String::new(),
        false => format!(" Not available there: {}.", titles.join(", ")),
    };
    let read = absolute(part.read_at);
    let text = format!(
        "Figures before {until} are from the metrics server {server}, read at {read}, {newest}.{without}"
    );
    notes.push(quiet(text).into());
    notes
}

/// In place of the charts.
fn why_none(problem: &ProblemDetails) -> Content {
    if problem.code == "series_not_recorded" {
        let text = "This console does not record figures. Start it with --data-dir DIR (environment GALERA_CONSOLE_DATA_DIR) to record them on its own disk: each reading for a day, minutes for 90 days. A Prometheus-compatible server that stores this console's metrics can be named with --metrics-query-url URL.";
        return el("p").class("quiet").child(text).into();
    }
    let text = format!("{}. {}", problem.title, problem.detail);
    el("p").class("notice").child(text).into()
}

#[cfg(test)]
mod tests;
