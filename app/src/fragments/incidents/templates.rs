//! What the form of a new incident begins with: a template, an earlier incident, or a cluster.

use galera::ClusterName;
use galera::publish::status_pages::{Incident, IncidentImpact};
use galera::view::VerdictState;

use crate::data::encode_segment;
use crate::format::link;
use crate::fragments::api_client::PageQuery;
use crate::markup::{Content, El, el};

/// A situation that occurs in many places, in the words that readers of a status page need.
struct IncidentTemplate {
    /// In the parameter `template`.
    name: &'static str,
    /// What the link says.
    label: &'static str,
    title: &'static str,
    impact: IncidentImpact,
    text: &'static str,
}

const TEMPLATES: [IncidentTemplate; 4] = [
    IncidentTemplate {
        name: "unavailable",
        label: "Unavailable",
        title: "Database unavailable",
        impact: IncidentImpact::Critical,
        text: "The database accepts neither reads nor writes. We are restoring service. Next update: in 30 minutes at the latest.",
    },
    IncidentTemplate {
        name: "slow",
        label: "Slow",
        title: "Slow responses",
        impact: IncidentImpact::Minor,
        text: "Requests to the database take longer than usual, and some may time out. We are looking for the cause. Next update: in 30 minutes at the latest.",
    },
    IncidentTemplate {
        name: "data",
        label: "Data under review",
        title: "Data may be inconsistent",
        impact: IncidentImpact::Major,
        text: "Parts of the database may differ from each other or lack recent changes. Do not rely on them until this incident is resolved. We are comparing them. Next update: in 60 minutes at the latest.",
    },
    IncidentTemplate {
        name: "reduced",
        label: "Reduced redundancy",
        title: "Reduced redundancy",
        impact: IncidentImpact::None,
        text: "A part of the database has failed and is being replaced. Reads and writes work as usual; a further failure could interrupt them.",
    },
];

/// What the fields of the form contain at first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::fragments) struct IncidentDraft {
    pub(super) title: String,
    pub(super) text: String,
    pub(super) impact: Option<IncidentImpact>,
    pub(super) clusters: Vec<ClusterName>,
}

impl IncidentDraft {
    /// From the parameters `template` (its name), `like` (the id of one of `incidents`) and `cluster`.
    pub(in crate::fragments) fn from_query(query: &PageQuery, incidents: &[Incident]) -> Self {
        let like = query.get("like").unwrap_or_default();
        let like = incidents.iter().find(|incident| incident.id == like);
        let name = query.get("template").unwrap_or_default();
        let template = TEMPLATES.iter().find(|template| template.name == name);
        let mut draft = match (like, template) {
            (Some(incident), _) => Self {
                title: incident.title.clone(),
                text: incident
                    .updates
                    .first()
                    .map_or_else(String::new, |update| update.text.clone()),
                impact: incident.impact,
                clusters: incident.clusters.clone(),
            },
            (None, Some(template)) => Self {
                title: template.title.to_owned(),
                text: template.text.to_owned(),
                impact: Some(template.impact),
                clusters: Vec::new(),
            },
            (None, None) => Self::default(),
        };
        let cluster = query.get("cluster").and_then(|name| name.parse().ok());
        draft.clusters.extend(cluster);
        draft
    }
}

/// The form of a new incident about `cluster`, whose verdict is `state`.
pub(in crate::fragments) fn new_incident_href(
    cluster: &ClusterName,
    state: VerdictState,
) -> String {
    let template = match state {
        VerdictState::Down | VerdictState::NoPrimary => "&template=unavailable",
        VerdictState::Diverged | VerdictState::SplitBrain => "&template=data",
        VerdictState::Degraded => "&template=reduced",
        VerdictState::Healthy | VerdictState::Unknown => "",
    };
    format!("/incidents?cluster={cluster}{template}#new")
}

/// Links to the templates; the cluster that was chosen stays.
pub(super) fn template_links(draft: &IncidentDraft) -> El {
    let cluster = match draft.clusters.as_slice() {
        [cluster] => format!("&cluster={}", encode_segment(cluster.as_str())),
        _ => String::new(),
    };
    let links = TEMPLATES.iter().enumerate().map(|(index, template)| {
        let separator = if index == 0 { "Templates: " } else { ", " };
        let href = format!("?template={}{cluster}#new", template.name);
        Content::Many(vec![separator.into(), link(href, template.label).into()])
    });
    el("p")
        .child(Content::Many(links.collect()))
        .child(". A resolved incident can be used as one, too.")
}

/// Begins a new incident with what `incident` began with.
pub(super) fn reuse_link(incident: &Incident) -> El {
    link(
        format!("?like={}#new", encode_segment(&incident.id)),
        "Use as template",
    )
}
