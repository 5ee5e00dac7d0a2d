//! The topics `overview` and `head`: chosen clusters, and what every page shows.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::document::{TopicDocument, object_of};
use crate::publish::api::Overview;
use crate::view::{ClusterSummary, VerdictState, label_texts};

/// Most clusters in a window.
pub const WINDOW_MAX: usize = 10_000;
/// Most characters of [`OverviewQuery::filter`].
pub const FILTER_MAX: usize = 100;
/// Most characters of [`OverviewQuery::label`].
pub const LABEL_FILTER_MAX: usize = 500;
/// Clusters that `head` names.
const HEAD_MAX: usize = 100;

/// Which clusters a window of the overview shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OverviewQuery {
    /// Part of the name of a cluster, or of the name or address of a node, in any case; with `=`, the beginning of a label, or the
    /// whole label if a cluster has it.
    pub filter: String,
    /// Labels, `KEY=VALUE`, separated by commas: only clusters that have all of them. Without any, all clusters.
    pub label: String,
    /// Only clusters with this verdict.
    pub verdict: Option<VerdictState>,
    pub sort: OverviewSort,
    /// The first cluster shown, from 0.
    pub from: usize,
    /// Number of clusters shown, at most [`WINDOW_MAX`].
    pub count: usize,
}

impl Default for OverviewQuery {
    fn default() -> Self {
        Self {
            filter: String::new(),
            label: String::new(),
            verdict: None,
            sort: OverviewSort::default(),
            from: 0,
            count: 200,
        }
    }
}

/// The order of clusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverviewSort {
    /// Worst verdict first, then by name.
    #[default]
    Worst,
    Name,
    /// Most commits per second first.
    Commits,
}

/// A cluster of the overview with its row, which all windows share.
#[derive(Clone, Debug)]
pub struct OverviewRow {
    summary: ClusterSummary,
    row: Arc<Map<String, Value>>,
}

impl OverviewRow {
    /// The rows of an overview; those that equal one of `previous` are shared with it.
    #[must_use]
    pub fn all(overview: &Overview, previous: &[Self]) -> Vec<Self> {
        let previous: HashMap<_, _> = previous
            .iter()
            .map(|row| (&row.summary.name, row))
            .collect();
        let row = |summary: &ClusterSummary| match previous.get(&summary.name) {
            Some(known) if known.summary == *summary => Self::clone(known),
            _ => Self {
                row: Arc::new(cluster_row(summary)),
                summary: summary.clone(),
            },
        };
        overview.clusters.iter().map(row).collect()
    }
}

impl OverviewQuery {
    /// The clusters that match, sorted. `clusters` has all of them, worst verdict first.
    #[must_use]
    pub fn select<'a>(
        &self,
        clusters: impl Iterator<Item = &'a ClusterSummary>,
    ) -> Vec<&'a ClusterSummary> {
        self.select_by(clusters, |cluster| *cluster)
    }

    fn select_by<T>(
        &self,
        rows: impl Iterator<Item = T>,
        summary: impl Fn(&T) -> &ClusterSummary,
    ) -> Vec<T> {
        let text = self.filter.trim().to_lowercase();
        let mut selected: Vec<T> = rows
            .filter(|row| self.selects(&text, summary(row)))
            .collect();
        let whole = |row: &T| has_label(summary(row), |label| label.to_lowercase() == text);
        if text.contains('=') && selected.iter().any(&whole) {
            selected.retain(whole);
        }
        match self.sort {
            OverviewSort::Worst => {}
            OverviewSort::Name => {
                selected.sort_by(|a, b| summary(a).name.natural_cmp(&summary(b).name));
            }
            OverviewSort::Commits => selected.sort_by(|a, b| {
                let rate = |row: &T| summary(row).commit_rate.unwrap_or(-1.0);
                rate(b).total_cmp(&rate(a))
            }),
        }
        selected
    }

    /// The document of the topic `overview` with this query. `rows` are all clusters, worst verdict first.
    #[must_use]
    pub fn document(&self, rows: &[OverviewRow], notices: &[String]) -> TopicDocument {
        let selected = self.select_by(rows.iter(), |row| &row.summary);
        let mut head = counts(rows.iter().map(|row| &row.summary));
        head.insert("matched".to_owned(), selected.len().into());
        head.insert("notices".to_owned(), notices.into());
        let window = || selected.iter().skip(self.from).take(self.count);
        let names = window().map(|row| row.summary.name.to_string());
        head.insert("order".to_owned(), names.collect());
        let rows = window().map(|row| (row.summary.name.to_string(), Arc::clone(&row.row)));
        TopicDocument::new(head, "clusters", rows)
            .ranked_by_numbers(self.sort == OverviewSort::Commits)
    }

    fn selects(&self, text: &str, cluster: &ClusterSummary) -> bool {
        let contains = |name: &str| name.to_lowercase().contains(text);
        let in_name = || contains(&cluster.name.display_name()) || contains(cluster.name.as_str());
        let in_nodes = || {
            cluster.nodes.iter().any(|node| {
                contains(&node.id.to_string()) || node.name.as_deref().is_some_and(contains)
            })
        };
        let labels = self.label.split(',').map(str::trim);
        self.verdict
            .is_none_or(|only| cluster.verdict.state == only)
            && (labels.filter(|label| !label.is_empty()))
                .all(|label| has_label(cluster, |one| one == label))
            && match text.contains('=') {
                // Every label has this character, and few names.
                true => {
                    has_label(cluster, |label| label.to_lowercase().starts_with(text))
                        || in_name()
                        || in_nodes()
                }
                false => text.is_empty() || in_name() || in_nodes(),
            }
    }
}

