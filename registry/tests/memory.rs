//! What only the store in memory can do: faults on command, and a clock that tests move.

use std::time::Duration;

use registry::memory::MemoryEtcd;
use registry::{
    CreateOutcome, Error, LeaseLostReason, Transaction, TransactionOutcome, WatchEvent, WriteOp,
};

#[tokio::test]
async fn a_lost_response_of_an_applied_transaction_is_success() {
    let store = MemoryEtcd::new();
    store.lose_next_response();
    let created = store.registry().create("/k", "n1", None).await.unwrap();
    assert!(
        matches!(created, CreateOutcome::Created { .. }),
        "{created:?}"
    );
    // Another writer's value is not taken for ours.
    store.lose_next_response();
    let created = store.registry().create("/k", "n2", None).await.unwrap();
    assert!(matches!(created, CreateOutcome::Exists(_)), "{created:?}");
}

#[tokio::test]
async fn a_transaction_with_another_branch_is_not_taken_for_its_first_attempt() {
    let store = MemoryEtcd::new();
    store.lose_next_response();
    let transaction = Transaction::new()
        .when(registry::Precondition::Absent(b"/a".to_vec()))
        .then([WriteOp::put("/a", "1", None)])
        .otherwise([WriteOp::put("/b", "1", None)]);
    let outcome = store.registry().transact(&transaction).await.unwrap();
    assert!(
        matches!(outcome, TransactionOutcome::Refused { .. }),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn an_unconfirmed_write_may_have_happened() {
    let store = MemoryEtcd::new();
    store.leave_next_write_unconfirmed();
    let error = store.registry().put("/k", "1", None).await.unwrap_err();
    assert!(matches!(error, Error::Unconfirmed { .. }), "{error}");
    assert!(store.registry().get("/k").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn leases_follow_the_clock_of_the_test() {
    let store = MemoryEtcd::new();
    let registry = store.registry();
    let ttl = Duration::from_secs(3_600);
    let id = registry.grant_without_keep_alive(ttl).await.unwrap();
    registry.put("/k", "1", Some(id)).await.unwrap();
    let mut watch = registry.watch("/");
    watch.next().await.unwrap();
    tokio::time::advance(ttl - Duration::from_secs(1)).await;
    assert!(registry.get("/k").await.unwrap().is_some());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(
        watch.next().await.unwrap(),
        WatchEvent::Changes { .. }
    ));
    assert!(registry.get("/k").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_kept_lease_is_lost_when_its_connection_is_cut_for_its_time_to_live() {
    let store = MemoryEtcd::new();
    let connection = store.connect();
    let ttl = Duration::from_secs(10);
    let mut lease = connection.registry().grant(ttl).await.unwrap();
    let began = tokio::time::Instant::now();
    tokio::time::sleep(10 * ttl).await;
    assert_eq!(lease.lost_reason(), None);
    connection.cut();
    assert_eq!(lease.wait_until_lost().await, LeaseLostReason::NotRenewed);
    assert!(
        began.elapsed() <= 11 * ttl + Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
}
