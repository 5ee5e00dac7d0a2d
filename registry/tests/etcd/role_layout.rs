//! What the account of each program can do, with the roles of the layout on a real etcd.

use std::time::Duration;

use galera::observe::registration::RegistryKeys;
use galera::{ClusterName, NodeId};
use registry::{
    Error, EtcdRole, EtcdSettings, KeyAccess, KeyPermission, Precondition, Registry, Secret,
    Transaction, WatchEvent, WriteOp, role_layout,
};
use testing::etcd::EtcdCluster;

use crate::{next_event, next_reset};

/// An etcd with accounts for a console, the agents of `lab`, and the agents of two nodes of `wide`.
struct Accounts {
    etcd: EtcdCluster,
}

impl Accounts {
    async fn start() -> Self {
        let etcd = EtcdCluster::single().await;
        let keys = RegistryKeys::new("/galera");
        let (lab, wide): (ClusterName, ClusterName) =
            ("lab".parse().unwrap(), "wide".parse().unwrap());
        let node = |name: &str| -> NodeId { name.parse().unwrap() };
        let admin = etcd.registry();
        let secret = Secret::new("secret");
        for (user, role) in [
            ("console", role_layout::console(&keys, "/galera-console")),
            ("lab", role_layout::agents(&keys, &lab)),
            (
                "n1",
                role_layout::agent_of_node(&keys, &wide, &node("10.0.0.1")),
            ),
            (
                "n2",
                role_layout::agent_of_node(&keys, &wide, &node("10.0.0.2:3307")),
            ),
        ] {
            admin.apply_role(&role).await.unwrap();
            admin
                .apply_account(user, &secret, &role.name)
                .await
                .unwrap();
        }
        admin.apply_account("root", &secret, "root").await.unwrap();
        admin.require_accounts().await.unwrap();
        Self { etcd }
    }

    fn connect(&self, user: &str) -> Registry {
        let settings = EtcdSettings {
            user: Some(user.to_owned()),
            password: Some(Secret::new("secret")),
            ..EtcdSettings::new(self.etcd.endpoints())
        };
        Registry::connect(settings).unwrap()
    }
}

fn assert_denied<T: std::fmt::Debug>(what: &str, result: &Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::Denied { .. })),
        "{what}: {result:?}"
    );
}

/// Attempts every kind of change of `key`, all of which must be refused.
async fn assert_cannot_change(registry: &Registry, key: &str) {
    assert_denied(key, &registry.put(key, "forged", None).await);
    assert_denied(key, &registry.delete_if(key, 1).await);
    let lease = registry.grant(Duration::from_secs(60)).await.unwrap();
    assert_denied(key, &registry.put(key, "forged", Some(lease.id())).await);
    for write in [
        WriteOp::put(key, "forged", None),
        WriteOp::delete(key),
        WriteOp::delete_numbered(key, 1..=2),
    ] {
        // Hidden among permitted writes, or in the branch that is carried out otherwise.
        let own = WriteOp::put("/galera/wide/10.0.0.1/phase", "running", None);
        let hidden = Transaction::new().then([own.clone(), write.clone()]);
        assert_denied(key, &registry.transact(&hidden).await);
        let otherwise = Transaction::new()
            .when(Precondition::Exists(b"/galera/wide/nothing".to_vec()))
            .then([own])
            .otherwise([write]);
        assert_denied(key, &registry.transact(&otherwise).await);
    }
}

#[tokio::test]
async fn the_agent_of_a_node_can_change_no_fact_of_another() {
    let accounts = Accounts::start().await;
    let root = accounts.connect("root");
    let others = [
        "/galera/wide/10.0.0.2:3307/wsrep_local_state_comment",
        "/galera/wide/10.0.0.2:3307/registered",
        "/galera/wide/10.0.0.2:3307/highest_position",
        "/galera/wide/10.0.0.2:3307/data_id",
        "/galera/wide/10.0.0.2:3307/fork_epoch",
        "/galera/wide/10.0.0.2:3307/members_seen",
        "/galera/wide/10.0.0.2:3307/waiting_for",
        "/galera/wide/10.0.0.2:3307/transfer",
        "/galera/wide/10.0.0.2:3307/rejoin",
        "/galera/wide/10.0.0.11/phase",
        "/galera/wide/10.0.0.1",
        "/galera/wide/founders",
        "/galera/wide/new/registered",
        "/galera/lab/founder",
        "/galera/lab/10.0.0.1/phase",
        "/galera-console/users/ada",
        "/other",
    ];
    let lease = root.grant(Duration::from_secs(600)).await.unwrap();
    for key in others {
        root.put(key, "true", Some(lease.id())).await.unwrap();
    }
    let n1 = accounts.connect("n1");
    for key in others {
        assert_cannot_change(&n1, key).await;
    }
    // The lease of another program, which holds its keys.
    assert_denied("revoke", &n1.revoke(lease.id()).await);
    for key in others {
        let entry = root.get(key).await.unwrap().unwrap();
        assert_eq!(entry.value, b"true", "{key}");
    }
    assert_denied("read", &n1.list("/galera-console/").await);
    assert_denied("read", &n1.list("/galera/lab/").await);
}

