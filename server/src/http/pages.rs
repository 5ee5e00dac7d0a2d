//! The console's pages, rendered by crate `app` with data from the public API.

use console_core::trace_context::TraceContext;
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
use super::identity::{InProcessRequest, RequestIdentity, identify};
use super::problem::ApiError;
use super::request_log::trace_of;
use super::sign_in::{local_path, redirect_to_sign_in, see_other, sign_in_location};
use super::sign_on;
use super::static_files;

/// Deadline for rendering a page. Its data is in memory, so exceeding it is an internal error.
const RENDER_TIMEOUT: Duration = Duration::from_secs(10);

/// The routes of the pages. Generated once, before any page is rendered: while Leptos generates the list, resources polled
/// anywhere in the process never become ready (leptos-rs/leptos#4773).
static PAGE_ROUTES: LazyLock<Vec<AxumRouteListing>> = LazyLock::new(|| {
    let routes = generate_route_list(app::App).into_iter();
    routes.flat_map(each_tab).collect()
});

/// The route itself, or one for each tab of a cluster: a form may have the same path.
fn each_tab(route: AxumRouteListing) -> Vec<AxumRouteListing> {
    let Some(cluster) = route.path().strip_suffix("/{tab}") else {
        return vec![route];
    };
    let tabs = app::cluster_tabs().map(|tab| {
        let path = format!("{cluster}/{tab}");
        AxumRouteListing::new(path, route.mode().clone(), route.methods(), Vec::new())
    });
    tabs.collect()
}

/// The path of every page, with parameters in braces.
#[must_use]
pub fn page_paths() -> Vec<String> {
    let routes = PAGE_ROUTES.iter();
    routes.map(|route| route.path().to_owned()).collect()
}

/// All pages, with the site's unhashed files and the page for unknown paths as fallback.
pub(super) fn routes(state: &AppState, api: InProcessApi) -> Router<AppState> {
    let context = page_context(state, api);
    let pages = Router::new()
        .leptos_routes_with_context(state, PAGE_ROUTES.clone(), context.clone(), app::shell)
        .layer(from_fn(redirect_to_timeline))
        .layer(from_fn(limit_render_time))
        .layer(from_fn_with_state(state.clone(), require_session))
        .layer(from_fn_with_state(state.clone(), identify));
    let not_found = render_app_async_with_context(context, app::shell);
    let app = state.clone();
    let fallback = service_fn(move |request: Request| {
        let file = static_files::unhashed_file(&app.site.files, &request);
        let app = app.clone();
        let page = (file.is_none() && *request.method() == Method::GET).then(|| not_found(request));
        async move {
            Ok(match (file, page) {
                (Some(file), _) => file,
                (None, Some(page)) => render_anonymously(&app, page).await,
                (None, None) => {
                    ApiError::not_found("unknown_path", "Page not found.").into_response()
                }
            })
        }
    });
    pages.fallback_service(fallback)
}

/// The API for in-process callers: the same routes, without the network.
pub(super) fn in_process(api: Router) -> InProcessApi {
    InProcessApi(Arc::new(move |mut request: http::Request<Body>| {
        request.extensions_mut().insert(InProcessRequest);
        let api = api.clone();
        Box::pin(async move {
            api.oneshot(request)
                .await
                .unwrap_or_else(|never| match never {})
        })
    }))
}

/// The same API, whose requests belong to `trace`.
fn within_trace(api: &InProcessApi, trace: TraceContext) -> InProcessApi {
    let InProcessApi(call) = api.clone();
    InProcessApi(Arc::new(move |request| {
        Box::pin(trace.clone().scope(call(request)))
    }))
}

/// Provides what a page needs while it is rendered.
fn page_context(state: &AppState, api: InProcessApi) -> impl Fn() + Clone + Send + Sync + 'static {
    let assets = state.site.assets.clone();
    move || {
        provide_context(assets.clone());
        // Leptos renders in another task than that of the request.
        let parts = use_context::<http::request::Parts>();
        let trace = parts.and_then(|parts| trace_of(&parts.headers));
        provide_context(match trace {
            Some(trace) => within_trace(&api, trace),
            None => api.clone(),
        });
        // The nonce is known only now; the headers are sent later, with the first chunk.
        if let (Some(nonce), Some(response)) = (use_nonce(), use_context::<ResponseOptions>())
            && let Ok(policy) = HeaderValue::from_str(&page_policy(&nonce))
        {
            response.insert_header(CONTENT_SECURITY_POLICY, policy);
        }
    }
}

