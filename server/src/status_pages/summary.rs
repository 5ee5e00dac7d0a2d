//! `render_summary.json`, in the shape of Statuspage's `/api/v2/render_summary.json`, so that what reads that reads this.
//!
//! One word is ours: a component, and the page, can be `unknown`. Any of Statuspage's words would claim something.

use galera::Timestamp;
use galera::publish::status_pages::{
    PublicCluster, PublicIncident, PublicMaintenance, PublicPage, PublicState,
};
use serde_json::{Value, json};

/// The document; `url` is the page's address.
pub(super) fn render_summary(told: &PublicPage, url: &str, created_at: Timestamp) -> String {
    let page_id = told.slug.as_str();
    let components: Vec<Value> = told
        .clusters
        .iter()
        .enumerate()
        .map(|(place, cluster)| component(cluster, place, page_id, created_at))
        .collect();
    let incidents: Vec<Value> = told
        .open_incidents()
        .map(|i| incident(told, i, url))
        .collect();
    let maintenance: Vec<Value> = told
        .maintenance
        .iter()
        .map(|m| maintenance(told, m, url))
        .collect();
    let document = json!({
        "page": {
            "id": page_id,
            "name": told.title,
            "url": url,
            "time_zone": "Etc/UTC",
            "updated_at": told.changed_at().unwrap_or(created_at),
        },
        "components": components,
        "incidents": incidents,
        "scheduled_maintenances": maintenance,
        "status": { "indicator": indicator(told), "description": told.summary() },
    });
    document.to_string()
}

/// How bad it is for the page as a whole.
fn indicator(told: &PublicPage) -> &'static str {
    match told.overall {
        PublicState::Operational => "none",
        PublicState::Maintenance => "maintenance",
        PublicState::Unknown => "unknown",
        PublicState::Degraded => "minor",
        PublicState::Outage => {
            let all = told.clusters.iter().all(|c| c.state == PublicState::Outage);
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

fn component(cluster: &PublicCluster, place: usize, page: &str, created_at: Timestamp) -> Value {
    let percent = |hundredths: Option<u32>| hundredths.map(|value| f64::from(value) / 100.0);
    json!({
        "id": cluster.id,
        "name": cluster.name,
        "status": component_status(cluster.state),
        "created_at": created_at,
        "updated_at": cluster.since.unwrap_or(created_at),
        "position": place + 1,
        "description": null,
        "showcase": true,
        "start_date": null,
        "group_id": null,
        "page_id": page,
        "group": false,
        "only_show_if_degraded": false,
        // Not in Statuspage's document.
        "uptime_percent": {
            "days_7": percent(cluster.uptime.week),
            "days_30": percent(cluster.uptime.month),
            "days_90": percent(cluster.uptime.quarter),
        },
    })
}

/// The components that are meant by their public names.
fn affected(told: &PublicPage, names: &[String]) -> Vec<Value> {
    let concerned = told.clusters.iter().filter(|c| names.contains(&c.name));
    concerned
        .map(|c| json!({ "id": c.id, "name": c.name, "status": component_status(c.state) }))
        .collect()
}

/// What an incident does to the worst of its components.
fn impact(told: &PublicPage, names: &[String]) -> &'static str {
    let concerned = told.clusters.iter().filter(|c| names.contains(&c.name));
    match concerned
        .map(|cluster| cluster.state_without_maintenance)
        .max()
    {
        Some(PublicState::Outage) => "major",
        Some(PublicState::Degraded) => "minor",
        _ => "none",
    }
}

fn incident(told: &PublicPage, incident: &PublicIncident, url: &str) -> Value {
    let newest = incident
        .updates
        .first()
        .map_or(incident.opened_at, |u| u.at);
    let count = incident.updates.len();
    let updates: Vec<Value> = incident
        .updates
        .iter()
        .enumerate()
        .map(|(place, update)| {
            json!({
                "id": format!("{}-{}", incident.id, count - place),
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
        "impact": impact(told, &incident.clusters),
        "created_at": incident.opened_at,
        "started_at": incident.opened_at,
        "updated_at": newest,
        "monitoring_at": null,
        "resolved_at": incident.resolved_at,
        "shortlink": format!("{url}#incident-{}", incident.id),
        "page_id": told.slug.as_str(),
        "components": affected(told, &incident.clusters),
        "incident_updates": updates,
    })
}

fn maintenance(told: &PublicPage, maintenance: &PublicMaintenance, url: &str) -> Value {
    let word = if maintenance.current {
        "in_progress"
    } else {
        "scheduled"
    };
    json!({
        "id": maintenance.id,
        "name": maintenance.title,
        "status": word,
        "impact": "maintenance",
        "created_at": maintenance.planned_at,
        "started_at": maintenance.from,
        "updated_at": maintenance.planned_at,
        "scheduled_for": maintenance.from,
        "scheduled_until": maintenance.until,
        "monitoring_at": null,
        "resolved_at": null,
        "shortlink": url,
        "page_id": told.slug.as_str(),
        "components": affected(told, &maintenance.clusters),
        "incident_updates": [{
            "id": format!("{}-1", maintenance.id),
            "incident_id": maintenance.id,
            "status": word,
            "body": maintenance.text,
            "created_at": maintenance.planned_at,
            "updated_at": maintenance.planned_at,
            "display_at": maintenance.planned_at,
        }],
    })
}
