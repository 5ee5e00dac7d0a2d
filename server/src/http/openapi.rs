//! The OpenAPI document of the API (`docs/openapi.json`): what the handlers declare, completed with what every request has in common.

mod completion;
pub(super) mod problems;

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::response::Response;
use galera::publish::api::{LiveMessage, ProblemDetails, SubscribeRequest};
use galera::publish::live::TopicSubscribeRequest;
use galera::record::history::ChangeKind;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use super::clusters::conditional_json;
use super::{api_routes, cookie, health};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Galera Console",
        description = "Every error is a problem document (RFC 9457), whose `code` is stable. Requests other than GET with a session need a same-origin `Origin` or \
                       `Sec-Fetch-Site` header. Responses are `Cache-Control: no-store` unless they declare otherwise. Members may be added to responses. \
                       GET also accepts HEAD; any other method is 405 `method_not_allowed`, any other path 404 `unknown_path`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/")),
    tags(
        (name = "session", description = "Sign in and out, and prove again to be the owner of the account."),
        (name = "own account", description = "The own account, its sessions and second factor."),
        (name = "accounts", description = "Accounts, for administrators."),
        (name = "settings", description = "The settings of the console, for administrators."),
        (name = "tokens", description = "API tokens, own ones and for administrators all."),
        (name = "clusters", description = "Clusters and their nodes."),
        (name = "recovery", description = "Plans and actions."),
        (name = "audit", description = "The audit trail, and alarms about changes outside the console."),
        (name = "notifications", description = "Notification targets and deliveries."),
        (name = "status pages", description = "Status pages, incidents, maintenance and announcements."),
        (name = "live", description = "The WebSocket."),
        (name = "health", description = "Health checks and metrics."),
    ),
    security(("session" = [])),
    components(schemas(ChangeKind, LiveMessage, ProblemDetails, SubscribeRequest, TopicSubscribeRequest, problems::ProblemCode)),
)]
struct ApiDescription;

/// The document. It is the same for every console of a version, whatever its settings.
#[must_use]
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
        let mut api = OpenApiRouter::with_openapi(ApiDescription::openapi())
            .merge(api_routes())
            .merge(health::routes())
            .merge(health::metrics_routes())
            .into_openapi();
        let schemes = api.components.get_or_insert_default();
        for (name, scheme) in security_schemes() {
            schemes.add_security_scheme(name, scheme);
        }
        // Without a document the API still works.
        let mut document = serde_json::to_value(api).unwrap_or_default();
        completion::complete(&mut document);
        document
    });
    &DOCUMENT
}

fn security_schemes() -> [(&'static str, SecurityScheme); 3] {
    let session = ApiKeyValue::with_description(
        cookie::name(false),
        "The cookie of a session. Over https its name has the prefix `__Host-`.",
    );
    let bearer = |description: &str| {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        SecurityScheme::Http(scheme.description(Some(description)).build())
    };
    [
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
        (
            "metrics_token",
            bearer("The token of `--metrics-token-file`, if one is set."),
        ),
        (
            "api_token",
            bearer("An API token. Operations that accept one need no `Origin`."),
        ),
    ]
}

/// Shows this document.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "show_openapi", tag = "health",
    security(()),
    responses(
        (status = 200, description = "The document.", body = Object, headers(
            ("ETag" = String, description = "Weak; changes with the version of the console."),
            ("Cache-Control" = String, description = "`no-cache`: to be revalidated."),
        )),
        (status = 304, description = "Unchanged since the entity tag of `If-None-Match`.", headers(
            ("ETag" = String, description = "Weak; changes with the version of the console."),
            ("Cache-Control" = String, description = "`no-cache`: to be revalidated."),
        )),
    ),
)]
pub(super) async fn show(headers: HeaderMap) -> Response {
    static BODY: LazyLock<(Bytes, String)> = LazyLock::new(|| {
        let body = document().to_string();
        let digest = Sha256::digest(&body);
        let tag = entity_tag(&digest);
        (Bytes::from(body), tag)
    });
    let (body, tag) = &*BODY;
    let mut response = conditional_json(&headers, tag, || body.clone());
    response.headers_mut().insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache"),
    );
    response
}

/// A weak entity tag, because compression changes the bytes.
fn entity_tag(digest: &[u8]) -> String {
    let digits: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("W/\"{digits}\"")
}
