//! Carrying an action out: lock, intention, answer, observation, end.

use super::event::{StepResult, Verdict};
use super::step::{end, note, wrong_state};
use super::{
    Action, Execution, Limits, Next, OBSERVATIONS_MAX, Refusal, SEND_WINDOW, State, StepState,
    SwitchedOff,
};
use crate::recover::plan::Plan;
use crate::timestamp::Timestamp;

#[expect(clippy::too_many_arguments, reason = "the fields of one event")]
pub(super) fn begin(
    action: &mut Action,
    by: &str,
    replica: &str,
    fence: i64,
    plan: &Plan,
    off: Option<&SwitchedOff>,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    if action.state != State::Approved {
        return Err(wrong_state(action, "executing"));
    }
    switched_on(off)?;
    if plan.digest != action.plan.digest {
        supersede(action, replica, now);
        return Ok(());
    }
    action.state = State::Executing;
    action.expires_at = None;
    action.execution = Some(Execution {
        replica: replica.to_owned(),
        fence,
        by: by.to_owned(),
        began_at: now,
        deadline: now.plus(limits.verify),
    });
    note(action, now, by, &format!("begun by {replica}"));
    Ok(())
}

fn supersede(action: &mut Action, replica: &str, now: Timestamp) {
    let outcome = "the cluster is no longer as it was when this was approved; nothing was done";
    end(action, State::Superseded, replica, outcome, now);
}

fn switched_on(off: Option<&SwitchedOff>) -> Result<(), Refusal> {
    match off {
        Some(off) => Err(Refusal::SwitchedOff {
            by: off.by.clone(),
            reason: off.reason.clone(),
        }),
        None => Ok(()),
    }
}

pub(super) fn take_over(
    action: &mut Action,
    replica: &str,
    fence: i64,
    now: Timestamp,
) -> Result<(), Refusal> {
    let id = action.id.clone();
    let Some(execution) = action
        .execution
        .as_mut()
        .filter(|_| action.state == State::Executing)
    else {
        return Err(wrong_state(action, "taking over"));
    };
    if fence <= execution.fence {
        return Err(Refusal::Fenced {
            id,
            replica: execution.replica.clone(),
        });
    }
    execution.fence = fence;
    replica.clone_into(&mut execution.replica);
    note(action, now, replica, &format!("continued by {replica}"));
    Ok(())
}

/// The executing replica, when `fence` is still its lock.
fn holder(action: &Action, fence: i64, what: &'static str) -> Result<String, Refusal> {
    match &action.execution {
        Some(execution) if action.state == State::Executing && execution.fence == fence => {
            Ok(execution.replica.clone())
        }
        Some(execution) if action.state == State::Executing => Err(Refusal::Fenced {
            id: action.id.clone(),
            replica: execution.replica.clone(),
        }),
        _ => Err(wrong_state(action, what)),
    }
}

pub(super) fn intend(
    action: &mut Action,
    fence: i64,
    step: usize,
    digest: &str,
    off: Option<&SwitchedOff>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let replica = holder(action, fence, "taking a step")?;
    let id = || action.id.clone();
    match action.steps.get(step).map(|record| record.state) {
        None => return Err(Refusal::NotNext { id: id(), step }),
        Some(StepState::Waiting) => {}
        Some(_) => return Err(Refusal::AlreadyIntended { id: id(), step }),
    }
    if action.next() != Some(Next::Do(step)) {
        return Err(Refusal::NotNext { id: id(), step });
    }
    if action
        .execution
        .as_ref()
        .is_some_and(|execution| now >= execution.deadline)
    {
        return Err(Refusal::Expired { id: id() });
    }
    switched_on(off)?;
    // Later steps of a plan change what it was computed from; each of them compares its own key.
    if !action.may_have_acted() && digest != action.plan.digest {
        supersede(action, &replica, now);
        return Ok(());
    }
    let record = &mut action.steps[step];
    record.state = StepState::Intended;
    record.intended_at = Some(now);
    record.replica = Some(replica.clone());
    note(
        action,
        now,
        &replica,
        &format!("step {} is about to be done", step + 1),
    );
    Ok(())
}

