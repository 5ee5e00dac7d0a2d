//! Planned maintenance: announced in advance, and mutes notifications while it lasts.

use serde::{Deserialize, Serialize};

use super::refusal::{validate_clusters, validate_line, validate_text};
use super::{StatusPageRefusal, TEXT_MAX, TITLE_MAX};
use crate::id::ClusterName;
use crate::timestamp::Timestamp;

/// A request to schedule maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewMaintenance {
    pub clusters: Vec<ClusterName>,
    pub title: String,
    pub text: String,
    /// The default is now.
    #[serde(default)]
    pub from: Option<Timestamp>,
    pub until: Timestamp,
}

/// The phase of a maintenance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum MaintenancePhase {
    Planned,
    Current,
    /// Over or cancelled.
    Over,
}

/// A planned maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Maintenance {
    /// Unique; sorts by when it was scheduled.
    pub id: String,
    pub title: String,
    /// Plain text.
    pub text: String,
    pub clusters: Vec<ClusterName>,
    pub from: Timestamp,
    /// The scheduled end.
    pub until: Timestamp,
    pub planned_by: String,
    pub planned_at: Timestamp,
    /// When it was ended early or cancelled.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    #[serde(default)]
    pub ended_by: Option<String>,
}

impl Maintenance {
    /// Schedules a maintenance.
    ///
    /// # Errors
    /// [`StatusPageRefusal`] for the first rule that `new` breaks.
    pub fn plan(
        new: &NewMaintenance,
        id: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Self, StatusPageRefusal> {
        validate_clusters(&new.clusters)?;
        let from = new.from.unwrap_or(at);
        if new.until <= from {
            return Err(StatusPageRefusal::TimeOrder {
                later: "the end of the maintenance",
                earlier: "its start",
            });
        }
        if new.until <= at {
            return Err(StatusPageRefusal::TimeOrder {
                later: "the end of the maintenance",
                earlier: "now",
            });
        }
        Ok(Self {
            id: id.to_owned(),
            title: validate_line("title", &new.title, TITLE_MAX)?,
            text: validate_text("text", &new.text, TEXT_MAX)?,
            clusters: new.clusters.clone(),
            from,
            until: new.until,
            planned_by: by.to_owned(),
            planned_at: at,
            ended_at: None,
            ended_by: None,
        })
    }

    /// The maintenance, ended early or cancelled before it began.
    ///
    /// # Errors
    /// [`StatusPageRefusal::MaintenanceOver`] if it is already over.
    pub fn ended(&self, by: &str, at: Timestamp) -> Result<Self, StatusPageRefusal> {
        if self.phase(at) == MaintenancePhase::Over {
            return Err(StatusPageRefusal::MaintenanceOver);
        }
        Ok(Self {
            ended_at: Some(at),
            ended_by: Some(by.to_owned()),
            ..self.clone()
        })
    }

    #[must_use]
    pub fn phase(&self, now: Timestamp) -> MaintenancePhase {
        if now >= self.ends_at() {
            MaintenancePhase::Over
        } else if now >= self.from {
            MaintenancePhase::Current
        } else {
            MaintenancePhase::Planned
        }
    }

    /// Whether `cluster` is in maintenance at `now`.
    #[must_use]
    pub fn covers(&self, cluster: &ClusterName, now: Timestamp) -> bool {
        self.phase(now) == MaintenancePhase::Current && self.clusters.contains(cluster)
    }

    /// The scheduled or early end.
    #[must_use]
    pub fn ends_at(&self) -> Timestamp {
        self.ended_at.map_or(self.until, |at| at.min(self.until))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AT: Timestamp = Timestamp::from_unix_millis(1_795_420_800_000);

    fn at(seconds: u64) -> Timestamp {
        AT.plus(Duration::from_secs(seconds))
    }

    fn plan(from: Option<u64>, until: Timestamp) -> Result<Maintenance, StatusPageRefusal> {
        let new = NewMaintenance {
            clusters: vec!["lab".parse().unwrap()],
            title: "Upgrade".to_owned(),
            text: "One node after the other.".to_owned(),
            from: from.map(at),
            until,
        };
        Maintenance::plan(&new, "1-1", "olga", AT)
    }

    #[test]
    fn a_maintenance_lasts_from_its_beginning_to_its_end() {
        let planned = plan(Some(60), at(120)).unwrap();
        let lab = "lab".parse().unwrap();
        for (seconds, phase) in [
            (59, MaintenancePhase::Planned),
            (60, MaintenancePhase::Current),
            (119, MaintenancePhase::Current),
            (120, MaintenancePhase::Over),
        ] {
            assert_eq!(planned.phase(at(seconds)), phase, "{seconds}");
            let current = phase == MaintenancePhase::Current;
            assert_eq!(planned.covers(&lab, at(seconds)), current, "{seconds}");
        }
        assert!(!planned.covers(&"prod".parse().unwrap(), at(60)));
    }

    #[test]
    fn a_maintenance_can_be_ended_early_or_called_off_but_once() {
        let planned = plan(Some(60), at(120)).unwrap();
        for seconds in [10, 90] {
            let ended = planned.ended("olga", at(seconds)).unwrap();
            assert_eq!(ended.phase(at(seconds)), MaintenancePhase::Over);
            assert_eq!(
                ended.ended("olga", at(100)),
                Err(StatusPageRefusal::MaintenanceOver)
            );
        }
        assert_eq!(
            planned.ended("olga", at(120)),
            Err(StatusPageRefusal::MaintenanceOver)
        );
    }

    #[test]
    fn times_in_the_wrong_order_are_refused() {
        assert!(plan(Some(60), at(60)).is_err());
        assert!(plan(Some(60), at(30)).is_err());
        assert!(plan(None, AT).is_err());
        assert!(plan(None, at(1)).is_ok());
    }
}
