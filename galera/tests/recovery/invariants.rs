//! The invariants that concern deciding, one test each.

use galera::observe::observation::{ProbeError, ProbeErrorKind};
use galera::recover::action::RecoveryPause;
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::RecoveryReach;
use galera::recover::plan::{CheckCode, CheckStatus};

use crate::action_fixture::action_id;
use crate::fixture::{
    FakeStatusRows, HISTORY, NIL, OTHER_HISTORY, RecoveryFixture, at, check, failing, id, position,
    status,
};

#[test]
fn i01_no_bootstrap_while_any_node_reports_primary() {
    // Expected or not, a node that only a member list names counts.
    for node in ["n3", "n9"] {
        let fixture = RecoveryFixture::two_of_three_lost()
            .answers(node, FakeStatusRows::primary(&[node], 0, 100));
        let plan = fixture.plan();
        assert_eq!(status(&plan, &CheckCode::NOBODY_PRIMARY), CheckStatus::Fail);
        assert!(!plan.executable && plan.steps.is_empty());
    }
}

#[test]
fn i01_a_primary_that_the_console_cannot_reach_is_inferred() {
    let running = [
        ("phase", "running"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_local_state_comment", "Synced"),
    ];
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .times_out("n2")
        .registered("n2", &running)
        .attest("n2", AttestedState::Fenced)
        .plan();
    assert_eq!(
        status(&plan, &CheckCode::NOBODY_PRIMARY),
        CheckStatus::Unknown
    );
    assert_eq!(
        status(&plan, &CheckCode::ATTESTATIONS_HOLD),
        CheckStatus::Fail
    );
    assert!(!plan.executable);
}

#[test]
fn i01_a_primary_whose_agent_need_not_have_written_since_is_waited_for() {
    let running = [
        ("phase", "running"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_local_state_comment", "Synced"),
    ];
    // The probe failed first `failing` seconds ago, and the agent wrote before that.
    let plan = |failing: i64, kind: ProbeErrorKind| {
        let mut fixture = RecoveryFixture::expecting(&["n1", "n2"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .registered("n2", &running)
            .attest("n2", AttestedState::Fenced);
        let began = fixture.now - failing;
        let seen = fixture.evidence.registrations.get_mut(&id("n2")).unwrap();
        seen.last_put_at = Some(at(began - 1));
        let probe = fixture.evidence.probes.entry(id("n2")).or_default();
        for second in [began, fixture.now] {
            let message = kind.as_str().to_owned();
            probe.record_failure(at(second), ProbeError { kind, message });
        }
        status(&fixture.plan(), &CheckCode::NOBODY_PRIMARY)
    };
    for failing in [1, 5, 10] {
        let waits = plan(failing, ProbeErrorKind::TimedOut);
        assert_eq!(waits, CheckStatus::Unknown, "failing for {failing} s");
    }
    // By then the agent has written again, or its lease has ended.
    assert_eq!(plan(12, ProbeErrorKind::TimedOut), CheckStatus::Pass);
    assert_eq!(plan(5, ProbeErrorKind::Refused), CheckStatus::Pass);
}

#[test]
fn i02_silence_and_refusal_are_not_death() {
    for fixture in [
        RecoveryFixture::two_of_three_lost().times_out("n2"),
        RecoveryFixture::two_of_three_lost(),
        RecoveryFixture::two_of_three_lost().denies_access("n2"),
    ] {
        let mut fixture = fixture;
        fixture
            .attestations
            .retain(|attestation| attestation.node != id("n2"));
        let plan = fixture.plan();
        assert_eq!(
            status(&plan, &CheckCode::MEMBERS_ACCOUNTED),
            CheckStatus::Unknown
        );
        assert!(
            check(&plan, &CheckCode::MEMBERS_ACCOUNTED)
                .message
                .contains("n2")
        );
        assert!(!plan.executable);
    }
}

#[test]
fn i02_an_agents_report_and_a_refused_connection_prove_a_stop() {
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .agent_waiting("n2", 100)
        .plan();
    assert_eq!(
        status(&plan, &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Pass
    );
    assert!(plan.executable, "{plan:#?}");
}

#[test]
fn i02_an_attestation_for_a_node_that_answers_does_not_hold() {
    for fixture in [
        RecoveryFixture::three_isolated().attest("n3", AttestedState::Stopped),
        RecoveryFixture::two_of_three_lost().denies_access("n2"),
        RecoveryFixture::two_of_three_lost().attest("n7", AttestedState::Stopped),
        RecoveryFixture::two_of_three_lost().attest("n2", AttestedState::Fenced),
    ] {
        let plan = fixture.plan();
        assert_eq!(
            failing(&plan),
            ["attestations_hold"],
            "{:?}",
            fixture.attestations
        );
    }
}

#[test]
fn i03_a_missing_registration_is_not_death_and_a_present_one_not_primary() {
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .registered(
            "n1",
            &[
                ("wsrep_cluster_status", "Primary"),
                ("wsrep_local_state_comment", "Synced"),
            ],
        )
        .times_out("n2")
        .plan();
    // The direct answer of n1 outweighs its registration; n2 without any is unknown, not dead.
    assert_eq!(status(&plan, &CheckCode::NOBODY_PRIMARY), CheckStatus::Pass);
    assert_eq!(
        status(&plan, &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Unknown
    );
}

#[test]
fn i04_every_expected_member_must_be_accounted_for() {
    let mut fixture = RecoveryFixture::expecting(&["n1"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100));
    assert!(fixture.plan().executable);
    fixture.evidence.last_primary_members = [id("n1"), id("n4")].into();
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["members_accounted"]);
    let mut stopped = RecoveryFixture::all_stopped();
    stopped.evidence.last_primary_members = [id("n4")].into();
    assert_eq!(
        failing(&stopped.plan()),
        ["members_accounted", "positions_known"]
    );
}

#[test]
fn i05_a_component_is_chosen_and_one_member_executes() {
    let plan = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1", "n2"], 0, 10))
        .answers("n2", FakeStatusRows::non_primary(&["n1", "n2"], 1, 10))
        .answers("n3", FakeStatusRows::non_primary(&["n3"], 0, 9))
        .plan();
    assert_eq!(plan.steps.len(), 1);
    let target = plan.target.unwrap();
    assert_eq!(target.members, [id("n1"), id("n2")]);
    assert_eq!(target.node, Some(id("n1")));
}

#[test]
fn i06_nil_uuid_is_never_a_candidate() {
    let plan = RecoveryFixture::expecting(&["n1"])
        .answers(
            "n1",
            FakeStatusRows::non_primary(&["n1"], 0, 100).with_history(NIL),
        )
        .plan();
    assert_eq!(status(&plan, &CheckCode::CANDIDATE), CheckStatus::Fail);
    assert!(plan.target.is_none() && plan.steps.is_empty());
    let pasted = format!("version: 2.1\nuuid: {NIL}\nseqno: -1\nsafe_to_bootstrap: 1");
    let plan = RecoveryFixture::expecting(&["n1"])
        .refuses_connections("n1")
        .attest_with_paste("n1", &pasted)
        .plan();
    assert!(plan.target.is_none() && plan.steps.is_empty());
}

#[test]
fn i06_different_histories_stop_everything() {
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 5))
        .answers(
            "n2",
            FakeStatusRows::non_primary(&["n2"], 0, 900).with_history(OTHER_HISTORY),
        )
        .plan();
    assert_eq!(status(&plan, &CheckCode::ONE_HISTORY), CheckStatus::Fail);
    assert!(plan.target.is_none() && plan.steps.is_empty());
}

#[test]
fn i07_safe_to_bootstrap_alone_decides_nothing() {
    let file = |seqno: u64, flag: u8| {
        format!("version: 2.1\nuuid: {HISTORY}\nseqno: {seqno}\nsafe_to_bootstrap: {flag}")
    };
    let chosen = |one: &str, other: &str| {
        let fixture = RecoveryFixture::expecting(&["n1", "n2"])
            .refuses_connections("n1")
            .refuses_connections("n2")
            .attest_with_paste("n1", one)
            .attest_with_paste("n2", other);
        fixture.plan().target.unwrap().node.unwrap()
    };
    assert_eq!(
        chosen(&file(9, 1), &file(10, 0)),
        id("n2"),
        "a higher position outweighs the flag"
    );
    assert_eq!(
        chosen(&file(10, 0), &file(10, 1)),
        id("n2"),
        "of equals the only one with the flag"
    );
    assert_eq!(
        chosen(&file(10, 1), &file(10, 1)),
        id("n1"),
        "several flags prove nothing"
    );
}

#[test]
fn i08_minus_one_is_unknown_and_asks_for_a_recovery() {
    let crashed = format!("version: 2.1\nuuid: {HISTORY}\nseqno: -1\nsafe_to_bootstrap: 0");
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .agent_waiting("n1", 9)
        .refuses_connections("n2")
        .attest_with_paste("n2", &crashed)
        .plan();
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Unknown
    );
    assert!(!plan.executable);
    assert!(
        check(&plan, &CheckCode::ATTESTATIONS_HOLD)
            .message
            .contains("--wsrep-recover")
    );
}

#[test]
fn i09_a_regression_is_refused_with_its_loss() {
    for mut fixture in [
        RecoveryFixture::two_of_three_lost(),
        RecoveryFixture::all_stopped(),
    ] {
        fixture
            .history
            .record_highest(&id("n2"), &position(5_000), at(0));
        let plan = fixture.plan();
        assert!(failing(&plan).contains(&"no_regression"), "{plan:#?}");
        let from = plan.target.unwrap().position.unwrap().seqno;
        assert_eq!(plan.loss.transactions, Some(5_000 - from));
    }
    let mut fixture = RecoveryFixture::two_of_three_lost();
    let other = galera::Position::new(OTHER_HISTORY.parse().unwrap(), 5_000).unwrap();
    fixture.history.record_highest(&id("n2"), &other, at(0));
    assert!(
        fixture.plan().executable,
        "another history has no order with this one"
    );
}

#[test]
fn i10_ties_are_the_same_everywhere() {
    let fixture = |order: [&str; 3]| {
        let mut fixture = RecoveryFixture::expecting(&order);
        for node in order {
            fixture = fixture.answers(node, FakeStatusRows::non_primary(&[node], 0, 10));
        }
        fixture.plan()
    };
    let one = fixture(["n1", "n2", "n3"]);
    assert_eq!(one.target.as_ref().unwrap().node, Some(id("n1")));
    assert_eq!(one, fixture(["n3", "n1", "n2"]));
}

#[test]
fn i10_replicas_that_read_a_lost_member_at_other_moments_plan_the_same() {
    let plan = |last_read: u64, first: &str| {
        let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .answers(
                "n2",
                FakeStatusRows::primary(&["n1", "n2", "n3"], 1, last_read),
            )
            .refuses_connections("n2")
            .refuses_connections("n3")
            .attest("n2", AttestedState::Stopped)
            .attest("n3", AttestedState::Stopped);
        fixture
            .history
            .record_highest(&id(first), &position(100), at(0));
        fixture.plan()
    };
    let one = plan(97, "n1");
    assert!(one.executable, "{one:#?}");
    assert_eq!(one.digest, plan(99, "n2").digest);
    assert!(
        one.checks
            .iter()
            .any(|check| check.message.contains("n2 was at 97"))
    );
    let ahead = plan(101, "n1");
    assert!(failing(&ahead).contains(&"most_advanced"));
    assert_ne!(one.digest, ahead.digest);
}

#[test]
fn i10_replicas_that_read_a_member_ahead_at_other_moments_plan_the_same() {
    let plan = |last_read: u64, highest: u64| {
        let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .answers("n2", FakeStatusRows::primary(&["n2"], 0, last_read))
            .refuses_connections("n2")
            .refuses_connections("n3")
            .attest("n2", AttestedState::Fenced)
            .attest("n3", AttestedState::Stopped);
        fixture
            .history
            .record_highest(&id("n2"), &position(highest), at(0));
        fixture.plan()
    };
    let one = plan(101, 105);
    assert!(failing(&one).contains(&"most_advanced"), "{one:#?}");
    assert_eq!(one.digest, plan(104, 105).digest);
    assert_ne!(one.digest, plan(101, 106).digest);
}

#[test]
fn i11_ten_is_more_than_nine_and_undefined_is_nothing() {
    assert_eq!(
        RecoveryFixture::three_isolated()
            .plan()
            .target
            .unwrap()
            .node,
        Some(id("n2"))
    );
    let undefined = FakeStatusRows::non_primary(&["n3"], 0, u64::MAX);
    let plan = RecoveryFixture::three_isolated()
        .answers("n3", undefined)
        .plan();
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

#[test]
fn i12_a_cluster_that_may_heal_by_itself_is_given_time() {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"]);
    for node in ["n1", "n2", "n3"] {
        fixture = fixture.answers_since(node, FakeStatusRows::non_primary(&[node], 0, 10), 40);
    }
    let plan = fixture.plan();
    assert_eq!(
        failing(&plan),
        ["settled"],
        "every member runs: 20 s are too short"
    );
    fixture.now += 10;
    for node in ["n1", "n2", "n3"] {
        fixture = fixture.answers_since(node, FakeStatusRows::non_primary(&[node], 0, 10), 40);
    }
    assert!(fixture.plan().executable, "30 s are enough");
    let lost = RecoveryFixture::two_of_three_lost().answers_since(
        "n1",
        FakeStatusRows::non_primary(&["n1"], 0, 100),
        54,
    );
    assert!(
        lost.plan().executable,
        "no member can rejoin automatically: 6 s are enough"
    );
    let lost = RecoveryFixture::two_of_three_lost().answers_since(
        "n1",
        FakeStatusRows::non_primary(&["n1"], 0, 100),
        57,
    );
    assert_eq!(failing(&lost.plan()), ["settled"]);
}

#[test]
fn i12_a_starting_member_may_complete_the_view() {
    let starting = RecoveryFixture::expecting(&["n1", "n2"])
        .answers_since("n1", FakeStatusRows::non_primary(&["n1"], 0, 100), 45)
        .refuses_connections("n2")
        .registered("n2", &[("phase", "starting")])
        .attest("n2", AttestedState::Stopped);
    assert_eq!(
        status(&starting.plan(), &CheckCode::SETTLED),
        CheckStatus::Unknown
    );
}

#[test]
fn i13_never_during_a_state_transfer_or_another_recovery() {
    let donor = FakeStatusRows::non_primary(&["n1"], 0, 100)
        .with_row("wsrep_local_state", "2")
        .with_row("wsrep_local_state_comment", "Donor/Desynced");
    let plan = RecoveryFixture::two_of_three_lost()
        .answers("n1", donor)
        .plan();
    assert_eq!(
        status(&plan, &CheckCode::NO_STATE_TRANSFER),
        CheckStatus::Fail
    );
    let joining = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2")
        .registered("n2", &[("phase", "joining")]);
    let transfer = check(&joining.plan(), &CheckCode::NO_STATE_TRANSFER).clone();
    assert_eq!(transfer.status, CheckStatus::Fail);
    // The donor may be dead, and the agent one that does not restart the joiner.
    let remedy = "restart the container or service of n2";
    assert!(transfer.message.contains(remedy), "{}", transfer.message);
    let mut open = RecoveryFixture::two_of_three_lost();
    open.context.open_action = Some(action_id());
    assert_eq!(failing(&open.plan()), ["no_other_recovery"]);
    let mut ordered = RecoveryFixture::all_stopped();
    ordered.context.standing_order = Some("{}".to_owned());
    assert_eq!(failing(&ordered.plan()), ["no_other_recovery"]);
}

#[test]
fn i15_the_executor_is_connected_operational_and_has_applied_everything() {
    for (name, value) in [
        ("wsrep_connected", "OFF"),
        ("wsrep_evs_state", "GATHER"),
        ("wsrep_local_recv_queue", "3"),
        ("wsrep_evs_state", ""),
        ("wsrep_local_recv_queue", ""),
    ] {
        let server = FakeStatusRows::non_primary(&["n1"], 0, 100).with_row(name, value);
        let plan = RecoveryFixture::two_of_three_lost()
            .answers("n1", server)
            .plan();
        assert_eq!(failing(&plan), ["executor_ready"], "{name}={value}");
        assert!(plan.steps.is_empty());
    }
}

#[test]
fn i16_the_digest_ignores_times_and_nothing_else() {
    let fixture = RecoveryFixture::two_of_three_lost();
    let digest = fixture.plan().digest;
    let mut later = fixture.clone();
    later.now += 3;
    let later = later
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2")
        .refuses_connections("n3");
    assert_eq!(later.plan().digest, digest);
    let mut changed = vec![
        fixture
            .clone()
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 101)),
        fixture.clone().answers(
            "n1",
            FakeStatusRows::non_primary(&["n1"], 0, 100).with_history(OTHER_HISTORY),
        ),
        fixture
            .clone()
            .answers("n2", FakeStatusRows::non_primary(&["n2"], 0, 100)),
        fixture.clone().attest("n2", AttestedState::Fenced),
        fixture
            .clone()
            .answers("n1", FakeStatusRows::non_primary(&["n1", "n2"], 0, 100)),
    ];
    let mut off = fixture.clone();
    off.context.recovery_reach = RecoveryReach::Nowhere;
    changed.push(off);
    let mut known = fixture;
    known.history.record_highest(&id("n2"), &position(3), at(0));
    changed.push(known);
    for fixture in changed {
        assert_ne!(fixture.plan().digest, digest);
    }
}

#[test]
fn i18_without_the_registry_nothing_is_executable() {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.evidence.registry_health.reachable = false;
    assert_eq!(failing(&fixture.plan()), ["registry_readable"]);
}

#[test]
fn i19_paused_recovery_blocks_with_account_and_reason() {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.context.recovery_pause = Some(RecoveryPause {
        by: "ann".to_owned(),
        at: at(0),
        reason: "datacentre move".to_owned(),
    });
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["recovery_enabled"]);
    assert!(
        check(&plan, &CheckCode::RECOVERY_ENABLED)
            .message
            .contains("ann")
    );
}

