//! The header of a page: breadcrumbs, navigation, state of the connection, account.

use galera::access::{Operation, check_permission};
use galera::publish::api::SessionView;
use galera::view::ClusterView;
use leptos::prelude::*;

use crate::data::encode_segment;
use crate::format::link;
use crate::islands::{ConnectionIndicator, PendingCount};
use crate::links::{cluster_label, node_label};
use crate::live::{SIGN_IN_PATH, use_live};
use crate::live_region::MarkupView;
use crate::loading::loaded;
use crate::markup::{El, el};
use crate::page_url::{PageUrl, decode};
use crate::pages::{find_node, tab_label};

/// The header of the page.
pub(crate) fn top_bar() -> AnyView {
    let url = use_live().url.get_untracked();
    if url.path == SIGN_IN_PATH {
        return view! { <header class="top">{brand()}</header> }.into_any();
    }
    loaded("/api/v1/session", move |response| {
        let session = response.decode::<SessionView>().ok();
        view! {
            <header class="top">
                {brand()} {breadcrumb_view(url.clone())} {main_nav(&url.path, session.as_ref())}
                <ConnectionIndicator /> {session.as_ref().map(|session| MarkupView::from(account_menu(session)))}
            </header>
        }
        .into_any()
    })
}

fn brand() -> MarkupView {
    link("/".to_owned(), "Galera Console").class("brand").into()
}

/// Breadcrumbs; a node has a name only in its cluster's view.
fn breadcrumb_view(url: PageUrl) -> AnyView {
    let show = |path: &str, view: Option<&ClusterView>| {
        MarkupView::from(breadcrumb_nav(path, view)).into_any()
    };
    let (Some(cluster), Some(_)) = (url.cluster(), url.node()) else {
        return show(&url.path, None);
    };
    let view = ["/api/v1/clusters/", &encode_segment(&cluster)].concat();
    loaded(&view, move |response| {
        show(&url.path, response.decode().ok().as_ref())
    })
}

/// A breadcrumb; the last one has no link.
#[derive(Debug, PartialEq, Eq)]
struct Breadcrumb {
    label: String,
    href: Option<String>,
}

/// The breadcrumbs of the page at `path`. `view` is the latest one of its cluster, which has the names of nodes.
fn breadcrumbs(path: &str, view: Option<&ClusterView>) -> Vec<Breadcrumb> {
    let crumb = |label: &str, href: Option<&str>| Breadcrumb {
        label: label.to_owned(),
        href: href.map(str::to_owned),
    };
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let ["clusters", name, rest @ ..] = segments.as_slice() else {
        // Pages outside of a cluster are highlighted in the main navigation instead.
        let here = segments.is_empty();
        return vec![crumb("Clusters", (!here).then_some("/"))];
    };
    let cluster = ["/clusters/", name].concat();
    let mut way = vec![
        crumb("Clusters", Some("/")),
        crumb(&cluster_of_segment(name), Some(&cluster)),
    ];
    let here = match rest {
        ["nodes", node] => {
            let id = decode(node);
            let named = view.and_then(|view| find_node(view, &id));
            Some(named.map_or(id, node_label))
        }
        [segment] => tab_label(segment).map(str::to_owned),
        _ => None,
    };
    match (here, way.last_mut()) {
        (Some(here), _) => way.push(crumb(&here, None)),
        (None, Some(cluster)) => cluster.href = None,
        (None, None) => {}
    }
    way
}

/// What people call the cluster whose segment of a path is `segment`; the segment's text if there can be none.
fn cluster_of_segment(segment: &str) -> String {
    let text = decode(segment);
    let label = text.parse().ok().map(|name| cluster_label(&name));
    label.unwrap_or(text)
}

fn breadcrumb_nav(path: &str, view: Option<&ClusterView>) -> El {
    let step = |Breadcrumb { label, href }| match href {
        Some(href) => el("li").child(link(href, label)),
        None => el("li").attr("aria-current", "page").child(label),
    };
    let steps: Vec<El> = breadcrumbs(path, view).into_iter().map(step).collect();
    el("nav")
        .class("way")
        .attr("aria-label", "Breadcrumbs")
        .child(el("ol").child(steps))
}

/// The main navigation, without pages that the account may not open.
fn main_nav(path: &str, session: Option<&SessionView>) -> AnyView {
    let entry = |href: &'static str, label: &'static str| {
        let here = path.starts_with(href).then_some("page");
        let link = link(href.to_owned(), label).optional_attr("aria-current", here);
        MarkupView::from(el("li").child(link))
    };
    let roles = session.map(|session| session.roles.as_slice());
    let may = |operation| roles.is_none_or(|roles| check_permission(roles, operation).is_ok());
    let (sees_targets, manages_accounts) = (
        may(Operation::ViewNotifications),
        may(Operation::ManageAccounts),
    );
    let actions = path.starts_with("/actions").then_some("page");
    view! {
        <nav class="places" aria-label="Main">
            <ul>
                {entry("/search", "Search")}
                <li>
                    <a href="/actions" aria-current=actions>"Actions" <PendingCount /></a>
                </li>
                {entry("/incidents", "Incidents")}
                {sees_targets.then(|| entry("/notifications", "Notifications"))}
                {entry("/audit", "Audit")}
                {manages_accounts.then(|| entry("/accounts", "Accounts"))}
            </ul>
        </nav>
    }
    .into_any()
}

fn account_menu(session: &SessionView) -> El {
    let roles: Vec<&str> = session.roles.iter().map(|role| role.as_str()).collect();
    let roles = if roles.is_empty() {
        "no roles".to_owned()
    } else {
        roles.join(", ")
    };
    let sign_out = el("button").attr("type", "submit").child("Sign out");
    el("div")
        .class("account")
        .child(link("/account".to_owned(), session.username.clone()).class("who"))
        .child(" ")
        .child(el("span").class("roles").child(roles))
        .child(
            el("form")
                .attr("method", "post")
                .attr("action", "/sign-out")
                .child(sign_out),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(path: &str) -> Vec<String> {
        breadcrumbs(path, None)
            .into_iter()
            .map(|crumb| crumb.label)
            .collect()
    }

    #[test]
    fn a_node_has_the_name_of_its_title() {
        let view = crate::fixtures::healthy("lab", 90_000);
        let label = |node: &str| {
            let path = ["/clusters/lab/nodes/", node].concat();
            breadcrumbs(&path, Some(&view)).pop().unwrap().label
        };
        assert_eq!(label("127.0.0.2"), "n2");
        assert_eq!(label("127.0.0.99"), "127.0.0.99");
    }

    #[test]
    fn every_page_has_breadcrumbs() {
        assert_eq!(labels("/"), ["Clusters"]);
        assert_eq!(labels("/clusters/lab"), ["Clusters", "lab"]);
        assert_eq!(
            labels("/clusters/lab/registry"),
            ["Clusters", "lab", "Registry"]
        );
        assert_eq!(labels("/clusters/lab/nodes/n1"), ["Clusters", "lab", "n1"]);
    }

    #[test]
    fn the_last_breadcrumb_is_not_a_link() {
        for path in [
            "/",
            "/clusters/lab",
            "/clusters/lab/registry",
            "/clusters/lab/nodes/n1",
        ] {
            let way = breadcrumbs(path, None);
            let links = way.iter().filter(|crumb| crumb.href.is_some()).count();
            assert_eq!(links, way.len() - 1, "{path}");
        }
    }
}
