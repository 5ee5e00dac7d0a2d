//! Execution: lock, intention, answer, observation, end; and every step at which an executor may crash.

use galera::recover::action::{
    Action, ActionEvent, ActionState, NextStep, ObservedOutcome, RecoveryPause, StepResult,
    StepState,
};

use crate::action_fixture::{
    EVERYBODY, R1, R2, after, answered, approved, begin, done, executing, intend, intended, later,
    observed, other_plan, pending, plan,
};
use crate::cleanup_action::{cleanup_executing, cleanup_intend};
use crate::fixture::at;

fn proven() -> ObservedOutcome {
    ObservedOutcome::Proven("n1 is Primary and Synced".to_owned())
}

fn off() -> RecoveryPause {
    RecoveryPause {
        by: "anna".to_owned(),
        at: at(0),
        reason: "maintenance".to_owned(),
    }
}

#[test]
fn the_whole_life() {
    let action = executing();
    assert_eq!(action.next_step(), Some(NextStep::Execute(0)));
    assert_eq!(action.execution.as_ref().unwrap().deadline, later(20 + 60));
    let action = intended();
    assert_eq!(action.next_step(), Some(NextStep::Observe));
    assert_eq!(action.steps[0].state, StepState::Intended);
    let action = done();
    assert_eq!(action.next_step(), Some(NextStep::Observe));
    let action = after(
        &action,
        &observed(
            7,
            ObservedOutcome::NotYet("n1 is not Primary yet".to_owned()),
        ),
        23,
    )
    .unwrap();
    assert_eq!(action.state, ActionState::Executing);
    let action = after(&action, &observed(7, proven()), 24).unwrap();
    assert_eq!(action.state, ActionState::Succeeded);
    assert_eq!(action.outcome.as_deref(), Some("n1 is Primary and Synced"));
    let texts: Vec<&str> = action
        .journal
        .iter()
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "requested: two hosts lost power",
            "approved: seen it",
            "started by r1",
            "step 1 is about to be executed",
            "step 1 completed: OK",
            "n1 is not Primary yet",
            "succeeded: n1 is Primary and Synced",
        ]
    );
}

#[test]
fn nothing_executes_before_approval_or_while_recovery_is_off() {
    let plan = plan();
    assert_eq!(
        after(&pending(), &begin(&plan, 7), 1).unwrap_err().code(),
        "wrong_state"
    );
    let off = off();
    let begin = ActionEvent::Begin {
        by: None,
        replica: &R1,
        fence: 7,
        plan: &plan,
        accounts: &EVERYBODY,
        recovery_pause: Some(&off),
    };
    assert_eq!(
        after(&approved(), &begin, 20).unwrap_err().code(),
        "recovery_off"
    );
    let intend = ActionEvent::Intend {
        fence: 7,
        step: 0,
        plan: &plan,
        accounts: &EVERYBODY,
        recovery_pause: Some(&off),
    };
    assert_eq!(
        after(&executing(), &intend, 21).unwrap_err().code(),
        "recovery_off"
    );
}

#[test]
fn i16_another_digest_supersedes_and_does_nothing() {
    let action = after(&approved(), &begin(&other_plan(), 7), 20).unwrap();
    assert_eq!(action.state, ActionState::Superseded);
    assert!(!action.may_have_acted());
    let late = after(&executing(), &intend(&other_plan(), 7), 21).unwrap();
    assert_eq!(
        late.state,
        ActionState::Superseded,
        "also between lock and statement"
    );
    assert!(!late.may_have_acted());
}

#[test]
fn i17_a_step_is_never_intended_twice() {
    let plan = plan();
    for action in [intended(), done()] {
        assert_eq!(
            after(&action, &intend(&plan, 7), 23).unwrap_err().code(),
            "already_intended"
        );
        let taken = after(
            &action,
            &ActionEvent::TakeOver {
                replica: &R2,
                fence: 9,
            },
            40,
        )
        .unwrap();
        assert_eq!(taken.next_step(), Some(NextStep::Observe));
        assert_eq!(
            after(&taken, &intend(&plan, 9), 41).unwrap_err().code(),
            "already_intended"
        );
    }
}

#[test]
fn i17_only_a_newer_lock_takes_over_and_the_old_one_is_fenced() {
    for fence in [6, 7] {
        let take = ActionEvent::TakeOver {
            replica: &R2,
            fence,
        };
        assert_eq!(after(&executing(), &take, 30).unwrap_err().code(), "fenced");
    }
    let taken = after(
        &executing(),
        &ActionEvent::TakeOver {
            replica: &R2,
            fence: 9,
        },
        30,
    )
    .unwrap();
    assert_eq!(
        after(&taken, &intend(&plan(), 7), 31).unwrap_err().code(),
        "fenced"
    );
    assert_eq!(
        after(&taken, &observed(7, proven()), 31)
            .unwrap_err()
            .code(),
        "fenced"
    );
    assert_eq!(
        taken.next_step(),
        Some(NextStep::Execute(0)),
        "nothing was intended: the successor may do it"
    );
    assert!(after(&taken, &intend(&plan(), 9), 31).is_ok());
}

