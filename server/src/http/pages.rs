//! Pages: rendered by the interface, with data from the same API that everybody else uses.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use accounts::SessionError;
use app::InProcessApi;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use http::header::CONTENT_SECURITY_POLICY;
use http::{HeaderValue, Method};
use leptos::nonce::use_nonce;
use leptos::prelude::{provide_context, use_context};
use leptos_axum::{
    AxumRouteListing, LeptosRoutes, ResponseOptions, generate_route_list,
    render_app_async_with_context,
};
use tower::{ServiceExt, service_fn};

use super::AppState;
use super::headers::page_policy;
use super::identity::{RequestIdentity, identify};
use super::problem::ApiError;
use super::sign_in::{local_path, redirect_to_sign_in, see_other, sign_in_location};
use super::static_files;

/// Longest time for rendering a page. Its data are in memory, so more than this is our own fault.
const RENDER_TIMEOUT: Duration = Duration::from_secs(10);

/// The interface's routes. Made once, before any page is rendered: while Leptos makes the list, resources that are polled
/// anywhere in the process never become ready (leptos-rs/leptos#4773).
static PAGE_ROUTES: LazyLock<Vec<AxumRouteListing>> =
    LazyLock::new(|| generate_route_list(app::App));

/// Every page of the interface, and beneath them the site's plain files and the page for an unknown path.
pub(super) fn routes(state: &AppState, api: InProcessApi) -> Router<AppState> {
    let context = page_context(state, api);
    let pages = Router::new()
        .leptos_routes_with_context(state, PAGE_ROUTES.clone(), context.clone(), app::shell)
        .layer(from_fn(limit_render_time))
        .layer(from_fn_with_state(state.clone(), require_session))
        .layer(from_fn_with_state(state.clone(), identify));
    let unknown = render_app_async_with_context(context, app::shell);
    let unknown = service_fn(move |request: Request| {
        let page = (*request.method() == Method::GET).then(|| unknown(request));
        async move {
            Ok(match page {
                Some(page) => with_render_timeout(page).await,
                None => {
                    ApiError::not_found("unknown_path", "There is nothing here.").into_response()
                }
            })
        }
    });
    let others = static_files::unhashed_files(&state.site.root)
        .call_fallback_on_method_not_allowed(true)
        .fallback(unknown)
        .map_response(|response| {
            static_files::with_cache_control(response.map(Body::new), "public, max-age=3600")
        });
    pages.fallback_service(others)
}

/// The API for callers within the process: the same routes, without a detour over the network.
pub(super) fn in_process(api: Router) -> InProcessApi {
    InProcessApi(Arc::new(move |request: http::Request<Body>| {
        let api = api.clone();
        Box::pin(async move {
            api.oneshot(request)
                .await
                .unwrap_or_else(|never| match never {})
        })
    }))
}

/// What a page can reach while it is rendered.
fn page_context(state: &AppState, api: InProcessApi) -> impl Fn() + Clone + Send + Sync + 'static {
    let assets = state.site.assets.clone();
    move || {
        provide_context(assets.clone());
        provide_context(api.clone());
        // Only now is the nonce known; the headers leave with the first chunk, after this.
        if let (Some(nonce), Some(response)) = (use_nonce(), use_context::<ResponseOptions>())
            && let Ok(policy) = HeaderValue::from_str(&page_policy(&nonce))
        {
            response.insert_header(CONTENT_SECURITY_POLICY, policy);
        }
    }
}

/// Gives up on a page that is not rendered in time.
async fn limit_render_time(request: Request, next: Next) -> Response {
    with_render_timeout(next.run(request)).await
}

async fn with_render_timeout(page: impl Future<Output = Response>) -> Response {
    let gave_up = |_| {
        let error = format!(
            "the page was not rendered within {} s",
            RENDER_TIMEOUT.as_secs()
        );
        ApiError::internal(error).into_response()
    };
    tokio::time::timeout(RENDER_TIMEOUT, page)
        .await
        .unwrap_or_else(gave_up)
}

/// Sends whoever is not signed in to the sign-in page, and whoever is away from it.
async fn require_session(State(_): State<AppState>, request: Request, next: Next) -> Response {
    let is_sign_in = request.uri().path() == "/sign-in";
    match request.extensions().get::<RequestIdentity>() {
        Some(RequestIdentity::Authenticated(_)) if is_sign_in => {
            let wanted = next_path(&request);
            see_other(local_path(&wanted)).unwrap_or_else(IntoResponse::into_response)
        }
        Some(RequestIdentity::Authenticated(_)) => next.run(request).await,
        _ if is_sign_in => next.run(request).await,
        Some(RequestIdentity::Invalid(SessionError::Unavailable(_))) => {
            redirect_to_sign_in(&request, Some("registry_unavailable"))
        }
        Some(RequestIdentity::Invalid(reason)) => {
            let code = ApiError::from(reason).code();
            redirect_to_sign_in(&request, Some(code))
        }
        Some(RequestIdentity::Anonymous) | None if is_cross_site_navigation(&request) => {
            refresh_to_sign_in(&request)
        }
        Some(RequestIdentity::Anonymous) | None => redirect_to_sign_in(&request, None),
    }
}

/// Whether another site's link led here: then the browser kept the session's cookie to itself.
fn is_cross_site_navigation(request: &Request) -> bool {
    let header = |name: &str| request.headers().get(name).map(http::HeaderValue::as_bytes);
    header("sec-fetch-mode") == Some(b"navigate")
        && matches!(header("sec-fetch-site"), Some(b"cross-site" | b"same-site"))
}

/// A page that leads to the sign-in page by itself. That step comes from this site, so the cookie goes along with it, and
/// whoever is signed in lands where the link led.
fn refresh_to_sign_in(request: &Request) -> Response {
    let target = sign_in_location(request, None).replace('&', "&amp;");
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Galera Console</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={target}\"></head>\
         <body><a href=\"{target}\">Continue to Galera Console</a></body></html>"
    );
    Html(page).into_response()
}

/// The `next` of the request's query, decoded.
fn next_path(request: &Request) -> String {
    #[derive(Default, serde::Deserialize)]
    struct NextQuery {
        #[serde(default)]
        next: String,
    }
    axum::extract::Query::<NextQuery>::try_from_uri(request.uri())
        .map(|query| query.0.next)
        .unwrap_or_default()
}
