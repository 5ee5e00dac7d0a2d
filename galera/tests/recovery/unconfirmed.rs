//! Plans beside registered nodes that nothing confirms as members: what such a node reports neither permits nor blocks a
//! recovery for good, and it is never passed over in silence, because it may be a member that the console forgot.

use galera::recover::attestation::AttestedState;
use galera::recover::plan::{CheckCode, CheckStatus, Plan};

use crate::fixture::{FakeStatusRows, HISTORY, RecoveryFixture, check, failing, id, status};

/// `fixture` with pinned members, in which a registration alone makes no member.
fn strict(mut fixture: RecoveryFixture) -> RecoveryFixture {
    fixture.evidence.first_view = false;
    fixture
}

/// An unconfirmed registration of `n9`, with a position far above all others.
fn forged(fixture: RecoveryFixture) -> RecoveryFixture {
    let position = format!("{HISTORY}:99999999");
    strict(fixture).registered(
        "n9",
        &[
            ("phase", "waiting"),
            ("recovered_position", &position),
            ("highest_position", &position),
        ],
    )
}

fn unconfirmed(plan: &Plan) -> CheckStatus {
    status(plan, &CheckCode::UNCONFIRMED_NODES)
}

#[test]
fn an_unconfirmed_node_must_be_admitted_or_attested() {
    let fixture = forged(RecoveryFixture::two_of_three_lost());
    let plan = fixture.clone().plan();
    assert_eq!(failing(&plan), ["unconfirmed_nodes"]);
    let message = &check(&plan, &CheckCode::UNCONFIRMED_NODES).message;
    assert!(
        message.contains("Admit it if it belongs to lab"),
        "{message}"
    );
    for statement in [
        AttestedState::Stopped,
        AttestedState::Fenced,
        AttestedState::Decommissioned,
    ] {
        let plan = fixture.clone().attest("n9", statement).plan();
        assert!(plan.executable, "{:?}", failing(&plan));
        assert_eq!(unconfirmed(&plan), CheckStatus::Attested);
        assert!(plan.loss.explanation.contains("n9"), "{:?}", plan.loss);
    }
}

#[test]
fn i44_a_forged_position_blocks_no_plan_and_chooses_no_node() {
    let plan = forged(RecoveryFixture::all_stopped())
        .attest("n9", AttestedState::Decommissioned)
        .plan();
    assert!(plan.executable, "{:?}", failing(&plan));
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

#[test]
fn an_answer_as_primary_does_not_decide() {
    let rival = FakeStatusRows::primary(&["n9"], 0, 99_999_999);
    let fixture = forged(RecoveryFixture::two_of_three_lost()).answers("n9", rival);
    let plan = fixture.clone().plan();
    assert_eq!(status(&plan, &CheckCode::NOBODY_PRIMARY), CheckStatus::Pass);
    assert_eq!(failing(&plan), ["unconfirmed_nodes"]);
    // It runs, so it is neither stopped nor cut off from the console: only that it is no member can be confirmed.
    for statement in [AttestedState::Stopped, AttestedState::Fenced] {
        let plan = fixture.clone().attest("n9", statement).plan();
        assert_eq!(failing(&plan), ["attestations_hold"]);
    }
    let plan = fixture.attest("n9", AttestedState::Decommissioned).plan();
    assert!(plan.executable, "{:?}", failing(&plan));
}

/// I36: a console that forgot its members is pinned to one of three; the others are only registered.
#[test]
fn i36_registered_members_that_were_forgotten_are_not_passed_over() {
    let mut fixture = strict(RecoveryFixture::all_stopped());
    fixture.evidence.configured_members = [id("n1")].into();
    let plan = fixture.plan();
    assert_eq!(unconfirmed(&plan), CheckStatus::Unknown);
    assert!(!plan.executable);
}

#[test]
fn an_admitted_node_is_a_member_again() {
    let mut fixture = strict(RecoveryFixture::all_stopped());
    fixture.evidence.configured_members = [id("n1")].into();
    for node in ["n2", "n3"] {
        let admitted = galera::judge::confirmation::ConfirmedNode {
            by: galera::judge::confirmation::ConfirmedBy::Admitted,
            at: crate::fixture::at(1),
            address: None,
        };
        fixture.evidence.confirmed.insert(id(node), admitted);
    }
    let plan = fixture.plan();
    assert!(plan.executable, "{:?}", failing(&plan));
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    assert!(
        plan.checks
            .iter()
            .all(|check| check.code != CheckCode::UNCONFIRMED_NODES)
    );
}
