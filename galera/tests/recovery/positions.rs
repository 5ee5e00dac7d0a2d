//! Corrections of remembered positions: what is forgotten, what must be known first, and what never comes back.

use galera::judge::known_positions::{
    KnownPositions, LastPrimaryView, PositionCorrections, PositionReset,
};
use galera::observe::registration::{RawKeyValue, RegistryKeys};
use galera::recover::allow_list::{PermittedStep, permitted_step};
use galera::recover::attestation::AttestedState;
use galera::recover::bootstrap::CorrectionsRecord;
use galera::recover::cleanup::RegistryReading;
use galera::recover::plan::{CheckCode, CheckStatus, Plan, PlanStep};
use galera::recover::positions;
use proptest::prelude::*;

use crate::action_fixture::action_id;
use crate::fixture::{FakeStatusRows, HISTORY, RecoveryFixture, at, failing, id, position, status};

const RECORD: &str = "/galera-console/corrections/lab";

/// Three stopped members at 8 to 10, while the console remembers 99,999,999 of a node that is no member.
fn poisoned() -> RecoveryFixture {
    let mut fixture = RecoveryFixture::all_stopped();
    fixture
        .history
        .record_highest(&id("n9"), &position(99_999_999), at(1));
    fixture.context.corrections = Some(CorrectionsRecord {
        key: RECORD.to_owned(),
        mod_revision: 7,
    });
    fixture
}

fn reading(keys: &[(&str, &str)]) -> RegistryReading {
    RegistryReading {
        at: at(59),
        revision: 100,
        keys: keys
            .iter()
            .map(|(key, value)| RawKeyValue {
                key: format!("/galera/lab/{key}").into_bytes(),
                value: value.as_bytes().to_vec(),
                mod_revision: 5,
                lease: 0,
                ttl: None,
            })
            .collect(),
    }
}

fn correction(fixture: &RecoveryFixture) -> Plan {
    positions::plan(&fixture.case(), Some(&reading(&[])))
}

fn reset_of(plan: &Plan) -> PositionReset {
    let Some(PlanStep::Key {
        value: Some(value), ..
    }) = plan.steps.last()
    else {
        panic!("{:#?}", plan.steps);
    };
    serde_json::from_str(value).unwrap()
}

#[test]
fn a_position_that_no_member_reached_is_forgotten_and_then_blocks_no_plan() {
    let mut fixture = poisoned();
    assert_eq!(failing(&fixture.plan()), ["no_regression"]);
    let plan = correction(&fixture);
    assert!(plan.executable, "{:#?}", plan.checks);
    let reset = reset_of(&plan);
    assert_eq!(reset.histories, [HISTORY.parse().unwrap()].into());
    let mut corrections = PositionCorrections::default();
    corrections.add(&reset, at(70));
    fixture.history.correct(&corrections);
    assert!(fixture.plan().executable);
    assert_eq!(failing(&correction(&fixture)), ["something_to_do"]);
}

#[test]
fn the_position_of_every_member_must_be_known() {
    let mut fixture = poisoned();
    fixture.evidence.registrations.remove(&id("n3"));
    assert_eq!(failing(&correction(&fixture)), ["positions_known"]);
    let stopped = fixture.clone().attest("n3", AttestedState::Stopped);
    assert_eq!(failing(&correction(&stopped)), ["positions_known"]);
    let gone = fixture.clone().attest("n3", AttestedState::Decommissioned);
    let plan = correction(&gone);
    assert!(plan.executable, "{:#?}", plan.checks);
    assert_eq!(
        status(&plan, &CheckCode::POSITIONS_KNOWN),
        CheckStatus::Attested
    );
    let pasted =
        fixture.attest_with_paste("n3", &format!("WSREP: Recovered position: {HISTORY}:8"));
    assert!(correction(&pasted).executable);
}

#[test]
fn a_registered_node_that_is_not_confirmed_keeps_the_memory() {
    let mut fixture = poisoned();
    fixture.evidence.first_view = false;
    let fixture = fixture.registered("n9", &[("phase", "waiting")]);
    assert_eq!(failing(&correction(&fixture)), ["unconfirmed_nodes"]);
}

#[test]
fn a_real_position_is_never_forgotten() {
    let mut fixture = RecoveryFixture::all_stopped();
    fixture
        .history
        .record_highest(&id("n2"), &position(10), at(1));
    fixture.context.corrections = poisoned().context.corrections;
    let plan = correction(&fixture);
    assert_eq!(failing(&plan), ["something_to_do"]);
    assert!(plan.steps.is_empty() && plan.target.is_none());
}

#[test]
fn the_plan_of_a_running_cluster_does_not_change_with_every_commit() {
    let running = |seqno| {
        let mut fixture = RecoveryFixture::expecting(&["n1"])
            .answers("n1", FakeStatusRows::primary(&["n1:3306"], 0, seqno));
        fixture.history = poisoned().history;
        fixture.context = poisoned().context;
        correction(&fixture)
    };
    assert!(running(20).executable);
    assert_eq!(running(20).digest, running(21).digest);
}