pub(super) fn answered(
    action: &mut Action,
    fence: i64,
    step: usize,
    result: &StepResult,
    now: Timestamp,
) -> Result<(), Refusal> {
    let replica = holder(action, fence, "answering a step")?;
    let pending = action
        .steps
        .get(step)
        .map(|record| (record.state, record.replica.as_deref()));
    // Only who sent it can know that it did not arrive.
    let own = matches!(pending, Some((StepState::Intended, Some(sender))) if sender == replica);
    if !own {
        return Err(Refusal::NotNext {
            id: action.id.clone(),
            step,
        });
    }
    let (state, answer) = match result {
        StepResult::Done(answer) => (StepState::Done, answer),
        StepResult::Refused(answer) => (StepState::Refused, answer),
        StepResult::Unknown(answer) => (StepState::Unknown, answer),
    };
    let answer = crate::observe::wsrep::clip(answer);
    let word = match state {
        StepState::Done => "was taken",
        StepState::Refused => "was refused",
        _ => "got no answer",
    };
    note(
        action,
        now,
        &replica,
        &format!("step {} {word}: {answer}", step + 1),
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
            "step {} was refused ({answer}); {done} of {} steps were done before it, none after",
            step + 1,
            action.steps.len()
        );
        end(action, State::Failed, &replica, &outcome, now);
    }
    Ok(())
}

pub(super) fn observed(
    action: &mut Action,
    fence: i64,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<(), Refusal> {
    let replica = holder(action, fence, "observing")?;
    if !action.may_have_acted() {
        return Err(wrong_state(action, "observing what was not begun"));
    }
    match verdict {
        Verdict::Proven(what) => {
            // A plan of several steps is proven only when each was taken.
            if action
                .steps
                .iter()
                .any(|record| record.state == StepState::Waiting)
            {
                return Err(wrong_state(
                    action,
                    "succeeding before every step was taken",
                ));
            }
            end(action, State::Succeeded, &replica, what, now);
        }
        Verdict::NotYet(what) => {
            let lines = action.journal.len();
            let repeated = action.journal.last().is_some_and(|line| line.text == *what);
            if !repeated && lines < OBSERVATIONS_MAX {
                note(action, now, &replica, what);
            }
        }
        Verdict::Contradicted(what) => {
            if in_flight(action, now) {
                return Err(Refusal::TooEarly {
                    id: action.id.clone(),
                });
            }
            end(action, State::Failed, &replica, what, now);
        }
    }
    Ok(())
}

/// Whether a step whose fate is open may still reach the other side.
fn in_flight(action: &Action, now: Timestamp) -> bool {
    action.steps.iter().any(|record| {
        matches!(record.state, StepState::Intended | StepState::Unknown)
            && record
                .intended_at
                .is_some_and(|at| now < at.plus(SEND_WINDOW))
    })
}

/// The end of watching: what may have happened is unverified, what certainly did not has failed.
pub(super) fn deadline(action: &mut Action, now: Timestamp) -> Result<(), Refusal> {
    let due = action
        .execution
        .as_ref()
        .is_none_or(|execution| now >= execution.deadline);
    if !due {
        return Err(Refusal::NothingDue {
            id: action.id.clone(),
        });
    }
    if in_flight(action, now) {
        return Err(Refusal::TooEarly {
            id: action.id.clone(),
        });
    }
    if action.may_have_acted() {
        let outcome =
            "the outcome was not proven in time; look at the nodes before anything else is done";
        end(action, State::Unverified, "console", outcome, now);
    } else {
        end(
            action,
            State::Failed,
            "console",
            "nothing was sent before the deadline",
            now,
        );
    }
    Ok(())
}
