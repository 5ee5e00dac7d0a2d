//! Plans for a running cluster without quorum.

use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::{RecoveryReach, StatementDialect};
use galera::recover::plan::{
    ActionKind, CheckCode, CheckStatus, Mechanism, PlanComparison, PlanStep,
};

use crate::fixture::{
    FakeStatusRows, NOW, RecoveryFixture, at, check, failing, id, position, status,
};

#[test]
fn two_of_three_lost_and_attested_is_executable() {
    let plan = RecoveryFixture::two_of_three_lost().plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(
        plan.steps,
        [PlanStep::Statement {
            node: id("n1"),
            statement: StatementDialect::ProviderOptions
                .bootstrap_statement()
                .to_owned(),
        }]
    );
    let target = plan.target.clone().unwrap();
    assert_eq!(target.mechanism, Mechanism::Statement);
    assert_eq!(target.revives, [id("n1")]);
    assert_eq!(target.leaves_out, [id("n2"), id("n3")]);
    assert_eq!(target.position, Some(position(100)));
    assert_eq!(
        plan.loss.transactions, None,
        "n2 and n3 may have committed more"
    );
    assert_eq!(plan.summary, "Make n1 Primary again.");
    assert_eq!(
        status(&plan, &CheckCode::MEMBERS_ACCOUNTED),
        CheckStatus::Attested
    );
}

#[test]
fn the_most_advanced_of_isolated_nodes_is_chosen() {
    let plan = RecoveryFixture::three_isolated().plan();
    assert!(plan.executable, "{plan:#?}");
    let target = plan.target.unwrap();
    assert_eq!(
        (target.node, target.members),
        (Some(id("n2")), vec![id("n2")])
    );
    assert_eq!(target.leaves_out, [id("n1"), id("n3")]);
}

#[test]
fn the_larger_of_equal_components_is_chosen() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 10))
        .answers("n2", FakeStatusRows::non_primary(&["n2", "n3"], 0, 10))
        .answers("n3", FakeStatusRows::non_primary(&["n2", "n3"], 1, 10));
    let target = fixture.plan().target.unwrap();
    assert_eq!(target.members, [id("n2"), id("n3")]);
    assert_eq!(target.node, Some(id("n2")));
}

#[test]
fn a_primary_is_nothing_to_recover() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 9))
        .answers("n2", FakeStatusRows::primary(&["n2", "n3"], 0, 12))
        .answers("n3", FakeStatusRows::primary(&["n2", "n3"], 1, 12));
    let plan = fixture.plan();
    assert!(!plan.executable);
    assert!(plan.steps.is_empty() && plan.target.is_none());
    assert!(
        plan.summary
            .starts_with("Nothing to recover: n2 and n3 are Primary."),
        "{}",
        plan.summary
    );
    assert_eq!(plan.kind, ActionKind::Bootstrap);
}

#[test]
fn rival_primaries_are_no_case_for_a_bootstrap() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::primary(&["n1"], 0, 9))
        .answers(
            "n2",
            FakeStatusRows::primary(&["n2"], 0, 12)
                .with_row("wsrep_gcomm_uuid", "99990000-0c2f-11ef-a1b2-c3d4e5f60718"),
        );
    let plan = fixture.plan();
    assert!(!plan.executable && plan.steps.is_empty());
    assert!(
        plan.summary.contains("2 separate components"),
        "{}",
        plan.summary
    );
}

#[test]
fn without_an_account_the_commands_remain() {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.context.recovery_reach = RecoveryReach::Nowhere;
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["sql_account"]);
    assert!(plan.commands[0].command.contains("pc.bootstrap=YES"));
}

#[test]
fn the_account_must_be_allowed_to_connect_to_the_executor() {
    let mut fixture = RecoveryFixture::two_of_three_lost();
    fixture.context.recovery_reach = RecoveryReach::ThisHost;
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["sql_account"]);
    let check = plan.failing().next().unwrap();
    assert!(
        check.message.contains("may not connect to n1") && check.message.contains("TLS"),
        "{}",
        check.message
    );
}

#[test]
fn what_a_stopped_node_holds_more_is_a_loss() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .agent_waiting("n2", 107);
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["most_advanced"]);
    assert_eq!(plan.loss.transactions, Some(7));
    assert!(
        plan.loss.explanation.contains("n2"),
        "{}",
        plan.loss.explanation
    );
}