#[test]
fn recorded_keys_above_every_member_are_removed_first() {
    let fixture = poisoned();
    let high = format!("{HISTORY}:99999999");
    let keys = [
        ("n1/highest_position", high.as_str()),
        ("n2/highest_position", &format!("{HISTORY}:10")),
        ("n1/registered", "{}"),
    ];
    let plan = positions::plan(&fixture.case(), Some(&reading(&keys)));
    let [
        PlanStep::Key {
            key,
            value: None,
            mod_revision: 5,
        },
        PlanStep::Key { key: record, .. },
    ] = &plan.steps[..]
    else {
        panic!("{:#?}", plan.steps);
    };
    assert_eq!(
        (key.as_str(), record.as_str()),
        ("/galera/lab/n1/highest_position", RECORD)
    );
    let keys = RegistryKeys::new("/galera");
    let step = |index| permitted_step(&plan, index, &action_id(), &keys, 3306);
    assert!(matches!(step(0), Ok(PermittedStep::Delete { .. })));
    assert!(matches!(
        step(1),
        Ok(PermittedStep::Correction {
            mod_revision: 7,
            ..
        })
    ));
}

#[test]
fn no_other_key_and_no_other_value_is_ever_written() {
    let fixture = poisoned();
    let plan = positions::plan(&fixture.case(), Some(&reading(&[])));
    let keys = RegistryKeys::new("/galera");
    let mut removes = plan.clone();
    removes.target.as_mut().unwrap().removes = vec![id("n1")];
    for key in [
        "n1/registered",
        "founder",
        "n2/highest_position",
        "../other/n1/highest_position",
    ] {
        removes.steps = vec![PlanStep::Key {
            key: format!("/galera/lab/{key}"),
            mod_revision: 5,
            value: None,
        }];
        assert!(
            permitted_step(&removes, 0, &action_id(), &keys, 3306).is_err(),
            "{key}"
        );
    }
    let mut other = plan;
    other.steps = vec![PlanStep::Key {
        key: RECORD.to_owned(),
        mod_revision: 7,
        value: Some(r#"{"histories":[],"nodes":[],"roles":["admin"]}"#.to_owned()),
    }];
    assert!(permitted_step(&other, 0, &action_id(), &keys, 3306).is_err());
}

#[test]
fn the_view_of_a_node_that_is_no_member_is_forgotten() {
    let view = |conf_id, seqno| LastPrimaryView {
        conf_id,
        position: position(seqno),
        members: std::sync::Arc::default(),
        at: at(1),
        since: None,
        weight: None,
        total_weight: None,
        size: None,
    };
    let mut fixture = RecoveryFixture::all_stopped();
    fixture.context.corrections = poisoned().context.corrections;
    fixture.history.primary.insert(id("n2"), view(17, 10));
    fixture.history.primary.insert(id("n9"), view(99_999, 10));
    assert_eq!(failing(&fixture.plan()), ["last_primary"]);
    let plan = correction(&fixture);
    assert!(plan.executable, "{:#?}", plan.checks);
    let reset = reset_of(&plan);
    assert_eq!((reset.histories.len(), reset.nodes), (0, [id("n9")].into()));
    let mut corrections = PositionCorrections::default();
    corrections.add(&reset_of(&plan), at(70));
    fixture.history.correct(&corrections);
    assert!(fixture.plan().executable, "{:?}", failing(&fixture.plan()));
}

/// The clock that recorded the position was an hour ahead of the one that forgets it.
#[test]
fn the_time_of_what_is_forgotten_is_known() {
    let mut fixture = poisoned();
    let ahead = at(3_600);
    fixture.history.highest.clear();
    fixture
        .history
        .record_highest(&id("n9"), &position(99_999_999), ahead);
    let reset = reset_of(&correction(&fixture));
    assert_eq!(fixture.history.last_seen(&reset), Some(ahead));
    let nothing = PositionReset {
        histories: Default::default(),
        nodes: [id("n9")].into(),
    };
    assert_eq!(fixture.history.last_seen(&nothing), None);
}

proptest! {
    /// Whatever replicas remember and in whichever order they merge: what was voided never returns, and what was seen
    /// later stays.
    #[test]
    fn what_was_forgotten_never_returns(
        records in prop::collection::vec((0..50_u64, 0..100_i64), 0..12),
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
        corrected_by in 0..12_usize,
    ) {
        let until = at(50);
        let mut corrections = PositionCorrections::default();
        let reset = PositionReset {
            histories: [HISTORY.parse().unwrap()].into(),
            nodes: Default::default(),
        };
        corrections.add(&reset, until);
        let replicas: Vec<KnownPositions> = records
            .iter()
            .enumerate()
            .map(|(index, (seqno, second))| {
                let mut known = KnownPositions::default();
                known.record_highest(&id("n1"), &position(*seqno), at(*second));
                if index == corrected_by {
                    known.correct(&corrections);
                }
                known
            })
            .collect();
        let mut merged = KnownPositions::default();
        merged.correct(&corrections);
        for index in order.into_iter().filter(|index| *index < replicas.len()) {
            merged.merge(&replicas[index]);
        }
        let later = records.iter().filter(|(_, second)| at(*second) > until);
        let expected = later.map(|(seqno, _)| *seqno).max();
        let highest = merged.highest.get(&HISTORY.parse().unwrap());
        prop_assert_eq!(highest.map(|highest| highest.seqno), expected);
    }
}
