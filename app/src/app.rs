//! Application root: the router and the layout shared by every page. Compiled into the server only.

use leptos::prelude::*;
use leptos_meta::provide_meta_context;
use leptos_router::SsrMode;
use leptos_router::components::{FlatRoutes, Route, Router};
use leptos_router::path;

use crate::islands::StatusRegion;
use crate::live::LiveState;
use crate::live_region::MarkupView;
use crate::page_url::PageUrl;
use crate::server_pages::{
    banners, cluster_page, footer, fragment_page, node_page, not_found_page, overview_page,
    sign_in_page, skip_link, tab_page, top_bar,
};

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
    let live = LiveState::new(request_url());
    live.now.set(server_time());
    provide_context(live);
    view! { <Router>{app_layout}</Router> }
}

/// The URL of the request; empty while routes are collected.
fn request_url() -> PageUrl {
    let request = use_context::<http::request::Parts>();
    let uri = request.map(|request| request.uri).unwrap_or_default();
    PageUrl {
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
    }
}

/// The clock of the machine that renders the page.
pub(crate) fn server_time() -> Option<galera::Timestamp> {
    let since_1970 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    let millis = i64::try_from(since_1970.as_millis()).ok()?;
    Some(galera::Timestamp::from_unix_millis(millis))
}

fn app_layout() -> AnyView {
    view! {
        {MarkupView::from(skip_link())}
        {top_bar()}
        {banners()}
        <main id="main" tabindex="-1">
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
                <Route path=path!("/search") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/help") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/accounts") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/settings") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/incidents") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/status-pages") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/status-pages/:slug") view=fragment_page as PageFn ssr=SsrMode::Async />
                <Route path=path!("/clusters/:name/nodes/:node") view=node_page as PageFn ssr=SsrMode::Async />
            </FlatRoutes>
        </main>
        {MarkupView::from(footer())}
        <StatusRegion />
    }
    .into_any()
}
