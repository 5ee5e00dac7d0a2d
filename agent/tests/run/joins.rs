//! First joins that do not complete: what they leave behind is set aside, and one without a donor begins again.

use std::time::{Duration, Instant};

use registry::{Lease, Registry};
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::AgentNode;
use crate::until;
use crate::waiting::{HISTORY, founder, value};

/// A server whose state transfer brings half of the data and removes the identity; then it fails or, with a file `hang`
/// beside its data, waits.
const SERVER_WITHOUT_DONOR: &str = r#"#!/bin/sh
for argument in "$@"; do
    case "$argument" in
        --datadir=*) data=${argument#*=} ;;
        --help) exec mariadbd "$@" ;;
    esac
done
echo half > "$data/ibdata1"
printf 'version: 2.1\nuuid: 00000000-0000-0000-0000-000000000000\nseqno: -1\n' > "$data/grastate.dat"
rm -f "$data/.galera-agent.json"
[ -e "$data/../hang" ] || exit 1
exec sleep 150
"#;

/// The time until a join without a donor begins again, with a margin.
const STANDSTILL: Duration = Duration::from_secs(120);

/// A member that is Synced and Primary as long as its lease lives.
async fn primary(registry: &Registry) -> Lease {
    let history = founder("10.0.0.9", &format!("\"{HISTORY}\""));
    let lease = registry.grant(Duration::from_secs(600)).await.unwrap();
    registry
        .put("/galera/lab/founder", history, None)
        .await
        .unwrap();
    for (field, value) in [
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_last_committed", "5"),
    ] {
        let key = format!("/galera/lab/10.0.0.9/{field}");
        registry.put(key, value, Some(lease.id())).await.unwrap();
    }
    lease
}

#[tokio::test]
async fn what_an_unfinished_first_join_left_is_set_aside() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let _lease = primary(&registry).await;
    let address = loopback_address().to_string();
    let mut node = AgentNode::new(&address, &etcd.address(0)).with_script(SERVER_WITHOUT_DONOR);
    for run in 0..=3 {
        node.start();
        assert_eq!(node.wait().await, 1, "{}", node.log());
        let moved = node
            .log()
            .contains("never completed; renamed what it left behind");
        assert_eq!(moved, run > 0, "{}", node.log());
        if run > 0 {
            let files = node.files();
            let list = &files[&format!(".galera-agent-unfinished-{run}.sst")];
            let line = list
                .lines()
                .find(|line| line.ends_with(" ibdata1"))
                .unwrap();
            let (aside, _) = line.split_once(' ').unwrap();
            assert_eq!(files[aside], "half\n");
        }
    }
    // The volume is not filled without a limit.
    let (code, line) = node.run_refused().await;
    assert!(
        code == 64 && line.contains("remove the files .galera-agent-unfinished-*"),
        "{code} {line}"
    );
}

#[tokio::test]
async fn a_first_join_whose_donor_is_gone_begins_again() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let lease = primary(&registry).await;
    let address = loopback_address().to_string();
    let mut node = AgentNode::new(&address, &etcd.address(0)).with_script(SERVER_WITHOUT_DONOR);
    std::fs::write(node.path("hang"), "").unwrap();
    node.start();
    node.wait_for_log("Server started to join").await;
    lease.revoke().await.unwrap();
    let end = Instant::now() + STANDSTILL;
    while !node.log().contains("its donor is gone") {
        assert!(Instant::now() < end, "it still hangs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    node.wait_for_log("Waiting for a member to become Primary")
        .await;
    let key = format!("{address}/phase");
    until("it to wait", async || {
        value(&registry, &key)
            .await
            .filter(|phase| phase == "waiting")
    })
    .await;
    let _lease = primary(&registry).await;
    node.wait_for_log("never completed; renamed what it left behind")
        .await;
    until("its second start", async || {
        (node.log().matches("Server started to join").count() == 2).then_some(())
    })
    .await;
    node.stop().await;
}
