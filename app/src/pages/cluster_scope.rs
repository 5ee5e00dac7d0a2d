//! Shared by the pages of one cluster: load its view, then follow it live.

use std::sync::Arc;

use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::data::encode_segment;
use crate::live::{LiveState, use_live};
use crate::marks::verdict_mark;
use crate::reactive::{effect, load, loaded_page};

/// A cluster's view, updated live.
pub(super) type ClusterSignal = RwSignal<Arc<ClusterView>>;

/// A path parameter of the URL.
pub(super) fn path_param(name: &'static str) -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|params| params.get_str(name).unwrap_or_default().to_owned()))
}

/// API path of the cluster in the URL.
pub(super) fn cluster_api_path(
    name: Memo<String>,
    below: &'static str,
) -> impl Fn() -> String + Copy + Send + Sync {
    // Empty once the page that defined the name is disposed of; then nothing is requested.
    move || {
        name.try_with(|name| ["/api/v1/clusters/", &encode_segment(name), below].concat())
            .unwrap_or_default()
    }
}

/// Shows `content` for the cluster in the URL, or the problem that prevents it.
pub(super) fn with_cluster(
    content: impl Fn(ClusterSignal) -> AnyView + Send + Sync + 'static,
) -> AnyView {
    let live = use_live();
    let view = load(cluster_api_path(path_param("name"), ""));
    loaded_page(view, move |view| content(follow_live_view(live, view)))
}

/// The loaded view, replaced by later ones of the same cluster from the live channel.
fn follow_live_view(live: LiveState, view: ClusterView) -> ClusterSignal {
    let shown = RwSignal::new(Arc::new(view));
    effect(move || {
        if let Some(view) = live.cluster.get()
            && view.name == shown.read_untracked().name
        {
            shown.set(view);
        }
    });
    let mut before: Option<(VerdictState, String)> = None;
    effect(move || {
        let view = shown.read();
        let verdict = verdict_summary(&view);
        if before.as_ref().is_some_and(|before| *before != verdict) {
            let label = verdict_mark(verdict.0).label;
            live.status_message
                .set([view.name.as_str(), " is now ", label, ". ", &verdict.1].concat());
        }
        before = Some(verdict);
    });
    shown
}

fn verdict_summary(view: &ClusterView) -> (VerdictState, String) {
    let why = view
        .verdict
        .reasons
        .first()
        .map(|reason| reason.message.clone());
    (view.verdict.state, why.unwrap_or_default())
}
