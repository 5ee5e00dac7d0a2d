//! The state machine of a recovery action: a record that only [`step()`] changes, one transition at a time.
//!
//! `pending → approved → executing → succeeded | failed | unverified`, or `rejected`, `cancelled`, `expired`,
//! `superseded`. Final states never change. [`request_action`] turns an [`ActionRequest`] into an [`Action`]; every
//! [`ActionEvent`] after that goes through [`step()`]. The record is written by compare-and-swap on its revision, so
//! of two replicas that act concurrently one fails and reads the record again. Three rules keep a step from being
//! executed twice:
//!
//! 1. An executor holds the cluster's lock, whose revision is its fence. A record accepts only its current fence, and
//!    a successor's fence must be higher (I17).
//! 2. Before a step is executed, its *intention* is written. An intended step is never intended again: a successor
//!    only observes its outcome (I17).
//! 3. A paused executor must not send what it intended long ago. A statement's connection is opened *before* the
//!    intention is written, with a `wait_timeout` of [`STATEMENT_WAIT_TIMEOUT`], so that the server closes it; and
//!    while a step's outcome is open, only success is concluded within [`SEND_WINDOW`] of its intention. The
//!    difference between the two is the tolerated clock skew between replicas. Registry writes need no window: they
//!    share one transaction with the record's next revision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{CredentialTag, GroupName, group_without_member};
use crate::id::{ActionId, ClusterName, ReplicaId};
use crate::observe::started_bootstrap::StartedBootstrap;
use crate::recover::attestation::Attestation;
use crate::recover::plan::{ActionKind, CheckCode, Mechanism, Plan};
use crate::timestamp::Timestamp;

#[cfg(feature = "decide")]
mod authority;
mod cluster_approvals;
#[cfg(feature = "decide")]
mod event;
#[cfg(feature = "decide")]
mod execution;
mod refusal;
#[cfg(feature = "decide")]
mod request;
#[cfg(feature = "decide")]
mod step;
#[cfg(feature = "decide")]
mod supersession;

#[cfg(feature = "decide")]
pub use authority::{CurrentAccount, CurrentAccounts};
pub use cluster_approvals::{
    ClusterApprovals, ClusterApprovalsError, LeastApprovals, least_approvals,
};
#[cfg(feature = "decide")]
pub use event::{ActionEvent, Actor, ObservedOutcome, StepResult};
pub use refusal::ActionRefusal;
#[cfg(feature = "decide")]
pub use request::{ActionRequest, BreakGlassRequest, request_action};
#[cfg(feature = "decide")]
pub use step::step;

/// `wait_timeout` of the connection that sends a statement: a sender that was paused for longer finds it closed.
pub const STATEMENT_WAIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after its intention a statement is assumed to be able to reach the server.
pub const SEND_WINDOW: Duration = Duration::from_secs(10);
/// Longest reason or comment, in characters.
pub const TEXT_MAX: usize = 2_000;
/// Maximum number of comments per action.
pub const COMMENTS_MAX: usize = 100;
/// Observations are no longer added once a journal has this many entries; steps always are.
pub const OBSERVATIONS_MAX: usize = 50;

/// The state of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Waiting for approval.
    Pending,
    /// Approved, not started.
    Approved,
    Executing,
    /// The outcome is proven.
    Succeeded,
    /// It certainly had no effect, or another one than intended.
    Failed,
    /// A step was executed and its outcome could not be proven in time.
    Unverified,
    /// Declined by an approver.
    Rejected,
    /// Withdrawn by its requester or an administrator.
    Cancelled,
    /// Not approved, or not started, in time.
    Expired,
    /// The plan changed after it was approved.
    Superseded,
}

impl ActionState {
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Approved,
        Self::Executing,
        Self::Succeeded,
        Self::Failed,
        Self::Unverified,
        Self::Rejected,
        Self::Cancelled,
        Self::Expired,
        Self::Superseded,
    ];

    /// The state as in JSON, queries and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Executing => "executing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Unverified => "unverified",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Superseded => "superseded",
        }
    }

    /// Whether the action can no longer change.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Approved | Self::Executing)
    }
}

/// Recovery is paused, for one cluster or for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecoveryPause {
    pub by: String,
    pub at: Timestamp,
    pub reason: String,
}

/// Timeouts of an action, and how many approvals it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionLimits {
    /// A request expires when it is not approved within this time.
    pub pending_timeout: Duration,
    /// An approved action expires when it is not started within this time.
    pub approved_timeout: Duration,
    /// An executing action ends as unverified when its outcome is not proven within this time.
    pub verify_timeout: Duration,
    /// An emergency override needs at least one, whatever is configured.
    pub approvals_needed: u32,
    /// Groups of which a member must approve, each another person; sorted.
    pub approver_groups: Vec<GroupName>,
}

