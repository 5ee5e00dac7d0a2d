//! What a page says: composed of everything that is known, with nothing that the page does not ask for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Announcement, Incident, IncidentState, Maintenance, MaintenancePhase, NodeDetailSettings,
    PageCluster, Slug, StatusPageRecord, UPTIME_DAYS,
};
use crate::id::ClusterName;
use crate::record::uptime::{
    AvailabilityState, AvailabilityTotals, DAY_MS, Date, UptimeDay, total_of_last,
};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView, VerdictState};

/// Resolved incidents that a page tells of, the newest.
const PAST_INCIDENTS_MAX: usize = 25;

/// A state as people read it who know nothing of clusters, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicState {
    /// It works.
    Operational,
    /// It is being worked on, as planned.
    Maintenance,
    /// The console does not know: not a word about the cluster.
    Unknown,
    /// It works, with less than it should have.
    Degraded,
    /// It does not work, or must not be relied on.
    Outage,
}

impl PublicState {
    /// The word for people.
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

    const fn of(standing: AvailabilityState) -> Self {
        match standing {
            AvailabilityState::Ok => Self::Operational,
            AvailabilityState::Degraded => Self::Degraded,
            AvailabilityState::Down => Self::Outage,
            AvailabilityState::Unknown => Self::Unknown,
        }
    }
}

/// How a cluster that answers must not be relied on: its parts went ways of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataInconsistency {
    /// Parts take writes that the others never see.
    SplitBrain,
    /// Parts hold data of different origin.
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

/// One day in round numbers; a day of which nothing was counted has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DayFigures {
    /// Which day.
    pub date: Date,
    /// Hundredths of a percent that it was up, of the time that is known; never rounded up.
    pub up: Option<u32>,
    /// Seconds that it was down.
    pub down: u64,
    /// Seconds that it was degraded.
    pub degraded: u64,
    /// Seconds that nobody knows of.
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

    /// What the day was at its worst; `None` when nothing was counted.
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

/// Hundredths of a percent, rounded down: an outage of a second must not look like none.
fn hundredths(spent: &AvailabilityTotals) -> Option<u32> {
    let known = u128::from(spent.known());
    let up = u128::from(spent.ok + spent.degraded);
    (known > 0).then(|| u32::try_from(up * 10_000 / known).unwrap_or(10_000))
}

/// Milliseconds in seconds, in steps that grow: what lasts must not be news every second.
const fn rounded_seconds(millis: u64) -> u64 {
    match millis {
        0 => 0,
        1..10_000 => millis.div_ceil(1_000),
        10_000..60_000 => millis / 10_000 * 10,
        _ => millis / 60_000 * 60,
    }
}

/// Uptime in hundredths of a percent; `None` where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UptimeFigures {
    /// Of 7 days, today included.
    pub week: Option<u32>,
    /// Of 30 days.
    pub month: Option<u32>,
    /// Of 90 days.
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

/// A node, where the page shows nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicNode {
    /// Its name, or its place when names are not shown.
    pub name: String,
    /// Its address, when addresses are shown.
    pub address: Option<String>,
    /// Its state.
    pub state: NodeState,
    /// Its server's version, when versions are shown.
    pub version: Option<String>,
    /// Its last committed sequence number, when positions are shown.
    pub position: Option<u64>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicCluster {
    /// Names it in addresses; made of its public name.
    pub id: String,
    /// Its public name.
    pub name: String,
    /// What it is.
    pub state: PublicState,
    /// What it is apart from the maintenance that goes on.
    pub state_without_maintenance: PublicState,
    /// What an outage is that answers.
    pub inconsistency: Option<DataInconsistency>,
    /// Since when; `None` for a cluster that the console does not know (any more).
    pub since: Option<Timestamp>,
    /// Its nodes, where the page shows them.
    pub nodes: Vec<PublicNode>,
    /// The last days, oldest first.
    pub days: Vec<DayFigures>,
    /// Its uptime.
    pub uptime: UptimeFigures,
}

/// One entry of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicUpdate {
    /// When.
    pub at: Timestamp,
    /// How far the incident was.
    pub state: IncidentState,
    /// What was said.
    pub text: String,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicIncident {
    /// Names it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// The public names of the clusters that it concerns, as far as the page shows them.
    pub clusters: Vec<String>,
    /// How far it is.
    pub state: IncidentState,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// Its timeline, newest first.
    pub updates: Vec<PublicUpdate>,
}

