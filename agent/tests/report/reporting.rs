//! The contents of the registry while servers, etcd and the agent start, stop and fail.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use registry::{Registry, RegistryEntry};
use testing::etcd::{EtcdCluster, free_port, loopback_address};

use crate::agent::{AgentProcess, write_file};
use crate::mariadb::{MariaDb, PASSWORD};
use crate::until;

const SOON: Duration = Duration::from_secs(120);
/// Seconds; the minimum.
const TTL: &str = "3";

/// etcd, a Synced server and what an agent needs to reach both.
struct ReportFixture {
    etcd: EtcdCluster,
    server: MariaDb,
    registry: Registry,
    address: Ipv4Addr,
    dir: tempfile::TempDir,
}

impl ReportFixture {
    async fn new() -> Self {
        let etcd = EtcdCluster::single().await;
        let address = loopback_address();
        let server =
            MariaDb::founder("lab", address, [free_port(address), free_port(address)]).await;
        Self {
            registry: etcd.registry(),
            dir: tempfile::tempdir().unwrap(),
            etcd,
            server,
            address,
        }
    }

    fn agent(&self) -> AgentProcess {
        self.agent_with(PASSWORD)
    }

    fn agent_with(&self, password: &str) -> AgentProcess {
        let (address, port) = (self.address.to_string(), self.server.port().to_string());
        let password = write_file(self.dir.path(), "password", password);
        AgentProcess::start(&[
            ("CLUSTER_NAME", "lab"),
            ("DISCOVERY_SERVICE", &self.etcd.address(0)),
            ("TTL", TTL),
            ("NODE_ADDRESS", &address),
            ("MYSQL_HOST", &address),
            ("MYSQL_PORT", &port),
            ("MYSQL_PASSWORD_FILE", &password),
            ("HEALTH_LISTEN", "127.0.0.1:0"),
        ])
    }

    /// The node's entries by field; empty while etcd is unreachable.
    async fn entries(&self) -> BTreeMap<String, RegistryEntry> {
        let prefix = format!("/galera/lab/{}:{}/", self.address, self.server.port());
        let entries = self
            .registry
            .list("/galera/")
            .await
            .map_or_else(|_| Vec::new(), |listing| listing.entries);
        let field = |entry: RegistryEntry| {
            let key = String::from_utf8(entry.key.clone()).unwrap();
            let field = key
                .strip_prefix(&prefix)
                .expect("only this node is registered")
                .to_owned();
            (field, entry)
        };
        entries.into_iter().map(field).collect()
    }

    /// Waits until `field` has `value`, and returns all entries.
    async fn wait_for_field(&self, field: &str, value: &str) -> BTreeMap<String, RegistryEntry> {
        until(&format!("{field} = {value}"), SOON, async || {
            let entries = self.entries().await;
            let found = entries
                .get(field)
                .is_some_and(|entry| entry.value == value.as_bytes());
            found.then_some(entries)
        })
        .await
    }

    async fn wait_until_synced(&self) -> BTreeMap<String, RegistryEntry> {
        self.wait_for_field("wsrep_local_state_comment", "Synced")
            .await
    }
}

fn fields(entries: &BTreeMap<String, RegistryEntry>) -> Vec<&str> {
    entries.keys().map(String::as_str).collect()
}

fn text(entries: &BTreeMap<String, RegistryEntry>, field: &str) -> String {
    String::from_utf8(entries[field].value.clone()).unwrap()
}

const ALL_FIELDS: [&str; 11] = [
    "phase",
    "registered",
    "wsrep_cluster_conf_id",
    "wsrep_cluster_size",
    "wsrep_cluster_state_uuid",
    "wsrep_cluster_status",
    "wsrep_gcomm_uuid",
    "wsrep_incoming_addresses",
    "wsrep_last_committed",
    "wsrep_local_state_comment",
    "wsrep_node_name",
];

