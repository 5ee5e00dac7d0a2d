//! Pages with a part that only the server renders: plans, actions, the audit trail.
//!
//! They change rarely and have few readers; as HTML they add nothing to the WebAssembly module. `app/browser/served-part.js`
//! fetches the part again after changes and `forms.js` submits its forms. Without scripts they are ordinary pages with
//! ordinary forms.

use std::sync::Arc;

use galera::view::ClusterView;
use leptos::prelude::*;

use super::cluster_header::{cluster_title, tab_label};
use super::problem::{not_found_page, problem_page};
use crate::data::{encode_segment, set_status};
use crate::islands::{ClusterNodes, ClusterSummary};
use crate::live::use_live;
use crate::loading::{ApiResponse, join_views, loaded, loaded_page, title_view};
use crate::markup::{El, MarkupView, el};

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
pub(super) fn with_cluster(
    content: impl FnOnce(&ClusterView) -> AnyView + Send + 'static,
) -> AnyView {
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

/// Any other server-rendered page.
pub(crate) fn fragment_page() -> AnyView {
    served_part(ServedTitle::OfPart)
}

/// Where the window title comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ServedTitle {
    /// The part is the page.
    OfPart,
    /// From what is beside the part.
    OfPage,
}

/// The server-rendered part of the page in the URL.
pub(super) fn served_part(title: ServedTitle) -> AnyView {
    let path = use_live().url.with_untracked(|url| {
        let mark = if url.query.is_empty() { "" } else { "?" };
        ["/fragments", &url.path, mark, &url.query].concat()
    });
    loaded(&path, move |response| {
        // A part of a page has a notice in its place instead.
        if title == ServedTitle::OfPart
            && let Err(problem) = response.title_and_html()
        {
            return problem_page(problem);
        }
        // A response that the request is at fault for, such as a malformed parameter.
        if let Err(problem) = response.title_and_html()
            && problem.status < 500
        {
            set_status(problem.status);
        }
        let heading = match (title, response.title_and_html()) {
            (ServedTitle::OfPart, Ok((title, _))) => Some(title_view(title)),
            _ => None,
        };
        let part = MarkupView::from(part_markup(&response, title)).into_any();
        join_views(heading.into_iter().chain([part]).collect())
    })
}

/// `data-part` marks what the browser fetches again, and whether the window title comes with it.
fn part_markup(response: &ApiResponse, title: ServedTitle) -> El {
    let title = match title {
        ServedTitle::OfPart => "titled",
        ServedTitle::OfPage => "",
    };
    let part = el("div")
        .class("page")
        .attr("id", "served")
        .attr("data-part", title);
    match response.title_and_html() {
        Ok((_, html)) => part.inner_html(html.into()),
        Err(problem) => {
            let text = [&problem.title, ". ", &problem.detail].concat();
            part.child(el("p").class("notice").child(text))
        }
    }
}
