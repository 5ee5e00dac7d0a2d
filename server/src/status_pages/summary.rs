//! `summary.json`, in the format of Statuspage's `/api/v2/summary.json`, so that its clients work unchanged.
//!
//! One value is an extension: a component and the page can be `unknown`. Each of Statuspage's values would be a claim.

use galera::Timestamp;
use galera::publish::status_pages::{
    IncidentImpact, IncidentState, PublicCluster, PublicIncident, PublicMaintenance, PublicPage,
    PublicState,
};
use serde_json::{Value, json};

/// Renders the document; `url` is the page's URL.
pub(super) fn render_summary(content: &PublicPage, url: &str, created_at: Timestamp) -> String {
    let page_id = content.slug.as_str();
    let components: Vec<Value> = content
        .clusters
        .iter()
        .enumerate()
        .map(|(index, cluster)| component(cluster, index, page_id, created_at))
        .collect();
    let incidents: Vec<Value> = content
        .open_incidents()
        .map(|i| incident(content, i, url))
        .collect();
    let maintenance: Vec<Value> = content
        .maintenance
        .iter()
        .map(|m| maintenance(content, m, url))
        .collect();
    let document = json!({
        "page": {
            "id": page_id,
            "name": content.title,
            "url": url,
            "time_zone": "Etc/UTC",
            "updated_at": content.changed_at().unwrap_or(created_at),
        },
        "components": components,
        "incidents": incidents,
        "scheduled_maintenances": maintenance,
        "status": { "indicator": indicator(content), "description": content.summary() },
    });
    document.to_string()
}

/// Severity for the page as a whole: of the worst open incident if that is worse than what is measured.
fn indicator(content: &PublicPage) -> &'static str {
    if let Some(impact) = content
        .worst_reported()
        .and_then(|incident| incident.impact)
    {
        return impact.as_str();
    }
    match content.overall {
        PublicState::Operational => "none",
        PublicState::Maintenance => "maintenance",
        PublicState::Unknown => "unknown",
        PublicState::Degraded => "minor",
        PublicState::Outage => {
            let all = content
                .clusters
                .iter()
                .all(|c| c.state == PublicState::Outage);
            if all { "critical" } else { "major" }
        }
    }
}

fn component_status(state: PublicState) -> &'static str {
    match state {
        PublicState::Operational => "operational",
        PublicState::Maintenance => "under_maintenance",
        PublicState::Unknown => "unknown",
        PublicState::Degraded => "degraded_performance",
        PublicState::Outage => "major_outage",
    }
}

fn component(cluster: &PublicCluster, index: usize, page: &str, created_at: Timestamp) -> Value {
    let percent = |hundredths: Option<u32>| hundredths.map(|value| f64::from(value) / 100.0);
    json!({
        "id": cluster.id,
        "name": cluster.name,
        "status": component_status(cluster.state),
        "created_at": created_at,
        "updated_at": cluster.since.unwrap_or(created_at),
        "position": index + 1,
        "description": null,
        "showcase": true,
        "start_date": null,
        "group_id": null,
        "page_id": page,
        "group": false,
        "only_show_if_degraded": false,
        // An extension of Statuspage's format.
        "uptime_percent": {
            "days_7": percent(cluster.uptime.week),
            "days_30": percent(cluster.uptime.month),
            "days_90": percent(cluster.uptime.quarter),
        },
    })
}

/// The components with these public names.
fn affected(content: &PublicPage, names: &[String]) -> Vec<Value> {
    let affected_clusters = content.clusters.iter().filter(|c| names.contains(&c.name));
    affected_clusters
        .map(|c| json!({ "id": c.id, "name": c.name, "status": component_status(c.state) }))
        .collect()
}

/// The measured impact of an incident: that on its worst component.
fn measured_impact(content: &PublicPage, names: &[String]) -> &'static str {
    let affected_clusters = content.clusters.iter().filter(|c| names.contains(&c.name));
    match affected_clusters
        .map(|cluster| cluster.state_without_maintenance)
        .max()
    {
        Some(PublicState::Outage) => "major",
        Some(PublicState::Degraded) => "minor",
        _ => "none",
    }
}

fn incident(content: &PublicPage, incident: &PublicIncident, url: &str) -> Value {
    let newest = incident
        .updates
        .first()
        .map_or(incident.opened_at, |u| u.at);
    let monitoring_at = incident
        .updates
        .iter()
        .rfind(|update| update.state == IncidentState::Monitoring)
        .map(|update| update.at);
    let count = incident.updates.len();
    let updates: Vec<Value> = incident
        .updates
        .iter()
        .enumerate()
        .map(|(index, update)| {
            json!({
                "id": format!("{}-{}", incident.id, count - index),
                "incident_id": incident.id,
                "status": update.state.as_str(),
                "body": update.text,
                "created_at": update.at,
                "updated_at": update.at,
                "display_at": update.at,
            })
        })
        .collect();
    json!({
        "id": incident.id,
        "name": incident.title,
        "status": incident.state.as_str(),
        "impact": incident.impact.map_or_else(
            || measured_impact(content, &incident.clusters),
            IncidentImpact::as_str,
        ),
        "created_at": incident.opened_at,
        "started_at": incident.opened_at,
        "updated_at": newest,
        "monitoring_at": monitoring_at,
        "resolved_at": incident.resolved_at,
        "shortlink": format!("{url}#incident-{}", incident.id),
        "page_id": content.slug.as_str(),
        "components": affected(content, &incident.clusters),
        "incident_updates": updates,
    })
}

fn maintenance(content: &PublicPage, maintenance: &PublicMaintenance, url: &str) -> Value {
    let status = if maintenance.current {
        "in_progress"
    } else {
        "scheduled"
    };
    json!({
        "id": maintenance.id,
        "name": maintenance.title,
        "status": status,
        "impact": "maintenance",
        "created_at": maintenance.planned_at,
        "started_at": maintenance.from,
        "updated_at": maintenance.planned_at,
        "scheduled_for": maintenance.from,
        "scheduled_until": maintenance.until,
        "monitoring_at": null,
        "resolved_at": null,
        "shortlink": url,
        "page_id": content.slug.as_str(),
        "components": affected(content, &maintenance.clusters),
        "incident_updates": [{
            "id": format!("{}-1", maintenance.id),
            "incident_id": maintenance.id,
            "status": status,
            "body": maintenance.text,
            "created_at": maintenance.planned_at,
            "updated_at": maintenance.planned_at,
            "display_at": maintenance.planned_at,
        }],
    })
}
