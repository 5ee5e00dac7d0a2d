//! The clusters that a page shows of all clusters.

#[cfg(feature = "ssr")]
use galera::publish::api::Overview;
use galera::publish::live::FILTER_MAX;
#[cfg(feature = "ssr")]
use galera::publish::live::{LABEL_FILTER_MAX, OverviewQuery, OverviewSort};
use galera::view::{ClusterSummary, VerdictState};

use crate::data::encode_segment;
use crate::page_url::PageUrl;

/// Rows of a page of the overview: more than fit on a screen, few enough for a phone.
pub(crate) const PAGE_ROWS: usize = 50;

/// Some of the clusters, with how many there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OverviewWindow {
    /// In the order of the selection; of what every page shows, the worst verdict first.
    pub(crate) clusters: Vec<ClusterSummary>,
    /// Number of clusters that match the selection, in this window and in others.
    pub(crate) matched: usize,
    /// Number of clusters with each verdict, of all.
    pub(crate) verdicts: Vec<(VerdictState, usize)>,
    pub(crate) notices: Vec<String>,
}

impl OverviewWindow {
    /// Number of all clusters.
    pub(crate) fn total(&self) -> usize {
        self.verdicts.iter().map(|(_, count)| count).sum()
    }

    /// Number of clusters with this verdict.
    pub(crate) fn count(&self, verdict: VerdictState) -> usize {
        let mut verdicts = self.verdicts.iter();
        verdicts
            .find(|(state, _)| *state == verdict)
            .map_or(0, |(_, count)| *count)
    }

    /// The selected part of all clusters.
    #[cfg(feature = "ssr")]
    pub(crate) fn of(overview: &Overview, selection: &OverviewSelection) -> Self {
        let selected = selection.query().select(overview.clusters.iter());
        let count = |state: VerdictState| {
            let clusters = overview.clusters.iter();
            clusters.filter(|c| c.verdict.state == state).count()
        };
        Self {
            matched: selected.len(),
            clusters: selected
                .into_iter()
                .skip(selection.from())
                .take(PAGE_ROWS)
                .cloned()
                .collect(),
            verdicts: VerdictState::ALL.map(|state| (state, count(state))).into(),
            notices: overview.notices.clone(),
        }
    }
}

/// Which clusters the overview shows, in which order. Kept in the URL, so that a selection can be shared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverviewSelection {
    /// Part of the name of a cluster, or of the name or address of a node; or the beginning of a label, `KEY=VALUE`.
    pub(crate) text: String,
    /// Labels, `KEY=VALUE`, separated by commas: only clusters that have all of them.
    pub(crate) label: String,
    pub(crate) verdict: Option<VerdictState>,
    /// `name` or `commits`; anything else is the worst verdict first.
    pub(crate) sort: String,
    /// The key of the label that clusters are grouped by above the table.
    pub(crate) group: String,
    /// From 1.
    pub(crate) page: usize,
}

impl OverviewSelection {
    /// The selection in the query of the overview's URL.
    pub(crate) fn of(url: &PageUrl) -> Self {
        let text = |name: &str| url.parameter(name).unwrap_or_default();
        let verdict = text("verdict");
        let mut sort = text("sort");
        if !["name", "commits"].contains(&sort.as_str()) {
            sort.clear();
        }
        Self {
            text: text("q").trim().chars().take(FILTER_MAX).collect(),
            label: text("label"),
            group: text("group"),
            verdict: VerdictState::ALL
                .into_iter()
                .find(|state| state.as_str() == verdict),
            sort,
            page: text("page").parse().unwrap_or(1_usize).clamp(1, 1_000),
        }
    }

    /// Index of the first row, from 0.
    pub(crate) fn from(&self) -> usize {
        (self.page.max(1) - 1) * PAGE_ROWS
    }

    /// The URL of this selection with another value of a parameter; without a page its first one.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let own = [
            ("q", &*self.text),
            ("label", &self.label),
            ("verdict", self.verdict_name()),
            ("sort", &self.sort),
            ("group", &self.group),
            ("page", ""),
        ];
        ["/?", &query_of(own, name, value)].concat()
    }

    /// The verdict; empty for all.
    pub(crate) fn verdict_name(&self) -> &'static str {
        self.verdict.map_or("", VerdictState::as_str)
    }

    /// The topic of the live channel with the selected clusters.
    #[cfg(any(feature = "hydrate", test))]
    pub(crate) fn topic(&self) -> String {
        let from = match self.from() {
            0 => String::new(),
            from => from.to_string(),
        };
        let parameters = [
            ("filter", &*self.text),
            ("label", &self.label),
            ("verdict", self.verdict_name()),
            ("sort", &self.sort),
            ("from", &from),
            ("count", ""),
        ];
        let parameters = query_of(parameters, "count", &PAGE_ROWS.to_string());
        ["overview?", &parameters].concat()
    }

    /// The selected clusters on the following pages of the table.
    #[cfg(feature = "ssr")]
    pub(crate) fn after_page<'a>(&self, overview: &'a Overview) -> Vec<&'a ClusterSummary> {
        let selected = self.query().select(overview.clusters.iter());
        selected.into_iter().skip(self.from() + PAGE_ROWS).collect()
    }

    #[cfg(feature = "ssr")]
    fn query(&self) -> OverviewQuery {
        OverviewQuery {
            filter: self.text.clone(),
            // The live channel refuses longer ones.
            label: self.label.chars().take(LABEL_FILTER_MAX).collect(),
            verdict: self.verdict,
            sort: match self.sort.as_str() {
                "name" => OverviewSort::Name,
                "commits" => OverviewSort::Commits,
                _ => OverviewSort::Worst,
            },
            from: self.from(),
            count: PAGE_ROWS,
        }
    }
}

