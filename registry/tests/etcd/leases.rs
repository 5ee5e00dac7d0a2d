//! Leases: kept, lost, revoked.

use std::time::{Duration, Instant};

use registry::{EtcdSettings, LeaseLostReason};

use crate::etcd::EtcdCluster;
use crate::wait_until;

#[tokio::test]
async fn a_lease_outlives_its_time_to_live_and_ends_when_revoked() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let lease = registry.grant(Duration::from_secs(2)).await.unwrap();
    registry.put("/k", "v", Some(lease.id())).await.unwrap();
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert!(
            registry.get("/k").await.unwrap().is_some(),
            "expired in spite of keep-alive"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lease.lost_reason(), None);
    let info = registry.lease_info(lease.id()).await.unwrap().unwrap();
    assert_eq!(info.granted, Duration::from_secs(2));
    let id = lease.id();
    lease.revoke().await.unwrap();
    assert!(registry.get("/k").await.unwrap().is_none());
    assert_eq!(registry.lease_info(id).await.unwrap(), None);
    registry.revoke(id).await.unwrap();
}

#[tokio::test]
async fn a_dropped_lease_expires() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let lease = registry.grant(Duration::from_secs(1)).await.unwrap();
    registry.put("/k", "v", Some(lease.id())).await.unwrap();
    drop(lease);
    wait_until("expiry", Duration::from_secs(10), || async {
        registry.get("/k").await.unwrap().is_none()
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_was_revoked_elsewhere_is_reported_lost() {
    let etcd = EtcdCluster::single().await;
    let mut lease = etcd.registry().grant(Duration::from_secs(3)).await.unwrap();
    etcd.registry().revoke(lease.id()).await.unwrap();
    assert_eq!(wait_until_lost(&mut lease).await, LeaseLostReason::Gone);
    assert_eq!(lease.lost_reason(), Some(LeaseLostReason::Gone));
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_reported_lost_in_time() {
    let mut etcd = EtcdCluster::single().await;
    let mut lease = etcd.registry().grant(Duration::from_secs(2)).await.unwrap();
    let killed = Instant::now();
    etcd.kill(0);
    assert_eq!(
        wait_until_lost(&mut lease).await,
        LeaseLostReason::NotRenewed
    );
    assert!(
        killed.elapsed() <= Duration::from_millis(2_500),
        "{:?}",
        killed.elapsed()
    );
}

#[tokio::test]
async fn a_lease_survives_the_death_of_a_member() {
    let mut etcd = EtcdCluster::cluster(3).await;
    let settings = EtcdSettings::new(etcd.endpoints());
    let registry = registry::Registry::connect(settings).unwrap();
    let lease = registry.grant(Duration::from_secs(6)).await.unwrap();
    registry.put("/k", "v", Some(lease.id())).await.unwrap();
    etcd.pause(0);
    let end = Instant::now() + Duration::from_secs(9);
    while Instant::now() < end {
        assert!(registry.get("/k").await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lease.lost_reason(), None);
    etcd.kill(0);
}

async fn wait_until_lost(lease: &mut registry::Lease) -> LeaseLostReason {
    tokio::time::timeout(Duration::from_secs(10), lease.wait_until_lost())
        .await
        .expect("not lost within 10 s")
}