#[tokio::test]
async fn a_report_is_one_transaction_under_one_lease() {
    let lab = ReportFixture::new().await;
    let mut agent = lab.agent();
    let entries = lab.wait_until_synced().await;
    assert_eq!(fields(&entries), ALL_FIELDS);
    assert_eq!(text(&entries, "phase"), "running");
    assert_eq!(text(&entries, "wsrep_cluster_status"), "Primary");
    let lease = entries["phase"].lease;
    assert_ne!(lease, 0);
    let info = lab.registry.lease_info(lease).await.unwrap().unwrap();
    assert_eq!(info.granted.as_secs().to_string(), TTL);
    for (field, entry) in &entries {
        assert_eq!(
            entry.lease,
            if field == "registered" { 0 } else { lease },
            "{field}"
        );
    }
    let revisions: Vec<_> = entries
        .iter()
        .filter(|(field, _)| *field != "registered")
        .map(|(_, e)| e.mod_revision)
        .collect();
    assert!(
        revisions.iter().all(|revision| *revision == revisions[0]),
        "{revisions:?}"
    );
    assert!(text(&entries, "registered").contains(r#""agent_version":""#));
    assert_eq!(
        agent.health().await,
        ("HTTP/1.0 200 OK".to_owned(), "Synced".to_owned())
    );
    assert!(!agent.command_line().contains(PASSWORD) && !agent.log().contains(PASSWORD));

    // A transaction in the server advances the reported position with the next heartbeat.
    let before: u64 = text(&entries, "wsrep_last_committed").parse().unwrap();
    lab.server
        .execute(&[
            "INSERT INTO app.t VALUES (1)",
            "INSERT INTO app.t VALUES (2)",
        ])
        .await;
    let entries = lab
        .wait_for_field("wsrep_last_committed", &(before + 2).to_string())
        .await;

    // Of an idle node only that key is written, once in a heartbeat interval and under the same lease.
    let last = entries["wsrep_last_committed"].mod_revision;
    let mut renewed = until("renewal", SOON, async || {
        let entries = lab.entries().await;
        let next = entries.get("wsrep_last_committed")?;
        (next.mod_revision > last).then_some(entries)
    })
    .await;
    let phase = &renewed["phase"];
    assert_eq!(phase.mod_revision, entries["phase"].mod_revision);
    let next = renewed.remove("wsrep_last_committed").unwrap();
    assert_eq!(next.lease, lease);
    assert!(
        agent.own_memory_kb() <= 15 * 1024,
        "{} kB",
        agent.own_memory_kb()
    );

    assert_eq!(agent.stop("-TERM").await, 0, "{}", agent.log());
    assert_eq!(
        lab.registry.lease_info(lease).await.unwrap(),
        None,
        "the lease is revoked"
    );
    let entries = lab.entries().await;
    assert_eq!(
        fields(&entries),
        ["registered"],
        "only the durable registration is left"
    );
    assert_eq!(entries["registered"].version, 1);

    // The next agent keeps the first registration.
    let mut agent = lab.agent();
    assert_eq!(lab.wait_until_synced().await["registered"].version, 1);
    assert_eq!(agent.stop("-INT").await, 0);
}

#[tokio::test]
async fn a_dead_server_has_no_status_keys() {
    let mut lab = ReportFixture::new().await;
    let agent = lab.agent();
    lab.wait_until_synced().await;
    lab.server.kill();
    let entries = lab.wait_for_field("phase", "waiting").await;
    assert_eq!(fields(&entries), ["phase", "registered"]);
    let (status, reason) = agent.health().await;
    assert!(
        status.contains("503") && reason.contains("refuses connections"),
        "{status} {reason}"
    );
    lab.server.start();
    lab.wait_until_synced().await;
    agent.wait_for_log("is reachable again").await;

    // A hung server is reported like a dead one.
    lab.server.halt();
    let entries = lab.wait_for_field("phase", "waiting").await;
    assert_eq!(fields(&entries), ["phase", "registered"]);
    let (status, reason) = agent.health().await;
    assert!(
        status.contains("503") && reason.contains("did not respond"),
        "{status} {reason}"
    );
    lab.server.resume();
    lab.wait_until_synced().await;
}

#[tokio::test]
async fn survives_a_late_lost_and_emptied_etcd() {
    let mut lab = ReportFixture::new().await;
    lab.etcd.kill(0);
    let agent = lab.agent();
    agent
        .wait_for_log("will retry; the database is unaffected")
        .await;
    assert_eq!(agent.health().await.1, "Synced", "health needs no etcd");
    lab.etcd.start(0);
    let first = lab.wait_until_synced().await["phase"].lease;
    agent.wait_for_log("etcd is reachable again").await;

    lab.etcd.wipe(0);
    assert_eq!(agent.health().await.1, "Synced");
    lab.etcd.start(0);
    let entries = lab.wait_until_synced().await;
    assert_eq!(fields(&entries), ALL_FIELDS);
    assert_ne!(entries["phase"].lease, first);

    // The registration of a running node is deleted, or its lease revoked.
    let keys: Vec<_> = entries.values().map(|entry| entry.key.clone()).collect();
    let deletions = keys.into_iter().map(registry::WriteOp::delete);
    lab.registry
        .transact(&registry::Transaction::new().then(deletions))
        .await
        .unwrap();
    let entries = lab.wait_until_synced().await;
    assert_eq!(fields(&entries), ALL_FIELDS);
    lab.registry.revoke(entries["phase"].lease).await.unwrap();
    assert_ne!(
        lab.wait_until_synced().await["phase"].lease,
        entries["phase"].lease
    );
}

#[tokio::test]
async fn the_report_of_a_killed_agent_expires() {
    let lab = ReportFixture::new().await;
    let mut agent = lab.agent();
    lab.wait_until_synced().await;
    agent.kill();
    until("expiry", SOON, async || {
        (fields(&lab.entries().await) == ["registered"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_account_is_logged_and_no_status_reported() {
    let lab = ReportFixture::new().await;
    let agent = lab.agent_with("wrong");
    let entries = lab.wait_for_field("phase", "starting").await;
    assert_eq!(fields(&entries), ["phase", "registered", "waiting_for"]);
    let line = agent.wait_for_log("denies access to account console").await;
    assert!(
        line.contains("MYSQL_PASSWORD_FILE") && !line.contains("wrong\""),
        "{line}"
    );
    assert!(agent.health().await.0.contains("503"));
}

#[tokio::test]
async fn a_server_of_another_cluster_is_not_reported() {
    let lab = ReportFixture::new().await;
    let address = lab.address.to_string();
    let socket = lab.server.socket();
    let agent = AgentProcess::start(&[
        ("CLUSTER_NAME", "other"),
        ("DISCOVERY_SERVICE", &lab.etcd.address(0)),
        ("TTL", TTL),
        ("NODE_ADDRESS", &address),
        ("MYSQL_SOCKET", socket.to_str().unwrap()),
        ("MYSQL_USER", "root"),
        ("HEALTH_LISTEN", "off"),
    ]);
    agent
        .wait_for_log("belongs to cluster \"lab\" while CLUSTER_NAME is other")
        .await;
    let prefix = format!("/galera/other/{address}/");
    let keys = until("registration", SOON, async || {
        let entries = lab.registry.list(prefix.as_str()).await.unwrap().entries;
        (entries.len() >= 3).then_some(entries)
    })
    .await;
    let fields: Vec<_> = keys
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.key).replace(&prefix, ""))
        .collect();
    assert_eq!(fields, ["phase", "registered", "waiting_for"]);
}
