//! The window title of pages whose title follows what they show.

use leptos::prelude::*;

use super::cluster_header::cluster_title;
use super::node::node_title;
use super::overview::overview_title;
use crate::live::LiveState;

/// The title of the page; `None` where it came with the page.
pub(crate) fn page_title(live: LiveState) -> Option<String> {
    if live.is_overview() {
        return live.overview.get().map(|all| overview_title(&all));
    }
    let view = live.cluster.get()?;
    Some(match live.url.with(|url| url.node()) {
        Some(node) => node_title(&view, &node),
        None => cluster_title(&view),
    })
}
