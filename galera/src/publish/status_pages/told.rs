//! What a page says: composed of everything that is known, with nothing that the page does not ask for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Announcement, DAYS, Incident, IncidentState, Listed, Maintenance, MaintenancePhase, Page, Show,
    Slug,
};
use crate::id::ClusterName;
use crate::record::uptime::{DAY, Date, Day, Spent, Standing, over};
use crate::timestamp::Timestamp;
use crate::view::{ClusterView, NodeState, NodeView, VerdictState};

/// Resolved incidents that a page tells of, the newest.
const PAST_MAX: usize = 25;

/// A state as people read it who know nothing of clusters, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToldState {
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

impl ToldState {
    /// The word for people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operational => "Operational",
            Self::Maintenance => "Maintenance",
            Self::Unknown => "Unknown",
            Self::Degraded => "Degraded",
            Self::Outage => "Outage",
        }
    }

    const fn of(standing: Standing) -> Self {
        match standing {
            Standing::Ok => Self::Operational,
            Standing::Degraded => Self::Degraded,
            Standing::Down => Self::Outage,
            Standing::Unknown => Self::Unknown,
        }
    }
}

/// How a cluster that answers must not be relied on: its parts went ways of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Apart {
    /// Parts take writes that the others never see.
    Writing,
    /// Parts hold data of different origin.
    Holding,
}

impl Apart {
    const fn of(verdict: VerdictState) -> Option<Self> {
        match verdict {
            VerdictState::SplitBrain => Some(Self::Writing),
            VerdictState::Diverged => Some(Self::Holding),
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
    fn of(day: &Day) -> Self {
        Self {
            date: day.date,
            up: hundredths(&day.spent),
            down: round(day.spent.down),
            degraded: round(day.spent.degraded),
            unknown: round(day.spent.unknown),
        }
    }

    /// What the day was at its worst; `None` when nothing was counted.
    #[must_use]
    pub const fn worst(&self) -> Option<ToldState> {
        match self {
            Self { down: 1.., .. } => Some(ToldState::Outage),
            Self { degraded: 1.., .. } => Some(ToldState::Degraded),
            Self { up: Some(_), .. } => Some(ToldState::Operational),
            Self { unknown: 1.., .. } => Some(ToldState::Unknown),
            _ => None,
        }
    }
}

/// Hundredths of a percent, rounded down: an outage of a second must not look like none.
fn hundredths(spent: &Spent) -> Option<u32> {
    let known = u128::from(spent.known());
    let up = u128::from(spent.ok + spent.degraded);
    (known > 0).then(|| u32::try_from(up * 10_000 / known).unwrap_or(10_000))
}

/// Milliseconds in seconds, in steps that grow: what lasts must not be news every second.
const fn round(millis: u64) -> u64 {
    match millis {
        0 => 0,
        1..10_000 => millis.div_ceil(1_000),
        10_000..60_000 => millis / 10_000 * 10,
        _ => millis / 60_000 * 60,
    }
}

/// Uptime in hundredths of a percent; `None` where nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uptime {
    /// Of 7 days, today included.
    pub week: Option<u32>,
    /// Of 30 days.
    pub month: Option<u32>,
    /// Of 90 days.
    pub quarter: Option<u32>,
}

impl Uptime {
    fn of(days: &[Day]) -> Self {
        let figure = |count| hundredths(&over(days, count));
        Self {
            week: figure(7),
            month: figure(30),
            quarter: figure(DAYS),
        }
    }
}

/// A node, where the page shows nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToldNode {
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
pub struct ToldCluster {
    /// Names it in addresses; made of its public name.
    pub id: String,
    /// Its public name.
    pub name: String,
    /// What it is.
    pub state: ToldState,
    /// What it is apart from the maintenance that goes on.
    pub actual: ToldState,
    /// What an outage is that answers.
    pub apart: Option<Apart>,
    /// Since when; `None` for a cluster that the console does not know (any more).
    pub since: Option<Timestamp>,
    /// Its nodes, where the page shows them.
    pub nodes: Vec<ToldNode>,
    /// The last days, oldest first.
    pub days: Vec<DayFigures>,
    /// Its uptime.
    pub uptime: Uptime,
}

/// One entry of a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToldUpdate {
    /// When.
    pub at: Timestamp,
    /// How far the incident was.
    pub state: IncidentState,
    /// What was said.
    pub text: String,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToldIncident {
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
    pub updates: Vec<ToldUpdate>,
}

/// A maintenance that is planned or goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ToldMaintenance {
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
pub struct ToldAnnouncement {
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
pub struct Told {
    /// The page's name in its address.
    pub slug: Slug,
    /// What it is called.
    pub title: String,
    /// The worst state of its clusters.
    pub overall: ToldState,
    /// Its clusters.
    pub clusters: Vec<ToldCluster>,
    /// Open incidents, then resolved ones, each newest first.
    pub incidents: Vec<ToldIncident>,
    /// What goes on, then what is planned, in the order in which it begins.
    pub maintenance: Vec<ToldMaintenance>,
    /// Newest first.
    pub announcements: Vec<ToldAnnouncement>,
    /// Since when the console cannot read what people write here.
    pub unread_since: Option<Timestamp>,
}

impl Told {
    /// Incidents that are not resolved.
    pub fn open(&self) -> impl Iterator<Item = &ToldIncident> {
        self.incidents.iter().filter(|i| i.resolved_at.is_none())
    }

