//! Arbitrators that may be Primary while a cluster is bootstrapped (I1).

use std::sync::Arc;

use galera::observe::registration::{ArbitratorPhase, ArbitratorRecord};
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::fixture::{RecoveryFixture, at, check, id};

/// All members wait; an agent reports that its arbitrator has `phase`.
fn with_arbitrator(phase: ArbitratorPhase) -> RecoveryFixture {
    let mut fixture = RecoveryFixture::all_stopped();
    let record = ArbitratorRecord {
        phase,
        address: "10.0.0.9:4567".to_owned(),
        since: at(0),
        waiting_for: None,
        state_uuid: None,
        members: Vec::new(),
    };
    let name = "garbd-1".parse().unwrap();
    fixture.evidence.arbitrators = Arc::new([(name, record)].into());
    fixture
}

#[test]
fn i01_no_bootstrap_while_an_arbitrator_reports_primary() {
    let plan = with_arbitrator(ArbitratorPhase::Primary).plan();
    let primary = check(&plan, &CheckCode::NOBODY_PRIMARY);
    assert_eq!(primary.status, CheckStatus::Unknown);
    assert!(
        primary
            .message
            .contains("The arbitrator garbd-1 reports a Primary component")
            && primary.message.contains("restart the arbitrator"),
        "{}",
        primary.message
    );
    assert!(!plan.executable);
    for phase in [
        ArbitratorPhase::Waiting,
        ArbitratorPhase::Connecting,
        ArbitratorPhase::NonPrimary,
    ] {
        let plan = with_arbitrator(phase).plan();
        let primary = check(&plan, &CheckCode::NOBODY_PRIMARY);
        assert_eq!(primary.status, CheckStatus::Pass, "{phase:?}");
        assert!(!primary.message.contains("restart"), "{}", primary.message);
    }
}

#[test]
fn i01_an_arbitrator_that_no_agent_reports_is_named_with_its_remedy() {
    let mut fixture = RecoveryFixture::all_stopped();
    fixture.evidence.last_primary_members = ["n1", "n2", "n3"].map(id).into();
    let message = |fixture: &RecoveryFixture| {
        let plan = fixture.plan();
        check(&plan, &CheckCode::NOBODY_PRIMARY).message.clone()
    };
    fixture.evidence.last_primary_votes.size = Some(3);
    assert!(!message(&fixture).contains("arbitrator"));
    fixture.evidence.last_primary_votes.size = Some(4);
    let named = message(&fixture);
    assert!(named.contains("restart the arbitrator first"), "{named}");
}
