use galera::observe::registration::{BootstrapOrder, RegistryKeys};
use registry::Registry;
use registry::memory::MemoryEtcd;
use tokio::time::timeout;

use super::*;
use crate::observation::StatusReading;

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
const ORDER: &str = "/galera/lab/bootstrap";

fn responding(status: &str) -> ServerState {
    responding_at(status, "29")
}

fn responding_at(status: &str, seqno: &str) -> ServerState {
    let rows = [
        ("wsrep_local_state_uuid", HISTORY),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_cluster_status", status),
        ("wsrep_last_committed", seqno),
        (
            "wsrep_local_state",
            if status == "Primary" { "4" } else { "0" },
        ),
    ];
    let rows = rows.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let reading = Box::new(StatusReading::from_rows(&rows));
    ServerState::Responding {
        at: Instant::now(),
        reading,
    }
}

/// The order that is left in etcd an hour after it was written to `node`, if the server of n1 has `state`.
async fn order_left(node: &str, state: ServerState) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let registry: Registry = MemoryEtcd::new().registry();
    let lease = registry.grant(Duration::from_secs(86_400)).await.unwrap();
    let position = format!("{HISTORY}:29").parse().unwrap();
    let order = BootstrapOrder::automatic(&node.parse().unwrap(), &position, "1");
    let put = registry.put(ORDER, order.to_value(), Some(lease.id()));
    put.await.unwrap();
    let keys = DurableKeys {
        cluster: ClusterRegistry {
            registry: registry.clone(),
            keys: RegistryKeys::new("/galera"),
            name: "lab".parse().unwrap(),
            node: "n1".parse().unwrap(),
        },
        identity: DataIdentity::new("lab").unwrap(),
        data_dir: dir.path().to_owned(),
        fork_epoch: watch::Sender::new(0),
        rewrite: Arc::default(),
        interval: Duration::from_secs(3),
        position_apart: None,
        diverged: watch::Sender::new(None),
    };
    let server = watch::Sender::new(state);
    let run = keys.run(server.subscribe(), Arc::default());
    assert!(timeout(Duration::from_secs(3_600), run).await.is_err());
    let entry = registry.get(ORDER).await.unwrap();
    entry.map(|entry| entry.value)
}

/// Its lease lives as long as the agent: while it is there, no other recovery begins.
#[tokio::test(start_paused = true)]
async fn an_order_ends_once_its_server_responds_without_quorum() {
    let non_primary = || responding("non-Primary");
    assert_eq!(order_left("n1", non_primary()).await, None);
    assert!(order_left("n1", ServerState::Unknown).await.is_some());
    assert!(order_left("n2", non_primary()).await.is_some());
}

/// n2 was bootstrapped at 66 while n1 was cut off.
async fn merged_at(seqno: &str) -> (Option<String>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let registry: Registry = MemoryEtcd::new().registry();
    let lease = registry.grant(Duration::from_secs(86_400)).await.unwrap();
    let fork = format!(r#"{{"state_uuid":"{HISTORY}","seqno":66,"members":["n2"]}}"#);
    registry
        .put("/galera/lab/forks/1", fork, None)
        .await
        .unwrap();
    for (field, value) in [
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_incoming_addresses", "n1:3306,n2:3306"),
        ("fork_epoch", "1"),
    ] {
        let key = format!("/galera/lab/n2/{field}");
        registry.put(key, value, Some(lease.id())).await.unwrap();
    }
    let (fork_epoch, diverged) = (watch::Sender::new(0), watch::Sender::new(None));
    let keys = DurableKeys {
        cluster: ClusterRegistry {
            registry: registry.clone(),
            keys: RegistryKeys::new("/galera"),
            name: "lab".parse().unwrap(),
            node: "n1".parse().unwrap(),
        },
        identity: DataIdentity::new("lab").unwrap(),
        data_dir: dir.path().to_owned(),
        fork_epoch: fork_epoch.clone(),
        rewrite: Arc::default(),
        interval: Duration::from_secs(3),
        position_apart: None,
        diverged: diverged.clone(),
    };
    let server = watch::Sender::new(responding_at("non-Primary", seqno));
    let run = keys.run(server.subscribe(), Arc::default());
    let merging = async {
        sleep(Duration::from_secs(10)).await;
        server.send_replace(responding_at("Primary", "500"));
        sleep(Duration::from_secs(60)).await;
    };
    tokio::select! {
        () = run => {}
        () = merging => {}
    }
    let identity = DataIdentity::read(dir.path()).unwrap().unwrap();
    assert_eq!(identity.fork_epoch, *fork_epoch.borrow());
    (diverged.borrow().clone(), identity.fork_epoch)
}

#[tokio::test(start_paused = true)]
async fn i35_a_server_merged_with_a_fork_that_lacks_its_transactions_is_not_part_of_it() {
    let (reason, epoch) = merged_at("67").await;
    let reason = reason.unwrap();
    assert!(reason.contains("transactions 67 to 67 of"), "{reason}");
    assert_eq!(epoch, 0);
    assert_eq!(merged_at("66").await, (None, 1));
}
