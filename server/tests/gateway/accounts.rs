//! Accounts in etcd: concurrent changes, and the protection of the last administrator.

use accounts::UserName;
use accounts::store::{AccountStore, AccountStoreError};
use galera::access::{AssignmentError, Role};

use crate::etcd::TestEtcd;
use crate::test_console::{NOW, PASSWORD, STATE_PREFIX};

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

#[tokio::test]
async fn accounts_are_created_changed_and_removed() {
    let etcd = TestEtcd::in_memory();
    let store = AccountStore::new(etcd.registry(), STATE_PREFIX);
    let dora = name("dora");
    store
        .add(
            &dora,
            PASSWORD,
            vec![Role::Viewer, Role::Admin, Role::Viewer],
            NOW,
        )
        .await
        .unwrap();
    assert!(matches!(
        store.add(&dora, PASSWORD, vec![Role::Viewer], NOW).await,
        Err(AccountStoreError::Exists(_))
    ));
    assert!(matches!(
        store.add(&name("x"), PASSWORD, vec![], NOW).await,
        Err(AccountStoreError::Roles(AssignmentError::NoRole))
    ));
    assert!(matches!(
        store
            .add(&name("x"), "short", vec![Role::Viewer], NOW)
            .await,
        Err(AccountStoreError::Password(_))
    ));
    let listed = store.list().await.unwrap();
    let record = listed[0].1.clone().unwrap();
    assert_eq!(
        (listed.len(), &record.roles[..]),
        (1, &[Role::Viewer, Role::Admin][..])
    );

    let later = galera::Timestamp::from_unix_millis(NOW.unix_millis() + 1000);
    store
        .set_password(&dora, "another password", later)
        .await
        .unwrap();
    let changed = store.list().await.unwrap()[0].1.clone().unwrap();
    assert!(
        changed.credential != record.credential && changed.password_hash != record.password_hash
    );
    assert_eq!((changed.created_at, changed.changed_at), (NOW, later));
    for error in [
        store.set_password(&name("x"), PASSWORD, NOW).await,
        store.set_disabled(&name("x"), true, true, NOW).await,
        store.remove(&name("x"), true).await,
    ] {
        assert!(
            matches!(error, Err(AccountStoreError::Unknown(_))),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn the_last_administrator_cannot_be_removed() {
    let etcd = TestEtcd::in_memory();
    let store = AccountStore::new(etcd.registry(), STATE_PREFIX);
    for (who, role) in [
        ("ada", Role::Admin),
        ("bea", Role::Admin),
        ("vic", Role::Viewer),
    ] {
        store
            .add(&name(who), PASSWORD, vec![role], NOW)
            .await
            .unwrap();
    }
    store
        .set_disabled(&name("bea"), true, false, NOW)
        .await
        .unwrap();
    let refused = store.remove(&name("ada"), false).await.unwrap_err();
    assert!(
        matches!(refused, AccountStoreError::LastAdmin(_))
            && refused.to_string().contains("--force"),
        "{refused}"
    );
    assert!(matches!(
        store.set_disabled(&name("ada"), true, false, NOW).await,
        Err(AccountStoreError::LastAdmin(_))
    ));
    store.remove(&name("vic"), false).await.unwrap();
    store
        .set_disabled(&name("bea"), false, false, NOW)
        .await
        .unwrap();
    store.remove(&name("ada"), false).await.unwrap();
    store.remove(&name("bea"), true).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn two_administrators_cannot_remove_each_other_at_once() {
    let etcd = TestEtcd::in_memory();
    let store = AccountStore::new(etcd.registry(), STATE_PREFIX);
    for round in 0..10 {
        let (ada, bea) = (name(&format!("ada{round}")), name(&format!("bea{round}")));
        for who in [&ada, &bea] {
            store
                .add(who, PASSWORD, vec![Role::Admin], NOW)
                .await
                .unwrap();
        }
        let (first, second) = tokio::join!(store.remove(&ada, false), store.remove(&bea, false));
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let left = store.list().await.unwrap();
        assert_eq!(left.len(), 1);
        store.remove(&left[0].0, true).await.unwrap();
    }
}

#[tokio::test]
async fn a_damaged_record_is_named_and_can_be_removed() {
    let etcd = TestEtcd::in_memory();
    let registry = etcd.registry();
    let store = AccountStore::new(registry.clone(), STATE_PREFIX);
    registry
        .put(format!("{STATE_PREFIX}/users/dora"), "{}", None)
        .await
        .unwrap();
    assert!(store.list().await.unwrap()[0].1.is_err());
    assert!(matches!(
        store.set_password(&name("dora"), PASSWORD, NOW).await,
        Err(AccountStoreError::Damaged(..))
    ));
    store.remove(&name("dora"), false).await.unwrap();
    assert!(store.list().await.unwrap().is_empty());
}