/// An executor may crash at any of these; its successor ends the action without a second attempt.
#[test]
fn i17_a_successor_finishes_from_every_step() {
    let refused =
        |action: &Action| after(action, &intend(&plan(), 9), 41).map_err(|refusal| refusal.code());
    let unknown = after(
        &intended(),
        &answered(7, StepResult::Unknown("no answer in 3 s".to_owned())),
        24,
    )
    .unwrap();
    for (action, may_do) in [
        (executing(), true),
        (intended(), false),
        (unknown, false),
        (done(), false),
    ] {
        let taken = after(
            &action,
            &ActionEvent::TakeOver {
                replica: &R2,
                fence: 9,
            },
            40,
        )
        .unwrap();
        assert_eq!(refused(&taken).is_ok(), may_do, "{:?}", action.steps);
        if !may_do {
            let seen = after(&taken, &observed(9, proven()), 42).unwrap();
            assert_eq!(seen.state, ActionState::Succeeded);
        }
        let unseen = after(&taken, &ActionEvent::Tick, 20 + 60).unwrap();
        let expected = if may_do {
            ActionState::Failed
        } else {
            ActionState::Unverified
        };
        assert_eq!(unseen.state, expected);
    }
}

#[test]
fn i17_only_the_sender_knows_that_nothing_arrived() {
    let taken = after(
        &intended(),
        &ActionEvent::TakeOver {
            replica: &R2,
            fence: 9,
        },
        40,
    )
    .unwrap();
    let refused = answered(9, StepResult::Refused("connection refused".to_owned()));
    assert_eq!(after(&taken, &refused, 41).unwrap_err().code(), "not_next");
}

#[test]
fn a_refused_step_fails_without_another_attempt() {
    let refused = answered(7, StepResult::Refused("1227: SUPER is missing".to_owned()));
    let action = after(&intended(), &refused, 22).unwrap();
    assert_eq!(action.state, ActionState::Failed);
    assert!(!action.may_have_acted());
    assert!(action.outcome.unwrap().contains("1227: SUPER is missing"));
}

#[test]
fn i21_ok_is_not_done() {
    assert_eq!(done().state, ActionState::Executing);
    let end = after(&done(), &ActionEvent::Tick, 20 + 60).unwrap();
    assert_eq!(end.state, ActionState::Unverified);
}

#[test]
fn i21_an_outcome_is_not_claimed_before_anything_was_done() {
    assert_eq!(
        after(&executing(), &observed(7, proven()), 21)
            .unwrap_err()
            .code(),
        "wrong_state"
    );
}

#[test]
fn i17_a_statement_that_may_still_arrive_keeps_the_action_open() {
    let contradicted = || {
        observed(
            7,
            ObservedOutcome::Contradicted("n2 is Primary elsewhere".to_owned()),
        )
    };
    assert_eq!(
        after(&intended(), &contradicted(), 30).unwrap_err().code(),
        "too_early"
    );
    assert_eq!(
        after(&intended(), &contradicted(), 31).unwrap().state,
        ActionState::Failed
    );
    let answered = after(&done(), &contradicted(), 23).unwrap();
    assert_eq!(
        answered.state,
        ActionState::Failed,
        "an answered statement is no longer under way"
    );
    // Intended just before the deadline.
    let late = after(&executing(), &intend(&plan(), 7), 79).unwrap();
    assert_eq!(
        after(&late, &ActionEvent::Tick, 80).unwrap_err().code(),
        "too_early"
    );
    assert_eq!(
        after(&late, &ActionEvent::Tick, 89).unwrap().state,
        ActionState::Unverified
    );
}

#[test]
fn nothing_begins_after_the_deadline() {
    assert_eq!(
        after(&executing(), &intend(&plan(), 7), 80)
            .unwrap_err()
            .code(),
        "action_expired"
    );
    assert_eq!(
        after(&executing(), &ActionEvent::Tick, 79)
            .unwrap_err()
            .code(),
        "nothing_due"
    );
}

#[test]
fn observations_are_noted_once_each() {
    let not_yet = || {
        observed(
            7,
            ObservedOutcome::NotYet("n1 is not Primary yet".to_owned()),
        )
    };
    let mut action = done();
    let before = action.journal.len();
    for second in 0..20 {
        action = after(&action, &not_yet(), 23 + second).unwrap();
    }
    assert_eq!(action.journal.len(), before + 1);
}

#[test]
fn several_steps_go_in_order_and_stop_at_a_refusal() {
    let action = cleanup_executing();
    assert_eq!(
        after(&action, &cleanup_intend(&action, 1), 21)
            .unwrap_err()
            .code(),
        "not_next"
    );
    assert_eq!(
        after(&action, &cleanup_intend(&action, 9), 21)
            .unwrap_err()
            .code(),
        "not_next"
    );
    let first = after(&action, &cleanup_intend(&action, 0), 21).unwrap();
    assert_eq!(
        after(&first, &cleanup_intend(&first, 1), 22)
            .unwrap_err()
            .code(),
        "not_next",
        "the first has no answer"
    );
    let first = after(
        &first,
        &answered(7, StepResult::Done("deleted".to_owned())),
        22,
    )
    .unwrap();
    assert_eq!(first.next_step(), Some(NextStep::Execute(1)));
    assert_eq!(
        after(&first, &observed(7, proven()), 23)
            .unwrap_err()
            .code(),
        "wrong_state",
        "one step is missing"
    );
    // What is left of the plan has another digest, but still has this step.
    let mut left = first.plan.clone();
    left.steps.remove(0);
    left.digest = left.computed_digest();
    let rest = ActionEvent::Intend {
        fence: 7,
        step: 1,
        plan: &left,
        accounts: &EVERYBODY,
        recovery_pause: None,
    };
    let second = after(&first, &rest, 23).unwrap();
    let refused = ActionEvent::Answered {
        fence: 7,
        step: 1,
        result: StepResult::Refused("the key changed".to_owned()),
    };
    let ended = after(&second, &refused, 24).unwrap();
    assert_eq!(ended.state, ActionState::Failed);
    assert!(ended.outcome.unwrap().contains("1 of 2 steps completed"));
}
