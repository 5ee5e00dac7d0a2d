//! The pages, one module each.

mod cluster;
mod head;
mod node;
mod node_facts;
mod nodes;
mod overview;
mod problem;
mod registry;
mod scope;
mod served;
mod sign_in;

pub(crate) use cluster::cluster_page;
pub(crate) use head::cluster_href;
#[cfg(feature = "ssr")]
pub(crate) use head::node_href;
pub(crate) use node::node_page;
pub(crate) use overview::overview_page;
pub(crate) use problem::{missing_page, problem_page};
pub(crate) use registry::registry_page;
pub(crate) use served::{events_page, recovery_page, served_page};
pub(crate) use sign_in::sign_in_page;

use crate::markup::{El, el};

/// A table whose rows become cards on a narrow screen. The roles say what it is where style takes it apart.
pub(crate) fn ledger(
    class: &'static str,
    caption: impl Into<crate::markup::Child>,
    columns: &[&'static str],
    rows: Vec<El>,
) -> El {
    let heads: Vec<El> = columns
        .iter()
        .map(|column| {
            el("th")
                .at("scope", "col")
                .at("role", "columnheader")
                .with(*column)
        })
        .collect();
    let group = |tag: &'static str| el(tag).at("role", "rowgroup");
    el("table")
        .class(class)
        .at("role", "table")
        .with(el("caption").class("vh").with(caption))
        .with(group("thead").with(el("tr").at("role", "row").with(heads)))
        .with(group("tbody").with(rows))
}

/// A row, begun with the cell that names it.
pub(crate) fn row(key: String, head: impl Into<crate::markup::Child>) -> El {
    let head = el("th")
        .at("scope", "row")
        .at("role", "rowheader")
        .with(head);
    el("tr").key(key).at("role", "row").with(head)
}

/// A cell, labelled for when its row is a card.
pub(crate) fn cell(label: &'static str, content: impl Into<crate::markup::Child>) -> El {
    el("td")
        .at("role", "cell")
        .at("data-label", label)
        .with(content)
}