#[test]
fn i30_a_blocked_plan_keeps_its_target_and_every_reason() {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.attestations.clear();
    fixture
        .history
        .record_highest(&id("n2"), &position(103), at(0));
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["members_accounted", "no_regression"]);
    assert!(plan.target.is_some() && plan.steps.len() == 1);
    assert!(
        plan.summary.starts_with("n1 is the best candidate, but:"),
        "{}",
        plan.summary
    );
}

#[test]
fn i31_the_last_primary_view_outranks_a_position() {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2"]);
    let primary = RecoveryFixture::expecting(&["n1", "n2"]).answers(
        "n2",
        FakeStatusRows::primary(&["n2"], 0, 10).with_row("wsrep_cluster_conf_id", "18"),
    );
    fixture
        .history
        .update(&primary.evidence, at(60), &primary.settings.fold);
    let fixture = fixture
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2")
        .attest("n2", AttestedState::Stopped);
    assert_eq!(failing(&fixture.plan()), ["last_primary"]);
    let record = &fixture.history.primary[&id("n2")];
    assert_eq!((record.conf_id, record.position.seqno), (18, 10));
    let json = serde_json::to_string(&fixture.history).unwrap();
    assert_eq!(
        serde_json::from_str::<galera::judge::known_positions::KnownPositions>(&json).unwrap(),
        fixture.history
    );
}

#[test]
fn i33_evidence_has_source_and_age() {
    let plan = RecoveryFixture::two_of_three_lost().plan();
    let evidence = &check(&plan, &CheckCode::NOBODY_PRIMARY).evidence;
    assert!(
        evidence
            .iter()
            .all(|fact| fact.node.is_some() && fact.observed_at.is_some())
    );
}
