//! Nodes that the scripts of the original images register in etcd v2: watched like those of v3, until they are moved.

use std::time::Duration;

use galera::access::Role;
use galera::publish::api::Overview;
use galera::recover::plan::{CheckCode, CheckStatus, Plan};
use galera::view::{ClusterView, NodeState, NodeView, RegistryView, SourceKind};
use registry::LeaseId;
use testing::etcd::EtcdCluster;
use testing::v2::V2Scripts;

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, TestConsole};

const PREFIX: &str = "/galera/legacy";
const SILENT: &str = "127.0.0.3:1";

/// A console whose state and v3 registry are in memory, and an etcd with the v2 API beside it.
struct V2Console {
    state: TestEtcd,
    v2: EtcdCluster,
    scripts: V2Scripts,
    client: TestClient,
    console: TestConsole,
}

impl V2Console {
    async fn start(required: bool, register: impl FnOnce(&V2Scripts)) -> Self {
        let state = TestEtcd::in_memory();
        let v2 = EtcdCluster::spawn(1, "http", &["--enable-v2=true"]);
        v2.wait_until_ready(&v2.registry()).await;
        let scripts = V2Scripts::new(v2.address(0));
        register(&scripts);
        let options = ConsoleOptions {
            registry_v2: Some((v2.endpoints().remove(0), required)),
            ..ConsoleOptions::default()
        };
        let console = TestConsole::start_with(&state, options).await;
        console.add_user("otto", &[Role::Operator]).await;
        let client = console.sign_in("otto").await;
        Self {
            state,
            v2,
            scripts,
            client,
            console,
        }
    }

    async fn node(&self, id: &str) -> Option<NodeView> {
        let answer = self.client.get("/api/v1/clusters/legacy").await;
        if answer.status != 200 {
            return None;
        }
        let view: ClusterView = answer.json();
        view.nodes
            .into_iter()
            .find(|node| node.id.to_string() == id)
    }

    async fn registry(&self) -> RegistryView {
        self.client
            .get("/api/v1/clusters/legacy/registry")
            .await
            .json()
    }

    async fn notices(&self) -> String {
        let overview: Overview = self.client.get("/api/v1/clusters").await.json();
        overview.notices.join("\n")
    }

    async fn plan(&self) -> Plan {
        self.client
            .get("/api/v1/clusters/legacy/plans/bootstrap")
            .await
            .json()
    }

    /// What an agent registers in v3, under a lease that outlasts the test.
    async fn register_agent(&self, node: &str) -> LeaseId {
        let registry = self.state.registry();
        let lease = registry
            .grant_without_keep_alive(Duration::from_secs(600))
            .await
            .unwrap();
        let fields = [
            ("phase", "running"),
            ("wsrep_local_state_comment", "Synced"),
        ];
        for (field, value) in fields {
            let key = format!("{PREFIX}/{node}/{field}");
            registry.put(key, value, Some(lease)).await.unwrap();
        }
        lease
    }
}

fn registry_source(node: &NodeView) -> Option<bool> {
    let mut sources = node.sources.iter();
    let source = sources.find(|source| source.kind == SourceKind::Registry)?;
    Some(source.stale)
}

#[tokio::test]
async fn a_cluster_of_the_original_images_is_probed_and_its_reports_age() {
    let database = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let gcomm = "00000001-0001-11ef-a1b2-c3d4e5f60718";
    database.set_status(&as_str_rows(&primary_status(gcomm, &database.id())));
    let legacy = V2Console::start(false, |_| {}).await;
    assert_eq!(
        legacy.client.get("/api/v1/clusters/legacy").await.status,
        404
    );
    legacy.scripts.register_address(PREFIX, &database.id());
    legacy
        .scripts
        .report_mariadb(PREFIX, &database.id(), "Synced", 2881, 60);
    legacy
        .scripts
        .report_pxc56(PREFIX, SILENT, "Synced", 2881, 2);
    eventually("the registered server is read by SQL", async || {
        let node = legacy.node(&database.id()).await;
        node.is_some_and(|node| {
            node.state == NodeState::Synced && !database.statements().is_empty()
        })
    })
    .await;
    eventually("its registration is fresh", async || {
        let node = legacy.node(&database.id()).await;
        node.is_some_and(|node| registry_source(&node) == Some(false))
    })
    .await;
    eventually("what expired is a stale directory", async || {
        let v2 = legacy.registry().await.v2.unwrap();
        v2.stale_directories == [format!("{PREFIX}/{SILENT}")]
    })
    .await;
    let page = legacy.client.get("/clusters/legacy/registry").await.text();
    for expected in [
        "Registry in etcd v2",
        "1 stale directory",
        "last committed transaction of the running server",
        "Keep the registry in etcd v2 for now",
    ] {
        assert!(page.contains(expected), "{expected} in {page}");
    }
    // Nothing of it was written to v3, and nothing in v2 changed.
    let listed = legacy.state.registry().list("/galera/").await.unwrap();
    assert_eq!(listed.entries, []);
}

