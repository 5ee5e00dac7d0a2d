//! Live state of a page: latest values, the connection's state, the server's clock.
//!
//! In the browser it follows the live channel. On the server it has what the page was loaded with.

#[cfg(any(feature = "hydrate", test))]
mod documents;
#[cfg(feature = "hydrate")]
mod socket;

#[cfg(feature = "hydrate")]
pub(crate) use socket::retry_now;

use std::sync::Arc;

#[cfg(any(feature = "hydrate", test))]
use galera::ClusterName;
use galera::Timestamp;
use galera::view::{ClusterView, VerdictState};
use leptos::prelude::*;

use crate::marks::verdict_mark;
#[cfg(any(feature = "hydrate", test))]
use crate::overview_window::OverviewSelection;
use crate::overview_window::OverviewWindow;
use crate::page_url::PageUrl;

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
    /// The page's address. Filters change its query.
    pub(crate) url: RwSignal<PageUrl>,
    /// The selected clusters, on the overview only.
    pub(crate) overview: RwSignal<Option<Arc<OverviewWindow>>>,
    /// What every page shows of all clusters: those that are not healthy, worst first.
    pub(crate) head: RwSignal<Option<Arc<OverviewWindow>>>,
    /// Latest view of the page's cluster.
    pub(crate) cluster: RwSignal<Option<Arc<ClusterView>>>,
    /// Number of actions waiting for approval.
    pub(crate) pending_actions: RwSignal<usize>,
    pub(crate) connection: RwSignal<ConnectionState>,
    /// The server's clock, updated about once a second.
    pub(crate) now: RwSignal<Option<Timestamp>>,
    /// When the last data arrived, if that is too long ago.
    pub(crate) stale_since: RwSignal<Option<Timestamp>>,
    /// An error reported by the server for this page, or a version mismatch.
    pub(crate) notice: RwSignal<Option<String>>,
    /// Text of the live region for screen readers.
    pub(crate) status_message: RwSignal<String>,
}

impl LiveState {
    /// The state of the page at `url`, before any data.
    pub(crate) fn new(url: PageUrl) -> Self {
        Self {
            url: RwSignal::new(url),
            overview: RwSignal::new(None),
            head: RwSignal::new(None),
            cluster: RwSignal::new(None),
            pending_actions: RwSignal::new(0),
            connection: RwSignal::new(ConnectionState::Snapshot),
            now: RwSignal::new(None),
            stale_since: RwSignal::new(None),
            notice: RwSignal::new(None),
            status_message: RwSignal::new(String::new()),
        }
    }

    /// The time that ages are rendered with. It is not tracked: the browser keeps ages current (`app/browser/ages.js`).
    pub(crate) fn clock(self) -> Option<Timestamp> {
        self.now.get_untracked()
    }

    /// Connects, and subscribes to the topics of the page whenever they change.
    #[cfg(feature = "hydrate")]
    pub(crate) fn follow(self) {
        socket::connect(self);
        boxed_effect(Box::new(move || {
            self.url.with(|url| socket::subscribe(&topics_for(url)));
        }));
    }

    #[cfg(feature = "hydrate")]
    pub(crate) fn is_overview(self) -> bool {
        self.url.with(|url| url.path == "/")
    }

    /// Begins the title of every page while updates are missing, or while a cluster that the page is not about is in trouble.
    pub(crate) fn title_prefix(self, text: &str) -> String {
        if matches!(self.connection.get(), ConnectionState::Lost { .. }) {
            return "Offline · ".to_owned();
        }
        if self.stale_since.get().is_some() {
            return "No updates · ".to_owned();
        }
        self.head.with(|head| {
            let worst = head.as_ref().and_then(|head| head.clusters.first());
            match worst.map(|cluster| (cluster.verdict.state, &cluster.name)) {
                Some((verdict, name)) if verdict >= VerdictState::NoPrimary => {
                    let label = verdict_mark(verdict).label;
                    if text.starts_with(label) {
                        return String::new();
                    }
                    [label, ": ", &crate::links::cluster_label(name), " · "].concat()
                }
                _ => String::new(),
            }
        })
    }
}

pub(crate) fn use_live() -> LiveState {
    // Only tests render views outside of the application.
    use_context().unwrap_or_else(|| LiveState::new(PageUrl::default()))
}

/// Runs now and whenever a signal it reads changes. Boxed, because Leptos compiles its part once for each type of closure.
#[cfg(feature = "hydrate")]
pub(crate) fn boxed_effect(mut act: Box<dyn FnMut()>) {
    leptos::prelude::Effect::new(move |_| act());
}

pub(crate) const SIGN_IN_PATH: &str = "/sign-in";

/// The topics of a page. All pages show split brains and the number of pending actions.
#[cfg(any(feature = "hydrate", test))]
fn topics_for(url: &PageUrl) -> Vec<String> {
    if url.path == SIGN_IN_PATH {
        return Vec::new();
    }
    let selected = (url.path == "/").then(|| OverviewSelection::of(url).topic());
    let cluster = url
        .cluster()
        .filter(|name| name.parse::<ClusterName>().is_ok());
    let cluster = cluster.map(|name| ["cluster/", &name].concat());
    let every = ["head".to_owned(), "actions".to_owned()];
    every.into_iter().chain(selected).chain(cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_depend_on_the_path() {
        let topics = |path: &str| {
            topics_for(&PageUrl {
                path: path.to_owned(),
                query: String::new(),
            })
        };
        assert_eq!(topics("/"), ["head", "actions", "overview?count=50"]);
        for path in [
            "/clusters/lab",
            "/clusters/lab/registry",
            "/clusters/lab/nodes/n1",
            "/clusters/lab/recovery",
        ] {
            assert_eq!(topics(path), ["head", "actions", "cluster/lab"]);
        }
        assert_eq!(topics("/actions/1"), ["head", "actions"]);
        assert!(topics("/sign-in").is_empty());
    }
}
