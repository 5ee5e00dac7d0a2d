//! The agent starts with the environment of each manifest in `deploy/` that has nodes, against an etcd with TLS and accounts.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use galera::observe::registration::RegistryKeys;
use galera_agent::settings::SettingsSource;
use galera_agent::settings::run::RunSettings;
use order_signature::OrderSigningKey;
use registry::{EtcdSettings, Registry, Secret, role_layout};
use testing::etcd::{EtcdCluster, loopback_address};
use testing::manifests::{DeploymentSecrets, deploy_file, entries};

use crate::node::AgentNode;
use crate::until;

#[tokio::test]
async fn every_manifest_starts_a_node_that_waits_for_the_others() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for (name, file, start, key) in [
        ("Compose", "compose.yaml", "x-node: &node", "environment:"),
        ("Swarm", "stack.yaml", "node:", "environment:"),
        (
            "Kubernetes",
            "kubernetes/galera.yaml",
            "- name: mariadb",
            "env:",
        ),
        (
            "Helm",
            "../tests/chart/rendered.yaml",
            "- name: mariadb",
            "env:",
        ),
    ] {
        let variables = entries(&deploy_file(file), start, key);
        let address = loopback_address();
        let signing = OrderSigningKey::generate().unwrap();
        let secrets = DeploymentSecrets::create(
            &address.to_string(),
            ("not read by nodes", &signing.public().to_pem()),
            "not read by nodes",
        );
        let certificates = secrets.etcd_arguments();
        let certificates: Vec<&str> = certificates.iter().map(String::as_str).collect();
        let etcd = EtcdCluster::spawn_at(address, 1, "https", &certificates);
        let registry = with_accounts(&etcd, &secrets).await;
        // The agent runs as the server's account, which reads what is mounted for it.
        let directory = secrets.path("");
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();

        let mut node = AgentNode::new("127.0.0.1", &etcd.address(0));
        let mut given: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in variables {
            let value = match name.as_str() {
                "DISCOVERY_SERVICE" => etcd.address(0),
                "NODE_ADDRESS" => "127.0.0.1".to_owned(),
                _ => secrets.replaced(&value),
            };
            node = node.with_variable(&name, &value);
            given.insert(name, value);
        }
        assert_eq!(unknown_variables(&given), BTreeSet::new(), "{name}");
        for required in [
            "ETCD_CA",
            "ETCD_USER",
            "ETCD_PASSWORD_FILE",
            "ORDER_PUBLIC_KEY_FILE",
        ] {
            let set = given.get(required).is_some_and(|value| !value.is_empty());
            assert!(set, "{name} lacks {required}");
        }
        // Set for a test, and by the manifest as a file.
        node = node.with_variable("MYSQL_ROOT_PASSWORD", "");
        node.start();
        let phase = || async {
            registry
                .get("/galera/galera/127.0.0.1/phase")
                .await
                .unwrap()
        };
        until(&format!("{name}: {}", node.log()), async || {
            phase().await.filter(|entry| entry.value == b"waiting")
        })
        .await;
        node.kill();
    }
}

/// Variables that `galera-agent run` does not read.
fn unknown_variables(given: &BTreeMap<String, String>) -> BTreeSet<String> {
    let read = RefCell::new(BTreeSet::new());
    let source = SettingsSource::new(|name| {
        read.borrow_mut().insert(name.to_owned());
        given.get(name).map(Into::into)
    });
    RunSettings::read(&source, || Some("10.0.0.7".parse().unwrap())).unwrap();
    let read = read.borrow();
    let unknown = given.keys().filter(|name| !read.contains(*name));
    unknown.cloned().collect()
}

/// Creates the accounts as the job of the manifests does; returns a connection that may read every key.
async fn with_accounts(etcd: &EtcdCluster, secrets: &DeploymentSecrets) -> Registry {
    let settings = EtcdSettings {
        ca: Some(secrets.path("etcd-ca")),
        ..EtcdSettings::new(etcd.endpoints())
    };
    let open = Registry::connect(settings.clone()).unwrap();
    etcd.wait_until_ready(&open).await;
    let secret = |name: &str| Secret::new(std::fs::read_to_string(secrets.path(name)).unwrap());
    let role = role_layout::agents(&RegistryKeys::new("/galera"), &"galera".parse().unwrap());
    open.apply_role(&role).await.unwrap();
    let (agent, root) = (secret("etcd-agent"), secret("etcd-root"));
    open.apply_account("agent", &agent, &role.name)
        .await
        .unwrap();
    open.apply_account("root", &root, "root").await.unwrap();
    open.require_accounts().await.unwrap();
    Registry::connect(EtcdSettings {
        user: Some("root".to_owned()),
        password: Some(root),
        ..settings
    })
    .unwrap()
}
