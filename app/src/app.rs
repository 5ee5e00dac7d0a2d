//! The root: routes and what surrounds them.

use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::SsrMode;
use leptos_router::components::{FlatRoutes, Route, Router};
use leptos_router::hooks::use_location;
use leptos_router::path;

use crate::frame::{banners, footer, skip_link, spoken, top};
use crate::live::{Live, use_live};
use crate::pages::{
    cluster_page, events_page, missing_page, node_page, overview_page, recovery_page,
    registry_page, served_page, sign_in_page,
};
use crate::reactive::watch;

/// A page; one type for all of them keeps the router small.
type Page = fn() -> AnyView;

/// The whole interface.
#[expect(
    non_snake_case,
    reason = "a component, although without the macro's properties"
)]
#[must_use]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_context(Live::new());
    view! { <Router>{document}</Router> }
}

fn document() -> AnyView {
    let live = use_live();
    follow(live);
    let stale = move || live.stale_since.get().is_some();
    view! {
        {skip_link()}
        {top()}
        {banners()}
        <main id="main" tabindex="-1" class:stale=stale>
            <FlatRoutes fallback=missing_page as Page>
                <Route path=path!("/") view=overview_page as Page ssr=SsrMode::Async />
                <Route path=path!("/sign-in") view=sign_in_page as Page ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name") view=cluster_page as Page ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/registry") view=registry_page as Page ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/events") view=events_page as Page ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/recovery") view=recovery_page as Page ssr=SsrMode::Async />
                <Route path=path!("/actions") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/actions/:id") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/notifications") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/audit") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/incidents") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/status-pages") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/status-pages/:slug") view=served_page as Page ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/nodes/:node") view=node_page as Page ssr=SsrMode::Async />
            </FlatRoutes>
        </main>
        {footer()}
        {spoken()}
    }
    .into_any()
}

/// Subscribes to what the page shows; a new page starts the keyboard at its content, as loading one would.
fn follow(live: Live) {
    let path = use_location().pathname;
    let mut before: Option<String> = None;
    watch(move || {
        let path = path.get();
        live.follow(&path);
        if before.as_ref().is_some_and(|before| *before != path) {
            #[cfg(feature = "hydrate")]
            crate::browser::focus_main();
        }
        before = Some(path);
    });
}
