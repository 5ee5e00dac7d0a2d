//! `GET /metrics`: OpenMetrics text for Prometheus. Each crate registers its own families.

use std::iter;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::AppContext;

/// The media type of the text of [`pieces`].
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "galera_console";

/// All metrics as pieces of OpenMetrics text ([`CONTENT_TYPE`]), each written when it is taken.
pub(super) fn pieces(app: &AppContext) -> impl Iterator<Item = String> + Send + use<> {
    let nodes = app.monitor.node_series(PREFIX, app.metrics_nodes);
    let mut end = String::new();
    // Writing to a string cannot fail.
    let _ = encode_eof(&mut end);
    iter::once(without_nodes(app))
        .chain(nodes)
        .chain(iter::once(end))
}

/// Everything but the series of single nodes.
fn without_nodes(app: &AppContext) -> String {
    let mut root = Registry::default();
    monitor::register_findings(app.findings.views(), &mut root);
    let registry = root.sub_registry_with_prefix(PREFIX);
    let commit = Some(env!("BUILD_COMMIT")).filter(|commit| !commit.is_empty());
    let build = Info::new([
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", commit.unwrap_or("unknown")),
        ("target", env!("BUILD_TARGET")),
    ]);
    registry.register("build", "The running program", build);
    app.monitor.register_metrics(registry, app.metrics_nodes);
    app.history.register_metrics(registry);
    if let Some(series) = &app.series {
        series.register_metrics(registry);
    }
    if let Some(views) = &app.recorded_views {
        views.register_metrics(registry);
    }
    app.metrics.register(registry);
    register_limits(registry, app);
    app.actions.register_metrics(registry);
    register_authority(registry, app);
    register_audit_trail(registry, app);
    register_certificate(registry, app);
    app.etcd_storage.register_metrics(registry);
    app.export.register(registry);
    if let Some(delivery) = &app.anchor_delivery {
        delivery.register_metrics(registry);
    }
    let leader: Gauge = Gauge::default();
    leader.set(i64::from(app.leadership.borrow().is_some()));
    registry.register(
        "leader",
        "Whether this replica leads (1) or not (0); one of all replicas does",
        leader,
    );
    let mut text = String::new();
    if let Err(error) = encode_registry(&mut text, &root) {
        // Writing to a string cannot fail; a scrape that is cut short lacks its end mark and is refused by Prometheus.
        tracing::error!(%error, "Metrics could not be written");
    }
    text
}

fn register_certificate(registry: &mut Registry, app: &AppContext) {
    let Some(store) = &app.certificate else {
        return;
    };
    if let Some(expires_at) = store.expires_at() {
        let expiry: Gauge = Gauge::default();
        expiry.set(expires_at.unix_millis() / 1_000);
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate of the console's address expires, in seconds since 1970",
            expiry,
        );
    }
    let (reloads, failures): (Counter, Counter) = Default::default();
    let (done, failed) = store.reload_counts();
    reloads.inc_by(done);
    failures.inc_by(failed);
    registry.register(
        "tls_certificate_reloads",
        "How often a changed certificate was put into use",
        reloads,
    );
    registry.register(
        "tls_certificate_reload_failures",
        "How often a changed certificate or key could not be used, so that the former one stayed",
        failures,
    );
}

fn register_authority(registry: &mut Registry, app: &AppContext) {
    let authenticated: Gauge = Gauge::default();
    authenticated.set(i64::from(app.registry.seals_records()));
    registry.register(
        "records_authenticated",
        "Whether records in etcd are sealed with the state secret (1) or open to every writer of etcd (0)",
        authenticated,
    );
    let open: Gauge = Gauge::default();
    open.set(i64::from(app.etcd_access.is_open()));
    registry.register(
        "etcd_open",
        "Whether etcd requires no account (1), so that every program that reaches it can change every key",
        open,
    );
    let restored: Gauge = Gauge::default();
    restored.set(i64::from(app.registry.restored().is_some()));
    registry.register(
        "etcd_restored",
        "Whether the revision of etcd fell (1), so that an earlier state was restored, until that is accepted",
        restored,
    );
    let outdated: Gauge = Gauge::default();
    outdated.set(i64::from(app.registry.outdated_secret().is_some()));
    registry.register(
        "state_secret_outdated",
        "Whether the state secret file is older than the one in use (1), so that this replica writes no records and answers no requests",
        outdated,
    );
    let tampered: Gauge = Gauge::default();
    tampered.set(i64::try_from(app.registry.tampered().count()).unwrap_or(i64::MAX));
    registry.register(
        "tampered_records",
        "Records in etcd that were changed outside the console and are ignored",
        tampered,
    );
}

fn register_audit_trail(registry: &mut Registry, app: &AppContext) {
    let trail = app.actions.trail();
    let alarms: Counter = Counter::default();
    alarms.inc_by(trail.watch_alarms().borrow().count);
    registry.register(
        "audit_trail_alarms",
        "Changes of the audit trail outside the console that this replica found",
        alarms,
    );
    let unacknowledged: Gauge = Gauge::default();
    unacknowledged.set(i64::from(trail.watch_alarms().borrow().latest.is_some()));
    registry.register(
        "audit_trail_alarm",
        "Whether the latest such change is not acknowledged (1)",
        unacknowledged,
    );
    let entries: Gauge = Gauge::default();
    let reached = trail.last_seen().map_or(0, |head| head.sequence);
    entries.set(i64::try_from(reached).unwrap_or(i64::MAX));
    registry.register(
        "audit_trail_entries",
        "The number of the newest entry of the audit trail that this replica knows",
        entries,
    );
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

fn register_limits(registry: &mut Registry, app: &AppContext) {
    let refused: Family<LimitLabels, Counter> = Family::default();
    let shared = [app.resolver.limit(), app.authenticator.hash_limit()];
    for limit in app.limits.counters.all().chain(shared) {
        let labels = LimitLabels {
            limit: limit.name(),
        };
        refused.get_or_create(&labels).inc_by(limit.refused());
    }
    registry.register(
        "limit_refusals",
        "Connections and requests that a limit refused or ended",
        refused,
    );
}
