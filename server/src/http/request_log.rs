//! Assigns request ids, and logs and measures every request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use console_core::log_budget::LogBudget;
use console_core::trace_context::{TRACEPARENT, TraceContext};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ipnet::IpNet;
use registry::spans;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::AppState;
use super::identity::RequestUser;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Below these are status pages and approval links, each at a path that is its secret.
const SECRET_LINKS: [&str; 2] = ["/s/", "/approve/"];

/// Identifies a request in the log: the client's own id if it is well-formed, else a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn from_headers(headers: &HeaderMap) -> Self {
        let given = headers
            .get(&REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let well_formed = |text: &&str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        given
            .filter(well_formed)
            .map_or_else(Self::default, |text| Self(text.into()))
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self(Uuid::new_v4().simple().to_string().into())
    }
}

/// The client's address: the peer, or the one forwarded by trusted proxies.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientAddress(pub(super) IpAddr);

impl ClientAddress {
    fn from_request(request: &Request, trusted: &[IpNet]) -> Self {
        let peer = peer_of(request);
        Self(client_behind_proxies(peer, request.headers(), trusted))
    }
}

/// The peer of the connection. Requests without one (in-process calls) count as loopback.
fn peer_of(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip())
        .to_canonical()
}

/// The peer, if it forwards addresses and is not trusted to: a proxy whose clients all count as one.
pub(super) fn untrusted_proxy(request: &Request, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer_of(request);
    let forwards = request.headers().contains_key(&FORWARDED_FOR);
    (forwards && !trusted.iter().any(|network| network.contains(&peer))).then_some(peer)
}

/// The last address in the chain that is not a trusted proxy.
fn client_behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let hops: Vec<&str> = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        if !is_trusted(client) {
            break;
        }
        match hop.parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

/// The path of a request as it is logged: without the secret of a link.
pub(super) fn logged_path(path: &str) -> &str {
    let mut secret = SECRET_LINKS.iter();
    secret
        .find(|start| path.len() > start.len() && path.starts_with(**start))
        .map_or(path, |start| *start)
}

/// The trace of a request: that of its one valid `traceparent`, or of the request that it is made for.
pub(super) fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let own = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok().and_then(TraceContext::parse),
        _ => None,
    };
    own.or_else(TraceContext::current)
}

/// The span of a request: its method and its route, never its path, query, headers or body.
fn request_span(method: &Method, route: &str) -> Span {
    let method = match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE => method.as_str(),
        // A client may send any word.
        _ => "_OTHER",
    };
    let name = format!("{method} {route}");
    tracing::info_span!(
        target: spans::TARGET, "request",
        otel.name = name, otel.kind = "server", otel.status_code = Empty,
        http.request.method = method, http.route = route, http.response.status_code = Empty,
        error.type = Empty,
    )
}

fn record_status(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        spans::record_error(span, "server_error");
    }
}

/// The outermost layer.
pub(super) async fn log_request(
    app: AppState,
    State(_): State<AppState>,
    mut request: Request,
    next: Next,
) -> Response {
    let start = Instant::now();
    let id = RequestId::from_headers(request.headers());
    let client = ClientAddress::from_request(&request, &app.trusted_proxies);
    if let Some(peer) = untrusted_proxy(&request, &app.trusted_proxies) {
        app.metrics.untrusted_forwarding(peer);
    }
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(client);
    let method = request.method().clone();
    let path = logged_path(request.uri().path()).to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other", MatchedPath::as_str)
        .to_owned();
    // Frequent machine requests and files loaded with every page would flood log and traces.
    let is_frequent = matches!(route.as_str(), "/healthz" | "/readyz" | "/metrics");
    let is_routine = is_frequent || path.starts_with("/pkg/");
    let span = match is_routine {
        true => Span::none(),
        false => request_span(&method, &route),
    };
    let trace = TraceContext::begin(&span, trace_of(request.headers()));
    let handling = next.run(request).instrument(span.clone());
    let mut response = match trace.clone() {
        Some(trace) => trace.scope(handling).await,
        None => handling.await,
    };
    let status = response.status().as_u16();
    record_status(&span, status);
    let seconds = start.elapsed().as_secs_f64();
    app.metrics
        .http_request(method.as_str(), &route, status, seconds);
    let user = response
        .extensions()
        .get::<RequestUser>()
        .map(|who| who.0.clone());
    let user = user.as_deref().unwrap_or("-");
    let (request_id, duration_ms, client) =
        (id.as_str(), (seconds * 10_000.0).round() / 10.0, client.0);
    let trace_id = trace.as_ref().map(TraceContext::trace_id);
    let logged = (!is_routine).then(|| LOGGED_REQUESTS.admit(log_kind(status, user)));
    if let Some(Some(omitted)) = logged {
        tracing::info!(request_id, trace_id, %method, path, status, duration_ms, user, %client, omitted, "{method} {path} {status}");
    } else {
        tracing::debug!(request_id, trace_id, %method, path, status, duration_ms, user, %client, "{method} {path} {status}");
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// Requests that are logged in a minute, of each kind; the others at level debug.
static LOGGED_REQUESTS: LogBudget = LogBudget::new(300);

/// Kinds that do not use up each other's lines: a client without a session cannot hide what users do, nor refused requests those
/// that succeed.
fn log_kind(status: u16, user: &str) -> &'static str {
    match (user, status) {
        ("-", ..400) => "anonymous",
        ("-", _) => "anonymous refused",
        (_, ..400) => "user",
        _ => "user refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_are_refused_or_anonymous_hide_no_others() {
        let kinds = [(200, "-"), (404, "-"), (200, "ada"), (422, "ada")];
        let kinds = kinds.map(|(status, user)| log_kind(status, user));
        let mut different = kinds.to_vec();
        different.dedup();
        assert_eq!(different, kinds);
        let logged = std::iter::repeat_with(|| LOGGED_REQUESTS.admit("user refused"));
        let logged = logged.take(10_000).flatten().count();
        assert!(logged <= 600, "{logged}");
    }

    #[test]
    fn secrets_of_links_are_not_logged() {
        for (path, logged) in [
            ("/s/abcdef", "/s/"),
            ("/s/abcdef/feed.atom", "/s/"),
            ("/s/abcdef/a/b", "/s/"),
            ("/s", "/s"),
            ("/approve/00ff.a.b.1.ff", "/approve/"),
            ("/approve", "/approve"),
            ("/status/team", "/status/team"),
        ] {
            assert_eq!(logged_path(path), logged);
        }
    }

    #[test]
    fn only_safe_request_ids_are_adopted() {
        let id = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(&REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            RequestId::from_headers(&headers).as_str().to_owned()
        };
        assert_eq!(id(b"Abc-1.2_3"), "Abc-1.2_3");
        for bad in [&b""[..], b"a b", b"<script>", b"\xff", &[b'a'; 65]] {
            assert_eq!(id(bad).len(), 32, "{bad:?}");
        }
    }

    #[test]
    fn forwarded_addresses_are_accepted_from_trusted_proxies_only() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&FORWARDED_FOR, HeaderValue::from_str(value).unwrap());
            }
            headers
        };
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, given, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1",
                &["203.0.113.9, 198.51.100.7, 10.0.0.2"],
                "198.51.100.7",
            ),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["garbage"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(
                client_behind_proxies(address(peer), &headers(given), &trusted),
                address(expected),
                "{peer} {given:?}"
            );
        }
    }
}
