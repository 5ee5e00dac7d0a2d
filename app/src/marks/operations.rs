//! Marks of plans, actions and deliveries; server-side only.

use galera::insight::findings::FindingSeverity;
use galera::insight::rolling_restart::RestartState;
use galera::publish::notification::delivery::{Delivery, DeliveryState};
use galera::recover::action::{ActionState, StepState};
use galera::recover::plan::{ActionKind, CheckStatus, Plan};
use galera::view::VerdictState;

use super::{
    ARROW, BARRED_RING, CHECKED_DISC, CROSS, DASHED, DISC, FORK, HALF_DIAMOND, HALF_DISC, QUESTION,
    RING, SQUARE, StateMark, TRIANGLE, mark,
};

pub(crate) const fn action_kind_label(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Bootstrap => "Bootstrap",
        ActionKind::Cleanup => "Cleanup",
        ActionKind::Decommission => "Decommission",
        ActionKind::Positions => "Correct positions",
        ActionKind::Rejoin => "Rejoin",
    }
}

pub(crate) const fn check_mark(status: CheckStatus) -> StateMark {
    match status {
        CheckStatus::Pass => mark("Pass", "ok", CHECKED_DISC),
        CheckStatus::Attested => mark("Confirmed", "busy", HALF_DISC),
        CheckStatus::Unknown => mark("Unknown", "off", QUESTION),
        CheckStatus::Fail => mark("Fail", "bad", CROSS),
    }
}

/// A plan that was not requested.
pub(crate) const NOT_PLANNED: StateMark = mark("Not planned", "off", SQUARE);

/// Whether a plan can be executed.
pub(crate) fn plan_mark(plan: &Plan) -> StateMark {
    if plan.executable {
        mark("Ready", "ok", CHECKED_DISC)
    } else if plan.steps.is_empty() && plan.commands.is_empty() {
        mark("Nothing to do", "off", SQUARE)
    } else {
        mark("Blocked", "warn", BARRED_RING)
    }
}

pub(crate) const fn action_mark(state: ActionState) -> StateMark {
    match state {
        ActionState::Pending => mark("Waiting for approval", "busy", RING),
        ActionState::Approved => mark("Approved", "busy", HALF_DISC),
        ActionState::Executing => mark("Executing", "busy", ARROW),
        ActionState::Succeeded => mark("Succeeded", "ok", CHECKED_DISC),
        ActionState::Failed => mark("Failed", "bad", CROSS),
        ActionState::Unverified => mark("Unverified", "bad", TRIANGLE),
        ActionState::Rejected => mark("Rejected", "off", BARRED_RING),
        ActionState::Cancelled => mark("Cancelled", "off", SQUARE),
        ActionState::Expired => mark("Expired", "off", DASHED),
        ActionState::Superseded => mark("Superseded", "warn", FORK),
    }
}

pub(crate) const fn target_mark(enabled: bool) -> StateMark {
    if enabled {
        mark("Enabled", "ok", DISC)
    } else {
        mark("Disabled", "off", SQUARE)
    }
}

pub(crate) const fn delivery_mark(delivery: &Delivery) -> StateMark {
    match (delivery.state, delivery.attempts) {
        (DeliveryState::Delivered, _) => mark("Delivered", "ok", CHECKED_DISC),
        (DeliveryState::Failed, _) => mark("Failed", "bad", CROSS),
        (DeliveryState::Waiting, 0) => mark("Waiting", "busy", RING),
        (DeliveryState::Waiting, _) => mark("Retrying", "warn", TRIANGLE),
    }
}

pub(crate) const fn step_mark(state: StepState) -> StateMark {
    match state {
        StepState::Waiting => mark("Waiting", "off", RING),
        StepState::Intended => mark("In progress", "busy", ARROW),
        StepState::Done => mark("Done", "ok", DISC),
        StepState::Refused => mark("Refused", "bad", CROSS),
        StepState::Unknown => mark("Unknown", "bad", QUESTION),
    }
}

pub(crate) const fn finding_mark(severity: FindingSeverity) -> StateMark {
    match severity {
        FindingSeverity::Critical => mark("Critical", "bad", TRIANGLE),
        FindingSeverity::Warning => mark("Warning", "warn", HALF_DIAMOND),
        FindingSeverity::Notice => mark("Notice", "off", RING),
    }
}

pub(crate) const fn restart_mark(state: RestartState) -> StateMark {
    match state {
        RestartState::Restarted => mark("Restarted", "ok", CHECKED_DISC),
        RestartState::Returning => mark("Waiting", "busy", HALF_DISC),
        RestartState::Next => mark("Next", "busy", ARROW),
        RestartState::Blocked => mark("Blocked", "warn", BARRED_RING),
        RestartState::Later => mark("Later", "off", SQUARE),
    }
}

/// An explanation of a verdict, shown on its page.
pub(crate) const fn verdict_description(state: VerdictState) -> &'static str {
    match state {
        VerdictState::Healthy => {
            "One Primary component contains every expected member, all of them Synced."
        }
        VerdictState::Degraded => {
            // True for every reason: with an alarm about the data, or while writes are refused, every member may be Synced.
            "There is a Primary component, but something is missing or at risk; the reasons name it."
        }
        VerdictState::Unknown => {
            "The console has too little data. The cluster itself may be working."
        }
        VerdictState::NoPrimary => {
            "Nodes are reachable, but no component is Primary: the cluster accepts no queries."
        }
        VerdictState::Down => {
            "Every expected member refuses connections or reports itself stopped."
        }
        VerdictState::Diverged => "Members hold different histories (their state UUIDs differ).",
        VerdictState::SplitBrain => "Two disjoint components both report being Primary.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn states_differ_in_label_and_shape() {
        let marks: Vec<StateMark> = ActionState::ALL.into_iter().map(action_mark).collect();
        let labels: HashSet<_> = marks.iter().map(|m| m.label).collect();
        let shapes: HashSet<_> = marks.iter().map(|m| m.shape).collect();
        assert_eq!((labels.len(), shapes.len()), (marks.len(), marks.len()));
    }
}