    /// Incidents that are.
    pub fn past(&self) -> impl Iterator<Item = &ToldIncident> {
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
    pub fn sentence(&self) -> String {
        let all = self.clusters.len();
        let count = |state| self.clusters.iter().filter(|c| c.state == state).count();
        let (number, predicate) = match self.overall {
            ToldState::Operational if all == 1 => return "The database works".to_owned(),
            ToldState::Operational => return "All databases work".to_owned(),
            ToldState::Outage => (count(ToldState::Outage), self.outage()),
            ToldState::Degraded => (count(ToldState::Degraded), "degraded, but working"),
            ToldState::Unknown => (count(ToldState::Unknown), "in an unknown state"),
            ToldState::Maintenance => (count(ToldState::Maintenance), "under maintenance"),
        };
        match (number, all) {
            (_, 1) => format!("The database is {predicate}"),
            (1, _) => format!("1 of {all} databases is {predicate}"),
            _ if number == all => format!("All databases are {predicate}"),
            _ => format!("{number} of {all} databases are {predicate}"),
        }
    }

    /// What those are that are worst: a database that answers is not called unavailable.
    fn outage(&self) -> &'static str {
        let mut worst = self
            .clusters
            .iter()
            .filter(|c| c.state == ToldState::Outage);
        if worst.all(|cluster| cluster.apart.is_some()) {
            "not to be relied on"
        } else {
            "not available"
        }
    }
}

/// What is known of a cluster.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// Its newest view.
    pub view: &'a ClusterView,
    /// Since when its verdict holds.
    pub since: Timestamp,
    /// Its last [`DAYS`] days, oldest first.
    pub days: Vec<Day>,
}

/// Everything that pages are composed of.
#[derive(Clone, Debug, Default)]
pub struct Sources<'a> {
    /// What is known of each cluster.
    pub clusters: BTreeMap<ClusterName, Known<'a>>,
    /// Every incident, oldest first.
    pub incidents: Vec<&'a Incident>,
    /// Every maintenance.
    pub maintenance: Vec<&'a Maintenance>,
    /// Every announcement, oldest first.
    pub announcements: Vec<&'a Announcement>,
    /// Since when etcd cannot be read.
    pub unread_since: Option<Timestamp>,
}

