//! Arbitrators that may be Primary while a cluster is bootstrapped (I1).

use std::sync::Arc;

use galera::judge::known_positions::LastPrimaryView;
use galera::observe::registration::{ArbitratorPhase, ArbitratorRecord};
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::fixture::{RecoveryFixture, at, check, id, position};

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

/// Of n1 and n2 with an arbitrator, n1 crashed before n2 stopped: the record of the members has both, the last view had a size
/// of two. Once n2 was bootstrapped beside the arbitrator and ended, only n1's view still shows that there is one.
#[test]
fn i01_an_arbitrator_of_an_earlier_view_of_any_member_is_named() {
    let mut fixture = RecoveryFixture::all_stopped();
    let message = |fixture: &RecoveryFixture| {
        let plan = fixture.plan();
        check(&plan, &CheckCode::NOBODY_PRIMARY).message.clone()
    };
    let view = |members: &[&str], conf_id, seqno, size| LastPrimaryView {
        conf_id,
        position: position(seqno),
        members: Arc::new(members.iter().map(|&name| id(name)).collect()),
        at: at(1),
        since: None,
        weight: Some(1),
        total_weight: Some(size),
        size: Some(size),
    };
    fixture.evidence.last_primary_members = ["n1", "n2"].map(id).into();
    let history = &mut fixture.history.primary;
    history.insert(id("n1"), view(&["n1", "n2"], 3, 8, 2));
    history.insert(id("n2"), view(&["n2"], 4, 9, 1));
    assert!(!message(&fixture).contains("arbitrator"));
    for (n1, n2) in [
        (view(&["n1", "n2"], 3, 8, 3), view(&["n2"], 4, 9, 2)),
        (view(&["n1", "n2"], 3, 8, 3), view(&["n2"], 1, 10, 1)),
        (view(&["n1", "n2"], 3, 8, 2), view(&["n2"], 4, 9, 2)),
    ] {
        fixture.history.primary.insert(id("n1"), n1);
        fixture.history.primary.insert(id("n2"), n2);
        let named = message(&fixture);
        assert!(named.contains("restart the arbitrator first"), "{named}");
    }
    // Servers that list no addresses name each other.
    for name in ["n1", "n2", "n3"] {
        let own = view(&[name], 5, 12, 3);
        fixture.history.primary.insert(id(name), own);
    }
    assert!(!message(&fixture).contains("arbitrator"));
}
