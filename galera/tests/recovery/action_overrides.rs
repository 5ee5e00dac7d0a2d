//! Requests that override failed checks.

use galera::access::Role;
use galera::recover::action::{ActionEvent, ActionLimits, ActionRefusal, ActionState, step};
use galera::recover::plan::CheckCode;

use crate::action_fixture::{anna, olga, person, requested, requested_with};
use crate::fixture::{FakeStatusRows, NOW, RecoveryFixture, at, id, position};
/// A plan that would lose three transactions.
fn lossy_plan() -> galera::recover::plan::Plan {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture
        .history
        .record_highest(&id("n2"), &position(103), at(0));
    fixture.plan()
}

#[test]
fn i19_break_glass_names_every_failed_check_and_needs_an_administrator() {
    let (plan, limits) = (lossy_plan(), ActionLimits::default());
    let exact = [CheckCode::NO_REGRESSION];
    let action = requested_with(&anna(), &plan, &limits, Some(&exact)).unwrap();
    assert_eq!(action.break_glass.as_ref().unwrap().overrides, exact);
    assert_eq!(action.plan.loss.transactions, Some(3));
    let code = |refused: Result<galera::recover::action::Action, ActionRefusal>| {
        refused.unwrap_err().code()
    };
    assert_eq!(
        code(requested_with(&olga(), &plan, &limits, Some(&exact))),
        "forbidden"
    );
    assert_eq!(
        code(requested_with(&anna(), &plan, &limits, Some(&[]))),
        "overrides_differ"
    );
    let more = [CheckCode::NO_REGRESSION, CheckCode::SETTLED];
    assert_eq!(
        code(requested_with(&anna(), &plan, &limits, Some(&more))),
        "overrides_differ"
    );
    assert_eq!(
        code(requested_with(
            &anna(),
            &crate::action_fixture::plan(),
            &limits,
            Some(&[])
        )),
        "nothing_to_override"
    );
    assert_eq!(code(requested(&anna(), &plan, &limits)), "forbidden");
}

#[test]
fn i19_break_glass_is_never_decided_alone() {
    let limits = ActionLimits {
        approvals_needed: 0,
        ..ActionLimits::default()
    };
    let anna = person("anna", &Role::ALL);
    let action = requested_with(
        &anna,
        &lossy_plan(),
        &limits,
        Some(&[CheckCode::NO_REGRESSION]),
    )
    .unwrap();
    assert_eq!(
        (action.state, action.approvals_needed),
        (ActionState::Pending, 1)
    );
    let digest = action.plan.digest.clone();
    let own = ActionEvent::Approve {
        by: &anna,
        digest: &digest,
        comment: None,
    };
    assert!(step(&action, &own, &limits, at(NOW)).is_err());
}

#[test]
fn i01_i06_a_primary_or_missing_candidate_cannot_be_overridden() {
    let limits = ActionLimits::default();
    let primary = RecoveryFixture::two_of_three_lost()
        .answers("n9", FakeStatusRows::primary(&["n9"], 0, 100))
        .plan();
    let nil = RecoveryFixture::expecting(&["n1"])
        .answers(
            "n1",
            FakeStatusRows::non_primary(&["n1"], 0, 5).with_history(crate::fixture::NIL),
        )
        .plan();
    let contradicted = RecoveryFixture::two_of_three_lost()
        .denies_access("n2")
        .plan();
    for plan in [primary, nil, contradicted] {
        let failing: Vec<CheckCode> = plan.failing().map(|check| check.code.clone()).collect();
        let refusal = requested_with(&anna(), &plan, &limits, Some(&failing)).unwrap_err();
        assert!(
            ["plan_not_executable", "not_overridable"].contains(&refusal.code()),
            "{refusal}"
        );
    }
}
