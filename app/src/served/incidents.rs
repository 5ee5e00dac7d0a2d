//! Incidents, maintenance and announcements: what is told now, and the forms to tell more.

use galera::Timestamp;
use galera::access::Operation;
use galera::publish::api::{Overview, SessionView};
use galera::publish::status_pages::{
    Announcement, AnnouncementList, Incident, IncidentList, IncidentState, MaintenanceList,
    MaintenancePhase, MaintenanceView, Update,
};

use super::fields::{choice, group, line as field, prose, tick, typed};
use super::parts::{form, main_button, press, role_refusal};
use crate::format::{absolute, link, quiet, ticking};
use crate::markup::{Child, El, el};
use crate::words::{incident_mark, state};

/// Resolved incidents that are listed.
const PAST_MAX: usize = 20;

/// The steps of an incident, as a person chooses among them.
const STATES: [(&str, &str); 4] = [
    ("investigating", "Investigating: nobody knows the cause yet"),
    ("identified", "Identified: the cause is known"),
    ("monitoring", "Monitoring: it seems to be over"),
    ("resolved", "Resolved: it is over"),
];

/// What the page is made of.
pub(super) struct Page<'a> {
    pub(super) incidents: &'a IncidentList,
    pub(super) maintenance: &'a MaintenanceList,
    pub(super) announcements: &'a AnnouncementList,
    pub(super) overview: &'a Overview,
    pub(super) session: &'a SessionView,
    pub(super) now: Timestamp,
}

