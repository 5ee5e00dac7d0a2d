//! The clusters of the overview grouped by a label, rendered in the server.

use std::collections::{BTreeMap, BTreeSet};

use galera::publish::api::Overview;
use galera::view::{ClusterSummary, VerdictState};

use crate::format::{link, quiet};
use crate::marks::{state_badge, verdict_mark};
use crate::markup::{Content, El, el};
use crate::overview_window::OverviewSelection;
use crate::pages::{cell, data_table, row};

/// Groups that are shown at most.
const GROUPS_MAX: usize = 50;
const COLUMNS: [&str; 3] = ["Label", "Clusters", "Status"];

/// The clusters with one value of a label, or without the label.
struct LabelGroup<'a> {
    value: Option<&'a str>,
    clusters: Vec<&'a ClusterSummary>,
}

impl LabelGroup<'_> {
    fn count(&self, verdict: VerdictState) -> usize {
        let clusters = self.clusters.iter();
        clusters
            .filter(|cluster| cluster.verdict.state == verdict)
            .count()
    }

    /// Clusters with each verdict, worst first.
    fn counts(&self) -> Vec<(VerdictState, usize)> {
        let verdicts = VerdictState::ALL.into_iter().rev();
        verdicts
            .map(|verdict| (verdict, self.count(verdict)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// The choice of a label, and the groups if one is chosen; nothing while no cluster has a label.
pub(super) fn section(overview: &Overview, selection: &OverviewSelection) -> Option<El> {
    let all = overview.clusters.iter();
    let keys: BTreeSet<&str> = all
        .flat_map(|cluster| cluster.labels.keys().map(String::as_str))
        .collect();
    let key = Some(selection.group.as_str()).filter(|key| keys.contains(key));
    (!keys.is_empty()).then(|| {
        el("section")
            .attr("id", "groups")
            .child(choice(&keys, key, selection))
            .child(key.map(|key| table(overview, key, selection)))
    })
}

fn choice(keys: &BTreeSet<&str>, chosen: Option<&str>, selection: &OverviewSelection) -> El {
    let entry = |name: Option<&str>| {
        let href = selection.with("group", name.unwrap_or_default());
        let here = (name == chosen).then_some("true");
        let label = name.unwrap_or("None").to_owned();
        el("li").child(link(href, label).optional_attr("aria-current", here))
    };
    let entries = [None].into_iter().chain(keys.iter().copied().map(Some));
    el("nav")
        .class("tabs")
        .attr("aria-label", "Group by label")
        .child(
            el("ul")
                .child(el("li").class("quiet").child("Group by"))
                .child(entries.map(entry).collect::<Vec<_>>()),
        )
}

fn groups<'a>(overview: &'a Overview, key: &str) -> Vec<LabelGroup<'a>> {
    let mut by_value: BTreeMap<Option<&str>, Vec<&ClusterSummary>> = BTreeMap::new();
    for cluster in &overview.clusters {
        let value = cluster.labels.get(key).map(String::as_str);
        by_value.entry(value).or_default().push(cluster);
    }
    let groups = by_value.into_iter();
    let mut groups: Vec<LabelGroup<'_>> = groups
        .map(|(value, clusters)| LabelGroup { value, clusters })
        .collect();
    // Stable: of equal counts the order of the values remains. What has no label is last.
    groups.sort_by(|a, b| {
        let worst = b.counts().cmp(&a.counts());
        a.value.is_none().cmp(&b.value.is_none()).then(worst)
    });
    groups
}

fn table(overview: &Overview, key: &str, selection: &OverviewSelection) -> El {
    let groups = groups(overview, key);
    let more = groups.len().saturating_sub(GROUPS_MAX);
    let rows = groups.iter().take(GROUPS_MAX).map(|group| {
        let name: El = match group.value {
            Some(value) => {
                let label = format!("{key}={value}");
                link(selection.with("label", &label), label)
            }
            None => quiet(format!("without {key}")),
        };
        let counts = group.counts().into_iter().flat_map(|(verdict, count)| {
            let badge: Content = state_badge(verdict_mark(verdict)).into();
            [format!("{count} ").into(), badge, " ".into()]
        });
        row(name)
            .child(cell(COLUMNS[1], group.clusters.len().to_string()))
            .child(cell(COLUMNS[2], Content::Many(counts.collect())))
    });
    let caption = "Clusters by label, worst status first";
    let table = data_table("ledger", caption, &COLUMNS, rows.collect());
    let more = (more > 0).then(|| {
        el("p")
            .class("quiet")
            .child(format!("{more} further values are not shown."))
    });
    el("div").child(table).child(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn overview(labels: &[(&str, bool, &str)]) -> Overview {
        let cluster = |(name, healthy, label): &(&str, bool, &str)| {
            let mut summary = match healthy {
                true => fixtures::healthy(name, 1_000).summary(),
                false => fixtures::split_brain(name, 1_000).summary(),
            };
            if let Some((key, value)) = label.split_once('=') {
                summary.labels.insert(key.to_owned(), value.to_owned());
            }
            summary
        };
        Overview {
            clusters: labels.iter().map(cluster).collect(),
            notices: Vec::new(),
        }
    }

    fn grouped(key: &str) -> OverviewSelection {
        OverviewSelection {
            group: key.to_owned(),
            ..OverviewSelection::default()
        }
    }

    #[test]
    fn links_keep_the_rest_of_the_selection() {
        let overview = overview(&[("a", true, "env=alpha"), ("b", true, "team=web")]);
        let selection = OverviewSelection {
            text: "a".to_owned(),
            label: "env=alpha".to_owned(),
            verdict: Some(VerdictState::Down),
            sort: "name".to_owned(),
            page: 3,
            ..grouped("env")
        };
        let html = section(&overview, &selection).unwrap().html();
        for expected in [
            "/?q=a&amp;label=env%3Dalpha&amp;verdict=down&amp;sort=name\"",
            "/?q=a&amp;label=env%3Dalpha&amp;verdict=down&amp;sort=name&amp;group=team\"",
            "/?q=a&amp;label=env%3Dalpha&amp;verdict=down&amp;sort=name&amp;group=env\"",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(!html.contains("page="), "{html}");
    }

    #[test]
    fn groups_have_counts_worst_first() {
        let overview = overview(&[
            ("a", true, "env=alpha"),
            ("b", true, "env=zeta"),
            ("c", false, "env=zeta"),
            ("d", false, ""),
            ("e", true, "env=beta"),
        ]);
        let shown: Vec<(Option<&str>, Vec<usize>)> = groups(&overview, "env")
            .iter()
            .map(|group| {
                let counts = group.counts().iter().map(|(_, count)| *count).collect();
                (group.value, counts)
            })
            .collect();
        let expected = [
            (Some("zeta"), vec![1, 1]),
            (Some("alpha"), vec![1]),
            (Some("beta"), vec![1]),
            (None, vec![1]),
        ];
        assert_eq!(shown, expected);
        let html = section(&overview, &grouped("env")).unwrap().html();
        assert!(html.contains("/?label=env%3Dzeta&amp;group=env"), "{html}");
        assert!(html.contains("without env"), "{html}");
        let unknown = section(&overview, &grouped("<b>")).unwrap().html();
        assert!(
            !unknown.contains("<table") && !unknown.contains("<b>"),
            "{unknown}"
        );
    }

    #[test]
    fn without_labels_there_is_nothing_to_group() {
        assert!(section(&overview(&[("a", true, "")]), &grouped("env")).is_none());
    }

    #[test]
    fn many_values_stay_a_small_page() {
        let names: Vec<(String, String)> = (0..500)
            .map(|n| (format!("c{n}"), format!("host=h{n}")))
            .collect();
        let labels: Vec<(&str, bool, &str)> = names
            .iter()
            .map(|(name, label)| (name.as_str(), true, label.as_str()))
            .collect();
        let html = section(&overview(&labels), &grouped("host"))
            .unwrap()
            .html();
        assert!(html.matches('<').count() / 2 < 1_000, "{}", html.len());
        assert!(html.contains("450 further values"), "{html}");
    }
}
