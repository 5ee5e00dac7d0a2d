//! Clean-up of registrations: key by key, compared, recorded, taken back.

use galera::publish::api::ActionView;
use galera::recover::action::State;
use galera::recover::plan::Plan;

use crate::etcd::Etcd;
use crate::recovery::{Desk, act, ask, refused, wanted};
use crate::world::Nodes3;

const GONE: &str = "/galera/lab/n4/registered";
const VALUE: &str = r#"{"first_seen":"2026-11-01T00:00:00Z"}"#;

async fn plan(desk: &Desk) -> Plan {
    desk.operator
        .get("/api/v1/clusters/lab/plans/cleanup")
        .await
        .json()
}

async fn requested(desk: &Desk) -> ActionView {
    for name in ["n1", "n2", "n3", "n4"] {
        let key = format!("/galera/lab/{name}/registered");
        desk.console.registry.put(key, VALUE, None).await.unwrap();
    }
    let plan = plan(desk).await;
    let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
    assert!(plan.executable, "{failing:?}");
    assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
    let answer = ask(&desk.operator, &wanted(&plan)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_stale_registration_is_removed_and_can_be_put_back() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::healthy(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let registry = &desk.console.registry;
    let id = requested(&desk).await.action.id;
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    let done = desk.becomes(&id, State::Succeeded).await;
    assert!(done.undoable);
    assert!(registry.get(GONE).await.unwrap().is_none());
    for name in ["n1", "n2", "n3"] {
        let key = format!("/galera/lab/{name}/registered");
        assert!(registry.get(key).await.unwrap().is_some(), "{name} stays");
    }
    refused(&act(&desk.approver, &id, "undo").await, 403, "missing_role");
    let undone = act(&desk.operator, &id, "undo").await;
    assert_eq!(undone.status, 200, "{}", undone.text());
    let view: ActionView = undone.json();
    assert_eq!(view.undone.unwrap().restored, [GONE]);
    assert!(!view.undoable);
    let entry = registry.get(GONE).await.unwrap().unwrap();
    assert_eq!((entry.value.as_slice(), entry.lease), (VALUE.as_bytes(), 0));
    refused(&act(&desk.operator, &id, "undo").await, 409, "not_undoable");
}

#[tokio::test]
async fn a_registration_that_was_renewed_meanwhile_stays() {
    let etcd = Etcd::start().await;
    let nodes = Nodes3::healthy(etcd.registry());
    let desk = Desk::open(&etcd, &nodes).await;
    let id = requested(&desk).await.action.id;
    // The node comes back while the request waits.
    desk.console.registry.put(GONE, "{}", None).await.unwrap();
    assert_eq!(act(&desk.approver, &id, "approve").await.status, 200);
    desk.becomes(&id, State::Superseded).await;
    let entry = desk.console.registry.get(GONE).await.unwrap().unwrap();
    assert_eq!(entry.value, b"{}");
}
