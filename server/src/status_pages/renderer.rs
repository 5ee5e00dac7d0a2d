//! Keeps every page ready to be sent: composes it anew whenever something that it may show has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::published::Published;
use galera::publish::status_pages::{
    MaintenancePhase, PageClusterSource, PageSources, UPTIME_DAYS, compose,
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

/// Least time between two looks, so that a burst of changes costs one.
const DEBOUNCE: Duration = Duration::from_millis(40);
/// Most time between two looks: maintenance begins and ends by the clock alone.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// How old a page may say that it is while nothing changes.
const AS_OF_MAX_AGE: Duration = Duration::from_secs(20);
/// How long the days of a cluster are believed while its verdict stays.
const DAYS_CACHE_TTL: Duration = Duration::from_secs(10);
/// How long ahead planned maintenance is announced in the console.
const ANNOUNCE_AHEAD: Duration = Duration::from_secs(86_400);

pub(super) struct PageRenderer {
    service: StatusPageService,
    hub: Monitor,
    verdict_history: Arc<dyn VerdictHistory>,
    assets: Arc<PageAssets>,
    cached_days: HashMap<ClusterName, CachedDays>,
}

/// The days of a cluster as they were computed last.
struct CachedDays {
    verdict: VerdictState,
    since: Timestamp,
    computed_at: Timestamp,
    days: Vec<UptimeDay>,
}

impl PageRenderer {
    pub(super) fn new(
        service: StatusPageService,
        hub: Monitor,
        verdict_history: Arc<dyn VerdictHistory>,
        look: PageAssets,
    ) -> Self {
        Self {
            service,
            hub,
            verdict_history,
            assets: Arc::new(look),
            cached_days: HashMap::new(),
        }
    }

    /// Works until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (mut overview, mut shelf) = (self.hub.overview(), self.service.subscribe());
        loop {
            shelf.mark_unchanged();
            overview.mark_unchanged();
            self.refresh(now());
            let go_on = tokio::select! {
                () = shutdown.cancelled() => false,
                news = overview.changed() => news.is_ok(),
                news = shelf.changed() => news.is_ok(),
                () = sleep(REFRESH_INTERVAL) => true,
            };
            if !go_on {
                return;
            }
            sleep(DEBOUNCE).await;
        }
    }

    /// Publishes what is new.
    fn refresh(&mut self, now: Timestamp) {
        let shelf = self.service.snapshot();
        let views = self.hub.views();
        self.hub
            .set_notices("maintenance", maintenance_notices(&shelf, now));
        let sources = self.sources(&shelf, &views, now);
        let before = self.service.rendered_pages();
        let mut changed = before.pages.len() != shelf.pages.len();
        let mut pages = BTreeMap::new();
        for (slug, page) in &shelf.pages {
            let told = compose(&page.value, &sources, now);
            let known = before.pages.get(slug);
            let same = known.filter(|known| known.content == told && known.page == *page);
            let print = match same {
                Some(known) if known.as_of.age(now) < AS_OF_MAX_AGE => Arc::clone(known),
                Some(known) => Arc::new(known.refreshed(now)),
                None => Arc::new(RenderedPage::new(
                    Arc::clone(page),
                    told,
                    now,
                    Arc::clone(&self.assets),
                )),
            };
            changed |= known.is_none_or(|known| !Arc::ptr_eq(known, &print));
            pages.insert(slug.clone(), print);
        }
        if changed {
            self.service.publish_rendered(RenderedPages::new(pages));
        }
    }

    /// What the pages are composed of, as far as any page shows it.
    fn sources<'a>(
        &mut self,
        shelf: &'a StatusPageSnapshot,
        views: &'a [Arc<Published<ClusterView>>],
        now: Timestamp,
    ) -> PageSources<'a> {
        let mut clusters = BTreeMap::new();
        for view in views {
            let view = &view.value;
            if shelf
                .pages
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
            incidents: shelf
                .incidents
                .values()
                .map(|stored| &stored.value)
                .collect(),
            maintenance: shelf
                .maintenance
                .values()
                .map(|stored| &stored.value)
                .collect(),
            announcements: shelf
                .announcements
                .values()
                .map(|stored| &stored.value)
                .collect(),
            stale_since: shelf.etcd_unreachable_since,
        }
    }

    fn cluster_source<'a>(
        &mut self,
        view: &'a ClusterView,
        now: Timestamp,
    ) -> PageClusterSource<'a> {
        let verdict = &view.verdict;
        let fresh = self.cached_days.get(&view.name).filter(|known| {
            let same_day = Date::of(known.computed_at) == Date::of(now);
            known.verdict == verdict.state
                && known.computed_at.age(now) < DAYS_CACHE_TTL
                && same_day
        });
        if fresh.is_none() {
            let remembered = CachedDays {
                verdict: verdict.state,
                since: verdict_since(&*self.verdict_history, verdict, &view.name),
                computed_at: now,
                days: self.verdict_history.days(&view.name, now, UPTIME_DAYS),
            };
            self.cached_days.insert(view.name.clone(), remembered);
        }
        let remembered = self.cached_days.get(&view.name);
        PageClusterSource {
            view,
            since: remembered.map_or(verdict.since, |known| known.since),
            days: remembered
                .map(|known| known.days.clone())
                .unwrap_or_default(),
        }
    }
}

/// What the console says about maintenance that goes on or is near.
fn maintenance_notices(shelf: &StatusPageSnapshot, now: Timestamp) -> Vec<String> {
    let near = now.plus(ANNOUNCE_AHEAD);
    let all = shelf.maintenance.values().map(|stored| &stored.value);
    let due = all.filter(|maintenance| match maintenance.phase(now) {
        MaintenancePhase::Current => true,
        MaintenancePhase::Planned => maintenance.from < near,
        MaintenancePhase::Over => false,
    });
    due.map(|maintenance| {
        let names: Vec<&str> = maintenance.clusters.iter().map(|c| c.as_str()).collect();
        let (names, title) = (names.join(", "), &maintenance.title);
        let until = maintenance.until.to_short_string(now);
        if maintenance.phase(now) == MaintenancePhase::Current {
            format!("Maintenance of {names} until {until}: {title}. Alarms about it are quiet.")
        } else {
            let from = maintenance.from.to_short_string(now);
            format!("Maintenance of {names} is planned from {from} to {until}: {title}.")
        }
    })
    .collect()
}

/// Since when a verdict holds: a console that was started meanwhile saw it later than it began.
pub(super) fn verdict_since(
    past: &dyn VerdictHistory,
    verdict: &Verdict,
    cluster: &ClusterName,
) -> Timestamp {
    let remembered = past.since(cluster, verdict.state);
    remembered.map_or(verdict.since, |since| since.min(verdict.since))
}

/// Where pages are taken from, and the news of newer ones.
pub(super) type RenderedPagesSender = watch::Sender<Arc<RenderedPages>>;
