//! A clean-up of several keys whose replica dies at any of them: another one finishes, and no key is deleted twice, nor
//! any that the plan does not name (I17, I26).

use std::collections::BTreeMap;

use galera::publish::api::ActionView;
use galera::recover::action::{State, StepState};
use galera::recover::plan::Step;
use registry::Registry;

use crate::client::Console;
use crate::cut::{Cut, Side};
use crate::etcd::{Etcd, eventually};
use crate::recovery::{Desk, act, ask, refused, wanted};
use crate::world::Nodes3;

/// What the plan removes, in its order.
const STALE: [&str; 3] = [
    "/galera/lab/n4/ipaddress",
    "/galera/lab/n4/registered",
    "/galera/lab/n5/registered",
];
const VALUE: &str = r#"{"first_seen":"2026-11-01T00:00:00Z"}"#;

/// Registrations of three nodes that live and two that are gone, and a key that nobody explains.
async fn register(registry: &Registry) {
    let lives = ["n1", "n2", "n3"].map(|name| format!("/galera/lab/{name}/registered"));
    let others = [
        "/galera/lab/n4/note/of/somebody",
        "/galera/other/n4/registered",
    ];
    let all = lives.iter().map(String::as_str).chain(others).chain(STALE);
    for key in all {
        registry.put(key, VALUE, None).await.unwrap();
    }
}

async fn keys(registry: &Registry) -> BTreeMap<String, (Vec<u8>, i64)> {
    let listing = registry.list("/galera/").await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let entries = listing.entries.into_iter();
    entries
        .map(|entry| (text(entry.key), (entry.value, entry.mod_revision)))
        .collect()
}

