//! Clean-up of registrations: key by key, compared, recorded, undone.

use galera::publish::api::ActionView;
use galera::recover::action::ActionState;
use galera::recover::plan::Plan;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, request_action,
};
use crate::etcd::TestEtcd;
use crate::fake_cluster::FakeCluster;

const STALE_KEY: &str = "/galera/lab/n4/registered";
const VALUE: &str = r#"{"first_seen":"2026-11-01T00:00:00Z"}"#;

async fn cleanup_plan(fixture: &ActionFixture) -> Plan {
    fixture
        .operator
        .get("/api/v1/clusters/lab/plans/cleanup")
        .await
        .json()
}

async fn request_cleanup(fixture: &ActionFixture) -> ActionView {
    for name in ["n1", "n2", "n3", "n4"] {
        let key = format!("/galera/lab/{name}/registered");
        fixture
            .console
            .registry
            .put(key, VALUE, None)
            .await
            .unwrap();
    }
    let plan = cleanup_plan(fixture).await;
    let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
    assert!(plan.executable, "{failing:?}");
    assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
    let answer = request_action(&fixture.operator, &action_request(&plan)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_stale_registration_is_removed_and_can_be_restored() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let registry = &fixture.console.registry;
    let id = request_cleanup(&fixture).await.action.id;
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    let done = fixture.wait_for_state(&id, ActionState::Succeeded).await;
    assert!(done.undoable);
    assert!(registry.get(STALE_KEY).await.unwrap().is_none());
    for name in ["n1", "n2", "n3"] {
        let key = format!("/galera/lab/{name}/registered");
        assert!(registry.get(key).await.unwrap().is_some(), "{name} stays");
    }
    assert_refused(
        &apply_verb(&fixture.approver, &id, "undo").await,
        403,
        "missing_role",
    );
    let undone = apply_verb(&fixture.operator, &id, "undo").await;
    assert_eq!(undone.status, 200, "{}", undone.text());
    let view: ActionView = undone.json();
    assert_eq!(view.undone.unwrap().restored, [STALE_KEY]);
    assert!(!view.undoable);
    let entry = registry.get(STALE_KEY).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.lease), (VALUE.as_bytes(), 0));
    assert_refused(
        &apply_verb(&fixture.operator, &id, "undo").await,
        409,
        "not_undoable",
    );
}

#[tokio::test]
async fn a_registration_renewed_after_the_request_is_kept() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let id = request_cleanup(&fixture).await.action.id;
    // The node registers again while the request is pending.
    fixture
        .console
        .registry
        .put(STALE_KEY, "{}", None)
        .await
        .unwrap();
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Superseded).await;
    let entry = fixture
        .console
        .registry
        .get(STALE_KEY)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(entry.value, b"{}");
}
