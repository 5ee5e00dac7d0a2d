//! What is shown, as it changes: last values from the live channel, the state of the channel, the server's clock.
//!
//! The server only ever sees the empty state, so that the first rendering in the browser equals the server's.

#[cfg(any(feature = "hydrate", test))]
mod message;
#[cfg(feature = "hydrate")]
mod socket;

use std::sync::Arc;

use galera::Timestamp;
use galera::publish::api::Overview;
use galera::view::ClusterView;
use leptos::prelude::*;

/// The state of the live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "hydrate"),
    expect(dead_code, reason = "only a browser connects")
)]
pub(crate) enum ConnectionState {
    /// None: a page as the server made it.
    Snapshot,
    /// Connecting for the first time.
    Connecting,
    /// Connected.
    Open,
    /// Lost, by the server's clock.
    Lost {
        /// When the last word came.
        since: Timestamp,
        /// When the next attempt is made.
        retry_at: Timestamp,
    },
}

/// The live state of a page; a context.
#[derive(Clone, Copy)]
pub(crate) struct LiveState {
    /// The newest overview since it was subscribed to.
    pub(crate) overview: RwSignal<Option<Arc<Overview>>>,
    /// The newest view since the cluster was subscribed to.
    pub(crate) cluster: RwSignal<Option<Arc<ClusterView>>>,
    /// Grows whenever an action changes.
    pub(crate) action_changes: RwSignal<u32>,
    /// How many actions wait for approval.
    pub(crate) pending_actions: RwSignal<usize>,
    /// The channel's state.
    pub(crate) connection: RwSignal<ConnectionState>,
    /// The server's clock, about once a second; `None` until the browser has taken over.
    pub(crate) now: RwSignal<Option<Timestamp>>,
    /// Since when nothing new came, if that is too long.
    pub(crate) stale_since: RwSignal<Option<Timestamp>>,
    /// What the server could not do for this page, or that the page is older than the server.
    pub(crate) notice: RwSignal<Option<String>>,
    /// What screen readers are told.
    pub(crate) status_message: RwSignal<String>,
}

impl LiveState {
    /// The state before anything is known.
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

    /// Subscribes to what the page at `path` shows, and connects if need be.
    #[cfg(feature = "hydrate")]
    pub(crate) fn subscribe(self, path: &str) {
        socket::subscribe(self, topics_for(path));
    }

    /// The server follows nothing.
    #[cfg(not(feature = "hydrate"))]
    pub(crate) fn subscribe(self, path: &str) {
        let _ = topics_for(path);
    }

    /// Tries to connect now rather than at the next appointed time.
    pub(crate) fn retry_now(self) {
        #[cfg(feature = "hydrate")]
        socket::retry_now();
    }
}

/// The live state of this page.
pub(crate) fn use_live() -> LiveState {
    // Only views outside of the application, in tests, have none.
    use_context().unwrap_or_else(LiveState::new)
}

/// What a page shows that can change. Every page names a split brain and counts the actions that wait.
fn topics_for(path: &str) -> Vec<String> {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let cluster = match (segments.next(), segments.next()) {
        (Some("sign-in"), _) => return Vec::new(),
        (Some("clusters"), Some(name)) => Some(["cluster/", name].concat()),
        _ => None,
    };
    let every = ["overview".to_owned(), "actions".to_owned()];
    every.into_iter().chain(cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_what_they_show() {
        assert_eq!(topics_for("/"), ["overview", "actions"]);
        for path in [
            "/clusters/lab",
            "/clusters/lab/registry",
            "/clusters/lab/nodes/n1",
            "/clusters/lab/recovery",
        ] {
            assert_eq!(topics_for(path), ["overview", "actions", "cluster/lab"]);
        }
        assert_eq!(topics_for("/actions/1"), ["overview", "actions"]);
        assert!(topics_for("/sign-in").is_empty());
    }
}
