//! Public status pages: what they show, and the rules for changing them.
//!
//! A [`StatusPageRecord`] lists clusters under public names. [`Incident`]s, [`Maintenance`] and [`Announcement`]s are
//! shown on every page that they concern. Texts are plain and bounded, never markup. [`compose`] turns them and the
//! [`PageSources`] into a [`PublicPage`], which contains only what the page is configured to show.

mod admin_views;
mod announcement;
mod auto_incidents;
mod incident;
mod maintenance;
mod page;
mod public;
mod refusal;
mod slug;

pub use admin_views::{
    AccessLinkView, AnnouncementList, CreatedAccessLink, IncidentList, MaintenanceList,
    MaintenanceView, StatusPageList, StatusPageView,
};
pub use announcement::{Announcement, NewAnnouncement};
pub use auto_incidents::{AutoIncidentStep, HealthEpisode, next_incident_step};
pub use incident::{Incident, IncidentImpact, IncidentState, IncidentUpdate, NewIncident};
pub use maintenance::{Maintenance, MaintenancePhase, NewMaintenance};
pub use page::{
    AutoIncidentRule, EmbedOrigin, LabelledCluster, Link, NodeDetailSettings, PageCluster,
    PageSettings, PageVisibility, StatusPageRecord,
};
pub use public::{
    DataInconsistency, DayFigures, PageClusterSource, PageSources, PublicAnnouncement,
    PublicCluster, PublicIncident, PublicMaintenance, PublicNode, PublicPage, PublicState,
    PublicUpdate, UptimeFigures, compose,
};
pub use refusal::StatusPageRefusal;
pub use slug::Slug;

/// Longest title, in characters.
pub const TITLE_MAX: usize = 120;
/// Longest text, in characters.
pub const TEXT_MAX: usize = 4_000;
/// Maximum number of clusters per page, incident or maintenance.
pub const CLUSTERS_MAX: usize = 100;
/// Maximum number of updates per incident.
pub const UPDATES_MAX: usize = 100;
/// Maximum number of links kept per page, including revoked ones.
pub const LINKS_MAX: usize = 50;
/// Number of days of uptime that a page shows.
pub const UPTIME_DAYS: usize = 90;
