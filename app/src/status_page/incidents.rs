//! Announcements, incidents and maintenance on a status page.

use galera::publish::status_pages::{
    IncidentState, PublicAnnouncement, PublicIncident, PublicMaintenance, PublicPage, PublicUpdate,
};

use super::absolute_time;
use crate::marks::{incident_mark, state_badge};
use crate::markup::{Content, El, el};

pub(super) fn announcements(page: &PublicPage) -> Option<El> {
    let each: Vec<El> = page.announcements.iter().map(announcement).collect();
    section("Announcements", each)
}

pub(super) fn open_incidents(page: &PublicPage) -> Option<El> {
    section(
        "Current incidents",
        page.open_incidents().map(incident).collect(),
    )
}

/// Current and scheduled maintenance.
pub(super) fn maintenance(page: &PublicPage) -> Option<El> {
    section(
        "Maintenance",
        page.maintenance.iter().map(maintenance_window).collect(),
    )
}

pub(super) fn past_incidents(page: &PublicPage) -> El {
    let each: Vec<El> = page.past_incidents().map(incident).collect();
    let none = el("p")
        .class("quiet")
        .child("No incidents in the last 90 days.");
    section("Past incidents", each).unwrap_or_else(|| {
        el("section")
            .child(el("h2").child("Past incidents"))
            .child(none)
    })
}

fn section(title: &'static str, each: Vec<El>) -> Option<El> {
    (!each.is_empty()).then(|| el("section").child(el("h2").child(title)).child(each))
}

fn announcement(shown: &PublicAnnouncement) -> El {
    el("article")
        .child(el("h3").child(shown.title.clone()))
        .child(paragraph(&shown.text))
        .child(el("p").class("quiet").child(absolute_time(shown.at)))
}

fn incident(shown: &PublicIncident) -> El {
    let updates: Vec<El> = shown.updates.iter().map(update).collect();
    let article = el("article")
        .attr("id", format!("incident-{}", shown.id))
        .child(
            el("div")
                .class("line")
                .child(el("h3").child(shown.title.clone()))
                .child(state_badge(incident_mark(shown.state))),
        )
        .child(affected_clusters(&shown.clusters))
        .child(impact(shown));
    let timeline = el("ol").class("timeline").child(updates);
    if shown.state != IncidentState::Resolved {
        return article.child(timeline);
    }
    // Resolved incidents are collapsed.
    let span = el("summary")
        .child(absolute_time(shown.opened_at))
        .child(" to ")
        .child(
            shown
                .resolved_at
                .map_or(Content::None, |at| absolute_time(at).into()),
        );
    article.child(el("details").child(span).child(timeline))
}

fn impact(shown: &PublicIncident) -> Option<El> {
    let impact = shown.impact?;
    Some(el("p").class("quiet").child(impact.label()))
}

fn update(shown: &PublicUpdate) -> El {
    el("li")
        .child(el("b").child(incident_mark(shown.state).label))
        .child(" ")
        .child(el("span").class("quiet").child(absolute_time(shown.at)))
        .child(paragraph(&shown.text))
}

fn maintenance_window(shown: &PublicMaintenance) -> El {
    let prefix = if shown.current {
        "In progress until "
    } else {
        "Scheduled from "
    };
    let times = el("p").class("quiet").child(prefix);
    let times = if shown.current {
        times.child(absolute_time(shown.until))
    } else {
        times
            .child(absolute_time(shown.from))
            .child(" to ")
            .child(absolute_time(shown.until))
    };
    el("article")
        .child(el("h3").child(shown.title.clone()))
        .child(affected_clusters(&shown.clusters))
        .child(times)
        .child(paragraph(&shown.text))
}

fn affected_clusters(names: &[String]) -> El {
    el("p").class("quiet").child(names.join(", "))
}

/// Plain text; CSS preserves its line breaks.
fn paragraph(text: &str) -> El {
    el("p").class("prose").child(text.to_owned())
}
