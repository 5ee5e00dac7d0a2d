//! Composes what a status page shows: only what the page is configured to show, from everything that is known.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Announcement, Incident, IncidentImpact, IncidentState, Maintenance, MaintenancePhase,
    NodeDetailSettings, PageCluster, Slug, StatusPageRecord, UPTIME_DAYS,
};
use crate::id::ClusterName;
use crate::record::uptime::{
    AvailabilityState, AvailabilityTotals, DAY_MS, Date, UptimeDay, total_of_last,
};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView, VerdictState};

/// Maximum number of resolved incidents on a page, the newest ones.
const PAST_INCIDENTS_MAX: usize = 25;

/// The state of a database for readers who do not know Galera, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicState {
    Operational,
    /// In planned maintenance.
    Maintenance,
    /// The console has no fresh evidence.
    Unknown,
    /// Available with reduced redundancy.
    Degraded,
    /// Unavailable, or with data that must not be relied on.
    Outage,
}

impl PublicState {
    /// The state as shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Operational => "Operational",
            Self::Maintenance => "Maintenance",
            Self::Unknown => "Unknown",
            Self::Degraded => "Degraded",
            Self::Outage => "Outage",
        }
    }

    /// State implied by an impact; `None` for one that readers do not notice.
    const fn of_impact(impact: IncidentImpact) -> Option<Self> {
        match impact {
            IncidentImpact::None => None,
            IncidentImpact::Minor => Some(Self::Degraded),
            IncidentImpact::Major | IncidentImpact::Critical => Some(Self::Outage),
        }
    }

    const fn of(standing: AvailabilityState) -> Self {
        match standing {
            AvailabilityState::Ok => Self::Operational,
            AvailabilityState::Degraded => Self::Degraded,
            AvailabilityState::Down => Self::Outage,
            AvailabilityState::Unknown => Self::Unknown,
        }
    }
}

/// Why a reachable cluster must not be trusted: it has split into independent parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataInconsistency {
    /// Two parts accept writes independently.
    SplitBrain,
    /// Parts hold different histories.
    Diverged,
}

impl DataInconsistency {
    const fn of(verdict: VerdictState) -> Option<Self> {
        match verdict {
            VerdictState::SplitBrain => Some(Self::SplitBrain),
            VerdictState::Diverged => Some(Self::Diverged),
            _ => None,
        }
    }
}

/// A day's availability in rounded figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DayFigures {
    pub date: Date,
    /// Uptime in hundredths of a percent of the known time, rounded down; `None` if nothing is known.
    pub up: Option<u32>,
    /// Seconds.
    pub down: u64,
    /// Seconds.
    pub degraded: u64,
    /// Seconds without evidence.
    pub unknown: u64,
}

impl DayFigures {
    fn of(day: &UptimeDay) -> Self {
        Self {
            date: day.date,
            up: hundredths(&day.spent),
            down: rounded_seconds(day.spent.down),
            degraded: rounded_seconds(day.spent.degraded),
            unknown: rounded_seconds(day.spent.unknown),
        }
    }

    /// The worst state of the day; `None` if nothing was counted.
    #[must_use]
    pub const fn worst(&self) -> Option<PublicState> {
        match self {
            Self { down: 1.., .. } => Some(PublicState::Outage),
            Self { degraded: 1.., .. } => Some(PublicState::Degraded),
            Self { up: Some(_), .. } => Some(PublicState::Operational),
            Self { unknown: 1.., .. } => Some(PublicState::Unknown),
            _ => None,
        }
    }
}

/// Hundredths of a percent, rounded down so that an outage of one second still shows.
fn hundredths(spent: &AvailabilityTotals) -> Option<u32> {
    let known = u128::from(spent.known());
    let up = u128::from(spent.ok + spent.degraded);
    (known > 0).then(|| u32::try_from(up * 10_000 / known).unwrap_or(10_000))
}

/// Milliseconds as seconds in growing steps, so that a lasting state does not change the page every second.
const fn rounded_seconds(millis: u64) -> u64 {
    match millis {
        0 => 0,
        1..10_000 => millis.div_ceil(1_000),
        10_000..60_000 => millis / 10_000 * 10,
        _ => millis / 60_000 * 60,
    }
}

/// Uptime in hundredths of a percent; `None` if nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UptimeFigures {
    /// Over 7 days, including today.
    pub week: Option<u32>,
    /// Over 30 days.
    pub month: Option<u32>,
    /// Over 90 days.
    pub quarter: Option<u32>,
}