/// Redirects the page of a cluster or node at a time (`?at=`) to the cluster's timeline, which shows it.
async fn redirect_to_timeline(request: Request, next: Next) -> Response {
    let segments: Vec<&str> = request.uri().path().split('/').skip(1).collect();
    let cluster = match segments.as_slice() {
        ["clusters", cluster] | ["clusters", cluster, "nodes", _] => *cluster,
        _ => return next.run(request).await,
    };
    let query = request.uri().query().unwrap_or_default();
    if !query.split('&').any(|pair| pair.starts_with("at=")) {
        return next.run(request).await;
    }
    let timeline = format!("/clusters/{cluster}/timeline?{query}");
    see_other(local_path(&timeline)).unwrap_or_else(IntoResponse::into_response)
}

async fn limit_render_time(request: Request, next: Next) -> Response {
    with_render_timeout(next.run(request)).await
}

async fn with_render_timeout(page: impl Future<Output = Response>) -> Response {
    let timed_out = |_| {
        let error = format!(
            "the page was not rendered within {} s",
            RENDER_TIMEOUT.as_secs()
        );
        ApiError::internal(error).into_response()
    };
    tokio::time::timeout(RENDER_TIMEOUT, page)
        .await
        .unwrap_or_else(timed_out)
}

/// Renders a page that needs no session, a bounded number at a time.
async fn render_anonymously(app: &AppState, page: impl Future<Output = Response>) -> Response {
    match app.limits.anonymous_render().await {
        Some(_permit) => with_render_timeout(page).await,
        None => ApiError::unavailable(
            "too_many_requests",
            "Too many pages are being requested; try again in a moment.",
        )
        .into_response(),
    }
}

/// Redirects users without a session to the sign-in page, and signed-in users away from it.
pub(super) async fn require_session(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Response {
    let is_sign_in = request.uri().path() == "/sign-in";
    match request.extensions().get::<RequestIdentity>() {
        Some(RequestIdentity::Authenticated(_)) if is_sign_in => {
            let next = next_path(&request);
            see_other(local_path(&next)).unwrap_or_else(IntoResponse::into_response)
        }
        // Every other page would show only that a second factor is missing.
        Some(RequestIdentity::Authenticated(session))
            if session.principal.must_enrol && request.uri().path() != "/account" =>
        {
            see_other("/account").unwrap_or_else(IntoResponse::into_response)
        }
        Some(RequestIdentity::Authenticated(_)) => next.run(request).await,
        _ if is_sign_in => match &app.sign_on {
            // Rendered without the interface's code, which has no part of it.
            Some(sign_on) => {
                let query = sign_in_query(&request);
                sign_on::sign_in_page(&app, sign_on, query.error.as_deref(), &query.next)
            }
            None => render_anonymously(&app, next.run(request)).await,
        },
        Some(RequestIdentity::Invalid(SessionError::Unavailable(_))) => {
            redirect_to_sign_in(&request, Some("registry_unavailable"))
        }
        Some(RequestIdentity::Invalid(reason)) => {
            let code = ApiError::from(reason).code();
            redirect_to_sign_in(&request, Some(code))
        }
        // Pages accept no API token.
        Some(RequestIdentity::Anonymous | RequestIdentity::Refused(_)) | None
            if is_cross_site_navigation(&request) =>
        {
            refresh_to_sign_in(&request)
        }
        Some(RequestIdentity::Anonymous | RequestIdentity::Refused(_)) | None => {
            redirect_to_sign_in(&request, None)
        }
    }
}

/// Whether the user followed a link on another site; the browser then withholds the session cookie.
fn is_cross_site_navigation(request: &Request) -> bool {
    let header = |name: &str| request.headers().get(name).map(http::HeaderValue::as_bytes);
    header("sec-fetch-mode") == Some(b"navigate")
        && matches!(header("sec-fetch-site"), Some(b"cross-site" | b"same-site"))
}

/// A page that refreshes to the sign-in page. That request is same-site and carries the cookie, so signed-in users reach
/// the linked page.
fn refresh_to_sign_in(request: &Request) -> Response {
    let target = sign_in_location(request, None).replace('&', "&amp;");
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Galera Console</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={target}\"></head>\
         <body><a href=\"{target}\">Continue to Galera Console</a></body></html>"
    );
    Html(page).into_response()
}

/// The parameters of the sign-in page.
#[derive(Default, serde::Deserialize)]
struct SignInQuery {
    #[serde(default)]
    next: String,
    #[serde(default)]
    error: Option<String>,
}

fn sign_in_query(request: &Request) -> SignInQuery {
    axum::extract::Query::<SignInQuery>::try_from_uri(request.uri())
        .map(|query| query.0)
        .unwrap_or_default()
}

/// The decoded `next` parameter of the request.
fn next_path(request: &Request) -> String {
    sign_in_query(request).next
}
