//! What surrounds every page: the header, the banner of a lost connection, the footer.

use galera::Timestamp;
use galera::publish::api::{Overview, SessionView};
use galera::view::VerdictState;
use leptos::prelude::*;
use leptos_router::hooks::use_location;
use leptos_router::location::Url;

use crate::format::{absolute, age, ago, hidden, link};
use crate::live::{Link, Live, use_live};
use crate::markup::{El, el};
use crate::pages::cluster_href;
use crate::reactive::{live, load, loaded, watch};

/// A step of the way to a page; the last one has no address.
#[derive(Debug, PartialEq, Eq)]
struct Crumb {
    label: String,
    href: Option<String>,
}

/// The way to the page at `path`.
fn crumbs(path: &str) -> Vec<Crumb> {
    let crumb = |label: &str, href: Option<&str>| Crumb {
        label: label.to_owned(),
        href: href.map(str::to_owned),
    };
    let segments: Vec<&str> = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .collect();
    let ["clusters", name, rest @ ..] = segments.as_slice() else {
        // Actions and the audit trail are marked where they are listed, beside this.
        let here = segments.is_empty();
        return vec![crumb("Clusters", (!here).then_some("/"))];
    };
    let cluster = ["/clusters/", name].concat();
    let mut way = vec![
        crumb("Clusters", Some("/")),
        crumb(&Url::unescape(name), Some(&cluster)),
    ];
    match rest {
        ["registry"] => way.push(crumb("Registry", None)),
        ["events"] => way.push(crumb("Events", None)),
        ["recovery"] => way.push(crumb("Recovery", None)),
        ["nodes", node] => way.push(crumb(&Url::unescape(node), None)),
        _ => {
            if let Some(last) = way.last_mut() {
                last.href = None;
            }
        }
    }
    way
}

/// The first thing that the keyboard reaches.
pub(crate) fn skip_link() -> AnyView {
    // The router must leave this one to the browser, which moves the keyboard along.
    live(|| {
        link("#main".to_owned(), "Skip to the content")
            .class("skip")
            .at("rel", "external")
    })
}

/// The header: where one is, whether it is live, who one is.
pub(crate) fn top() -> AnyView {
    let (path, state) = (use_location().pathname, use_live());
    let session = load(move || {
        path.with(|path| {
            if path == SIGN_IN {
                ""
            } else {
                "/api/v1/session"
            }
            .to_owned()
        })
    });
    loaded(session, move |answer| {
        let session = answer.read::<SessionView>().ok();
        live(move || header(&path.read(), state, session.as_ref()))
    })
}

const SIGN_IN: &str = "/sign-in";

fn header(path: &str, state: Live, session: Option<&SessionView>) -> El {
    let header = el("header")
        .class("top")
        .with(link("/".to_owned(), "Galera Console").class("brand"));
    if path == SIGN_IN {
        return header;
    }
    header
        .with(way(path))
        .with(places(path, state.pending.get()))
        .with(link_state(state))
        .with(session.map(account))
}

fn way(path: &str) -> El {
    let step = |Crumb { label, href }| match href {
        Some(href) => el("li").with(link(href, label)),
        None => el("li").at("aria-current", "page").with(label),
    };
    let steps: Vec<El> = crumbs(path).into_iter().map(step).collect();
    el("nav")
        .class("way")
        .at("aria-label", "Breadcrumbs")
        .with(el("ol").with(steps))
}

/// Where everybody may go from everywhere. The count is of requests that wait for somebody's approval.
fn places(path: &str, pending: usize) -> El {
    let waiting = (pending > 0).then(|| {
        el("span")
            .class("count")
            .with(pending.to_string())
            .with(hidden(" waiting for approval"))
    });
    let here = |href: &'static str| path.starts_with(href).then_some("page");
    let actions = link("/actions".to_owned(), "Actions").maybe("aria-current", here("/actions"));
    let incidents =
        link("/incidents".to_owned(), "Incidents").maybe("aria-current", here("/incidents"));
    let told = link("/notifications".to_owned(), "Notifications")
        .maybe("aria-current", here("/notifications"));
    let audit = link("/audit".to_owned(), "Audit").maybe("aria-current", here("/audit"));
    el("nav")
        .class("places")
        .at("aria-label", "Actions, incidents, notifications and audit")
        .with(el("ul").with([
            el("li").with(actions.with(waiting)),
            el("li").with(incidents),
            el("li").with(told),
            el("li").with(audit),
        ]))
}

