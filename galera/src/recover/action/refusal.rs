//! Why an event is refused. Every message names the object and the remedy.

use super::ActionState;
use crate::access::{GroupName, PermissionDenied};
use crate::id::{ActionId, ClusterName, ReplicaId};
use crate::timestamp::Timestamp;

/// An event that is not allowed now. The action is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionRefusal {
    #[error(transparent)]
    Denied(#[from] PermissionDenied),
    #[error("action {id} is {} and can no longer change; request a new action", state.as_str())]
    Final { id: ActionId, state: ActionState },
    /// The event does not belong to this state.
    #[error("action {id} is {}: {what} is not possible in this state", state.as_str())]
    WrongState {
        id: ActionId,
        state: ActionState,
        what: &'static str,
    },
    #[error("action {id} has expired; request a new one, which repeats every check")]
    Expired { id: ActionId },
    /// A requester never approves their own action.
    #[error(
        "{name} requested action {id} and cannot approve it, regardless of roles; ask another approver"
    )]
    OwnRequest { id: ActionId, name: String },
    /// The policy of the cluster names a group that cannot approve.
    #[error(
        "actions on {cluster} need the approval of a member of group {group}, and no account can give it: none that is enabled, is not the requester's and does not count for another group is in it with the role approver on {cluster}; add one to the group"
    )]
    NoApproverInGroup {
        cluster: ClusterName,
        group: GroupName,
    },
    #[error("{name} has already approved action {id}; another approver is needed")]
    AlreadyApproved { id: ActionId, name: String },
    /// Each approval link is valid once.
    #[error("{by} used this link at {at}; open action {id} in the console instead")]
    LinkUsed {
        id: ActionId,
        by: String,
        at: Timestamp,
    },
    #[error(
        "only {requester} or an administrator can cancel action {id}; an approver can reject it"
    )]
    NotRequester { id: ActionId, requester: String },
    /// The plan that was seen is not the current one.
    #[error("the plan has changed since it was shown; review the current plan and decide again")]
    DigestChanged,
    #[error("the plan is blocked: {0}")]
    NotExecutable(String),
    #[error("{typed:?} is not the name of cluster {cluster}; type exactly {cluster}")]
    NotConfirmed { typed: String, cluster: String },
    #[error("enter a reason")]
    NoReason,
    #[error("the text has {length} characters; at most {limit} are allowed")]
    TooLong { length: usize, limit: usize },
    #[error("action {id} already has {limit} comments, the maximum")]
    TooManyComments { id: ActionId, limit: usize },
    #[error("the emergency override must name exactly the failing checks: {failing}")]
    OverridesDiffer { failing: String },
    #[error(
        "{0} cannot be overridden: the action would risk a second Primary component or have no effect"
    )]
    NotOverridable(String),
    #[error("every check passes; request the action without an emergency override")]
    NothingToOverride,
    #[error("{by} paused recovery ({reason}); resume it first")]
    RecoveryPaused { by: String, reason: String },
    /// Another replica holds the lock now.
    #[error(
        "replica {replica} executes action {id} under a newer lock; read it again and only observe"
    )]
    Fenced { id: ActionId, replica: ReplicaId },
    /// Its intention was written before.
    #[error(
        "step {step} of action {id} was already started and is never repeated; observe its outcome"
    )]
    AlreadyIntended {
        id: ActionId,
        /// Index into the plan's steps.
        step: usize,
    },
    /// The plan has no such step, or an earlier one is not done.
    #[error("step {step} of action {id} is not the next one")]
    NotNext {
        id: ActionId,
        /// Index into the plan's steps.
        step: usize,
    },
    /// Too early to conclude that it failed.
    #[error("action {id} may still take effect; try again in a few seconds")]
    TooEarly { id: ActionId },
    #[error("action {id} has no deadline that is due")]
    NothingDue { id: ActionId },
}

impl ActionRefusal {
    /// The stable code in API responses.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied(_) => "forbidden",
            Self::Final { .. } => "action_final",
            Self::WrongState { .. } => "wrong_state",
            Self::Expired { .. } => "action_expired",
            Self::OwnRequest { .. } => "own_request",
            Self::NoApproverInGroup { .. } => "no_approver_in_group",
            Self::AlreadyApproved { .. } => "already_approved",
            Self::LinkUsed { .. } => "link_used",
            Self::NotRequester { .. } => "not_yours",
            Self::DigestChanged => "plan_changed",
            Self::NotExecutable(_) => "plan_not_executable",
            Self::NotConfirmed { .. } => "not_confirmed",
            Self::NoReason => "no_reason",
            Self::TooLong { .. } => "too_long",
            Self::TooManyComments { .. } => "too_many_comments",
            Self::OverridesDiffer { .. } => "overrides_differ",
            Self::NotOverridable(_) => "not_overridable",
            Self::NothingToOverride => "nothing_to_override",
            Self::RecoveryPaused { .. } => "recovery_off",
            Self::Fenced { .. } => "fenced",
            Self::AlreadyIntended { .. } => "already_intended",
            Self::NotNext { .. } => "not_next",
            Self::TooEarly { .. } => "too_early",
            Self::NothingDue { .. } => "nothing_due",
        }
    }
}
