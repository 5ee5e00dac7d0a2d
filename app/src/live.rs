//! Live state of a page: latest values from the live channel, the connection's state, the server's clock.
//!
//! The server only ever renders the initial state, so that hydration starts from the same markup.

#[cfg(any(feature = "hydrate", test))]
mod message;
#[cfg(feature = "hydrate")]
mod socket;

use std::sync::Arc;

use galera::Timestamp;
use galera::publish::api::Overview;
use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;

use crate::marks::verdict_mark;

/// State of the live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "hydrate"),
    expect(dead_code, reason = "only a browser connects")
)]
pub(crate) enum ConnectionState {
    /// Not connected: the page as rendered by the server.
    Snapshot,
    /// Connecting for the first time.
    Connecting,
    Open,
    /// Disconnected. Times are by the server's clock.
    Lost {
        /// When the last data arrived.
        since: Timestamp,
        /// When the next attempt is made.
        retry_at: Timestamp,
    },
}

/// Live state of a page, provided as a context.
#[derive(Clone, Copy)]
pub(crate) struct LiveState {
    /// Latest overview since subscribing.
    pub(crate) overview: RwSignal<Option<Arc<Overview>>>,
    /// Latest view of the subscribed cluster.
    pub(crate) cluster: RwSignal<Option<Arc<ClusterView>>>,
    /// Incremented whenever an action changes.
    pub(crate) action_changes: RwSignal<u32>,
    /// Number of actions waiting for approval.
    pub(crate) pending_actions: RwSignal<usize>,
    pub(crate) connection: RwSignal<ConnectionState>,
    /// The server's clock, updated about once a second; `None` until hydration.
    pub(crate) now: RwSignal<Option<Timestamp>>,
    /// When the last data arrived, if that is too long ago.
    pub(crate) stale_since: RwSignal<Option<Timestamp>>,
    /// An error reported by the server for this page, or a version mismatch.
    pub(crate) notice: RwSignal<Option<String>>,
    /// Text of the live region for screen readers.
    pub(crate) status_message: RwSignal<String>,
}

impl LiveState {
    /// The initial state, before any data.
    pub(crate) fn new() -> Self {
        Self {
            overview: RwSignal::new(None),
            cluster: RwSignal::new(None),
            action_changes: RwSignal::new(0),
            pending_actions: RwSignal::new(0),
            connection: RwSignal::new(ConnectionState::Snapshot),
            now: RwSignal::new(None),
            stale_since: RwSignal::new(None),
            notice: RwSignal::new(None),
            status_message: RwSignal::new(String::new()),
        }
    }

    /// Subscribes to the topics of the page at `path`, connecting if necessary.
    #[cfg(feature = "hydrate")]
    pub(crate) fn subscribe(self, path: &str) {
        socket::subscribe(self, topics_for(path));
    }

    /// A no-op on the server.
    #[cfg(not(feature = "hydrate"))]
    pub(crate) fn subscribe(self, path: &str) {
        let _ = topics_for(path);
    }

    /// Reconnects immediately instead of waiting for the next attempt.
    pub(crate) fn retry_now(self) {
        #[cfg(feature = "hydrate")]
        socket::retry_now();
    }

    /// Begins the title of every page while updates are missing, or while a cluster that the page is not about is in trouble.
    pub(crate) fn title_prefix(self, text: &str) -> String {
        if matches!(self.connection.get(), ConnectionState::Lost { .. }) {
            return "Offline · ".to_owned();
        }
        if self.stale_since.get().is_some() {
            return "No updates · ".to_owned();
        }
        self.overview.with(|overview| {
            let worst = overview
                .as_ref()
                .and_then(|overview| overview.clusters.first());
            match worst.map(|cluster| (cluster.verdict.state, cluster.name.as_str())) {
                Some((verdict, name)) if verdict >= VerdictState::NoPrimary => {
                    let label = verdict_mark(verdict).label;
                    if text.starts_with(label) {
                        return String::new();
                    }
                    [label, ": ", name, " · "].concat()
                }
                _ => String::new(),
            }
        })
    }
}

pub(crate) fn use_live() -> LiveState {
    // Only tests render views outside of the application.
    use_context().unwrap_or_else(LiveState::new)
}

/// Every cluster.
const OVERVIEW: &str = "overview?count=10000";

/// The topics of a page. All pages show split brains and the number of pending actions.
fn topics_for(path: &str) -> Vec<String> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let cluster = match (segments.next(), segments.next()) {
        (Some("sign-in"), _) => return Vec::new(),
        (Some("clusters"), Some(name)) => Some(["cluster/", name].concat()),
        _ => None,
    };
    let all = if path == "/" { OVERVIEW } else { "head" };
    let every = [all.to_owned(), "actions".to_owned()];
    every.into_iter().chain(cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_depend_on_the_path() {
        assert_eq!(topics_for("/"), [OVERVIEW, "actions"]);
        for path in [
            "/clusters/lab",
            "/clusters/lab/registry",
            "/clusters/lab/nodes/n1",
            "/clusters/lab/recovery",
        ] {
            assert_eq!(topics_for(path), ["head", "actions", "cluster/lab"]);
        }
        assert_eq!(topics_for("/actions/1"), ["head", "actions"]);
        assert!(topics_for("/sign-in").is_empty());
    }
}
