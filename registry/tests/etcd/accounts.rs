//! Roles and accounts of etcd, and whether it requires them.

use etcd_client::Client;
use registry::{
    AccountChange, Error, EtcdRole, EtcdSettings, KeyAccess, KeyPermission, Registry, Secret,
};
use testing::etcd::EtcdCluster;

fn connect_as(etcd: &EtcdCluster, user: &str) -> Registry {
    let settings = EtcdSettings {
        user: Some(user.to_owned()),
        password: Some(Secret::new("secret")),
        ..EtcdSettings::new(etcd.endpoints())
    };
    Registry::connect(settings).unwrap()
}

fn role(name: &str, permissions: &[KeyPermission]) -> EtcdRole {
    EtcdRole {
        name: name.to_owned(),
        permissions: permissions.to_vec(),
    }
}

#[tokio::test]
async fn it_is_known_whether_etcd_requires_accounts() {
    let etcd = EtcdCluster::single().await;
    let anybody = etcd.registry();
    assert!(!anybody.requires_accounts().await.unwrap());
    let secret = Secret::new("secret");
    for (user, role) in [("root", "root"), ("reader", "reader")] {
        if role != "root" {
            anybody.apply_role(&self::role(role, &[])).await.unwrap();
        }
        anybody.apply_account(user, &secret, role).await.unwrap();
    }
    anybody.require_accounts().await.unwrap();
    for registry in [
        anybody,
        connect_as(&etcd, "root"),
        connect_as(&etcd, "reader"),
    ] {
        assert!(registry.requires_accounts().await.unwrap());
    }
}

#[tokio::test]
async fn roles_and_accounts_are_applied_exactly_and_repeatedly() {
    let etcd = EtcdCluster::single().await;
    let admin = etcd.registry();
    let secret = Secret::new("secret");
    let read = KeyPermission::prefix("/galera/lab/", KeyAccess::Read);
    let own = KeyPermission::prefix("/galera/lab/n1/", KeyAccess::ReadWrite);
    let founder = KeyPermission::key("/galera/lab/founder", KeyAccess::ReadWrite);
    let wanted = role("agent", &[read.clone(), own.clone(), founder.clone()]);
    for change in [AccountChange::Created, AccountChange::Unchanged] {
        assert_eq!(admin.apply_role(&wanted).await.unwrap(), change);
        let account = admin.apply_account("n1", &secret, "agent").await.unwrap();
        assert_eq!(account, change);
    }
    // Rights granted by hand are revoked, missing ones are granted again.
    let mut client = Client::connect(etcd.endpoints(), None).await.unwrap();
    let all = etcd_client::Permission::read_write("/galera/").with_prefix();
    client.role_grant_permission("agent", all).await.unwrap();
    let narrow = etcd_client::Permission::read("/galera/lab/n1/").with_prefix();
    client.role_grant_permission("agent", narrow).await.unwrap();
    client.role_add("other").await.unwrap();
    client.user_grant_role("n1", "other").await.unwrap();
    let change = admin.apply_role(&wanted).await.unwrap();
    assert_eq!(change, AccountChange::Changed);
    assert_eq!(
        admin.apply_role(&wanted).await.unwrap(),
        AccountChange::Unchanged
    );
    let change = admin.apply_account("n1", &secret, "agent").await.unwrap();
    assert_eq!(change, AccountChange::Changed);
    assert_eq!(client.user_get("n1").await.unwrap().roles(), ["agent"]);

    admin.apply_account("root", &secret, "root").await.unwrap();
    admin.require_accounts().await.unwrap();
    let node = connect_as(&etcd, "n1");
    assert_eq!(
        node.missing_permissions(&[read.clone(), own, founder])
            .await
            .unwrap(),
        []
    );
    let everything = KeyPermission::prefix("/galera/", KeyAccess::ReadWrite);
    let other = KeyPermission::prefix("/galera/lab/n2/", KeyAccess::ReadWrite);
    let missing = node
        .missing_permissions(&[everything.clone(), other])
        .await
        .unwrap();
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(
        missing,
        [
            "readwrite on keys below /galera/",
            "write on keys below /galera/lab/n2/"
        ]
    );
    let root = connect_as(&etcd, "root");
    assert_eq!(root.missing_permissions(&[everything]).await.unwrap(), []);

    // A password is set only if it is another one.
    for (password, change) in [
        ("secret", AccountChange::Unchanged),
        ("other", AccountChange::Changed),
        ("secret", AccountChange::Changed),
    ] {
        let wanted = Secret::new(password);
        let applied = root.apply_account("n1", &wanted, "agent").await;
        assert_eq!(applied.unwrap(), change, "{password}");
    }
    node.get("/galera/lab/founder").await.unwrap();

    // The account of a node cannot change roles.
    let error = node.apply_role(&wanted).await;
    let error = error
        .and(node.apply_role(&role("mine", &[read])).await)
        .unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_names_the_right_and_the_key() {
    let etcd = EtcdCluster::single().await;
    let admin = etcd.registry();
    let secret = Secret::new("secret");
    let read = KeyPermission::prefix("/galera/lab/", KeyAccess::Read);
    admin.apply_role(&role("reader", &[read])).await.unwrap();
    admin
        .apply_account("reader", &secret, "reader")
        .await
        .unwrap();
    admin.apply_account("root", &secret, "root").await.unwrap();
    admin.require_accounts().await.unwrap();
    let reader = connect_as(&etcd, "reader");
    let error = reader
        .put("/galera/lab/n1/phase", "x", None)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("to write /galera/lab/n1/phase"),
        "{error}"
    );
    let error = reader.list("/galera-console/").await.unwrap_err();
    assert!(
        error.to_string().contains("to read /galera-console/"),
        "{error}"
    );
    let error = reader
        .delete_if("/galera/lab/founder", 1)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("to write /galera/lab/founder"),
        "{error}"
    );
}
