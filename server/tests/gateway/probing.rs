//! The statements that real probes send, and what follows from the answers.

use std::time::Duration;

use console_core::clock::now;
use galera::NodeId;
use galera::access::Role;
use galera::observe::observation::ProbeError;
use galera::recover::bootstrap::{
    PlannedServer, STATEMENT_DEADLINE, STATEMENT_TIME_ZONE, StatementDialect,
};
use galera::recover::plan::Plan;
use galera::recover::plan::{Mechanism, PlanTarget};
use galera::view::{ClusterView, VerdictState};
use monitor::mysql::{MysqlSettings, StatementConnection, Tls};
use registry::Secret;

use tokio::net::TcpListener;

use crate::client::TestClient;
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually, free_ports};
use crate::test_console::{ConsoleOptions, TestConsole};

const HISTORY: &str = "6f1a3c9e-0c2f-11ef-9b6e-5a3f2c1d0e4b";
pub(crate) const VARIABLES: [(&str, &str); 3] = [
    ("wsrep_cluster_name", "lab"),
    ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so"),
    ("version", "11.8.9-MariaDB"),
];

/// A Synced member of a Primary component of one.
pub(crate) fn primary_status(gcomm: &str, address: &str) -> Vec<(&'static str, String)> {
    [
        ("wsrep_local_state_uuid", HISTORY),
        ("wsrep_cluster_state_uuid", HISTORY),
        ("wsrep_last_committed", "100"),
        ("wsrep_local_state", "4"),
        ("wsrep_local_state_comment", "Synced"),
        ("wsrep_incoming_addresses", address),
        ("wsrep_cluster_size", "1"),
        ("wsrep_local_index", "0"),
        ("wsrep_gcomm_uuid", gcomm),
        ("wsrep_cluster_conf_id", "17"),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_evs_state", "OPERATIONAL"),
        ("wsrep_local_recv_queue", "0"),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", "ON"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

pub(crate) fn as_str_rows<'a>(rows: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    rows.iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

async fn start_console(etcd: &TestEtcd, databases: &[&FakeDatabase]) -> (TestConsole, TestClient) {
    let members = databases.iter().map(|database| database.id()).collect();
    let options = ConsoleOptions {
        members,
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(etcd, options).await;
    console.add_user("vera", &[Role::Viewer]).await;
    let viewer = console.sign_in("vera").await;
    (console, viewer)
}

pub(crate) async fn wait_for_verdict(viewer: &TestClient, state: VerdictState) -> ClusterView {
    let read = async || viewer.get("/api/v1/clusters/lab").await;
    eventually(state.as_str(), async || {
        let answer = read().await;
        // The console may not have discovered the cluster yet.
        answer.status == 200 && answer.json::<ClusterView>().verdict.state == state
    })
    .await;
    read().await.json()
}

/// A node that a bootstrap excluded and that is Primary elsewhere is an alarm on every page, with and without
/// scripts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i22_i23_a_split_brain_is_an_alarm_on_every_page() {
    let etcd = TestEtcd::in_memory();
    let one = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let other = FakeDatabase::listen("127.0.0.2", &VARIABLES, &[]).await;
    one.set_status(&as_str_rows(&primary_status(
        "00000001-0001-11ef-a1b2-c3d4e5f60718",
        &one.id(),
    )));
    let (_console, viewer) = start_console(&etcd, &[&one, &other]).await;
    wait_for_verdict(&viewer, VerdictState::Degraded).await;
    let pages = [
        "/",
        "/clusters/lab",
        "/clusters/lab/recovery",
        "/clusters/lab/registry",
        &format!("/clusters/lab/nodes/{}", one.id()),
        "/actions",
        "/actions/0-0",
        "/audit",
    ];
    let alarm = "Split brain: two components are Primary";
    for page in pages {
        assert!(!viewer.get(page).await.text().contains(alarm), "{page}");
    }
    other.set_status(&as_str_rows(&primary_status(
        "00000002-0001-11ef-a1b2-c3d4e5f60718",
        &other.id(),
    )));
    wait_for_verdict(&viewer, VerdictState::SplitBrain).await;
    eventually("the overview to report the split brain", async || {
        let torn = viewer.get("/api/v1/clusters?verdict=split_brain").await;
        torn.json::<galera::publish::api::Overview>().clusters.len() == 1
    })
    .await;
    for page in pages {
        let text = viewer.get(page).await.text();
        assert!(text.contains(alarm), "{page}: {text}");
    }
    let none = viewer.get("/api/v1/clusters?verdict=healthy").await;
    assert!(
        none.json::<galera::publish::api::Overview>()
            .clusters
            .is_empty()
    );
    let wrong = viewer.get("/api/v1/clusters?verdict=fine").await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.problem().code.as_str()),
        (400, "invalid_query")
    );
}

