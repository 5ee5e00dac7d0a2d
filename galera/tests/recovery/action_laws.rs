//! Laws of an action's life: whatever happens in whatever order.

use std::sync::LazyLock;
use std::time::Duration;

use galera::access::Role;
use galera::recover::action::{
    Action, Actor, Event, Limits, State, StepResult, StepState, Verdict, step,
};
use galera::recover::plan::Plan;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::life::{asked, olga, other_plan, person, plan};
use crate::scene::{NOW, at};

/// The plan that was requested, and another one.
static PLANS: LazyLock<(Plan, Plan)> = LazyLock::new(|| (plan(), other_plan()));

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Move {
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

fn moves() -> impl Strategy<Value = Vec<(Move, u64)>> {
    let who = 0_usize..4;
    let fence = 0_i64..4;
    let one = prop_oneof![
        3 => (who.clone(), any::<bool>()).prop_map(|(who, same)| Move::Approve(who, same)),
        1 => who.clone().prop_map(Move::Reject),
        1 => who.clone().prop_map(Move::Cancel),
        1 => who.prop_map(Move::Comment),
        3 => (fence.clone(), prop::bool::weighted(0.9)).prop_map(|(fence, same)| Move::Begin(fence, same)),
        2 => fence.clone().prop_map(Move::TakeOver),
        4 => (fence.clone(), prop::bool::weighted(0.9)).prop_map(|(fence, same)| Move::Intend(fence, same)),
        3 => (fence.clone(), 0_u8..3).prop_map(|(fence, kind)| Move::Answer(fence, kind)),
        3 => (fence, 0_u8..3).prop_map(|(fence, kind)| Move::Observe(fence, kind)),
        1 => Just(Move::Tick),
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

fn happen(
    action: &Action,
    what: Move,
    limits: &Limits,
    seconds: u64,
) -> Result<Action, galera::recover::action::Refusal> {
    let people = people();
    let (same, other) = &*PLANS;
    let digest = |is_same: bool| {
        if is_same {
            same.digest.as_str()
        } else {
            other.digest.as_str()
        }
    };
    let results = [
        StepResult::Done("OK".to_owned()),
        StepResult::Refused("no".to_owned()),
        StepResult::Unknown("silence".to_owned()),
    ];
    let verdicts = [
        Verdict::Proven("yes".to_owned()),
        Verdict::NotYet("not yet".to_owned()),
        Verdict::Contradicted("no".to_owned()),
    ];
    let event = match what {
        Move::Approve(who, is_same) => Event::Approve {
            by: &people[who],
            digest: digest(is_same),
            comment: None,
        },
        Move::Reject(who) => Event::Reject {
            by: &people[who],
            comment: None,
        },
        Move::Cancel(who) => Event::Cancel {
            by: &people[who],
            comment: None,
        },
        Move::Comment(who) => Event::Comment {
            by: &people[who],
            text: "hm",
        },
        Move::Begin(fence, is_same) => Event::Begin {
            by: None,
            replica: "r1",
            fence,
            plan: if is_same { same } else { other },
            off: None,
        },
        Move::TakeOver(fence) => Event::TakeOver {
            replica: "r2",
            fence,
        },
        Move::Intend(fence, is_same) => Event::Intend {
            fence,
            step: 0,
            digest: digest(is_same),
            off: None,
        },
        Move::Answer(fence, kind) => Event::Answered {
            fence,
            step: 0,
            result: results[usize::from(kind)].clone(),
        },
        Move::Observe(fence, kind) => Event::Observed {
            fence,
            verdict: verdicts[usize::from(kind)].clone(),
        },
        Move::Tick => Event::Tick,
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
    fn i16_i17_i19_no_life_breaks_the_laws(moves in moves(), approvals in 1_u32..3) {
        let limits = Limits { approvals, ..Limits::default() };
        let mut action = asked(&olga(), &PLANS.0, &limits).unwrap();
        let (mut now, mut intentions) = (0, 0);
        for (what, wait) in moves {
            now += wait;
            let Ok(next) = happen(&action, what, &limits, now) else {
                continue;
            };
            prop_assert!(!action.state.is_final(), "{what:?} changed a final state");
            prop_assert_eq!(&next.plan, &action.plan);
            prop_assert!(next.journal.starts_with(&action.journal));
            prop_assert!(next.approvals.starts_with(&action.approvals));
            if matches!(what, Move::Intend(..)) && next.steps[0].state == StepState::Intended {
                intentions += 1;
                prop_assert_eq!(action.state, State::Executing);
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
        if action.state == State::Succeeded || action.state == State::Unverified {
            prop_assert!(action.may_have_acted());
        }
        // Whatever happened: left alone, it ends.
        let end = happen(&action, Move::Tick, &limits, now + 3_600);
        prop_assert!(action.state.is_final() || end.unwrap().state.is_final());
    }
}
