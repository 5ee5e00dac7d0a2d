//! Pages as the server renders them: what is loaded, the window title, islands and served parts.

mod header;
mod layout;
mod served_part;

use std::sync::Arc;

use galera::publish::api::Overview;
use galera::view::ClusterView;
use leptos::prelude::*;

pub(crate) use self::header::top_bar;
pub(crate) use self::layout::{banners, footer, skip_link};
use self::served_part::{ServedTitle, served_part};
use crate::data::{encode_segment, set_status};
use crate::format::link;
use crate::islands::{ClusterNodes, ClusterSummary, NodeDetails, OverviewHead, OverviewTable};
use crate::live::use_live;
use crate::live_region::MarkupView;
use crate::loading::{join_views, loaded_page, title_view};
use crate::markup::el;
use crate::overview_window::{OverviewSelection, OverviewWindow};
use crate::pages::{
    cluster_title, find_node, node_title, overview_title, sign_in_markup, tab_label,
};

/// The page of all clusters.
pub(crate) fn overview_page() -> AnyView {
    let live = use_live();
    loaded_page("/api/v1/clusters", move |overview: Overview| {
        let selection = live.url.with_untracked(OverviewSelection::of);
        let window = OverviewWindow::of(&overview, &selection);
        let title = title_view(&overview_title(&window));
        live.overview.set(Some(Arc::new(window)));
        join_views(vec![
            title,
            view! { <OverviewHead /> }.into_any(),
            served_part(ServedTitle::OfPage),
            view! { <OverviewTable /> }.into_any(),
        ])
    })
}

/// The first tab of a cluster. The nodes come before the served part, whose height changes with the cluster's state.
pub(crate) fn cluster_page() -> AnyView {
    cluster_tab(|| view! { <ClusterNodes /> }.into_any())
}

/// A tab of a cluster that the server renders: the last segment of the path.
pub(crate) fn tab_page() -> AnyView {
    let tab = use_live().url.with_untracked(|url| url.tab());
    match tab.as_deref().and_then(tab_label) {
        Some(_) => cluster_tab(|| ().into_any()),
        None => not_found_page(),
    }
}

/// A tab of a cluster: header, `nodes`, server-rendered part.
fn cluster_tab(nodes: fn() -> AnyView) -> AnyView {
    with_cluster(move |view| {
        join_views(vec![
            title_view(&cluster_title(view)),
            view! { <ClusterSummary /> }.into_any(),
            nodes(),
            served_part(ServedTitle::OfPage),
        ])
    })
}

/// Shows `content` for the cluster in the URL, or the problem that prevents it.
fn with_cluster(content: impl FnOnce(&ClusterView) -> AnyView + Send + 'static) -> AnyView {
    let live = use_live();
    let name = live.url.with_untracked(|url| url.cluster());
    let path = [
        "/api/v1/clusters/",
        &encode_segment(&name.unwrap_or_default()),
    ]
    .concat();
    loaded_page(&path, move |view: ClusterView| {
        let view = Arc::new(view);
        live.cluster.set(Some(Arc::clone(&view)));
        content(&view)
    })
}

/// The page of the node in the URL.
pub(crate) fn node_page() -> AnyView {
    let node = use_live().url.with_untracked(|url| url.node());
    let node = node.unwrap_or_default();
    with_cluster(move |view| {
        if find_node(view, &node).is_none() {
            set_status(404);
        }
        join_views(vec![
            title_view(&node_title(view, &node)),
            view! { <NodeDetails /> }.into_any(),
            served_part(ServedTitle::OfPage),
        ])
    })
}

/// Any other server-rendered page.
pub(crate) fn fragment_page() -> AnyView {
    served_part(ServedTitle::OfPart)
}

/// The form to sign in.
pub(crate) fn sign_in_page() -> AnyView {
    let url = use_live().url.get_untracked();
    let next = url.parameter("next").unwrap_or_default();
    let form = sign_in_markup(url.parameter("error").as_deref(), &next);
    join_views(vec![
        title_view("Sign in"),
        MarkupView::from(form).into_any(),
    ])
}

/// The page for paths that lead nowhere.
pub(crate) fn not_found_page() -> AnyView {
    set_status(404);
    let hint = el("p")
        .child("The address may be mistyped, or the page may have moved. Go to ")
        .child(link("/".to_owned(), "all clusters"))
        .child(".");
    let markup = el("section")
        .class("problem")
        .child(el("h1").child("Page not found"))
        .child(hint);
    join_views(vec![
        title_view("Not found"),
        MarkupView::from(markup).into_any(),
    ])
}
