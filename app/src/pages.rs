//! The markup of pages, one module each, and the tables they share.

mod cluster;
mod cluster_header;
mod node;
mod node_facts;
mod nodes;
mod overview;
mod problem;
#[cfg(feature = "ssr")]
mod sign_in;

pub(crate) use cluster::cluster_nodes;
#[cfg(feature = "ssr")]
pub use cluster_header::tab_segments;
pub(crate) use cluster_header::{cluster_summary, cluster_title};
#[cfg(feature = "ssr")]
pub(crate) use cluster_header::{key_figures, reason_item, tab_label};
#[cfg(feature = "ssr")]
pub(crate) use node::find_node;
pub(crate) use node::{node_details, node_title};
#[cfg(feature = "ssr")]
pub(crate) use nodes::node_table;
pub(crate) use overview::{overview_head, overview_table, overview_title};
#[cfg(feature = "ssr")]
pub(crate) use problem::problem_markup;
#[cfg(feature = "ssr")]
pub(crate) use sign_in::sign_in_markup;
#[cfg(feature = "ssr")]
pub use sign_in::{sign_in_error, sign_in_html};

use crate::markup::{El, el};

/// A table whose rows become cards on narrow screens. Explicit roles keep its semantics where CSS changes `display`.
pub(crate) fn data_table(
    class: &'static str,
    caption: impl Into<crate::markup::Content>,
    columns: &[&'static str],
    rows: Vec<El>,
) -> El {
    let heads: Vec<El> = columns
        .iter()
        .map(|column| {
            el("th")
                .attr("scope", "col")
                .attr("role", "columnheader")
                .child(*column)
        })
        .collect();
    let group = |tag: &'static str| el(tag).attr("role", "rowgroup");
    el("table")
        .class(class)
        .attr("role", "table")
        .child(el("caption").class("vh").child(caption))
        .child(group("thead").child(el("tr").attr("role", "row").child(heads)))
        .child(group("tbody").child(rows))
}

/// A row that begins with its header cell.
pub(crate) fn row(head: impl Into<crate::markup::Content>) -> El {
    let head = el("th")
        .attr("scope", "row")
        .attr("role", "rowheader")
        .child(head);
    el("tr").attr("role", "row").child(head)
}

/// A cell. `label` is shown when the row is a card.
pub(crate) fn cell(label: &'static str, content: impl Into<crate::markup::Content>) -> El {
    el("td")
        .attr("role", "cell")
        .attr("data-label", label)
        .child(content)
}
