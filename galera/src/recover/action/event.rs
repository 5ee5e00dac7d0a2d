//! The events that drive an action.

use super::{CurrentAccounts, RecoveryPause};
use crate::access::{CredentialTag, GroupName, Role};
use crate::id::ReplicaId;
use crate::recover::plan::{Plan, PlanDigest};

/// A signed-in account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub name: String,
    pub roles: Vec<Role>,
    /// The credential that the account is signed in under.
    pub credential: CredentialTag,
    /// The groups that the account is in.
    pub groups: Vec<GroupName>,
}

/// How the server or the registry answered a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It accepted the step.
    Done(String),
    /// It rejected the step, or certainly never received it.
    Refused(String),
    /// No answer: the step may have been executed, or may still be.
    Unknown(String),
}

/// What observing the nodes shows about an action's outcome; each with a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedOutcome {
    Proven(String),
    NotYet(String),
    /// The outcome is another one, and waiting will not change that.
    Contradicted(String),
}

/// An event in the life of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionEvent<'a> {
    Approve {
        by: &'a Actor,
        /// The digest of the plan that the approver saw.
        digest: &'a PlanDigest,
        comment: Option<&'a str>,
    },
    /// An approver opens it by the link of a notification, once for each target.
    OpenLink {
        by: &'a Actor,
        /// The id of the notification target that the link was sent to.
        target: &'a str,
        target_name: &'a str,
    },
    /// An approver rejects it.
    Reject {
        by: &'a Actor,
        comment: Option<&'a str>,
    },
    /// The requester or an administrator withdraws it.
    Cancel {
        by: &'a Actor,
        comment: Option<&'a str>,
    },
    Comment {
        by: &'a Actor,
        text: &'a str,
    },
    /// A replica that holds the lock starts it. If the plan computed now has another digest, the action is superseded.
    Begin {
        /// `None` when the console starts it because it was approved.
        by: Option<&'a Actor>,
        replica: &'a ReplicaId,
        fence: i64,
        /// Computed just now.
        plan: &'a Plan,
        /// The requester and the approvers, read just now.
        accounts: &'a CurrentAccounts,
        recovery_pause: Option<&'a RecoveryPause>,
    },
    /// Another replica that holds the lock continues it.
    TakeOver {
        replica: &'a ReplicaId,
        /// Must be higher than the predecessor's.
        fence: i64,
    },
    /// The executor is about to execute a step.
    Intend {
        fence: i64,
        /// Index into the plan's steps.
        step: usize,
        /// Computed by this executor. For the first step it must be the approved one; later ones must still be steps of it.
        plan: &'a Plan,
        /// The requester and the approvers, read just now.
        accounts: &'a CurrentAccounts,
        recovery_pause: Option<&'a RecoveryPause>,
    },
    /// The server or the registry answered a step.
    Answered {
        fence: i64,
        /// Index into the plan's steps.
        step: usize,
        result: StepResult,
    },
    /// The executor observed the outcome.
    Observed {
        fence: i64,
        outcome: ObservedOutcome,
    },
    /// Time passed: the action expires or ends as unverified if that is due. Any replica may send this, without the lock.
    Tick,
}