impl Page<'_> {
    pub(super) fn markup(&self) -> El {
        el("div")
            .class("page")
            .with(el("h1").with("Incidents"))
            .with(
                el("p")
                    .with("What is written here is told on every ")
                    .with(link("/status-pages".to_owned(), "status page"))
                    .with(" that shows the databases concerned. It is plain text; who wrote it is not told."),
            )
            .with(self.open())
            .with(self.new_incident())
            .with(self.work())
            .with(self.news())
            .with(self.past())
    }

    fn refusal(&self, operation: Operation) -> Option<String> {
        role_refusal(self.session, operation)
    }

    fn open(&self) -> El {
        let refusal = self.refusal(Operation::ManageIncidents);
        let open: Vec<El> = self
            .incidents
            .incidents
            .iter()
            .filter(|incident| incident.is_open())
            .map(|incident| {
                self.incident(incident)
                    .with(update_form(incident, refusal.as_deref()))
            })
            .collect();
        let section = el("section").at("id", "open").with(el("h2").with("Open"));
        if open.is_empty() {
            section.with(el("p").class("quiet").with("No incident is open."))
        } else {
            section.with(open)
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
                ", opened by the console; resolved by it when all is well for {seconds} s"
            ))
        });
        el("article")
            .class("told")
            .at("id", format!("incident-{}", incident.id))
            .with(
                el("h3")
                    .with(incident.title.clone())
                    .with(" ")
                    .with(state(incident_mark(incident.state))),
            )
            .with(el("p").with(named(&incident.clusters)).with(automatic))
            .with(el("ol").class("steps").at("reversed", "").with(updates))
    }

    fn update(&self, update: &Update) -> El {
        el("li")
            .with(el("b").with(incident_mark(update.state).word))
            .with(" ")
            .with(
                quiet(update.by.clone())
                    .with(", ")
                    .with(ticking(update.at, self.now)),
            )
            .with(el("p").class("lines").with(update.text.clone()))
    }

    fn new_incident(&self) -> El {
        let refusal = self.refusal(Operation::ManageIncidents);
        let form = form("/incidents".to_owned())
            .with(self.clusters())
            .with(field("title".to_owned(), "title", "Title", ""))
            .with(choice(
                "state".to_owned(),
                "state",
                "How far it is",
                &STATES[..3],
                "investigating",
            ))
            .with(prose(
                "text".to_owned(),
                "text",
                "What readers should know",
                "",
                3,
            ))
            .with(main_button(
                "Open the incident".to_owned(),
                refusal.as_deref(),
            ));
        section("new", "Another incident", form)
    }

    /// Which clusters something concerns.
    fn clusters(&self) -> El {
        let ticks: Vec<El> = self
            .overview
            .clusters
            .iter()
            .map(|cluster| {
                tick(
                    "clusters",
                    cluster.name.to_string(),
                    cluster.name.to_string(),
                    false,
                )
            })
            .collect();
        group("Clusters concerned", ticks)
    }

    fn work(&self) -> El {
        let refusal = self.refusal(Operation::PlanMaintenance);
        let due = self.maintenance.maintenance.iter();
        let due: Vec<El> = due
            .filter(|maintenance| maintenance.phase != MaintenancePhase::Over)
            .map(|maintenance| self.maintenance(maintenance, refusal.as_deref()))
            .collect();
        let plan = form("/incidents/maintenance".to_owned())
            .with(self.clusters())
            .with(field("m-title".to_owned(), "title", "Title", ""))
            .with(typed(
                "datetime-local",
                "m-from".to_owned(),
                "from",
                "From (UTC); now when left empty",
                "",
            ))
            .with(typed(
                "datetime-local",
                "m-until".to_owned(),
                "until",
                "Until (UTC)",
                "",
            ))
            .with(prose("m-text".to_owned(), "text", "What happens", "", 2))
            .with(main_button(
                "Plan maintenance".to_owned(),
                refusal.as_deref(),
            ));
        let heading = el("h2").with("Maintenance");
        let none = due
            .is_empty()
            .then(|| el("p").class("quiet").with("None goes on and none is planned. While it lasts, alarms about its clusters stay quiet."));
        el("section")
            .at("id", "maintenance")
            .with(heading)
            .with(none)
            .with(due)
            .with(plan)
    }

    fn maintenance(&self, view: &MaintenanceView, refusal: Option<&str>) -> El {
        let maintenance = &view.maintenance;
        let (word, label) = match view.phase {
            MaintenancePhase::Current => ("Now", "End it now"),
            _ => ("Planned", "Call it off"),
        };
        let times = format!(
            "{word}: {} to {}",
            absolute(maintenance.from),
            absolute(maintenance.until)
        );
        el("article")
            .class("told")
            .with(el("h3").with(maintenance.title.clone()))
            .with(
                el("p")
                    .with(named(&maintenance.clusters))
                    .with(quiet(format!(", by {}", maintenance.planned_by))),
            )
            .with(el("p").with(times))
            .with(el("p").class("lines").with(maintenance.text.clone()))
            .with(press(
                format!("/incidents/maintenance/{}/end", maintenance.id),
                label,
                refusal,
            ))
    }

    fn news(&self) -> El {
        let refusal = self.refusal(Operation::Announce);
        let current = self.announcements.announcements.iter();
        let current: Vec<El> = current
            .filter(|announcement| announcement.is_current(self.now))
            .map(|announcement| self.announcement(announcement, refusal.as_deref()))
            .collect();
        let announce = form("/incidents/announcements".to_owned())
            .with(field("a-title".to_owned(), "title", "Title", ""))
            .with(prose(
                "a-text".to_owned(),
                "text",
                "What readers should know",
                "",
                2,
            ))
            .with(field(
                "a-pages".to_owned(),
                "pages",
                "On the pages with these slugs, separated by commas; on every page when left empty",
                "",
            ))
            .with(typed(
                "datetime-local",
                "a-until".to_owned(),
                "until",
                "Until (UTC); until withdrawn when left empty",
                "",
            ))
            .with(main_button("Announce".to_owned(), refusal.as_deref()));
        el("section")
            .at("id", "announcements")
            .with(el("h2").with("Announcements"))
            .with(current)
            .with(announce)
    }

    fn announcement(&self, announcement: &Announcement, refusal: Option<&str>) -> El {
        let pages: Vec<&str> = announcement
            .pages
            .iter()
            .map(|slug| slug.as_str())
            .collect();
        let place = if pages.is_empty() {
            "on every page".to_owned()
        } else {
            format!("on {}", pages.join(", "))
        };
        el("article")
            .class("told")
            .with(el("h3").with(announcement.title.clone()))
            .with(
                el("p")
                    .with(quiet(format!("{}, {place}, ", announcement.by)))
                    .with(ticking(announcement.at, self.now)),
            )
            .with(el("p").class("lines").with(announcement.text.clone()))
            .with(press(
                format!("/incidents/announcements/{}/withdraw", announcement.id),
                "Withdraw",
                refusal,
            ))
    }

    fn past(&self) -> El {
        let past = self.incidents.incidents.iter();
        let past: Vec<El> = past
            .filter(|incident| incident.state == IncidentState::Resolved)
            .take(PAST_MAX)
            .map(|incident| self.incident(incident))
            .collect();
        let content: Child = if past.is_empty() {
            el("p").class("quiet").with("None yet.").into()
        } else {
            past.into()
        };
        el("section")
            .at("id", "past")
            .with(el("h2").with("Resolved"))
            .with(content)
    }
}

fn update_form(incident: &Incident, refusal: Option<&str>) -> El {
    let id = |what: &str| format!("{what}-{}", incident.id);
    form(format!("/incidents/{}/updates", incident.id))
        .with(choice(
            id("state"),
            "state",
            "How far it is",
            &STATES,
            incident.state.word(),
        ))
        .with(prose(id("text"), "text", "What is new", "", 2))
        .with(main_button("Tell it".to_owned(), refusal))
}

fn section(id: &'static str, title: &'static str, content: El) -> El {
    el("section")
        .at("id", id)
        .with(el("h2").with(title))
        .with(content)
}

fn named(clusters: &[galera::ClusterName]) -> String {
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.as_str()).collect();
    names.join(", ")
}