impl Default for ActionLimits {
    fn default() -> Self {
        Self {
            pending_timeout: Duration::from_secs(15 * 60),
            approved_timeout: Duration::from_secs(5 * 60),
            verify_timeout: Duration::from_secs(60),
            approvals_needed: 1,
            approver_groups: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approval {
    pub by: String,
    /// The credential that the approver was signed in under; unknown in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialTag>,
    pub at: Timestamp,
    pub comment: Option<String>,
    /// The groups that the approver was in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// The name of the notification target whose link the approver had opened before, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notification_target: Option<String>,
}

/// An approver opened the action by the link of a notification, which is thereby used up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenedLink {
    /// The id of the notification target that the link was sent to.
    pub target: String,
    /// The name that the target had.
    pub target_name: String,
    pub by: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Comment {
    pub by: String,
    pub at: Timestamp,
    pub text: String,
}

/// An emergency override of failed checks, valid for this one action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BreakGlass {
    pub by: String,
    /// Every overridden check, sorted.
    pub overrides: Vec<CheckCode>,
    pub reason: String,
}

/// Which replica executes an action, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Execution {
    pub replica: ReplicaId,
    /// The lock's revision; higher for every holder.
    pub fence: i64,
    /// The account that started it, or the replica when it started on approval.
    pub by: String,
    pub began_at: Timestamp,
    /// After this the action ends as unverified.
    pub deadline: Timestamp,
}

/// The state of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not started.
    Waiting,
    /// The intention is written, so the step may have been executed; it is never repeated.
    Intended,
    /// Accepted by the server or the registry. That proves nothing yet (I21).
    Done,
    /// Certainly not executed: rejected, or never sent.
    Refused,
    /// No answer; only observation can tell.
    Unknown,
}

/// The progress of one of the plan's steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepRecord {
    pub state: StepState,
    /// When its intention was written.
    pub intended_at: Option<Timestamp>,
    /// The replica that intended it.
    pub replica: Option<ReplicaId>,
    /// What the server or the registry answered.
    pub answer: Option<String>,
}

/// An entry of an action's journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JournalEntry {
    pub at: Timestamp,
    /// An account or a replica.
    pub by: String,
    pub text: String,
}

/// A recovery action with its plan and its history, as stored in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Action {
    pub id: ActionId,
    pub kind: ActionKind,
    pub cluster: ClusterName,
    pub state: ActionState,
    /// The plan that was requested and approved.
    pub plan: Plan,
    pub requested_by: String,
    /// The credential that the requester was signed in under; unknown in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requester_credential: Option<CredentialTag>,
    pub requested_at: Timestamp,
    pub reason: String,
    /// What the requester confirmed about unreachable members.
    pub attestations: Vec<Attestation>,
    pub approvals_needed: u32,
    /// Groups of which a member must approve, each another person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approver_groups: Vec<GroupName>,
    pub approvals: Vec<Approval>,
    /// The approval links that were used, one for each target; oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub opened_links: Vec<OpenedLink>,
    /// Set when it was requested against failed checks.
    pub break_glass: Option<BreakGlass>,
    /// Only while pending or approved.
    pub expires_at: Option<Timestamp>,
    /// Set once it was started.
    pub execution: Option<Execution>,
    /// One entry for each of the plan's steps.
    pub steps: Vec<StepRecord>,
    /// Oldest first.
    pub journal: Vec<JournalEntry>,
    /// Oldest first.
    pub comments: Vec<Comment>,
    /// Why it ended, in a sentence.
    pub outcome: Option<String>,
    pub ended_at: Option<Timestamp>,
}

impl Action {
    /// What its executor should do next; `None` unless it is executing.
    #[must_use]
    pub fn next_step(&self) -> Option<NextStep> {
        if self.state != ActionState::Executing {
            return None;
        }
        let open =
            |step: &StepRecord| matches!(step.state, StepState::Intended | StepState::Unknown);
        if self.steps.iter().any(open) {
            return Some(NextStep::Observe);
        }
        let waiting = self
            .steps
            .iter()
            .position(|step| step.state == StepState::Waiting);
        Some(waiting.map_or(NextStep::Observe, NextStep::Execute))
    }

    /// The approval link that `account` opened last, if any.
    #[must_use]
    pub fn link_of(&self, account: &str) -> Option<&OpenedLink> {
        let mut links = self.opened_links.iter().rev();
        links.find(|link| link.by == account)
    }

    /// The first group that still has to approve; `None` if each has, by another person.
    #[must_use]
    pub fn missing_group(&self) -> Option<&GroupName> {
        let members = self.approvals.iter().map(|approval| &approval.groups[..]);
        group_without_member(&self.approver_groups, &members.collect::<Vec<_>>())
    }

    /// The bootstrap that its statement may have made, while the outcome is not proven. Of an order there is none: the agent that
    /// executes it records the fork before it starts its server.
    #[must_use]
    pub fn started_bootstrap(&self) -> Option<StartedBootstrap> {
        let target = self.plan.target.as_ref()?;
        let position = target.position.as_ref()?;
        let unproven = matches!(self.state, ActionState::Executing | ActionState::Unverified);
        if !unproven
            || self.kind != ActionKind::Bootstrap
            || target.mechanism != Mechanism::Statement
        {
            return None;
        }
        let sent = self
            .steps
            .iter()
            .find(|step| !matches!(step.state, StepState::Waiting | StepState::Refused))?;
        Some(StartedBootstrap {
            history: position.uuid,
            seqno: position.seqno,
            members: target.members.iter().chain(&target.node).cloned().collect(),
            at: sent.intended_at,
        })
    }

    /// Whether it may have changed anything.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        let touched =
            |step: &StepRecord| !matches!(step.state, StepState::Waiting | StepState::Refused);
        self.steps.iter().any(touched)
    }
}

/// What an executor should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Write the intention of this step, then execute it.
    Execute(usize),
    /// Execute nothing; only observe the outcome (I17).
    Observe,
}
