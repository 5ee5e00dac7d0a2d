//! What the pages of one cluster share: loading its view, then following it.

use std::sync::Arc;

use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;

use crate::data::segment;
use crate::live::{Live, use_live};
use crate::reactive::{load, loaded_page, watch};
use crate::words::verdict_mark;

/// A cluster's view as it changes.
pub(super) type Shown = RwSignal<Arc<ClusterView>>;

/// A parameter of the address.
pub(super) fn param(name: &'static str) -> Memo<String> {
    let params = use_params_map();
    Memo::new(move |_| params.with(|params| params.get_str(name).unwrap_or_default().to_owned()))
}

/// The API's path of the cluster in the address.
pub(super) fn cluster_path(
    name: Memo<String>,
    below: &'static str,
) -> impl Fn() -> String + Copy + Send + Sync {
    move || name.with(|name| ["/api/v1/clusters/", &segment(name), below].concat())
}

/// Shows `content` for the cluster in the address, or what is wrong with it.
pub(super) fn cluster_scope(content: impl Fn(Shown) -> AnyView + Send + Sync + 'static) -> AnyView {
    let live = use_live();
    let view = load(cluster_path(param("name"), ""));
    loaded_page(view, move |view| content(follow(live, view)))
}

/// The loaded view, replaced by whatever the live channel says of the same cluster.
fn follow(live: Live, view: ClusterView) -> Shown {
    let shown = RwSignal::new(Arc::new(view));
    watch(move || {
        if let Some(view) = live.cluster.get()
            && view.name == shown.read_untracked().name
        {
            shown.set(view);
        }
    });
    let mut before: Option<(VerdictState, String)> = None;
    watch(move || {
        let view = shown.read();
        let verdict = judgement(&view);
        if before.as_ref().is_some_and(|before| *before != verdict) {
            let word = verdict_mark(verdict.0).word;
            live.spoken
                .set([view.name.as_str(), " is now ", word, ". ", &verdict.1].concat());
        }
        before = Some(verdict);
    });
    shown
}

fn judgement(view: &ClusterView) -> (VerdictState, String) {
    let why = view
        .verdict
        .reasons
        .first()
        .map(|reason| reason.message.clone());
    (view.verdict.state, why.unwrap_or_default())
}
