//! The unit of systemd starts an agent: its command line, its environment and the file that it names, against an etcd with TLS
//! and the account that the file asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use galera::observe::registration::RegistryKeys;
use registry::{EtcdSettings, Registry, Secret, role_layout};
use testing::etcd::{EtcdCluster, free_port, loopback_address};
use testing::manifests::{DeploymentSecrets, deploy_file};
use tokio::net::UnixDatagram;

use crate::agent::AgentProcess;
use crate::mariadb::{MariaDb, PASSWORD};
use crate::until;

const SOON: Duration = Duration::from_secs(120);

fn pairs<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    lines.map(pair).collect()
}

/// The environment of the unit, in which `%d` is where systemd puts the credentials.
fn environment(unit: &str) -> BTreeMap<String, String> {
    let file = "EnvironmentFile=/etc/galera-agent/environment";
    assert!(unit.lines().any(|line| line == file));
    let settings = deploy_file("systemd/galera-agent.environment");
    let set = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let own = unit
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    let mut variables = pairs(settings.lines().filter(set));
    variables.extend(pairs(own));
    variables.into_iter().collect()
}

/// The agent's account, with the role of its node as `galera-console etcd-roles apply` creates it.
async fn add_accounts(etcd: &EtcdCluster, secrets: &DeploymentSecrets, user: &str, node: &str) {
    let open = Registry::connect(EtcdSettings {
        ca: Some(secrets.path("etcd-ca")),
        ..EtcdSettings::new(etcd.endpoints())
    })
    .unwrap();
    etcd.wait_until_ready(&open).await;
    let (keys, cluster) = (RegistryKeys::new("/galera"), "lab".parse().unwrap());
    let role = role_layout::agent_of_node(&keys, &cluster, &node.parse().unwrap());
    open.apply_role(&role).await.unwrap();
    let secret = |name: &str| Secret::new(std::fs::read_to_string(secrets.path(name)).unwrap());
    for (name, password, role) in [
        (user, "etcd-agent", role.name.as_str()),
        ("root", "etcd-root", "root"),
    ] {
        open.apply_account(name, &secret(password), role)
            .await
            .unwrap();
    }
    open.require_accounts().await.unwrap();
}

#[tokio::test]
async fn the_unit_of_systemd_starts_an_agent_that_becomes_ready() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let unit = deploy_file("systemd/galera-agent.service");
    let command = "ExecStart=/usr/bin/galera-agent report";
    assert!(
        unit.lines().any(|line| line == command),
        "as it is started here"
    );
    let mut variables = environment(&unit);

    let address = loopback_address();
    let etcd_address = loopback_address();
    let server = MariaDb::founder("lab", address, [free_port(address), free_port(address)]).await;
    let secrets =
        DeploymentSecrets::create(&etcd_address.to_string(), ("unused", "unused"), "unused");
    let certificates = secrets.etcd_arguments();
    let certificates: Vec<&str> = certificates.iter().map(String::as_str).collect();
    let etcd = EtcdCluster::spawn_at(etcd_address, 1, "https", &certificates);
    let node = format!("{address}:{}", server.port());
    add_accounts(&etcd, &secrets, &variables["ETCD_USER"], &node).await;
    std::fs::write(secrets.path("mysql-password"), PASSWORD).unwrap();

    // What differs on this machine: each must be there, to be replaced.
    for (name, example, value) in [
        (
            "DISCOVERY_SERVICE",
            "etcd1:2379,etcd2:2379,etcd3:2379",
            etcd.address(0),
        ),
        (
            "ETCD_CA",
            "/etc/galera-agent/etcd-ca.pem",
            secrets.path("etcd-ca").display().to_string(),
        ),
        ("NODE_ADDRESS", "10.0.0.1", address.to_string()),
        ("MYSQL_USER", "agent", "console".to_owned()),
        ("HEALTH_LISTEN", ":9200", "127.0.0.1:0".to_owned()),
        (
            "MYSQL_PASSWORD_FILE",
            "%d/mysql-password",
            secrets.path("mysql-password").display().to_string(),
        ),
        (
            "ETCD_PASSWORD_FILE",
            "%d/etcd-password",
            secrets.path("etcd-agent").display().to_string(),
        ),
    ] {
        let given = variables.insert(name.to_owned(), value);
        assert_eq!(given.as_deref(), Some(example), "{name}");
    }
    for credential in ["mysql-password", "etcd-password"] {
        let loaded = format!("LoadCredential={credential}:/etc/galera-agent/{credential}");
        assert!(unit.lines().any(|line| line == loaded), "{loaded}");
    }
    let (host, port) = (address.to_string(), server.port().to_string());
    let mut given: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    given.extend([("MYSQL_HOST", host.as_str()), ("MYSQL_PORT", &port)]);
    // As systemd sets them for Type=notify and WatchdogSec.
    for line in ["Type=notify", "NotifyAccess=main", "WatchdogSec=180"] {
        assert!(unit.lines().any(|own| own == line), "{line}");
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    given.extend([
        ("NOTIFY_SOCKET", socket.to_str().unwrap()),
        ("WATCHDOG_USEC", "6000000"),
    ]);
    let agent = AgentProcess::start(&given);
    until("the agent is ready", SOON, async || {
        let (status, _) = agent.health().await;
        status.contains(" 200 ").then_some(())
    })
    .await;
    for state in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        assert_eq!(notification(&manager).await, state);
    }
}

/// The next notification that the service manager receives.
async fn notification(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let receiving = manager.recv(&mut buffer);
    let length = tokio::time::timeout(SOON, receiving)
        .await
        .unwrap()
        .unwrap();
    String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
}
