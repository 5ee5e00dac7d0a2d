//! The cluster page: verdict, next step, topology, nodes.

use galera::Timestamp;
use galera::view::ClusterView;
use leptos::prelude::AnyView;

use super::fragment::cluster_tab;
use super::nodes::node_table;
use crate::markup::{El, el};
use crate::topology::topology;

/// Nodes per row until the browser has measured the window.
const DEFAULT_COLUMNS: usize = 6;

pub(crate) fn cluster_page() -> AnyView {
    cluster_tab(Some(content))
}

fn content(view: &ClusterView, now: Option<Timestamp>) -> El {
    // Measured again on every clock tick, so that rotating a phone takes effect within a second.
    let columns = if now.is_some() {
        columns()
    } else {
        DEFAULT_COLUMNS
    };
    el("div")
        .class("page")
        .child(
            el("div")
                .class("drawing")
                .child(topology(view, columns, now)),
        )
        .child(node_table(view, now))
}

#[cfg(feature = "hydrate")]
fn columns() -> usize {
    crate::browser::content_width().map_or(DEFAULT_COLUMNS, crate::topology::columns_for)
}

#[cfg(not(feature = "hydrate"))]
fn columns() -> usize {
    DEFAULT_COLUMNS
}