fn link_state(live: Live) -> El {
    let (class, word, meaning) = match (live.link.get(), live.stale_since.get()) {
        (Link::Snapshot, _) => (
            "link t-off",
            "Snapshot",
            "As of when the page was loaded; not updated by itself.",
        ),
        (Link::Connecting, _) => (
            "link t-off",
            "Connecting",
            "Connecting to the console for live updates.",
        ),
        (Link::Open, None) => (
            "link t-ok",
            "Live",
            "Connected; changes are shown as they happen.",
        ),
        (Link::Open, Some(_)) => (
            "link t-warn",
            "Silent",
            "Connected, but nothing new has come for a while.",
        ),
        (Link::Lost { .. }, _) => (
            "link t-warn",
            "Offline",
            "The connection to the console is lost.",
        ),
    };
    el("p").class(class).at("title", meaning).with(word)
}

fn account(session: &SessionView) -> El {
    let roles: Vec<&str> = session.roles.iter().map(|role| role.word()).collect();
    let roles = if roles.is_empty() {
        "no role".to_owned()
    } else {
        roles.join(", ")
    };
    let sign_out = el("button").at("type", "submit").with("Sign out");
    el("div")
        .class("account")
        .with(el("span").class("who").with(session.username.clone()))
        .with(" ")
        .with(el("span").class("roles").with(roles))
        .with(
            el("form")
                .at("method", "post")
                .at("action", "/sign-out")
                .with(sign_out),
        )
}

/// What is wrong between this page and the console: since when, and when it is tried again.
pub(crate) fn banners() -> AnyView {
    let (path, state) = (use_location().pathname, use_live());
    speak_of_connection(state);
    // Asked for with the page, so that the alarm is there before the live channel, and without a script at all.
    let known = load(move || path.with(|path| if path == SIGN_IN { "" } else { TORN }.to_owned()));
    loaded(known, move |answer| {
        let known = answer.read::<Overview>().ok();
        live(move || alarms(state, known.as_ref()))
    })
}

/// Where the clusters are that every page names.
const TORN: &str = "/api/v1/clusters?verdict=split_brain";

fn alarms(state: Live, known: Option<&Overview>) -> El {
    let banner = match (state.link.get(), state.stale_since.get(), state.now.get()) {
        (Link::Lost { since, retry_at }, stale, Some(now)) => {
            Some(lost(state, stale.unwrap_or(since), retry_at, now))
        }
        (Link::Open, Some(since), Some(now)) => Some(silent(since, now)),
        _ => None,
    };
    let notice = state.notice.get().map(notice);
    let torn = state
        .overview
        .with(|overview| torn(overview.as_deref().or(known)));
    let anything = banner.is_some() || notice.is_some() || torn.is_some();
    let place = el("div").with(torn).with(banner).with(notice);
    // A landmark only while it holds something, so that nobody is led to an empty one.
    if anything {
        place
            .at("role", "region")
            .at("aria-label", "Alarms and connection")
    } else {
        place
    }
}

/// Clusters with two Primary components: on every page, because every further minute costs data.
fn torn(overview: Option<&Overview>) -> Option<El> {
    let mut names = Vec::new();
    for cluster in overview.into_iter().flat_map(|overview| &overview.clusters) {
        if cluster.verdict.state == VerdictState::SplitBrain {
            names.push(el("li").with(link(
                cluster_href(&cluster.name),
                cluster.name.as_str().to_owned(),
            )));
        }
    }
    let text = "Split brain: two components are Primary, and both may take writes.";
    (!names.is_empty()).then(|| {
        el("div")
            .key("torn".to_owned())
            .class("banner alarm")
            .with(el("p").with(el("strong").with(text)))
            .with(el("ul").class("tally").with(names))
    })
}

