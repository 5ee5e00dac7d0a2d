//! Audit records about status pages. Notifications follow the audit trail, so event names are a contract.

use std::collections::BTreeMap;

use galera::publish::status_pages::{
    Announcement, Incident, IncidentState, Link, Maintenance, StatusPageRecord,
};
use galera::record::audit::AuditRecord;
use galera::{ClusterName, Timestamp};

/// A record about `subject`.
fn new_record<const N: usize>(
    event: &str,
    subject: &str,
    clusters: &[ClusterName],
    by: &str,
    at: Timestamp,
    detail: [(&str, String); N],
) -> AuditRecord {
    let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
    let mut detail = BTreeMap::from(detail.map(|(name, value)| (name.to_owned(), value)));
    if !names.is_empty() {
        detail.insert("clusters".to_owned(), names.join(","));
    }
    AuditRecord {
        at,
        actor: by.to_owned(),
        event: event.to_owned(),
        // A record is about one cluster at most; the detail lists all of them.
        cluster: match clusters {
            [one] => Some(one.clone()),
            _ => None,
        },
        subject: Some(subject.to_owned()),
        detail,
    }
}

/// `page_created`, `page_changed` or `page_deleted`.
pub(super) fn page(event: &str, page: &StatusPageRecord, by: &str, at: Timestamp) -> AuditRecord {
    let settings = &page.settings;
    let clusters: Vec<ClusterName> = settings
        .clusters
        .iter()
        .map(|l| l.cluster.clone())
        .collect();
    let shown = serde_json::to_string(&settings.show).unwrap_or_default();
    let embed: Vec<&str> = settings
        .embed
        .iter()
        .map(|origin| origin.as_str())
        .collect();
    let automatic = settings.automatic.map_or_else(
        || "off".to_owned(),
        |rule| {
            let what = if rule.degraded {
                "degraded or down"
            } else {
                "down"
            };
            format!("{what} for {} s", rule.after_secs)
        },
    );
    new_record(
        event,
        page.slug.as_str(),
        &clusters,
        by,
        at,
        [
            ("title", settings.title.clone()),
            ("visibility", settings.visibility.as_str().to_owned()),
            ("show", shown),
            ("embed", embed.join(" ")),
            ("automatic", automatic),
        ],
    )
}

/// `link_created` or `link_revoked`. The secret is in neither.
pub(super) fn link(
    event: &str,
    page: &StatusPageRecord,
    link: &Link,
    by: &str,
    at: Timestamp,
) -> AuditRecord {
    let expires = link
        .expires_at
        .map_or_else(|| "never".to_owned(), |at| at.to_string());
    let detail = [
        ("link", link.id.clone()),
        ("label", link.label.clone()),
        ("expires", expires),
    ];
    new_record(event, page.slug.as_str(), &[], by, at, detail)
}

/// `incident_opened`, `incident_updated` or `incident_resolved`, depending on the newest update.
pub(super) fn incident(incident: &Incident) -> Option<AuditRecord> {
    let update = incident.updates.last()?;
    let event = match (incident.updates.len(), update.state) {
        (1, _) => "incident_opened",
        (_, IncidentState::Resolved) => "incident_resolved",
        _ => "incident_updated",
    };
    let automatic = if incident.automatic.is_some() {
        "true"
    } else {
        "false"
    };
    Some(new_record(
        event,
        &incident.id,
        &incident.clusters,
        &update.by,
        update.at,
        [
            ("title", incident.title.clone()),
            ("state", update.state.as_str().to_owned()),
            ("text", update.text.clone()),
            ("automatic", automatic.to_owned()),
        ],
    ))
}

/// `maintenance_planned` or `maintenance_ended`.
pub(super) fn maintenance(
    event: &str,
    maintenance: &Maintenance,
    by: &str,
    at: Timestamp,
) -> AuditRecord {
    new_record(
        event,
        &maintenance.id,
        &maintenance.clusters,
        by,
        at,
        [
            ("title", maintenance.title.clone()),
            ("text", maintenance.text.clone()),
            ("from", maintenance.from.to_string()),
            ("until", maintenance.ends_at().to_string()),
        ],
    )
}

/// `announcement_made` or `announcement_withdrawn`.
pub(super) fn announcement(
    event: &str,
    announcement: &Announcement,
    by: &str,
    at: Timestamp,
) -> AuditRecord {
    let pages: Vec<&str> = announcement
        .pages
        .iter()
        .map(|slug| slug.as_str())
        .collect();
    let until = announcement
        .until
        .map_or_else(|| "withdrawn".to_owned(), |at| at.to_string());
    new_record(
        event,
        &announcement.id,
        &[],
        by,
        at,
        [
            ("title", announcement.title.clone()),
            ("text", announcement.text.clone()),
            ("pages", pages.join(",")),
            ("until", until),
        ],
    )
}
