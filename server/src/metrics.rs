//! What the console says about itself and about the clusters, as OpenMetrics text for Prometheus.
//!
//! Each part registers its own families; here they come together, with those of actions and leadership.

mod web;

use std::time::Duration;

use console_core::clock::now;
use galera::Timestamp;
use galera::recover::action::Action;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::actions::ActionsSnapshot;
use crate::http::AppContext;

pub use web::WebMetrics;

/// The media type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "galera_console";
/// How long an action that ended is spoken of: long enough for an alert to be seen.
const RECENT_WINDOW: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    cluster: String,
    state: &'static str,
}

/// Everything as OpenMetrics text ([`CONTENT_TYPE`]).
#[must_use]
pub fn render(app: &AppContext) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The running program", build);
    app.monitor.register_metrics(&mut registry);
    app.history.register_metrics(&mut registry);
    app.metrics.register(&mut registry);
    let actions = app.actions.subscribe();
    let shelf = actions.borrow();
    registry.register(
        "open_actions",
        "Actions that wait for somebody or are being carried out, by cluster and state",
        open_actions(&shelf),
    );
    registry.register(
        "recent_actions",
        "Actions that ended within the last hour, by cluster and final state",
        recent_actions(&shelf, now()),
    );
    let leader: Gauge = Gauge::default();
    leader.set(i64::from(app.leadership.borrow().is_some()));
    registry.register(
        "leader",
        "Whether this replica leads (1) or not (0); one of all replicas does",
        leader,
    );
    let mut text = String::new();
    if let Err(error) = encode(&mut text, &registry) {
        // Writing to a string cannot fail; a scrape that is cut short lacks its end mark and is refused by Prometheus.
        tracing::error!(%error, "Metrics could not be written");
    }
    text
}

fn open_actions(shelf: &ActionsSnapshot) -> Family<ActionLabels, Gauge> {
    let open = Family::<ActionLabels, Gauge>::default();
    for shown in shelf.open() {
        open.get_or_create(&labels_of(&shown.value.action)).inc();
    }
    open
}

fn recent_actions(shelf: &ActionsSnapshot, now: Timestamp) -> Family<ActionLabels, Gauge> {
    let recent = Family::<ActionLabels, Gauge>::default();
    for shown in shelf.newest_first() {
        let action = &shown.value.action;
        if action
            .ended_at
            .is_some_and(|at| at.age(now) < RECENT_WINDOW)
        {
            recent.get_or_create(&labels_of(action)).inc();
        }
    }
    recent
}

fn labels_of(action: &Action) -> ActionLabels {
    ActionLabels {
        cluster: action.cluster.to_string(),
        state: action.state.as_str(),
    }
}
