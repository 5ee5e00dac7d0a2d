//! Plans that make a member that is held back join empty, and what proves that it did (I35).

use galera::observe::fork::{ForkRecord, OBSERVED};
use galera::observe::registration::{RegistryKeys, RejoinOrder};
use galera::recover::allow_list::{PermittedStep, permitted_step};
use galera::recover::attestation::AttestedState;
use galera::recover::plan::{ActionKind, CheckCode, CheckStatus, Mechanism, Plan, PlanStep};
use galera::recover::rejoin::{RejoinOutcome, plan, verify};

use crate::action_fixture::action_id;
use crate::fixture::{
    FakeStatusRows, HISTORY, OTHER_HISTORY, RecoveryFixture, check, failing, id, status,
};

const HELD: &str = r#"{"fork":1,"first":67,"last":134}"#;
const REGISTERED: &str = r#"{"id":"d1"}"#;
const MEMBERS: [&str; 2] = ["n2", "n3"];

/// `node` waits at 134 with data of before fork 1 and publishes `held`, or nothing.
fn waits(fixture: RecoveryFixture, node: &str, held: Option<&str>) -> RecoveryFixture {
    let position = format!("{HISTORY}:134");
    let mut fields = vec![
        ("phase", "waiting"),
        ("recovered_position", position.as_str()),
        ("registered", REGISTERED),
        ("data_id", "d1"),
        ("fork_epoch", "0"),
        ("order_keys", "k1"),
    ];
    fields.extend(held.map(|held| ("held", held)));
    fixture.refuses_connections(node).registered(node, &fields)
}

/// n2 and n3 are Primary since fork 1, which continued at 66; n1 is held back.
fn held_back(held: Option<&str>) -> RecoveryFixture {
    let mut fixture = RecoveryFixture::expecting(&["n1", "n2", "n3"]);
    for (index, node) in MEMBERS.into_iter().enumerate() {
        let server = FakeStatusRows::primary(&MEMBERS, index, 500);
        let fields = [("phase", "running"), ("fork_epoch", "1")];
        fixture = fixture.answers(node, server).registered(node, &fields);
    }
    let record = ForkRecord {
        state_uuid: HISTORY.parse().unwrap(),
        seqno: 66,
        members: [id("n2")].into(),
        action_id: OBSERVED.to_owned(),
        parent: 0,
        at: None,
    };
    fixture
        .context
        .forks
        .insert(1, record.to_value().as_bytes());
    fixture.context.order_key = Some("k1".to_owned());
    waits(fixture, "n1", held)
}

fn planned(fixture: &RecoveryFixture) -> Plan {
    plan(&fixture.case())
}

#[track_caller]
fn assert_blocked(fixture: &RecoveryFixture, code: &CheckCode, words: &str) {
    let plan = planned(fixture);
    assert!(!plan.executable, "{plan:#?}");
    assert!(!status(&plan, code).permits(), "{plan:#?}");
    let message = &check(&plan, code).message;
    assert!(message.contains(words), "{message}");
    assert!(
        plan.summary.contains("n1 is held back, but"),
        "{}",
        plan.summary
    );
}

#[test]
fn i35_what_is_given_up_is_named_and_one_order_is_planned() {
    let plan = planned(&held_back(Some(HELD)));
    assert_eq!(plan.kind, ActionKind::Rejoin);
    assert!(plan.executable, "{:?}", failing(&plan));
    assert_eq!(
        plan.summary,
        "Keep the data of n1 aside and let it join empty."
    );
    assert_eq!(plan.loss.transactions, Some(68));
    assert!(
        plan.loss
            .explanation
            .starts_with("Transactions 67 to 134 of"),
        "{}",
        plan.loss.explanation
    );
    let [
        PlanStep::Key {
            key,
            mod_revision: 0,
            value: Some(value),
        },
    ] = plan.steps.as_slice()
    else {
        panic!("{:?}", plan.steps);
    };
    assert_eq!(key, "/galera/lab/rejoin");
    let order: RejoinOrder = serde_json::from_str(value).unwrap();
    assert_eq!(
        (order.ahead_of, order.order.data_id.as_deref()),
        (1, Some("d1"))
    );
    assert_eq!(order.order.position, format!("{HISTORY}:134"));
    // The way without an agent is shown as well, and deletes nothing.
    assert!(
        plan.commands
            .iter()
            .any(|command| command.command.starts_with("mv "))
    );
    assert!(
        plan.commands
            .iter()
            .all(|command| !command.command.contains("rm "))
    );
    // The agent's words and the progress of the cluster change nothing that was approved.
    let mut later = held_back(Some(HELD));
    for (index, node) in MEMBERS.into_iter().enumerate() {
        later = later.answers(node, FakeStatusRows::primary(&MEMBERS, index, 900));
    }
    assert_eq!(planned(&later).digest, plan.digest);
}

