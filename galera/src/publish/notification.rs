//! Notifications about verdicts, actions and incidents.
//!
//! [`verdicts`] turns the changes of a cluster's verdict into [`Notification`]s, [`audit_trail`] the entries of the
//! audit trail; [`text`] writes the sentences, [`delivery`] has the API's types. All of it is pure: the caller stores
//! the cursors.

pub mod audit_trail;
pub mod delivery;
pub mod text;
pub mod verdicts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{ActionId, ClusterName};
use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// What a notification is about; a target selects among these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A cluster's verdict changed, or an alarm about its data was raised.
    Verdict,
    /// An action was requested.
    ActionRequested,
    /// A requested action was approved, rejected or withdrawn.
    ActionDecided,
    /// An action succeeded, failed, ended unverified, expired or was superseded.
    ActionEnded,
    /// An incident was opened, updated or resolved.
    Incident,
    /// Findings of at least a warning opened or ended.
    Finding,
    /// A test of a target.
    Test,
}

impl NotificationKind {
    /// What a target can select; a test is always sent.
    pub const SELECTABLE: [Self; 6] = [
        Self::Verdict,
        Self::ActionRequested,
        Self::ActionDecided,
        Self::ActionEnded,
        Self::Incident,
        Self::Finding,
    ];

    /// What a target gets that selects nothing: what needs attention now.
    pub const DEFAULT: [Self; 5] = [
        Self::Verdict,
        Self::ActionRequested,
        Self::ActionDecided,
        Self::ActionEnded,
        Self::Incident,
    ];

    /// The kind as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::ActionRequested => "action_requested",
            Self::ActionDecided => "action_decided",
            Self::ActionEnded => "action_ended",
            Self::Incident => "incident",
            Self::Finding => "finding",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How urgent a notification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// For information.
    Info,
    /// Needs attention.
    Warning,
    /// Needs immediate attention.
    Critical,
}

impl Severity {
    /// The severity as in JSON and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    #[must_use]
    pub const fn of(verdict: VerdictState) -> Self {
        match verdict {
            VerdictState::Healthy => Self::Info,
            VerdictState::Degraded | VerdictState::Unknown => Self::Warning,
            VerdictState::NoPrimary
            | VerdictState::Down
            | VerdictState::Diverged
            | VerdictState::SplitBrain => Self::Critical,
        }
    }
}

/// The phase of a cluster's problem that a notification reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProblemPhase {
    /// The first notification about it.
    Opened,
    /// Its verdict changed.
    Changed,
    /// The cluster is healthy again.
    Resolved,
}

/// A cluster's problem: the whole time from leaving `healthy` until returning to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClusterProblem {
    pub phase: ProblemPhase,
    /// When the cluster became unhealthy.
    pub since: Timestamp,
    pub verdict: VerdictState,
    /// The verdict of this target's previous notification; `healthy` if there was none.
    pub before: VerdictState,
}

/// The action that a notification is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ActionReference {
    pub id: ActionId,
    /// What happened: `requested`, `approved`, `rejected`, `cancelled`, or the state in which it ended.
    pub event: String,
    pub by: String,
}

/// The recipients, for targets that reach individual accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum Audience {
    Everyone,
    /// Every approver except the requester, who may not approve.
    Approvers {
        except: String,
    },
    /// One account.
    Person {
        name: String,
    },
}

/// The findings that a notification is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FindingReference {
    pub phase: FindingPhase,
    /// The codes of the findings with the severity of each.
    pub codes: BTreeMap<String, Severity>,
    /// The nodes concerned; empty if all concern the cluster.
    pub nodes: BTreeSet<String>,
}

/// Whether findings opened or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FindingPhase {
    Opened,
    Ended,
}

/// A notification, before it is formatted for a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Notification {
    /// The same for every attempt and every target, so that receivers can deduplicate.
    pub id: String,
    pub kind: NotificationKind,
    pub at: Timestamp,
    pub cluster: Option<ClusterName>,
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// Further lines.
    pub text: String,
    /// Path of the related page in the console, with a leading slash.
    pub path: String,
    /// Only for [`NotificationKind::Verdict`], if the verdict changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ClusterProblem>,
    /// Only for the kinds about actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionReference>,
    /// Only for [`NotificationKind::Finding`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<FindingReference>,
    pub audience: Audience,
}

/// Which notifications a target receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TargetRules {
    pub kinds: BTreeSet<NotificationKind>,
    /// Every cluster when empty.
    #[serde(default)]
    pub clusters: BTreeSet<ClusterName>,
    /// How long a verdict must last before it is sent, in seconds.
    pub minimum_seconds: u32,
    /// How long after a notification about a cluster further changes are grouped into one, in seconds.
    pub window_seconds: u32,
}

impl TargetRules {
    /// Whether the target receives notifications of `kind` about `cluster`.
    #[must_use]
    pub fn accepts(&self, kind: NotificationKind, cluster: Option<&ClusterName>) -> bool {
        let selected = kind == NotificationKind::Test || self.kinds.contains(&kind);
        let in_scope = match cluster {
            Some(cluster) => self.clusters.is_empty() || self.clusters.contains(cluster),
            None => true,
        };
        selected && in_scope
    }
}
