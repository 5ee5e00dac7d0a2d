//! /metrics serves everything that the shipped alerts, the dashboard and the queries for long ranges need.

use std::collections::BTreeSet;
use std::path::Path;

use galera::access::Role;
use galera::recover::action::ActionState;

use crate::action_fixture::{ActionFixture, apply_verb};
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::json_contract::wait_until_down;
use crate::probing::{VARIABLES, as_str_rows, primary_status};
use crate::test_console::{ConsoleOptions, TestConsole};

const PREFIX: &str = "galera_console_";

fn read_deploy_file(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    std::fs::read_to_string(path).unwrap()
}

/// Every metric name with our prefix in `text`.
fn metric_names(text: &str) -> BTreeSet<String> {
    let rest = text.split(PREFIX).skip(1);
    let end = |rest: &str| {
        let name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        rest.chars().take_while(|c| name(*c)).collect::<String>()
    };
    rest.map(|rest| format!("{PREFIX}{}", end(rest))).collect()
}

/// The sample names of a scrape.
fn sample_names(scrape: &str) -> BTreeSet<String> {
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(['{', ' ']).next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_running_program_is_named() {
    let etcd = TestEtcd::in_memory();
    let console = TestConsole::start(&etcd).await;
    let metrics = console.anonymous().get("/metrics").await;
    let text = metrics.text();
    let line = text
        .lines()
        .filter(|line| line.starts_with("galera_console_build_info{"));
    let line: Vec<&str> = line.collect();
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    let target = format!("target=\"{}-", std::env::consts::ARCH);
    assert!(
        [version.as_str(), "commit=\"", &target]
            .iter()
            .all(|part| line[0].contains(part)),
        "{line:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_in_alerts_and_dashboard_is_served() {
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let member = FakeDatabase::listen("127.0.0.1", &VARIABLES, &[]).await;
    let at = |second: u64| {
        let mut rows = primary_status("00000001-0001-11ef-a1b2-c3d4e5f60718", &member.id());
        rows.push(("wsrep_local_send_queue", "0".to_owned()));
        rows.push(("wsrep_flow_control_paused_ns", (second * 1_000).to_string()));
        let counters = [
            "wsrep_local_cert_failures",
            "wsrep_local_bf_aborts",
            "wsrep_replicated_bytes",
            "wsrep_received_bytes",
        ];
        rows.extend(counters.map(|name| (name, "1".to_owned())));
        rows.push(("Threads_connected", "3".to_owned()));
        rows
    };
    member.set_status(&as_str_rows(&at(1)));
    let gone = "127.0.0.1:1".to_owned();
    let members = vec![member.id(), gone];
    let fixture =
        ActionFixture::start_with(&etcd, &nodes, |options| options.members = members).await;
    let scrape = async || fixture.viewer.get("/metrics").await.text();
    let id = fixture.request(&fixture.operator).await.action.id;
    let mut served = sample_names(&scrape().await);
    assert_eq!(
        apply_verb(&fixture.approver, &id, "approve").await.status,
        200
    );
    fixture.wait_for_state(&id, ActionState::Succeeded).await;
    let wanted: BTreeSet<String> = [
        "prometheus/alerts.yml",
        "prometheus/alerts.test.yml",
        "grafana/dashboard.json",
    ]
    .iter()
    .flat_map(|file| metric_names(&read_deploy_file(file)))
    // Served with a certificate only; `serve::connections` tests it. With a webhook only; `audit_anchors` tests it.
    .filter(|name| !name.contains("tls_certificate") && !name.contains("audit_anchor_"))
    .collect();
    let documented = metric_names(&read_deploy_file("../docs/series.md"));
    let figures = documented
        .into_iter()
        .filter(|name| name.starts_with("galera_console_node_"));
    let wanted: BTreeSet<String> = wanted.into_iter().chain(figures).collect();
    assert!(wanted.len() > 25, "{wanted:?}");
    // Rates need two readings.
    eventually("every metric to be served", async || {
        served.extend(sample_names(&scrape().await));
        wanted.is_subset(&served)
    })
    .await;
    let text = scrape().await;
    let node = member.id();
    for line in [
        format!(r#"galera_console_node_state{{cluster="lab",node="{node}",state="synced"}} 1.0"#),
        r#"galera_console_node_state{cluster="lab",node="127.0.0.1:1",state="unreachable"} 1.0"#
            .to_owned(),
        format!(
            r#"galera_console_node_source_fresh{{cluster="lab",node="{node}",source="sql"}} 1.0"#
        ),
        r#"galera_console_cluster_primary_components{cluster="lab"} 1.0"#.to_owned(),
        r#"galera_console_cluster_primary_members{cluster="lab"} 1.0"#.to_owned(),
        r#"galera_console_recent_actions{cluster="lab",state="succeeded"} 1"#.to_owned(),
        "galera_console_leader 1".to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

/// The scrape of a console with one unreachable node and this setting.
async fn scrape_with(metrics_nodes: monitor::MetricsNodes) -> String {
    let options = ConsoleOptions {
        metrics_nodes,
        ..ConsoleOptions::default()
    };
    let console = TestConsole::start_with(&TestEtcd::in_memory(), options).await;
    console.add_user("dora", &[Role::Viewer]).await;
    let client = console.sign_in("dora").await;
    wait_until_down(&client).await;
    client.get("/metrics").await.text()
}

#[tokio::test]
async fn series_of_nodes_can_be_limited() {
    let all = scrape_with(monitor::MetricsNodes::All).await;
    let unhealthy = scrape_with(monitor::MetricsNodes::Unhealthy).await;
    let none = scrape_with(monitor::MetricsNodes::None).await;
    for (text, with_series) in [(&all, true), (&unhealthy, true), (&none, false)] {
        assert_eq!(
            text.contains(r#"galera_console_node_state{cluster="lab""#),
            with_series,
            "{text}"
        );
        assert!(text.contains(r#"galera_console_cluster_verdict{cluster="lab",state="down"} 1.0"#));
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
    }
    let left_out = r#"galera_console_cluster_nodes_without_series{cluster="lab"}"#;
    assert!(all.contains(&format!("{left_out} 0.0")), "{all}");
    assert!(!none.contains(&format!("{left_out} 0.0")), "{none}");
}

#[test]
fn every_alert_is_tested_and_links_to_an_existing_section() {
    let (rules, tests) = (
        read_deploy_file("prometheus/alerts.yml"),
        read_deploy_file("prometheus/alerts.test.yml"),
    );
    let value =
        |line: &str, name: &str| line.trim().strip_prefix(name).map(|v| v.trim().to_owned());
    let mut alerts = 0;
    for line in rules.lines() {
        if let Some(alert) = value(line, "- alert:") {
            alerts += 1;
            assert!(tests.contains(&alert), "{alert} has no test");
        }
        if let Some(runbook) = value(line, "runbook_url:") {
            let (file, section) = runbook.split_once('#').unwrap();
            assert!(file.starts_with("docs/"), "{file}");
            let document = read_deploy_file(&format!("../{file}"));
            let anchors: BTreeSet<String> = document.lines().filter_map(anchor).collect();
            assert!(
                anchors.contains(section),
                "{section} is not one of {anchors:?}"
            );
        }
    }
    for annotation in ["summary:", "description:", "runbook_url:", "severity:"] {
        assert_eq!(rules.matches(annotation).count(), alerts, "{annotation}");
    }
}

/// The fragment of a heading's URL.
fn anchor(line: &str) -> Option<String> {
    let heading = line
        .strip_prefix("## ")
        .or_else(|| line.strip_prefix("### "));
    let title = heading?.to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}