async fn requested(desk: &Desk) -> String {
    let path = "/api/v1/clusters/lab/plans/cleanup";
    let plan: galera::recover::plan::Plan = desk.operator.get(path).await.json();
    let failing: Vec<_> = plan.failing().map(|check| &check.message).collect();
    assert!(plan.executable, "{failing:?}");
    let named = plan.steps.iter().map(|step| match step {
        Step::Key {
            key, value: None, ..
        } => key.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(named.collect::<Vec<_>>(), STALE);
    let answer = ask(&desk.operator, &wanted(&plan)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json::<ActionView>().action.id
}

/// A clean-up whose replica died on one side of the deletion of the key at `place`, and somebody to go on with.
struct HalfDone {
    etcd: Etcd,
    id: String,
    before: BTreeMap<String, (Vec<u8>, i64)>,
    successor: Desk,
}

impl HalfDone {
    async fn at(place: usize, side: Side, meanwhile: impl AsyncFnOnce(&Registry)) -> Self {
        let etcd = Etcd::start().await;
        let nodes = Nodes3::healthy(etcd.registry());
        let cut = Cut::at(STALE[place], side, &etcd.url()).await;
        let endpoint = cut.endpoint.clone();
        let doomed = Desk::with(&etcd, &nodes, |options| options.endpoint = Some(endpoint)).await;
        let registry = etcd.registry();
        register(&registry).await;
        let id = requested(&doomed).await;
        let before = keys(&registry).await;
        assert_eq!(act(&doomed.approver, &id, "approve").await.status, 200);
        cut.sprung().await;
        drop(doomed);
        let done = place + usize::from(side == Side::After);
        eventually("the last write to be there", async || {
            keys(&registry).await.len() == before.len() - done
        })
        .await;
        meanwhile(&registry).await;
        let successor = Desk::replica(&etcd, &nodes).await;
        Self {
            etcd,
            id,
            before,
            successor,
        }
    }

    fn console(&self) -> &Console {
        &self.successor.console
    }
}

async fn finished_from(place: usize, side: Side) {
    let half = HalfDone::at(place, side, async |_| {}).await;
    let ended = half.successor.becomes(&half.id, State::Succeeded).await;
    let records: Vec<_> = ended.action.steps.iter().map(|step| step.state).collect();
    assert_eq!(records, [StepState::Done; 3], "{place} {side:?}");
    let by: Vec<_> = ended
        .action
        .steps
        .iter()
        .map(|step| step.replica.as_deref())
        .collect();
    let first = place + usize::from(side == Side::After);
    for (step, replica) in by.iter().enumerate() {
        let expected = if step < first { "r1" } else { "r2" };
        assert_eq!(*replica, Some(expected), "step {step} of {place} {side:?}");
    }
    let mut expected = half.before.clone();
    for key in STALE {
        expected.remove(key);
    }
    assert_eq!(
        keys(&half.console().registry).await,
        expected,
        "{place} {side:?}"
    );
    // All of it comes back as it was, and nothing else is touched.
    let undone = act(&half.successor.operator, &half.id, "undo").await;
    assert_eq!(undone.json::<ActionView>().undone.unwrap().restored, STALE);
    let value = |all: &BTreeMap<String, (Vec<u8>, i64)>| -> Vec<_> {
        all.iter()
            .map(|(key, (value, _))| (key.clone(), value.clone()))
            .collect()
    };
    assert_eq!(
        value(&keys(&half.etcd.registry()).await),
        value(&half.before)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_i26_another_replica_finishes_a_cleanup_from_every_key() {
    for place in 0..STALE.len() {
        tokio::join!(
            finished_from(place, Side::Before),
            finished_from(place, Side::After),
        );
    }
}

/// Who registers anew after its key was removed keeps the new key: a removal is never repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i17_what_was_removed_once_is_not_removed_again() {
    let half = HalfDone::at(1, Side::After, async |registry| {
        for key in &STALE[..2] {
            registry.put(*key, "new", None).await.unwrap();
        }
    })
    .await;
    half.successor.becomes(&half.id, State::Succeeded).await;
    let now = keys(&half.etcd.registry()).await;
    for key in &STALE[..2] {
        assert_eq!(now[*key].0, b"new");
    }
    assert!(!now.contains_key(STALE[2]));
    // Taking back leaves alone what somebody wrote meanwhile.
    let undone: ActionView = act(&half.successor.operator, &half.id, "undo").await.json();
    let undone = undone.undone.unwrap();
    assert_eq!(
        (undone.restored, undone.kept),
        (
            vec![STALE[2].to_owned()],
            STALE[..2].iter().map(|key| (*key).to_owned()).collect()
        )
    );
}

/// A clean-up that ends half-way says how far it came; taking it back restores exactly that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i26_a_half_done_cleanup_stops_at_what_changed_and_is_taken_back_exactly() {
    let half = HalfDone::at(1, Side::Before, async |registry| {
        registry.put(STALE[1], "new", None).await.unwrap();
    })
    .await;
    let failed = half.successor.becomes(&half.id, State::Failed).await;
    let outcome = failed.action.outcome.unwrap();
    assert!(
        outcome.contains("1 of 3 steps were done before it"),
        "{outcome}"
    );
    let now = keys(&half.etcd.registry()).await;
    assert!(!now.contains_key(STALE[0]));
    assert_eq!(
        (now[STALE[1]].0.as_slice(), &now[STALE[2]]),
        (&b"new"[..], &half.before[STALE[2]])
    );
    assert!(failed.undoable);
    let undone: ActionView = act(&half.successor.operator, &half.id, "undo").await.json();
    let undone = undone.undone.unwrap();
    assert_eq!(
        (undone.restored, undone.kept),
        (vec![STALE[0].to_owned()], Vec::new())
    );
    let now = keys(&half.etcd.registry()).await;
    assert_eq!(now[STALE[0]].0, VALUE.as_bytes());
    assert_eq!(now[STALE[1]].0, b"new");
    refused(
        &act(&half.successor.operator, &half.id, "undo").await,
        409,
        "not_undoable",
    );
}