impl UptimeFigures {
    fn of(days: &[UptimeDay]) -> Self {
        let figure = |count| hundredths(&total_of_last(days, count));
        Self {
            week: figure(7),
            month: figure(30),
            quarter: figure(UPTIME_DAYS),
        }
    }
}

/// A node, if the page shows nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicNode {
    /// Its name, or `Node 1` and so on if names are not shown.
    pub name: String,
    pub address: Option<String>,
    pub state: NodeState,
    pub version: Option<String>,
    /// Its last committed sequence number.
    pub position: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicCluster {
    /// Identifies it in URLs; derived from its public name.
    pub id: String,
    pub name: String,
    pub state: PublicState,
    /// Its state apart from any maintenance.
    pub state_without_maintenance: PublicState,
    /// Why a reachable cluster is shown as an outage.
    pub inconsistency: Option<DataInconsistency>,
    /// Since when its verdict holds; `None` for a cluster that the console does not know.
    pub since: Option<Timestamp>,
    /// Empty unless the page shows nodes.
    pub nodes: Vec<PublicNode>,
    /// Oldest first.
    pub days: Vec<DayFigures>,
    pub uptime: UptimeFigures,
}

/// An update of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicUpdate {
    pub at: Timestamp,
    pub state: IncidentState,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicIncident {
    pub id: String,
    pub title: String,
    /// Public names of the affected clusters that the page shows.
    pub clusters: Vec<String>,
    pub state: IncidentState,
    /// Set by an operator; without it, the measured state applies.
    pub impact: Option<IncidentImpact>,
    pub opened_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
    /// Newest first.
    pub updates: Vec<PublicUpdate>,
}

/// A maintenance that is scheduled or in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicMaintenance {
    pub id: String,
    pub title: String,
    pub text: String,
    /// Public names of the affected clusters that the page shows.
    pub clusters: Vec<String>,
    pub from: Timestamp,
    pub until: Timestamp,
    pub planned_at: Timestamp,
    /// Whether it is in progress.
    pub current: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicAnnouncement {
    pub id: String,
    pub title: String,
    pub text: String,
    pub at: Timestamp,
}

/// The content of a status page.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicPage {
    pub slug: Slug,
    pub title: String,
    /// The worst state of its clusters.
    pub overall: PublicState,
    pub clusters: Vec<PublicCluster>,
    /// Open incidents, then resolved ones, each newest first.
    pub incidents: Vec<PublicIncident>,
    /// In progress and scheduled, by start time.
    pub maintenance: Vec<PublicMaintenance>,
    /// Newest first.
    pub announcements: Vec<PublicAnnouncement>,
    /// Since when the console cannot read incidents, maintenance and announcements.
    pub stale_since: Option<Timestamp>,
}

impl PublicPage {
    pub fn open_incidents(&self) -> impl Iterator<Item = &PublicIncident> {
        self.incidents.iter().filter(|i| i.resolved_at.is_none())
    }

    pub fn past_incidents(&self) -> impl Iterator<Item = &PublicIncident> {
        self.incidents.iter().filter(|i| i.resolved_at.is_some())
    }

    /// When the page last changed; `None` while nothing is known.
    #[must_use]
    pub fn changed_at(&self) -> Option<Timestamp> {
        let states = self.clusters.iter().filter_map(|cluster| cluster.since);
        let updates = self.incidents.iter().flat_map(|i| i.updates.first());
        let announced = self
            .announcements
            .iter()
            .map(|announcement| announcement.at);
        let planned = self.maintenance.iter().map(|maintenance| {
            let begun = maintenance.current.then_some(maintenance.from);
            begun.map_or(maintenance.planned_at, |at| at.max(maintenance.planned_at))
        });
        let texts = updates
            .map(|update| update.at)
            .chain(announced)
            .chain(planned);
        states.chain(texts).max()
    }

    /// The open incident with the worst impact, if that is worse than what is measured.
    #[must_use]
    pub fn worst_reported(&self) -> Option<&PublicIncident> {
        let impact = |incident: &PublicIncident| incident.impact.and_then(PublicState::of_impact);
        self.open_incidents()
            .filter(|incident| impact(incident).is_some_and(|state| state > self.overall))
            .max_by_key(|incident| incident.impact)
    }

    /// The worse of what is measured and what an open incident says.
    #[must_use]
    pub fn headline_state(&self) -> PublicState {
        let reported = self.worst_reported().and_then(|incident| incident.impact);
        reported
            .and_then(PublicState::of_impact)
            .unwrap_or(self.overall)
    }

