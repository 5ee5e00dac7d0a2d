//! Properties of plans that hold for any cluster, however broken.

use galera::recover::attestation::{Attestation, AttestedState, parse_pasted_state};
use galera::recover::bootstrap::StatementDialect;
use galera::recover::plan::{CheckCode, CheckStatus, Mechanism, Plan, PlanStep};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixture::{
    FakeStatusRows, HISTORY, NIL, OTHER_HISTORY, RecoveryFixture, at, id, position,
};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// What one node does.
#[derive(Clone, Debug)]
struct NodeBehaviour {
    node: usize,
    answer: Option<&'static str>,
    history: &'static str,
    seqno: u64,
    partner: usize,
    since: i64,
    registered: Option<(&'static str, bool, Option<u64>)>,
    attested: Option<AttestedState>,
}

fn node_behaviour(node: usize) -> impl Strategy<Value = NodeBehaviour> {
    let answer = prop::option::weighted(
        0.6,
        prop::sample::select(vec![
            "Primary",
            "non-Primary",
            "non-Primary",
            "non-Primary",
            "Disconnected",
            "?",
        ]),
    );
    let history =
        prop::sample::select(vec![HISTORY, HISTORY, HISTORY, HISTORY, OTHER_HISTORY, NIL]);
    let seqno = prop_oneof![0_u64..12, Just(u64::MAX)];
    let phase = prop::sample::select(vec![
        "waiting", "running", "joining", "starting", "stopping",
    ]);
    let registered = prop::option::of((phase, any::<bool>(), prop::option::of(0_u64..12)));
    let statement = prop::sample::select(vec![
        AttestedState::Stopped,
        AttestedState::Fenced,
        AttestedState::Decommissioned,
    ]);
    (
        answer,
        history,
        seqno,
        0..NODES.len(),
        0_i64..60,
        registered,
        prop::option::of(statement),
    )
        .prop_map(
            move |(answer, history, seqno, partner, since, registered, attested)| NodeBehaviour {
                node,
                answer,
                history,
                seqno,
                partner,
                since,
                registered,
                attested,
            },
        )
}

fn node_behaviours() -> impl Strategy<Value = Vec<NodeBehaviour>> {
    (1..=NODES.len()).prop_flat_map(|count| (0..count).map(node_behaviour).collect::<Vec<_>>())
}

fn fixture_of(behaviours: &[NodeBehaviour]) -> RecoveryFixture {
    let names: Vec<&str> = behaviours.iter().map(|b| NODES[b.node]).collect();
    let mut expected = names.clone();
    expected.sort_unstable();
    let mut fixture = RecoveryFixture::expecting(&expected);
    for behaviour in behaviours {
        fixture = apply(fixture, behaviour);
    }
    fixture
}

fn apply(mut fixture: RecoveryFixture, behaviour: &NodeBehaviour) -> RecoveryFixture {
    let node = NODES[behaviour.node];
    if let Some((phase, primary, recovered)) = behaviour.registered {
        let recovered = recovered.map(|seqno| format!("{}:{seqno}", behaviour.history));
        let mut fields = vec![("phase", phase)];
        if primary {
            fields.push(("wsrep_cluster_status", "Primary"));
        }
        if let Some(recovered) = &recovered {
            fields.push(("recovered_position", recovered));
        }
        fixture = fixture.registered(node, &fields);
    }
    fixture = match behaviour.answer {
        Some(word) => {
            let mut members = vec![node, NODES[behaviour.partner]];
            members.sort_unstable();
            members.dedup();
            let index = members.iter().position(|member| *member == node).unwrap();
            let base = match word {
                "Primary" => FakeStatusRows::primary(&members, index, behaviour.seqno),
                _ => FakeStatusRows::non_primary(&members, index, behaviour.seqno)
                    .with_row("wsrep_cluster_status", word),
            };
            let gcomm = format!("0000000{}-0c2f-11ef-a1b2-c3d4e5f60718", behaviour.node + 1);
            let server = base
                .with_history(behaviour.history)
                .with_row("wsrep_gcomm_uuid", &gcomm);
            fixture.answers_since(node, server, behaviour.since)
        }
        None if behaviour.seqno.is_multiple_of(2) => fixture.refuses_connections(node),
        None => fixture.times_out(node),
    };
    if let Some(statement) = behaviour.attested {
        fixture = fixture.attest(node, statement);
    }
    fixture
}

fn any_reports_primary(behaviours: &[NodeBehaviour]) -> bool {
    behaviours
        .iter()
        .any(|behaviour| behaviour.answer == Some("Primary"))
}

/// Invariants of every plan.
fn check_plan_invariants(plan: &Plan) -> Result<(), TestCaseError> {
    prop_assert_eq!(&plan.computed_digest(), &plan.digest);
    prop_assert!(!plan.summary.is_empty());
    let passes = plan.checks.iter().all(|check| check.status.permits());
    prop_assert_eq!(plan.executable, passes && !plan.steps.is_empty());
    prop_assert!(plan.steps.len() <= 1);
    if let Some(target) = &plan.target {
        prop_assert!(!target.position.as_ref().unwrap().uuid.is_nil());
        prop_assert!(target.mechanism != Mechanism::Registry);
    }
    for step in &plan.steps {
        match step {
            PlanStep::Statement { node, statement } => {
                prop_assert!(plan.target.as_ref().unwrap().members.contains(node));
                prop_assert!(statement.starts_with("SET GLOBAL wsrep_provider_"));
            }
            PlanStep::Key {
                key,
                mod_revision,
                value,
            } => {
                prop_assert_eq!(key.as_str(), "/galera/lab/bootstrap");
                prop_assert_eq!(*mod_revision, 0);
                prop_assert!(value.is_some());
            }
        }
    }
    let json = serde_json::to_string(plan).unwrap();
    let mut stored = plan.clone();
    for check in &mut stored.checks {
        // Known only to the replica that has just planned.
        check.transient = None;
    }
    prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), stored);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn i01_i06_every_plan_keeps_the_invariants(behaviours in node_behaviours()) {
        let plan = fixture_of(&behaviours).plan();
        check_plan_invariants(&plan)?;
        if any_reports_primary(&behaviours) {
            prop_assert!(!plan.executable && plan.steps.is_empty() && plan.target.is_none());
            prop_assert_eq!(plan.check(&CheckCode::NOBODY_PRIMARY).unwrap().status, CheckStatus::Fail);
        }
        if behaviours.iter().all(|behaviour| behaviour.history == NIL) {
            prop_assert!(plan.target.is_none());
        }
    }

    #[test]
    fn i24_no_plan_stops_or_restarts_a_running_node(behaviours in node_behaviours()) {
        let fixture = fixture_of(&behaviours);
        let plan = fixture.plan();
        for command in &plan.commands {
            let node = command.node.as_ref().and_then(|node| fixture.evidence.probes.get(node));
            let answers = node.is_some_and(|probe| probe.status.is_some() && probe.error.is_none());
            prop_assert!(!answers || command.command.starts_with("mariadb -e "), "{}", command.command);
            for word in ["kill", "stop", "restart", "SHUTDOWN", "rm "] {
                prop_assert!(!command.command.contains(word), "{}", command.command);
            }
        }
        for step in &plan.steps {
            if let PlanStep::Statement { statement, .. } = step {
                let only = StatementDialect::ALL.map(StatementDialect::bootstrap_statement);
                prop_assert!(only.contains(&statement.as_str()), "{}", statement);
            }
        }
    }

    #[test]
    fn i10_no_order_of_arrival_matters(
        (behaviours, shuffled) in node_behaviours().prop_flat_map(|b| (Just(b.clone()), Just(b).prop_shuffle()))
    ) {
        let (one, other) = (fixture_of(&behaviours).plan(), fixture_of(&shuffled).plan());
        prop_assert_eq!(&one.digest, &other.digest);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn i02_an_unreachable_member_without_attestation_blocks(behaviours in node_behaviours()) {
        let silent = behaviours.iter().any(|behaviour| {
            let listed = behaviours.iter().any(|other| other.answer.is_some() && other.partner == behaviour.node);
            behaviour.answer.is_none() && behaviour.attested.is_none() && behaviour.registered.is_none() && !listed
        });
        let plan = fixture_of(&behaviours).plan();
        prop_assert!(!(silent && plan.executable));
    }

    #[test]
    fn i16_the_digest_survives_time_and_follows_facts(seqno in 1_u64..1_000, more in 1_u64..50, wait in 0_i64..5) {
        let fixture = RecoveryFixture::expecting(&["n1"]).answers("n1", FakeStatusRows::non_primary(&["n1"], 0, seqno));
        let digest = fixture.plan().digest;
        let mut later = fixture.clone();
        later.now += wait;
        let later = later.answers("n1", FakeStatusRows::non_primary(&["n1"], 0, seqno));
        prop_assert_eq!(&later.plan().digest, &digest);
        let ahead = fixture.clone().answers("n1", FakeStatusRows::non_primary(&["n1"], 0, seqno + more));
        prop_assert_ne!(&ahead.plan().digest, &digest);
        let mut remembered = fixture;
        remembered.history.record_highest(&id("n1"), &position(seqno + more), at(0));
        let plan = remembered.plan();
        prop_assert_ne!(&plan.digest, &digest);
        prop_assert!(!plan.executable);
        prop_assert_eq!(plan.loss.transactions, Some(more));
    }

    #[test]
    fn pasted_text_never_panics_nor_gives_an_undefined_position(text in ".{0,200}", lines in vec(".{0,40}", 0..6)) {
        for text in [text, lines.join("\n"), format!("uuid: {NIL}\n{}", lines.join("\n"))] {
            if let Ok(pasted) = parse_pasted_state(&text) {
                prop_assert!(!pasted.position.unwrap().uuid.is_nil());
            }
            let attestation = Attestation { node: id("n1"), statement: AttestedState::Stopped, saved_state: Some(text) };
            let json = serde_json::to_string(&attestation).unwrap();
            prop_assert_eq!(serde_json::from_str::<Attestation>(&json).unwrap(), attestation);
        }
    }
}
