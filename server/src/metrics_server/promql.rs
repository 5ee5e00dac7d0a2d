//! The queries: made of fixed names and labels, with every value escaped.

use galera::record::series::SeriesMetric;
use galera::{ClusterName, NodeId};

/// The label that holds which of [`AGGREGATES`] a series is.
pub(super) const AGGREGATE_LABEL: &str = "aggregate";
/// Minimum, mean and maximum: the label's value, over the replicas, and over the samples of an interval.
pub(super) const AGGREGATES: [(&str, &str, &str); 3] = [
    ("min", "min", "min_over_time"),
    ("mean", "avg", "avg_over_time"),
    ("max", "max", "max_over_time"),
];

/// The gauge of `/metrics` that has the values of `metric`.
pub(super) const fn exported_name(metric: SeriesMetric) -> &'static str {
    match metric {
        SeriesMetric::LastCommitted => "galera_console_node_last_committed",
        SeriesMetric::CommitRate => "galera_console_node_commit_rate",
        SeriesMetric::RecvQueue => "galera_console_node_recv_queue",
        SeriesMetric::SendQueue => "galera_console_node_send_queue",
        SeriesMetric::FlowControlPaused => "galera_console_node_flow_control_paused_ratio",
        SeriesMetric::CertFailures => "galera_console_node_certification_failure_rate",
        SeriesMetric::BfAborts => "galera_console_node_abort_rate",
        SeriesMetric::Connections => "galera_console_node_connections",
        SeriesMetric::ProbeLatency => "galera_console_node_probe_latency_seconds",
        SeriesMetric::WriteRate => "galera_console_node_write_bytes_rate",
    }
}

/// The query for minimum, mean and maximum of the gauge `name` in intervals of `step` seconds, evaluated at their ends.
///
/// Only samples within an interval count: a range selector neither looks back further nor includes stale markers, so that
/// an interval without samples has no value. The offset excludes a sample at the very end, which belongs to the next
/// interval. Several replicas export the same node; their samples are one.
pub(super) fn range_query(
    name: &str,
    cluster: &ClusterName,
    nodes: &[NodeId],
    step: u32,
) -> String {
    let cluster = quoted(cluster.as_str());
    let nodes: Vec<String> = nodes
        .iter()
        .map(|node| literal_pattern(&node.to_string()))
        .collect();
    let nodes = quoted(&nodes.join("|"));
    let samples = format!("{name}{{cluster={cluster},node=~{nodes}}}[{step}s] offset 1ms");
    let parts = AGGREGATES.map(|(label, over_replicas, over_time)| {
        format!(
            "label_replace({over_replicas} by (cluster, node) ({over_time}({samples})), \"{AGGREGATE_LABEL}\", \"{label}\", \"\", \"\")"
        )
    });
    parts.join(" or ")
}

/// A string literal of PromQL.
fn quoted(text: &str) -> String {
    let mut literal = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => literal.extend(['\\', character]),
            '\n' => literal.push_str("\\n"),
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

/// A regular expression (RE2) that matches exactly `text`.
fn literal_pattern(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_exactly_the_nodes_of_the_cluster() {
        let nodes = ["10.0.0.1", "db-2:3307"].map(|node| node.parse().unwrap());
        let query = range_query("m", &"lab".parse().unwrap(), &nodes, 60);
        let samples = r#"m{cluster="lab",node=~"10\\.0\\.0\\.1|db\\-2\\:3307"}[60s] offset 1ms"#;
        assert_eq!(query.matches(samples).count(), 3, "{query}");
        assert!(query.starts_with("label_replace(min by (cluster, node) (min_over_time("));
    }

    /// The gateway's test of `/metrics` takes the gauges from there.
    #[test]
    fn the_gauge_of_every_figure_is_documented() {
        let page = include_str!("../../../docs/series.md");
        for metric in SeriesMetric::ALL {
            let gauge = ["`", exported_name(metric), "`"].concat();
            assert!(page.contains(&gauge), "{gauge}");
        }
    }

    #[test]
    fn no_value_ends_its_literal() {
        assert_eq!(quoted("a\"} or up{x=\"\\\n"), r#""a\"} or up{x=\"\\\n""#);
        assert_eq!(literal_pattern("a.*|b"), r"a\.\*\|b");
    }
}
