//! Incidents, maintenance and announcements, with the forms that manage them.

mod templates;

use galera::access::Operation;
use galera::publish::api::{Overview, SessionView};
use galera::publish::status_pages::{
    Announcement, AnnouncementList, Incident, IncidentImpact, IncidentList, IncidentState,
    IncidentUpdate, MaintenanceList, MaintenancePhase, MaintenanceView, StatusPageList,
};
use galera::{ClusterName, Timestamp};

use super::form_fields::{
    checkbox, fieldset, input_field, select_field, text_field as field, textarea_field,
};
use super::time_range::TimeRange;
use super::widgets::{button_form, post_form, primary_button, role_refusal};
use crate::format::{absolute, link, quiet, ticking_age};
use crate::links::cluster_href;
use crate::marks::{incident_mark, state_badge};
use crate::markup::{Content, El, el};
pub(super) use templates::{IncidentDraft, new_incident_href};
use templates::{reuse_link, template_links};

/// Number of resolved incidents listed.
const MAX_RESOLVED: usize = 20;

/// Options for an incident's state.
const STATE_OPTIONS: [(&str, &str); 4] = [
    ("investigating", "Investigating: the cause is unknown"),
    ("identified", "Identified: the cause is known"),
    ("monitoring", "Monitoring: a fix is in place"),
    ("resolved", "Resolved"),
];

/// Options for an incident's impact.
const IMPACT_OPTIONS: [(&str, &str); 5] = [
    ("", "As measured"),
    ("none", "None: readers notice nothing"),
    ("minor", "Minor: slow or partly unavailable"),
    ("major", "Major: unavailable for many"),
    ("critical", "Critical: unavailable for all"),
];

pub(super) struct IncidentsPage<'a> {
    pub(super) incidents: &'a IncidentList,
    pub(super) maintenance: &'a MaintenanceList,
    pub(super) announcements: &'a AnnouncementList,
    pub(super) pages: &'a StatusPageList,
    pub(super) overview: &'a Overview,
    /// What the form of a new incident begins with.
    pub(super) draft: &'a IncidentDraft,
    pub(super) session: &'a SessionView,
    pub(super) now: Timestamp,
}

