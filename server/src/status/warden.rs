//! The leader's incidents: opened when a bad state lasted, resolved when it has been well for as long, and all that is
//! long over taken away.
//!
//! Invariant: every write compares the leader's term, so that two replicas never do the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Leadership;
use galera::publish::status_pages::{Automatic, Episode, Incident, Step, next_step};
use galera::view::Verdict;
use galera::{ClusterName, Timestamp};
use monitor::Hub;
use registry::Guard;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::{Shelf, Stored};
use super::desk::StatusDesk;
use super::keys::Kept;
use super::past::Past;
use super::press::since;
use super::{StatusError, records};

/// Between two looks while nothing changes: a state gets old by the clock alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at most, so that a burst of changes costs one.
const GAP: Duration = Duration::from_millis(200);
/// How long what is over is kept: pages show ninety days of it, people may want to look further back.
const KEPT: Duration = Duration::from_secs(400 * 86_400);

pub(super) struct Warden {
    desk: StatusDesk,
    hub: Hub,
    past: Arc<dyn Past>,
    replica: String,
    episodes: BTreeMap<ClusterName, Episode>,
}

impl Warden {
    pub(super) fn new(desk: StatusDesk, hub: Hub, past: Arc<dyn Past>, replica: String) -> Self {
        Self {
            desk,
            hub,
            past,
            replica,
            episodes: BTreeMap::new(),
        }
    }

    /// Works until `shutdown`. Every replica keeps count; the leader acts.
    pub(super) async fn run(mut self, leadership: Leadership, shutdown: CancellationToken) {
        let mut overview = self.hub.overview();
        loop {
            overview.mark_unchanged();
            self.observe();
            let term = leadership.borrow().clone();
            let shelf = self.desk.shelf();
            // What is not known cannot be judged: everything would seem to be missing.
            if let Some(term) = term.filter(|_| shelf.known && shelf.unread_since.is_none()) {
                self.act(&shelf, &term.guard()).await;
            }
            let go_on = tokio::select! {
                () = shutdown.cancelled() => false,
                news = overview.changed() => news.is_ok(),
                () = sleep(PAUSE) => true,
            };
            if !go_on {
                return;
            }
            sleep(GAP).await;
        }
    }

    fn observe(&mut self) {
        let views = self.hub.views();
        let mut seen = BTreeMap::new();
        for view in &views {
            let (name, verdict): (_, &Verdict) = (&view.value.name, &view.value.verdict);
            let mut episode = self.episodes.get(name).copied().unwrap_or_default();
            episode.observe(verdict.state, since(&*self.past, verdict, name));
            seen.insert(name.clone(), episode);
        }
        self.episodes = seen;
    }

    async fn act(&self, shelf: &Shelf, term: &Guard) {
        let at = now();
        for (cluster, episode) in &self.episodes {
            let rule = rule(shelf, cluster);
            let incidents: Vec<&Incident> = shelf
                .incidents
                .values()
                .map(|stored| &stored.value)
                .filter(|incident| incident.clusters.contains(cluster))
                .collect();
            let quiet = shelf.in_maintenance(cluster, at).is_some();
            let step = next_step(cluster, episode, rule, &incidents, quiet, &self.replica, at);
            if let Some(step) = step
                && let Err(error) = self.take(shelf, step, term).await
            {
                // It is decided anew in a moment, on what is known then.
                tracing::warn!(cluster.id = %cluster, %error, "An incident could not be written: {error}");
            }
        }
        if let Err(error) = self.forget(shelf, at, term).await {
            tracing::warn!(%error, "What is long over could not be taken away: {error}");
        }
    }

    async fn take(&self, shelf: &Shelf, step: Step, term: &Guard) -> Result<(), StatusError> {
        let store = &self.desk.inner.store;
        let stored = match step {
            Step::Open(incident) => {
                let records: Vec<_> = records::incident(&incident).into_iter().collect();
                let title = incident.title.clone();
                let stored = store
                    .create(&incident, vec![term.clone()], &records)
                    .await?;
                if stored.is_some() {
                    tracing::warn!(incident = incident.id, "Opened an incident: {title}");
                }
                stored
            }
            Step::Change(incident) => {
                let Some(seen) = shelf.incidents.get(&incident.id) else {
                    return Ok(());
                };
                let records: Vec<_> = records::incident(&incident).into_iter().collect();
                store
                    .replace(seen, incident, vec![term.clone()], &records)
                    .await?
            }
        };
        // Somebody else was first, or leads now.
        if let Some(stored) = stored {
            self.desk
                .inner
                .board
                .wrote(|shelf| &mut shelf.incidents, &stored);
        }
        Ok(())
    }

    /// Removes one thing that is long over; the next look removes the next.
    async fn forget(&self, shelf: &Shelf, at: Timestamp, term: &Guard) -> Result<(), StatusError> {
        let old = |over: Option<Timestamp>| over.is_some_and(|over| over.plus(KEPT) < at);
        let incident = shelf.incidents.values().find(|i| old(i.value.resolved_at));
        self.remove(incident, term).await?;
        let maintenance = shelf
            .maintenance
            .values()
            .find(|m| old(Some(m.value.over_at())));
        self.remove(maintenance, term).await?;
        let mut announcements = shelf.announcements.values();
        let gone = announcements.find(|a| old(a.value.withdrawn_at.or(a.value.until)));
        self.remove(gone, term).await
    }

    async fn remove<T: Kept>(
        &self,
        old: Option<&Arc<Stored<T>>>,
        term: &Guard,
    ) -> Result<(), StatusError> {
        if let Some(old) = old {
            let store = &self.desk.inner.store;
            store.remove(old, vec![term.clone()], &[]).await?;
        }
        Ok(())
    }
}

/// The most eager rule of all pages that show `cluster`.
fn rule(shelf: &Shelf, cluster: &ClusterName) -> Option<Automatic> {
    let pages = shelf
        .pages
        .values()
        .filter(|page| page.value.lists(cluster));
    let rules = pages.filter_map(|page| page.value.settings.automatic);
    rules.reduce(|a, b| Automatic {
        after_secs: a.after_secs.min(b.after_secs),
        degraded: a.degraded || b.degraded,
    })
}
