//! The beginning: a request that binds to a plan.

use super::{
    Action, ActionLimits, ActionRefusal, ActionState, Actor, BreakGlass, JournalEntry, StepRecord,
    StepState, TEXT_MAX,
};
use crate::access::{Operation, check_permission};
use crate::recover::plan::{CheckCode, CheckStatus, Plan};
use crate::timestamp::Timestamp;

/// An override that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRequest {
    /// The checks, exactly those that fail.
    pub overrides: Vec<CheckCode>,
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRequest<'a> {
    /// A fresh identity.
    pub id: &'a str,
    /// Who asks.
    pub by: &'a Actor,
    /// The digest of the plan that they saw.
    pub plan_digest: &'a str,
    /// The cluster's name as they typed it.
    pub confirm: &'a str,
    /// Why.
    pub reason: &'a str,
    /// The override, if they ask for one.
    pub break_glass: Option<BreakGlassRequest>,
}

/// Makes an action of a request. `shown` is the plan as of now without the request's attestations, which is what the
/// requester saw; `plan` is the one with them, to which the action binds.
///
/// # Errors
/// [`ActionRefusal`]; nothing is recorded then.
pub fn request_action(
    request: &ActionRequest<'_>,
    shown: &Plan,
    plan: &Plan,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<Action, ActionRefusal> {
    check_permission(&request.by.roles, Operation::RequestAction).or_else(|denied| {
        // An administrator who overrides need not be an operator too.
        match request.break_glass {
            Some(_) => check_permission(&request.by.roles, Operation::BreakGlass),
            None => Err(denied),
        }
    })?;
    if request.confirm != plan.cluster.as_str() {
        return Err(ActionRefusal::NotConfirmed {
            typed: request.confirm.chars().take(100).collect(),
            cluster: plan.cluster.to_string(),
        });
    }
    let reason = validate_text(request.reason)?;
    if reason.is_empty() {
        return Err(ActionRefusal::NoReason);
    }
    if request.plan_digest != shown.digest && request.plan_digest != plan.digest {
        return Err(ActionRefusal::DigestChanged);
    }
    let break_glass = validate_override(request, plan, &reason)?;
    if break_glass.is_none() && !plan.executable {
        return Err(ActionRefusal::NotExecutable(blocking_reasons(plan)));
    }
    // Whoever overrides checks never decides alone.
    let needed = match break_glass {
        Some(_) => limits.approvals_needed.max(1),
        None => limits.approvals_needed,
    };
    let approved = needed == 0;
    let lasts = if approved {
        limits.approved_timeout
    } else {
        limits.pending_timeout
    };
    Ok(Action {
        id: request.id.to_owned(),
        kind: plan.kind,
        cluster: plan.cluster.clone(),
        state: if approved {
            ActionState::Approved
        } else {
            ActionState::Pending
        },
        requested_by: request.by.name.clone(),
        requested_at: now,
        reason: reason.clone(),
        attestations: plan.attestations.clone(),
        approvals_needed: needed,
        approvals: Vec::new(),
        break_glass,
        expires_at: Some(now.plus(lasts)),
        execution: None,
        steps: plan.steps.iter().map(|_| waiting_step()).collect(),
        journal: vec![JournalEntry {
            at: now,
            by: request.by.name.clone(),
            text: format!("requested: {reason}"),
        }],
        comments: Vec::new(),
        outcome: None,
        ended_at: None,
        plan: plan.clone(),
    })
}

fn waiting_step() -> StepRecord {
    StepRecord {
        state: StepState::Waiting,
        intended_at: None,
        replica: None,
        answer: None,
    }
}

fn blocking_reasons(plan: &Plan) -> String {
    let failing: Vec<&str> = plan.failing().map(|check| check.message.as_str()).collect();
    match failing.as_slice() {
        [] => "there is nothing to do".to_owned(),
        messages => messages.join(" "),
    }
}

/// The override, when it names exactly what fails and nothing of that is beyond overriding.
fn validate_override(
    request: &ActionRequest<'_>,
    plan: &Plan,
    reason: &str,
) -> Result<Option<BreakGlass>, ActionRefusal> {
    let Some(wanted) = &request.break_glass else {
        return Ok(None);
    };
    check_permission(&request.by.roles, Operation::BreakGlass)?;
    let mut failing: Vec<CheckCode> = plan.failing().map(|check| check.code.clone()).collect();
    failing.sort();
    failing.dedup();
    if plan.steps.is_empty() {
        return Err(ActionRefusal::NotExecutable(blocking_reasons(plan)));
    }
    if failing.is_empty() {
        return Err(ActionRefusal::NothingToOverride);
    }
    let beyond = plan
        .failing()
        .find(|check| is_never_overridable(&check.code, check.status));
    if let Some(check) = beyond {
        return Err(ActionRefusal::NotOverridable(check.code.to_string()));
    }
    let mut named = wanted.overrides.clone();
    named.sort();
    named.dedup();
    if named != failing {
        let failing: Vec<&str> = failing.iter().map(CheckCode::as_str).collect();
        return Err(ActionRefusal::OverridesDiffer {
            failing: failing.join(", "),
        });
    }
    Ok(Some(BreakGlass {
        by: request.by.name.clone(),
        overrides: named,
        reason: reason.to_owned(),
    }))
}

/// What nobody may override: a Primary that is seen, a switch that somebody turned, an action that is open, a false
/// attestation, a registry that cannot record, and for clean-up the conditions without which containers found anew.
fn is_never_overridable(code: &CheckCode, status: CheckStatus) -> bool {
    let always = [
        CheckCode::REGISTRY_READABLE,
        CheckCode::RECOVERY_ENABLED,
        CheckCode::NO_OTHER_RECOVERY,
        CheckCode::ATTESTATIONS_HOLD,
        CheckCode::ONE_HISTORY,
        CheckCode::CANDIDATE,
        CheckCode::EXECUTOR_READY,
        CheckCode::SQL_ACCOUNT,
        CheckCode::AGENT_WAITS,
        CheckCode::CLUSTER_PRIMARY,
        CheckCode::NOBODY_STARTING,
        CheckCode::READ_LONG_ENOUGH,
        CheckCode::KEEPS_VERIFIED,
        CheckCode::NOBODY_ANSWERS,
        CheckCode::ALL_ATTESTED,
    ];
    always.contains(code) || (*code == CheckCode::NOBODY_PRIMARY && status == CheckStatus::Fail)
}

/// A text for the record: trimmed, not too long.
pub(super) fn validate_text(text: &str) -> Result<String, ActionRefusal> {
    let text = text.trim();
    let length = text.chars().count();
    if length > TEXT_MAX {
        return Err(ActionRefusal::TooLong {
            length,
            limit: TEXT_MAX,
        });
    }
    Ok(text.to_owned())
}