impl IncidentsPage<'_> {
    pub(super) fn markup(&self) -> El {
        el("div")
            .class("page")
            .child(el("h1").child("Incidents"))
            .child(
                el("p")
                    .child("Updates are published as plain text on every ")
                    .child(link("/status-pages".to_owned(), "status page"))
                    .child(" that lists these databases. Authors are not shown."),
            )
            .child(self.open_section())
            .child(self.new_incident())
            .child(self.maintenance_section())
            .child(self.announcements_section())
            .child(self.resolved_section())
    }

    fn refusal(&self, operation: Operation) -> Option<String> {
        role_refusal(self.session, operation)
    }

    fn open_section(&self) -> El {
        let refusal = self.refusal(Operation::ManageIncidents);
        let open: Vec<El> = self
            .incidents
            .incidents
            .iter()
            .filter(|incident| incident.is_open())
            .map(|incident| {
                self.incident(incident)
                    .child(update_form(incident, refusal.as_deref()))
            })
            .collect();
        let section = el("section")
            .attr("id", "open")
            .child(el("h2").child("Open incidents"));
        if open.is_empty() {
            section.child(el("p").class("quiet").child("No open incidents."))
        } else {
            section.child(open)
        }
    }

    fn incident(&self, incident: &Incident) -> El {
        let updates: Vec<El> = incident
            .updates
            .iter()
            .rev()
            .map(|update| self.update(update))
            .collect();
        let automatic = incident.automatic.map(|seconds| {
            quiet(format!(
                ", opened automatically; resolves after {seconds} s without problems"
            ))
        });
        el("article")
            .class("entry-group")
            .attr("id", format!("incident-{}", incident.id))
            .child(
                el("h3")
                    .child(incident.title.clone())
                    .child(" ")
                    .child(state_badge(incident_mark(incident.state))),
            )
            .child(
                el("p")
                    .child(self.cluster_links(incident))
                    .child(
                        incident
                            .impact
                            .map(|impact| quiet([", ", &impact.label().to_lowercase()].concat())),
                    )
                    .child(automatic)
                    .child(". ")
                    .child(report_link(incident))
                    .child(
                        (!incident.is_open())
                            .then(|| el("span").child(" · ").child(reuse_link(incident))),
                    ),
            )
            .child(el("ol").class("steps").attr("reversed", "").child(updates))
    }

    /// Each cluster, with a link to how it was when the incident was opened.
    fn cluster_links(&self, incident: &Incident) -> Content {
        let elapsed = self.now.unix_millis() - incident.opened_at.unix_millis();
        let range = TimeRange::of_last(elapsed).name();
        let links = incident.clusters.iter().enumerate().map(|(index, name)| {
            let separator = if index == 0 { "" } else { ", " };
            let href = format!(
                "{}/timeline?range={range}&at={}",
                cluster_href(name),
                incident.opened_at
            );
            let link = link(href, name.display_name().into_owned())
                .attr("title", "As it was when the incident was opened");
            Content::Many(vec![separator.into(), link.into()])
        });
        Content::Many(links.collect())
    }

    fn update(&self, update: &IncidentUpdate) -> El {
        el("li")
            .child(el("b").child(incident_mark(update.state).label))
            .child(" ")
            .child(
                quiet(update.by.clone())
                    .child(", ")
                    .child(ticking_age(update.at, self.now)),
            )
            .child(el("p").class("lines").child(update.text.clone()))
    }

    fn new_incident(&self) -> El {
        let refusal = self.refusal(Operation::ManageIncidents);
        let form = post_form("/incidents".to_owned())
            .child(template_links(self.draft))
            .child(self.cluster_checkboxes(&self.draft.clusters))
            .child(field(
                "title".to_owned(),
                "title",
                "Title",
                self.draft.title.clone(),
            ))
            .child(select_field(
                "state".to_owned(),
                "state",
                "Status",
                &STATE_OPTIONS[..3],
                "investigating",
            ))
            .child(select_field(
                "impact".to_owned(),
                "impact",
                "Impact",
                &IMPACT_OPTIONS,
                self.draft.impact.map_or("", IncidentImpact::as_str),
            ))
            .child(textarea_field(
                "text".to_owned(),
                "text",
                "Message",
                self.draft.text.clone(),
                3,
            ))
            .child(primary_button(
                "Open incident".to_owned(),
                refusal.as_deref(),
            ));
        section("new", "New incident", form)
    }

    fn cluster_checkboxes(&self, chosen: &[ClusterName]) -> El {
        let ticks: Vec<El> = self
            .overview
            .clusters
            .iter()
            .map(|cluster| {
                checkbox(
                    "clusters",
                    cluster.name.to_string(),
                    cluster.name.display_name().into_owned(),
                    chosen.contains(&cluster.name),
                )
            })
            .collect();
        fieldset("Affected clusters", ticks)
    }

    fn maintenance_section(&self) -> El {
        let refusal = self.refusal(Operation::ManageMaintenance);
        let due = self.maintenance.maintenance.iter();
        let due: Vec<El> = due
            .filter(|maintenance| maintenance.phase != MaintenancePhase::Over)
            .map(|maintenance| self.maintenance(maintenance, refusal.as_deref()))
            .collect();
        let plan = post_form("/incidents/maintenance".to_owned())
            .child(self.cluster_checkboxes(&[]))
            .child(field("m-title".to_owned(), "title", "Title", ""))
            .child(input_field(
                "datetime-local",
                "m-from".to_owned(),
                "from",
                "From (UTC); blank = now",
                "",
            ))
            .child(input_field(
                "datetime-local",
                "m-until".to_owned(),
                "until",
                "Until (UTC)",
                "",
            ))
            .child(textarea_field(
                "m-text".to_owned(),
                "text",
                "Description",
                "",
                2,
            ))
            .child(primary_button(
                "Schedule maintenance".to_owned(),
                refusal.as_deref(),
            ));
        let heading = el("h2").child("Maintenance");
        let none = due.is_empty().then(|| {
            el("p")
                .class("quiet")
                .child("No maintenance scheduled. Alerts are muted during maintenance.")
        });
        el("section")
            .attr("id", "maintenance")
            .child(heading)
            .child(none)
            .child(due)
            .child(plan)
    }

    fn maintenance(&self, view: &MaintenanceView, refusal: Option<&str>) -> El {
        let maintenance = &view.maintenance;
        let (phase, label) = match view.phase {
            MaintenancePhase::Current => ("In progress", "End now"),
            _ => ("Scheduled", "Cancel"),
        };
        let times = format!(
            "{phase}: {} to {}",
            absolute(maintenance.from),
            absolute(maintenance.until)
        );
        el("article")
            .class("entry-group")
            .child(el("h3").child(maintenance.title.clone()))
            .child(
                el("p")
                    .child(cluster_names(&maintenance.clusters))
                    .child(quiet(format!(", by {}", maintenance.planned_by))),
            )
            .child(el("p").child(times))
            .child(el("p").class("lines").child(maintenance.text.clone()))
            .child(button_form(
                format!("/incidents/maintenance/{}/end", maintenance.id),
                label,
                refusal,
            ))
    }

    fn announcements_section(&self) -> El {
        let refusal = self.refusal(Operation::ManageAnnouncements);
        let current = self.announcements.announcements.iter();
        let current: Vec<El> = current
            .filter(|announcement| announcement.is_current(self.now))
            .map(|announcement| self.announcement(announcement, refusal.as_deref()))
            .collect();
        let announce = post_form("/incidents/announcements".to_owned())
            .child(field("a-title".to_owned(), "title", "Title", ""))
            .child(textarea_field(
                "a-text".to_owned(),
                "text",
                "Message",
                "",
                2,
            ))
            .child(self.page_checkboxes())
            .child(input_field(
                "datetime-local",
                "a-until".to_owned(),
                "until",
                "Until (UTC); blank = until withdrawn",
                "",
            ))
            .child(primary_button("Announce".to_owned(), refusal.as_deref()));
        el("section")
            .attr("id", "announcements")
            .child(el("h2").child("Announcements"))
            .child(current)
            .child(announce)
    }

    fn page_checkboxes(&self) -> El {
        let pages = self.pages.pages.iter();
        let ticks = pages.map(|page| {
            let (slug, title) = (page.slug.to_string(), page.settings.title.clone());
            checkbox("pages", slug, title, false)
        });
        fieldset(
            "Status pages; none ticked = all",
            ticks.collect::<Vec<El>>(),
        )
    }

    fn announcement(&self, announcement: &Announcement, refusal: Option<&str>) -> El {
        let pages: Vec<&str> = announcement
            .pages
            .iter()
            .map(|slug| slug.as_str())
            .collect();
        let place = if pages.is_empty() {
            "on all status pages".to_owned()
        } else {
            format!("on {}", pages.join(", "))
        };
        el("article")
            .class("entry-group")
            .child(el("h3").child(announcement.title.clone()))
            .child(
                el("p")
                    .child(quiet(format!("{}, {place}, ", announcement.by)))
                    .child(ticking_age(announcement.at, self.now)),
            )
            .child(el("p").class("lines").child(announcement.text.clone()))
            .child(button_form(
                format!("/incidents/announcements/{}/withdraw", announcement.id),
                "Withdraw",
                refusal,
            ))
    }

    fn resolved_section(&self) -> El {
        let past = self.incidents.incidents.iter();
        let past: Vec<El> = past
            .filter(|incident| incident.state == IncidentState::Resolved)
            .take(MAX_RESOLVED)
            .map(|incident| self.incident(incident))
            .collect();
        let content: Content = if past.is_empty() {
            el("p")
                .class("quiet")
                .child("No resolved incidents.")
                .into()
        } else {
            past.into()
        };
        el("section")
            .attr("id", "past")
            .child(el("h2").child("Resolved"))
            .child(content)
    }
}

