//! Status pages: what people who are no operators are told, and the rules for telling it.
//!
//! A [`StatusPageRecord`] shows some clusters under public names; [`Incident`]s, [`Maintenance`] and [`Announcement`]s are told on
//! every page that they concern. Texts are plain, bounded and never markup. [`compose`] makes of all this what a page
//! says; nothing that the page does not ask for gets through it.

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
pub use incident::{Incident, IncidentState, IncidentUpdate, NewIncident};
pub use maintenance::{Maintenance, MaintenancePhase, NewMaintenance};
pub use page::{
    AutoIncidentRule, EmbedOrigin, Link, NodeDetailSettings, PageCluster, PageSettings,
    PageVisibility, StatusPageRecord,
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
/// Most clusters of one page, incident or maintenance.
pub const CLUSTERS_MAX: usize = 100;
/// Most updates of one incident.
pub const UPDATES_MAX: usize = 100;
/// Most links of one page that are kept, revoked ones included.
pub const LINKS_MAX: usize = 50;
/// Days that a page looks back.
pub const UPTIME_DAYS: usize = 90;
