//! Keeps every page ready to be sent: composes it anew whenever something that it may show has changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use console_core::clock::now;
use console_core::published::Published;
use galera::publish::status_pages::{DAYS, Known, MaintenancePhase, Sources, compose};
use galera::record::uptime::{Date, Day};
use galera::view::{ClusterView, Verdict, VerdictState};
use galera::{ClusterName, Timestamp};
use monitor::Hub;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::board::Shelf;
use super::desk::StatusDesk;
use super::past::Past;
use super::print::{Look, Print, Prints};

/// Least time between two looks, so that a burst of changes costs one.
const GAP: Duration = Duration::from_millis(40);
/// Most time between two looks: maintenance begins and ends by the clock alone.
const PAUSE: Duration = Duration::from_secs(1);
/// How old a page may say that it is while nothing changes.
const AS_OF: Duration = Duration::from_secs(20);
/// How long the days of a cluster are believed while its verdict stays.
const DAYS_KEPT: Duration = Duration::from_secs(10);
/// How long ahead planned maintenance is announced in the console.
const NEAR: Duration = Duration::from_secs(86_400);

pub(super) struct Press {
    desk: StatusDesk,
    hub: Hub,
    past: Arc<dyn Past>,
    look: Arc<Look>,
    days: HashMap<ClusterName, Remembered>,
}

/// The days of a cluster as they were computed last.
struct Remembered {
    verdict: VerdictState,
    since: Timestamp,
    at: Timestamp,
    days: Vec<Day>,
}

impl Press {
    pub(super) fn new(desk: StatusDesk, hub: Hub, past: Arc<dyn Past>, look: Look) -> Self {
        Self {
            desk,
            hub,
            past,
            look: Arc::new(look),
            days: HashMap::new(),
        }
    }

    /// Works until `shutdown`.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let (mut overview, mut shelf) = (self.hub.overview(), self.desk.subscribe());
        loop {
            shelf.mark_unchanged();
            overview.mark_unchanged();
            self.look_around(now());
            let go_on = tokio::select! {
                () = shutdown.cancelled() => false,
                news = overview.changed() => news.is_ok(),
                news = shelf.changed() => news.is_ok(),
                () = sleep(PAUSE) => true,
            };
            if !go_on {
                return;
            }
            sleep(GAP).await;
        }
    }

    /// Publishes what is new.
    fn look_around(&mut self, now: Timestamp) {
        let shelf = self.desk.shelf();
        let views = self.hub.views();
        self.hub.set_notices("maintenance", notices(&shelf, now));
        let sources = self.sources(&shelf, &views, now);
        let before = self.desk.prints();
        let mut changed = before.pages.len() != shelf.pages.len();
        let mut pages = BTreeMap::new();
        for (slug, page) in &shelf.pages {
            let told = compose(&page.value, &sources, now);
            let known = before.pages.get(slug);
            let same = known.filter(|known| known.told == told && known.page == *page);
            let print = match same {
                Some(known) if known.as_of.age(now) < AS_OF => Arc::clone(known),
                Some(known) => Arc::new(known.again(now)),
                None => Arc::new(Print::new(
                    Arc::clone(page),
                    told,
                    now,
                    Arc::clone(&self.look),
                )),
            };
            changed |= known.is_none_or(|known| !Arc::ptr_eq(known, &print));
            pages.insert(slug.clone(), print);
        }
        if changed {
            self.desk.publish(Prints::new(pages));
        }
    }

    /// What the pages are composed of, as far as any page shows it.
    fn sources<'a>(
        &mut self,
        shelf: &'a Shelf,
        views: &'a [Arc<Published<ClusterView>>],
        now: Timestamp,
    ) -> Sources<'a> {
        let mut clusters = BTreeMap::new();
        for view in views {
            let view = &view.value;
            if shelf
                .pages
                .values()
                .any(|page| page.value.lists(&view.name))
            {
                clusters.insert(view.name.clone(), self.known(view, now));
            }
        }
        self.days.retain(|name, _| clusters.contains_key(name));
        Sources {
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
            unread_since: shelf.unread_since,
        }
    }

    fn known<'a>(&mut self, view: &'a ClusterView, now: Timestamp) -> Known<'a> {
        let verdict = &view.verdict;
        let fresh = self.days.get(&view.name).filter(|known| {
            let same_day = Date::of(known.at) == Date::of(now);
            known.verdict == verdict.state && known.at.age(now) < DAYS_KEPT && same_day
        });
        if fresh.is_none() {
            let remembered = Remembered {
                verdict: verdict.state,
                since: since(&*self.past, verdict, &view.name),
                at: now,
                days: self.past.days(&view.name, now, DAYS),
            };
            self.days.insert(view.name.clone(), remembered);
        }
        let remembered = self.days.get(&view.name);
        Known {
            view,
            since: remembered.map_or(verdict.since, |known| known.since),
            days: remembered
                .map(|known| known.days.clone())
                .unwrap_or_default(),
        }
    }
}

/// What the console says about maintenance that goes on or is near.
fn notices(shelf: &Shelf, now: Timestamp) -> Vec<String> {
    let near = now.plus(NEAR);
    let all = shelf.maintenance.values().map(|stored| &stored.value);
    let due = all.filter(|maintenance| match maintenance.phase(now) {
        MaintenancePhase::Current => true,
        MaintenancePhase::Planned => maintenance.from < near,
        MaintenancePhase::Over => false,
    });
    due.map(|maintenance| {
        let names: Vec<&str> = maintenance.clusters.iter().map(|c| c.as_str()).collect();
        let (names, title) = (names.join(", "), &maintenance.title);
        let until = maintenance.until.since_text(now);
        if maintenance.phase(now) == MaintenancePhase::Current {
            format!("Maintenance of {names} until {until}: {title}. Alarms about it are quiet.")
        } else {
            let from = maintenance.from.since_text(now);
            format!("Maintenance of {names} is planned from {from} to {until}: {title}.")
        }
    })
    .collect()
}

/// Since when a verdict holds: a console that was started meanwhile saw it later than it began.
pub(super) fn since(past: &dyn Past, verdict: &Verdict, cluster: &ClusterName) -> Timestamp {
    let remembered = past.since(cluster, verdict.state);
    remembered.map_or(verdict.since, |since| since.min(verdict.since))
}

/// Where pages are taken from, and the news of newer ones.
pub(super) type Gallery = watch::Sender<Arc<Prints>>;
