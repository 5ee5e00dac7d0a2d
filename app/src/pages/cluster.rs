//! The cluster page: verdict, topology, nodes.

use leptos::prelude::*;

use super::cluster_header::{cluster_header, cluster_title};
use super::cluster_scope::{ClusterSignal, with_cluster};
use super::nodes::node_table;
use crate::live::use_live;
use crate::markup::el;
use crate::reactive::{dynamic_view, join_views};
use crate::topology::topology;

/// Nodes per row until the browser has measured the window.
const DEFAULT_COLUMNS: usize = 6;

pub(crate) fn cluster_page() -> AnyView {
    with_cluster(content)
}

fn content(shown: ClusterSignal) -> AnyView {
    let state = use_live();
    let page = move || {
        let (view, now) = (shown.read(), state.now.get());
        // Measured again on every clock tick, so that rotating a phone takes effect within a second.
        let columns = if now.is_some() {
            columns()
        } else {
            DEFAULT_COLUMNS
        };
        el("div")
            .class("page")
            .child(cluster_header(
                &view,
                "nodes",
                now,
                state.stale_since.get().is_some(),
            ))
            .child(
                el("div")
                    .class("drawing")
                    .child(topology(&view, columns, now)),
            )
            .child(node_table(&view, now))
    };
    join_views(vec![cluster_title(shown), dynamic_view(page)])
}

#[cfg(feature = "hydrate")]
fn columns() -> usize {
    crate::browser::content_width().map_or(DEFAULT_COLUMNS, crate::topology::columns_for)
}

#[cfg(not(feature = "hydrate"))]
fn columns() -> usize {
    DEFAULT_COLUMNS
}