    /// The current state in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(incident) = self.worst_reported() {
            let impact = incident.impact.map_or("", IncidentImpact::label);
            return format!("{impact}: {}", incident.title);
        }
        let all = self.clusters.len();
        if all == 0 {
            return "No database is shown".to_owned();
        }
        let count = |state| self.clusters.iter().filter(|c| c.state == state).count();
        let (number, predicate) = match self.overall {
            PublicState::Operational if self.open_incidents().next().is_some() => {
                return "Open incident; all databases accept reads and writes".to_owned();
            }
            PublicState::Operational => return "All systems operational".to_owned(),
            PublicState::Outage if self.only_inconsistent() => {
                if all == 1 {
                    return "Data may be inconsistent: do not rely on it".to_owned();
                }
                (
                    count(PublicState::Outage),
                    "possibly inconsistent: do not rely on the data",
                )
            }
            PublicState::Outage => (count(PublicState::Outage), "unavailable"),
            PublicState::Degraded => (count(PublicState::Degraded), "degraded, but working"),
            PublicState::Unknown => (count(PublicState::Unknown), "in an unknown state"),
            PublicState::Maintenance => (count(PublicState::Maintenance), "under maintenance"),
        };
        match (number, all) {
            (_, 1) => format!("The database is {predicate}"),
            (1, _) => format!("1 of {all} databases is {predicate}"),
            _ if number == all => format!("All databases are {predicate}"),
            _ => format!("{number} of {all} databases are {predicate}"),
        }
    }

    /// Whether every outage is of a reachable database, which is not called unavailable.
    fn only_inconsistent(&self) -> bool {
        let mut outages = self
            .clusters
            .iter()
            .filter(|c| c.state == PublicState::Outage);
        outages.all(|cluster| cluster.inconsistency.is_some())
    }
}

/// What is known about a cluster.
#[derive(Clone, Debug)]
pub struct PageClusterSource<'a> {
    pub view: &'a ClusterView,
    /// Since when its verdict holds.
    pub since: Timestamp,
    /// Its last [`UPTIME_DAYS`] days, oldest first.
    pub days: Vec<UptimeDay>,
}

/// Everything that pages are composed from.
#[derive(Clone, Debug, Default)]
pub struct PageSources<'a> {
    pub clusters: BTreeMap<ClusterName, PageClusterSource<'a>>,
    /// Oldest first.
    pub incidents: Vec<&'a Incident>,
    pub maintenance: Vec<&'a Maintenance>,
    /// Oldest first.
    pub announcements: Vec<&'a Announcement>,
    /// Since when etcd cannot be read.
    pub stale_since: Option<Timestamp>,
}

/// The content of `page` at `now`.
#[must_use]
pub fn compose(page: &StatusPageRecord, sources: &PageSources<'_>, now: Timestamp) -> PublicPage {
    let mut clusters: Vec<PublicCluster> = Vec::new();
    for listed in &page.settings.clusters {
        let id = public_id(&listed.name, &clusters);
        clusters.push(cluster(listed, id, page.settings.show, sources, now));
    }
    let worst = clusters.iter().map(|cluster| cluster.state).max();
    let announcements = sources.announcements.iter().rev();
    PublicPage {
        slug: page.slug.clone(),
        title: page.settings.title.clone(),
        overall: worst.unwrap_or(PublicState::Unknown),
        clusters,
        incidents: incidents(page, sources, now),
        maintenance: maintenance(page, sources, now),
        announcements: announcements
            .filter(|announcement| announcement.is_shown_on(&page.slug, now))
            .map(|announcement| PublicAnnouncement {
                id: announcement.id.clone(),
                title: announcement.title.clone(),
                text: announcement.text.clone(),
                at: announcement.at,
            })
            .collect(),
        stale_since: sources.stale_since,
    }
}

fn cluster(
    listed: &PageCluster,
    id: String,
    show: NodeDetailSettings,
    sources: &PageSources<'_>,
    now: Timestamp,
) -> PublicCluster {
    let known = sources.clusters.get(&listed.cluster);
    let standing = known.map_or(AvailabilityState::Unknown, |k| {
        AvailabilityState::of(k.view.verdict.state)
    });
    let actual = PublicState::of(standing);
    let apart = known.and_then(|known| DataInconsistency::of(known.view.verdict.state));
    let mut all = sources.maintenance.iter();
    // No planned maintenance includes a split brain, so it is shown in spite of one.
    let maintained = apart != Some(DataInconsistency::SplitBrain)
        && all.any(|maintenance| maintenance.covers(&listed.cluster, now));
    let days = known.map_or(&[][..], |known| &known.days);
    PublicCluster {
        id,
        name: listed.name.clone(),
        state: if maintained {
            PublicState::Maintenance
        } else {
            actual
        },
        state_without_maintenance: actual,
        inconsistency: apart,
        since: known.map(|known| known.since),
        nodes: match known {
            Some(known) if show.any() => nodes(known.view, show),
            _ => Vec::new(),
        },
        days: days.iter().map(DayFigures::of).collect(),
        uptime: UptimeFigures::of(days),
    }
}

