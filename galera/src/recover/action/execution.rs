//! Transitions of an executing action: start, takeover, intention, answer, observation, deadline.

use super::event::{ObservedOutcome, StepResult};
use super::step::{add_journal_entry, end, wrong_state};
use super::supersession;
use super::{
    Action, ActionLimits, ActionRefusal, ActionState, CurrentAccounts, Execution, NextStep,
    OBSERVATIONS_MAX, RecoveryPause, SEND_WINDOW, StepState,
};
use crate::id::ReplicaId;
use crate::recover::plan::Plan;
use crate::timestamp::Timestamp;

/// [`ActionEvent::Begin`](super::ActionEvent::Begin) with the account or replica that starts the action.
pub(super) struct ActionStart<'a> {
    pub(super) by: &'a str,
    pub(super) replica: &'a ReplicaId,
    pub(super) fence: i64,
    pub(super) basis: ExecutionBasis<'a>,
    pub(super) recovery_pause: Option<&'a RecoveryPause>,
}

/// What an execution rests on, computed and read just now.
#[derive(Clone, Copy)]
pub(super) struct ExecutionBasis<'a> {
    pub(super) plan: &'a Plan,
    pub(super) accounts: &'a CurrentAccounts,
}

/// [`ActionEvent::Intend`](super::ActionEvent::Intend).
pub(super) struct StepIntention<'a> {
    pub(super) fence: i64,
    /// Index into the plan's steps.
    pub(super) step: usize,
    pub(super) basis: ExecutionBasis<'a>,
    pub(super) recovery_pause: Option<&'a RecoveryPause>,
}

pub(super) fn begin(
    action: &mut Action,
    start: &ActionStart<'_>,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    if action.state != ActionState::Approved {
        return Err(wrong_state(action, "executing"));
    }
    ensure_recovery_enabled(start.recovery_pause)?;
    if !check_basis(action, start.replica, start.basis, None, limits, now) {
        return Ok(());
    }
    action.state = ActionState::Executing;
    action.expires_at = None;
    action.execution = Some(Execution {
        replica: start.replica.clone(),
        fence: start.fence,
        by: start.by.to_owned(),
        began_at: now,
        deadline: now.plus(limits.verify_timeout),
    });
    let text = format!("started by {}", start.replica);
    add_journal_entry(action, now, start.by, &text);
    Ok(())
}

/// Whether the action may go on. If not, it has ended with the reason.
fn check_basis(
    action: &mut Action,
    replica: &ReplicaId,
    basis: ExecutionBasis<'_>,
    step: Option<usize>,
    limits: &ActionLimits,
    now: Timestamp,
) -> bool {
    let acted = action.may_have_acted();
    if !acted && basis.plan.digest != action.plan.digest {
        let outcome = supersession::outcome(&action.plan, basis.plan);
        end(
            action,
            ActionState::Superseded,
            replica.as_str(),
            &outcome,
            now,
        );
        return false;
    }
    let (state, reason) = match action.lost_authority(basis.accounts, limits) {
        Some(reason) if acted => (ActionState::Failed, reason),
        Some(reason) => (ActionState::Cancelled, reason),
        None => match action.differs_from(basis.plan, step) {
            Some(reason) => (ActionState::Failed, reason),
            None => return true,
        },
    };
    let done = action
        .steps
        .iter()
        .filter(|record| record.state == StepState::Done)
        .count();
    let outcome = match acted {
        false => format!("nothing was done: {reason}"),
        true => format!(
            "stopped: {reason}; {done} of {} steps completed before it",
            action.steps.len()
        ),
    };
    end(action, state, replica.as_str(), &outcome, now);
    false
}

fn ensure_recovery_enabled(recovery_pause: Option<&RecoveryPause>) -> Result<(), ActionRefusal> {
    match recovery_pause {
        Some(pause) => Err(ActionRefusal::RecoveryPaused {
            by: pause.by.clone(),
            reason: pause.reason.clone(),
        }),
        None => Ok(()),
    }
}

pub(super) fn take_over(
    action: &mut Action,
    replica: &ReplicaId,
    fence: i64,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    let id = action.id.clone();
    let Some(execution) = action
        .execution
        .as_mut()
        .filter(|_| action.state == ActionState::Executing)
    else {
        return Err(wrong_state(action, "taking over"));
    };
    if fence <= execution.fence {
        return Err(ActionRefusal::Fenced {
            id,
            replica: execution.replica.clone(),
        });
    }
    execution.fence = fence;
    replica.clone_into(&mut execution.replica);
    let text = format!("continued by {replica}");
    add_journal_entry(action, now, replica.as_str(), &text);
    Ok(())
}

/// The executing replica, if `fence` is still the current lock.
fn executing_replica(
    action: &Action,
    fence: i64,
    what: &'static str,
) -> Result<ReplicaId, ActionRefusal> {
    match &action.execution {
        Some(execution) if action.state == ActionState::Executing && execution.fence == fence => {
            Ok(execution.replica.clone())
        }
        Some(execution) if action.state == ActionState::Executing => Err(ActionRefusal::Fenced {
            id: action.id.clone(),
            replica: execution.replica.clone(),
        }),
        _ => Err(wrong_state(action, what)),
    }
}