#[test]
fn i35_nothing_is_planned_where_no_member_is_held_back() {
    let waiting = RecoveryFixture::all_stopped();
    let mut running = held_back(Some(HELD));
    running.evidence.registrations.remove(&id("n1"));
    for fixture in [waiting, running] {
        let plan = planned(&fixture);
        assert!(
            !plan.executable && plan.target.is_none() && plan.steps.is_empty(),
            "{plan:#?}"
        );
        assert_eq!(
            status(&plan, &CheckCode::SOMETHING_TO_DO),
            CheckStatus::Fail
        );
    }
}

#[test]
fn i35_a_cluster_that_cannot_send_its_data_blocks_it() {
    let mut lost = held_back(Some(HELD));
    for (index, node) in MEMBERS.into_iter().enumerate() {
        lost = lost.answers(node, FakeStatusRows::non_primary(&MEMBERS, index, 500));
    }
    assert_blocked(&lost, &CheckCode::CLUSTER_PRIMARY, "no_primary");
    let mut busy = held_back(Some(HELD));
    for (index, node) in MEMBERS.into_iter().enumerate() {
        let donor = FakeStatusRows::primary(&MEMBERS, index, 500)
            .with_row("wsrep_local_state", "2")
            .with_row("wsrep_local_state_comment", "Donor/Desynced");
        busy = busy.answers(node, donor);
    }
    assert_blocked(&busy, &CheckCode::DONOR_AVAILABLE, "none can send");
    assert_blocked(&busy, &CheckCode::NO_STATE_TRANSFER, "state transfer");
    let mut other = held_back(Some(HELD));
    for (index, node) in MEMBERS.into_iter().enumerate() {
        let server = FakeStatusRows::primary(&MEMBERS, index, 500).with_history(OTHER_HISTORY);
        other = other.answers(node, server);
    }
    assert_blocked(&other, &CheckCode::ONE_HISTORY, OTHER_HISTORY);
}

#[test]
fn i35_no_order_is_planned_that_the_agent_would_refuse() {
    // An agent that publishes nothing obeys nothing; the recorded forks still show what holds it back.
    let older = held_back(None);
    assert_blocked(&older, &CheckCode::MEMBER_HELD, "update it");
    let plan = planned(&older);
    assert_eq!(plan.target.unwrap().mechanism, Mechanism::ByHand);
    assert!(plan.steps.is_empty() && !plan.commands.is_empty());
    assert_eq!(plan.loss.transactions, Some(68));
    let full = held_back(Some(
        r#"{"fork":1,"first":67,"last":134,"obstacle":"enlarge the volume"}"#,
    ));
    assert_blocked(&full, &CheckCode::KEEPS_DATA, "enlarge the volume");
    let mut keyless = held_back(Some(HELD));
    keyless.context.order_key = None;
    assert_blocked(&keyless, &CheckCode::ORDER_ACCEPTED, "no order key");
    let mut foreign = held_back(Some(HELD));
    foreign.context.order_key = Some("k2".to_owned());
    assert_blocked(&foreign, &CheckCode::ORDER_ACCEPTED, "does not trust");
}