/// What `page` says at `now`.
#[must_use]
pub fn compose(page: &Page, sources: &Sources<'_>, now: Timestamp) -> Told {
    let mut clusters: Vec<ToldCluster> = Vec::new();
    for listed in &page.settings.clusters {
        let id = identity(&listed.name, &clusters);
        clusters.push(cluster(listed, id, page.settings.show, sources, now));
    }
    let worst = clusters.iter().map(|cluster| cluster.state).max();
    let announcements = sources.announcements.iter().rev();
    Told {
        slug: page.slug.clone(),
        title: page.settings.title.clone(),
        overall: worst.unwrap_or(ToldState::Unknown),
        clusters,
        incidents: incidents(page, sources, now),
        maintenance: maintenance(page, sources, now),
        announcements: announcements
            .filter(|announcement| announcement.is_told(&page.slug, now))
            .map(|announcement| ToldAnnouncement {
                id: announcement.id.clone(),
                title: announcement.title.clone(),
                text: announcement.text.clone(),
                at: announcement.at,
            })
            .collect(),
        unread_since: sources.unread_since,
    }
}

fn cluster(
    listed: &Listed,
    id: String,
    show: Show,
    sources: &Sources<'_>,
    now: Timestamp,
) -> ToldCluster {
    let known = sources.clusters.get(&listed.cluster);
    let standing = known.map_or(Standing::Unknown, |k| Standing::of(k.view.verdict.state));
    let actual = ToldState::of(standing);
    let apart = known.and_then(|known| Apart::of(known.view.verdict.state));
    let mut all = sources.maintenance.iter();
    // No work is planned to split a database, so no maintenance covers that up.
    let maintained = apart != Some(Apart::Writing)
        && all.any(|maintenance| maintenance.covers(&listed.cluster, now));
    let days = known.map_or(&[][..], |known| &known.days);
    ToldCluster {
        id,
        name: listed.name.clone(),
        state: if maintained {
            ToldState::Maintenance
        } else {
            actual
        },
        actual,
        apart,
        since: known.map(|known| known.since),
        nodes: match known {
            Some(known) if show.nodes() => nodes(&known.view.nodes, show),
            _ => Vec::new(),
        },
        days: days.iter().map(DayFigures::of).collect(),
        uptime: Uptime::of(days),
    }
}

fn nodes(nodes: &[NodeView], show: Show) -> Vec<ToldNode> {
    let told = |(place, node): (usize, &NodeView)| ToldNode {
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
fn identity(name: &str, before: &[ToldCluster]) -> String {
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
fn public_names(page: &Page, concerned: &[ClusterName]) -> Vec<String> {
    let listed = page.settings.clusters.iter();
    listed
        .filter(|listed| concerned.contains(&listed.cluster))
        .map(|listed| listed.name.clone())
        .collect()
}

fn incidents(page: &Page, sources: &Sources<'_>, now: Timestamp) -> Vec<ToldIncident> {
    let days = i64::try_from(DAYS).unwrap_or(i64::MAX);
    let horizon = Timestamp::from_unix_millis(now.unix_millis() - days * DAY);
    let concerns = |incident: &&&Incident| incident.clusters.iter().any(|c| page.lists(c));
    let newest = || sources.incidents.iter().rev().filter(concerns);
    let open = newest().filter(|incident| incident.is_open());
    let recent = |incident: &&&Incident| incident.resolved_at.is_some_and(|at| at > horizon);
    let past = newest().filter(recent).take(PAST_MAX);
    open.chain(past)
        .map(|incident| ToldIncident {
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
                .map(|update| ToldUpdate {
                    at: update.at,
                    state: update.state,
                    text: update.text.clone(),
                })
                .collect(),
        })
        .collect()
}

fn maintenance(page: &Page, sources: &Sources<'_>, now: Timestamp) -> Vec<ToldMaintenance> {
    let mut told: Vec<ToldMaintenance> = sources
        .maintenance
        .iter()
        .filter(|maintenance| maintenance.phase(now) != MaintenancePhase::Over)
        .filter(|maintenance| maintenance.clusters.iter().any(|c| page.lists(c)))
        .map(|maintenance| ToldMaintenance {
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