fn nodes(view: &ClusterView, show: NodeDetailSettings) -> Vec<PublicNode> {
    let public = |(place, node): (usize, &NodeView)| PublicNode {
        name: match &node.name {
            Some(name) if show.hosts => name.clone(),
            _ => format!("Node {}", place + 1),
        },
        address: show.addresses.then(|| node.id.to_string()),
        state: node.state,
        version: node.version.clone().filter(|_| show.versions),
        position: node
            .position
            .as_ref()
            .filter(|_| show.positions)
            .map(|position| position.seqno),
    };
    view.members().enumerate().map(public).collect()
}

/// A public name as part of a URL, unique among the clusters before it.
fn public_id(name: &str, before: &[PublicCluster]) -> String {
    let mut plain = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            plain.push(c.to_ascii_lowercase());
        } else if !plain.is_empty() && !plain.ends_with('-') {
            plain.push('-');
        }
    }
    let plain = match plain.trim_end_matches('-') {
        "" => "cluster",
        plain => plain,
    };
    let taken = |id: &str| before.iter().any(|cluster| cluster.id == id);
    let mut id = plain.to_owned();
    let mut number = 2;
    while taken(&id) {
        id = format!("{plain}-{number}");
        number += 1;
    }
    id
}

/// The public names of the `concerned` clusters that the page shows, in the page's order.
fn public_names(page: &StatusPageRecord, concerned: &[ClusterName]) -> Vec<String> {
    let listed = page.settings.clusters.iter();
    listed
        .filter(|listed| concerned.contains(&listed.cluster))
        .map(|listed| listed.name.clone())
        .collect()
}

fn incidents(
    page: &StatusPageRecord,
    sources: &PageSources<'_>,
    now: Timestamp,
) -> Vec<PublicIncident> {
    let days = i64::try_from(UPTIME_DAYS).unwrap_or(i64::MAX);
    let horizon = Timestamp::from_unix_millis(now.unix_millis() - days * DAY_MS);
    let concerns = |incident: &&&Incident| incident.clusters.iter().any(|c| page.shows_cluster(c));
    let newest = || sources.incidents.iter().rev().filter(concerns);
    let open = newest().filter(|incident| incident.is_open());
    let recent = |incident: &&&Incident| incident.resolved_at.is_some_and(|at| at > horizon);
    let past = newest().filter(recent).take(PAST_INCIDENTS_MAX);
    open.chain(past)
        .map(|incident| PublicIncident {
            id: incident.id.clone(),
            title: incident.title.clone(),
            clusters: public_names(page, &incident.clusters),
            state: incident.state,
            impact: incident.impact,
            opened_at: incident.opened_at,
            resolved_at: incident.resolved_at,
            updates: incident
                .updates
                .iter()
                .rev()
                .map(|update| PublicUpdate {
                    at: update.at,
                    state: update.state,
                    text: update.text.clone(),
                })
                .collect(),
        })
        .collect()
}

fn maintenance(
    page: &StatusPageRecord,
    sources: &PageSources<'_>,
    now: Timestamp,
) -> Vec<PublicMaintenance> {
    let mut shown: Vec<PublicMaintenance> = sources
        .maintenance
        .iter()
        .filter(|maintenance| maintenance.phase(now) != MaintenancePhase::Over)
        .filter(|maintenance| maintenance.clusters.iter().any(|c| page.shows_cluster(c)))
        .map(|maintenance| PublicMaintenance {
            id: maintenance.id.clone(),
            title: maintenance.title.clone(),
            text: maintenance.text.clone(),
            clusters: public_names(page, &maintenance.clusters),
            from: maintenance.from,
            until: maintenance.until,
            planned_at: maintenance.planned_at,
            current: maintenance.phase(now) == MaintenancePhase::Current,
        })
        .collect();
    shown.sort_by_key(|maintenance| maintenance.from);
    shown
}

#[cfg(test)]
mod tests;
