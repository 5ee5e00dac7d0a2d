//! A clean-up of several keys whose replica crashes at any of them: another one finishes, and no key is deleted twice or
//! without being in the plan (I17, I26).

use std::collections::BTreeMap;

use console_core::keyspace::ActionKeys;
use galera::ActionId;
use galera::ReplicaId;
use galera::publish::api::ActionView;
use galera::recover::action::{Action, ActionState, StepState};
use galera::recover::plan::{ActionKind, PlanStep};
use registry::Registry;

use crate::action_fixture::{
    ActionFixture, action_request, apply_verb, assert_refused, request_action,
};
use crate::client::TestResponse;
use crate::cut_proxy::{CutProxy, CutSide};
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::test_console::{STATE_PREFIX, TestConsole};

/// The keys that the plan removes, in order.
const STALE: [&str; 3] = [
    "/galera/lab/n4/ipaddress",
    "/galera/lab/n4/registered",
    "/galera/lab/n5/registered",
];
const VALUE: &str = r#"{"first_seen":"2026-11-01T00:00:00Z"}"#;

/// Registers three running nodes and two that are gone, and writes unrecognized keys.
async fn register(registry: &Registry) {
    let running = ["n1", "n2", "n3"].map(|name| format!("/galera/lab/{name}/registered"));
    let others = [
        "/galera/lab/n4/note/of/somebody",
        "/galera/other/n4/registered",
    ];
    let all = running
        .iter()
        .map(String::as_str)
        .chain(others)
        .chain(STALE);
    for key in all {
        registry.put(key, VALUE, None).await.unwrap();
    }
}

async fn registry_keys(registry: &Registry) -> BTreeMap<String, (Vec<u8>, i64)> {
    let listing = registry.list("/galera/").await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let entries = listing.entries.into_iter();
    entries
        .map(|entry| (text(entry.key), (entry.value, entry.mod_revision)))
        .collect()
}

