//! An etcd with accounts: the role of a node's agent suffices, and a narrower one is refused by name.

use galera::observe::registration::{NO_POSITION, RegistryKeys};
use registry::{EtcdSettings, KeyAccess, KeyPermission, Registry, Secret, role_layout};
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::{AgentNode, SECRET};
use crate::until;
use crate::waiting::{founder, value};

/// An etcd with the accounts `root`, `agent` for the node at `address`, and `reader`.
async fn etcd_with_accounts(address: &str) -> (EtcdCluster, Registry) {
    let etcd = EtcdCluster::single().await;
    let admin = etcd.registry();
    let secret = Secret::new(SECRET);
    let keys = RegistryKeys::new("/galera");
    let (cluster, node) = ("lab".parse().unwrap(), address.parse().unwrap());
    let agent = role_layout::agent_of_node(&keys, &cluster, &node);
    let mut reader = agent.clone();
    reader.name = "reader".to_owned();
    let read = KeyPermission::prefix(keys.cluster_prefix(&cluster), KeyAccess::Read);
    reader.permissions = vec![read];
    for (user, role) in [("agent", &agent), ("reader", &reader)] {
        admin.apply_role(role).await.unwrap();
        admin
            .apply_account(user, &secret, &role.name)
            .await
            .unwrap();
    }
    admin.apply_account("root", &secret, "root").await.unwrap();
    admin.require_accounts().await.unwrap();
    let root = EtcdSettings {
        user: Some("root".to_owned()),
        password: Some(secret),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let root = Registry::connect(root).unwrap();
    (etcd, root)
}

fn node_as(user: &str, address: &str, etcd: &EtcdCluster) -> AgentNode {
    AgentNode::new(address, &etcd.address(0))
        .with_variable("ETCD_USER", user)
        .with_variable("ETCD_PASSWORD", SECRET)
}

#[tokio::test]
async fn the_role_of_its_agent_suffices_for_a_node() {
    let address = loopback_address().to_string();
    let (etcd, root) = etcd_with_accounts(&address).await;
    let recorded = founder("10.0.0.9", "null");
    root.put("/galera/lab/founder", recorded, None)
        .await
        .unwrap();
    let mut node = node_as("agent", &address, &etcd);
    node.start();
    let key = format!("{address}/recovered_position");
    until("its report", async || {
        let position = value(&root, &key).await;
        position.filter(|position| position == NO_POSITION)
    })
    .await;
    assert_eq!(node.stop().await, 0);
    // The lease was revoked, which etcd permits for keys that the account may write.
    assert_eq!(value(&root, &key).await, None);
}

#[tokio::test]
async fn a_role_that_is_too_narrow_is_refused_by_name() {
    let address = loopback_address().to_string();
    let (etcd, _root) = etcd_with_accounts(&address).await;
    let mut node = node_as("reader", &address, &etcd);
    node.start();
    let line = node.wait_for_log("ETCD_USER").await;
    for words in [
        format!("write on keys below /galera/lab/{address}/"),
        "write on the key /galera/lab/founder".to_owned(),
        "write on the key /galera/lab/bootstrap".to_owned(),
        "etcd-roles print".to_owned(),
    ] {
        assert!(line.contains(&words), "{words} is missing in: {line}");
    }
    assert_eq!(node.wait().await, 64);
    assert_eq!(node.files().len(), 0, "{:?}", node.files());
}
