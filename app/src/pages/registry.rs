//! The registry tab: all keys of the cluster, unprocessed.

use std::sync::Arc;

use galera::Timestamp;
use galera::view::{RegistryKeyView, RegistryView};
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::{use_navigate, use_query_map};

use super::cluster_header::{cluster_header, cluster_title};
use super::cluster_scope::{ClusterSignal, cluster_api_path, path_param, with_cluster};
use super::{cell, data_table, is_visible};
use crate::data;
use crate::format::{ago, bytes, code, pluralize, quiet, sub, unknown};
use crate::live::use_live;
use crate::markup::{Content, El, el};
use crate::reactive::{ApiResource, ApiResponse, dynamic_view, effect, join_views, load, loaded};

/// Minimum time between automatic refreshes, in milliseconds.
const MIN_REFRESH_INTERVAL: i64 = 3_000;

const COLUMNS: [&str; 6] = ["Key", "Value", "Revision", "Lease", "TTL", "Note"];

/// The registry keys of a cluster, refreshed when the cluster changes.
#[derive(Clone, Copy)]
pub(super) struct RegistryListing {
    initial: ApiResource,
    /// A later response. It replaces the first one in place, so that the selection survives.
    refreshed: RwSignal<Option<Arc<ApiResponse>>>,
    cluster: Memo<String>,
}

type RenderListing = dyn Fn(&RegistryView, Option<Timestamp>) -> El + Send + Sync;

impl RegistryListing {
    /// Loads the keys of the cluster in the URL.
    pub(super) fn from_location() -> Self {
        let cluster = path_param("name");
        Self {
            initial: load(cluster_api_path(cluster, "/registry")),
            refreshed: RwSignal::new(None),
            cluster,
        }
    }

    /// Shows the latest response.
    pub(super) fn view(
        self,
        show: impl Fn(&RegistryView, Option<Timestamp>) -> El + Send + Sync + 'static,
    ) -> AnyView {
        let show: Arc<RenderListing> = Arc::new(show);
        let state = use_live();
        loaded(self.initial, move |first| {
            let (show, first) = (Arc::clone(&show), Arc::new(first));
            let newest = Memo::new(move |_| {
                let response = self.refreshed.get().unwrap_or_else(|| Arc::clone(&first));
                Arc::new(response.decode::<RegistryView>())
            });
            dynamic_view(move || match newest.get().as_ref() {
                Ok(view) => show(view, state.now.get()),
                // A notice in place of the keys: the rest of the page does not depend on the registry.
                Err(problem) => {
                    let text = [&problem.title, ". ", &problem.detail].concat();
                    el("div")
                        .class("page")
                        .child(el("p").class("notice").child(text))
                }
            })
        })
    }

    fn refresh(self) {
        let path = cluster_api_path(self.cluster, "/registry")();
        let response = data::get_text(path, false);
        leptos::task::spawn_local(async move {
            let response = ApiResponse::from(response.await);
            // The page may have been left in the meantime.
            let _ = self.refreshed.try_set(Some(Arc::new(response)));
        });
    }

    /// Refreshes when the cluster has changed, at most once per [`MIN_REFRESH_INTERVAL`].
    pub(super) fn refresh_on_change(self, shown: ClusterSignal) {
        let state = use_live();
        let mut last: Option<i64> = None;
        effect(move || {
            shown.track();
            let now = state.now.get_untracked().map_or(0, Timestamp::unix_millis);
            // The first response came with the page.
            let before = *last.get_or_insert(now);
            if now - before >= MIN_REFRESH_INTERVAL && is_visible() {
                last = Some(now);
                self.refresh();
            }
        });
    }
}

