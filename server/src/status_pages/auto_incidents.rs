//! Automatic incidents: the leader opens one when a bad state lasts, resolves it when the cluster has been healthy for as
//! long, and deletes expired items.
//!
//! Invariant: every write compares the leader's term, so that two replicas never write the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::leader::Leadership;
use console_core::repository::Versioned;
use galera::publish::status_pages::{
    AutoIncidentRule, AutoIncidentStep, HealthEpisode, Incident, StatusPageRecord,
    next_incident_step,
};
use galera::view::Verdict;
use galera::{ClusterName, ReplicaId, Timestamp};
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

/// Interval of checks while nothing changes: the age of a state grows with time alone.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum pause between two checks, so that a burst of changes costs one.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// How long finished items are kept. Pages show the last ninety days; operators may look further back.
const RETENTION: Duration = Duration::from_secs(400 * 86_400);

pub(super) struct AutoIncidentWorker {
    service: StatusPageService,
    monitor: Monitor,
    verdict_history: Arc<dyn VerdictHistory>,
    replica: ReplicaId,
    episodes: BTreeMap<ClusterName, HealthEpisode>,
}

impl AutoIncidentWorker {
    pub(super) fn new(
        service: StatusPageService,
        monitor: Monitor,
        verdict_history: Arc<dyn VerdictHistory>,
        replica: ReplicaId,
    ) -> Self {
        Self {
            service,
            monitor,
            verdict_history,
            replica,
            episodes: BTreeMap::new(),
        }
    }

    /// Runs until `shutdown`. Every replica tracks the episodes; only the leader writes.
    pub(super) async fn run(mut self, leadership: Leadership, shutdown: CancellationToken) {
        let mut overview = self.monitor.overview();
        loop {
            overview.mark_unchanged();
            self.update_episodes();
            let term = leadership.borrow().clone();
            let snapshot = self.service.snapshot();
            // Not on an incomplete snapshot: open incidents would seem to be missing.
            if let Some(term) =
                term.filter(|_| snapshot.loaded && snapshot.etcd_unreachable_since.is_none())
            {
                self.apply_rules(&snapshot, &term.fence()).await;
            }
            let running = tokio::select! {
                () = shutdown.cancelled() => false,
                changed = overview.changed() => changed.is_ok(),
                () = sleep(CHECK_INTERVAL) => true,
            };
            if !running {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    fn update_episodes(&mut self) {
        let views = self.monitor.views();
        let mut episodes = BTreeMap::new();
        for view in &views {
            let (name, verdict): (_, &Verdict) = (&view.value.name, &view.value.verdict);
            let mut episode = self.episodes.get(name).copied().unwrap_or_default();
            episode.observe(
                verdict.state,
                verdict_since(&*self.verdict_history, verdict, name),
            );
            episodes.insert(name.clone(), episode);
        }
        self.episodes = episodes;
    }

    async fn apply_rules(&self, snapshot: &StatusPageSnapshot, term: &Precondition) {
        let at = now();
        let pages = self.service.expanded_pages(snapshot);
        for (cluster, episode) in &self.episodes {
            let rule = combined_rule(&pages, cluster);
            let incidents: Vec<&Incident> = snapshot
                .incidents
                .values()
                .map(|stored| &stored.value)
                .filter(|incident| incident.clusters.contains(cluster))
                .collect();
            let in_maintenance = snapshot.in_maintenance(cluster, at).is_some();
            let step = next_incident_step(
                cluster,
                episode,
                rule,
                &incidents,
                in_maintenance,
                self.replica.as_str(),
                at,
            );
            if let Some(step) = step
                && let Err(error) = self.execute_step(snapshot, step, term).await
            {
                // The next check decides again on current data.
                tracing::warn!(cluster.id = %cluster, %error, "Could not write an automatic incident; will retry: {error}");
            }
        }
        if let Err(error) = self.remove_expired(snapshot, at, term).await {
            tracing::warn!(%error, "Could not delete expired incidents: {error}");
        }
    }

    async fn execute_step(
        &self,
        snapshot: &StatusPageSnapshot,
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
                    tracing::warn!(
                        incident = incident.id,
                        "Opened an automatic incident: {title}"
                    );
                }
                stored
            }
            AutoIncidentStep::Update(incident) => {
                let Some(seen) = snapshot.incidents.get(&incident.id) else {
                    return Ok(());
                };
                let records: Vec<_> = audit_records::incident(&incident).into_iter().collect();
                store
                    .replace(seen, incident, vec![term.clone()], &records)
                    .await?
            }
        };
        // `None` when another write was first, or another replica leads now.
        if let Some(stored) = stored {
            self.service
                .inner
                .cache
                .apply_own_write(|snapshot| &mut snapshot.incidents, &stored);
        }
        Ok(())
    }

    /// Deletes one expired item of each kind; the next check deletes the next.
    async fn remove_expired(
        &self,
        snapshot: &StatusPageSnapshot,
        at: Timestamp,
        term: &Precondition,
    ) -> Result<(), StatusPageError> {
        let is_expired =
            |ended: Option<Timestamp>| ended.is_some_and(|ended| ended.plus(RETENTION) < at);
        let incident = snapshot
            .incidents
            .values()
            .find(|i| is_expired(i.value.resolved_at));
        self.remove_item(incident, term).await?;
        let maintenance = snapshot
            .maintenance
            .values()
            .find(|m| is_expired(Some(m.value.ends_at())));
        self.remove_item(maintenance, term).await?;
        let mut announcements = snapshot.announcements.values();
        let announcement =
            announcements.find(|a| is_expired(a.value.withdrawn_at.or(a.value.until)));
        self.remove_item(announcement, term).await
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

/// The rule that opens an incident earliest, over all pages that show `cluster`.
fn combined_rule(
    pages: &BTreeMap<String, Arc<Versioned<StatusPageRecord>>>,
    cluster: &ClusterName,
) -> Option<AutoIncidentRule> {
    let pages = pages
        .values()
        .filter(|page| page.value.shows_cluster(cluster));
    let rules = pages.filter_map(|page| page.value.settings.automatic);
    rules.reduce(|a, b| AutoIncidentRule {
        after_secs: a.after_secs.min(b.after_secs),
        degraded: a.degraded || b.degraded,
    })
}