async fn request_cleanup(fixture: &ActionFixture) -> ActionId {
    let path = "/api/v1/clusters/lab/plans/cleanup";
    let plan: galera::recover::plan::Plan = fixture.operator.get(path).await.json();
    let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
    assert!(plan.executable, "{failing:?}");
    let named = plan.steps.iter().map(|step| match step {
        PlanStep::Key {
            key, value: None, ..
        } => key.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(named.collect::<Vec<_>>(), STALE);
    let answer = request_action(&fixture.operator, &action_request(&plan)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json::<ActionView>().action.id
}

/// A clean-up whose replica crashed before or after deleting the key at `index`, and the replica that continues.
struct InterruptedCleanup {
    etcd: TestEtcd,
    id: ActionId,
    before: BTreeMap<String, (Vec<u8>, i64)>,
    successor: ActionFixture,
}

impl InterruptedCleanup {
    async fn start(
        index: usize,
        side: CutSide,
        before_takeover: impl AsyncFnOnce(&Registry),
    ) -> Self {
        let etcd = TestEtcd::process().await;
        let nodes = FakeCluster::healthy(etcd.registry());
        let cut = CutProxy::on_delete(STALE[index], side, &etcd.url()).await;
        let endpoint = cut.endpoint.clone();
        let first_replica =
            ActionFixture::start_with(&etcd, &nodes, |options| options.endpoint = Some(endpoint))
                .await;
        let registry = etcd.registry();
        register(&registry).await;
        let id = request_cleanup(&first_replica).await;
        let before = registry_keys(&registry).await;
        assert_eq!(
            apply_verb(&first_replica.approver, &id, "approve")
                .await
                .status,
            200
        );
        cut.wait_until_cut().await;
        drop(first_replica);
        let done = index + usize::from(side == CutSide::After);
        eventually("the last write to arrive", async || {
            registry_keys(&registry).await.len() == before.len() - done
        })
        .await;
        before_takeover(&registry).await;
        let successor = ActionFixture::replica(&etcd, &nodes).await;
        Self {
            etcd,
            id,
            before,
            successor,
        }
    }

    fn console(&self) -> &TestConsole {
        &self.successor.console
    }
}

async fn assert_finished_from(index: usize, side: CutSide) {
    let cleanup = InterruptedCleanup::start(index, side, async |_| {}).await;
    let ended = cleanup
        .successor
        .wait_for_state(&cleanup.id, ActionState::Succeeded)
        .await;
    let records: Vec<_> = ended.action.steps.iter().map(|step| step.state).collect();
    assert_eq!(records, [StepState::Done; 3], "{index} {side:?}");
    let by: Vec<_> = ended
        .action
        .steps
        .iter()
        .map(|step| step.replica.as_ref().map(ReplicaId::as_str))
        .collect();
    let first = index + usize::from(side == CutSide::After);
    for (step, replica) in by.iter().enumerate() {
        let expected = if step < first { "r1" } else { "r2" };
        assert_eq!(*replica, Some(expected), "step {step} of {index} {side:?}");
    }
    let mut expected = cleanup.before.clone();
    for key in STALE {
        expected.remove(key);
    }
    assert_eq!(
        registry_keys(&cleanup.console().registry).await,
        expected,
        "{index} {side:?}"
    );
    // Undo restores all removed keys and touches nothing else.
    let undone = apply_verb(&cleanup.successor.operator, &cleanup.id, "undo").await;
    assert_eq!(undone.json::<ActionView>().undone.unwrap().restored, STALE);
    let value = |all: &BTreeMap<String, (Vec<u8>, i64)>| -> Vec<_> {
        all.iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    };
    assert_eq!(
        value(&registry_keys(&cleanup.etcd.registry()).await),
        value(&cleanup.before)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i26_another_replica_finishes_a_cleanup_interrupted_at_any_key() {
    for index in 0..STALE.len() {
        tokio::join!(
            assert_finished_from(index, CutSide::Before),
            assert_finished_from(index, CutSide::After),
        );
    }
}

/// A node that registers again after its key was removed keeps the new key: a removal is never repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_a_key_is_removed_at_most_once() {
    let cleanup = InterruptedCleanup::start(1, CutSide::After, async |registry| {
        for key in &STALE[..2] {
            registry.put(*key, "new", None).await.unwrap();
        }
    })
    .await;
    cleanup
        .successor
        .wait_for_state(&cleanup.id, ActionState::Succeeded)
        .await;
    let now = registry_keys(&cleanup.etcd.registry()).await;
    for key in &STALE[..2] {
        assert_eq!(now[*key].0, b"new");
    }
    assert!(!now.contains_key(STALE[2]));
    // Undo keeps keys that were written since then.
    let undone: ActionView = apply_verb(&cleanup.successor.operator, &cleanup.id, "undo")
        .await
        .json();
    let undone = undone.undone.unwrap();
    assert_eq!(
        (undone.restored, undone.kept),
        (
            vec![STALE[2].to_owned()],
            STALE[..2].iter().map(|key| (*key).to_owned()).collect()
        )
    );
}

/// A clean-up that fails midway reports its progress; undo restores exactly the removed keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i26_a_partial_cleanup_stops_at_a_changed_key_and_is_undone_exactly() {
    let cleanup = InterruptedCleanup::start(1, CutSide::Before, async |registry| {
        registry.put(STALE[1], "new", None).await.unwrap();
    })
    .await;
    let failed = cleanup
        .successor
        .wait_for_state(&cleanup.id, ActionState::Failed)
        .await;
    let outcome = failed.action.outcome.unwrap();
    assert!(
        outcome.contains("1 of 3 steps completed before it"),
        "{outcome}"
    );
    let now = registry_keys(&cleanup.etcd.registry()).await;
    assert!(!now.contains_key(STALE[0]));
    assert_eq!(
        (now[STALE[1]].0.as_slice(), &now[STALE[2]]),
        (&b"new"[..], &cleanup.before[STALE[2]])
    );
    assert!(failed.undoable);
    let undone: ActionView = apply_verb(&cleanup.successor.operator, &cleanup.id, "undo")
        .await
        .json();
    let undone = undone.undone.unwrap();
    assert_eq!(
        (undone.restored, undone.kept),
        (vec![STALE[0].to_owned()], Vec::new())
    );
    let now = registry_keys(&cleanup.etcd.registry()).await;
    assert_eq!(now[STALE[0]].0, VALUE.as_bytes());
    assert_eq!(now[STALE[1]].0, b"new");
    assert_refused(
        &apply_verb(&cleanup.successor.operator, &cleanup.id, "undo").await,
        409,
        "not_undoable",
    );
}

/// Ends a clean-up, puts its record into etcd altered by `forge`, and returns the answer to an undo and whether it left
/// `key` unchanged.
async fn undo_forged(key: &str, forge: impl FnOnce(&mut Action)) -> (TestResponse, bool) {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::healthy(etcd.registry());
    let fixture = ActionFixture::start(&etcd, &nodes).await;
    let registry = etcd.registry();
    register(&registry).await;
    let id = request_cleanup(&fixture).await;
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    let ended = fixture.wait_for_state(&id, ActionState::Succeeded).await;
    let mut action = ended.action;
    forge(&mut action);
    let record = ActionKeys::new(STATE_PREFIX).action(&id);
    let value = serde_json::to_vec(&action).unwrap();
    registry.put(record, value, None).await.unwrap();
    let before = registry.get(key).await.unwrap();
    let answer = apply_verb(&fixture.operator, &id, "undo").await;
    let after = registry.get(key).await.unwrap();
    (answer, before == after)
}

fn restore(key: &str, value: &str) -> PlanStep {
    PlanStep::Key {
        key: key.to_owned(),
        mod_revision: 0,
        value: Some(value.to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_altered_record_is_not_undone() {
    let (answer, unchanged) = undo_forged(STALE[0], |action| {
        action.plan.undo[0] = restore(STALE[0], "forged");
    })
    .await;
    assert_refused(&answer, 409, "not_undoable");
    assert!(unchanged, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_writes_registrations_of_removed_nodes_only() {
    for key in [
        "/galera/lab/bootstrap",
        "/galera/lab/n1/registered",
        "/galera/other/n4/registered",
        "/state/users/mallory",
    ] {
        for kind in [ActionKind::Cleanup, ActionKind::Decommission] {
            let (answer, unchanged) = undo_forged(key, |action| {
                action.kind = kind;
                action.plan.kind = kind;
                action.plan.steps[0] = PlanStep::Key {
                    key: key.to_owned(),
                    mod_revision: 7,
                    value: None,
                };
                action.plan.undo[0] = restore(key, "{}");
                action.plan.digest = action.plan.computed_digest();
            })
            .await;
            assert_refused(&answer, 409, "not_undoable");
            assert!(unchanged, "{key} {kind:?}: {}", answer.text());
        }
    }
}
