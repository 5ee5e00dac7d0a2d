//! Compare-and-act.

use std::time::Duration;

use registry::{
    CreateOutcome, Error, Precondition, Transaction, TransactionOutcome, WriteOp, numbered_key,
};

use crate::EmptyEtcd;
use crate::store::text;

fn committed(outcome: &TransactionOutcome) -> i64 {
    match outcome {
        TransactionOutcome::Committed { revision } => *revision,
        TransactionOutcome::Refused { .. } => panic!("{outcome:?}"),
    }
}

fn refused(outcome: TransactionOutcome) -> (i64, Vec<(String, String)>) {
    match outcome {
        TransactionOutcome::Refused { revision, current } => {
            let pairs = current
                .iter()
                .map(|entry| (text(&entry.key), text(&entry.value)));
            (revision, pairs.collect())
        }
        TransactionOutcome::Committed { .. } => panic!("{outcome:?}"),
    }
}

pub(crate) async fn exactly_one_of_eight_racers_creates(store: EmptyEtcd) {
    let racers = (0..8).map(|racer| {
        let registry = store.registry.clone();
        tokio::spawn(async move {
            let outcome = registry.create("/founder", format!("n{racer}"), None).await;
            (racer, outcome.unwrap())
        })
    });
    let (mut winners, mut seen) = (Vec::new(), Vec::new());
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            (racer, CreateOutcome::Created { .. }) => winners.push(format!("n{racer}")),
            (_, CreateOutcome::Exists(entry)) => seen.push(text(&entry.value)),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(seen, vec![winners[0].clone(); 7]);
}

pub(crate) async fn updates_and_deletions_compare_the_revision(store: EmptyEtcd) {
    let registry = &store.registry;
    let first = store.put("/k", "1").await;
    let second = registry.update("/k", first, "2", None).await.unwrap();
    for lost in [
        registry.update("/k", first, "3", None).await.map(drop),
        registry.delete_if("/k", first).await,
    ] {
        match lost.unwrap_err() {
            Error::Conflict { key, current } => {
                assert_eq!(
                    (key.as_str(), current.unwrap().mod_revision),
                    ("/k", second)
                );
            }
            other => panic!("{other}"),
        }
    }
    registry.delete_if("/k", second).await.unwrap();
    let gone = registry.update("/k", second, "3", None).await.unwrap_err();
    assert!(
        matches!(gone, Error::Conflict { current: None, .. }),
        "{gone}"
    );
}

pub(crate) async fn a_transaction_happens_at_one_revision_or_not_at_all(store: EmptyEtcd) {
    let puts = || {
        [
            WriteOp::put("/n/state", "Synced", None),
            WriteOp::put("/n/seqno", "7", None),
        ]
    };
    let first = Transaction::new()
        .when(Precondition::Absent("/n/state".into()))
        .then(puts());
    let revision = committed(&store.registry.transact(&first).await.unwrap());
    for key in ["/n/state", "/n/seqno"] {
        assert_eq!(store.get(key).await.unwrap().mod_revision, revision);
    }
    let (at, _) = refused(store.registry.transact(&first).await.unwrap());
    assert_eq!(at, revision);
    assert_eq!(store.get("/n/state").await.unwrap().version, 1);
}

pub(crate) async fn the_other_branch_is_written_when_a_precondition_fails(store: EmptyEtcd) {
    store.put("/n/registered", "{}").await;
    let report = Transaction::new()
        .when(Precondition::Absent("/n/registered".into()))
        .then([WriteOp::put("/n/registered", "{1}", None)])
        .otherwise([WriteOp::put("/n/state", "Synced", None)]);
    let (revision, current) = refused(store.registry.transact(&report).await.unwrap());
    assert_eq!(current, [("/n/registered".to_owned(), "{}".to_owned())]);
    assert_eq!(store.get("/n/state").await.unwrap().mod_revision, revision);
}

