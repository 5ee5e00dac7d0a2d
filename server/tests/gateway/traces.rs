//! Traces and metrics that a collector receives of a console: one trace from request to execution, and no secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use console_core::resolver::Resolver;
use galera::ReplicaId;
use galera::publish::api::ActionView;
use galera::recover::action::ActionState;
use galera::recover::plan::Plan;
use galera_console::config::OtlpConfig;
use galera_console::http::metrics_source;
use galera_console::telemetry::{RunningExport, TelemetryExport};
use http::Method;
use http::header::CONTENT_TYPE;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AttributeValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use otlp_export::ResourceAttributes;
use prost::Message;
use serde_json::{Value, json};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

use crate::action_fixture::{ActionFixture, action_request, lost_members};
use crate::client::{TestClient, TestResponse};
use crate::database::FakeDatabase;
use crate::etcd::{TestEtcd, eventually};
use crate::fake_cluster::FakeCluster;
use crate::probing::{PROCESS, VARIABLES, open_for_statement, planned_server};
use crate::test_console::{PASSWORD, TestConsole};
use crate::webhook_receiver::{ReceiverReply, WebhookReceiver};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The settings of an export to `collector`.
fn exporting_to(collector: &WebhookReceiver) -> OtlpConfig {
    let resource = ResourceAttributes {
        version: "1".to_owned(),
        instance: String::new(),
        others: Vec::new(),
    };
    let url = format!("http://{}", collector.address).parse().unwrap();
    OtlpConfig {
        metrics_interval: Some(Duration::from_millis(500)),
        batch_interval: Duration::from_millis(50),
        ..OtlpConfig::new(url, resource)
    }
}

fn start(export: TelemetryExport, console: &TestConsole) -> RunningExport {
    let source = metrics_source(&console.state);
    export.start(Resolver::default(), source).unwrap()
}