fn report_link(incident: &Incident) -> El {
    let href = format!("/api/v1/status/incidents/{}/report", incident.id);
    link(href, "Download report")
        .attr("rel", "external")
        .attr("download", format!("incident-{}.html", incident.id))
}

fn update_form(incident: &Incident, refusal: Option<&str>) -> El {
    let id = |what: &str| format!("{what}-{}", incident.id);
    post_form(format!("/incidents/{}/updates", incident.id))
        .child(select_field(
            id("state"),
            "state",
            "Status",
            &STATE_OPTIONS,
            incident.state.as_str(),
        ))
        .child(impact_field(id("impact"), incident.impact))
        .child(textarea_field(id("text"), "text", "Update", "", 2))
        .child(primary_button("Post update".to_owned(), refusal))
}

/// Once an impact is given, it can only be replaced by another one.
fn impact_field(id: String, impact: Option<IncidentImpact>) -> El {
    let options = match impact {
        Some(_) => &IMPACT_OPTIONS[1..],
        None => &IMPACT_OPTIONS,
    };
    let chosen = impact.map_or("", IncidentImpact::as_str);
    select_field(id, "impact", "Impact", options, chosen)
}

fn section(id: &'static str, title: &'static str, content: El) -> El {
    el("section")
        .attr("id", id)
        .child(el("h2").child(title))
        .child(content)
}

fn cluster_names(clusters: &[ClusterName]) -> String {
    let names: Vec<_> = clusters.iter().map(ClusterName::display_name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
