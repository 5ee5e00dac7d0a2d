//! The transition function, the only way to change an action.

use super::event::{ActionEvent, Actor};
use super::request::validate_text;
use super::{
    Action, ActionLimits, ActionRefusal, ActionState, Approval, COMMENTS_MAX, Comment,
    JournalEntry, OpenedLink, execution,
};
use crate::access::{Operation, check_permission};
use crate::recover::plan::PlanDigest;
use crate::timestamp::Timestamp;

/// Returns the action after `event`. The caller writes it by compare-and-swap on the revision that it read.
///
/// # Errors
/// [`ActionRefusal`] if the event is not allowed; the action is unchanged.
pub fn step(
    action: &Action,
    event: &ActionEvent<'_>,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<Action, ActionRefusal> {
    if action.state.is_final() {
        return Err(ActionRefusal::Final {
            id: action.id.clone(),
            state: action.state,
        });
    }
    if !matches!(event, ActionEvent::Tick) {
        ensure_not_expired(action, now)?;
    }
    let mut next = action.clone();
    match event {
        ActionEvent::Approve {
            by,
            digest,
            comment,
        } => approve(&mut next, by, digest, *comment, limits, now)?,
        ActionEvent::OpenLink {
            by,
            target,
            target_name,
        } => open_link(&mut next, by, target, target_name, now)?,
        ActionEvent::Reject { by, comment } => reject(&mut next, by, *comment, now)?,
        ActionEvent::Cancel { by, comment } => cancel(&mut next, by, *comment, now)?,
        ActionEvent::Comment { by, text } => add_comment(&mut next, by, text, now)?,
        ActionEvent::Begin {
            by,
            replica,
            fence,
            plan,
            accounts,
            recovery_pause,
        } => {
            if let Some(by) = by {
                check_permission(&by.roles, Operation::ExecuteAction)?;
            }
            let by = by.map_or(replica.as_str(), |by| by.name.as_str());
            let start = execution::ActionStart {
                by,
                replica,
                fence: *fence,
                basis: execution::ExecutionBasis { plan, accounts },
                recovery_pause: *recovery_pause,
            };
            execution::begin(&mut next, &start, limits, now)?;
        }
        ActionEvent::TakeOver { replica, fence } => {
            execution::take_over(&mut next, replica, *fence, now)?
        }
        ActionEvent::Intend {
            fence,
            step,
            plan,
            accounts,
            recovery_pause,
        } => {
            let intention = execution::StepIntention {
                fence: *fence,
                step: *step,
                basis: execution::ExecutionBasis { plan, accounts },
                recovery_pause: *recovery_pause,
            };
            execution::intend(&mut next, &intention, limits, now)?;
        }
        ActionEvent::Answered {
            fence,
            step,
            result,
        } => execution::record_answer(&mut next, *fence, *step, result, now)?,
        ActionEvent::Observed { fence, outcome } => {
            execution::record_outcome(&mut next, *fence, outcome, now)?
        }
        ActionEvent::Tick => expire_if_due(&mut next, now)?,
    }
    Ok(next)
}

fn ensure_not_expired(action: &Action, now: Timestamp) -> Result<(), ActionRefusal> {
    if action.expires_at.is_some_and(|at| now >= at) {
        return Err(ActionRefusal::Expired {
            id: action.id.clone(),
        });
    }
    Ok(())
}

pub(super) fn wrong_state(action: &Action, what: &'static str) -> ActionRefusal {
    ActionRefusal::WrongState {
        id: action.id.clone(),
        state: action.state,
        what,
    }
}

/// Whether `by` may still approve `action`.
fn ensure_may_approve(
    action: &Action,
    by: &Actor,
    what: &'static str,
) -> Result<(), ActionRefusal> {
    check_permission(&by.roles, Operation::ApproveAction)?;
    if action.state != ActionState::Pending {
        return Err(wrong_state(action, what));
    }
    // Names that differ only in case count as one person, which is the safe assumption.
    if by.name.eq_ignore_ascii_case(&action.requested_by) {
        return Err(ActionRefusal::OwnRequest {
            id: action.id.clone(),
            name: by.name.clone(),
        });
    }
    if action
        .approvals
        .iter()
        .any(|approval| approval.by.eq_ignore_ascii_case(&by.name))
    {
        return Err(ActionRefusal::AlreadyApproved {
            id: action.id.clone(),
            name: by.name.clone(),
        });
    }
    Ok(())
}

/// Uses up the link that was sent to `target`. A person who could not approve does not.
fn open_link(
    action: &mut Action,
    by: &Actor,
    target: &str,
    target_name: &str,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    ensure_may_approve(action, by, "opening its approval link")?;
    let mut opened = action.opened_links.iter();
    if let Some(link) = opened.find(|link| link.target == target) {
        return Err(ActionRefusal::LinkUsed {
            id: action.id.clone(),
            by: link.by.clone(),
            at: link.at,
        });
    }
    action.opened_links.push(OpenedLink {
        target: target.to_owned(),
        target_name: target_name.to_owned(),
        by: by.name.clone(),
        at: now,
    });
    let text = format!("opened by the link of the notification to {target_name}");
    add_journal_entry(action, now, &by.name, &text);
    Ok(())
}

