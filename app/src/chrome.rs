//! Page chrome: header, alert banners, footer, live regions.

use galera::Timestamp;
use galera::access::{Operation, check_permission};
use galera::publish::api::{Overview, SessionView};
use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use leptos_router::location::Url;

use crate::format::{absolute, age, ago, link, visually_hidden};
use crate::live::{ConnectionState, LiveState, use_live};
use crate::marks::{state_badge, verdict_mark};
use crate::markup::{El, el};
use crate::pages::{cluster_href, find_node, node_label, tab_label};
use crate::reactive::{dynamic_view, effect, load, loaded};

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
        crumb(&Url::unescape(name), Some(&cluster)),
    ];
    let here = match rest {
        ["nodes", node] => {
            let id = Url::unescape(node);
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

/// The first focusable element.
pub(crate) fn skip_link() -> AnyView {
    // `external` keeps the router away, so that the browser moves the keyboard focus as well.
    dynamic_view(|| {
        link("#main".to_owned(), "Skip to content")
            .class("skip")
            .attr("rel", "external")
    })
}

/// The header: breadcrumbs, navigation, connection state, account.
pub(crate) fn top_bar() -> AnyView {
    let (path, state) = (use_location().pathname, use_live());
    let session = load(move || {
        path.with(|path| {
            if path == SIGN_IN_PATH {
                ""
            } else {
                "/api/v1/session"
            }
            .to_owned()
        })
    });
    loaded(session, move |response| {
        let session = response.decode::<SessionView>().ok();
        dynamic_view(move || header(&path.read(), state, session.as_ref()))
    })
}

const SIGN_IN_PATH: &str = "/sign-in";

fn header(path: &str, state: LiveState, session: Option<&SessionView>) -> El {
    let header = el("header")
        .class("top")
        .child(link("/".to_owned(), "Galera Console").class("brand"));
    if path == SIGN_IN_PATH {
        return header;
    }
    // Read on the page of a node only, because it changes every second.
    let view = path
        .contains("/nodes/")
        .then(|| state.cluster.get())
        .flatten();
    header
        .child(breadcrumb_nav(path, view.as_deref()))
        .child(main_nav(path, state.pending_actions.get(), session))
        .child(connection_indicator(state))
        .child(session.map(account_menu))
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

/// The main navigation, without pages that the account may not open. `pending` counts the actions waiting for approval.
fn main_nav(path: &str, pending: usize, session: Option<&SessionView>) -> El {
    let waiting = (pending > 0).then(|| {
        el("span")
            .class("count")
            .child(pending.to_string())
            .child(visually_hidden(" waiting for approval"))
    });
    let here = |href: &'static str| path.starts_with(href).then_some("page");
    let actions =
        link("/actions".to_owned(), "Actions").optional_attr("aria-current", here("/actions"));
    let incidents = link("/incidents".to_owned(), "Incidents")
        .optional_attr("aria-current", here("/incidents"));
    let notifications = link("/notifications".to_owned(), "Notifications")
        .optional_attr("aria-current", here("/notifications"));
    let audit = link("/audit".to_owned(), "Audit").optional_attr("aria-current", here("/audit"));
    let roles = session.map(|session| session.roles.as_slice());
    let sees_targets =
        roles.is_none_or(|roles| check_permission(roles, Operation::ViewNotifications).is_ok());
    el("nav")
        .class("places")
        .attr("aria-label", "Main")
        .child(el("ul").child([
            Some(el("li").child(actions.child(waiting))),
            Some(el("li").child(incidents)),
            sees_targets.then(|| el("li").child(notifications)),
            Some(el("li").child(audit)),
        ]))
}

fn connection_indicator(live: LiveState) -> El {
    let (class, label, description) = match (live.connection.get(), live.stale_since.get()) {
        (ConnectionState::Snapshot, _) => (
            "link t-off",
            "Snapshot",
            "Data as of when the page was loaded; no live updates.",
        ),
        (ConnectionState::Connecting, _) => (
            "link t-off",
            "Connecting",
            "Connecting to the console for live updates.",
        ),
        (ConnectionState::Open, None) => (
            "link t-ok",
            "Live",
            "Connected; changes appear as they happen.",
        ),
        (ConnectionState::Open, Some(_)) => (
            "link t-warn",
            "No updates",
            "Connected, but no updates have arrived for a while.",
        ),
        (ConnectionState::Lost { .. }, _) => (
            "link t-warn",
            "Offline",
            "The connection to the console was lost.",
        ),
    };
    el("p").class(class).attr("title", description).child(label)
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

/// Alerts and the state of the connection to the console.
pub(crate) fn banners() -> AnyView {
    let (path, state) = (use_location().pathname, use_live());
    announce_connection(state);
    // Loaded with the page, so that the alert appears before the live channel connects and without scripts.
    let known = load(move || {
        path.with(|path| {
            if path == SIGN_IN_PATH {
                ""
            } else {
                ALARMS_PATH
            }
            .to_owned()
        })
    });
    loaded(known, move |response| {
        let known = response.decode::<Overview>().ok();
        dynamic_view(move || alert_region(&path.read(), state, known.as_ref()))
    })
}

/// Clusters with an alert on every page, and the notices.
const ALARMS_PATH: &str = "/api/v1/clusters?verdict=no_primary,down,diverged,split_brain";

fn alert_region(path: &str, state: LiveState, known: Option<&Overview>) -> El {
    let banner = match (
        state.connection.get(),
        state.stale_since.get(),
        state.now.get(),
    ) {
        (ConnectionState::Lost { since, retry_at }, stale, Some(now)) => Some(
            connection_lost_banner(state, stale.unwrap_or(since), retry_at, now),
        ),
        (ConnectionState::Open, Some(since), Some(now)) => Some(no_updates_banner(since, now)),
        _ => None,
    };
    let notice = state.notice.get().map(notice_banner);
    let (worst, alarm, notices) = state.overview.with(|overview| {
        let overview = overview.as_deref().or(known);
        (
            worst_tone(overview),
            alarm_banner(path, overview),
            notice_banners(overview),
        )
    });
    // Without updates the worst status is not known.
    let worst = if banner.is_some() { "off" } else { worst };
    let anything = banner.is_some() || notice.is_some() || alarm.is_some() || !notices.is_empty();
    let place = el("div")
        .attr("data-worst", worst)
        .child(alarm)
        .child(banner)
        .child(notice)
        .child(notices);
    // A landmark only while it has content, so that screen readers do not find an empty one.
    if anything {
        place
            .attr("role", "region")
            .attr("aria-label", "Alerts and connection")
    } else {
        place
    }
}

fn notice_banners(overview: Option<&Overview>) -> Vec<El> {
    let notices = overview.into_iter().flat_map(|overview| &overview.notices);
    notices
        .map(|text| el("p").class("banner").child(text.clone()))
        .collect()
}

/// The tone of the worst verdict, for the icon of the tab; empty while every cluster is healthy.
fn worst_tone(overview: Option<&Overview>) -> &'static str {
    let first = overview.and_then(|overview| overview.clusters.first());
    match first.map(|cluster| cluster.verdict.state) {
        Some(VerdictState::Healthy) | None => "",
        Some(worst) => verdict_mark(worst).tone,
    }
}

/// Clusters without exactly one Primary component and one history, on every page. A cluster's own pages show its verdict,
/// and a split brain all the same, because every further minute costs data.
fn alarm_banner(path: &str, overview: Option<&Overview>) -> Option<El> {
    let mut clusters = Vec::new();
    let mut text = "Clusters that need attention:";
    for cluster in overview.into_iter().flat_map(|overview| &overview.clusters) {
        let verdict = cluster.verdict.state;
        let href = cluster_href(&cluster.name);
        let torn = verdict == VerdictState::SplitBrain;
        if torn {
            text = "Split brain: two components are Primary and both may accept writes.";
        }
        if torn || (verdict >= VerdictState::NoPrimary && !is_within(path, &href)) {
            clusters.push(
                el("li")
                    .child(state_badge(verdict_mark(verdict)))
                    .child(" ")
                    .child(link(href, cluster.name.as_str().to_owned())),
            );
        }
    }
    (!clusters.is_empty()).then(|| {
        el("div")
            .key("torn".to_owned())
            .class("banner alarm")
            .child(el("p").child(el("strong").child(text)))
            .child(el("ul").class("tally").child(clusters))
    })
}

/// Whether the page at `path` is `href` or below it.
fn is_within(path: &str, href: &str) -> bool {
    let below = path.strip_prefix(href);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Announces changes of the connection once, without the banner's countdown.
fn announce_connection(live: LiveState) {
    let mut was_lost = false;
    effect(move || {
        let link = live.connection.get();
        match link {
            ConnectionState::Lost { since, .. } if !was_lost => {
                live.status_message
                    .set(["Connection to the console lost at ", &absolute(since)].concat());
            }
            ConnectionState::Open if was_lost => {
                live.status_message.set("Connection restored".to_owned())
            }
            _ => {}
        }
        was_lost = matches!(link, ConnectionState::Lost { .. });
    });
}

fn connection_lost_banner(
    live: LiveState,
    since: Timestamp,
    retry_at: Timestamp,
    now: Timestamp,
) -> El {
    let left = (retry_at.unix_millis() - now.unix_millis() + 999) / 1000;
    let next = if left > 0 {
        [
            ". Next attempt in ",
            &left.to_string(),
            " s. The data below is out of date.",
        ]
        .concat()
    } else {
        ". Retrying now. The data below is out of date.".to_owned()
    };
    let text = el("p")
        .child(el("strong").child("Connection lost"))
        .child("; last update ")
        .child(ago(since, Some(now)))
        .child(next);
    let retry = el("button")
        .attr("type", "button")
        .on("click", move |_| live.retry_now())
        .child("Retry now");
    el("div")
        .key("lost".to_owned())
        .class("banner")
        .child(text)
        .child(retry)
}

fn no_updates_banner(since: Timestamp, now: Timestamp) -> El {
    let duration = age(now.unix_millis() - since.unix_millis());
    let text = [
        " for ",
        &duration,
        ". The console is connected but sends no data. The data below is out of date.",
    ]
    .concat();
    el("div")
        .key("silent".to_owned())
        .class("banner")
        .child(el("p").child(el("strong").child("No updates")).child(text))
}

fn notice_banner(text: String) -> El {
    let reload = link(String::new(), "Reload").attr("rel", "external");
    el("p")
        .key("notice".to_owned())
        .class("banner")
        .child(text)
        .child(" ")
        .child(reload)
}

/// The footer of every page.
pub(crate) fn footer() -> AnyView {
    dynamic_view(|| {
        let text = "Times are UTC, by the console's clock. Ages are measured from each source's last report.";
        // Handled by the inline script of the document, at no cost to the WebAssembly module.
        let copy = el("button")
            .attr("id", "copy")
            .attr("type", "button")
            .child("Copy link to this page");
        el("footer")
            .class("foot")
            .child(el("p").child(text))
            .child(link("/status-pages".to_owned(), "Status pages"))
            .child(copy)
    })
}

/// Live region for screen readers: significant changes only, never ticking numbers.
pub(crate) fn status_region() -> AnyView {
    let state = use_live();
    dynamic_view(move || {
        el("div")
            .class("vh")
            .attr("role", "status")
            .child(state.status_message.get())
    })
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
    fn other_pages_name_clusters_in_trouble() {
        let of = |views: &[galera::view::ClusterView]| Overview {
            clusters: views
                .iter()
                .map(galera::view::ClusterView::summary)
                .collect(),
            notices: Vec::new(),
        };
        let lost = of(&[
            crate::fixtures::no_primary("lab", 90_000),
            crate::fixtures::healthy("fine", 90_000),
        ]);
        let html = |path: &str| alarm_banner(path, Some(&lost)).map(|banner| banner.html());
        for path in ["/", "/audit", "/clusters/fine", "/clusters/laboratory"] {
            let html = html(path).unwrap();
            assert!(
                html.contains("No Primary") && html.contains("/clusters/lab\""),
                "{html}"
            );
            assert!(!html.contains("fine"), "{html}");
        }
        assert_eq!(html("/clusters/lab"), None);
        assert_eq!(html("/clusters/lab/events"), None);
        let torn = of(&[crate::fixtures::split_brain("lab", 90_000)]);
        assert!(alarm_banner("/clusters/lab", Some(&torn)).is_some());
        assert_eq!(worst_tone(Some(&lost)), "bad");
        assert_eq!(
            worst_tone(Some(&of(&[crate::fixtures::healthy("fine", 90_000)]))),
            ""
        );
        assert_eq!(worst_tone(None), "");
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
