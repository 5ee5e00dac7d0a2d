//! The ranges that charts and timelines show.

use super::api_client::PageQuery;
use crate::format::link;
use crate::markup::{El, el};

/// Ranges by name: what a link says, and how many seconds.
const RANGES: [(&str, &str, i64); 7] = [
    ("15m", "15 min", 900),
    ("1h", "1 h", 3_600),
    ("6h", "6 h", 21_600),
    ("24h", "24 h", 86_400),
    ("7d", "7 d", 604_800),
    ("90d", "90 d", 7_776_000),
    ("365d", "365 d", 31_536_000),
];
/// How many of them the console's own records can cover.
const RECORDED_RANGES: usize = 6;
/// The range that is shown first.
const DEFAULT_RANGE: usize = 1;

/// A range that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeRange(usize);

impl TimeRange {
    /// The range in the parameter `range`.
    pub(super) fn from_query(query: &PageQuery) -> Self {
        let name = query.get("range").unwrap_or_default();
        let found = RANGES.iter().position(|(range, ..)| *range == name);
        Self(found.unwrap_or(DEFAULT_RANGE))
    }

    /// The shortest range that reaches back `millis`, or the longest one.
    pub(super) fn of_last(millis: i64) -> Self {
        let found = RANGES
            .iter()
            .position(|(.., seconds)| seconds * 1_000 >= millis);
        Self(found.map_or(RECORDED_RANGES - 1, |found| found.min(RECORDED_RANGES - 1)))
    }

    pub(super) const fn name(self) -> &'static str {
        RANGES[self.0].0
    }

    pub(super) const fn millis(self) -> i64 {
        RANGES[self.0].2 * 1_000
    }

    /// Links to the ranges that the console's own records can cover; `further` are further parameters, each with its `&`.
    pub(super) fn tabs(self, label: &'static str, further: &str) -> El {
        self.links(label, further, RECORDED_RANGES)
    }

    /// Links to the ranges of charts, with those that only a metrics server can cover if `beyond_records`.
    pub(super) fn chart_tabs(self, label: &'static str, beyond_records: bool) -> El {
        let count = match beyond_records {
            true => RANGES.len(),
            false => RECORDED_RANGES,
        };
        self.links(label, "", count)
    }

    fn links(self, label: &'static str, further: &str, count: usize) -> El {
        let items = RANGES.iter().take(count).enumerate();
        let items = items.map(|(index, (name, label, _))| {
            let current = (index == self.0).then_some("true");
            el("li").child(
                link(format!("?range={name}{further}"), *label)
                    .optional_attr("aria-current", current),
            )
        });
        el("nav")
            .class("tabs")
            .attr("aria-label", label)
            .child(el("ul").child(items.collect::<Vec<_>>()))
    }
}
