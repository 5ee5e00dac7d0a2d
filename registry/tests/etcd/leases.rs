//! Leases: kept, lost, revoked.

use std::time::{Duration, Instant};

use registry::{EtcdSettings, LeaseLostReason};
use testing::etcd::EtcdCluster;

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_reported_lost() {
    let mut etcd = EtcdCluster::single().await;
    let mut lease = etcd.registry().grant(Duration::from_secs(2)).await.unwrap();
    etcd.kill(0);
    assert_eq!(
        wait_until_lost(&mut lease).await,
        LeaseLostReason::NotRenewed
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
    tokio::time::timeout(Duration::from_secs(120), lease.wait_until_lost())
        .await
        .expect("not lost in time")
}
