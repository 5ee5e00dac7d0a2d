//! The life of an approved action: a record that only [`step()`] changes, one transition at a time.
//!
//! `pending_timeout → approved_timeout → executing → succeeded | failed | unverified`, or `rejected`, `cancelled`, `expired`,
//! `superseded`. Final states never change. The record is stored by compare on its revision, so of two replicas that
//! take a step at the same time one loses and reads again. What keeps a step from happening twice:
//!
//! 1. An executor holds the cluster's lock, whose revision is its fence; a record accepts only its present fence, and a
//!    successor's fence must be higher (I17).
//! 2. Before a step is done, its *intention* is written. A step that was intended is never intended again, by anybody:
//!    who comes after observes instead (I17).
//! 3. A paused executor must not send what it intended long ago. A statement's connection is opened *before* the
//!    intention is written, with a `wait_timeout` of [`STATEMENT_WAIT_TIMEOUT`], so that the database itself closes it; and
//!    while a step's fate is open, nothing but success is concluded within [`SEND_WINDOW`] of its intention. The
//!    difference between the two is how far the replicas' clocks may differ. Writes to the registry need no window:
//!    they are one transaction with the record's next revision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::ClusterName;
use crate::recover::attestation::Attestation;
use crate::recover::plan::{ActionKind, CheckCode, Plan};
use crate::timestamp::Timestamp;

mod event;
mod execution;
mod refusal;
mod request;
mod step;

pub use event::{ActionEvent, Actor, ObservedOutcome, StepResult};
pub use refusal::ActionRefusal;
pub use request::{ActionRequest, BreakGlassRequest, request_action};
pub use step::step;

/// The `wait_timeout` of the connection that a statement is sent on: a sender that paused for longer finds it closed.
pub const STATEMENT_WAIT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after an intention its statement is held to be able to reach the database.
pub const SEND_WINDOW: Duration = Duration::from_secs(10);
/// Longest reason or comment, in characters.
pub const TEXT_MAX: usize = 2_000;
/// Most comments of one action.
pub const COMMENTS_MAX: usize = 100;
/// Most entries of a journal that are kept for observations; steps are always kept.
pub const OBSERVATIONS_MAX: usize = 50;

/// Where an action stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionState {
    /// Waits for approval.
    Pending,
    /// Approved, not begun.
    Approved,
    /// Begun.
    Executing,
    /// The outcome is proven.
    Succeeded,
    /// It is certain that it did not happen, or that its outcome is another.
    Failed,
    /// Something was done and its outcome could not be proven in time.
    Unverified,
    /// An approver said no.
    Rejected,
    /// Withdrawn.
    Cancelled,
    /// Nobody approved or executed it in time.
    Expired,
    /// What it was approved for is no longer so.
    Superseded,
}

impl ActionState {
    /// Every state.
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

    /// The state's word in JSON, queries and logs.
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

    /// Whether it never changes again.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Approved | Self::Executing)
    }
}

/// Recovery was switched off, for one cluster or for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecoveryPause {
    /// Who did it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Deadlines and numbers of an action's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionLimits {
    /// How long a request waits for approval.
    pub pending_timeout: Duration,
    /// How long an approved action waits to be executed.
    pub approved_timeout: Duration,
    /// How long the outcome is watched for.
    pub verify_timeout: Duration,
    /// How many approvals a kind needs; break-glass needs at least one.
    pub approvals_needed: u32,
}

impl Default for ActionLimits {
    fn default() -> Self {
        Self {
            pending_timeout: Duration::from_secs(15 * 60),
            approved_timeout: Duration::from_secs(5 * 60),
            verify_timeout: Duration::from_secs(60),
            approvals_needed: 1,
        }
    }
}

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// What they said.
    pub comment: Option<String>,
}

/// A comment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Comment {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The text.
    pub text: String,
}

/// An override of failed checks; good for this one action.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BreakGlass {
    /// The administrator.
    pub by: String,
    /// Every check that it overrides, sorted.
    pub overrides: Vec<CheckCode>,
    /// Why.
    pub reason: String,
}

/// Who carries it out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Execution {
    /// The console's replica.
    pub replica: String,
    /// The lock's revision: grows with every holder.
    pub fence: i64,
    /// Who asked for it.
    pub by: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When the outcome is called unverified.
    pub deadline: Timestamp,
}

/// How far one step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// About to be done, or done: never again.
    Intended,
    /// Done: the other side took it. That proves nothing yet (I21).
    Done,
    /// Certainly not done: the other side said no, or nothing was sent.
    Refused,
    /// Nobody knows: observe.
    Unknown,
}

/// The state of one of the plan's steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepRecord {
    /// How far it is.
    pub state: StepState,
    /// When its intention was written.
    pub intended_at: Option<Timestamp>,
    /// The replica that intended it.
    pub replica: Option<String>,
    /// What the other side answered.
    pub answer: Option<String>,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JournalEntry {
    /// When.
    pub at: Timestamp,
    /// The person or replica.
    pub by: String,
    /// What happened.
    pub text: String,
}

/// An action with everything that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Action {
    /// Its identity.
    pub id: String,
    /// What it does.
    pub kind: ActionKind,
    /// The cluster.
    pub cluster: ClusterName,
    /// Where it stands.
    pub state: ActionState,
    /// The plan that was requested and approved.
    pub plan: Plan,
    /// Who requested it.
    pub requested_by: String,
    /// When.
    pub requested_at: Timestamp,
    /// Why.
    pub reason: String,
    /// What the requester vouches for.
    pub attestations: Vec<Attestation>,
    /// How many approvals it needs.
    pub approvals_needed: u32,
    /// The approvals so far.
    pub approvals: Vec<Approval>,
    /// The override, when checks fail.
    pub break_glass: Option<BreakGlass>,
    /// When it expires, while it is pending or approved.
    pub expires_at: Option<Timestamp>,
    /// Who carries it out, once it has begun.
    pub execution: Option<Execution>,
    /// One entry for each of the plan's steps.
    pub steps: Vec<StepRecord>,
    /// What happened, oldest first.
    pub journal: Vec<JournalEntry>,
    /// Comments, oldest first.
    pub comments: Vec<Comment>,
    /// Why it ended as it did.
    pub outcome: Option<String>,
    /// When it ended.
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

    /// Whether anything may have been changed by it.
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
    /// Write the intention of this step, then do it.
    Execute(usize),
    /// Do nothing but look (I17).
    Observe,
}
