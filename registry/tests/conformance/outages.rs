//! Connections that are cut, histories that are compacted, stores that are replaced.

use registry::{Error, WatchEvent};

use crate::EmptyEtcd;
use crate::store::{next_described, next_event, next_reset};

pub(crate) async fn a_cut_connection_is_unavailable(store: EmptyEtcd) {
    let connection = store.connect().await;
    store.put("/k", "1").await;
    connection.registry.get("/k").await.unwrap();
    connection.cut();
    let error = connection.registry.get("/k").await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable { .. }) && error.is_transient(),
        "{error}"
    );
    let error = connection.registry.put("/k", "2", None).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(connection.registry.ready().await.is_err());
    store.registry.ready().await.unwrap();
    connection.restore();
    connection.registry.put("/k", "3", None).await.unwrap();
}

pub(crate) async fn an_outage_is_reported_once_and_followed_by_a_reset(store: EmptyEtcd) {
    let connection = store.connect().await;
    store.put("/w/a", "1").await;
    let mut watch = connection.registry.watch("/w/");
    assert_eq!(next_reset(&mut watch).await, ["/w/a"]);
    connection.cut();
    match next_event(&mut watch).await {
        WatchEvent::Unreachable { error, .. } => assert!(error.is_transient(), "{error}"),
        other => panic!("{other:?}"),
    }
    store.put("/w/b", "1").await;
    connection.restore();
    let back = next_event(&mut watch).await;
    assert!(matches!(back, WatchEvent::Reachable), "{back:?}");
    assert_eq!(next_reset(&mut watch).await, ["/w/a", "/w/b"]);
    store.put("/w/c", "1").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/c=1"]);
}

pub(crate) async fn a_short_cut_resumes_without_a_gap(store: EmptyEtcd) {
    let connection = store.patient().await;
    let mut watch = connection.registry.watch("/w/");
    next_reset(&mut watch).await;
    store.put("/w/a", "1").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/a=1"]);
    connection.cut();
    for value in ["2", "3"] {
        store.put("/w/a", value).await;
    }
    connection.restore();
    assert_eq!(next_described(&mut watch, 2).await, ["/w/a=2", "/w/a=3"]);
}

pub(crate) async fn a_compaction_during_a_cut_leads_to_a_reset(store: EmptyEtcd) {
    let connection = store.patient().await;
    let mut watch = connection.registry.watch("/w/");
    next_reset(&mut watch).await;
    connection.cut();
    for value in ["1", "2", "3"] {
        store.put("/w/a", value).await;
    }
    store.compact().await;
    connection.restore();
    assert_eq!(next_reset(&mut watch).await, ["/w/a"]);
    store.put("/w/b", "4").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/b=4"]);
}

pub(crate) async fn a_compaction_leaves_a_running_watch_alone(store: EmptyEtcd) {
    let mut watch = store.registry.watch("/w/");
    next_reset(&mut watch).await;
    store.put("/w/a", "1").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/a=1"]);
    store.compact().await;
    store.put("/w/a", "2").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/a=2"]);
}

pub(crate) async fn a_restarted_store_keeps_its_entries_and_leases(mut store: EmptyEtcd) {
    let lease = store
        .registry
        .grant(std::time::Duration::from_secs(60))
        .await
        .unwrap();
    store
        .registry
        .put("/leased", "1", Some(lease.id()))
        .await
        .unwrap();
    let revision = store.put("/durable", "1").await;
    store.stop();
    assert!(store.registry.put("/durable", "2", None).await.is_err());
    store.start().await;
    assert_eq!(store.get("/durable").await.unwrap().mod_revision, revision);
    assert_eq!(store.get("/leased").await.unwrap().lease, lease.id());
    assert_eq!(store.put("/durable", "2").await, revision + 1);
    assert_eq!(lease.lost_reason(), None);
}

pub(crate) async fn a_replaced_store_leads_to_a_reset(mut store: EmptyEtcd) {
    for value in 0..10 {
        store.put("/w/old", &value.to_string()).await;
    }
    let connection = store.patient().await;
    let mut watch = connection.registry.watch("/w/");
    assert_eq!(next_reset(&mut watch).await, ["/w/old"]);
    store.replace().await;
    assert!(next_reset(&mut watch).await.is_empty());
    store.put("/w/new", "1").await;
    assert_eq!(next_described(&mut watch, 1).await, ["/w/new=1"]);
}
