//! Leases: kept, lost, revoked, and the keys under them.

use std::time::Duration;

use registry::{
    Error, Lease, LeaseLostReason, Precondition, Transaction, TransactionOutcome, WriteOp,
};

use crate::EmptyEtcd;
use crate::store::{describe, next_changes, next_reset};

const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(120);

async fn wait_until_lost(lease: &mut Lease) -> LeaseLostReason {
    tokio::time::timeout(Duration::from_secs(120), lease.wait_until_lost())
        .await
        .expect("not lost within 20 s")
}

pub(crate) async fn keys_end_with_their_revoked_lease_at_one_revision(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    let other = store.registry.grant(LONG).await.unwrap();
    let registry = &store.registry;
    for key in ["/n/b", "/n/a"] {
        registry.put(key, "x", Some(lease.id())).await.unwrap();
    }
    registry.put("/n/c", "x", Some(other.id())).await.unwrap();
    let last = store.put("/n/d", "x").await;
    let mut watch = registry.watch("/n/");
    next_reset(&mut watch).await;
    lease.revoke().await.unwrap();
    assert_eq!(store.keys("/n/").await, ["/n/c", "/n/d"]);
    let mut ended: Vec<_> = next_changes(&mut watch, 2)
        .await
        .iter()
        .map(describe)
        .collect();
    ended.sort();
    assert_eq!(ended, ["-/n/a", "-/n/b"]);
    assert_eq!(store.put("/n/d", "y").await, last + 2);
}

pub(crate) async fn a_kept_lease_outlives_its_time_to_live(store: EmptyEtcd) {
    let lease = store.registry.grant(TTL).await.unwrap();
    store
        .registry
        .put("/k", "v", Some(lease.id()))
        .await
        .unwrap();
    let end = std::time::Instant::now() + 2 * TTL;
    while std::time::Instant::now() < end {
        assert!(
            store.get("/k").await.is_some(),
            "expired in spite of keep-alive"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lease.lost_reason(), None);
}

pub(crate) async fn a_dropped_lease_expires(store: EmptyEtcd) {
    let lease = store.registry.grant(TTL).await.unwrap();
    store
        .registry
        .put("/k", "v", Some(lease.id()))
        .await
        .unwrap();
    drop(lease);
    store.wait_until_absent("/k").await;
}

pub(crate) async fn a_lease_without_keep_alive_expires(store: EmptyEtcd) {
    let id = store.registry.grant_without_keep_alive(TTL).await.unwrap();
    store.registry.put("/k", "v", Some(id)).await.unwrap();
    assert!(store.get("/k").await.is_some());
    store.wait_until_absent("/k").await;
    assert_eq!(store.registry.lease_info(id).await.unwrap(), None);
}

pub(crate) async fn a_lease_revoked_elsewhere_is_reported_lost(store: EmptyEtcd) {
    let mut lease = store.registry.grant(TTL).await.unwrap();
    store.registry.revoke(lease.id()).await.unwrap();
    assert_eq!(wait_until_lost(&mut lease).await, LeaseLostReason::Gone);
    assert_eq!(lease.lost_reason(), Some(LeaseLostReason::Gone));
}

pub(crate) async fn a_lease_on_a_cut_connection_is_reported_lost(store: EmptyEtcd) {
    let connection = store.connect().await;
    let mut lease = connection.registry.grant(TTL).await.unwrap();
    store
        .registry
        .put("/k", "v", Some(lease.id()))
        .await
        .unwrap();
    connection.cut();
    assert_eq!(
        wait_until_lost(&mut lease).await,
        LeaseLostReason::NotRenewed
    );
    store.wait_until_absent("/k").await;
}

pub(crate) async fn a_fence_refuses_a_former_holder(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    store
        .registry
        .create("/lock", "me", Some(lease.id()))
        .await
        .unwrap();
    let fenced = Transaction::new()
        .when(Precondition::Exists("/lock".into()))
        .when(Precondition::Leased("/lock".into(), lease.id()))
        .then([WriteOp::put("/done", "1", None)]);
    let outcome = store.registry.transact(&fenced).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Committed { .. }),
        "{outcome:?}"
    );
    lease.revoke().await.unwrap();
    let outcome = store.registry.transact(&fenced).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Refused { .. }),
        "{outcome:?}"
    );
}

pub(crate) async fn revoking_twice_is_harmless(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    let id = lease.id();
    lease.revoke().await.unwrap();
    store.registry.revoke(id).await.unwrap();
}

pub(crate) async fn an_unknown_lease_is_named(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    let id = lease.id();
    lease.revoke().await.unwrap();
    let error = store.registry.put("/k", "v", Some(id)).await.unwrap_err();
    assert!(
        matches!(error, Error::LeaseGone { id: named } if named == id),
        "{error}"
    );
}

pub(crate) async fn only_the_branch_taken_needs_its_lease(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    let id = lease.id();
    lease.revoke().await.unwrap();
    store.put("/k", "1").await;
    let transaction = Transaction::new()
        .when(Precondition::Absent(b"/k".to_vec()))
        .then([WriteOp::put("/k", "2", Some(id))])
        .otherwise([WriteOp::put("/seen", "1", None)]);
    let outcome = store.registry.transact(&transaction).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Refused { .. }),
        "{outcome:?}"
    );
    assert!(store.get("/seen").await.is_some());
}

pub(crate) async fn a_key_rewritten_without_lease_is_durable(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    store
        .registry
        .put("/k", "1", Some(lease.id()))
        .await
        .unwrap();
    assert_eq!(store.get("/k").await.unwrap().lease, lease.id());
    store.put("/k", "2").await;
    lease.revoke().await.unwrap();
    assert_eq!(store.get("/k").await.unwrap().lease, 0);
}

pub(crate) async fn a_key_moves_to_the_lease_it_was_last_written_under(store: EmptyEtcd) {
    let registry = &store.registry;
    let former = registry.grant(LONG).await.unwrap();
    let latter = registry.grant(LONG).await.unwrap();
    for lease in [&former, &latter] {
        registry.put("/k", "x", Some(lease.id())).await.unwrap();
    }
    former.revoke().await.unwrap();
    assert!(store.get("/k").await.is_some());
    latter.revoke().await.unwrap();
    assert!(store.get("/k").await.is_none());
}

pub(crate) async fn lease_info_reports_what_was_granted(store: EmptyEtcd) {
    let lease = store.registry.grant(LONG).await.unwrap();
    let info = store
        .registry
        .lease_info(lease.id())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(info.granted, LONG);
    assert!(
        info.remaining <= LONG && info.remaining > LONG / 2,
        "{info:?}"
    );
    let id = lease.id();
    lease.revoke().await.unwrap();
    assert_eq!(store.registry.lease_info(id).await.unwrap(), None);
}
