//! Plans for a stopped cluster.

use galera::observe::registration::{BootstrapOrder, NO_POSITION};
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap;
use galera::recover::plan::{CheckCode, CheckStatus, Mechanism, PlanStep};

use crate::action_fixture::action_id;
use crate::fixture::{
    FakeStatusRows, HISTORY, OTHER_HISTORY, RecoveryFixture, check, failing, id, position, status,
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
            .starts_with("mariadbd --user=mysql --wsrep-recover")
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
    let empty = [
        ("phase", "stopping"),
        ("recovered_position", nothing),
        ("registered", r#"{"id":"d1"}"#),
        ("data_id", "d1"),
    ];
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

/// Three stopped nodes; the agent of n2, the most advanced one, publishes these fields about orders.
fn with_order_fields(fields: &[(&str, &str)], order_key: Option<&str>) -> RecoveryFixture {
    let recovered = format!("{HISTORY}:10");
    let waiting = [
        ("phase", "waiting"),
        ("recovered_position", recovered.as_str()),
    ];
    let fields = [&waiting, fields].concat();
    let mut fixture = RecoveryFixture::all_stopped().registered("n2", &fields);
    fixture.context.order_key = order_key.map(ToOwned::to_owned);
    fixture
}

#[test]
fn an_order_that_the_agent_would_refuse_is_never_planned() {
    let trusts = |keys: &'static str| [("data_id", "d2"), ("order_keys", keys)];
    for (fields, order_key, result, words) in [
        (&trusts("k1")[..], None, CheckStatus::Fail, "order-key new"),
        (
            &trusts("none"),
            Some("k1"),
            CheckStatus::Fail,
            "has no ORDER_PUBLIC_KEY_FILE",
        ),
        (
            &trusts("k2,k3"),
            Some("k1"),
            CheckStatus::Fail,
            "does not trust this console's order key k1",
        ),
        (
            &[("order_keys", "k1")],
            Some("k1"),
            CheckStatus::Unknown,
            "cannot be read",
        ),
        (
            &[("data_id", "d2")],
            Some("k1"),
            CheckStatus::Unknown,
            "cannot be read",
        ),
        (
            &[("data_id", "d\u{1b}2"), ("order_keys", "k1")],
            Some("k1"),
            CheckStatus::Unknown,
            "cannot be read",
        ),
    ] {
        let plan = with_order_fields(fields, order_key).plan();
        assert_eq!(
            status(&plan, &CheckCode::ORDER_ACCEPTED),
            result,
            "{fields:?}"
        );
        let check = plan.check(&CheckCode::ORDER_ACCEPTED).unwrap();
        assert!(check.message.contains(words), "{}", check.message);
        assert!(plan.steps.is_empty() && !plan.executable, "{plan:#?}");
        assert_eq!(plan.target.unwrap().mechanism, Mechanism::ByHand);
    }
}

#[test]
fn the_order_names_the_data_that_the_agent_publishes() {
    let fields = [("data_id", "d2"), ("order_keys", "k0,k1")];
    let plan = with_order_fields(&fields, Some("k1")).plan();
    assert!(plan.executable, "{plan:#?}");
    let order = bootstrap::order(&plan, &action_id()).unwrap();
    assert_eq!(order.data_id.as_deref(), Some("d2"));
    // Other data under the same name is another plan.
    let fields = [("data_id", "d3"), ("order_keys", "k0,k1")];
    let other = with_order_fields(&fields, Some("k1")).plan();
    assert_ne!(plan.digest, other.digest);
}

#[test]
fn an_older_agent_gets_its_order_as_before() {
    for order_key in [None, Some("k1")] {
        let plan = with_order_fields(&[], order_key).plan();
        assert!(plan.executable, "{plan:#?}");
        let check = plan.check(&CheckCode::ORDER_ACCEPTED).unwrap();
        assert!(
            check.message.contains("The agent of n2 is older"),
            "{}",
            check.message
        );
        let order = bootstrap::order(&plan, &action_id()).unwrap();
        assert_eq!(order.data_id, None);
    }
}

/// Every grastate.dat is empty: agents obey only an order for the position that they recovered, so that one for a pasted
/// position would be approved and never obeyed.
#[test]
fn a_pasted_position_replaces_none_that_the_agent_lacks() {
    let nil = "00000000-0000-0000-0000-000000000000:-1";
    let waiting = |id: &str| {
        let registered = format!(r#"{{"id":"{id}"}}"#);
        [
            ("phase", "waiting".to_owned()),
            ("recovered_position", nil.to_owned()),
            ("data_id", id.to_owned()),
            ("registered", registered),
        ]
    };
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2"]);
    for (node, id) in [("n1", "d1"), ("n2", "d2")] {
        let fields = waiting(id);
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        fixture = fixture.refuses_connections(node).registered(node, &fields);
    }
    let fixture =
        fixture.attest_with_paste("n1", &format!("WSREP: Recovered position: {HISTORY}:41"));
    let plan = fixture.plan();
    assert!(!plan.executable && plan.steps.is_empty(), "{plan:#?}");
    assert_eq!(failing(&plan), ["agent_waits"]);
    let message = &crate::fixture::check(&plan, &CheckCode::AGENT_WAITS).message;
    assert!(
        message.contains("has recovered no position") && message.contains(":41"),
        "{message}"
    );
    assert_eq!(plan.target.unwrap().mechanism, Mechanism::ByHand);
}

#[test]
fn a_pasted_position_that_differs_from_the_agent_s_is_refused() {
    let honest = RecoveryFixture::all_stopped();
    assert!(honest.plan().executable);
    let same = honest
        .clone()
        .attest_with_paste("n2", &format!("WSREP: Recovered position: {HISTORY}:10"));
    assert!(same.plan().executable);
    for (node, seqno) in [("n2", 12), ("n1", 7_000)] {
        let text = format!("WSREP: Recovered position: {HISTORY}:{seqno}");
        let plan = honest.clone().attest_with_paste(node, &text).plan();
        assert_eq!(failing(&plan), ["positions_known"]);
        let check = crate::fixture::check(&plan, &CheckCode::POSITIONS_KNOWN);
        assert!(
            check
                .message
                .contains("is not the one that its agent recovered"),
            "{}",
            check.message
        );
        assert!(!plan.executable);
    }
}

#[test]
fn if_only_empty_containers_wait_the_plan_says_how_to_continue() {
    let empty = [
        ("phase", "waiting"),
        ("data_id", "new"),
        ("recovered_position", NO_POSITION),
    ];
    let fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"])
        .refuses_connections("n1")
        .registered("n1", &empty)
        .times_out("n2")
        .times_out("n3");
    let plan = fixture.plan();
    let message = &check(&plan, &CheckCode::CANDIDATE).message;
    assert!(
        message.starts_with("n1 waits without data")
            && message.contains("backup")
            && message.contains("decommission the cluster"),
        "{message}"
    );
}

#[test]
fn no_agent_is_ordered_while_scripts_of_etcd_v2_may_start_the_cluster() {
    use galera::observe::registration::V2Access;
    let waiting = || RecoveryFixture::all_stopped();
    let v2 = |fixture: &RecoveryFixture| fixture.plan().check(&CheckCode::V2_REGISTRY).cloned();
    assert_eq!(
        v2(&waiting()),
        None,
        "without etcd v2 there is no such check"
    );
    // Its address was left behind when it was moved.
    let moved = waiting().in_etcd_v2("n1", false);
    assert_eq!(v2(&moved).unwrap().status, CheckStatus::Pass);
    assert!(moved.plan().executable);
    let mut unreadable = waiting();
    unreadable.evidence.v2_access = V2Access::Unreadable("It does not answer".to_owned());
    for (fixture, expected, words) in [
        (waiting().in_etcd_v2("n1", true), CheckStatus::Fail, "n1"),
        (waiting().in_etcd_v2("n4", false), CheckStatus::Fail, "n4"),
        (
            unreadable,
            CheckStatus::Unknown,
            "It does not answer. Once no container",
        ),
    ] {
        let plan = fixture.plan();
        let check = v2(&fixture).unwrap();
        assert_eq!(check.status, expected, "{words}");
        assert!(check.message.contains(words), "{}", check.message);
        assert!(!plan.executable && plan.steps.is_empty(), "{plan:#?}");
    }
}

#[test]
fn a_statement_to_a_server_does_not_depend_on_etcd_v2() {
    let fixture = RecoveryFixture::two_of_three_lost().in_etcd_v2("n1", true);
    let plan = fixture.plan();
    assert!(plan.executable, "{plan:#?}");
    assert_eq!(plan.check(&CheckCode::V2_REGISTRY), None);
}
