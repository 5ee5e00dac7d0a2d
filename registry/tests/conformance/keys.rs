//! Reading keys and listing prefixes.

use registry::Error;

use crate::EmptyEtcd;
use crate::store::text;

pub(crate) async fn an_absent_key_is_none(store: EmptyEtcd) {
    assert_eq!(store.get("/none").await, None);
    assert!(store.keys("/none/").await.is_empty());
}

pub(crate) async fn an_entry_has_its_revisions_and_version(store: EmptyEtcd) {
    let first = store.put("/k", "1").await;
    let second = store.put("/k", "2").await;
    assert_eq!(second, first + 1);
    let entry = store.get("/k").await.unwrap();
    assert_eq!(
        (text(&entry.key), text(&entry.value)),
        ("/k".into(), "2".into())
    );
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
    assert_eq!((entry.version, entry.lease), (2, 0));
    store.registry.delete_if("/k", second).await.unwrap();
    let again = store.put("/k", "3").await;
    let entry = store.get("/k").await.unwrap();
    // Of a sealed record a note of its removal stays, so that etcd continues the key.
    let expected = if store.is_sealed() {
        (first, 4)
    } else {
        (again, 1)
    };
    assert_eq!((entry.create_revision, entry.version), expected);
    assert_eq!(again, second + 2);
}

pub(crate) async fn a_listing_holds_exactly_the_prefix_in_key_order(store: EmptyEtcd) {
    for key in ["/g/a/n2", "/g/a/n1", "/g/ab", "/g", "/g0"] {
        store.put(key, "x").await;
    }
    assert_eq!(store.keys("/g/a/").await, ["/g/a/n1", "/g/a/n2"]);
    assert_eq!(store.keys("/g/").await, ["/g/a/n1", "/g/a/n2", "/g/ab"]);
    assert_eq!(store.keys("").await.len(), 5);
}

pub(crate) async fn keys_and_values_are_any_bytes(store: EmptyEtcd) {
    let key = b"/g/<script>/\xff \x00".to_vec();
    let registry = &store.registry;
    registry
        .put(key.clone(), vec![0xfe, 0], None)
        .await
        .unwrap();
    registry
        .put(vec![0xff, 0xff, 1], "end", None)
        .await
        .unwrap();
    let listing = registry.list("/g/").await.unwrap();
    assert_eq!(
        (&listing.entries[0].key, &listing.entries[0].value),
        (&key, &vec![0xfe, 0])
    );
    assert_eq!(registry.list(vec![0xff]).await.unwrap().entries.len(), 1);
    assert_eq!(
        registry.list(vec![0xff, 0xff]).await.unwrap().entries.len(),
        1
    );
}

pub(crate) async fn a_listing_of_many_keys_is_of_one_revision(store: EmptyEtcd) {
    let mut last = 0;
    for index in 0..1_100 {
        last = store.put(&format!("/many/{index:04}"), "x").await;
    }
    let listing = store.registry.list("/many/").await.unwrap();
    assert_eq!((listing.entries.len(), listing.revision), (1_100, last));
    assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
}

pub(crate) async fn a_value_beyond_the_limit_is_refused(store: EmptyEtcd) {
    let error = store.registry.put("/x", vec![b'x'; 2_000_000], None).await;
    let error = error.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("1.5 MB"), "{error}");
    assert_eq!(store.get("/x").await, None);
    store
        .registry
        .put("/x", vec![b'x'; 1_400_000], None)
        .await
        .unwrap();
}

pub(crate) async fn an_empty_key_is_refused(store: EmptyEtcd) {
    let error = store.registry.put("", "x", None).await.unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

pub(crate) async fn status_and_readiness_are_reported(store: EmptyEtcd) {
    store.registry.ready().await.unwrap();
    let status = store.registry.status().await.unwrap();
    assert!(
        status.has_leader && status.version.starts_with("3."),
        "{status:?}"
    );
}
