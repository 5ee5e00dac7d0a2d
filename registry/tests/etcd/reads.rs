//! Getting and listing.

use registry::Error;

use crate::etcd::EtcdCluster;
use crate::{next_reset, next_values, text};

#[tokio::test]
async fn lists_what_lies_under_a_prefix_and_nothing_else() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    for key in [
        "/galera/a/n1/phase",
        "/galera/a/n2/phase",
        "/galera/ab",
        "/galer",
        "/galera0",
    ] {
        registry.put(key, "x", None).await.unwrap();
    }
    let listing = registry.list("/galera/a/").await.unwrap();
    let keys: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| text(&entry.key))
        .collect();
    assert_eq!(keys, ["/galera/a/n1/phase", "/galera/a/n2/phase"]);
    assert_eq!(registry.list("").await.unwrap().entries.len(), 5);
    assert_eq!(registry.get("/galera/none").await.unwrap(), None);
    let status = registry.status().await.unwrap();
    assert!(
        status.has_leader && status.version.starts_with("3."),
        "{status:?}"
    );
}

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

#[tokio::test]
async fn any_bytes_are_keys_and_values() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let key = b"/galera/<script>/\xff \x00".to_vec();
    registry
        .put(key.clone(), vec![0xfe, 0], None)
        .await
        .unwrap();
    let listing = registry.list("/galera/").await.unwrap();
    assert_eq!(
        (&listing.entries[0].key, &listing.entries[0].value),
        (&key, &vec![0xfe, 0])
    );
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_named_as_such() {
    let etcd = EtcdCluster::single().await;
    let error = etcd
        .registry()
        .put("/x", vec![b'x'; 2_000_000], None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("1.5 MB"), "{error}");
}