#[tokio::test]
async fn the_agent_of_a_node_can_do_its_work() {
    let accounts = Accounts::start().await;
    let n1 = accounts.connect("n1");
    let keys = RegistryKeys::new("/galera");
    let role = role_layout::agent_of_node(
        &keys,
        &"wide".parse().unwrap(),
        &"10.0.0.1".parse().unwrap(),
    );
    assert_eq!(n1.missing_permissions(&role.permissions).await.unwrap(), []);
    let lease = n1.grant(Duration::from_secs(60)).await.unwrap();
    let own = "/galera/wide/10.0.0.1/phase";
    for key in [
        own,
        "/galera/wide/founder",
        "/galera/wide/bootstrap",
        "/galera/wide/forks/1",
    ] {
        n1.put(key, "1", Some(lease.id())).await.unwrap();
    }
    // A transaction that compares what another node reported.
    let transaction = Transaction::new()
        .when(Precondition::Absent(
            b"/galera/wide/10.0.0.2:3307/phase".to_vec(),
        ))
        .then([WriteOp::put(own, "2", Some(lease.id()))]);
    n1.transact(&transaction).await.unwrap();
    assert_eq!(n1.list("/galera/wide/").await.unwrap().entries.len(), 4);
    next_reset(&mut n1.watch("/galera/wide/")).await;
    n1.revoke(lease.id()).await.unwrap();
    assert!(n1.list("/galera/wide/").await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn consoles_and_agents_of_a_cluster_are_confined_to_their_prefixes() {
    let accounts = Accounts::start().await;
    let (console, lab) = (accounts.connect("console"), accounts.connect("lab"));
    for key in [
        "/galera/lab/n/registered",
        "/galera/wide/bootstrap",
        "/galera-console/users/ada",
    ] {
        console.put(key, "1", None).await.unwrap();
    }
    lab.put("/galera/lab/n/phase", "1", None).await.unwrap();
    for (registry, key) in [
        (&console, "/galera"),
        (&console, "/galera-consoles/x"),
        (&console, "/other"),
        (&lab, "/galera/lab2/founder"),
        (&lab, "/galera/wide/founder"),
        (&lab, "/galera-console/users/ada"),
    ] {
        assert_denied(key, &registry.put(key, "1", None).await);
        assert_denied(key, &registry.get(key).await);
    }
}

/// Each call names the right that the role lacks, with its key or prefix.
#[tokio::test]
async fn a_missing_right_is_named_by_every_call() {
    let etcd = EtcdCluster::single().await;
    let admin = etcd.registry();
    let secret = Secret::new("secret");
    for (user, access, prefix) in [
        ("reads", KeyAccess::Read, "/galera/lab/"),
        ("writes", KeyAccess::Write, "/galera/lab/"),
        ("elsewhere", KeyAccess::ReadWrite, "/galera/other/"),
    ] {
        let role = EtcdRole {
            name: format!("role-{user}"),
            permissions: vec![KeyPermission::prefix(prefix, access)],
        };
        admin.apply_role(&role).await.unwrap();
        admin
            .apply_account(user, &secret, &role.name)
            .await
            .unwrap();
    }
    admin.apply_account("root", &secret, "root").await.unwrap();
    admin.require_accounts().await.unwrap();
    let connect = |user: &str| {
        let settings = EtcdSettings {
            user: Some(user.to_owned()),
            password: Some(secret.clone()),
            ..EtcdSettings::new(etcd.endpoints())
        };
        Registry::connect(settings).unwrap()
    };
    let (reads, writes, elsewhere) = (connect("reads"), connect("writes"), connect("elsewhere"));
    let names = |what: &str, error: Error| {
        let text = error.to_string();
        assert!(matches!(error, Error::Denied { .. }), "{text}");
        assert!(text.contains(what), "{what} is missing in: {text}");
    };
    let key = "/galera/lab/n1/phase";
    for registry in [&writes, &elsewhere] {
        names(
            "(to read /galera/lab/n1/phase)",
            registry.get(key).await.unwrap_err(),
        );
        names(
            "(to read /galera/lab/)",
            registry.list("/galera/lab/").await.unwrap_err(),
        );
        match next_event(&mut registry.watch("/galera/lab/")).await {
            WatchEvent::Unreachable { error, .. } => names("(to read /galera/lab/)", error),
            other => panic!("{other:?}"),
        }
    }
    let right = "(to write /galera/lab/n1/phase";
    for registry in [&reads, &elsewhere] {
        names(right, registry.put(key, "1", None).await.unwrap_err());
        names(right, registry.delete_if(key, 1).await.unwrap_err());
        let transaction = Transaction::new()
            .when(Precondition::Absent(b"/galera/lab/founder".to_vec()))
            .then([WriteOp::put(key, "1", None)]);
        let refused = registry.transact(&transaction).await.unwrap_err();
        names(
            "(to write /galera/lab/n1/phase, read /galera/lab/founder)",
            refused,
        );
    }
    // A comparison is a read.
    let compares = Transaction::new()
        .when(Precondition::Absent(b"/galera/lab/founder".to_vec()))
        .then([WriteOp::put(key, "1", None)]);
    names(
        "read /galera/lab/founder",
        writes.transact(&compares).await.unwrap_err(),
    );
    // Under a lease that holds a key of others.
    let lease = connect("root")
        .grant(Duration::from_secs(60))
        .await
        .unwrap();
    connect("root")
        .put(key, "1", Some(lease.id()))
        .await
        .unwrap();
    let refused = elsewhere.revoke(lease.id()).await.unwrap_err();
    names(
        &format!("(to write every key of the lease {:x})", lease.id()),
        refused,
    );
    // The status of members, by which alarms are known, needs no right.
    assert_eq!(elsewhere.storage_status().await.unwrap().alarms, []);
}