pub(super) fn intend(
    action: &mut Action,
    intention: &StepIntention<'_>,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    let StepIntention { fence, step, .. } = *intention;
    let replica = executing_replica(action, fence, "executing a step")?;
    let id = || action.id.clone();
    match action.steps.get(step).map(|record| record.state) {
        None => return Err(ActionRefusal::NotNext { id: id(), step }),
        Some(StepState::Waiting) => {}
        Some(_) => return Err(ActionRefusal::AlreadyIntended { id: id(), step }),
    }
    if action.next_step() != Some(NextStep::Execute(step)) {
        return Err(ActionRefusal::NotNext { id: id(), step });
    }
    if action
        .execution
        .as_ref()
        .is_some_and(|execution| now >= execution.deadline)
    {
        return Err(ActionRefusal::Expired { id: id() });
    }
    ensure_recovery_enabled(intention.recovery_pause)?;
    if !check_basis(action, &replica, intention.basis, Some(step), limits, now) {
        return Ok(());
    }
    let record = &mut action.steps[step];
    record.state = StepState::Intended;
    record.intended_at = Some(now);
    record.replica = Some(replica.clone());
    add_journal_entry(
        action,
        now,
        replica.as_str(),
        &format!("step {} is about to be executed", step + 1),
    );
    Ok(())
}

pub(super) fn record_answer(
    action: &mut Action,
    fence: i64,
    step: usize,
    result: &StepResult,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    let replica = executing_replica(action, fence, "recording an answer")?;
    let pending = action
        .steps
        .get(step)
        .map(|record| (record.state, record.replica.as_ref()));
    // Only the replica that sent the step can know that it did not arrive.
    let own = matches!(pending, Some((StepState::Intended, Some(sender))) if *sender == replica);
    if !own {
        return Err(ActionRefusal::NotNext {
            id: action.id.clone(),
            step,
        });
    }
    let (state, answer) = match result {
        StepResult::Done(answer) => (StepState::Done, answer),
        StepResult::Refused(answer) => (StepState::Refused, answer),
        StepResult::Unknown(answer) => (StepState::Unknown, answer),
    };
    let answer = crate::observe::wsrep::truncate_text(answer);
    let result = match state {
        StepState::Done => "completed",
        StepState::Refused => "was refused",
        _ => "got no answer",
    };
    add_journal_entry(
        action,
        now,
        replica.as_str(),
        &format!("step {} {result}: {answer}", step + 1),
    );
    let record = &mut action.steps[step];
    record.state = state;
    record.answer = Some(answer.clone());
    if state == StepState::Refused {
        let done = action
            .steps
            .iter()
            .filter(|record| record.state == StepState::Done)
            .count();
        let outcome = format!(
            "step {} was refused ({answer}); {done} of {} steps completed before it, none after",
            step + 1,
            action.steps.len()
        );
        end(action, ActionState::Failed, replica.as_str(), &outcome, now);
    }
    Ok(())
}

pub(super) fn record_outcome(
    action: &mut Action,
    fence: i64,
    outcome: &ObservedOutcome,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    let replica = executing_replica(action, fence, "observing")?;
    if !action.may_have_acted() {
        return Err(wrong_state(action, "observing an outcome before any step"));
    }
    match outcome {
        ObservedOutcome::Proven(what) => {
            // A plan of several steps is proven only when each was executed.
            if action
                .steps
                .iter()
                .any(|record| record.state == StepState::Waiting)
            {
                return Err(wrong_state(action, "succeeding before the last step"));
            }
            end(action, ActionState::Succeeded, replica.as_str(), what, now);
        }
        ObservedOutcome::NotYet(what) => {
            let lines = action.journal.len();
            let repeated = action.journal.last().is_some_and(|line| line.text == *what);
            if !repeated && lines < OBSERVATIONS_MAX {
                add_journal_entry(action, now, replica.as_str(), what);
            }
        }
        ObservedOutcome::Contradicted(what) => {
            if may_still_arrive(action, now) {
                return Err(ActionRefusal::TooEarly {
                    id: action.id.clone(),
                });
            }
            end(action, ActionState::Failed, replica.as_str(), what, now);
        }
    }
    Ok(())
}

/// Whether a step without a known result may still reach the server.
fn may_still_arrive(action: &Action, now: Timestamp) -> bool {
    action.steps.iter().any(|record| {
        matches!(record.state, StepState::Intended | StepState::Unknown)
            && record
                .intended_at
                .is_some_and(|at| now < at.plus(SEND_WINDOW))
    })
}

/// Ends an action whose verification time is over: unverified if it may have acted, failed if it certainly did not.
pub(super) fn enforce_deadline(action: &mut Action, now: Timestamp) -> Result<(), ActionRefusal> {
    let due = action
        .execution
        .as_ref()
        .is_none_or(|execution| now >= execution.deadline);
    if !due {
        return Err(ActionRefusal::NothingDue {
            id: action.id.clone(),
        });
    }
    if may_still_arrive(action, now) {
        return Err(ActionRefusal::TooEarly {
            id: action.id.clone(),
        });
    }
    if action.may_have_acted() {
        let outcome =
            "the outcome was not proven in time; check the nodes before doing anything else";
        end(action, ActionState::Unverified, "console", outcome, now);
    } else {
        end(
            action,
            ActionState::Failed,
            "console",
            "nothing was sent before the deadline",
            now,
        );
    }
    Ok(())
}
