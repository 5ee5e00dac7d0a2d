//! The cluster page: verdict, drawing, nodes.

use leptos::prelude::*;

use super::head::{cluster_head, cluster_title};
use super::nodes::node_table;
use super::scope::{Shown, cluster_scope};
use crate::live::use_live;
use crate::markup::el;
use crate::reactive::{all, live};
use crate::topology::topology;

/// How many nodes stand beside each other until the browser has measured its window.
const COLUMNS_AT_FIRST: usize = 6;

/// The page.
pub(crate) fn cluster_page() -> AnyView {
    cluster_scope(content)
}

fn content(shown: Shown) -> AnyView {
    let state = use_live();
    let page = move || {
        let (view, now) = (shown.read(), state.now.get());
        // Measured anew with every tick of the clock: a turned phone is noticed within a second.
        let columns = if now.is_some() {
            columns()
        } else {
            COLUMNS_AT_FIRST
        };
        el("div")
            .class("page")
            .with(cluster_head(
                &view,
                "nodes",
                now,
                state.stale_since.get().is_some(),
            ))
            .with(
                el("div")
                    .class("drawing")
                    .with(topology(&view, columns, now)),
            )
            .with(node_table(&view, now))
    };
    all(vec![cluster_title(shown), live(page)])
}

#[cfg(feature = "hydrate")]
fn columns() -> usize {
    crate::browser::content_width().map_or(COLUMNS_AT_FIRST, crate::topology::columns_for)
}

#[cfg(not(feature = "hydrate"))]
fn columns() -> usize {
    COLUMNS_AT_FIRST
}