fn has_label(cluster: &ClusterSummary, matches: impl Fn(&str) -> bool) -> bool {
    label_texts(&cluster.labels).any(|label| matches(&label))
}

/// The document of the topic `head`: what a page about something else shows. `clusters` are the worst that are not
/// healthy, at most 100; `total` and `verdicts` count all.
#[must_use]
pub fn head_document(overview: &Overview) -> TopicDocument {
    let mut head = counts(overview.clusters.iter());
    head.insert("notices".to_owned(), overview.notices.clone().into());
    // Worst first, as the overview lists them.
    let worst: Vec<&ClusterSummary> = overview
        .clusters
        .iter()
        .take_while(|cluster| cluster.verdict.state > VerdictState::Healthy)
        .take(HEAD_MAX)
        .collect();
    let names = worst.iter().map(|cluster| cluster.name.to_string());
    head.insert("order".to_owned(), names.collect());
    let rows = worst.into_iter().map(|cluster| {
        let row = object_of(&json!({
            "name": cluster.name,
            "verdict": cluster.verdict,
        }));
        (cluster.name.to_string(), Arc::new(row))
    });
    TopicDocument::new(head, "clusters", rows)
}

/// A cluster as in the API, except that the states of its nodes are members named by their id.
fn cluster_row(summary: &ClusterSummary) -> Map<String, Value> {
    let mut row = object_of(summary);
    let ids = summary.nodes.iter().map(|node| node.id.to_string());
    row.insert("order".to_owned(), ids.collect());
    let nodes = summary.nodes.iter().map(|node| {
        let mut row = object_of(node);
        row.remove("id");
        (node.id.to_string(), Value::Object(row))
    });
    row.insert("nodes".to_owned(), nodes.collect());
    row
}

/// How many clusters there are, and how many with each verdict.
fn counts<'a>(clusters: impl Iterator<Item = &'a ClusterSummary>) -> Map<String, Value> {
    let mut verdicts = Map::new();
    let mut total = 0_usize;
    for cluster in clusters {
        total += 1;
        let count = verdicts
            .entry(cluster.verdict.state.as_str())
            .or_insert_with(|| 0.into());
        *count = (count.as_u64().unwrap_or(0) + 1).into();
    }
    let mut head = Map::new();
    head.insert("total".to_owned(), total.into());
    head.insert("verdicts".to_owned(), Value::Object(verdicts));
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(name: &str, labels: &[(&str, &str)]) -> ClusterSummary {
        let json = json!({"name": name, "revision": 1, "observed_at": "2026-11-23T08:00:00Z", "expected": 0, "synced": 0,
            "verdict": {"state": "healthy", "reasons": [], "since": "2026-11-23T08:00:00Z"}, "position": null, "commit_rate": null,
            "nodes": [{"id": "h1", "name": "a=b", "state": "synced"}], "registry_reachable": true,
            "labels": labels.iter().copied().collect::<std::collections::BTreeMap<_, _>>()});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_filter_with_an_equals_sign_selects_by_label() {
        let clusters = [
            cluster("one", &[("env", "test"), ("team", "web")]),
            cluster("two", &[("env", "test2")]),
            cluster("test", &[]),
        ];
        for (filter, expected) in [
            ("env=", &["one", "two"][..]),
            ("env=tes", &["one", "two"]),
            ("ENV=Test", &["one"]),
            ("env=test2", &["two"]),
            ("nv=test", &[]),
            ("team=web", &["one"]),
            ("test", &["test"]),
            ("a=b", &["one", "two", "test"]),
        ] {
            let query = OverviewQuery {
                filter: filter.to_owned(),
                ..OverviewQuery::default()
            };
            assert_eq!(names(&query, &clusters), expected, "{filter}");
        }
    }

    fn names<'a>(query: &OverviewQuery, clusters: &'a [ClusterSummary]) -> Vec<&'a str> {
        let selected = query.select(clusters.iter());
        selected
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect()
    }

    #[test]
    fn labels_and_the_filter_select_together() {
        let clusters = [
            cluster("one", &[("env", "test"), ("team", "web")]),
            cluster("two", &[("env", "test")]),
            cluster("three", &[("env", "test2")]),
        ];
        for (label, filter, expected) in [
            ("", "", &["one", "two", "three"][..]),
            ("env=test", "", &["one", "two"]),
            ("env=test", "ON", &["one"]),
            ("env=test", "three", &[]),
            ("env=test", "team=", &["one"]),
            ("env=test, team=web", "", &["one"]),
            ("env=test,env=test2", "", &[]),
            // Exactly, as the API compares them.
            ("env=TEST", "", &[]),
            ("env=tes", "", &[]),
            ("env", "", &[]),
            ("=", "", &[]),
        ] {
            let query = OverviewQuery {
                label: label.to_owned(),
                filter: filter.to_owned(),
                ..OverviewQuery::default()
            };
            assert_eq!(names(&query, &clusters), expected, "{label} {filter}");
        }
    }
}
