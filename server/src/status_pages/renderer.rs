//! Keeps every page rendered: composes it again whenever something that it shows has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::published::Published;
use console_core::repository::Versioned;
use galera::publish::status_pages::{
    MaintenancePhase, PageClusterSource, PageSources, StatusPageRecord, UPTIME_DAYS, compose,
};
use galera::record::uptime::{Date, UptimeDay};
use galera::view::{ClusterView, Verdict, VerdictState};
use galera::{ClusterName, Timestamp};
use monitor::Monitor;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::cache::StatusPageSnapshot;
use super::rendered_page::{PageAssets, RenderedPage, RenderedPages};
use super::service::StatusPageService;
use super::verdict_history::VerdictHistory;

/// Minimum pause between two refreshes, so that a burst of changes costs one.
const DEBOUNCE: Duration = Duration::from_millis(40);
/// Maximum time between two refreshes: maintenance begins and ends by the clock alone.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Maximum age of a page's "as of" time while nothing changes.
const AS_OF_MAX_AGE: Duration = Duration::from_secs(20);
/// How long a cluster's days are cached while its verdict does not change.
const DAYS_CACHE_TTL: Duration = Duration::from_secs(10);
/// How long in advance the console shows scheduled maintenance.
const ANNOUNCE_AHEAD: Duration = Duration::from_secs(86_400);

pub(super) struct PageRenderer {
    service: StatusPageService,
    monitor: Monitor,
    verdict_history: Arc<dyn VerdictHistory>,
    assets: Arc<PageAssets>,
    cached_days: HashMap<ClusterName, CachedDays>,
}

struct CachedDays {
    verdict: VerdictState,
    since: Timestamp,
    computed_at: Timestamp,
    days: Vec<UptimeDay>,
}

