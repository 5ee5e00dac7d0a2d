//! Status pages: what people who are no operators are told, and the rules for telling it.
//!
//! A [`StatusPageRecord`] shows some clusters under public names; [`Incident`]s, [`Maintenance`] and [`Announcement`]s are told on
//! every page that they concern. Texts are plain, bounded and never markup. [`compose`] makes of all this what a page
//! says; nothing that the page does not ask for gets through it.

mod announcement;
mod automatic;
mod incident;
mod maintenance;
mod page;
mod refusal;
mod shown;
mod slug;
mod told;

pub use announcement::{Announcement, NewAnnouncement};
pub use automatic::{AutoIncidentStep, HealthEpisode, next_incident_step};
pub use incident::{Incident, IncidentState, IncidentUpdate, NewIncident};
pub use maintenance::{Maintenance, MaintenancePhase, NewMaintenance};
pub use page::{
    AutoIncidentRule, EmbedOrigin, Link, NodeDetailSettings, PageCluster, PageSettings,
    PageVisibility, StatusPageRecord,
};
pub use refusal::StatusPageRefusal;
pub use shown::{
    AccessLinkView, AnnouncementList, CreatedAccessLink, IncidentList, MaintenanceList,
    MaintenanceView, StatusPageList, StatusPageView,
};
pub use slug::Slug;
pub use told::{
    DataInconsistency, DayFigures, PageClusterSource, PageSources, PublicAnnouncement,
    PublicCluster, PublicIncident, PublicMaintenance, PublicNode, PublicPage, PublicState,
    PublicUpdate, UptimeFigures, compose,
};

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
