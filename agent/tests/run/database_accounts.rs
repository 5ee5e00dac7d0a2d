//! The accounts of a real server: made where the data lack them, changed with their setting, and a wrong password is named.

use registry::Registry;
use sql_client::{Connection, Login, Peer, connect_socket};
use testing::etcd::{EtcdCluster, loopback_address};

use crate::node::{AgentNode, SECRET};
use crate::until;
use crate::waiting::value;

/// A node that founds a cluster of one, and starts it again automatically.
fn lone_node(address: &str, etcd: &EtcdCluster) -> AgentNode {
    let bind = format!("--bind-address={address}");
    let provider = format!(
        "--wsrep-provider-options=gmcast.listen_addr=tcp://{address}:4567;ist.recv_addr={address}:4568;gcache.size=8M"
    );
    AgentNode::new(address, &etcd.address(0))
        .with_server_arguments(&[
            "--wsrep-on=ON",
            "--wsrep-provider=/usr/lib/galera/libgalera_smm.so",
            "--innodb-buffer-pool-size=16M",
            "--innodb-log-file-size=8M",
            "--performance-schema=OFF",
            &bind,
            &provider,
        ])
        .with_variable("AUTO_BOOTSTRAP", "all-reported")
        .with_variable("EXPECTED_MEMBERS", "1")
}

async fn sign_in(node: &AgentNode, user: &str, password: &str) -> Option<Connection> {
    let stream = connect_socket(&node.path("socket")).await.ok()?;
    let login = Login { user, password };
    Connection::open(stream, Peer::Socket, login).await.ok()
}

async fn wait_until_synced(registry: &Registry, address: &str) {
    let key = format!("{address}/wsrep_local_state_comment");
    until("a Synced node", async || {
        value(registry, &key)
            .await
            .filter(|state| state == "Synced")
    })
    .await;
}

#[tokio::test]
async fn accounts_that_data_lack_are_made_and_changed_with_their_settings() {
    let etcd = EtcdCluster::single().await;
    let registry = etcd.registry();
    let address = loopback_address().to_string();
    // The variables of the article alone, and those of the original image.
    let mut node = lone_node(&address, &etcd)
        .with_variable("XTRABACKUP_PASSWORD", SECRET)
        .with_variable("MYSQL_DATABASE", "shop")
        .with_variable("MYSQL_USER", "app")
        .with_variable("MYSQL_PASSWORD", SECRET);
    node.start();
    wait_until_synced(&registry, &address).await;
    node.wait_for_log("CONSOLE_PASSWORD is not set").await;
    let mut app = sign_in(&node, "app", SECRET).await.unwrap();
    app.execute("CREATE TABLE shop.t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    assert!(sign_in(&node, "console", SECRET).await.is_none());
    assert_eq!(node.stop().await, 0);

    // Data without the account of the console, and a new password of root.
    let mut node = node
        .with_variable("CONSOLE_PASSWORD", SECRET)
        .with_variable("RECOVERY_PASSWORD", SECRET)
        .with_variable("MYSQL_ROOT_PASSWORD", "the-next-one");
    node.start();
    wait_until_synced(&registry, &address).await;
    for (user, password) in [
        ("console", SECRET),
        ("recovery", SECRET),
        ("root", "the-next-one"),
    ] {
        until(user, async || sign_in(&node, user, password).await).await;
    }
    assert!(sign_in(&node, "root", SECRET).await.is_none());
    let bootstrap = "SET GLOBAL wsrep_provider_options='evs.info_log_mask=0'";
    until("the privilege", async || {
        let mut recovery = sign_in(&node, "recovery", SECRET).await?;
        recovery.execute(bootstrap).await.ok()
    })
    .await;

    // A password that a person changed in the database stays, and the status is still read.
    let mut root = sign_in(&node, "root", "the-next-one").await.unwrap();
    for statement in [
        "ALTER USER root@localhost IDENTIFIED BY 'by-hand'",
        "ALTER USER console@'%' IDENTIFIED BY 'by-hand'",
    ] {
        root.execute(statement).await.unwrap();
    }
    assert_eq!(node.stop().await, 0);
    node.start();
    wait_until_synced(&registry, &address).await;
    let line = node
        .wait_for_log("MYSQL_ROOT_PASSWORD is not the password of account root@localhost")
        .await;
    assert!(
        line.contains("CONSOLE_PASSWORD is not the password of account console@%"),
        "{line}"
    );
    assert!(sign_in(&node, "root", "by-hand").await.is_some());

    // Without any account that works, the server is known to run.
    let mut root = sign_in(&node, "root", "by-hand").await.unwrap();
    root.execute("DROP USER mysql@localhost").await.unwrap();
    assert_eq!(node.stop().await, 0);
    node.start();
    let key = format!("{address}/waiting_for");
    let reason = until("the reason", async || value(&registry, &key).await).await;
    assert!(
        reason.contains("the server runs") && reason.contains("set MYSQL_ROOT_PASSWORD"),
        "{reason}"
    );
    node.wait_for_log("denies access to the accounts console, root, mysql")
        .await;
    let log = node.log();
    assert!(
        !log.contains(SECRET) && !log.contains("the-next-one"),
        "{log}"
    );
    assert_eq!(node.stop().await, 0);
}
