//! The program beside a database that violates the protocol in every known way.

use std::time::Duration;

use sql_client::hostile::{HostileServer, Misbehavior, PASSWORD};
use testing::etcd::EtcdCluster;

use crate::agent::{AgentProcess, write_file};
use crate::until;

#[tokio::test]
async fn no_hostile_database_ends_the_agent_or_gets_a_password() {
    let etcd = EtcdCluster::single().await;
    let dir = tempfile::tempdir().unwrap();
    let password = write_file(dir.path(), "password", PASSWORD);
    let mut reports = Vec::new();
    for (number, misbehavior) in Misbehavior::ALL.iter().enumerate() {
        let server = HostileServer::start(*misbehavior);
        let port = server.address().port().to_string();
        let agent = AgentProcess::start(&[
            ("CLUSTER_NAME", "lab"),
            ("DISCOVERY_SERVICE", &etcd.address(0)),
            ("TTL", "3"),
            ("NODE_ADDRESS", &format!("127.9.0.{}", number + 1)),
            ("MYSQL_HOST", "127.0.0.1"),
            ("MYSQL_PORT", &port),
            ("MYSQL_USER", "console"),
            ("MYSQL_PASSWORD_FILE", &password),
            ("HEALTH_LISTEN", "127.0.0.1:0"),
        ]);
        reports.push((misbehavior, server, agent));
    }
    for (misbehavior, server, agent) in &mut reports {
        let what = format!("{misbehavior:?} is reported");
        until(&what, Duration::from_secs(120), async || {
            let (status, _) = agent.health().await;
            let is_reported = agent.log().contains("Server unreachable");
            (status.contains(" 503 ") && is_reported).then_some(())
        })
        .await;
        assert!(!server.has_password(), "{misbehavior:?}");
        assert_eq!(agent.stop("-TERM").await, 0, "{misbehavior:?}");
        assert!(!agent.log().contains("panicked"), "{misbehavior:?}");
    }
}
