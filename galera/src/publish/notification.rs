//! What is worth telling people, and to whom: notices of verdicts and of actions.
//!
//! [`verdicts`] turns the changes of a cluster's verdict into notices, [`audit_trail`] the entries of the audit trail,
//! [`text`] finds the sentences. All of it is pure: what was taken in and told is data that the caller keeps.

pub mod audit_trail;
pub mod delivery;
pub mod text;
pub mod verdicts;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::ClusterName;
use crate::timestamp::Timestamp;
use crate::view::VerdictState;

/// What a notice is about; a target chooses among these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A cluster's verdict changed.
    Verdict,
    /// An action was requested and waits for approval.
    ActionRequested,
    /// A requested action was approved, rejected or withdrawn.
    ActionDecided,
    /// An action ended by itself: carried out, failed, not proven, expired or superseded.
    ActionEnded,
    /// An incident was opened, updated or resolved.
    Incident,
    /// Somebody tries a target out.
    Test,
}

impl NotificationKind {
    /// What a target can choose; a test is always sent.
    pub const SELECTABLE: [Self; 5] = [
        Self::Verdict,
        Self::ActionRequested,
        Self::ActionDecided,
        Self::ActionEnded,
        Self::Incident,
    ];

    /// The kind's word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::ActionRequested => "action_requested",
            Self::ActionDecided => "action_decided",
            Self::ActionEnded => "action_ended",
            Self::Incident => "incident",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look at it.
    Warning,
    /// Somebody must look at it now.
    Critical,
}

impl Severity {
    /// The severity's word in JSON and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// What a verdict is worth.
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

/// Where a notice stands in the life of a cluster's problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemPhase {
    /// The first that is told of it.
    Opened,
    /// It became another one.
    Changed,
    /// The cluster is healthy again.
    Resolved,
}

/// A cluster that is not healthy: everything from its leaving `healthy` to its return is one problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterProblem {
    /// Where in its life this notice stands.
    pub phase: ProblemPhase,
    /// When the cluster stopped being healthy.
    pub since: Timestamp,
    /// The verdict now.
    pub verdict: VerdictState,
    /// The verdict that this target was told before; `healthy` when it was told none.
    pub before: VerdictState,
}

/// An action as a notice names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionReference {
    /// Its identity.
    pub id: String,
    /// What happened: `requested`, `approved`, `rejected`, `cancelled`, or the state in which it ended.
    pub event: String,
    /// Who did that.
    pub by: String,
}

/// Whom a notice concerns, where a target reaches single people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum Audience {
    /// Whoever is listening.
    Everyone,
    /// Those who may approve, except for one who may not approve this.
    Approvers {
        /// The requester.
        except: String,
    },
    /// One account.
    Person {
        /// Its name.
        name: String,
    },
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The same for every attempt to tell it and for every target: a receiver that knows it has this notice already.
    pub id: String,
    /// What it is about.
    pub kind: NotificationKind,
    /// When it happened.
    pub at: Timestamp,
    /// The cluster, where it is about one.
    pub cluster: Option<ClusterName>,
    /// How much it matters.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// The rest, in lines.
    pub text: String,
    /// Where in the console to look, beginning with a slash.
    pub path: String,
    /// The cluster's problem; only of [`NotificationKind::ObservedOutcome`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ClusterProblem>,
    /// The action; only of the kinds about actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<ActionReference>,
    /// Whom it concerns.
    pub audience: Audience,
}

/// What a target wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRules {
    /// These kinds.
    pub kinds: BTreeSet<NotificationKind>,
    /// Of these clusters; of all when there are none.
    #[serde(default)]
    pub clusters: BTreeSet<ClusterName>,
    /// How long a verdict must last before it is told, in seconds.
    pub minimum_seconds: u32,
    /// How long after a message about a cluster further changes wait to become one message, in seconds.
    pub window_seconds: u32,
}

impl TargetRules {
    /// Whether something of `kind` about `cluster` is to be told.
    #[must_use]
    pub fn accepts(&self, kind: NotificationKind, cluster: Option<&ClusterName>) -> bool {
        let chosen = kind == NotificationKind::Test || self.kinds.contains(&kind);
        let about = match cluster {
            Some(cluster) => self.clusters.is_empty() || self.clusters.contains(cluster),
            None => true,
        };
        chosen && about
    }
}
