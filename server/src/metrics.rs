//! Prometheus metrics of the gateway itself: requests and live connections.

use std::net::IpAddr;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds. Answers come from memory; sign-in takes as long as its password hash.
const HTTP_BUCKETS: [f64; 9] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DirectionLabels {
    direction: &'static str,
}

/// The counters of requests and of live connections; cheap to update from anywhere.
#[derive(Debug)]
pub struct WebMetrics {
    live_connections: Gauge,
    live_messages: Family<DirectionLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histogram,
    untrusted_forwarding: Counter,
    sign_ons: Family<SignOnLabels, Counter>,
}

/// How a sign-on, or a message of the identity provider, ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SignOnLabels {
    result: &'static str,
}

impl Default for WebMetrics {
    fn default() -> Self {
        Self {
            live_connections: Gauge::default(),
            live_messages: Family::default(),
            requests: Family::default(),
            request_seconds: Histogram::new(HTTP_BUCKETS),
            untrusted_forwarding: Counter::default(),
            sign_ons: Family::default(),
        }
    }
}

impl WebMetrics {
    /// Counts an HTTP answer; `route` is the matched pattern, never the path itself, which anybody can vary.
    pub(crate) fn http_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let labels = RequestLabels {
            method: method.to_owned(),
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        self.request_seconds.observe(seconds);
    }

    /// Counts a request that `peer` forwarded although it is not trusted to; the first one is logged.
    pub(crate) fn untrusted_forwarding(&self, peer: IpAddr) {
        if self.untrusted_forwarding.inc() == 0 {
            tracing::warn!(
                %peer,
                "X-Forwarded-For from {peer} is ignored, since it is not in --trusted-proxies: limits count all clients behind it as one; add it if it is a reverse proxy"
            );
        }
    }

    /// Counts the `result` of a sign-on, or of a message of the identity provider.
    pub(crate) fn sign_on(&self, result: &'static str) {
        self.sign_ons.get_or_create(&SignOnLabels { result }).inc();
    }

    /// Counts a WebSocket connection until the guard is dropped.
    #[must_use]
    pub(crate) fn live_connection(&self) -> impl Drop + Send + use<> {
        self.live_connections.inc();
        ConnectedGuard(self.live_connections.clone())
    }

    /// Counts a WebSocket message to a viewer.
    pub(crate) fn live_sent(&self) {
        self.live_messages
            .get_or_create(&DirectionLabels { direction: "sent" })
            .inc();
    }

    /// Counts a WebSocket message from a viewer.
    pub(crate) fn live_received(&self) {
        self.live_messages
            .get_or_create(&DirectionLabels {
                direction: "received",
            })
            .inc();
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "live_connections",
            "Open WebSocket connections",
            self.live_connections.clone(),
        );
        registry.register(
            "live_messages",
            "WebSocket messages",
            self.live_messages.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP answers by route and status",
            self.requests.clone(),
        );
        registry.register(
            "http_request_duration_seconds",
            "Time from a request to its answer",
            self.request_seconds.clone(),
        );
        registry.register(
            "sign_ons",
            "Sign-ins with the identity provider and its logout messages, by result",
            self.sign_ons.clone(),
        );
        registry.register(
            "untrusted_forwarding",
            "Requests with X-Forwarded-For from a peer that is not in --trusted-proxies",
            self.untrusted_forwarding.clone(),
        );
    }
}

struct ConnectedGuard(Gauge);

impl Drop for ConnectedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &WebMetrics) -> String {
        let mut registry = Registry::with_prefix("galera_console");
        metrics.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_closed_connection_is_counted_no_more() {
        let metrics = WebMetrics::default();
        let connection = metrics.live_connection();
        assert!(text(&metrics).contains("galera_console_live_connections 1\n"));
        drop(connection);
        assert!(text(&metrics).contains("galera_console_live_connections 0\n"));
    }

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let metrics = WebMetrics::default();
        metrics.http_request("GET", "/api/v1/clusters/{cluster}", 404, 0.001);
        let line = r#"galera_console_http_requests_total{method="GET",route="/api/v1/clusters/{cluster}",status="404"} 1"#;
        assert!(text(&metrics).contains(line), "{}", text(&metrics));
    }
}
