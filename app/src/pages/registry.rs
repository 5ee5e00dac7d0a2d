//! The registry tab: every key of the cluster as it is.

use std::sync::Arc;

use galera::Timestamp;
use galera::view::{RegistryKey, RegistryView};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

use super::head::{cluster_head, cluster_title};
use super::scope::{Shown, cluster_path, cluster_scope, param};
use super::{cell, ledger};
use crate::data;
use crate::format::{ago, bytes, code, counted, quiet, sub, unknown};
use crate::live::use_live;
use crate::markup::{Child, El, el};
use crate::reactive::{Answer, Loading, all, live, load, loaded, watch};

/// Shortest time between two readings that nobody asked for, in milliseconds.
const REFRESH_EVERY: i64 = 3_000;

const COLUMNS: [&str; 6] = ["Key", "Value", "Revision", "Lease", "TTL", "Remark"];

/// The keys of a cluster, read again now and then.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    first: Loading,
    /// A later reading; it replaces the first one in place, so that what is selected stays selected.
    later: RwSignal<Option<Arc<Answer>>>,
    cluster: Memo<String>,
}

/// How a reading is shown at a time.
type Show = dyn Fn(&RegistryView, Option<Timestamp>) -> El + Send + Sync;

impl Keys {
    /// Reads the keys of the cluster in the address.
    pub(super) fn of_address() -> Self {
        let cluster = param("name");
        Self {
            first: load(cluster_path(cluster, "/registry")),
            later: RwSignal::new(None),
            cluster,
        }
    }

    /// Shows the newest reading.
    pub(super) fn show(
        self,
        show: impl Fn(&RegistryView, Option<Timestamp>) -> El + Send + Sync + 'static,
    ) -> AnyView {
        let show: Arc<Show> = Arc::new(show);
        let state = use_live();
        loaded(self.first, move |first| {
            let (show, first) = (Arc::clone(&show), Arc::new(first));
            let newest = Memo::new(move |_| {
                let answer = self.later.get().unwrap_or_else(|| Arc::clone(&first));
                Arc::new(answer.read::<RegistryView>())
            });
            live(move || match newest.get().as_ref() {
                Ok(view) => show(view, state.now.get()),
                // The registry's absence is a fact like others, not an error of the page.
                Err(problem) => {
                    let text = [&problem.title, ". ", &problem.detail].concat();
                    el("div")
                        .class("page")
                        .with(el("p").class("notice").with(text))
                }
            })
        })
    }

    /// Reads the keys again.
    fn read_again(self) {
        let path = cluster_path(self.cluster, "/registry")();
        let answer = data::get_text(path, false);
        leptos::task::spawn_local(async move {
            let answer = Answer::from(answer.await);
            // The page may be gone by now.
            let _ = self.later.try_set(Some(Arc::new(answer)));
        });
    }

    /// Reads the keys again when the cluster has changed, at most every few seconds.
    pub(super) fn follow(self, shown: Shown) {
        let state = use_live();
        let mut last: Option<i64> = None;
        watch(move || {
            shown.track();
            let now = state.now.get_untracked().map_or(0, Timestamp::unix_millis);
            // The first reading came with the page.
            let before = *last.get_or_insert(now);
            if now - before >= REFRESH_EVERY && is_visible() {
                last = Some(now);
                self.read_again();
            }
        });
    }
}

#[cfg(feature = "hydrate")]
fn is_visible() -> bool {
    crate::browser::is_visible()
}

#[cfg(not(feature = "hydrate"))]
fn is_visible() -> bool {
    false
}

/// The page.
pub(crate) fn registry_page() -> AnyView {
    let (keys, state) = (Keys::of_address(), use_live());
    let query = use_query_map();
    let query =
        Memo::new(move |_| query.with(|query| query.get_str("q").unwrap_or_default().to_owned()));
    let at_first = query.get_untracked();
    let navigate = Arc::new(use_navigate());
    let filter_by = move |text: &str| {
        let to = if text.is_empty() {
            "?".to_owned()
        } else {
            ["?q=", &data::segment(text)].concat()
        };
        navigate(
            &to,
            NavigateOptions {
                replace: true,
                scroll: false,
                ..NavigateOptions::default()
            },
        );
    };
    cluster_scope(move |shown| {
        keys.follow(shown);
        let (at_first, filter_by) = (at_first.clone(), filter_by.clone());
        let top = move || {
            let stale = state.stale_since.get().is_some();
            let head = cluster_head(&shown.read(), "registry", state.now.get(), stale);
            el("div")
                .class("page")
                .with(head)
                .with(filter(&at_first, filter_by.clone(), keys))
        };
        all(vec![
            cluster_title(shown),
            live(top),
            keys.show(move |view, now| list(view, &query.read(), now)),
        ])
    })
}

