//! Pages rendered by the server: plans, actions, the audit trail.
//!
//! They change rarely and have few readers; as HTML they add nothing to the WebAssembly module. The browser refreshes
//! them after changes, patches them in place and updates ages; `enhance.js` submits their forms. Without scripts they are
//! ordinary pages with ordinary forms.

use std::sync::Arc;

use galera::Timestamp;
use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;
use leptos_router::hooks::use_location;

use super::cluster_header::{cluster_header, cluster_title, tab_label};
use super::cluster_scope::with_cluster;
use super::is_visible;
use super::problem::{not_found_page, problem_page};
use crate::data::set_status;
use crate::live::{LiveState, use_live};
use crate::markup::{El, el};
use crate::reactive::{ApiResponse, dynamic_view, effect, join_views, load, loaded, page_title};

/// A tab of a cluster that the server renders: the last segment of the path.
pub(crate) fn tab_page() -> AnyView {
    let path = use_location().pathname;
    match path.with_untracked(|path| tab_label(tab_segment(path)).is_some()) {
        true => cluster_tab(None),
        false => not_found_page(),
    }
}

/// The last segment of a path.
fn tab_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// What a tab of a cluster shows below its server-rendered part, from the live view.
pub(super) type LiveContent = fn(&ClusterView, Option<Timestamp>) -> El;

/// A tab of a cluster: header, server-rendered part, `below`. The first tab is the one with `below`, and another one follows
/// the path.
pub(super) fn cluster_tab(below: Option<LiveContent>) -> AnyView {
    let part = LiveFragment::for_location();
    let path = use_location().pathname;
    with_cluster(move |shown| {
        let state = use_live();
        let head = move || {
            let stale = state.stale_since.get().is_some();
            let path = path.get();
            let here = match below {
                Some(_) => "",
                None => tab_segment(&path),
            };
            el("div").class("page").child(cluster_header(
                &shown.read(),
                here,
                state.now.get(),
                stale,
            ))
        };
        effect(move || {
            // While the cluster serves, the part beside live content says little that changes.
            let calm = shown.read().verdict.state <= VerdictState::Degraded && below.is_some();
            part.refresh_if_due(if calm {
                POLL_INTERVAL
            } else {
                MIN_REFRESH_INTERVAL
            });
        });
        let below =
            below.map(|content| dynamic_view(move || content(&shown.read(), state.now.get())));
        let views = [cluster_title(shown), dynamic_view(head), part.view(false)];
        join_views(views.into_iter().chain(below).collect())
    })
}

/// Any other server-rendered page.
pub(crate) fn fragment_page() -> AnyView {
    let part = LiveFragment::for_location();
    part.poll();
    part.view(true)
}

/// Minimum time between refreshes caused by changes of a cluster, in milliseconds.
const MIN_REFRESH_INTERVAL: i64 = 2_000;
/// Interval of periodic refreshes, in milliseconds.
const POLL_INTERVAL: i64 = 10_000;

/// A server-rendered part of the page, kept up to date.
#[derive(Clone, Copy)]
pub(super) struct LiveFragment {
    live: LiveState,
    path: Memo<String>,
    /// A later response and the path it belongs to.
    refreshed: RwSignal<Option<(String, Arc<ApiResponse>)>>,
    /// When it was last fetched, by the server's clock; `None` while fetching.
    fetched_at: StoredValue<Option<i64>>,
}

impl LiveFragment {
    /// The fragment of the current URL.
    pub(super) fn for_location() -> Self {
        let location = use_location();
        let path = Memo::new(move |_| {
            let (path, query) = (location.pathname.get(), location.search.get());
            let query = query.trim_start_matches('?');
            let mark = if query.is_empty() { "" } else { "?" };
            ["/fragments", &path, mark, query].concat()
        });
        let part = Self {
            live: use_live(),
            path,
            refreshed: RwSignal::new(None),
            fetched_at: StoredValue::new(Some(0)),
        };
        part.refresh_on_action_changes();
        part
    }