#[tokio::test]
async fn a_registry_that_dies_is_named_and_its_clusters_stay() {
    let mut legacy = V2Console::start(false, |scripts| {
        scripts.report_pxc56(PREFIX, SILENT, "Synced", 7, 60);
    })
    .await;
    eventually("the cluster", async || legacy.node(SILENT).await.is_some()).await;
    legacy.v2.kill(0);
    eventually("the notice", async || {
        let notices = legacy.notices().await;
        notices.contains("The registry in etcd v2 cannot be read")
            && notices.contains("check that etcd runs there")
    })
    .await;
    assert!(legacy.node(SILENT).await.is_some());
    let read = legacy.registry().await.v2.unwrap();
    assert!(
        read.error.is_some() && !read.keep_because.is_empty(),
        "{read:?}"
    );
    let plan = legacy.plan().await;
    let check = plan.check(&CheckCode::V2_REGISTRY).unwrap();
    assert_eq!(check.status, CheckStatus::Unknown, "{check:?}");
    legacy.v2.start(0);
    eventually("no notice", async || {
        !legacy.notices().await.contains("etcd v2")
    })
    .await;
}

#[tokio::test]
async fn an_api_that_is_off_is_an_error_only_where_it_is_required() {
    for required in [false, true] {
        let state = TestEtcd::in_memory();
        let off = EtcdCluster::single().await;
        let options = ConsoleOptions {
            registry_v2: Some((off.endpoints().remove(0), required)),
            ..ConsoleOptions::default()
        };
        let console = TestConsole::start_with(&state, options).await;
        console.add_user("vera", &[Role::Viewer]).await;
        let client = console.sign_in("vera").await;
        let notices = async || {
            let overview: Overview = client.get("/api/v1/clusters").await.json();
            overview.notices.join("\n")
        };
        if required {
            eventually("the remedy", async || {
                notices().await.contains("--enable-v2")
            })
            .await;
        } else {
            assert!(!notices().await.contains("v2"));
        }
    }
}

#[tokio::test]
async fn no_order_is_planned_for_a_cluster_of_etcd_v2_and_its_move_is_proven() {
    let legacy = V2Console::start(true, |scripts| {
        scripts.register_address(PREFIX, SILENT);
        scripts.report_recovered(PREFIX, SILENT, 2881, 1);
    })
    .await;
    eventually("the check", async || {
        let plan = legacy.plan().await;
        let check = plan.check(&CheckCode::V2_REGISTRY);
        check.is_some_and(|check| {
            check.status == CheckStatus::Fail && check.message.contains(SILENT)
        })
    })
    .await;
    assert!(!legacy.plan().await.executable);
    let moves = legacy.registry().await.v2.unwrap();
    assert_eq!(moves.moves.len(), 1);
    let next = moves.moves[0].next.clone().unwrap();
    assert!(
        next.contains("galera-agent run") && next.contains("CLUSTER_NAME=legacy"),
        "{next}"
    );
    legacy.register_agent(SILENT).await;
    eventually("both agree, and no script writes any longer", async || {
        let v2 = legacy.registry().await.v2.unwrap();
        v2.keep_because.is_empty() && v2.moves[0].in_v2 && v2.moves[0].in_v3
    })
    .await;
    // An address that differs is no agreement.
    legacy
        .scripts
        .put(&format!("{PREFIX}/{SILENT}/ipaddress"), "127.0.0.4", None);
    eventually("the disagreement", async || {
        let v2 = legacy.registry().await.v2.unwrap();
        v2.keep_because
            .iter()
            .any(|reason| reason.contains("another address"))
    })
    .await;
    legacy.scripts.remove(PREFIX);
    eventually("v2 is empty", async || legacy.registry().await.v2.is_none()).await;
    assert!(
        legacy
            .console
            .registry
            .list("/galera/")
            .await
            .unwrap()
            .entries
            .len()
            >= 2
    );
}

#[tokio::test]
async fn malformed_keys_and_ten_thousand_stale_directories_are_bounded_and_named() {
    let name = "銀行データ倉庫東京一A1";
    let legacy = V2Console::start(false, |scripts| {
        scripts.report_pxc56(PREFIX, SILENT, "Synced", 7, 600);
        scripts.report_pxc56(&format!("/galera/{name}"), SILENT, "Synced", 7, 600);
        scripts.put(&format!("{PREFIX}/bootstrap"), r#"{"node":"x"}"#, None);
        scripts.put(&format!("{PREFIX}/127.0.0.9"), "a leaf", None);
        scripts.put(
            &format!("{PREFIX}/127.0.0.8/seqno"),
            "\u{0}-1\u{7f}",
            Some(600),
        );
        for number in 0..10_000 {
            scripts.make_directory(&format!("{PREFIX}/10.0.{}.{}", number / 250, number % 250));
        }
    })
    .await;
    eventually("the cluster", async || legacy.node(SILENT).await.is_some()).await;
    let v2 = legacy.registry().await.v2.unwrap();
    assert_eq!(
        (v2.stale_directory_count, v2.stale_directories.len()),
        (10_000, 100)
    );
    let unknown: Vec<_> = v2
        .keys
        .iter()
        .filter(|key| !key.known)
        .map(|key| key.key.as_str())
        .collect();
    assert_eq!(
        unknown,
        ["/galera/legacy/127.0.0.9", "/galera/legacy/bootstrap"]
    );
    let overview = legacy.client.get("/api/v1/clusters").await.text();
    assert!(overview.contains(name), "{overview}");
    let nodes = legacy
        .client
        .get("/api/v1/clusters/legacy")
        .await
        .json::<ClusterView>()
        .nodes;
    assert_eq!(nodes.len(), 2, "{nodes:?}");
}