/// SHOW, and one SET SESSION: no write, no FLUSH, no provider option, ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i32_probes_only_send_show() {
    let etcd = TestEtcd::in_memory();
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let (_console, viewer) = start_console(&etcd, &[&node]).await;
    node.set_status(&as_str_rows(&primary_status(
        "00000001-0001-11ef-a1b2-c3d4e5f60718",
        &node.id(),
    )));
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    // A plan probes every node again.
    let _: Plan = viewer
        .get("/api/v1/clusters/lab/plans/bootstrap")
        .await
        .json();
    eventually("several readings", async || node.statements().len() >= 6).await;
    let asked = node.statements();
    assert_eq!(asked[0], "SET SESSION wsrep_sync_wait=0");
    for statement in &asked {
        let allowed = statement == "SET SESSION wsrep_sync_wait=0"
            || statement == "SHOW GLOBAL STATUS LIKE 'wsrep_%'"
            || statement.starts_with("SHOW GLOBAL STATUS WHERE Variable_name IN (")
            || statement.starts_with("SHOW GLOBAL VARIABLES WHERE Variable_name IN (");
        assert!(allowed, "{statement}");
    }
}

/// Whether a server has provider options as system variables is read by the probe, and selects the statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i20_the_probe_reads_what_selects_the_statement_syntax() {
    let etcd = TestEtcd::in_memory();
    let plugin = [&VARIABLES[..], &[("wsrep_provider_pc_bootstrap", "OFF")]].concat();
    for (variables, statement) in [
        (
            &VARIABLES[..],
            StatementDialect::ProviderOptions.bootstrap_statement(),
        ),
        (
            &plugin[..],
            StatementDialect::ProviderPlugin.bootstrap_statement(),
        ),
    ] {
        let node = FakeDatabase::listen("127.0.0.1", variables, &[]).await;
        let mut lost = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &node.id());
        for (name, value) in &mut lost {
            match *name {
                "wsrep_cluster_status" => "non-Primary".clone_into(value),
                "wsrep_cluster_conf_id" => "-1".clone_into(value),
                "wsrep_local_state" => "0".clone_into(value),
                "wsrep_local_state_comment" => "Initialized".clone_into(value),
                _ => {}
            }
        }
        node.set_status(&as_str_rows(&lost));
        let members = vec![node.id()];
        let options = ConsoleOptions {
            members,
            ..ConsoleOptions::default()
        };
        let console = TestConsole::start_with(&etcd, options).await;
        let name = format!("vera{}", variables.len());
        console.add_user(&name, &[Role::Viewer]).await;
        let viewer = console.sign_in(&name).await;
        wait_for_verdict(&viewer, VerdictState::NoPrimary).await;
        let plan: Plan = viewer
            .get("/api/v1/clusters/lab/plans/bootstrap")
            .await
            .json();
        let steps = serde_json::to_value(&plan.steps).unwrap();
        assert_eq!(steps[0]["statement"], statement, "{}", plan.summary);
    }
}

/// A server on which every connection is in use is read with the connection that it reserves for the recovery account, which
/// is released each time: the statement may need it. The error names the remedy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_read_with_the_recovery_account() {
    let etcd = TestEtcd::in_memory();
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    node.fill_connections();
    node.set_status(&as_str_rows(&primary_status(
        "00000001-0001-11ef-a1b2-c3d4e5f60718",
        &node.id(),
    )));
    let (_console, viewer) = start_console(&etcd, &[&node]).await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    // A plan reads every node again, while the probe continues.
    for _ in 0..5 {
        let _: Plan = viewer
            .get("/api/v1/clusters/lab/plans/bootstrap")
            .await
            .json();
    }
    let view = wait_for_verdict(&viewer, VerdictState::Healthy).await;
    assert!(
        view.nodes[0]
            .sources
            .iter()
            .all(|source| source.error.is_none())
    );
    let accounts = node.accounts();
    assert!(accounts.iter().any(|account| account == "console"));
    assert!(accounts.iter().any(|account| account == "recovery"));
}

