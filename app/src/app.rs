//! Application root: the router and the layout shared by every page.

use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::SsrMode;
use leptos_router::components::{FlatRoutes, Route, Router};
use leptos_router::hooks::use_location;
use leptos_router::path;

use crate::chrome::{banners, footer, skip_link, status_region, top_bar};
use crate::live::{LiveState, use_live};
use crate::pages::{
    cluster_page, fragment_page, node_page, not_found_page, overview_page, sign_in_page, tab_page,
};
use crate::reactive::effect;

/// A page's view function. One type for all pages keeps the router small.
type PageFn = fn() -> AnyView;

/// The root component.
#[expect(
    non_snake_case,
    reason = "a component, although without the macro's properties"
)]
#[must_use]
pub fn App() -> impl IntoView {
    provide_meta_context();
    provide_context(LiveState::new());
    view! { <Router>{app_layout}</Router> }
}

fn app_layout() -> AnyView {
    let live = use_live();
    subscribe_on_navigation(live);
    let stale = move || live.stale_since.get().is_some();
    view! {
        {skip_link()}
        {top_bar()}
        {banners()}
        <main id="main" tabindex="-1" class:stale=stale>
            <FlatRoutes fallback=not_found_page as PageFn>
                <Route path=path!("/") view=overview_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/sign-in") view=sign_in_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name") view=cluster_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/:tab") view=tab_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/actions") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/actions/:id") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/notifications") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/audit") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/account") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/incidents") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/status-pages") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/status-pages/:slug") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/nodes/:node") view=node_page as PageFn ssr=SsrMode::Async />
            </FlatRoutes>
        </main>
        {footer()}
        {status_region()}
    }
    .into_any()
}

/// Subscribes to the topics of the current page and, on navigation, moves keyboard focus to the main content.
fn subscribe_on_navigation(live: LiveState) {
    let path = use_location().pathname;
    let mut before: Option<String> = None;
    effect(move || {
        let path = path.get();
        live.subscribe(&path);
        if before.as_ref().is_some_and(|before| *before != path) {
            #[cfg(feature = "hydrate")]
            crate::browser::focus_main();
        }
        before = Some(path);
    });
}
