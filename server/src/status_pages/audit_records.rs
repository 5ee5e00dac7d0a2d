//! Audit records about status pages. Notifications follow the audit trail, so event names are a contract.

use std::collections::BTreeMap;

use galera::publish::status_pages::{
    Announcement, Incident, IncidentImpact, IncidentState, Link, Maintenance, StatusPageRecord,
};
use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::{ClusterName, Timestamp};

/// A record about `subject`.
fn new_record<const N: usize>(
    event: AuditEvent,
    subject: &str,
    clusters: &[ClusterName],
    by: &str,
    at: Timestamp,
    details: [(&str, String); N],
) -> AuditRecord {
    let names: Vec<&str> = clusters.iter().map(ClusterName::as_str).collect();
    let mut detail = BTreeMap::from(details.map(|(name, value)| (name.to_owned(), value)));
    if !names.is_empty() {
        detail.insert("clusters".to_owned(), names.join(","));
    }
    AuditRecord {
        at,
        actor: by.to_owned(),
        event,
        // A record is about one cluster at most; the detail lists all of them.
        cluster: match clusters {
            [one] => Some(one.clone()),
            _ => None,
        },
        subject: Some(subject.to_owned()),
        detail,
    }
}

/// A record about the settings of a page.
pub(super) fn page(
    event: AuditEvent,
    page: &StatusPageRecord,
    by: &str,
    at: Timestamp,
) -> AuditRecord {
    let settings = &page.settings;
    let clusters: Vec<ClusterName> = settings
        .clusters
        .iter()
        .map(|l| l.cluster.clone())
        .collect();
    let labels: Vec<String> = settings.labels.iter().map(ToString::to_string).collect();
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
            ("labels", labels.join(" ")),
        ],
    )
}

/// A record about a secret link, without the secret.
pub(super) fn link(
    event: AuditEvent,
    page: &StatusPageRecord,
    link: &Link,
    by: &str,
    at: Timestamp,
) -> AuditRecord {
    let expires = link
        .expires_at
        .map_or_else(|| "never".to_owned(), |at| at.to_string());
    let details = [
        ("link", link.id.clone()),
        ("label", link.label.clone()),
        ("expires", expires),
    ];
    new_record(event, page.slug.as_str(), &[], by, at, details)
}

/// A record about the newest update of an incident, which opens, updates or resolves it.
pub(super) fn incident(incident: &Incident) -> Option<AuditRecord> {
    let update = incident.updates.last()?;
    let event = match (incident.updates.len(), update.state) {
        (1, _) => AuditEvent::INCIDENT_OPENED,
        (_, IncidentState::Resolved) => AuditEvent::INCIDENT_RESOLVED,
        _ => AuditEvent::INCIDENT_UPDATED,
    };
    let automatic = if incident.automatic.is_some() {
        "true"
    } else {
        "false"
    };
    let impact = incident.impact.map_or("measured", IncidentImpact::as_str);
    Some(new_record(
        event,
        &incident.id,
        &incident.clusters,
        &update.by,
        update.at,
        [
            (detail::TITLE, incident.title.clone()),
            ("state", update.state.as_str().to_owned()),
            ("impact", impact.to_owned()),
            (detail::TEXT, update.text.clone()),
            ("automatic", automatic.to_owned()),
        ],
    ))
}

/// A record about maintenance.
pub(super) fn maintenance(
    event: AuditEvent,
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

/// A record about an announcement.
pub(super) fn announcement(
    event: AuditEvent,
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