pub(crate) fn registry_page() -> AnyView {
    let (keys, state) = (RegistryListing::from_location(), use_live());
    let query = use_query_map();
    let query =
        Memo::new(move |_| query.with(|query| query.get_str("q").unwrap_or_default().to_owned()));
    let initial = query.get_untracked();
    let navigate = Arc::new(use_navigate());
    let filter_by = move |text: &str| {
        let to = if text.is_empty() {
            "?".to_owned()
        } else {
            ["?q=", &data::encode_segment(text)].concat()
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
    with_cluster(move |shown| {
        keys.refresh_on_change(shown);
        let (initial, filter_by) = (initial.clone(), filter_by.clone());
        let top = move || {
            let stale = state.stale_since.get().is_some();
            let head = cluster_header(&shown.read(), "registry", state.now.get(), stale);
            el("div").class("page").child(head).child(filter_form(
                &initial,
                filter_by.clone(),
                keys,
            ))
        };
        join_views(vec![
            cluster_title(shown),
            dynamic_view(top),
            keys.view(move |view, now| key_list(view, &query.read(), now)),
        ])
    })
}

/// The filter is kept in the URL, so that a filtered list can be shared. Without scripts, submitting the form sets it.
fn filter_form(
    initial: &str,
    filter_by: impl Fn(&str) + Send + Sync + 'static,
    keys: RegistryListing,
) -> El {
    let input = el("input")
        .attr("id", "q")
        .attr("name", "q")
        .attr("type", "search")
        .attr("autocomplete", "off")
        .attr("spellcheck", "false")
        .attr("value", initial.to_owned())
        .on("input", move |event| filter_by(&event_target_value(&event)));
    let on_submit = move |event: leptos::web_sys::Event| {
        event.prevent_default();
        keys.refresh();
    };
    el("form")
        .class("filter")
        .attr("method", "get")
        .attr("role", "search")
        .on("submit", on_submit)
        .child(el("label").attr("for", "q").child("Filter"))
        .child(input)
        .child(el("button").attr("type", "submit").child("Reload"))
}

fn key_list(view: &RegistryView, query: &str, now: Option<Timestamp>) -> El {
    let shown: Vec<&RegistryKeyView> = view.keys.iter().filter(|key| matches(key, query)).collect();
    let all = pluralize(view.keys.len(), "key");
    let counts = if query.is_empty() {
        all
    } else {
        [&shown.len().to_string(), " of ", &all].concat()
    };
    let summary = el("p")
        .class("quiet")
        .child(counts)
        .child(" under ")
        .child(code(view.prefix.clone()))
        .child([" at revision ", &view.revision.to_string(), ", read "].concat())
        .child(ago(view.observed_at, now));
    el("div")
        .class("page")
        .child(summary)
        .child(key_table(&shown, view.cluster.as_str()))
}

/// Whether key, value, reason or lease contain the text, ignoring case.
fn matches(key: &RegistryKeyView, query: &str) -> bool {
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

pub(super) fn key_table(keys: &[&RegistryKeyView], of: &str) -> El {
    if keys.is_empty() {
        return el("p").class("quiet").child("No keys.");
    }
    let rows = keys.iter().map(|key| key_row(key)).collect();
    data_table(
        "ledger keys",
        ["Registry keys of ", of].concat(),
        &COLUMNS,
        rows,
    )
}

fn key_row(key: &RegistryKeyView) -> El {
    let cut = key
        .truncated
        .then(|| sub(["truncated; ", &bytes(key.value_bytes), " in total"].concat()));
    let lease = key.lease.clone().map_or_else(|| quiet("durable"), code);
    let ttl = match (key.ttl, &key.lease) {
        (Some(ttl), _) => el("span").child([&ttl.to_string(), " s"].concat()),
        (None, None) => quiet("none"),
        (None, Some(_)) => unknown(),
    };
    super::row(key.key.clone(), code(key.key.clone()))
        .child(
            cell(COLUMNS[1], code(key.value.clone()))
                .class("value")
                .child(cut),
        )
        .child(cell(COLUMNS[2], key.revision.to_string()).class("n"))
        .child(cell(COLUMNS[3], lease))
        .child(cell(COLUMNS[4], ttl).class("n"))
        .child(cell(COLUMNS[5], remark(key)))
}

fn remark(key: &RegistryKeyView) -> Content {
    let label = match (key.known, key.stale) {
        (_, true) => "stale",
        (false, false) => "unknown",
        (true, false) => return Content::None,
    };
    let reason = key.reason.as_ref().map(|reason| [": ", reason].concat());
    el("span")
        .child(el("span").class("stale-word").child(label))
        .child(reason)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_by_key_value_reason_and_lease() {
        let key = RegistryKeyView {
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
    fn shows_raw_keys_escaped() {
        let view = crate::fixtures::registry("lab");
        let html = key_list(&view, "", Some(crate::fixtures::fixed_now())).html();
        for expected in [
            "15 keys",
            "/galera/lab/127.0.0.1/wsrep_last_committed",
            "694d9a1c2f3e4b05",
            "durable",
            "2.0 MB in total",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        assert!(
            html.contains("&lt;script&gt;") && !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
    }

    #[test]
    fn a_filter_shows_how_many_keys_match() {
        let view = crate::fixtures::registry("lab");
        let html = key_list(&view, "ipaddress", None).html();
        assert!(
            html.contains("1 of 15 keys") && html.contains("stale"),
            "{html}"
        );
        assert!(!html.contains("wsrep_last_committed"), "{html}");
    }
}
