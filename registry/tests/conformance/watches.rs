//! What a watch delivers while nothing fails.

use std::time::Duration;

use registry::{Transaction, WatchEvent, WriteOp};

use crate::EmptyEtcd;
use crate::store::{describe, next_described, next_event, next_reset};

pub(crate) async fn a_watch_begins_with_a_reset(store: EmptyEtcd) {
    store.put("/w/b", "1").await;
    let last = store.put("/w/a", "1").await;
    store.put("/x", "1").await;
    let mut watch = store.registry.watch("/w/");
    match next_event(&mut watch).await {
        WatchEvent::Reset { revision, entries } => {
            assert_eq!((entries.len(), revision), (2, last + 1));
            assert!(entries.is_sorted_by(|a, b| a.key < b.key));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        next_reset(&mut store.registry.watch("/none/"))
            .await
            .is_empty()
    );
}

pub(crate) async fn changes_arrive_once_and_in_order(store: EmptyEtcd) {
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    let mut expected = Vec::new();
    for index in 0..200 {
        let (key, value) = (format!("/w/{}", index % 7), index.to_string());
        store.put(&key, &value).await;
        expected.push(format!("{key}={value}"));
    }
    assert_eq!(next_described(&mut watch, 200).await, expected);
}

pub(crate) async fn the_changes_of_a_transaction_arrive_together(store: EmptyEtcd) {
    store.put("/w/c", "1").await;
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    let transaction = Transaction::new().then([
        WriteOp::put("/w/b", "1", None),
        WriteOp::put("/w/a", "1", None),
        WriteOp::delete("/w/c"),
        WriteOp::put("/elsewhere", "1", None),
    ]);
    store.registry.transact(&transaction).await.unwrap();
    match next_event(&mut watch).await {
        WatchEvent::Changes { changes, .. } => {
            let mut changes: Vec<_> = changes.iter().map(describe).collect();
            changes.sort();
            assert_eq!(changes, ["-/w/c", "/w/a=1", "/w/b=1"]);
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn deletions_are_reported(store: EmptyEtcd) {
    let revision = store.put("/w/a", "1").await;
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    store.registry.delete_if("/w/a", revision).await.unwrap();
    store.put("/w/a", "2").await;
    assert_eq!(next_described(&mut watch, 2).await, ["-/w/a", "/w/a=2"]);
}

pub(crate) async fn the_end_of_a_lease_is_reported(store: EmptyEtcd) {
    let ttl = Duration::from_secs(2);
    let id = store.registry.grant_without_keep_alive(ttl).await.unwrap();
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    store.registry.put("/w/a", "1", Some(id)).await.unwrap();
    assert_eq!(next_described(&mut watch, 2).await, ["/w/a=1", "-/w/a"]);
}

pub(crate) async fn other_prefixes_are_not_reported(store: EmptyEtcd) {
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    for key in ["/w", "/w0", "/v/w/", "/w/in"] {
        store.put(key, "1").await;
    }
    assert_eq!(next_described(&mut watch, 1).await, ["/w/in=1"]);
}

pub(crate) async fn two_watches_see_the_same(store: EmptyEtcd) {
    let mut watches = [store.registry.watch("/w/"), store.registry.watch("/w/a")];
    for watch in &mut watches {
        next_reset(watch).await;
    }
    store.put("/w/a", "1").await;
    for watch in &mut watches {
        assert_eq!(next_described(watch, 1).await, ["/w/a=1"]);
    }
}
