//! The cluster page: verdict, next step, topology, nodes.

use leptos::prelude::*;

use crate::live::LiveState;
use crate::markup::{El, el};
use crate::topology::topology;

use super::nodes::node_table;

/// Topology and table of the nodes.
pub(crate) fn cluster_nodes(live: LiveState) -> Option<El> {
    let view = live.cluster.get()?;
    let now = live.clock();
    let page = el("div").class("page");
    Some(
        page.child(topology(&view, now))
            .child(node_table(&view, now)),
    )
}
