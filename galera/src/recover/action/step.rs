//! The transition function: the only way in which an action changes.

use super::event::{Actor, Event};
use super::request::text;
use super::{
    Action, Approval, COMMENTS_MAX, Comment, JournalLine, Limits, Refusal, State, execution,
};
use crate::access::{Operation, permit};
use crate::timestamp::Timestamp;

/// The action after `event`; the caller stores it by compare on the revision of the one it read.
///
/// # Errors
/// [`Refusal`]: the action stays as it is.
pub fn step(
    action: &Action,
    event: &Event<'_>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Action, Refusal> {
    if action.state.is_final() {
        return Err(Refusal::Final {
            id: action.id.clone(),
            state: action.state,
        });
    }
    if !matches!(event, Event::Tick) {
        not_expired(action, now)?;
    }
    let mut next = action.clone();
    match event {
        Event::Approve {
            by,
            digest,
            comment,
        } => approve(&mut next, by, digest, *comment, limits, now)?,
        Event::Reject { by, comment } => reject(&mut next, by, *comment, now)?,
        Event::Cancel { by, comment } => cancel(&mut next, by, *comment, now)?,
        Event::Comment { by, text } => add_comment(&mut next, by, text, now)?,
        Event::Begin {
            by,
            replica,
            fence,
            plan,
            off,
        } => {
            if let Some(by) = by {
                permit(&by.roles, Operation::ExecuteAction)?;
            }
            let by = by.map_or(*replica, |by| by.name.as_str());
            execution::begin(&mut next, by, replica, *fence, plan, *off, limits, now)?;
        }
        Event::TakeOver { replica, fence } => {
            execution::take_over(&mut next, replica, *fence, now)?
        }
        Event::Intend {
            fence,
            step,
            digest,
            off,
        } => {
            execution::intend(&mut next, *fence, *step, digest, *off, now)?;
        }
        Event::Answered {
            fence,
            step,
            result,
        } => execution::answered(&mut next, *fence, *step, result, now)?,
        Event::Observed { fence, verdict } => execution::observed(&mut next, *fence, verdict, now)?,
        Event::Tick => tick(&mut next, now)?,
    }
    Ok(next)
}

fn not_expired(action: &Action, now: Timestamp) -> Result<(), Refusal> {
    if action.expires_at.is_some_and(|at| now >= at) {
        return Err(Refusal::Expired {
            id: action.id.clone(),
        });
    }
    Ok(())
}

pub(super) fn wrong_state(action: &Action, what: &'static str) -> Refusal {
    Refusal::WrongState {
        id: action.id.clone(),
        state: action.state,
        what,
    }
}

fn approve(
    action: &mut Action,
    by: &Actor,
    digest: &str,
    comment: Option<&str>,
    limits: &Limits,
    now: Timestamp,
) -> Result<(), Refusal> {
    permit(&by.roles, Operation::ApproveAction)?;
    if action.state != State::Pending {
        return Err(wrong_state(action, "approving"));
    }
    // Names that differ in case only are taken for one person: refusing is the safe side.
    if by.name.eq_ignore_ascii_case(&action.requested_by) {
        return Err(Refusal::OwnRequest {
            id: action.id.clone(),
            name: by.name.clone(),
        });
    }
    if action
        .approvals
        .iter()
        .any(|approval| approval.by.eq_ignore_ascii_case(&by.name))
    {
        return Err(Refusal::AlreadyApproved {
            id: action.id.clone(),
            name: by.name.clone(),
        });
    }
    if digest != action.plan.digest {
        return Err(Refusal::DigestChanged);
    }
    let comment = remark(comment)?;
    note(action, now, &by.name, &with("approved", comment.as_deref()));
    action.approvals.push(Approval {
        by: by.name.clone(),
        at: now,
        comment,
    });
    if action.approvals.len() >= usize::try_from(action.approvals_needed).unwrap_or(usize::MAX) {
        action.state = State::Approved;
        action.expires_at = Some(now.plus(limits.approved));
    }
    Ok(())
}

fn reject(
    action: &mut Action,
    by: &Actor,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), Refusal> {
    permit(&by.roles, Operation::RejectAction)?;
    if !matches!(action.state, State::Pending | State::Approved) {
        return Err(wrong_state(action, "rejecting"));
    }
    let comment = remark(comment)?;
    end(
        action,
        State::Rejected,
        &by.name,
        &with(&format!("rejected by {}", by.name), comment.as_deref()),
        now,
    );
    Ok(())
}

fn cancel(
    action: &mut Action,
    by: &Actor,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), Refusal> {
    permit(&by.roles, Operation::CancelAction)?;
    if !matches!(action.state, State::Pending | State::Approved) {
        return Err(wrong_state(action, "cancelling"));
    }
    let admin = by.roles.contains(&crate::access::Role::Admin);
    if by.name != action.requested_by && !admin {
        return Err(Refusal::NotYours {
            id: action.id.clone(),
            requester: action.requested_by.clone(),
        });
    }
    let comment = remark(comment)?;
    end(
        action,
        State::Cancelled,
        &by.name,
        &with(&format!("cancelled by {}", by.name), comment.as_deref()),
        now,
    );
    Ok(())
}

fn add_comment(action: &mut Action, by: &Actor, said: &str, now: Timestamp) -> Result<(), Refusal> {
    permit(&by.roles, Operation::CommentAction)?;
    let said = text(said)?;
    if said.is_empty() {
        return Err(Refusal::NoReason);
    }
    if action.comments.len() >= COMMENTS_MAX {
        return Err(Refusal::TooManyComments {
            id: action.id.clone(),
            limit: COMMENTS_MAX,
        });
    }
    action.comments.push(Comment {
        by: by.name.clone(),
        at: now,
        text: said,
    });
    Ok(())
}

fn tick(action: &mut Action, now: Timestamp) -> Result<(), Refusal> {
    let due = action.expires_at.is_some_and(|at| now >= at);
    match action.state {
        State::Pending if due => end(
            action,
            State::Expired,
            "console",
            "nobody approved it in time",
            now,
        ),
        State::Approved if due => end(
            action,
            State::Expired,
            "console",
            "nobody executed it in time",
            now,
        ),
        State::Executing => return execution::deadline(action, now),
        _ => {
            return Err(Refusal::NothingDue {
                id: action.id.clone(),
            });
        }
    }
    Ok(())
}

fn remark(comment: Option<&str>) -> Result<Option<String>, Refusal> {
    let comment = comment.map(text).transpose()?;
    Ok(comment.filter(|comment| !comment.is_empty()))
}

fn with(what: &str, comment: Option<&str>) -> String {
    match comment {
        Some(comment) => format!("{what}: {comment}"),
        None => what.to_owned(),
    }
}

/// Adds a line to the journal.
pub(super) fn note(action: &mut Action, at: Timestamp, by: &str, text: &str) {
    action.journal.push(JournalLine {
        at,
        by: by.to_owned(),
        text: text.to_owned(),
    });
}

/// Ends the action.
pub(super) fn end(action: &mut Action, state: State, by: &str, outcome: &str, now: Timestamp) {
    action.state = state;
    action.expires_at = None;
    action.outcome = Some(outcome.to_owned());
    action.ended_at = Some(now);
    note(action, now, by, &format!("{}: {outcome}", state.word()));
}