#[test]
fn a_member_that_only_the_list_shows_counts_as_part_of_the_component() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .answers(
            "n1",
            FakeStatusRows::non_primary(&["n1", "n2:3306"], 0, 100),
        )
        .denies_access("n2")
        .refuses_connections("n3")
        .attest("n3", AttestedState::Stopped);
    let plan = fixture.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.unwrap().revives, [id("n1"), id("n2")]);
}

#[test]
fn nothing_known_is_no_plan_but_an_answer() {
    let plan = RecoveryFixture::expecting(&[]).plan();
    assert!(!plan.executable);
    assert_eq!(plan.summary, "Nothing is known about this cluster.");
    assert_eq!(status(&plan, &CheckCode::CANDIDATE), CheckStatus::Unknown);
}

#[test]
fn every_check_of_a_blocked_plan_has_a_sentence() {
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .times_out("n1")
        .times_out("n2")
        .plan();
    assert!(!plan.executable);
    for check in &plan.checks {
        assert!(check.message.ends_with('.'), "{check:?}");
    }
    assert!(
        check(&plan, &CheckCode::MEMBERS_ACCOUNTED)
            .message
            .contains("n1 and n2")
    );
}

/// Short-lived differences, differences from a short observation, and real changes.
#[test]
fn i16_a_plan_is_compared_with_the_approved_one() {
    let approved = RecoveryFixture::two_of_three_lost().plan();
    let again = |server: FakeStatusRows, since: i64| {
        let fixture = RecoveryFixture::two_of_three_lost().answers_since("n1", server, since);
        fixture.plan().compare_with_approved(&approved)
    };
    let n1 = |seqno| FakeStatusRows::non_primary(&["n1"], 0, seqno);
    assert_eq!(again(n1(100), 0), PlanComparison::Same);
    for state in ["GATHER", "INSTALL"] {
        assert_eq!(
            again(n1(100).with_row("wsrep_evs_state", state), 0),
            PlanComparison::ShortLivedState
        );
    }
    assert_eq!(
        again(n1(100).with_row("wsrep_local_recv_queue", "3"), 0),
        PlanComparison::ShortLivedState
    );
    // Lasting faults, and a short-lived state together with a change.
    for (name, value) in [
        ("wsrep_evs_state", "LEAVING"),
        ("wsrep_connected", "OFF"),
        ("wsrep_local_state", "5"),
    ] {
        assert_eq!(
            again(n1(100).with_row(name, value), 0),
            PlanComparison::Changed,
            "{name}"
        );
    }
    let moved = n1(101).with_row("wsrep_evs_state", "GATHER");
    assert_eq!(again(moved, 0), PlanComparison::Changed);
    assert_eq!(again(n1(101), 0), PlanComparison::Changed);
    // A replica that has watched for only two seconds has seen no change.
    assert_eq!(again(n1(100), NOW - 2), PlanComparison::ShortObservation);
    assert_eq!(again(n1(101), NOW - 2), PlanComparison::Changed);
}

/// An observed view change counts, however short the observation.
#[test]
fn i12_i16_a_view_that_was_seen_to_change_is_no_lack_of_watching() {
    let approved = RecoveryFixture::two_of_three_lost().plan();
    let mut fixture = RecoveryFixture::two_of_three_lost();
    let mut probe = galera::observe::observation::SqlObservation::default();
    let before = FakeStatusRows::non_primary(&["n1", "n2"], 0, 100);
    probe.record_success(at(NOW - 3), before.status());
    for second in [NOW - 2, NOW - 1, NOW] {
        probe.record_success(
            at(second),
            FakeStatusRows::non_primary(&["n1"], 0, 100).status(),
        );
    }
    fixture.evidence.probes.insert(id("n1"), probe);
    let plan = fixture.plan();
    assert_eq!(status(&plan, &CheckCode::SETTLED), CheckStatus::Unknown);
    assert_eq!(
        plan.compare_with_approved(&approved),
        PlanComparison::Changed
    );
}

/// The last position read of an unreachable member is not part of the digest.
#[test]
fn i10_replicas_that_began_to_watch_at_different_times_agree() {
    let seen = |fixture: RecoveryFixture| {
        let mut fixture =
            fixture.answers_since("n2", FakeStatusRows::non_primary(&["n2"], 0, 90), 0);
        fixture.now += 60;
        fixture
            .refuses_connections("n2")
            .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
            .refuses_connections("n3")
    };
    let early = seen(RecoveryFixture::two_of_three_lost());
    let mut late = RecoveryFixture::two_of_three_lost();
    late.now += 60;
    let late = late
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2")
        .refuses_connections("n3");
    let (early, late) = (early.plan(), late.plan());
    assert!(early.executable && late.executable);
    assert!(
        check(&early, &CheckCode::MOST_ADVANCED)
            .message
            .contains("90")
    );
    assert_eq!(early.digest, late.digest);
}

