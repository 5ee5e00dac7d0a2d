//! Status pages and their content as the API returns them: without the hashes of secrets.

use serde::{Deserialize, Serialize};

use super::{
    Announcement, Incident, Link, Maintenance, MaintenancePhase, PageSettings, Slug,
    StatusPageRecord,
};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;

/// A [`Link`] without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccessLinkView {
    pub id: String,
    /// What or whom it is for.
    pub label: String,
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// Whether it is neither expired nor revoked.
    pub valid: bool,
}

impl AccessLinkView {
    #[must_use]
    pub fn of(link: &Link, now: Timestamp) -> Self {
        Self {
            id: link.id.clone(),
            label: link.label.clone(),
            created_by: link.created_by.clone(),
            created_at: link.created_at,
            expires_at: link.expires_at,
            revoked_at: link.revoked_at,
            valid: link.is_valid(now),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusPageView {
    pub slug: Slug,
    #[serde(flatten)]
    pub settings: PageSettings,
    /// The clusters that its labels select now, after the listed ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selected: Vec<ClusterName>,
    /// Oldest first.
    pub links: Vec<AccessLinkView>,
    pub created_by: String,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// Must be sent back with a change; a stale revision is refused.
    pub revision: i64,
    /// Its absolute URL, without any secret.
    pub url: String,
}

impl StatusPageView {
    /// `expanded` is `page` with the clusters that its labels select, `console` the console's base URL.
    #[must_use]
    pub fn of(
        page: &StatusPageRecord,
        expanded: &StatusPageRecord,
        revision: i64,
        console: &str,
        now: Timestamp,
    ) -> Self {
        let selected = expanded.settings.clusters.iter();
        let selected = selected.skip(page.settings.clusters.len());
        Self {
            selected: selected.map(|listed| listed.cluster.clone()).collect(),
            slug: page.slug.clone(),
            settings: page.settings.clone(),
            links: page
                .links
                .iter()
                .map(|link| AccessLinkView::of(link, now))
                .collect(),
            created_by: page.created_by.clone(),
            created_at: page.created_at,
            changed_at: page.changed_at,
            revision,
            url: format!("{console}/status/{}", page.slug),
        }
    }
}

/// A new link; its secret is returned only here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedAccessLink {
    #[serde(flatten)]
    pub link: AccessLinkView,
    pub secret: String,
    /// Its absolute URL, with the secret.
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusPageList {
    /// Sorted by slug.
    pub pages: Vec<StatusPageView>,
}

/// Incidents, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IncidentList {
    pub incidents: Vec<Incident>,
}

/// A maintenance with its phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MaintenanceView {
    #[serde(flatten)]
    pub maintenance: Maintenance,
    pub phase: MaintenancePhase,
}

impl MaintenanceView {
    #[must_use]
    pub fn of(maintenance: Maintenance, now: Timestamp) -> Self {
        Self {
            phase: maintenance.phase(now),
            maintenance,
        }
    }
}

/// Maintenance, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MaintenanceList {
    pub maintenance: Vec<MaintenanceView>,
}

/// Announcements, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnnouncementList {
    pub announcements: Vec<Announcement>,
}