#[test]
fn i35_a_forged_range_understates_no_loss() {
    for (held, words) in [
        (
            r#"{"fork":1,"first":134,"last":134}"#,
            "fork 1 continued at 66",
        ),
        (r#"{"fork":1,"first":67,"last":67}"#, "its data are at 134"),
        (
            r#"{"fork":7,"first":134,"last":134}"#,
            "fork 7 of its history is not recorded",
        ),
        (r#"{"fork":1,"last":134}"#, "fork 1 is recorded"),
    ] {
        assert_blocked(&held_back(Some(held)), &CheckCode::MEMBER_HELD, words);
    }
    // Without a record of the fork the loss is unknown, not none.
    let unknown = planned(&held_back(Some(r#"{"fork":0,"last":134}"#)));
    assert!(unknown.executable, "{:?}", failing(&unknown));
    assert_eq!(unknown.loss.transactions, None);
}

#[test]
fn i35_one_member_with_a_full_volume_does_not_hide_another() {
    let mut fixture = held_back(Some(
        r#"{"fork":1,"first":67,"last":134,"obstacle":"enlarge the volume"}"#,
    ));
    fixture.evidence.configured_members.insert(id("n4"));
    let fixture = waits(fixture, "n4", Some(HELD));
    let plan = planned(&fixture);
    assert!(plan.executable, "{:?}", failing(&plan));
    assert_eq!(plan.target.unwrap().node, Some(id("n4")));
    assert!(
        plan.summary.contains("Another member is held back"),
        "{}",
        plan.summary
    );
}

#[test]
fn i34_other_data_at_the_address_are_not_given_up_for_the_member() {
    let mut fixture = held_back(Some(HELD));
    let seen = fixture.evidence.registrations.get_mut(&id("n1")).unwrap();
    let mut fields = (*seen.fields).clone();
    fields.insert("registered".to_owned(), r#"{"id":"d0"}"#.to_owned());
    seen.fields = fields.into();
    let plan = planned(&fixture);
    assert!(plan.target.is_none() && plan.steps.is_empty(), "{plan:#?}");
    // Nor for a position that an operator pasted.
    let pasted = RecoveryFixture::expecting(&["n1"])
        .refuses_connections("n1")
        .attest_with_paste("n1", &format!("{HISTORY}:134"));
    assert_eq!(pasted.attestations[0].statement, AttestedState::Stopped);
    assert!(planned(&pasted).steps.is_empty());
}

#[test]
fn only_the_planned_order_to_rejoin_is_permitted() {
    let keys = RegistryKeys::new("/galera");
    let permitted = |plan: &Plan| permitted_step(plan, 0, &action_id(), &keys, 3306);
    let genuine = planned(&held_back(Some(HELD)));
    let Ok(PermittedStep::Rejoin { key, rejoin }) = permitted(&genuine) else {
        panic!("{:?}", permitted(&genuine));
    };
    assert_eq!(key, "/galera/lab/rejoin");
    assert_eq!(rejoin.order.action_id.as_deref(), Some("a1"));
    let changes: [fn(&mut Plan); 5] = [
        |plan| plan.kind = ActionKind::Bootstrap,
        |plan| plan.target.as_mut().unwrap().node = Some(id("n2")),
        |plan| plan.target.as_mut().unwrap().mechanism = Mechanism::ByHand,
        |plan| plan.steps.push(plan.steps[0].clone()),
        |plan| {
            let PlanStep::Key { key, .. } = &mut plan.steps[0] else {
                return;
            };
            *key = "/galera/lab/bootstrap".to_owned();
        },
    ];
    for change in changes {
        let mut changed = genuine.clone();
        change(&mut changed);
        assert!(permitted(&changed).is_err(), "{changed:?}");
    }
}

#[test]
fn i21_a_rejoin_is_proven_by_the_node_and_its_new_data() {
    let order = galera::recover::rejoin::order(&planned(&held_back(Some(HELD))), &action_id());
    let order = order.unwrap();
    let outcome = |fixture: &RecoveryFixture, ended| verify(&order, ended, &fixture.case());
    let waiting = held_back(Some(HELD));
    assert!(matches!(outcome(&waiting, false), RejoinOutcome::NotYet(_)));
    assert!(matches!(
        outcome(&waiting, true),
        RejoinOutcome::NotObeyed(_)
    ));
    let all = ["n1", "n2", "n3"];
    let joined = |registered: &str, data_id: &str, server: FakeStatusRows| {
        held_back(None).answers("n1", server).registered(
            "n1",
            &[
                ("phase", "running"),
                ("registered", registered),
                ("data_id", data_id),
            ],
        )
    };
    let synced = || FakeStatusRows::primary(&all, 0, 501);
    let proven = joined(r#"{"id":"d9"}"#, "d9", synced());
    assert_eq!(outcome(&proven, true), RejoinOutcome::Proven);
    let unregistered = joined(REGISTERED, "d9", synced());
    assert!(matches!(
        outcome(&unregistered, true),
        RejoinOutcome::NotYet(_)
    ));
    let receiving = joined(r#"{"id":"d9"}"#, "d9", synced()).refuses_connections("n1");
    assert!(matches!(
        outcome(&receiving, true),
        RejoinOutcome::NotYet(_)
    ));
    let old = joined(REGISTERED, "d1", synced());
    assert!(matches!(
        outcome(&old, true),
        RejoinOutcome::Contradicted(_)
    ));
    // Another state of the cluster ends it: nothing may stand in the way of a bootstrap until a transfer ends.
    let without_primary = |mut fixture: RecoveryFixture| {
        for (index, node) in MEMBERS.into_iter().enumerate() {
            fixture = fixture.answers(node, FakeStatusRows::non_primary(&MEMBERS, index, 500));
        }
        fixture
    };
    for fixture in [waiting, receiving] {
        let lost = outcome(&without_primary(fixture), false);
        assert!(matches!(lost, RejoinOutcome::Contradicted(_)), "{lost:?}");
    }
    let elsewhere = joined(r#"{"id":"d9"}"#, "d9", synced().with_history(OTHER_HISTORY));
    assert!(matches!(
        outcome(&elsewhere, true),
        RejoinOutcome::Contradicted(_)
    ));
}
