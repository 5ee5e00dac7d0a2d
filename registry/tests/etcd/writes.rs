//! Compare-and-act.

use std::time::Duration;

use registry::{
    CreateOutcome, Error, Precondition, Transaction, TransactionOutcome, WriteOp, numbered_key,
};

use crate::etcd::EtcdCluster;
use crate::{next_event, next_reset, text};

#[tokio::test]
async fn of_eight_racers_exactly_one_creates() {
    let etcd = EtcdCluster::cluster(3).await;
    let racers = (0..8).map(|racer| {
        let registry = etcd.registry();
        tokio::spawn(async move {
            (
                racer,
                registry
                    .create("/founder", format!("n{racer}"), None)
                    .await
                    .unwrap(),
            )
        })
    });
    let mut winners = Vec::new();
    let mut seen = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            (racer, CreateOutcome::Created { .. }) => winners.push(format!("n{racer}")),
            (_, CreateOutcome::Exists(entry)) => seen.push(text(&entry.value)),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(seen, vec![winners[0].clone(); 7]);
}

#[tokio::test]
async fn updates_and_deletions_compare_what_was_seen() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let first = registry.put("/k", "1", None).await.unwrap();
    let second = registry.update("/k", first, "2", None).await.unwrap();
    for lost in [
        registry.update("/k", first, "3", None).await.map(drop),
        registry.delete_if("/k", first).await,
    ] {
        match lost.unwrap_err() {
            Error::Conflict { key, current } => {
                assert_eq!(key, "/k");
                assert_eq!(current.unwrap().mod_revision, second);
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

#[tokio::test]
async fn a_transaction_happens_at_one_revision_or_not_at_all() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let mut subscription = registry.watch("/n/");
    next_reset(&mut subscription).await;
    let report = |state: &str| {
        let puts = [
            WriteOp::put("/n/state", state, None),
            WriteOp::put("/n/seqno", "7", None),
        ];
        Transaction::new()
            .when(Precondition::Absent("/n/registered".into()))
            .then(
                puts.clone()
                    .into_iter()
                    .chain([WriteOp::put("/n/registered", "{}", None)]),
            )
            .otherwise(puts)
    };
    assert!(matches!(
        registry.transact(&report("Joined")).await.unwrap(),
        TransactionOutcome::Committed { .. }
    ));
    match next_event(&mut subscription).await {
        registry::WatchEvent::Changes { changes, .. } => assert_eq!(changes.len(), 3),
        other => panic!("{other:?}"),
    }
    match registry.transact(&report("Synced")).await.unwrap() {
        TransactionOutcome::Refused { current, .. } => {
            assert!(current.iter().any(|entry| entry.value == b"Synced"))
        }
        other => panic!("{other:?}"),
    }
    let entries = registry.list("/n/").await.unwrap().entries;
    let registered = entries
        .iter()
        .find(|entry| entry.key == b"/n/registered")
        .unwrap();
    assert_eq!(registered.version, 1);
    assert_eq!(entries.iter().filter(|entry| entry.version == 2).count(), 2);
}

#[tokio::test]
async fn a_fence_refuses_whoever_lost_the_lock() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let lease = registry.grant(Duration::from_secs(10)).await.unwrap();
    let lock = registry
        .create("/lock", "me", Some(lease.id()))
        .await
        .unwrap();
    assert!(matches!(lock, CreateOutcome::Created { .. }));
    let fenced = Transaction::new()
        .when(Precondition::Exists("/lock".into()))
        .when(Precondition::Leased("/lock".into(), lease.id()))
        .then([WriteOp::put("/done", "1", None)]);
    assert!(matches!(
        registry.transact(&fenced).await.unwrap(),
        TransactionOutcome::Committed { .. }
    ));
    let id = lease.id();
    lease.revoke().await.unwrap();
    assert!(matches!(
        registry.transact(&fenced).await.unwrap(),
        TransactionOutcome::Refused { .. }
    ));
    let error = registry.put("/k", "v", Some(id)).await.unwrap_err();
    assert!(
        matches!(error, Error::LeaseGone { id: named } if named == id),
        "{error}"
    );
}

#[tokio::test]
async fn a_run_of_numbered_entries_goes_at_once_and_nothing_beside_it() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let mut kept = vec![
        "/events/a".to_owned(),
        "/events/lab".to_owned(),
        "/events/lab2/00000000000000000005".to_owned(),
        "/events/labs".to_owned(),
        numbered_key("/events/lab/", 1),
        numbered_key("/events/lab/", 10),
        numbered_key("/events/lab/", u64::MAX),
    ];
    let gone = (2..=9).map(|number| numbered_key("/events/lab/", number));
    for key in kept.iter().cloned().chain(gone) {
        registry.put(key, "x", None).await.unwrap();
    }
    let run = Transaction::new().then([
        WriteOp::put("/block", "2 to 9", None),
        WriteOp::delete_numbered("/events/lab/", 2..=9),
    ]);
    let outcome = registry.transact(&run).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Committed { .. }),
        "{outcome:?}"
    );
    let left = registry.list("/events/").await.unwrap().entries;
    let left: Vec<String> = left.iter().map(|entry| text(&entry.key)).collect();
    kept.sort();
    assert_eq!(left, kept);
    // A guard that does not hold keeps all of it.
    let refused = Transaction::new()
        .when(Precondition::Absent(b"/block".to_vec()))
        .then([WriteOp::delete_numbered("/events/lab/", 1..=u64::MAX)]);
    let outcome = registry.transact(&refused).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Refused { .. }),
        "{outcome:?}"
    );
    assert_eq!(
        registry.list("/events/").await.unwrap().entries.len(),
        left.len()
    );
}
