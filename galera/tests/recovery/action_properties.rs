//! Properties of actions under any sequence of events.

use std::sync::LazyLock;
use std::time::Duration;

use galera::access::Role;
use galera::recover::action::{
    Action, ActionEvent, ActionLimits, ActionState, Actor, ObservedOutcome, StepResult, StepState,
    step,
};
use galera::recover::plan::Plan;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::action_fixture::{R1, R2, accounts, olga, other_plan, person, plan, requested};
use crate::fixture::{NOW, at};

/// The requested plan, and another one.
static PLANS: LazyLock<(Plan, Plan)> = LazyLock::new(|| (plan(), other_plan()));

#[derive(Clone, Copy, Debug)]
enum GeneratedEvent {
    Approve(usize, bool),
    Reject(usize),
    Cancel(usize),
    Comment(usize),
    Begin(i64, bool),
    TakeOver(i64),
    Intend(i64, bool),
    Answer(i64, u8),
    Observe(i64, u8),
    Tick,
}

fn generated_events() -> impl Strategy<Value = Vec<(GeneratedEvent, u64)>> {
    let account = 0_usize..4;
    let fence = 0_i64..4;
    let one = prop_oneof![
        3 => (account.clone(), any::<bool>()).prop_map(|(account, same)| GeneratedEvent::Approve(account, same)),
        1 => account.clone().prop_map(GeneratedEvent::Reject),
        1 => account.clone().prop_map(GeneratedEvent::Cancel),
        1 => account.prop_map(GeneratedEvent::Comment),
        3 => (fence.clone(), prop::bool::weighted(0.9)).prop_map(|(fence, same)| GeneratedEvent::Begin(fence, same)),
        2 => fence.clone().prop_map(GeneratedEvent::TakeOver),
        4 => (fence.clone(), prop::bool::weighted(0.9)).prop_map(|(fence, same)| GeneratedEvent::Intend(fence, same)),
        3 => (fence.clone(), 0_u8..3).prop_map(|(fence, kind)| GeneratedEvent::Answer(fence, kind)),
        3 => (fence, 0_u8..3).prop_map(|(fence, kind)| GeneratedEvent::Observe(fence, kind)),
        1 => Just(GeneratedEvent::Tick),
    ];
    vec((one, 0_u64..40), 1..40)
}

fn people() -> [Actor; 4] {
    [
        person("olga", &Role::ALL),
        person("adam", &[Role::Approver]),
        person("eve", &[Role::Approver, Role::Admin]),
        person("vera", &[Role::Viewer]),
    ]
}

fn apply(
    action: &Action,
    what: GeneratedEvent,
    limits: &ActionLimits,
    seconds: u64,
) -> Result<Action, galera::recover::action::ActionRefusal> {
    let people = people();
    let accounts = accounts(&people);
    let (same, other) = &*PLANS;
    let digest = |is_same: bool| {
        if is_same { &same.digest } else { &other.digest }
    };
    let results = [
        StepResult::Done("OK".to_owned()),
        StepResult::Refused("no".to_owned()),
        StepResult::Unknown("silence".to_owned()),
    ];
    let verdicts = [
        ObservedOutcome::Proven("yes".to_owned()),
        ObservedOutcome::NotYet("not yet".to_owned()),
        ObservedOutcome::Contradicted("no".to_owned()),
    ];
    let event = match what {
        GeneratedEvent::Approve(account, is_same) => ActionEvent::Approve {
            by: &people[account],
            digest: digest(is_same),
            comment: None,
        },
        GeneratedEvent::Reject(account) => ActionEvent::Reject {
            by: &people[account],
            comment: None,
        },
        GeneratedEvent::Cancel(account) => ActionEvent::Cancel {
            by: &people[account],
            comment: None,
        },
        GeneratedEvent::Comment(account) => ActionEvent::Comment {
            by: &people[account],
            text: "hm",
        },
        GeneratedEvent::Begin(fence, is_same) => ActionEvent::Begin {
            by: None,
            replica: &R1,
            fence,
            plan: if is_same { same } else { other },
            accounts: &accounts,
            recovery_pause: None,
        },
        GeneratedEvent::TakeOver(fence) => ActionEvent::TakeOver {
            replica: &R2,
            fence,
        },
        GeneratedEvent::Intend(fence, is_same) => ActionEvent::Intend {
            fence,
            step: 0,
            plan: if is_same { same } else { other },
            accounts: &accounts,
            recovery_pause: None,
        },
        GeneratedEvent::Answer(fence, kind) => ActionEvent::Answered {
            fence,
            step: 0,
            result: results[usize::from(kind)].clone(),
        },
        GeneratedEvent::Observe(fence, kind) => ActionEvent::Observed {
            fence,
            outcome: verdicts[usize::from(kind)].clone(),
        },
        GeneratedEvent::Tick => ActionEvent::Tick,
    };
    step(
        action,
        &event,
        limits,
        at(NOW).plus(Duration::from_secs(seconds)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn i16_i17_i19_no_sequence_of_events_breaks_an_invariant(moves in generated_events(), approvals in 1_u32..3) {
        let limits = ActionLimits { approvals_needed: approvals, ..ActionLimits::default() };
        let mut action = requested(&olga(), &PLANS.0, &limits).unwrap();
        let (mut now, mut intentions) = (0, 0);
        for (what, wait) in moves {
            now += wait;
            let Ok(next) = apply(&action, what, &limits, now) else {
                continue;
            };
            prop_assert!(!action.state.is_final(), "{what:?} changed a final state");
            prop_assert_eq!(&next.plan, &action.plan);
            prop_assert!(next.journal.starts_with(&action.journal));
            prop_assert!(next.approvals.starts_with(&action.approvals));
            if matches!(what, GeneratedEvent::Intend(..)) && next.steps[0].state == StepState::Intended {
                intentions += 1;
                prop_assert_eq!(action.state, ActionState::Executing);
            }
            if let (Some(before), Some(after)) = (&action.execution, &next.execution) {
                prop_assert!(after.fence >= before.fence);
                prop_assert_eq!(after.deadline, before.deadline);
            }
            prop_assert_eq!(next.state.is_final(), next.outcome.is_some() && next.ended_at.is_some());
            action = next;
        }
        prop_assert!(intentions <= 1);
        let approvers: std::collections::BTreeSet<&str> = action.approvals.iter().map(|approval| approval.by.as_str()).collect();
        prop_assert_eq!(approvers.len(), action.approvals.len());
        prop_assert!(!approvers.contains("olga"));
        if action.execution.is_some() {
            prop_assert!(action.approvals.len() >= approvals as usize);
        }
        if action.state == ActionState::Succeeded || action.state == ActionState::Unverified {
            prop_assert!(action.may_have_acted());
        }
        // Without further events, every action ends.
        let end = apply(&action, GeneratedEvent::Tick, &limits, now + 3_600);
        prop_assert!(action.state.is_final() || end.unwrap().state.is_final());
    }
}