/// What MariaDB 10.11.19 returns after `SET GLOBAL wsrep_on=OFF`: the group, but nothing of the provider.
#[test]
fn a_survivor_with_wsrep_off_is_named_with_the_remedy() {
    let mut server = FakeStatusRows::non_primary(&["n1"], 0, 100);
    for name in [
        "wsrep_last_committed",
        "wsrep_local_state",
        "wsrep_local_state_comment",
        "wsrep_evs_state",
        "wsrep_incoming_addresses",
        "wsrep_gcomm_uuid",
        "wsrep_local_recv_queue",
        "wsrep_local_state_uuid",
    ] {
        server = server.without_row(name);
    }
    let plan = RecoveryFixture::expecting(&["n1"])
        .answers("n1", server)
        .plan();
    assert!(!plan.executable);
    let message = &check(&plan, &CheckCode::CANDIDATE).message;
    assert!(
        message.contains("run SET GLOBAL wsrep_on=ON"),
        "{message}: {plan:#?}"
    );
}

#[test]
fn what_only_a_person_can_confirm_is_named() {
    let fixture = RecoveryFixture {
        attestations: Vec::new(),
        ..RecoveryFixture::two_of_three_lost()
    };
    let plan = fixture.plan();
    assert!(!plan.executable);
    let open = plan.to_confirm.clone().unwrap();
    assert_eq!(open.nodes, [id("n2"), id("n3")]);
    let implies = open.implies.unwrap();
    assert!(implies.contains("n2 and n3"), "{implies}");
    // Attested, nothing is left to confirm, and the plan is the one that the digest binds.
    let attested = RecoveryFixture::two_of_three_lost().plan();
    assert!(attested.executable && attested.to_confirm.is_none());
}

#[test]
fn a_member_that_answers_cannot_be_confirmed_as_stopped() {
    let fixture = RecoveryFixture {
        attestations: Vec::new(),
        ..RecoveryFixture::two_of_three_lost().denies_access("n2")
    };
    assert_eq!(fixture.plan().to_confirm, None);
}

#[test]
fn a_check_that_needs_time_says_when_it_will_pass() {
    let fixture = RecoveryFixture::two_of_three_lost();
    let since = fixture.now - 2;
    let plan = fixture
        .answers_since("n1", FakeStatusRows::non_primary(&["n1"], 0, 100), since)
        .plan();
    let settled = check(&plan, &CheckCode::SETTLED);
    assert_eq!(settled.status, CheckStatus::Unknown, "{settled:?}");
    assert_eq!(settled.expected_at, Some(at(since + 5)));
    assert_eq!(plan.expected_at(), Some(at(since + 5)));
    assert_eq!(
        RecoveryFixture::two_of_three_lost().plan().expected_at(),
        None
    );
}

#[test]
fn i43_providers_that_ignore_quorum_are_a_check_of_their_own() {
    let set = |option: &str| {
        FakeStatusRows::non_primary(&["n1"], 0, 100).with_row(
            "wsrep_provider_options",
            &format!("pc.ignore_quorum = false; {option} = true"),
        )
    };
    let plan = RecoveryFixture::two_of_three_lost().plan();
    assert_eq!(plan.check(&CheckCode::QUORUM_RULES), None);
    for option in ["pc.ignore_quorum", "pc.ignore_sb"] {
        let fixture = RecoveryFixture::two_of_three_lost().answers("n1", set(option));
        let plan = fixture.plan();
        let found = check(&plan, &CheckCode::QUORUM_RULES);
        assert_eq!(found.status, CheckStatus::Attested, "{found:?}");
        assert!(
            found.message.contains(&format!("n1 has {option} set"))
                && found.message.contains(&format!("'{option}=FALSE'")),
            "{}",
            found.message
        );
        let open = RecoveryFixture {
            attestations: Vec::new(),
            ..fixture
        };
        assert_eq!(
            status(&open.plan(), &CheckCode::QUORUM_RULES),
            CheckStatus::Unknown
        );
    }
}
