//! What people tell on a status page: announcements, incidents, maintenance.

use galera::publish::status_pages::{
    IncidentState, Told, ToldAnnouncement, ToldIncident, ToldMaintenance, ToldUpdate,
};

use super::moment;
use crate::markup::{Child, El, el};
use crate::words::{incident_mark, state};

/// Announcements, newest first.
pub(super) fn announcements(told: &Told) -> Option<El> {
    let each: Vec<El> = told.announcements.iter().map(announcement).collect();
    section("Announcements", each)
}

/// Incidents that are not resolved.
pub(super) fn open(told: &Told) -> Option<El> {
    section("Current incidents", told.open().map(incident).collect())
}

/// What is being worked on, and what is planned.
pub(super) fn maintenance(told: &Told) -> Option<El> {
    section("Maintenance", told.maintenance.iter().map(work).collect())
}

/// Incidents that are over.
pub(super) fn past(told: &Told) -> El {
    let each: Vec<El> = told.past().map(incident).collect();
    let none = el("p")
        .class("quiet")
        .with("No incidents in the last 90 days.");
    section("Past incidents", each).unwrap_or_else(|| {
        el("section")
            .with(el("h2").with("Past incidents"))
            .with(none)
    })
}

fn section(title: &'static str, each: Vec<El>) -> Option<El> {
    (!each.is_empty()).then(|| el("section").with(el("h2").with(title)).with(each))
}

fn announcement(shown: &ToldAnnouncement) -> El {
    el("article")
        .with(el("h3").with(shown.title.clone()))
        .with(prose(&shown.text))
        .with(el("p").class("quiet").with(moment(shown.at)))
}

fn incident(shown: &ToldIncident) -> El {
    let updates: Vec<El> = shown.updates.iter().map(update).collect();
    let article = el("article")
        .at("id", format!("incident-{}", shown.id))
        .with(
            el("div")
                .class("line")
                .with(el("h3").with(shown.title.clone()))
                .with(state(incident_mark(shown.state))),
        )
        .with(concerned(&shown.clusters));
    let timeline = el("ol").class("timeline").with(updates);
    if shown.state != IncidentState::Resolved {
        return article.with(timeline);
    }
    // What is over takes little room until somebody wants to know.
    let span = el("summary")
        .with(moment(shown.opened_at))
        .with(" to ")
        .with(
            shown
                .resolved_at
                .map_or(Child::None, |at| moment(at).into()),
        );
    article.with(el("details").with(span).with(timeline))
}

fn update(shown: &ToldUpdate) -> El {
    el("li")
        .with(el("b").with(incident_mark(shown.state).word))
        .with(" ")
        .with(el("span").class("quiet").with(moment(shown.at)))
        .with(prose(&shown.text))
}

fn work(shown: &ToldMaintenance) -> El {
    let word = if shown.current {
        "Now, until "
    } else {
        "Planned from "
    };
    let times = el("p").class("quiet").with(word);
    let times = if shown.current {
        times.with(moment(shown.until))
    } else {
        times
            .with(moment(shown.from))
            .with(" to ")
            .with(moment(shown.until))
    };
    el("article")
        .with(el("h3").with(shown.title.clone()))
        .with(concerned(&shown.clusters))
        .with(times)
        .with(prose(&shown.text))
}

fn concerned(names: &[String]) -> El {
    el("p").class("quiet").with(names.join(", "))
}

/// Plain text; its lines stay lines.
fn prose(text: &str) -> El {
    el("p").class("prose").with(text.to_owned())
}
