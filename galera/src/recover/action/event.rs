//! What may happen to an action.

use super::RecoveryPause;
use crate::access::Role;
use crate::recover::plan::Plan;

/// A signed-in person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The account's name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<Role>,
}

/// What the other side said to a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It took the step.
    Done(String),
    /// It said no, or it is certain that nothing reached it.
    Refused(String),
    /// No answer: it may have happened or may still happen.
    Unknown(String),
}

/// What the observation of an outcome gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedOutcome {
    /// Proven.
    Proven(String),
    /// Not yet.
    NotYet(String),
    /// It came out otherwise, and waiting will not change that.
    Contradicted(String),
}

/// Something that happens to an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionEvent<'a> {
    /// Somebody approves the plan with this digest.
    Approve {
        /// Who.
        by: &'a Actor,
        /// The digest of the plan that they saw.
        digest: &'a str,
        /// What they say.
        comment: Option<&'a str>,
    },
    /// Somebody rejects it.
    Reject {
        /// Who.
        by: &'a Actor,
        /// Why.
        comment: Option<&'a str>,
    },
    /// Somebody withdraws it.
    Cancel {
        /// Who.
        by: &'a Actor,
        /// Why.
        comment: Option<&'a str>,
    },
    /// Somebody comments.
    Comment {
        /// Who.
        by: &'a Actor,
        /// The text.
        text: &'a str,
    },
    /// A replica that holds the lock begins, with a plan computed just now. A plan with another digest supersedes.
    Begin {
        /// The person who asked for it; `None`: the console itself, because it was approved.
        by: Option<&'a Actor>,
        /// The replica.
        replica: &'a str,
        /// The lock's revision.
        fence: i64,
        /// The plan as of now.
        plan: &'a Plan,
        /// Recovery is switched off.
        recovery_pause: Option<&'a RecoveryPause>,
    },
    /// Another replica that holds the lock continues.
    TakeOver {
        /// The replica.
        replica: &'a str,
        /// The lock's revision: higher than the predecessor's.
        fence: i64,
    },
    /// The executor is about to do a step, with a plan computed just now for the first one.
    Intend {
        /// The lock's revision.
        fence: i64,
        /// The place of the step.
        step: usize,
        /// The digest of the plan as of now; must still be the approved one for the first step.
        digest: &'a str,
        /// Recovery is switched off.
        recovery_pause: Option<&'a RecoveryPause>,
    },
    /// The other side answered a step.
    Answered {
        /// The lock's revision.
        fence: i64,
        /// The place of the step.
        step: usize,
        /// Its answer.
        result: StepResult,
    },
    /// The executor looked at the outcome.
    Observed {
        /// The lock's revision.
        fence: i64,
        /// What it saw.
        outcome: ObservedOutcome,
    },
    /// Time passed: what is due expires or becomes unverified. Any replica may say so, without the lock.
    Tick,
}