pub(crate) async fn each_precondition_is_compared(store: EmptyEtcd) {
    let lease = store.registry.grant(Duration::from_secs(30)).await.unwrap();
    let revision = store.put("/durable", "1").await;
    store
        .registry
        .put("/leased", "1", Some(lease.id()))
        .await
        .unwrap();
    let durable = || b"/durable".to_vec();
    let absent = || b"/absent".to_vec();
    let leased = || b"/leased".to_vec();
    for (precondition, expected) in [
        (Precondition::Absent(absent()), true),
        (Precondition::Absent(durable()), false),
        (Precondition::Exists(durable()), true),
        (Precondition::Exists(absent()), false),
        (Precondition::Unchanged(durable(), revision), true),
        (Precondition::Unchanged(durable(), revision - 1), false),
        (Precondition::Unchanged(absent(), 0), true),
        (Precondition::Unchanged(absent(), 1), false),
        (Precondition::Leased(leased(), lease.id()), true),
        (Precondition::Leased(leased(), lease.id() - 1), false),
        (Precondition::Leased(durable(), 0), true),
        (Precondition::Leased(durable(), lease.id()), false),
    ] {
        let transaction = Transaction::new().when(precondition.clone());
        let outcome = store.registry.transact(&transaction).await.unwrap();
        let held = matches!(outcome, TransactionOutcome::Committed { .. });
        assert_eq!(held, expected, "{precondition:?}");
    }
}

pub(crate) async fn a_refusal_reports_the_present_entries(store: EmptyEtcd) {
    store.put("/a", "1").await;
    store.put("/b", "2").await;
    let transaction = Transaction::new()
        .when(Precondition::Exists(b"/none".to_vec()))
        .when(Precondition::Exists(b"/a".to_vec()))
        .then([WriteOp::put("/b", "3", None), WriteOp::delete("/c")]);
    let (_, current) = refused(store.registry.transact(&transaction).await.unwrap());
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(current, [pair("/a", "1"), pair("/b", "2")]);
}

pub(crate) async fn an_empty_transaction_compares_only(store: EmptyEtcd) {
    let revision = store.put("/k", "1").await;
    let transaction = Transaction::new().when(Precondition::Exists(b"/k".to_vec()));
    let outcome = store.registry.transact(&transaction).await.unwrap();
    assert_eq!(committed(&outcome), revision);
}

pub(crate) async fn deleting_an_absent_key_changes_no_revision(store: EmptyEtcd) {
    let revision = store.put("/k", "1").await;
    let transaction = Transaction::new().then([WriteOp::delete("/none")]);
    let outcome = store.registry.transact(&transaction).await.unwrap();
    assert_eq!(committed(&outcome), revision);
    assert_eq!(store.put("/k", "2").await, revision + 1);
}

pub(crate) async fn a_range_of_numbered_keys_is_deleted_and_no_other(store: EmptyEtcd) {
    let mut kept = vec![
        "/events/a".to_owned(),
        "/events/lab".to_owned(),
        "/events/lab2/00000000000000000005".to_owned(),
        numbered_key("/events/lab/", 1),
        numbered_key("/events/lab/", 10),
        numbered_key("/events/lab/", u64::MAX),
    ];
    let gone = (2..=9).map(|number| numbered_key("/events/lab/", number));
    for key in kept.iter().cloned().chain(gone) {
        store.put(&key, "x").await;
    }
    let delete = WriteOp::delete_numbered("/events/lab/", 2..=9);
    let transaction = Transaction::new().then([WriteOp::put("/block", "2 to 9", None), delete]);
    committed(&store.registry.transact(&transaction).await.unwrap());
    kept.sort();
    assert_eq!(store.keys("/events/").await, kept);
    let refused_one = Transaction::new()
        .when(Precondition::Absent(b"/block".to_vec()))
        .then([WriteOp::delete_numbered("/events/lab/", 1..=u64::MAX)]);
    refused(store.registry.transact(&refused_one).await.unwrap());
    assert_eq!(store.keys("/events/").await, kept);
}

pub(crate) async fn a_key_written_twice_is_refused(store: EmptyEtcd) {
    let twice = [WriteOp::put("/k", "1", None), WriteOp::put("/k", "2", None)];
    let error = store
        .registry
        .transact(&Transaction::new().then(twice))
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert_eq!(store.get("/k").await, None);
}

pub(crate) async fn too_many_operations_are_refused(store: EmptyEtcd) {
    let puts =
        |count: usize| (0..count).map(|index| WriteOp::put(format!("/k/{index}"), "x", None));
    let error = store
        .registry
        .transact(&Transaction::new().then(puts(129)))
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    assert!(store.keys("/k/").await.is_empty());
    let outcome = store
        .registry
        .transact(&Transaction::new().then(puts(128)))
        .await;
    committed(&outcome.unwrap());
}
