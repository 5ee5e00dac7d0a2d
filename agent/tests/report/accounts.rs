//! The account of etcd is checked before anything is reported.

use galera::observe::registration::RegistryKeys;
use registry::{Error, Secret, role_layout};
use testing::etcd::EtcdCluster;

use crate::agent::AgentProcess;

#[tokio::test]
async fn the_role_of_another_node_exits_64_and_names_the_right() {
    let etcd = EtcdCluster::single().await;
    let admin = etcd.registry();
    let secret = Secret::new("never-to-be-seen");
    let keys = RegistryKeys::new("/galera");
    let other =
        role_layout::agent_of_node(&keys, &"lab".parse().unwrap(), &"10.0.0.2".parse().unwrap());
    admin.apply_role(&other).await.unwrap();
    admin
        .apply_account("agent", &secret, &other.name)
        .await
        .unwrap();
    admin.apply_account("root", &secret, "root").await.unwrap();
    admin.require_accounts().await.unwrap();
    let endpoint = etcd.address(0);
    let mut agent = AgentProcess::start(&[
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", &endpoint),
        ("NODE_ADDRESS", "10.0.0.1"),
        ("HEALTH_LISTEN", "off"),
        ("LIVENESS_SOCKET", "off"),
        ("ETCD_USER", "agent"),
        ("ETCD_PASSWORD", "never-to-be-seen"),
    ]);
    assert_eq!(agent.wait().await, 64);
    let log = agent.log();
    assert!(log.contains("ETCD_USER"), "{log}");
    assert!(
        log.contains("write on keys below /galera/lab/10.0.0.1/"),
        "{log}"
    );
    assert!(!log.contains("never-to-be-seen"), "{log}");
}

#[tokio::test]
async fn an_etcd_without_space_is_named_with_the_remedy() {
    let etcd = EtcdCluster::spawn(1, "http", &["--quota-backend-bytes=16777216"]);
    let registry = etcd.registry();
    etcd.wait_until_ready(&registry).await;
    for number in 0..64 {
        let value = vec![b'x'; 1024 * 1024];
        let written = registry.put(format!("/filler/{number}"), value, None).await;
        if matches!(written, Err(Error::NoSpace { .. })) {
            break;
        }
    }
    let endpoint = etcd.address(0);
    let agent = AgentProcess::start(&[
        ("CLUSTER_NAME", "lab"),
        ("DISCOVERY_SERVICE", &endpoint),
        ("NODE_ADDRESS", "10.0.0.1"),
        ("HEALTH_LISTEN", "127.0.0.1:0"),
        ("LIVENESS_SOCKET", "off"),
    ]);
    let line = agent.wait_for_log("Could not publish the report").await;
    assert!(line.contains("the database is unaffected"), "{line}");
    assert!(line.contains("no space left"), "{line}");
    assert!(line.contains("disarm its NOSPACE alarm"), "{line}");
    let (status, body) = agent.health().await;
    assert!(status.contains("503"), "there is no server: {status}");
    assert!(
        body.contains("reports are not published: etcd has no space left"),
        "{body}"
    );
    assert!(!body.contains(&endpoint), "{body}");
}
