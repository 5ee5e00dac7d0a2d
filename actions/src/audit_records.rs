//! Audit records of an action's transitions.

use std::collections::BTreeMap;

use galera::record::audit::{AuditEvent, AuditRecord, detail};
use galera::recover::action::{Action, StepState};
use galera::recover::plan::PlanStep;
use galera::{ReplicaId, Timestamp};

/// An audit record about `action`.
pub(super) fn action_record(
    action: &Action,
    actor: &str,
    event: AuditEvent,
    detail: BTreeMap<String, String>,
    at: Timestamp,
) -> AuditRecord {
    AuditRecord {
        at,
        actor: actor.to_owned(),
        event,
        cluster: Some(action.cluster.clone()),
        subject: Some(action.id.to_string()),
        detail,
    }
}

/// The details of a request: what was requested and what the requester saw.
pub(super) fn request_details(action: &Action) -> BTreeMap<String, String> {
    let mut details = BTreeMap::from([
        (detail::KIND.to_owned(), action.kind.to_string()),
        ("digest".to_owned(), action.plan.digest.to_string()),
        (detail::SUMMARY.to_owned(), action.plan.summary.clone()),
        (detail::REASON.to_owned(), action.reason.clone()),
        (
            detail::APPROVALS_NEEDED.to_owned(),
            action.approvals_needed.to_string(),
        ),
    ]);
    for (index, step) in action.plan.steps.iter().enumerate().take(20) {
        details.insert(format!("step_{}", index + 1), describe_step(step));
    }
    if action.plan.steps.len() > 20 {
        details.insert("steps".to_owned(), action.plan.steps.len().to_string());
    }
    if !action.attestations.is_empty() {
        let attested: Vec<String> = action
            .attestations
            .iter()
            .map(|attestation| format!("{} {}", attestation.node, attestation.statement))
            .collect();
        details.insert("attestations".to_owned(), attested.join(", "));
    }
    if let Some(break_glass) = &action.break_glass {
        let codes: Vec<&str> = break_glass
            .overrides
            .iter()
            .map(|code| code.as_str())
            .collect();
        details.insert(detail::BREAK_GLASS.to_owned(), codes.join(", "));
    }
    details
}

/// Describes a step in one line.
pub(super) fn describe_step(step: &PlanStep) -> String {
    match step {
        PlanStep::Statement { node, statement } => format!("{node}: {statement}"),
        PlanStep::Key {
            key,
            mod_revision,
            value: None,
        } => format!("delete {key} as of revision {mod_revision}"),
        PlanStep::Key {
            key,
            mod_revision,
            value: Some(value),
        } => format!("put {key} as of revision {mod_revision}: {value}"),
    }
}

/// The audit records of an executor's transition from `before` to `after`.
pub(super) fn execution_records(
    before: &Action,
    after: &Action,
    replica: &ReplicaId,
    at: Timestamp,
) -> Vec<AuditRecord> {
    let mut records = Vec::new();
    let mut record = |event, details: Vec<(&str, String)>| {
        let details = details
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        records.push(action_record(after, replica.as_str(), event, details, at));
    };
    match (&before.execution, &after.execution) {
        (None, Some(now)) => record(
            AuditEvent::ACTION_BEGAN,
            vec![
                ("by", now.by.clone()),
                ("digest", after.plan.digest.to_string()),
                ("fence", now.fence.to_string()),
            ],
        ),
        (Some(was), Some(now)) if was.fence != now.fence => record(
            AuditEvent::ACTION_TAKEN_OVER,
            vec![
                ("from", was.replica.to_string()),
                ("fence", now.fence.to_string()),
            ],
        ),
        _ => {}
    }
    for (index, (was, now)) in before.steps.iter().zip(&after.steps).enumerate() {
        if was.state == now.state {
            continue;
        }
        let number = (index + 1).to_string();
        if was.state == StepState::Waiting {
            let text = after
                .plan
                .steps
                .get(index)
                .map(describe_step)
                .unwrap_or_default();
            record(
                AuditEvent::ACTION_STEP,
                vec![("step", number.clone()), ("does", text)],
            );
        }
        if now.state != StepState::Intended {
            let result = match now.state {
                StepState::Done => "done",
                StepState::Refused => "refused",
                _ => "unknown",
            };
            let answer = now.answer.clone().unwrap_or_default();
            record(
                AuditEvent::ACTION_ANSWERED,
                vec![
                    ("step", number),
                    ("result", result.to_owned()),
                    ("answer", answer),
                ],
            );
        }
    }
    records.extend(end_record(before, after, replica.as_str(), at));
    records
}

/// The audit record of the action's end, if this transition ends it.
pub(super) fn end_record(
    before: &Action,
    after: &Action,
    actor: &str,
    at: Timestamp,
) -> Option<AuditRecord> {
    (!before.state.is_final() && after.state.is_final()).then(|| {
        let details = BTreeMap::from([
            (detail::STATE.to_owned(), after.state.as_str().to_owned()),
            (
                detail::OUTCOME.to_owned(),
                after.outcome.clone().unwrap_or_default(),
            ),
        ]);
        action_record(after, actor, AuditEvent::ACTION_ENDED, details, at)
    })
}
