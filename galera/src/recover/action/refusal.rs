//! Why an action does not take a step; each names the thing and the remedy.

use super::ActionState;
use crate::access::PermissionDenied;

/// A refused step. The action stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActionRefusal {
    /// A role is missing.
    #[error(transparent)]
    Denied(#[from] PermissionDenied),
    /// Final states never change.
    #[error("action {id} is {}: it never changes again; request a new one", state.as_str())]
    Final {
        /// The action.
        id: String,
        /// Its state.
        state: ActionState,
    },
    /// The step does not belong to this state.
    #[error("action {id} is {}: {what} is not possible now", state.as_str())]
    WrongState {
        /// The action.
        id: String,
        /// Its state.
        state: ActionState,
        /// What was wanted.
        what: &'static str,
    },
    /// Its time is over.
    #[error("action {id} expired; request a new one, which checks everything again")]
    Expired {
        /// The action.
        id: String,
    },
    /// A requester never approves their own action.
    #[error(
        "{name} requested action {id} and cannot approve it, whatever roles they hold; ask another approver"
    )]
    OwnRequest {
        /// The action.
        id: String,
        /// The person.
        name: String,
    },
    /// One person, one approval.
    #[error("{name} has approved action {id} already; another approver is needed")]
    AlreadyApproved {
        /// The action.
        id: String,
        /// The person.
        name: String,
    },
    /// Only the requester or an administrator withdraws.
    #[error(
        "only {requester} or an administrator can cancel action {id}; an approver can reject it"
    )]
    NotRequester {
        /// The action.
        id: String,
        /// Who requested it.
        requester: String,
    },
    /// What was seen is not what would be done.
    #[error("the plan changed since it was shown; look at the present one and decide again")]
    DigestChanged,
    /// Checks fail.
    #[error("the plan does not pass: {0}")]
    NotExecutable(String),
    /// The name that was typed is another.
    #[error("{typed:?} is not the name of cluster {cluster}; type exactly {cluster}")]
    NotConfirmed {
        /// What was typed.
        typed: String,
        /// The cluster.
        cluster: String,
    },
    /// A text is missing.
    #[error("a reason is needed; say in a sentence why")]
    NoReason,
    /// A text is too long.
    #[error("the text has {length} characters; at most {limit} are kept")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many comments.
    #[error("action {id} has {limit} comments; no more are kept")]
    TooManyComments {
        /// The action.
        id: String,
        /// The limit.
        limit: usize,
    },
    /// The checks that were named for the override are not those that fail.
    #[error("break-glass must name exactly the checks that fail: {failing}")]
    OverridesDiffer {
        /// The failing checks.
        failing: String,
    },
    /// Some checks cannot be overridden.
    #[error("{0} cannot be overridden: it would make a second Primary component or act on nothing")]
    NotOverridable(String),
    /// An override where nothing fails.
    #[error("every check passes; request the action without break-glass")]
    NothingToOverride,
    /// Recovery is off.
    #[error("{by} switched recovery off ({reason}); switch it on first")]
    RecoveryPaused {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// Somebody else holds the lock now.
    #[error(
        "replica {replica} holds action {id} with a newer lock; read it again and only observe"
    )]
    Fenced {
        /// The action.
        id: String,
        /// The present executor.
        replica: String,
    },
    /// The step was intended before.
    #[error(
        "step {step} of action {id} was begun already and is never repeated; observe its outcome"
    )]
    AlreadyIntended {
        /// The action.
        id: String,
        /// The place of the step.
        step: usize,
    },
    /// The plan has no such step, or an earlier one is not done.
    #[error("step {step} of action {id} is not the next one")]
    NotNext {
        /// The action.
        id: String,
        /// The place of the step.
        step: usize,
    },
    /// Too early to say that it did not work.
    #[error("action {id} may still take effect; look again in a moment")]
    TooEarly {
        /// The action.
        id: String,
    },
    /// Nothing is due.
    #[error("nothing of action {id} is due")]
    NothingDue {
        /// The action.
        id: String,
    },
}

impl ActionRefusal {
    /// The stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Denied(_) => "forbidden",
            Self::Final { .. } => "action_final",
            Self::WrongState { .. } => "wrong_state",
            Self::Expired { .. } => "action_expired",
            Self::OwnRequest { .. } => "own_request",
            Self::AlreadyApproved { .. } => "already_approved",
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
