//! The application in the browser: follows the live channel, sets the title, announces changes.

use std::sync::Arc;

use galera::ClusterName;
use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::browser;
use crate::format::absolute;
use crate::live::{self, ConnectionState, LiveState};
use crate::marks::verdict_mark;
use crate::overview_window::OverviewWindow;
use crate::page_url::PageUrl;
use crate::pages::{cluster_title, node_title, overview_title};

/// Starts the application. Islands are hydrated afterwards, one call each.
pub fn start() {
    leptos::mount::hydrate_islands();
    let live = LiveState::new(current_url());
    live.now.set(browser::page_rendered_at());
    provide_context(live);
    STATE.set(Some(live));
    follow_title(live);
    effect(move || {
        let lost = matches!(live.connection.get(), ConnectionState::Lost { .. });
        browser::set_connection(lost, live.stale_since.get().is_some());
    });
    announce_connection(live);
    announce_verdicts(live);
    announce_verdict(live);
    live.follow();
}

thread_local! {
    static STATE: std::cell::Cell<Option<LiveState>> = const { std::cell::Cell::new(None) };
}

fn with_state(act: impl FnOnce(LiveState)) {
    if let Some(live) = STATE.get() {
        act(live);
    }
}

/// Follows a changed URL of the same page.
#[wasm_bindgen(js_name = urlChanged)]
pub fn url_changed() {
    with_state(|live| live.url.set(current_url()));
}

/// Ends the delay before the next attempt to connect.
#[wasm_bindgen(js_name = retryNow)]
pub fn retry_now() {
    live::retry_now();
}

/// An age or a remaining time as text, for `app/browser/ages.js`; in milliseconds.
#[wasm_bindgen(js_name = ageText)]
#[must_use]
pub fn age_text(millis: f64) -> String {
    crate::format::age(millis as i64)
}

/// The server's clock in Unix milliseconds.
#[wasm_bindgen(js_name = serverNow)]
#[must_use]
pub fn server_now() -> f64 {
    let now = STATE.get().and_then(LiveState::clock);
    now.map_or(0.0, |now| now.unix_millis() as f64)
}

fn current_url() -> PageUrl {
    PageUrl {
        path: browser::path(),
        query: browser::query(),
    }
}

fn effect(act: impl FnMut() + 'static) {
    crate::live::boxed_effect(Box::new(act));
}

/// The verdict comes first, so that it is visible in background tabs.
fn follow_title(live: LiveState) {
    effect(move || {
        let title = page_title(live);
        let prefix = live.title_prefix(title.as_deref().unwrap_or_default());
        browser::set_title(&prefix, title);
    });
}

/// The title of the page; `None` where it came with the page.
fn page_title(live: LiveState) -> Option<String> {
    if live.is_overview() {
        return live.overview.get().map(|all| overview_title(&all));
    }
    let view = live.cluster.get()?;
    Some(match live.url.with(|url| url.node()) {
        Some(node) => node_title(&view, &node),
        None => cluster_title(&view),
    })
}

/// Announces changes of the connection once, without the banner's countdown.
fn announce_connection(live: LiveState) {
    let mut was_lost = false;
    effect(move || {
        let connection = live.connection.get();
        match connection {
            ConnectionState::Lost { since, .. } if !was_lost => {
                live.status_message
                    .set(["Connection to the console lost at ", &absolute(since)].concat());
            }
            ConnectionState::Open if was_lost => {
                live.status_message.set("Connection restored".to_owned())
            }
            _ => {}
        }
        was_lost = matches!(connection, ConnectionState::Lost { .. });
    });
}

/// Announces changed verdicts on the overview. A cluster that is healthy again leaves the list of those that are not.
fn announce_verdicts(live: LiveState) {
    let mut before: Option<Vec<(ClusterName, VerdictState)>> = None;
    effect(move || {
        let Some(head) = live.head.get().filter(|_| live.is_overview()) else {
            return;
        };
        let now = unhealthy(&head);
        if let Some(before) = before.replace(now.clone()) {
            let news = changed_verdicts(&before, &now);
            if !news.is_empty() {
                live.status_message.set(news.join(". "));
            }
        }
    });
}

fn unhealthy(head: &OverviewWindow) -> Vec<(ClusterName, VerdictState)> {
    let clusters = head.clusters.iter();
    clusters
        .map(|c| (c.name.clone(), c.verdict.state))
        .collect()
}

fn changed_verdicts(
    before: &[(ClusterName, VerdictState)],
    now: &[(ClusterName, VerdictState)],
) -> Vec<String> {
    let sentence = |name: &ClusterName, verdict: VerdictState| {
        [name.as_str(), " is ", verdict_mark(verdict).label].concat()
    };
    let mut news = Vec::new();
    for (name, verdict) in now {
        if !before
            .iter()
            .any(|known| known.0 == *name && known.1 == *verdict)
        {
            news.push(sentence(name, *verdict));
        }
    }
    for (name, _) in before {
        if !now.iter().any(|known| known.0 == *name) {
            news.push(sentence(name, VerdictState::Healthy));
        }
    }
    news
}

/// Announces a changed verdict of the page's cluster.
fn announce_verdict(live: LiveState) {
    let mut before: Option<(VerdictState, String)> = None;
    effect(move || {
        let Some(view) = live.cluster.get() else {
            return;
        };
        let verdict = verdict_summary(&view);
        if before.as_ref().is_some_and(|before| *before != verdict) {
            let label = verdict_mark(verdict.0).label;
            live.status_message
                .set([view.name.as_str(), " is now ", label, ". ", &verdict.1].concat());
        }
        before = Some(verdict);
    });
}

fn verdict_summary(view: &Arc<ClusterView>) -> (VerdictState, String) {
    let reason = view.verdict.reasons.first();
    let why = reason.map(|reason| reason.message.clone());
    (view.verdict.state, why.unwrap_or_default())
}