/// A maintenance that is planned or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicMaintenance {
    /// Names it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What happens.
    pub text: String,
    /// The public names of the clusters that it concerns, as far as the page shows them.
    pub clusters: Vec<String>,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// When it was planned.
    pub planned_at: Timestamp,
    /// Whether it has begun.
    pub current: bool,
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicAnnouncement {
    /// Names it.
    pub id: String,
    /// What it is called.
    pub title: String,
    /// What is announced.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// Everything that a page says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicPage {
    /// The page's name in its address.
    pub slug: Slug,
    /// What it is called.
    pub title: String,
    /// The worst state of its clusters.
    pub overall: PublicState,
    /// Its clusters.
    pub clusters: Vec<PublicCluster>,
    /// Open incidents, then resolved ones, each newest first.
    pub incidents: Vec<PublicIncident>,
    /// What goes on, then what is planned, in the order in which it begins.
    pub maintenance: Vec<PublicMaintenance>,
    /// Newest first.
    pub announcements: Vec<PublicAnnouncement>,
    /// Since when the console cannot read what people write here.
    pub stale_since: Option<Timestamp>,
}

impl PublicPage {
    /// Incidents that are not resolved.
    pub fn open_incidents(&self) -> impl Iterator<Item = &PublicIncident> {
        self.incidents.iter().filter(|i| i.resolved_at.is_none())
    }

    /// Incidents that are.
    pub fn past_incidents(&self) -> impl Iterator<Item = &PublicIncident> {
        self.incidents.iter().filter(|i| i.resolved_at.is_some())
    }

    /// When something of it last changed; `None` while nothing is known.
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
        let told = updates
            .map(|update| update.at)
            .chain(announced)
            .chain(planned);
        states.chain(told).max()
    }

    /// The present state in one sentence.
    #[must_use]
    pub fn summary(&self) -> String {
        let all = self.clusters.len();
        let count = |state| self.clusters.iter().filter(|c| c.state == state).count();
        let (number, predicate) = match self.overall {
            PublicState::Operational if all == 1 => return "The database works".to_owned(),
            PublicState::Operational => return "All databases work".to_owned(),
            PublicState::Outage => (count(PublicState::Outage), self.outage_phrase()),
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

    /// What those are that are worst: a database that answers is not called unavailable.
    fn outage_phrase(&self) -> &'static str {
        let mut worst = self
            .clusters
            .iter()
            .filter(|c| c.state == PublicState::Outage);
        if worst.all(|cluster| cluster.inconsistency.is_some()) {
            "not to be relied on"
        } else {
            "not available"
        }
    }
}

/// What is known of a cluster.
#[derive(Clone, Debug)]
pub struct PageClusterSource<'a> {
    /// Its newest view.
    pub view: &'a ClusterView,
    /// Since when its verdict holds.
    pub since: Timestamp,
    /// Its last [`UPTIME_DAYS`] days, oldest first.
    pub days: Vec<UptimeDay>,
}

/// Everything that pages are composed of.
#[derive(Clone, Debug, Default)]
pub struct PageSources<'a> {
    /// What is known of each cluster.
    pub clusters: BTreeMap<ClusterName, PageClusterSource<'a>>,
    /// Every incident, oldest first.
    pub incidents: Vec<&'a Incident>,
    /// Every maintenance.
    pub maintenance: Vec<&'a Maintenance>,
    /// Every announcement, oldest first.
    pub announcements: Vec<&'a Announcement>,
    /// Since when etcd cannot be read.
    pub stale_since: Option<Timestamp>,
}

/// What `page` says at `now`.
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
    // No work is planned to split a database, so no maintenance covers that up.
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
            Some(known) if show.any() => nodes(&known.view.nodes, show),
            _ => Vec::new(),
        },
        days: days.iter().map(DayFigures::of).collect(),
        uptime: UptimeFigures::of(days),
    }
}

fn nodes(nodes: &[NodeView], show: NodeDetailSettings) -> Vec<PublicNode> {
    let told = |(place, node): (usize, &NodeView)| PublicNode {
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
    nodes.iter().enumerate().map(told).collect()
}

/// A public name as a part of an address, unlike those of the clusters before it.
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

/// The public names of those of `concerned` that the page shows, in the page's order.
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
    let mut told: Vec<PublicMaintenance> = sources
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
    told.sort_by_key(|maintenance| maintenance.from);
    told
}

#[cfg(test)]
mod tests;
