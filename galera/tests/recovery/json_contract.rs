//! Plans and actions as JSON, as stored in etcd and returned by the API: field names and values are a contract with external clients.

use galera::publish::api::{ActionList, ActionView, ActionWarning, CleanupUndo};
use galera::recover::action::{Action, ActionEvent, ObservedOutcome, StepResult};
use galera::recover::plan::Plan;
use insta::assert_json_snapshot;

use crate::action_fixture::{
    adam, after, answered, approved, begin, done, intended, observed, olga, other_plan, pending,
};
use crate::cleanup::CleanupFixture;
use crate::cleanup_action::{self, cleanup_intend};
use crate::fixture::{FakeStatusRows, NOW, RecoveryFixture, at, id};

/// As version 0.1.0 stores it, continued by a second replica.
const RECORDED: &str = include_str!("recorded/action.json");

/// The plan, after a check that it can be read again and that its digest still matches.
fn read_again(plan: Plan) -> Plan {
    let json = serde_json::to_value(&plan).unwrap();
    let read: Plan = serde_json::from_value(json).unwrap();
    assert_eq!(read, plan);
    assert_eq!(read.computed_digest(), plan.digest);
    plan
}

#[test]
fn plan_for_a_running_cluster() {
    let plan = read_again(RecoveryFixture::two_of_three_lost().plan());
    assert!(plan.executable);
    assert_json_snapshot!(plan);
}

#[test]
fn plan_for_a_stopped_cluster() {
    let plan = read_again(RecoveryFixture::all_stopped().plan());
    assert!(plan.executable);
    assert_json_snapshot!(plan);
}

#[test]
fn blocked_plan() {
    let fixture = RecoveryFixture::expecting(&["n1", "n2"])
        .answers("n1", FakeStatusRows::non_primary(&["n1"], 0, 100))
        .refuses_connections("n2");
    let plan = read_again(fixture.plan());
    assert!(!plan.executable);
    assert_json_snapshot!(plan);
}

#[test]
fn cleanup_plan() {
    let plan = read_again(CleanupFixture::new().plan());
    assert!(plan.executable);
    assert_json_snapshot!(plan);
}

#[test]
fn a_recorded_action_keeps_its_json() {
    let action: Action = serde_json::from_str(RECORDED).unwrap();
    assert_eq!(serde_json::to_string(&action).unwrap(), RECORDED.trim_end());
}

#[test]
fn stored_ids_are_not_validated() {
    let stored = RECORDED.replace("19d0a6f1e2c3-0badcafe", "not an id");
    let action: Action = serde_json::from_str(&stored).unwrap();
    assert_eq!(action.id.as_str(), "not an id");
    assert_eq!(serde_json::to_string(&action).unwrap(), stored.trim_end());
}

#[test]
fn a_page_of_actions_ends_with_an_id() {
    let page = r#"{"actions":[],"next_before":"19d0a6f1e2c3-0badcafe"}"#;
    let list: ActionList = serde_json::from_str(page).unwrap();
    assert_eq!(serde_json::to_string(&list).unwrap(), page);
}

/// The action as the API returns it, with a short plan: whole plans have separate snapshots.
fn view(mut action: Action) -> ActionView {
    action.plan.checks.clear();
    action.plan.attestations.clear();
    ActionView {
        action,
        revision: 42,
        warnings: Vec::new(),
        undone: None,
        waiting: None,
        undoable: false,
    }
}

fn proven() -> ObservedOutcome {
    ObservedOutcome::Proven("n1 is Primary and Synced".to_owned())
}

#[test]
fn pending_action() {
    let text = "how long were they up?";
    let comment = ActionEvent::Comment { by: &adam(), text };
    assert_json_snapshot!(view(after(&pending(), &comment, 5).unwrap()));
}

#[test]
fn approved_action() {
    assert_json_snapshot!(view(approved()));
}

#[test]
fn executing_action() {
    assert_json_snapshot!(view(intended()));
}

#[test]
fn succeeded_action() {
    let mut view = view(after(&done(), &observed(7, proven()), 24).unwrap());
    view.warnings.push(ActionWarning {
        node: id("n2"),
        transactions: 5,
        message: "n2 is ahead".to_owned(),
    });
    assert_json_snapshot!(view);
}

#[test]
fn failed_action() {
    let refused = StepResult::Refused("error 1227: SUPER is missing".to_owned());
    assert_json_snapshot!(view(after(&intended(), &answered(7, refused), 22).unwrap()));
}

#[test]
fn unverified_action() {
    assert_json_snapshot!(view(after(&done(), &ActionEvent::Tick, 90).unwrap()));
}

#[test]
fn rejected_action() {
    let (by, comment) = (&adam(), Some("n2 is being started"));
    let reject = ActionEvent::Reject { by, comment };
    assert_json_snapshot!(view(after(&pending(), &reject, 10).unwrap()));
}

#[test]
fn cancelled_action() {
    let (by, comment) = (&olga(), None);
    let cancel = ActionEvent::Cancel { by, comment };
    assert_json_snapshot!(view(after(&pending(), &cancel, 10).unwrap()));
}

#[test]
fn expired_action() {
    assert_json_snapshot!(view(after(&pending(), &ActionEvent::Tick, 900).unwrap()));
}

#[test]
fn superseded_action() {
    let plan = other_plan();
    assert_json_snapshot!(view(after(&approved(), &begin(&plan, 7), 20).unwrap()));
}

#[test]
fn undone_cleanup() {
    let plan = Plan {
        computed_at: at(NOW),
        ..CleanupFixture::new().plan()
    };
    let mut action = cleanup_action::executing(&plan);
    for (step, seconds) in [(0, 21), (1, 23)] {
        action = after(&action, &cleanup_intend(&action, step), seconds).unwrap();
        let result = StepResult::Done("deleted".to_owned());
        let answer = ActionEvent::Answered {
            fence: 7,
            step,
            result,
        };
        action = after(&action, &answer, seconds + 1).unwrap();
    }
    let outcome = ObservedOutcome::Proven("the keys are deleted".to_owned());
    let mut view = view(after(&action, &observed(7, outcome), 25).unwrap());
    view.undone = Some(CleanupUndo {
        by: "olga".to_owned(),
        at: at(120),
        reason: Some("n9 comes back".to_owned()),
        restored: vec!["/galera/lab/n9/registered".to_owned()],
        kept: vec!["/galera/lab/n9/ipaddress".to_owned()],
    });
    assert_json_snapshot!(view);
}
