//! Metrics of actions, computed from their records at each scrape.

use std::time::Duration;

use console_core::clock::now;
use galera::Timestamp;
use galera::recover::action::Action;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::cache::ActionsSnapshot;

/// How long a final action is counted: long enough for an alert to be noticed.
const RECENT_WINDOW: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ActionLabels {
    cluster: String,
    state: &'static str,
}

/// Registers the number of actions in each state.
pub(super) fn register(snapshot: &ActionsSnapshot, registry: &mut Registry) {
    registry.register(
        "open_actions",
        "Actions that wait for a decision or are being carried out, by cluster and state",
        open_actions(snapshot),
    );
    registry.register(
        "recent_actions",
        "Actions that ended within the last hour, by cluster and final state",
        recent_actions(snapshot, now()),
    );
}

fn open_actions(snapshot: &ActionsSnapshot) -> Family<ActionLabels, Gauge> {
    let open = Family::<ActionLabels, Gauge>::default();
    for shown in snapshot.open() {
        open.get_or_create(&labels_of(&shown.value.action)).inc();
    }
    open
}

fn recent_actions(snapshot: &ActionsSnapshot, now: Timestamp) -> Family<ActionLabels, Gauge> {
    let recent = Family::<ActionLabels, Gauge>::default();
    for shown in snapshot.newest_first() {
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
