//! Getting and listing.

use testing::etcd::EtcdCluster;

use crate::{next_reset, next_values};

#[tokio::test]
async fn lists_many_keys_and_large_values_as_of_one_revision() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let mut subscription = registry.watch("/");
    assert!(next_reset(&mut subscription).await.is_empty());
    for index in 0..20 {
        let value = vec![b'v'; 1_400_000];
        registry
            .put(format!("/big/{index:02}"), value, None)
            .await
            .unwrap();
    }
    for index in 0..1_100 {
        registry
            .put(format!("/many/{index:04}"), "x", None)
            .await
            .unwrap();
    }
    let listing = registry.list("/").await.unwrap();
    assert_eq!(listing.entries.len(), 1_120);
    assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
    assert_eq!(next_values(&mut subscription, 1_120).await.len(), 1_120);
    assert_eq!(next_reset(&mut registry.watch("/")).await.len(), 1_120);
}