fn spans_of(collector: &WebhookReceiver) -> Vec<Span> {
    let requests = collector.requests().into_iter();
    let traces = requests.filter(|request| request.path == "/v1/traces");
    let decoded = traces.map(|request| ExportTraceServiceRequest::decode(request.body).unwrap());
    let resources = decoded.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The names of all metrics that were received.
fn metrics_of(collector: &WebhookReceiver) -> BTreeSet<String> {
    let requests = collector.requests().into_iter();
    let metrics = requests.filter(|request| request.path == "/v1/metrics");
    let decoded = metrics.map(|request| ExportMetricsServiceRequest::decode(request.body).unwrap());
    let resources = decoded.flat_map(|request| request.resource_metrics);
    let scopes = resources.flat_map(|resource| resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| scope.metrics);
    metrics.map(|metric| metric.name).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text_attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|one| one.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        AttributeValue::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// A request of the trace [`TRACE`].
async fn post_traced(client: &TestClient, path: &str, body: &Value) -> TestResponse {
    let request = client
        .request(Method::POST, path)
        .header(CONTENT_TYPE, "application/json")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    client
        .send(request.body(body.to_string().into()).unwrap())
        .await
}

#[tokio::test]
async fn an_approved_action_is_one_trace() {
    let collector = WebhookReceiver::start([]).await;
    let (export, layer) =
        TelemetryExport::prepare(Some(&exporting_to(&collector)), &ReplicaId::new("r1"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let counts = export.metrics();
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| options.export = counts).await;
    let running = start(export, &fixture.console);

    let plan: Plan = post_traced(
        &fixture.operator,
        "/api/v1/clusters/lab/plans/bootstrap",
        &json!({"attestations": lost_members()}),
    )
    .await
    .json();
    let queried = fixture
        .viewer
        .get("/api/v1/actions?cluster=hidden-query")
        .await;
    assert_eq!(queried.status, 200, "{}", queried.text());
    let path = "/api/v1/clusters/lab/actions";
    let requested = post_traced(&fixture.operator, path, &action_request(&plan)).await;
    let id = requested.json::<ActionView>().action.id;
    let path = format!("/api/v1/actions/{id}/approve");
    let comment = json!({"comment": "hidden-comment"});
    let approved = post_traced(&fixture.approver, &path, &comment).await;
    assert_eq!(approved.status, 200, "{}", approved.text());
    let done = fixture.wait_for_state(&id, ActionState::Succeeded).await;
    eventually("a span was exported", async || {
        !spans_of(&collector).is_empty()
    })
    .await;
    let shown = fixture.viewer.get("/metrics").await.text();
    eventually(
        "every metric arrives, under the name that it has there",
        async || {
            let exported = metrics_of(&collector);
            let samples = shown.lines().filter(|line| !line.starts_with('#'));
            let mut names = samples.filter_map(|line| line.split(['{', ' ']).next());
            names.all(|name| {
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| name.strip_suffix(part));
                exported.contains(name) || family.is_some_and(|name| exported.contains(name))
            })
        },
    )
    .await;
    running.finish().await;

    let spans = spans_of(&collector);
    let by_id: BTreeMap<_, _> = spans.iter().map(|span| (&span.span_id, span)).collect();
    let named = |name: &str| {
        let mut found = spans.iter().filter(|span| span.name == name);
        found
            .find(|span| hex(&span.trace_id) == TRACE)
            .unwrap_or_else(|| {
                let names: BTreeSet<_> = spans.iter().map(|span| &span.name).collect();
                panic!("no {name} in {names:?}")
            })
    };
    let approval = named("POST /api/v1/actions/{id}/{verb}");
    for request in [
        "POST /api/v1/clusters/{cluster}/plans/{kind}",
        "POST /api/v1/clusters/{cluster}/actions",
        "POST /api/v1/actions/{id}/{verb}",
    ] {
        assert_eq!(hex(&named(request).parent_span_id), PARENT, "{request}");
    }
    for name in ["plan", "etcd get", "etcd transact", "observe the outcome"] {
        named(name);
    }
    let execution = named("execute action");
    assert_eq!(
        text_attribute(execution, "action.id").as_deref(),
        Some(id.as_str())
    );
    assert_eq!(
        text_attribute(execution, "action.state").as_deref(),
        Some("succeeded")
    );
    let mut ancestor = named("execute step (statement)");
    while let Some(parent) = by_id.get(&ancestor.parent_span_id) {
        ancestor = parent;
    }
    assert_eq!(ancestor.span_id, approval.span_id);

    let received: String = collector
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    let cookie = fixture.operator.cookie.clone().unwrap();
    let reason = done.action.reason.as_str();
    let statement = "pc.bootstrap";
    let token = cookie.split('=').next_back().unwrap();
    for secret in [
        PASSWORD, token, reason, statement, "hidden", "/state/", "olga", "adam",
    ] {
        assert!(!received.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_console_works_while_its_collector_hangs() {
    let collector = WebhookReceiver::start(std::iter::repeat_n(ReceiverReply::Hang, 100)).await;
    let (export, layer) =
        TelemetryExport::prepare(Some(&exporting_to(&collector)), &ReplicaId::new("r1"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let etcd = TestEtcd::in_memory();
    let nodes = FakeCluster::two_lost(etcd.registry());
    let counts = export.metrics();
    let fixture = ActionFixture::start_with(&etcd, &nodes, |options| options.export = counts).await;
    let running = start(export, &fixture.console);
    let action = fixture.request(&fixture.operator).await.action;
    let path = format!("/api/v1/actions/{}/approve", action.id);
    assert_eq!(
        post_traced(&fixture.approver, &path, &json!({}))
            .await
            .status,
        200
    );
    fixture
        .wait_for_state(&action.id, ActionState::Succeeded)
        .await;
    eventually("the collector was asked", async || {
        !collector.requests().is_empty()
    })
    .await;
    let began = std::time::Instant::now();
    running.finish().await;
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    let dropped = r#"galera_console_otlp_dropped_spans_total{reason="stopped"}"#;
    let shown = fixture.viewer.get("/metrics").await.text();
    assert!(shown.contains(dropped), "{shown}");
}

#[tokio::test]
async fn statements_are_spans_by_kind() {
    let collector = WebhookReceiver::start([]).await;
    let (export, layer) =
        TelemetryExport::prepare(Some(&exporting_to(&collector)), &ReplicaId::new("r1"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);
    let console = TestConsole::start(&TestEtcd::in_memory()).await;
    let running = start(export, &console);
    let node =
        FakeDatabase::listen("127.0.0.1", &VARIABLES, &[("wsrep_gcomm_uuid", PROCESS)]).await;
    let span = tracing::info_span!(target: registry::spans::TARGET, "work", otel.name = "work");
    let sending = async {
        let opened = open_for_statement(&node, &planned_server(Some(PROCESS))).await;
        let statement = "SET GLOBAL wsrep_provider_options='pc.bootstrap=hidden'";
        opened.unwrap().send(statement).await;
    };
    sending.instrument(span).await;
    // The same work for nothing that is traced.
    assert!(
        open_for_statement(&node, &planned_server(Some(PROCESS)))
            .await
            .is_ok()
    );
    running.finish().await;
    let spans = spans_of(&collector);
    let work = spans.iter().find(|span| span.name == "work").unwrap();
    let kinds: Vec<&str> = spans
        .iter()
        .filter(|span| text_attribute(span, "db.system.name").as_deref() == Some("mariadb"))
        .map(|span| {
            assert_eq!(span.parent_span_id, work.span_id);
            span.name.as_str()
        })
        .collect();
    assert_eq!(kinds, ["SHOW", "SHOW", "SET", "SET", "SET", "SET GLOBAL"]);
    let received = collector.requests().into_iter();
    let received: Vec<u8> = received.flat_map(|request| request.body.to_vec()).collect();
    let received = String::from_utf8_lossy(&received);
    for secret in ["hidden", "wsrep_provider_options", "acts"] {
        assert!(!received.contains(secret), "{secret}");
    }
}