impl PageRenderer {
    pub(super) fn new(
        service: StatusPageService,
        monitor: Monitor,
        verdict_history: Arc<dyn VerdictHistory>,
        assets: PageAssets,
    ) -> Self {
        Self {
            service,
            monitor,
            verdict_history,
            assets: Arc::new(assets),
            cached_days: HashMap::new(),
        }
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (mut overview, mut snapshots) = (self.monitor.overview(), self.service.subscribe());
        let mut labels = self.service.inner.labels.subscribe();
        loop {
            snapshots.mark_unchanged();
            overview.mark_unchanged();
            labels.mark_unchanged();
            self.refresh(now());
            let running = tokio::select! {
                () = shutdown.cancelled() => false,
                changed = overview.changed() => changed.is_ok(),
                changed = snapshots.changed() => changed.is_ok(),
                changed = labels.changed() => changed.is_ok(),
                () = sleep(REFRESH_INTERVAL) => true,
            };
            if !running {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    /// Composes all pages and publishes them if any has changed.
    fn refresh(&mut self, now: Timestamp) {
        let snapshot = self.service.snapshot();
        let views = self.monitor.views();
        self.monitor
            .set_notices("maintenance", maintenance_notices(&snapshot, now));
        let current = self.service.expanded_pages(&snapshot);
        let sources = self.sources(&snapshot, &current, &views, now);
        let before = self.service.rendered_pages();
        let mut changed = before.pages.len() != snapshot.pages.len();
        let mut pages = BTreeMap::new();
        for (slug, page) in &current {
            let content = compose(&page.value, &sources, now);
            let previous = before.pages.get(slug);
            let unchanged =
                previous.filter(|previous| previous.content == content && previous.page == *page);
            let rendered = match unchanged {
                Some(previous) if previous.as_of.age(now) < AS_OF_MAX_AGE => Arc::clone(previous),
                Some(previous) => Arc::new(previous.refreshed(now)),
                None => Arc::new(RenderedPage::new(
                    Arc::clone(page),
                    content,
                    now,
                    Arc::clone(&self.assets),
                )),
            };
            changed |= previous.is_none_or(|previous| !Arc::ptr_eq(previous, &rendered));
            pages.insert(slug.clone(), rendered);
        }
        if changed {
            self.service.publish_rendered(RenderedPages::new(pages));
        }
    }

    /// The sources of all pages; only clusters that some page shows.
    fn sources<'a>(
        &mut self,
        snapshot: &'a StatusPageSnapshot,
        pages: &BTreeMap<String, Arc<Versioned<StatusPageRecord>>>,
        views: &'a [Arc<Published<ClusterView>>],
        now: Timestamp,
    ) -> PageSources<'a> {
        let mut clusters = BTreeMap::new();
        for view in views {
            let view = &view.value;
            if pages
                .values()
                .any(|page| page.value.shows_cluster(&view.name))
            {
                clusters.insert(view.name.clone(), self.cluster_source(view, now));
            }
        }
        self.cached_days
            .retain(|name, _| clusters.contains_key(name));
        PageSources {
            clusters,
            incidents: snapshot
                .incidents
                .values()
                .map(|stored| &stored.value)
                .collect(),
            maintenance: snapshot
                .maintenance
                .values()
                .map(|stored| &stored.value)
                .collect(),
            announcements: snapshot
                .announcements
                .values()
                .map(|stored| &stored.value)
                .collect(),
            stale_since: snapshot.etcd_unreachable_since,
        }
    }

    fn cluster_source<'a>(
        &mut self,
        view: &'a ClusterView,
        now: Timestamp,
    ) -> PageClusterSource<'a> {
        let verdict = &view.verdict;
        let fresh = self.cached_days.get(&view.name).filter(|cached| {
            let same_day = Date::of(cached.computed_at) == Date::of(now);
            cached.verdict == verdict.state
                && cached.computed_at.age(now) < DAYS_CACHE_TTL
                && same_day
        });
        if fresh.is_none() {
            let computed = CachedDays {
                verdict: verdict.state,
                since: verdict_since(&*self.verdict_history, verdict, &view.name),
                computed_at: now,
                days: self.verdict_history.days(&view.name, now, UPTIME_DAYS),
            };
            self.cached_days.insert(view.name.clone(), computed);
        }
        let cached = self.cached_days.get(&view.name);
        PageClusterSource {
            view,
            since: cached.map_or(verdict.since, |cached| cached.since),
            days: cached.map(|cached| cached.days.clone()).unwrap_or_default(),
        }
    }
}

/// The console's notices about maintenance that is in progress or starts soon.
fn maintenance_notices(snapshot: &StatusPageSnapshot, now: Timestamp) -> Vec<String> {
    let horizon = now.plus(ANNOUNCE_AHEAD);
    let all = snapshot.maintenance.values().map(|stored| &stored.value);
    let due = all.filter(|maintenance| match maintenance.phase(now) {
        MaintenancePhase::Current => true,
        MaintenancePhase::Planned => maintenance.from < horizon,
        MaintenancePhase::Over => false,
    });
    due.map(|maintenance| {
        let names: Vec<&str> = maintenance.clusters.iter().map(|c| c.as_str()).collect();
        let (names, title) = (names.join(", "), &maintenance.title);
        let until = maintenance.until.to_short_string(now);
        if maintenance.phase(now) == MaintenancePhase::Current {
            format!("Maintenance of {names} until {until}: {title}. Alerts are muted.")
        } else {
            let from = maintenance.from.to_short_string(now);
            format!("Maintenance of {names} scheduled from {from} to {until}: {title}.")
        }
    })
    .collect()
}

/// Since when a verdict holds. The history may know an earlier time than this replica, which may have started since.
pub(super) fn verdict_since(
    history: &dyn VerdictHistory,
    verdict: &Verdict,
    cluster: &ClusterName,
) -> Timestamp {
    let recorded = history.since(cluster, verdict.state);
    recorded.map_or(verdict.since, |since| since.min(verdict.since))
}

/// Publishes the rendered pages.
pub(super) type RenderedPagesSender = watch::Sender<Arc<RenderedPages>>;