    fn refresh_on_action_changes(self) {
        let state = self.live;
        let mut before: Option<u32> = None;
        effect(move || {
            let changes = state.action_changes.get();
            if before
                .replace(changes)
                .is_some_and(|before| before != changes)
            {
                self.refresh_if_due(0);
            }
        });
        #[cfg(feature = "hydrate")]
        effect(move || {
            if let Some(now) = state.now.get() {
                crate::browser::update_ages(now);
            }
        });
    }

    /// Refreshes every [`POLL_INTERVAL`], while updates arrive.
    pub(super) fn poll(self) {
        let state = self.live;
        effect(move || {
            state.now.track();
            self.refresh_if_due(POLL_INTERVAL);
        });
    }

    /// Another query on the same page, such as a filter, changes it in place, so that the focus stays.
    fn refresh_on_query_changes(self) {
        let mut before: Option<String> = None;
        effect(move || {
            let path = self.path.get();
            let changed = before.as_ref().is_some_and(|before| {
                *before != path && without_query(before) == without_query(&path)
            });
            before = Some(path);
            if changed {
                self.refresh_if_due(0);
            }
        });
    }

    /// Fetches again unless fetched within the last `pause` milliseconds.
    fn refresh_if_due(self, pause: i64) {
        let now = self
            .live
            .now
            .get_untracked()
            .map_or(0, Timestamp::unix_millis);
        let due = self
            .fetched_at
            .try_get_value()
            .flatten()
            .is_some_and(|at| now - at >= pause);
        if !due || (pause > 0 && !is_visible()) {
            return;
        }
        // The first version came with the page.
        if pause > 0 && self.fetched_at.get_value() == Some(0) {
            self.fetched_at.set_value(Some(now));
            return;
        }
        self.refresh(now);
    }

    fn refresh(self, now: i64) {
        self.fetched_at.set_value(None);
        let path = self.path.get_untracked();
        let response = crate::data::get_text(path.clone(), false);
        leptos::task::spawn_local(async move {
            let response = ApiResponse::from(response.await);
            // The page may have been left in the meantime.
            let _ = self.fetched_at.try_set_value(Some(now));
            if self.path.try_get_untracked().is_some_and(|now| now != path) {
                return self.refresh_if_due(0);
            }
            // On failure the old content stays; the connection banner explains.
            if response.title_and_html().is_ok() {
                let _ = self.refreshed.try_set(Some((path, Arc::new(response))));
            }
        });
    }

    pub(super) fn view(self, titled: bool) -> AnyView {
        let page = Memo::new(move |_| self.path.with(|path| without_query(path).to_owned()));
        self.refresh_on_query_changes();
        let load_page = move || {
            page.track();
            // Suspense also runs views only to find what they load, and their signals may have been disposed by then.
            self.path.try_get_untracked().unwrap_or_default()
        };
        loaded(load(load_page), move |first| {
            // A part of a page has a notice in its place instead, and is fetched again.
            if titled && let Err(problem) = first.title_and_html() {
                return problem_page(problem);
            }
            // A response that the request is at fault for, such as a malformed parameter.
            if let Err(problem) = first.title_and_html()
                && problem.status < 500
            {
                set_status(problem.status);
            }
            let (first, page) = (Arc::new(first), page.get_untracked());
            let newest = Memo::new(move |_| match self.refreshed.get() {
                Some((of, later)) if without_query(&of) == page => later,
                _ => Arc::clone(&first),
            });
            let heading = titled.then(|| {
                page_title(move || {
                    newest
                        .get()
                        .title_and_html()
                        .map(|(title, _)| title.to_owned())
                        .unwrap_or_default()
                })
            });
            let content = dynamic_view(move || markup(&newest.get()));
            join_views(heading.into_iter().chain([content]).collect())
        })
    }
}

/// The path of a fragment without its query string.
fn without_query(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

fn markup(response: &ApiResponse) -> El {
    match response.title_and_html() {
        Ok((_, html)) => el("div").class("page").inner_html(html.into()),
        Err(problem) => {
            let text = [&problem.title, ". ", &problem.detail].concat();
            el("p").key(text.clone()).class("notice").child(text)
        }
    }
}
