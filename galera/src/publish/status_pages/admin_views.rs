//! Pages and what they tell as the interface for people gives them: without the hashes of secrets.

use serde::{Deserialize, Serialize};

use super::{
    Announcement, Incident, Link, Maintenance, MaintenancePhase, PageSettings, Slug,
    StatusPageRecord,
};
use crate::timestamp::Timestamp;

/// A link without its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLinkView {
    /// Names the link, so that it can be revoked.
    pub id: String,
    /// Whom it is for.
    pub label: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When somebody ended it.
    pub revoked_at: Option<Timestamp>,
    /// Whether it leads anywhere.
    pub valid: bool,
}

impl AccessLinkView {
    /// `link` as of `now`.
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

/// A page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPageView {
    /// Its name in the address.
    pub slug: Slug,
    /// What was decided about it.
    #[serde(flatten)]
    pub settings: PageSettings,
    /// Its links, oldest first.
    pub links: Vec<AccessLinkView>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub changed_at: Timestamp,
    /// What a change rests on.
    pub revision: i64,
    /// Its whole address, without any secret.
    pub url: String,
}

impl StatusPageView {
    /// `page` as of `now`; `console` is the console's own address.
    #[must_use]
    pub fn of(page: &StatusPageRecord, revision: i64, console: &str, now: Timestamp) -> Self {
        Self {
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

/// A new link; its secret is given once, here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedAccessLink {
    /// The link.
    #[serde(flatten)]
    pub link: AccessLinkView,
    /// The secret.
    pub secret: String,
    /// The whole address.
    pub url: String,
}

/// Every page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusPageList {
    /// By their slugs.
    pub pages: Vec<StatusPageView>,
}

/// Incidents, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentList {
    /// The incidents.
    pub incidents: Vec<Incident>,
}

/// A maintenance and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaintenanceView {
    /// The maintenance.
    #[serde(flatten)]
    pub maintenance: Maintenance,
    /// Where it stands.
    pub phase: MaintenancePhase,
}

impl MaintenanceView {
    /// `maintenance` as of `now`.
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
pub struct MaintenanceList {
    /// The maintenance.
    pub maintenance: Vec<MaintenanceView>,
}

/// Announcements, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnouncementList {
    /// The announcements.
    pub announcements: Vec<Announcement>,
}
