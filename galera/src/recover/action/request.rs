//! Turns a request into an action that is bound to a plan.

use super::{
    Action, ActionLimits, ActionRefusal, ActionState, Actor, BreakGlass, JournalEntry, StepRecord,
    StepState, TEXT_MAX,
};
use crate::access::{Operation, check_permission};
use crate::id::{ActionId, ClusterName};
use crate::recover::plan::{CheckCode, CheckStatus, Plan, PlanDigest};
use crate::timestamp::Timestamp;

/// A requested emergency override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRequest {
    /// Must be exactly the checks that fail.
    pub overrides: Vec<CheckCode>,
}

/// A request for an action, as the operator submitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionRequest<'a> {
    /// A new, unique id.
    pub id: &'a ActionId,
    pub by: &'a Actor,
    /// The digest of the plan that the requester saw.
    pub plan_digest: &'a PlanDigest,
    /// The cluster's name as typed.
    pub confirm: &'a str,
    pub reason: &'a str,
    pub break_glass: Option<BreakGlassRequest>,
}

/// Creates an action. `shown` is the current plan without the request's attestations, which is what the requester saw;
/// `plan` is the plan with them, to which the action is bound.
///
/// # Errors
/// [`ActionRefusal`] for the first rule that the request breaks.
pub fn request_action(
    request: &ActionRequest<'_>,
    shown: &Plan,
    plan: &Plan,
    limits: &ActionLimits,
    now: Timestamp,
) -> Result<Action, ActionRefusal> {
    check_permission(&request.by.roles, Operation::RequestAction).or_else(|denied| {
        // An administrator who overrides checks need not be an operator as well.
        match request.break_glass {
            Some(_) => check_permission(&request.by.roles, Operation::BreakGlass),
            None => Err(denied),
        }
    })?;
    if ClusterName::from_wsrep_name(request.confirm).as_ref() != Ok(&plan.cluster) {
        return Err(ActionRefusal::NotConfirmed {
            typed: request.confirm.chars().take(100).collect(),
            cluster: plan.cluster.display_name().into_owned(),
        });
    }
    let reason = validate_text(request.reason)?;
    if reason.is_empty() {
        return Err(ActionRefusal::NoReason);
    }
    if *request.plan_digest != shown.digest && *request.plan_digest != plan.digest {
        return Err(ActionRefusal::DigestChanged);
    }
    let break_glass = validate_override(request, plan, &reason)?;
    if break_glass.is_none() && !plan.executable {
        return Err(ActionRefusal::NotExecutable(blocking_reasons(plan)));
    }
    // An override always needs a second person.
    let needed = match break_glass {
        Some(_) => limits.approvals_needed.max(1),
        None => limits.approvals_needed,
    };
    let groups = u32::try_from(limits.approver_groups.len()).unwrap_or(u32::MAX);
    let needed = needed.max(groups);
    let approved = needed == 0;
    let timeout = if approved {
        limits.approved_timeout
    } else {
        limits.pending_timeout
    };
    Ok(Action {
        id: request.id.clone(),
        kind: plan.kind,
        cluster: plan.cluster.clone(),
        state: if approved {
            ActionState::Approved
        } else {
            ActionState::Pending
        },
        requested_by: request.by.name.clone(),
        requester_credential: Some(request.by.credential.clone()),
        requested_at: now,
        reason: reason.clone(),
        attestations: plan.attestations.clone(),
        approvals_needed: needed,
        approver_groups: limits.approver_groups.clone(),
        approvals: Vec::new(),
        opened_links: Vec::new(),
        break_glass,
        expires_at: Some(now.plus(timeout)),
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

/// The requested override, if it names exactly the failing checks and all of them can be overridden.
fn validate_override(
    request: &ActionRequest<'_>,
    plan: &Plan,
    reason: &str,
) -> Result<Option<BreakGlass>, ActionRefusal> {
    let Some(requested) = &request.break_glass else {
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
    let forbidden = plan
        .failing()
        .find(|check| is_never_overridable(&check.code, check.status));
    if let Some(check) = forbidden {
        return Err(ActionRefusal::NotOverridable(check.code.to_string()));
    }
    let mut overrides = requested.overrides.clone();
    overrides.sort();
    overrides.dedup();
    if overrides != failing {
        let failing: Vec<&str> = failing.iter().map(CheckCode::as_str).collect();
        return Err(ActionRefusal::OverridesDiffer {
            failing: failing.join(", "),
        });
    }
    Ok(Some(BreakGlass {
        by: request.by.name.clone(),
        overrides,
        reason: reason.to_owned(),
    }))
}

/// Checks that cannot be overridden: a visible Primary, paused recovery, another open action, a false attestation, an
/// unreadable registry, and for clean-up the conditions without which a container would found a new cluster.
pub(super) fn is_never_overridable(code: &CheckCode, status: CheckStatus) -> bool {
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
        CheckCode::ORDER_ACCEPTED,
        CheckCode::V2_REGISTRY,
        CheckCode::MEMBER_HELD,
        CheckCode::DONOR_AVAILABLE,
        CheckCode::KEEPS_DATA,
        CheckCode::CLUSTER_PRIMARY,
        CheckCode::NOBODY_STARTING,
        CheckCode::READ_LONG_ENOUGH,
        CheckCode::KEEPS_VERIFIED,
        CheckCode::NOBODY_ANSWERS,
        CheckCode::ALL_ATTESTED,
    ];
    always.contains(code) || (*code == CheckCode::NOBODY_PRIMARY && status == CheckStatus::Fail)
}

/// `text` trimmed, if it is at most [`TEXT_MAX`] characters long.
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