/// Filters by what is in the address, so that a filtered list can be sent to somebody. Without script a submit does it.
fn filter(at_first: &str, filter_by: impl Fn(&str) + Send + Sync + 'static, keys: Keys) -> El {
    let input = el("input")
        .at("id", "q")
        .at("name", "q")
        .at("type", "search")
        .at("autocomplete", "off")
        .at("spellcheck", "false")
        .at("value", at_first.to_owned())
        .on("input", move |event| filter_by(&event_target_value(&event)));
    let on_submit = move |event: leptos::web_sys::Event| {
        event.prevent_default();
        keys.read_again();
    };
    el("form")
        .class("filter")
        .at("method", "get")
        .at("role", "search")
        .on("submit", on_submit)
        .with(el("label").at("for", "q").with("Filter"))
        .with(input)
        .with(el("button").at("type", "submit").with("Reload"))
}

fn list(view: &RegistryView, query: &str, now: Option<Timestamp>) -> El {
    let shown: Vec<&RegistryKey> = view.keys.iter().filter(|key| matches(key, query)).collect();
    let all = counted(view.keys.len(), "key");
    let counts = if query.is_empty() {
        all
    } else {
        [&shown.len().to_string(), " of ", &all].concat()
    };
    let summary = el("p")
        .class("quiet")
        .with(counts)
        .with(" under ")
        .with(code(view.prefix.clone()))
        .with([" at revision ", &view.revision.to_string(), ", read "].concat())
        .with(ago(view.observed_at, now));
    el("div")
        .class("page")
        .with(summary)
        .with(key_table(&shown, view.cluster.as_str()))
}

/// Whether key, value or remark contain the text, whatever its case.
fn matches(key: &RegistryKey, query: &str) -> bool {
    let query = query.to_ascii_lowercase();
    let fields = [
        Some(&key.key),
        Some(&key.value),
        key.reason.as_ref(),
        key.lease.as_ref(),
    ];
    fields
        .into_iter()
        .flatten()
        .any(|field| field.to_ascii_lowercase().contains(&query))
}

/// The keys as a table.
pub(super) fn key_table(keys: &[&RegistryKey], of: &str) -> El {
    if keys.is_empty() {
        return el("p").class("quiet").with("No keys.");
    }
    let rows = keys.iter().map(|key| row(key)).collect();
    ledger(
        "ledger keys",
        ["Registry keys of ", of].concat(),
        &COLUMNS,
        rows,
    )
}

fn row(key: &RegistryKey) -> El {
    let cut = key
        .truncated
        .then(|| sub(["cut; ", &bytes(key.value_bytes), " in all"].concat()));
    let lease = key.lease.clone().map_or_else(|| quiet("durable"), code);
    let ttl = match (key.ttl, &key.lease) {
        (Some(ttl), _) => el("span").with([&ttl.to_string(), " s"].concat()),
        (None, None) => quiet("none"),
        (None, Some(_)) => unknown(),
    };
    super::row(key.key.clone(), code(key.key.clone()))
        .with(
            cell(COLUMNS[1], code(key.value.clone()))
                .class("value")
                .with(cut),
        )
        .with(cell(COLUMNS[2], key.revision.to_string()).class("n"))
        .with(cell(COLUMNS[3], lease))
        .with(cell(COLUMNS[4], ttl).class("n"))
        .with(cell(COLUMNS[5], remark(key)))
}

fn remark(key: &RegistryKey) -> Child {
    let word = match (key.known, key.stale) {
        (_, true) => "stale",
        (false, false) => "unknown",
        (true, false) => return Child::None,
    };
    let reason = key.reason.as_ref().map(|reason| [": ", reason].concat());
    el("span")
        .with(el("span").class("stale-word").with(word))
        .with(reason)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_key_value_and_remark() {
        let key = RegistryKey {
            key: "/galera/lab/n1/wsrep_last_committed".to_owned(),
            value: "Synced".to_owned(),
            value_bytes: 6,
            truncated: false,
            revision: 1,
            lease: Some("7c1d".to_owned()),
            ttl: None,
            node: None,
            known: true,
            stale: true,
            reason: Some("outlived its node".to_owned()),
        };
        for query in ["", "N1/", "synced", "OUTLIVED", "7C1D"] {
            assert!(matches(&key, query), "{query}");
        }
        assert!(!matches(&key, "n2"));
    }

    #[test]
    fn keys_are_shown_as_they_are_and_harm_nobody() {
        let view = crate::fixtures::registry("lab");
        let html = list(&view, "", Some(crate::fixtures::at())).html();
        for expected in [
            "15 keys",
            "/galera/lab/127.0.0.1/wsrep_last_committed",
            "694d9a1c2f3e4b05",
            "durable",
            "2.0 MB in all",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
    }

    #[test]
    fn a_filter_says_how_much_it_hides() {
        let view = crate::fixtures::registry("lab");
        let html = list(&view, "ipaddress", None).html();
        assert!(
            html.contains("1 of 15 keys") && html.contains("stale"),
            "{html}"
        );
        assert!(!html.contains("wsrep_last_committed"), "{html}");
    }
}