/// Said once, without the seconds that tick in the banner.
fn speak_of_connection(live: Live) {
    let mut was_lost = false;
    watch(move || {
        let link = live.link.get();
        match link {
            Link::Lost { since, .. } if !was_lost => {
                live.spoken
                    .set(["Lost the connection to the console at ", &absolute(since)].concat());
            }
            Link::Open if was_lost => live.spoken.set("Connection is back".to_owned()),
            _ => {}
        }
        was_lost = matches!(link, Link::Lost { .. });
    });
}

fn lost(live: Live, since: Timestamp, retry_at: Timestamp, now: Timestamp) -> El {
    let left = (retry_at.unix_millis() - now.unix_millis() + 999) / 1000;
    let next = if left > 0 {
        [
            ". Next attempt in ",
            &left.to_string(),
            " s. What you see is old.",
        ]
        .concat()
    } else {
        ". Trying now. What you see is old.".to_owned()
    };
    let text = el("p")
        .with(el("strong").with("Connection lost"))
        .with("; last word ")
        .with(ago(since, Some(now)))
        .with(next);
    let retry = el("button")
        .at("type", "button")
        .on("click", move |_| live.retry_now())
        .with("Retry now");
    el("div")
        .key("lost".to_owned())
        .class("banner")
        .with(text)
        .with(retry)
}

fn silent(since: Timestamp, now: Timestamp) -> El {
    let silence = age(now.unix_millis() - since.unix_millis());
    let text = [
        " for ",
        &silence,
        ". The console is connected, but sends no data. What you see is old.",
    ]
    .concat();
    el("div")
        .key("silent".to_owned())
        .class("banner")
        .with(el("p").with(el("strong").with("Nothing new")).with(text))
}

fn notice(text: String) -> El {
    let reload = link(String::new(), "Reload").at("rel", "external");
    el("p")
        .key("notice".to_owned())
        .class("banner")
        .with(text)
        .with(" ")
        .with(reload)
}

/// What holds for every page.
pub(crate) fn footer() -> AnyView {
    live(|| {
        let text =
            "Times are UTC, by the console's clock. An age counts from when its source last spoke.";
        // What this one does stands in the document's script: it costs the module nothing.
        let copy = el("button")
            .at("id", "copy")
            .at("type", "button")
            .with("Copy a link to this page");
        el("footer")
            .class("foot")
            .with(el("p").with(text))
            .with(link("/status-pages".to_owned(), "Status pages"))
            .with(copy)
    })
}

/// For screen readers: changes that matter, never ticking numbers.
pub(crate) fn spoken() -> AnyView {
    let state = use_live();
    live(move || {
        el("div")
            .class("vh")
            .at("role", "status")
            .with(state.spoken.get())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(path: &str) -> Vec<String> {
        crumbs(path).into_iter().map(|crumb| crumb.label).collect()
    }

    #[test]
    fn the_way_to_every_page() {
        assert_eq!(labels("/"), ["Clusters"]);
        assert_eq!(labels("/clusters/lab"), ["Clusters", "lab"]);
        assert_eq!(
            labels("/clusters/lab/registry"),
            ["Clusters", "lab", "Registry"]
        );
        assert_eq!(labels("/clusters/lab/nodes/n1"), ["Clusters", "lab", "n1"]);
    }

    #[test]
    fn the_last_step_is_here() {
        for path in [
            "/",
            "/clusters/lab",
            "/clusters/lab/registry",
            "/clusters/lab/nodes/n1",
        ] {
            let way = crumbs(path);
            let links = way.iter().filter(|crumb| crumb.href.is_some()).count();
            assert_eq!(links, way.len() - 1, "{path}");
        }
    }
}