/// The port of its own that a server has for such a moment serves every account, and needs no recovery account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_read_over_its_extra_port() {
    let etcd = TestEtcd::in_memory();
    let extra = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let port = extra.id().rsplit_once(':').unwrap().1.to_owned();
    let variables = [&VARIABLES[..], &[("extra_port", port.as_str())]].concat();
    let node = FakeDatabase::listen("127.0.0.1", &variables, &[]).await;
    for database in [&node, &extra] {
        let process = "00000001-0001-11ef-a1b2-c3d4e5f60718";
        database.set_status(&as_str_rows(&primary_status(process, &node.id())));
    }
    let (_console, viewer) = start_console(&etcd, &[&node]).await;
    wait_for_verdict(&viewer, VerdictState::Healthy).await;
    assert!(extra.accounts().is_empty());
    node.fill_connections();
    node.kill_connections();
    eventually("the extra port to be used", async || {
        !extra.accounts().is_empty()
    })
    .await;
    for _ in 0..3 {
        let _: Plan = viewer
            .get("/api/v1/clusters/lab/plans/bootstrap")
            .await
            .json();
        let view = wait_for_verdict(&viewer, VerdictState::Healthy).await;
        let mut sources = view.nodes[0].sources.iter();
        assert!(sources.all(|source| source.error.is_none()));
    }
    let used = [node.accounts(), extra.accounts()].concat();
    assert!(used.iter().all(|account| account == "console"), "{used:?}");
}

/// A registered node that is not pinned must not learn the recovery account's answer to a challenge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unpinned_server_is_never_read_with_the_recovery_account() {
    let etcd = TestEtcd::in_memory();
    let pinned = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let registered = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    registered.fill_connections();
    let (_console, viewer) = start_console(&etcd, &[&pinned]).await;
    let key = format!("/galera/lab/{}/registered", registered.id());
    etcd.registry().put(key.as_str(), "{}", None).await.unwrap();
    let error = async || {
        let view: ClusterView = viewer.get("/api/v1/clusters/lab").await.json();
        let id = registered.id();
        let node = view
            .nodes
            .into_iter()
            .find(|node| node.id.to_string() == id)?;
        node.sources.into_iter().find_map(|source| source.error)
    };
    eventually("the error to be shown", async || error().await.is_some()).await;
    let message = error().await.unwrap();
    assert!(
        message.contains("error 1040: all max_connections of the server are in use"),
        "{message}"
    );
    assert!(
        registered
            .accounts()
            .iter()
            .all(|account| account == "console")
    );
}

pub(crate) const PROCESS: &str = "00000001-0001-11ef-a1b2-c3d4e5f60718";
const OTHER_PROCESS: &str = "00000002-0001-11ef-a1b2-c3d4e5f60718";

/// The server of a plan whose executor reported `process`.
pub(crate) fn planned_server(process: Option<&str>) -> PlannedServer {
    PlannedServer::of(&PlanTarget {
        mechanism: Mechanism::Statement,
        node: None,
        process: process.map(ToOwned::to_owned),
        members: Vec::new(),
        position: galera::Position::new(HISTORY.parse().unwrap(), 100),
        revives: Vec::new(),
        leaves_out: Vec::new(),
        removes: Vec::new(),
    })
}

pub(crate) async fn open_for_statement(
    node: &FakeDatabase,
    planned: &PlannedServer,
) -> Result<StatementConnection, ProbeError> {
    let address: NodeId = node.id().parse().unwrap();
    let settings = MysqlSettings {
        user: "recovery".to_owned(),
        password: Secret::new("acts"),
        port: 3306,
        tls: Tls::Off,
        resolver: console_core::resolver::Resolver::default(),
        probe_policy: Default::default(),
    };
    let (port, cluster) = (address.port().unwrap(), "lab".parse().unwrap());
    let limit = Duration::from_secs(3);
    StatementConnection::open(address.host(), &settings, port, &cluster, planned, limit).await
}