fn approve(
    action: &mut Action,
    by: &Actor,
    digest: &PlanDigest,
    comment: Option<&str>,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    ensure_may_approve(action, by, "approving")?;
    if *digest != action.plan.digest {
        return Err(ActionRefusal::DigestChanged);
    }
    let comment = validate_comment(comment)?;
    add_journal_entry(
        action,
        now,
        &by.name,
        &append_comment("approved", comment.as_deref()),
    );
    action.approvals.push(Approval {
        by: by.name.clone(),
        credential: Some(by.credential.clone()),
        at: now,
        comment,
        groups: by.groups.clone(),
        notification_target: action
            .link_of(&by.name)
            .map(|link| link.target_name.clone()),
    });
    // Settings that became stricter since the request count; those that became laxer do not.
    action.approvals_needed = action.approvals_needed.max(limits.approvals_needed);
    action.approver_groups = action.groups_needed(limits);
    let needed = usize::try_from(action.approvals_needed).unwrap_or(usize::MAX);
    if action.approvals.len() >= needed && action.missing_group().is_none() {
        action.state = ActionState::Approved;
        action.expires_at = Some(now.plus(limits.approved_timeout));
    }
    Ok(())
}

fn reject(
    action: &mut Action,
    by: &Actor,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    check_permission(&by.roles, Operation::RejectAction)?;
    if !matches!(action.state, ActionState::Pending | ActionState::Approved) {
        return Err(wrong_state(action, "rejecting"));
    }
    let comment = validate_comment(comment)?;
    end(
        action,
        ActionState::Rejected,
        &by.name,
        &append_comment(&format!("rejected by {}", by.name), comment.as_deref()),
        now,
    );
    Ok(())
}

fn cancel(
    action: &mut Action,
    by: &Actor,
    comment: Option<&str>,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    check_permission(&by.roles, Operation::CancelAction)?;
    if !matches!(action.state, ActionState::Pending | ActionState::Approved) {
        return Err(wrong_state(action, "cancelling"));
    }
    let admin = by.roles.contains(&crate::access::Role::Admin);
    if by.name != action.requested_by && !admin {
        return Err(ActionRefusal::NotRequester {
            id: action.id.clone(),
            requester: action.requested_by.clone(),
        });
    }
    let comment = validate_comment(comment)?;
    end(
        action,
        ActionState::Cancelled,
        &by.name,
        &append_comment(&format!("cancelled by {}", by.name), comment.as_deref()),
        now,
    );
    Ok(())
}

fn add_comment(
    action: &mut Action,
    by: &Actor,
    text: &str,
    now: Timestamp,
) -> Result<(), ActionRefusal> {
    check_permission(&by.roles, Operation::CommentAction)?;
    let text = validate_text(text)?;
    if text.is_empty() {
        return Err(ActionRefusal::NoReason);
    }
    if action.comments.len() >= COMMENTS_MAX {
        return Err(ActionRefusal::TooManyComments {
            id: action.id.clone(),
            limit: COMMENTS_MAX,
        });
    }
    action.comments.push(Comment {
        by: by.name.clone(),
        at: now,
        text,
    });
    Ok(())
}

fn expire_if_due(action: &mut Action, now: Timestamp) -> Result<(), ActionRefusal> {
    let due = action.expires_at.is_some_and(|at| now >= at);
    match action.state {
        ActionState::Pending if due => end(
            action,
            ActionState::Expired,
            "console",
            "not approved in time",
            now,
        ),
        ActionState::Approved if due => end(
            action,
            ActionState::Expired,
            "console",
            "not started in time",
            now,
        ),
        ActionState::Executing => return execution::enforce_deadline(action, now),
        _ => {
            return Err(ActionRefusal::NothingDue {
                id: action.id.clone(),
            });
        }
    }
    Ok(())
}

fn validate_comment(comment: Option<&str>) -> Result<Option<String>, ActionRefusal> {
    let comment = comment.map(validate_text).transpose()?;
    Ok(comment.filter(|comment| !comment.is_empty()))
}

fn append_comment(what: &str, comment: Option<&str>) -> String {
    match comment {
        Some(comment) => format!("{what}: {comment}"),
        None => what.to_owned(),
    }
}

pub(super) fn add_journal_entry(action: &mut Action, at: Timestamp, by: &str, text: &str) {
    action.journal.push(JournalEntry {
        at,
        by: by.to_owned(),
        text: text.to_owned(),
    });
}

pub(super) fn end(
    action: &mut Action,
    state: ActionState,
    by: &str,
    outcome: &str,
    now: Timestamp,
) {
    action.state = state;
    action.expires_at = None;
    action.outcome = Some(outcome.to_owned());
    action.ended_at = Some(now);
    // Some outcomes name the state themselves: "rejected by adam".
    let text = match outcome.starts_with(state.as_str()) {
        true => outcome.to_owned(),
        false => format!("{}: {outcome}", state.as_str()),
    };
    add_journal_entry(action, now, by, &text);
}
