//! Plans for a stopped cluster.

use galera::observe::registration::BootstrapOrder;
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap;
use galera::recover::plan::{CheckCode, CheckStatus, Mechanism, PlanStep};

use crate::action_fixture::action_id;
use crate::fixture::{
    FakeStatusRows, HISTORY, OTHER_HISTORY, RecoveryFixture, failing, id, position, status,
};

#[test]
fn the_most_advanced_agent_gets_the_order() {
    let plan = RecoveryFixture::all_stopped().plan();
    assert!(plan.executable, "{plan:#?}");
    let [
        PlanStep::Key {
            key,
            mod_revision,
            value: Some(value),
        },
    ] = &plan.steps[..]
    else {
        panic!("{:?}", plan.steps);
    };
    assert_eq!((key.as_str(), *mod_revision), ("/galera/lab/bootstrap", 0));
    let order: BootstrapOrder = serde_json::from_str(value).unwrap();
    assert_eq!(order.node, id("n2"));
    assert_eq!(order.position, position(10).to_string());
    assert_eq!(order.action_id, None);
    let order = bootstrap::order(&plan, &action_id()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&order.to_value()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"node": "n2", "position": format!("{HISTORY}:10"), "action_id": "a1"})
    );
    let target = plan.target.unwrap();
    assert_eq!(
        (target.mechanism, target.node),
        (Mechanism::Order, Some(id("n2")))
    );
}

#[test]
fn without_agents_the_commands_are_to_be_typed() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .refuses_connections("n1")
        .refuses_connections("n2")
        .attest_with_paste("n1", &format!("WSREP: Recovered position: {HISTORY}:41"))
        .attest_with_paste(
            "n2",
            &format!("version: 2.1\nuuid: {HISTORY}\nseqno: 40\nsafe_to_bootstrap: 0"),
        );
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["agent_waits"]);
    assert!(plan.steps.is_empty());
    assert_eq!(plan.target.as_ref().unwrap().mechanism, Mechanism::ByHand);
    let lines: Vec<(String, &str)> = plan
        .commands
        .iter()
        .map(|line| {
            (
                line.node.as_ref().unwrap().to_string(),
                line.command.as_str(),
            )
        })
        .collect();
    assert!(
        lines.contains(&("n1".to_owned(), "galera_new_cluster")),
        "{lines:?}"
    );
    assert!(
        lines.contains(&("n2".to_owned(), "systemctl start mariadb")),
        "{lines:?}"
    );
}

#[test]
fn without_positions_the_recovery_is_to_be_typed() {
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .refuses_connections("n1")
        .refuses_connections("n2")
        .attest("n1", AttestedState::Stopped)
        .attest("n2", AttestedState::Stopped)
        .plan();
    assert!(!plan.executable);
    assert!(plan.target.is_none());
    assert_eq!(plan.commands.len(), 2);
    assert!(
        plan.commands[0]
            .command
            .starts_with("mariadbd --wsrep-recover")
    );
}

#[test]
fn a_disconnected_server_must_be_stopped_first() {
    let disconnected =
        FakeStatusRows::non_primary(&["n1"], 0, 5).with_row("wsrep_cluster_status", "Disconnected");
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", disconnected)
        .agent_waiting("n2", 9)
        .plan();
    assert!(!plan.executable);
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Fail
    );
}

#[test]
fn a_lost_member_is_attested_with_what_it_held() {
    let plan = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .agent_waiting("n1", 9)
        .agent_waiting("n2", 10)
        .times_out("n3")
        .attest("n3", AttestedState::Decommissioned)
        .plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Attested
    );
    assert!(
        plan.loss.explanation.contains("that only n3 may have"),
        "{}",
        plan.loss.explanation
    );
}

#[test]
fn equal_positions_prefer_an_agent_then_the_smallest_name() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .refuses_connections("n1")
        .attest_with_paste("n1", &format!("{HISTORY}:10"))
        .agent_waiting("n2", 10)
        .agent_waiting("n3", 10);
    let plan = fixture.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
}

#[test]
fn different_histories_need_a_person() {
    let other = format!("{OTHER_HISTORY}:900");
    let plan = RecoveryFixture::expecting(&["n1", "n2"])
        .agent_waiting("n1", 9)
        .refuses_connections("n2")
        .attest_with_paste("n2", &other)
        .plan();
    assert_eq!(status(&plan, &CheckCode::ONE_HISTORY), CheckStatus::Fail);
    assert!(plan.target.is_none() && plan.steps.is_empty());
}

#[test]
fn a_node_without_data_is_accounted_for_and_never_chosen() {
    let nothing = "00000000-0000-0000-0000-000000000000:-1";
    let empty = [("phase", "stopping"), ("recovered_position", nothing)];
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .refuses_connections("n1")
        .registered("n1", &empty)
        .agent_waiting("n2", 10);
    let plan = fixture.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.target.unwrap().node, Some(id("n2")));
    assert_eq!(
        plan.loss.explanation,
        "No known data loss; no transaction after 10 has been seen."
    );
    let alone = RecoveryFixture::expecting(&["n1"])
        .refuses_connections("n1")
        .registered("n1", &empty);
    assert!(alone.plan().target.is_none());
}

#[test]
fn i09_what_an_agent_recorded_as_its_highest_counts() {
    let highest = format!("{HISTORY}:40");
    let recovered = format!("{HISTORY}:8");
    let fields = [
        ("phase", "waiting"),
        ("recovered_position", recovered.as_str()),
        ("highest_position", highest.as_str()),
    ];
    let mut fixture = RecoveryFixture::all_stopped().registered("n3", &fields);
    let plan = fixture.plan();
    assert_eq!(failing(&plan), ["no_regression"]);
    assert_eq!(plan.loss.transactions, Some(30));
    let (now, fold) = (
        crate::fixture::at(fixture.now),
        fixture.settings.fold.clone(),
    );
    fixture.history.update(&fixture.evidence, now, &fold);
    fixture.evidence.registrations.clear();
    assert_eq!(fixture.history.highest.values().next().unwrap().seqno, 40);
}