/// The parameters that have a value. That of `changed` is `value`.
fn query_of(parameters: [(&str, &str); 6], changed: &str, value: &str) -> String {
    let mut parts = Vec::new();
    for (name, own) in parameters {
        let value = if name == changed { value } else { own };
        if !value.is_empty() {
            parts.push([name, "=", &encode_segment(value)].concat());
        }
    }
    parts.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    fn selection(query: &str) -> OverviewSelection {
        OverviewSelection::of(&PageUrl {
            path: "/".to_owned(),
            query: query.to_owned(),
        })
    }

    #[test]
    fn clusters_are_selected_by_text_and_verdict_and_sorted() {
        let overview = Overview {
            clusters: vec![
                fixtures::no_primary("zeta", 90_000).summary(),
                fixtures::healthy("alpha", 90_000).summary(),
                fixtures::healthy("beta", 90_000).summary(),
            ],
            notices: Vec::new(),
        };
        let mut overview = overview;
        for (index, value) in [(0, "x"), (2, "x"), (1, "xy")] {
            let labels = &mut overview.clusters[index].labels;
            labels.insert("env".to_owned(), value.to_owned());
        }
        for (query, expected) in [
            ("label=env%3Dx", "zeta beta"),
            ("label=env%3Dx&q=bet", "beta"),
            ("label=env%3Dx&q=alpha", ""),
            ("label=env%3Dx&verdict=healthy", "beta"),
            ("label=env%3Dx&page=2", ""),
            ("label=env%3Dx%2Cteam%3Dweb", ""),
            ("label=env", ""),
            ("q=env%3Dx", "zeta beta"),
            ("", "zeta alpha beta"),
            ("q=+ETA+", "zeta beta"),
            ("q=eta&verdict=healthy", "beta"),
            ("sort=name", "alpha beta zeta"),
            ("sort=name&q=127.0.0.3", "alpha beta zeta"),
            ("page=2", ""),
        ] {
            let window = OverviewWindow::of(&overview, &selection(query));
            let names: Vec<String> = window.clusters.iter().map(|c| c.name.to_string()).collect();
            assert_eq!(names.join(" "), expected, "{query}");
            assert_eq!(
                (window.total(), window.count(VerdictState::Healthy)),
                (3, 2)
            );
        }
    }

    #[test]
    fn the_selection_is_in_the_url_and_in_the_topic() {
        let chosen = selection("q=a%26b&sort=name&verdict=down&page=3");
        assert_eq!(chosen.with("verdict", ""), "/?q=a%26b&sort=name");
        assert_eq!(
            chosen.with("page", "2"),
            "/?q=a%26b&verdict=down&sort=name&page=2"
        );
        assert_eq!(
            chosen.topic(),
            "overview?filter=a%26b&verdict=down&sort=name&from=100&count=50"
        );
        assert_eq!(selection("").topic(), "overview?count=50");
        let labelled = selection("q=a&label=env%3Dx&group=env&page=2&verdict=down");
        assert_eq!(
            labelled.with("verdict", "healthy"),
            "/?q=a&label=env%3Dx&verdict=healthy&group=env"
        );
        assert_eq!(
            labelled.with("page", "3"),
            "/?q=a&label=env%3Dx&verdict=down&group=env&page=3"
        );
        assert_eq!(
            labelled.with("label", "team=web"),
            "/?q=a&label=team%3Dweb&verdict=down&group=env"
        );
        assert_eq!(
            labelled.topic(),
            "overview?filter=a&label=env%3Dx&verdict=down&from=50&count=50"
        );
    }

    #[test]
    fn nonsense_in_the_url_is_ignored() {
        let long = "x".repeat(500);
        let chosen = selection(&format!(
            "q={long}&sort=%22&verdict=fine&page=99999999999999999999"
        ));
        assert_eq!(chosen.text.len(), FILTER_MAX);
        assert_eq!(
            (chosen.sort.as_str(), chosen.verdict, chosen.page),
            ("", None, 1)
        );
        assert_eq!(selection("page=5000").page, 1_000);
        let label = format!("{}={}", "k".repeat(63), "v".repeat(63));
        assert_eq!(selection(&format!("label={label}")).label, label);
    }
}