/// A virtual IP may lead to another server than the one that was probed: the process is compared on the connection that would
/// send the statement, and nothing is prepared or sent to another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i16_the_connection_that_acts_leads_to_the_planned_process() {
    let process = |uuid| {
        vec![
            ("wsrep_gcomm_uuid", uuid),
            ("wsrep_local_state_uuid", HISTORY),
        ]
    };
    let mysql = [&VARIABLES[..], &[("server_uuid", PROCESS)]].concat();
    let nil = "00000000-0000-0000-0000-000000000000";
    for (variables, status, planned, accepted) in [
        (&VARIABLES[..], process(PROCESS), Some(PROCESS), true),
        (&VARIABLES[..], process(OTHER_PROCESS), Some(PROCESS), false),
        (&VARIABLES[..], process(nil), Some(PROCESS), false),
        (&VARIABLES[..], vec![], Some(PROCESS), false),
        // A server without a group identity is compared by its own, and otherwise by its history.
        (&mysql[..], process(nil), Some(PROCESS), true),
        (&mysql[..], process(nil), Some(OTHER_PROCESS), false),
        (&VARIABLES[..], process(nil), None, true),
        (
            &VARIABLES[..],
            vec![("wsrep_local_state_uuid", OTHER_PROCESS)],
            None,
            false,
        ),
        (&VARIABLES[..], vec![], None, false),
    ] {
        let node = FakeDatabase::listen("127.0.0.1", variables, &status).await;
        let opened = open_for_statement(&node, &planned_server(planned)).await;
        let context = format!("{status:?}, planned {planned:?}");
        assert_eq!(opened.is_ok(), accepted, "{context}");
        if let Err(error) = opened {
            assert!(
                error.message.starts_with("the connection leads to"),
                "{error}"
            );
            assert!(
                node.statements()
                    .iter()
                    .all(|sent| sent.starts_with("SHOW ")),
                "{context}"
            );
        }
    }
}

/// The deadline of a statement is stored when its connection is opened, which is before the intention is recorded, and after
/// the connection's time zone is fixed. It also opens while a probe holds the reserved connection for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i38_the_deadline_is_stored_before_the_statement_is_sent() {
    let node = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    node.fill_connections();
    node.set_status(&[("wsrep_gcomm_uuid", PROCESS)]);
    let planned = planned_server(Some(PROCESS));
    let open = async || open_for_statement(&node, &planned).await;
    let held = open().await.unwrap();
    let (waiting, ()) = tokio::join!(open(), async { drop(held) });
    let connection = waiting.unwrap();
    let prepared = node.statements();
    let last: Vec<&str> = prepared.iter().rev().take(3).map(String::as_str).collect();
    assert_eq!(
        last,
        [
            STATEMENT_DEADLINE,
            STATEMENT_TIME_ZONE,
            "SET SESSION wait_timeout=2"
        ]
    );
    let statement = StatementDialect::ProviderOptions.bootstrap_statement();
    connection.send(statement).await;
    assert_eq!(node.statements()[prepared.len()..], [statement.to_owned()]);
}

/// Reading a snapshot for an execution waits for the slowest node; registrations renewed in the meantime count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i16_an_unresponsive_node_does_not_age_other_registrations() {
    let etcd = TestEtcd::in_memory();
    let unresponsive = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let [refused] = free_ports();
    let waits = format!("127.0.0.1:{refused}");
    let options = ConsoleOptions {
        members: vec![
            waits.clone(),
            unresponsive.local_addr().unwrap().to_string(),
        ],
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&etcd, options).await;
    let (registry, monitor) = (etcd.registry(), &console.state.monitor);
    let (lab, node) = ("lab".parse().unwrap(), waits.parse::<NodeId>().unwrap());
    let lease = registry.grant(Duration::from_secs(10)).await.unwrap();
    let reporting = async {
        let key = format!("/galera/lab/{waits}/phase");
        let mut pace = tokio::time::interval(Duration::from_millis(200));
        loop {
            pace.tick().await;
            let put = registry.put(key.as_str(), "waiting", Some(lease.id()));
            put.await.unwrap();
        }
    };
    let looking = async {
        eventually("the agent to be known", async || {
            let known = monitor.snapshot(&lab);
            known.is_some_and(|known| known.evidence.registrations.contains_key(&node))
        })
        .await;
        let began = now();
        let (known, _) = monitor.read_snapshot(&lab, true).await.unwrap();
        assert!(
            began.age(now()) >= Duration::from_secs(2),
            "no node was unresponsive"
        );
        let put = known.evidence.registrations[&node].last_put_at.unwrap();
        (began, put)
    };
    tokio::select! {
        (began, put) = looking => assert!(began.age(put) >= Duration::from_secs(1), "{began} {put}"),
        () = reporting => {}
    }
}
