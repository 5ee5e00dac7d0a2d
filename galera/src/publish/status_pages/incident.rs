//! Incidents with a timeline of updates, until they are resolved.

use serde::{Deserialize, Serialize};

use super::refusal::{validate_clusters, validate_line, validate_text};
use super::{StatusPageRefusal, TEXT_MAX, TITLE_MAX, UPDATES_MAX};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;

/// The state of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum IncidentState {
    /// The cause is not known yet.
    Investigating,
    /// The cause is known.
    Identified,
    /// A fix is in place and is being monitored.
    Monitoring,
    Resolved,
}

impl IncidentState {
    /// In their usual order.
    pub const ALL: [Self; 4] = [
        Self::Investigating,
        Self::Identified,
        Self::Monitoring,
        Self::Resolved,
    ];

    /// The state as in JSON, forms and the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Investigating => "investigating",
            Self::Identified => "identified",
            Self::Monitoring => "monitoring",
            Self::Resolved => "resolved",
        }
    }
}

/// How much readers are affected, as a person says. Ordered from least to worst; the words are those of Statuspage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum IncidentImpact {
    /// Nothing that readers notice.
    None,
    /// Slow or partly unavailable.
    Minor,
    /// Unavailable for many.
    Major,
    /// Unavailable for all.
    Critical,
}

impl IncidentImpact {
    pub const ALL: [Self; 4] = [Self::None, Self::Minor, Self::Major, Self::Critical];

    /// The impact as in JSON, forms and the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    /// The impact as shown.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "No impact",
            Self::Minor => "Minor impact",
            Self::Major => "Major impact",
            Self::Critical => "Critical impact",
        }
    }
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IncidentUpdate {
    pub at: Timestamp,
    /// An account or a replica of the console. Never shown on a status page.
    pub by: String,
    pub state: IncidentState,
    /// Plain text.
    pub text: String,
}

/// A request to open an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    pub clusters: Vec<ClusterName>,
    pub title: String,
    pub text: String,
    #[serde(default = "investigating")]
    pub state: IncidentState,
    /// Without one, the impact is what is measured.
    #[serde(default)]
    pub impact: Option<IncidentImpact>,
}

fn investigating() -> IncidentState {
    IncidentState::Investigating
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Incident {
    /// Unique; sorts by time.
    pub id: String,
    pub title: String,
    pub clusters: Vec<ClusterName>,
    pub state: IncidentState,
    /// Set by an operator; without it, the measured state applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact: Option<IncidentImpact>,
    pub opened_at: Timestamp,
    #[serde(default)]
    pub resolved_at: Option<Timestamp>,
    /// Set for an automatic incident: how many seconds the cluster must be healthy before it is resolved.
    #[serde(default)]
    pub automatic: Option<u32>,
    /// Oldest first; never empty.
    pub updates: Vec<IncidentUpdate>,
}

impl Incident {
    /// Opens an incident.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that `new` breaks.
    pub fn open(
        new: &NewIncident,
        id: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        validate_clusters(&new.clusters)?;
        let update = IncidentUpdate {
            at,
            by: by.to_owned(),
            state: new.state,
            text: validate_text("text", &new.text, TEXT_MAX)?,
        };
        Ok(Self {
            id: id.to_owned(),
            title: validate_line("title", &new.title, TITLE_MAX)?,
            clusters: new.clusters.clone(),
            state: new.state,
            impact: new.impact,
            opened_at: at,
            resolved_at: (new.state == IncidentState::Resolved).then_some(at),
            automatic: None,
            updates: vec![update],
        })
    }

    /// The incident with another update, which may resolve it.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] if it is already resolved, or for the first rule that the text breaks.
    pub fn with_update(
        &self,
        state: IncidentState,
        text: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        if !self.is_open() {
            return Err(StatusPageRefusal::IncidentResolved);
        }
        // The last place is reserved for the update that resolves it.
        let room = UPDATES_MAX - usize::from(state != IncidentState::Resolved);
        if self.updates.len() >= room {
            return Err(StatusPageRefusal::TooMany {
                what: "updates per incident",
                limit: UPDATES_MAX,
            });
        }
        let mut next = self.clone();
        next.updates.push(IncidentUpdate {
            at,
            by: by.to_owned(),
            state,
            text: validate_text("text", text, TEXT_MAX)?,
        });
        next.state = state;
        next.resolved_at = (state == IncidentState::Resolved).then_some(at);
        Ok(next)
    }

    /// The incident with another impact, if one is given.
    #[must_use]
    pub fn with_impact(self, impact: Option<IncidentImpact>) -> Self {
        Self {
            impact: impact.or(self.impact),
            ..self
        }
    }

    /// Whether it is not resolved.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state != IncidentState::Resolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    fn incident() -> Incident {
        let new = NewIncident {
            clusters: vec!["lab".parse().unwrap()],
            title: "Slow <b>writes</b>".to_owned(),
            text: "We look into it.".to_owned(),
            state: IncidentState::Investigating,
            impact: None,
        };
        Incident::open(&new, "1-1", "olga", AT).unwrap()
    }

    #[test]
    fn an_incident_ends_once() {
        let later = AT.plus(std::time::Duration::from_secs(60));
        let done = incident()
            .with_update(IncidentState::Resolved, "Fixed.", "olga", later)
            .unwrap();
        assert_eq!((done.is_open(), done.resolved_at), (false, Some(later)));
        assert_eq!(
            done.with_update(IncidentState::Monitoring, "again", "olga", later),
            Err(StatusPageRefusal::IncidentResolved)
        );
    }

    #[test]
    fn an_update_keeps_the_impact_unless_it_names_one() {
        let incident = incident().with_impact(Some(IncidentImpact::Major));
        let next = incident
            .with_update(IncidentState::Identified, "Found.", "olga", AT)
            .unwrap();
        assert_eq!(next.impact, Some(IncidentImpact::Major));
        let next = next
            .with_impact(None)
            .with_impact(Some(IncidentImpact::Minor));
        assert_eq!(next.impact, Some(IncidentImpact::Minor));
        // Of a version without impacts.
        let mut json = serde_json::to_value(&next).unwrap();
        json.as_object_mut().unwrap().remove("impact");
        let old: Incident = serde_json::from_value(json).unwrap();
        assert_eq!(old.impact, None);
    }

    #[test]
    fn an_incident_full_of_updates_can_still_be_resolved() {
        let mut incident = incident();
        while let Ok(next) = incident.with_update(IncidentState::Identified, "x", "olga", AT) {
            incident = next;
        }
        assert_eq!(incident.updates.len(), UPDATES_MAX - 1);
        assert!(
            incident
                .with_update(IncidentState::Resolved, "x", "olga", AT)
                .is_ok()
        );
    }
}
