//! The leader's incidents: opened when a bad state lasted, resolved when it has been well for as long, and all that is
//! long over taken away.
//!
//! Invariant: every write compares the leader's term, so that two replicas never do the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Leadership;
use console_core::repository::Versioned;
use galera::publish::status_pages::{
    AutoIncidentRule, AutoIncidentStep, HealthEpisode, Incident, next_incident_step,
};
use galera::view::Verdict;
use galera::{ClusterName, Timestamp};
use monitor::Monitor;
use registry::Precondition;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cache::StatusPageSnapshot;
use super::item::StatusItem;
use super::renderer::verdict_since;
use super::service::StatusPageService;
use super::verdict_history::VerdictHistory;
use super::{StatusPageError, audit_records};

/// Between two looks while nothing changes: a state gets old by the clock alone.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at most, so that a burst of changes costs one.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How long what is over is kept: pages show ninety days of it, people may want to look further back.
const RETENTION: Duration = Duration::from_secs(400 * 86_400);

pub(super) struct AutoIncidentWorker {
    service: StatusPageService,
    hub: Monitor,
    verdict_history: Arc<dyn VerdictHistory>,
    replica: String,
    episodes: BTreeMap<ClusterName, HealthEpisode>,
}

impl AutoIncidentWorker {
    pub(super) fn new(
        service: StatusPageService,
        hub: Monitor,
        verdict_history: Arc<dyn VerdictHistory>,
        replica: String,
    ) -> Self {
        Self {
            service,
            hub,
            verdict_history,
            replica,
            episodes: BTreeMap::new(),
        }
    }

    /// Works until `shutdown`. Every replica keeps count; the leader acts.
    pub(super) async fn run(mut self, leadership: Leadership, shutdown: CancellationToken) {
        let mut overview = self.hub.overview();
        loop {
            overview.mark_unchanged();
            self.update_episodes();
            let term = leadership.borrow().clone();
            let shelf = self.service.snapshot();
            // What is not known cannot be judged: everything would seem to be missing.
            if let Some(term) =
                term.filter(|_| shelf.loaded && shelf.etcd_unreachable_since.is_none())
            {
                self.apply_rules(&shelf, &term.fence()).await;
            }
            let go_on = tokio::select! {
                () = shutdown.cancelled() => false,
                news = overview.changed() => news.is_ok(),
                () = sleep(CHECK_INTERVAL) => true,
            };
            if !go_on {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    fn update_episodes(&mut self) {
        let views = self.hub.views();
        let mut seen = BTreeMap::new();
        for view in &views {
            let (name, verdict): (_, &Verdict) = (&view.value.name, &view.value.verdict);
            let mut episode = self.episodes.get(name).copied().unwrap_or_default();
            episode.observe(
                verdict.state,
                verdict_since(&*self.verdict_history, verdict, name),
            );
            seen.insert(name.clone(), episode);
        }
        self.episodes = seen;
    }

    async fn apply_rules(&self, shelf: &StatusPageSnapshot, term: &Precondition) {
        let at = now();
        for (cluster, episode) in &self.episodes {
            let rule = combined_rule(shelf, cluster);
            let incidents: Vec<&Incident> = shelf
                .incidents
                .values()
                .map(|stored| &stored.value)
                .filter(|incident| incident.clusters.contains(cluster))
                .collect();
            let quiet = shelf.in_maintenance(cluster, at).is_some();
            let step =
                next_incident_step(cluster, episode, rule, &incidents, quiet, &self.replica, at);
            if let Some(step) = step
                && let Err(error) = self.execute_step(shelf, step, term).await
            {
                // It is decided anew in a moment, on what is known then.
                tracing::warn!(cluster.id = %cluster, %error, "An incident could not be written: {error}");
            }
        }
        if let Err(error) = self.remove_expired(shelf, at, term).await {
            tracing::warn!(%error, "What is long over could not be taken away: {error}");
        }
    }

    async fn execute_step(
        &self,
        shelf: &StatusPageSnapshot,
        step: AutoIncidentStep,
        term: &Precondition,
    ) -> Result<(), StatusPageError> {
        let store = &self.service.inner.store;
        let stored = match step {
            AutoIncidentStep::Open(incident) => {
                let records: Vec<_> = audit_records::incident(&incident).into_iter().collect();
                let title = incident.title.clone();
                let stored = store
                    .create(&incident, vec![term.clone()], &records)
                    .await?;
                if stored.is_some() {
                    tracing::warn!(incident = incident.id, "Opened an incident: {title}");
                }
                stored
            }
            AutoIncidentStep::Update(incident) => {
                let Some(seen) = shelf.incidents.get(&incident.id) else {
                    return Ok(());
                };
                let records: Vec<_> = audit_records::incident(&incident).into_iter().collect();
                store
                    .replace(seen, incident, vec![term.clone()], &records)
                    .await?
            }
        };
        // Somebody else was first, or leads now.
        if let Some(stored) = stored {
            self.service
                .inner
                .cache
                .apply_own_write(|shelf| &mut shelf.incidents, &stored);
        }
        Ok(())
    }

    /// Removes one thing that is long over; the next look removes the next.
    async fn remove_expired(
        &self,
        shelf: &StatusPageSnapshot,
        at: Timestamp,
        term: &Precondition,
    ) -> Result<(), StatusPageError> {
        let old = |over: Option<Timestamp>| over.is_some_and(|over| over.plus(RETENTION) < at);
        let incident = shelf.incidents.values().find(|i| old(i.value.resolved_at));
        self.remove_item(incident, term).await?;
        let maintenance = shelf
            .maintenance
            .values()
            .find(|m| old(Some(m.value.ends_at())));
        self.remove_item(maintenance, term).await?;
        let mut announcements = shelf.announcements.values();
        let gone = announcements.find(|a| old(a.value.withdrawn_at.or(a.value.until)));
        self.remove_item(gone, term).await
    }

    async fn remove_item<T: StatusItem>(
        &self,
        old: Option<&Arc<Versioned<T>>>,
        term: &Precondition,
    ) -> Result<(), StatusPageError> {
        if let Some(old) = old {
            let store = &self.service.inner.store;
            store.remove(old, vec![term.clone()], &[]).await?;
        }
        Ok(())
    }
}

/// The most eager rule of all pages that show `cluster`.
fn combined_rule(shelf: &StatusPageSnapshot, cluster: &ClusterName) -> Option<AutoIncidentRule> {
    let pages = shelf
        .pages
        .values()
        .filter(|page| page.value.shows_cluster(cluster));
    let rules = pages.filter_map(|page| page.value.settings.automatic);
    rules.reduce(|a, b| AutoIncidentRule {
        after_secs: a.after_secs.min(b.after_secs),
        degraded: a.degraded || b.degraded,
    })
}
